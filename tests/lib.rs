//! What the tests of several processes share: the [history checker](history), which judges what publishers sent and
//! browsers saw, and reproducible [choices](random).

pub mod history;
pub mod random;
