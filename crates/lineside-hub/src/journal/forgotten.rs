//! Evicted positions of channels without a history, in a table of fixed size.

use std::io::{self, Read, Write};

use lineside_protocol::Position;

use crate::encoding::{Reader, SnapshotError, Writer};

/// Number of buckets. 4,096 take 32 KiB. Channels in one bucket share the newest evicted position, so a collision can make
/// an old cursor resume as lost, but never hides a loss. Open connections keep newer cursors.
const BUCKETS: usize = 4_096;

/// Newest evicted position by bucket of channel names.
#[derive(Debug)]
pub(super) struct Forgotten(Box<[Position]>);

impl Default for Forgotten {
    fn default() -> Self {
        Self(vec![Position::default(); BUCKETS].into())
    }
}

impl Forgotten {
    /// Newest evicted position of `channel`. Nothing up to here can be replayed.
    pub(super) fn of(&self, channel: &str) -> Position {
        self.0[bucket(channel)]
    }

    /// Registers that the publication of `channel` at `position` was evicted.
    pub(super) fn raise(&mut self, channel: &str, position: Position) {
        let newest = &mut self.0[bucket(channel)];
        *newest = position.max(*newest);
    }

    pub(super) fn save(&self, out: &mut Writer<impl Write>) -> io::Result<()> {
        let used = || (0_u16..).zip(&self.0).filter(|(_, newest)| newest.0 > 0);
        out.u16(u16::try_from(used().count()).map_err(io::Error::other)?)?;
        for (bucket, newest) in used() {
            out.u16(bucket)?;
            out.u64(newest.0)?;
        }
        Ok(())
    }

    pub(super) fn restore(input: &mut Reader<impl Read>) -> Result<Self, SnapshotError> {
        let mut table = Self::default();
        for _ in 0..input.u16()? {
            let bucket = table.0.get_mut(usize::from(input.u16()?));
            *bucket.ok_or(SnapshotError::Impossible("a bucket beyond the last"))? =
                input.position()?;
        }
        Ok(table)
    }
}

/// Bucket of a channel by FNV-1a, 64 bits (draft-eastlake-fnv), which gives the same result in every process.
fn bucket(channel: &str) -> usize {
    let hash = channel
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    usize::try_from(hash % BUCKETS as u64).unwrap_or_default()
}
