//! What was forgotten of channels that the journal holds nothing of: a table that never grows.

use std::io::{self, Read, Write};

use lineside_protocol::Position;

use crate::encoding::{Reader, StateError, Writer};

/// 4,096 buckets are 32 KiB. Channels that share a bucket share the newest position forgotten of any, so a collision
/// can only make a cursor lost that is older than something forgotten; connections that are alive keep younger ones.
const BUCKETS: usize = 4_096;

/// Per bucket of channel names the newest position that was forgotten.
#[derive(Debug)]
pub(super) struct Forgotten(Box<[Position]>);

impl Default for Forgotten {
    fn default() -> Self {
        Self(vec![Position::default(); BUCKETS].into())
    }
}

impl Forgotten {
    /// Of `channel`, nothing up to here can be replayed.
    pub(super) fn of(&self, channel: &str) -> Position {
        self.0[bucket(channel)]
    }

    /// Notes that `channel` lost its entry at `position`.
    pub(super) fn raise(&mut self, channel: &str, position: Position) {
        let newest = &mut self.0[bucket(channel)];
        *newest = position.max(*newest);
    }

    pub(super) fn save(&self, out: &mut Writer<impl Write>) -> io::Result<()> {
        let used = || (0_u16..).zip(&self.0).filter(|(_, newest)| newest.0 > 0);
        // No more than there are buckets.
        out.u16(u16::try_from(used().count()).map_err(io::Error::other)?)?;
        for (bucket, newest) in used() {
            out.u16(bucket)?;
            out.u64(newest.0)?;
        }
        Ok(())
    }

    pub(super) fn restore(input: &mut Reader<impl Read>) -> Result<Self, StateError> {
        let mut table = Self::default();
        for _ in 0..input.u16()? {
            let bucket = table.0.get_mut(usize::from(input.u16()?));
            *bucket.ok_or(StateError::Impossible("a bucket beyond the last"))? =
                input.position()?;
        }
        Ok(table)
    }
}

/// FNV-1a, 64 bits (draft-eastlake-fnv): the same in every process, so that the table can outlive one.
fn bucket(channel: &str) -> usize {
    let hash = channel
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    usize::try_from(hash % BUCKETS as u64).unwrap_or_default()
}
