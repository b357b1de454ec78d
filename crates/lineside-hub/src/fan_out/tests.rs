use lineside_protocol::{After, Epoch};

use super::*;
use crate::journal::{HistoryLimits, Journal, ReplayRequest, Verdict, Want};

/// A journal, and one shard that receives its entries.
pub(super) struct Fixture {
    pub(super) journal: Journal,
    pub(super) shard: FanOut,
}

impl Fixture {
    pub(super) fn new(outbox_bytes_max: usize) -> Self {
        let journal = Journal::new(Epoch::new("ours").unwrap(), HistoryLimits::default());
        let shard = FanOut::new(journal.cursor(), outbox_bytes_max);
        Self { journal, shard }
    }

    pub(super) fn append(&mut self, channel: &str) -> Arc<Publication> {
        let position = self.journal.newest().next();
        self.append_at(channel, position)
    }

    fn append_at(&mut self, channel: &str, position: Position) -> Arc<Publication> {
        self.journal
            .append(channel, (position, 0), |_| format!("{position};").into())
    }

    pub(super) fn publish(&mut self, channel: &str) {
        let publication = self.append(channel);
        self.shard.dispatch(&publication);
    }

    /// Resumes and completes. `None` if the resume waits.
    pub(super) fn resume(&mut self, id: ConnectionId, wants: Vec<Want>) -> Option<Resumed> {
        match self.shard.resume(id, wants, || self.journal.newest()) {
            Resume::Ready(request) => Some(self.complete(id, request)),
            Resume::Waiting => None,
        }
    }

    /// Completes the next waiting resume that is ready.
    fn next_ready(&mut self) -> Option<(ConnectionId, Resumed)> {
        let (id, request) = self.shard.next_ready()?;
        Some((id, self.complete(id, request)))
    }

    fn complete(&mut self, id: ConnectionId, request: ReplayRequest) -> Resumed {
        let answer = self.journal.replay(&request);
        self.shard.complete(id, request, answer)
    }

    /// Opens a connection that is subscribed to `channels`.
    pub(super) fn subscriber(&mut self, channels: &[&str]) -> ConnectionId {
        let id = self.shard.open();
        let wants = channels.iter().map(|channel| want(channel, None)).collect();
        assert!(self.resume(id, wants).is_some());
        id
    }

    pub(super) fn subscribers(&mut self, channel: &str, count: usize) -> Vec<ConnectionId> {
        (0..count).map(|_| self.subscriber(&[channel])).collect()
    }

    pub(super) fn after(&self, position: u64) -> Option<After> {
        Some(After::Cursor(self.journal.epoch().at(Position(position))))
    }

    /// Writes all of the next connection's outbox.
    pub(super) fn flush_one(&mut self) -> Option<(ConnectionId, String)> {
        let id = self.shard.next_flush()?;
        let sent = self.unsent(id);
        self.shard.advance(id, sent.len());
        Some((id, sent))
    }

    pub(super) fn unsent(&self, id: ConnectionId) -> String {
        let mut slices = [std::io::IoSlice::new(&[]); crate::SLICES_MAX];
        let count = self.shard.outbox(id).unwrap().slices(&mut slices);
        slices[..count]
            .iter()
            .map(|slice| str::from_utf8(slice).unwrap())
            .collect()
    }
}

pub(super) fn want(channel: &str, after: Option<After>) -> Want {
    Want {
        channel: channel.into(),
        after,
    }
}

fn verdicts(resumed: &Resumed) -> Vec<Verdict> {
    resumed.verdicts.iter().map(|it| it.verdict).collect()
}

#[test]
fn publication_is_sent_to_subscribers_of_its_channel_only() {
    let mut fixture = Fixture::new(1_000);
    let one = fixture.subscriber(&["user:1", "board"]);
    let two = fixture.subscriber(&["user:2", "board"]);
    fixture.publish("user:1");
    fixture.publish("board");
    fixture.publish("empty");
    assert_eq!(fixture.flush_one(), Some((one, "1;2;".to_owned())));
    assert_eq!(fixture.flush_one(), Some((two, "2;".to_owned())));
    assert_eq!(fixture.flush_one(), None);
    assert_eq!(fixture.shard.dispatched(), Position(3));
}

#[test]
fn unsubscribing_affects_no_other_subscriber_of_the_channel() {
    let mut fixture = Fixture::new(usize::MAX);
    let ids: Vec<_> = (0..100)
        .map(|_| fixture.subscriber(&["a", "b", "c"]))
        .collect();
    for (number, id) in ids.iter().enumerate() {
        match number % 4 {
            0 => fixture.shard.close(*id),
            1 => assert!(fixture.shard.unsubscribe(*id, "a")),
            2 => assert!(fixture.shard.unsubscribe(*id, "b")),
            _ => {}
        }
    }
    fixture.publish("a");
    fixture.publish("b");
    for (number, id) in ids.iter().enumerate() {
        let (channels, sent): (&[&str], _) = match number % 4 {
            0 => (&[], None),
            1 => (&["b", "c"], Some("2;")),
            2 => (&["a", "c"], Some("1;")),
            _ => (&["a", "b", "c"], Some("1;2;")),
        };
        assert_eq!(
            fixture
                .shard
                .subscriptions(*id)
                .map(|name| &**name)
                .collect::<Vec<_>>(),
            channels
        );
        assert_eq!(fixture.shard.outbox(*id).is_some(), sent.is_some());
        if let Some(sent) = sent {
            assert_eq!(fixture.unsent(*id), sent);
        }
    }
    ids.iter().for_each(|id| fixture.shard.close(*id));
    assert!(
        fixture.shard.channels.is_empty(),
        "channels without subscribers are removed"
    );
}

#[test]
fn late_calls_do_not_reach_the_next_connection_of_a_slot() {
    let mut fixture = Fixture::new(1_000);
    let closed = fixture.subscriber(&["a"]);
    fixture.publish("a");
    fixture.shard.close(closed);
    let fresh = fixture.subscriber(&["a"]);
    assert_eq!(closed.slot, fresh.slot);
    assert_ne!(closed, fresh);
    fixture
        .shard
        .push_frame(closed, Bytes::from_static(b"late"));
    fixture.shard.block(closed);
    assert!(!fixture.shard.unsubscribe(closed, "a"));
    assert!(!fixture.shard.is_subscribed(closed, "a"));
    assert!(fixture.shard.is_subscribed(fresh, "a"));
    assert_eq!(fixture.flush_one(), None);
    fixture.publish("a");
    assert_eq!(fixture.flush_one(), Some((fresh, "2;".to_owned())));
}

#[test]
fn seam_is_the_position_that_the_shard_has_dispatched() {
    let mut fixture = Fixture::new(1_000);
    fixture.publish("a");
    fixture.publish("a");
    let behind = fixture.append("a");
    let id = fixture.shard.open();
    let wants = vec![want("a", fixture.after(1))];
    let resumed = fixture.resume(id, wants).unwrap();
    assert_eq!((resumed.floor, resumed.seam), (Position(1), Position(2)));
    fixture.shard.push_replay(id, resumed.replay);
    fixture.shard.dispatch(&behind);
    assert_eq!(fixture.flush_one(), Some((id, "2;3;".to_owned())));
}

#[test]
fn resume_ahead_of_its_shard_waits_without_subscriptions() {
    let mut fixture = Fixture::new(1_000);
    let (first, second) = (fixture.append("a"), fixture.append("b"));
    let id = fixture.shard.open();
    let closed = fixture.shard.open();
    let wants = vec![want("a", None), want("b", fixture.after(2))];
    assert!(fixture.resume(id, wants.clone()).is_none());
    assert!(fixture.resume(closed, wants).is_none());
    fixture.shard.close(closed);
    fixture.shard.dispatch(&first);
    assert!(fixture.next_ready().is_none());
    assert_eq!(fixture.shard.subscriptions(id).count(), 0);
    fixture.shard.dispatch(&second);
    let (ready, resumed) = fixture.next_ready().unwrap();
    assert_eq!(ready, id);
    assert_eq!(verdicts(&resumed), [Verdict::Fresh, Verdict::Recovered]);
    assert!(resumed.replay.is_empty());
    assert!(fixture.next_ready().is_none());
    assert_eq!(fixture.flush_one(), None);
}

#[test]
fn cursor_ahead_of_the_journal_is_lost_even_if_assigned_later() {
    let mut fixture = Fixture::new(1_000);
    let first = fixture.append("a");
    let id = fixture.shard.open();
    let wants = vec![want("a", fixture.after(1)), want("b", fixture.after(2))];
    assert!(fixture.resume(id, wants).is_none());
    let second = fixture.append("b");
    fixture.shard.dispatch(&first);
    let (_, resumed) = fixture.next_ready().unwrap();
    assert_eq!(verdicts(&resumed)[1], Verdict::Lost);
    assert_eq!((resumed.floor, resumed.seam), (Position(1), Position(1)));
    fixture.shard.dispatch(&second);
    assert_eq!(fixture.flush_one(), Some((id, "2;".to_owned())));
}

#[test]
fn first_of_several_wants_for_a_channel_counts() {
    let mut fixture = Fixture::new(1_000);
    fixture.publish("a");
    let id = fixture.shard.open();
    let wants = vec![want("a", None), want("a", fixture.after(0))];
    let resumed = fixture.resume(id, wants).unwrap();
    assert_eq!(
        resumed.verdicts,
        [ChannelVerdict {
            channel: "a".into(),
            verdict: Verdict::Fresh
        }]
    );
    assert!(resumed.replay.is_empty());
    assert_eq!(fixture.shard.subscriptions(id).count(), 1);
}

#[test]
fn idle_connection_takes_at_most_136_bytes() {
    // Not included: one subscription (64 bytes, the first allocation holds four), the slot among the subscribers (8 bytes,
    // or 32 for a single one), and for a channel of its own two pointers to the name (16 bytes each) and two vectors.
    assert!(
        size_of::<Connection>() <= 136,
        "{}",
        size_of::<Connection>()
    );
    assert!(size_of::<Subscription>() <= 16);
}

#[test]
fn connection_that_left_receives_no_publication() {
    let mut fixture = Fixture::new(1_000);
    let one = fixture.subscriber(&["board", "news"]);
    fixture.publish("board");
    let ahead = fixture.append("board");
    let wants = vec![want("late", fixture.after(ahead.position.0))];
    assert!(fixture.resume(one, wants).is_none());
    fixture.shard.leave(one);
    fixture.shard.dispatch(&ahead);
    assert!(fixture.next_ready().is_none());
    fixture.publish("late");
    fixture.shard.push_frame(one, "end".into());
    assert_eq!(fixture.flush_one(), Some((one, "1;end".to_owned())));
    assert_eq!(fixture.shard.subscriptions(one).count(), 0);
}

#[test]
fn entry_without_publication_completes_a_waiting_resume() {
    let mut fixture = Fixture::new(1 << 20);
    let id = fixture.shard.open();
    fixture.journal.pass(Position(1));
    let wants = vec![want("a", fixture.after(1))];
    assert!(fixture.resume(id, wants).is_none());
    fixture.shard.pass(Position(1));
    let (ready, resumed) = fixture.next_ready().unwrap();
    assert_eq!((ready, resumed.seam), (id, Position(1)));
    assert_eq!(verdicts(&resumed), [Verdict::Recovered]);
}

#[test]
fn completing_a_resume_of_a_closed_connection_has_no_effect() {
    let mut fixture = Fixture::new(1_000);
    fixture.publish("a");
    let closed = fixture.shard.open();
    fixture.shard.close(closed);
    let wants = vec![want("a", fixture.after(0))];
    assert!(fixture.resume(closed, wants.clone()).is_some());
    let reused = fixture.shard.open();
    assert_eq!(reused.slot, closed.slot);
    let resumed = fixture.resume(closed, wants).unwrap();
    fixture.shard.push_replay(closed, resumed.replay);
    assert_eq!(fixture.shard.subscription_count(), 0);
    assert!(fixture.shard.channels.is_empty());
    assert_eq!(fixture.shard.subscriptions(reused).count(), 0);
    fixture.publish("a");
    assert_eq!(fixture.flush_one(), None);
}

#[test]
fn connection_closed_between_the_steps_of_a_resume_is_not_subscribed() {
    let mut fixture = Fixture::new(1_000);
    fixture.publish("a");
    let id = fixture.shard.open();
    let wants = vec![want("a", fixture.after(0))];
    let Resume::Ready(request) = fixture.shard.resume(id, wants, || unreachable!()) else {
        panic!("the cursor is not ahead of the shard")
    };
    fixture.shard.close(id);
    let resumed = fixture.complete(id, request);
    assert_eq!(resumed.replay.len(), 1);
    assert!(fixture.shard.channels.is_empty());
}

#[test]
fn newest_is_asked_for_only_if_a_cursor_is_ahead_of_the_shard() {
    let mut fixture = Fixture::new(1_000);
    fixture.publish("a");
    let ahead = fixture.append("a").position;
    let id = fixture.shard.open();
    let foreign = After::Cursor(Epoch::new("foreign").unwrap().at(Position(9)));
    let wants = vec![
        want("a", fixture.after(1)),
        want("b", Some(foreign)),
        want("c", Some(After::Unknown)),
        want("d", None),
    ];
    let resume = fixture.shard.resume(id, wants, || unreachable!());
    assert!(matches!(resume, Resume::Ready(_)));
    let mut calls = 0;
    let wants = vec![want("a", fixture.after(2))];
    let resume = fixture.shard.resume(id, wants, || {
        calls += 1;
        ahead
    });
    assert_eq!((resume, calls), (Resume::Waiting, 1));
}

#[test]
fn sparse_positions_resume_after_any_cursor() {
    for after in [10, 15, 20, 25, 1_000] {
        let mut fixture = Fixture::new(1_000);
        for position in [10, 20] {
            let publication = fixture.append_at("a", Position(position));
            fixture.shard.dispatch(&publication);
        }
        let late = fixture.append_at("a", Position(1_000));
        let id = fixture.shard.open();
        let wants = vec![want("a", fixture.after(after))];
        let resumed = fixture.resume(id, wants);
        assert_eq!(resumed.is_none(), after > 20, "after {after}");
        if let Some(resumed) = resumed {
            assert_eq!((resumed.floor.0, resumed.seam.0), (after, 20));
            fixture.shard.push_replay(id, resumed.replay);
        }
        fixture.shard.dispatch(&late);
        if let Some((ready, resumed)) = fixture.next_ready() {
            assert_eq!((ready, resumed.floor.0, resumed.seam.0), (id, after, 1_000));
            fixture.shard.push_replay(id, resumed.replay);
        }
        let sent = fixture.flush_one().map(|(_, sent)| sent);
        let missed = [20, 1_000].into_iter().filter(|position| *position > after);
        let expected: String = missed.map(|position| format!("{position};")).collect();
        assert_eq!(sent.unwrap_or_default(), expected, "after {after}");
    }
}

#[test]
fn interest_covers_channels_with_a_subscriber() {
    let mut world = Fixture::new(1024);
    let has_interest =
        |world: &Fixture| ["news", "other"].map(|channel| world.shard.interest().may_have(channel));
    let both = world.subscribers("news", 2);
    assert_eq!(has_interest(&world), [true, false]);
    world.shard.unsubscribe(both[0], "news");
    assert_eq!(has_interest(&world), [true, false]);
    world.shard.close(both[1]);
    assert_eq!(has_interest(&world), [false, false]);
}
