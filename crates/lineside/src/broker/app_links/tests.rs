use lineside_protocol::Position;

use super::*;

fn publication(position: u64, channel: &str, bytes: usize) -> Arc<Publication> {
    Arc::new(Publication {
        position: Position(position),
        channel: channel.into(),
        body: vec![b'x'; bytes].into(),
        at_ms: 0,
        charged: Default::default(),
    })
}

fn taken(queue: &AppQueue) -> Vec<u64> {
    std::iter::from_fn(|| queue.take_next().unwrap())
        .map(|it| it.position.0)
        .collect()
}

#[test]
fn publications_are_offered_to_the_links_that_follow_their_channel() {
    let links = AppLinks::default();
    let queues = [(); 2].map(|()| links.open().unwrap());
    links.follow(&queues[0], &"a".into());
    // Following again changes nothing.
    links.follow(&queues[0], &"a".into());
    links.follow(&queues[1], &"a".into());
    links.follow(&queues[1], &"b".into());
    links.offer(&[
        publication(1, "a", 1),
        publication(2, "b", 1),
        publication(3, "c", 1),
    ]);
    assert_eq!(queues.each_ref().map(|it| taken(it)), [vec![1], vec![1, 2]]);
    links.unfollow(&queues[1], "a");
    links.offer(&[publication(4, "a", 1), publication(5, "b", 1)]);
    assert_eq!(queues.each_ref().map(|it| taken(it)), [vec![4], vec![5]]);
    links.unfollow(&queues[0], "a");
    links.unfollow(&queues[1], "b");
    links.unfollow(&queues[1], "never followed");
    links.offer(&[publication(6, "a", 1), publication(7, "b", 1)]);
    assert!(queues.iter().all(|it| it.is_empty()));
    assert!(lock(&links.table).followers.is_empty());
}

#[test]
fn full_queue_is_emptied_and_ends_its_link() {
    for (count, bytes) in [(QUEUE_PUBLICATIONS_MAX, 1), (16, QUEUE_BYTES_MAX / 16 - 1)] {
        let queue = AppQueue::default();
        for position in 0..count as u64 {
            queue.offer(&publication(position, "a", bytes));
        }
        assert!(!queue.overflowed());
        let last = publication(count as u64, "a", bytes);
        queue.offer(&last);
        assert!(queue.overflowed() && queue.is_empty());
        queue.offer(&last);
        assert!(queue.take_next().is_err() && queue.is_empty());
        assert_eq!(Arc::strong_count(&last), 1);
    }
}

#[test]
fn taken_publications_make_room() {
    let queue = AppQueue::default();
    for position in 0..4 * QUEUE_PUBLICATIONS_MAX as u64 {
        queue.offer(&publication(position, "a", 4096));
        if position % 2 == 0 {
            assert_eq!(taken(&queue).len(), if position == 0 { 1 } else { 2 });
        }
    }
    assert_eq!(queue.take_all().len(), 1);
    assert_eq!(lock(&queue.waiting).bytes, 0);
}

#[test]
fn links_beyond_the_maximum_are_refused() {
    let links = AppLinks::default();
    for _ in 0..APP_LINKS_MAX {
        assert!(links.open().is_ok());
    }
    assert!(links.open().is_err());
    links.close();
    assert!(links.open().is_ok());
    assert_eq!(links.count(), APP_LINKS_MAX);
}
