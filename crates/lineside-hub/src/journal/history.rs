//! History of one channel, in chunks that replays share.

use std::collections::VecDeque;
use std::sync::Arc;

use lineside_protocol::Position;

use super::{HistoryLimits, Publication};

/// Publications per sealed chunk. A resume copies one pointer per sealed chunk while it holds the journal, and one per
/// publication of the open chunk.
pub(super) const CHUNK_PUBLICATIONS: usize = 64;

/// Memory of a run beside its pointers, in pointers: its entry in the replay, its queue of chunks, and the copy of the open
/// chunk. About 240 bytes on x86-64 with glibc.
pub(super) const RUN_POINTERS: usize = 30;

pub(super) type Chunk = VecDeque<Arc<Publication>>;

/// Publications of one channel, oldest first.
#[derive(Debug)]
pub(super) struct History {
    /// Full chunks, oldest first. Only the first one shrinks, from its front.
    #[expect(
        clippy::box_collection,
        reason = "most channels have no sealed chunk, and the box saves them 24 bytes"
    )]
    sealed: Option<Box<VecDeque<Arc<Chunk>>>>,
    /// Publications behind the sealed chunks.
    open: Chunk,
    bytes: usize,
    /// Newest evicted position. Nothing up to here can be replayed.
    forgotten: Position,
}

/// Publications of one channel that a replay still has to send, oldest first.
#[derive(Debug)]
pub(super) struct Run {
    chunks: VecDeque<Arc<Chunk>>,
    /// Index of the next publication in the first chunk.
    next: usize,
    left: usize,
    /// Mean size of the channel's publications, in bytes.
    mean_bytes: usize,
    /// Memory that the run holds, in pointers.
    pub(super) pointers: usize,
}

impl History {
    pub(super) fn new(forgotten: Position) -> Self {
        Self {
            sealed: None,
            open: Chunk::new(),
            bytes: 0,
            forgotten,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn forgotten(&self) -> Position {
        self.forgotten
    }

    pub(super) fn len(&self) -> usize {
        self.sealed_len() + self.open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sealed.is_none()
    }

    /// Whether it is beyond the limits of a channel.
    pub(super) fn exceeds(&self, limits: &HistoryLimits) -> bool {
        self.len() > limits.channel_publications_max || self.bytes() > limits.channel_bytes_max
    }

    /// The newest publication.
    pub(super) fn newest(&self) -> Option<&Arc<Publication>> {
        self.open
            .back()
            .or_else(|| self.sealed.as_ref()?.back()?.back())
    }

    pub(super) fn push(&mut self, publication: Arc<Publication>) {
        self.bytes += publication.cost();
        self.open.push_back(publication);
        if self.open.len() == CHUNK_PUBLICATIONS {
            let next = Chunk::with_capacity(CHUNK_PUBLICATIONS);
            let full = std::mem::replace(&mut self.open, next);
            self.sealed
                .get_or_insert_default()
                .push_back(Arc::new(full));
        }
    }

    /// Removes the oldest publication.
    pub(super) fn pop(&mut self) -> Option<Arc<Publication>> {
        let oldest = match &mut self.sealed {
            None => self.open.pop_front()?,
            Some(sealed) => {
                // Copies the pointers of a chunk that a replay shares.
                let first = Arc::make_mut(sealed.front_mut()?);
                let oldest = first.pop_front()?;
                if first.is_empty() {
                    sealed.pop_front();
                }
                if sealed.is_empty() {
                    self.sealed = None;
                }
                oldest
            }
        };
        self.bytes -= oldest.cost();
        self.forgotten = oldest.position;
        Some(oldest)
    }

    /// Publications after `after`, up to and including `through`. `None` if there are none.
    pub(super) fn run(&self, after: Position, through: Position) -> Option<Run> {
        let start = self.count_through(after);
        let left = self.count_through(through).saturating_sub(start);
        if left == 0 {
            return None;
        }
        let (first, next) = self.locate(start);
        let (last, _) = self.locate(start + left - 1);
        let sealed = self.sealed.iter().flat_map(|sealed| sealed.iter());
        let mut chunks: VecDeque<_> = sealed.skip(first).take(last - first + 1).cloned().collect();
        let mut pointers = RUN_POINTERS + chunks.len();
        let sealed_len = self.sealed_len();
        let mut next = next;
        if let Some(end) = (start + left)
            .checked_sub(sealed_len)
            .filter(|end| *end > 0)
        {
            let begin = start.saturating_sub(sealed_len);
            let open: Chunk = self.open.range(begin..end).cloned().collect();
            pointers += open.len();
            // The copy begins with the first publication that is needed.
            next = if chunks.is_empty() { 0 } else { next };
            chunks.push_back(Arc::new(open));
        }
        Some(Run {
            chunks,
            next,
            left,
            mean_bytes: self.bytes / self.len().max(1),
            pointers,
        })
    }

    /// Number of publications up to and including `position`.
    fn count_through(&self, position: Position) -> usize {
        let up_to = |chunk: &Chunk| chunk.partition_point(|it| it.position <= position);
        let Some(sealed) = self.sealed.as_deref() else {
            return up_to(&self.open);
        };
        let whole = sealed.partition_point(|chunk| {
            let last = chunk.back();
            last.is_some_and(|it| it.position <= position)
        });
        match sealed.get(whole) {
            None => self.sealed_len() + up_to(&self.open),
            Some(chunk) => len_of(sealed, whole) + up_to(chunk),
        }
    }

    /// Index of the chunk that holds the publication with this index, and the publication's index in that chunk.
    fn locate(&self, index: usize) -> (usize, usize) {
        let Some(first) = self.sealed.as_deref().and_then(|sealed| sealed.front()) else {
            return (0, index);
        };
        match index.checked_sub(first.len()) {
            None => (0, index),
            Some(rest) => (1 + rest / CHUNK_PUBLICATIONS, rest % CHUNK_PUBLICATIONS),
        }
    }

    fn sealed_len(&self) -> usize {
        let sealed = self.sealed.as_deref();
        sealed.map_or(0, |sealed| len_of(sealed, sealed.len()))
    }
}

/// Number of publications in the first `count` sealed chunks.
fn len_of(sealed: &VecDeque<Arc<Chunk>>, count: usize) -> usize {
    match (sealed.front(), count) {
        (None, _) | (_, 0) => 0,
        (Some(first), count) => first.len() + (count - 1) * CHUNK_PUBLICATIONS,
    }
}

impl Run {
    /// The next publication.
    pub(super) fn head(&self) -> Option<&Arc<Publication>> {
        self.chunks.front()?.get(self.next)
    }

    pub(super) fn len(&self) -> usize {
        self.left
    }

    /// Size of the publications left, in bytes, estimated from the channel's mean.
    pub(super) fn bytes(&self) -> usize {
        self.left * self.mean_bytes
    }

    /// Removes the next publication. Returns false when none is left.
    pub(super) fn advance(&mut self) -> bool {
        self.left -= 1;
        self.next += 1;
        if self
            .chunks
            .front()
            .is_some_and(|chunk| chunk.len() == self.next)
        {
            self.chunks.pop_front();
            self.next = 0;
        }
        self.left > 0
    }
}

#[cfg(test)]
mod tests;
