//! Log: one line per event on standard output, as text for people, in logfmt or as JSON.
//!
//! Values with special characters are quoted and escaped, so that no client can forge a line or send control characters to a
//! terminal. Tokens are redacted. A thread writes the lines, from a bounded queue. If nobody reads the output, lines are
//! dropped and counted, and deliveries continue. Lines of one kind are limited per second, and the others counted.

mod format;
mod limit;

use std::fmt::Display;
use std::io::Write as _;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) use format::Format;
use limit::{Limit, Omitted};

/// Maximum number of queued lines: about 150 KiB, at 150 bytes each.
const LINES_MAX: usize = 1024;

/// Interval of reporting the lines that the limit left out.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Deadline for writing the queued lines at exit.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Severity of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Details, such as each setting.
    Debug,
    /// Normal operation.
    Info,
    /// Unusual, such as a refused request.
    Warn,
    /// Affects users: something failed or was lost.
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let levels = [Self::Debug, Self::Info, Self::Warn, Self::Error];
        levels.into_iter().find(|it| it.name() == text).ok_or(())
    }
}

static LOG: OnceLock<Log> = OnceLock::new();
static WRITER: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);

struct Log {
    format: Format,
    level: Level,
    limit: Mutex<Limit>,
    lines: SyncSender<Line>,
    /// Number of lines dropped because the queue was full.
    dropped: AtomicU64,
}

enum Line {
    Text(String),
    Last,
}

/// Starts the writer thread. Events before this, and in tests, are discarded, and those below `level` too.
pub(crate) fn start(format: Format, level: Level) {
    let (sender, lines) = sync_channel(LINES_MAX);
    let log = Log {
        format,
        level,
        limit: Mutex::default(),
        lines: sender,
        dropped: AtomicU64::new(0),
    };
    if LOG.set(log).is_ok() {
        let writer = std::thread::Builder::new()
            .name("lineside-log".into())
            .spawn(move || write(&lines));
        *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = writer.ok();
    }
}

/// Writes the queued lines, for at most [`FINISH_TIMEOUT`].
pub(crate) fn finish() {
    let writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (Some(writer), Some(log)) = (writer, LOG.get()) else {
        return;
    };
    if log.lines.try_send(Line::Last).is_ok() {
        let waited = Instant::now();
        while !writer.is_finished() && waited.elapsed() < FINISH_TIMEOUT {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

/// Logs an event with its fields, each a name and a value that implements [`Display`]. A name alone is a field with the
/// value of the variable of that name.
///
/// ```text
/// event!(Level::Warn, "hand_off_refused", code = code.name, message);
/// ```
macro_rules! event {
    (@value $name:ident) => {
        $name
    };
    (@value $name:ident = $value:expr) => {
        $value
    };
    ($level:expr, $event:literal $(, $name:ident $(= $value:expr)?)* $(,)?) => {
        $crate::log::write_event(
            $level,
            $event,
            &[$((stringify!($name), &$crate::log::event!(@value $name $(= $value)?))),*],
        )
    };
}
pub(crate) use event;

/// Queues the line of an event, unless its level is too low or the limit of its kind is reached. Call it through [`event!`].
pub(crate) fn write_event(
    level: Level,
    event: &'static str,
    fields: &[(&'static str, &dyn Display)],
) {
    let Some(log) = LOG.get().filter(|log| level >= log.level) else {
        return;
    };
    let at_ms = now_ms();
    let mut limit = log.limit.lock().unwrap_or_else(PoisonError::into_inner);
    let is_admitted = limit.admit((event, level), at_ms / 1000);
    drop(limit);
    if !is_admitted {
        return;
    }
    let mut fields = fields.to_vec();
    let dropped = log.dropped.swap(0, Ordering::Relaxed);
    if dropped > 0 {
        fields.push(("lines_dropped", &dropped));
    }
    let line = log.format.line(at_ms, level, event, &fields);
    if log.lines.try_send(Line::Text(line)).is_err() {
        log.dropped.fetch_add(1 + dropped, Ordering::Relaxed);
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}

/// Writes lines until the last one, and reports every [`REPORT_INTERVAL`] how many the limit left out.
fn write(lines: &Receiver<Line>) {
    let mut reported = Instant::now();
    loop {
        let wait = REPORT_INTERVAL.saturating_sub(reported.elapsed());
        let is_last = match lines.recv_timeout(wait) {
            Ok(Line::Text(line)) => {
                print(&line);
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Ok(Line::Last) | Err(RecvTimeoutError::Disconnected) => true,
        };
        if is_last || reported.elapsed() >= REPORT_INTERVAL {
            report_omitted();
            reported = Instant::now();
        }
        if is_last {
            return;
        }
    }
}

fn report_omitted() {
    let Some(log) = LOG.get() else { return };
    let mut limit = log.limit.lock().unwrap_or_else(PoisonError::into_inner);
    let omitted = limit.take_omitted();
    drop(limit);
    for Omitted {
        event,
        level,
        lines,
    } in omitted
    {
        let fields: [(&'static str, &dyn Display); 2] = [("of", &event), ("lines", &lines)];
        print(&log.format.line(now_ms(), level, "lines_omitted", &fields));
    }
}

fn print(line: &str) {
    let mut out = std::io::stdout();
    // If standard output is closed, there is nowhere to report the failure.
    let _unreported = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
