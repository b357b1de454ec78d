//! What the runner of a connection sends, the end of a runner, and the end of the connection.

use std::sync::Arc;

use lineside_protocol::cable::{AppText, text_frame};
use lineside_protocol::channel::{self, CABLE_PREFIX};
use lineside_protocol::codes;
use lineside_protocol::frame::runner::CommandKind;

use super::app::{Pending, key};
use super::{Connection, REMOTE_PREFIX, subscribe};
use crate::broker::runners::{ChannelObject, Closing, Report, RunnerId};
use crate::dialects::{Ending, Turn};
use crate::log::{Level, event};

/// Cause of the loss of a connection's runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunnerEnd {
    /// The runner has run `unsubscribed` of the channel objects, and runs no further command of the connection.
    Left,
    /// The link has ended, and the runner runs `unsubscribed` by itself.
    Clean,
    /// The process has died.
    Died,
}

impl Connection {
    /// Handles what a runner sends. Ignores what an earlier runner of the connection sends.
    pub(in crate::dialects) fn report(
        &mut self,
        runner: RunnerId,
        report: Report,
        turn: &mut Turn<'_>,
    ) -> Result<(), Ending> {
        let Some(app) = self.app.as_mut().filter(|app| app.runner == Some(runner)) else {
            return Ok(());
        };
        match report {
            Report::Done { number, variables } => {
                let Some(done) = app.done(number, turn) else {
                    return Ok(());
                };
                if variables.is_some()
                    && let Some(subscription) = self.running(&done.identifier)
                {
                    subscription.note_variables(variables);
                }
                if done.kind == CommandKind::Subscribe {
                    self.note_subscribed(&done.identifier, turn);
                }
            }
            Report::Text(text) => return self.transmit(&text, turn),
            Report::Stream { identifier, stream } => self.stream(&identifier, &stream, turn),
            Report::StopStream { identifier, stream } => {
                let stream: Arc<str> = format!("{CABLE_PREFIX}{stream}").into();
                if let Some(subscription) = self.running(&identifier) {
                    subscription.remove(&stream);
                    self.leave_streams(&[stream], turn);
                }
            }
            Report::Left => self.move_on(RunnerEnd::Left, turn),
        }
        Ok(())
    }

    /// A runner has opened: a command that waits for one is sent.
    pub(in crate::dialects) fn runner_opened(&mut self, turn: &Turn<'_>) {
        if let Some(app) = &mut self.app {
            app.send_next(turn);
        }
    }

    /// A runner has ended. If it was this connection's, another one makes its channel objects anew.
    pub(in crate::dialects) fn runner_closed(
        &mut self,
        runner: RunnerId,
        is_clean: bool,
        turn: &mut Turn<'_>,
    ) {
        if self
            .app
            .as_ref()
            .is_some_and(|app| app.runner == Some(runner))
        {
            let end = if is_clean {
                RunnerEnd::Clean
            } else {
                RunnerEnd::Died
            };
            self.move_on(end, turn);
        }
    }

    /// The browser has left: `unsubscribed` is run for each subscription whose `subscribed` was run.
    pub(in crate::dialects) fn closed(&mut self, turn: &Turn<'_>) {
        self.end_pages(turn);
        let Some(app) = &self.app else {
            return;
        };
        let running = self.subscriptions.iter().filter(|it| it.running.is_some());
        let closing = Closing {
            key: key(turn),
            context: Arc::clone(&app.context),
            is_made: app.is_made,
            running: running
                .filter(|_| app.is_made)
                .map(|it| ChannelObject {
                    identifier: it.text().to_owned(),
                    variables: it.variables().map(str::to_owned),
                })
                .collect(),
            ended: app.unended().collect(),
        };
        let disconnects = self.is_connected && self.opening.disconnects;
        if app.is_made || !closing.ended.is_empty() || disconnects {
            turn.broker.runners().end(app.runner, closing);
        }
    }

    fn running(&mut self, identifier: &str) -> Option<&mut super::Subscription> {
        let mut all = self.subscriptions.iter_mut();
        all.find(|it| it.is(identifier) && it.running.is_some())
    }

    fn note_subscribed(&mut self, identifier: &str, turn: &mut Turn<'_>) {
        if let Some(subscription) = self.running(identifier) {
            let stale = subscription.note_subscribed();
            self.leave_streams(&stale, turn);
        }
    }

    fn stream(&mut self, identifier: &str, stream: &str, turn: &mut Turn<'_>) {
        let channel = format!("{CABLE_PREFIX}{stream}");
        let checked = channel::check(&channel).map_err(|error| error.to_string());
        if let Err(message) = checked {
            return event!(Level::Warn, "stream_refused", stream, message);
        }
        if channel.starts_with(REMOTE_PREFIX) {
            let message = "streams that begin with action_cable/ are Rails' own";
            return event!(Level::Warn, "stream_refused", stream, message);
        }
        let channel: Arc<str> = channel.into();
        if let Some(subscription) = self.running(identifier)
            && subscription.add(&channel)
        {
            subscribe(&channel, turn);
        }
    }

    fn transmit(&mut self, text: &str, turn: &mut Turn<'_>) -> Result<(), Ending> {
        match AppText::parse(text) {
            Some(AppText::ConfirmSubscription { identifier }) => {
                let running = self.running(&identifier).and_then(|it| it.running.as_mut());
                let is_repeated = running
                    .is_none_or(|running| std::mem::replace(&mut running.is_confirmed, true));
                // After a move to another runner, or after the browser has unsubscribed.
                if is_repeated {
                    return Ok(());
                }
            }
            Some(AppText::RejectSubscription { identifier }) => {
                self.remove(&identifier, turn);
            }
            Some(AppText::Disconnect { reason, reconnect }) => {
                let reason = reason.unwrap_or_default();
                self.closing = Some((reason.into(), reconnect.unwrap_or(true)));
                return Err(codes::CLOSE_TOKEN_REVOKED.into());
            }
            None => {}
        }
        turn.push(text_frame(text));
        Ok(())
    }

    /// Gives the connection to another runner: `unsubscribed` is run for channel objects that died, and all subscriptions are
    /// made anew. A message that the runner had is run after that, if the runner has not run it. Otherwise it is lost, because it
    /// may have been run in part.
    fn move_on(&mut self, end: RunnerEnd, turn: &Turn<'_>) {
        let Some(app) = &mut self.app else {
            return;
        };
        let under_way = app.lose_runner();
        let mut first = Vec::new();
        let mut message = None;
        let pending = |kind, identifier: &str, variables| Pending {
            kind,
            identifier: identifier.to_owned(),
            data: None,
            variables,
        };
        if let Some(under_way) = under_way {
            match under_way.kind {
                CommandKind::Message if end == RunnerEnd::Left => message = Some(under_way),
                CommandKind::Message => {
                    let message = "the process that ran an action of a channel has ended; the action is not run again";
                    event!(Level::Warn, "action_lost", message);
                }
                CommandKind::Unsubscribe | CommandKind::End if end == RunnerEnd::Died => {
                    let identifier = &under_way.identifier;
                    first.push(pending(CommandKind::End, identifier, under_way.variables));
                }
                _ => {}
            }
        }
        let mut again = Vec::new();
        for subscription in &mut self.subscriptions {
            let variables = subscription.take_variables();
            let Some(is_subscribed) = subscription.lose_object() else {
                continue;
            };
            let identifier = subscription.text();
            if is_subscribed && end == RunnerEnd::Died {
                first.push(pending(CommandKind::End, identifier, variables));
            }
            again.push(pending(CommandKind::Subscribe, identifier, None));
        }
        first.append(&mut again);
        first.extend(message);
        app.restart(first, turn);
    }
}
