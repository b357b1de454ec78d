//! Keys: which secrets sign and verify, and how an app derives one.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Shortest secret, in bytes: as long as the output of SHA-256, which RFC 7518 §3.2 demands of HS256.
pub const KEY_BYTES_MIN: usize = 32;

/// Most secrets in one list. A rotation needs two; each further one costs every forged token another HMAC.
pub const KEYS_MAX: usize = 8;

/// What a fingerprint is the MAC of. It has no dot, so no token's signature can be taken for a fingerprint.
const FINGERPRINT_TEXT: &[u8] = b"lineside key fingerprint v1";

/// Bytes of a fingerprint: enough to tell keys apart. It tells nothing of a random key, but would confirm a guessed one.
const FINGERPRINT_BYTES: usize = 8;

/// HKDF's `info` for the secret that an app derives from its own key.
const DERIVE_INFO: &[u8] = b"lineside/secret/v1";

/// Bytes of a derived secret, before it is written in hexadecimal.
const DERIVED_BYTES: usize = 32;

/// Why a list of secrets is refused. No variant holds any part of one; positions count from 1.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// A list that is empty, or an entry that is.
    #[error(
        "secret {position} of the list is empty; give at least {KEY_BYTES_MIN} random bytes, or remove its comma"
    )]
    Empty {
        /// Place in the list.
        position: usize,
    },
    /// An entry that could be guessed for its length.
    #[error("secret {position} of the list has {bytes} bytes; at least {KEY_BYTES_MIN} are needed")]
    Short {
        /// Place in the list.
        position: usize,
        /// Its length without the white space around it.
        bytes: usize,
    },
    /// An entry that is one byte over and over.
    #[error("secret {position} of the list repeats a single byte; use random bytes")]
    Repeated {
        /// Place in the list.
        position: usize,
    },
    /// More entries than [`KEYS_MAX`].
    #[error("the list has {count} secrets; at most {KEYS_MAX} are kept, drop the oldest")]
    TooMany {
        /// Entries in the list.
        count: usize,
    },
}

/// The secrets of one deployment: the first signs, all verify, so that a secret can be rotated without refusing what
/// the old one signed. Shown nowhere, wiped from memory on drop.
pub struct Keys {
    keys: Vec<Key>,
}

impl Keys {
    /// Reads a comma-separated list; white space around a secret is not part of it. The text itself stays the caller's
    /// to wipe.
    ///
    /// # Errors
    /// [`KeyError`] for the first secret that is empty, short or a single repeated byte, or if there are too many.
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

    /// Names the signing key without telling it, so that both ends of the link can see whether they share it: the first
    /// 8 bytes of HMAC-SHA256(first secret, `lineside key fingerprint v1`).
    #[must_use]
    pub fn fingerprint(&self) -> [u8; FINGERPRINT_BYTES] {
        self.signing().fingerprint()
    }

    /// The fingerprints of all keys, the signing one first.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<[u8; FINGERPRINT_BYTES]> {
        self.keys.iter().map(Key::fingerprint).collect()
    }

    /// The MAC of the signing key over these bytes.
    pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; 32] {
        self.signing().mac(bytes).finalize().into_bytes().into()
    }

    /// Whether one of the keys made this MAC over these bytes. Each comparison takes the same time wherever they differ.
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

/// The secret that an app derives from its `secret_key_base`, so that the key itself never leaves it: HKDF-SHA256
/// (RFC 5869) without salt, `info` `lineside/secret/v1`, 32 bytes in lower-case hexadecimal, ready for [`Keys::parse`].
///
/// It is as strong as what it is derived from and hides how weak that was: an empty or short key must be refused by the
/// caller.
#[must_use]
#[expect(
    clippy::missing_panics_doc,
    reason = "32 bytes are one block of HKDF, which yields up to 255 (RFC 5869 §2.3)"
)]
pub fn derive(app_key: &[u8]) -> String {
    let mut secret = Zeroizing::new([0; DERIVED_BYTES]);
    Hkdf::<Sha256>::new(None, app_key)
        .expand(DERIVE_INFO, secret.as_mut())
        .expect("one block of HKDF is always to be had");
    secret.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One secret that has passed the rules; wiped on drop.
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
        std::array::from_fn(|place| mac[place])
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let keyed = Hmac::<Sha256>::new_from_slice(&self.0)
            .expect("HMAC takes keys of any length (RFC 2104 §3)");
        keyed.chain_update(bytes)
    }
}

#[cfg(test)]
mod tests;
