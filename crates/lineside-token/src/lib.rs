//! Tokens: whether one is genuine and in date, and what it lets its bearer read.
//!
//! A token is a JWT (RFC 7519) in compact form, signed with HS256 (RFC 7515, RFC 7518 §3.2) and nothing else. It serves
//! one purpose, told by `aud`: a *connection token* identifies a browser and opens its channels, a *channel token* opens
//! one channel, an *identity* says whose browser it is and travels in a cookie. The same rules hold for signing and for verifying, because both pass through the same constructor.
//!
//! Pure functions: no IO, no async, no clock. Time is an argument, in milliseconds since the Unix epoch.
//!
//! ```
//! use lineside_token::{ConnectionDraft, Keys, sign_connection, verify_connection};
//!
//! let keys = Keys::parse("an example of a secret: not for use")?;
//! let draft = ConnectionDraft {
//!     sub: Some("42".into()),
//!     allow: vec!["chat:*".into()],
//!     ttl_s: 3600,
//!     ..ConnectionDraft::default()
//! };
//! let token = sign_connection(draft, &keys, 1_700_000_000_000)?;
//! let claims = verify_connection(&token, &keys, 1_700_000_001_000)?;
//! assert!(claims.opens("chat:7") && claims.opens("user:42"));
//! assert!(!claims.opens("user:43"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod claims;
mod grant;
mod json;
mod key;
mod name;
mod sign;
mod verify;

pub use claims::{
    CHANNELS_MAX, ChannelClaims, ChannelDraft, ClaimError, ConnectionClaims, ConnectionDraft,
    GRANTS_MAX, IDENTITY_TTL_SECONDS_MAX, IdentityDraft, SID_BYTES_MAX, TTL_SECONDS_MAX,
};
pub use grant::Grant;
pub use key::{KEY_BYTES_MIN, KEYS_MAX, KeyError, Keys, derive};
pub use name::{NAME_BYTES_MAX, NameError, SUB_BYTES_MAX};
pub use sign::{sign_channel, sign_connection, sign_identity};
pub use verify::{LEEWAY_MS, TokenError, verify_channel, verify_connection, verify_identity};

/// Longest token, in bytes: refused before anything is decoded, and never signed.
///
/// 8 KiB is what nginx takes for one request line or header by default (`large_client_header_buffers`), and a token may
/// travel in either.
pub const TOKEN_BYTES_MAX: usize = 8192;

/// `aud` of a connection token.
const CONNECTION_AUDIENCE: &str = "lineside";

/// `aud` of a channel token.
const CHANNEL_AUDIENCE: &str = "lineside:channel";

/// `aud` of an identity.
const IDENTITY_AUDIENCE: &str = "lineside:cable";
