//! Codes of the browser protocol and of the link. Numbers and names are never reused.
//!
//! `docs/codes.md` contains the same tables. A test compares them.

/// Code of an error reply to one request of a browser. The connection stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    /// Name in the envelope.
    pub name: &'static str,
    /// Meaning and remedy, for people.
    pub meaning: &'static str,
}

/// Code of a WebSocket close frame.
///
/// 40xx: reconnect with a fresh token. 41xx: reconnect with the same token, after `after_ms`. 45xx: do not reconnect.
/// 1xxx: codes of RFC 6455 §7.4.1; do not reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode {
    /// Number in the close frame.
    pub number: u16,
    /// Reason in the close frame and in the `disconnect` envelope.
    pub name: &'static str,
    /// Meaning and remedy, for people.
    pub meaning: &'static str,
}

/// Code of a refused frame or an ended link. A refused frame is refused again when it is retransmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkCode {
    /// Number in the frame.
    pub number: u16,
    /// Name in messages and logs.
    pub name: &'static str,
    /// Meaning and remedy, for people.
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
    BAD_REQUEST "bad_request" "The frame is not a JSON object of this protocol; fix the client."
    UNKNOWN_TYPE "unknown_type" "The server does not know this `type`; the welcome's `features` list the extensions that it supports."
    BAD_CHANNEL "bad_channel" "Not a valid channel name: 1 to 255 bytes, no control characters, no `*`."
    FORBIDDEN "forbidden" "The token does not open this channel; fetch a token that does."
    TOKEN_INVALID "token_invalid" "The token is invalid; fetch a fresh one."
    TOKEN_EXPIRED "token_expired" "The token has expired; fetch a fresh one."
    TOKEN_REVOKED "token_revoked" "The token was revoked: the user was signed out after it was signed; fetch a fresh one."
    TOKEN_NOT_YET_VALID "token_not_yet_valid" "The token is not valid yet; compare the clocks of the app and the sidecar."
    OTHER_USER "other_user" "The new token belongs to another user; open a new connection."
    ALREADY_CONNECTED "already_connected" "The connection has sent `connect` already; use `subscribe` or `refresh`."
    TOO_MANY_SUBSCRIPTIONS "too_many_subscriptions" "The connection has as many subscriptions as the welcome's `limits` allow; unsubscribe first."
    EXPIRED "expired" "Code of an `unsubscribed` that was not requested: the token of the channel expired, or a fresh token no longer opens it; subscribe with a fresh token."
}

numbered_codes! {
    CLOSE_CODES "Every close code." CloseCode
    CLOSE_PROTOCOL_ERROR 1002 "protocol_error" "The client's frames violate RFC 6455."
    CLOSE_UNSUPPORTED_DATA 1003 "binary" "The client sent a binary frame; this protocol uses text frames."
    CLOSE_INVALID_TEXT 1007 "invalid_text" "The client sent a text frame that is not UTF-8."
    CLOSE_TOO_LARGE 1009 "too_large" "The client sent a message over the `message_bytes_max` of the welcome's `limits`."
    CLOSE_TOKEN_INVALID 4001 "token_invalid" "The token is invalid."
    CLOSE_TOKEN_REVOKED 4002 "token_revoked" "The token was revoked: the user was signed out after it was signed; fetch a fresh one."
    CLOSE_TOKEN_EXPIRED 4003 "token_expired" "The token has expired."
    CLOSE_TOKEN_NOT_YET_VALID 4004 "token_not_yet_valid" "The token is not valid yet; compare the clocks of the app and the sidecar."
    CLOSE_DRAIN 4100 "drain" "The server is stopping as planned; reconnect after `after_ms`."
    CLOSE_SLOW 4101 "slow" "The client reads too slowly; resume after `after_ms`."
    CLOSE_HEARTBEAT 4102 "heartbeat" "The client sent nothing within 10 seconds of a ping."
    CLOSE_CONNECT_TIMEOUT 4103 "connect_timeout" "The client sent no `connect` within 5 seconds."
    CLOSE_MESSAGE_TIMEOUT 4104 "message_timeout" "The client did not finish a message within 30 seconds."
    CLOSE_OVERLOADED 4105 "overloaded" "The server has too little memory for the client's unfinished message; reconnect after `after_ms`."
    CLOSE_APP_TIMEOUT 4106 "app_timeout" "The app did not answer a command of Action Cable within a minute."
    CLOSE_BAD_CONNECT 4500 "bad_connect" "The first frame is not a `connect` of this protocol; fix the client."
    CLOSE_TOO_MANY_REQUESTS 4501 "too_many_requests" "The client sends more requests per second than the welcome's `limits` allow; fix the client."
}

numbered_codes! {
    LINK_CODES "Every code of the link." LinkCode
    LINK_BAD_CHANNEL 1 "bad_channel" "Not a valid channel name: 1 to 255 bytes of UTF-8, no control characters, no `*`."
    LINK_BAD_PAYLOAD 2 "bad_payload" "The payload is not one JSON value in UTF-8, or nests deeper than 100 levels."
    LINK_TOO_LARGE 3 "too_large" "The payload is over `payload_bytes_max`, or the `once` id or the session id is over 255 bytes."
    LINK_UNKNOWN_OPTION 4 "unknown_option" "The frame requires an option that this sidecar does not know; bring gem and sidecar to one version."
    LINK_BAD_ONCE 5 "bad_once" "The `once` id is empty; give 1 to 255 bytes, or none."
    LINK_BAD_FRAME 100 "bad_frame" "The bytes are not a frame; the link is closed."
    LINK_UNKNOWN_KIND 101 "unknown_kind" "The sidecar does not know this kind of frame; bring gem and sidecar to one version."
    LINK_UNSUPPORTED_VERSION 102 "unsupported_version" "Publisher and sidecar share no version of the link; bring gem and sidecar to one version."
    LINK_REPLACED 104 "replaced" "The same publisher opened a newer link."
    LINK_DRAIN 105 "drain" "The sidecar is stopping as planned."
    LINK_FULL 106 "full" "The sidecar has `publishers_max` publishers already, the most possible."
    LINK_HAND_OFFS_FULL 107 "hand_offs_full" "The sidecar has `HAND_OFFS_MAX` hand-offs in progress, the most possible; the browser may retry."
    LINK_TAILS_FULL 108 "tails_full" "16 links of `lineside tail` are open, the maximum; end one of them."
    LINK_KEY_MISMATCH 109 "key_mismatch" "Publisher and sidecar have different secrets; give both the same, or start the sidecar with `bundle exec lineside` inside the app."
    LINK_APP_LINKS_FULL 110 "app_links_full" "256 app links are open, the maximum: fewer processes of the app can subscribe."
    LINK_APP_SLOW 111 "app_slow" "The process does not read what it follows fast enough; it reconnects and is sent what it missed."
    LINK_STREAMS_FULL 112 "streams_full" "The process follows 65,536 streams, the maximum; spread its connections over more processes."
    LINK_SETTLES_FULL 113 "settles_full" "64 calls of `settle!` wait already, the maximum."
}

#[cfg(test)]
mod tests;
