//! Snapshot of the hub: what a planned stop writes and the next sidecar restores.
//!
//! ```text
//!  "LNSSTATE" | version u16 | now_ms u64 | wall_ms u64 | journal | publishers | once ids | revocations | marks | SHA-256
//!
//!  journal:      epoch | newest u64 | now_ms u64 | forgotten | count u32, then for each entry, in order:
//!                channel u32, and if it is the next new one its name and forgotten u64 | position u64 | at_ms u64 | body
//!  forgotten:    count u16, then for each bucket that is not zero: bucket u16 | position u64
//!  publishers:   count u32, then for each: id 16 bytes | last u64 | unlinked_ms u64 | count u16, then for each answer:
//!                sequence u64 | 0, receipt u64, duplicate u8; or 1, code u16, message
//!  once ids:     count u32, then for each, oldest first: at_ms u64 | channel | id | position u64
//!  revocations:  count u32, then for each, oldest first: until_ms u64 | added_ms u64 | key
//!  marks:        forgotten u64 | count u32, then for each, the one that ended first in front: key 16 bytes | position u64 |
//!                ended_ms u64
//! ```
//!
//! Numbers are big-endian. Names, ids and messages have their bytes counted in a u16 before them, bodies in a u32. The
//! checksum covers everything before it, and nothing follows it.

use std::io::{self, Read, Write};

use crate::counts::Counts;
use crate::encoding::{Reader, SnapshotError, VERSION, Writer};
use crate::hub::Hub;
use crate::journal::{HistoryLimits, Journal};
use crate::marks::Marks;
use crate::once::OnceIds;
use crate::publishers::Publishers;
use crate::revocations::Revocations;

const MAGIC: [u8; 8] = *b"LNSSTATE";

/// Maximum size of a snapshot beside its history, in bytes. The `once` ids take at most 130 MB, the revocations at most
/// 105 MB, and the receipts of 4,096 publishers 79 MB.
const BESIDE_HISTORY_BYTES_MAX: u64 = 320 * 1024 * 1024;

/// Latest valid time, in milliseconds. Sums of times cannot overflow below it.
const TIME_MS_MAX: u64 = 1 << 53;

/// Time of a snapshot by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedAt {
    /// Milliseconds of the hub's clock. The next sidecar's clock continues from here.
    pub now_ms: u64,
    /// Milliseconds since the Unix epoch, for measuring the time between the two sidecars.
    pub wall_ms: u64,
}

impl Hub {
    /// Writes a snapshot, and returns its size in bytes: at most [`HistoryLimits::bytes_max`] and 320 MiB. The same hub
    /// gives the same bytes. Pass a buffered `out`.
    ///
    /// Nothing may be applied to this hub afterwards, because the next sidecar continues its epoch.
    ///
    /// # Errors
    /// Those of `out`, and [`io::ErrorKind::FileTooLarge`] beyond that limit.
    pub fn save(&self, at: SavedAt, out: impl Write) -> io::Result<u64> {
        let history_bytes_max = u64::try_from(self.journal.limits().bytes_max).unwrap_or(u64::MAX);
        let bytes_max = history_bytes_max.saturating_add(BESIDE_HISTORY_BYTES_MAX);
        let mut out = Writer::new(out, bytes_max);
        out.bytes(&MAGIC)?;
        out.u16(VERSION)?;
        out.u64(at.now_ms)?;
        out.u64(at.wall_ms)?;
        self.journal.save(&mut out)?;
        self.publishers.save(&mut out, at.now_ms)?;
        self.once.save(&mut out)?;
        self.revocations.save(&mut out)?;
        self.marks.save(&mut out, at.now_ms)?;
        out.finish()
    }

    /// Reads a hub that was [saved](Self::save), and evicts what exceeds `history`. No publisher is linked, and links may be
    /// numbered from 1 again. Pass a buffered `input`.
    ///
    /// A snapshot must be restored at most once.
    ///
    /// # Errors
    /// Returns an error if `input` is not one complete, undamaged snapshot of this version. Takes no more memory than the
    /// limits allow.
    pub fn restore(
        input: impl Read,
        history: HistoryLimits,
        publishers_max: usize,
    ) -> Result<(Self, SavedAt), SnapshotError> {
        let mut input = Reader::new(input);
        if input.array()? != MAGIC {
            return Err(SnapshotError::Magic);
        }
        let version = input.u16()?;
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let at = SavedAt {
            now_ms: input.u64()?,
            wall_ms: input.u64()?,
        };
        if at.now_ms.max(at.wall_ms) > TIME_MS_MAX {
            return Err(SnapshotError::Impossible("that time"));
        }
        let mut hub = Self {
            journal: Journal::restore(&mut input, history)?,
            publishers: Publishers::restore(&mut input, publishers_max)?,
            once: OnceIds::restore(&mut input)?,
            revocations: Revocations::restore(&mut input)?,
            marks: Marks::restore(&mut input)?,
            counts: Counts::default(),
        };
        input.finish()?;
        hub.revocations.note_wall(at.wall_ms);
        Ok((hub, at))
    }
}

#[cfg(test)]
mod tests;
