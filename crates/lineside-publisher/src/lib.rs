//! The publishing end of the link: what a Ruby process hands over goes into a bounded spool, and one background thread
//! brings it to the sidecar.
//!
//! ```text
//! publish ─▶ Tail ──seal──▶ Backlog ──Link──▶ sidecar
//!            (many threads,  (the link's     acks free the backlog; what a broken connection
//!             one mutex)      own)           left unacked is sent again on the next one
//! └───── Spool ─────┘ └──────── Link ────────┘
//! ```
//!
//! [`Spool`] and [`Link`] decide everything, and do no IO: they are told what came, what was taken and how late it is.
//! [`Publisher`]'s thread drives them with a socket, a clock and a bell; a simulation drives the same two from one seed.
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

mod bell;
mod link;
mod publisher;
mod settings;
mod socket;
mod spool;
mod wait;
mod writer;

pub use lineside_protocol::NESTING_LEVELS_MAX;
pub use link::{Ended, Link};
pub use publisher::{Left, Publisher};
pub use settings::{CONTROL_BYTES_RESERVED, ONCE_BYTES_MAX, Settings, WAITERS_MAX};
pub use spool::{NotAccepted, Outcome, PublishOptions, Sequence, Spool, Status};
pub use wait::{Flushed, Interrupter, Waiter};
