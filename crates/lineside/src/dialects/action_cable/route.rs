//! Connections by route: a proxy sends the path of Action Cable to the sidecar's own listener, so no code of the app has seen the
//! request. The identity cookie takes the place of the app's `connect`, and only what is signed can be subscribed to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use lineside_protocol::codes;
use lineside_token::StreamKeys;

use super::opening::RouteRules;
use super::{Connection, Opening, TURBO_CHANNEL, remote_channel};
use crate::dialects::page::{check_origin, identities};
use crate::dialects::tokens::{deadline, verify_identities};
use crate::dialects::{Ending, Turn};
use crate::head::{Head, HeadError, ServerOrigin};
use crate::log::{Level, event};
use crate::settings::{CableIdentity, Settings};

/// Time between two log lines about the same channel class, in milliseconds.
const LOG_INTERVAL_MS: u64 = 60_000;

/// Maximum number of channel classes that are logged in that time. A client can invent names.
const LOGGED_CLASSES_MAX: usize = 64;

/// Maximum length of a logged name, in characters.
const LOGGED_NAME_CHARS_MAX: usize = 100;

/// Lines of the last minute about channel classes.
static LOGGED: Mutex<Logged> = Mutex::new(Logged {
    classes: BTreeMap::new(),
    others_ms: None,
});

/// Line about subscriptions that were rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// About one class.
    Class,
    /// About all classes beyond [`LOGGED_CLASSES_MAX`], without their names.
    Others,
}

/// Times at which lines were logged, in milliseconds.
#[derive(Debug, Default)]
struct Logged {
    classes: BTreeMap<Box<str>, u64>,
    others_ms: Option<u64>,
}

impl Logged {
    /// Returns the line that is due for a class, and notes the time. Each line is due once a minute.
    fn due(&mut self, class: &str, now_ms: u64) -> Option<Line> {
        let is_recent = |at_ms: u64| now_ms < at_ms.saturating_add(LOG_INTERVAL_MS);
        self.classes.retain(|_, at_ms| is_recent(*at_ms));
        if self.classes.contains_key(class) {
            return None;
        }
        // Invented names must not hide the line about Turbo.
        if self.classes.len() >= LOGGED_CLASSES_MAX && class != TURBO_CHANNEL {
            let is_due = !self.others_ms.is_some_and(is_recent);
            return is_due.then(|| {
                self.others_ms = Some(now_ms);
                Line::Others
            });
        }
        self.classes.insert(class.into(), now_ms);
        Some(Line::Class)
    }
}

impl Opening {
    /// Checks a request that a proxy sent to the path of Action Cable, as Rails does: its origin is required.
    ///
    /// # Errors
    /// 404, which is Rails' answer, if the origin is missing or not allowed.
    pub(in crate::dialects) fn of_request(
        head: &Head,
        server: &ServerOrigin,
        settings: &Settings,
    ) -> Result<Self, HeadError> {
        if head.origin()?.is_none() {
            return Err(HeadError::new(
                404,
                "the path of Action Cable is for browsers: a client must send its Origin",
            ));
        }
        check_origin(head, server, settings).map_err(|error| HeadError {
            status: 404,
            ..error
        })?;
        Ok(Self {
            turbo_keys: settings.turbo_keys.current(),
            by_route: Some(RouteRules {
                identity: settings.cable_identity,
                turbo_keys: Arc::clone(&settings.turbo_keys),
            }),
            identities: identities(head),
            ..Self::default()
        })
    }
}

impl Connection {
    /// Identifies the user by the cookies of the request. A revoked cookie is refused also where none is required, so that a
    /// sign-out does not leave its page connected.
    pub(super) fn identify(&mut self, rule: CableIdentity, turn: &Turn<'_>) -> Result<(), Ending> {
        let identities = std::mem::take(&mut self.opening.identities);
        let is_required = rule == CableIdentity::Required;
        let message = match verify_identities(&identities, turn) {
            Ok(Some(claims)) => {
                self.deadline = Some(deadline(claims.exp, turn));
                self.opening.issued_ms = claims.iat_ms;
                self.opening.user = claims.sub;
                self.opening.session = claims.sid;
                self.remote = claims.identifier.as_deref().map(remote_channel);
                self.remote_after = turn.broker.cursor().position;
                return Ok(());
            }
            Ok(None) if is_required => {
                "the page has no identity cookie of one user, which LINESIDE_CABLE_IDENTITY=required asks for".into()
            }
            Err(refusal) if is_required || refusal.code == codes::TOKEN_REVOKED => refusal.message,
            Ok(None) | Err(_) => return Ok(()),
        };
        self.closing = Some(("unauthorized".into(), false));
        Err(Ending {
            code: codes::CLOSE_TOKEN_INVALID,
            message: Some(message),
        })
    }

    /// Keys that verify a signed stream name now.
    pub(super) fn turbo_keys(&self) -> Arc<StreamKeys> {
        match &self.opening.by_route {
            Some(rules) => rules.turbo_keys.current(),
            None => Arc::clone(&self.opening.turbo_keys),
        }
    }

    /// Ends a connection by route after a newer app has withdrawn keys: the browser connects again, and its streams are decided
    /// anew. Uses further keys from now on.
    ///
    /// # Errors
    /// The ending, with the reason of a restart of an app with Rails' own Action Cable.
    pub(super) fn check_turbo_keys(&mut self) -> Result<(), Ending> {
        let current = self.turbo_keys();
        if Arc::ptr_eq(&current, &self.opening.turbo_keys) {
            return Ok(());
        }
        if !current.cover(&self.opening.turbo_keys) {
            self.closing = Some(("server_restart".into(), true));
            return Err(Ending {
                code: codes::CLOSE_DRAIN,
                message: Some("a newer app has withdrawn keys of Turbo's stream names".into()),
            });
        }
        self.opening.turbo_keys = current;
        Ok(())
    }
}

/// Logs that a channel class cannot be subscribed to by route: once a minute for each class, and once for all classes beyond
/// the limit.
pub(super) fn log_refused(class: &str, turn: &Turn<'_>) {
    let channel: String = class.chars().take(LOGGED_NAME_CHARS_MAX).collect();
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    let line = logged.due(&channel, turn.now.ms);
    drop(logged);
    match line {
        Some(Line::Class) => {}
        Some(Line::Others) => return log_others(),
        None => return,
    }
    let message = if class == TURBO_CHANNEL {
        "subscriptions were rejected, because the sidecar has no keys of Turbo (LINESIDE_TURBO_KEYS): set \
         config.lineside.cable_identity in an app with an unchanged Turbo::StreamsChannel, or let the proxy send the path of \
         Action Cable to the app, which hands the sockets over"
    } else {
        "subscriptions were rejected, because this channel class needs the app: let the proxy send the path of Action Cable to \
         the app, which hands the sockets over"
    };
    event!(Level::Warn, "channel_needs_the_app", channel, message);
}

fn log_others() {
    let message = format!(
        "subscriptions to more than {LOGGED_CLASSES_MAX} classes were rejected within a minute, so further classes are not \
         named: a client can have invented them"
    );
    event!(Level::Warn, "channels_need_the_app", message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_is_logged_once_a_minute() {
        let mut logged = Logged::default();
        let class = Some(Line::Class);
        assert_eq!(logged.due("RoomChannel", 0), class);
        assert_eq!(logged.due("RoomChannel", LOG_INTERVAL_MS - 1), None);
        assert_eq!(logged.due("ChatChannel", LOG_INTERVAL_MS - 1), class);
        assert_eq!(logged.due("RoomChannel", LOG_INTERVAL_MS), class);
    }

    /// Logs as many classes as possible.
    fn full() -> Logged {
        let mut logged = Logged::default();
        for number in 0..LOGGED_CLASSES_MAX {
            assert_eq!(logged.due(&number.to_string(), 0), Some(Line::Class));
        }
        logged
    }

    #[test]
    fn invented_classes_take_limited_memory_and_one_line_a_minute() {
        let mut logged = full();
        assert_eq!(logged.due("a", 1), Some(Line::Others));
        for number in 0..LOGGED_CLASSES_MAX {
            assert_eq!(logged.due(&format!("b{number}"), 2), None);
        }
        assert_eq!(logged.classes.len(), LOGGED_CLASSES_MAX);
        assert_eq!(logged.due("a", LOG_INTERVAL_MS), Some(Line::Class));
    }

    #[test]
    fn invented_classes_do_not_hide_the_line_about_turbo() {
        let mut logged = full();
        assert_eq!(logged.due("a", 0), Some(Line::Others));
        assert_eq!(logged.due(TURBO_CHANNEL, 0), Some(Line::Class));
        assert_eq!(logged.due(TURBO_CHANNEL, 1), None);
    }
}
