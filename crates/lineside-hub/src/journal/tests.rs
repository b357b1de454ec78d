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

fn append(journal: &mut Journal, channel: &str, now_ms: u64) -> Position {
    journal
        .append(channel, now_ms, |_| Bytes::from_static(b"body"))
        .position
}

/// The positions replayed, or `None` for lost.
fn replay(journal: &Journal, channel: &str, after: &After) -> Option<Vec<u64>> {
    let replay = journal.replay(&[Wanted { channel, after }], journal.newest());
    let positions = replay
        .entries
        .iter()
        .map(|entry| entry.position.0)
        .collect();
    (!replay.lost[0]).then_some(positions)
}

fn at(journal: &Journal, position: u64) -> After {
    After::Cursor(journal.epoch().at(Position(position)))
}

/// That the sums in the journal are those of its entries.
fn assert_consistent(journal: &Journal) {
    let entries: Vec<_> = journal
        .records
        .values()
        .flat_map(|record| &record.entries)
        .collect();
    assert_eq!(entries.len(), journal.order.len());
    assert_eq!(
        journal.bytes,
        entries.iter().map(|entry| entry.cost()).sum::<usize>()
    );
    for record in journal.records.values() {
        assert_eq!(
            record.bytes,
            record
                .entries
                .iter()
                .map(|entry| entry.cost())
                .sum::<usize>()
        );
        assert!(!record.entries.is_empty());
    }
}

#[test]
fn positions_count_up_and_are_told_to_the_encoder() {
    let mut journal = journal(GENEROUS);
    assert_eq!(journal.cursor().to_string(), "ours.0");
    let mut told = Position(0);
    let first = journal.append("a", 0, |position| {
        told = position;
        Bytes::from_static(b"x")
    });
    assert_eq!((first.position, told), (Position(1), Position(1)));
    assert_eq!(append(&mut journal, "b", 0), Position(2));
    assert_eq!(journal.cursor().to_string(), "ours.2");
}

#[test]
fn a_replay_merges_channels_each_after_its_own_bound() {
    let mut journal = journal(GENEROUS);
    for channel in ["a", "b", "c", "a", "b", "c", "a"] {
        append(&mut journal, channel, 0);
    }
    let (early, late) = (at(&journal, 1), at(&journal, 4));
    let wanted = [
        Wanted {
            channel: "b",
            after: &late,
        },
        Wanted {
            channel: "a",
            after: &early,
        },
        Wanted {
            channel: "d",
            after: &early,
        },
    ];
    let replay = journal.replay(&wanted, Position(6));
    assert_eq!(
        replay
            .entries
            .iter()
            .map(|entry| entry.position.0)
            .collect::<Vec<_>>(),
        [4, 5]
    );
    assert_eq!(replay.lost, [false, false, false]);
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
fn what_exceeds_a_channels_count_is_lost_to_those_who_need_it_only() {
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
fn a_busy_channel_does_not_evict_a_quiet_one() {
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
fn a_channel_is_limited_in_bytes_with_names_and_overhead_counted() {
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
fn the_limit_in_all_forgets_the_oldest_of_any_channel() {
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
fn channels_are_limited_in_number() {
    let mut journal = journal(HistoryLimits {
        channels_max: 2,
        ..GENEROUS
    });
    for channel in ["a", "b", "c"] {
        append(&mut journal, channel, 0);
    }
    assert_eq!(replay(&journal, "a", &at(&journal, 0)), None);
    assert_eq!(replay(&journal, "c", &at(&journal, 0)), Some(vec![3]));
    assert_eq!(journal.records.len(), 2);
}

#[test]
fn age_is_limited_and_a_clock_that_goes_back_does_no_harm() {
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
    assert!(journal.records.is_empty() && journal.order.is_empty() && journal.bytes == 0);
}

#[test]
fn an_emptied_channel_remembers_what_it_forgot_and_so_does_its_next_record() {
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
        "nothing was missed"
    );
    append(&mut journal, "a", 101);
    assert_eq!(replay(&journal, "a", &at(&journal, 1)), None);
    assert_eq!(replay(&journal, "a", &at(&journal, 2)), Some(vec![3]));
}

#[test]
fn a_publication_larger_than_its_limit_is_published_and_at_once_forgotten() {
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
fn what_is_too_old_is_forgotten_with_the_next_publication_whoever_that_is_for() {
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
fn channels_that_share_a_bucket_share_the_newest_that_was_forgotten_of_either() {
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
    // Too large to be kept: it is forgotten before what is older.
    journal.append(&neighbour, 0, |_| vec![b'x'; 1_000].into());
    journal.expire(101);
    assert!(journal.records.is_empty());
    let missed = at(&journal, 1);
    assert_eq!(replay(&journal, &neighbour, &missed), None);
    assert_eq!(replay(&journal, "a", &missed), None, "a false alarm");
    let seen = at(&journal, 2);
    assert_eq!(replay(&journal, &neighbour, &seen), Some(vec![]));
}
