//! Reasons to stop: signals, and the end of the parent process. Signals that are for other processes are ignored.

use std::io;
use std::os::unix::process::parent_id;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::log::{Level, event};

/// Interval of checking the parent process, in milliseconds.
const PARENT_MS: u64 = 500;

/// Signals that stop the sidecar.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
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
            quit: signal(SignalKind::quit())?,
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
            _ = self.quit.recv() => "QUIT",
            _ = self.hangup.recv(), if self.in_terminal => "HUP",
            () = parent_ended(&mut self.parent) => "parent ended",
        }
    }
}

/// Signals that do nothing. Process managers send them to all their children, some of which reopen logs or restart then.
pub(super) struct IgnoredSignals {
    first: Signal,
    second: Signal,
}

impl IgnoredSignals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            first: signal(SignalKind::user_defined1())?,
            second: signal(SignalKind::user_defined2())?,
        })
    }

    /// Logs each signal, until the sidecar has stopped.
    pub(super) async fn log(mut self) {
        loop {
            let (received, signal) = tokio::select! {
                received = self.first.recv() => (received, "USR1"),
                received = self.second.recv() => (received, "USR2"),
            };
            if received.is_none() {
                return;
            }
            let message = "this signal does nothing; send TERM to stop, or HUP to read the secret's file again";
            event!(Level::Info, "signal_ignored", signal, message);
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
