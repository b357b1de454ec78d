//! The publishing end of the link: what a Ruby process hands over goes into a bounded spool, and one background thread
//! brings it to the sidecar.
//!
//! ```text
//! publish ─▶ Tail ──seal──▶ Backlog ──Link──▶ sidecar
//!            (many threads,  (the writer      acks free the backlog; what a broken link
//!             one mutex)      thread's own)   left unacked is sent again on the next one
//! ```
//!
//! Publishing never waits for the sidecar, whether it is absent, stopped or slow: it copies into memory and returns. What
//! does wait ([`Publisher::wait_receipt`], [`Publisher::wait_flushed`]) polls a descriptor, so that another thread can
//! interrupt it.
//!
//! ```no_run
//! use lineside_publisher::{PublishOptions, Publisher, Settings};
//!
//! let publisher = Publisher::new(Settings::new("/run/app/lineside.sock", "worker[4711]"));
//! publisher.publish("news", br#"{"id":7}"#, PublishOptions::default())?;
//! # Ok::<(), lineside_publisher::NotAccepted>(())
//! ```

#![forbid(unsafe_code)]

mod backoff;
mod bell;
mod link;
mod publisher;
mod settings;
mod socket;
mod spool;
mod state;
mod wait;
mod writer;

pub use publisher::{Left, NotAccepted, PublishOptions, Publisher, Sequence};
pub use settings::{CONTROL_BYTES_RESERVED, ONCE_BYTES_MAX, Settings, WAITERS_MAX};
pub use state::Status;
pub use wait::{Flushed, Interrupter, Outcome, Waiter};
