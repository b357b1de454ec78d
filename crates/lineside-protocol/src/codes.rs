//! The codes of the browser protocol and of the link: numbers and words that are never reused.
//!
//! `docs/codes.md` holds the same tables for readers; a test compares the two.

/// Answers one request of a browser; the connection lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    /// The word in the envelope.
    pub name: &'static str,
    /// What it means and what to do, for people.
    pub meaning: &'static str,
}

/// Ends a browser's connection.
///
/// 40xx: fetch a fresh token first. 41xx: the same token again, after `after_ms`. 45xx: stop, it will not get better.
/// 1xxx: codes of RFC 6455 §7.4.1; those below also mean stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode {
    /// The number in the close frame.
    pub number: u16,
    /// The reason in the close frame and in the `disconnect` envelope.
    pub name: &'static str,
    /// What it means and what to do, for people.
    pub meaning: &'static str,
}

/// Answers one frame on the link: it was not accepted, and will not be when sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkCode {
    /// The number in the frame.
    pub number: u16,
    /// The word in messages and logs.
    pub name: &'static str,
    /// What it means and what to do, for people.
    pub meaning: &'static str,
}

macro_rules! error_codes {
    ($($constant:ident $name:literal $meaning:literal)*) => {
        $(#[doc = $meaning] pub const $constant: ErrorCode = ErrorCode { name: $name, meaning: $meaning };)*
        /// Every error code.
        pub const ERROR_CODES: &[ErrorCode] = &[$($constant),*];
    };
}

macro_rules! numbered_codes {
    ($all:ident $doc:literal $type:ident $($constant:ident $number:literal $name:literal $meaning:literal)*) => {
        $(#[doc = $meaning] pub const $constant: $type = $type { number: $number, name: $name, meaning: $meaning };)*
        #[doc = $doc]
        pub const $all: &[$type] = &[$($constant),*];
    };
}

error_codes! {
    BAD_REQUEST "bad_request" "The frame is not a JSON object of this protocol; mend the client."
    UNKNOWN_TYPE "unknown_type" "The server does not know this `type`; the welcome's `features` say what it knows."
    BAD_CHANNEL "bad_channel" "Not a channel's name: 1 to 255 bytes, no control characters, no `*`."
    FORBIDDEN "forbidden" "The token does not open this channel; fetch one that does."
    TOKEN_INVALID "token_invalid" "The token cannot be accepted as it is; fetch a fresh one."
    TOKEN_EXPIRED "token_expired" "The token's time is over; fetch a fresh one."
    TOKEN_REVOKED "token_revoked" "The user was signed out after the token was made; fetch a fresh one."
    TOKEN_NOT_YET_VALID "token_not_yet_valid" "The token begins later; compare the clocks of the app and the sidecar."
    OTHER_USER "other_user" "The new token belongs to another user; open a new connection."
    ALREADY_CONNECTED "already_connected" "`connect` is the first frame and comes once; use `subscribe` or `refresh`."
    TOO_MANY_SUBSCRIPTIONS "too_many_subscriptions" "The connection holds as many channels as the welcome's `limits` allow; unsubscribe first."
    EXPIRED "expired" "With an unasked `unsubscribed`: the right to the channel ended, with its token or by a narrower one; subscribe with a fresh token."
}

numbered_codes! {
    CLOSE_CODES "Every close code." CloseCode
    CLOSE_PROTOCOL_ERROR 1002 "protocol_error" "The frames break RFC 6455."
    CLOSE_UNSUPPORTED_DATA 1003 "binary" "A binary frame; this protocol is text."
    CLOSE_INVALID_TEXT 1007 "invalid_text" "A text frame that is not UTF-8."
    CLOSE_TOO_LARGE 1009 "too_large" "A message over the `message_bytes_max` of the welcome's `limits`."
    CLOSE_TOKEN_INVALID 4001 "token_invalid" "The token cannot be accepted as it is."
    CLOSE_TOKEN_REVOKED 4002 "token_revoked" "The user was signed out after the token was made; fetch a fresh one."
    CLOSE_TOKEN_EXPIRED 4003 "token_expired" "The token's time is over."
    CLOSE_TOKEN_NOT_YET_VALID 4004 "token_not_yet_valid" "The token begins later; compare the clocks of the app and the sidecar."
    CLOSE_DRAIN 4100 "drain" "The server is stopping as planned; connect again after `after_ms`."
    CLOSE_SLOW 4101 "slow" "The client did not read fast enough; resume after `after_ms`."
    CLOSE_HEARTBEAT 4102 "heartbeat" "Nothing was heard within 10 seconds of a ping."
    CLOSE_CONNECT_TIMEOUT 4103 "connect_timeout" "No `connect` came within 5 seconds."
    CLOSE_BAD_CONNECT 4500 "bad_connect" "The first frame is not a `connect` of this protocol; mend the client."
    CLOSE_TOO_MANY_REQUESTS 4501 "too_many_requests" "More requests a second than the welcome's `limits` allow; mend the client."
}

numbered_codes! {
    LINK_CODES "Every code of the link." LinkCode
    LINK_BAD_CHANNEL 1 "bad_channel" "Not a channel's name: 1 to 255 bytes of UTF-8, no control characters, no `*`."
    LINK_BAD_PAYLOAD 2 "bad_payload" "The payload is not one JSON value in UTF-8, or nests deeper than 100 levels."
    LINK_TOO_LARGE 3 "too_large" "The payload is over `payload_bytes_max`, or the `once` id or the session over 255 bytes."
    LINK_UNKNOWN_OPTION 4 "unknown_option" "The frame needs an option that this sidecar does not know; bring gem and sidecar to one version."
    LINK_TOO_MANY_REVOCATIONS 5 "too_many_revocations" "As many users and sessions as `REVOCATIONS_MAX` were signed out within a day; rotate the secret instead."
    LINK_BAD_FRAME 100 "bad_frame" "The bytes are not a frame; the link is closed."
    LINK_UNKNOWN_KIND 101 "unknown_kind" "A frame of a kind that this sidecar does not know; bring gem and sidecar to one version."
    LINK_UNSUPPORTED_VERSION 102 "unsupported_version" "Publisher and sidecar share no version of the link; bring gem and sidecar to one version."
    LINK_REPLACED 104 "replaced" "The same publisher opened a newer link."
    LINK_DRAIN 105 "drain" "The sidecar is stopping as planned."
    LINK_FULL 106 "full" "As many publishers as `publishers_max` are linked already."
    LINK_HAND_OFFS_FULL 107 "hand_offs_full" "As many hand-offs as `HAND_OFFS_MAX` are under way; the browser may come again."
    LINK_WATCHES_FULL 108 "watches_full" "As many watchers as `WATCHES_MAX` are there already; end another `lineside tail`."
}

#[cfg(test)]
mod tests;
