//! One browser as its shard sees it: the socket, and what must be remembered of it.

use std::net::SocketAddr;

use lineside_hub::ConnectionId;
use lineside_protocol::codes::CloseCode;

use crate::settings::Limits;
use crate::shard::connection::Connection;
use crate::shard::inbox::Place;
use crate::shard::websocket::Reader;

/// All times are in milliseconds of the sidecar's clock.
#[derive(Debug)]
pub(super) struct Peer<S> {
    pub(super) id: ConnectionId,
    pub(super) socket: S,
    /// The other end, for the log.
    pub(super) address: SocketAddr,
    /// Its end gives it back.
    _place: Place,
    pub(super) connection: Connection,
    /// It stands among the connections of its user.
    pub(super) is_noted: bool,
    pub(super) reader: Reader,
    /// The kernel may hold bytes: it tells only when more come.
    pub(super) is_readable: bool,
    /// Since when the kernel has taken nothing.
    pub(super) blocked_since_ms: Option<u64>,
    /// Since when the kernel has refused some of the replay that is owed.
    pub(super) replay_since_ms: Option<u64>,
    pub(super) opened_ms: u64,
    pub(super) ping_at_ms: u64,
    /// The newest ping that nothing has answered.
    pub(super) pinged_ms: Option<u64>,
    /// It was told to go, and has until then.
    pub(super) closing_until_ms: Option<u64>,
    /// What it was told when it was told to go.
    pub(super) close_code: Option<CloseCode>,
    /// It broke the protocol: nothing that it says is understood any more.
    pub(super) is_broken: bool,
    /// It said goodbye itself, or nothing for too long: nothing is owed but what is in the outbox.
    pub(super) has_left: bool,
    /// The one entry of the timers that counts.
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
            is_readable: false,
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

    /// When it will have been slow for too long, if the kernel takes nothing before. A reader that takes a little of a long
    /// replay now and then has an end too: what the replay promised lives as long as that.
    pub(super) fn slow_at_ms(&self, limits: &Limits) -> Option<u64> {
        let blocked_ms = self.blocked_since_ms? + limits.slow_seconds_max * 1000;
        let replay_ms = self
            .replay_since_ms
            .map(|since_ms| since_ms + limits.replay_seconds_max * 1000);
        Some(replay_ms.map_or(blocked_ms, |replay_ms| replay_ms.min(blocked_ms)))
    }
}
