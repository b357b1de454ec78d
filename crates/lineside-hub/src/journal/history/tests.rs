use bytes::Bytes;
use proptest::prelude::*;

use super::*;

impl History {
    /// All publications, oldest first.
    pub(in crate::journal) fn iter(&self) -> impl Iterator<Item = &Arc<Publication>> {
        let sealed = self.sealed.iter().flat_map(|sealed| sealed.iter());
        sealed.flat_map(|chunk| chunk.iter()).chain(&self.open)
    }
}

impl Run {
    fn positions(mut self) -> Vec<u64> {
        let mut positions = Vec::new();
        while let Some(head) = self.head() {
            positions.push(head.position.0);
            if !self.advance() {
                break;
            }
        }
        positions
    }
}

fn publication(position: u64) -> Arc<Publication> {
    Arc::new(Publication {
        position: Position(position),
        channel: "a".into(),
        body: Bytes::from(vec![b'x'; usize::try_from(position % 7).unwrap()]),
        at_ms: 0,
        charged: Default::default(),
    })
}

/// A history of `count` publications at the positions 10, 20, 30 and so on.
fn history(count: u64) -> History {
    let mut history = History::new(Position(0));
    for number in 1..=count {
        history.push(publication(10 * number));
    }
    history
}

fn positions(history: &History) -> Vec<u64> {
    history.iter().map(|it| it.position.0).collect()
}

/// Checks that all sealed chunks but the first are full, that no chunk is empty, and the sums.
fn assert_consistent(history: &History) {
    if let Some(sealed) = &history.sealed {
        assert!(!sealed.is_empty());
        for (number, chunk) in sealed.iter().enumerate() {
            assert!(!chunk.is_empty() && chunk.len() <= CHUNK_PUBLICATIONS);
            assert!(number == 0 || chunk.len() == CHUNK_PUBLICATIONS);
        }
    }
    assert!(history.open.len() < CHUNK_PUBLICATIONS);
    assert_eq!(history.len(), history.iter().count());
    assert_eq!(history.is_empty(), history.iter().next().is_none());
    let bytes: usize = history.iter().map(|it| it.cost()).sum();
    assert_eq!(history.bytes(), bytes);
}

/// Expected result of [`History::run`].
fn expected(held: &[u64], after: u64, through: u64) -> Option<Vec<u64>> {
    let missed = held.iter().copied();
    let missed: Vec<_> = missed
        .filter(|position| after < *position && *position <= through)
        .collect();
    (!missed.is_empty()).then_some(missed)
}

fn run(history: &History, after: u64, through: u64) -> Option<Vec<u64>> {
    let run = history.run(Position(after), Position(through))?;
    let left = run.len();
    let positions = run.positions();
    assert_eq!(positions.len(), left);
    Some(positions)
}

#[test]
fn run_is_exact_for_every_pair_of_bounds() {
    const CHUNK: u64 = CHUNK_PUBLICATIONS as u64;
    for count in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 3] {
        let mut history = history(count);
        for _ in 0..4 {
            let held = positions(&history);
            for after in (0..=10 * count + 10).step_by(5) {
                for through in (0..=10 * count + 10).step_by(35) {
                    assert_eq!(
                        run(&history, after, through),
                        expected(&held, after, through),
                        "{count} publications, after {after}, through {through}"
                    );
                }
            }
            for _ in 0..23 {
                history.pop();
            }
        }
    }
}

#[test]
fn run_counts_a_pointer_per_sealed_chunk_and_per_open_publication() {
    let history = history(3 * 64 + 5);
    let pointers = |after: u64, through: u64| {
        let run = history.run(Position(after), Position(through));
        run.map(|run| (run.pointers - RUN_POINTERS, run.chunks.len()))
    };
    let all = 10 * (3 * 64 + 5);
    assert_eq!(pointers(0, all), Some((3 + 5, 4)));
    assert_eq!(pointers(640, all), Some((2 + 5, 3)));
    assert_eq!(pointers(1_920, all), Some((5, 1)), "the open chunk alone");
    assert_eq!(pointers(0, 1_920), Some((3, 3)), "the sealed chunks alone");
    assert_eq!(pointers(all, all), None);
}

#[test]
fn run_keeps_evicted_publications_and_the_history_keeps_its_sums() {
    let mut history = history(200);
    let all = positions(&history);
    let whole = history.run(Position(0), Position(2_000)).unwrap();
    let mut begun = history.run(Position(0), Position(1_500)).unwrap();
    for _ in 0..100 {
        assert!(begun.advance());
    }
    for evicted in 1..=199 {
        assert_eq!(history.pop().unwrap().position.0, 10 * evicted);
        assert_eq!(history.forgotten().0, 10 * evicted);
        assert_consistent(&history);
    }
    history.push(publication(2_010));
    assert_eq!(positions(&history), [2_000, 2_010]);
    assert_eq!(begun.positions(), all[100..150]);
    assert_eq!(whole.positions(), all);
}

#[test]
fn history_copies_a_shared_chunk_once_and_an_unshared_one_never() {
    let mut history = history(128);
    let first = |history: &History| Arc::as_ptr(&history.sealed.as_ref().unwrap()[0]);
    let original = first(&history);
    history.pop();
    assert_eq!(first(&history), original, "no replay shares the chunk");
    let run = history.run(Position(0), Position(1_280)).unwrap();
    history.pop();
    let copy = first(&history);
    assert_ne!(copy, original, "the replay keeps the original");
    history.pop();
    assert_eq!(first(&history), copy, "the copy is not shared");
    assert_eq!(run.positions().len(), 127);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn history_agrees_with_a_plain_list(
        steps in prop::collection::vec((any::<bool>(), 1..90_usize), 1..30),
        bounds in prop::collection::vec((0..2_000_u64, 0..2_000_u64), 10),
    ) {
        let mut history = History::new(Position(0));
        let (mut list, mut newest, mut forgotten) = (VecDeque::new(), 0, 0);
        let mut runs = Vec::new();
        for (pushes, count) in steps {
            for step in 0..count {
                if pushes {
                    newest += 1 + (step as u64 * 7) % 3;
                    history.push(publication(newest));
                    list.push_back(newest);
                } else {
                    let popped = history.pop().map(|it| it.position.0);
                    prop_assert_eq!(popped, list.pop_front());
                    forgotten = popped.unwrap_or(forgotten);
                }
            }
            assert_consistent(&history);
            prop_assert_eq!(positions(&history), list.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(history.forgotten().0, forgotten);
            for (after, through) in &bounds {
                let run = history.run(Position(*after), Position(*through));
                let expected = expected(list.make_contiguous(), *after, *through);
                prop_assert_eq!(run.is_some(), expected.is_some());
                runs.extend(run.zip(expected));
            }
        }
        for (run, expected) in runs {
            prop_assert_eq!(run.positions(), expected);
        }
    }
}
