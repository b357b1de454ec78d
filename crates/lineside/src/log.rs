//! One line an event on standard output, in logfmt: `at=… level=info event=listening bind=127.0.0.1:8090`.
//!
//! Values that hold anything but plain characters are quoted and escaped, so that nothing a client sends can begin a
//! line of its own or colour a terminal. Lines go through a bounded queue to a thread of their own: a reader of our
//! output that stalls costs log lines, counted, and never a delivery.

use std::fmt::{self, Display, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Lines that may wait for the output; at some 150 bytes each this is 150 KiB.
const LINES_MAX: usize = 1024;

/// Longest value, in characters; a longer one is cut and marked.
const VALUE_CHARS_MAX: usize = 300;

/// How long the last lines may take.
const FINISH_MAX: Duration = Duration::from_secs(1);

/// How grave an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The ordinary course.
    Info,
    /// Something to look at; nobody is hurt yet.
    Warn,
    /// Somebody is hurt.
    Error,
}

static LINES: OnceLock<SyncSender<Line>> = OnceLock::new();
static WRITER: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);
static DROPPED: AtomicU64 = AtomicU64::new(0);

enum Line {
    Text(String),
    Last,
}

/// Starts the writing thread. Before this, and in tests, events go nowhere.
pub(crate) fn start() {
    let (sender, lines) = sync_channel(LINES_MAX);
    if LINES.set(sender).is_ok() {
        let writer = std::thread::Builder::new()
            .name("lineside-log".into())
            .spawn(move || write(&lines));
        *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = writer.ok();
    }
}

/// Writes out what waits, as far as [`FINISH_MAX`] allows.
pub(crate) fn finish() {
    let writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (Some(writer), Some(lines)) = (writer, LINES.get()) else {
        return;
    };
    if lines.try_send(Line::Last).is_ok() {
        let waited = Instant::now();
        while !writer.is_finished() && waited.elapsed() < FINISH_MAX {
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

/// Escapes what is written into it; fails, and so ends the writing, at the limit.
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
            // Letters of every script stay readable; what steers a terminal or hides in it (controls, bidirectional
            // marks, private use) does not come through.
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
        // Nobody is left to tell when the output itself is gone.
        let _gone = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests;
