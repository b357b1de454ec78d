//! Settings of a publisher, and its fixed limits.

use std::path::PathBuf;

use lineside_protocol::PAYLOAD_BYTES_MAX;
use lineside_protocol::channel::{CABLE_NAME_BYTES_MAX, CABLE_PREFIX};

/// Maximum number of kept receipts, and of concurrent flushes. Beyond it the oldest is dropped. A process has fewer threads
/// than this, so that only receipts that nobody fetches are dropped.
pub const WAITERS_MAX: usize = 1024;

/// Maximum length of a `once` id, in bytes.
pub const ONCE_BYTES_MAX: usize = 255;

/// Space in the spool for revocations beyond `spool_bytes_max`, in bytes: about a thousand of them. A full spool must not
/// keep a user signed in.
pub const CONTROL_BYTES_RESERVED: usize = 64 * 1024;

/// Maximum length of a channel name of any kind, in bytes: a cable stream with its prefix.
pub(crate) const CHANNEL_BYTES_MAX: usize = CABLE_PREFIX.len() + CABLE_NAME_BYTES_MAX;

/// Maximum length of the process name in a hello, in bytes. The sidecar logs it.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// Maximum length of a text from the sidecar in an error, in bytes.
pub(crate) const REASON_BYTES_MAX: usize = 1024;

/// Time-out for the welcome, in milliseconds.
pub(crate) const HANDSHAKE_MS_MAX: u64 = 5_000;

/// Resolution of the age of frames, in milliseconds. Age counts from the link's first look at a frame, which happens at
/// least this often. Frames this close together expire together.
pub(crate) const AGE_STEP_MS: u64 = 1000;

/// Settings of a publisher: the address of its sidecar, and the limits of its spool.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Path of the sidecar's Unix socket.
    pub link: PathBuf,
    /// Name of this process in the sidecar's logs, such as `puma[4711]`. Truncated to 255 bytes.
    pub name: String,
    /// Fingerprint of the key that signs tokens, or zeros without one. The sidecar refuses tokens of another key.
    pub fingerprint: [u8; 8],
    /// Maximum size of all unacked frames, in bytes. A full spool refuses publications. Uses at most twice this memory.
    pub spool_bytes_max: usize,
    /// Maximum age of unsent frames, in seconds, at least 1. Older frames are dropped.
    pub spool_seconds_max: u64,
    /// Maximum size of a payload, in bytes.
    pub payload_bytes_max: usize,
}

impl Settings {
    /// Returns the defaults for a sidecar at `link`: 8 MiB, 60 seconds, payloads up to [`PAYLOAD_BYTES_MAX`], no key.
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
