use std::io::IoSlice;

use lineside_hub::{
    ConnectionId, FanOut, HistoryLimits, Hub, PUBLISHERS_MAX, Publication, SLICES_MAX,
};
use lineside_protocol::Epoch;
use lineside_token::{ChannelDraft, ConnectionDraft, Grant, Keys, sign_channel, sign_connection};
use serde_json::{Value, json};

use super::*;
use crate::broker::Broker;
use crate::broker::tests::TestPublisher;
use crate::dialects::Rules;
use crate::keyring::Keyring;
use crate::metrics::ShardCounts;

mod connect;
mod expiry;
mod resume;
mod revocation;
mod rights;
mod subscriptions;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Wall clock at the start of a test, in milliseconds since the Unix epoch.
const START_MS: u64 = 1_800_000_000_000;

/// One connection of one shard, without sockets.
struct Stage {
    broker: Broker,
    publisher: TestPublisher,
    fan_out: FanOut,
    rules: Rules,
    id: ConnectionId,
    connection: Connection,
    wall_ms: u64,
    /// Time by which the wall clock was set back.
    behind_ms: u64,
    counts: ShardCounts,
}

impl Stage {
    fn new() -> Self {
        let epoch = Epoch::new("e").unwrap();
        let hub = Hub::new(epoch, HistoryLimits::default(), PUBLISHERS_MAX);
        let mut fan_out = FanOut::new(hub.cursor(), 1 << 20);
        let id = fan_out.open();
        let broker = Broker::new(hub, Vec::new(), encode);
        let rules = Rules {
            keys: Arc::new(Keyring::new(Keys::parse(SECRET).unwrap())),
            public_channels: vec![Grant::parse("public:*").unwrap()],
            heartbeat_seconds: 25,
        };
        Self {
            publisher: TestPublisher::greet(&broker, 1),
            broker,
            fan_out,
            rules,
            id,
            connection: Connection::new(Opening::default(), [7; 8]),
            wall_ms: START_MS,
            behind_ms: 0,
            counts: ShardCounts::default(),
        }
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Connection, &mut Turn<'_>) -> T) -> T {
        let Self {
            broker,
            fan_out,
            rules,
            id,
            connection,
            wall_ms,
            behind_ms,
            counts,
            ..
        } = self;
        act(
            connection,
            &mut Turn {
                id: *id,
                shard: 0,
                fan_out,
                broker,
                rules,
                now: Now {
                    // The tests begin an hour after the start of the sidecar.
                    ms: 3_600_000 + *wall_ms + *behind_ms - START_MS,
                    wall_ms: *wall_ms,
                },
                counts,
            },
        )
    }

    fn expires_in_ms(&mut self) -> Option<u64> {
        self.act(|connection, turn| connection.expires_in_ms(turn.now))
    }

    /// Sets the wall clock back.
    fn set_back(&mut self, ms: u64) {
        self.wall_ms -= ms;
        self.behind_ms += ms;
    }

    /// Sends a request, and returns every text frame that it leads to.
    fn request(&mut self, request: &Value) -> Result<Vec<Value>, CloseCode> {
        self.text(&request.to_string())
    }

    /// Receives a text frame, and takes what was sent.
    fn text(&mut self, text: &str) -> Result<Vec<Value>, CloseCode> {
        self.act(|connection, turn| connection.receive(text, turn))
            .map_err(|ending| ending.code)?;
        Ok(self.sent())
    }

    /// Takes every text frame that was sent to the connection.
    fn sent(&mut self) -> Vec<Value> {
        let frames = self.frames();
        let is_text = |frame: &(u8, Vec<u8>)| frame.0 == 0x81;
        assert!(frames.iter().all(is_text), "only text frames");
        let envelope = |(_, payload): (u8, Vec<u8>)| serde_json::from_slice(&payload).unwrap();
        frames.into_iter().map(envelope).collect()
    }

    /// Takes every frame that was sent to the connection: its first byte and its payload.
    fn frames(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut bytes = Vec::new();
        while let Some(id) = self.fan_out.next_flush() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let outbox = self.fan_out.outbox(id).unwrap();
            let count = outbox.slices(&mut slices);
            let written: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            slices[..count]
                .iter()
                .for_each(|slice| bytes.extend_from_slice(slice));
            self.fan_out.advance(id, written);
        }
        let mut rest = &bytes[..];
        let mut frames = Vec::new();
        while let [first, length, ..] = rest {
            let (length, start) = match length {
                126 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
                short => (usize::from(*short), 2),
            };
            frames.push((*first, rest[start..start + length].to_vec()));
            rest = &rest[start + length..];
        }
        assert!(rest.is_empty(), "only complete frames");
        frames
    }

    /// Publishes to a channel. The shard does not dispatch it.
    fn publish(&mut self, channel: &str) -> Arc<Publication> {
        self.publisher.publish(&self.broker, channel, "1", 0)
    }

    /// Publishes to a channel, and dispatches it.
    fn deliver(&mut self, channel: &str) {
        let publication = self.publish(channel);
        self.fan_out.dispatch(&publication);
    }

    fn token(&self, sub: Option<&str>, channels: &[&str], ttl_s: u64) -> String {
        let draft = ConnectionDraft {
            sub: sub.map(str::to_owned),
            sid: None,
            channels: channels
                .iter()
                .map(|channel| (*channel).to_owned())
                .collect(),
            allow: vec!["chat:*".into()],
            ttl_s,
        };
        sign_connection(draft, &self.rules.keys.current(), self.wall_ms).unwrap()
    }

    fn channel_token(&self, channel: &str, sub: Option<&str>, ttl_s: u64) -> String {
        let draft = ChannelDraft {
            channel: channel.into(),
            sub: sub.map(str::to_owned),
            ttl_s,
        };
        sign_channel(draft, &self.rules.keys.current(), self.wall_ms).unwrap()
    }

    fn connect(&mut self) {
        let token = self.token(Some("42"), &["news"], 60);
        self.request(&json!({"type": "connect", "token": token}))
            .unwrap();
    }

    /// Revokes the tokens of a user, or of one session, that were issued by now. The shard does not dispatch it.
    fn revoke(&mut self, user: &str, session: &str) -> Arc<Revocation> {
        self.publisher
            .revoke(&self.broker, user, session, self.wall_ms)
    }

    /// Dispatches a revocation to the connection, and returns every text frame that it leads to.
    fn dispatch(&mut self, revocation: &Revocation) -> Result<Vec<Value>, CloseCode> {
        self.act(|connection, turn| connection.revoke(revocation, turn))
            .map_err(|ending| ending.code)?;
        Ok(self.sent())
    }

    fn token_of_session(&self, session: &str) -> String {
        let draft = ConnectionDraft {
            sub: Some("42".into()),
            sid: Some(session.into()),
            ttl_s: 60,
            ..ConnectionDraft::default()
        };
        sign_connection(draft, &self.rules.keys.current(), self.wall_ms).unwrap()
    }
}
