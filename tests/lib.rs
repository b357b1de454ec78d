//! What the tests of several processes share: the [history checker](history), which judges what publishers sent and
//! browsers saw, a [page] that runs the browser module, and reproducible [choices](random).

pub mod history;
pub mod page;
pub mod random;
