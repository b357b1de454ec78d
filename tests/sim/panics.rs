//! Detection of caught panics: a worker catches those of one connection to protect the others.

use std::cell::Cell;
use std::sync::Once;

thread_local! {
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

static HOOKED: Once = Once::new();

/// Starts noticing panics.
pub(crate) fn watch() {
    HOOKED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICKED.set(true);
            before(panic);
        }));
    });
    PANICKED.set(false);
}

/// Asserts that nothing has panicked on this thread.
pub(crate) fn assert_none() {
    assert!(!PANICKED.get(), "a panic was caught");
}
