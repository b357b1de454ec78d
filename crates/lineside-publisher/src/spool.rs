//! The spool: what was accepted and is not acked yet.
//!
//! Producers append to the [`Tail`], under the publisher's mutex; the writer moves it, sealed into [`Chunk`]s, to the
//! [`Backlog`], which only the writer touches. Both are plain data: no IO, no lock, no clock but the one passed in.

mod backlog;
mod chunk;
mod tail;

pub(crate) use backlog::Backlog;
pub(crate) use chunk::{CHUNK_BYTES_MAX, Chunk};
pub(crate) use tail::Tail;

#[cfg(test)]
mod tests;
