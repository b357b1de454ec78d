//! The history checker: reads what publishers sent and what each browser saw, and says what went wrong.
//!
//! Whatever runs publishers and browsers (simulated, or real processes in any language) writes one [`Event`] a line, as
//! JSON; [`judge`] reads them all and decides, with the lines that prove it:
//!
//! - **loss**: a publication that landed reaches every page that was subscribed all along, resumed `recovered` meanwhile
//!   or not, unless the page was told `lost`;
//! - **repeats**: nothing comes twice after a page's cursor; what a crash repeats comes in another epoch and says so;
//! - **order**: positions increase on a connection, one position is one publication for everybody, and the publications
//!   of one publisher stand in the order of its calls;
//! - **crossing**: nobody hears of a channel without a grant or a subscription, or after a sign-out;
//! - **honesty**: no `recovered` with a hole, none across epochs, no message before `subscribed` or after `unsubscribed`,
//!   no cursor named that was not given or that runs ahead of what the page has.
//!
//! A needless `lost` is no fault; it is counted ([`Counts::false_alarms`]).
//!
//! Lines of different processes may interleave in any order that keeps each one's own, with three exceptions: a line
//! [`Fetched`](Event::Fetched) has the lines [`Sent`](Event::Sent) above it that its state contains,
//! [`Settled`](Event::Settled) comes last, and a browser's lines follow what it did and heard in that order.

mod event;
mod judge;
mod verdict;

pub use event::{Channel, Event, Item, read, write};
pub use judge::judge;
pub use verdict::{Counts, Fault, Finding, Judgement};
