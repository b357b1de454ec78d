//! The part of a connection that runs in the app: commands for its runner, one at a time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use lineside_protocol::frame::runner::{Command, CommandKind};

use crate::broker::runners::{ChannelObject, ConnectionKey, RunnerId};
use crate::clock::Now;
use crate::dialects::Turn;

/// Deadline for a command of the app, in milliseconds, also while no process runs channels. A deploy takes less.
const COMMAND_MS_MAX: u64 = 60_000;

/// A command that the runner has not run yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) kind: CommandKind,
    /// Text of the subscription's identifier.
    pub(super) identifier: String,
    pub(super) data: Option<String>,
    /// Variables of the channel object of an `unsubscribe` or `end`, for the case that its runner dies.
    pub(super) variables: Option<String>,
}

/// The part of a connection that runs in the app.
#[derive(Debug)]
pub(super) struct App {
    /// Text from which a runner makes the connection.
    pub(super) context: Arc<str>,
    /// Process that handed the connection over.
    process: Option<String>,
    pub(super) runner: Option<RunnerId>,
    /// The runner has the context.
    pub(super) is_made: bool,
    /// Number of the newest command.
    number: u64,
    /// The command that the runner has.
    under_way: Option<Pending>,
    /// Commands behind it: those of a move to another runner, and one of the browser.
    waiting: VecDeque<Pending>,
    /// Time by which the runner must have run the next command, in milliseconds.
    due_ms: Option<u64>,
}

impl App {
    pub(super) fn new(context: String, process: Option<String>) -> Self {
        Self {
            context: context.into(),
            process,
            runner: None,
            is_made: false,
            number: 0,
            under_way: None,
            waiting: VecDeque::new(),
            due_ms: None,
        }
    }

    /// Whether the runner has a command, or one waits for it.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.is_some() || !self.waiting.is_empty()
    }

    /// Time until the deadline of the next command, in milliseconds.
    pub(super) fn left_ms(&self, now: Now) -> Option<u64> {
        self.due_ms.map(|due_ms| due_ms.saturating_sub(now.ms))
    }

    /// Adds a command, and sends it if nothing is before it.
    pub(super) fn add(&mut self, pending: Pending, turn: &Turn<'_>) {
        self.waiting.push_back(pending);
        self.send_next(turn);
    }

    /// The runner has run a command. Returns the command.
    pub(super) fn done(&mut self, number: u64, turn: &Turn<'_>) -> Option<Pending> {
        if number != self.number {
            return None;
        }
        let done = self.under_way.take();
        self.due_ms = None;
        self.send_next(turn);
        done
    }

    /// The runner has ended. Returns the command that it had.
    pub(super) fn lose_runner(&mut self) -> Option<Pending> {
        self.runner = None;
        self.is_made = false;
        self.under_way.take()
    }

    /// Puts commands before those that wait, and sends the first one.
    pub(super) fn restart(&mut self, first: Vec<Pending>, turn: &Turn<'_>) {
        for pending in first.into_iter().rev() {
            self.waiting.push_front(pending);
        }
        self.send_next(turn);
    }

    /// Sends the next command if the runner has none. Without a runner it waits for one.
    pub(super) fn send_next(&mut self, turn: &Turn<'_>) {
        if self.under_way.is_some() || self.waiting.is_empty() {
            return;
        }
        self.due_ms.get_or_insert(turn.now.ms + COMMAND_MS_MAX);
        let runners = turn.broker.runners();
        if self.runner.is_none() {
            self.runner = runners.assign(self.process.as_deref());
        }
        let Some(runner) = self.runner else {
            return;
        };
        let Some(next) = self.waiting.pop_front() else {
            return;
        };
        self.number += 1;
        let is_made = std::mem::replace(&mut self.is_made, true);
        let is_end = next.kind == CommandKind::End;
        let command = Command {
            connection: key(turn).to_string(),
            id: self.number,
            command: next.kind,
            identifier: Some(next.identifier.clone()),
            data: next.data.clone(),
            context: (!is_made).then(|| Arc::clone(&self.context)),
            ended: Vec::new(),
            variables: is_end.then(|| next.variables.clone()).flatten(),
            ended_variables: BTreeMap::new(),
        };
        runners.command(runner, command);
        self.under_way = Some(next);
    }

    /// Channel objects of dead runners whose `unsubscribed` was not run.
    pub(super) fn unended(&self) -> impl Iterator<Item = ChannelObject> {
        let all = self.under_way.iter().chain(&self.waiting);
        all.filter(|it| it.kind == CommandKind::End)
            .map(|it| ChannelObject {
                identifier: it.identifier.clone(),
                variables: it.variables.clone(),
            })
    }
}

/// Key of the connection.
pub(super) fn key(turn: &Turn<'_>) -> ConnectionKey {
    ConnectionKey {
        shard: turn.shard,
        id: turn.id,
    }
}
