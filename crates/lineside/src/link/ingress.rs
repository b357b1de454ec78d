//! From the link into the journal: one task a publisher around its [`Session`], and what all of them share.
//!
//! Everything that one read brought is inspected outside the hub's lock, taken into the journal under it, put into every
//! shard's inbox under it too, and acked at once. A publisher whose link we cannot read (a shard is behind) or write (it
//! reads no acks) waits in its own spool, and nobody else does.
//!
//! [`Session`] and [`Intake`] decide everything and do no IO. The tasks here own the sockets and the clock; a simulation does
//! the same with bytes and times of its own (docs/decisions/0016-link-without-io.md):
//!
//! ```text
//! let intake = Intake::new(hub, inboxes, keys);            // each inbox: Inbox::new(waker), emptied by inbox.take(most)
//! let mut session = Session::new(number, now.ms);          // numbers grow in the order in which links are accepted
//! loop {
//!     session.received().extend_from_slice(bytes);         // whatever the link brought
//!     if intake.has_room() {                               // otherwise later: nothing is read from the link meanwhile
//!         session.take(&intake, now)?;                     // an error is the end, after what came before it was dealt with
//!     }
//!     session.replaces();                                  // the number of a session that is to end with End::replaced()
//!     session.unsent(); session.sent(count);               // acks and other answers
//!     session.tick(&intake, now.ms)?;                      // at session.due_ms(), and when the journal has moved
//! }
//! session.close(&intake, end, now.ms);                     // what is unsent then says why, if the link still takes it
//! ```

mod end;
mod intake;
mod session;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use interprocess::local_socket::tokio::Stream;
use lineside_hub::Hub;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::keyring::Keyring;
use crate::shard::inbox::Inbox;
pub use end::End;
pub use intake::Intake;
pub use session::Session;

/// What one read takes from a link, in bytes: what a publisher's kernel buffer holds by default (212,992).
const READ_BYTES: usize = 256 * 1024;

/// How long the last words to a publisher may take, in milliseconds. One that does not read gets none.
const LAST_WORDS_MS_MAX: u64 = 1000;

/// The tasks that serve links.
#[derive(Debug)]
pub(crate) struct Ingress {
    intake: Intake,
    clock: Clock,
    stop: watch::Sender<bool>,
    links: Mutex<HashMap<u64, Arc<Notify>>>,
    next_link: AtomicU64,
}

impl Ingress {
    pub(crate) fn new(
        hub: Arc<Mutex<Hub>>,
        shards: Vec<Arc<Inbox>>,
        keys: Arc<Keyring>,
        clock: Clock,
    ) -> Self {
        Self {
            intake: Intake::new(hub, shards, keys),
            clock,
            stop: watch::Sender::new(false),
            links: Mutex::default(),
            next_link: AtomicU64::new(1),
        }
    }

    /// The next link's number. A publisher's newest link is the one with the highest, so they are given in the order in
    /// which links are accepted.
    pub(crate) fn number_link(&self) -> u64 {
        self.next_link.fetch_add(1, Ordering::Relaxed)
    }

    /// Serves one link until it ends.
    pub(crate) async fn serve(&self, number: u64, stream: Stream) {
        let replaced = Arc::new(Notify::new());
        self.links().insert(number, Arc::clone(&replaced));
        let mut session = Session::new(number, self.clock.now_ms());
        let end = tokio::select! {
            end = self.run(&mut session, &stream) => end,
            () = replaced.notified() => End::replaced(),
        };
        self.links().remove(&number);
        session.close(&self.intake, end, self.clock.now_ms());
        let last_words = flush(&mut session, &stream);
        let _told =
            tokio::time::timeout(Duration::from_millis(LAST_WORDS_MS_MAX), last_words).await;
    }

    /// Serves the link of an operator who watches.
    pub(crate) async fn show(&self, stream: Stream) {
        let Intake { hub, watches, .. } = &self.intake;
        let stop = self.stop.subscribe();
        watches.serve(&stream, hub, self.clock, stop).await;
    }

    /// Ends every link after what was read from it, and takes no more.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Forgets what is too old, and reports what was never received; to be called now and then.
    pub(crate) fn look_after(&self) {
        self.intake.look_after(self.clock.now());
    }

    async fn run(&self, session: &mut Session, stream: &Stream) -> End {
        let mut newest = self.intake.subscribe();
        let mut stop = self.stop.subscribe();
        loop {
            let taken = session.take(&self.intake, self.clock.now());
            if let Some(older) = session.replaces() {
                self.replace(older);
            }
            if let Err(error) = flush(session, stream).await {
                return error.into();
            }
            if let Err(end) = taken {
                return end;
            }
            // A publisher that never pauses must not keep the others, the browsers and the signals waiting.
            tokio::task::yield_now().await;
            let due_ms = session.due_ms();
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return End::drain(),
                () = self.until(due_ms) => {}
                read = read(session, stream) => match read {
                    Ok(()) if session.is_open() => self.intake.room().await,
                    Ok(()) => {}
                    Err(error) => return error.into(),
                },
                Ok(()) = newest.changed(), if due_ms.is_none() => {}
            }
            if let Err(end) = session.tick(&self.intake, self.clock.now_ms()) {
                return end;
            }
        }
    }

    /// Ends the link that another one takes the place of.
    fn replace(&self, older: u64) {
        if let Some(older) = self.links().remove(&older) {
            older.notify_one();
        }
    }

    /// Returns at that time, if there is one.
    async fn until(&self, due_ms: Option<u64>) {
        match due_ms {
            Some(due_ms) => {
                let left_ms = due_ms.saturating_sub(self.clock.now_ms());
                tokio::time::sleep(Duration::from_millis(left_ms)).await;
            }
            None => std::future::pending().await,
        }
    }

    fn links(&self) -> MutexGuard<'_, HashMap<u64, Arc<Notify>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(session: &mut Session, mut stream: &Stream) -> io::Result<()> {
    let received = session.received();
    received.reserve(READ_BYTES);
    match stream.read_buf(received).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn flush(session: &mut Session, mut stream: &Stream) -> io::Result<()> {
    while !session.unsent().is_empty() {
        let count = stream.write(session.unsent()).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        session.sent(count);
    }
    Ok(())
}

/// Returns when the links are to end.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Without a sender the whole sidecar has ended.
    let _ended = stop.wait_for(|stop| *stop).await.map(drop);
}

#[cfg(test)]
mod tests;
