//! Numbers, names and bodies to and from a state, under one checksum.

use std::io::{self, ErrorKind, Read, Write};

use lineside_protocol::{PAYLOAD_BYTES_MAX, POSITION_MAX, Position};
use sha2::{Digest as _, Sha256};

/// Largest body, in bytes: a payload, and ample room for the envelope and a channel's name with every byte escaped.
const BODY_BYTES_MAX: usize = 2 * PAYLOAD_BYTES_MAX;

/// Bytes of a SHA-256.
const CHECKSUM_BYTES: usize = 32;

/// Counts up with every change of the form. Another one is refused: a new epoch costs a refetch, a wrong guess a lie.
pub(crate) const VERSION: u16 = 1;

/// Why bytes are not the state of a hub. Begin with an empty hub of a new epoch instead.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The reader failed.
    #[error("it cannot be read: {0}")]
    Read(io::Error),
    /// It ends too early.
    #[error("it is cut short")]
    CutShort,
    /// Something else than a state.
    #[error("it does not begin as the state of a sidecar does")]
    Magic,
    /// It was saved by another version of the sidecar.
    #[error("it is of version {0}; this sidecar reads version {VERSION}")]
    Version(u16),
    /// A value that no hub would have written.
    #[error("it is damaged: {0} cannot be")]
    Impossible(&'static str),
    /// What was read is not what was written.
    #[error("it is damaged: the checksum does not fit")]
    Checksum,
    /// More than a state.
    #[error("it is damaged: something follows its end")]
    Trailing,
}

/// Writes a state.
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

    /// Seals it; returns the bytes in all.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        let checksum: [u8; CHECKSUM_BYTES] = self.checksum.finalize().into();
        self.out.write_all(&checksum)?;
        self.out.flush()?;
        Ok(self.bytes + CHECKSUM_BYTES as u64)
    }
}

/// Reads a state. Nothing that was read counts before [`finish`](Self::finish); until then it must only do no harm.
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

    pub(crate) fn array<const BYTES: usize>(&mut self) -> Result<[u8; BYTES], StateError> {
        let mut bytes = [0; BYTES];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, StateError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, StateError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, StateError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, StateError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn position(&mut self) -> Result<Position, StateError> {
        let position = self.u64()?;
        if position > POSITION_MAX {
            return Err(StateError::Impossible("a position from 2^53 on"));
        }
        Ok(Position(position))
    }

    pub(crate) fn id(&mut self) -> Result<Vec<u8>, StateError> {
        let length = self.u16()?;
        self.vec(length.into())
    }

    pub(crate) fn text(&mut self) -> Result<String, StateError> {
        let bytes = self.id()?;
        String::from_utf8(bytes).map_err(|_| StateError::Impossible("a name that is not UTF-8"))
    }

    /// A buffer of its own, without room to spare.
    pub(crate) fn body(&mut self) -> Result<Vec<u8>, StateError> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if !(1..=BODY_BYTES_MAX).contains(&length) {
            return Err(StateError::Impossible("a body of that size"));
        }
        self.vec(length)
    }

    /// Whether the checksum fits and nothing follows.
    pub(crate) fn finish(mut self) -> Result<(), StateError> {
        let expected: [u8; CHECKSUM_BYTES] = self.checksum.clone().finalize().into();
        if self.array()? != expected {
            return Err(StateError::Checksum);
        }
        match self.input.read(&mut [0]).map_err(StateError::Read)? {
            0 => Ok(()),
            _ => Err(StateError::Trailing),
        }
    }

    fn vec(&mut self, length: usize) -> Result<Vec<u8>, StateError> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), StateError> {
        self.input
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => StateError::CutShort,
                _ => StateError::Read(error),
            })?;
        self.checksum.update(&*bytes);
        Ok(())
    }
}
