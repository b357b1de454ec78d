//! Panics that something catches, as a worker does for the sake of its other connections.

use std::cell::Cell;
use std::sync::Once;

thread_local! {
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

static HOOKED: Once = Once::new();

/// From here on they are noticed.
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

/// Nothing has panicked on this thread.
pub(crate) fn assert_none() {
    assert!(!PANICKED.get(), "something panicked, and was caught");
}
