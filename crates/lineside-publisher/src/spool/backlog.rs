//! Frames that the link client has collected from the spool.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;

use super::{Chunk, Tail};

/// Initial capacity of the tail, in bytes: about sixty publications.
const SPARE_BYTES: usize = 16 * 1024;

/// Chunks of the link client, in order: first the sent ones that wait for their ack, then the unsent ones.
#[derive(Debug)]
pub(crate) struct Backlog {
    chunks: VecDeque<Chunk>,
    /// Index of the chunk that is being sent.
    current: usize,
    /// Number of bytes of the current chunk that the kernel has accepted on this connection.
    offset: usize,
    /// Every sequence up to here is acked.
    acked: u64,
    /// Every sequence up to here is acked by the current connection.
    acked_here: u64,
    /// The newest sequence that was ever sent.
    reached: u64,
    /// Size of the frames, in bytes. `Skip` frames do not count, since there must always be room for them.
    bytes: usize,
    /// Empty buffer for the next tail.
    spare: Vec<u8>,
}

/// Counts of a resume on a new connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ResumeCounts {
    /// Number of frames to retransmit.
    pub(crate) resent: u64,
    /// Number of dropped frames that the sidecar has skipped.
    pub(crate) skipped: u64,
}

/// Frames that were dropped because of their age.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expired {
    /// Number of frames.
    pub(crate) frames: u64,
    /// Number of publications in the frames.
    pub(crate) publications: u64,
    /// Sequences that no sidecar can have received.
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

    /// Returns the size of the frames, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Moves all frames of the tail to the backlog. `since_ms` is when the link first saw them. Runs under the spool's lock,
    /// and must be short.
    pub(crate) fn append_tail(&mut self, tail: &mut Tail, since_ms: u64) {
        self.bytes += tail.bytes();
        tail.drain_into(&mut self.chunks, std::mem::take(&mut self.spare), since_ms);
    }

    /// Prepares a buffer for the next [`append_tail`](Self::append_tail). Reuses that of the newest chunk if it is at most
    /// half full.
    pub(crate) fn refill_spare(&mut self) {
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

    /// Returns the next bytes to send, if any.
    pub(crate) fn unsent(&self) -> Option<&[u8]> {
        self.chunks
            .get(self.current)
            .map(|chunk| &chunk.bytes[self.offset..])
    }

    /// Records that the socket accepted `count` bytes of [`unsent`](Self::unsent).
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

    /// Returns the newest sequence that was ever sent, at least in part. An ack beyond it is an error.
    pub(crate) fn reached(&self) -> u64 {
        self.reached
    }

    /// Returns the newest sequence that will never be sent again.
    pub(crate) fn done(&self) -> u64 {
        self.chunks
            .front()
            .map_or(self.acked, |chunk| chunk.first() - 1)
    }

    /// Applies an ack of every frame up to `sequence`. Frees the chunks that are fully covered and fully sent, and returns
    /// how many frames in them had been dropped.
    ///
    /// A frame that is sent again only for its receipt is covered by the welcome already. Its receipt has arrived when the
    /// current connection has acked it.
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

    /// Returns the number of publications in the unacked frame with that sequence.
    pub(crate) fn publications(&self, sequence: u64) -> u64 {
        let mut chunks = self.chunks.iter();
        let chunk = chunks.find(|chunk| chunk.sequences.contains(&sequence));
        chunk.map_or(0, |chunk| chunk.publications(Some(sequence)))
    }

    /// Prepares the retransmission on a new connection: every frame after `last`, from its first byte, and the frames up to
    /// `last` whose receipt is `awaited`, which the sidecar answers with the earlier position. In a new epoch, marks the
    /// frames that may have been delivered in an older one as `resent`.
    pub(crate) fn resume(
        &mut self,
        last: u64,
        awaited: &BTreeSet<u64>,
        is_new_epoch: bool,
    ) -> ResumeCounts {
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
        ResumeCounts { resent, skipped }
    }

    /// Resets the sending position after the end of a connection.
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

    /// Drops the unsent chunks that were first seen at `before_ms` or earlier, and inserts a `Skip` in their place.
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
        // A frame that was to be sent only for its receipt leaves no gap.
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
