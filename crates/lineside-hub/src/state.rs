//! The hub as plain data: what a planned stop leaves, and its successor goes on with.
//!
//! ```text
//!  "LNSSTATE" | version u16 | now_ms u64 | wall_ms u64 | journal | publishers | once ids | revocations | SHA-256
//!
//!  journal:      epoch | newest u64 | now_ms u64 | forgotten | count u32, then for each entry, in order:
//!                channel u32, and if it is the next new one its name and forgotten u64 | position u64 | at_ms u64 | body
//!  forgotten:    count u16, then for each bucket that is not zero: bucket u16 | position u64
//!  publishers:   count u32, then for each: id 16 bytes | last u64 | unlinked_ms u64 | count u16, then for each answer:
//!                sequence u64 | 0, receipt u64, duplicate u8; or 1, code u16, message
//!  once ids:     count u32, then for each, oldest first: at_ms u64 | channel | id | position u64
//!  revocations:  count u32, then for each, oldest first: until_ms u64 | key
//! ```
//!
//! Numbers are big-endian. Names, ids and messages have their bytes counted in a u16 before them, bodies in a u32. The
//! checksum covers everything before it, and nothing follows it.

use std::io::{self, Read, Write};

use crate::counts::Counts;
use crate::encoding::{Reader, StateError, VERSION, Writer};
use crate::hub::Hub;
use crate::journal::{HistoryLimits, Journal};
use crate::once::OnceIds;
use crate::publishers::Publishers;
use crate::revocations::Revocations;

const MAGIC: [u8; 8] = *b"LNSSTATE";

/// What a state may hold beside history, in bytes: at their longest the `once` ids take 130 MB and the revocations 103 MB;
/// the publishers some 10 MB, unless thousands of them are refused without end.
const BESIDE_HISTORY_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Latest time that is taken for one, in milliseconds: as far from any overflow as from any clock.
const TIME_MS_MAX: u64 = 1 << 53;

/// When a state was saved, by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedAt {
    /// In milliseconds of the hub's clock, in which all its times are: the successor's goes on from here.
    pub now_ms: u64,
    /// In milliseconds since the Unix epoch: what says how long nothing ran.
    pub wall_ms: u64,
}

impl Hub {
    /// Writes all that a successor needs to go on in this epoch, and returns the bytes it took: at most
    /// `history.bytes_max` of its limits and 256 MiB. The same hub gives the same bytes. Buffer `out`.
    ///
    /// Whoever calls this must give no position away afterwards: the epoch is the successor's.
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
        out.finish()
    }

    /// The hub that was [saved](Self::save), within these limits: what exceeds them is forgotten. No publisher is linked,
    /// and links may be numbered from 1 again. Buffer `input`.
    ///
    /// The caller sees to it that of one state one hub is restored at most, before anything of it is served.
    ///
    /// # Errors
    /// When `input` is not the whole of a state, unchanged, in this version; costs no more memory than the limits allow.
    pub fn restore(
        input: impl Read,
        history: HistoryLimits,
        publishers_max: usize,
    ) -> Result<(Self, SavedAt), StateError> {
        let mut input = Reader::new(input);
        if input.array()? != MAGIC {
            return Err(StateError::Magic);
        }
        let version = input.u16()?;
        if version != VERSION {
            return Err(StateError::Version(version));
        }
        let at = SavedAt {
            now_ms: input.u64()?,
            wall_ms: input.u64()?,
        };
        if at.now_ms.max(at.wall_ms) > TIME_MS_MAX {
            return Err(StateError::Impossible("that time"));
        }
        let hub = Self {
            journal: Journal::restore(&mut input, history)?,
            publishers: Publishers::restore(&mut input, publishers_max)?,
            once: OnceIds::restore(&mut input)?,
            revocations: Revocations::restore(&mut input)?,
            counts: Counts::default(),
        };
        input.finish()?;
        Ok((hub, at))
    }
}

#[cfg(test)]
mod tests;
