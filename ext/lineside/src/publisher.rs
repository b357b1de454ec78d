//! The publisher of this process, for Ruby. Created at the first use; a forked child creates its own.

use std::cell::RefCell;
use std::mem;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use lineside_publisher::{
    Flushed, NotAccepted, Outcome, PublishOptions, Publisher, Sequence, Settings, Status, Waiter,
};
use lineside_token::Keys;
use magnus::scan_args::get_kwargs;
use magnus::{Error, IntoValue, RArray, RHash, RString, Ruby, Value};

use crate::error::{self, guard};
use crate::{gvl, json};

/// Time for a replaced publisher to send its spool.
const REPLACE_WAIT: Duration = Duration::from_secs(1);

/// Maximum size of the buffer that a thread keeps between publications, in bytes: four payloads of the default limit.
const SCRATCH_BYTES_MAX: usize = 256 * 1024;

/// Settings and publisher of this process. The lock is taken only with the GVL, and never while Ruby is called, so that no
/// thread holds it when Ruby forks.
static SLOT: Mutex<PublisherSlot> = Mutex::new(PublisherSlot {
    settings: None,
    publisher: None,
});

struct PublisherSlot {
    settings: Option<Settings>,
    publisher: Option<Arc<Publisher>>,
}

thread_local! {
    /// Buffer for JSON. Empty while in use, since the app's callbacks may publish too.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// `pthread_atfork` child handler: drops the parent's publisher without sending its spool.
pub(crate) extern "C" fn abandon_in_child() {
    let mut slot = match SLOT.try_lock() {
        Ok(slot) => slot,
        Err(TryLockError::Poisoned(slot)) => slot.into_inner(),
        // The fork was not made by Ruby, and another thread was publishing. Such a child executes a program at once.
        Err(TryLockError::WouldBlock) => return,
    };
    if let Some(publisher) = slot.publisher.take() {
        publisher.abandon();
        mem::forget(publisher);
    }
}

/// `Native.configure(link:, name:, secret:, spool_bytes_max:, spool_seconds_max:, payload_bytes_max:)`: stores the settings
/// of the next publisher. Gives the current one [`REPLACE_WAIT`] to send its spool, and stops it.
pub(crate) fn configure(ruby: &Ruby, settings: RHash) -> Result<(), Error> {
    guard(ruby, || {
        let names = [
            "link",
            "name",
            "secret",
            "spool_bytes_max",
            "spool_seconds_max",
            "payload_bytes_max",
        ];
        let given = get_kwargs::<_, (PathBuf, String, Option<String>, usize, u64, usize), (), ()>(
            settings,
            &names,
            &[],
        )?;
        let (link, name, secret, spool_bytes_max, spool_seconds_max, payload_bytes_max) =
            given.required;
        let keys = secret.map(|list| Keys::parse(&list)).transpose();
        let keys = keys.map_err(|problem| error::configuration(ruby, problem.to_string()))?;
        let settings = Settings {
            fingerprint: keys.map_or([0; 8], |keys| keys.fingerprint()),
            spool_bytes_max,
            spool_seconds_max,
            payload_bytes_max,
            ..Settings::new(link, name)
        };
        let replaced = {
            let mut slot = lock();
            slot.settings = Some(settings);
            slot.publisher.take()
        };
        if let Some(publisher) = replaced {
            wait_for(
                ruby,
                &publisher,
                Instant::now() + REPLACE_WAIT,
                |publisher, deadline, waiter| match publisher.wait_flushed(deadline, waiter) {
                    Flushed::Interrupted => None,
                    Flushed::Done | Flushed::TimedOut => Some(()),
                },
            )?;
            publisher.stop(Instant::now());
        }
        Ok(())
    })
}

/// `Native.connect`: starts to open the link in the background. If no thread can be started, the next publication tries
/// again.
pub(crate) fn connect(ruby: &Ruby) -> Result<(), Error> {
    guard(ruby, || {
        current(ruby)?.connect().unwrap_or_default();
        Ok(())
    })
}

/// `Native.publish(pairs, once, wants_receipt, event)`: publishes pairs of a channel's full name and data. Returns the
/// sequence of the frame, or a String with the reason if it was not accepted. Adds the size of the JSON to the event, if
/// there is one.
pub(crate) fn publish(
    ruby: &Ruby,
    pairs: RArray,
    once: Option<RString>,
    wants_receipt: bool,
    event: Option<RHash>,
) -> Result<Value, Error> {
    guard(ruby, || {
        with_scratch(|scratch| {
            let publications = encode_all(ruby, pairs, scratch, event)?;
            let once = once.map(RString::to_string).transpose()?;
            let options = PublishOptions {
                once: once.as_deref(),
                wants_receipt,
            };
            hand_over(ruby, scratch, &publications, options)
        })
    })
}

/// Calls `work` with the thread's buffer, which is empty.
pub(crate) fn with_scratch<R>(work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let result = work(&mut scratch);
    if scratch.capacity() <= SCRATCH_BYTES_MAX {
        SCRATCH.set(scratch);
    }
    result
}

/// `Native.wait(sequence, seconds)`: waits without the GVL for the reply to a frame.
pub(crate) fn wait(ruby: &Ruby, sequence: u64, seconds: f64) -> Result<RArray, Error> {
    guard(ruby, || {
        let array = ruby.ary_new();
        let Some(publisher) = existing() else {
            // A forked child cannot wait for its parent's frame.
            array.push(symbol(ruby, "timed_out"))?;
            return Ok(array);
        };
        let sequence = Sequence(sequence);
        let answer = wait_for(
            ruby,
            &publisher,
            deadline(seconds),
            |publisher, deadline, waiter| {
                Some(publisher.wait_receipt(sequence, deadline, waiter))
                    .filter(|outcome| *outcome != Outcome::Interrupted)
            },
        );
        if answer.is_err() {
            publisher.give_up(sequence);
        }
        match answer? {
            Outcome::Receipt { cursor, duplicate } => {
                let cursor = cursor.to_string().into_value_with(ruby);
                array.cat(&[
                    symbol(ruby, "receipt"),
                    cursor,
                    duplicate.into_value_with(ruby),
                ])?;
            }
            Outcome::Refused { code, message } => {
                let message = message.into_value_with(ruby);
                array.cat(&[symbol(ruby, "refused"), code.into_value_with(ruby), message])?;
            }
            Outcome::Dropped => array.push(symbol(ruby, "dropped"))?,
            Outcome::TimedOut | Outcome::Interrupted => array.push(symbol(ruby, "timed_out"))?,
        }
        Ok(array)
    })
}

/// `Native.flush(seconds)`: waits without the GVL until every accepted frame is settled. Returns whether all are.
pub(crate) fn flush(ruby: &Ruby, seconds: f64) -> Result<bool, Error> {
    guard(ruby, || {
        let Some(publisher) = existing() else {
            return Ok(true);
        };
        wait_for(
            ruby,
            &publisher,
            deadline(seconds),
            |publisher, deadline, waiter| match publisher.wait_flushed(deadline, waiter) {
                Flushed::Done => Some(true),
                Flushed::TimedOut => Some(false),
                Flushed::Interrupted => None,
            },
        )
    })
}

/// `Native.cursor`: returns the newest known cursor, or nil. Starts to open the link in the background if there is none.
pub(crate) fn cursor(ruby: &Ruby) -> Result<Option<String>, Error> {
    guard(ruby, || {
        let publisher = current(ruby)?;
        if let Some(cursor) = publisher.cursor() {
            return Ok(Some(cursor.to_string()));
        }
        // If the thread cannot start there is no cursor; the status reports the error.
        Ok(publisher
            .connect()
            .ok()
            .and_then(|()| publisher.cursor())
            .map(|cursor| cursor.to_string()))
    })
}

/// `Native.status`: returns the state of the link, and the counters of this process's publisher.
pub(crate) fn status(ruby: &Ruby) -> Result<RHash, Error> {
    guard(ruby, || {
        let status = existing().map_or_else(Status::default, |publisher| publisher.status());
        let hash = ruby.hash_new();
        hash.aset(ruby.to_symbol("linked"), status.linked)?;
        hash.aset(ruby.to_symbol("mismatch"), status.mismatch)?;
        hash.aset(ruby.to_symbol("last_error"), status.last_error)?;
        hash.aset(ruby.to_symbol("last_refusal"), status.last_refusal)?;
        hash.aset(ruby.to_symbol("spool_bytes"), status.spool_bytes)?;
        let counts = [
            ("accepted", status.accepted),
            ("acked", status.acked),
            ("dropped_full", status.dropped_full),
            ("dropped_aged", status.dropped_aged),
            ("refused", status.refused),
            ("publications_aged", status.publications_aged),
            ("publications_refused", status.publications_refused),
            ("resent", status.resent),
            ("reconnects", status.reconnects),
        ];
        for (name, count) in counts {
            hash.aset(ruby.to_symbol(name), count)?;
        }
        Ok(hash)
    })
}

/// Creates a waiter, which another thread can interrupt. Raises `Lineside::Unconfirmed` without file descriptors.
pub(crate) fn waiter(ruby: &Ruby) -> Result<Waiter, Error> {
    Waiter::new().map_err(|problem| {
        let message = format!(
            "cannot wait for the sidecar ({problem}), which may still get what was accepted: raise the limit of open files \
             (`ulimit -n`), or close files that are not in use"
        );
        error::unconfirmed(ruby, message)
    })
}

fn lock() -> MutexGuard<'static, PublisherSlot> {
    SLOT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the publisher of this process, if there is one.
pub(crate) fn existing() -> Option<Arc<Publisher>> {
    lock().publisher.clone()
}

/// Returns the publisher of this process, and creates it at the first use.
pub(crate) fn current(ruby: &Ruby) -> Result<Arc<Publisher>, Error> {
    let mut slot = lock();
    if let Some(publisher) = &slot.publisher {
        return Ok(Arc::clone(publisher));
    }
    let Some(mut settings) = slot.settings.clone() else {
        drop(slot);
        return Err(error::general(
            ruby,
            "Lineside::Native is used through Lineside::Publisher, which configures it",
        ));
    };
    settings.name = format!("{}[{}]", settings.name, std::process::id());
    let publisher = Arc::new(Publisher::new(settings));
    slot.publisher = Some(Arc::clone(&publisher));
    Ok(publisher)
}

/// Ranges of a publication's channel and payload in the buffer.
pub(crate) type Publication = (Range<usize>, Range<usize>);

/// Appends the channel and the JSON of each pair to the buffer. Adds the size of the JSON to the event, in bytes.
pub(crate) fn encode_all(
    ruby: &Ruby,
    pairs: RArray,
    buffer: &mut Vec<u8>,
    event: Option<RHash>,
) -> Result<Vec<Publication>, Error> {
    let mut publications = Vec::with_capacity(pairs.len());
    // By index: the app's callbacks may change the array.
    for index in 0..pairs.len() {
        let pair: RArray = pairs.entry(isize::try_from(index).unwrap_or(isize::MAX))?;
        let start = buffer.len();
        gvl::read(pair.entry(0)?, |channel| buffer.extend_from_slice(channel));
        let middle = buffer.len();
        json::encode(ruby, pair.entry(1)?, 0, buffer)?;
        publications.push((start..middle, middle..buffer.len()));
    }
    if let Some(event) = event {
        let payloads = publications.iter().map(|(_, payload)| payload.len());
        event.aset(ruby.to_symbol("bytes"), payloads.sum::<usize>())?;
    }
    Ok(publications)
}

/// Publishes encoded publications. Returns the sequence of the frame, or a String with the reason if it was not accepted.
pub(crate) fn hand_over(
    ruby: &Ruby,
    buffer: &[u8],
    publications: &[Publication],
    options: PublishOptions<'_>,
) -> Result<Value, Error> {
    let slices = slices(ruby, buffer, publications)?;
    let publisher = current(ruby)?;
    let handed_over = match (slices.as_slice(), options) {
        (&[(channel, payload)], options) => publisher.publish(channel, payload, options),
        (
            several,
            PublishOptions {
                once: None,
                wants_receipt: false,
            },
        ) => publisher.publish_all(several),
        _ => {
            return Err(error::argument(
                ruby,
                "once: and timeout: are for a single publication",
            ));
        }
    };
    match handed_over {
        Ok(sequence) => Ok(sequence.0.into_value_with(ruby)),
        Err(problem) => not_accepted(ruby, &problem),
    }
}

/// Returns the channels and payloads as slices of the buffer.
pub(crate) fn slices<'a>(
    ruby: &Ruby,
    buffer: &'a [u8],
    publications: &[Publication],
) -> Result<Vec<(&'a str, &'a [u8])>, Error> {
    let slices = publications.iter().map(|(channel, payload)| {
        let channel = std::str::from_utf8(&buffer[channel.clone()]);
        Ok((
            channel.map_err(|_| error::argument(ruby, "the channel's name is not valid UTF-8"))?,
            &buffer[payload.clone()],
        ))
    });
    slices.collect()
}

/// Returns a String with the reason for which a publication was not accepted. Raises if it can never be accepted.
pub(crate) fn not_accepted(ruby: &Ruby, problem: &NotAccepted) -> Result<Value, Error> {
    if let NotAccepted::TooLarge { .. } = problem {
        return Err(error::too_large(
            ruby,
            format!("{problem}: publish what the page needs to fetch the rest"),
        ));
    }
    Ok(problem.to_string().into_value_with(ruby))
}

/// Repeats `attempt` without the GVL until it returns `Some`. Between attempts Ruby may raise, switch threads or run a
/// signal handler.
fn wait_for<R: Send>(
    ruby: &Ruby,
    publisher: &Arc<Publisher>,
    deadline: Instant,
    attempt: impl Fn(&Publisher, Instant, &Waiter) -> Option<R> + Sync,
) -> Result<R, Error> {
    let waiter = waiter(ruby)?;
    let interrupter = waiter.interrupter();
    loop {
        if let Some(answer) =
            gvl::without(&interrupter, || attempt(publisher, deadline, &waiter)).flatten()
        {
            return Ok(answer);
        }
        ruby.thread_check_ints()?;
    }
}

/// Returns the time that many seconds from now. lib/lineside bounds the seconds.
fn deadline(seconds: f64) -> Instant {
    Instant::now() + Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn symbol(ruby: &Ruby, name: &str) -> Value {
    ruby.to_symbol(name).into_value_with(ruby)
}
