//! Chunks: encoded frames that are sent and freed together.

use std::ops::{Range, RangeInclusive};

use bytes::BytesMut;
use lineside_protocol::frame::{Frame, Publish, Skip, ToSidecar};

/// Maximum size of a chunk, in bytes, unless a single frame is larger.
///
/// Acks free whole chunks, so this is the granularity of the spool's limit. It is close to the buffer size of a Unix
/// socket.
pub(crate) const CHUNK_BYTES_MAX: usize = 256 * 1024;

/// Size of the length field that begins a frame (`u32`), in bytes.
const LENGTH_BYTES: usize = 4;

/// Encoded frames with consecutive sequences, or the `Skip` frame that replaces them.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sequences: RangeInclusive<u64>,
    /// Time at which the link first saw the oldest frame.
    pub(crate) since_ms: u64,
    /// Whether the frames were dropped and replaced by a `Skip`.
    pub(crate) is_skip: bool,
    /// Number of bytes that were ever handed to the kernel, on any connection.
    pub(crate) handed: usize,
}

impl Chunk {
    pub(crate) fn new(bytes: Vec<u8>, sequences: RangeInclusive<u64>, since_ms: u64) -> Self {
        Self {
            bytes,
            sequences,
            since_ms,
            is_skip: false,
            handed: 0,
        }
    }

    pub(crate) fn skip(sequences: RangeInclusive<u64>, since_ms: u64) -> Self {
        let mut bytes = Vec::new();
        ToSidecar::Skip(Skip {
            through: *sequences.end(),
        })
        .encode(&mut bytes);
        Self {
            bytes,
            sequences,
            since_ms,
            is_skip: true,
            handed: 0,
        }
    }

    pub(crate) fn first(&self) -> u64 {
        *self.sequences.start()
    }

    pub(crate) fn last(&self) -> u64 {
        *self.sequences.end()
    }

    /// Returns the sequence and byte range of each frame. Empty if the frames were dropped.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (u64, Range<usize>)> {
        let mut start = 0;
        let frames = self.sequences.clone().map_while(move |sequence| {
            let end = frame_end(&self.bytes, start)?;
            Some((sequence, std::mem::replace(&mut start, end)..end))
        });
        frames.filter(|_| !self.is_skip)
    }

    /// Returns the number of frames after `sequence` that were handed to the kernel, at least in part.
    pub(crate) fn handed_frames(&self, sequence: u64) -> u64 {
        let handed = self
            .frames()
            .take_while(|(_, place)| place.start < self.handed);
        handed.filter(|(own, _)| *own > sequence).map(|_| 1).sum()
    }

    /// Returns the number of publications in all frames, or in the frame with that sequence. A revocation counts as one.
    pub(crate) fn publications(&self, only: Option<u64>) -> u64 {
        let frames = self
            .frames()
            .filter(|(sequence, _)| only.is_none_or(|only| only == *sequence));
        frames
            .map(|(_, place)| publications(&self.bytes[place]))
            .sum()
    }

    /// Returns the number of frames that were replaced by a `Skip`.
    pub(crate) fn skipped(&self) -> u64 {
        if self.is_skip {
            self.last() + 1 - self.first()
        } else {
            0
        }
    }

    /// Returns the size that counts against the spool's limit, in bytes.
    pub(crate) fn spool_bytes(&self) -> usize {
        if self.is_skip { 0 } else { self.bytes.len() }
    }

    /// Marks every frame that may have been delivered as resent.
    pub(crate) fn mark_resent(&mut self) {
        let mut start = 0;
        while start < self.handed
            && let Some(end) = frame_end(&self.bytes, start)
        {
            Publish::mark_resent(&mut self.bytes[start..end]);
            start = end;
        }
    }

    /// Drops the frames up to `sequence` from the front.
    pub(crate) fn cut_through(&mut self, sequence: u64) {
        let cut = self
            .frames()
            .take_while(|(own, _)| *own <= sequence)
            .last()
            .map(|(_, place)| place.end);
        let Some(cut) = cut else { return };
        self.bytes.drain(..cut);
        self.handed = self.handed.saturating_sub(cut);
        self.sequences = sequence + 1..=self.last();
    }
}

fn publications(frame: &[u8]) -> u64 {
    let frame = Frame::split(&mut BytesMut::from(frame)).ok().flatten();
    match frame.map(|frame| ToSidecar::decode(&frame)) {
        Some(Ok(ToSidecar::Publish(publish))) => publish.publications.iter().map(|_| 1).sum(),
        _ => 1,
    }
}

/// Returns the end of the frame that begins at `start`.
fn frame_end(bytes: &[u8], start: usize) -> Option<usize> {
    let length = u32::from_be_bytes(*bytes.get(start..)?.first_chunk()?) as usize;
    let end = start + LENGTH_BYTES + length;
    (end <= bytes.len()).then_some(end)
}
