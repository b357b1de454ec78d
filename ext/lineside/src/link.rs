//! This process's publisher, as Ruby uses it. There is one per process: it starts with the first use, and a forked child
//! starts its own.

use std::cell::{Cell, RefCell};
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

/// How long a publisher that is replaced may take to send what it holds.
const REPLACE_WAIT: Duration = Duration::from_secs(1);

/// Largest buffer kept between publications of one thread, in bytes: four payloads of the default limit.
const SCRATCH_BYTES_MAX: usize = 256 * 1024;

/// What this process publishes through. The lock is only taken with the GVL held and never while Ruby is called, so in a
/// forked child of Ruby nobody holds it.
static LINK: Mutex<Link> = Mutex::new(Link {
    settings: None,
    publisher: None,
});

struct Link {
    settings: Option<Settings>,
    publisher: Option<Arc<Publisher>>,
}

thread_local! {
    /// Bytes of the JSON that is written next. Taken while in use, since the app may publish while it is asked for data.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };

    /// Bytes of the payloads that were encoded last.
    static ENCODED_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Run in every forked child: what the parent has not sent is the parent's, and so are its descriptors and locks.
pub(crate) extern "C" fn leave_to_parent() {
    let mut link = match LINK.try_lock() {
        Ok(link) => link,
        Err(TryLockError::Poisoned(link)) => link.into_inner(),
        // Forked by something that is not Ruby, beside a thread that publishes: it can only be about to run a program.
        Err(TryLockError::WouldBlock) => return,
    };
    if let Some(publisher) = link.publisher.take() {
        publisher.abandon();
        mem::forget(publisher);
    }
}

/// `Native.configure(link:, name:, secret:, spool_bytes_max:, spool_seconds_max:, payload_bytes_max:)`: from now on, and
/// with a new link. What was handed over before has a second to leave.
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
            let mut link = lock();
            link.settings = Some(settings);
            link.publisher.take()
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

/// `Native.connect`: opens the link in the background.
pub(crate) fn connect(ruby: &Ruby) -> Result<(), Error> {
    guard(ruby, || {
        publisher(ruby)?
            .connect()
            .map_err(|problem| error::general(ruby, problem.to_string()))
    })
}

/// `Native.publish(pairs, once, wants_receipt)`: pairs of a channel's full name and data. The number of the hand-over; or,
/// when it was not accepted, a String that says why.
pub(crate) fn publish(
    ruby: &Ruby,
    pairs: RArray,
    once: Option<RString>,
    wants_receipt: bool,
) -> Result<Value, Error> {
    guard(ruby, || {
        let mut scratch = SCRATCH.take();
        scratch.clear();
        let result = encode_all(ruby, pairs, &mut scratch).and_then(|publications| {
            let once = once.map(RString::to_string).transpose()?;
            let options = PublishOptions {
                once: once.as_deref(),
                wants_receipt,
            };
            hand_over(ruby, &scratch, &publications, options)
        });
        if scratch.capacity() <= SCRATCH_BYTES_MAX {
            SCRATCH.set(scratch);
        }
        result
    })
}

/// `Native.wait(sequence, seconds)`: waits without the GVL for the answer to a hand-over.
pub(crate) fn wait(ruby: &Ruby, sequence: u64, seconds: f64) -> Result<RArray, Error> {
    guard(ruby, || {
        let array = ruby.ary_new();
        let Some(publisher) = present() else {
            // A forked child cannot wait for what its parent handed over.
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

/// `Native.flush(seconds)`: waits without the GVL until the sidecar has all that was accepted; whether it has.
pub(crate) fn flush(ruby: &Ruby, seconds: f64) -> Result<bool, Error> {
    guard(ruby, || {
        let Some(publisher) = present() else {
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

/// `Native.cursor`: the newest position known here, or nil. Opens the link in the background if it was not.
pub(crate) fn cursor(ruby: &Ruby) -> Result<Option<String>, Error> {
    guard(ruby, || {
        let publisher = publisher(ruby)?;
        if let Some(cursor) = publisher.cursor() {
            return Ok(Some(cursor.to_string()));
        }
        // A thread that cannot start is told by the status; here there is only no cursor yet.
        Ok(publisher
            .connect()
            .ok()
            .and_then(|()| publisher.cursor())
            .map(|cursor| cursor.to_string()))
    })
}

/// `Native.encoded_bytes`: the JSON of what this thread has published or held last, in bytes.
pub(crate) fn encoded_bytes() -> usize {
    ENCODED_BYTES.get()
}

/// `Native.status`: how the link is, and what was counted since this process began to publish.
pub(crate) fn status(ruby: &Ruby) -> Result<RHash, Error> {
    guard(ruby, || {
        let status = present().map_or_else(Status::default, |publisher| publisher.status());
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

/// What a wait needs to be interrupted.
pub(crate) fn waiter(ruby: &Ruby) -> Result<Waiter, Error> {
    Waiter::new()
        .map_err(|problem| error::general(ruby, format!("cannot wait for the sidecar: {problem}")))
}

fn lock() -> MutexGuard<'static, Link> {
    LINK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The publisher, if something was published in this process.
pub(crate) fn present() -> Option<Arc<Publisher>> {
    lock().publisher.clone()
}

pub(crate) fn publisher(ruby: &Ruby) -> Result<Arc<Publisher>, Error> {
    let mut link = lock();
    if let Some(publisher) = &link.publisher {
        return Ok(Arc::clone(publisher));
    }
    let Some(mut settings) = link.settings.clone() else {
        drop(link);
        return Err(error::general(
            ruby,
            "Lineside::Native is used through Lineside::Publisher, which configures it",
        ));
    };
    settings.name = format!("{}[{}]", settings.name, std::process::id());
    let publisher = Arc::new(Publisher::new(settings));
    link.publisher = Some(Arc::clone(&publisher));
    Ok(publisher)
}

/// Where a publication's channel and payload stand in the buffer.
pub(crate) type Publication = (Range<usize>, Range<usize>);

pub(crate) fn encode_all(
    ruby: &Ruby,
    pairs: RArray,
    buffer: &mut Vec<u8>,
) -> Result<Vec<Publication>, Error> {
    let mut publications = Vec::with_capacity(pairs.len());
    // By index: the app's callbacks may change what they can reach.
    for index in 0..pairs.len() {
        let pair: RArray = pairs.entry(isize::try_from(index).unwrap_or(isize::MAX))?;
        let start = buffer.len();
        gvl::read(pair.entry(0)?, |channel| buffer.extend_from_slice(channel));
        let middle = buffer.len();
        json::encode(ruby, pair.entry(1)?, 0, buffer)?;
        publications.push((start..middle, middle..buffer.len()));
    }
    let payloads = publications.iter().map(|(_, payload)| payload.len());
    ENCODED_BYTES.set(payloads.sum());
    Ok(publications)
}

pub(crate) fn hand_over(
    ruby: &Ruby,
    buffer: &[u8],
    publications: &[Publication],
    options: PublishOptions<'_>,
) -> Result<Value, Error> {
    let slices = slices(ruby, buffer, publications)?;
    let publisher = publisher(ruby)?;
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
        Err(problem) => why_not(ruby, &problem),
    }
}

/// Channels and payloads, where the buffer has them.
pub(crate) fn slices<'a>(
    ruby: &Ruby,
    buffer: &'a [u8],
    publications: &[Publication],
) -> Result<Vec<(&'a str, &'a [u8])>, Error> {
    let slices = publications.iter().map(|(channel, payload)| {
        let channel = std::str::from_utf8(&buffer[channel.clone()]);
        Ok((
            channel.map_err(|_| error::argument(ruby, "the channel's name is not UTF-8"))?,
            &buffer[payload.clone()],
        ))
    });
    slices.collect()
}

/// What Ruby is told when something was not accepted: a String that says why. What never could be is an error.
pub(crate) fn why_not(ruby: &Ruby, problem: &NotAccepted) -> Result<Value, Error> {
    if let NotAccepted::TooLarge { .. } = problem {
        return Err(error::too_large(
            ruby,
            format!("{problem}: publish what the page needs to fetch the rest"),
        ));
    }
    Ok(problem.to_string().into_value_with(ruby))
}

/// Repeats `attempt` without the GVL until it has an answer. Between attempts Ruby may raise, switch threads or run a
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

/// The time in so many seconds; Ruby's side has bounded them.
fn deadline(seconds: f64) -> Instant {
    Instant::now() + Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn symbol(ruby: &Ruby, name: &str) -> Value {
    ruby.to_symbol(name).into_value_with(ruby)
}
