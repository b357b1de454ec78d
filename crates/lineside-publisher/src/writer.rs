//! The thread that brings the spool to the sidecar, and the sidecar's answers back.

use std::any::Any;
use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use lineside_protocol::frame::{Hello, PROTOCOL_VERSION, ToPublisher, ToSidecar, Welcome};
use lineside_protocol::{Epoch, POSITION_MAX, Position};
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::backoff::Backoff;
use crate::bell::Bell;
use crate::link::{Ended, Link, quoted};
use crate::settings::{AGE_STEP, HANDSHAKE_MS_MAX, NAME_BYTES_MAX};
use crate::socket::{self, until};
use crate::spool::Backlog;
use crate::state::{Shared, Thread};
use crate::wait::Outcome;

/// Ample for what the thread does: its largest frame is the 16 KiB that it reads at once.
const STACK_BYTES: usize = 256 * 1024;

/// The pause after the sidecar said that another process uses this publisher's identity.
const REPLACED_PAUSE: Duration = Duration::from_secs(60);

/// Starts the thread, with every signal blocked: signals are for the program's own threads.
pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    shared.hang_bell()?;
    let mut identity = [0; 16];
    getrandom::fill(&mut identity).map_err(io::Error::other)?;
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let thread = Arc::clone(shared);
    let started = Builder::new()
        .name("lineside-link".into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            contain(&thread, || Writer::new(&thread, identity).run());
        });
    before.thread_set_mask()?;
    started.map(drop)
}

/// Runs the thread's work, and says how it ended: a fault of ours must not end the host's process.
fn contain(shared: &Shared, work: impl FnOnce()) {
    let thread = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(()) => Thread::Stopped,
        Err(panic) => Thread::Failed(format!(
            "a fault of Lineside itself: {}",
            panic_message(&*panic)
        )),
    };
    shared.thread_ended(thread);
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

struct Writer<'a> {
    shared: &'a Shared,
    identity: [u8; 16],
    backlog: Backlog,
    backoff: Backoff,
    /// Of the last link.
    epoch: Option<Epoch>,
}

impl<'a> Writer<'a> {
    fn new(shared: &'a Shared, identity: [u8; 16]) -> Self {
        Self {
            shared,
            identity,
            backlog: Backlog::new(),
            backoff: Backoff::new(identity),
            epoch: None,
        }
    }

    /// Links again and again, until it is told to stop.
    fn run(&mut self) {
        let Some(bell) = self.shared.bell.get() else {
            return;
        };
        while !self.shared.state().stopping {
            let Err(ended) = self.hold_link(bell);
            self.backlog.unlink();
            let pause = if ended.is_replaced() {
                REPLACED_PAUSE
            } else {
                self.backoff.next()
            };
            let mut state = self.shared.state();
            state.backlog_bytes = self.backlog.bytes();
            state.status.linked = false;
            if !state.stopping {
                state.status.last_error = Some(ended.to_string());
            }
            drop(state);
            self.pause(bell, Instant::now() + pause);
        }
    }

    /// Waits without a link. Producers need not wake it: it looks after their publications' age by itself.
    fn pause(&mut self, bell: &Bell, end: Instant) {
        while let Some(left) = until(end)
            && !self.shared.state().stopping
        {
            self.take_due(false);
            self.drop_aged();
            let mut descriptors = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
            if socket::wait(&mut descriptors, Some(left.min(AGE_STEP))).is_err() {
                return;
            }
            bell.hush();
        }
    }

    /// One link, from its first byte to its end.
    fn hold_link(&mut self, bell: &Bell) -> Result<Infallible, Ended> {
        let shared = self.shared;
        let mut link = Link::open(&shared.settings.link, &shared.descriptors[0])?;
        link.greet(&self.hello())?;
        let welcome = self.expect_welcome(&mut link, bell)?;
        self.welcome(welcome)?;
        loop {
            self.apply_all(&mut link)?;
            self.take_due(true);
            self.drop_aged();
            if let Err(ended) = self.send(&link) {
                // What the sidecar said before it went still counts, above all why.
                while link.fill().is_ok() && self.apply_all(&mut link)? {}
                return Err(ended);
            }
            let is_readable = link.wait(bell, self.backlog.unsent().is_some(), self.may_sleep())?;
            if shared.state().stopping {
                return Err(Ended::Stopped);
            }
            if is_readable {
                link.fill()?;
            }
        }
    }

    fn hello(&self) -> ToSidecar {
        let settings = &self.shared.settings;
        let name = settings
            .name
            .char_indices()
            .take_while(|(at, sign)| at + sign.len_utf8() <= NAME_BYTES_MAX);
        ToSidecar::Hello(Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            publisher: self.identity,
            done: self.backlog.done(),
            fingerprint: settings.fingerprint,
            name: name.map(|(_, sign)| sign).collect(),
        })
    }

    fn expect_welcome(&mut self, link: &mut Link<'_>, bell: &Bell) -> Result<Welcome, Ended> {
        let deadline = Instant::now() + Duration::from_millis(HANDSHAKE_MS_MAX);
        loop {
            match link.next_frame()? {
                Some(ToPublisher::Welcome(welcome)) => return Ok(welcome),
                Some(ToPublisher::Fault(fault)) => {
                    return Err(Ended::fault(fault.code, &fault.message));
                }
                Some(_) => return Err(Ended::Protocol("it did not welcome first".into())),
                None => {}
            }
            self.take_due(false);
            self.drop_aged();
            let left = until(deadline).ok_or(Ended::Silent)?;
            let is_readable = link.wait(bell, false, Some(left.min(AGE_STEP)))?;
            if self.shared.state().stopping {
                return Err(Ended::Stopped);
            }
            if is_readable {
                link.fill()?;
            }
        }
    }

    /// Goes on where the sidecar says that it stands.
    fn welcome(&mut self, welcome: Welcome) -> Result<(), Ended> {
        if welcome.version != PROTOCOL_VERSION {
            return Err(Ended::Version(welcome.version));
        }
        self.check(welcome.last, welcome.position)?;
        let is_new_epoch = self
            .epoch
            .as_ref()
            .is_some_and(|epoch| *epoch != welcome.epoch);
        let is_first = self.epoch.is_none();
        let awaited = self.shared.state().awaited();
        let resumed = self.backlog.resume(welcome.last, &awaited, is_new_epoch);
        let ours = self.shared.settings.fingerprint;

        let mut state = self.shared.state();
        state.backlog_bytes = self.backlog.bytes();
        if state
            .cursor
            .as_ref()
            .is_none_or(|cursor| cursor.epoch != welcome.epoch)
        {
            state.cursor = Some(welcome.epoch.at(welcome.position));
        }
        state.moved(welcome.position);
        let status = &mut state.status;
        status.mismatch =
            ours != [0; 8] && welcome.fingerprint != [0; 8] && ours != welcome.fingerprint;
        status.last_error = status.mismatch.then(|| {
            "this process and the sidecar sign with different keys, so tokens of this app will be refused: give both the \
             same LINESIDE_SECRET, or start the sidecar with `bundle exec lineside`"
                .to_owned()
        });
        status.linked = true;
        status.reconnects += u64::from(!is_first);
        status.resent += resumed.resent;
        drop(state);
        self.epoch = Some(welcome.epoch);
        self.settle(welcome.last, resumed.skipped);
        Ok(())
    }

    /// Takes what producers appended: at once when everything before it is sent, otherwise when its age must be watched.
    fn take_due(&mut self, is_linked: bool) {
        let mut state = self.shared.state();
        state.asleep = false;
        let Some(oldest) = state.tail.oldest() else {
            return;
        };
        if is_linked && self.backlog.unsent().is_none() || oldest.elapsed() >= AGE_STEP {
            self.backlog.take(&mut state.tail);
            state.backlog_bytes = self.backlog.bytes();
            drop(state);
            self.backlog.keep_spare();
        }
    }

    fn drop_aged(&mut self) {
        let age = Duration::from_secs(self.shared.settings.spool_seconds_max.max(1));
        let Some(before) = Instant::now().checked_sub(age) else {
            return;
        };
        let held = self.backlog.bytes();
        let expired = self.backlog.expire(before);
        if self.backlog.bytes() < held {
            let mut state = self.shared.state();
            state.backlog_bytes = self.backlog.bytes();
            state.status.dropped_aged += expired.frames;
            expired
                .unsent
                .into_iter()
                .for_each(|sequences| state.dropped(sequences));
        }
    }

    /// Sends until everything is sent, or the kernel takes no more.
    fn send(&mut self, link: &Link<'_>) -> Result<(), Ended> {
        while let Some(bytes) = self.backlog.unsent() {
            let count = link.send(bytes)?;
            if count == 0 {
                break;
            }
            self.backlog.sent(count);
        }
        Ok(())
    }

    /// How long to wait for the link: until it is ready, when there is nothing to send and producers will ring; a step of
    /// the age, when it takes no more; not at all, when more was appended meanwhile.
    fn may_sleep(&self) -> Option<Duration> {
        if self.backlog.unsent().is_some() {
            return Some(AGE_STEP);
        }
        let mut state = self.shared.state();
        state.asleep = state.tail.oldest().is_none();
        if state.asleep {
            None
        } else {
            Some(Duration::ZERO)
        }
    }

    /// Acts on every frame that has come whole; says whether there was one.
    fn apply_all(&mut self, link: &mut Link<'_>) -> Result<bool, Ended> {
        let mut any = false;
        while let Some(frame) = link.next_frame()? {
            self.apply(frame)?;
            any = true;
        }
        Ok(any)
    }

    fn apply(&mut self, frame: ToPublisher) -> Result<(), Ended> {
        match frame {
            ToPublisher::Ack(ack) => {
                self.check(ack.sequence, ack.position)?;
                let skipped = self.backlog.ack(ack.sequence);
                self.shared.state().moved(ack.position);
                self.settle(ack.sequence, skipped);
            }
            ToPublisher::Receipt(receipt) => {
                self.check(receipt.sequence, receipt.position)?;
                let epoch = self
                    .epoch
                    .as_ref()
                    .ok_or_else(|| Ended::Protocol("a receipt without an epoch".into()))?;
                let cursor = epoch.at(receipt.position);
                let mut state = self.shared.state();
                state.moved(receipt.position);
                state.answer(
                    receipt.sequence,
                    Outcome::Receipt {
                        cursor,
                        duplicate: receipt.duplicate,
                    },
                );
            }
            ToPublisher::Refusal(refusal) => {
                self.check(refusal.sequence, Position(0))?;
                let message = quoted(&refusal.message);
                let mut state = self.shared.state();
                state.status.refused += 1;
                state.status.last_refusal = Some(message.clone());
                state.answer(
                    refusal.sequence,
                    Outcome::Refused {
                        code: refusal.code,
                        message,
                    },
                );
            }
            ToPublisher::Moved(moved) => {
                self.check(0, moved.position)?;
                self.shared.state().moved(moved.position);
            }
            ToPublisher::Fault(fault) => return Err(Ended::fault(fault.code, &fault.message)),
            ToPublisher::Welcome(_) => return Err(Ended::Protocol("a second welcome".into())),
        }
        Ok(())
    }

    /// Everything up to `sequence` is dealt with.
    fn settle(&mut self, sequence: u64, skipped: u64) {
        let mut state = self.shared.state();
        if sequence > state.settled() {
            self.backoff.reset();
        }
        state.backlog_bytes = self.backlog.bytes();
        state.settle(sequence, skipped);
        if state.stop_waits {
            self.shared.changed.notify_all();
        }
    }

    /// A sequence that was never sent, or a position that cannot be, would corrupt what is kept here.
    fn check(&self, sequence: u64, position: Position) -> Result<(), Ended> {
        if sequence > self.backlog.reached() {
            let reached = self.backlog.reached();
            return Err(Ended::Protocol(format!(
                "it answers frame {sequence}, and only {reached} were sent"
            )));
        }
        if position.0 > POSITION_MAX {
            return Err(Ended::Protocol(format!("{position} is not a position")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
