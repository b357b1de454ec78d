//! The seam between replay and live, under a publisher that does not wait: a client that keeps its cursors as the protocol
//! says sees every publication once and in order, however often it goes away.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{Browser, Sidecar, is_ahead, place, token_for};

const PUBLICATIONS: u64 = 5_000;

/// More than all of them cost, so that nothing is forgotten, however far a reader falls behind.
const HISTORY_BYTES: u32 = 64 * 1024 * 1024;

/// Publications between two waits of the publisher, so that the browser's comings and goings fall among them.
const BURST: u64 = 20;

/// `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): a seed that failed fails again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// What a client keeps between two connections (docs/protocol.md, "Cursor and resume").
struct Cursors {
    connection: String,
    /// Of channels between their `subscribed` and their `caught_up`.
    own: HashMap<String, String>,
    /// The channels of the newest welcome.
    connect: Vec<String>,
}

impl Cursors {
    fn reach(&mut self, cursor: &str) {
        if is_ahead(cursor, &self.connection) {
            cursor.clone_into(&mut self.connection);
        }
    }

    fn note(&mut self, envelope: &Value) {
        let cursor = envelope["cursor"]
            .as_str()
            .expect("an envelope with a cursor");
        let channel = envelope["channel"].as_str();
        match (envelope["type"].as_str().unwrap(), channel) {
            ("ping", _) => self.reach(cursor),
            ("welcome", _) => {
                let channels = envelope["channels"].as_array().unwrap();
                let channels = channels
                    .iter()
                    .map(|channel| channel.as_str().unwrap().to_owned());
                self.connect = channels.collect();
                self.reach(cursor);
            }
            ("subscribed", Some(channel)) => {
                self.own.insert(channel.into(), cursor.into());
            }
            ("caught_up", Some(channel)) => {
                self.own.remove(channel);
                self.reach(cursor);
            }
            // Of the connect's channels; one that was subscribed to behind it still has its own way to go.
            ("caught_up", None) => {
                self.own
                    .retain(|channel, _| !self.connect.contains(channel));
                self.reach(cursor);
            }
            ("message", Some(channel)) => match self.own.get_mut(channel) {
                Some(own) => cursor.clone_into(own),
                None => self.reach(cursor),
            },
            other => panic!("{other:?}"),
        }
    }
}

/// Everything is published to two channels in turn; each must see its numbers once and in order.
struct Reader {
    cursors: Cursors,
    next: [u64; 2],
}

const CHANNELS: [&str; 2] = ["a", "n:b"];

impl Reader {
    fn is_done(&self) -> bool {
        self.next == [PUBLICATIONS + 1, PUBLICATIONS + 2]
    }

    /// Reads so many envelopes, or to the end.
    fn read(&mut self, browser: &mut Browser, count: u64) {
        for _ in 0..count {
            if self.is_done() {
                return;
            }
            let envelope = browser.next();
            self.cursors.note(&envelope);
            if envelope["type"] == "message" {
                let which = usize::from(envelope["channel"] == CHANNELS[1]);
                assert_eq!(envelope["data"], json!(self.next[which]), "{envelope}");
                self.next[which] += 2;
            } else if let Some(recovered) = envelope.get("recovered") {
                assert_eq!(recovered, true, "{envelope}");
            }
        }
    }

    /// Connects to both channels at once, or to one and then to the other, each after its cursor.
    fn connect(&self, sidecar: &Sidecar, at_once: bool) -> Browser {
        let mut browser = sidecar.dial().open();
        let token = token_for("1", &[CHANNELS[0]], &["n:*"]);
        let after = |channel: &str| {
            self.cursors
                .own
                .get(channel)
                .unwrap_or(&self.cursors.connection)
        };
        let entries = CHANNELS.map(|channel| json!({"channel": channel, "after": after(channel)}));
        let first = if at_once { &entries[..] } else { &entries[..1] };
        browser.send(json!({"type": "connect", "token": token, "after": self.cursors.connection, "subscribe": first}));
        if !at_once {
            let mut entry = entries[1].clone();
            entry["type"] = json!("subscribe");
            browser.send(entry);
        }
        browser
    }
}

fn run(seed: u64, shards: u32) {
    let sidecar = place()
        .with("LINESIDE_SHARDS", shards)
        .with("LINESIDE_HISTORY_CHANNEL_PUBLICATIONS_MAX", PUBLICATIONS)
        .with("LINESIDE_HISTORY_CHANNEL_BYTES_MAX", HISTORY_BYTES)
        .start();
    let mut random = Random(seed);
    let publisher = sidecar.publisher();
    let start = publisher.publish("elsewhere", 0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            for number in 1..=PUBLICATIONS {
                publisher.cast(CHANNELS[usize::from(number % 2 == 0)], number);
                if number % BURST == 0 {
                    publisher.flush();
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        // A reader that fails must not leave the publisher at work behind it.
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
            let mut browser = reader.connect(&sidecar, random.below(2) == 0);
            // A channel whose answer has not come yet resumes where it was.
            for channel in CHANNELS {
                let cursor = reader.cursors.connection.clone();
                reader.cursors.own.entry(channel.into()).or_insert(cursor);
            }
            reader.read(&mut browser, random.below(200));
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
fn no_publication_is_missed_or_doubled_across_many_reconnects() {
    for seed in 1..=3 {
        println!("seed {seed}");
        run(seed, 1);
    }
}

#[test]
fn nor_between_shards_that_are_not_equally_far() {
    for seed in 4..=5 {
        println!("seed {seed}");
        run(seed, 3);
    }
}

/// Browsers are given to the shards in turn: with two, every other one comes to the same.
#[test]
fn who_comes_to_a_shard_that_is_behind_sees_nothing_twice() {
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
    // A hundred that read nothing keep the second shard busy, and none the first.
    let crowd: Vec<Browser> = (0..200)
        .map(|number| match number % 2 {
            0 => sidecar.dial().open(),
            _ => sidecar.browser(connect.clone()),
        })
        .collect();
    let mut browser = sidecar.browser(connect.clone());
    let publisher = sidecar.publisher();
    (0..COUNT).for_each(|number| publisher.cast("a", number));
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
    drop(crowd);
}
