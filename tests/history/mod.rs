//! History checker: reads a log of what publishers sent and pages received, and reports every broken promise.
//!
//! A test that runs publishers and browsers, simulated or as real processes in any language, writes one [`Event`] a line,
//! as JSON. [`judge`] is the checker. It reports each violation with the lines that prove it:
//!
//! - **loss**: a publication in the journal reaches every page that stayed subscribed, across resumes answered
//!   `recovered`, unless the page received `lost`;
//! - **repeats**: no publication arrives twice after a page's cursor; a publication repeated after a crash has another
//!   epoch and is marked `resent`;
//! - **order**: positions increase on a connection, each position holds one publication for all pages, and the
//!   publications of one publisher are in the order of its calls;
//! - **access**: a page receives a channel only with a grant and a subscription, and never after the user's sign-out;
//! - **honest replies**: no `recovered` with a gap or across epochs, no message before `subscribed` or after
//!   `unsubscribed`, and no page that resumes after a cursor it did not receive or that is ahead of what it has.
//!
//! A needless `lost` is allowed and counted ([`Counts::false_alarms`]).
//!
//! Lines of different processes may be interleaved in any way that keeps the order of each process. Three rules are
//! stricter: [`Fetched`](Event::Fetched) follows every [`Sent`](Event::Sent) that its state contains,
//! [`Settled`](Event::Settled) is the last line, and the lines of one browser are in the order in which it sent and
//! received.

mod event;
mod judge;
mod verdict;

pub use event::{Channel, Event, Item, read, write};
pub use judge::judge;
pub use verdict::{Counts, Fault, Finding, Judgement};
