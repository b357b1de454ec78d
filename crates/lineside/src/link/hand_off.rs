//! Browsers whose sockets come from the app: over the link, as a descriptor (`SCM_RIGHTS`) beside the request's head.
//!
//! Such a link is told by the kind of its first frame, before anything of it is read ([`crate::link::socket::first_kind`]).

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use interprocess::local_socket::tokio::Stream;
use lineside_protocol::codes::{self, LinkCode};
use lineside_protocol::frame::{Fault, Frame, HandOff, Taken, ToPublisher};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketType, recvmsg, sockopt,
};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;

use crate::http::head::{HEAD_BYTES_MAX, Own};
use crate::http::upgrade::Browsers;
use crate::log::{Level, event};
use crate::origin::Origin;
use crate::shard::websocket::MESSAGE_BYTES_MAX;

/// Hand-offs under way at one time; each holds two descriptors at most. An app has as many as it has threads.
const HAND_OFFS_MAX: usize = 1024;

/// Time for the bytes that say what a link is for, and then for the rest of a hand-off, in milliseconds each.
const FRAME_MS_MAX: u64 = 1000;

/// Largest frame, in bytes: a head, what may have been read behind it, and the rest.
const FRAME_BYTES_MAX: usize = HEAD_BYTES_MAX + MESSAGE_BYTES_MAX + 1024;

/// What one read takes, in bytes; most heads fit.
const READ_BYTES: usize = 4096;

/// Descriptors that one read has room for; the kernel closes any more. One too many is enough to tell.
const DESCRIPTORS_READ_MAX: usize = 2;

/// The way in for sockets of the app.
#[derive(Debug)]
pub(crate) struct HandOffs {
    browsers: Arc<Browsers>,
    under_way: Semaphore,
}

/// Why a socket is not taken: for the app, which answers its browser.
type Refusal = (LinkCode, String);

/// A socket that is ours now.
struct Browser {
    socket: TcpStream,
    peer: SocketAddr,
    own: Own,
    request: Vec<u8>,
}

impl HandOffs {
    pub(crate) fn new(browsers: Arc<Browsers>) -> Self {
        Self {
            browsers,
            under_way: Semaphore::new(HAND_OFFS_MAX),
        }
    }

    /// Serves a link that brings a browser's socket.
    pub(crate) async fn serve(&self, link: Stream) {
        let Stream::UdSocket(unix) = &link;
        let taken = match self.under_way.try_acquire() {
            Ok(permit) => take(unix.inner()).await.map(|browser| (browser, permit)),
            Err(_) => {
                let code = codes::LINK_HAND_OFFS_FULL;
                Err((code, code.meaning.to_owned()))
            }
        };
        let (browser, permit) = match taken {
            Ok(taken) => taken,
            Err(refusal) => {
                return refuse(unix.inner(), refusal).await;
            }
        };
        let mut answer = Vec::new();
        Taken.encode(&mut answer);
        // An app that has given up has closed its end, so this fails, and the socket is not served twice.
        if !tell(unix.inner(), &answer).await {
            return;
        }
        drop(link);
        let Browser {
            socket,
            peer,
            own,
            request,
        } = browser;
        self.browsers.adopt(socket, (peer, own), request).await;
        drop(permit);
    }
}

async fn take(link: &UnixStream) -> Result<Browser, Refusal> {
    let deadline = Duration::from_millis(FRAME_MS_MAX);
    let received = tokio::time::timeout(deadline, receive(link)).await;
    let (frame, descriptors) = received.unwrap_or_else(|_| {
        Err(bad(format!(
            "the hand-off did not come whole within {FRAME_MS_MAX} ms"
        )))
    })?;
    let hand_off = HandOff::decode(&frame).map_err(|error| bad(error.to_string()))?;
    let count = descriptors.len();
    let mut descriptors = descriptors.into_iter();
    let (Some(descriptor), None) = (descriptors.next(), descriptors.next()) else {
        return Err(bad(format!(
            "{count} descriptors came with the hand-off: exactly one must, with its first byte"
        )));
    };
    let address: IpAddr = hand_off
        .peer
        .parse()
        .map_err(|_| bad(format!("the peer {:?} is no IP address", hand_off.peer)))?;
    let origin = Origin::parse(&hand_off.origin)
        .ok_or_else(|| bad(format!("{:?} is no origin", hand_off.origin)))?;
    Ok(Browser {
        socket: browser_socket(descriptor)
            .map_err(|error| bad(format!("the descriptor cannot be served: {error}")))?,
        // The port is the proxy's affair, where there is one.
        peer: SocketAddr::new(address, 0),
        own: Own::Told(origin),
        request: hand_off.request.into(),
    })
}

/// Reads the one frame, and every descriptor that comes with it.
async fn receive(link: &UnixStream) -> Result<(Frame, Vec<OwnedFd>), Refusal> {
    let mut bytes = BytesMut::new();
    let mut descriptors = Vec::new();
    loop {
        let frame = Frame::split(&mut bytes).map_err(|error| bad(error.to_string()))?;
        if let Some(frame) = frame {
            return Ok((frame, descriptors));
        }
        if bytes.len() >= FRAME_BYTES_MAX {
            return Err(bad(format!("the hand-off is over {FRAME_BYTES_MAX} bytes")));
        }
        let read = link
            .async_io(Interest::READABLE, || {
                read_some(link, &mut bytes, &mut descriptors)
            })
            .await;
        match read {
            Ok(1..) if descriptors.len() < DESCRIPTORS_READ_MAX => {}
            Ok(1..) => return Err(bad("more than one descriptor came".to_owned())),
            Ok(0) => return Err(bad("the link ended within the hand-off".to_owned())),
            Err(error) => return Err(bad(error.to_string())),
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

/// The descriptor as a stream to a browser or a proxy. A server may have accepted it on a Unix socket: all that is done
/// to it works there too.
fn browser_socket(descriptor: OwnedFd) -> io::Result<TcpStream> {
    if sockopt::socket_type(descriptor.as_fd())? != SocketType::STREAM {
        return Err(io::Error::other("it is no stream socket"));
    }
    let socket = std::net::TcpStream::from(descriptor);
    socket.set_nonblocking(true)?;
    TcpStream::from_std(socket)
}

fn bad(message: String) -> Refusal {
    (codes::LINK_BAD_FRAME, message)
}

async fn refuse(link: &UnixStream, (code, message): Refusal) {
    event(
        Level::Warn,
        "hand_off_refused",
        &[("code", &code.name), ("message", &message)],
    );
    let mut answer = Vec::new();
    let fault = Fault {
        code: code.number,
        message,
    };
    ToPublisher::Fault(fault).encode(&mut answer);
    // The app finds out by the link's end, if not by this.
    let _told = tell(link, &answer).await;
}

/// Whether the answer went out; it is far smaller than the buffer of a socket that nothing was written to.
async fn tell(link: &UnixStream, answer: &[u8]) -> bool {
    let written = async {
        link.writable().await?;
        link.try_write(answer)
    };
    let written = tokio::time::timeout(Duration::from_millis(FRAME_MS_MAX), written).await;
    matches!(written, Ok(Ok(count)) if count == answer.len())
}
