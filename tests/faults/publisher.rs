//! Publishing process of the fault runs: `lineside-publisher`, as in the gem, with the number of threads in its plan. It logs
//! each call before and after it is made: a missing second line is a call that a kill interrupted. Each thread has a publisher name of its
//! own, `<name>.<thread>`, because calls of different threads have no order.
//!
//! ```text
//! lineside-test-publisher '{"link":"/tmp/x.sock","name":"p1","channels":["a"],"threads":2,"per_second":100}'
//! ← {"event":"sent","publisher":"p1.0","sequence":1,…}       log lines
//! ← {"done":0}                                               thread 0 has made all its calls
//! → stop                                                     stops publishing and waits for all acks
//! ← {"flushed":true,"accepted":…,"dropped_full":…,…}         counts, before the process ends
//! ```
//!
//! The process ends at once when its standard input is closed, so that it does not outlive the test.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program that logs to standard output"
)]

use std::io::BufRead;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use lineside_publisher::{Flushed, Outcome, PublishOptions, Publisher, Sequence, Settings, Waiter};
use lineside_tests::history::{Event, Item};
use serde_json::{Value, json};

/// Longest wait for the final flush and for a receipt.
const FLUSH_MAX: Duration = Duration::from_secs(60);

struct Plan {
    name: String,
    channels: Vec<String>,
    threads: u64,
    /// Calls of each thread per second. Zero is unlimited.
    per_second: u32,
    /// Number of each thread's first call, from 1.
    first: u64,
    /// Calls of each thread. Zero is until `stop`.
    calls: u64,
    /// Prefix of the `once` ids. A process with the prefix of a killed one retries its calls.
    once: Option<String>,
    /// True if each publication asks for a receipt.
    receipts: bool,
    /// Padding of each payload, in bytes.
    padding_bytes: usize,
}

/// Call without an answer: publisher name, number of the call, sequence on the link.
type Awaited = (String, u64, Sequence);

fn main() {
    let plan: Value = serde_json::from_str(&std::env::args().nth(1).unwrap()).unwrap();
    let number = |name: &str| plan[name].as_u64().unwrap_or(0);
    let text = |name: &str| plan[name].as_str().map(ToOwned::to_owned);
    let name = text("name").unwrap();
    let mut settings = Settings::new(text("link").unwrap(), &name);
    if let Some(bytes) = plan["spool_bytes_max"].as_u64() {
        settings.spool_bytes_max = usize::try_from(bytes).unwrap();
    }
    let publisher = Publisher::new(settings);
    let plan = Plan {
        once: text("once"),
        name,
        channels: serde_json::from_value(plan["channels"].clone()).unwrap(),
        threads: number("threads").max(1),
        per_second: u32::try_from(number("per_second")).unwrap(),
        first: number("first").max(1),
        calls: number("calls"),
        receipts: plan["receipts"] == true,
        padding_bytes: usize::try_from(number("padding_bytes")).unwrap(),
    };
    run(&publisher, &plan);
}

fn run(publisher: &Publisher, plan: &Plan) {
    let stopped = AtomicBool::new(false);
    let (awaited, answers_due) = channel();
    let last_calls: Vec<(String, u64)> = thread::scope(|scope| {
        let answers = scope.spawn(move || log_answers(publisher, answers_due));
        let calls: Vec<_> = (0..plan.threads)
            .map(|thread| {
                let awaited = awaited.clone();
                let stopped = &stopped;
                scope.spawn(move || publish(publisher, plan, thread, stopped, &awaited))
            })
            .collect();
        drop(awaited);
        let mut order = String::new();
        std::io::stdin().lock().read_line(&mut order).unwrap();
        if order != "stop\n" {
            std::process::exit(1);
        }
        stopped.store(true, Ordering::Relaxed);
        let last_calls = calls.into_iter().map(|call| call.join().unwrap());
        let last_calls = last_calls.collect();
        answers.join().unwrap();
        last_calls
    });
    let flushed = publisher.wait_flushed(Instant::now() + FLUSH_MAX, &Waiter::new().unwrap());
    let status = publisher.status();
    let complete = flushed == Flushed::Done && status.dropped_aged == 0;
    if complete && let Some(cursor) = publisher.cursor() {
        for (publisher, through) in last_calls {
            log(&Event::Acked {
                publisher,
                through,
                cursor: cursor.to_string(),
            });
        }
    }
    println!(
        "{}",
        json!({
            "flushed": flushed == Flushed::Done, "accepted": status.accepted, "acked": status.acked,
            "dropped_full": status.dropped_full, "dropped_aged": status.dropped_aged,
            "refused": status.refused, "resent": status.resent, "reconnects": status.reconnects,
        })
    );
}

/// Writes a log line.
fn log(event: &Event) {
    println!("{}", serde_json::to_string(event).unwrap());
}

/// Makes the calls of one thread. Returns its publisher name and the number of its last call.
fn publish(
    publisher: &Publisher,
    plan: &Plan,
    thread: u64,
    stopped: &AtomicBool,
    awaited: &Sender<Awaited>,
) -> (String, u64) {
    let name = format!("{}.{thread}", plan.name);
    let mut due = Instant::now();
    let mut number = plan.first;
    while !stopped.load(Ordering::Relaxed) && (plan.calls == 0 || number < plan.first + plan.calls)
    {
        if let Some(sequence) = publish_one(publisher, plan, thread, number)
            && plan.receipts
        {
            awaited.send((name.clone(), number, sequence)).unwrap();
        }
        number += 1;
        if plan.per_second > 0 {
            due += Duration::from_secs(1) / plan.per_second;
            thread::park_timeout(due.saturating_duration_since(Instant::now()));
        }
    }
    println!("{}", json!({"done": thread}));
    (name, number - 1)
}

fn publish_one(publisher: &Publisher, plan: &Plan, thread: u64, number: u64) -> Option<Sequence> {
    let name = format!("{}.{thread}", plan.name);
    let id = format!("{name}.{number}");
    let places = u64::try_from(plan.channels.len()).unwrap();
    let channel = &plan.channels[usize::try_from((number + thread) % places).unwrap()];
    let once = plan.once.as_ref();
    let once = once.map(|name| format!("{name}.{thread}.{number}"));
    log(&Event::Sent {
        publisher: name.clone(),
        sequence: number,
        items: vec![Item {
            channel: channel.clone(),
            id: id.clone(),
        }],
        once: once.clone(),
        known: publisher.cursor().map(|cursor| cursor.to_string()),
    });
    let options = PublishOptions {
        once: once.as_deref(),
        wants_receipt: plan.receipts,
    };
    let padding = "x".repeat(plan.padding_bytes);
    let payload = json!({"id": id, "padding": padding}).to_string();
    let accepted = publisher.publish(channel, payload.as_bytes(), options).ok();
    if accepted.is_none() {
        log(&Event::Declined {
            publisher: name,
            sequence: number,
        });
    }
    accepted
}

/// Logs the answers to calls with a receipt, in the order of the calls.
fn log_answers(on: &Publisher, answers_due: Receiver<Awaited>) {
    let waiter = Waiter::new().unwrap();
    for (publisher, sequence, number) in answers_due {
        let event = match on.wait_receipt(number, Instant::now() + FLUSH_MAX, &waiter) {
            Outcome::Receipt { cursor, duplicate } => {
                let cursor = cursor.to_string();
                log(&Event::Receipt {
                    publisher: publisher.clone(),
                    sequence,
                    cursor: cursor.clone(),
                    duplicate,
                });
                // Frames are answered in order, so this acks all earlier ones.
                Event::Acked {
                    publisher,
                    through: sequence,
                    cursor,
                }
            }
            Outcome::Refused { .. } => Event::Refused {
                publisher,
                sequence,
            },
            Outcome::Dropped => Event::Dropped {
                publisher,
                sequence,
            },
            // Unknown, or covered by the final flush.
            Outcome::TimedOut | Outcome::Interrupted => continue,
        };
        log(&event);
    }
}
