use lineside_protocol::codes::LINK_BAD_PAYLOAD;
use lineside_protocol::{After, Epoch, Position};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::PublishOutcome;
use crate::door::{Checked, Passed, Refused};
use crate::journal::Wanted;
use crate::revocations::{CheckedRevocation, Revocation};

const CHANNELS: [&str; 6] = ["a", "b", "c", "user:1", "cable:x", "never published to"];

/// So small that every limit is met within a hundred frames.
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

/// One thing that happens to a hub.
#[derive(Clone, Debug)]
enum Act {
    Publish {
        publisher: u8,
        channels: Vec<usize>,
        once: Option<u8>,
        wants_receipt: bool,
        bytes: usize,
    },
    Refuse {
        publisher: u8,
    },
    SignOut {
        publisher: u8,
        user: u8,
        session: Option<u8>,
    },
    /// The frame before comes again.
    Again {
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
        1 => (0_u8..3).prop_map(|publisher| Act::Refuse { publisher }),
        1 => (0_u8..3, 0_u8..3, prop::option::of(0_u8..3)).prop_map(
            |(publisher, user, session)| Act::SignOut { publisher, user, session }
        ),
        1 => (0_u8..3).prop_map(|publisher| Act::Again { publisher }),
        2 => (0_u64..200).prop_map(|ms| Act::Wait { ms }),
    ]
}

/// A hub, and what its publishers and its clock know.
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
            let hello = self
                .hub
                .publishers
                .hello([publisher; 16], 0, link, self.now_ms);
            assert_eq!(hello.unwrap().last, self.sequences[usize::from(publisher)]);
        }
    }

    fn publish(&mut self, publisher: u8, frame: &Checked) -> PublishOutcome {
        self.hub.publish([publisher; 16], 1, frame, self.now_ms)
    }

    fn act(&mut self, act: &Act) -> Option<PublishOutcome> {
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
                let pass = |channel: &usize| Passed {
                    channel: CHANNELS[*channel].to_owned(),
                    payload: vec![b'1'; *bytes].into(),
                };
                let frame = Checked {
                    wants_receipt: *wants_receipt,
                    once: once.map(|id| vec![id].into()),
                    publications: Ok(channels.iter().map(pass).collect()),
                    ..refused(next(*publisher))
                };
                Some(self.publish(*publisher, &frame))
            }
            Act::Refuse { publisher } => {
                let frame = refused(next(*publisher));
                Some(self.publish(*publisher, &frame))
            }
            Act::SignOut {
                publisher,
                user,
                session,
            } => {
                let revocation = Revocation {
                    user: user.to_string(),
                    session: session.map(|session| session.to_string()),
                    until_ms: self.now_ms,
                };
                let frame = CheckedRevocation {
                    sequence: next(*publisher),
                    wants_receipt: true,
                    revocation: Ok(revocation),
                };
                Some(self.hub.revoke([*publisher; 16], 1, &frame))
            }
            Act::Again { publisher } => {
                let sequence = self.sequences[usize::from(*publisher)];
                (sequence > 0).then(|| self.publish(*publisher, &refused(sequence)))
            }
        }
    }

    /// As after a restart.
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

fn refused(sequence: u64) -> Checked {
    let refused = Refused {
        code: LINK_BAD_PAYLOAD,
        message: "not JSON".to_owned(),
    };
    Checked::refused(sequence, refused)
}

fn save(hub: &Hub) -> Vec<u8> {
    let mut saved = Vec::new();
    let bytes = hub.save(AT, &mut saved).unwrap();
    assert_eq!(bytes, saved.len() as u64);
    saved
}

/// What a resume after each position is told, for every channel.
fn resumes(hub: &Hub) -> Vec<(Vec<u64>, bool)> {
    let journal = &hub.journal;
    let mut resumes = Vec::new();
    for channel in CHANNELS {
        for position in 0..=journal.newest().0 + 1 {
            let after = &After::Cursor(journal.epoch().at(Position(position)));
            let replay = journal.replay(&[Wanted { channel, after }], journal.newest());
            let positions = replay.entries.iter().map(|entry| entry.position.0);
            resumes.push((positions.collect(), replay.lost[0]));
        }
    }
    resumes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_restored_hub_goes_on_as_the_saved_one_would_have(
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
    fn smaller_limits_of_the_successor_forget_and_never_lie(
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
    fn values_that_no_hub_would_write_do_no_harm(
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
            hub.publishers.hello([9; 16], 0, 1, at.now_ms).unwrap();
            hub.publish([9; 16], 1, &refused(1), at.now_ms);
            let after = &After::Cursor(hub.journal.epoch().at(Position(0)));
            for channel in CHANNELS {
                hub.journal.append(channel, at.now_ms, |_| "x".into());
                let wanted = [Wanted { channel, after }];
                prop_assert!(hub.journal.replay(&wanted, hub.journal.newest()).lost.len() == 1);
            }
            hub.journal.expire(at.now_ms + 10_000);
            prop_assert!(hub.save(at, io::sink()).is_ok());
        }
    }

    #[test]
    fn bytes_that_are_no_state_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let after_the_magic = [&MAGIC[..], &VERSION.to_be_bytes(), &bytes].concat();
        for bytes in [bytes, after_the_magic] {
            prop_assert!(Hub::restore(&*bytes, SMALL, 10).is_err());
        }
    }
}

/// One hub with something of everything.
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
    world.act(&Act::Refuse { publisher: 1 });
    for session in [None, Some(3)] {
        world.act(&Act::SignOut {
            publisher: 2,
            user: 7,
            session,
        });
    }
    world
}

#[test]
fn a_state_that_is_cut_anywhere_is_refused() {
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
fn a_state_with_any_byte_changed_is_refused() {
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
fn a_refusal_says_what_is_wrong() {
    let saved = save(&full().hub);
    let changed = |at: usize| {
        let mut changed = saved.clone();
        changed[at] ^= 1;
        Hub::restore(&*changed, SMALL, 10).unwrap_err().to_string()
    };
    assert!(changed(0).contains("does not begin"), "{}", changed(0));
    assert!(changed(9).contains("version 0"), "{}", changed(9));
    let last = saved.len() - 1;
    assert!(changed(last).contains("checksum"), "{}", changed(last));
}

/// Takes some bytes, as a disk does that is nearly full.
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
fn a_writer_that_takes_no_more_is_an_error_wherever_it_stops() {
    let hub = full().hub;
    let whole = save(&hub).len();
    for room in 0..whole {
        assert!(hub.save(AT, Disk(room)).is_err(), "{room} of {whole}");
    }
    assert!(hub.save(AT, Disk(whole)).is_ok());
}

#[test]
fn what_a_state_may_hold_has_an_end() {
    let mut out = Writer::new(io::sink(), 10);
    out.u64(1).unwrap();
    out.u16(1).unwrap();
    let error = out.u8(1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    assert!(error.to_string().contains("10 bytes"), "{error}");
}

#[test]
fn a_publisher_that_was_linked_is_not_and_its_answers_are_kept() {
    let world = full();
    let (mut hub, _) = Hub::restore(&*save(&world.hub), SMALL, 10).unwrap();
    let frame = refused(12);
    assert_eq!(
        hub.publish([0; 16], 1, &frame, 0),
        PublishOutcome::Replaced,
        "a link of the predecessor is no link"
    );
    let greeting = hub.publishers.hello([0; 16], 0, 1, 0).unwrap();
    assert_eq!((greeting.last, greeting.replaces), (12, None));
    let known = PublishOutcome::Known {
        receipt: Some(Position(24)),
        duplicate: false,
    };
    assert_eq!(hub.publish([0; 16], 1, &frame, 0), known);
}

#[test]
fn a_publisher_that_was_linked_at_the_stop_is_not_the_first_to_be_forgotten() {
    let mut hub = Hub::new(Epoch::new("ours").unwrap(), SMALL, 2);
    let (gone, linked, new) = ([1; 16], [2; 16], [3; 16]);
    hub.publishers.hello(gone, 5, 1, 0).unwrap();
    hub.publishers.unlink(gone, 1, 10);
    hub.publishers.hello(linked, 7, 2, 0).unwrap();
    let (mut hub, _) = Hub::restore(&*save(&hub), SMALL, 2).unwrap();
    hub.publishers.hello(new, 0, 1, AT.now_ms).unwrap();
    let again = hub.publishers.hello(linked, 0, 2, AT.now_ms).unwrap();
    assert_eq!(again.last, 7);
}

#[test]
fn what_was_forgotten_is_kept_of_every_bucket() {
    let nothing_fits = HistoryLimits {
        channel_bytes_max: 0,
        ..SMALL
    };
    let mut hub = Hub::new(Epoch::new("ours").unwrap(), nothing_fits, 2);
    // Two dozen for each of the 4,096 buckets, so that none is left out.
    let names: Vec<_> = (0..100_000).map(|number| format!("c{number}")).collect();
    for name in &names {
        hub.journal.append(name, 0, |_| "1".into());
    }
    let (restored, _) = Hub::restore(&*save(&hub), nothing_fits, 2).unwrap();
    let start = After::Cursor(restored.journal.epoch().at(Position(0)));
    for channel in &names {
        let wanted = Wanted {
            channel,
            after: &start,
        };
        let replay = restored
            .journal
            .replay(&[wanted], restored.journal.newest());
        assert_eq!(replay.lost, [true], "{channel}");
    }
}

#[test]
fn ids_keep_their_age() {
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
    let Some(PublishOutcome::Landed { duplicate, .. }) = restarted.act(&publish) else {
        panic!("it is new to its publisher")
    };
    assert!(duplicate);
    restarted.now_ms = 120_001;
    let Some(PublishOutcome::Landed { duplicate, .. }) = restarted.act(&publish) else {
        panic!("it is new to its publisher")
    };
    assert!(!duplicate, "two minutes are over");
}
