//! Benchmark: time of one publish of 128 bytes, with a sidecar that reads and acks.
//!
//! ```text
//! cargo run --release -p lineside-publisher --example publish_cost
//! ```

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its results"
)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use lineside_protocol::frame::{Ack, Frame, PROTOCOL_VERSION, ToPublisher, ToSidecar, Welcome};
use lineside_protocol::{Epoch, Position};
use lineside_publisher::{Flushed, PublishOptions, Publisher, Settings, Waiter};

/// Publications of one burst. They fit the default spool.
const BURST: u32 = 30_000;
const BURSTS: usize = 20;
/// Publications of the paced run.
const PACED: usize = 2_000;
/// Time between two publications of the paced run.
const PAUSE: Duration = Duration::from_micros(200);

fn main() {
    let path = std::env::temp_dir().join(format!("lineside-cost-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || serve(listener.accept().unwrap().0));

    let publisher = Publisher::new(Settings::new(&path, "publish_cost"));
    let waiter = Waiter::new().unwrap();
    let payload = [b'1'; 128];
    let publish = || {
        publisher
            .publish("news", &payload, PublishOptions::default())
            .unwrap();
    };
    let flush = || {
        let deadline = Instant::now() + Duration::from_secs(10);
        assert_eq!(publisher.wait_flushed(deadline, &waiter), Flushed::Done);
    };

    publish();
    flush();
    let mut bursts = (0..BURSTS)
        .map(|_| {
            let start = Instant::now();
            (0..BURST).for_each(|_| publish());
            let each = start.elapsed() / BURST;
            flush();
            each
        })
        .collect::<Vec<_>>();
    bursts.sort();
    println!(
        "back to back: median {:?}, best {:?}, worst {:?} (mean of {BURST} calls each)",
        bursts[BURSTS / 2],
        bursts[0],
        bursts[BURSTS - 1]
    );

    let mut calls = (0..PACED)
        .map(|_| {
            let due = Instant::now() + PAUSE;
            while Instant::now() < due {
                std::hint::spin_loop();
            }
            let start = Instant::now();
            publish();
            start.elapsed()
        })
        .collect::<Vec<_>>();
    calls.sort();
    println!(
        "one every {PAUSE:?}: median {:?}, 99 % below {:?}",
        calls[PACED / 2],
        calls[PACED * 99 / 100]
    );
    let mut cursors = (0..PACED)
        .map(|_| {
            let start = Instant::now();
            (0..100).for_each(|_| drop(std::hint::black_box(publisher.cursor())));
            start.elapsed() / 100
        })
        .collect::<Vec<_>>();
    cursors.sort();
    println!("cursor: median {:?}", cursors[PACED / 2]);
    std::fs::remove_file(&path).unwrap();
}

/// Reads all frames, and sends one ack per read.
fn serve(mut stream: UnixStream) {
    let (mut inbox, mut buffer, mut answer) = (BytesMut::new(), vec![0; 256 * 1024], Vec::new());
    loop {
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            return;
        }
        inbox.extend_from_slice(&buffer[..count]);
        let mut newest = None;
        while let Some(frame) = Frame::split(&mut inbox).unwrap() {
            match ToSidecar::decode(&frame).unwrap() {
                ToSidecar::Hello(_) => welcome().encode(&mut answer),
                ToSidecar::Publish(publish) => newest = Some(publish.sequence),
                ToSidecar::Revoke(revoke) => newest = Some(revoke.sequence),
                ToSidecar::Skip(skip) => newest = Some(skip.through),
            }
        }
        if let Some(sequence) = newest {
            let position = Position(sequence);
            ToPublisher::Ack(Ack { sequence, position }).encode(&mut answer);
        }
        stream.write_all(&answer).unwrap();
        answer.clear();
    }
}

fn welcome() -> ToPublisher {
    ToPublisher::Welcome(Welcome {
        version: PROTOCOL_VERSION,
        last: 0,
        position: Position(0),
        fingerprint: [0; 8],
        epoch: Epoch::new("cost").unwrap(),
    })
}
