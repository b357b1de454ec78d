//! Memory of outboxes, and the slow connections whose end releases most of it.

use super::{Connection, ConnectionId, FanOut, get};

/// Minimum size of a backlog that is worth a connection, in bytes.
const BACKLOG_BYTES_MIN: usize = 64 * 1024;

impl FanOut {
    /// Memory of all outboxes beside publications, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held
    }

    /// Changes a connection's outbox, and the memory of all outboxes with it.
    pub(super) fn change(&mut self, id: ConnectionId, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = get(&mut self.connections, id) {
            self.held -= connection.outbox.held_bytes();
            change(connection);
            self.held += connection.outbox.held_bytes();
        }
    }

    /// Connections with a full kernel buffer whose backlogs are at least half as large as the largest one. Costs a pass over
    /// all connections.
    #[must_use]
    pub fn largest_backlogs(&self) -> Vec<ConnectionId> {
        let blocked = self.connections.iter().filter_map(|(_, connection)| {
            let bytes = connection.outbox.backlog_bytes() + connection.outbox.held_bytes();
            let is_blocked = connection.flush.blocked && !connection.flush.slow;
            (is_blocked && bytes >= BACKLOG_BYTES_MIN).then_some((connection.id, bytes))
        });
        let blocked: Vec<_> = blocked.collect();
        let largest = blocked.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
        let large = blocked
            .into_iter()
            .filter(|(_, bytes)| *bytes >= largest / 2);
        large.map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests;
