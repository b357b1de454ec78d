//! Tokens: signing, verification, and the channels that a token opens.
//!
//! A token is a JWT (RFC 7519) in compact form, signed with HS256 (RFC 7515, RFC 7518 §3.2) and no other algorithm. Its
//! `aud` names its one purpose: a *connection token* identifies a browser and opens its channels, a *channel token* opens
//! one channel, and an *identity* is the cookie that names a browser's user. Signing and verification apply the same
//! rules, because both use the same constructors.
//!
//! A *signed stream name* is not a JWT: it is Turbo's own form, which is only verified here.
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
mod sign;
mod stream_name;
mod verify;

pub use claims::{
    CHANNELS_MAX, ChannelClaims, ChannelDraft, ClaimError, ConnectionClaims, ConnectionDraft,
    GRANTS_MAX, IDENTITY_TTL_SECONDS_MAX, IdentityDraft, TTL_SECONDS_MAX,
};
pub use grant::Grant;
pub use key::{KEY_BYTES_MIN, KEYS_MAX, KeyError, Keys, derive};
pub use lineside_protocol::channel::NameError;
pub use sign::{sign_channel, sign_connection, sign_identity};
pub use stream_name::{
    SIGNED_NAME_BYTES_MAX, STREAM_KEYS_MAX, StreamKeys, StreamName, StreamNameError,
};
pub use verify::{LEEWAY_MS, TokenError, verify_channel, verify_connection, verify_identity};

/// Maximum length of a token, in bytes. Longer tokens are never signed, and are refused before they are decoded.
///
/// 8 KiB is nginx's default limit for one request line or header (`large_client_header_buffers`), and a token may be sent
/// in either.
pub const TOKEN_BYTES_MAX: usize = 8192;

/// `aud` of a connection token.
const CONNECTION_AUDIENCE: &str = "lineside";

/// `aud` of a channel token.
const CHANNEL_AUDIENCE: &str = "lineside:channel";

/// `aud` of an identity.
const IDENTITY_AUDIENCE: &str = "lineside:cable";
