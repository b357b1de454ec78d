//! Revocation: the connections of each user, and the end of those whose tokens are revoked.

use std::collections::HashMap;

use lineside_hub::{ConnectionId, Revocation};

use super::{Socket, Worker, peer};

/// Connections of each user, so that a revocation does not visit all connections.
///
/// Takes about 100 bytes per user, and 16 per further connection.
#[derive(Debug, Default)]
pub(super) struct Users(pub(super) HashMap<Box<str>, Vec<ConnectionId>>);

impl<S: Socket> Worker<S> {
    /// Adds a connected connection to the table of users. Its user never changes.
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

    /// Removes a connection from the table of users.
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

    /// Ends connections and subscriptions that a revocation covers. Their unsent publications are dropped.
    pub(super) fn revoke(&mut self, revocation: &Revocation) {
        let ids = self.users.0.get(revocation.user.as_str()).cloned();
        for id in ids.into_iter().flatten() {
            let is_closing =
                peer(&mut self.peers, id).is_none_or(|peer| peer.closing_until_ms.is_some());
            if !is_closing {
                self.act(id, |connection, turn| connection.revoke(revocation, turn));
            }
        }
    }
}
