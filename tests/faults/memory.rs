//! Attacks on the sidecar's memory, in a memory cgroup that kills the process when it takes too much.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use lineside_publisher::{PublishOptions, Publisher, Settings};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, connect, socket};
use serde_json::{Value, json};

use crate::cgroup::Cgroup;
use crate::load::Load;
use crate::support::{PATIENCE, place, rounds, within};

/// Size of a message that an attacker does not finish, in bytes: just below the maximum.
const UNFINISHED_BYTES: usize = 131_000;
/// Number of file descriptors of this process that stalled readers leave to other runs.
const DESCRIPTORS_RESERVED: u64 = 6_000;
/// Size of a large payload, in bytes: just below the maximum.
const LARGE_BYTES: usize = 65_000;
/// Receive buffer of a page that never reads, in bytes.
const STALLED_BYTES: usize = 4_096;

/// A sidecar in a memory cgroup, with honest pages and a publisher beside the attackers.
struct Run {
    load: Load,
    welcomes: Vec<u64>,
    group: Option<Cgroup>,
    ceiling_mib: u64,
}

impl Run {
    fn start(what: &'static str) -> Self {
        let group_mib = rounds(128, 512);
        let ceiling_mib = group_mib / 2;
        let place = place()
            .with("LINESIDE_CONNECTIONS_MAX", 19_000)
            .with("LINESIDE_PUBLIC_CHANNELS", "attack:*")
            .with("LINESIDE_LOG_LEVEL", "debug");
        let group = Cgroup::with_limit(group_mib * 1024 * 1024);
        let load = match &group {
            Some(group) => {
                let sidecar = place.start_from(&mut group.command(&place));
                Load::over(what, place, sidecar)
            }
            None => {
                println!(
                    "{what}: this machine has no memory cgroup that the test may change, so LINESIDE_MEMORY_MAX replaces it and \
                     nothing would kill the process"
                );
                Load::start_in(
                    what,
                    place.with("LINESIDE_MEMORY_MAX", ceiling_mib * 1024 * 1024),
                )
            }
        };
        load.sidecar().logged(&[
            "LINESIDE_MEMORY_MAX",
            &format!("value={}", ceiling_mib * 1024 * 1024),
        ]);
        let plan = json!({"threads": 1, "per_second": 50, "receipts": true});
        let load = load.browse(3).publish_with(1, &plan);
        load.await_messages(3);
        let welcomes = load.welcomes();
        Self {
            load,
            welcomes,
            group,
            ceiling_mib,
        }
    }

    /// Opens connections of attackers, after their upgrade. They never read.
    fn attackers(&self, count: u64) -> Vec<TcpStream> {
        let port = self.load.sidecar().port;
        (0..count).map(|_| stalled(port)).collect()
    }

    /// A publisher of the app whose publications fill the history.
    fn publisher(&self) -> Publisher {
        Publisher::new(Settings::new(self.load.place.link(), "attack"))
    }

    /// Waits until honest pages and publishers have made progress.
    fn await_others(&self) {
        self.load.await_messages(20);
        self.load.await_receipts(10);
    }

    /// Ends the run: no honest page was disconnected, nothing was lost, and the process was not killed.
    fn finish(self, what: &str) {
        self.await_others();
        assert_eq!(self.load.welcomes(), self.welcomes, "no page reconnected");
        let peak_mib = self.load.peak_resident_kib() / 1024;
        let kills = self.group.as_ref().map_or(0, Cgroup::kills);
        assert_eq!(kills, 0, "the sidecar was killed");
        let bound_mib = self.ceiling_mib * 3 / 2;
        assert!(
            peak_mib <= bound_mib,
            "{peak_mib} MiB, the bound is {bound_mib} MiB"
        );
        let report = self.load.settle();
        report.assert_nothing_lost();
        report.print(&format!(
            "{what}; peak {peak_mib} MiB, ceiling {} MiB",
            self.ceiling_mib
        ));
    }
}

/// Connects without reading, with a small receive buffer.
fn stalled(port: u16) -> TcpStream {
    let descriptor = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    set_socket_recv_buffer_size(&descriptor, STALLED_BYTES).unwrap();
    connect(&descriptor, &SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    let mut stream = TcpStream::from(descriptor);
    let request = format!(
        "GET /lineside HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        // Refused while memory is short.
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    stream.set_nonblocking(true).unwrap();
    stream
}

/// A masked text frame, or as much of it as `sent` bytes of its payload are.
fn frame(payload: &[u8], sent: usize) -> Vec<u8> {
    let mut bytes = vec![0x81, 0x80 | 127];
    bytes.extend((payload.len() as u64).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(&payload[..sent]);
    bytes
}

/// Sends bytes over every connection at once, until all are sent, or the sidecar has ended the connection.
fn send_all(attackers: &[TcpStream], bytes: &[u8]) {
    let end = Instant::now() + PATIENCE;
    let mut left: VecDeque<_> = attackers.iter().map(|stream| (stream, bytes)).collect();
    let mut waits = 0;
    while let Some((mut stream, bytes)) = left.pop_front() {
        match stream.write(bytes) {
            Ok(sent) if sent == bytes.len() => waits = 0,
            Ok(sent) => {
                waits = 0;
                left.push_back((stream, &bytes[sent..]));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                waits += 1;
                left.push_back((stream, bytes));
            }
            Err(_) => {}
        }
        if waits > left.len() {
            assert!(Instant::now() < end, "the sidecar does not read");
            std::thread::park_timeout(Duration::from_millis(1));
            waits = 0;
        }
    }
}

/// Publishes to `attack:<n>` for `channels` values of n in turn, and waits for all acks.
fn flood(publisher: &Publisher, channels: u64, publications: u64, bytes: usize) {
    let payload = json!("x".repeat(bytes)).to_string();
    for number in 0..publications {
        let channel = format!("attack:{}", number % channels);
        let publish = || {
            let options = PublishOptions::default();
            publisher
                .publish(&channel, payload.as_bytes(), options)
                .ok()
        };
        within("the spool has room", publish);
    }
    within("all publications are acked", || {
        let status = publisher.status();
        (status.acked == status.accepted).then_some(())
    });
}

fn connect_frame(subscribe: &Value) -> Vec<u8> {
    let text = json!({"type": "connect", "subscribe": subscribe}).to_string();
    frame(text.as_bytes(), text.len())
}

#[test]
fn unfinished_messages_of_anonymous_connections_stay_below_their_share() {
    let run = Run::start("unfinished");
    let count = rounds(1_300, 4_066);
    let attackers = run.attackers(count);
    send_all(
        &attackers,
        &frame(&vec![b'x'; UNFINISHED_BYTES + 1], UNFINISHED_BYTES),
    );
    run.load
        .sidecar()
        .logged(&["event=memory_short", "stage=messages"]);
    run.finish(&format!(
        "R-22: {count} unfinished messages of {UNFINISHED_BYTES} bytes"
    ));
}

#[test]
fn resumes_of_full_histories_by_pages_that_never_read_are_ended() {
    const CHANNELS: u64 = 256;
    let run = Run::start("resumes");
    let publisher = run.publisher();
    let each = rounds(100, 1_000);
    let start = run.load.cursor();
    flood(&publisher, CHANNELS, CHANNELS * each, 64);
    let wants = (0..CHANNELS).map(|it| json!({"channel": format!("attack:{it}"), "after": start}));
    let connect = connect_frame(&wants.collect());
    let count = rounds(100, 600);
    let mut attackers = Vec::new();
    for _ in 0..count / 20 {
        let more = run.attackers(20);
        send_all(&more, &connect);
        attackers.extend(more);
        flood(&publisher, CHANNELS, rounds(1_000, 10_000), 1_000);
    }
    run.finish(&format!(
        "R-22: {count} resumes of {CHANNELS} channels with {each} publications"
    ));
}

#[test]
fn stalled_readers_of_large_publications_are_ended() {
    let run = Run::start("stalled");
    let publisher = run.publisher();
    let count = rounds(300, descriptors());
    let attackers = run.attackers(count);
    send_all(
        &attackers,
        &connect_frame(&json!([{"channel": "attack:0"}])),
    );
    flood(&publisher, 1, rounds(100, 400), LARGE_BYTES);
    run.load
        .sidecar()
        .logged(&["event=connection_ended", "reason=slow"]);
    run.finish(&format!(
        "R-22: {count} stalled readers of {LARGE_BYTES} bytes"
    ));
}

#[test]
fn history_of_many_channels_stays_below_its_share() {
    let run = Run::start("history");
    let publisher = run.publisher();
    let large = rounds(2_000, 20_000);
    flood(&publisher, 300, large, LARGE_BYTES);
    let small = rounds(20_000, 500_000);
    flood(&publisher, 10_000, small, 1);
    run.finish(&format!(
        "R-22: {large} large and {small} small publications"
    ));
}

/// Number of connections that the limit of file descriptors allows beside others.
fn descriptors() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    let soft: u64 = soft.unwrap().parse().unwrap();
    soft.saturating_sub(DESCRIPTORS_RESERVED).max(300)
}
