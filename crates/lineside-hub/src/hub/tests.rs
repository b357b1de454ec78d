use std::collections::VecDeque;

use lineside_protocol::codes::LINK_BAD_PAYLOAD;
use lineside_protocol::{After, envelope};
use proptest::prelude::*;

use super::*;
use crate::rejection::Rejection;
use crate::snapshot::SavedAt;
use crate::{Revocation, Want};

const PUBLISHER: [u8; 16] = [7; 16];

fn hub() -> Hub {
    let mut hub = Hub::new(Epoch::new("ours").unwrap(), HistoryLimits::default(), 10);
    hub.greet(origin(1), 0, 0).unwrap();
    hub
}

fn origin(link: u64) -> Origin {
    Origin {
        publisher: PUBLISHER,
        link,
    }
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

/// A publish frame that wants a receipt.
fn frame(sequence: u64, publications: &[(&str, &'static str)]) -> Proposal {
    publish_frame(sequence, None, false, publications)
}

fn once(sequence: u64, id: &'static str, publications: &[(&str, &'static str)]) -> Proposal {
    publish_frame(sequence, Some(id), false, publications)
}

fn publish_frame(
    sequence: u64,
    once: Option<&'static str>,
    resent: bool,
    publications: &[(&str, &'static str)],
) -> Proposal {
    let valid = |(channel, payload): &(&str, &'static str)| ValidPublication {
        channel: (*channel).to_owned(),
        payload: Bytes::from_static(payload.as_bytes()),
    };
    Proposal {
        sequence,
        wants_receipt: true,
        change: Change::Publish {
            resent,
            once: once.map(|id| Bytes::from_static(id.as_bytes())),
            publications: publications.iter().map(valid).collect(),
        },
    }
}

fn without_receipt(frame: Proposal) -> Proposal {
    Proposal {
        wants_receipt: false,
        ..frame
    }
}

fn rejected(sequence: u64) -> Proposal {
    Proposal {
        sequence,
        wants_receipt: true,
        change: Change::Reject(Rejection {
            code: LINK_BAD_PAYLOAD,
            message: "not JSON".to_owned(),
        }),
    }
}

fn revocation(sequence: u64, user: &str) -> Proposal {
    Proposal {
        sequence,
        wants_receipt: true,
        change: Change::Revoke(Arc::new(Revocation {
            user: user.to_owned(),
            session: None,
            until_ms: 500,
        })),
    }
}

fn skip(through: u64) -> Proposal {
    Proposal {
        sequence: through,
        wants_receipt: false,
        change: Change::Skip,
    }
}

/// Proposes a frame that must be new.
fn propose(hub: &mut Hub, frame: Proposal) -> Entry {
    match hub.propose(origin(1), frame) {
        Proposed::New(entry) => entry,
        Proposed::Answered(outcome) => panic!("{outcome:?}"),
    }
}

/// Proposes a frame that must need no entry.
fn answer_of(hub: &mut Hub, link: u64, frame: Proposal) -> Outcome {
    match hub.propose(origin(link), frame) {
        Proposed::Answered(outcome) => outcome,
        Proposed::New(entry) => panic!("{entry:?}"),
    }
}

fn apply(hub: &mut Hub, entry: Entry, first: u64) -> Outcome {
    let ordered = Ordered {
        entry,
        first: Position(first),
        at_ms: 0,
    };
    hub.apply(ordered, encode)
}

/// Proposes a frame on `link`, and applies it at the next position if it is new.
fn submit(hub: &mut Hub, link: u64, frame: Proposal) -> Outcome {
    match hub.propose(origin(link), frame) {
        Proposed::Answered(outcome) => outcome,
        Proposed::New(entry) => {
            let next = hub.next_position().0;
            apply(hub, entry, next)
        }
    }
}

/// Landed positions, the receipt, and whether the frame was a duplicate.
fn landed(outcome: Outcome) -> (Vec<u64>, u64, bool) {
    let Outcome::Landed {
        publications,
        receipt,
        duplicate,
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    (
        publications
            .iter()
            .map(|publication| publication.position.0)
            .collect(),
        receipt.0,
        duplicate,
    )
}

fn known(receipt: Option<u64>, duplicate: bool) -> Outcome {
    Outcome::Known {
        receipt: receipt.map(Position),
        duplicate,
    }
}

fn after_position(position: u64) -> After {
    After::Cursor(Epoch::new("ours").unwrap().at(Position(position)))
}

/// Bytes of a snapshot, which contain all state of a hub except counters, links and proposals.
fn saved(hub: &Hub) -> Vec<u8> {
    let at = SavedAt {
        now_ms: 0,
        wall_ms: 0,
    };
    let mut saved = Vec::new();
    hub.save(at, &mut saved).unwrap();
    saved
}

#[test]
fn frame_lands_whole_and_in_order() {
    let mut hub = hub();
    let outcome = submit(&mut hub, 1, frame(1, &[("a", "1"), ("b", "2")]));
    let Outcome::Landed {
        publications,
        receipt,
        duplicate,
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!((receipt, duplicate), (Position(2), false));
    let channels: Vec<_> = publications
        .iter()
        .map(|publication| &*publication.channel)
        .collect();
    assert_eq!(channels, ["a", "b"]);
    let epoch = Epoch::new("ours").unwrap();
    assert_eq!(
        publications[1].body,
        envelope::message("b", &epoch, Position(2), b"2", false)
    );
}

#[test]
fn publication_resent_after_a_crash_is_marked() {
    let mut hub = hub();
    let outcome = submit(&mut hub, 1, publish_frame(1, None, true, &[("a", "1")]));
    let Outcome::Landed { publications, .. } = outcome else {
        panic!("{outcome:?}")
    };
    let epoch = Epoch::new("ours").unwrap();
    assert_eq!(
        publications[0].body,
        envelope::message("a", &epoch, Position(1), b"1", true)
    );
}

#[test]
fn retransmitted_frame_lands_once_and_gets_its_first_answer() {
    let mut hub = hub();
    submit(&mut hub, 1, frame(1, &[("a", "1")]));
    submit(&mut hub, 1, frame(2, &[("a", "2")]));
    hub.greet(origin(2), 0, 0).unwrap();
    assert_eq!(
        submit(&mut hub, 2, frame(1, &[("a", "1")])),
        known(Some(1), false)
    );
    assert_eq!(hub.journal.newest(), Position(2));
}

#[test]
fn retransmitted_frame_without_stored_answer_gets_no_position() {
    let mut hub = hub();
    submit(&mut hub, 1, without_receipt(frame(1, &[("a", "1")])));
    submit(&mut hub, 1, frame(2, &[("a", "2")]));
    assert_eq!(
        submit(&mut hub, 1, without_receipt(frame(1, &[("a", "1")]))),
        known(None, false)
    );
}

#[test]
fn rejected_frame_is_rejected_again_when_retransmitted() {
    let mut hub = hub();
    for _ in 0..2 {
        assert!(matches!(
            submit(&mut hub, 1, rejected(1)),
            Outcome::Rejected(_)
        ));
    }
    assert_eq!(hub.journal.newest(), Position(0));
    assert_eq!(
        landed(submit(&mut hub, 1, frame(2, &[("a", "1")]))),
        (vec![1], 1, false)
    );
    assert_eq!(hub.gaps(), 0);
}

#[test]
fn replaced_link_publishes_nothing() {
    let mut hub = hub();
    hub.greet(origin(2), 0, 0).unwrap();
    assert_eq!(
        submit(&mut hub, 1, frame(1, &[("a", "1")])),
        Outcome::Replaced
    );
    assert_eq!(hub.journal.newest(), Position(0));
}

#[test]
fn once_id_lands_once_per_channel() {
    let mut hub = hub();
    assert_eq!(
        landed(submit(&mut hub, 1, once(1, "id", &[("a", "1")]))),
        (vec![1], 1, false)
    );
    submit(&mut hub, 1, frame(2, &[("b", "1")]));
    assert_eq!(
        landed(submit(&mut hub, 1, once(3, "id", &[("a", "1")]))),
        (vec![], 1, true)
    );
    let mixed = once(4, "id", &[("a", "1"), ("c", "1")]);
    assert_eq!(landed(submit(&mut hub, 1, mixed)), (vec![3], 3, false));
    assert_eq!(
        submit(&mut hub, 1, once(3, "id", &[("a", "1")])),
        known(Some(1), true)
    );
}

#[test]
fn receipt_of_a_duplicate_is_the_last_position_of_the_original() {
    let mut hub = hub();
    let both = [("a", "1"), ("b", "1")];
    submit(&mut hub, 1, once(1, "id", &both));
    assert_eq!(
        landed(submit(&mut hub, 1, once(2, "id", &both))),
        (vec![], 2, true)
    );
}

#[test]
fn once_frame_with_one_channel_twice_lands_both_publications_once() {
    let mut hub = hub();
    let twice = [("a", "1"), ("a", "2")];
    assert_eq!(
        landed(submit(&mut hub, 1, once(1, "id", &twice))),
        (vec![1, 2], 2, false)
    );
    assert_eq!(
        landed(submit(&mut hub, 1, once(2, "id", &twice))),
        (vec![], 2, true)
    );
}

#[test]
fn revocation_takes_a_position_of_the_journal() {
    let mut hub = hub();
    landed(submit(&mut hub, 1, frame(1, &[("a", "1")])));
    let Outcome::Revoked {
        position,
        revocation: revoked,
    } = submit(&mut hub, 1, revocation(2, "7"))
    else {
        panic!("not revoked")
    };
    assert_eq!((position.0, revoked.user.as_str()), (2, "7"));
    assert!(hub.is_revoked("7", None, 500));
    let (positions, ..) = landed(submit(&mut hub, 1, frame(3, &[("a", "2")])));
    assert_eq!(positions, [3]);
}

#[test]
fn retransmitted_revocation_lands_once_and_gets_its_first_answer() {
    let mut hub = hub();
    submit(&mut hub, 1, revocation(1, "7"));
    landed(submit(&mut hub, 1, frame(2, &[("a", "1")])));
    assert_eq!(
        submit(&mut hub, 1, revocation(1, "7")),
        known(Some(1), false)
    );
    assert_eq!(hub.journal.newest(), Position(2));
}

#[test]
fn revocation_reaches_shards_however_many_there_are() {
    let mut hub = hub();
    hub.revocations = Revocations::new(2);
    for number in 1..=5 {
        let user = number.to_string();
        let Outcome::Revoked {
            position,
            revocation,
        } = submit(&mut hub, 1, revocation(number, &user))
        else {
            panic!("it is applied")
        };
        assert_eq!((position, &revocation.user), (Position(number), &user));
    }
    assert!(hub.all_users_revoked_ms().is_some());
}

#[test]
fn retransmitted_frame_is_under_way_until_it_is_applied() {
    let mut hub = hub();
    let entry = propose(&mut hub, frame(1, &[("a", "1")]));
    for _ in 0..2 {
        assert_eq!(
            answer_of(&mut hub, 1, frame(1, &[("a", "1")])),
            Outcome::UnderWay
        );
    }
    assert_eq!(hub.counts().duplicates, 0);
    assert_eq!(landed(apply(&mut hub, entry, 1)), (vec![1], 1, false));
    assert_eq!(
        answer_of(&mut hub, 1, frame(1, &[("a", "1")])),
        known(Some(1), false)
    );
    assert_eq!((hub.counts().duplicates, hub.counts().landed), (1, 1));
}

#[test]
fn proposing_changes_nothing_but_the_sequence() {
    let mut hub = hub();
    let before = saved(&hub);
    let first = propose(&mut hub, once(1, "id", &[("a", "1")]));
    let second = propose(&mut hub, revocation(2, "7"));
    assert_eq!(hub.cursor().position, Position(0));
    assert!(!hub.is_revoked("7", None, 500));
    assert_eq!(saved(&hub), before, "a proposal is not saved");
    apply(&mut hub, first, 1);
    assert!(!hub.is_revoked("7", None, 500));
    apply(&mut hub, second, 2);
    assert!(hub.is_revoked("7", None, 500));
    assert_eq!(hub.gaps(), 0);
}

#[test]
fn greeting_reports_the_landed_sequence_not_the_proposed_one() {
    let mut hub = hub();
    let entries: Vec<_> = (1..=3)
        .map(|sequence| propose(&mut hub, frame(sequence, &[("a", "1")])))
        .collect();
    assert_eq!(hub.greet(origin(2), 0, 0).unwrap().last, 0);
    for (last, entry) in (1..).zip(entries) {
        apply(&mut hub, entry, last);
        assert_eq!(hub.greet(origin(2 + last), 0, 0).unwrap().last, last);
    }
}

#[test]
fn restored_hub_accepts_frames_that_were_proposed_but_not_applied() {
    let mut hub = hub();
    submit(&mut hub, 1, frame(1, &[("a", "1")]));
    drop(propose(&mut hub, frame(2, &[("a", "2")])));
    let (mut restored, _) = Hub::restore(&*saved(&hub), HistoryLimits::default(), 10).unwrap();
    assert_eq!(restored.greet(origin(1), 0, 0).unwrap().last, 1);
    assert_eq!(
        landed(submit(&mut restored, 1, frame(2, &[("a", "2")]))),
        (vec![2], 2, false)
    );
    assert_eq!(restored.gaps(), 0);
}

#[test]
fn frame_proposed_on_a_replaced_link_lands_when_applied() {
    let mut hub = hub();
    let entry = propose(&mut hub, frame(1, &[("a", "1")]));
    assert_eq!(hub.greet(origin(2), 0, 0).unwrap().replaces, Some(1));
    assert_eq!(
        answer_of(&mut hub, 2, frame(1, &[("a", "1")])),
        Outcome::UnderWay
    );
    assert_eq!(
        answer_of(&mut hub, 1, frame(2, &[("a", "2")])),
        Outcome::Replaced
    );
    assert_eq!(landed(apply(&mut hub, entry, 1)), (vec![1], 1, false));
    assert_eq!(
        answer_of(&mut hub, 2, frame(1, &[("a", "1")])),
        known(Some(1), false)
    );
    assert_eq!(
        landed(submit(&mut hub, 2, frame(2, &[("a", "2")]))),
        (vec![2], 2, false)
    );
    assert_eq!(hub.gaps(), 0);
}

/// Copy of an entry. Engines may deliver a retransmitted frame twice.
fn entry(proposal: Proposal) -> Entry {
    Entry {
        publisher: PUBLISHER,
        proposal,
    }
}

#[test]
fn entry_applied_twice_changes_nothing() {
    let mut hub = hub();
    let publish = || once(1, "id", &[("a", "1"), ("b", "2")]);
    let first = propose(&mut hub, publish());
    landed(apply(&mut hub, first, 1));
    let revoke = propose(&mut hub, revocation(2, "7"));
    apply(&mut hub, revoke, 3);
    let reject = propose(&mut hub, rejected(3));
    apply(&mut hub, reject, 4);
    let (before, counts) = (saved(&hub), hub.counts());

    assert_eq!(apply(&mut hub, entry(publish()), 4), known(Some(2), false));
    assert_eq!(
        apply(&mut hub, entry(revocation(2, "7")), 4),
        known(Some(3), false)
    );
    assert!(matches!(
        apply(&mut hub, entry(rejected(3)), 4),
        Outcome::Rejected(_)
    ));
    assert!(saved(&hub) == before, "the state is the same");
    let after = hub.counts();
    assert_eq!(
        (
            after.landed,
            after.landed_bytes,
            after.revoked,
            after.newest
        ),
        (
            counts.landed,
            counts.landed_bytes,
            counts.revoked,
            counts.newest
        )
    );
    assert_eq!(after.duplicates, counts.duplicates + 2);
}

#[test]
fn entry_of_an_unknown_publisher_applied_twice_lands_once() {
    let epoch = Epoch::new("ours").unwrap();
    let mut other = Hub::new(epoch, HistoryLimits::default(), 10);
    let first = apply(&mut other, entry(frame(1, &[("a", "1")])), 1);
    assert_eq!(landed(first), (vec![1], 1, false));
    let again = apply(&mut other, entry(frame(1, &[("a", "1")])), 2);
    assert_eq!(again, known(Some(1), false));
    assert_eq!(other.greet(origin(1), 0, 0).unwrap().last, 1);
}

#[test]
fn retransmitted_skip_is_skipped_and_counts_no_duplicate() {
    let mut hub = hub();
    assert_eq!(submit(&mut hub, 1, skip(5)), Outcome::Skipped);
    assert_eq!(answer_of(&mut hub, 1, skip(5)), Outcome::Skipped);
    assert_eq!(answer_of(&mut hub, 1, skip(3)), Outcome::Skipped);
    assert_eq!(apply(&mut hub, entry(skip(5)), 1), Outcome::Skipped);
    assert_eq!((hub.counts().duplicates, hub.gaps()), (0, 0));
    assert_eq!(hub.cursor().position, Position(0));
    assert_eq!(hub.greet(origin(2), 0, 0).unwrap().last, 5);
    submit(&mut hub, 2, frame(6, &[("a", "1")]));
    assert_eq!(hub.gaps(), 0);
}

#[test]
fn skip_is_under_way_until_it_is_applied() {
    let mut hub = hub();
    let proposed = propose(&mut hub, skip(5));
    assert_eq!(answer_of(&mut hub, 1, skip(5)), Outcome::UnderWay);
    assert_eq!(hub.greet(origin(2), 0, 0).unwrap().last, 0);
    assert_eq!(apply(&mut hub, proposed, 1), Outcome::Skipped);
    assert_eq!(answer_of(&mut hub, 2, skip(5)), Outcome::Skipped);
}

#[test]
fn entries_at_sparse_positions_replay_and_get_exact_receipts() {
    let mut hub = hub();
    let mut expected = Vec::new();
    for (sequence, first) in (1..).zip([3, 10, 1_000, 1 << 40]) {
        let entry = propose(&mut hub, frame(sequence, &[("a", "1"), ("b", "1")]));
        assert_eq!(
            landed(apply(&mut hub, entry, first)),
            (vec![first, first + 1], first + 1, false)
        );
        expected.extend([first, first + 1]);
    }
    let revoke = propose(&mut hub, revocation(5, "7"));
    apply(&mut hub, revoke, 1 << 50);
    assert_eq!(hub.cursor().position, Position(1 << 50));
    assert_eq!(hub.next_position(), Position((1 << 50) + 1));
    assert_eq!(
        answer_of(&mut hub, 1, frame(2, &[("a", "1"), ("b", "1")])),
        known(Some(11), false)
    );
    for after in [0, 1, 3, 4, 5, 9, 10, 11, 500, 1_001, 1 << 41, 1 << 50] {
        for through in [0, 2, 3, 4, 10, 999, 1_000, 1 << 40, 1 << 50] {
            let want = |channel: &str| Want {
                channel: channel.into(),
                after: Some(after_position(after)),
            };
            let mut answer = hub.replay(&ReplayRequest {
                wants: vec![want("a"), want("b")],
                through: Position(through),
            });
            assert_eq!(answer.verdicts, [crate::Verdict::Recovered; 2]);
            let replayed: Vec<_> = std::iter::from_fn(|| answer.replay.take_next())
                .map(|publication| publication.position.0)
                .collect();
            let missed: Vec<_> = expected
                .iter()
                .copied()
                .filter(|position| (after + 1..=through).contains(position))
                .collect();
            assert_eq!(replayed, missed, "after {after} through {through}");
        }
    }
}

/// Number of frames that the publisher of a random run sends.
const FRAMES: u64 = 30;

/// One step of a random run.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Sends the next frame.
    Send,
    /// Sends a frame on the link before the newest one.
    SendLate,
    /// Applies the oldest proposed entry.
    Apply { gap: u64 },
    /// Opens a new link, and retransmits from the last three landed frames on.
    Relink { unlinks: bool },
    /// Saves and restores the hub. Proposed entries are lost.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Send),
        1 => Just(Step::SendLate),
        6 => (0..3_u64).prop_map(|gap| Step::Apply { gap }),
        2 => any::<bool>().prop_map(|unlinks| Step::Relink { unlinks }),
        1 => Just(Step::Restart),
    ]
}

/// A hub, and one publisher whose entries are applied later than proposed.
struct Run {
    hub: Hub,
    link: u64,
    next: u64,
    proposed: VecDeque<Entry>,
    /// Newest proposed sequence of this hub.
    newest: u64,
    /// Positions of the landed frames.
    landed: Vec<u64>,
}

impl Run {
    fn new() -> Self {
        Self {
            hub: hub(),
            link: 1,
            next: 1,
            proposed: VecDeque::new(),
            newest: 0,
            landed: Vec::new(),
        }
    }

    fn numbered(sequence: u64) -> Proposal {
        let publication = ValidPublication {
            channel: "a".to_owned(),
            payload: Bytes::from(sequence.to_string()),
        };
        Proposal {
            sequence,
            wants_receipt: true,
            change: Change::Publish {
                resent: false,
                once: None,
                publications: vec![publication],
            },
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send if self.next <= FRAMES => self.send(),
            Step::SendLate if self.link > 1 => {
                let outcome = answer_of(&mut self.hub, self.link - 1, Self::numbered(self.next));
                assert_eq!(outcome, Outcome::Replaced);
            }
            Step::Send | Step::SendLate => {}
            Step::Apply { gap } => self.apply(gap),
            Step::Relink { unlinks } => {
                if unlinks {
                    self.hub.unlink(origin(self.link), 0);
                }
                self.link += 1;
                self.greet();
            }
            Step::Restart => {
                let limits = HistoryLimits::default();
                let (hub, _) = Hub::restore(&*saved(&self.hub), limits, 10).unwrap();
                self.hub = hub;
                self.proposed.clear();
                self.newest = self.landed.len() as u64;
                self.link = 1;
                self.greet();
            }
        }
    }

    fn greet(&mut self) {
        let landed = self.landed.len() as u64;
        let done = landed.saturating_sub(3);
        let greeting = self.hub.greet(origin(self.link), done, 0).unwrap();
        assert_eq!(greeting.last, landed);
        self.next = done + 1;
    }

    fn send(&mut self) {
        let sequence = self.next;
        self.next += 1;
        let landed = self.landed.len() as u64;
        match self
            .hub
            .propose(origin(self.link), Self::numbered(sequence))
        {
            Proposed::New(entry) => {
                assert_eq!(sequence, self.newest + 1, "each sequence is new once");
                self.newest = sequence;
                self.proposed.push_back(entry);
            }
            Proposed::Answered(Outcome::UnderWay) => {
                assert!(landed < sequence && sequence <= self.newest);
            }
            Proposed::Answered(outcome) => {
                assert!(sequence <= landed);
                let at = usize::try_from(sequence).unwrap() - 1;
                assert_eq!(outcome, known(Some(self.landed[at]), false));
            }
        }
    }

    fn apply(&mut self, gap: u64) {
        if let Some(entry) = self.proposed.pop_front() {
            let first = self.hub.next_position().0 + gap;
            let outcome = apply(&mut self.hub, entry, first);
            assert_eq!(landed(outcome), (vec![first], first, false));
            self.landed.push(first);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn frames_land_once_and_in_order_however_late_they_are_applied(
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        while run.landed.len() as u64 != FRAMES {
            run.step(Step::Send);
            run.step(Step::Apply { gap: 0 });
        }
        prop_assert_eq!(run.hub.gaps(), 0);
        let want = Want {
            channel: "a".into(),
            after: Some(after_position(0)),
        };
        let mut answer = run.hub.replay(&ReplayRequest {
            wants: vec![want],
            through: run.hub.cursor().position,
        });
        let epoch = Epoch::new("ours").unwrap();
        for (sequence, position) in (1_u64..).zip(&run.landed) {
            let payload = sequence.to_string();
            let publication = answer.replay.take_next().unwrap();
            prop_assert_eq!(publication.position.0, *position);
            prop_assert_eq!(
                &publication.body,
                &envelope::message("a", &epoch, Position(*position), payload.as_bytes(), false)
            );
        }
        prop_assert!(answer.replay.is_empty());
    }
}
