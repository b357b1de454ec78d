//! The thread that drives the link: it owns the socket, the clock and the bell, and decides nothing.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::thread::Builder;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::bell::Bell;
use crate::link::{Ended, Link};
use crate::socket::{self, Broken, NO_DESCRIPTOR, Socket};
use crate::spool::{NotAccepted, Spool};

/// Ample for what the thread does: its largest frame is the 16 KiB that it reads at once.
const STACK_BYTES: usize = 256 * 1024;

/// What is read at once, in bytes: the sidecar's frames are some twenty-five.
const READ_BYTES: usize = 16 * 1024;

/// The thread, as the publisher's handle knows it.
#[derive(Debug)]
pub(crate) struct Thread {
    started: AtomicBool,
    /// Wakes it; there once the thread is.
    bell: OnceLock<Arc<Bell>>,
    /// The numbers of the open descriptors: first the link, then the bell's.
    descriptors: [AtomicI32; 3],
}

impl Default for Thread {
    fn default() -> Self {
        Self {
            started: AtomicBool::new(false),
            bell: OnceLock::new(),
            descriptors: [const { AtomicI32::new(NO_DESCRIPTOR) }; 3],
        }
    }
}

impl Thread {
    /// Whether there is, or was, a thread. Becomes true under the spool's lock.
    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// Wakes it, if it is there.
    pub(crate) fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
    }

    /// In a forked child: closes its copies of the thread's descriptors, without a lock.
    pub(crate) fn close_copies(&self) {
        for number in &self.descriptors {
            let number = number.swap(NO_DESCRIPTOR, Ordering::AcqRel);
            if number != NO_DESCRIPTOR {
                // It is closed all the same where that reports an error, and there is nobody to tell.
                nix::unistd::close(number).unwrap_or_default();
            }
        }
    }

    /// Makes the bell, once, and notes its descriptors for a forked child.
    fn hang_bell(&self) -> io::Result<Arc<Bell>> {
        if let Some(bell) = self.bell.get() {
            return Ok(Arc::clone(bell));
        }
        let bell = Arc::new(Bell::new()?);
        let bell = self.bell.get_or_init(|| bell);
        for (place, number) in self.descriptors[1..].iter().zip(bell.numbers()) {
            place.store(number, Ordering::Release);
        }
        Ok(Arc::clone(bell))
    }
}

/// Starts the thread, with every signal blocked: signals are for the program's own threads. The caller holds the spool's
/// lock.
pub(crate) fn start(spool: &Arc<Spool>, thread: &Arc<Thread>) -> io::Result<()> {
    let bell = thread.hang_bell()?;
    let mut identity = [0; 16];
    getrandom::fill(&mut identity).map_err(io::Error::other)?;
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let (spool, shared) = (Arc::clone(spool), Arc::clone(thread));
    let started = Builder::new()
        .name("lineside-link".into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            contain(&spool, || {
                Writer::new(&spool, identity, &shared, bell).run();
            });
        });
    before.thread_set_mask()?;
    started?;
    thread.started.store(true, Ordering::Release);
    Ok(())
}

/// Runs the thread's work, and says how it ended: a fault of ours must not end the host's process.
fn contain(spool: &Spool, work: impl FnOnce()) {
    spool.over(match catch_unwind(AssertUnwindSafe(work)) {
        Ok(()) => NotAccepted::Stopped,
        Err(panic) => NotAccepted::ThreadFailed(format!(
            "a fault of Lineside itself: {}",
            panic_message(&*panic)
        )),
    });
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

struct Writer<'a> {
    spool: &'a Spool,
    link: Link,
    socket: Option<Socket<'a>>,
    /// Where the socket's number stands while it is open.
    number: &'a AtomicI32,
    bell: Arc<Bell>,
    waker: Waker,
    started: Instant,
}

impl<'a> Writer<'a> {
    fn new(spool: &'a Arc<Spool>, identity: [u8; 16], thread: &'a Thread, bell: Arc<Bell>) -> Self {
        Self {
            spool,
            link: Link::new(Arc::clone(spool), identity),
            socket: None,
            number: &thread.descriptors[0],
            waker: Waker::from(Arc::clone(&bell)),
            bell,
            started: Instant::now(),
        }
    }

    /// Links again and again, until it is told to stop.
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

    /// What is to be done now, and one wait.
    fn turn(&mut self) -> Result<(), Ended> {
        if self.link.may_open(self.now_ms()) {
            let link = &self.spool.settings().link;
            self.socket = Some(Socket::open(link, self.number)?);
            self.link.opened(self.now_ms());
        }
        self.link.tick(self.now_ms())?;
        if let Err(errno) = self.send() {
            // What the sidecar said before it went still counts, above all why.
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

    /// Sends until everything is sent, or the kernel takes no more.
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

    /// Reads once; 0 when there is nothing now.
    fn read(&self, buffer: &mut [u8]) -> Result<usize, Broken> {
        let Some(socket) = &self.socket else {
            return Ok(0);
        };
        match socket.receive(buffer).map_err(Broken::Failed)? {
            Some(0) => Err(Broken::Closed),
            count => Ok(count.unwrap_or(0)),
        }
    }

    /// Waits until the socket is ready, the bell rings or the link has something to do; says whether the socket can be read.
    fn wait(&mut self) -> Result<bool, Ended> {
        let time = self.link.wait_ms(&self.waker, self.now_ms());
        let interest = if self.link.unsent().is_some() {
            PollFlags::POLLIN | PollFlags::POLLOUT
        } else {
            PollFlags::POLLIN
        };
        let mut descriptors = [
            PollFd::new(self.bell.as_fd(), PollFlags::POLLIN),
            PollFd::new(
                self.socket
                    .as_ref()
                    .map_or(self.bell.as_fd(), Socket::as_fd),
                interest,
            ),
        ];
        let count = if self.socket.is_some() { 2 } else { 1 };
        socket::wait(&mut descriptors[..count], time.map(Duration::from_millis))
            .map_err(Broken::Failed)?;
        let seen = descriptors.map(|descriptor| descriptor.revents().unwrap_or(PollFlags::empty()));
        if !seen[0].is_empty() {
            self.bell.hush();
        }
        Ok(!(seen[1] - PollFlags::POLLOUT).is_empty())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
