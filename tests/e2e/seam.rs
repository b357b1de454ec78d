//! The seam between replay and live messages, under load: a client that keeps its cursors as docs/protocol.md says
//! receives every publication once and in order, however often it reconnects.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use lineside_tests::random::Random;
use serde_json::{Value, json};

use crate::support::{Browser, Sidecar, is_after, place, token_for};

const PUBLICATIONS: u64 = 5_000;

/// Larger than all publications of a test together, so that none is evicted from the history.
const HISTORY_BYTES: u32 = 64 * 1024 * 1024;

/// Publications between two flushes, so that the browser reconnects while they are published.
const BURST: u64 = 20;

/// Cursors that a client keeps across connections (docs/protocol.md, "Cursor and resume").
struct Cursors {
    connection: String,
    /// Cursors of channels between `subscribed` and `caught_up`.
    own: HashMap<String, String>,
    /// Channels of the newest welcome.
    connect: Vec<String>,
}

impl Cursors {
    /// Moves the connection's cursor forward, never back.
    fn advance(&mut self, cursor: &str) {
        if is_after(cursor, &self.connection) {
            cursor.clone_into(&mut self.connection);
        }
    }

    /// Updates the cursors from a received envelope.
    fn record(&mut self, envelope: &Value) {
        let cursor = envelope["cursor"]
            .as_str()
            .expect("an envelope with a cursor");
        let channel = envelope["channel"].as_str();
        match (envelope["type"].as_str().unwrap(), channel) {
            ("ping", _) => self.advance(cursor),
            ("welcome", _) => {
                let channels = envelope["channels"].as_array().unwrap();
                let channels = channels
                    .iter()
                    .map(|channel| channel.as_str().unwrap().to_owned());
                self.connect = channels.collect();
                self.advance(cursor);
            }
            ("subscribed", Some(channel)) => {
                self.own.insert(channel.into(), cursor.into());
            }
            ("caught_up", Some(channel)) => {
                self.own.remove(channel);
                self.advance(cursor);
            }
            // Ends the replay of the connect. A channel subscribed after it has a replay of its own.
            ("caught_up", None) => {
                self.own
                    .retain(|channel, _| !self.connect.contains(channel));
                self.advance(cursor);
            }
            ("message", Some(channel)) => match self.own.get_mut(channel) {
                Some(own) => cursor.clone_into(own),
                None => self.advance(cursor),
            },
            other => panic!("{other:?}"),
        }
    }
}

/// A client of two channels, which receive odd and even numbers. It must receive each number once and in order.
struct Reader {
    cursors: Cursors,
    next: [u64; 2],
}

const CHANNELS: [&str; 2] = ["a", "n:b"];

impl Reader {
    fn is_done(&self) -> bool {
        self.next == [PUBLICATIONS + 1, PUBLICATIONS + 2]
    }

    /// Receives up to `count` envelopes; stops after the last number.
    fn read(&mut self, browser: &mut Browser, count: u64) {
        for _ in 0..count {
            if self.is_done() {
                return;
            }
            let envelope = browser.next();
            self.cursors.record(&envelope);
            if envelope["type"] == "message" {
                let channel = usize::from(envelope["channel"] == CHANNELS[1]);
                assert_eq!(envelope["data"], json!(self.next[channel]), "{envelope}");
                self.next[channel] += 2;
            } else if let Some(recovered) = envelope.get("recovered") {
                assert_eq!(recovered, true, "{envelope}");
            }
        }
    }

    /// Resumes both channels in the `connect`, or one there and the other by `subscribe`.
    fn connect(&self, sidecar: &Sidecar, at_once: bool) -> Browser {
        let token = token_for("1", &[CHANNELS[0]], &["n:*"]);
        let after = |channel: &str| {
            self.cursors
                .own
                .get(channel)
                .unwrap_or(&self.cursors.connection)
        };
        let entries = CHANNELS.map(|channel| json!({"channel": channel, "after": after(channel)}));
        let first = if at_once { &entries[..] } else { &entries[..1] };
        let mut browser = sidecar
            .request()
            .connect(json!({"token": token, "after": self.cursors.connection, "subscribe": first}));
        if !at_once {
            let mut entry = entries[1].clone();
            entry["type"] = json!("subscribe");
            browser.send(entry);
        }
        browser
    }
}

/// Publishes to both channels while a reader reconnects after random numbers of envelopes.
fn run(seed: u64, shards: u32) {
    let sidecar = place()
        .with("LINESIDE_SHARDS", shards)
        .with("LINESIDE_HISTORY_CHANNEL_PUBLICATIONS_MAX", PUBLICATIONS)
        .with("LINESIDE_HISTORY_CHANNEL_BYTES_MAX", HISTORY_BYTES)
        .start();
    let mut random = Random::new(seed);
    let publisher = sidecar.publisher();
    let start = publisher.publish("elsewhere", 0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            for number in 1..=PUBLICATIONS {
                publisher.enqueue(CHANNELS[usize::from(number % 2 == 0)], number);
                if number % BURST == 0 {
                    publisher.flush();
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        // Stops the publisher when the reader panics too.
        let _stop = StopOnDrop(stop);
        let cursors = Cursors {
            connection: start,
            own: HashMap::new(),
            connect: Vec::new(),
        };
        let mut reader = Reader {
            cursors,
            next: [1, 2],
        };
        let mut connections = 0;
        while !reader.is_done() {
            let mut browser = reader.connect(&sidecar, random.percent(50));
            // A channel without an answer yet keeps the cursor that it resumed after.
            for channel in CHANNELS {
                let cursor = reader.cursors.connection.clone();
                reader.cursors.own.entry(channel.into()).or_insert(cursor);
            }
            reader.read(&mut browser, random.between(0, 199));
            connections += 1;
        }
        assert!(connections > 24, "{connections} connections");
    });
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn reconnects_neither_lose_nor_repeat_publications() {
    for seed in 1..=3 {
        println!("seed {seed}");
        run(seed, 1);
    }
}

#[test]
fn reconnects_to_other_shards_neither_lose_nor_repeat_publications() {
    for seed in 4..=5 {
        println!("seed {seed}");
        run(seed, 3);
    }
}

/// Connections are assigned to the shards in turn.
#[test]
fn resume_on_a_lagging_shard_repeats_nothing() {
    const COUNT: u64 = 6_000;
    let sidecar = place()
        .with("LINESIDE_SHARDS", 2)
        .with("LINESIDE_SLOW_SECONDS_MAX", 600)
        .with("LINESIDE_OUTBOX_BYTES_MAX", 64 * 1024 * 1024)
        .with("LINESIDE_HISTORY_CHANNEL_PUBLICATIONS_MAX", COUNT)
        .with("LINESIDE_HISTORY_CHANNEL_BYTES_MAX", HISTORY_BYTES)
        .start();
    let token = token_for("1", &["a"], &[]);
    let connect = json!({"token": token});
    // A hundred subscribers that read nothing make the second shard lag. The hundred connections of the first shard never
    // send `connect`.
    let idle: Vec<Browser> = (0..200)
        .map(|number| match number % 2 {
            0 => sidecar.request().open(),
            _ => sidecar.browser(connect.clone()),
        })
        .collect();
    let mut browser = sidecar.browser(connect.clone());
    let publisher = sidecar.publisher();
    (0..COUNT).for_each(|number| publisher.enqueue("a", number));
    for number in 0..COUNT / 2 {
        browser.expect_message("a", json!(number));
    }
    let mut browser = sidecar.browser(json!({"token": token, "after": browser.cursor}));
    assert_eq!(browser.welcome["recovered"], true);
    let mut next = COUNT / 2;
    while next < COUNT {
        let envelope = browser.next();
        if envelope["type"] == "message" {
            assert_eq!(envelope["data"], json!(next), "{envelope}");
            next += 1;
        }
    }
    drop(idle);
}
