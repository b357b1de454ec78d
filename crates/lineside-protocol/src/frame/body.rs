//! Bodies of the frames, one type per kind.

use bytes::{Buf, BufMut, Bytes};

use super::{Frame, FrameError, bounded, encode};
use crate::{Epoch, PAYLOAD_BYTES_MAX, Position};

/// Version of the link's protocol.
pub const PROTOCOL_VERSION: u8 = 1;

/// First bytes of a hello and of a welcome.
const MAGIC: &[u8; 4] = b"LNSD";

const HELLO: u8 = 1;
const PUBLISH: u8 = 2;
const SKIP: u8 = 3;
const DISCONNECT: u8 = 4;
const WELCOME: u8 = 129;
const ACK: u8 = 130;
const RECEIPT: u8 = 131;
const REFUSAL: u8 = 132;
const MOVED: u8 = 133;
const FAULT: u8 = 134;

/// Flag of `Publish` and `Revoke`: the sidecar replies with a `Receipt`.
const WANTS_RECEIPT: u8 = 1;
/// Flag of `Publish`: the frame was sent to a journal of another epoch, and may have been delivered there.
const RESENT: u8 = 2;
/// Flag of `Receipt`: the `once` id had landed before, so nothing new was published.
const DUPLICATE: u8 = 1;

/// Critical option of `Publish`: the id under which the publication lands once per channel.
const ONCE: u16 = 0x8001;

/// Frame from a publisher to the sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToSidecar {
    /// First frame of the link.
    Hello(Hello),
    /// One publication, or several that land together.
    Publish(Publish),
    /// Sequences that are never sent.
    Skip(Skip),
    /// Revocation of a user's tokens, which also ends the connections that use them.
    Revoke(Revoke),
}

/// Frame from the sidecar to a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToPublisher {
    /// Reply to `Hello`.
    Welcome(Welcome),
    /// Every frame up to a sequence has landed or was refused.
    Ack(Ack),
    /// Reply to a frame that wants one. Precedes the frame's ack.
    Receipt(Receipt),
    /// Permanent refusal of a frame. Precedes the frame's ack.
    Refusal(Refusal),
    /// The newest position of the journal.
    Moved(Moved),
    /// Reason for the end of the link.
    Fault(Fault),
}

/// First frame of a publisher.
///
/// ```text
/// "LNSD" | version_min u8 | version_max u8 | publisher 16 | done u64 | fingerprint 8 | name …
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Lowest version that the publisher speaks.
    pub version_min: u8,
    /// Highest version that the publisher speaks.
    pub version_max: u8,
    /// Random id of the publisher, one per Ruby process. Sequences count within it.
    pub publisher: [u8; 16],
    /// Newest sequence that will never be sent again.
    pub done: u64,
    /// Fingerprint of the key that the publisher signs with, or zeros without one.
    pub fingerprint: [u8; 8],
    /// Name of the process in logs, such as `puma[4711]`.
    pub name: String,
}

/// Reply to a hello.
///
/// ```text
/// "LNSD" | version u8 | last u64 | position u64 | fingerprint 8 | payload_bytes_max u32 | epoch …
/// ```
///
/// `payload_bytes_max` is [`PAYLOAD_BYTES_MAX`] and is not read: both ends know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Version of the rest of the link.
    pub version: u8,
    /// Newest sequence of the publisher that has landed or was refused.
    pub last: u64,
    /// Newest position of the journal.
    pub position: Position,
    /// The publisher's fingerprint, or that of the sidecar's first key for a publisher without a key.
    pub fingerprint: [u8; 8],
    /// Epoch of the journal. Constant on one link.
    pub epoch: Epoch,
}

/// Publications of one frame. All land in order and together, or none does.
///
/// ```text
/// sequence u64 | ( channel_bytes u16 | payload_bytes u32 | channel … | payload … ) once or more
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Number of the frame within its publisher.
    pub sequence: u64,
    /// Whether the sidecar replies with a `Receipt`.
    pub wants_receipt: bool,
    /// Whether the frame was sent to a journal of another epoch.
    pub resent: bool,
    /// Id under which the publication lands once per channel.
    pub once: Option<Bytes>,
    /// The publications.
    pub publications: Publications,
}

/// Publications of one frame: pairs of channel and payload, as raw bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publications(Bytes);

/// Notice that the publisher dropped frames before it sent them.
///
/// ```text
/// through u64
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Newest dropped sequence. No unsent frame up to it will be sent.
    pub through: u64,
}

/// Revocation of the tokens of a user, or of one session, that were signed up to a point in time.
///
/// ```text
/// sequence u64 | revoked_ms u64 | sub_bytes u16 | sub … | sid …
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoke {
    /// Number of the frame within its publisher.
    pub sequence: u64,
    /// Whether the sidecar replies with a `Receipt`.
    pub wants_receipt: bool,
    /// Tokens with an `iat_ms` up to this time are revoked. In milliseconds since the Unix epoch, by the clock that signs
    /// them.
    pub revoked_ms: u64,
    /// The user's `sub`, as raw bytes, at most 65,535.
    pub sub: Bytes,
    /// The session's `sid`, as raw bytes, or empty for all sessions.
    pub sid: Bytes,
}

/// Cumulative acknowledgement.
///
/// ```text
/// sequence u64 | position u64
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Every frame up to this sequence has landed or was refused.
    pub sequence: u64,
    /// Newest position of the journal.
    pub position: Position,
}

/// Reply to a frame that landed.
///
/// ```text
/// sequence u64 | position u64
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Sequence of the frame.
    pub sequence: u64,
    /// Position of the frame's last publication.
    pub position: Position,
    /// Whether the `once` id had landed before. The position is then that of the earlier publication.
    pub duplicate: bool,
}

/// Reply to a frame that was permanently refused.
///
/// ```text
/// sequence u64 | code u16 | message …
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Sequence of the frame.
    pub sequence: u64,
    /// One of [`crate::codes::LINK_CODES`].
    pub code: u16,
    /// The problem and the value that caused it.
    pub message: String,
}

/// Notice that the journal has advanced.
///
/// ```text
/// position u64
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Newest position of the journal.
    pub position: Position,
}

/// Reason for the end of the link.
///
/// ```text
/// code u16 | message …
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// One of [`crate::codes::LINK_CODES`].
    pub code: u16,
    /// The problem and the value that caused it.
    pub message: String,
}

/// Head of a `Publish`, for [`encode_publish`].
#[derive(Clone, Copy, Debug, Default)]
pub struct PublishHead<'a> {
    /// Number of the frame within its publisher.
    pub sequence: u64,
    /// Whether the sidecar replies with a `Receipt`.
    pub wants_receipt: bool,
    /// Id under which the publication lands once per channel, at most 255 bytes.
    pub once: Option<&'a [u8]>,
}

/// Appends a `Publish` frame to `out`. The caller must limit channels to 65,535 bytes and the frame to
/// [`FRAME_BYTES_MAX`](super::FRAME_BYTES_MAX).
pub fn encode_publish<'a>(
    out: &mut Vec<u8>,
    head: PublishHead<'_>,
    publications: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) {
    encode_publish_body(out, head, |out| {
        for (channel, payload) in publications {
            out.put_u16(bounded(channel.len()));
            out.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
            out.put_slice(channel.as_bytes());
            out.put_slice(payload);
        }
    });
}

fn encode_publish_body(
    out: &mut Vec<u8>,
    head: PublishHead<'_>,
    publications: impl FnOnce(&mut Vec<u8>),
) {
    let flags = if head.wants_receipt { WANTS_RECEIPT } else { 0 };
    let once = head.once.map(|id| (ONCE, id));
    encode(out, (PUBLISH, flags), once, |out| {
        out.put_u64(head.sequence);
        publications(out);
    });
}

impl Publish {
    /// Marks an encoded `Publish` frame as resent after a change of epoch. `frame` begins with its length field. Leaves
    /// frames of other kinds unchanged.
    pub fn mark_resent(frame: &mut [u8]) {
        if let [_, _, _, _, PUBLISH, flags, ..] = frame {
            *flags |= RESENT;
        }
    }
}

impl Publications {
    /// Iterates over the channel and payload of each publication, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Bytes, Bytes)> + use<> {
        let mut rest = self.0.clone();
        std::iter::from_fn(move || split_publication(&mut rest))
    }
}

/// Splits one pair from the front. Returns `None` at the end, and for an incomplete field.
fn split_publication(rest: &mut Bytes) -> Option<(Bytes, Bytes)> {
    let channel_bytes = usize::from(rest.try_get_u16().ok()?);
    let payload_bytes = rest.try_get_u32().ok()? as usize;
    if rest.len() < channel_bytes.checked_add(payload_bytes)? {
        return None;
    }
    Some((rest.split_to(channel_bytes), rest.split_to(payload_bytes)))
}

impl ToSidecar {
    /// Decodes a frame from a publisher.
    ///
    /// # Errors
    /// Returns the problem of an invalid frame. [`FrameError::UnknownOption`] refuses the frame; all others end the link.
    pub fn decode(frame: &Frame) -> Result<Self, FrameError> {
        let mut body = Body::of(frame);
        match frame.kind {
            HELLO => {
                frame.option(None)?;
                body.magic()?;
                Ok(Self::Hello(Hello {
                    version_min: body.u8("version_min")?,
                    version_max: body.u8("version_max")?,
                    publisher: body.array("publisher")?,
                    done: body.u64("done")?,
                    fingerprint: body.array("fingerprint")?,
                    name: body.text("name")?,
                }))
            }
            PUBLISH => {
                let sequence = body.u64("sequence")?;
                let once = frame
                    .option(Some(ONCE))
                    .map_err(|error| error.with_sequence(sequence))?;
                Ok(Self::Publish(Publish {
                    sequence,
                    wants_receipt: frame.flags & WANTS_RECEIPT != 0,
                    resent: frame.flags & RESENT != 0,
                    once,
                    publications: body.publications()?,
                }))
            }
            SKIP => {
                frame.option(None)?;
                Ok(Self::Skip(Skip {
                    through: body.u64("through")?,
                }))
            }
            DISCONNECT => {
                let sequence = body.u64("sequence")?;
                frame
                    .option(None)
                    .map_err(|error| error.with_sequence(sequence))?;
                Ok(Self::Revoke(Revoke {
                    sequence,
                    wants_receipt: frame.flags & WANTS_RECEIPT != 0,
                    revoked_ms: body.u64("revoked_ms")?,
                    sub: body.counted("sub")?,
                    sid: std::mem::take(&mut body.rest),
                }))
            }
            kind => Err(FrameError::UnknownKind(kind)),
        }
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => encode(out, (HELLO, 0), None, |out| {
                out.put_slice(MAGIC);
                out.put_u8(hello.version_min);
                out.put_u8(hello.version_max);
                out.put_slice(&hello.publisher);
                out.put_u64(hello.done);
                out.put_slice(&hello.fingerprint);
                out.put_slice(hello.name.as_bytes());
            }),
            Self::Publish(publish) => {
                let start = out.len();
                let head = PublishHead {
                    sequence: publish.sequence,
                    wants_receipt: publish.wants_receipt,
                    once: publish.once.as_deref(),
                };
                encode_publish_body(out, head, |out| out.put_slice(&publish.publications.0));
                if publish.resent {
                    Publish::mark_resent(&mut out[start..]);
                }
            }
            Self::Skip(skip) => encode(out, (SKIP, 0), None, |out| out.put_u64(skip.through)),
            Self::Revoke(revoke) => {
                let flags = if revoke.wants_receipt {
                    WANTS_RECEIPT
                } else {
                    0
                };
                encode(out, (DISCONNECT, flags), None, |out| {
                    out.put_u64(revoke.sequence);
                    out.put_u64(revoke.revoked_ms);
                    out.put_u16(bounded(revoke.sub.len()));
                    out.put_slice(&revoke.sub);
                    out.put_slice(&revoke.sid);
                });
            }
        }
    }
}

impl ToPublisher {
    /// Decodes a frame from the sidecar.
    ///
    /// # Errors
    /// Returns the problem of an invalid frame. The link must then be closed.
    pub fn decode(frame: &Frame) -> Result<Self, FrameError> {
        frame.option(None)?;
        let mut body = Body::of(frame);
        Ok(match frame.kind {
            WELCOME => {
                body.magic()?;
                Self::Welcome(Welcome {
                    version: body.u8("version")?,
                    last: body.u64("last")?,
                    position: Position(body.u64("position")?),
                    fingerprint: body.array("fingerprint")?,
                    epoch: {
                        let _unread: [u8; 4] = body.array("payload_bytes_max")?;
                        Epoch::new(&body.text("epoch")?).map_err(|_| FrameError::Epoch)?
                    },
                })
            }
            ACK => Self::Ack(Ack {
                sequence: body.u64("sequence")?,
                position: Position(body.u64("position")?),
            }),
            RECEIPT => Self::Receipt(Receipt {
                sequence: body.u64("sequence")?,
                position: Position(body.u64("position")?),
                duplicate: frame.flags & DUPLICATE != 0,
            }),
            REFUSAL => Self::Refusal(Refusal {
                sequence: body.u64("sequence")?,
                code: body.u16("code")?,
                message: body.text("message")?,
            }),
            MOVED => Self::Moved(Moved {
                position: Position(body.u64("position")?),
            }),
            FAULT => Self::Fault(Fault {
                code: body.u16("code")?,
                message: body.text("message")?,
            }),
            kind => return Err(FrameError::UnknownKind(kind)),
        })
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Welcome(welcome) => encode(out, (WELCOME, 0), None, |out| {
                out.put_slice(MAGIC);
                out.put_u8(welcome.version);
                out.put_u64(welcome.last);
                out.put_u64(welcome.position.0);
                out.put_slice(&welcome.fingerprint);
                out.put_u32(u32::try_from(PAYLOAD_BYTES_MAX).unwrap_or(u32::MAX));
                out.put_slice(welcome.epoch.as_str().as_bytes());
            }),
            Self::Ack(ack) => encode(out, (ACK, 0), None, |out| {
                out.put_u64(ack.sequence);
                out.put_u64(ack.position.0);
            }),
            Self::Receipt(receipt) => {
                let flags = if receipt.duplicate { DUPLICATE } else { 0 };
                encode(out, (RECEIPT, flags), None, |out| {
                    out.put_u64(receipt.sequence);
                    out.put_u64(receipt.position.0);
                });
            }
            Self::Refusal(refusal) => encode(out, (REFUSAL, 0), None, |out| {
                out.put_u64(refusal.sequence);
                out.put_u16(refusal.code);
                out.put_slice(refusal.message.as_bytes());
            }),
            Self::Moved(moved) => {
                encode(out, (MOVED, 0), None, |out| out.put_u64(moved.position.0));
            }
            Self::Fault(fault) => encode(out, (FAULT, 0), None, |out| {
                out.put_u16(fault.code);
                out.put_slice(fault.message.as_bytes());
            }),
        }
    }
}

/// Reads a body field by field. Errors name the missing field.
struct Body {
    kind: u8,
    rest: Bytes,
}

impl Body {
    fn of(frame: &Frame) -> Self {
        Self {
            kind: frame.kind,
            rest: frame.body.clone(),
        }
    }

    fn truncated(&self, field: &'static str) -> FrameError {
        FrameError::Truncated {
            kind: self.kind,
            field,
        }
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, FrameError> {
        self.rest.try_get_u8().map_err(|_| self.truncated(field))
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, FrameError> {
        self.rest.try_get_u16().map_err(|_| self.truncated(field))
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, FrameError> {
        self.rest.try_get_u64().map_err(|_| self.truncated(field))
    }

    fn array<const BYTES: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; BYTES], FrameError> {
        let array = *self
            .rest
            .first_chunk::<BYTES>()
            .ok_or_else(|| self.truncated(field))?;
        self.rest.advance(BYTES);
        Ok(array)
    }

    fn magic(&mut self) -> Result<(), FrameError> {
        if self
            .array("magic")
            .is_ok_and(|magic: [u8; 4]| magic == *MAGIC)
        {
            Ok(())
        } else {
            Err(FrameError::Magic)
        }
    }

    /// Reads bytes after their length (`u16`).
    fn counted(&mut self, field: &'static str) -> Result<Bytes, FrameError> {
        let bytes = usize::from(self.u16(field)?);
        if self.rest.len() < bytes {
            return Err(self.truncated(field));
        }
        Ok(self.rest.split_to(bytes))
    }

    /// Reads the rest of the body as text.
    fn text(&mut self, field: &'static str) -> Result<String, FrameError> {
        String::from_utf8(std::mem::take(&mut self.rest).into())
            .map_err(|_| FrameError::NotText(field))
    }

    /// Reads the rest of the body as complete pairs, at least one.
    fn publications(&mut self) -> Result<Publications, FrameError> {
        let mut rest = self.rest.clone();
        let mut count = 0_u32;
        while !rest.is_empty() {
            split_publication(&mut rest).ok_or_else(|| self.truncated("a publication"))?;
            count += 1;
        }
        if count == 0 {
            return Err(self.truncated("a publication"));
        }
        Ok(Publications(std::mem::take(&mut self.rest)))
    }
}
