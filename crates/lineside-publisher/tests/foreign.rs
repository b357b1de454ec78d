//! A socket of another user. Runs in its own process, since it changes the user of the whole process.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use lineside_publisher::{PublishOptions, Publisher, Settings};
use nix::unistd::{Uid, chown, seteuid};

#[test]
fn nothing_is_sent_to_a_process_of_another_user() {
    if !Uid::effective().is_root() {
        println!("skipped: only root can listen as another user");
        return;
    }
    let nobody = Uid::from_raw(65_534);
    let folder = std::env::temp_dir().join(format!("lineside-foreign-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    chown(&folder, Some(nobody), None).unwrap();
    let link = folder.join("link.sock");
    seteuid(nobody).unwrap();
    let listener = UnixListener::bind(&link).unwrap();
    seteuid(Uid::from_raw(0)).unwrap();

    let publisher = Publisher::new(Settings::new(&link, "test"));
    publisher
        .publish("news", b"1", PublishOptions::default())
        .unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut received = Vec::new();
    // The publisher closed the connection without sending a byte.
    assert_eq!(stream.read_to_end(&mut received).unwrap(), 0);
    let end = Instant::now() + Duration::from_secs(20);
    while publisher.status().last_error.is_none() {
        assert!(Instant::now() < end);
        std::thread::yield_now();
    }
    let error = publisher.status().last_error.unwrap();
    assert!(
        error
            .contains(" runs as user nobody, and this process as user root, so nothing was sent: "),
        "{error}"
    );
    assert!(!publisher.status().linked);
    std::fs::remove_dir_all(&folder).unwrap();
}
