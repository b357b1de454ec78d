//! Secrets that sign and verify tokens, and the derivation of a secret from an app's own key.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Minimum length of a secret, in bytes: the output length of SHA-256, which RFC 7518 §3.2 requires for HS256.
pub const KEY_BYTES_MIN: usize = 32;

/// Maximum number of secrets in one list. A rotation needs two. Each forged token costs one HMAC per secret.
pub const KEYS_MAX: usize = 8;

/// Input of the fingerprint's MAC. It contains no dot, so the signature of a token is never a fingerprint.
const FINGERPRINT_TEXT: &[u8] = b"lineside key fingerprint v1";

/// Length of a fingerprint, in bytes. It reveals nothing about a random key, but confirms a guessed one.
const FINGERPRINT_BYTES: usize = 8;

/// HKDF `info` of the secret that an app derives from its own key.
const DERIVE_INFO: &[u8] = b"lineside/secret/v1";

/// Length of a derived secret, in bytes before hexadecimal encoding.
const DERIVED_BYTES: usize = 32;

/// Rule that a list of secrets breaks. No variant contains any part of a secret. Positions count from 1.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// The list or one of its entries is empty.
    #[error(
        "secret {position} of the list is empty; give at least {KEY_BYTES_MIN} random bytes, or remove its comma"
    )]
    Empty {
        /// Position in the list.
        position: usize,
    },
    /// The secret is too short.
    #[error("secret {position} of the list has {bytes} bytes; at least {KEY_BYTES_MIN} are needed")]
    Short {
        /// Position in the list.
        position: usize,
        /// Length without surrounding white space, in bytes.
        bytes: usize,
    },
    /// The secret repeats a single byte.
    #[error("secret {position} of the list repeats a single byte; use random bytes")]
    Repeated {
        /// Position in the list.
        position: usize,
    },
    /// The list has more entries than [`KEYS_MAX`].
    #[error("the list has {count} secrets; at most {KEYS_MAX} are allowed, remove the oldest")]
    TooMany {
        /// Number of secrets in the list.
        count: usize,
    },
}

/// Secrets of one deployment. The first signs and all verify, so that tokens of the old secret stay valid during a
/// rotation. The secrets are never shown, and are wiped from memory on drop.
pub struct Keys {
    keys: Vec<Key>,
}

impl Keys {
    /// Parses a comma-separated list, and ignores white space around each secret. The caller must wipe the text itself.
    ///
    /// # Errors
    /// Returns [`KeyError`] for the first secret that is empty, short or a single repeated byte, or if there are too many.
    pub fn parse(list: &str) -> Result<Self, KeyError> {
        let count = list.split(',').count();
        if count > KEYS_MAX {
            return Err(KeyError::TooMany { count });
        }
        let secrets = list.split(',').map(str::trim).zip(1..);
        let keys = secrets
            .map(|(secret, position)| Key::new(secret.as_bytes(), position))
            .collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// Returns the fingerprint of the signing key: the first 8 bytes of HMAC-SHA256(first secret,
    /// `lineside key fingerprint v1`). Both ends of the link compare fingerprints to detect different secrets.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; FINGERPRINT_BYTES] {
        self.signing().fingerprint()
    }

    /// Returns the fingerprints of all keys, the signing key first.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<[u8; FINGERPRINT_BYTES]> {
        self.keys.iter().map(Key::fingerprint).collect()
    }

    /// Returns the MAC of the bytes under the signing key.
    pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; 32] {
        self.signing().mac(bytes).finalize().into_bytes().into()
    }

    /// Returns whether any of the keys produced the MAC. Compares in constant time.
    pub(crate) fn verify(&self, bytes: &[u8], mac: &[u8]) -> bool {
        self.keys
            .iter()
            .any(|key| key.mac(bytes).verify_slice(mac).is_ok())
    }

    fn signing(&self) -> &Key {
        self.keys
            .first()
            .expect("parse never yields an empty list: splitting a text gives at least one part")
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({}, redacted)", self.keys.len())
    }
}

/// Derives a secret from an app's `secret_key_base`, so that the key itself stays in the app: HKDF-SHA256 (RFC 5869)
/// without salt, `info` `lineside/secret/v1`, 32 bytes in lower-case hexadecimal. [`Keys::parse`] accepts the result.
///
/// The caller must refuse an empty or short key: the derived secret is only as strong as its input, and hides its length.
#[must_use]
#[expect(
    clippy::missing_panics_doc,
    reason = "32 bytes are one block of HKDF, which yields up to 255 (RFC 5869 §2.3)"
)]
pub fn derive(app_key: &[u8]) -> String {
    let mut secret = Zeroizing::new([0; DERIVED_BYTES]);
    Hkdf::<Sha256>::new(None, app_key)
        .expand(DERIVE_INFO, secret.as_mut())
        .expect("HKDF yields 32 bytes for any input");
    secret.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One valid secret. Wiped from memory on drop.
struct Key(Zeroizing<Vec<u8>>);

impl Key {
    fn new(secret: &[u8], position: usize) -> Result<Self, KeyError> {
        let bytes = secret.len();
        match secret {
            [] => Err(KeyError::Empty { position }),
            _ if bytes < KEY_BYTES_MIN => Err(KeyError::Short { position, bytes }),
            [first, rest @ ..] if rest.iter().all(|byte| byte == first) => {
                Err(KeyError::Repeated { position })
            }
            _ => Ok(Self(Zeroizing::new(secret.to_vec()))),
        }
    }

    fn fingerprint(&self) -> [u8; FINGERPRINT_BYTES] {
        let mac: [u8; 32] = self.mac(FINGERPRINT_TEXT).finalize().into_bytes().into();
        std::array::from_fn(|index| mac[index])
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let keyed = Hmac::<Sha256>::new_from_slice(&self.0)
            .expect("HMAC takes keys of any length (RFC 2104 §3)");
        keyed.chain_update(bytes)
    }
}

#[cfg(test)]
mod tests;
