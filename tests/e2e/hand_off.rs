//! Hand-off: the app passes the sockets of browsers to the sidecar over the link.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use lineside_protocol::codes::LINK_BAD_FRAME;
use lineside_protocol::frame::{Fault, Frame, HandOff, Taken, ToPublisher};
use nix::sys::signal::Signal;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

use crate::support::{
    Browser, Sidecar, TIMEOUT, frame, place, read_response, sidecar, token_for, within,
};

const REQUEST: &str = "GET /lineside HTTP/1.1\r\nHost: shop.example\r\nUpgrade: websocket\r\n\
                       Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Both ends of a browser's connection to the app.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let browser = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    browser.set_read_timeout(Some(TIMEOUT)).unwrap();
    (browser, listener.accept().unwrap().0)
}

/// The `connect` of user 1 with the channel `a`.
fn connect() -> Value {
    json!({"type": "connect", "token": token_for("1", &["a"], &[])})
}

/// A valid hand-off of a page of the app's own origin, for tests to change.
fn hand_off() -> HandOff {
    HandOff {
        peer: "203.0.113.7".into(),
        origin: "https://shop.example".into(),
        request: Bytes::from(format!("{REQUEST}Origin: https://shop.example\r\n\r\n")),
        cable: None,
    }
}

fn bytes_of(hand_off: &HandOff) -> Vec<u8> {
    let mut bytes = Vec::new();
    hand_off.encode(&mut bytes);
    bytes
}

/// Sends bytes with these descriptors.
fn send(link: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let sent = sendmsg(
        link,
        &[IoSlice::new(bytes)],
        &mut ancillary,
        SendFlags::empty(),
    );
    let mut link = link;
    link.write_all(&bytes[sent.unwrap()..]).unwrap();
}

/// Receives the answer to a hand-off: `None` if the socket was accepted, otherwise the code and message of the fault.
fn answer(mut link: &UnixStream) -> Option<(u16, String)> {
    link.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut bytes = Vec::new();
    link.read_to_end(&mut bytes).unwrap();
    let frame = Frame::split(&mut BytesMut::from(&bytes[..])).unwrap();
    let frame = frame.expect("an answer before the end");
    if Taken::is(&frame) {
        return None;
    }
    match ToPublisher::decode(&frame).unwrap() {
        ToPublisher::Fault(Fault { code, message }) => Some((code, message)),
        other => panic!("expected a fault, received {other:?}"),
    }
}

/// Hands over a browser whose request has these additional header lines.
pub(crate) fn hand_off_with_headers(sidecar: &Sidecar, fields: &str) -> TcpStream {
    let request = Bytes::from(format!("{REQUEST}{fields}\r\n"));
    sidecar.hand_off(&HandOff {
        request,
        ..hand_off()
    })
}

/// Hands over a connection of Action Cable, with what the app decided about it.
pub(crate) fn hand_off_of_cable(sidecar: &Sidecar, decided: &Value) -> TcpStream {
    let path = REQUEST.replace("/lineside", "/tenant/cable?user=1");
    let protocols = "actioncable-v1-json, actioncable-unsupported";
    let request = format!("{path}Sec-WebSocket-Protocol: {protocols}\r\n\r\n");
    sidecar.hand_off(&HandOff {
        request: request.into(),
        cable: Some(decided.to_string().into()),
        ..hand_off()
    })
}

impl Sidecar {
    /// Hands a browser over, which the sidecar must accept; returns the browser's end.
    fn hand_off(&self, hand_off: &HandOff) -> TcpStream {
        let (browser, socket) = connection();
        let link = self.raw_link().stream;
        send(&link, &bytes_of(hand_off), &[socket.as_fd()]);
        drop(socket);
        assert_eq!(answer(&link), None);
        browser
    }

    /// Number of open file descriptors of the process.
    fn open_descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }
}

#[test]
fn handed_over_socket_is_served() {
    let sidecar = sidecar();
    let mut stream = sidecar.hand_off(&hand_off());
    assert_eq!(read_response(&mut stream).status, 101);
    let mut browser = Browser::new(stream);
    browser.send(connect());
    let mut browser = browser.expect_welcome();
    sidecar.publisher().publish("a", 1);
    browser.expect_message("a", json!(1));
}

#[test]
fn address_of_a_handed_over_browser_is_only_logged() {
    let sidecar = sidecar();
    for peer in ["fe80::1%eth0", "::ffff:203.0.113.7", "unknown", ""] {
        let mut stream = sidecar.hand_off(&HandOff {
            peer: peer.into(),
            ..hand_off()
        });
        assert_eq!(read_response(&mut stream).status, 101, "{peer}");
    }
}

#[test]
fn origin_of_the_app_may_have_the_scheme_of_the_websocket() {
    let sidecar = sidecar();
    for (origin, status) in [("wss://shop.example", 101), ("ws://shop.example", 403)] {
        let mut stream = sidecar.hand_off(&HandOff {
            origin: origin.into(),
            ..hand_off()
        });
        assert_eq!(read_response(&mut stream).status, status, "{origin}");
    }
}

#[test]
fn hand_off_works_without_a_listener() {
    let sidecar = place().with("LINESIDE_BIND", "none").spawn();
    sidecar.logged(&["event=listening bind=none"]);
    let mut stream = sidecar.hand_off(&hand_off());
    assert_eq!(read_response(&mut stream).status, 101);
    let mut browser = Browser::new(stream);
    browser.send(connect());
    browser.expect_welcome();
}

#[test]
fn path_of_action_cable_needs_the_decision_of_the_app() {
    let sidecar = place().with("LINESIDE_CABLE_IDENTITY", "optional").start();
    let path = REQUEST.replace("/lineside", "/cable");
    let request = format!("{path}Origin: https://shop.example\r\n\r\n");
    let mut stream = sidecar.hand_off(&HandOff {
        request: request.into(),
        ..hand_off()
    });
    assert_eq!(read_response(&mut stream).status, 404);
}

#[test]
fn bytes_after_the_request_head_are_handled() {
    let sidecar = sidecar();
    let connect = connect().to_string();
    let good = hand_off();
    let request = [&good.request[..], &frame(0x81, connect.as_bytes())].concat();
    let mut stream = sidecar.hand_off(&HandOff {
        request: request.into(),
        ..good
    });
    assert_eq!(read_response(&mut stream).status, 101);
    Browser::new(stream).expect_welcome();
}

#[test]
fn unix_socket_of_a_browser_can_be_handed_over() {
    let sidecar = sidecar();
    let (mut browser, socket) = UnixStream::pair().unwrap();
    browser.set_read_timeout(Some(TIMEOUT)).unwrap();
    let link = sidecar.raw_link().stream;
    send(&link, &bytes_of(&hand_off()), &[socket.as_fd()]);
    drop(socket);
    assert_eq!(answer(&link), None);
    let connect = connect().to_string();
    browser.write_all(&frame(0x81, connect.as_bytes())).unwrap();
    let mut received = Vec::new();
    within("the welcome", || {
        let mut bytes = [0; 1024];
        let count = browser.read(&mut bytes).unwrap();
        received.extend_from_slice(&bytes[..count]);
        String::from_utf8_lossy(&received)
            .contains("\"welcome\"")
            .then_some(())
    });
}

#[test]
fn refused_request_of_a_handed_over_socket_is_answered() {
    let sidecar = sidecar();
    let cases = [
        (403, "Origin: https://evil.example\r\n"),
        // The app has already evaluated forwarded headers, so the sidecar ignores them.
        (
            403,
            "Origin: https://evil.example\r\nX-Forwarded-Host: evil.example\r\n",
        ),
        (400, "Sec-WebSocket-Version: 1 2 3\r\nHost"),
    ];
    for (status, headers) in cases {
        let mut stream = sidecar.hand_off(&HandOff {
            request: Bytes::from(format!("{REQUEST}{headers}\r\n\r\n")),
            ..hand_off()
        });
        assert_eq!(read_response(&mut stream).status, status, "{headers}");
    }
    let refused = ["event=request_refused", "203.0.113.7", "evil.example"];
    sidecar.logged(&refused);
    let elsewhere = REQUEST.replace("/lineside", "/elsewhere");
    let mut stream = sidecar.hand_off(&HandOff {
        request: Bytes::from(format!("{elsewhere}\r\n")),
        ..hand_off()
    });
    assert_eq!(read_response(&mut stream).status, 404);
}

#[test]
fn invalid_hand_off_is_refused_and_its_descriptors_are_closed() {
    let sidecar = sidecar();
    let before = sidecar.open_descriptors();
    let good = bytes_of(&hand_off());
    let bad_origin = HandOff {
        origin: "null".into(),
        ..hand_off()
    };
    let huge = HandOff {
        request: vec![b'x'; 1024 * 1024].into(),
        ..hand_off()
    };
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let cases: [(&str, Vec<u8>, usize, &str); 5] = [
        ("none", good.clone(), 0, "0 descriptors"),
        ("two", good.clone(), 2, "more than one"),
        ("eight", good.clone(), 8, "more than one"),
        ("origin", bytes_of(&bad_origin), 1, "no origin"),
        ("half", good[..good.len() / 2].to_vec(), 1, "ended within"),
    ];
    for (case, bytes, count, message) in cases {
        let (mut browser, socket) = connection();
        let link = sidecar.raw_link().stream;
        send(&link, &bytes, &vec![socket.as_fd(); count]);
        drop(socket);
        link.shutdown(Shutdown::Write).unwrap();
        let (code, answered) = answer(&link).expect(case);
        assert_eq!(code, LINK_BAD_FRAME.number, "{case}");
        assert!(answered.contains(message), "{case}: {answered}");
        let mut bytes = Vec::new();
        assert_eq!(browser.read_to_end(&mut bytes).unwrap(), 0, "{case}");
    }
    let link = sidecar.raw_link().stream;
    send(&link, &good, &[udp.as_fd()]);
    assert!(answer(&link).unwrap().1.contains("no stream socket"));

    // The sidecar stops reading a frame that is too large, so that writing it fails.
    let (mut browser, socket) = connection();
    let mut link = sidecar.raw_link().stream;
    let huge = bytes_of(&huge);
    send(&link, &huge[..1000], &[socket.as_fd()]);
    drop(socket);
    assert!(link.write_all(&huge[1000..]).is_err());
    let mut bytes = Vec::new();
    assert_eq!(browser.read_to_end(&mut bytes).unwrap(), 0);
    drop(link);
    within("all descriptors are closed", || {
        (sidecar.open_descriptors() == before).then_some(())
    });
    sidecar.publisher().publish("a", 1);
}

#[test]
fn socket_is_closed_when_the_app_no_longer_reads_the_answer() {
    let sidecar = sidecar();
    let (mut browser, socket) = connection();
    let link = sidecar.raw_link().stream;
    link.shutdown(Shutdown::Read).unwrap();
    send(&link, &bytes_of(&hand_off()), &[socket.as_fd()]);
    drop(socket);
    let mut bytes = Vec::new();
    assert_eq!(browser.read_to_end(&mut bytes).unwrap(), 0);
}

#[test]
fn hand_offs_leak_no_file_descriptors() {
    let sidecar = sidecar();
    let before = sidecar.open_descriptors();
    for _ in 0..20 {
        let browsers: Vec<TcpStream> = (0..20).map(|_| sidecar.hand_off(&hand_off())).collect();
        for mut browser in browsers {
            assert_eq!(read_response(&mut browser).status, 101);
        }
    }
    within("all descriptors are closed", || {
        (sidecar.open_descriptors() == before).then_some(())
    });
}

/// Hands browsers over until there is no link; returns the status of each that the sidecar took.
fn hand_off_until_the_end(link: &Path) -> Vec<u16> {
    let mut answers = Vec::new();
    while let Ok(mut stream) = UnixStream::connect(link) {
        let (mut browser, socket) = connection();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [socket.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let frame = bytes_of(&hand_off());
        let _sent = sendmsg(
            &stream,
            &[IoSlice::new(&frame)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        );
        drop(socket);
        let mut answer = Vec::new();
        let _ended = stream.read_to_end(&mut answer);
        let answer = Frame::split(&mut BytesMut::from(&answer[..])).unwrap();
        if answer.is_some_and(|answer| Taken::is(&answer)) {
            answers.push(read_response(&mut browser).status);
        }
    }
    answers
}

#[test]
fn every_browser_that_was_taken_is_answered_at_the_end_of_a_stop() {
    for _ in 0..5 {
        let mut sidecar = sidecar();
        let link = sidecar.place().link();
        let apps: Vec<_> = (0..4)
            .map(|_| {
                let link = link.clone();
                std::thread::spawn(move || hand_off_until_the_end(&link))
            })
            .collect();
        within("a hand-off", || {
            (sidecar.open_descriptors() > 20).then_some(())
        });
        sidecar.signal(Signal::SIGTERM);
        for app in apps {
            let answers = app.join().expect("each browser has an answer");
            assert!(
                answers.iter().all(|status| [101, 503].contains(status)),
                "{answers:?}"
            );
        }
        assert_eq!(sidecar.ended().code(), Some(0));
    }
}

#[test]
fn hand_off_during_a_drain_is_answered_with_503() {
    let mut sidecar = sidecar();
    // Never answers the close frame, so that the drain takes its two seconds.
    let _silent = sidecar.raw_browser().connect(json!({}));
    sidecar.signal(Signal::SIGTERM);
    sidecar.logged(&["event=draining"]);
    let mut stream = sidecar.hand_off(&hand_off());
    let answer = read_response(&mut stream);
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after").as_deref(), Some("5"));
    assert_eq!(sidecar.ended().code(), Some(0));
}
