//! Journal, shards and clients, and the random steps of a run.

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;

use lineside_hub::{ConnectionId, FanOut, HistoryLimits, Journal, Publication, SLICES_MAX};
use lineside_protocol::{After, Epoch, Position};

use crate::client::{Client, Line, Reply};
use crate::history::{CHANNELS, History};
use crate::random::Random;
use crate::tally::Tally;

/// One open connection, and the lines that it must receive.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) shard: usize,
    pub(crate) subscribed: Vec<usize>,
    /// Lines still to receive, in order.
    pub(crate) expected: VecDeque<Line>,
    pub(crate) received: Vec<u8>,
    /// Resume that waits for the shard to dispatch more.
    pub(crate) waiting: Option<Asked>,
    pub(crate) welcomed: bool,
    pub(crate) blocked: bool,
}

/// Entry of a shard's inbox.
#[derive(Clone)]
pub(crate) enum Entry {
    Publication(Arc<Publication>),
    /// Entry without a publication, such as a revocation.
    Position(Position),
}

/// Request of a resume.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) number: usize,
    pub(crate) is_connect: bool,
    pub(crate) wants: Vec<(usize, Option<After>)>,
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) limits: HistoryLimits,
    pub(crate) journal: Journal,
    pub(crate) now_ms: u64,
    pub(crate) history: History,
    pub(crate) shards: Vec<(FanOut, VecDeque<Entry>)>,
    pub(crate) clients: Vec<(Client, Option<Connection>)>,
    pub(crate) closed: Vec<(usize, ConnectionId)>,
    pub(crate) replies: BTreeMap<usize, Reply>,
    pub(crate) asked: usize,
    pub(crate) tally: Tally,
}

impl World {
    pub(crate) fn new(mut random: Random) -> Self {
        let tight = random.percent(50);
        let limits = HistoryLimits {
            channel_publications_max: if tight { random.size(0, 6) } else { 40 },
            channel_bytes_max: if tight {
                random.size(400, 4_000)
            } else {
                20_000
            },
            age_ms_max: if tight {
                random.between(50, 3_000)
            } else {
                5_000
            },
            bytes_max: if tight {
                random.size(400, 20_000)
            } else {
                60_000
            },
            channels_max: if tight {
                random.size(1, CHANNELS.len())
            } else {
                CHANNELS.len()
            },
        };
        let journal = Journal::new(Epoch::new("ours").expect("an epoch"), limits);
        let shard = || (FanOut::new(journal.cursor(), usize::MAX), VecDeque::new());
        let shards = (0..random.between(1, 3)).map(|_| shard()).collect();
        let clients = (0..random.between(1, 5))
            .map(|_| (Client::default(), None))
            .collect();
        Self {
            random,
            limits,
            journal,
            now_ms: 1_000_000,
            history: History::default(),
            shards,
            clients,
            closed: Vec::new(),
            replies: BTreeMap::new(),
            asked: 0,
            tally: Tally::default(),
        }
    }

    pub(crate) fn step(&mut self) {
        let shard = self.random.index(self.shards.len());
        let client = self.random.index(self.clients.len());
        match self.random.between(0, 99) {
            0..2 => {
                let position = self.next_position();
                self.journal.pass(position);
                self.hand_to_shards(&Entry::Position(position));
            }
            2..30 => self.publish(),
            30..50 => {
                let most = self.random.size(1, 4);
                self.dispatch(shard, most);
            }
            50..68 => {
                let most = self.random.size(1, 6);
                self.flush(shard, most);
            }
            68..78 => self.connect(client),
            78..86 => self.subscribe(client),
            86..90 => self.unsubscribe(client),
            90..92 => self.ping(client),
            92..94 => self.unblock(client),
            94..97 => self.disconnect(client),
            _ => self.step_clock(),
        }
        self.disturb_closed();
    }

    /// Delivers everything, and checks the final state of every client.
    pub(crate) fn settle(&mut self) {
        for shard in 0..self.shards.len() {
            self.dispatch(shard, usize::MAX);
        }
        for client in 0..self.clients.len() {
            self.unblock(client);
        }
        for shard in 0..self.shards.len() {
            while self.flush(shard, usize::MAX) {}
        }
        for (client, connection) in &mut self.clients {
            let Some(connection) = connection else {
                continue;
            };
            assert!(
                connection.expected.is_empty(),
                "{:?} did not arrive",
                connection.expected
            );
            assert!(connection.received.is_empty(), "more arrived than expected");
            let outbox = self.shards[connection.shard]
                .0
                .outbox(connection.id)
                .expect("an outbox");
            assert!(outbox.is_empty() && outbox.bytes() == 0 && !outbox.has_replay());
            client.assert_complete(self.history.entries());
        }
    }

    fn publish(&mut self) {
        let channel = self.random.index(CHANNELS.len());
        let position = self.next_position();
        let line = format!("{}\n", Line::Message { position, channel }.text());
        let place = (position, self.now_ms);
        let publication = self
            .journal
            .append(CHANNELS[channel], place, |_| line.clone().into());
        self.history
            .add(publication.position, channel, line.len(), self.now_ms);
        self.hand_to_shards(&Entry::Publication(publication));
    }

    /// Position of the next entry. One in four follows a gap.
    fn next_position(&mut self) -> Position {
        let next = self.journal.newest().next();
        if !self.random.percent(25) {
            return next;
        }
        self.tally.gaps += 1;
        Position(next.0 + self.random.between(1, 5))
    }

    fn hand_to_shards(&mut self, entry: &Entry) {
        for (_, inbox) in &mut self.shards {
            inbox.push_back(entry.clone());
        }
    }

    fn dispatch(&mut self, at: usize, most: usize) {
        for _ in 0..most {
            let (shard, inbox) = &mut self.shards[at];
            let publication = match inbox.pop_front() {
                None => break,
                Some(Entry::Publication(publication)) => publication,
                Some(Entry::Position(position)) => {
                    shard.pass(position);
                    continue;
                }
            };
            let channel = channel_index(&publication.channel);
            shard.dispatch(&publication);
            for connection in self
                .clients
                .iter_mut()
                .filter_map(|(_, connection)| connection.as_mut())
            {
                if connection.shard == at && connection.subscribed.contains(&channel) {
                    connection.expected.push_back(Line::Message {
                        position: publication.position,
                        channel,
                    });
                }
            }
        }
        while let Some((id, request)) = self.shards[at].0.next_ready() {
            let answer = self.journal.replay(&request);
            let resumed = self.shards[at].0.complete(id, request, answer);
            let is_it = |it: &Connection| it.shard == at && it.id == id;
            let found = self
                .clients
                .iter()
                .position(|(_, connection)| connection.as_ref().is_some_and(is_it));
            let client = found.expect("an open connection");
            let asked = self
                .connection(client)
                .waiting
                .take()
                .expect("a waiting resume");
            self.resumed(client, &asked, resumed);
        }
        self.assert_none_waits_too_long(at);
    }

    pub(crate) fn assert_none_waits_too_long(&self, at: usize) {
        for connection in self
            .clients
            .iter()
            .filter_map(|(_, connection)| connection.as_ref())
        {
            if let (true, Some(asked)) = (connection.shard == at, &connection.waiting) {
                let ahead = asked
                    .wants
                    .iter()
                    .filter_map(|(_, after)| self.readable(after.as_ref()?));
                assert!(
                    ahead.max() > Some(self.shards[at].0.dispatched()),
                    "a resume that is ready still waits"
                );
            }
        }
    }

    /// Writes some bytes of some connections. Returns false if nothing is left to write.
    fn flush(&mut self, at: usize, most: usize) -> bool {
        let settling = most == usize::MAX;
        for _ in 0..most {
            let shard = &mut self.shards[at].0;
            let Some(id) = shard.next_flush() else {
                return false;
            };
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = shard.outbox(id).expect("an outbox").slices(&mut slices);
            let mut bytes: Vec<u8> = slices[..count]
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect();
            assert!(!bytes.is_empty(), "nothing to write");
            let partly = self.random.percent(40);
            if partly {
                bytes.truncate(self.random.size(0, bytes.len() - 1));
                self.tally.partly_written += 1;
            }
            shard.advance(id, bytes.len());
            let blocks = partly && !settling && self.random.percent(50);
            if blocks {
                shard.block(id);
                self.tally.blocked += 1;
            }
            self.arrive(at, id, &bytes, blocks);
        }
        true
    }

    fn arrive(&mut self, at: usize, id: ConnectionId, bytes: &[u8], blocks: bool) {
        let of = |it: &Connection| it.shard == at && it.id == id;
        let found = self
            .clients
            .iter_mut()
            .find(|(_, connection)| connection.as_ref().is_some_and(of));
        let (client, Some(connection)) = found.expect("an open connection") else {
            return;
        };
        assert!(!connection.blocked, "a blocked connection is not written");
        connection.blocked = blocks;
        connection.received.extend_from_slice(bytes);
        while let Some(end) = connection.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = connection.received.drain(..=end).collect();
            let expected = connection.expected.pop_front().expect("an expected line");
            assert_eq!(String::from_utf8_lossy(&line[..end]), expected.text());
            client.receive(expected, &self.replies);
        }
    }

    fn unsubscribe(&mut self, client: usize) {
        let channel = self.random.index(CHANNELS.len());
        let expires = self.random.percent(50);
        let (follower, connection) = &mut self.clients[client];
        let Some(connection) = connection
            .as_mut()
            .filter(|it| it.welcomed && it.waiting.is_none())
        else {
            return;
        };
        follower.unfollow(channel);
        let (shard, _) = &mut self.shards[connection.shard];
        let was_subscribed = connection.subscribed.contains(&channel);
        connection.subscribed.retain(|it| *it != channel);
        assert_eq!(
            shard.is_subscribed(connection.id, CHANNELS[channel]),
            was_subscribed
        );
        assert_eq!(
            shard.unsubscribe(connection.id, CHANNELS[channel]),
            was_subscribed
        );
        if expires {
            shard.forget(connection.id, CHANNELS[channel]);
            let mut begun = !connection.received.is_empty();
            let of_channel =
                |line: &Line| matches!(line, Line::Message { channel: of, .. } if *of == channel);
            connection
                .expected
                .retain(|line| std::mem::take(&mut begun) || !of_channel(line));
        }
        self.send(client, Line::Unsubscribed(channel));
    }

    fn ping(&mut self, client: usize) {
        let Some(connection) = self.clients[client].1.as_ref().filter(|it| it.welcomed) else {
            return;
        };
        let offered = self.shards[connection.shard].0.dispatched();
        self.send(client, Line::Ping(offered));
    }

    pub(crate) fn send(&mut self, client: usize, line: Line) {
        let Self {
            clients, shards, ..
        } = self;
        let connection = clients[client].1.as_mut().expect("a connection");
        connection.expected.push_back(line);
        shards[connection.shard]
            .0
            .push_frame(connection.id, format!("{}\n", line.text()).into());
    }

    fn unblock(&mut self, client: usize) {
        if let Some(connection) = self.clients[client].1.as_mut().filter(|it| it.blocked) {
            connection.blocked = false;
            self.shards[connection.shard].0.unblock(connection.id);
        }
    }

    fn disconnect(&mut self, client: usize) {
        let (client, connection) = &mut self.clients[client];
        if let Some(connection) = connection.take() {
            let (shard, _) = &mut self.shards[connection.shard];
            self.tally.closed_in_replay +=
                u64::from(shard.outbox(connection.id).expect("an outbox").has_replay());
            shard.close(connection.id);
            client.disconnected();
            self.closed.push((connection.shard, connection.id));
        }
    }

    /// Moves the clock forward, and calls the journal with an earlier time too, which must change nothing.
    fn step_clock(&mut self) {
        let forward = self.random.between(0, 800);
        self.journal
            .expire(self.now_ms.saturating_sub(self.random.between(0, 5_000)));
        self.now_ms += forward;
        if self.random.percent(70) {
            self.journal.expire(self.now_ms);
        }
    }

    /// Calls the shard for a closed connection, whose slot another one may use by now.
    fn disturb_closed(&mut self) {
        if !self.closed.is_empty() {
            let (shard, id) = self.closed[self.random.index(self.closed.len())];
            let (shard, _) = &mut self.shards[shard];
            shard.push_frame(id, "late\n".into());
            shard.abandon(id);
            shard.leave(id);
            shard.forget(id, CHANNELS[0]);
            shard.advance(id, 1);
            shard.block(id);
            assert!(!shard.unsubscribe(id, CHANNELS[0]));
            assert_eq!(shard.subscriptions(id).count(), 0);
            assert!(shard.outbox(id).is_none());
            shard.close(id);
        }
    }

    pub(crate) fn readable(&self, after: &After) -> Option<Position> {
        match after {
            After::Cursor(cursor) if cursor.epoch == *self.journal.epoch() => {
                Some(cursor.position).filter(|position| *position <= self.journal.newest())
            }
            After::Cursor(_) | After::Unknown => None,
        }
    }

    pub(crate) fn connection(&mut self, client: usize) -> &mut Connection {
        self.clients[client].1.as_mut().expect("a connection")
    }

    pub(crate) fn next_number(&mut self) -> usize {
        self.asked += 1;
        self.asked
    }
}

fn channel_index(name: &str) -> usize {
    CHANNELS
        .iter()
        .position(|it| *it == name)
        .expect("a known channel")
}
