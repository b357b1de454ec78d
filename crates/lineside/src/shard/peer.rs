//! Socket and state of one connection in its shard.

use std::net::SocketAddr;

use lineside_hub::ConnectionId;
use lineside_protocol::codes::CloseCode;

use super::arrivals::Place;
use super::relief::Unfinished;
use super::websocket::Reader;
use crate::dialects::Connection;
use crate::settings::Limits;

/// Socket and state of one connection. Times are in milliseconds of the sidecar's clock.
#[derive(Debug)]
pub(super) struct Peer<S> {
    pub(super) id: ConnectionId,
    pub(super) socket: S,
    /// Client address, for the log.
    pub(super) address: SocketAddr,
    /// Place among `connections_max`, released when dropped.
    _place: Place,
    pub(super) connection: Connection,
    /// The connection is in the table of users.
    pub(super) is_noted: bool,
    pub(super) reader: Reader,
    pub(super) unfinished: Unfinished,
    /// The kernel may hold received bytes. Its edge-triggered events report only new ones.
    pub(super) is_readable: bool,
    /// It is in the queue of connections to read.
    pub(super) is_queued: bool,
    /// Number of reads since it was told to close.
    pub(super) closing_reads: u8,
    /// Time since which the kernel buffer is full.
    pub(super) blocked_since_ms: Option<u64>,
    /// Time since which the kernel buffer has been full during a replay.
    pub(super) replay_since_ms: Option<u64>,
    pub(super) opened_ms: u64,
    pub(super) ping_at_ms: u64,
    /// Time of the oldest ping since which nothing was received.
    pub(super) pinged_ms: Option<u64>,
    /// Deadline of a connection that has been told to close.
    pub(super) closing_until_ms: Option<u64>,
    /// Close code that it was told.
    pub(super) close_code: Option<CloseCode>,
    /// It violated the WebSocket protocol. Further bytes are ignored.
    pub(super) is_broken: bool,
    /// The browser has closed, or was silent for too long. Only the outbox is left to write.
    pub(super) has_left: bool,
    /// Time of its valid timer.
    pub(super) timer_at_ms: u64,
}

impl<S> Peer<S> {
    pub(super) fn new(
        id: ConnectionId,
        (socket, address, place): (S, SocketAddr, Place),
        connection: Connection,
        now_ms: u64,
    ) -> Self {
        Self {
            id,
            socket,
            address,
            _place: place,
            connection,
            is_noted: false,
            reader: Reader::default(),
            unfinished: Unfinished::default(),
            is_readable: false,
            is_queued: false,
            closing_reads: 0,
            blocked_since_ms: None,
            replay_since_ms: None,
            opened_ms: now_ms,
            ping_at_ms: u64::MAX,
            pinged_ms: None,
            closing_until_ms: None,
            close_code: None,
            is_broken: false,
            has_left: false,
            timer_at_ms: u64::MAX,
        }
    }

    /// Time at which the connection counts as slow, unless the kernel takes bytes before. During a replay a second limit
    /// applies to readers that take a little now and then, because the replay keeps its publications in memory.
    pub(super) fn slow_at_ms(&self, limits: &Limits) -> Option<u64> {
        let blocked_ms = self.blocked_since_ms? + limits.slow_seconds_max * 1000;
        let replay_ms = self
            .replay_since_ms
            .map(|since_ms| since_ms + limits.replay_seconds_max * 1000);
        Some(replay_ms.map_or(blocked_ms, |replay_ms| replay_ms.min(blocked_ms)))
    }
}
