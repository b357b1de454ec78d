//! New connections on their way to one shard.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Waker;

use crate::dialects::Opening;

/// A connection whose upgrade was answered.
#[derive(Debug)]
pub struct Arrival<S> {
    /// Non-blocking socket.
    pub socket: S,
    /// Client address, for the log.
    pub peer: SocketAddr,
    /// Bytes behind the request's head.
    pub received: Vec<u8>,
    /// Contents of the upgrade request, in its dialect.
    pub opening: Opening,
    /// Place among `connections_max`, held while the connection lives.
    pub place: Place,
}

impl<S> Arrival<S> {
    /// Converts the socket.
    pub(super) fn map<T>(self, convert: impl FnOnce(S) -> T) -> Arrival<T> {
        let Self {
            socket,
            peer,
            received,
            opening,
            place,
        } = self;
        Arrival {
            socket: convert(socket),
            peer,
            received,
            opening,
            place,
        }
    }
}

/// One of the places that `connections_max` allows. Released when dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes a place, unless `max` are taken.
    pub fn take(taken: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let more = |count: usize| (count < max).then_some(count + 1);
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sending end of the queue of new connections of one shard. Its length is bounded by the places.
#[derive(Debug)]
pub(crate) struct Arrivals {
    sender: Sender<Arrival<TcpStream>>,
    waker: Waker,
}

impl Arrivals {
    /// Creates the queue. `waker` wakes the shard.
    pub(super) fn new(waker: Waker) -> (Self, Receiver<Arrival<TcpStream>>) {
        let (sender, receiver) = channel();
        (Self { sender, waker }, receiver)
    }

    /// Hands a connection to the shard. A shard that has drained closes its socket.
    pub(crate) fn push(&self, arrival: Arrival<TcpStream>) {
        if self.sender.send(arrival).is_ok() {
            self.waker.wake_by_ref();
        }
    }
}
