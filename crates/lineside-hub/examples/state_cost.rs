//! What a planned restart costs with a full history of the default limits: the size of the state, the time to write it to
//! disk and to read it back.
//!
//! `cargo run --release -p lineside-hub --example state_cost [FOLDER]`; the folder of the file is the current one otherwise.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement: it prints what it finds, and ends when it cannot"
)]

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::time::Instant;

use bytes::Bytes;
use lineside_hub::{HistoryLimits, Hub, PUBLISHERS_MAX, SavedAt};
use lineside_protocol::{Epoch, envelope};

/// As in the sidecar.
const BUFFER_BYTES: usize = 256 * 1024;

fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let path = std::path::Path::new(&folder).join("state_cost.state");
    for payload_bytes in [10, 200, 2_000, 20_000] {
        let hub = full(payload_bytes);
        let began = Instant::now();
        let file = File::create(&path).unwrap();
        let at = SavedAt {
            now_ms: 0,
            wall_ms: 0,
        };
        let out = BufWriter::with_capacity(BUFFER_BYTES, &file);
        let bytes = hub.save(at, out).unwrap();
        let encoded = began.elapsed();
        file.sync_all().unwrap();
        let written = began.elapsed();
        let newest = hub.journal.newest();
        drop(hub);
        let began = Instant::now();
        let input = BufReader::with_capacity(BUFFER_BYTES, File::open(&path).unwrap());
        let (hub, _) = Hub::restore(input, HistoryLimits::default(), PUBLISHERS_MAX).unwrap();
        let read = began.elapsed();
        assert_eq!(hub.journal.newest(), newest);
        println!(
            "payloads of {payload_bytes} bytes, {newest} published: {} MiB; encoded in {} ms, on disk in {} ms, read in {} ms",
            bytes / 1024 / 1024,
            encoded.as_millis(),
            written.as_millis(),
            read.as_millis(),
        );
    }
    std::fs::remove_file(&path).unwrap();
}

/// A hub whose journal is full: ten thousand channels, and no more room.
fn full(payload_bytes: usize) -> Hub {
    let limits = HistoryLimits::default();
    let mut hub = Hub::new(Epoch::new("ours").unwrap(), limits, PUBLISHERS_MAX);
    let epoch = hub.journal.epoch().clone();
    let payload = Bytes::from(vec![b'1'; payload_bytes]);
    let channels: Vec<String> = (0..10_000)
        .map(|number| format!("orders:{number}"))
        .collect();
    // The overhead that an entry counts with is some 400 bytes.
    let count = limits.bytes_max / (payload_bytes + 400) + 1_000;
    for channel in channels.iter().cycle().take(count) {
        hub.journal.append(channel, 0, |position| {
            envelope::message(channel, &epoch, position, &payload, false)
        });
    }
    hub
}
