//! Journal, shards and clients, and the reference that knows every publication there ever was.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;

use lineside_hub::{
    ConnectionId, HistoryLimits, Journal, Publication, Resume, Resumed, SLICES_MAX, Shard, Verdict,
    Want,
};
use lineside_protocol::{After, Epoch, Position};

use crate::client::{Client, Line, Reply};
use crate::random::Random;

const CHANNELS: [&str; 6] = [
    "board",
    "news",
    "user:1",
    "user:2",
    "orders:7",
    "cable:Z2lkOi8v",
];

/// As the documentation of `HistoryLimits` says.
const ENTRY_OVERHEAD_BYTES: usize = 384;

/// How often the interesting things happened.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    fresh: u64,
    recovered: u64,
    lost: u64,
    replayed: u64,
    waited: u64,
    partly_written: u64,
    cut_in_replay: u64,
    blocked: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.fresh += other.fresh;
        self.recovered += other.recovered;
        self.lost += other.lost;
        self.replayed += other.replayed;
        self.waited += other.waited;
        self.partly_written += other.partly_written;
        self.cut_in_replay += other.cut_in_replay;
        self.blocked += other.blocked;
    }

    /// A run in which something never happens proves nothing about it.
    pub(crate) fn assert_everything_happened(&self, seeds: u64) {
        let Self {
            fresh,
            recovered,
            lost,
            replayed,
            waited,
            partly_written,
            cut_in_replay,
            blocked,
        } = *self;
        let counts = [
            fresh,
            recovered,
            lost,
            replayed,
            waited,
            partly_written,
            cut_in_replay,
            blocked,
        ];
        assert!(counts.iter().all(|count| *count > seeds / 4), "{self:?}");
    }
}

/// One publication, as the reference remembers it.
struct Entry {
    position: Position,
    channel: usize,
    bytes: usize,
    at_ms: u64,
}

/// One open connection, and what the rules say about it.
struct Connection {
    id: ConnectionId,
    shard: usize,
    subscribed: Vec<usize>,
    /// Every line that is still to arrive, in order.
    expected: VecDeque<Line>,
    received: Vec<u8>,
    /// The resume that the shard has not come to yet.
    waiting: Option<Asked>,
    welcomed: bool,
    blocked: bool,
}

/// A resume as it was asked for.
#[derive(Clone)]
struct Asked {
    number: usize,
    is_connect: bool,
    wants: Vec<(usize, Option<After>)>,
}

pub(crate) struct World {
    random: Random,
    limits: HistoryLimits,
    journal: Journal,
    now_ms: u64,
    history: Vec<Entry>,
    shards: Vec<(Shard, VecDeque<Arc<Publication>>)>,
    clients: Vec<(Client, Option<Connection>)>,
    closed: Vec<(usize, ConnectionId)>,
    replies: BTreeMap<usize, Reply>,
    asked: usize,
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
        let shard = || (Shard::new(journal.newest(), usize::MAX), VecDeque::new());
        let shards = (0..random.between(1, 3)).map(|_| shard()).collect();
        let clients = (0..random.between(1, 5))
            .map(|_| (Client::default(), None))
            .collect();
        Self {
            random,
            limits,
            journal,
            now_ms: 1_000_000,
            history: Vec::new(),
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
            0..30 => self.publish(),
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

    /// Lets everything arrive, and looks at what every client has then.
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
        let history: Vec<_> = self
            .history
            .iter()
            .map(|entry| (entry.position, entry.channel))
            .collect();
        for (client, connection) in &mut self.clients {
            let Some(connection) = connection else {
                continue;
            };
            assert!(
                connection.expected.is_empty(),
                "{:?} never arrived",
                connection.expected
            );
            assert!(connection.received.is_empty(), "more arrived than was owed");
            let outbox = self.shards[connection.shard]
                .0
                .outbox(connection.id)
                .expect("an outbox");
            assert!(outbox.is_empty() && outbox.bytes() == 0 && !outbox.has_replay());
            client.assert_complete(&history);
        }
    }

    fn publish(&mut self) {
        let channel = self.random.index(CHANNELS.len());
        let mut line = String::new();
        let publication = self
            .journal
            .append(CHANNELS[channel], self.now_ms, |position| {
                line = format!("{}\n", Line::Message { position, channel }.text());
                line.clone().into()
            });
        self.history.push(Entry {
            position: publication.position,
            channel,
            bytes: line.len() + CHANNELS[channel].len() + ENTRY_OVERHEAD_BYTES,
            at_ms: self.now_ms,
        });
        for (_, inbox) in &mut self.shards {
            inbox.push_back(Arc::clone(&publication));
        }
    }

    fn dispatch(&mut self, at: usize, most: usize) {
        for _ in 0..most {
            let (shard, inbox) = &mut self.shards[at];
            let Some(publication) = inbox.pop_front() else {
                break;
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
        while let Some((id, resumed)) = self.shards[at].0.ready(&self.journal) {
            let is_it = |it: &Connection| it.shard == at && it.id == id;
            let found = self
                .clients
                .iter()
                .position(|(_, connection)| connection.as_ref().is_some_and(is_it));
            let client = found.expect("only open connections get ready");
            let asked = self
                .connection(client)
                .waiting
                .take()
                .expect("it was waiting");
            self.resumed(client, &asked, resumed);
        }
        self.assert_none_waits_too_long(at);
    }

    fn assert_none_waits_too_long(&self, at: usize) {
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
                    "a resume was left waiting"
                );
            }
        }
    }

    /// Writes some bytes of some connections; false when there was nothing to write.
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
        let (client, Some(connection)) = found.expect("only open connections are flushed") else {
            return;
        };
        assert!(!connection.blocked, "a blocked connection is not written");
        connection.blocked = blocks;
        connection.received.extend_from_slice(bytes);
        while let Some(end) = connection.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = connection.received.drain(..=end).collect();
            let expected = connection
                .expected
                .pop_front()
                .expect("a line that is owed");
            assert_eq!(String::from_utf8_lossy(&line[..end]), expected.text());
            client.receive(expected, &self.replies);
        }
    }

    fn connect(&mut self, client: usize) {
        if self.clients[client].1.is_some() {
            return;
        }
        let number = self.next_number();
        let shard = self.random.index(self.shards.len());
        self.clients[client].1 = Some(Connection {
            id: self.shards[shard].0.open(),
            shard,
            subscribed: Vec::new(),
            expected: VecDeque::new(),
            received: Vec::new(),
            waiting: None,
            welcomed: false,
            blocked: false,
        });
        let mut wants = Vec::new();
        for (channel, after) in self.clients[client].0.cursors() {
            self.clients[client]
                .0
                .continue_after(channel, after, number);
            wants.push((
                channel,
                after.map(|after| After::Cursor(self.journal.epoch().at(after))),
            ));
        }
        for _ in 0..self.random.between(0, 3) {
            let want = self.any_want(client, number, true);
            wants.push(want);
        }
        self.resume(
            client,
            Asked {
                number,
                is_connect: true,
                wants,
            },
        );
    }

    fn subscribe(&mut self, client: usize) {
        if self.clients[client]
            .1
            .as_ref()
            .is_some_and(|it| it.welcomed && it.waiting.is_none())
        {
            let number = self.next_number();
            let want = self.any_want(client, number, false);
            self.resume(
                client,
                Asked {
                    number,
                    is_connect: false,
                    wants: vec![want],
                },
            );
        }
    }

    /// A channel with any `after` at all. One that the client follows already is only confirmed by a connect (the first
    /// mention counts) or without an `after`.
    fn any_want(
        &mut self,
        client: usize,
        number: usize,
        is_connect: bool,
    ) -> (usize, Option<After>) {
        let channel = self.random.index(CHANNELS.len());
        let newest = self.journal.newest();
        let ours = self.journal.epoch().clone();
        let (after, known) = match self.random.between(0, 9) {
            0..2 => (None, None),
            2 => (Some(After::Unknown), None),
            3 => (
                Some(After::Cursor(
                    Epoch::new("foreign").expect("an epoch").at(newest),
                )),
                None,
            ),
            4 => (Some(After::Cursor(ours.at(newest.next()))), None),
            5..7 => (Some(After::Cursor(ours.at(newest))), Some(newest)),
            _ => {
                let any = Position(self.random.between(0, newest.0));
                (Some(After::Cursor(ours.at(any))), Some(any))
            }
        };
        let client = &mut self.clients[client].0;
        if !client.follows(channel) || (!is_connect && after.is_some()) {
            client.start_after(channel, known, number);
        }
        (channel, after)
    }

    fn resume(&mut self, client: usize, mut asked: Asked) {
        let want = |(channel, after): &(usize, Option<After>)| Want {
            channel: CHANNELS[*channel].into(),
            after: after.clone(),
        };
        let wants = asked.wants.iter().map(want).collect();
        for after in asked
            .wants
            .iter_mut()
            .filter_map(|(_, after)| after.as_mut())
        {
            // The journal may yet assign a position that is ahead of it now; the verdict is on what was asked.
            if self.readable(after).is_none() {
                *after = After::Unknown;
            }
        }
        let Self {
            clients,
            shards,
            journal,
            ..
        } = self;
        let connection = clients[client].1.as_mut().expect("a connection");
        match shards[connection.shard]
            .0
            .resume(connection.id, journal, wants)
        {
            Resume::Ready(resumed) => self.resumed(client, &asked, resumed),
            Resume::Waiting => {
                self.tally.waited += 1;
                let at = connection.shard;
                connection.waiting = Some(asked);
                self.assert_none_waits_too_long(at);
            }
        }
    }

    /// Compares a completed resume with the rules, and notes what must arrive on its account.
    fn resumed(&mut self, client: usize, asked: &Asked, resumed: Resumed) {
        let at = self.connection(client).shard;
        let seam = self.shards[at].0.dispatched();
        assert_eq!(resumed.seam, seam);
        let mut mentioned = BTreeSet::new();
        let wants: Vec<_> = asked
            .wants
            .iter()
            .filter(|(channel, _)| mentioned.insert(*channel))
            .collect();
        assert_eq!(resumed.outcomes.len(), wants.len());
        let mut recovered = BTreeMap::new();
        let mut verdicts = Vec::new();
        for (outcome, (channel, after)) in resumed.outcomes.iter().zip(wants) {
            assert_eq!(&*outcome.channel, CHANNELS[*channel]);
            self.judge(outcome.verdict, after.as_ref(), seam);
            if outcome.verdict == Verdict::Recovered {
                recovered.insert(
                    *channel,
                    self.readable(after.as_ref().expect("an after"))
                        .expect("a position"),
                );
            }
            verdicts.push((*channel, outcome.verdict));
        }
        assert_eq!(
            resumed.floor,
            recovered.values().min().copied().unwrap_or(seam)
        );
        self.tally.replayed += u64::from(!resumed.replay.is_empty());

        let owed = |entry: &&Entry| {
            entry.position <= seam
                && recovered
                    .get(&entry.channel)
                    .is_some_and(|after| entry.position > *after)
        };
        let owed: Vec<_> = self
            .history
            .iter()
            .filter(owed)
            .map(|it| Line::Message {
                position: it.position,
                channel: it.channel,
            })
            .collect();
        let reply = Reply {
            is_connect: asked.is_connect,
            verdicts,
            floor: resumed.floor,
            seam,
        };
        let number = asked.number;
        let id = self.connection(client).id;
        self.send(client, Line::Reply(number));
        self.shards[at].0.push_replay(id, resumed.replay);
        let connection = self.connection(client);
        connection.expected.extend(owed);
        connection.welcomed = true;
        for (channel, _) in &reply.verdicts {
            if !connection.subscribed.contains(channel) {
                connection.subscribed.push(*channel);
            }
        }
        let subscribed: Vec<_> = connection
            .subscribed
            .iter()
            .map(|channel| CHANNELS[*channel])
            .collect();
        assert_eq!(
            self.shards[at]
                .0
                .subscriptions(id)
                .map(|name| &**name)
                .collect::<Vec<_>>(),
            subscribed
        );
        if reply.has_replay() {
            self.send(client, Line::CaughtUp(number));
        }
        self.replies.insert(number, reply);
    }

    /// What a verdict may be. That a recovered channel truly is, shows in what arrives.
    fn judge(&mut self, verdict: Verdict, after: Option<&After>, seam: Position) {
        match (after, verdict) {
            (None, Verdict::Fresh) => self.tally.fresh += 1,
            (Some(after), Verdict::Lost) => {
                self.tally.lost += 1;
                let held = self
                    .readable(after)
                    .is_some_and(|after| self.must_hold_after(after));
                assert!(
                    !held,
                    "lost although nothing after {after:?} can have been forgotten"
                );
            }
            (Some(after), Verdict::Recovered) => {
                self.tally.recovered += 1;
                assert!(
                    self.readable(after)
                        .expect("only what is readable is recovered")
                        <= seam
                );
            }
            (after, verdict) => panic!("{verdict:?} for {after:?}"),
        }
    }

    /// Whether no limit was ever a reason to forget anything after `after`, of any channel.
    fn must_hold_after(&self, after: Position) -> bool {
        let mut of_channel = BTreeMap::<usize, (usize, usize)>::new();
        let mut bytes = 0;
        let newest_ms = self.now_ms;
        self.history
            .iter()
            .filter(|entry| entry.position > after)
            .all(|entry| {
                let (count, channel_bytes) = of_channel.entry(entry.channel).or_default();
                *count += 1;
                *channel_bytes += entry.bytes;
                bytes += entry.bytes;
                *count <= self.limits.channel_publications_max
                    && *channel_bytes <= self.limits.channel_bytes_max
                    && bytes <= self.limits.bytes_max
                    && newest_ms - entry.at_ms <= self.limits.age_ms_max
                    && of_channel.len() <= self.limits.channels_max
            })
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

    fn send(&mut self, client: usize, line: Line) {
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
            self.tally.cut_in_replay +=
                u64::from(shard.outbox(connection.id).expect("an outbox").has_replay());
            shard.close(connection.id);
            client.disconnected();
            self.closed.push((connection.shard, connection.id));
        }
    }

    /// Mostly forward; a step back must do no harm, and counts as standing still.
    fn step_clock(&mut self) {
        let forward = self.random.between(0, 800);
        self.journal
            .expire(self.now_ms.saturating_sub(self.random.between(0, 5_000)));
        self.now_ms += forward;
        if self.random.percent(70) {
            self.journal.expire(self.now_ms);
        }
    }

    /// Calls that come too late, for a connection whose slot may be another's by now.
    fn disturb_closed(&mut self) {
        if !self.closed.is_empty() {
            let (shard, id) = self.closed[self.random.index(self.closed.len())];
            let (shard, _) = &mut self.shards[shard];
            shard.push_frame(id, "late\n".into());
            shard.forget(id, CHANNELS[0]);
            shard.advance(id, 1);
            shard.block(id);
            assert!(!shard.unsubscribe(id, CHANNELS[0]));
            assert_eq!(shard.subscriptions(id).count(), 0);
            assert!(shard.outbox(id).is_none());
            shard.close(id);
        }
    }

    fn readable(&self, after: &After) -> Option<Position> {
        match after {
            After::Cursor(cursor) if cursor.epoch == *self.journal.epoch() => {
                Some(cursor.position).filter(|position| *position <= self.journal.newest())
            }
            After::Cursor(_) | After::Unknown => None,
        }
    }

    fn connection(&mut self, client: usize) -> &mut Connection {
        self.clients[client].1.as_mut().expect("a connection")
    }

    fn next_number(&mut self) -> usize {
        self.asked += 1;
        self.asked
    }
}

fn channel_index(name: &str) -> usize {
    CHANNELS
        .iter()
        .position(|it| *it == name)
        .expect("a channel of the model")
}
