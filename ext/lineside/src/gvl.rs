//! What Ruby's and the system's interfaces leave to their caller to keep right: the only file with `unsafe`.

#![expect(
    unsafe_code,
    reason = "magnus and the standard library wrap none of this; each use states what keeps it right"
)]

use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;

use lineside_publisher::Interrupter;
use magnus::rb_sys::{AsRawValue, FromRawValue};
use magnus::{RString, Symbol, Value};

/// Has `hook` called in every forked child, before anything else runs there, whoever calls fork(2): Ruby's own hook does
/// not see `Process.daemon`. The hook may do only what is allowed between fork and exec: take no lock, free nothing.
///
/// # Errors
/// When the system has no memory for the hook.
pub(crate) fn in_every_child(hook: extern "C" fn()) -> std::io::Result<()> {
    // SAFETY: the hook is a function of this library, which Ruby never unloads.
    let failed = unsafe { libc::pthread_atfork(None, None, Some(hook)) };
    if failed == 0 {
        Ok(())
    } else {
        Err(std::io::Error::from_raw_os_error(failed))
    }
}

/// Gives a look at a String's bytes. `Send` keeps Ruby's values out of the reader, so that it cannot make Ruby move the
/// bytes meanwhile.
pub(crate) fn read<R>(string: RString, reader: impl FnOnce(&[u8]) -> R + Send) -> R {
    // SAFETY: the GVL is held (`string` is only ever made with it) and the reader calls no Ruby, so nothing changes or
    // frees the bytes before it returns; `string` stands on the stack until then.
    let bytes = unsafe { string.as_slice() };
    reader(bytes)
}

/// The name of a Symbol, in the encoding it has.
pub(crate) fn symbol_name(symbol: Symbol) -> RString {
    // SAFETY: the argument is a Symbol.
    let name = unsafe { rb_sys::rb_sym2str(symbol.as_raw()) };
    // SAFETY: Ruby has just returned it, and it is on the stack.
    let name = unsafe { Value::from_raw(name) };
    RString::from_value(name).expect("rb_sym2str returns a String")
}

/// Runs `work` while other Ruby threads run. Whoever wants this thread meanwhile (a signal, `Timeout`, `Thread#kill`)
/// rings the interrupter, and `work` is expected to return soon after. `None` if Ruby had something for this thread
/// before it began; the caller then checks interrupts, as after every interruption.
///
/// # Panics
/// Goes on with a panic of `work`.
pub(crate) fn without<R: Send>(
    interrupter: &Interrupter,
    work: impl FnOnce() -> R + Send,
) -> Option<R> {
    let mut call = Call {
        work: Some(work),
        result: None,
    };
    // SAFETY: `run` gets the `Call` of the same types and `ring` the `Interrupter`; both outlive this function's use of
    // them, since it returns only after both are done. `Send` keeps Ruby's values out of `work`.
    unsafe {
        rb_sys::rb_thread_call_without_gvl2(
            Some(call.runner()),
            ptr::from_mut(&mut call).cast(),
            Some(ring),
            ptr::from_ref(interrupter).cast_mut().cast(),
        );
    }
    call.result
        .map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)))
}

/// A closure on its way through C, and what came of it.
struct Call<F, R> {
    work: Option<F>,
    result: Option<Result<R, Box<dyn Any + Send>>>,
}

impl<F: FnOnce() -> R, R> Call<F, R> {
    fn runner(&self) -> unsafe extern "C" fn(*mut c_void) -> *mut c_void {
        run::<F, R>
    }
}

/// A panic must not cross C's frames, so it is carried past them.
unsafe extern "C" fn run<F: FnOnce() -> R, R>(call: *mut c_void) -> *mut c_void {
    // SAFETY: `without` passes the `Call<F, R>` it has on its stack, and waits.
    let call = unsafe { &mut *call.cast::<Call<F, R>>() };
    call.result = call
        .work
        .take()
        .map(|work| catch_unwind(AssertUnwindSafe(work)));
    ptr::null_mut()
}

unsafe extern "C" fn ring(interrupter: *mut c_void) {
    // SAFETY: `without` passes the `Interrupter` it was given, and Ruby calls this only while it waits.
    let interrupter = unsafe { &*interrupter.cast::<Interrupter>() };
    interrupter.interrupt();
}
