//! Accepted connections that wait for their requests to be read: each address in its turn, so that one that opens thousands does
//! not delay the others.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// Maximum number of waiting connections, unless the file descriptors allow fewer. A further one closes the oldest of the address
/// with the most.
pub(super) const WAITING_MAX: usize = 1024;

/// Connections of the kind `S` by address, each address in its turn.
#[derive(Debug)]
pub(super) struct Waiting<S> {
    by_address: HashMap<IpAddr, VecDeque<(S, SocketAddr)>>,
    /// Addresses with a connection, the next one first.
    turn: VecDeque<IpAddr>,
    count: usize,
}

impl<S> Default for Waiting<S> {
    fn default() -> Self {
        Self {
            by_address: HashMap::new(),
            turn: VecDeque::new(),
            count: 0,
        }
    }
}

impl<S> Waiting<S> {
    /// Adds a connection. Returns the one that must close for it, if `max` wait.
    pub(super) fn push(&mut self, connection: S, peer: SocketAddr, max: usize) -> Option<S> {
        let closed = (self.count >= max).then(|| self.drop_one()).flatten();
        let address = peer.ip().to_canonical();
        let queue = self.by_address.entry(address).or_default();
        if queue.is_empty() {
            self.turn.push_back(address);
        }
        queue.push_back((connection, peer));
        self.count += 1;
        closed
    }

    /// Takes the next connection.
    pub(super) fn pop(&mut self) -> Option<(S, SocketAddr)> {
        let address = self.turn.pop_front()?;
        let queue = self.by_address.get_mut(&address)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.by_address.remove(&address);
        } else {
            self.turn.push_back(address);
        }
        self.count -= usize::from(next.is_some());
        next
    }

    /// Removes the oldest connection of the address with the most.
    fn drop_one(&mut self) -> Option<S> {
        let (address, queue) = self
            .by_address
            .iter_mut()
            .max_by_key(|(_, queue)| queue.len())?;
        let (dropped, _) = queue.pop_front()?;
        self.count -= 1;
        if queue.is_empty() {
            let address = *address;
            self.by_address.remove(&address);
            self.turn.retain(|it| *it != address);
        }
        Some(dropped)
    }
}

#[cfg(test)]
mod tests;
