use std::thread::yield_now;

use lineside_hub::{HistoryLimits, Hub, PUBLISHERS_MAX};
use lineside_protocol::{Epoch, Position};

use super::*;
use crate::broker::Broker;
use crate::broker::tests::TestPublisher;

/// Number of turns of other threads after which something counts as not happening.
const TURNS: usize = 10_000;

fn publication(position: u64, bytes: usize) -> Arc<Publication> {
    Arc::new(Publication {
        position: Position(position),
        channel: "news".into(),
        body: vec![b'x'; bytes].into(),
        at_ms: 0,
        charged: Default::default(),
    })
}

/// Takes the waiting positions, and the number of publications missed behind them.
fn taken(tail: &Tail) -> (Vec<u64>, u64) {
    let TailBatch {
        publications,
        missed,
        ..
    } = tail.take();
    let positions = publications.iter().map(|it| it.position.0);
    (positions.collect(), missed)
}

#[test]
fn publications_behind_a_missed_one_are_missed_until_the_tail_is_read() {
    let tail = Tail {
        filter: Filter::parse("*").unwrap(),
        batch: Mutex::default(),
        added: Notify::new(),
    };
    tail.offer(&[publication(1, QUEUE_BYTES_MAX - 1)]);
    // The third would fit, but then the gap of the second would not show.
    tail.offer(&[publication(2, 2), publication(3, 1)]);
    assert_eq!(taken(&tail), (vec![1], 2));
    tail.offer(&[publication(4, QUEUE_BYTES_MAX)]);
    assert_eq!(taken(&tail), (vec![4], 0));
}

fn broker() -> Broker {
    let epoch = Epoch::new("e").unwrap();
    let hub = Hub::new(epoch, HistoryLimits::default(), PUBLISHERS_MAX);
    Broker::new(hub, Vec::new(), |it| it.payload.to_vec().into())
}

#[test]
fn no_tail_is_opened_while_an_entry_is_applied() {
    let broker = broker();
    std::thread::scope(|scope| {
        // An entry is applied under this lock.
        let applying = broker.hub();
        let opened = scope.spawn(|| broker.open_tail(Filter::parse("*").unwrap()).unwrap());
        for _ in 0..TURNS {
            assert_eq!(broker.tails.count.load(Ordering::Relaxed), 0);
            yield_now();
        }
        drop(applying);
        opened.join().unwrap();
    });
    assert_eq!(broker.tails.count.load(Ordering::Relaxed), 1);
}

#[test]
fn nothing_is_applied_between_the_opening_of_a_tail_and_its_cursor() {
    let broker = broker();
    let mut publisher = TestPublisher::greet(&broker, 1);
    let (tail, cursor) = std::thread::scope(|scope| {
        // The tail waits for this lock in the middle of its opening.
        let opening = lock(&broker.tails.tails);
        let opened = scope.spawn(|| broker.open_tail(Filter::parse("*").unwrap()).unwrap());
        for _ in 0..TURNS {
            if broker.hub.try_lock().is_err() {
                break;
            }
            yield_now();
        }
        let published = scope.spawn(|| publisher.publish(&broker, "news", "1", 0));
        for _ in 0..TURNS {
            if published.is_finished() {
                break;
            }
            yield_now();
        }
        drop(opening);
        opened.join().unwrap()
    });
    let expected: Vec<u64> = (cursor.position.0 + 1..=1).collect();
    assert_eq!(taken(&tail), (expected, 0));
}
