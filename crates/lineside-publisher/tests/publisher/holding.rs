//! Space reserved for later publications.

use lineside_publisher::{NotAccepted, PublishOptions, Publisher};

use super::sidecar::TestFolder;

#[test]
fn held_space_is_refused_to_other_publications() {
    let folder = TestFolder::new();
    let mut settings = folder.settings();
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
fn hold_refuses_a_too_large_payload() {
    let folder = TestFolder::new();
    let publisher = Publisher::new(folder.settings());
    let payload = vec![b' '; 65_537];
    let held = publisher.hold(&[("news", &payload[..])], PublishOptions::default());
    assert!(
        matches!(held, Err(NotAccepted::TooLarge { bytes: 65_537, .. })),
        "{held:?}"
    );
}
