//! Checks of names and JSON for Ruby. The rules are those of `lineside-protocol`.

use lineside_publisher::{channel, check_json};
use magnus::{Error, RString, Ruby};

use crate::error::guard;
use crate::gvl;
use crate::utf8::utf8_problem;

/// `Native.channel_problem(name)`: nil if the String names a shared channel, otherwise a String with the reason.
pub(crate) fn channel_problem(ruby: &Ruby, name: RString) -> Result<Option<String>, Error> {
    problem(ruby, name, channel::check_shared)
}

/// `Native.user_id_problem(id)`: nil if the String is a valid user id, otherwise a String with the reason.
pub(crate) fn user_id_problem(ruby: &Ruby, id: RString) -> Result<Option<String>, Error> {
    problem(ruby, id, channel::check_user_id)
}

/// `Native.cable_stream_problem(name)`: nil if the String names an Action Cable stream, otherwise a String with the reason.
pub(crate) fn cable_stream_problem(ruby: &Ruby, name: RString) -> Result<Option<String>, Error> {
    problem(ruby, name, channel::check_cable_stream)
}

/// `Native.json_problem(text)`: nil if the String is one JSON value, otherwise a String with the reason.
pub(crate) fn json_problem(ruby: &Ruby, text: RString) -> Result<Option<String>, Error> {
    problem(ruby, text, check_json)
}

fn problem<E: ToString>(
    ruby: &Ruby,
    text: RString,
    check: fn(&str) -> Result<(), E>,
) -> Result<Option<String>, Error> {
    guard(ruby, || {
        if let Some(problem) = utf8_problem(ruby, text)? {
            return Ok(Some(format!("it {problem}")));
        }
        let checked = gvl::read(text, |bytes| match str::from_utf8(bytes) {
            Ok(text) => check(text).err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        });
        Ok(checked)
    })
}
