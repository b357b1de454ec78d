//! Attacks that hold many connections open and read nothing.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use lineside_publisher::{PublishOptions, Publisher, Settings};

use super::link::{HISTORY_CHANNELS, history_channel};
use super::{RETRY, Target};
use crate::client::{self, HOSTILE, upgrade_head};
use crate::clock::{schedule, wait_until};
use crate::load::{CHANNEL, READERS};
use crate::sidecar;

/// Number of half-open handshakes, and of unfinished messages, unless the limit of open files is lower.
const HALF_OPEN: usize = 9_000;
const UNFINISHED: usize = 4_000;
/// Time between two looks at the held connections.
const PASS: Duration = Duration::from_millis(100);
/// Size of an unfinished message, in bytes: the maximum of a message.
const MESSAGE_BYTES: u32 = 128 * 1024;
/// Stalled readers: one for each hundred honest ones.
const STALLED: usize = READERS / 100;
/// Publications that fill the sockets of the stalled readers, beside those of the load.
const STALL_CHANNEL: &str = "stall";
const STALL_BYTES: usize = 32 * 1024;
const STALLS_PER_SECOND: u32 = 50;
/// Receive buffer of a stalled reader, in bytes.
const STALL_RECEIVE_BYTES: usize = 4 * 1024;

/// Sends a part of the request's head.
pub(super) fn half_open(target: &Target) -> io::Result<u64> {
    hold(target, HALF_OPEN, || {
        let mut stream = client::tcp(HOSTILE, target.port, None)?;
        stream.write_all(b"GET /lineside HTTP/1.1\r\nHost: bench\r\n")?;
        Ok(stream)
    })
}

/// Sends a message of maximum size without its last byte.
pub(super) fn unfinished(target: &Target) -> io::Result<u64> {
    let mut bytes = upgrade_head("channel=unfinished").into_bytes();
    // A final text frame with an eight-byte length, masked with zeros.
    bytes.extend([0x81, 0xff]);
    bytes.extend(u64::from(MESSAGE_BYTES).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend((1..MESSAGE_BYTES).map(|_| b' '));
    hold(target, UNFINISHED, || {
        let mut stream = client::tcp(HOSTILE, target.port, None)?;
        stream.write_all(&bytes)?;
        Ok(stream)
    })
}

/// Resumes all channels of the history from its start, this many times a second.
pub(super) fn resumes(target: &Target, per_second: u32) -> io::Result<u64> {
    let mut query = format!("after={}", target.cursor);
    for number in 0..HISTORY_CHANNELS {
        write!(query, "&channel={}", history_channel(number)).map_err(io::Error::other)?;
    }
    let head = upgrade_head(&query);
    let mut held = Vec::new();
    for due in schedule(Duration::from_secs(1) / per_second, target.until) {
        wait_until(due);
        let stream = client::tcp(HOSTILE, target.port, None);
        held.extend(stream.and_then(|mut it| it.write_all(head.as_bytes()).map(|()| it)));
    }
    Ok(held.len() as u64)
}

/// Subscribes readers to the channel of the load and to one with large publications.
pub(super) fn stalled_readers(target: &Target) -> io::Result<u64> {
    let head = upgrade_head(&format!("channel={CHANNEL}&channel={STALL_CHANNEL}"));
    let publisher = Publisher::new(Settings::new(sidecar::link(Path::new(".")), "attack"));
    let payload = format!("\"{}\"", "-".repeat(STALL_BYTES));
    thread::scope(|scope| {
        scope.spawn(|| {
            for due in schedule(Duration::from_secs(1) / STALLS_PER_SECOND, target.until) {
                wait_until(due);
                // A full spool is no failure of the attack.
                drop(publisher.publish(
                    STALL_CHANNEL,
                    payload.as_bytes(),
                    PublishOptions::default(),
                ));
            }
        });
        hold(target, STALLED, || {
            let mut stream = client::tcp(HOSTILE, target.port, Some(STALL_RECEIVE_BYTES))?;
            stream.write_all(head.as_bytes())?;
            Ok(stream)
        })
    })
}

/// Holds up to `count` connections, and opens new ones for those that the sidecar has closed. Returns the number that were
/// opened. An error, such as that of the limit of open files, ends a pass.
fn hold(
    target: &Target,
    count: usize,
    open: impl Fn() -> io::Result<TcpStream>,
) -> io::Result<u64> {
    let mut held: Vec<TcpStream> = Vec::new();
    let mut opened = 0;
    while !target.is_over() {
        held.retain(is_open);
        while held.len() < count && !target.is_over() {
            let Ok(stream) = open() else {
                thread::park_timeout(RETRY);
                break;
            };
            stream.set_nonblocking(true)?;
            held.push(stream);
            opened += 1;
        }
        thread::park_timeout(PASS);
    }
    Ok(opened)
}

fn is_open(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0]) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
