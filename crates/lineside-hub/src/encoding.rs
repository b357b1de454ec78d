//! Binary encoding of a snapshot, with a checksum.

use std::io::{self, ErrorKind, Read, Write};

use lineside_protocol::{PAYLOAD_BYTES_MAX, POSITION_MAX, Position};
use sha2::{Digest as _, Sha256};

/// Maximum size of a body, in bytes: a payload, the envelope, and a channel name with every byte escaped.
const BODY_BYTES_MAX: usize = 2 * PAYLOAD_BYTES_MAX;

/// Size of a SHA-256 digest, in bytes.
const CHECKSUM_BYTES: usize = 32;

/// Version of the format. Any other version is rejected: a new epoch makes pages refetch, but a misread snapshot would
/// make them miss data.
pub(crate) const VERSION: u16 = 3;

/// Error of reading a snapshot. Start with an empty hub of a new epoch instead.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The input failed.
    #[error("reading failed: {0}")]
    Read(io::Error),
    /// The input ends too early.
    #[error("the file is truncated")]
    CutShort,
    /// The input is not a snapshot.
    #[error("the file is not a snapshot")]
    Magic,
    /// Another version of the sidecar wrote the snapshot.
    #[error("the snapshot has version {0}; this sidecar reads version {VERSION}")]
    Version(u16),
    /// The snapshot holds an invalid value.
    #[error("the snapshot is damaged: {0} is invalid")]
    Impossible(&'static str),
    /// The checksum does not match.
    #[error("the snapshot is damaged: the checksum does not match")]
    Checksum,
    /// Bytes follow the end of the snapshot.
    #[error("the snapshot is damaged: bytes follow its end")]
    Trailing,
}

/// Writes a snapshot.
pub(crate) struct Writer<W> {
    out: W,
    checksum: Sha256,
    bytes: u64,
    bytes_max: u64,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(out: W, bytes_max: u64) -> Self {
        Self {
            out,
            checksum: Sha256::new(),
            bytes: 0,
            bytes_max,
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.bytes > self.bytes_max {
            let message = format!("the state has more than {} bytes", self.bytes_max);
            return Err(io::Error::new(ErrorKind::FileTooLarge, message));
        }
        self.checksum.update(bytes);
        self.out.write_all(bytes)
    }

    pub(crate) fn u8(&mut self, number: u8) -> io::Result<()> {
        self.bytes(&[number])
    }

    pub(crate) fn u16(&mut self, number: u16) -> io::Result<()> {
        self.bytes(&number.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, number: u32) -> io::Result<()> {
        self.bytes(&number.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, number: u64) -> io::Result<()> {
        self.bytes(&number.to_be_bytes())
    }

    pub(crate) fn count(&mut self, count: usize) -> io::Result<()> {
        self.u32(u32::try_from(count).map_err(io::Error::other)?)
    }

    /// A name, an id or a message.
    pub(crate) fn text(&mut self, text: &[u8]) -> io::Result<()> {
        self.u16(u16::try_from(text.len()).map_err(io::Error::other)?)?;
        self.bytes(text)
    }

    pub(crate) fn body(&mut self, body: &[u8]) -> io::Result<()> {
        self.count(body.len())?;
        self.bytes(body)
    }

    /// Writes the checksum, and returns the size of the snapshot in bytes.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        let checksum: [u8; CHECKSUM_BYTES] = self.checksum.finalize().into();
        self.out.write_all(&checksum)?;
        self.out.flush()?;
        Ok(self.bytes + CHECKSUM_BYTES as u64)
    }
}

/// Reads a snapshot. Values are unverified until [`finish`](Self::finish) has checked the checksum.
pub(crate) struct Reader<R> {
    input: R,
    checksum: Sha256,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            checksum: Sha256::new(),
        }
    }

    pub(crate) fn array<const BYTES: usize>(&mut self) -> Result<[u8; BYTES], SnapshotError> {
        let mut bytes = [0; BYTES];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, SnapshotError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, SnapshotError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, SnapshotError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, SnapshotError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn position(&mut self) -> Result<Position, SnapshotError> {
        let position = self.u64()?;
        if position > POSITION_MAX {
            return Err(SnapshotError::Impossible("a position from 2^53 on"));
        }
        Ok(Position(position))
    }

    pub(crate) fn id(&mut self) -> Result<Vec<u8>, SnapshotError> {
        let length = self.u16()?;
        self.vec(length.into())
    }

    pub(crate) fn text(&mut self) -> Result<String, SnapshotError> {
        let bytes = self.id()?;
        String::from_utf8(bytes).map_err(|_| SnapshotError::Impossible("a name that is not UTF-8"))
    }

    /// A buffer of its own, without room to spare.
    pub(crate) fn body(&mut self) -> Result<Vec<u8>, SnapshotError> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if !(1..=BODY_BYTES_MAX).contains(&length) {
            return Err(SnapshotError::Impossible("a body of that size"));
        }
        self.vec(length)
    }

    /// Whether the checksum fits and nothing follows.
    pub(crate) fn finish(mut self) -> Result<(), SnapshotError> {
        let expected: [u8; CHECKSUM_BYTES] = self.checksum.clone().finalize().into();
        if self.array()? != expected {
            return Err(SnapshotError::Checksum);
        }
        match self.input.read(&mut [0]).map_err(SnapshotError::Read)? {
            0 => Ok(()),
            _ => Err(SnapshotError::Trailing),
        }
    }

    fn vec(&mut self, length: usize) -> Result<Vec<u8>, SnapshotError> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SnapshotError> {
        self.input
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => SnapshotError::CutShort,
                _ => SnapshotError::Read(error),
            })?;
        self.checksum.update(&*bytes);
        Ok(())
    }
}
