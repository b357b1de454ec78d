//! Runners: processes of the app that run its channel classes for connections of Action Cable, each over its app link.
//!
//! A connection has at most one runner, which keeps its channel objects. When a runner ends, the shards give its connections to
//! another one. A connection that closes is remembered until its runner has run `unsubscribed`, so that another runner can, if
//! the first one dies.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lineside_hub::ConnectionId;
use lineside_protocol::frame::runner::{Command, CommandKind};

use super::{AppQueue, Inbox};
use crate::log::{Level, event};

/// Maximum number of closed connections that wait for a runner. Beyond it the oldest is forgotten.
const CLOSES_MAX: usize = 16 * 1024;

/// Number of ended runners that are remembered until all shards know of their end.
const CLEAN_MAX: usize = 64;

/// Id of a runner, unique for the life of the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerId(u64);

/// A connection, and its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionKey {
    pub(crate) shard: usize,
    pub(crate) id: ConnectionId,
}

impl std::fmt::Display for ConnectionKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.shard, self.id)
    }
}

impl ConnectionKey {
    fn parse(text: &str) -> Option<Self> {
        let (shard, id) = text.split_once('.')?;
        Some(Self {
            shard: shard.parse().ok()?,
            id: id.parse().ok()?,
        })
    }
}

/// Event of a runner, as a shard receives it.
#[derive(Debug)]
pub enum RunnerEvent {
    /// A runner has opened. Connections that wait for one choose again.
    Opened,
    /// A runner has ended.
    Closed {
        /// The runner.
        runner: RunnerId,
        /// The process lives, and runs `unsubscribed` of all its channel objects.
        is_clean: bool,
    },
    /// A runner has sent something for a connection.
    Sent {
        /// The runner.
        runner: RunnerId,
        /// The connection.
        connection: ConnectionId,
        /// What it has sent.
        report: Report,
    },
}

impl RunnerEvent {
    /// Memory of its texts, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Sent { report, .. } => report.bytes(),
            Self::Opened | Self::Closed { .. } => 0,
        }
    }
}

/// What a runner sends for a connection.
#[derive(Debug)]
pub enum Report {
    /// It has run a command.
    Done {
        /// Number of the command.
        number: u64,
        /// Variables of the channel object, if they have changed.
        variables: Option<String>,
    },
    /// Text for the browser.
    Text(String),
    /// A subscription receives a stream.
    Stream {
        /// Text of the subscription's identifier.
        identifier: String,
        /// Name of the stream.
        stream: String,
    },
    /// A subscription no longer receives a stream.
    StopStream {
        /// Text of the subscription's identifier.
        identifier: String,
        /// Name of the stream.
        stream: String,
    },
    /// It has run `unsubscribed` of all channel objects, because it stops.
    Left,
}

impl Report {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Stream { identifier, stream } | Self::StopStream { identifier, stream } => {
                identifier.len() + stream.len()
            }
            Self::Done { variables, .. } => variables.as_ref().map_or(0, String::len),
            Self::Left => 0,
        }
    }
}

/// A channel object in a runner.
#[derive(Clone, Debug)]
pub(crate) struct ChannelObject {
    /// Text of the subscription's identifier.
    pub(crate) identifier: String,
    /// Its variables, as the runner sent them last.
    pub(crate) variables: Option<String>,
}

/// A connection that has closed.
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    pub(crate) key: ConnectionKey,
    /// Text from which the connection is made.
    pub(crate) context: Arc<str>,
    /// Whether the runner has the connection already.
    pub(crate) is_made: bool,
    /// Channel objects that the runner has.
    pub(crate) running: Vec<ChannelObject>,
    /// Channel objects that died with their runner.
    pub(crate) ended: Vec<ChannelObject>,
}

impl Closing {
    fn command(&self) -> Command {
        Command {
            connection: self.key.to_string(),
            id: 0,
            command: CommandKind::Close,
            identifier: None,
            data: None,
            context: (!self.is_made).then(|| Arc::clone(&self.context)),
            ended: self.ended.iter().map(|it| it.identifier.clone()).collect(),
            variables: None,
            ended_variables: self
                .ended
                .iter()
                .filter_map(|it| Some((it.identifier.clone(), it.variables.clone()?)))
                .collect(),
        }
    }

    /// The same connection after its runner died.
    fn without_runner(mut self) -> Self {
        self.is_made = false;
        self.ended.append(&mut self.running);
        self
    }
}

#[derive(Debug)]
struct Runner {
    id: RunnerId,
    process: String,
    queue: Arc<AppQueue>,
    /// Number of its connections.
    connections: usize,
    /// It stops, and gets no further connection.
    is_leaving: bool,
    /// Closed connections for which it has not run `unsubscribed` yet.
    closing: HashMap<ConnectionKey, Closing>,
}

impl Runner {
    fn close(&mut self, closing: Closing) {
        self.queue.command(closing.command());
        self.closing.insert(closing.key, closing);
    }
}

#[derive(Debug, Default)]
struct Table {
    opened: u64,
    runners: Vec<Runner>,
    /// Closed connections without a runner.
    closed: VecDeque<Closing>,
    /// Runners that ended last while their process lived.
    clean: VecDeque<RunnerId>,
}

impl Table {
    fn get(&mut self, id: RunnerId) -> Option<&mut Runner> {
        self.runners.iter_mut().find(|it| it.id == id)
    }

    /// Runner with the fewest connections, unless there is the preferred process.
    fn best(&mut self, preferred: Option<&str>) -> Option<&mut Runner> {
        let staying = self.runners.iter_mut().filter(|it| !it.is_leaving);
        staying.min_by_key(|it| (Some(it.process.as_str()) != preferred, it.connections))
    }

    fn close(&mut self, closing: Closing) {
        if let Some(runner) = self.best(None) {
            return runner.close(closing);
        }
        if self.closed.len() == CLOSES_MAX {
            let message = "no process of the app runs channels: `unsubscribed` of a closed connection was not run";
            event!(Level::Error, "unsubscribe_lost", message);
            self.closed.pop_front();
        }
        self.closed.push_back(closing);
    }
}

/// All runners.
#[derive(Debug)]
pub struct Runners {
    table: Mutex<Table>,
    shards: Vec<Arc<Inbox>>,
}

impl Runners {
    pub(crate) fn new(shards: Vec<Arc<Inbox>>) -> Self {
        Self {
            table: Mutex::default(),
            shards,
        }
    }

    /// Adds a runner. Connections that wait for one are told.
    pub fn open(&self, process: &str, queue: &Arc<AppQueue>) -> RunnerId {
        let mut table = self.table();
        table.opened += 1;
        let id = RunnerId(table.opened);
        table.runners.push(Runner {
            id,
            process: process.to_owned(),
            queue: Arc::clone(queue),
            connections: 0,
            is_leaving: false,
            closing: HashMap::new(),
        });
        for closing in std::mem::take(&mut table.closed) {
            table.close(closing);
        }
        drop(table);
        self.shards
            .iter()
            .for_each(|shard| shard.report(RunnerEvent::Opened));
        id
    }

    /// Removes a runner. If `is_clean`, its process lives and runs `unsubscribed` by itself.
    pub fn close(&self, id: RunnerId, is_clean: bool) {
        let mut table = self.table();
        let Some(at) = table.runners.iter().position(|it| it.id == id) else {
            return;
        };
        let runner = table.runners.remove(at);
        if is_clean {
            table.clean.truncate(CLEAN_MAX - 1);
            table.clean.push_front(id);
        } else {
            for closing in runner.closing.into_values() {
                table.close(closing.without_runner());
            }
        }
        drop(table);
        for shard in &self.shards {
            let runner = id;
            shard.report(RunnerEvent::Closed { runner, is_clean });
        }
    }

    /// Chooses a runner for a connection: the preferred process, otherwise the one with the fewest connections.
    pub(crate) fn assign(&self, preferred: Option<&str>) -> Option<RunnerId> {
        let mut table = self.table();
        let runner = table.best(preferred)?;
        runner.connections += 1;
        Some(runner.id)
    }

    /// Sends a command to a runner. A runner that has ended gets nothing: its connections are told.
    pub(crate) fn command(&self, id: RunnerId, command: Command) {
        if let Some(runner) = self.table().get(id) {
            runner.queue.command(command);
        }
    }

    /// Tells a runner that a connection of it has closed, or another one if it has none.
    pub(crate) fn end(&self, runner: Option<RunnerId>, closing: Closing) {
        let mut table = self.table();
        if let Some(runner) = runner.and_then(|id| table.get(id)) {
            runner.connections = runner.connections.saturating_sub(1);
            return runner.close(closing);
        }
        // The process of a runner that ended clean runs `unsubscribed` by itself.
        let is_clean = runner.is_some_and(|id| table.clean.contains(&id));
        if !is_clean {
            table.close(closing.without_runner());
        }
    }

    /// Handles what a runner sends for a connection.
    pub fn report(&self, runner: RunnerId, connection: &str, report: Report) {
        let Some(key) = ConnectionKey::parse(connection) else {
            return;
        };
        match (&report, self.table().get(runner)) {
            (Report::Done { number: 0, .. }, Some(runner)) => drop(runner.closing.remove(&key)),
            (Report::Left, Some(runner)) => runner.is_leaving = true,
            _ => {}
        }
        if let Some(shard) = self.shards.get(key.shard) {
            let connection = key.id;
            shard.report(RunnerEvent::Sent {
                runner,
                connection,
                report,
            });
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
