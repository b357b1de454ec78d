use std::collections::VecDeque;
use std::time::Instant;

use lineside_protocol::frame::{Disconnect, PublishHead, ToSidecar, encode_publish};

use super::{CHUNK_BYTES_MAX, Chunk};

/// The end of the spool where producers append; what the writer has not taken yet.
#[derive(Debug)]
pub(crate) struct Tail {
    sealed: VecDeque<Chunk>,
    open: Vec<u8>,
    /// Of the first frame in `open`; tells nothing while that is empty.
    first: u64,
    since: Instant,
    /// The sequence of the next frame.
    next: u64,
    bytes: usize,
}

impl Tail {
    pub(crate) fn new() -> Self {
        Self {
            sealed: VecDeque::new(),
            open: Vec::new(),
            first: 1,
            since: Instant::now(),
            next: 1,
            bytes: 0,
        }
    }

    /// Encodes one frame of `frame_bytes`; `head.sequence` is filled in here, and returned.
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

    /// The same for a frame that signs somebody out.
    pub(crate) fn append_disconnect(&mut self, frame: Disconnect, frame_bytes: usize) -> u64 {
        let sequence = self.begin(frame_bytes);
        ToSidecar::Disconnect(Disconnect { sequence, ..frame }).encode(&mut self.open);
        sequence
    }

    /// Makes room for the next frame, and gives its sequence.
    fn begin(&mut self, frame_bytes: usize) -> u64 {
        if self.open.len() + frame_bytes > CHUNK_BYTES_MAX {
            self.seal(Vec::with_capacity(CHUNK_BYTES_MAX));
        }
        if self.open.is_empty() {
            self.first = self.next;
            self.since = Instant::now();
        }
        self.next += 1;
        self.bytes += frame_bytes;
        self.last()
    }

    /// The newest sequence that was given away.
    pub(crate) fn last(&self) -> u64 {
        self.next - 1
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When its oldest frame was accepted.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let open = (!self.open.is_empty()).then_some(self.since);
        self.sealed.front().map(|chunk| chunk.since).or(open)
    }

    /// Moves everything behind `chunks`, and goes on in the empty buffer `spare`.
    pub(crate) fn take(&mut self, chunks: &mut VecDeque<Chunk>, spare: Vec<u8>) {
        self.seal(spare);
        chunks.append(&mut self.sealed);
        self.bytes = 0;
    }

    fn seal(&mut self, spare: Vec<u8>) {
        if !self.open.is_empty() {
            let bytes = std::mem::replace(&mut self.open, spare);
            self.sealed
                .push_back(Chunk::new(bytes, self.first..=self.last(), self.since));
        }
    }
}
