//! Signed stream names of Turbo: `ActiveSupport::MessageVerifier` with the digest SHA256 and the serializer JSON.
//!
//! ```text
//! <base64 of JSON> "--" <hex of HMAC-SHA256(key, the base64 text)>
//! ```
//!
//! The JSON is the name, or `{"_rails":{"data":name,"exp":"2026-01-02T03:04:05.678Z","pur":null}}`. Rails before 7.1 writes
//! `message`, the base64 of the name's JSON, in place of `data` (`active_support/messages/metadata.rb`).

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

/// Maximum length of a signed name, in bytes: a name of maximum length in base64 twice, with its metadata and digest.
pub const SIGNED_NAME_BYTES_MAX: usize = 4096;

/// Maximum number of keys of one app.
pub const STREAM_KEYS_MAX: usize = 16;

/// Separator of base64 and digest.
const SEPARATOR: &str = "--";

/// Length of the digest in hexadecimal digits.
const DIGEST_DIGITS: usize = 64;

/// Rails reads both alphabets, with and without padding. The signature covers the text, so all of its bits count.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Keys that verify signed stream names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StreamKeys(Vec<Zeroizing<Vec<u8>>>);

/// Verified name of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamName {
    /// The name.
    pub name: String,
    /// Time after which the name is invalid, in milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
}

/// Reason for refusing a signed name.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StreamNameError {
    /// None of the keys has signed it.
    #[error("none of the app's keys has signed the stream name")]
    Signature,
    /// The signed text is no stream name.
    #[error("the signed text is no stream name")]
    Malformed,
    /// It was signed for another purpose.
    #[error("the stream name was signed for another purpose")]
    Purpose,
    /// It has expired.
    #[error("the stream name has expired")]
    Expired,
}

impl StreamKeys {
    /// Reads keys in base64.
    ///
    /// # Errors
    /// The number of the first key that is empty or no base64, or [`STREAM_KEYS_MAX`] if there are more keys.
    pub fn decode(keys: &[String]) -> Result<Self, usize> {
        if keys.len() > STREAM_KEYS_MAX {
            return Err(STREAM_KEYS_MAX);
        }
        let decode = |(number, text): (usize, &String)| {
            let key = LENIENT.decode(text).map(Zeroizing::new);
            key.ok().filter(|key| !key.is_empty()).ok_or(number)
        };
        let keys = keys.iter().enumerate().map(decode);
        keys.collect::<Result<_, _>>().map(Self)
    }

    /// Number of keys.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every key of `other` is one of these.
    #[must_use]
    pub fn cover(&self, other: &Self) -> bool {
        other.0.iter().all(|key| self.0.contains(key))
    }

    /// Verifies a signed name. `now_ms` is the time in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// The reason if no key has signed it, or it is not valid now.
    pub fn verify(&self, signed: &str, now_ms: u64) -> Result<StreamName, StreamNameError> {
        let encoded = self.authentic(signed).ok_or(StreamNameError::Signature)?;
        let text = decode(encoded)?;
        let signed: Value =
            serde_json::from_slice(&text).map_err(|_| StreamNameError::Malformed)?;
        let Some(metadata) = signed.get("_rails") else {
            return name(signed, None);
        };
        if !metadata.get("pur").is_none_or(Value::is_null) {
            return Err(StreamNameError::Purpose);
        }
        let expires_ms = match metadata.get("exp") {
            None | Some(Value::Null) => None,
            Some(exp) => Some(milliseconds(exp).ok_or(StreamNameError::Malformed)?),
        };
        if expires_ms.is_some_and(|it| it <= now_ms) {
            return Err(StreamNameError::Expired);
        }
        let data = match (metadata.get("data"), metadata.get("message")) {
            (Some(data), _) => data.clone(),
            (None, Some(Value::String(message))) => {
                serde_json::from_slice(&decode(message)?).map_err(|_| StreamNameError::Malformed)?
            }
            _ => return Err(StreamNameError::Malformed),
        };
        name(data, expires_ms)
    }

    /// The base64 text, if one of the keys has signed it. The digest is cut from the end, because base64url may have `--`.
    fn authentic<'a>(&self, signed: &'a str) -> Option<&'a str> {
        if signed.len() > SIGNED_NAME_BYTES_MAX {
            return None;
        }
        let split = signed.len().checked_sub(DIGEST_DIGITS)?;
        let (front, digits) = signed.split_at_checked(split)?;
        let encoded = front.strip_suffix(SEPARATOR)?;
        let digest = hexadecimal(digits)?;
        let is_signed_by = |key: &Zeroizing<Vec<u8>>| {
            Hmac::<Sha256>::new_from_slice(key).is_ok_and(|mac| {
                mac.chain_update(encoded.as_bytes())
                    .verify_slice(&digest)
                    .is_ok()
            })
        };
        self.0.iter().any(is_signed_by).then_some(encoded)
    }
}

impl std::fmt::Debug for StreamKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "StreamKeys({} keys)", self.0.len())
    }
}

fn name(value: Value, expires_ms: Option<u64>) -> Result<StreamName, StreamNameError> {
    match value {
        Value::String(name) => Ok(StreamName { name, expires_ms }),
        _ => Err(StreamNameError::Malformed),
    }
}

fn decode(text: &str) -> Result<Vec<u8>, StreamNameError> {
    let standard = text.replace('-', "+").replace('_', "/");
    LENIENT
        .decode(standard)
        .map_err(|_| StreamNameError::Malformed)
}

fn milliseconds(exp: &Value) -> Option<u64> {
    let time = OffsetDateTime::parse(exp.as_str()?, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

/// Bytes of lower-case hexadecimal digits, as Rails writes and compares them.
fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| Some(value(pair[0])? * 16 + value(pair[1])?))
        .collect()
}

#[cfg(test)]
mod tests;
