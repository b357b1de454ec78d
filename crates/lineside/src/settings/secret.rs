//! Secret: from the environment, a file, or an inherited file descriptor.

use std::fmt::Display;
use std::io::Read as _;
use std::path::Path;

use lineside_token::Keys;

use super::Source;

/// Setting with the path of the secret's file. SIGHUP reads the file again.
pub(crate) const SECRET_FILE: &str = "LINESIDE_SECRET_FILE";

/// Maximum size of a secret, in bytes. A list of keys for a rotation is far smaller. A larger file is another one.
const SECRET_BYTES_MAX: u64 = 16 * 1024;

/// Returns the keys, from `LINESIDE_SECRET_FD`, `LINESIDE_SECRET` or `LINESIDE_SECRET_FILE`.
///
/// # Errors
/// Returns an error if none or more than one of them is set, or if the secret cannot be read or is too short.
pub(crate) fn secret(source: &impl Source) -> Result<Keys, String> {
    let set = |name| {
        source
            .get(name)
            .map(|value| value.map(|value| (name, value)))
    };
    let sources = [
        set("LINESIDE_SECRET_FD")?,
        set("LINESIDE_SECRET")?,
        set(SECRET_FILE)?,
    ];
    let mut sources = sources.into_iter().flatten();
    let (name, value) = sources.next().ok_or(
        "there is no secret: start with `bundle exec lineside` inside the app, or set LINESIDE_SECRET or \
         LINESIDE_SECRET_FILE",
    )?;
    if let Some((other, _)) = sources.next() {
        return Err(format!(
            "{name} and {other} are both set; unset one of them"
        ));
    }
    let text = match name {
        "LINESIDE_SECRET" => value,
        SECRET_FILE => read_secret(Path::new(&value), name)?,
        _ => {
            let fd: u32 = value.parse().map_err(|_| {
                format!("{name} is {value:?}: give the number of a file descriptor")
            })?;
            read_secret(Path::new(&format!("/dev/fd/{fd}")), name)?
        }
    };
    Keys::parse(&text).map_err(|error| format!("{name}: {error}"))
}

/// Reads a secret from a file, or from a descriptor by its path. `name` is the setting, for errors.
pub(super) fn read_secret(path: &Path, name: &str) -> Result<String, String> {
    let invalid = |reason: &dyn Display| format!("{name} is {}, which {reason}", path.display());
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| invalid(&format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(invalid(&format!(
            "has more than {SECRET_BYTES_MAX} bytes: is it another file?"
        )));
    }
    String::from_utf8(bytes).map_err(|_| {
        invalid(&"is not UTF-8: write the secret as text, such as from `openssl rand -hex 32`")
    })
}

#[cfg(test)]
mod tests;
