//! Sign-out: which connections belong to whom, and the end of those whose tokens are revoked.

use std::collections::HashMap;

use lineside_hub::{ConnectionId, Revocation};

use super::{Socket, Worker, peer};

/// The connections of each user who has any here: a sign-out must not cost a look at all connections.
///
/// Some 100 bytes for each user, and 16 for each connection more.
#[derive(Debug, Default)]
pub(super) struct Users(pub(super) HashMap<Box<str>, Vec<ConnectionId>>);

impl<S: Socket> Worker<S> {
    /// Notes whose a connection is, once it has said so. That never changes.
    pub(super) fn note_user(&mut self, id: ConnectionId) {
        let Some(peer) = peer(&mut self.peers, id).filter(|peer| !peer.is_noted) else {
            return;
        };
        let Some(user) = peer.connection.user() else {
            return;
        };
        match self.users.0.get_mut(user) {
            Some(ids) => ids.push(id),
            None => {
                self.users.0.insert(user.into(), vec![id]);
            }
        }
        peer.is_noted = true;
    }

    /// Forgets whose a connection was.
    pub(super) fn forget_user(&mut self, id: ConnectionId) {
        let Some(peer) = peer(&mut self.peers, id).filter(|peer| peer.is_noted) else {
            return;
        };
        peer.is_noted = false;
        let Some(user) = peer.connection.user() else {
            return;
        };
        let Some(ids) = self.users.0.get_mut(user) else {
            return;
        };
        ids.retain(|it| *it != id);
        if ids.is_empty() {
            self.users.0.remove(user);
        }
    }

    /// Ends what a revocation means: connections by their own token, channels by their channel tokens. What was not
    /// written of them yet stays unwritten.
    pub(super) fn revoke(&mut self, revocation: &Revocation) {
        let ids = self.users.0.get(revocation.user.as_str()).cloned();
        for id in ids.into_iter().flatten() {
            let is_going =
                peer(&mut self.peers, id).is_none_or(|peer| peer.closing_until_ms.is_some());
            if !is_going {
                self.act(id, |connection, turn| connection.revoke(revocation, turn));
            }
        }
    }
}
