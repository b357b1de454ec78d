//! First frame of a link that is not a publisher's: a hand-off, a tail, or a request to describe or to settle.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::BytesMut;
use lineside_protocol::codes::{self, LinkCode};
use lineside_protocol::frame::Frame;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::EXCHANGE_MS_MAX;

/// Size of one read, in bytes. Most request heads fit.
const READ_BYTES: usize = 4096;

/// Maximum number of file descriptors per read. The kernel closes the rest. One more than a hand-off has, to detect too
/// many.
const DESCRIPTORS_READ_MAX: usize = 2;

/// Reason for refusing a link, as its other end is told.
#[derive(Debug)]
pub(super) struct LinkRefusal {
    pub(super) code: LinkCode,
    pub(super) message: String,
}

impl LinkRefusal {
    /// Refusal with the code's own meaning.
    pub(super) fn of(code: LinkCode) -> Self {
        Self {
            code,
            message: code.meaning.to_owned(),
        }
    }

    /// Refusal of a frame that cannot be read.
    #[expect(clippy::needless_pass_by_value, reason = "so that `map_err` takes it")]
    pub(super) fn bad_frame(message: impl ToString) -> Self {
        Self {
            code: codes::LINK_BAD_FRAME,
            message: message.to_string(),
        }
    }
}

/// Reads one frame of at most `bytes_max` bytes, and every file descriptor that comes with it.
///
/// # Errors
/// Returns an error if the frame is late, too long or malformed, if more than one descriptor comes, or if the link ends or
/// fails.
pub(super) async fn read_first_frame(
    link: &UnixStream,
    bytes_max: usize,
) -> Result<(Frame, Vec<OwnedFd>), LinkRefusal> {
    let deadline = Duration::from_millis(EXCHANGE_MS_MAX);
    let frame = tokio::time::timeout(deadline, read(link, bytes_max)).await;
    frame.unwrap_or_else(|_| {
        let message = format!("the first frame was not complete within {EXCHANGE_MS_MAX} ms");
        Err(LinkRefusal::bad_frame(message))
    })
}

async fn read(link: &UnixStream, bytes_max: usize) -> Result<(Frame, Vec<OwnedFd>), LinkRefusal> {
    let mut bytes = BytesMut::new();
    let mut descriptors = Vec::new();
    loop {
        if let Some(frame) = Frame::split(&mut bytes).map_err(LinkRefusal::bad_frame)? {
            return Ok((frame, descriptors));
        }
        if bytes.len() >= bytes_max {
            let message = format!("the first frame is longer than {bytes_max} bytes");
            return Err(LinkRefusal::bad_frame(message));
        }
        let read = link
            .async_io(Interest::READABLE, || {
                read_some(link, &mut bytes, &mut descriptors)
            })
            .await;
        match read {
            Ok(1..) if descriptors.len() < DESCRIPTORS_READ_MAX => {}
            Ok(1..) => {
                return Err(LinkRefusal::bad_frame("more than one descriptor came"));
            }
            Ok(0) => {
                let message = "the link ended within its first frame";
                return Err(LinkRefusal::bad_frame(message));
            }
            Err(error) => return Err(LinkRefusal::bad_frame(error)),
        }
    }
}

fn read_some(
    link: &UnixStream,
    bytes: &mut BytesMut,
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut chunk = [0; READ_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_READ_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut chunk)];
    let received = recvmsg(link, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            descriptors.extend(more);
        }
    }
    bytes.extend_from_slice(&chunk[..received.bytes]);
    Ok(received.bytes)
}
