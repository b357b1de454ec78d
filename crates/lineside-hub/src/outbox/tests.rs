use lineside_protocol::{After, Epoch, Position};
use proptest::prelude::*;

use super::*;
use crate::journal::{HistoryLimits, Journal, ReplayRequest, Want};

fn publication(channel: &str, body: &'static str) -> Arc<Publication> {
    let body = Bytes::from_static(body.as_bytes());
    Arc::new(Publication {
        position: Position(1),
        channel: channel.into(),
        body,
        at_ms: 0,
        charged: Default::default(),
    })
}

/// A replay of publications, each with its channel and body.
fn replay(publications: &[(&str, String)]) -> Replay {
    let epoch = Epoch::new("ours").unwrap();
    let start = After::Cursor(epoch.at(Position(0)));
    let mut journal = Journal::new(epoch, HistoryLimits::default());
    let mut wants: Vec<Want> = Vec::new();
    for (channel, body) in publications {
        let place = (journal.newest().next(), 0);
        let _ = journal.append(channel, place, |_| body.clone().into());
        if wants.iter().all(|want| *want.channel != **channel) {
            wants.push(Want {
                channel: (*channel).into(),
                after: Some(start.clone()),
            });
        }
    }
    let through = journal.newest();
    let replay = journal.replay(&ReplayRequest { wants, through }).replay;
    assert_eq!(replay.len(), publications.len());
    replay
}

/// Slices of the next write.
fn next_slices(outbox: &Outbox) -> Vec<String> {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = outbox.slices(&mut slices);
    let slices = slices[..count].iter();
    slices
        .map(|slice| String::from_utf8(slice.to_vec()).unwrap())
        .collect()
}

/// All bytes of the next write.
fn next_write(outbox: &Outbox) -> String {
    next_slices(outbox).concat()
}

/// A frame, a publication, a replay of two publications, and a live publication behind the replay.
fn mixed() -> Outbox {
    let mut outbox = Outbox::default();
    outbox.push_frame(Bytes::from_static(b"frame,"));
    outbox.push_publication(&publication("a", "one,"));
    outbox.push_replay(
        replay(&[("a", "two,".into()), ("b", "three,".into())]),
        None,
    );
    outbox.push_publication(&publication("b", "four"));
    outbox
}

#[test]
fn items_are_written_in_order_in_writes_of_any_size() {
    let all = "frame,one,two,three,four";
    for first in 0..=all.len() {
        for second in first..=all.len() {
            let mut outbox = mixed();
            outbox.advance(first);
            assert_eq!(next_write(&outbox), all[first..]);
            outbox.advance(second - first);
            assert_eq!(next_write(&outbox), all[second..]);
            assert_eq!(outbox.is_empty(), second == all.len());
            outbox.advance(all.len() - second);
            assert!(outbox.is_empty() && outbox.bytes() == 0 && !outbox.has_replay());
        }
    }
}

#[test]
fn bytes_exclude_replays_and_live_publications_behind_them() {
    let mut outbox = mixed();
    for written in 0..24_usize {
        assert_eq!(
            outbox.bytes(),
            10_usize.saturating_sub(written),
            "after {written} bytes"
        );
        assert!(outbox.has_replay());
        outbox.advance(1);
    }
}

#[test]
fn write_is_limited_in_frames_and_bytes() {
    let mut outbox = Outbox::default();
    for _ in 0..=SLICES_MAX {
        outbox.push_publication(&publication("a", "x"));
    }
    assert_eq!(next_write(&outbox).len(), SLICES_MAX);

    let mut outbox = Outbox::default();
    for _ in 0..3 {
        outbox.push_frame(vec![b'x'; WRITE_BYTES_MAX - 1].into());
    }
    assert_eq!(next_write(&outbox).len(), 2 * (WRITE_BYTES_MAX - 1));
}

#[test]
fn forget_keeps_a_partly_written_frame() {
    let mut outbox = mixed();
    outbox.forget("a");
    assert_eq!(next_write(&outbox), "frame,three,four");
    assert_eq!(outbox.bytes(), 6);

    let mut begun = mixed();
    begun.advance(7);
    begun.forget("a");
    assert_eq!(next_write(&begun), "ne,three,four");
    assert_eq!(begun.bytes(), 3);

    let mut begun_replay = mixed();
    begun_replay.advance(15);
    begun_replay.forget("b");
    assert_eq!(next_write(&begun_replay), "hree,");
    begun_replay.advance(5);
    assert!(begun_replay.is_empty() && begun_replay.bytes() == 0);

    let mut begun_frame = mixed();
    begun_frame.advance(1);
    begun_frame.forget("a");
    begun_frame.forget("b");
    assert_eq!(next_write(&begun_frame), "rame,");
}

#[test]
fn abandon_keeps_a_partly_written_frame() {
    for (written, rest) in [
        (0, ""),
        (1, "rame,"),
        (7, "ne,"),
        (11, "wo,"),
        (14, ""),
        (15, "hree,"),
        (21, "our"),
    ] {
        let mut outbox = mixed();
        outbox.advance(written);
        outbox.abandon();
        assert_eq!(next_write(&outbox), rest, "after {written} bytes");
        outbox.push_frame(Bytes::from_static(b"end"));
        assert_eq!(next_write(&outbox), format!("{rest}end"));
        outbox.advance(rest.len() + 3);
        assert!(outbox.is_empty() && outbox.bytes() == 0);
    }
}

#[test]
fn drained_outbox_releases_its_memory() {
    let mut outbox = Outbox::default();
    assert_eq!(outbox.items.capacity(), 0);
    for _ in 0..1_000 {
        outbox.push_publication(&publication("a", "x"));
    }
    outbox.advance(1_000);
    assert!(outbox.items.capacity() <= ITEMS_KEPT);
    assert_eq!(size_of::<Item>(), 16);
}

#[test]
fn live_publications_behind_a_replay_count_beyond_16_mib() {
    let mut outbox = Outbox::default();
    let large = vec![b'x'; BEHIND_BYTES_MAX / 2];
    let large = Arc::new(Publication {
        position: Position(1),
        channel: "a".into(),
        body: large.into(),
        at_ms: 0,
        charged: Default::default(),
    });
    outbox.push_replay(replay(&[("a", "old".into())]), None);
    outbox.push_frame(Bytes::from_static(b"caught up"));
    outbox.push_publication(&large);
    outbox.push_publication(&large);
    assert_eq!(outbox.bytes(), 9, "only the frame counts");
    outbox.push_publication(&publication("a", "live"));
    assert_eq!(outbox.bytes(), 13, "a publication beyond the limit counts");
    outbox.advance(3 + 9 + BEHIND_BYTES_MAX);
    assert!(!outbox.has_replay());
    assert_eq!((next_write(&outbox).as_str(), outbox.bytes()), ("live", 4));
    outbox.advance(4);
    outbox.push_publication(&publication("a", "live"));
    assert_eq!(
        outbox.bytes(),
        4,
        "a publication without a replay before it counts"
    );
    outbox.push_replay(replay(&[("a", "old".into())]), None);
    outbox.push_publication(&large);
    assert_eq!(
        outbox.bytes(),
        4,
        "the next replay has the whole limit again"
    );
}

#[test]
fn write_that_continues_a_publication_does_not_begin_with_one() {
    let mut outbox = Outbox::default();
    outbox.push_publication(&publication("a", "one"));
    assert_eq!(outbox.begins_with_ms(), Some(0));
    outbox.advance(1);
    assert_eq!(outbox.begins_with_ms(), None);
}

#[test]
fn long_replay_fills_every_write() {
    let mut outbox = Outbox::default();
    let body = |number: usize| format!("{number},");
    let publications: Vec<_> = (0..200).map(|number| ("a", body(number))).collect();
    outbox.push_replay(replay(&publications), None);
    outbox.push_publication(&publication("a", "live"));
    assert_eq!(
        (outbox.items(), outbox.bytes()),
        (1, 0),
        "a replay is one item"
    );
    let mut expected: VecDeque<_> = publications.into_iter().map(|(_, body)| body).collect();
    expected.push_back("live".to_owned());
    while !expected.is_empty() {
        let slices = next_slices(&outbox);
        let next: Vec<_> = expected.drain(..SLICES_MAX.min(expected.len())).collect();
        assert_eq!(slices, next);
        outbox.advance(slices.concat().len());
    }
    assert!(outbox.is_empty() && !outbox.has_replay());
}

const CHANNELS: [&str; 3] = ["a", "b", "c"];

/// One step of the comparison with [`Reference`].
#[derive(Clone, Debug)]
enum Step {
    Frame,
    Publish {
        channel: usize,
        bytes: usize,
    },
    Replay {
        channels: Vec<usize>,
    },
    /// Writes this share of the next write, in percent.
    Write {
        percent: usize,
    },
    Forget {
        channel: usize,
    },
    Abandon,
}

fn step() -> impl Strategy<Value = Step> {
    let channel = || 0..CHANNELS.len();
    let length = prop_oneof![0..4_usize, 60..70_usize, 100..250_usize];
    let channels = length.prop_flat_map(move |length| prop::collection::vec(channel(), length));
    let bytes = prop_oneof![9 => 1..30_usize, 1 => Just(WRITE_BYTES_MAX / 2)];
    prop_oneof![
        3 => Just(Step::Frame),
        6 => (channel(), bytes).prop_map(|(channel, bytes)| Step::Publish { channel, bytes }),
        2 => channels.prop_map(|channels| Step::Replay { channels }),
        8 => prop_oneof![0..=100_usize, Just(100)].prop_map(|percent| Step::Write { percent }),
        1 => channel().prop_map(|channel| Step::Forget { channel }),
    ]
}

/// One frame that is not written yet.
#[derive(Debug)]
struct Unsent {
    /// `None` for a frame of the connection's own.
    channel: Option<usize>,
    rest: String,
    /// Whether the frame counts as slowness.
    counts: bool,
}

/// Outbox in one plain list.
#[derive(Debug, Default)]
struct Reference {
    unsent: VecDeque<Unsent>,
    partly_written: bool,
    /// Number of frames pushed. Makes each body unique.
    pushed: usize,
}

impl Reference {
    fn body(&mut self, bytes: usize) -> String {
        self.pushed += 1;
        format!("{}{},", self.pushed, "+".repeat(bytes))
    }

    fn push(&mut self, channel: Option<usize>, rest: &str, counts: bool) {
        self.unsent.push_back(Unsent {
            channel,
            rest: rest.to_owned(),
            counts,
        });
    }

    fn has_replay(&self) -> bool {
        self.unsent.iter().any(|it| !it.counts)
    }

    fn bytes(&self) -> usize {
        let counted = self.unsent.iter().filter(|it| it.counts);
        counted.map(|it| it.rest.len()).sum()
    }

    fn next_slices(&self) -> Vec<String> {
        let mut bytes = 0;
        let fits = |it: &&Unsent| {
            let fits = bytes < WRITE_BYTES_MAX;
            bytes += it.rest.len();
            fits
        };
        let next = self.unsent.iter().take(SLICES_MAX).take_while(fits);
        next.map(|it| it.rest.clone()).collect()
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.unsent.front_mut()
            && written > 0
        {
            let part = written.min(first.rest.len());
            written -= part;
            self.partly_written = part < first.rest.len();
            if self.partly_written {
                first.rest.drain(..part);
            } else {
                self.unsent.pop_front();
            }
        }
    }

    /// Drops what `is_dropped` says, except a partly written frame.
    fn retain(&mut self, is_dropped: impl Fn(&Unsent) -> bool) {
        let mut is_kept = self.partly_written;
        self.unsent
            .retain(|it| std::mem::take(&mut is_kept) || !is_dropped(it));
    }
}

fn assert_same(outbox: &Outbox, reference: &Reference) {
    assert_eq!(next_slices(outbox), reference.next_slices());
    assert_eq!(outbox.bytes(), reference.bytes());
    assert_eq!(outbox.has_replay(), reference.has_replay());
    assert_eq!(outbox.is_empty(), reference.unsent.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn outbox_agrees_with_a_plain_list(
        mut steps in prop::collection::vec(step(), 1..60),
        abandon_at in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (mut outbox, mut reference) = (Outbox::default(), Reference::default());
        let mut is_abandoned = false;
        if let Some(at) = abandon_at {
            steps.insert(at.index(steps.len()), Step::Abandon);
        }
        for step in steps {
            match step {
                Step::Frame => {
                    let body = reference.body(3);
                    reference.push(None, &body, true);
                    outbox.push_frame(body.into());
                }
                Step::Publish { channel, bytes } if !is_abandoned => {
                    let body = reference.body(bytes);
                    reference.push(Some(channel), &body, !reference.has_replay());
                    outbox.push_publication(&Arc::new(Publication {
                        position: Position(1),
                        channel: CHANNELS[channel].into(),
                        body: body.into(),
                        at_ms: 0,
                        charged: Default::default(),
                    }));
                }
                Step::Replay { channels } if !is_abandoned => {
                    let mut publications = Vec::new();
                    for channel in channels {
                        let body = reference.body(1);
                        reference.push(Some(channel), &body, false);
                        publications.push((CHANNELS[channel], body));
                    }
                    outbox.push_replay(replay(&publications), None);
                }
                Step::Publish { .. } | Step::Replay { .. } => {}
                Step::Write { percent } => {
                    let written = next_write(&outbox).len() * percent / 100;
                    outbox.advance(written);
                    reference.advance(written);
                }
                Step::Forget { channel } => {
                    outbox.forget(CHANNELS[channel]);
                    reference.retain(|it| it.channel == Some(channel));
                }
                Step::Abandon => {
                    outbox.abandon();
                    reference.retain(|_| true);
                    is_abandoned = true;
                }
            }
            assert_same(&outbox, &reference);
        }
        while !reference.unsent.is_empty() {
            let written = next_write(&outbox).len();
            prop_assert!(written > 0);
            outbox.advance(written);
            reference.advance(written);
            assert_same(&outbox, &reference);
        }
        prop_assert_eq!((outbox.held_bytes(), outbox.backlog_bytes()), (0, 0));
    }
}

#[test]
fn held_bytes_are_those_of_frames_items_and_pointers() {
    let mut outbox = Outbox::default();
    outbox.push_frame("frame".into());
    outbox.push_publication(&publication("a", "body"));
    assert_eq!(outbox.held_bytes(), 5 + 2 * ITEM_BYTES);
    let replay = replay(&[("a", "1".into()), ("b", "2".into())]);
    let pointers = replay.held_bytes();
    assert!(pointers >= 2 * size_of::<usize>());
    outbox.push_replay(replay, None);
    outbox.push_publication(&publication("a", "live"));
    let held = 5 + 3 * ITEM_BYTES + pointers + MESSAGE_BYTES;
    assert_eq!(outbox.held_bytes(), held);
    outbox.advance(2);
    assert_eq!(outbox.held_bytes(), held - 2);
    outbox.forget("a");
    outbox.advance(3);
    assert_eq!(outbox.held_bytes(), held - 5 - 2 * ITEM_BYTES);
    outbox.abandon();
    assert_eq!(outbox.held_bytes(), 0);
}

/// Replaces the first two bytes of a body by the prefix and the number of bytes that follow it.
fn framing(prefix: &'static str) -> Framing {
    Framing {
        prefix: Bytes::from_static(prefix.as_bytes()),
        encode: |prefix, body| {
            let mut head = prefix.to_vec();
            head.extend_from_slice((body.len() - 2).to_string().as_bytes());
            (head.into(), 2)
        },
    }
}

#[test]
fn framed_publications_have_their_head_and_the_end_of_the_body() {
    let mut outbox = Outbox::default();
    outbox.push_framed(&publication("a", "--one,"), &framing("x"));
    outbox.push_framed(&publication("a", "--one,"), &framing("y"));
    outbox.push_replay(
        replay(&[("a", "--two,".into()), ("a", "--three,".into())]),
        Some(framing("x")),
    );
    outbox.push_framed(&publication("a", "--four"), &framing("z"));
    let whole = "x4one,y4one,x4two,x6three,z4four";
    assert_eq!(next_write(&outbox), whole);
    for written in 1..=whole.len() {
        outbox.advance(1);
        assert_eq!(next_write(&outbox), whole[written..]);
    }
    assert!(outbox.is_empty() && outbox.bytes() == 0 && outbox.held_bytes() == 0);
}

#[test]
fn a_write_does_not_end_between_the_head_and_the_body() {
    let mut outbox = Outbox::default();
    outbox.push_publication(&publication("a", "x"));
    for _ in 0..SLICES_MAX {
        outbox.push_framed(&publication("a", "--b"), &framing("h"));
    }
    let whole = "h1b".repeat((SLICES_MAX - 1) / 2);
    assert_eq!(next_write(&outbox), format!("x{whole}"));
}

#[test]
fn a_partly_written_framed_publication_is_kept_and_others_are_forgotten() {
    let mut outbox = Outbox::default();
    for _ in 0..2 {
        outbox.push_framed(&publication("a", "--b"), &framing("head"));
    }
    outbox.advance(2);
    assert!(outbox.forget("a"));
    assert_eq!(next_write(&outbox), "ad1b");
    outbox.push_framed(&publication("a", "--c"), &framing("head"));
    outbox.abandon();
    assert_eq!((next_write(&outbox).as_str(), outbox.bytes()), ("ad1b", 4));
}
