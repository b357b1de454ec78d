//! Budget of file descriptors: the limit of the process, divided between connections, requests under way, links and the rest.
//!
//! ```text
//! limit = connections and requests of browsers (BROWSERS) + links, listeners, shards and the log
//! ```
//!
//! Requests of browsers share the budget of the connections, and keep [`REQUESTS_RESERVED`] when all connections are open. So
//! browsers never take a descriptor that a publisher needs.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::log::{Level, event};

/// File descriptors reserved for requests under way, links, listeners, shards and the log.
pub(crate) const DESCRIPTORS_RESERVED: u64 = 256;

/// Part of [`DESCRIPTORS_RESERVED`] for requests under way.
const REQUESTS_RESERVED: u64 = 64;

/// Number of shards whose descriptors are part of [`DESCRIPTORS_RESERVED`]. Each further shard has [`OF_A_SHARD`].
const SHARDS_RESERVED: u64 = 8;

/// File descriptors of a shard: its poll and its waker, each with a copy.
const OF_A_SHARD: u64 = 4;

/// A limit below this number of connections is logged as a warning.
pub(crate) const CONNECTIONS_FEW: usize = 1000;

/// Maximum number of file descriptors for browsers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Maximum number of connections.
    pub(crate) connections_max: usize,
    /// Maximum number of connections and requests under way.
    pub(crate) browsers_max: usize,
}

impl Budget {
    /// Raises the limit of the process as far as possible, and divides it. Logs a limit that allows fewer connections than
    /// `wanted`.
    pub(crate) fn of_the_process(wanted: usize, shards: usize) -> Self {
        let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
            Ok(hard)
        });
        let budget = Self::of_limit(raised.unwrap_or(u64::MAX), wanted, shards);
        if budget.connections_max < wanted {
            budget.log_limited();
        }
        budget
    }

    fn of_limit(descriptors: u64, wanted: usize, shards: usize) -> Self {
        let shards = (shards as u64).saturating_sub(SHARDS_RESERVED);
        let connections = descriptors
            .saturating_sub(DESCRIPTORS_RESERVED + shards * OF_A_SHARD)
            .max(1);
        let count = |descriptors: u64| usize::try_from(descriptors).unwrap_or(usize::MAX);
        Self {
            connections_max: wanted.min(count(connections)),
            browsers_max: count(connections.saturating_add(REQUESTS_RESERVED)),
        }
    }

    /// Maximum number of requests under way beside this number of connections, and at most `max`.
    pub(crate) fn requests_max(&self, connections: usize, max: usize) -> usize {
        self.browsers_max.saturating_sub(connections).clamp(1, max)
    }

    fn log_limited(self) {
        // A limit that suffices for development needs no warning.
        let level = if self.connections_max < CONNECTIONS_FEW {
            Level::Warn
        } else {
            Level::Debug
        };
        event!(
            level,
            "connections_limited",
            connections_max = self.connections_max,
            remedy = "raise the limit of open files (ulimit -n, LimitNOFILE) or lower LINESIDE_CONNECTIONS_MAX"
        );
    }
}

#[cfg(test)]
mod tests;
