//! Opening of a connection: the app's decisions before the hand-off, or the request by route.

use std::sync::Arc;

use lineside_protocol::cable::CableConnect;
use lineside_token::{Keys, StreamKeys, verify_identity};

use crate::route_keys::RouteKeys;
use crate::settings::CableIdentity;

/// Rules of connections by route.
#[derive(Debug)]
pub(super) struct RouteRules {
    /// Whether the connection needs an identity cookie.
    pub(super) identity: CableIdentity,
    /// Keys of signed stream names, which a newer app can change.
    pub(super) turbo_keys: Arc<RouteKeys>,
}

/// Opening of a connection, in the form that a shard uses.
#[derive(Debug, Default)]
pub struct Opening {
    /// Rules of a connection by route. `None` if the app has decided.
    pub(super) by_route: Option<RouteRules>,
    /// Rails' `connection_identifier`, or empty.
    pub(super) identifier: String,
    /// The app rejected the connection.
    pub(super) is_rejected: bool,
    pub(super) user: Option<String>,
    pub(super) session: Option<String>,
    /// Time of the decision, or of the identity cookie, in milliseconds since the Unix epoch.
    pub(super) issued_ms: u64,
    /// Keys of signed stream names that were in effect when the connection was opened or last checked. Without a key, the
    /// sidecar does not decide about these names.
    pub(super) turbo_keys: Arc<StreamKeys>,
    /// Names of channel classes without code of their own.
    pub(super) empty: Box<[String]>,
    /// Text from which a process of the app makes the connection, if it runs channels.
    pub(super) context: Option<String>,
    /// The connection's class has a `disconnect` of its own.
    pub(super) disconnects: bool,
    /// Name of the process that handed the connection over.
    pub(super) process: Option<String>,
    /// Identities from cookies, not verified yet. By route they identify the user. Otherwise they name the session of a
    /// connection that the app identifies by its user alone, as Rails' generated authentication does.
    pub(in crate::dialects) identities: Vec<Box<str>>,
}

impl Opening {
    /// Reads the option of a hand-off.
    ///
    /// # Errors
    /// Returns the reason if it is not the JSON of a [`CableConnect`], or a key cannot be read.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let CableConnect {
            identifier,
            rejected,
            user,
            session,
            issued_ms,
            turbo_keys,
            empty,
            context,
            disconnects,
            process,
        } = serde_json::from_slice(json)
            .map_err(|error| format!("the option for Action Cable cannot be read: {error}"))?;
        let turbo_keys = StreamKeys::decode(&turbo_keys)
            .map_err(|number| format!("key {number} of turbo_keys cannot be used"))?;
        Ok(Self {
            by_route: None,
            identifier,
            is_rejected: rejected,
            user,
            session,
            issued_ms,
            turbo_keys: Arc::new(turbo_keys),
            empty: empty.into(),
            context,
            disconnects,
            process,
            identities: Vec::new(),
        })
    }

    /// Takes the session from the identity of the connection's user, if the app has named none.
    pub(super) fn find_session(&mut self, keys: &Keys, wall_ms: u64) {
        let identities = std::mem::take(&mut self.identities);
        if self.session.is_some() || self.user.is_none() {
            return;
        }
        let verified = identities
            .iter()
            .filter_map(|it| verify_identity(it, keys, wall_ms).ok());
        let mut own = verified.filter(|claims| claims.sub == self.user);
        self.session = own.next().and_then(|claims| claims.sid);
    }

    /// Whether a channel's class has no code of its own.
    pub(super) fn is_empty_channel(&self, name: &str) -> bool {
        self.empty.iter().any(|it| it == name)
    }
}
