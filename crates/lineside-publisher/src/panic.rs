//! Error message for a caught panic.

use std::any::Any;

/// Returns the error message for a caught panic: a request to report it, and the text of the panic.
#[must_use]
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!(
        "internal error in Lineside, please report it: {}",
        text.unwrap_or("no message")
    )
}
