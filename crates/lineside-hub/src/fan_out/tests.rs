use lineside_protocol::{After, Epoch};

use super::*;
use crate::journal::{HistoryLimits, Journal};

/// A journal and one shard that is given all of it.
pub(super) struct Fixture {
    pub(super) journal: Journal,
    pub(super) shard: Shard,
}

impl Fixture {
    pub(super) fn new(outbox_bytes_max: usize) -> Self {
        let journal = Journal::new(Epoch::new("ours").unwrap(), HistoryLimits::default());
        let shard = Shard::new(journal.newest(), outbox_bytes_max);
        Self { journal, shard }
    }

    pub(super) fn append(&mut self, channel: &str) -> Arc<Publication> {
        self.journal
            .append(channel, 0, |position| format!("{position};").into())
    }

    pub(super) fn publish(&mut self, channel: &str) {
        let publication = self.append(channel);
        self.shard.dispatch(&publication);
    }

    /// A new connection that is subscribed to `channels`.
    pub(super) fn subscriber(&mut self, channels: &[&str]) -> ConnectionId {
        let id = self.shard.open();
        let want = |channel: &&str| Want {
            channel: (*channel).into(),
            after: None,
        };
        let wants = channels.iter().map(want).collect();
        assert!(matches!(
            self.shard.resume(id, &self.journal, wants),
            Resume::Ready(_)
        ));
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

#[test]
fn a_publication_goes_to_its_subscribers_and_to_nobody_else() {
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
fn leaving_a_full_channel_leaves_everybody_else_in_it() {
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
        "empty channels are dropped"
    );
}

#[test]
fn a_slot_that_is_used_again_is_another_connection() {
    let mut fixture = Fixture::new(1_000);
    let gone = fixture.subscriber(&["a"]);
    fixture.publish("a");
    fixture.shard.close(gone);
    let fresh = fixture.subscriber(&["a"]);
    assert_eq!(gone.slot, fresh.slot);
    assert_ne!(gone, fresh);
    fixture.shard.push_frame(gone, Bytes::from_static(b"late"));
    fixture.shard.block(gone);
    assert!(!fixture.shard.unsubscribe(gone, "a"));
    assert!(!fixture.shard.is_subscribed(gone, "a"));
    assert!(fixture.shard.is_subscribed(fresh, "a"));
    assert_eq!(fixture.flush_one(), None);
    fixture.publish("a");
    assert_eq!(fixture.flush_one(), Some((fresh, "2;".to_owned())));
}

#[test]
fn the_seam_is_what_the_shard_has_dispatched() {
    let mut fixture = Fixture::new(1_000);
    fixture.publish("a");
    fixture.publish("a");
    let behind = fixture.append("a");
    let id = fixture.shard.open();
    let wants = vec![Want {
        channel: "a".into(),
        after: fixture.after(1),
    }];
    let Resume::Ready(resumed) = fixture.shard.resume(id, &fixture.journal, wants) else {
        panic!()
    };
    assert_eq!((resumed.floor, resumed.seam), (Position(1), Position(2)));
    fixture.shard.push_replay(id, resumed.replay);
    fixture.shard.dispatch(&behind);
    assert_eq!(fixture.flush_one(), Some((id, "2;3;".to_owned())));
}

#[test]
fn a_resume_ahead_of_its_shard_waits_and_is_subscribed_to_nothing_meanwhile() {
    let mut fixture = Fixture::new(1_000);
    let (first, second) = (fixture.append("a"), fixture.append("b"));
    let id = fixture.shard.open();
    let closed = fixture.shard.open();
    let wants = || {
        vec![
            Want {
                channel: "a".into(),
                after: None,
            },
            Want {
                channel: "b".into(),
                after: Some(After::Cursor(Epoch::new("ours").unwrap().at(Position(2)))),
            },
        ]
    };
    assert_eq!(
        fixture.shard.resume(id, &fixture.journal, wants()),
        Resume::Waiting
    );
    assert_eq!(
        fixture.shard.resume(closed, &fixture.journal, wants()),
        Resume::Waiting
    );
    fixture.shard.close(closed);
    fixture.shard.dispatch(&first);
    assert!(!fixture.shard.has_ready());
    assert_eq!(fixture.shard.ready(&fixture.journal), None);
    assert_eq!(fixture.shard.subscriptions(id).count(), 0);
    fixture.shard.dispatch(&second);
    assert!(fixture.shard.has_ready());
    let (ready, resumed) = fixture.shard.ready(&fixture.journal).unwrap();
    assert_eq!(ready, id);
    let verdicts: Vec<_> = resumed
        .outcomes
        .iter()
        .map(|outcome| outcome.verdict)
        .collect();
    assert_eq!(verdicts, [Verdict::Fresh, Verdict::Recovered]);
    assert!(resumed.replay.is_empty());
    assert_eq!(fixture.shard.ready(&fixture.journal), None);
    assert_eq!(fixture.flush_one(), None);
}

#[test]
fn a_position_not_yet_assigned_stays_lost_when_it_is_assigned_during_the_wait() {
    let mut fixture = Fixture::new(1_000);
    let first = fixture.append("a");
    let id = fixture.shard.open();
    let wants = vec![
        Want {
            channel: "a".into(),
            after: fixture.after(1),
        },
        Want {
            channel: "b".into(),
            after: fixture.after(2),
        },
    ];
    assert_eq!(
        fixture.shard.resume(id, &fixture.journal, wants),
        Resume::Waiting
    );
    let second = fixture.append("b");
    fixture.shard.dispatch(&first);
    let (_, resumed) = fixture.shard.ready(&fixture.journal).unwrap();
    assert_eq!(resumed.outcomes[1].verdict, Verdict::Lost);
    assert_eq!((resumed.floor, resumed.seam), (Position(1), Position(1)));
    fixture.shard.dispatch(&second);
    assert_eq!(fixture.flush_one(), Some((id, "2;".to_owned())));
}

#[test]
fn of_several_wants_for_a_channel_the_first_counts() {
    let mut fixture = Fixture::new(1_000);
    fixture.publish("a");
    let id = fixture.shard.open();
    let wants = vec![
        Want {
            channel: "a".into(),
            after: None,
        },
        Want {
            channel: "a".into(),
            after: fixture.after(0),
        },
    ];
    let Resume::Ready(resumed) = fixture.shard.resume(id, &fixture.journal, wants) else {
        panic!()
    };
    assert_eq!(
        resumed.outcomes,
        [Outcome {
            channel: "a".into(),
            verdict: Verdict::Fresh
        }]
    );
    assert!(resumed.replay.is_empty());
    assert_eq!(fixture.shard.subscriptions(id).count(), 1);
}

#[test]
fn an_idle_connection_is_small() {
    // Beside it: one subscription (a first allocation of four, 64 bytes), its place among the subscribers (8, or 32 where
    // it is the only one), and for a channel of its own the name twice (16 each, shared bytes) and two vectors.
    assert!(
        size_of::<Connection>() <= 136,
        "{}",
        size_of::<Connection>()
    );
    assert!(size_of::<Subscription>() <= 16);
}

#[test]
fn nothing_is_offered_to_a_connection_that_left() {
    let mut fixture = Fixture::new(1_000);
    let one = fixture.subscriber(&["board", "news"]);
    fixture.publish("board");
    let ahead = fixture.append("board");
    let want = Want {
        channel: "late".into(),
        after: fixture.after(ahead.position.0),
    };
    let waiting = fixture.shard.resume(one, &fixture.journal, vec![want]);
    assert_eq!(waiting, Resume::Waiting);
    fixture.shard.leave(one);
    fixture.shard.dispatch(&ahead);
    assert_eq!(fixture.shard.ready(&fixture.journal), None);
    fixture.publish("late");
    fixture.shard.push_frame(one, "bye".into());
    assert_eq!(fixture.flush_one(), Some((one, "1;bye".to_owned())));
    assert_eq!(fixture.shard.subscriptions(one).count(), 0);
}

#[test]
fn a_position_that_is_no_publication_completes_what_waits_for_it() {
    let mut journal = Journal::new(Epoch::new("e").unwrap(), HistoryLimits::default());
    let mut shard = Shard::new(journal.newest(), 1 << 20);
    let id = shard.open();
    let position = journal.assign();
    let after = After::Cursor(journal.cursor());
    let want = Want {
        channel: "a".into(),
        after: Some(after),
    };
    assert_eq!(shard.resume(id, &journal, vec![want]), Resume::Waiting);
    shard.pass(position);
    let (ready, resumed) = shard.ready(&journal).unwrap();
    assert_eq!((ready, resumed.seam), (id, position));
    assert_eq!(resumed.outcomes[0].verdict, Verdict::Recovered);
}
