//! Operators who watch what is published, by `lineside tail`.
//!
//! Each has a bounded queue, which is filled as publications land and emptied as fast as the operator reads. What finds it
//! full is counted and told, so that nobody ever waits for a watcher.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use interprocess::local_socket::tokio::Stream;
use lineside_hub::{Hub, Publication};
use lineside_protocol::codes::{self, LinkCode};
use lineside_protocol::envelope;
use lineside_protocol::frame::{Fault, Frame, Seen, ToWatcher, Watch};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::log::{Level, event};

/// Watchers at one time.
const WATCHES_MAX: usize = 16;

/// Publications that may wait for one of them.
const QUEUE_PUBLICATIONS_MAX: usize = 1024;

/// Bytes of publications that may wait for one of them. It keeps them alive, whatever the journal forgets.
const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest first frame, in bytes: a name of a cable stream, and the head.
const FRAME_BYTES_MAX: usize = 2048;

/// Time for the first frame, and for the last words, in milliseconds each.
const FRAME_MS_MAX: u64 = 1000;

/// All who watch. While nobody does, a publication costs a look at a number.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    count: AtomicUsize,
    queues: Mutex<Vec<Arc<Queue>>>,
}

/// What waits for one of them.
#[derive(Debug)]
struct Queue {
    wanted: Wanted,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    publications: VecDeque<Arc<Publication>>,
    bytes: usize,
    /// As many found it full since; they belong behind those that wait.
    missed: u64,
}

/// Which channels are wanted.
#[derive(Debug)]
enum Wanted {
    Channel(String),
    Beginning(String),
}

impl Wanted {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(beginning) = text.strip_suffix('*')
            && !beginning.contains('*')
        {
            return Ok(Self::Beginning(beginning.to_owned()));
        }
        lineside_protocol::channel::check(text).map_err(|error| error.to_string())?;
        Ok(Self::Channel(text.to_owned()))
    }

    fn takes(&self, channel: &str) -> bool {
        match self {
            Self::Channel(name) => name == channel,
            Self::Beginning(beginning) => channel.starts_with(beginning.as_str()),
        }
    }
}

impl Queue {
    fn offer(&self, publications: &[Arc<Publication>]) {
        let mut waiting = lock(&self.waiting);
        let wanted = publications.iter();
        for publication in wanted.filter(|it| self.wanted.takes(&it.channel)) {
            let bytes = waiting.bytes + publication.body.len();
            let is_full = bytes > QUEUE_BYTES_MAX
                || waiting.publications.len() == QUEUE_PUBLICATIONS_MAX
                || waiting.missed > 0;
            if is_full {
                waiting.missed += 1;
            } else {
                waiting.bytes = bytes;
                waiting.publications.push_back(Arc::clone(publication));
            }
        }
        drop(waiting);
        self.filled.notify_one();
    }

    fn take(&self) -> Waiting {
        std::mem::take(&mut *lock(&self.waiting))
    }
}

impl Watches {
    /// Shows publications to whoever wants them. The caller holds the hub's lock, so all see the journal's order.
    pub(crate) fn offer(&self, publications: &[Arc<Publication>]) {
        if self.count.load(Ordering::Relaxed) > 0 {
            for queue in lock(&self.queues).iter() {
                queue.offer(publications);
            }
        }
    }

    /// Serves a link whose first frame is a [`Watch`], until its other end or the sidecar ends.
    pub(crate) async fn serve(
        &self,
        mut stream: &Stream,
        hub: &Mutex<Hub>,
        clock: Clock,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut unsent = BytesMut::new();
        let (code, message) = match self.begin(stream, hub).await {
            Err(refusal) => refusal,
            Ok((queue, first)) => {
                append(&mut unsent, &first);
                let gone = tokio::select! {
                    gone = show(stream, &queue, &mut unsent, clock) => Some(gone),
                    _ = stop.wait_for(|stop| *stop) => None,
                };
                self.end(&queue);
                if let Some(error) = gone {
                    return event(Level::Info, "watch_ended", &[("reason", &error)]);
                }
                empty(&queue, &mut unsent, clock);
                (codes::LINK_DRAIN, codes::LINK_DRAIN.meaning.to_owned())
            }
        };
        event(
            Level::Info,
            "watch_ended",
            &[("reason", &code.name), ("message", &message)],
        );
        let code = code.number;
        append(&mut unsent, &ToWatcher::Fault(Fault { code, message }));
        let last_words = stream.write_all(&unsent);
        // One that does not read gets none.
        let _told = tokio::time::timeout(Duration::from_millis(FRAME_MS_MAX), last_words).await;
    }

    async fn begin(
        &self,
        stream: &Stream,
        hub: &Mutex<Hub>,
    ) -> Result<(Arc<Queue>, ToWatcher), (LinkCode, String)> {
        let frame = first_frame(stream);
        let frame = tokio::time::timeout(Duration::from_millis(FRAME_MS_MAX), frame).await;
        let late = || format!("no whole frame came within {FRAME_MS_MAX} ms");
        let frame = frame.unwrap_or_else(|_| Err(bad(late())))?;
        let watch = Watch::decode(&frame).map_err(|error| bad(error.to_string()))?;
        let wanted =
            Wanted::parse(&watch.wanted).map_err(|message| (codes::LINK_BAD_CHANNEL, message))?;
        let queue = Arc::new(Queue {
            wanted,
            waiting: Mutex::default(),
            filled: Notify::new(),
        });
        // Under the hub's lock nothing is published: all that follows the cursor finds the queue.
        let hub = lock(hub);
        let mut queues = lock(&self.queues);
        if queues.len() == WATCHES_MAX {
            let code = codes::LINK_WATCHES_FULL;
            return Err((code, code.meaning.to_owned()));
        }
        queues.push(Arc::clone(&queue));
        self.count.store(queues.len(), Ordering::Relaxed);
        event(Level::Info, "watch_began", &[("wanted", &watch.wanted)]);
        Ok((queue, ToWatcher::Watching(hub.journal.cursor())))
    }

    fn end(&self, queue: &Arc<Queue>) {
        let mut queues = lock(&self.queues);
        queues.retain(|it| !Arc::ptr_eq(it, queue));
        self.count.store(queues.len(), Ordering::Relaxed);
    }
}

async fn first_frame(mut stream: &Stream) -> Result<Frame, (LinkCode, String)> {
    let mut received = BytesMut::new();
    loop {
        if let Some(frame) = Frame::split(&mut received).map_err(|error| bad(error.to_string()))? {
            return Ok(frame);
        }
        if received.len() >= FRAME_BYTES_MAX {
            return Err(bad(format!("a first frame over {FRAME_BYTES_MAX} bytes")));
        }
        match stream.read_buf(&mut received).await {
            Ok(1..) => {}
            Ok(0) => return Err(bad("the link ended within its first frame".to_owned())),
            Err(error) => return Err(bad(error.to_string())),
        }
    }
}

/// Sends what comes into the queue, until the other end closes or the link breaks.
async fn show(stream: &Stream, queue: &Queue, unsent: &mut BytesMut, clock: Clock) -> io::Error {
    let (mut reader, mut writer) = (stream, stream);
    let mut ignored = [0; 64];
    loop {
        tokio::select! {
            written = writer.write(unsent), if !unsent.is_empty() => match written {
                Ok(count) => unsent.advance(count),
                Err(error) => return error,
            },
            () = queue.filled.notified(), if unsent.is_empty() => empty(queue, unsent, clock),
            // It has nothing more to say; that it closes must be noticed.
            read = reader.read(&mut ignored) => match read {
                Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => {}
                Err(error) => return error,
            },
        }
    }
}

/// Takes all that waits.
fn empty(queue: &Queue, unsent: &mut BytesMut, clock: Clock) {
    let waiting = queue.take();
    for publication in waiting.publications {
        append(unsent, &seen(&publication, clock));
    }
    if waiting.missed > 0 {
        append(unsent, &ToWatcher::Missed(waiting.missed));
    }
}

fn seen(publication: &Publication, clock: Clock) -> ToWatcher {
    let now = clock.now();
    let age_ms = now.ms.saturating_sub(publication.at_ms);
    ToWatcher::Seen(Seen {
        at_ms: now.wall_ms.saturating_sub(age_ms),
        message: envelope::text(&publication.body),
    })
}

fn append(unsent: &mut BytesMut, frame: &ToWatcher) {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    unsent.extend_from_slice(&bytes);
}

fn bad(message: String) -> (LinkCode, String) {
    (codes::LINK_BAD_FRAME, message)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
