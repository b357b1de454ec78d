//! Ingress: one task per publisher around its [`Session`], which splits and validates frames and proposes them to the
//! [`Broker`].
//!
//! A link is not read while a shard is behind, or while its publisher does not read answers. Its frames then wait in the
//! publisher's own spool, and other links are not affected. The publisher is told no newer position meanwhile, and it does
//! not delay a stop.
//!
//! A [`Session`] does no IO. The tasks here own the sockets and the clock; a simulation uses bytes and times of its own
//! (docs/decisions/0016-link-without-io.md):
//!
//! ```text
//! let broker = Broker::new(hub, inboxes, encode);          // each inbox: Inbox::new(waker), emptied by inbox.take(max)
//! let mut session = Session::new(number, keys, now.ms);    // numbers grow in the order in which links are accepted
//! loop {
//!     session.received().extend_from_slice(bytes);         // bytes that the link received
//!     if broker.has_room() {                               // do not read the link otherwise
//!         session.process(&broker, now)?;                  // an error ends the link, after the frames before it
//!     }
//!     session.replaces();                                  // number of the session to close with End::replaced()
//!     session.unsent(); session.sent(count);               // acks and other answers
//!     session.tick(&broker, now.ms)?;                      // at session.due_ms(), and when a position was announced
//! }
//! session.close(&broker, end, now.ms);                     // then send what is unsent: the reason
//! ```

mod end;
mod session;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{Notify, Semaphore, watch};

use super::{EXCHANGE_MS_MAX, app, settle, tail};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::keyring::Keyring;
use crate::route_keys::RouteKeys;
pub use end::End;
pub use session::Session;

/// Size of one read, in bytes: the default kernel buffer of a publisher holds 212,992.
const READ_BYTES: usize = 256 * 1024;

/// Size of the frames of one link between two yields to the other tasks, in bytes.
const YIELD_BYTES: usize = 16 * 1024;

/// Tasks that serve links.
#[derive(Debug)]
pub(crate) struct Ingress {
    broker: Arc<Broker>,
    keys: Arc<Keyring>,
    turbo_keys: Arc<RouteKeys>,
    clock: Clock,
    stop: watch::Sender<bool>,
    /// Stop of the app links.
    stop_apps: watch::Sender<bool>,
    /// Has a receiver for each link that may still change the journal.
    served: watch::Sender<()>,
    links: Mutex<HashMap<u64, Arc<Notify>>>,
    /// Places for requests to settle.
    settles: Semaphore,
    next_link: AtomicU64,
}

impl Ingress {
    pub(crate) fn new(
        broker: Arc<Broker>,
        keys: Arc<Keyring>,
        turbo_keys: Arc<RouteKeys>,
        clock: Clock,
    ) -> Self {
        Self {
            broker,
            keys,
            turbo_keys,
            clock,
            stop: watch::Sender::new(false),
            stop_apps: watch::Sender::new(false),
            served: watch::Sender::new(()),
            links: Mutex::default(),
            settles: Semaphore::new(settle::SETTLES_MAX),
            next_link: AtomicU64::new(1),
        }
    }

    /// Number of the next link. Call it in the order in which links are accepted: the highest number is a publisher's
    /// newest link.
    pub(crate) fn number_link(&self) -> u64 {
        self.next_link.fetch_add(1, Ordering::Relaxed)
    }

    /// Serves one link until it ends.
    pub(crate) async fn serve(&self, number: u64, stream: UnixStream) {
        let replaced = Arc::new(Notify::new());
        self.links().insert(number, Arc::clone(&replaced));
        let keys = Arc::clone(&self.keys);
        let mut session = Session::new(number, keys, self.clock.now_ms());
        let is_served = self.served.subscribe();
        let mut stop = self.stop.subscribe();
        let end = tokio::select! {
            end = self.run(&mut session, &stream) => end,
            () = replaced.notified() => End::replaced(),
        };
        self.links().remove(&number);
        session.close(&self.broker, end, self.clock.now_ms());
        drop(is_served);
        tokio::select! {
            // The reason comes first: at a stop too, it is sent to a publisher whose kernel buffer has room.
            biased;
            () = send_reason(&mut session, &stream) => {}
            () = stopped(&mut stop) => {}
        }
    }

    /// Serves a link of `lineside tail` until it ends.
    pub(crate) async fn serve_tail(&self, mut stream: UnixStream) {
        let stop = self.stop.subscribe();
        tail::serve(&mut stream, &self.broker, self.clock, stop).await;
    }

    /// Serves a link on which a process of the app receives publications, until it ends.
    pub(crate) async fn serve_app(&self, stream: UnixStream) {
        let stop = self.stop_apps.subscribe();
        app::serve(stream, &self.broker, &self.turbo_keys, self.clock, stop).await;
    }

    /// Answers a link of a system test that waits for all pages.
    pub(crate) async fn serve_settle(&self, stream: UnixStream) {
        let stop = self.stop.subscribe();
        settle::serve(stream, &self.broker, self.clock, &self.settles, stop).await;
    }

    /// Ends every link, except app links, after the frames that were read from it.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Ends every app link after the commands that wait for its process. Call it after the shards have closed their connections,
    /// which adds the last of these commands.
    pub(crate) fn stop_apps(&self) {
        self.stop_apps.send_replace(true);
    }

    /// Waits until no link changes the journal any more. After a [stop](Self::stop) this waits for no publisher.
    pub(crate) async fn ended(&self) {
        self.served.closed().await;
    }

    async fn run(&self, session: &mut Session, stream: &UnixStream) -> End {
        let mut newest = self.broker.announcements();
        let mut stop = self.stop.subscribe();
        let mut unyielded_bytes = 0;
        loop {
            unyielded_bytes += session.received().len();
            let processed = session.process(&self.broker, self.clock.now());
            if let Some(older) = session.replaces() {
                self.replace(older);
            }
            if let Err(end) = processed.and_then(|()| Ok(send(session, stream)?)) {
                return end;
            }
            // Without this a publisher that never pauses would delay other links, browsers and signals. A yield costs a system
            // call.
            if unyielded_bytes >= YIELD_BYTES {
                unyielded_bytes = 0;
                tokio::task::yield_now().await;
            }
            let due_ms = session.due_ms();
            let is_sent = session.unsent().is_empty();
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return End::drain(),
                () = self.until(due_ms) => {}
                _ = stream.writable(), if !is_sent => {}
                read = read(session, stream), if is_sent => match read {
                    Ok(()) if session.is_open() => tokio::select! {
                        () = self.broker.room() => {}
                        () = stopped(&mut stop) => {}
                    },
                    Ok(()) => {}
                    Err(error) => return error.into(),
                },
                Ok(()) = newest.changed(), if due_ms.is_none() && is_sent => {}
            }
            if let Err(end) = session.tick(&self.broker, self.clock.now_ms()) {
                return end;
            }
        }
    }

    /// Ends a link that a newer one replaces.
    fn replace(&self, older: u64) {
        if let Some(older) = self.links().remove(&older) {
            older.notify_one();
        }
    }

    /// Waits until a time, or for ever without one.
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

async fn read(session: &mut Session, stream: &UnixStream) -> io::Result<()> {
    let received = session.received();
    received.reserve(READ_BYTES);
    loop {
        stream.readable().await?;
        match stream.try_read_buf(received) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends answers until none is left or the kernel buffer is full. Never waits for the publisher.
fn send(session: &mut Session, stream: &UnixStream) -> io::Result<()> {
    while !session.unsent().is_empty() {
        match stream.try_write(session.unsent()) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => session.sent(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends the reason for the end of a link. A publisher that does not read within the limit gets none.
async fn send_reason(session: &mut Session, stream: &UnixStream) {
    let sent = async {
        while send(session, stream).is_ok() && !session.unsent().is_empty() {
            stream.writable().await?;
        }
        io::Result::Ok(())
    };
    let _sent = tokio::time::timeout(Duration::from_millis(EXCHANGE_MS_MAX), sent).await;
}

/// Waits until the links must end.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender, and so the sidecar, is gone.
    let _ended = stop.wait_for(|stop| *stop).await.map(drop);
}

#[cfg(test)]
mod tests;
