//! Honest load: connected readers, two publishers, and clients that connect or request `/up`.
//!
//! Every latency counts from the scheduled time of its step, so that a step that waits for a slow one before it counts as slow
//! too.

mod readers;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle, ScopedJoinHandle};
use std::time::{Duration, Instant};

use lineside_publisher::{Outcome as Receipt, PublishOptions, Publisher, Settings, Waiter};

use crate::Outcome;
use crate::client::{self, TIMEOUT};
use crate::clock::{micros, schedule, wait_until};
use crate::process;
use crate::sidecar::Sidecar;

use readers::Readers;

/// Number of readers. Each receives every publication.
pub(crate) const READERS: usize = 200;
/// Channel of the readers.
pub(crate) const CHANNEL: &str = "bench";
/// Rates per second, in the order of [`METRICS`].
pub(crate) const RATES: [u32; 4] = [25, 50, 20, 10];
/// Latencies: from a publication to each reader, from a publication to its receipt, from the TCP connect to the welcome, and
/// from the TCP connect to the answer of `/up`.
pub(crate) const METRICS: [&str; 4] = ["delivery", "publish ack", "connect", "/up"];
/// Padding of a publication, in bytes.
const PADDING_BYTES: usize = 200;
/// Time after a phase in which its last steps may begin and its last publications may arrive.
const SETTLE: Duration = Duration::from_secs(5);
/// Time between two looks at the number of deliveries.
const POLL: Duration = Duration::from_millis(50);

/// Result of one phase.
pub(crate) struct Phase {
    /// Latencies in microseconds, in the order of [`METRICS`].
    pub(crate) latencies: [Vec<u64>; 4],
    /// Steps that failed, deliveries that did not arrive, and readers that lost their connection.
    pub(crate) failed: usize,
    /// CPU share of this process, in percent of one core.
    pub(crate) cpu: f64,
}

/// Latencies of paced steps, and the number of those that failed.
struct Steps {
    latencies: Vec<u64>,
    failed: usize,
}

/// The readers and publishers of one sidecar. Ends them when dropped.
pub(crate) struct Load {
    port: u16,
    begin: Instant,
    publishers: [Publisher; 2],
    readers: Arc<Readers>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Connects the readers and the publishers.
    pub(crate) fn start(sidecar: &Sidecar) -> Outcome<Self> {
        let begin = Instant::now();
        let readers = Arc::new(Readers::default());
        let thread = Arc::clone(&readers).start(sidecar.port, begin)?;
        Ok(Self {
            port: sidecar.port,
            begin,
            publishers: [(); 2].map(|()| publisher(&sidecar.link())),
            readers,
            thread: Some(thread),
        })
    }

    /// Runs the load for this time.
    pub(crate) fn measure(&self, phase: Duration) -> Outcome<Phase> {
        let cpu = process::Cpu::now(std::process::id());
        let ended = self.readers.ended.load(Ordering::Relaxed);
        let end = Instant::now() + phase;
        let waiter = Waiter::new()?;
        let kinds: [&(dyn Fn(Instant) -> bool + Sync); 4] = [
            &|due| self.publish(due),
            &|_| self.wait_receipt(&waiter),
            &|_| client::connect(self.port).is_ok(),
            &|_| client::up(self.port).is_ok(),
        ];
        let results = thread::scope(|scope| {
            let run = |index: usize| scope.spawn(move || steps(RATES[index], end, kinds[index]));
            [0, 1, 2, 3].map(run).map(ScopedJoinHandle::join)
        });
        let [published, receipts, connects, ups] =
            results.map(|it| it.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let expected = (published.latencies.len() - published.failed) * READERS;
        let settled = Instant::now() + SETTLE;
        while self.readers.latencies().len() < expected && Instant::now() < settled {
            thread::park_timeout(POLL);
        }
        let mut deliveries = std::mem::take(&mut *self.readers.latencies());
        let missing = expected.saturating_sub(deliveries.len());
        // A delivery that is missing counts with this time.
        deliveries.extend((0..missing).map(|_| micros(SETTLE)));
        let ended = self.readers.ended.load(Ordering::Relaxed) - ended;
        let steps = [&published, &receipts, &connects, &ups];
        Ok(Phase {
            failed: missing + ended + steps.map(|it| it.failed).iter().sum::<usize>(),
            latencies: [
                deliveries,
                receipts.latencies,
                connects.latencies,
                ups.latencies,
            ],
            cpu: cpu.share(),
        })
    }

    /// Publishes to the readers without waiting.
    fn publish(&self, due: Instant) -> bool {
        let at = micros(due.duration_since(self.begin));
        let payload = format!(r#"{{"at":{at},"padding":"{}"}}"#, "-".repeat(PADDING_BYTES));
        let options = PublishOptions::default();
        self.publishers[0]
            .publish(CHANNEL, payload.as_bytes(), options)
            .is_ok()
    }

    fn wait_receipt(&self, waiter: &Waiter) -> bool {
        let options = PublishOptions {
            wants_receipt: true,
            once: None,
        };
        let publisher = &self.publishers[1];
        publisher
            .publish("receipts", b"1", options)
            .is_ok_and(|sequence| {
                let receipt = publisher.wait_receipt(sequence, Instant::now() + TIMEOUT, waiter);
                matches!(receipt, Receipt::Receipt { .. })
            })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.readers.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Runs a step at a fixed rate until `end`. Steps that cannot begin soon after it, because earlier ones take too long, fail.
/// A failed step counts with at least [`TIMEOUT`].
fn steps(per_second: u32, end: Instant, step: impl Fn(Instant) -> bool) -> Steps {
    let mut steps = Steps {
        latencies: Vec::new(),
        failed: 0,
    };
    for due in schedule(Duration::from_secs(1) / per_second, end) {
        wait_until(due);
        let is_done = Instant::now() < end + SETTLE && step(due);
        let elapsed = due.elapsed();
        let latency = if is_done {
            elapsed
        } else {
            elapsed.max(TIMEOUT)
        };
        steps.latencies.push(micros(latency));
        steps.failed += usize::from(!is_done);
    }
    steps
}

fn publisher(link: &Path) -> Publisher {
    Publisher::new(Settings::new(link, "bench"))
}
