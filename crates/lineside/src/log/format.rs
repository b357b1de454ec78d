//! Formats of log lines.

use std::fmt::{Display, Write as _};
use std::io::IsTerminal as _;
use std::str::FromStr;

use super::Level;
use crate::text::{is_unsafe, printable, printable_json, redact, with_record_names};

/// Maximum length of a value, in characters. A longer one is cut, and ends with `…`.
const VALUE_CHARS_MAX: usize = 300;

/// Fields that are sentences. The text for people shows them without their names.
const SENTENCES: [&str; 5] = ["message", "error", "detail", "meaning", "remedy"];

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people: `20:14:19Z listening: bind=127.0.0.1:8090 path=/lineside`.
    Text,
    /// For programs: `at=2026-11-27T20:14:19.378Z level=info event=listening bind=127.0.0.1:8090 path=/lineside`.
    Logfmt,
    /// An object per line, with the same names. Its values are strings.
    Json,
}

/// A field: its name and its value.
pub(super) type Field<'a> = (&'static str, &'a dyn Display);

impl Format {
    /// Default: text on a terminal, otherwise logfmt.
    pub(crate) fn of_output() -> Self {
        if std::io::stdout().is_terminal() {
            Self::Text
        } else {
            Self::Logfmt
        }
    }

    /// Name in the setting.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Logfmt => "logfmt",
            Self::Json => "json",
        }
    }

    /// Line of an event, with its line break.
    pub(super) fn line(
        self,
        at_ms: u64,
        level: Level,
        event: &str,
        fields: &[Field<'_>],
    ) -> String {
        match self {
            Self::Text => text(at_ms, level, event, fields),
            Self::Logfmt => logfmt(at_ms, level, event, fields),
            Self::Json => json(at_ms, level, event, fields),
        }
    }
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let formats = [Self::Text, Self::Logfmt, Self::Json];
        formats.into_iter().find(|it| it.name() == text).ok_or(())
    }
}

fn text(at_ms: u64, level: Level, event: &str, fields: &[Field<'_>]) -> String {
    let timestamp = timestamp(at_ms);
    // No date and milliseconds, because lines on a terminal are read when they are written.
    let mut line = format!("{}Z ", &timestamp[11..19]);
    if level >= Level::Warn {
        line.push_str(&format!("{}: ", level.name().to_uppercase()));
    }
    line.push_str(&event.replace('_', " "));
    let (sentences, values): (Vec<_>, Vec<_>) = fields
        .iter()
        .partition(|(name, _)| SENTENCES.contains(name));
    let mut separator = ": ";
    for (name, value) in values {
        line.push_str(&format!("{separator}{name}={}", quoted(value)));
        separator = " ";
    }
    for (_, value) in sentences {
        let sentence = printable(&shown(value));
        if !sentence.is_empty() {
            line.push_str(&format!(": {sentence}"));
        }
    }
    line.push('\n');
    line
}

fn logfmt(at_ms: u64, level: Level, event: &str, fields: &[Field<'_>]) -> String {
    let (at, level) = (timestamp(at_ms), level.name());
    let mut line = format!("at={at} level={level} event={event}");
    for (name, value) in fields {
        line.push_str(&format!(" {name}={}", quoted(*value)));
    }
    line.push('\n');
    line
}

fn json(at_ms: u64, level: Level, event: &str, fields: &[Field<'_>]) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let (at, level) = (timestamp(at_ms), level.name());
    let mut line = format!("{{\"at\":\"{at}\",\"level\":\"{level}\",\"event\":\"{event}\"");
    for (name, value) in fields {
        line.push_str(&format!(
            ",\"{name}\":{}",
            printable_json(&text(&shown(*value)))
        ));
    }
    line.push_str("}\n");
    line
}

/// Text of a value: without tokens, with the names of records, and cut at the maximum length.
fn shown(value: &dyn Display) -> String {
    let value = value.to_string();
    let value = redact(&value);
    let value = with_record_names(&value);
    match value.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.into_owned(),
    }
}

/// Value of a field, in quotes if it is empty or has special characters. Letters of every script stay readable.
fn quoted(value: &dyn Display) -> String {
    let value = shown(value);
    let mut out = String::with_capacity(value.len());
    let mut is_plain = !value.is_empty();
    for char in value.chars() {
        is_plain &= char.is_alphanumeric() || "-_.:/@[]+,~*%#".contains(char);
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            char if is_unsafe(char) => out.extend(char.escape_unicode()),
            char => out.push(char),
        }
    }
    if is_plain { out } else { format!("\"{out}\"") }
}

/// Time in UTC, as in ISO 8601: `2026-11-27T20:14:19.378Z`.
fn timestamp(at_ms: u64) -> String {
    let (seconds, ms) = (at_ms / 1000, at_ms % 1000);
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _written = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"
    );
    text
}

/// Year, month and day of a number of days since 1970-01-01. Counts from March of the year 0, so that a leap day ends a
/// year; 400 years are one cycle.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let first = (153 * month + 2) / 5;
    let (calendar_month, carried) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (
        cycle * 400 + year + carried,
        calendar_month,
        day - first + 1,
    )
}

#[cfg(test)]
mod tests;
