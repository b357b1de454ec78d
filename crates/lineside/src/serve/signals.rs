//! Reasons to stop: signals, and the end of the parent process.

use std::io;
use std::os::unix::process::parent_id;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Interval of checking the parent process, in milliseconds.
const PARENT_MS: u64 = 500;

/// Signals that stop the sidecar.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// A closing terminal sends SIGHUP to stop its processes. Elsewhere SIGHUP reloads the secret.
    in_terminal: bool,
    /// Id of the required parent process.
    parent: Option<u32>,
}

impl StopSignals {
    pub(super) fn new(in_terminal: bool, parent: Option<u32>) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            in_terminal,
            parent,
        })
    }

    /// Waits for a reason to stop.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "TERM",
            _ = self.interrupt.recv() => "INT",
            _ = self.hangup.recv(), if self.in_terminal => "HUP",
            () = parent_ended(&mut self.parent) => "parent ended",
        }
    }
}

/// Waits for the end of the parent process, which counts once.
async fn parent_ended(parent: &mut Option<u32>) {
    let Some(id) = *parent else {
        return std::future::pending().await;
    };
    while parent_id() == id {
        tokio::time::sleep(Duration::from_millis(PARENT_MS)).await;
    }
    *parent = None;
}
