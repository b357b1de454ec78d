//! Shared by the tests of several processes: the [history checker](history), a [page] that runs the browser module, and seeded
//! [random choices](random).

pub mod history;
pub mod page;
pub mod random;
