//! `lineside token`: prints a connection token.

use std::time::{SystemTime, UNIX_EPOCH};

use lexopt::{Arg, Parser, ValueExt as _};
use lineside_protocol::channel;
use lineside_token::{ConnectionDraft, sign_connection};

use super::{Failure, print};
use crate::settings::{Environment, secret};

/// Default lifetime of a token, in seconds.
const TTL_SECONDS: u64 = 3600;

/// Parses the claims of the token.
pub(super) fn parse(mut parser: Parser) -> Result<ConnectionDraft, Failure> {
    let mut draft = ConnectionDraft {
        sub: None,
        sid: None,
        channels: Vec::new(),
        allow: Vec::new(),
        ttl_s: TTL_SECONDS,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("sub") => draft.sub = Some(parser.value()?.string()?),
            Arg::Long("channel") => draft.channels.push(parser.value()?.string()?),
            Arg::Long("allow") => draft.allow.push(grant(parser.value()?.string()?)?),
            Arg::Long("ttl") => draft.ttl_s = seconds(&parser.value()?.string()?)?,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(draft)
}

pub(super) fn run(draft: ConnectionDraft) -> Result<(), Failure> {
    let keys = secret(&Environment)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|error| Failure::from(error.to_string()))?;
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let token =
        sign_connection(draft, &keys, now_ms).map_err(|error| Failure::from(error.to_string()))?;
    print(&format!("{token}\n"))
}

/// Checks that a grant can open a channel. The token crate accepts reserved names, because tokens of other signers may have them.
fn grant(text: String) -> Result<String, Failure> {
    if channel::is_reserved(&text) {
        return Err(Failure::usage(format!(
            "--allow {text:?} opens no channel: names below user: and cable: are reserved; give --sub for a user's channel"
        )));
    }
    Ok(text)
}

/// Parses a time such as `90`, `90s`, `15m` or `1h`. Returns seconds.
fn seconds(text: &str) -> Result<u64, Failure> {
    let (digits, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(digits) => (digits, &text[digits.len()..]),
        None => (text, "s"),
    };
    let factor = match unit {
        "h" => 3600,
        "m" => 60,
        _ => 1,
    };
    let seconds = digits
        .parse()
        .ok()
        .and_then(|count: u64| count.checked_mul(factor));
    seconds.ok_or_else(|| {
        Failure::usage(format!(
            "--ttl is {text:?}: give a time such as 90s, 15m or 1h"
        ))
    })
}
