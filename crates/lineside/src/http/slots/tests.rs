use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinHandle;

use super::*;

fn block_on(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build().unwrap().block_on(test);
}

/// Counts the requests that are under way.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn newest_request_ends_the_oldest_when_all_slots_are_taken() {
    block_on(async {
        let slots = Arc::new(Slots::default());
        let under_way = Arc::new(AtomicUsize::new(0));
        let mut requests = Vec::new();
        for number in 0..10 {
            let (slot, ended) = slots.take(4).await;
            assert_eq!(ended, usize::from(number >= 4), "{number}");
            let counted = Counted::new(&under_way);
            requests.push(tokio::spawn(slot.run(async move {
                let _counted = counted;
                std::future::pending::<()>().await;
            })));
            assert!(under_way.load(Ordering::Relaxed) <= 4, "{number}");
        }
        tokio::task::yield_now().await;
        let ended: Vec<bool> = requests.iter().map(JoinHandle::is_finished).collect();
        assert_eq!(ended, [[true; 6].as_slice(), &[false; 4]].concat());
        // The number of slots shrinks when connections take their place.
        let (_slot, ended) = slots.take(2).await;
        assert_eq!(ended, 3);
    });
}

#[test]
fn request_that_can_finish_is_not_ended() {
    block_on(async {
        let slots = Arc::new(Slots::default());
        let served = Arc::new(AtomicUsize::new(0));
        for _ in 0..20 {
            let (slot, ended) = slots.take(1).await;
            assert_eq!(ended, 0);
            let served = Arc::clone(&served);
            tokio::spawn(slot.run(async move {
                served.fetch_add(1, Ordering::Relaxed);
            }));
        }
        tokio::task::yield_now().await;
        assert_eq!(served.load(Ordering::Relaxed), 20);
        assert!(slots.open().requests.is_empty());
    });
}
