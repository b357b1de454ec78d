//! The journal's part of a [snapshot](crate::snapshot): every publication in order, and the evicted positions.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use lineside_protocol::{Epoch, Position};

use super::forgotten::Forgotten;
use super::{HistoryLimits, Journal, Publication};
use crate::encoding::{Reader, SnapshotError, Writer};
use crate::memory::Charged;

/// A channel of the snapshot: its name, and its evicted position until its first publication is read.
type Channel = (Arc<str>, Option<Position>);

impl Journal {
    pub(crate) fn limits(&self) -> &HistoryLimits {
        &self.limits
    }

    pub(crate) fn save(&self, out: &mut Writer<impl Write>) -> io::Result<()> {
        out.text(self.epoch.as_str().as_bytes())?;
        out.u64(self.newest.0)?;
        out.u64(self.now_ms)?;
        self.forgotten.save(out)?;
        out.count(self.order.len())?;
        let mut numbers = HashMap::with_capacity(self.histories.len());
        for entry in self.order.values() {
            let next = numbers.len();
            let number = *numbers.entry(&entry.channel).or_insert(next);
            out.count(number)?;
            if number == next {
                out.text(entry.channel.as_bytes())?;
                let history = self.histories.get(&entry.channel);
                out.u64(history.map_or(0, |history| history.forgotten().0))?;
            }
            out.u64(entry.position.0)?;
            out.u64(entry.at_ms)?;
            out.body(&entry.body)?;
        }
        Ok(())
    }

    pub(crate) fn restore(
        input: &mut Reader<impl Read>,
        limits: HistoryLimits,
    ) -> Result<Self, SnapshotError> {
        let epoch =
            Epoch::new(&input.text()?).map_err(|_| SnapshotError::Impossible("that epoch"))?;
        let mut journal = Self::new(epoch, limits);
        journal.newest = input.position()?;
        journal.now_ms = input.u64()?;
        journal.forgotten = Forgotten::restore(input)?;
        let mut channels = Vec::new();
        let mut last = (Position::default(), 0);
        for _ in 0..input.u32()? {
            let (mut entry, forgotten) = read_entry(input, &mut channels)?;
            let in_order = entry.position > last.0 && entry.at_ms >= last.1;
            if !in_order || entry.position > journal.newest || entry.at_ms > journal.now_ms {
                return Err(SnapshotError::Impossible("an entry out of order"));
            }
            last = (entry.position, entry.at_ms);
            let channel = Arc::clone(&entry.channel);
            journal.keep(&channel, forgotten, |name, _| {
                entry.channel = name;
                entry
            });
        }
        Ok(journal)
    }
}

/// Reads a publication, and the evicted position of its channel if it is the channel's first.
fn read_entry(
    input: &mut Reader<impl Read>,
    channels: &mut Vec<Channel>,
) -> Result<(Publication, Option<Position>), SnapshotError> {
    let number = usize::try_from(input.u32()?).unwrap_or(usize::MAX);
    if number == channels.len() {
        channels.push((input.text()?.into(), Some(input.position()?)));
    }
    let (channel, forgotten) = channels
        .get_mut(number)
        .ok_or(SnapshotError::Impossible("an entry of no channel"))?;
    let entry = Publication {
        position: input.position()?,
        channel: Arc::clone(channel),
        at_ms: input.u64()?,
        body: Bytes::from(input.body()?),
        charged: Charged::default(),
    };
    Ok((entry, forgotten.take()))
}
