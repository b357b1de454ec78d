//! Opening of a `lineside-v1` connection: its origin rules, and the contents of its upgrade request.

use lineside_protocol::After;
use lineside_protocol::request::{Connect, Subscribe};

use crate::dialects::page::{check_origin, identities};
use crate::head::{Head, HeadError, ServerOrigin, percent_decode};
use crate::settings::Settings;

/// Name of the subprotocol.
pub(crate) const SUBPROTOCOL: &str = "lineside-v1";

/// Prefix of a second subprotocol that holds a token.
const TOKEN_SUBPROTOCOL: &str = "lineside.token.";

/// Contents of an upgrade request.
#[derive(Debug, Default)]
pub struct Opening {
    /// The connect that the URL or a subprotocol asks for.
    pub connect: Option<Connect>,
    /// Identities from cookies, not verified yet. Used only if the connect brings no token.
    pub identities: Vec<Box<str>>,
}

impl Opening {
    /// Checks the origin of a request, and reads what it asks for.
    ///
    /// # Errors
    /// 403 if the origin is not allowed, 400 if the request is malformed.
    pub(crate) fn of_request(
        head: &Head,
        server: &ServerOrigin,
        settings: &Settings,
    ) -> Result<Self, HeadError> {
        check_origin(head, server, settings)?;
        Ok(Self {
            connect: connect(head)?,
            identities: identities(head),
        })
    }
}

/// Reads the connect that the URL or a subprotocol asks for.
///
/// # Errors
/// 400 if a value of the URL is malformed.
fn connect(head: &Head) -> Result<Option<Connect>, HeadError> {
    let mut connect = Connect::default();
    let mut found = false;
    for (name, value) in head.query() {
        match name {
            "token" => connect.token = Some(percent_decode(value)?),
            "after" => connect.after = Some(After::parse(&percent_decode(value)?)),
            "channel" => connect.subscribe.push(Subscribe {
                channel: percent_decode(value)?,
                token: None,
                after: None,
            }),
            _ => continue,
        }
        found |= name != "after";
    }
    let token = head
        .subprotocols()
        .find_map(|offered| offered.strip_prefix(TOKEN_SUBPROTOCOL));
    if let Some(token) = token {
        connect.token = Some(token.to_owned());
        found = true;
    }
    Ok(found.then_some(connect))
}

#[cfg(test)]
mod tests;
