use lineside_protocol::After;

use super::*;

const GENEROUS: HistoryLimits = HistoryLimits {
    channel_publications_max: 1_000,
    channel_bytes_max: usize::MAX,
    age_ms_max: u64::MAX,
    bytes_max: usize::MAX,
    channels_max: usize::MAX,
};

fn journal(limits: HistoryLimits) -> Journal {
    Journal::new(Epoch::new("ours").unwrap(), limits)
}

/// Appends a publication at the next position.
fn append(journal: &mut Journal, channel: &str, now_ms: u64) -> Position {
    append_body(journal, channel, now_ms, "body".into())
}

fn append_body(journal: &mut Journal, channel: &str, now_ms: u64, body: Bytes) -> Position {
    let place = (journal.newest().next(), now_ms);
    journal.append(channel, place, |_| body).position
}

/// Replayed positions, or `None` if the channel is lost.
fn replay(journal: &Journal, channel: &str, after: &After) -> Option<Vec<u64>> {
    let request = ReplayRequest {
        wants: vec![want(channel, after)],
        through: journal.newest(),
    };
    let answer = journal.replay(&request);
    let is_lost = answer.verdicts == [Verdict::Lost];
    let positions = taken(answer.replay);
    assert!(
        !is_lost || positions.is_empty(),
        "a lost channel has no replay"
    );
    (!is_lost).then_some(positions)
}

/// Positions of a whole replay, in order.
fn taken(mut replay: Replay) -> Vec<u64> {
    std::iter::from_fn(|| replay.take_next())
        .map(|publication| publication.position.0)
        .collect()
}

fn want(channel: &str, after: &After) -> Want {
    Want {
        channel: channel.into(),
        after: Some(after.clone()),
    }
}

fn at(journal: &Journal, position: u64) -> After {
    After::Cursor(journal.epoch().at(Position(position)))
}

/// Compares the sums and indexes of the journal with its publications.
fn assert_consistent(journal: &Journal) {
    let mut all = Vec::new();
    for history in journal.histories.values() {
        let held: Vec<_> = history.iter().collect();
        assert!(!history.is_empty() && !held.is_empty());
        assert_eq!(history.len(), held.len());
        assert!(history.forgotten() < held[0].position);
        let cost = held.iter().map(|entry| entry.cost()).sum::<usize>();
        assert_eq!(history.bytes(), cost);
        all.extend(held);
    }
    assert_eq!(
        journal.bytes,
        all.iter().map(|entry| entry.cost()).sum::<usize>()
    );
    all.sort_by_key(|entry| entry.position);
    assert!(all.into_iter().eq(journal.order.values()));
}

#[test]
fn publication_has_its_position_and_the_encoder_gets_the_epoch() {
    let mut journal = journal(GENEROUS);
    assert_eq!(journal.cursor().to_string(), "ours.0");
    let mut encoded = String::new();
    let first = journal.append("a", (Position(1), 0), |epoch| {
        encoded = epoch.at(Position(1)).to_string();
        Bytes::from_static(b"x")
    });
    assert_eq!((first.position, &*encoded), (Position(1), "ours.1"));
    assert_eq!(append(&mut journal, "b", 0), Position(2));
    assert_eq!(journal.cursor().to_string(), "ours.2");
}

#[test]
fn replay_merges_channels_each_after_its_own_cursor() {
    let mut journal = journal(GENEROUS);
    for channel in ["a", "b", "c", "a", "b", "c", "a"] {
        append(&mut journal, channel, 0);
    }
    let (early, late) = (at(&journal, 1), at(&journal, 4));
    let request = ReplayRequest {
        wants: vec![want("b", &late), want("a", &early), want("d", &early)],
        through: Position(6),
    };
    let answer = journal.replay(&request);
    assert_eq!(answer.verdicts, [Verdict::Recovered; 3]);
    assert_eq!(answer.floor, Some(Position(1)));
    assert_eq!(answer.replay.len(), 2);
    assert_eq!(taken(answer.replay), [4, 5]);
}

#[test]
fn foreign_unknown_and_future_cursors_are_lost() {
    let mut journal = journal(GENEROUS);
    append(&mut journal, "a", 0);
    let foreign = After::Cursor(Epoch::new("foreign").unwrap().at(Position(1)));
    assert_eq!(replay(&journal, "a", &foreign), None);
    assert_eq!(replay(&journal, "a", &After::Unknown), None);
    assert_eq!(replay(&journal, "a", &at(&journal, 2)), None);
    assert_eq!(replay(&journal, "a", &at(&journal, 1)), Some(vec![]));
}

#[test]
fn channel_is_lost_only_after_cursors_before_an_eviction() {
    let mut journal = journal(HistoryLimits {
        channel_publications_max: 2,
        ..GENEROUS
    });
    for _ in 0..4 {
        append(&mut journal, "a", 0);
    }
    assert_eq!(replay(&journal, "a", &at(&journal, 1)), None);
    assert_eq!(replay(&journal, "a", &at(&journal, 2)), Some(vec![3, 4]));
    assert_consistent(&journal);
}

#[test]
fn busy_channel_does_not_evict_a_quiet_one() {
    let mut journal = journal(HistoryLimits {
        channel_publications_max: 10,
        ..GENEROUS
    });
    append(&mut journal, "quiet", 0);
    for _ in 0..10_000 {
        append(&mut journal, "busy", 0);
    }
    assert_eq!(replay(&journal, "quiet", &at(&journal, 0)), Some(vec![1]));
    assert_eq!(journal.order.len(), 11);
    assert_consistent(&journal);
}

#[test]
fn channel_limit_in_bytes_counts_names_and_overhead() {
    let one = "body".len() + "a".len() + ENTRY_OVERHEAD_BYTES;
    let mut journal = journal(HistoryLimits {
        channel_bytes_max: 2 * one,
        ..GENEROUS
    });
    for _ in 0..3 {
        append(&mut journal, "a", 0);
    }
    assert_eq!(replay(&journal, "a", &at(&journal, 0)), None);
    assert_eq!(replay(&journal, "a", &at(&journal, 1)), Some(vec![2, 3]));
}

#[test]
fn total_limit_in_bytes_evicts_the_oldest_of_any_channel() {
    let one = "body".len() + "a".len() + ENTRY_OVERHEAD_BYTES;
    let mut journal = journal(HistoryLimits {
        bytes_max: 3 * one,
        ..GENEROUS
    });
    for channel in ["a", "b", "a", "b"] {
        append(&mut journal, channel, 0);
    }
    assert_eq!(replay(&journal, "a", &at(&journal, 0)), None);
    assert_eq!(replay(&journal, "a", &at(&journal, 1)), Some(vec![3]));
    assert_eq!(replay(&journal, "b", &at(&journal, 0)), Some(vec![2, 4]));
    assert_consistent(&journal);
}

#[test]
fn oldest_channel_is_evicted_beyond_the_limit_of_channels() {
    let mut journal = journal(HistoryLimits {
        channels_max: 2,
        ..GENEROUS
    });
    for channel in ["a", "b", "c"] {
        append(&mut journal, channel, 0);
    }
    assert_eq!(replay(&journal, "a", &at(&journal, 0)), None);
    assert_eq!(replay(&journal, "c", &at(&journal, 0)), Some(vec![3]));
    assert_eq!(journal.histories.len(), 2);
}

#[test]
fn old_publications_expire_and_an_earlier_time_changes_nothing() {
    let mut journal = journal(HistoryLimits {
        age_ms_max: 100,
        ..GENEROUS
    });
    append(&mut journal, "a", 1_000);
    journal.expire(1_100);
    append(&mut journal, "a", 500);
    journal.expire(0);
    assert_eq!(replay(&journal, "a", &at(&journal, 0)), Some(vec![1, 2]));
    journal.expire(1_101);
    assert_eq!(replay(&journal, "a", &at(&journal, 0)), None);
    assert_eq!(replay(&journal, "a", &at(&journal, 1)), Some(vec![2]));
    journal.expire(u64::MAX);
    assert!(journal.histories.is_empty() && journal.order.is_empty() && journal.bytes == 0);
}

#[test]
fn evicted_position_outlives_the_history_of_its_channel() {
    let mut journal = journal(HistoryLimits {
        age_ms_max: 100,
        ..GENEROUS
    });
    append(&mut journal, "a", 0);
    append(&mut journal, "a", 0);
    journal.expire(101);
    assert_eq!(replay(&journal, "a", &at(&journal, 1)), None);
    assert_eq!(
        replay(&journal, "a", &at(&journal, 2)),
        Some(vec![]),
        "no publication is missing"
    );
    append(&mut journal, "a", 101);
    assert_eq!(replay(&journal, "a", &at(&journal, 1)), None);
    assert_eq!(replay(&journal, "a", &at(&journal, 2)), Some(vec![3]));
}

#[test]
fn publication_larger_than_the_limit_is_evicted_at_once() {
    let mut journal = journal(HistoryLimits {
        channel_bytes_max: 0,
        ..GENEROUS
    });
    append(&mut journal, "a", 0);
    assert_eq!(replay(&journal, "a", &at(&journal, 0)), None);
    assert_eq!(replay(&journal, "a", &at(&journal, 1)), Some(vec![]));
    assert_consistent(&journal);
}

#[test]
fn append_to_any_channel_evicts_publications_that_are_too_old() {
    let mut journal = journal(HistoryLimits {
        age_ms_max: 100,
        ..GENEROUS
    });
    append(&mut journal, "a", 0);
    append(&mut journal, "b", 101);
    assert_eq!(replay(&journal, "a", &at(&journal, 0)), None);
    assert_consistent(&journal);
}

#[test]
fn channels_of_one_bucket_share_the_newest_evicted_position() {
    let mut table = Forgotten::default();
    table.raise("a", Position(1));
    let mut names = (0..).map(|number| format!("b{number}"));
    let neighbour = names.find(|name| table.of(name) == Position(1)).unwrap();
    let mut journal = journal(HistoryLimits {
        channel_bytes_max: 1_000,
        age_ms_max: 100,
        ..GENEROUS
    });
    append(&mut journal, "a", 0);
    // Too large for the limit, so it is evicted before the older publication.
    append_body(&mut journal, &neighbour, 0, vec![b'x'; 1_000].into());
    journal.expire(101);
    assert!(journal.histories.is_empty());
    let missed = at(&journal, 1);
    assert_eq!(replay(&journal, &neighbour, &missed), None);
    assert_eq!(
        replay(&journal, "a", &missed),
        None,
        "reported lost although nothing is missing"
    );
    let seen = at(&journal, 2);
    assert_eq!(replay(&journal, &neighbour, &seen), Some(vec![]));
}

#[test]
fn gaps_between_positions_are_neither_replayed_nor_lost() {
    let mut journal = journal(HistoryLimits {
        channel_publications_max: 3,
        ..GENEROUS
    });
    for position in [10, 20, 21, 500] {
        let _ = journal.append("a", (Position(position), 0), |_| "body".into());
    }
    journal.pass(Position(1_000));
    for (after, expected) in [
        (0, None),
        (9, None),
        (10, Some(vec![20, 21, 500])),
        (15, Some(vec![20, 21, 500])),
        (20, Some(vec![21, 500])),
        (22, Some(vec![500])),
        (500, Some(vec![])),
        (999, Some(vec![])),
        (1_000, Some(vec![])),
        (1_001, None),
    ] {
        let after = at(&journal, after);
        assert_eq!(replay(&journal, "a", &after), expected, "{after:?}");
    }
    assert_consistent(&journal);
}

#[test]
fn floor_is_the_lowest_cursor_of_the_recovered_channels() {
    let mut journal = journal(HistoryLimits {
        channel_publications_max: 1,
        ..GENEROUS
    });
    for channel in ["a", "a", "b"] {
        append(&mut journal, channel, 0);
    }
    let answer = |wants| {
        journal.replay(&ReplayRequest {
            wants,
            through: Position(3),
        })
    };
    let fresh = Want {
        channel: "c".into(),
        after: None,
    };
    let lost = want("a", &at(&journal, 0));
    let (two, three) = (at(&journal, 2), at(&journal, 3));
    let mixed = answer(vec![
        fresh.clone(),
        lost.clone(),
        want("b", &three),
        want("d", &two),
    ]);
    assert_eq!(
        mixed.verdicts,
        [
            Verdict::Fresh,
            Verdict::Lost,
            Verdict::Recovered,
            Verdict::Recovered
        ]
    );
    assert_eq!(mixed.floor, Some(Position(2)));
    assert!(mixed.replay.is_empty());
    assert_eq!(answer(vec![fresh, lost]).floor, None);
}

#[test]
fn oldest_history_is_evicted_while_memory_is_short() {
    let mut journal = journal(GENEROUS);
    for channel in ["quiet", "a", "b"] {
        append_body(&mut journal, channel, 0, vec![b'x'; 9_000].into());
    }
    let memory = Arc::clone(journal.memory());
    memory.limit(50_000);
    assert!(!journal.relieve(usize::MAX));
    assert_eq!(journal.len(), 3);
    // Other memory leaves room for one publication below 80 % of the ceiling.
    memory.set(Pool::Other, 30_000);
    assert!(journal.relieve(1), "one is not enough");
    assert!(!journal.relieve(usize::MAX));
    assert_consistent(&journal);
    assert_eq!(journal.len(), 1);
    assert_eq!(memory.given_up(Stage::History), 2);
    assert_eq!(replay(&journal, "quiet", &at(&journal, 0)), None);
    assert_eq!(replay(&journal, "b", &at(&journal, 2)), Some(vec![3]));
    append_body(&mut journal, "c", 0, vec![b'x'; 9_000].into());
    assert_eq!(
        replay(&journal, "b", &at(&journal, 2)),
        None,
        "evicted for c"
    );
    assert_eq!(replay(&journal, "c", &at(&journal, 3)), Some(vec![4]));
}

#[test]
fn publication_is_charged_until_its_last_reader_has_sent_it() {
    let mut journal = journal(HistoryLimits {
        channel_publications_max: 1,
        ..GENEROUS
    });
    append(&mut journal, "a", 0);
    let request = ReplayRequest {
        wants: vec![want("a", &at(&journal, 0))],
        through: journal.newest(),
    };
    let answer = journal.replay(&request);
    let memory = Arc::clone(journal.memory());
    assert_eq!(memory.retained(), 0);
    append(&mut journal, "a", 0);
    assert_eq!(memory.retained(), journal.bytes());
    drop(answer);
    assert_eq!(memory.retained(), 0);
    assert_eq!(memory.size(Pool::Publications), journal.bytes());
    drop(journal);
    assert_eq!(memory.used(), 0);
}
