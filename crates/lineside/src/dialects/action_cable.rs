//! Dialect `actioncable-v1-json`: protocol state of one connection of Action Cable (docs/action-cable.md).
//!
//! The app has decided about the connection before it handed the socket over, or a proxy has sent it to the sidecar
//! ([`Opening`]). Streams of Turbo are opened by their signed names. Each subscription puts a head of its own before a publication.

mod app;
mod opening;
mod pages;
mod reports;
mod route;
mod subscription;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use lineside_hub::{Publication, Revocation, Want};
use lineside_protocol::Position;
use lineside_protocol::cable::{self, Command, CommandKind, Identifier, Parameters, Reply};
use lineside_protocol::channel::{self, CABLE_PREFIX};
use lineside_protocol::codes;
use lineside_protocol::envelope::payload;
use lineside_protocol::frame::runner::CommandKind as Kind;
use lineside_token::StreamKeys;
use serde::Deserialize;

use super::allowance::Allowance;
use super::tokens::{deadline, verify_channel_token};
use super::{Ending, Turn, issue_time_ms};
use crate::clock::{Deadline, Now};
use crate::log::{Level, event};

use app::{App, Pending};
pub use lineside_protocol::cable::SUBPROTOCOL;
pub use opening::Opening;
use opening::RouteRules;
use pages::Pages;
use subscription::Subscription;

/// Maximum number of subscriptions per connection.
const SUBSCRIPTIONS_MAX: usize = 256;

/// Time between two pings, in milliseconds, as Rails' server sends them (`Connection::Heartbeat`). The client reconnects
/// after twice this time without one.
pub(super) const PING_MS: u64 = 3000;

/// Number of pings for one that the browser answers: a WebSocket ping (RFC 6455 §5.5.2) every 24 seconds.
const PINGS_PER_ANSWER: u8 = 8;

/// Maximum silence after a ping that the browser answers, in milliseconds.
pub(super) const SILENCE_MS_MAX: u64 = 10_000;

/// Beginning of the channels on which Rails ends connections by their identifier.
const REMOTE_PREFIX: &str = "cable:action_cable/";

/// Class of Turbo's streams.
const TURBO_CHANNEL: &str = "Turbo::StreamsChannel";

/// Name under which a channel token opens its shared channel. No class of an app has it, because it is that of the gem's module.
const TOKEN_CHANNEL: &str = "Lineside";

/// Protocol state of one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Random name for logs.
    name: [u8; 8],
    opening: Opening,
    /// Channel on which Rails ends this connection.
    remote: Option<Arc<str>>,
    /// Remote disconnects up to here are older than a connection by route. A shard that is behind still dispatches them.
    remote_after: Position,
    subscriptions: Vec<Subscription>,
    is_connected: bool,
    /// Number of pings since the last one that is answered.
    pings: u8,
    allowance: Allowance,
    /// Reason that the browser is told, and whether it may connect again.
    closing: Option<(Cow<'static, str>, bool)>,
    /// The part that runs in the app.
    app: Option<App>,
    /// What the browser has confirmed, for its pages.
    pages: Pages,
    /// End of the identity of a connection by route.
    deadline: Option<Deadline>,
}

/// Contents of a publication that ends connections.
#[derive(Deserialize)]
struct Remote {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default = "yes")]
    reconnect: bool,
}

fn yes() -> bool {
    true
}

impl Connection {
    pub(super) fn new(mut opening: Opening, name: [u8; 8]) -> Self {
        let context = opening.context.take();
        let process = opening.process.take();
        let identifier = &opening.identifier;
        Self {
            app: context.map(|context| App::new(context, process)),
            remote: (!identifier.is_empty()).then(|| remote_channel(identifier)),
            remote_after: Position::default(),
            name,
            opening,
            subscriptions: Vec::new(),
            is_connected: false,
            pings: 0,
            allowance: Allowance::default(),
            closing: None,
            pages: Pages::default(),
            deadline: None,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_connected
    }

    pub(super) fn is_busy(&self) -> bool {
        self.pages.is_waiting() || self.app.as_ref().is_some_and(App::is_busy)
    }

    pub(super) fn name(&self) -> String {
        self.name.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.opening.user.as_deref()
    }

    pub(super) fn count_message(&mut self, now_s: u64) -> Result<(), Ending> {
        self.allowance.count(now_s)
    }

    pub(super) fn begin(&mut self, turn: &mut Turn<'_>) -> Result<(), Ending> {
        if self.opening.is_rejected {
            self.closing = Some(("unauthorized".into(), false));
            return Err(Ending {
                code: codes::CLOSE_TOKEN_INVALID,
                message: Some("the app rejected the connection".into()),
            });
        }
        match &self.opening.by_route {
            Some(RouteRules { identity, .. }) => self.identify(*identity, turn)?,
            None => self
                .opening
                .find_session(&turn.rules.keys.current(), turn.now.wall_ms),
        }
        let Opening {
            user,
            session,
            issued_ms,
            ..
        } = &self.opening;
        let is_revoked = |user: &str| turn.broker.is_revoked(user, session.as_deref(), *issued_ms);
        if user.as_deref().is_some_and(is_revoked) {
            return Err(codes::CLOSE_TOKEN_REVOKED.into());
        }
        if let Some(remote) = &self.remote {
            subscribe(remote, turn);
        }
        self.is_connected = true;
        turn.push(Reply::Welcome.frame());
        Ok(())
    }

    /// Handles a text message. Ignores what Rails ignores.
    pub(super) fn receive(&mut self, text: &str, turn: &mut Turn<'_>) -> Result<(), Ending> {
        let Some(command) = Command::parse(text) else {
            self.pages.has_cursors |= Command::asks_for_cursors(text);
            return Ok(());
        };
        match command.kind {
            CommandKind::Subscribe => self.subscribe(&command, turn),
            CommandKind::Unsubscribe => self.unsubscribe(&command.identifier.text, turn),
            CommandKind::Message => self.perform(command, turn),
        }
        Ok(())
    }

    fn subscribe(&mut self, command: &Command, turn: &mut Turn<'_>) {
        let identifier = &command.identifier;
        if self.subscriptions.iter().any(|it| it.is(&identifier.text)) {
            return;
        }
        let Some(parameters) = identifier.parameters() else {
            return;
        };
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            let message = format!("a connection has at most {SUBSCRIPTIONS_MAX} subscriptions");
            return reject(identifier, &parameters.channel, &message, turn);
        }
        let channel = &*parameters.channel;
        let turbo_keys = self.turbo_keys();
        let opened = if channel == TURBO_CHANNEL && !turbo_keys.is_empty() {
            open_stream(identifier, &parameters, &turbo_keys, turn)
        } else if channel == TOKEN_CHANNEL {
            self.open_with_token(identifier, &parameters, turn)
        } else if self.opening.by_route.is_some() {
            route::log_refused(channel, turn);
            let identifier = &identifier.raw;
            return turn.push(Reply::RejectSubscription { identifier }.frame());
        } else if self.opening.is_empty_channel(channel) {
            let subscription = Subscription::new(identifier, None, None);
            turn.push(subscription.confirmation(None));
            return self.subscriptions.push(subscription);
        } else {
            return self.subscribe_in_app(identifier, channel, turn);
        };
        match opened {
            Ok(subscription) => {
                let applied = command.after.as_deref();
                self.begin_stream(subscription, &parameters, applied, turn);
            }
            Err(message) => reject(identifier, channel, &message, turn),
        }
    }

    /// Subscription of the shared channel of a channel token.
    fn open_with_token(
        &self,
        identifier: &Identifier,
        parameters: &Parameters,
        turn: &Turn<'_>,
    ) -> Result<Subscription, String> {
        let token = parameters.token.as_deref().unwrap_or_default();
        let claims = verify_channel_token(token, self.user(), turn);
        let claims = claims.map_err(|refusal| refusal.message)?;
        let deadline = deadline(claims.exp, turn);
        Ok(Subscription::of_token(identifier, claims, deadline))
    }

    fn subscribe_in_app(&mut self, identifier: &Identifier, channel: &str, turn: &Turn<'_>) {
        let Some(app) = &mut self.app else {
            let message = "no class of the app has this name";
            return event!(Level::Warn, "channel_unknown", channel, message);
        };
        self.subscriptions.push(Subscription::of_app(identifier));
        let pending = Pending {
            kind: Kind::Subscribe,
            identifier: identifier.text.clone(),
            data: None,
            variables: None,
        };
        app.add(pending, turn);
    }

    fn unsubscribe(&mut self, identifier: &str, turn: &mut Turn<'_>) {
        let Some(mut ended) = self.remove(identifier, turn) else {
            return;
        };
        let variables = ended.take_variables();
        if let (Some(_), Some(app)) = (ended.running, &mut self.app) {
            let pending = Pending {
                kind: Kind::Unsubscribe,
                identifier: identifier.to_owned(),
                data: None,
                variables,
            };
            app.add(pending, turn);
        }
    }

    /// Calls an action of a channel that runs in the app. The others have none.
    fn perform(&mut self, command: Command, turn: &Turn<'_>) {
        let identifier = command.identifier.text;
        let subscription = self.subscriptions.iter().find(|it| it.is(&identifier));
        let is_running = subscription.is_some_and(|it| it.running.is_some());
        if let Some(app) = self.app.as_mut().filter(|_| is_running) {
            let pending = Pending {
                kind: Kind::Message,
                identifier,
                data: command.data,
                variables: None,
            };
            app.add(pending, turn);
        }
    }

    /// Removes a subscription.
    fn remove(&mut self, identifier: &str, turn: &mut Turn<'_>) -> Option<Subscription> {
        let at = self.subscriptions.iter().position(|it| it.is(identifier))?;
        let ended = self.subscriptions.remove(at);
        self.leave(&ended, turn);
        if let Some(mark) = ended.open_mark() {
            let sent = turn.fan_out.dispatched();
            turn.broker.end_marks([mark], Some(sent), turn.now.ms);
            self.pages.note_ended(mark);
        }
        Some(ended)
    }

    /// Ends the streams of a subscription that no other one has.
    fn leave(&self, ended: &Subscription, turn: &mut Turn<'_>) {
        self.leave_streams(ended.streams(), turn);
    }

    /// Ends those of the streams that no subscription has.
    fn leave_streams(&self, streams: &[Arc<str>], turn: &mut Turn<'_>) {
        for stream in streams {
            if !self.subscriptions.iter().any(|it| it.has(stream)) {
                turn.fan_out.unsubscribe(turn.id, stream);
            }
        }
    }

    pub(super) fn publish(
        &mut self,
        publication: &Arc<Publication>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Ending> {
        if self.remote.as_deref() == Some(&*publication.channel) {
            if publication.position <= self.remote_after {
                return Ok(());
            }
            return self.end_remotely(publication);
        }
        for subscription in &self.subscriptions {
            if subscription.has(&publication.channel) {
                let framing = subscription.framing();
                turn.fan_out.push_framed(turn.id, publication, framing);
                turn.counts.deliveries.add(1);
                self.pages.is_behind |= subscription.mark.is_some();
            }
        }
        self.pages.ask_soon(turn);
        Ok(())
    }

    /// Handles a publication of `remote_connections.where(…).disconnect`.
    fn end_remotely(&mut self, publication: &Publication) -> Result<(), Ending> {
        match serde_json::from_slice(&payload(&publication.body)) {
            Ok(Remote { kind, reconnect }) if kind == "disconnect" => {
                self.closing = Some(("remote".into(), reconnect));
                Err(codes::CLOSE_TOKEN_REVOKED.into())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn expire(&mut self, turn: &mut Turn<'_>) -> Result<(), Ending> {
        let now = turn.now;
        if self.deadline.is_some_and(|it| it.left_ms(now) == 0) {
            return Err(codes::CLOSE_TOKEN_EXPIRED.into());
        }
        self.check_turbo_keys()?;
        self.end_subscriptions(|it| it.left_ms(now) == Some(0), turn);
        let left_ms = self.app.as_ref().and_then(|app| app.left_ms(turn.now));
        if left_ms == Some(0) {
            return Err(codes::CLOSE_APP_TIMEOUT.into());
        }
        Ok(())
    }

    pub(super) fn expires_in_ms(&self, now: Now) -> Option<u64> {
        let subscriptions = self.subscriptions.iter().filter_map(|it| it.left_ms(now));
        let app = self.app.as_ref().and_then(|app| app.left_ms(now));
        let own = self.deadline.map(|it| it.left_ms(now));
        subscriptions.chain(app).chain(own).min()
    }

    pub(super) fn revoke(
        &mut self,
        revocation: &Revocation,
        turn: &mut Turn<'_>,
    ) -> Result<(), Ending> {
        let issued_ms = issue_time_ms(self.opening.issued_ms, turn.now.wall_ms);
        if revocation.covers(self.opening.session.as_deref(), issued_ms) {
            return Err(codes::CLOSE_TOKEN_REVOKED.into());
        }
        let wall_ms = turn.now.wall_ms;
        self.end_subscriptions(|it| it.is_ended_by(revocation, wall_ms), turn);
        Ok(())
    }

    /// Ends the subscriptions to which the right is over, and drops their unsent publications. The browser is told that they are
    /// refused.
    fn end_subscriptions(&mut self, is_over: impl Fn(&Subscription) -> bool, turn: &mut Turn<'_>) {
        let ended: Vec<_> = self
            .subscriptions
            .extract_if(.., |it| is_over(it))
            .collect();
        for subscription in ended {
            self.leave(&subscription, turn);
            for stream in subscription.streams() {
                if !self.subscriptions.iter().any(|it| it.has(stream)) {
                    turn.fan_out.forget(turn.id, stream);
                }
            }
            turn.broker
                .end_marks(subscription.open_mark(), None, turn.now.ms);
            turn.push(subscription.rejection());
        }
    }

    pub(super) fn ping(&mut self, can_answer: bool, turn: &mut Turn<'_>) -> bool {
        let message = turn.now.wall_ms / 1000;
        turn.push(Reply::Ping { message }.frame());
        self.pings += 1;
        let is_due = self.pings >= PINGS_PER_ANSWER || self.pages.is_behind;
        if is_due && can_answer {
            self.pings = 0;
            self.pages.ask(turn);
        }
        is_due && can_answer
    }

    pub(super) fn ask(&mut self, turn: &mut Turn<'_>) {
        self.pages.ask(turn);
    }

    pub(super) fn closing_frames(&self, ending: &Ending) -> [Bytes; 2] {
        let code = ending.code;
        let (reason, reconnect) = match &self.closing {
            Some((reason, reconnect)) => (&**reason, *reconnect),
            None if code == codes::CLOSE_DRAIN => ("server_restart", true),
            None if code == codes::CLOSE_TOKEN_REVOKED => ("remote", true),
            None => (code.name, true),
        };
        [
            Reply::Disconnect { reason, reconnect }.frame(),
            cable::close(code),
        ]
    }
}

/// Subscription of the stream of a signed name, which may expire.
fn open_stream(
    identifier: &Identifier,
    parameters: &Parameters,
    keys: &StreamKeys,
    turn: &Turn<'_>,
) -> Result<Subscription, String> {
    let signed = parameters.signed_stream_name.as_deref();
    let name = keys.verify(signed.unwrap_or_default(), turn.now.wall_ms);
    let name = name.map_err(|error| error.to_string())?;
    let channel = format!("{CABLE_PREFIX}{}", name.name);
    channel::check(&channel).map_err(|error| error.to_string())?;
    if channel.starts_with(REMOTE_PREFIX) {
        return Err("streams that begin with action_cable/ are Rails' own".into());
    }
    let deadline = name.expires_ms.map(|it| Deadline::at_wall(it, turn.now));
    Ok(Subscription::new(
        identifier,
        Some(channel.into()),
        deadline,
    ))
}

/// Channel on which Rails ends connections with this identifier.
fn remote_channel(identifier: &str) -> Arc<str> {
    format!("{REMOTE_PREFIX}{identifier}").into()
}

/// Subscribes the connection to a channel, without a replay.
fn subscribe(channel: &Arc<str>, turn: &mut Turn<'_>) {
    let want = Want {
        channel: Arc::clone(channel),
        after: None,
    };
    // A resume without cursors never waits.
    let _resumed = turn.resume(vec![want]);
}

fn reject(identifier: &Identifier, channel: &str, message: &str, turn: &mut Turn<'_>) {
    event!(Level::Info, "subscription_rejected", channel, message);
    let identifier = &identifier.raw;
    turn.push(Reply::RejectSubscription { identifier }.frame());
}

#[cfg(test)]
mod tests;
