use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::journal::history::RUN_POINTERS;
use crate::journal::{ENTRY_OVERHEAD_BYTES, HistoryLimits};

const CHANNELS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Pointers of a replay of all of `a` and `b` (see `nearly_exhausted`).
const A_AND_B: usize = 2 * RUN_POINTERS + 5;

fn cursor(position: u64) -> After {
    After::Cursor(Epoch::new("ours").unwrap().at(Position(position)))
}

fn want(channel: &str, after: u64) -> Want {
    Want {
        channel: channel.into(),
        after: Some(cursor(after)),
    }
}

fn request(wants: Vec<Want>, through: Position) -> ReplayRequest {
    ReplayRequest { wants, through }
}

fn append(journal: &mut Journal, channel: &str, count: usize) {
    for _ in 0..count {
        let position = journal.newest().next();
        let _ = journal.append(channel, (position, 0), |_| "body".into());
    }
}

fn take_all(replay: &mut Replay) -> Vec<u64> {
    std::iter::from_fn(|| replay.take_next())
        .map(|publication| publication.position.0)
        .collect()
}

/// A journal that holds everything.
fn unlimited() -> Journal {
    let limits = HistoryLimits {
        channel_publications_max: usize::MAX,
        channel_bytes_max: usize::MAX,
        age_ms_max: u64::MAX,
        bytes_max: usize::MAX,
        channels_max: usize::MAX,
    };
    Journal::new(Epoch::new("ours").unwrap(), limits)
}

/// A journal with room for `left` more pointers of replays: 130 publications of `a` (two sealed chunks and two
/// publications, so four pointers and those of the run), and one each of `b` and `c`.
fn nearly_exhausted(left: usize) -> Journal {
    let mut journal = unlimited();
    append(&mut journal, "a", 130);
    append(&mut journal, "b", 1);
    append(&mut journal, "c", 1);
    let taken = REPLAY_POINTERS_MAX - left;
    journal.replay_budget.taken.store(taken, Ordering::Relaxed);
    journal.replay_budget.free = 0;
    journal
}

fn left(journal: &Journal) -> usize {
    REPLAY_POINTERS_MAX - journal.replay_budget.taken.load(Ordering::Relaxed)
}

#[test]
fn channels_beyond_the_pointer_budget_are_lost() {
    let journal = nearly_exhausted(A_AND_B);
    let newest = journal.newest();
    let wants = vec![want("b", 10), want("a", 20), want("c", 0), want("d", 7)];
    let mut answer = journal.replay(&request(wants, newest));
    assert_eq!(
        answer.verdicts,
        [
            Verdict::Recovered,
            Verdict::Recovered,
            Verdict::Lost,
            Verdict::Recovered
        ],
        "a channel that missed nothing needs no pointer"
    );
    assert_eq!(
        answer.floor,
        Some(Position(7)),
        "a lost channel has no floor"
    );
    assert_eq!(left(&journal), 0);
    let other = journal.replay(&request(vec![want("b", 0)], newest));
    assert_eq!(other.verdicts, [Verdict::Lost]);
    assert!(other.replay.is_empty() && other.floor.is_none());
    drop(other);
    assert_eq!(left(&journal), 0);
    assert_eq!(take_all(&mut answer.replay), (21..=131).collect::<Vec<_>>());
}

#[test]
fn large_channel_that_exceeds_the_budget_leaves_room_for_a_small_one() {
    let journal = nearly_exhausted(RUN_POINTERS + 3);
    let wants = vec![want("a", 0), want("b", 0)];
    let mut answer = journal.replay(&request(wants, journal.newest()));
    assert_eq!(answer.verdicts, [Verdict::Lost, Verdict::Recovered]);
    assert_eq!(left(&journal), 2);
    assert_eq!(take_all(&mut answer.replay), [131]);
    assert_eq!(left(&journal), RUN_POINTERS + 3);
}

#[test]
fn small_replay_is_recovered_although_the_budget_is_exhausted() {
    let mut journal = nearly_exhausted(0);
    journal.replay_budget.free = A_AND_B;
    let wants = || vec![want("a", 0), want("b", 0), want("c", 0)];
    let mut answer = journal.replay(&request(wants(), journal.newest()));
    let [recovered, lost] = [Verdict::Recovered, Verdict::Lost];
    assert_eq!(answer.verdicts, [recovered, recovered, lost]);
    assert_eq!(left(&journal), 0);
    assert_eq!(take_all(&mut answer.replay).len(), 131);
    drop(answer);
    journal
        .replay_budget
        .taken
        .store(REPLAY_POINTERS_MAX - RUN_POINTERS - 1, Ordering::Relaxed);
    let answer = journal.replay(&request(wants(), journal.newest()));
    assert_eq!((answer.verdicts, left(&journal)), (vec![recovered; 3], 0));
    drop(answer.replay);
    assert_eq!(left(&journal), RUN_POINTERS + 1);
}

#[test]
fn replay_of_one_missed_publication_holds_one_pointer() {
    let mut journal = nearly_exhausted(RUN_POINTERS + 1);
    append(&mut journal, "d", 63);
    let newest = journal.newest();
    let answer = journal.replay(&request(vec![want("d", newest.0 - 1)], newest));
    assert_eq!(
        (answer.verdicts, answer.replay.len()),
        (vec![Verdict::Recovered], 1)
    );
}

#[test]
fn replay_frees_its_pointers_when_taken_forgotten_or_dropped() {
    type Finish = fn(&mut Replay);
    let finish: [(&str, Finish); 3] = [
        ("taken", |replay| drop(take_all(replay))),
        ("forgotten", |replay| {
            replay.forget("a");
            replay.forget("b");
        }),
        ("dropped", |replay| drop(std::mem::take(replay))),
    ];
    for (name, finish) in finish {
        let journal = nearly_exhausted(A_AND_B);
        let both = || {
            let wants = vec![want("a", 0), want("b", 0)];
            journal.replay(&request(wants, journal.newest()))
        };
        for _ in 0..3 {
            let mut answer = both();
            assert_eq!(answer.verdicts, [Verdict::Recovered; 2], "{name}");
            assert_eq!(left(&journal), 0, "{name}");
            assert_eq!(both().verdicts, [Verdict::Lost; 2], "{name}");
            finish(&mut answer.replay);
            assert_eq!(left(&journal), A_AND_B, "{name}, and not dropped yet");
            assert!(answer.replay.is_empty() && answer.replay.take_next().is_none());
        }
    }
}

#[test]
fn through_bounds_a_replay_in_sealed_and_open_chunks() {
    let mut journal = unlimited();
    for _ in 0..150 {
        append(&mut journal, "a", 1);
        append(&mut journal, "b", 1);
    }
    for through in 0..=300 {
        let wants = vec![want("a", 40), want("b", 0)];
        let mut answer = journal.replay(&request(wants, Position(through)));
        let is_missed = |position: &u64| position.is_multiple_of(2) || *position > 40;
        let expected: Vec<_> = (1..=through).filter(is_missed).collect();
        assert_eq!(answer.replay.len(), expected.len());
        assert_eq!(take_all(&mut answer.replay), expected, "through {through}");
    }
}

#[test]
fn replay_is_not_extended_by_later_publications() {
    let mut journal = unlimited();
    append(&mut journal, "a", 100);
    let mut answer = journal.replay(&request(vec![want("a", 30)], journal.newest()));
    append(&mut journal, "a", 100);
    assert_eq!(take_all(&mut answer.replay), (31..=100).collect::<Vec<_>>());
}

#[test]
fn eviction_of_shared_chunks_changes_neither_replay_nor_journal() {
    let limits = HistoryLimits {
        channel_publications_max: 200,
        ..HistoryLimits::default()
    };
    let journal = || Journal::new(Epoch::new("ours").unwrap(), limits);
    let (mut shared, mut alone) = (journal(), journal());
    append(&mut shared, "a", 200);
    append(&mut alone, "a", 200);
    let answer = |journal: &Journal| {
        let oldest = journal.newest().0 - 200;
        journal.replay(&request(vec![want("a", oldest)], journal.newest()))
    };
    let mut replays = Vec::new();
    for _ in 0..300 {
        replays.push((shared.newest().0, answer(&shared)));
        append(&mut shared, "a", 1);
        append(&mut alone, "a", 1);
        assert_eq!(
            (shared.bytes(), shared.len()),
            (alone.bytes(), alone.len()),
            "as without replays"
        );
    }
    for (newest, mut answer) in replays {
        assert_eq!(answer.verdicts, [Verdict::Recovered]);
        let all: Vec<_> = (newest - 199..=newest).collect();
        assert_eq!(take_all(&mut answer.replay), all);
    }
    assert_eq!(left(&shared), REPLAY_POINTERS_MAX);
}

/// One step of the comparison with [`Reference`].
#[derive(Clone, Debug)]
enum Step {
    Append {
        channel: usize,
        count: usize,
        gap: u64,
        bytes: usize,
    },
    Pass {
        gap: u64,
    },
    Expire {
        ms: u64,
    },
    /// Begins a replay. Cursors and `through` are parts of the newest position, in thousandths.
    Capture {
        wants: Vec<(usize, Option<u64>)>,
        through: u64,
    },
    Take {
        replay: prop::sample::Index,
        count: usize,
    },
    Forget {
        replay: prop::sample::Index,
        channel: usize,
    },
    Drop {
        replay: prop::sample::Index,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let channel = || 0..CHANNELS.len();
    let index = || any::<prop::sample::Index>();
    let after = prop::option::weighted(0.9, prop_oneof![0..=1_000_u64, 900..=1_000_u64]);
    let wants = prop::collection::vec((channel(), after), 1..7);
    let through = prop_oneof![Just(1_000), 0..=1_000_u64];
    let count = prop_oneof![1..4_usize, 1..150_usize];
    prop_oneof![
        8 => (channel(), count.clone(), 0..3_u64, 1..40_usize).prop_map(
            |(channel, count, gap, bytes)| Step::Append { channel, count, gap, bytes }
        ),
        1 => (0..5_u64).prop_map(|gap| Step::Pass { gap }),
        1 => (0..200_u64).prop_map(|ms| Step::Expire { ms }),
        5 => (wants, through).prop_map(|(wants, through)| Step::Capture { wants, through }),
        4 => (index(), count).prop_map(|(replay, count)| Step::Take { replay, count }),
        2 => (index(), channel()).prop_map(|(replay, channel)| Step::Forget { replay, channel }),
        1 => index().prop_map(|replay| Step::Drop { replay }),
    ]
}

fn limits() -> impl Strategy<Value = HistoryLimits> {
    let channel = (
        prop_oneof![0..400_usize, Just(usize::MAX)],
        prop_oneof![0..150_000_usize, Just(usize::MAX)],
    );
    let all = (
        prop_oneof![0..400_000_usize, Just(usize::MAX)],
        prop_oneof![0..5_usize, Just(usize::MAX)],
    );
    (channel, all, prop_oneof![0..500_u64, Just(u64::MAX)]).prop_map(
        |((channel_publications_max, channel_bytes_max), (bytes_max, channels_max), age_ms_max)| {
            HistoryLimits {
                channel_publications_max,
                channel_bytes_max,
                age_ms_max,
                bytes_max,
                channels_max,
            }
        },
    )
}

/// One publication that the reference holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    position: u64,
    channel: usize,
    cost: usize,
    at_ms: u64,
}

/// History in one plain list.
struct Reference {
    limits: HistoryLimits,
    held: Vec<Held>,
    /// Newest evicted position by channel.
    evicted: BTreeMap<usize, u64>,
    newest: u64,
    now_ms: u64,
}

impl Reference {
    fn append(&mut self, channel: usize, position: u64, bytes: usize) {
        self.newest = position;
        self.held.push(Held {
            position,
            channel,
            cost: bytes + CHANNELS[channel].len() + ENTRY_OVERHEAD_BYTES,
            at_ms: self.now_ms,
        });
        let limits = self.limits;
        let of_channel = |it: &&Held| it.channel == channel;
        while self.held.iter().filter(of_channel).count() > limits.channel_publications_max
            || bytes_of(self.held.iter().filter(of_channel)) > limits.channel_bytes_max
        {
            self.evict_first(|it| it.channel == channel);
        }
        while bytes_of(self.held.iter()) > limits.bytes_max || self.channels() > limits.channels_max
        {
            self.evict_first(|_| true);
        }
        self.expire();
    }

    fn expire(&mut self) {
        while self
            .held
            .first()
            .is_some_and(|it| self.now_ms - it.at_ms > self.limits.age_ms_max)
        {
            self.evict_first(|_| true);
        }
    }

    fn evict_first(&mut self, is_it: impl Fn(&Held) -> bool) {
        let at = self.held.iter().position(is_it).unwrap();
        let Held {
            position, channel, ..
        } = self.held.remove(at);
        self.evicted.insert(channel, position);
    }

    fn channels(&self) -> usize {
        let is_held = |channel: &usize| self.held.iter().any(|it| it.channel == *channel);
        (0..CHANNELS.len()).filter(is_held).count()
    }

    /// Verdict and missed publications of one channel.
    fn recover(
        &self,
        channel: usize,
        after: Option<u64>,
        through: u64,
    ) -> (Verdict, Vec<(u64, usize)>) {
        let Some(after) = after else {
            return (Verdict::Fresh, Vec::new());
        };
        let evicted = self.evicted.get(&channel);
        if after > self.newest || evicted.is_some_and(|evicted| *evicted > after) {
            return (Verdict::Lost, Vec::new());
        }
        let of_channel = self.held.iter().filter(|it| it.channel == channel);
        let missed = of_channel
            .map(|it| (it.position, channel))
            .filter(|(position, _)| after < *position && *position <= through);
        (Verdict::Recovered, missed.collect())
    }
}

fn bytes_of<'a>(held: impl Iterator<Item = &'a Held>) -> usize {
    held.map(|it| it.cost).sum()
}

/// Replay under test, and the positions and channels that it must still return.
type Checked = (Replay, VecDeque<(u64, usize)>);

fn capture(
    journal: &Journal,
    reference: &Reference,
    wants: &[(usize, Option<u64>)],
    through: u64,
) -> Checked {
    let part = |thousandths: u64| reference.newest * thousandths / 1_000;
    let mut mentioned = BTreeSet::new();
    let wants: Vec<_> = wants
        .iter()
        .filter(|(channel, _)| mentioned.insert(*channel))
        .map(|(channel, after)| (*channel, after.map(part)))
        .collect();
    let as_want = |(channel, after): &(usize, Option<u64>)| Want {
        channel: CHANNELS[*channel].into(),
        after: after.map(cursor),
    };
    let through = part(through);
    let answer = journal.replay(&request(
        wants.iter().map(as_want).collect(),
        Position(through),
    ));
    let mut verdicts = Vec::new();
    let mut missed = Vec::new();
    let mut floor: Option<u64> = None;
    for (channel, after) in wants {
        let (verdict, of_channel) = reference.recover(channel, after, through);
        if let (Verdict::Recovered, Some(after)) = (verdict, after) {
            floor = Some(floor.map_or(after, |floor| floor.min(after)));
        }
        verdicts.push(verdict);
        missed.extend(of_channel);
    }
    missed.sort_unstable();
    assert_eq!(answer.verdicts, verdicts);
    assert_eq!(answer.floor, floor.map(Position));
    (answer.replay, missed.into())
}

fn take(replay: &mut Replay, expected: &mut VecDeque<(u64, usize)>, count: usize) {
    for _ in 0..count {
        let taken = replay.take_next();
        let taken = taken.as_ref().map(|it| (it.position.0, &*it.channel));
        let next = expected.pop_front();
        assert_eq!(
            taken,
            next.map(|(position, channel)| (position, CHANNELS[channel]))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn replays_agree_with_a_plain_list(
        limits in limits(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut journal = Journal::new(Epoch::new("ours").unwrap(), limits);
        let mut reference = Reference {
            limits,
            held: Vec::new(),
            evicted: BTreeMap::new(),
            newest: 0,
            now_ms: 0,
        };
        let mut replays: Vec<Checked> = Vec::new();
        for step in &steps {
            match step {
                Step::Append { channel, count, gap, bytes } => {
                    for _ in 0..*count {
                        let position = reference.newest + 1 + gap;
                        reference.append(*channel, position, *bytes);
                        let place = (Position(position), reference.now_ms);
                        let body = Bytes::from(vec![b'x'; *bytes]);
                        let _ = journal.append(CHANNELS[*channel], place, |_| body);
                    }
                }
                Step::Pass { gap } => {
                    reference.newest += 1 + gap;
                    journal.pass(Position(reference.newest));
                }
                Step::Expire { ms } => {
                    reference.now_ms += ms;
                    reference.expire();
                    journal.expire(reference.now_ms);
                }
                Step::Capture { wants, through } => {
                    replays.push(capture(&journal, &reference, wants, *through));
                }
                Step::Take { replay, count } if !replays.is_empty() => {
                    let (replay, expected) = replay.get_mut(&mut replays);
                    take(replay, expected, *count);
                }
                Step::Forget { replay, channel } if !replays.is_empty() => {
                    let (replay, expected) = replay.get_mut(&mut replays);
                    replay.forget(CHANNELS[*channel]);
                    expected.retain(|(_, of)| of != channel);
                }
                Step::Drop { replay } if !replays.is_empty() => {
                    replays.swap_remove(replay.index(replays.len()));
                }
                Step::Take { .. } | Step::Forget { .. } | Step::Drop { .. } => {}
            }
            prop_assert_eq!(journal.bytes(), bytes_of(reference.held.iter()));
            prop_assert_eq!(journal.len(), reference.held.len());
            prop_assert_eq!(journal.channels(), reference.channels());
            prop_assert_eq!(journal.newest().0, reference.newest);
            for (replay, expected) in &replays {
                prop_assert_eq!(replay.len(), expected.len());
                prop_assert_eq!(replay.is_empty(), expected.is_empty());
            }
        }
        for (replay, expected) in &mut replays {
            take(replay, expected, expected.len() + 1);
        }
        prop_assert_eq!(left(&journal), REPLAY_POINTERS_MAX, "finished replays hold nothing");
    }
}
