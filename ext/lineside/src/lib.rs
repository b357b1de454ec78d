//! The Ruby extension: `Lineside.publish`, `Lineside.publish_to` and `Lineside::Native`, over `lineside-publisher` and `lineside-token`.
//!
//! Converts Ruby values to bytes, follows Ruby's rules (GVL, forks, interrupts, garbage collection), and contains no other
//! logic. Only the classes in lib/lineside call its functions, and document them. Keeps no Ruby value after a call.

#![expect(
    missing_docs,
    reason = "the one public function is `Init_lineside`, which `magnus::init` writes for Ruby"
)]

mod direct;
mod error;
mod gvl;
mod held;
mod json;
mod name;
mod origin;
mod publisher;
mod revocation;
mod token;
mod utf8;

use lineside_publisher::FOLLOWED_STREAMS_MAX;
use lineside_publisher::channel::SESSION_ID_BYTES_MAX;
use lineside_publisher::forwarded::FIELDS;
use magnus::{Class, Error, Module, Object, RModule, RString, Ruby, Value, function, method};

#[magnus::init(name = "lineside")]
fn init(ruby: &Ruby) -> Result<(), Error> {
    gvl::in_every_child(publisher::abandon_in_child)
        .map_err(|problem| error::general(ruby, problem.to_string()))?;
    let lineside = ruby.class_object().const_get::<_, RModule>("Lineside")?;
    let publishing = lineside.const_get::<_, RModule>("Publishing")?;
    publishing.define_method("publish", method!(direct::publish, -1))?;
    publishing.define_method("publish_to", method!(direct::publish_to, -1))?;
    let native = lineside.define_module("Native")?;
    native.define_singleton_method("configure", function!(publisher::configure, 1))?;
    native.define_singleton_method("connect", function!(publisher::connect, 0))?;
    native.define_singleton_method("publish", function!(publisher::publish, 4))?;
    native
        .define_class("Held", ruby.class_object())?
        .undef_default_alloc_func();
    native.define_singleton_method("hold", function!(held::hold, 3))?;
    native.define_singleton_method("publish_held", function!(held::publish_held, 1))?;
    native.define_singleton_method("release", function!(held::release, 1))?;
    native.define_singleton_method("disconnect", function!(revocation::disconnect, 3))?;
    native.define_singleton_method("wait", function!(publisher::wait, 2))?;
    native.define_singleton_method("flush", function!(publisher::flush, 1))?;
    native.define_singleton_method("cursor", function!(publisher::cursor, 0))?;
    native.define_singleton_method("status", function!(publisher::status, 0))?;
    native.define_singleton_method("derive", function!(token::derive, 1))?;
    native.define_singleton_method("check_secrets", function!(token::check_secrets, 1))?;
    native.define_singleton_method("sign_connection", function!(token::sign_connection, 2))?;
    native.define_singleton_method("sign_channel", function!(token::sign_channel, 2))?;
    native.define_singleton_method("sign_identity", function!(token::sign_identity, 2))?;
    native.define_singleton_method("channel_problem", function!(name::channel_problem, 1))?;
    native.define_singleton_method("user_id_problem", function!(name::user_id_problem, 1))?;
    native.define_singleton_method(
        "cable_stream_problem",
        function!(name::cable_stream_problem, 1),
    )?;
    native.define_singleton_method("json_problem", function!(name::json_problem, 1))?;
    native.const_set("FOLLOWED_STREAMS_MAX", FOLLOWED_STREAMS_MAX)?;
    native.const_set("SESSION_ID_BYTES_MAX", SESSION_ID_BYTES_MAX)?;
    native.define_singleton_method("server_origin", function!(origin::server_origin, 4))?;
    native.const_set(
        "FORWARDED_FIELDS",
        ruby.ary_from_iter(FIELDS.map(|name| ruby.str_new(name))),
    )?;
    native.define_singleton_method("encode", function!(encode, 2))?;
    native.define_singleton_method("provoke_panic", function!(error::provoke_panic, 1))?;
    Ok(())
}

/// `Native.encode(data, levels)`: the JSON that publishing sends for `data`, as a value inside `levels` arrays or objects.
fn encode(ruby: &Ruby, data: Value, levels: usize) -> Result<RString, Error> {
    error::guard(ruby, || {
        let mut out = Vec::new();
        json::encode(ruby, data, levels, &mut out)?;
        Ok(ruby.enc_str_new(out, ruby.utf8_encoding()))
    })
}
