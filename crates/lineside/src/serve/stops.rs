//! What asks the sidecar to end: signals, and the loss of the process that it belongs to.

use std::io;
use std::os::unix::process::parent_id;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the parent is looked for, in milliseconds.
const PARENT_MS: u64 = 500;

pub(crate) struct Stops {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// A terminal that closes sends a hangup to end what runs there; elsewhere it asks for a reload.
    in_terminal: bool,
    /// Whose child this process has to be, by its id.
    parent: Option<u32>,
}

impl Stops {
    pub(crate) fn new(in_terminal: bool, parent: Option<u32>) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            in_terminal,
            parent,
        })
    }

    /// Waits for a reason to end.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "TERM",
            _ = self.interrupt.recv() => "INT",
            _ = self.hangup.recv(), if self.in_terminal => "HUP",
            () = lost(&mut self.parent) => "parent ended",
        }
    }
}

/// Waits for the end of the parent, which is a reason once. An orphan belongs to another process from then on.
async fn lost(parent: &mut Option<u32>) {
    let Some(id) = *parent else {
        return std::future::pending().await;
    };
    while parent_id() == id {
        tokio::time::sleep(Duration::from_millis(PARENT_MS)).await;
    }
    *parent = None;
}
