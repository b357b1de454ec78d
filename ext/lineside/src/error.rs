//! Ruby's errors, and the boundary that no panic crosses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use magnus::value::Lazy;
use magnus::{Error, ExceptionClass, Module, RModule, Ruby};

static ERROR: Lazy<ExceptionClass> = Lazy::new(|ruby| class(ruby, "Error"));
static CONFIGURATION: Lazy<ExceptionClass> = Lazy::new(|ruby| class(ruby, "ConfigurationError"));
static TOO_LARGE: Lazy<ExceptionClass> = Lazy::new(|ruby| class(ruby, "PayloadTooLarge"));

/// The classes are Ruby's: lib/lineside/error.rb is loaded before the extension.
fn class(ruby: &Ruby, name: &str) -> ExceptionClass {
    let lineside = ruby.class_object().const_get::<_, RModule>("Lineside");
    lineside
        .and_then(|module| module.const_get(name))
        .expect("lib/lineside/error.rb defines it and is loaded before the extension")
}

/// A `Lineside::Error`.
pub(crate) fn general(ruby: &Ruby, message: impl Into<String>) -> Error {
    Error::new(ruby.get_inner(&ERROR), message.into())
}

/// A `Lineside::ConfigurationError`.
pub(crate) fn configuration(ruby: &Ruby, message: impl Into<String>) -> Error {
    Error::new(ruby.get_inner(&CONFIGURATION), message.into())
}

/// A `Lineside::PayloadTooLarge`.
pub(crate) fn too_large(ruby: &Ruby, message: impl Into<String>) -> Error {
    Error::new(ruby.get_inner(&TOO_LARGE), message.into())
}

/// An `ArgumentError`.
pub(crate) fn argument(ruby: &Ruby, message: impl Into<String>) -> Error {
    Error::new(ruby.exception_arg_error(), message.into())
}

/// Runs what Ruby has called. A panic becomes a `Lineside::Error`: magnus would make it a `fatal`, which no `rescue`
/// catches.
///
/// # Errors
/// Those of `work`, and the panic.
pub(crate) fn guard<R>(ruby: &Ruby, work: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let told = panic.downcast_ref::<&str>().copied();
        let told = told
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        Err(general(
            ruby,
            format!("a fault of Lineside's own, please report it: {told}"),
        ))
    })
}

/// Panics on purpose, inside the boundary: a spec sees that a panic becomes an error, with the GVL and without.
pub(crate) fn provoke_panic(ruby: &Ruby, without_gvl: bool) -> Result<(), Error> {
    guard(ruby, || {
        if without_gvl {
            let waiter = crate::link::waiter(ruby)?;
            crate::gvl::without(&waiter.interrupter(), || panic!("provoked without the GVL"));
        }
        panic!("provoked")
    })
}
