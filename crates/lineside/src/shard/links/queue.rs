//! New links on their way to one shard.

use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Waker;

use tokio::sync::{oneshot, watch};

/// A link whose first frame is a publisher's.
#[derive(Debug)]
pub(crate) struct NewLink<S> {
    /// Links are numbered in the order in which they were accepted.
    pub(crate) number: u64,
    /// Non-blocking socket.
    pub(crate) socket: S,
    /// Held while the link may still change the journal.
    pub(crate) is_served: watch::Receiver<()>,
    /// Held until the link ends.
    pub(crate) open: oneshot::Sender<()>,
}

impl<S> NewLink<S> {
    /// Converts the socket.
    pub(in crate::shard) fn map<T>(self, convert: impl FnOnce(S) -> T) -> NewLink<T> {
        let Self {
            number,
            socket,
            is_served,
            open,
        } = self;
        NewLink {
            number,
            socket: convert(socket),
            is_served,
            open,
        }
    }
}

/// Sending end of the queue of new links of one shard. Its length is bounded by the number of open links.
#[derive(Debug)]
pub(crate) struct LinkQueue {
    sender: Sender<NewLink<UnixStream>>,
    waker: Waker,
}

impl LinkQueue {
    /// Creates the queue. `waker` wakes the shard.
    pub(in crate::shard) fn new(waker: Waker) -> (Self, Receiver<NewLink<UnixStream>>) {
        let (sender, receiver) = channel();
        (Self { sender, waker }, receiver)
    }

    /// Hands a link to the shard. A shard that has drained closes it.
    pub(crate) fn push(&self, link: NewLink<UnixStream>) {
        if self.sender.send(link).is_ok() {
            self.waker.wake_by_ref();
        }
    }
}
