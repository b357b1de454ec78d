//! Hand-off: the app passes a browser's socket over the link, as a file descriptor (`SCM_RIGHTS`) beside the request's head.
//!
//! The kind of a link's first frame tells a hand-off from a publisher before anything is read
//! ([`crate::link::socket::first_kind`]).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use lineside_protocol::codes;
use lineside_protocol::forwarded::parse_address;
use lineside_protocol::frame::{Fault, HandOff, Taken, ToPublisher};
use rustix::net::{SocketType, sockopt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::EXCHANGE_MS_MAX;
use super::first_frame::{LinkRefusal, read_first_frame};
use crate::dialects::{MESSAGE_BYTES_MAX, Opening};
use crate::head::{HEAD_BYTES_MAX, ServerOrigin};
use crate::http::RESPONSE_MS_MAX;
use crate::http::upgrade::Upgrades;
use crate::log::{Level, event};
use crate::origin::Origin;

/// Maximum number of hand-offs under way. Each holds at most two file descriptors. An app has at most one per thread.
const HAND_OFFS_MAX: usize = 1024;

/// Maximum size of the frame, in bytes: a request head, a message that was read behind it, the option for Action Cable, and
/// the other fields.
const FRAME_BYTES_MAX: usize = HEAD_BYTES_MAX + MESSAGE_BYTES_MAX + 65_535 + 1024;

/// Receiver of hand-offs.
#[derive(Debug)]
pub(crate) struct HandOffs {
    upgrades: Arc<Upgrades>,
    under_way: Semaphore,
}

/// A browser's socket with its request.
struct HandedOff {
    socket: TcpStream,
    peer: SocketAddr,
    server: ServerOrigin,
    request: Vec<u8>,
    /// What the app decided about a connection of Action Cable.
    cable: Option<Opening>,
}

impl HandOffs {
    pub(crate) fn new(upgrades: Arc<Upgrades>) -> Self {
        Self {
            upgrades,
            under_way: Semaphore::new(HAND_OFFS_MAX),
        }
    }

    /// Permit for a hand-off, unless too many are under way. Each holds up to two of the file descriptors for requests.
    fn admit(&self) -> Option<SemaphorePermit<'_>> {
        let under_way = HAND_OFFS_MAX - self.under_way.available_permits();
        let has_room = under_way < self.upgrades.requests_max().div_ceil(2);
        self.under_way.try_acquire().ok().filter(|_| has_room)
    }

    /// Waits until all browsers that were taken have their answer, for at most [`RESPONSE_MS_MAX`].
    pub(crate) async fn finish(&self) {
        let all = u32::try_from(HAND_OFFS_MAX).unwrap_or(u32::MAX);
        let deadline = Duration::from_millis(RESPONSE_MS_MAX);
        let _late = tokio::time::timeout(deadline, self.under_way.acquire_many(all)).await;
    }

    /// Serves a link that brings a browser's socket.
    pub(crate) async fn serve(&self, link: UnixStream) {
        let Some(permit) = self.admit() else {
            return refuse(&link, LinkRefusal::of(codes::LINK_HAND_OFFS_FULL)).await;
        };
        let HandedOff {
            socket,
            peer,
            server,
            request,
            cable,
        } = match receive(&link).await {
            Ok(handed_off) => handed_off,
            Err(refusal) => return refuse(&link, refusal).await,
        };
        let mut answer = Vec::new();
        Taken.encode(&mut answer);
        // An app that has given up has closed the link. Then sending fails, and the app answers the browser.
        if !send(&link, &answer).await {
            return;
        }
        drop(link);
        self.upgrades
            .adopt(socket, (peer, server), request, cable)
            .await;
        drop(permit);
    }
}

async fn receive(link: &UnixStream) -> Result<HandedOff, LinkRefusal> {
    let (frame, descriptors) = read_first_frame(link, FRAME_BYTES_MAX).await?;
    let hand_off = HandOff::decode(&frame).map_err(LinkRefusal::bad_frame)?;
    let count = descriptors.len();
    let mut descriptors = descriptors.into_iter();
    let (Some(descriptor), None) = (descriptors.next(), descriptors.next()) else {
        return Err(LinkRefusal::bad_frame(format!(
            "the hand-off came with {count} descriptors; send exactly one, with its first byte"
        )));
    };
    // The address is only logged, so an unknown one refuses no browser.
    let address = parse_address(&hand_off.peer).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let origin = match &*hand_off.origin {
        "" => None,
        text => Some(
            Origin::parse(text)
                .ok_or_else(|| LinkRefusal::bad_frame(format!("{text:?} is no origin")))?,
        ),
    };
    let cable = hand_off.cable.as_deref().map(Opening::of_app).transpose();
    let socket = browser_socket(descriptor).map_err(|error| {
        LinkRefusal::bad_frame(format!("the descriptor cannot be used: {error}"))
    })?;
    Ok(HandedOff {
        socket,
        // The app does not send the port.
        peer: SocketAddr::new(address, 0),
        server: ServerOrigin::OfApp(origin),
        request: hand_off.request.into(),
        cable: cable.map_err(LinkRefusal::bad_frame)?,
    })
}

/// Stream of a descriptor to a browser or a proxy. It may be a Unix socket too: every call on it works there.
fn browser_socket(descriptor: OwnedFd) -> io::Result<TcpStream> {
    if sockopt::socket_type(descriptor.as_fd())? != SocketType::STREAM {
        return Err(io::Error::other("it is no stream socket"));
    }
    let socket = std::net::TcpStream::from(descriptor);
    socket.set_nonblocking(true)?;
    TcpStream::from_std(socket)
}

async fn refuse(link: &UnixStream, LinkRefusal { code, message }: LinkRefusal) {
    event!(Level::Warn, "hand_off_refused", code = code.name, message);
    let mut answer = Vec::new();
    let fault = Fault {
        code: code.number,
        message,
    };
    ToPublisher::Fault(fault).encode(&mut answer);
    // If this fails, the end of the link tells the app.
    let _sent = send(link, &answer).await;
}

/// Sends the answer; false if that fails. It is far smaller than the buffer of a fresh socket.
async fn send(link: &UnixStream, answer: &[u8]) -> bool {
    let written = async {
        link.writable().await?;
        link.try_write(answer)
    };
    let written = tokio::time::timeout(Duration::from_millis(EXCHANGE_MS_MAX), written).await;
    matches!(written, Ok(Ok(count)) if count == answer.len())
}
