//! Writer thread: drives [`LinkClient`] with a socket, a clock and a wake-up descriptor. Contains no decisions.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::thread::Builder;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::link::{Ended, LinkClient};
use crate::panic::panic_message;
use crate::socket::{self, Broken, NO_DESCRIPTOR, Socket};
use crate::spool::{NotAccepted, Spool};
use crate::wake_fd::{self, WakeFd};

/// Stack of the thread, in bytes. The largest stack frame is the read buffer of 16 KiB.
const STACK_BYTES: usize = 256 * 1024;

/// Size of one read, in bytes. A frame from the sidecar has about 25 bytes.
const READ_BYTES: usize = 16 * 1024;

/// State of the thread that is shared with the publisher's handle.
#[derive(Debug)]
pub(crate) struct Thread {
    started: AtomicBool,
    /// Wakes the thread. Set before the thread starts.
    wake_fd: OnceLock<Arc<WakeFd>>,
    /// Open descriptors: the link's socket, then those of the wake-up descriptor.
    descriptors: [AtomicI32; 1 + wake_fd::DESCRIPTORS],
}

impl Default for Thread {
    fn default() -> Self {
        Self {
            started: AtomicBool::new(false),
            wake_fd: OnceLock::new(),
            descriptors: [const { AtomicI32::new(NO_DESCRIPTOR) }; _],
        }
    }
}

impl Thread {
    /// Returns whether the thread was started. Set under the spool's lock.
    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// Wakes the thread, if it was started.
    pub(crate) fn notify(&self) {
        if let Some(wake_fd) = self.wake_fd.get() {
            wake_fd.notify();
        }
    }

    /// Closes a forked child's copies of the thread's descriptors, without a lock.
    pub(crate) fn close_copies(&self) {
        for number in &self.descriptors {
            let number = number.swap(NO_DESCRIPTOR, Ordering::AcqRel);
            if number != NO_DESCRIPTOR {
                // An error of close(2) cannot be reported here, and the descriptor is closed anyway.
                nix::unistd::close(number).unwrap_or_default();
            }
        }
    }

    /// Creates the wake-up descriptor on the first call, and records its numbers for a forked child.
    fn ensure_wake_fd(&self) -> io::Result<Arc<WakeFd>> {
        if let Some(wake_fd) = self.wake_fd.get() {
            return Ok(Arc::clone(wake_fd));
        }
        let wake_fd = Arc::new(WakeFd::new()?);
        let wake_fd = self.wake_fd.get_or_init(|| wake_fd);
        for (slot, number) in self.descriptors[1..].iter().zip(wake_fd.raw_fds()) {
            slot.store(number, Ordering::Release);
        }
        Ok(Arc::clone(wake_fd))
    }
}

/// Starts the thread with all signals blocked, so that the program's own threads handle them. The caller holds the spool's
/// lock.
pub(crate) fn start(spool: &Arc<Spool>, thread: &Arc<Thread>) -> io::Result<()> {
    let wake_fd = thread.ensure_wake_fd()?;
    let mut identity = [0; 16];
    getrandom::fill(&mut identity).map_err(io::Error::other)?;
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let (spool, shared) = (Arc::clone(spool), Arc::clone(thread));
    let started = Builder::new()
        .name("lineside-link".into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            run_caught(&spool, || {
                Writer::new(&spool, identity, &shared, wake_fd).run();
            });
        });
    before.thread_set_mask()?;
    started?;
    thread.started.store(true, Ordering::Release);
    Ok(())
}

/// Runs the thread's work, catches its panics so that they do not abort the host process, and ends the spool.
fn run_caught(spool: &Spool, work: impl FnOnce()) {
    spool.end(match catch_unwind(AssertUnwindSafe(work)) {
        Ok(()) => NotAccepted::Stopped,
        Err(panic) => NotAccepted::ThreadFailed(panic_message(&*panic)),
    });
}

struct Writer<'a> {
    spool: &'a Spool,
    link: LinkClient,
    socket: Option<Socket<'a>>,
    /// Descriptor of the open socket, for a forked child.
    number: &'a AtomicI32,
    wake_fd: Arc<WakeFd>,
    waker: Waker,
    started: Instant,
}

impl<'a> Writer<'a> {
    fn new(
        spool: &'a Arc<Spool>,
        identity: [u8; 16],
        thread: &'a Thread,
        wake_fd: Arc<WakeFd>,
    ) -> Self {
        Self {
            spool,
            link: LinkClient::new(Arc::clone(spool), identity),
            socket: None,
            number: &thread.descriptors[0],
            waker: Waker::from(Arc::clone(&wake_fd)),
            wake_fd,
            started: Instant::now(),
        }
    }

    /// Keeps the link open until the publisher stops.
    fn run(&mut self) {
        while !self.spool.state().stopping {
            if let Err(ended) = self.turn() {
                self.close(&ended);
            }
        }
        self.close(&Ended::Stopped);
    }

    fn close(&mut self, why: &Ended) {
        self.socket = None;
        self.link.closed(why, self.now_ms());
    }

    /// One iteration: connects if due, sends, waits once, and reads.
    fn turn(&mut self) -> Result<(), Ended> {
        if self.link.may_open(self.now_ms()) {
            let link = &self.spool.settings().link;
            self.socket = Some(Socket::open(link, self.number)?);
            self.link.opened(self.now_ms());
        }
        self.link.tick(self.now_ms())?;
        if let Err(errno) = self.send() {
            // Frames that the sidecar sent before it closed are still applied: one of them may be the fault.
            let mut buffer = [0; READ_BYTES];
            while let Ok(count @ 1..) = self.read(&mut buffer) {
                self.link.receive(&buffer[..count])?;
            }
            return Err(Broken::Failed(errno).into());
        }
        if self.wait()? {
            let mut buffer = [0; READ_BYTES];
            let count = self.read(&mut buffer)?;
            self.link.receive(&buffer[..count])?;
        }
        Ok(())
    }

    /// Sends until everything is sent or the kernel's buffer is full.
    fn send(&mut self) -> nix::Result<()> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        while let Some(bytes) = self.link.unsent() {
            let count = socket.send(bytes)?;
            if count == 0 {
                break;
            }
            self.link.sent(count);
        }
        Ok(())
    }

    /// Reads once. Returns 0 if there is nothing to read.
    fn read(&self, buffer: &mut [u8]) -> Result<usize, Broken> {
        let Some(socket) = &self.socket else {
            return Ok(0);
        };
        match socket.receive(buffer).map_err(Broken::Failed)? {
            Some(0) => Err(Broken::Closed),
            count => Ok(count.unwrap_or(0)),
        }
    }

    /// Waits for the socket, a wake-up or the link's next timer. Returns whether the socket is readable.
    fn wait(&mut self) -> Result<bool, Ended> {
        let time = self.link.wait_ms(&self.waker, self.now_ms());
        let interest = if self.link.unsent().is_some() {
            PollFlags::POLLIN | PollFlags::POLLOUT
        } else {
            PollFlags::POLLIN
        };
        let mut descriptors = [
            PollFd::new(self.wake_fd.as_fd(), PollFlags::POLLIN),
            PollFd::new(
                self.socket
                    .as_ref()
                    .map_or(self.wake_fd.as_fd(), Socket::as_fd),
                interest,
            ),
        ];
        let count = if self.socket.is_some() { 2 } else { 1 };
        socket::wait(&mut descriptors[..count], time.map(Duration::from_millis))
            .map_err(Broken::Failed)?;
        let seen = descriptors.map(|descriptor| descriptor.revents().unwrap_or(PollFlags::empty()));
        if !seen[0].is_empty() {
            self.wake_fd.clear();
        }
        Ok(!(seen[1] - PollFlags::POLLOUT).is_empty())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
