//! Timers of connections: deadline for the connect, heartbeats, expiry of rights, slow readers.

use std::cmp::Reverse;

use lineside_hub::ConnectionId;
use lineside_protocol::codes;

use super::{Socket, Worker, peer};
use crate::dialects::Connection;

/// Deadline for the browser's close after it was told to close, in milliseconds.
pub(super) const CLOSE_MS_MAX: u64 = 2000;

impl<S: Socket> Worker<S> {
    /// Runs every due timer.
    pub(super) fn run_timers(&mut self) {
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

    /// Sets a connection's timer to `at_ms`, unless it is set to an earlier time.
    pub(super) fn set_timer(&mut self, id: ConnectionId, at_ms: u64) {
        if let Some(peer) = peer(&mut self.peers, id).filter(|peer| at_ms < peer.timer_at_ms) {
            peer.timer_at_ms = at_ms;
            self.timers.push(Reverse((at_ms, id)));
        }
    }

    /// Sets the timer of a connected connection for its next ping or the next expiry of a right.
    pub(super) fn set_next_timer(&mut self, id: ConnectionId) {
        let Some(peer) = peer(&mut self.peers, id).filter(|peer| peer.connection.is_connected())
        else {
            return;
        };
        let ms = self.now.ms;
        let expires_in_ms = peer.connection.expires_in_ms(self.now);
        let over_ms = expires_in_ms.map_or(u64::MAX, |it| ms.saturating_add(it));
        // A ping that is due is sent in this turn.
        let ping_at_ms = Some(peer.ping_at_ms).filter(|it| *it > ms);
        self.set_timer(id, over_ms.min(ping_at_ms.unwrap_or(u64::MAX)));
    }

    fn tick(&mut self, id: ConnectionId, now_ms: u64) {
        let Some(peer) = peer(&mut self.peers, id) else {
            return;
        };
        if let Some(until_ms) = peer.closing_until_ms {
            if until_ms <= now_ms {
                self.time_out(id);
            } else {
                self.set_timer(id, until_ms);
            }
            return;
        }
        let connect_by_ms = peer.opened_ms + peer.connection.connect_ms_max();
        if !peer.connection.is_connected() {
            // Its connect may be among the bytes that are read next.
            return if connect_by_ms <= now_ms && !peer.is_queued {
                self.end(id, &codes::CLOSE_CONNECT_TIMEOUT.into());
            } else {
                self.set_timer(id, connect_by_ms.max(now_ms + 1));
            };
        }
        if let Some(until_ms) = peer.slow_at_ms(&self.plan.limits) {
            if until_ms > now_ms {
                self.set_timer(id, until_ms);
            } else if !self.write_again(id) {
                return self.end(id, &codes::CLOSE_SLOW.into());
            }
        }
        if let Some(until_ms) = self.message_due_ms(id) {
            if until_ms <= now_ms {
                return self.reject(id, codes::CLOSE_MESSAGE_TIMEOUT);
            }
            self.set_timer(id, until_ms);
        }
        self.act(id, Connection::expire);
        let goes_on =
            super::peer(&mut self.peers, id).is_some_and(|peer| peer.closing_until_ms.is_none());
        if goes_on {
            self.keep_heartbeat(id, now_ms);
        }
    }

    fn keep_heartbeat(&mut self, id: ConnectionId, now_ms: u64) {
        // A connection that is not read cannot answer a ping. The limits of slow readers apply instead.
        let must_wait = self.must_wait(id);
        let Some(peer) = peer(&mut self.peers, id) else {
            return;
        };
        let is_unread = must_wait || peer.is_queued;
        let interval_ms = peer.connection.ping_interval_ms(&self.plan.rules);
        let silence_ms_max = peer.connection.silence_ms_max();
        if peer
            .pinged_ms
            .is_some_and(|pinged_ms| pinged_ms + silence_ms_max <= now_ms)
            && !is_unread
        {
            return self.end(id, &codes::CLOSE_HEARTBEAT.into());
        }
        if peer.ping_at_ms <= now_ms {
            peer.ping_at_ms = now_ms + interval_ms;
            if peer.blocked_since_ms.is_none() {
                let mut is_answered = false;
                self.act(id, |connection, turn| {
                    is_answered = connection.ping(!is_unread, turn);
                    Ok(())
                });
                if let Some(peer) = super::peer(&mut self.peers, id).filter(|_| is_answered) {
                    peer.pinged_ms.get_or_insert(now_ms);
                }
            }
        }
        let Some(peer) = super::peer(&mut self.peers, id) else {
            return;
        };
        let next_ms = peer.pinged_ms.map_or(peer.ping_at_ms, |pinged_ms| {
            peer.ping_at_ms
                .min((pinged_ms + silence_ms_max).max(now_ms + 1000))
        });
        self.set_timer(id, next_ms);
    }
}
