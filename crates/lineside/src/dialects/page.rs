//! The page behind an upgrade request: its origin, and the user that its cookies identify.

use crate::head::{Head, HeadError, ServerOrigin};
use crate::origin::Origin;
use crate::settings::Settings;

/// Name of the cookie with the identity of a page's user. Each app adds a suffix of its own, as browsers share cookies
/// between all ports of a host.
const IDENTITY_COOKIE: &str = "lineside";

/// Maximum number of identity cookies that are verified. A host has few apps.
const IDENTITIES_MAX: usize = 8;

/// Checks the origin of a page: it must be the server's own, or one of `LINESIDE_ALLOWED_ORIGINS`. A client without an
/// origin is not a browser and may connect.
///
/// # Errors
/// 403 with the origin and the remedy; 400 if a field that decides it comes twice or is not text.
pub(super) fn check_origin(
    head: &Head,
    server: &ServerOrigin,
    settings: &Settings,
) -> Result<(), HeadError> {
    let Some(text) = head.origin()? else {
        return Ok(());
    };
    let own = head.server_origin(server, settings)?;
    let origin = Origin::parse(text);
    if (origin.is_some() && origin == own) || settings.allows_origin(text) {
        return Ok(());
    }
    let own = match own {
        Some(own) => own.to_string(),
        None if settings.hosts.is_empty() => "unknown".to_owned(),
        None => "unknown, because LINESIDE_HOSTS (config.hosts) does not have its host".to_owned(),
    };
    Err(HeadError::new(
        403,
        format!(
            "the origin {text:?} is not allowed here: this server is {own}; name the page's origin in \
             LINESIDE_ALLOWED_ORIGINS, or let the proxy pass Host and X-Forwarded-Proto"
        ),
    ))
}

/// Identities from cookies. None without an origin: such a client is not a browser, and can send a token.
pub(super) fn identities(head: &Head) -> Vec<Box<str>> {
    if !matches!(head.origin(), Ok(Some(_))) {
        return Vec::new();
    }
    let cookies = head.cookies(IDENTITY_COOKIE).take(IDENTITIES_MAX);
    cookies.map(Box::from).collect()
}

#[cfg(test)]
mod tests;
