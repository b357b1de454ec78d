//! Encodings of Ruby Strings.

use magnus::encoding::{Coderange, EncodingCapable};
use magnus::value::ReprValue;
use magnus::{Error, RString, Ruby, Value};

/// Returns why the bytes of a String are not UTF-8, or `None` for valid UTF-8 and for ASCII in a compatible encoding.
///
/// # Errors
/// Returns an error that Ruby raises for the String's encoding.
pub(crate) fn utf8_problem(ruby: &Ruby, string: RString) -> Result<Option<String>, Error> {
    let is_utf8 = string.enc_get() == ruby.utf8_encindex();
    match string.enc_coderange_scan() {
        Coderange::SevenBit => Ok(None),
        Coderange::Valid if is_utf8 => Ok(None),
        Coderange::Broken if is_utf8 => Ok(Some("is not valid UTF-8".into())),
        Coderange::Valid | Coderange::Broken | Coderange::Unknown => {
            let encoding: Value = string.funcall("encoding", ())?;
            Ok(Some(format!("is {encoding}, not UTF-8: encode it first")))
        }
    }
}
