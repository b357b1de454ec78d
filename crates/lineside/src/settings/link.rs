//! Path of the link's socket.

use std::path::PathBuf;

use super::Source;

/// Maximum length of a Unix socket's path, in bytes: `sun_path` of unix(7) has 108, with the final NUL.
const LINK_PATH_BYTES_MAX: usize = 107;

/// Returns the absolute path of the link, from `LINESIDE_LINK` or the default below the working directory.
pub(crate) fn link_path(source: &impl Source) -> Result<PathBuf, String> {
    let path = match source.get("LINESIDE_LINK")? {
        None => default_link(source)?,
        Some(text) => text
            .strip_prefix("unix:")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .ok_or_else(|| format!("LINESIDE_LINK is {text:?}: it must be unix:PATH"))?,
    };
    let path = std::path::absolute(&path)
        .map_err(|error| format!("LINESIDE_LINK is {}: {error}", path.display()))?;
    match path.as_os_str().len() {
        0..=LINK_PATH_BYTES_MAX => Ok(path),
        bytes => Err(format!(
            "the link's path {} has {bytes} bytes, but the path of a Unix socket has at most {LINK_PATH_BYTES_MAX}; set \
             LINESIDE_LINK=unix:PATH to a shorter path",
            path.display()
        )),
    }
}

/// Returns the default path of the link for the app's environment, which is named as in Rails.
fn default_link(source: &impl Source) -> Result<PathBuf, String> {
    let environment = match source.get("RAILS_ENV")? {
        Some(name) => Some(name),
        None => source.get("RACK_ENV")?,
    };
    let environment = environment.as_deref().unwrap_or("development");
    Ok(format!("tmp/lineside/{environment}.sock").into())
}

#[cfg(test)]
mod tests;
