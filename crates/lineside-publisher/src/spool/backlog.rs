use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;

use super::{Chunk, Tail};

/// The bytes that an empty tail begins with: some sixty publications of the usual size.
const SPARE_BYTES: usize = 16 * 1024;

/// What the link holds: chunks in order, the first of them sent and waiting for their ack, the rest waiting to be sent.
#[derive(Debug)]
pub(crate) struct Backlog {
    chunks: VecDeque<Chunk>,
    /// The chunk that is being sent, and how much of it the kernel has taken on this link.
    current: usize,
    offset: usize,
    /// Everything up to here is dealt with by the sidecar.
    acked: u64,
    /// The same, as far as the present connection said so: what it has answered, and not an earlier one.
    acked_here: u64,
    /// No sequence beyond this one was ever sent.
    reached: u64,
    /// Frames in it, in bytes. What stands in for dropped frames does not count: it must always fit.
    bytes: usize,
    spare: Vec<u8>,
}

/// What a new link found of what older ones left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resumed {
    /// Frames that go out once more.
    pub(crate) resent: u64,
    /// Frames that had been dropped, and that the sidecar no longer expects.
    pub(crate) skipped: u64,
}

/// Frames that were dropped because of their age.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expired {
    /// How many frames.
    pub(crate) frames: u64,
    /// How many publications were in them.
    pub(crate) publications: u64,
    /// Those of them that no sidecar can have received.
    pub(crate) unsent: Vec<RangeInclusive<u64>>,
}

impl Backlog {
    pub(crate) fn new() -> Self {
        let spare = Vec::with_capacity(SPARE_BYTES);
        Self {
            chunks: VecDeque::new(),
            current: 0,
            offset: 0,
            acked: 0,
            acked_here: 0,
            reached: 0,
            bytes: 0,
            spare,
        }
    }

    /// How much of the spool it fills.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes what producers appended, first seen at `since_ms`. Short work: they wait for it.
    pub(crate) fn take(&mut self, tail: &mut Tail, since_ms: u64) {
        self.bytes += tail.bytes();
        tail.take(&mut self.chunks, std::mem::take(&mut self.spare), since_ms);
    }

    /// Keeps a buffer for the next [`take`](Self::take): that of the newest chunk, when little of it is used.
    pub(crate) fn keep_spare(&mut self) {
        if self.spare.capacity() > 0 {
            return;
        }
        self.spare = match self.chunks.back_mut() {
            Some(chunk) if chunk.bytes.len() * 2 <= chunk.bytes.capacity() => {
                let exact = chunk.bytes.as_slice().to_vec();
                let mut buffer = std::mem::replace(&mut chunk.bytes, exact);
                buffer.clear();
                buffer
            }
            _ => Vec::with_capacity(SPARE_BYTES),
        };
    }

    /// What to send next.
    pub(crate) fn unsent(&self) -> Option<&[u8]> {
        self.chunks
            .get(self.current)
            .map(|chunk| &chunk.bytes[self.offset..])
    }

    /// The connection took `count` bytes of [`unsent`](Self::unsent).
    pub(crate) fn sent(&mut self, count: usize) {
        let Some(chunk) = self.chunks.get_mut(self.current) else {
            return;
        };
        self.offset += count;
        chunk.handed = chunk.handed.max(self.offset);
        self.reached = self.reached.max(chunk.last());
        if self.offset == chunk.bytes.len() {
            self.current += 1;
            self.offset = 0;
        }
    }

    /// The newest sequence of which anything was ever sent; an ack beyond it is a lie.
    pub(crate) fn reached(&self) -> u64 {
        self.reached
    }

    /// The newest sequence that will not be sent again.
    pub(crate) fn done(&self) -> u64 {
        self.chunks
            .front()
            .map_or(self.acked, |chunk| chunk.first() - 1)
    }

    /// Everything up to `sequence` is dealt with. Frees what is wholly covered and wholly sent, and returns how many of the
    /// frames in it had been dropped.
    ///
    /// A frame that goes out again for its receipt alone is covered by the welcome already; its receipt is here when this
    /// connection has acked it.
    pub(crate) fn ack(&mut self, sequence: u64) -> u64 {
        self.acked = self.acked.max(sequence);
        self.acked_here = self.acked_here.max(sequence);
        let mut skipped = 0;
        while self.current > 0
            && let Some(chunk) = self.chunks.front()
            && chunk.last() <= self.acked_here
        {
            self.bytes -= chunk.spool_bytes();
            skipped += chunk.skipped();
            self.current -= 1;
            self.chunks.pop_front();
        }
        skipped
    }

    /// How many publications are in the frame of that sequence, which waits for its ack.
    pub(crate) fn publications(&self, sequence: u64) -> u64 {
        let mut chunks = self.chunks.iter();
        let chunk = chunks.find(|chunk| chunk.sequences.contains(&sequence));
        chunk.map_or(0, |chunk| chunk.publications(Some(sequence)))
    }

    /// A new link: everything after `last` goes out again, from the boundary of a frame, and so does what it covers if a
    /// receipt is still `awaited`: the sidecar knows the frame and answers with where it landed. In a new epoch the frames
    /// that an older one may have delivered say so.
    pub(crate) fn resume(
        &mut self,
        last: u64,
        awaited: &BTreeSet<u64>,
        is_new_epoch: bool,
    ) -> Resumed {
        self.acked = self.acked.max(last);
        let resent = self
            .chunks
            .iter()
            .map(|chunk| chunk.handed_frames(last))
            .sum();
        let mut again = VecDeque::new();
        for chunk in &mut self.chunks {
            if is_new_epoch {
                chunk.mark_resent();
            }
            let asked = chunk
                .frames()
                .filter(|(sequence, _)| *sequence <= last && awaited.contains(sequence));
            again.extend(asked.map(|(sequence, place)| {
                let handed = chunk.handed.saturating_sub(place.start).min(place.len());
                let bytes = chunk.bytes[place].to_vec();
                Chunk {
                    handed,
                    ..Chunk::new(bytes, sequence..=sequence, chunk.since_ms)
                }
            }));
        }
        let skipped = self
            .chunks
            .iter()
            .filter(|chunk| chunk.last() <= last)
            .map(Chunk::skipped)
            .sum();
        self.chunks.retain(|chunk| chunk.last() > last);
        again.append(&mut self.chunks);
        self.chunks = again;
        self.unlink();
        Resumed { resent, skipped }
    }

    /// The link broke: nothing is on its way any more.
    pub(crate) fn unlink(&mut self) {
        (self.current, self.offset, self.acked_here) = (0, 0, 0);
        for chunk in self
            .chunks
            .iter_mut()
            .filter(|chunk| chunk.last() > self.acked)
        {
            chunk.cut_through(self.acked);
        }
        self.bytes = self.chunks.iter().map(Chunk::spool_bytes).sum();
    }

    /// Drops what was first seen at `before_ms` or earlier and is not on its way; a `Skip` takes its place.
    pub(crate) fn expire(&mut self, before_ms: u64) -> Expired {
        let waiting = self.current + usize::from(self.offset > 0);
        let old = self
            .chunks
            .iter()
            .skip(waiting)
            .take_while(|chunk| chunk.since_ms <= before_ms)
            .count();
        let mut dropped = self
            .chunks
            .drain(waiting..waiting + old)
            .collect::<Vec<_>>();
        self.bytes -= dropped.iter().map(Chunk::spool_bytes).sum::<usize>();
        // What was to be sent for its receipt alone leaves no gap.
        dropped.retain(|chunk| chunk.last() > self.acked);
        let mut expired = Expired::default();
        let (Some(oldest), Some(newest)) = (dropped.first(), dropped.last()) else {
            return expired;
        };
        let skip = Chunk::skip(oldest.first()..=newest.last(), oldest.since_ms);
        for chunk in dropped.iter().filter(|chunk| !chunk.is_skip) {
            expired.frames += chunk.last() + 1 - chunk.first();
            expired.publications += chunk.publications(None);
            expired
                .unsent
                .push(chunk.first() + chunk.handed_frames(0)..=chunk.last());
        }
        self.chunks.insert(waiting, skip);
        expired
    }
}
