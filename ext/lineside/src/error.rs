//! Ruby exceptions, and the boundary that catches panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lineside_publisher::panic_message;
use magnus::value::Lazy;
use magnus::{Error, ExceptionClass, Module, RModule, Ruby};

static ERROR: Lazy<ExceptionClass> = Lazy::new(|ruby| class(ruby, "Error"));
static CONFIGURATION: Lazy<ExceptionClass> = Lazy::new(|ruby| class(ruby, "ConfigurationError"));
static UNCONFIRMED: Lazy<ExceptionClass> = Lazy::new(|ruby| class(ruby, "Unconfirmed"));
static TOO_LARGE: Lazy<ExceptionClass> = Lazy::new(|ruby| class(ruby, "PayloadTooLarge"));

/// Returns an exception class of lib/lineside/error.rb, which is loaded before the extension.
fn class(ruby: &Ruby, name: &str) -> ExceptionClass {
    let lineside = ruby.class_object().const_get::<_, RModule>("Lineside");
    lineside
        .and_then(|module| module.const_get(name))
        .expect("lib/lineside/error.rb defines the class and is loaded before the extension")
}

/// Creates a `Lineside::Error`.
pub(crate) fn general(ruby: &Ruby, message: impl Into<String>) -> Error {
    Error::new(ruby.get_inner(&ERROR), message.into())
}

/// Creates a `Lineside::ConfigurationError`.
pub(crate) fn configuration(ruby: &Ruby, message: impl Into<String>) -> Error {
    Error::new(ruby.get_inner(&CONFIGURATION), message.into())
}

/// Creates a `Lineside::Unconfirmed`.
pub(crate) fn unconfirmed(ruby: &Ruby, message: impl Into<String>) -> Error {
    Error::new(ruby.get_inner(&UNCONFIRMED), message.into())
}

/// Creates a `Lineside::PayloadTooLarge`.
pub(crate) fn too_large(ruby: &Ruby, message: impl Into<String>) -> Error {
    Error::new(ruby.get_inner(&TOO_LARGE), message.into())
}

/// Creates an `ArgumentError`.
pub(crate) fn argument(ruby: &Ruby, message: impl Into<String>) -> Error {
    Error::new(ruby.exception_arg_error(), message.into())
}

/// Runs the body of a function that Ruby calls, and turns a panic into a `Lineside::Error`. magnus would raise `fatal`,
/// which Ruby cannot rescue.
///
/// # Errors
/// Returns the error of `work`, or the panic.
pub(crate) fn guard<R>(ruby: &Ruby, work: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(general(ruby, panic_message(&*panic))))
}

/// Panics inside [`guard`], with or without the GVL, so that a spec can check the exception.
pub(crate) fn provoke_panic(ruby: &Ruby, without_gvl: bool) -> Result<(), Error> {
    guard(ruby, || {
        if without_gvl {
            let waiter = crate::publisher::waiter(ruby)?;
            crate::gvl::without(&waiter.interrupter(), || panic!("provoked without the GVL"));
        }
        panic!("provoked")
    })
}
