//! Log: one line per event on standard output, in logfmt: `at=… level=info event=listening bind=127.0.0.1:8090`.
//!
//! Values with special characters are quoted and escaped, so that no client can forge a line or send control characters to a
//! terminal. A thread writes the lines, from a bounded queue. If nobody reads the output, lines are dropped and counted, and
//! deliveries continue.

use std::fmt::{self, Display, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Maximum number of queued lines: about 150 KiB, at 150 bytes each.
const LINES_MAX: usize = 1024;

/// Maximum length of a value, in characters. A longer one is cut, and ends with `…`.
const VALUE_CHARS_MAX: usize = 300;

/// Deadline for writing the queued lines at exit.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Severity of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Normal operation.
    Info,
    /// Unusual, such as a refused request.
    Warn,
    /// Affects users: something failed or was lost.
    Error,
}

static LINES: OnceLock<SyncSender<Line>> = OnceLock::new();
static WRITER: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);
static DROPPED: AtomicU64 = AtomicU64::new(0);

enum Line {
    Text(String),
    Last,
}

/// Starts the writer thread. Events before this, and in tests, are discarded.
pub(crate) fn start() {
    let (sender, lines) = sync_channel(LINES_MAX);
    if LINES.set(sender).is_ok() {
        let writer = std::thread::Builder::new()
            .name("lineside-log".into())
            .spawn(move || write(&lines));
        *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = writer.ok();
    }
}

/// Writes the queued lines, for at most [`FINISH_TIMEOUT`].
pub(crate) fn finish() {
    let writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (Some(writer), Some(lines)) = (writer, LINES.get()) else {
        return;
    };
    if lines.try_send(Line::Last).is_ok() {
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

/// Queues the line of an event. Call it through [`event!`].
pub(crate) fn write_event(
    level: Level,
    event: &'static str,
    fields: &[(&'static str, &dyn Display)],
) {
    let Some(lines) = LINES.get() else { return };
    let at_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    let mut line = format!(
        "at={}.{:03} {}",
        at_ms / 1000,
        at_ms % 1000,
        text(level, event, fields)
    );
    match DROPPED.swap(0, Ordering::Relaxed) {
        0 => {}
        dropped => line.push_str(&format!(" lines_dropped={dropped}")),
    }
    line.push('\n');
    if lines.try_send(Line::Text(line)).is_err() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn text(level: Level, event: &str, fields: &[(&'static str, &dyn Display)]) -> String {
    let level = match level {
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    let mut line = format!("level={level} event={event}");
    for (name, value) in fields {
        let mut escaped = Escaped {
            out: String::new(),
            plain: true,
            chars: 0,
        };
        if write!(escaped, "{value}").is_err() {
            escaped.out.push('…');
        }
        let quote = if escaped.plain && !escaped.out.is_empty() {
            ""
        } else {
            "\""
        };
        line.push_str(&format!(" {name}={quote}{}{quote}", escaped.out));
    }
    line
}

/// Escapes the text written into it. Writing fails at the limit of [`VALUE_CHARS_MAX`].
struct Escaped {
    out: String,
    plain: bool,
    chars: usize,
}

impl fmt::Write for Escaped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            if self.chars == VALUE_CHARS_MAX {
                self.plain = false;
                return Err(fmt::Error);
            }
            self.chars += 1;
            // Letters of every script stay readable. Control characters, bidirectional marks and private-use characters are
            // escaped.
            if char.is_alphanumeric() || "-_.:/@[]+,~*%#".contains(char) {
                self.out.push(char);
            } else {
                self.plain = false;
                match char {
                    '"' | '\\' => self.out.extend(['\\', char]),
                    ' '..='~' => self.out.push(char),
                    _ => self.out.extend(char.escape_unicode()),
                }
            }
        }
        Ok(())
    }
}

fn write(lines: &Receiver<Line>) {
    let mut out = std::io::stdout();
    while let Ok(Line::Text(line)) = lines.recv() {
        // If standard output is closed, there is nowhere to report the failure.
        let _unreported = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests;
