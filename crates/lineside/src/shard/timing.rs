//! What happens because time passed: connects that never come, heartbeats, rights that end, readers that do not read.

use std::cmp::Reverse;

use lineside_hub::ConnectionId;
use lineside_protocol::codes;
use lineside_protocol::envelope::websocket_ping;

use super::{Socket, Worker, peer};
use crate::clock::Now;
use crate::shard::connection::Connection;

/// Time that a browser has for its connect, in milliseconds (docs/protocol.md).
pub(super) const CONNECT_MS_MAX: u64 = 5000;

/// Time after a ping within which something must be heard, in milliseconds (docs/protocol.md).
const SILENCE_MS_MAX: u64 = 10_000;

/// Time that a browser has to read its last frames and answer the close, in milliseconds.
pub(super) const CLOSE_MS_MAX: u64 = 2000;

impl<S: Socket> Worker<S> {
    /// Sees to every connection whose time has come.
    pub(super) fn keep_time(&mut self) {
        let now_ms = self.now.ms;
        while let Some(&Reverse((at_ms, id))) = self
            .timers
            .peek()
            .filter(|Reverse((at_ms, _))| *at_ms <= now_ms)
        {
            self.timers.pop();
            let is_current =
                peer(&mut self.peers, id).is_some_and(|peer| peer.timer_at_ms == at_ms);
            if is_current {
                if let Some(peer) = peer(&mut self.peers, id) {
                    peer.timer_at_ms = u64::MAX;
                }
                self.guarded(id, |worker, id| worker.tick(id, now_ms));
            }
        }
    }

    /// Has the connection looked at no later than `at_ms`.
    pub(super) fn look_again(&mut self, id: ConnectionId, at_ms: u64) {
        if let Some(peer) = peer(&mut self.peers, id).filter(|peer| at_ms < peer.timer_at_ms) {
            peer.timer_at_ms = at_ms;
            self.timers.push(Reverse((at_ms, id)));
        }
    }

    /// Has a connected browser looked at when its next ping is due or its next right ends.
    pub(super) fn watch(&mut self, id: ConnectionId) {
        let Some(peer) = peer(&mut self.peers, id).filter(|peer| peer.connection.is_connected())
        else {
            return;
        };
        let Now { ms, wall_ms } = self.now;
        let expires_ms = peer.connection.expires_at_ms();
        let over_ms = expires_ms.map_or(u64::MAX, |it| ms + it.saturating_sub(wall_ms));
        // One that is due is seen to in this turn.
        let ping_at_ms = Some(peer.ping_at_ms).filter(|it| *it > ms);
        self.look_again(id, over_ms.min(ping_at_ms.unwrap_or(u64::MAX)));
    }

    fn tick(&mut self, id: ConnectionId, now_ms: u64) {
        let Some(peer) = peer(&mut self.peers, id) else {
            return;
        };
        if let Some(until_ms) = peer.closing_until_ms {
            if until_ms <= now_ms {
                self.time_out(id);
            } else {
                self.look_again(id, until_ms);
            }
            return;
        }
        let connect_by_ms = peer.opened_ms + CONNECT_MS_MAX;
        if !peer.connection.is_connected() {
            return if connect_by_ms <= now_ms {
                self.end(id, &codes::CLOSE_CONNECT_TIMEOUT.into());
            } else {
                self.look_again(id, connect_by_ms);
            };
        }
        if let Some(until_ms) = peer.slow_at_ms(&self.plan.limits) {
            if until_ms <= now_ms {
                return self.end(id, &codes::CLOSE_SLOW.into());
            }
            self.look_again(id, until_ms);
        }
        self.act(id, Connection::expire);
        let goes_on =
            super::peer(&mut self.peers, id).is_some_and(|peer| peer.closing_until_ms.is_none());
        if goes_on {
            self.keep_heartbeat(id, now_ms);
        }
    }

    fn keep_heartbeat(&mut self, id: ConnectionId, now_ms: u64) {
        // What is not read cannot be heard; then the limits of a slow reader hold instead.
        let is_deaf = self.must_wait(id);
        let heartbeat_ms = self.plan.limits.heartbeat_seconds * 1000;
        let Some(peer) = peer(&mut self.peers, id) else {
            return;
        };
        if peer
            .pinged_ms
            .is_some_and(|pinged_ms| pinged_ms + SILENCE_MS_MAX <= now_ms)
            && !is_deaf
        {
            return self.end(id, &codes::CLOSE_HEARTBEAT.into());
        }
        if peer.ping_at_ms <= now_ms {
            peer.ping_at_ms = now_ms + heartbeat_ms;
            if !is_deaf {
                peer.pinged_ms.get_or_insert(now_ms);
                self.shard.push_frame(id, websocket_ping());
                self.act(id, |connection, turn| {
                    connection.ping(turn);
                    Ok(())
                });
            }
        }
        let Some(peer) = super::peer(&mut self.peers, id) else {
            return;
        };
        let next_ms = peer.pinged_ms.map_or(peer.ping_at_ms, |pinged_ms| {
            peer.ping_at_ms
                .min((pinged_ms + SILENCE_MS_MAX).max(now_ms + 1000))
        });
        self.look_again(id, next_ms);
    }
}
