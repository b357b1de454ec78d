//! Connects and subscribes with arbitrary cursors, and compares the answers with the rules of resume.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lineside_hub::{Resume, Resumed, Verdict, Want};
use lineside_protocol::{After, Epoch, Position};

use crate::client::{Line, Reply};
use crate::history::CHANNELS;
use crate::world::{Asked, Connection, World};

impl World {
    pub(crate) fn connect(&mut self, client: usize) {
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

    pub(crate) fn subscribe(&mut self, client: usize) {
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

    /// A random channel with an arbitrary `after`. If the client follows the channel already, a connect (where the first want
    /// counts) or a want without `after` only confirms it.
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
            // The journal may assign a position later that is ahead of it now. The verdict depends on the time of the request.
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
        let (shard, _) = &mut shards[connection.shard];
        match shard.resume(connection.id, wants, || journal.newest()) {
            Resume::Ready(request) => {
                let answer = journal.replay(&request);
                let resumed = shard.complete(connection.id, request, answer);
                self.resumed(client, &asked, resumed);
            }
            Resume::Waiting => {
                self.tally.waited += 1;
                let at = connection.shard;
                connection.waiting = Some(asked);
                self.assert_none_waits_too_long(at);
            }
        }
    }

    /// Compares a completed resume with the rules, and adds the lines that the connection must receive.
    pub(crate) fn resumed(&mut self, client: usize, asked: &Asked, resumed: Resumed) {
        let at = self.connection(client).shard;
        let seam = self.shards[at].0.dispatched();
        assert_eq!(resumed.seam, seam);
        let mut mentioned = BTreeSet::new();
        let wants: Vec<_> = asked
            .wants
            .iter()
            .filter(|(channel, _)| mentioned.insert(*channel))
            .collect();
        assert_eq!(resumed.verdicts.len(), wants.len());
        let mut recovered = BTreeMap::new();
        let mut verdicts = Vec::new();
        for (it, (channel, after)) in resumed.verdicts.iter().zip(wants) {
            assert_eq!(&*it.channel, CHANNELS[*channel]);
            self.check(it.verdict, after.as_ref(), seam);
            if it.verdict == Verdict::Recovered {
                recovered.insert(
                    *channel,
                    self.readable(after.as_ref().expect("an after"))
                        .expect("a position"),
                );
            }
            verdicts.push((*channel, it.verdict));
        }
        assert_eq!(
            resumed.floor,
            recovered.values().min().copied().unwrap_or(seam)
        );
        self.tally.replayed += u64::from(!resumed.replay.is_empty());

        let replay = self.history.replay(&recovered, seam);
        assert_eq!(resumed.replay.len(), replay.len());
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
        connection.expected.extend(replay);
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

    /// Checks that a verdict is allowed. The received lines show whether a recovered channel is complete.
    fn check(&mut self, verdict: Verdict, after: Option<&After>, seam: Position) {
        match (after, verdict) {
            (None, Verdict::Fresh) => self.tally.fresh += 1,
            (Some(after), Verdict::Lost) => {
                self.tally.lost += 1;
                let held = self.readable(after).is_some_and(|after| {
                    self.history
                        .must_hold_after(after, &self.limits, self.now_ms)
                });
                assert!(
                    !held,
                    "lost although no publication after {after:?} can have been evicted"
                );
            }
            (Some(after), Verdict::Recovered) => {
                self.tally.recovered += 1;
                assert!(self.readable(after).expect("a readable cursor") <= seam);
            }
            (after, verdict) => panic!("{verdict:?} for {after:?}"),
        }
    }
}
