//! `Lineside.publish` and `Lineside.publish_to`.
//!
//! Handles calls without keywords, outside transactions and without a subscriber of `publish.lineside`. Passes all others on to
//! lib/lineside/publishing.rb, which documents both methods.

use lineside_publisher::{PublishOptions, channel};
use magnus::encoding::{Coderange, EncodingCapable};
use magnus::value::{LazyId, ReprValue};
use magnus::{Error, RString, Ruby, Value};

use crate::error::{self, guard};
use crate::publisher::{current, not_accepted, with_scratch};
use crate::{gvl, json};

static IS_DIRECT: LazyId = LazyId::new("direct?");
static CHANNEL_NAME: LazyId = LazyId::new("channel_name");
static USER_CHANNEL_NAME: LazyId = LazyId::new("user_channel_name");
static NOT_ACCEPTED: LazyId = LazyId::new("not_accepted");
static PUBLISH: LazyId = LazyId::new("publish_with");
static PUBLISH_TO: LazyId = LazyId::new("publish_to_with");

/// `Lineside.publish`.
pub(crate) fn publish(ruby: &Ruby, lineside: Value, arguments: &[Value]) -> Result<Value, Error> {
    let [channel, data] = *arguments else {
        return pass_on(ruby, lineside, &PUBLISH, arguments);
    };
    if gvl::has_keywords() || !is_direct(ruby, lineside)? {
        return pass_on(ruby, lineside, &PUBLISH, arguments);
    }
    send(ruby, lineside, data, |name| {
        if append_text(ruby, channel, name) {
            return Ok(());
        }
        append_name(ruby, lineside, &CHANNEL_NAME, channel, name)
    })
}

/// `Lineside.publish_to`.
pub(crate) fn publish_to(
    ruby: &Ruby,
    lineside: Value,
    arguments: &[Value],
) -> Result<Value, Error> {
    let [user, data] = *arguments else {
        return pass_on(ruby, lineside, &PUBLISH_TO, arguments);
    };
    if gvl::has_keywords() || !is_direct(ruby, lineside)? {
        return pass_on(ruby, lineside, &PUBLISH_TO, arguments);
    }
    send(ruby, lineside, data, |name| {
        append_name(ruby, lineside, &USER_CHANNEL_NAME, user, name)
    })
}

/// Whether a publication can be handed over at once, without an event.
fn is_direct(ruby: &Ruby, lineside: Value) -> Result<bool, Error> {
    lineside.funcall(LazyId::get_inner_with(&IS_DIRECT, ruby), ())
}

/// Calls the Ruby method with the same arguments and keywords.
fn pass_on(
    ruby: &Ruby,
    lineside: Value,
    method: &'static LazyId,
    arguments: &[Value],
) -> Result<Value, Error> {
    gvl::call_with_same_keywords(lineside, LazyId::get_inner_with(method, ruby), arguments)
}

/// Publishes on the channel whose name `append` appends.
fn send(
    ruby: &Ruby,
    lineside: Value,
    data: Value,
    append: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
) -> Result<Value, Error> {
    guard(ruby, || {
        with_scratch(|scratch| {
            append(scratch)?;
            let end = scratch.len();
            json::encode(ruby, data, 0, scratch)?;
            let (name, payload) = scratch.split_at(end);
            let name = str::from_utf8(name)
                .map_err(|_| error::argument(ruby, "the channel's name is not valid UTF-8"))?;
            let accepted = current(ruby)?.publish(name, payload, PublishOptions::default());
            match accepted {
                Ok(_) => Ok(ruby.qtrue().as_value()),
                Err(problem) => {
                    let reason = not_accepted(ruby, &problem)?;
                    lineside.funcall(LazyId::get_inner_with(&NOT_ACCEPTED, ruby), (reason,))
                }
            }
        })
    })
}

/// Appends a String that is a valid name of a shared channel as it is. Returns false, and appends nothing, for everything else.
fn append_text(ruby: &Ruby, text: Value, name: &mut Vec<u8>) -> bool {
    let Some(text) = json::plain(text, RString::from_value, ruby.class_string()) else {
        return false;
    };
    let is_utf8 = match text.enc_coderange_scan() {
        Coderange::SevenBit => true,
        Coderange::Valid => text.enc_get() == ruby.utf8_encindex(),
        Coderange::Broken | Coderange::Unknown => false,
    };
    is_utf8
        && gvl::read(text, |bytes| {
            // Ruby decides whether a name without a printable ASCII character is blank.
            let is_valid = bytes.iter().any(u8::is_ascii_graphic)
                && str::from_utf8(bytes).is_ok_and(|text| channel::check_shared(text).is_ok());
            if is_valid {
                name.extend_from_slice(bytes);
            }
            is_valid
        })
}

/// Appends the name that a Ruby method gives. It raises if there is none.
fn append_name(
    ruby: &Ruby,
    lineside: Value,
    method: &'static LazyId,
    named: Value,
    name: &mut Vec<u8>,
) -> Result<(), Error> {
    let given: RString = lineside.funcall(LazyId::get_inner_with(method, ruby), (named,))?;
    gvl::read(given, |bytes| name.extend_from_slice(bytes));
    Ok(())
}
