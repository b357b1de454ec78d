//! App links: processes of the app that follow channels and receive their publications.

use std::io::{ErrorKind, Read};

use bytes::BytesMut;
use lineside_protocol::codes::{
    LINK_APP_SLOW, LINK_BAD_CHANNEL, LINK_BAD_FRAME, LINK_DRAIN, LINK_STREAMS_FULL,
    LINK_UNKNOWN_KIND, LINK_UNSUPPORTED_VERSION,
};
use lineside_protocol::frame::{
    AppHello, ByRoute, FOLLOWED_STREAMS_MAX, Fault, Follow, FollowedAfter, FollowedFrom, Frame,
    FromApp, Published, ToApp, Unfollow,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Place, RawLink, Sidecar, is_after, place, raw_frame, sidecar};

/// A process of the app, after its hello.
pub(crate) struct App {
    link: RawLink,
    buffer: BytesMut,
    /// Cursor of the welcome.
    cursor: String,
}

impl Place {
    fn app(&self) -> App {
        self.process("test[1]", false, None)
    }

    /// A process whose app has decided about connections by route.
    pub(crate) fn app_with(&self, decision: Option<ByRoute>) -> App {
        self.process("test[1]", false, decision)
    }

    /// A process with this name.
    fn process(&self, name: &str, is_runner: bool, by_route: Option<ByRoute>) -> App {
        let mut app = App {
            link: self.raw_link(),
            buffer: BytesMut::new(),
            cursor: String::new(),
        };
        app.send(&FromApp::Hello(AppHello {
            version: 1,
            process: name.into(),
            runner: is_runner,
            by_route,
        }));
        match app.next() {
            Some(ToApp::Welcome(welcome)) => app.cursor = welcome.cursor,
            other => panic!("expected a welcome, received {other:?}"),
        }
        app
    }
}

impl Sidecar {
    pub(crate) fn app(&self) -> App {
        self.place().app()
    }

    /// A process that runs channel classes.
    pub(crate) fn runner(&self, name: &str) -> App {
        self.place().process(name, true, None)
    }
}

fn encoded(frame: &FromApp) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

fn follow(streams: &[(&str, Option<&str>)]) -> FromApp {
    let streams = streams.iter().map(|(name, after)| FollowedAfter {
        name: (*name).to_owned(),
        after: after.map(ToOwned::to_owned),
    });
    FromApp::Follow(Follow {
        streams: streams.collect(),
    })
}

impl App {
    pub(crate) fn send(&mut self, frame: &FromApp) {
        self.link.send(&encoded(frame));
    }

    /// Receives a frame; `None` at the end of the link.
    pub(crate) fn next(&mut self) -> Option<ToApp> {
        loop {
            if let Some(frame) = Frame::split(&mut self.buffer).unwrap() {
                return Some(ToApp::decode(&frame).unwrap());
            }
            let mut bytes = [0; 4096];
            match self.link.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                // Bytes that the sidecar left unread reset the link after the fault.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Follows streams; returns their part of the reply. Publications before the reply are a failure.
    #[track_caller]
    fn follow(&mut self, streams: &[(&str, Option<&str>)]) -> Vec<FollowedFrom> {
        self.send(&follow(streams));
        loop {
            match self.next() {
                Some(ToApp::Followed(followed)) => return followed.streams,
                Some(ToApp::Reached(_)) => {}
                other => panic!("expected a reply, received {other:?}"),
            }
        }
    }

    /// Receives the next publication.
    #[track_caller]
    fn published(&mut self) -> Published {
        loop {
            match self.next() {
                Some(ToApp::Published(published)) => return published,
                Some(ToApp::Reached(_)) => {}
                other => panic!("expected a publication, received {other:?}"),
            }
        }
    }

    /// Receives the next publication, which must be this one; returns its cursor.
    #[track_caller]
    fn expect(&mut self, stream: &str, data: Value) -> String {
        let published = self.published();
        let payload: Value = serde_json::from_slice(&published.payload).unwrap();
        assert_eq!((&*published.stream, payload), (stream, data));
        published.cursor
    }

    /// Receives everything up to the fault that must end the link; returns its code and message.
    #[track_caller]
    pub(crate) fn expect_fault(&mut self) -> (u16, String) {
        loop {
            match self.next() {
                Some(ToApp::Fault(Fault { code, message })) => {
                    assert_eq!(self.next(), None);
                    return (code, message);
                }
                Some(_) => {}
                None => panic!("the link ended without a fault"),
            }
        }
    }
}

#[test]
fn followed_streams_arrive_in_order_with_the_published_bytes() {
    let sidecar = sidecar();
    let mut apps = [sidecar.app(), sidecar.app()];
    for app in &mut apps {
        let cursor = app.cursor.clone();
        let followed = app.follow(&[
            ("cable:chat", None),
            ("cable:ü\"", None),
            ("cable:chat", None),
        ]);
        let expected = ["cable:chat", "cable:ü\""].map(|name| FollowedFrom {
            name: name.into(),
            cursor: cursor.clone(),
            lost: false,
        });
        assert_eq!(followed, expected);
    }
    let publisher = sidecar.publisher();
    let payload = " { \"data\" : \"\\u003c\" , \"n\": 1.50 } ";
    publisher.try_publish("cable:ü\"", payload.as_bytes(), None);
    for number in 0..100 {
        publisher.enqueue("cable:other", number);
        publisher.enqueue("cable:chat", number);
    }
    for app in &mut apps {
        let first = app.published();
        assert_eq!(
            (&*first.stream, &first.payload[..]),
            ("cable:ü\"", payload.as_bytes())
        );
        let mut cursor = first.cursor;
        for number in 0..100 {
            let next = app.expect("cable:chat", json!(number));
            assert!(is_after(&next, &cursor));
            cursor = next;
        }
    }
}

#[test]
fn unfollowed_stream_no_longer_arrives() {
    let sidecar = sidecar();
    let mut app = sidecar.app();
    let publisher = sidecar.publisher();
    app.follow(&[("cable:a", None), ("cable:b", None)]);
    publisher.publish("cable:a", 1);
    app.expect("cable:a", json!(1));
    let streams = vec!["cable:a".into(), "cable:never".into()];
    app.send(&FromApp::Unfollow(Unfollow { streams }));
    // Its reply shows that the request before it was handled.
    app.follow(&[("cable:b", None)]);
    publisher.publish("cable:a", 2);
    publisher.publish("cable:b", 3);
    app.expect("cable:b", json!(3));
    app.follow(&[("cable:a", None)]);
    publisher.publish("cable:a", 4);
    app.expect("cable:a", json!(4));
}

#[test]
fn follow_after_cursors_replays_everything_missed_once_in_journal_order() {
    let sidecar = sidecar();
    let publisher = sidecar.publisher();
    let start = publisher.publish("cable:a", 0);
    publisher.publish("cable:b", 1);
    let middle = publisher.publish("cable:a", 2);
    publisher.publish("cable:b", 3);
    publisher.publish("cable:a", 4);
    let mut app = sidecar.app();
    app.follow(&[("cable:live", None)]);
    let streams = [("cable:a", Some(&*middle)), ("cable:b", Some(&*start))];
    let followed = app.follow(&streams);
    let cursors: Vec<_> = followed.iter().map(|it| (&*it.cursor, it.lost)).collect();
    assert_eq!(cursors, [(&*middle, false), (&*start, false)]);
    for (stream, number) in [("cable:b", 1), ("cable:b", 3), ("cable:a", 4)] {
        app.expect(stream, json!(number));
    }
    // The end of the replay is told at once.
    match app.next() {
        Some(ToApp::Reached(reached)) => assert_eq!(reached.cursor, app.cursor),
        other => panic!("expected the end of the replay, received {other:?}"),
    }
    publisher.publish("cable:b", 5);
    app.expect("cable:b", json!(5));
}

#[test]
fn follow_during_a_flood_has_no_gap_and_no_duplicate() {
    const COUNT: u64 = 900;
    let sidecar = sidecar();
    let mut app = sidecar.app();
    let start = app.cursor.clone();
    let publisher = sidecar.publisher();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..COUNT).for_each(|number| publisher.enqueue("cable:a", number)));
        app.send(&follow(&[("cable:a", Some(&*start))]));
        let mut numbers = Vec::new();
        while numbers.len() < usize::try_from(COUNT).unwrap() {
            match app.next() {
                Some(ToApp::Published(it)) => {
                    numbers.push(serde_json::from_slice::<u64>(&it.payload).unwrap());
                }
                Some(ToApp::Followed(_) | ToApp::Reached(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
    });
    publisher.publish("cable:a", "last");
    app.expect("cable:a", json!("last"));
}

#[test]
fn cursors_that_the_journal_does_not_know_are_lost() {
    let sidecar = sidecar();
    let publisher = sidecar.publisher();
    let evicted = publisher.publish("cable:busy", "first");
    // More than the history of a channel holds.
    (0..1_100).for_each(|number| publisher.enqueue("cable:busy", number));
    publisher.flush();
    let newest = publisher.publish("cable:a", 1);
    let mut app = sidecar.app();
    let followed = app.follow(&[
        ("cable:busy", Some(&*evicted)),
        ("cable:a", Some("another.1")),
        ("cable:b", Some("unreadable")),
        ("cable:c", Some(&*newest)),
    ]);
    let lost: Vec<_> = followed.iter().map(|it| (it.lost, &*it.cursor)).collect();
    let newest = &*newest;
    assert_eq!(
        lost,
        [
            (true, newest),
            (true, newest),
            (true, newest),
            (false, newest)
        ]
    );
    publisher.publish("cable:busy", "after");
    app.expect("cable:busy", json!("after"));
}

#[test]
fn link_is_told_the_newest_cursor_while_other_streams_are_busy() {
    let sidecar = sidecar();
    let mut app = sidecar.app();
    let publisher = sidecar.publisher();
    app.follow(&[("cable:quiet", None), ("cable:busy", None)]);
    let other = publisher.publish("cable:other", 0);
    loop {
        publisher.publish("cable:busy", 1);
        match app.next() {
            Some(ToApp::Reached(reached)) if is_after(&reached.cursor, &other) => break,
            Some(ToApp::Reached(_) | ToApp::Published(_)) => {}
            end => panic!("{end:?}"),
        }
    }
}

#[test]
fn planned_stop_ends_the_link_with_its_code_and_the_successor_resumes_it() {
    let mut sidecar = sidecar();
    let publisher = sidecar.publisher();
    let mut app = sidecar.app();
    app.follow(&[("cable:a", None)]);
    publisher.publish("cable:a", 1);
    let cursor = app.expect("cable:a", json!(1));
    sidecar.signal(Signal::SIGTERM);
    assert_eq!(app.expect_fault().0, LINK_DRAIN.number);
    assert!(sidecar.ended().success());
    publisher.enqueue("cable:a", 2);
    let successor = sidecar.place().start();
    let mut app = successor.app();
    assert!(!app.follow(&[("cable:a", Some(&*cursor))])[0].lost);
    app.expect("cable:a", json!(2));
    publisher.publish("cable:a", 3);
    app.expect("cable:a", json!(3));
}

#[test]
fn process_that_does_not_read_is_ended_and_delays_nobody() {
    const COUNT: u64 = 20_000;
    let place = place().with("LINESIDE_HISTORY_CHANNEL_PUBLICATIONS_MAX", 100_000);
    let sidecar = place
        .with("LINESIDE_HISTORY_CHANNEL_BYTES_MAX", 256 * 1024 * 1024)
        .start();
    let mut stalled = sidecar.app();
    let mut other = sidecar.app();
    let start = stalled.cursor.clone();
    stalled.follow(&[("cable:a", None)]);
    other.follow(&[("cable:a", None)]);
    let publisher = sidecar.publisher();
    // 40 MB: more than the socket and the queue hold.
    let text = "x".repeat(2_000);
    for chunk in (0..COUNT).step_by(200) {
        (chunk..chunk + 200).for_each(|number| publisher.enqueue("cable:a", json!([number, text])));
        for number in chunk..chunk + 200 {
            other.expect("cable:a", json!([number, text]));
        }
    }
    sidecar.logged(&["event=app_link_closed", LINK_APP_SLOW.name]);
    let mut received = 0;
    let mut cursor = start;
    while let Some(frame) = stalled.next() {
        match frame {
            ToApp::Published(published) => {
                cursor = published.cursor;
                received += 1;
            }
            ToApp::Fault(fault) => assert_eq!(fault.code, LINK_APP_SLOW.number),
            ToApp::Reached(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(received < COUNT);
    let mut resumed = sidecar.app();
    assert!(!resumed.follow(&[("cable:a", Some(&*cursor))])[0].lost);
    for number in received..COUNT {
        resumed.expect("cable:a", json!([number, text]));
    }
}

#[test]
fn link_that_follows_too_many_streams_is_ended() {
    let sidecar = sidecar();
    let mut app = sidecar.app();
    let names: Vec<String> = (0..FOLLOWED_STREAMS_MAX)
        .map(|number| format!("cable:{number}"))
        .collect();
    for names in names.chunks(8_192) {
        let streams: Vec<_> = names.iter().map(|name| (&**name, None)).collect();
        assert_eq!(app.follow(&streams).len(), streams.len());
    }
    app.follow(&[("cable:0", None)]);
    app.send(&follow(&[("cable:one more", None)]));
    assert_eq!(app.expect_fault().0, LINK_STREAMS_FULL.number);
}

#[test]
fn invalid_frame_ends_its_own_link_with_a_fault() {
    let sidecar = sidecar();
    let mut app = sidecar.app();
    app.follow(&[("cable:a", None)]);
    let hello = |version| {
        encoded(&FromApp::Hello(AppHello {
            version,
            process: "test[2]".into(),
            runner: false,
            by_route: None,
        }))
    };
    for (bytes, expected) in [
        (hello(1), LINK_BAD_FRAME),
        (raw_frame(49, 0, b"", b"{"), LINK_BAD_FRAME),
        (raw_frame(60, 0, b"", b"{}"), LINK_UNKNOWN_KIND),
        (encoded(&follow(&[("a*", None)])), LINK_BAD_CHANNEL),
        (encoded(&follow(&[("cable:", None)])), LINK_BAD_CHANNEL),
    ] {
        let mut bad = sidecar.app();
        bad.link.send(&bytes);
        assert_eq!(bad.expect_fault().0, expected.number);
    }
    let mut old = App {
        link: sidecar.raw_link(),
        buffer: BytesMut::new(),
        cursor: String::new(),
    };
    old.link.send(&hello(0));
    assert_eq!(old.expect_fault().0, LINK_UNSUPPORTED_VERSION.number);
    sidecar.publisher().publish("cable:a", 1);
    app.expect("cable:a", json!(1));
}
