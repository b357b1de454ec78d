//! Unsafe wrappers around Ruby and libc calls. The only file with `unsafe`.

#![expect(
    unsafe_code,
    reason = "magnus and the standard library wrap none of these calls; each use states why it is sound"
)]

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;

use lineside_publisher::Interrupter;
use magnus::rb_sys::{AsRawId, AsRawValue, FromRawValue, protect};
use magnus::value::Id;
use magnus::{Error, RString, Symbol, Value};

/// Registers `hook` to run in every forked child, before any other code. Unlike Ruby's own hook it also runs for
/// `Process.daemon`. The hook must be async-signal-safe: take no lock, free no memory.
///
/// # Errors
/// Returns an error if the system is out of memory.
pub(crate) fn in_every_child(hook: extern "C" fn()) -> std::io::Result<()> {
    // SAFETY: the hook is a function of this library, which Ruby never unloads.
    let failed = unsafe { libc::pthread_atfork(None, None, Some(hook)) };
    if failed == 0 {
        Ok(())
    } else {
        Err(std::io::Error::from_raw_os_error(failed))
    }
}

/// Calls `reader` with the bytes of a String. `Send` excludes Ruby values, so that `reader` cannot call Ruby, which might
/// move the bytes.
pub(crate) fn read<R>(string: RString, reader: impl FnOnce(&[u8]) -> R + Send) -> R {
    // SAFETY: the GVL is held (an `RString` exists only with it) and the reader calls no Ruby, so nothing changes or frees
    // the bytes before it returns; `string` is on the stack until then.
    let bytes = unsafe { string.as_slice() };
    reader(bytes)
}

/// Returns the name of a Symbol, in its own encoding.
pub(crate) fn symbol_name(symbol: Symbol) -> RString {
    // SAFETY: the argument is a Symbol.
    let name = unsafe { rb_sys::rb_sym2str(symbol.as_raw()) };
    // SAFETY: Ruby has just returned the value, and it is on the stack.
    let name = unsafe { Value::from_raw(name) };
    RString::from_value(name).expect("rb_sym2str returns a String")
}

/// Whether the call of the current native method has keywords. The last argument is then a Hash of them.
pub(crate) fn has_keywords() -> bool {
    // SAFETY: native methods run with the GVL, inside a Ruby frame.
    unsafe { rb_sys::rb_keyword_given_p() != 0 }
}

/// Calls a method, private ones too, with arguments of the current native method, and with its keywords.
///
/// # Errors
/// Returns the error that the method raises.
pub(crate) fn call_with_same_keywords(
    receiver: Value,
    method: Id,
    arguments: &[Value],
) -> Result<Value, Error> {
    let count = c_int::try_from(arguments.len()).unwrap_or(c_int::MAX);
    // 1 is RB_PASS_KEYWORDS of ruby/internal/eval.h.
    let has_keywords = c_int::from(has_keywords());
    let result = protect(|| {
        // SAFETY: `Value` is a transparent VALUE, the arguments are on Ruby's stack as those of the native method, and `protect` catches
        // what the method raises.
        unsafe {
            rb_sys::rb_funcallv_kw(
                receiver.as_raw(),
                method.as_raw(),
                count,
                arguments.as_ptr().cast(),
                has_keywords,
            )
        }
    })?;
    // SAFETY: Ruby has just returned the value, and it is on the stack.
    Ok(unsafe { Value::from_raw(result) })
}

/// Runs `work` without the GVL, so that other Ruby threads can run. A signal, `Timeout` or `Thread#kill` calls the
/// interrupter, and `work` must return soon after. Returns `None` if an interrupt was pending before `work` began; the
/// caller must then check interrupts, as after every interruption.
///
/// # Panics
/// Resumes a panic of `work`.
pub(crate) fn without<R: Send>(
    interrupter: &Interrupter,
    work: impl FnOnce() -> R + Send,
) -> Option<R> {
    let mut call = Call {
        work: Some(work),
        result: None,
    };
    // SAFETY: `run` gets the `Call` of the same types and `interrupt` the `Interrupter`; both outlive their use, since this
    // function returns only after both have returned. `Send` keeps Ruby's values out of `work`.
    unsafe {
        rb_sys::rb_thread_call_without_gvl2(
            Some(call.runner()),
            ptr::from_mut(&mut call).cast(),
            Some(interrupt),
            ptr::from_ref(interrupter).cast_mut().cast(),
        );
    }
    call.result
        .map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)))
}

/// A closure that is passed through C, and its result.
struct Call<F, R> {
    work: Option<F>,
    result: Option<Result<R, Box<dyn Any + Send>>>,
}

impl<F: FnOnce() -> R, R> Call<F, R> {
    fn runner(&self) -> unsafe extern "C" fn(*mut c_void) -> *mut c_void {
        run::<F, R>
    }
}

/// Runs the closure, and catches its panic, which must not unwind through C frames.
unsafe extern "C" fn run<F: FnOnce() -> R, R>(call: *mut c_void) -> *mut c_void {
    // SAFETY: `without` passes the `Call<F, R>` on its stack, and waits for this function.
    let call = unsafe { &mut *call.cast::<Call<F, R>>() };
    call.result = call
        .work
        .take()
        .map(|work| catch_unwind(AssertUnwindSafe(work)));
    ptr::null_mut()
}

/// Interrupts the closure.
unsafe extern "C" fn interrupt(interrupter: *mut c_void) {
    // SAFETY: `without` passes its `Interrupter`, and Ruby calls this function only while `without` waits.
    let interrupter = unsafe { &*interrupter.cast::<Interrupter>() };
    interrupter.interrupt();
}
