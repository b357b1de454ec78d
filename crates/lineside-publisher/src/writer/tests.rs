use std::sync::Arc;
use std::time::{Duration, Instant};

use super::contain;
use crate::state::{Shared, Thread};
use crate::{NotAccepted, Outcome, PublishOptions, Publisher, Settings, Waiter};

#[test]
fn panic_in_the_thread_becomes_an_error_of_the_publisher() {
    let shared = Shared::new(Settings::new("/nowhere", "test"));
    let waiter = Waiter::new().unwrap();
    shared.state().thread = Thread::Running;
    shared.state().await_answer(1);
    assert_eq!(shared.state().answer_or_wait(1, waiter.bell()), None);

    contain(&shared, || panic!("the disk is {}", "upside down"));

    let reason = "a fault of Lineside itself: the disk is upside down";
    assert_eq!(shared.state().status().last_error.as_deref(), Some(reason));
    assert_eq!(
        shared.state().answer_or_wait(1, waiter.bell()),
        Some(Outcome::TimedOut)
    );
    let publisher = Publisher::of(Arc::new(shared));
    let refused = publisher.publish("news", b"1", PublishOptions::default());
    assert_eq!(refused, Err(NotAccepted::ThreadFailed(reason.into())));
    assert_eq!(
        publisher
            .stop(Instant::now() + Duration::from_secs(10))
            .frames,
        0
    );
}
