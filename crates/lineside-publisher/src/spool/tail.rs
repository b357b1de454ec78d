//! The end of the spool to which producers append.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use lineside_protocol::frame::{PublishHead, Revoke, ToSidecar, encode_publish};

use super::{CHUNK_BYTES_MAX, Chunk};

/// Frames that the link client has not collected yet.
#[derive(Debug)]
pub(crate) struct Tail {
    sealed: VecDeque<(Vec<u8>, RangeInclusive<u64>)>,
    open: Vec<u8>,
    /// Sequence of the first frame in `open`. Meaningless while `open` is empty.
    first: u64,
    /// Sequence of the next frame.
    next: u64,
    bytes: usize,
    /// Time at which the link first saw a frame here. Producers do not read the clock: it costs more than an append.
    since_ms: Option<u64>,
}

impl Tail {
    pub(crate) fn new() -> Self {
        Self {
            sealed: VecDeque::new(),
            open: Vec::new(),
            first: 1,
            next: 1,
            bytes: 0,
            since_ms: None,
        }
    }

    /// Encodes one frame of `frame_bytes`, and returns its sequence. Overrides `head.sequence`.
    pub(crate) fn append<'a>(
        &mut self,
        head: PublishHead<'_>,
        frame_bytes: usize,
        publications: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> u64 {
        let sequence = self.begin(frame_bytes);
        encode_publish(
            &mut self.open,
            PublishHead { sequence, ..head },
            publications,
        );
        sequence
    }

    /// Encodes a revocation of `frame_bytes`, and returns its sequence. Overrides `frame.sequence`.
    pub(crate) fn append_revoke(&mut self, frame: Revoke, frame_bytes: usize) -> u64 {
        let sequence = self.begin(frame_bytes);
        ToSidecar::Revoke(Revoke { sequence, ..frame }).encode(&mut self.open);
        sequence
    }

    /// Makes room for the next frame, and returns its sequence.
    fn begin(&mut self, frame_bytes: usize) -> u64 {
        if self.open.len() + frame_bytes > CHUNK_BYTES_MAX {
            self.seal(Vec::with_capacity(CHUNK_BYTES_MAX));
        }
        if self.open.is_empty() {
            self.first = self.next;
        }
        self.next += 1;
        self.bytes += frame_bytes;
        self.last()
    }

    /// Returns the newest assigned sequence.
    pub(crate) fn last(&self) -> u64 {
        self.next - 1
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Returns the time at which the link first saw a frame here, which is `now_ms` on the first call. Returns `None` if the
    /// tail is empty.
    pub(crate) fn since_ms(&mut self, now_ms: u64) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        Some(*self.since_ms.get_or_insert(now_ms))
    }

    /// Moves all frames to the end of `chunks`, and continues in the empty buffer `spare`.
    pub(crate) fn drain_into(
        &mut self,
        chunks: &mut VecDeque<Chunk>,
        spare: Vec<u8>,
        since_ms: u64,
    ) {
        self.seal(spare);
        let sealed = self.sealed.drain(..);
        chunks.extend(sealed.map(|(bytes, sequences)| Chunk::new(bytes, sequences, since_ms)));
        self.bytes = 0;
        self.since_ms = None;
    }

    fn seal(&mut self, spare: Vec<u8>) {
        if !self.open.is_empty() {
            let bytes = std::mem::replace(&mut self.open, spare);
            self.sealed.push_back((bytes, self.first..=self.last()));
        }
    }
}
