//! Settings of connections of Action Cable that a proxy sends to the sidecar's own listener.

use std::path::Path;
use std::str::FromStr;

use lineside_token::{STREAM_KEYS_MAX, StreamKeys};

use super::Source;
use super::secret::read_secret;

/// Setting with the keys of signed stream names, in base64.
pub(super) const TURBO_KEYS: &str = "LINESIDE_TURBO_KEYS";

/// Setting with the number of an inherited file descriptor that holds the same. The gem's launcher sets it.
pub(super) const TURBO_KEYS_FD: &str = "LINESIDE_TURBO_KEYS_FD";

/// Whether a connection needs an identity cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CableIdentity {
    /// Without a valid cookie it is refused.
    #[default]
    Required,
    /// Without a valid cookie it is anonymous.
    Optional,
}

impl CableIdentity {
    /// Value of the setting.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }
}

impl FromStr for CableIdentity {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Required, Self::Optional];
        all.into_iter().find(|it| it.name() == text).ok_or(())
    }
}

/// Returns the keys of signed stream names: none if neither setting is there.
///
/// # Errors
/// Returns an error if both are set, or if a key cannot be read. It never shows a key.
pub(super) fn turbo_keys(source: &impl Source) -> Result<StreamKeys, String> {
    let text = match (source.get(TURBO_KEYS)?, source.get(TURBO_KEYS_FD)?) {
        (Some(_), Some(_)) => {
            return Err(format!(
                "{TURBO_KEYS} and {TURBO_KEYS_FD} are both set; unset one of them"
            ));
        }
        (Some(text), None) => text,
        (None, Some(fd)) => {
            let fd: u32 = fd.parse().map_err(|_| {
                format!("{TURBO_KEYS_FD} is {fd:?}: give the number of a file descriptor")
            })?;
            read_secret(Path::new(&format!("/dev/fd/{fd}")), TURBO_KEYS_FD)?
        }
        (None, None) => String::new(),
    };
    let keys = text.split(',').map(str::trim).filter(|key| !key.is_empty());
    let keys: Vec<String> = keys.map(str::to_owned).collect();
    StreamKeys::decode(&keys).map_err(|number| {
        let number = number + 1;
        format!(
            "key {number} of {TURBO_KEYS} cannot be used: give keys in base64, at most {STREAM_KEYS_MAX}"
        )
    })
}
