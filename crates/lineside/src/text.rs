//! Text from outside, prepared for the log and for terminals: characters that could control a terminal are escaped, tokens
//! are redacted, and the names of records' channels are decoded.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Replacement of a token.
const REDACTED: &str = "[redacted]";

/// Text before a token in a URL, and in a subprotocol.
const PARAMETER: &str = "token=";
const SUBPROTOCOL: &str = "lineside.token.";

/// Minimum length of the third part of a token, in characters. A signature with HS256 has 43.
const SIGNATURE_CHARS_MIN: usize = 32;

/// `gid://` and the beginning of an app's name, in base64url: the beginning of a record's `to_gid_param`.
const RECORD_MARK: &str = "Z2lkOi8v";

/// Returns whether a character can control a terminal, or change how the text around it is shown: control characters,
/// format characters (category Cf of Unicode, with the bidirectional marks), and separators of lines.
pub(crate) fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
            | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Prepares a text for one line of a terminal: escapes it, and redacts tokens.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in redact(text).chars() {
        if is_unsafe(char) {
            out.extend(char.escape_unicode());
        } else {
            out.push(char);
        }
    }
    out
}

/// Prepares JSON for one line of a terminal, without changing its value: between tokens of JSON only white space is
/// allowed, and becomes a space. In strings, unsafe characters become escapes.
pub(crate) fn printable_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for char in json.chars() {
        match char {
            '\n' | '\r' | '\t' => out.push(' '),
            char if is_unsafe(char) => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            char => out.push(char),
        }
    }
    out
}

/// Replaces tokens by `[redacted]`, found by their shape: three parts of base64url with dots between them, the value of a
/// parameter `token=`, and the rest of a subprotocol `lineside.token.`.
pub(crate) fn redact(text: &str) -> Cow<'_, str> {
    replace_words(text, |before, word| {
        if before.len() >= PARAMETER.len()
            && before.as_bytes()[before.len() - PARAMETER.len()..]
                .eq_ignore_ascii_case(PARAMETER.as_bytes())
        {
            return Some(REDACTED.to_owned());
        }
        if let Some((start, token)) = word.split_once(SUBPROTOCOL) {
            return (!token.is_empty()).then(|| format!("{start}{SUBPROTOCOL}{REDACTED}"));
        }
        is_token(word).then(|| REDACTED.to_owned())
    })
}

/// Returns whether a word contains three parts of a token: the first begins like the JSON of a header, or the third is as
/// long as a signature, which no top-level domain is.
fn is_token(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    parts.windows(3).any(|part| {
        part.iter().all(|part| !part.is_empty())
            && (part[0].starts_with("eyJ") || part[2].len() >= SIGNATURE_CHARS_MIN)
    })
}

/// Adds the readable form to names of records' channels: `Z2lkOi8v…` becomes `Z2lkOi8v… (gid://app/Order/7)`.
pub(crate) fn with_record_names(text: &str) -> Cow<'_, str> {
    replace_words(text, |_, word| {
        record_name(word).map(|name| format!("{word} ({name})"))
    })
}

/// Returns the readable form of a channel's name, with the global id of each record in it. `None` if it names no record.
pub(crate) fn readable_channel(channel: &str) -> Option<String> {
    let parts: Vec<Cow<'_, str>> = channel
        .split(':')
        .map(|part| record_name(part).map_or(Cow::Borrowed(part), Cow::Owned))
        .collect();
    let has_record = parts.iter().any(|part| matches!(part, Cow::Owned(_)));
    has_record.then(|| parts.join(":"))
}

/// Decodes the global id of a record, such as `gid://app/Order/7`, from its form in a channel's name.
fn record_name(word: &str) -> Option<String> {
    if !word.starts_with(RECORD_MARK) {
        return None;
    }
    let id = String::from_utf8(URL_SAFE_NO_PAD.decode(word).ok()?).ok()?;
    (!id.contains(is_unsafe)).then_some(id)
}

/// Replaces words, which are the longest runs of letters of base64url and dots. `replace` takes the text before a word, and
/// the word. A word after `=` extends to the end of a parameter's value.
fn replace_words(text: &str, replace: impl Fn(&str, &str) -> Option<String>) -> Cow<'_, str> {
    let is_of_word = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    let is_of_value = |char: char| is_of_word(char) || "%+/=~".contains(char);
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(start) = text[at..].find(is_of_word).map(|found| at + found) {
        let is_value = text[..start].ends_with('=');
        let end = text[start..]
            .find(|char| !(is_of_word(char) || is_value && is_of_value(char)))
            .map_or(text.len(), |length| start + length);
        if let Some(new) = replace(&text[..start], &text[start..end]) {
            out.push_str(&text[copied..start]);
            out.push_str(&new);
            copied = end;
        }
        at = end;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
