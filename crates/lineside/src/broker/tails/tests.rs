use lineside_protocol::Position;

use super::*;

fn publication(position: u64, bytes: usize) -> Arc<Publication> {
    Arc::new(Publication {
        position: Position(position),
        channel: "news".into(),
        body: vec![b'x'; bytes].into(),
        at_ms: 0,
    })
}

/// The positions that wait, and how many were missed behind them.
fn taken(queue: &Queue) -> (Vec<u64>, u64) {
    let Waiting {
        publications,
        missed,
        ..
    } = queue.take();
    let positions = publications.iter().map(|it| it.position.0);
    (positions.collect(), missed)
}

#[test]
fn what_comes_behind_a_missed_one_is_missed_too_until_somebody_has_read() {
    let queue = Queue {
        wanted: Wanted::parse("*").unwrap(),
        waiting: Mutex::default(),
        filled: Notify::new(),
    };
    queue.offer(&[publication(1, QUEUE_BYTES_MAX - 1)]);
    // The third would fit, and then nobody could tell where the second is missing.
    queue.offer(&[publication(2, 2), publication(3, 1)]);
    assert_eq!(taken(&queue), (vec![1], 2));
    queue.offer(&[publication(4, QUEUE_BYTES_MAX)]);
    assert_eq!(taken(&queue), (vec![4], 0));
}
