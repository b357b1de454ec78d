//! What a publisher is told, and the limits that nobody sets.

use std::path::PathBuf;

use lineside_protocol::PAYLOAD_BYTES_MAX;
use lineside_protocol::channel::{self, CABLE_NAME_BYTES_MAX, CABLE_PREFIX, USER_PREFIX};

/// Answers and flushes waited for at once, each. A process has fewer threads; a publish that asked for a receipt and never
/// came for it holds a place until then, and the oldest gives way first.
pub const WAITERS_MAX: usize = 1024;

/// Longest `once` id, in bytes.
pub const ONCE_BYTES_MAX: usize = 255;

/// Part of the spool that is kept for frames that sign somebody out, in bytes, beyond `spool_bytes_max`: a thousand of the
/// usual size, since whoever signs out must not stay in because much is published.
pub const CONTROL_BYTES_RESERVED: usize = 64 * 1024;

/// Longest id of a user, in bytes: `user:<id>` must be the name of a channel.
pub(crate) const USER_BYTES_MAX: usize = channel::NAME_BYTES_MAX - USER_PREFIX.len();

/// Longest id of a session, in bytes: what a token may hold.
pub(crate) const SESSION_BYTES_MAX: usize = 255;

/// Longest channel that fits any rule, in bytes: a cable stream with its prefix.
pub(crate) const CHANNEL_BYTES_MAX: usize = CABLE_PREFIX.len() + CABLE_NAME_BYTES_MAX;

/// Longest name in a hello, in bytes: it stands in the sidecar's log lines.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// Longest text of the sidecar that is kept in an error, in bytes.
pub(crate) const REASON_BYTES_MAX: usize = 1024;

/// How long the sidecar may take to answer a hello, in milliseconds.
pub(crate) const HANDSHAKE_MS_MAX: u64 = 5_000;

/// How exactly age is kept, in milliseconds: it counts from when the link first looks, which it does this often at least,
/// and publications this close together are dropped together.
pub(crate) const AGE_STEP_MS: u64 = 1000;

/// How a publisher finds its sidecar, and how much it may hold back.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Unix socket where the sidecar listens.
    pub link: PathBuf,
    /// For the sidecar's logs, such as `puma[4711]`; cut at 255 bytes.
    pub name: String,
    /// Of the key that tokens are signed with; zeros without one. The sidecar's must be the same, or tokens are refused.
    pub fingerprint: [u8; 8],
    /// Frames held until they are acked, in bytes; beyond that nothing more is accepted. The memory behind it is at most
    /// twice that.
    pub spool_bytes_max: usize,
    /// Frames that could not be sent are dropped at this age, in seconds, and at 1 second at the earliest.
    pub spool_seconds_max: u64,
    /// Larger payloads are not accepted, in bytes.
    pub payload_bytes_max: usize,
}

impl Settings {
    /// The defaults for a sidecar at `link`: 8 MiB, 60 seconds, payloads up to [`PAYLOAD_BYTES_MAX`], no key.
    #[must_use]
    pub fn new(link: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self {
            link: link.into(),
            name: name.into(),
            fingerprint: [0; 8],
            spool_bytes_max: 8 * 1024 * 1024,
            spool_seconds_max: 60,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
        }
    }
}
