//! The door: every publication is looked at once, before the journal sees it.

use bytes::Bytes;
use lineside_protocol::NESTING_LEVELS_MAX;
use lineside_protocol::channel;
use lineside_protocol::codes::{LINK_BAD_CHANNEL, LINK_BAD_PAYLOAD, LINK_TOO_LARGE, LinkCode};
use lineside_protocol::frame::Publish;
use serde::de::IgnoredAny;

/// Longest `once` id, in bytes: room for any key of an app, and a bound for what is remembered of it.
pub const ONCE_ID_BYTES_MAX: usize = 255;

/// Characters of a refused name that a message repeats: enough to find it in an app.
const SHOWN_CHARACTERS_MAX: usize = 64;

/// Why a frame is not taken, and never will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong, for programs.
    pub code: LinkCode,
    /// What is wrong and with which value, for people: one line, with whatever is not printable escaped.
    pub message: String,
}

/// One publication that passed the door.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) channel: String,
    /// One JSON value in UTF-8.
    pub(crate) payload: Bytes,
}

/// A frame after its inspection. Made outside the hub's lock, since reading payloads takes the longest.
#[derive(Debug)]
pub struct Checked {
    pub(crate) sequence: u64,
    pub(crate) wants_receipt: bool,
    pub(crate) resent: bool,
    pub(crate) once: Option<Bytes>,
    /// All publications of the frame, or the first thing that is wrong with any.
    pub(crate) publications: Result<Vec<Passed>, Refused>,
}

impl Checked {
    /// Inspects every publication of a frame: the channel's name, the payload's size (at most `payload_bytes_max`
    /// bytes), and that it is one JSON value that does not nest too deep; and the length of the frame's `once` id.
    #[must_use]
    pub fn inspect(frame: &Publish, payload_bytes_max: usize) -> Self {
        let once = frame.once.as_deref().map_or(Ok(()), inspect_once);
        let pass =
            |(channel, payload): (Bytes, Bytes)| inspect(&channel, payload, payload_bytes_max);
        Self {
            sequence: frame.sequence,
            wants_receipt: frame.wants_receipt,
            resent: frame.resent,
            once: frame.once.clone(),
            publications: once.and_then(|()| frame.publications.iter().map(pass).collect()),
        }
    }

    /// A frame that is refused before anything of it can be inspected.
    #[must_use]
    pub fn refused(sequence: u64, refused: Refused) -> Self {
        let publications = Err(refused);
        Self {
            sequence,
            wants_receipt: false,
            resent: false,
            once: None,
            publications,
        }
    }
}

fn inspect(channel: &[u8], payload: Bytes, payload_bytes_max: usize) -> Result<Passed, Refused> {
    let bad_channel = |why: String| Refused {
        code: LINK_BAD_CHANNEL,
        message: format!(
            "the channel {} is refused: {why}",
            shown(&String::from_utf8_lossy(channel))
        ),
    };
    let name = str::from_utf8(channel).map_err(|error| bad_channel(error.to_string()))?;
    channel::check(name).map_err(|error| bad_channel(error.to_string()))?;
    if payload.len() > payload_bytes_max {
        let message = format!(
            "the payload for {} has {} bytes; at most {payload_bytes_max} are taken",
            shown(name),
            payload.len(),
        );
        return Err(Refused {
            code: LINK_TOO_LARGE,
            message,
        });
    }
    let bad_payload = |why: String| Refused {
        code: LINK_BAD_PAYLOAD,
        message: format!("the payload for {} {why}", shown(name)),
    };
    let not_json = |why: String| bad_payload(format!("is not JSON: {why}"));
    // serde_json skips over strings without a look at their encoding.
    let text = str::from_utf8(&payload).map_err(|error| not_json(error.to_string()))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| not_json(error.to_string()))?;
    if nests_too_deep(&payload) {
        return Err(bad_payload(format!(
            "nests deeper than {NESTING_LEVELS_MAX} levels, at which readers of JSON give up; publish it flatter"
        )));
    }
    Ok(Passed {
        channel: name.to_owned(),
        payload,
    })
}

/// Whether arrays and objects of a JSON value are in each other more than [`NESTING_LEVELS_MAX`] deep.
fn nests_too_deep(json: &[u8]) -> bool {
    if json.len() <= 2 * NESTING_LEVELS_MAX || opened(json) <= NESTING_LEVELS_MAX {
        return false;
    }
    let (mut levels, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' if levels == NESTING_LEVELS_MAX => return true,
            b'[' | b'{' => levels += 1,
            b']' | b'}' => levels -= 1,
            _ => {}
        }
    }
    false
}

/// How many brackets and braces open. It takes a thirtieth of what reading takes, and few payloads need a closer look.
fn opened(json: &[u8]) -> usize {
    // The two differ in one bit. A byte counts what a chunk holds, so that the machine adds many at a time.
    let in_chunk = |chunk: &[u8]| -> u8 { chunk.iter().map(|b| u8::from(b | 0x20 == b'{')).sum() };
    json.chunks(usize::from(u8::MAX))
        .map(|chunk| usize::from(in_chunk(chunk)))
        .sum()
}

fn inspect_once(id: &[u8]) -> Result<(), Refused> {
    if id.len() <= ONCE_ID_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "the once id has {} bytes; at most {ONCE_ID_BYTES_MAX} are taken",
        id.len()
    );
    Err(Refused {
        code: LINK_TOO_LARGE,
        message,
    })
}

/// The beginning of `name`, quoted and escaped.
pub(crate) fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(SHOWN_CHARACTERS_MAX).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

#[cfg(test)]
mod tests;
