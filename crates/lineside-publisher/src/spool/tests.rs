use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Wake, Waker};

use bytes::BytesMut;
use lineside_protocol::frame::{Frame, PublishHead, Revoke, ToSidecar};

use super::{Backlog, CHUNK_BYTES_MAX, NotAccepted, PublishOptions, Spool, Tail};
use crate::{Settings, WAITERS_MAX};

/// Time at which all frames were accepted.
const SINCE_MS: u64 = 5000;

/// Size of a frame: head, sequence, head of one publication, channel and payload.
const FRAME_BYTES: usize = 8 + 8 + 6 + "news".len() + "{}".len();

fn append(tail: &mut Tail, count: u64) {
    for _ in 0..count {
        tail.append(
            PublishHead::default(),
            FRAME_BYTES,
            [("news", b"{}".as_slice())],
        );
    }
}

/// Returns a backlog with one chunk of each number of frames.
fn backlog(chunks: &[u64]) -> Backlog {
    let (mut tail, mut backlog) = (Tail::new(), Backlog::new());
    for count in chunks {
        append(&mut tail, *count);
        backlog.append_tail(&mut tail, SINCE_MS);
        backlog.refill_spare();
    }
    backlog
}

/// Sends up to `count` bytes, and returns them.
fn send(backlog: &mut Backlog, mut count: usize) -> BytesMut {
    let mut wire = BytesMut::new();
    while count > 0
        && let Some(bytes) = backlog.unsent()
    {
        let taken = bytes.len().min(count);
        wire.extend_from_slice(&bytes[..taken]);
        backlog.sent(taken);
        count -= taken;
    }
    wire
}

/// Decodes the bytes. Returns the sequence of each frame, and `resent` or `skip`.
fn read(mut wire: BytesMut) -> Vec<(u64, &'static str)> {
    let mut seen = Vec::new();
    while let Some(frame) = Frame::split(&mut wire).unwrap() {
        seen.push(match ToSidecar::decode(&frame).unwrap() {
            ToSidecar::Publish(publish) => {
                (publish.sequence, if publish.resent { "resent" } else { "" })
            }
            ToSidecar::Skip(skip) => (skip.through, "skip"),
            other @ (ToSidecar::Hello(_) | ToSidecar::Revoke(_)) => panic!("{other:?}"),
        });
    }
    seen
}

fn plain(sequences: std::ops::RangeInclusive<u64>) -> Vec<(u64, &'static str)> {
    sequences.map(|sequence| (sequence, "")).collect()
}

#[test]
fn tail_is_sealed_before_a_chunk_grows_too_large() {
    let mut tail = Tail::new();
    let count = (CHUNK_BYTES_MAX / FRAME_BYTES + 1) as u64;
    append(&mut tail, count);
    let mut chunks = std::collections::VecDeque::new();
    assert_eq!(tail.since_ms(SINCE_MS), Some(SINCE_MS));
    assert_eq!(tail.since_ms(SINCE_MS + 1), Some(SINCE_MS));
    tail.drain_into(&mut chunks, Vec::new(), SINCE_MS);
    assert_eq!(chunks.len(), 2);
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk.bytes.len() <= CHUNK_BYTES_MAX)
    );
    assert_eq!(chunks[1].sequences, count..=count);
    assert_eq!((tail.bytes(), tail.since_ms(9000)), (0, None));
    append(&mut tail, 1);
    assert_eq!(tail.since_ms(9000), Some(9000));
}

#[test]
fn acks_free_fully_sent_chunks() {
    let mut backlog = backlog(&[3, 2]);
    send(&mut backlog, 4 * FRAME_BYTES);
    backlog.ack(2);
    assert_eq!(backlog.bytes(), 5 * FRAME_BYTES);
    backlog.ack(4);
    assert_eq!((backlog.bytes(), backlog.done()), (2 * FRAME_BYTES, 3));
    send(&mut backlog, usize::MAX);
    backlog.ack(5);
    assert_eq!((backlog.bytes(), backlog.done()), (0, 5));
}

#[test]
fn partly_sent_frame_is_sent_again_whole() {
    let mut backlog = backlog(&[3, 2]);
    assert_eq!(read(send(&mut backlog, FRAME_BYTES + 1)), plain(1..=1));
    backlog.unlink();
    assert_eq!(backlog.resume(1, &BTreeSet::new(), false).resent, 1);
    assert_eq!(read(send(&mut backlog, usize::MAX)), plain(2..=5));
}

#[test]
fn new_epoch_marks_only_sent_frames() {
    let mut backlog = backlog(&[3, 2]);
    send(&mut backlog, FRAME_BYTES + 1);
    backlog.unlink();
    backlog.resume(0, &BTreeSet::new(), true);
    let wire = read(send(&mut backlog, usize::MAX));
    assert_eq!(
        wire,
        [(1, "resent"), (2, "resent"), (3, ""), (4, ""), (5, "")]
    );
}

#[test]
fn unsent_frame_is_not_marked_after_a_second_new_link() {
    let mut backlog = backlog(&[4]);
    send(&mut backlog, 2 * FRAME_BYTES + 1);
    backlog.unlink();
    assert_eq!(backlog.resume(2, &BTreeSet::new(), false).resent, 1);
    backlog.unlink();
    assert_eq!(backlog.resume(2, &BTreeSet::new(), true).resent, 1);
    let wire = read(send(&mut backlog, usize::MAX));
    assert_eq!(wire, [(3, "resent"), (4, "")]);
}

#[test]
fn landed_frame_is_sent_again_for_its_awaited_receipt() {
    let mut backlog = backlog(&[3, 2]);
    send(&mut backlog, usize::MAX);
    backlog.unlink();
    backlog.resume(4, &BTreeSet::from([2, 9]), false);
    // An ack that covers the frame does not free it before it was sent again.
    backlog.ack(4);
    assert_eq!((backlog.done(), backlog.bytes()), (1, 2 * FRAME_BYTES));
    assert_eq!(read(send(&mut backlog, usize::MAX)), [(2, ""), (5, "")]);
    backlog.ack(5);
    assert_eq!((backlog.done(), backlog.bytes()), (5, 0));
}

#[test]
fn frame_sent_for_its_receipt_is_kept_until_this_link_acks_it() {
    let mut backlog = backlog(&[3]);
    send(&mut backlog, usize::MAX);
    backlog.unlink();
    backlog.resume(3, &BTreeSet::from([1, 2, 3]), false);
    send(&mut backlog, usize::MAX);
    // This link ends before the receipts of 2 and 3 arrive.
    backlog.ack(1);
    assert_eq!(backlog.done(), 1);
    backlog.unlink();
    backlog.resume(3, &BTreeSet::from([2, 3]), false);
    assert_eq!(read(send(&mut backlog, usize::MAX)), [(2, ""), (3, "")]);
    backlog.ack(3);
    assert_eq!((backlog.done(), backlog.bytes()), (3, 0));
}

#[test]
fn expired_chunks_become_one_skip() {
    let mut backlog = backlog(&[3, 2, 1]);
    send(&mut backlog, 1);
    let expired = backlog.expire(SINCE_MS);
    assert_eq!((expired.frames, expired.unsent), (3, vec![4..=5, 6..=6]));
    assert_eq!(backlog.bytes(), 3 * FRAME_BYTES);
    let rest = send(&mut backlog, usize::MAX);
    assert_eq!(backlog.ack(6), 3);
    assert_eq!(backlog.done(), 6);
    let mut skip = rest;
    let skip = skip.split_off(3 * FRAME_BYTES - 1);
    assert_eq!(read(skip), [(6, "skip")]);
}

#[test]
fn publications_are_counted_per_frame() {
    let (mut tail, mut backlog) = (Tail::new(), Backlog::new());
    append(&mut tail, 2);
    let three = [("news", b"{}".as_slice()); 3];
    tail.append(PublishHead::default(), 3 * FRAME_BYTES, three);
    let revocation = Revoke {
        sequence: 0,
        wants_receipt: false,
        revoked_ms: 0,
        sub: "42".into(),
        sid: "".into(),
    };
    tail.append_revoke(revocation, FRAME_BYTES);
    backlog.append_tail(&mut tail, SINCE_MS);
    let counts = (0..6).map(|sequence| backlog.publications(sequence));
    assert_eq!(counts.collect::<Vec<_>>(), [0, 1, 1, 3, 1, 0]);
    let expired = backlog.expire(SINCE_MS);
    assert_eq!((expired.frames, expired.publications), (4, 6));
}

#[test]
fn frames_sent_on_an_earlier_link_are_not_reported_as_unsent() {
    let mut backlog = backlog(&[3]);
    send(&mut backlog, FRAME_BYTES + 1);
    backlog.unlink();
    let expired = backlog.expire(SINCE_MS);
    assert_eq!((expired.frames, expired.unsent), (3, vec![3..=3]));
}

#[test]
fn known_skip_is_settled_by_the_welcome() {
    let mut backlog = backlog(&[3, 2]);
    backlog.expire(SINCE_MS);
    send(&mut backlog, usize::MAX);
    backlog.unlink();
    let resumed = backlog.resume(5, &BTreeSet::new(), false);
    assert_eq!((resumed.resent, resumed.skipped), (0, 5));
    assert_eq!((backlog.done(), backlog.unsent()), (5, None));
}

#[test]
fn young_chunks_do_not_expire() {
    let mut backlog = backlog(&[3]);
    assert_eq!(backlog.expire(SINCE_MS - 1).frames, 0);
    assert_eq!(read(send(&mut backlog, usize::MAX)), plain(1..=3));
}

#[derive(Default)]
struct Counted(AtomicU32);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn flush_waiter_is_woken_once_unless_removed_or_displaced() {
    let spool = Spool::new(Settings::new("/nowhere", "test"));
    let counts = [(); 3].map(|()| Arc::new(Counted::default()));
    let [displaced, waits, removed] = counts.clone().map(Waker::from);
    let mut state = spool.state();
    for waker in [&displaced, &waits, &removed] {
        state.await_settled(5, waker);
    }
    state.forget_flush(&removed);
    (1..WAITERS_MAX).for_each(|_| state.await_settled(9, Waker::noop()));
    state.settle(4, 0);
    let wake_counts = || {
        counts
            .each_ref()
            .map(|count| count.0.load(Ordering::Relaxed))
    };
    assert_eq!(wake_counts(), [0, 0, 0]);
    state.settle(5, 0);
    assert_eq!(wake_counts(), [0, 1, 0]);
    state.settle(6, 0);
    assert_eq!(wake_counts(), [0, 1, 0]);
}

#[test]
fn stopping_spool_refuses_publications() {
    let spool = Spool::new(Settings::new("/nowhere", "test"));
    spool.state().stopping = true;
    let refused = spool.publish(&[("news", b"1")], PublishOptions::default());
    assert_eq!(refused, Err(NotAccepted::Stopped));
}
