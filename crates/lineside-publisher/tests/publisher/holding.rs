//! Room that is kept for what will be published later.

use lineside_publisher::{NotAccepted, PublishOptions, Publisher};

use super::sidecar::Place;

#[test]
fn what_room_is_kept_for_fits_and_nothing_else_does() {
    let place = Place::new();
    let mut settings = place.settings();
    settings.spool_bytes_max = 3200;
    let publisher = Publisher::new(settings);
    let (channel, payload) = ("news", &[b' '; 1000][..]);
    let publish = || publisher.publish(channel, payload, PublishOptions::default());
    let hold = || publisher.hold(&[(channel, payload)], PublishOptions::default());
    let bytes = hold().unwrap();
    assert_eq!(
        (hold(), publish().map(|sequence| sequence.0)),
        (Ok(bytes), Ok(1))
    );
    assert_eq!(bytes, publisher.status().spool_bytes);
    let full = NotAccepted::SpoolFull {
        held: 3 * bytes,
        max: 3200,
    };
    assert_eq!((hold(), publish()), (Err(full.clone()), Err(full)));
    assert_eq!(publisher.status().dropped_full, 2);
    publisher.release(bytes);
    assert_eq!(publish().map(|sequence| sequence.0), Ok(2));
    publisher.release(bytes);
    publisher.release(bytes);
    assert_eq!(hold(), Ok(bytes));
}

#[test]
fn no_room_is_kept_for_what_could_never_be_published() {
    let place = Place::new();
    let publisher = Publisher::new(place.settings());
    let payload = vec![b' '; 65_537];
    let held = publisher.hold(&[("news", &payload[..])], PublishOptions::default());
    assert!(
        matches!(held, Err(NotAccepted::TooLarge { bytes: 65_537, .. })),
        "{held:?}"
    );
}
