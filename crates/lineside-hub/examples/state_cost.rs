//! Measures the snapshot of a planned restart with a full history of the default limits: its size, the time to write it to
//! disk, and the time to read it.
//!
//! `cargo run --release -p lineside-hub --example state_cost [FOLDER]`. Writes the file to FOLDER, by default the current one.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement: prints its results, and panics on errors"
)]

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use lineside_hub::{
    HistoryLimits, Hub, Ordered, Origin, PUBLISHERS_MAX, Proposal, Proposed, SavedAt, Unencoded,
};
use lineside_protocol::frame::{Frame, PublishHead, ToSidecar, encode_publish};
use lineside_protocol::{Epoch, PAYLOAD_BYTES_MAX, envelope};

/// Publisher of the history.
const PUBLISHER: Origin = Origin {
    publisher: [1; 16],
    link: 1,
};

/// Size of the file's buffer, in bytes, as in the sidecar.
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
        let newest = hub.cursor().position;
        drop(hub);
        let began = Instant::now();
        let input = BufReader::with_capacity(BUFFER_BYTES, File::open(&path).unwrap());
        let (hub, _) = Hub::restore(input, HistoryLimits::default(), PUBLISHERS_MAX).unwrap();
        let read = began.elapsed();
        assert_eq!(hub.cursor().position, newest);
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

/// Creates a hub whose journal is full, with ten thousand channels.
fn full(payload_bytes: usize) -> Hub {
    let limits = HistoryLimits::default();
    let mut hub = Hub::new(Epoch::new("ours").unwrap(), limits, PUBLISHERS_MAX);
    hub.greet(PUBLISHER, 0, 0).unwrap();
    let payload = vec![b'1'; payload_bytes];
    // The journal counts some 400 bytes for each entry besides its payload.
    let count = limits.bytes_max / (payload_bytes + 400) + 1_000;
    for sequence in 1..=count as u64 {
        publish(&mut hub, sequence, &payload);
    }
    hub
}

fn publish(hub: &mut Hub, sequence: u64, payload: &[u8]) {
    let channel = format!("orders:{}", sequence % 10_000);
    let head = PublishHead {
        sequence,
        ..PublishHead::default()
    };
    let mut bytes = Vec::new();
    encode_publish(&mut bytes, head, [(channel.as_str(), payload)]);
    let frame = Frame::split(&mut BytesMut::from(&bytes[..])).unwrap();
    let Ok(ToSidecar::Publish(frame)) = ToSidecar::decode(&frame.unwrap()) else {
        panic!("the frame is a publish frame");
    };
    let proposal = Proposal::publish(&frame, PAYLOAD_BYTES_MAX);
    let Proposed::New(entry) = hub.propose(PUBLISHER, proposal) else {
        panic!("the sequence is new");
    };
    let first = hub.next_position();
    let ordered = Ordered {
        entry,
        first,
        at_ms: 0,
    };
    hub.apply(ordered, encode);
}

fn encode(publication: &Unencoded<'_>) -> Bytes {
    let Unencoded {
        channel,
        epoch,
        position,
        payload,
        resent,
    } = *publication;
    envelope::message(channel, epoch, position, payload, resent)
}
