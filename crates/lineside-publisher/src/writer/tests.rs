use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::run_caught;
use crate::{NotAccepted, Outcome, PublishOptions, Publisher, Settings, Spool};

#[test]
fn panic_of_the_thread_is_an_error_of_the_publisher() {
    let spool = Arc::new(Spool::new(Settings::new("/nowhere", "test")));
    let asked = PublishOptions {
        wants_receipt: true,
        ..PublishOptions::default()
    };
    let sequence = spool.publish(&[("news", b"1")], asked).unwrap();
    assert_eq!(spool.answer(sequence, Waker::noop()), Poll::Pending);

    run_caught(&spool, || panic!("the disk is {}", "upside down"));

    let reason = "internal error in Lineside, please report it: the disk is upside down";
    assert_eq!(spool.status().last_error.as_deref(), Some(reason));
    assert_eq!(
        spool.answer(sequence, Waker::noop()),
        Poll::Ready(Outcome::TimedOut)
    );
    let publisher = Publisher::of(spool);
    let refused = publisher.publish("news", b"1", PublishOptions::default());
    assert_eq!(refused, Err(NotAccepted::ThreadFailed(reason.into())));
    assert_eq!(
        publisher
            .stop(Instant::now() + Duration::from_secs(10))
            .frames,
        1
    );
}
