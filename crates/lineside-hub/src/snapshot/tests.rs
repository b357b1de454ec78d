use std::sync::Arc;

use bytes::Bytes;
use lineside_protocol::codes::LINK_BAD_PAYLOAD;
use lineside_protocol::{After, Epoch, Position, envelope};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::hub::Ordered;
use crate::hub::Proposed;
use crate::journal::{ReplayRequest, Unencoded, Verdict, Want};
use crate::marks::{Begin, Confirmed, MarkKey};
use crate::outcome::Outcome;
use crate::publishers::Origin;
use crate::rejection::Rejection;
use crate::revocations::{Revocation, Revocations};
use crate::validation::{Change, Proposal, ValidPublication};

const CHANNELS: [&str; 6] = ["a", "b", "c", "user:1", "cable:x", "without publications"];

/// Limits that a hundred frames exceed.
const SMALL: HistoryLimits = HistoryLimits {
    channel_publications_max: 5,
    channel_bytes_max: 3_000,
    age_ms_max: 300,
    bytes_max: 6_000,
    channels_max: 4,
};

const AT: SavedAt = SavedAt {
    now_ms: 1_000_000,
    wall_ms: 1_800_000_000_000,
};

/// One call to a hub.
#[derive(Clone, Debug)]
enum Act {
    Publish {
        publisher: u8,
        channels: Vec<usize>,
        once: Option<u8>,
        wants_receipt: bool,
        bytes: usize,
    },
    Reject {
        publisher: u8,
    },
    Revoke {
        publisher: u8,
        user: u8,
        session: Option<u8>,
    },
    /// Sends the sequence of the previous frame again.
    Retransmit {
        publisher: u8,
    },
    Wait {
        ms: u64,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let channels = prop::collection::vec(0..CHANNELS.len() - 1, 1..4);
    let once = prop::option::weighted(0.4, 0_u8..6);
    prop_oneof![
        6 => (0_u8..3, channels, once, any::<bool>(), 1..400_usize).prop_map(
            |(publisher, channels, once, wants_receipt, bytes)| Act::Publish {
                publisher, channels, once, wants_receipt, bytes,
            }
        ),
        1 => (0_u8..3).prop_map(|publisher| Act::Reject { publisher }),
        1 => (0_u8..3, 0_u8..3, prop::option::of(0_u8..3)).prop_map(
            |(publisher, user, session)| Act::Revoke { publisher, user, session }
        ),
        1 => (0_u8..3).prop_map(|publisher| Act::Retransmit { publisher }),
        2 => (0_u64..200).prop_map(|ms| Act::Wait { ms }),
    ]
}

/// A hub, its clock, and the newest sequence of each publisher.
struct World {
    hub: Hub,
    now_ms: u64,
    sequences: [u64; 3],
}

impl World {
    fn new(history: HistoryLimits) -> Self {
        let hub = Hub::new(Epoch::new("ours").unwrap(), history, 10);
        let mut world = Self {
            hub,
            now_ms: 0,
            sequences: [0; 3],
        };
        world.link(1);
        world
    }

    fn link(&mut self, link: u64) {
        for publisher in 0..3 {
            let greeting = self.hub.greet(origin(publisher, link), 0, self.now_ms);
            assert_eq!(
                greeting.unwrap().last,
                self.sequences[usize::from(publisher)]
            );
        }
    }

    fn submit(&mut self, publisher: u8, frame: Proposal) -> Outcome {
        submit(&mut self.hub, publisher, frame, self.now_ms)
    }

    fn act(&mut self, act: &Act) -> Option<Outcome> {
        let mut next = |publisher: u8| {
            let sequence = &mut self.sequences[usize::from(publisher)];
            *sequence += 1;
            *sequence
        };
        match act {
            Act::Wait { ms } => {
                self.now_ms += ms;
                self.hub.journal.expire(self.now_ms);
                None
            }
            Act::Publish {
                publisher,
                channels,
                once,
                wants_receipt,
                bytes,
            } => {
                let valid = |channel: &usize| ValidPublication {
                    channel: CHANNELS[*channel].to_owned(),
                    payload: vec![b'1'; *bytes].into(),
                };
                let frame = Proposal {
                    sequence: next(*publisher),
                    wants_receipt: *wants_receipt,
                    change: Change::Publish {
                        resent: false,
                        once: once.map(|id| vec![id].into()),
                        publications: channels.iter().map(valid).collect(),
                    },
                };
                Some(self.submit(*publisher, frame))
            }
            Act::Reject { publisher } => {
                let frame = rejected(next(*publisher));
                Some(self.submit(*publisher, frame))
            }
            Act::Revoke {
                publisher,
                user,
                session,
            } => {
                let revocation = Revocation {
                    user: user.to_string(),
                    session: session.map(|session| session.to_string()),
                    until_ms: self.now_ms,
                };
                let frame = Proposal {
                    sequence: next(*publisher),
                    wants_receipt: true,
                    change: Change::Revoke(Arc::new(revocation)),
                };
                Some(self.submit(*publisher, frame))
            }
            Act::Retransmit { publisher } => {
                let sequence = self.sequences[usize::from(*publisher)];
                (sequence > 0).then(|| self.submit(*publisher, rejected(sequence)))
            }
        }
    }

    /// Saves the hub and restores it.
    fn restarted(&self) -> Self {
        let saved = save(&self.hub);
        let (hub, at) = Hub::restore(&*saved, *self.hub.journal.limits(), 10).unwrap();
        assert_eq!(at, AT);
        assert_eq!(save(&hub), saved, "the same hub gives the same bytes");
        let mut world = Self {
            hub,
            now_ms: self.now_ms,
            sequences: self.sequences,
        };
        world.link(1);
        world
    }
}

fn origin(publisher: u8, link: u64) -> Origin {
    Origin {
        publisher: [publisher; 16],
        link,
    }
}

fn rejected(sequence: u64) -> Proposal {
    let rejection = Rejection {
        code: LINK_BAD_PAYLOAD,
        message: "not JSON".to_owned(),
    };
    Proposal::rejected(sequence, rejection)
}

fn encode(unencoded: &Unencoded<'_>) -> Bytes {
    envelope::message(
        unencoded.channel,
        unencoded.epoch,
        unencoded.position,
        unencoded.payload,
        unencoded.resent,
    )
}

/// Proposes a frame on link 1, and applies it if it is new. Some times leave a gap before its position.
fn submit(hub: &mut Hub, publisher: u8, frame: Proposal, now_ms: u64) -> Outcome {
    match hub.propose(origin(publisher, 1), frame) {
        Proposed::Answered(outcome) => outcome,
        Proposed::New(entry) => {
            let ordered = Ordered {
                entry,
                first: Position(hub.next_position().0 + now_ms % 3),
                at_ms: now_ms,
            };
            hub.apply(ordered, encode)
        }
    }
}

fn append(journal: &mut Journal, channel: &str, now_ms: u64) {
    let place = (journal.newest().next(), now_ms);
    let _ = journal.append(channel, place, |_| "x".into());
}

/// Replayed positions of a channel, and whether it is lost.
fn replay(journal: &Journal, channel: &str, after: Position) -> (Vec<u64>, bool) {
    let want = Want {
        channel: channel.into(),
        after: Some(After::Cursor(journal.epoch().at(after))),
    };
    let mut answer = journal.replay(&ReplayRequest {
        wants: vec![want],
        through: journal.newest(),
    });
    let replayed = std::iter::from_fn(|| answer.replay.take_next());
    let positions = replayed.map(|publication| publication.position.0).collect();
    (positions, answer.verdicts == [Verdict::Lost])
}

fn save(hub: &Hub) -> Vec<u8> {
    let mut saved = Vec::new();
    let bytes = hub.save(AT, &mut saved).unwrap();
    assert_eq!(bytes, saved.len() as u64);
    saved
}

/// Result of a resume of every channel after every position.
fn resumes(hub: &Hub) -> Vec<(Vec<u64>, bool)> {
    let journal = &hub.journal;
    let mut resumes = Vec::new();
    for channel in CHANNELS {
        for position in 0..=journal.newest().0 + 1 {
            resumes.push(replay(journal, channel, Position(position)));
        }
    }
    resumes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn restored_hub_gives_the_same_results_as_the_saved_one(
        before in prop::collection::vec(act(), 0..80),
        after in prop::collection::vec(act(), 0..40),
    ) {
        let mut world = World::new(SMALL);
        for act in &before {
            world.act(act);
        }
        let mut restarted = world.restarted();
        prop_assert_eq!(resumes(&world.hub), resumes(&restarted.hub));
        for act in &after {
            prop_assert_eq!(world.act(act), restarted.act(act));
        }
        prop_assert_eq!(resumes(&world.hub), resumes(&restarted.hub));
        prop_assert_eq!(world.hub.journal.newest(), restarted.hub.journal.newest());
        for user in ["0", "1", "2"] {
            for session in [None, Some("0"), Some("1")] {
                for issued_ms in [0, world.now_ms / 2, world.now_ms] {
                    let is_revoked =
                        |hub: &Hub| hub.revocations.is_revoked(user, session, issued_ms);
                    prop_assert_eq!(is_revoked(&world.hub), is_revoked(&restarted.hub));
                }
            }
        }
    }

    #[test]
    fn smaller_limits_after_a_restore_evict_and_report_lost(
        acts in prop::collection::vec(act(), 0..120),
        channel_publications_max in 0..4_usize,
        bytes_max in 0..4_000_usize,
        channels_max in 0..3_usize,
    ) {
        let mut world = World::new(SMALL);
        for act in &acts {
            world.act(act);
        }
        let limits = HistoryLimits { channel_publications_max, bytes_max, channels_max, ..SMALL };
        let saved = save(&world.hub);
        let (hub, _) = Hub::restore(&*saved, limits, 10).unwrap();
        prop_assert_eq!(hub.journal.newest(), world.hub.journal.newest());
        for (whole, less) in resumes(&world.hub).into_iter().zip(resumes(&hub)) {
            prop_assert!(less == whole || less == (vec![], true), "{less:?} of {whole:?}");
        }
    }

    #[test]
    fn restore_of_invalid_values_with_a_valid_checksum_is_harmless(
        acts in prop::collection::vec(act(), 0..40),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut world = World::new(SMALL);
        for act in &acts {
            world.act(act);
        }
        let mut bytes = save(&world.hub);
        bytes.truncate(bytes.len() - 32);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.extend_from_slice(&Sha256::digest(&bytes));
        if let Ok((mut hub, at)) = Hub::restore(&*bytes, SMALL, 10) {
            hub.greet(origin(9, 1), 0, at.now_ms).unwrap();
            submit(&mut hub, 9, rejected(1), at.now_ms);
            for channel in CHANNELS {
                append(&mut hub.journal, channel, at.now_ms);
                let (positions, is_lost) = replay(&hub.journal, channel, Position(0));
                prop_assert!(positions.is_empty() || !is_lost);
            }
            hub.journal.expire(at.now_ms + 10_000);
            prop_assert!(hub.save(at, io::sink()).is_ok());
        }
    }

    #[test]
    fn bytes_that_are_not_a_snapshot_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let after_the_magic = [&MAGIC[..], &VERSION.to_be_bytes(), &bytes].concat();
        for bytes in [bytes, after_the_magic] {
            prop_assert!(Hub::restore(&*bytes, SMALL, 10).is_err());
        }
    }
}

/// A hub with publications, `once` ids, answers, revocations and marks.
fn full() -> World {
    let mut world = World::new(SMALL);
    for number in 0..12 {
        world.act(&Act::Publish {
            publisher: 0,
            channels: vec![number % 4, 4],
            once: u8::try_from(number).ok(),
            wants_receipt: true,
            bytes: 20,
        });
    }
    world.act(&Act::Reject { publisher: 1 });
    for session in [None, Some(3)] {
        world.act(&Act::Revoke {
            publisher: 2,
            user: 7,
            session,
        });
    }
    for (page, ended_ms) in [("ended", Some(5)), ("open", None)] {
        let key = MarkKey::new(page, "cable:board").unwrap();
        let connection = (0, "0.0".parse().unwrap());
        let hub = &mut world.hub;
        let number = hub.open_mark(key, Position(3), Confirmed::default(), connection);
        if let Some(ended_ms) = ended_ms {
            hub.end_mark(key, number, None, ended_ms);
        }
    }
    world
}

#[test]
fn restored_marks_are_those_of_ended_connections() {
    let world = full();
    let mut restored = world.restarted().hub;
    let begin = |hub: &Hub, page: &str| {
        let key = MarkKey::new(page, "cable:board").unwrap();
        hub.begin_after(&key, Position(1), (0, "9.9".parse().unwrap()), world.now_ms)
    };
    for page in ["ended", "open"] {
        assert_eq!(begin(&restored, page), Begin::After(Position(3)));
    }
    assert_eq!(begin(&restored, "other"), Begin::Own);
    let age_ms_max = restored.journal.limits().age_ms_max;
    restored.expire(5 + age_ms_max + 1, 0);
    assert_eq!(begin(&restored, "ended"), Begin::Own);
}

#[test]
fn snapshot_of_any_other_length_is_refused() {
    let saved = save(&full().hub);
    for length in 0..saved.len() {
        let error = Hub::restore(&saved[..length], SMALL, 10).unwrap_err();
        assert!(
            matches!(error, SnapshotError::CutShort),
            "{length}: {error}"
        );
    }
    let longer = [&saved[..], &[0]].concat();
    let error = Hub::restore(&*longer, SMALL, 10).unwrap_err();
    assert!(matches!(error, SnapshotError::Trailing), "{error}");
}

#[test]
fn snapshot_with_any_byte_changed_is_refused() {
    let saved = save(&full().hub);
    for at in 0..saved.len() {
        for flipped in [1 << (at % 8), 0xff] {
            let mut damaged = saved.clone();
            damaged[at] ^= flipped;
            assert!(
                Hub::restore(&*damaged, SMALL, 10).is_err(),
                "byte {at} with {flipped:#x}"
            );
        }
    }
}

#[test]
fn snapshot_error_names_the_problem() {
    let saved = save(&full().hub);
    let changed = |at: usize| {
        let mut changed = saved.clone();
        changed[at] ^= 1;
        Hub::restore(&*changed, SMALL, 10).unwrap_err().to_string()
    };
    assert!(changed(0).contains("not a snapshot"), "{}", changed(0));
    let other = format!("version {}", VERSION ^ 1);
    assert!(changed(9).contains(&other), "{}", changed(9));
    let last = saved.len() - 1;
    assert!(changed(last).contains("checksum"), "{}", changed(last));
}

/// Writer with room for some bytes, like a disk that is nearly full.
struct Disk(usize);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn full_disk_is_an_error_at_any_byte() {
    let hub = full().hub;
    let whole = save(&hub).len();
    for room in 0..whole {
        assert!(hub.save(AT, Disk(room)).is_err(), "{room} of {whole}");
    }
    assert!(hub.save(AT, Disk(whole)).is_ok());
}

#[test]
fn snapshot_larger_than_the_limit_is_an_error() {
    let mut out = Writer::new(io::sink(), 10);
    out.u64(1).unwrap();
    out.u16(1).unwrap();
    let error = out.u8(1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    assert!(error.to_string().contains("10 bytes"), "{error}");
}

#[test]
fn restored_publishers_are_unlinked_and_keep_their_answers() {
    let world = full();
    let (mut hub, _) = Hub::restore(&*save(&world.hub), SMALL, 10).unwrap();
    assert_eq!(
        submit(&mut hub, 0, rejected(12), 0),
        Outcome::Replaced,
        "links of the saved hub are not restored"
    );
    let greeting = hub.greet(origin(0, 1), 0, 0).unwrap();
    assert_eq!((greeting.last, greeting.replaces), (12, None));
    let known = Outcome::Known {
        receipt: Some(Position(24)),
        duplicate: false,
    };
    assert_eq!(submit(&mut hub, 0, rejected(12), 0), known);
}

#[test]
fn publisher_linked_at_the_stop_is_evicted_after_unlinked_ones() {
    let mut hub = Hub::new(Epoch::new("ours").unwrap(), SMALL, 2);
    let (unlinked, linked, new) = (1, 2, 3);
    hub.greet(origin(unlinked, 1), 5, 0).unwrap();
    hub.unlink(origin(unlinked, 1), 10);
    hub.greet(origin(linked, 2), 7, 0).unwrap();
    let (mut hub, _) = Hub::restore(&*save(&hub), SMALL, 2).unwrap();
    hub.greet(origin(new, 1), 0, AT.now_ms).unwrap();
    let again = hub.greet(origin(linked, 2), 0, AT.now_ms).unwrap();
    assert_eq!(again.last, 7);
}

#[test]
fn evicted_positions_of_every_bucket_are_restored() {
    let nothing_fits = HistoryLimits {
        channel_bytes_max: 0,
        ..SMALL
    };
    let mut hub = Hub::new(Epoch::new("ours").unwrap(), nothing_fits, 2);
    // About 24 names for each of the 4,096 buckets, so that every bucket is used.
    let names: Vec<_> = (0..100_000).map(|number| format!("c{number}")).collect();
    for name in &names {
        append(&mut hub.journal, name, 0);
    }
    let (restored, _) = Hub::restore(&*save(&hub), nothing_fits, 2).unwrap();
    for channel in &names {
        let (_, is_lost) = replay(&restored.journal, channel, Position(0));
        assert!(is_lost, "{channel}");
    }
}

#[test]
fn restored_once_ids_keep_their_age() {
    let mut world = World::new(SMALL);
    let publish = Act::Publish {
        publisher: 0,
        channels: vec![0],
        once: Some(1),
        wants_receipt: true,
        bytes: 1,
    };
    world.act(&publish);
    world.now_ms = 119_000;
    let mut restarted = world.restarted();
    restarted.now_ms = 120_000;
    let Some(Outcome::Landed { duplicate, .. }) = restarted.act(&publish) else {
        panic!("the sequence is new")
    };
    assert!(duplicate);
    restarted.now_ms = 120_001;
    let Some(Outcome::Landed { duplicate, .. }) = restarted.act(&publish) else {
        panic!("the sequence is new")
    };
    assert!(!duplicate, "the id has expired");
}

#[test]
fn revocation_of_all_users_is_restored() {
    let mut hub = Hub::new(Epoch::new("ours").unwrap(), SMALL, 2);
    hub.revocations = Revocations::new(1);
    for (user, until_ms) in [("1", 10), ("2", 20)] {
        hub.revocations.add(
            Arc::new(Revocation {
                user: user.into(),
                session: None,
                until_ms,
            }),
            0,
        );
    }
    let (restored, _) = Hub::restore(&*save(&hub), SMALL, 2).unwrap();
    assert_eq!(restored.all_users_revoked_ms(), Some(20));
    assert!(restored.is_revoked("3", None, 20) && !restored.is_revoked("3", None, 21));
}
