//! Rails app on Puma with the built gem: workers are killed, stopped and suspended while they publish.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::load::Load;
use crate::record::{Event, Record};
use crate::ruby::ruby;
use crate::support::{PATIENCE, rounds, within};

/// Number of workers in `app/puma.rb`.
const WORKERS: usize = 3;

#[test]
fn publications_confirmed_to_requests_arrive_though_puma_workers_end() {
    let faults = rounds(12, 100);
    let mut load = Load::start("puma");
    let puma = Puma::start(&load);
    // Pages connect through the app: Puma hands their sockets over.
    load.connect_through(puma.port);
    load = load.browse(6);
    let requests: Vec<_> = (0..8)
        .map(|number| Requests::start(number, puma.port, &load))
        .collect();
    for round in 0..faults {
        load.await_messages(3);
        let before = load.welcomes();
        let worker = puma.workers()[usize::try_from(round).unwrap() % WORKERS];
        match round % 3 {
            0 => puma.end(worker, Signal::SIGKILL),
            1 => puma.end(worker, Signal::SIGTERM),
            _ => {
                signal(worker, Signal::SIGSTOP);
                load.await_messages(3);
                signal(worker, Signal::SIGCONT);
            }
        }
        load.await_messages(3);
        assert_eq!(load.welcomes(), before, "no page loses its socket");
        if round % 4 == 3 {
            load.restart();
            load.await_connected();
        }
    }
    let unanswered: u64 = requests.into_iter().map(Requests::stop).sum();
    let report = load.settle();
    report.assert_nothing_lost();
    assert!(unanswered > 0, "no request was interrupted");
    report.print(&format!(
        "R-17: {faults} Puma workers killed, stopped or suspended, {unanswered} requests without a response"
    ));
}

fn signal(process: i32, signal: Signal) {
    kill(Pid::from_raw(process), signal).unwrap();
}

/// Puma cluster; killed on drop.
struct Puma {
    port: u16,
    master: Child,
}

impl Puma {
    fn start(load: &Load) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/faults/app");
        let mut master = ruby()
            .args(["-S", "puma", "-C"])
            .arg(format!("{folder}/puma.rb"))
            .env(
                "LINESIDE_LINK",
                format!("unix:{}", load.place.link().display()),
            )
            .env("RAILS_ENV", "development")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(master.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("Listening on http://127.0.0.1:")?;
            Some(port.trim().parse().unwrap())
        });
        // Reads the rest of the output, so that Puma never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let puma = Self {
            port: port.expect("Puma prints its port"),
            master,
        };
        puma.await_workers();
        puma
    }

    fn workers(&self) -> Vec<i32> {
        let master = self.master.id();
        let children = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        let children = children.unwrap_or_default();
        children
            .split_whitespace()
            .map(|it| it.parse().unwrap())
            .collect()
    }

    fn await_workers(&self) {
        within("Puma has all its workers", || {
            (self.workers().len() == WORKERS).then_some(())
        });
    }

    /// Ends a worker with a signal, and waits until the master has forked another.
    fn end(&self, worker: i32, by: Signal) {
        signal(worker, by);
        within("the worker ends", || {
            (!self.workers().contains(&worker)).then_some(())
        });
        self.await_workers();
    }
}

impl Drop for Puma {
    fn drop(&mut self) {
        let workers = self.workers();
        self.master.kill().unwrap();
        self.master.wait().unwrap();
        for worker in workers {
            // The worker may have ended already.
            kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap_or_default();
        }
    }
}

/// Client of the app that publishes with one request at a time.
struct Requests {
    stopping: Arc<AtomicBool>,
    unanswered: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Requests {
    fn start(number: usize, port: u16, load: &Load) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let unanswered = Arc::new(AtomicU64::new(0));
        let mut channels = load.channels();
        // `publish` refuses user channels, and `publish_to` returns no receipt.
        channels.retain(|channel| !channel.starts_with("user:"));
        let client = Client {
            port,
            channels,
            record: load.record.clone(),
        };
        let thread = std::thread::spawn({
            let (stopping, unanswered) = (Arc::clone(&stopping), Arc::clone(&unanswered));
            move || {
                for life in 0.. {
                    if !client.publish_on(&format!("client{number}.{life}"), &stopping) {
                        return;
                    }
                    unanswered.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self {
            stopping,
            unanswered,
            thread,
        }
    }

    /// Stops the client. Returns the number of requests without a response.
    fn stop(self) -> u64 {
        self.stopping.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.unanswered.load(Ordering::Relaxed)
    }
}

struct Client {
    port: u16,
    channels: Vec<String>,
    record: Record,
}

impl Client {
    /// Publishes until a request gets no response. Its publication may or may not be delivered, so the caller continues under
    /// another publisher name. Returns false if the client was stopped.
    fn publish_on(&self, publisher: &str, stopping: &AtomicBool) -> bool {
        let mut sequence = 0;
        while !stopping.load(Ordering::Relaxed) {
            sequence += 1;
            let channel = &self.channels[usize::try_from(sequence).unwrap() % self.channels.len()];
            let id = format!("{publisher}.{sequence}");
            self.record.sent(publisher, sequence, channel, &id);
            let Some(cursor) = request(self.port, &format!("/publish/{channel}/{id}")) else {
                self.record.push(Event::Gone {
                    publisher: publisher.into(),
                });
                return true;
            };
            self.record.receipt(publisher, sequence, &cursor, false);
        }
        false
    }
}

/// Sends a request. Returns the cursor in the response, if there is one.
fn request(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let body: Value = serde_json::from_str(body).ok()?;
    assert!(head.contains(" 200 "), "{answer}");
    Some(body["cursor"].as_str()?.to_owned())
}
