//! A publishing process (`publisher.rs`) from the outside.

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

/// One process under load; killed when it is dropped.
pub(crate) struct Publishing {
    name: String,
    threads: u64,
    child: Child,
    record: Record,
    told: Arc<Mutex<Told>>,
    reader: Option<JoinHandle<()>>,
}

/// What it has said beside the lines of the log.
#[derive(Default)]
struct Told {
    calls: u64,
    declined: u64,
    receipts: u64,
    done: u64,
    status: Option<Value>,
}

impl Publishing {
    /// Starts a process that does what `publisher.rs` describes, with this plan beside its name and the link.
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
        let told = Arc::new(Mutex::new(Told::default()));
        let output = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn({
            let (told, record) = (Arc::clone(&told), record.clone());
            move || {
                for line in output.lines() {
                    note(&line.unwrap(), &record, &mut told.lock().unwrap());
                }
            }
        });
        Self {
            name: name.into(),
            threads: plan["threads"].as_u64().unwrap_or(1),
            child,
            record: record.clone(),
            told,
            reader: Some(reader),
        }
    }

    /// Calls of `publish` so far.
    pub(crate) fn calls(&self) -> u64 {
        self.told.lock().unwrap().calls
    }

    /// Calls that were answered with false.
    pub(crate) fn declined(&self) -> u64 {
        self.told.lock().unwrap().declined
    }

    /// Calls whose receipt is still to come, of a process that asks for them.
    pub(crate) fn unanswered(&self) -> u64 {
        let told = self.told.lock().unwrap();
        told.calls - told.declined - told.receipts
    }

    /// Waits until each thread has made all the calls of its plan.
    pub(crate) fn done(&self) {
        within(&format!("{} makes all its calls", self.name), || {
            (self.told.lock().unwrap().done == self.threads).then_some(())
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Publishes no more. Gives its counts when all that it has published was dealt with.
    pub(crate) fn stop(mut self) -> Value {
        let mut orders = self.child.stdin.take().unwrap();
        orders.write_all(b"stop\n").unwrap();
        self.ended();
        let status = self.told.lock().unwrap().status.take();
        let status = status.expect("it tells how it ended");
        assert_eq!(status["flushed"], true, "{}: {status}", self.name);
        status
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.ended(), Some(9));
        for thread in 0..self.threads {
            self.record.push(Event::Gone {
                publisher: format!("{}.{thread}", self.name),
            });
        }
    }

    /// Waits for its end and for the last line that it wrote; gives the signal that ended it.
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

/// Takes in one line of its output. One that a kill cut short is nothing.
fn note(line: &str, record: &Record, told: &mut Told) {
    let Ok(value) = serde_json::from_str::<Value>(line) else {
        return;
    };
    match value["event"].as_str() {
        Some("sent") => told.calls += 1,
        Some("declined") => told.declined += 1,
        Some("receipt") => told.receipts += 1,
        Some(_) => {}
        None if value.get("done").is_some() => told.done += 1,
        None => told.status = Some(value.clone()),
    }
    if value.get("event").is_some() {
        record.push(serde_json::from_value(value).expect(line));
    }
}
