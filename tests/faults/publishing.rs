//! Control of a publishing process (`publisher.rs`).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::record::{Event, Record};
use crate::support::within;

/// Running publishing process; killed on drop.
pub(crate) struct Publishing {
    name: String,
    threads: u64,
    child: Child,
    record: Record,
    counts: Arc<Mutex<Counts>>,
    reader: Option<JoinHandle<()>>,
}

/// Counts from the output of the process.
#[derive(Default)]
struct Counts {
    calls: u64,
    declined: u64,
    receipts: u64,
    done: u64,
    status: Option<Value>,
}

impl Publishing {
    /// Starts a process as `publisher.rs` describes. Adds its name and the link to the plan.
    pub(crate) fn start(
        mut command: Command,
        name: &str,
        link: &Path,
        record: &Record,
        mut plan: Value,
    ) -> Self {
        plan["name"] = json!(name);
        plan["link"] = json!(link);
        let mut child = command
            .arg(plan.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let counts = Arc::new(Mutex::new(Counts::default()));
        let output = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn({
            let (counts, record) = (Arc::clone(&counts), record.clone());
            move || {
                for line in output.lines() {
                    note(&line.unwrap(), &record, &mut counts.lock().unwrap());
                }
            }
        });
        Self {
            name: name.into(),
            threads: plan["threads"].as_u64().unwrap_or(1),
            child,
            record: record.clone(),
            counts,
            reader: Some(reader),
        }
    }

    /// Number of calls of `publish` so far.
    pub(crate) fn calls(&self) -> u64 {
        self.counts.lock().unwrap().calls
    }

    /// Number of calls for which `publish` returned false.
    pub(crate) fn declined(&self) -> u64 {
        self.counts.lock().unwrap().declined
    }

    /// Number of calls without a receipt, for a process that asks for receipts.
    pub(crate) fn unanswered(&self) -> u64 {
        let counts = self.counts.lock().unwrap();
        counts.calls - counts.declined - counts.receipts
    }

    /// Waits until each thread has made all the calls of its plan.
    pub(crate) fn await_done(&self) {
        within(&format!("{} makes all its calls", self.name), || {
            (self.counts.lock().unwrap().done == self.threads).then_some(())
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Stops publishing. Returns the counts of the process after its final flush.
    pub(crate) fn stop(mut self) -> Value {
        let mut orders = self.child.stdin.take().unwrap();
        orders.write_all(b"stop\n").unwrap();
        self.ended();
        let status = self.counts.lock().unwrap().status.take();
        let status = status.expect("the process prints its counts");
        assert_eq!(status["flushed"], true, "{}: {status}", self.name);
        status
    }

    /// Kills the process (SIGKILL).
    pub(crate) fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.ended(), Some(9));
        for thread in 0..self.threads {
            self.record.push(Event::Gone {
                publisher: format!("{}.{thread}", self.name),
            });
        }
    }

    /// Waits for the end of the process and of its output. Returns the signal that ended it.
    fn ended(&mut self) -> Option<i32> {
        let status = within(&format!("{} ends", self.name), || {
            self.child.try_wait().unwrap()
        });
        self.reader.take().unwrap().join().unwrap();
        status.signal()
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

/// Reads one line of output. Ignores a line cut short by a kill.
fn note(line: &str, record: &Record, counts: &mut Counts) {
    let Ok(value) = serde_json::from_str::<Value>(line) else {
        return;
    };
    match value["event"].as_str() {
        Some("sent") => counts.calls += 1,
        Some("declined") => counts.declined += 1,
        Some("receipt") => counts.receipts += 1,
        Some(_) => {}
        None if value.get("done").is_some() => counts.done += 1,
        None => counts.status = Some(value.clone()),
    }
    if value.get("event").is_some() {
        record.push(serde_json::from_value(value).expect(line));
    }
}
