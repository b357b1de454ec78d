//! The Ruby extension: `Lineside::Native`, over `lineside-publisher` and `lineside-token`.
//!
//! It turns Ruby's values into bytes, keeps to Ruby's rules (the GVL, forks, interrupts, garbage collection) and holds no
//! logic of its own. Its functions are documented for Ruby by the classes in lib/lineside, which alone call them. It keeps
//! no Ruby value beyond a call.

#![expect(
    missing_docs,
    reason = "the one public function is `Init_lineside`, which `magnus::init` writes for Ruby"
)]

mod error;
mod gvl;
mod held;
mod json;
mod link;
mod sign_out;
mod token;

use magnus::{Class, Error, Module, Object, RModule, RString, Ruby, Value, function};

#[magnus::init(name = "lineside")]
fn init(ruby: &Ruby) -> Result<(), Error> {
    gvl::in_every_child(link::leave_to_parent)
        .map_err(|problem| error::general(ruby, problem.to_string()))?;
    let native = ruby
        .class_object()
        .const_get::<_, RModule>("Lineside")?
        .define_module("Native")?;
    native.define_singleton_method("configure", function!(link::configure, 1))?;
    native.define_singleton_method("connect", function!(link::connect, 0))?;
    native.define_singleton_method("publish", function!(link::publish, 3))?;
    native
        .define_class("Held", ruby.class_object())?
        .undef_default_alloc_func();
    native.define_singleton_method("hold", function!(held::hold, 2))?;
    native.define_singleton_method("publish_held", function!(held::publish_held, 1))?;
    native.define_singleton_method("release", function!(held::release, 1))?;
    native.define_singleton_method("disconnect", function!(sign_out::disconnect, 3))?;
    native.define_singleton_method("wait", function!(link::wait, 2))?;
    native.define_singleton_method("flush", function!(link::flush, 1))?;
    native.define_singleton_method("cursor", function!(link::cursor, 0))?;
    native.define_singleton_method("encoded_bytes", function!(link::encoded_bytes, 0))?;
    native.define_singleton_method("status", function!(link::status, 0))?;
    native.define_singleton_method("derive", function!(token::derive, 1))?;
    native.define_singleton_method("check_secrets", function!(token::check_secrets, 1))?;
    native.define_singleton_method("sign_connection", function!(token::sign_connection, 2))?;
    native.define_singleton_method("sign_channel", function!(token::sign_channel, 2))?;
    native.define_singleton_method("sign_identity", function!(token::sign_identity, 2))?;
    native.define_singleton_method("encode", function!(encode, 2))?;
    native.define_singleton_method("provoke_panic", function!(error::provoke_panic, 1))?;
    Ok(())
}

/// `Native.encode(data, levels)`: the JSON that publishing would send for it, inside of so many levels of other data.
fn encode(ruby: &Ruby, data: Value, levels: usize) -> Result<RString, Error> {
    error::guard(ruby, || {
        let mut out = Vec::new();
        json::encode(ruby, data, levels, &mut out)?;
        Ok(ruby.enc_str_new(out, ruby.utf8_encoding()))
    })
}
