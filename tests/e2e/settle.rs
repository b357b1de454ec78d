//! Requests of system tests to wait until every page has everything that was published.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use lineside_protocol::codes::{LINK_BAD_FRAME, LINK_DRAIN, LINK_SETTLES_FULL};
use lineside_protocol::frame::{
    Fault, Frame, Laggard, SETTLE, SettleReply, SettleRequest, Settled,
};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{
    Browser, Place, Received, Sidecar, TIMEOUT, place, raw_frame, sidecar, token_for, within,
};

/// Wait that no test reaches the end of, in milliseconds.
pub(crate) const LONG_MS: u64 = 50_000;

/// A request under way.
pub(crate) struct Settle {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Settle {
    pub(crate) fn begin(place: &Place, timeout_ms: u64) -> Self {
        let mut bytes = Vec::new();
        SettleRequest { timeout_ms }.encode(&mut bytes);
        Self::send(place, &bytes)
    }

    fn send(place: &Place, bytes: &[u8]) -> Self {
        let mut stream = UnixStream::connect(place.link()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(bytes).unwrap();
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Receives the answer and the end of the link.
    fn end(mut self) -> SettleReply {
        self.stream.read_to_end(&mut self.received).unwrap();
        let mut bytes = BytesMut::from(&self.received[..]);
        let frame = Frame::split(&mut bytes).unwrap().unwrap();
        assert!(bytes.is_empty(), "a second frame");
        SettleReply::decode(&frame).unwrap()
    }

    #[track_caller]
    pub(crate) fn settled(self) -> Settled {
        match self.end() {
            SettleReply::Settled(settled) => settled,
            SettleReply::Fault(fault) => panic!("{fault:?}"),
        }
    }

    #[track_caller]
    fn expect_fault(self, expected: u16) {
        match self.end() {
            SettleReply::Fault(Fault { code, .. }) => assert_eq!(code, expected),
            SettleReply::Settled(settled) => panic!("{settled:?}"),
        }
    }

    pub(crate) fn is_under_way(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let read = self.stream.read_to_end(&mut self.received);
        self.stream.set_nonblocking(false).unwrap();
        read.is_err() && self.received.is_empty()
    }
}

/// Answers the next ping, as the browser module does.
fn answer_ping(browser: &mut Browser) {
    let ping = browser.next_ping();
    browser.send(json!({"type": "pong", "cursor": ping["cursor"]}));
}

fn names(laggards: &[Laggard]) -> Vec<(Option<&str>, Vec<&str>)> {
    let named = laggards.iter().map(|it| {
        let channels = it.channels.iter().map(String::as_str).collect();
        (it.user.as_deref(), channels)
    });
    named.collect()
}

/// Begins one request more than there are slots. Returns those under way.
fn take_all_slots(sidecar: &Sidecar) -> Vec<Settle> {
    let begin = |_| Settle::begin(sidecar.place(), LONG_MS);
    let mut open: Vec<_> = (0..65).map(begin).collect();
    let refused = within("one of 65 is refused", || {
        open.iter_mut().position(|it| !it.is_under_way())
    });
    open.remove(refused).expect_fault(LINK_SETTLES_FULL.number);
    open
}

#[test]
fn wait_ends_behind_every_message_on_every_shard() {
    let sidecar = place().with("LINESIDE_SHARDS", 2).start();
    let mut browsers: Vec<_> = (0..4).map(|_| sidecar.subscriber()).collect();
    let cursor = sidecar.publisher().publish("a", 7);
    let mut settle = Settle::begin(sidecar.place(), LONG_MS);
    for browser in &mut browsers {
        assert!(settle.is_under_way());
        browser.expect_message("a", json!(7));
        answer_ping(browser);
    }
    let expected = Settled {
        cursor,
        connections: 4,
        laggards: Vec::new(),
        more: 0,
    };
    assert_eq!(settle.settled(), expected);
}

#[test]
fn client_that_connected_by_url_answers_through_its_browser() {
    let sidecar = sidecar();
    let token = token_for("1", &["a"], &[]);
    let path = format!("/lineside?token={token}");
    let (stream, response) = sidecar.request().path(path).send();
    assert_eq!(response.status, 101);
    let mut plain = Browser::new(stream).expect_welcome();
    sidecar.publisher().publish("a", 1);
    let mut settle = Settle::begin(sidecar.place(), LONG_MS);
    plain.expect_message("a", json!(1));
    assert!(settle.is_under_way());
    // Its pong is sent when it is received.
    assert_eq!(plain.receive(), Received::Ping);
    assert_eq!(settle.settled().connections, 1);
}

#[test]
fn silent_pages_are_named_when_the_time_is_over_and_not_before() {
    let sidecar = sidecar();
    let mut answering = sidecar.subscriber();
    let token = token_for("42", &["a", "b"], &[]);
    let _silent = sidecar.browser(json!({"token": token}));
    let began = Instant::now();
    let settle = Settle::begin(sidecar.place(), 300);
    answer_ping(&mut answering);
    let settled = settle.settled();
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!((settled.connections, settled.more), (1, 0));
    let named = names(&settled.laggards);
    assert_eq!(named, [(Some("42"), vec!["user:42", "a", "b"])]);
    let log = sidecar.log().join("\n");
    assert!(!log.contains("settle"), "{log}");
}

#[test]
fn requests_beyond_the_limit_and_invalid_ones_are_refused() {
    let sidecar = sidecar();
    let _silent = sidecar.subscriber();
    let frames: [&[u8]; 3] = [
        &raw_frame(SETTLE, 0, &[], b"{}"),
        &raw_frame(SETTLE, 0, &[0x80, 1, 0, 0], br#"{"timeout_ms":1}"#),
        &raw_frame(SETTLE, 0, &[], &[b' '; 300]),
    ];
    for frame in frames {
        Settle::send(sidecar.place(), frame).expect_fault(LINK_BAD_FRAME.number);
    }
    let mut open = take_all_slots(&sidecar);
    assert!(open.iter_mut().all(Settle::is_under_way));
    // A stop ends them at once.
    sidecar.signal(Signal::SIGTERM);
    for settle in open {
        settle.expect_fault(LINK_DRAIN.number);
    }
}

#[test]
fn slots_of_processes_that_ended_are_free_at_once() {
    let sidecar = sidecar();
    let _silent = sidecar.subscriber();
    // As the kernel closes the links of processes that are killed.
    drop(take_all_slots(&sidecar));
    within("a wait with a time-out of its own ends by it", || {
        let settle = Settle::begin(sidecar.place(), 1);
        matches!(settle.end(), SettleReply::Settled(_)).then_some(())
    });
}
