//! Publishing end of the link: a bounded spool in memory, and one background thread that sends its frames to the sidecar.
//!
//! ```text
//! publish ─▶ Tail ──seal──▶ Backlog ─────────▶ sidecar
//!            (many threads,  (owned by       acks free the backlog; unacked frames are sent
//!             one mutex)      LinkClient)    again on the next connection
//! └───── Spool ─────┘ └────── LinkClient ────┘
//! ```
//!
//! [`Spool`] and [`LinkClient`] contain all decisions and do no IO: bytes and times are arguments. The thread of
//! [`Publisher`] drives them with a socket, a clock and a wake-up descriptor; the simulation drives them from a seed.
//!
//! Publishing never waits for the sidecar, whether it is absent, stopped or slow: it copies the payload into memory and
//! returns. [`Publisher::wait_receipt`] and [`Publisher::wait_flushed`] wait in a poll, which another thread can
//! interrupt.
//!
//! ```no_run
//! use lineside_publisher::{PublishOptions, Publisher, Settings};
//!
//! let publisher = Publisher::new(Settings::new("/run/app/lineside.sock", "worker[4711]"));
//! publisher.publish("news", br#"{"id":7}"#, PublishOptions::default())?;
//! # Ok::<(), lineside_publisher::NotAccepted>(())
//! ```

#![forbid(unsafe_code)]

mod link;
mod panic;
mod publisher;
pub mod remedy;
mod settings;
mod socket;
mod spool;
mod wait;
mod wake_fd;
mod writer;

pub use lineside_protocol::frame::FOLLOWED_STREAMS_MAX;
pub use lineside_protocol::{NESTING_LEVELS_MAX, channel, check_json, forwarded, nesting_levels};
pub use link::{Ended, LinkClient};
pub use panic::panic_message;
pub use publisher::{Publisher, Unconfirmed};
pub use settings::{CONTROL_BYTES_RESERVED, ONCE_BYTES_MAX, Settings, WAITERS_MAX};
pub use spool::{NotAccepted, Outcome, PublishOptions, Sequence, Spool, Status};
pub use wait::{Flushed, Interrupter, Waiter};
