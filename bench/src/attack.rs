//! The attacks, each in a process of its own with low priority.

mod hold;
mod link;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::client::{self, HOSTILE};
use crate::clock::{schedule, wait_until};
use crate::sidecar::Sidecar;

/// Niceness of an attacking process, so that the load is not short of CPU time.
const NICENESS: &str = "10";
/// Number of threads that send bad requests, or use the CPU in the control run.
const THREADS: u32 = 8;
/// A ping without payload, masked with zeros, and the number of pings in one write.
const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
const PINGS: u64 = 1_000;
const BAD_REQUESTS_PER_SECOND: u32 = 5_000;
/// Requests that the sidecar refuses: each for a reason of its own.
const BAD_REQUESTS: [&str; 4] = [
    "GET /nothing HTTP/1.1\r\nHost: bench\r\n\r\n",
    "GET /lineside HTTP/1.1\r\nHost: bench\r\n\r\n",
    "GET /lineside HTTP/1.1\r\nHost: bench\r\nOrigin: https://hostile.example\r\nUpgrade: websocket\r\n\
     Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "not HTTP\r\n\r\n",
];
/// Delay before a failed step is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// Target and end of an attack.
pub(crate) struct Target {
    port: u16,
    /// Cursor before the publications that [`prepare`] makes.
    cursor: String,
    until: Instant,
}

impl Target {
    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// Runs an attack. Returns the number of connections, requests or frames that it sent.
pub(crate) type Attack = fn(&Target) -> io::Result<u64>;

/// Every attack by name.
pub(crate) const ATTACKS: [(&str, Attack); 12] = [
    // Uses the CPU at the same priority and sends nothing: the part of a ratio that the scheduler causes.
    ("control", |target| threads(THREADS, target, use_cpu)),
    ("pings-1", |target| threads(1, target, ping)),
    ("pings-8", |target| threads(8, target, ping)),
    ("pings-40", |target| threads(40, target, ping)),
    ("half-open", hold::half_open),
    ("resumes-5", |target| hold::resumes(target, 5)),
    ("resumes-100", |target| hold::resumes(target, 100)),
    ("stalled-readers", hold::stalled_readers),
    ("unfinished", hold::unfinished),
    ("unread-answers", |target| {
        threads(1, target, link::publish_unread)
    }),
    ("sign-outs", link::sign_outs),
    ("bad-requests", |target| {
        threads(THREADS, target, request_badly)
    }),
];

/// Publishes what an attack needs before it begins. Returns the cursor before these publications.
pub(crate) fn prepare(name: &str, link: &Path) -> Outcome<String> {
    if name.starts_with("resumes") {
        link::publish_history(link)
    } else {
        Ok(String::from("none"))
    }
}

/// Runs an attack in this process, whose folder is that of the sidecar.
pub(crate) fn run(name: &str, port: u16, seconds: u64, cursor: &str) -> Outcome<u64> {
    let (_, attack) = ATTACKS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| format!("unknown attack '{name}'"))?;
    Ok(attack(&Target {
        port,
        cursor: cursor.into(),
        until: Instant::now() + Duration::from_secs(seconds),
    })?)
}

/// Starts the process of an attack on this sidecar, which ends after this time.
pub(crate) fn start(name: &str, sidecar: &Sidecar, time: Duration, cursor: &str) -> Outcome<Child> {
    let (port, seconds) = (sidecar.port.to_string(), time.as_secs().to_string());
    let child = Command::new("nice")
        .args(["-n", NICENESS])
        .arg(std::env::current_exe()?)
        .args(["attack", name, &port, &seconds, cursor])
        .current_dir(sidecar.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}

/// Waits for the end of an attack's process. Returns the number of connections, requests or frames that it sent.
pub(crate) fn wait(attacker: Child) -> Outcome<u64> {
    let output = attacker.wait_with_output()?;
    let count = String::from_utf8(output.stdout)?.trim().parse();
    Ok(count.map_err(|_| format!("the attack failed: {}", output.status))?)
}

/// Runs the same attack in several threads, and again after an error, until the end. Returns the sum of their counts.
fn threads(
    count: u32,
    target: &Target,
    attack: impl Fn(&Target, &mut u64) -> io::Result<()> + Sync,
) -> io::Result<u64> {
    let repeat = || {
        let mut sent = 0;
        while !target.is_over() {
            if attack(target, &mut sent).is_err() {
                thread::park_timeout(RETRY);
            }
        }
        sent
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..count).map(|_| scope.spawn(repeat)).collect();
        let counts = running.into_iter().map(thread::ScopedJoinHandle::join);
        counts.sum::<thread::Result<u64>>()
    })
    .map_err(|_| io::Error::other("a thread of the attack panicked"))
}

fn use_cpu(target: &Target, rounds: &mut u64) -> io::Result<()> {
    while !target.is_over() {
        *rounds = std::hint::black_box(*rounds + 1);
    }
    Ok(())
}

/// Sends pings without a pause on one connection, and reads the pongs.
fn ping(target: &Target, sent: &mut u64) -> io::Result<()> {
    let mut stream = client::tcp(HOSTILE, target.port, None)?;
    client::upgrade(&mut stream, "channel=pings")?;
    let mut pongs = stream.try_clone()?;
    thread::scope(|scope| {
        scope.spawn(move || drop(io::copy(&mut pongs, &mut io::sink())));
        let result = send_pings(&mut stream, target, sent);
        // Ends the other thread; the sidecar may have closed the connection already.
        stream.shutdown(Shutdown::Both).unwrap_or_default();
        result
    })
}

fn send_pings(stream: &mut TcpStream, target: &Target, sent: &mut u64) -> io::Result<()> {
    let pings: Vec<u8> = (0..PINGS).flat_map(|_| PING).collect();
    while !target.is_over() {
        stream.write_all(&pings)?;
        *sent += PINGS;
    }
    Ok(())
}

/// Sends requests that the sidecar refuses, at this thread's share of the rate.
fn request_badly(target: &Target, sent: &mut u64) -> io::Result<()> {
    let interval = Duration::from_secs(1) * THREADS / BAD_REQUESTS_PER_SECOND;
    for (due, request) in schedule(interval, target.until).zip(BAD_REQUESTS.iter().cycle()) {
        wait_until(due);
        if target.is_over() {
            break;
        }
        let mut stream = client::tcp(HOSTILE, target.port, None)?;
        stream.write_all(request.as_bytes())?;
        stream.read_to_end(&mut Vec::new())?;
        *sent += 1;
    }
    Ok(())
}
