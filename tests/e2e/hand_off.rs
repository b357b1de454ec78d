//! Browsers whose sockets an app hands over, by whoever speaks the link's protocol.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use bytes::{Bytes, BytesMut};
use lineside_protocol::codes::LINK_BAD_FRAME;
use lineside_protocol::frame::{Fault, Frame, HandOff, Taken, ToPublisher};
use nix::sys::signal::Signal;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

use crate::support::{
    Browser, PATIENCE, Sidecar, frame, place, read_answer, sidecar, token_for, within,
};

const REQUEST: &str = "GET /lineside HTTP/1.1\r\nHost: shop.example\r\nUpgrade: websocket\r\n\
                       Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Both ends of a browser's connection to the app.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let browser = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    browser.set_read_timeout(Some(PATIENCE)).unwrap();
    (browser, listener.accept().unwrap().0)
}

/// The first frame of user 1, who receives the channel `a`.
fn connect() -> Value {
    json!({"type": "connect", "token": token_for("1", &["a"], &[])})
}

/// A good hand-off, to be changed: a page of the app's own origin asks.
fn hand_off() -> HandOff {
    HandOff {
        peer: "203.0.113.7".into(),
        origin: "https://shop.example".into(),
        request: Bytes::from(format!("{REQUEST}Origin: https://shop.example\r\n\r\n")),
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

/// What a link answers, to its end: none when it took the socket, else the code and the sentence.
fn answer(mut link: &UnixStream) -> Option<(u16, String)> {
    link.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    link.read_to_end(&mut bytes).unwrap();
    let frame = Frame::split(&mut BytesMut::from(&bytes[..])).unwrap();
    let frame = frame.expect("an answer before the end");
    if Taken::is(&frame) {
        return None;
    }
    match ToPublisher::decode(&frame).unwrap() {
        ToPublisher::Fault(Fault { code, message }) => Some((code, message)),
        other => panic!("taken or a fault, and not {other:?}"),
    }
}

/// Hands over the request of a browser that sends these header fields besides.
pub(crate) fn hand_over_with(sidecar: &Sidecar, fields: &str) -> TcpStream {
    let request = Bytes::from(format!("{REQUEST}{fields}\r\n"));
    sidecar.hand(&HandOff {
        request,
        ..hand_off()
    })
}

impl Sidecar {
    /// Hands a browser over, and must take it; the app keeps nothing.
    fn hand(&self, hand_off: &HandOff) -> TcpStream {
        let (browser, socket) = connection();
        let link = self.raw_link().stream;
        send(&link, &bytes_of(hand_off), &[socket.as_fd()]);
        drop(socket);
        assert_eq!(answer(&link), None);
        browser
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }
}

#[test]
fn a_socket_that_is_handed_over_is_served_as_any_other() {
    let sidecar = sidecar();
    let mut stream = sidecar.hand(&hand_off());
    assert_eq!(read_answer(&mut stream).status, 101);
    let mut browser = Browser::new(stream);
    browser.send(connect());
    let mut browser = browser.take_welcome();
    sidecar.publisher().publish("a", 1);
    browser.expect_message("a", json!(1));
}

#[test]
fn an_app_that_hands_all_over_needs_no_listener() {
    let sidecar = place().with("LINESIDE_BIND", "none").spawn();
    sidecar.logged(&["event=listening bind=none"]);
    let mut stream = sidecar.hand(&hand_off());
    assert_eq!(read_answer(&mut stream).status, 101);
    let mut browser = Browser::new(stream);
    browser.send(connect());
    browser.take_welcome();
}

#[test]
fn what_was_read_behind_the_head_is_not_lost() {
    let sidecar = sidecar();
    let connect = connect().to_string();
    let good = hand_off();
    let request = [&good.request[..], &frame(0x81, connect.as_bytes())].concat();
    let mut stream = sidecar.hand(&HandOff {
        request: request.into(),
        ..good
    });
    assert_eq!(read_answer(&mut stream).status, 101);
    Browser::new(stream).take_welcome();
}

#[test]
fn a_server_behind_a_unix_socket_can_hand_over_too() {
    let sidecar = sidecar();
    let (mut browser, socket) = UnixStream::pair().unwrap();
    browser.set_read_timeout(Some(PATIENCE)).unwrap();
    let link = sidecar.raw_link().stream;
    send(&link, &bytes_of(&hand_off()), &[socket.as_fd()]);
    drop(socket);
    assert_eq!(answer(&link), None);
    let connect = connect().to_string();
    browser.write_all(&frame(0x81, connect.as_bytes())).unwrap();
    let mut heard = Vec::new();
    within("the welcome", || {
        let mut bytes = [0; 1024];
        let count = browser.read(&mut bytes).unwrap();
        heard.extend_from_slice(&bytes[..count]);
        String::from_utf8_lossy(&heard)
            .contains("\"welcome\"")
            .then_some(())
    });
}

#[test]
fn the_sidecar_answers_what_it_took_and_does_not_serve() {
    let sidecar = sidecar();
    let cases = [
        (403, "Origin: https://evil.example\r\n"),
        // The app has judged by its proxies already: what a browser claims counts for nothing.
        (
            403,
            "Origin: https://evil.example\r\nX-Forwarded-Host: evil.example\r\n",
        ),
        (400, "Sec-WebSocket-Version: 1 2 3\r\nHost"),
    ];
    for (status, headers) in cases {
        let mut stream = sidecar.hand(&HandOff {
            request: Bytes::from(format!("{REQUEST}{headers}\r\n\r\n")),
            ..hand_off()
        });
        assert_eq!(read_answer(&mut stream).status, status, "{headers}");
    }
    let refused = ["event=request_refused", "203.0.113.7", "evil.example"];
    sidecar.logged(&refused);
    let elsewhere = REQUEST.replace("/lineside", "/elsewhere");
    let mut stream = sidecar.hand(&HandOff {
        request: Bytes::from(format!("{elsewhere}\r\n")),
        ..hand_off()
    });
    assert_eq!(read_answer(&mut stream).status, 404);
}

#[test]
fn what_is_no_hand_off_is_refused_and_its_descriptors_closed() {
    let sidecar = sidecar();
    let before = sidecar.descriptors();
    let good = bytes_of(&hand_off());
    let bad_peer = HandOff {
        peer: "nobody".into(),
        ..hand_off()
    };
    let bad_origin = HandOff {
        origin: "null".into(),
        ..hand_off()
    };
    let huge = HandOff {
        request: vec![b'x'; 1024 * 1024].into(),
        ..hand_off()
    };
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let cases: [(&str, Vec<u8>, usize, &str); 6] = [
        ("none", good.clone(), 0, "0 descriptors"),
        ("two", good.clone(), 2, "more than one"),
        ("eight", good.clone(), 8, "more than one"),
        ("peer", bytes_of(&bad_peer), 1, "no IP address"),
        ("origin", bytes_of(&bad_origin), 1, "no origin"),
        ("half", good[..good.len() / 2].to_vec(), 1, "ended within"),
    ];
    for (case, bytes, count, message) in cases {
        let (mut browser, socket) = connection();
        let link = sidecar.raw_link().stream;
        send(&link, &bytes, &vec![socket.as_fd(); count]);
        drop(socket);
        link.shutdown(Shutdown::Write).unwrap();
        let (code, said) = answer(&link).expect(case);
        assert_eq!(code, LINK_BAD_FRAME.number, "{case}");
        assert!(said.contains(message), "{case}: {said}");
        let mut bytes = Vec::new();
        assert_eq!(browser.read_to_end(&mut bytes).unwrap(), 0, "{case}");
    }
    let link = sidecar.raw_link().stream;
    send(&link, &good, &[udp.as_fd()]);
    assert!(answer(&link).unwrap().1.contains("no stream socket"));

    // It is not read to its end, so that writing it fails.
    let (mut browser, socket) = connection();
    let mut link = sidecar.raw_link().stream;
    let huge = bytes_of(&huge);
    send(&link, &huge[..1000], &[socket.as_fd()]);
    drop(socket);
    assert!(link.write_all(&huge[1000..]).is_err());
    let mut bytes = Vec::new();
    assert_eq!(browser.read_to_end(&mut bytes).unwrap(), 0);
    drop(link);
    within("as many descriptors as before", || {
        (sidecar.descriptors() == before).then_some(())
    });
    sidecar.publisher().publish("a", 1);
}

#[test]
fn a_socket_of_an_app_that_gave_up_is_not_served() {
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
fn hundreds_of_hand_offs_leave_no_descriptor() {
    let sidecar = sidecar();
    let before = sidecar.descriptors();
    for _ in 0..20 {
        let browsers: Vec<TcpStream> = (0..20).map(|_| sidecar.hand(&hand_off())).collect();
        for mut browser in browsers {
            assert_eq!(read_answer(&mut browser).status, 101);
        }
    }
    within("as many descriptors as before", || {
        (sidecar.descriptors() == before).then_some(())
    });
}

#[test]
fn during_a_stop_a_browser_is_told_to_come_again() {
    let mut sidecar = sidecar();
    // It never answers the close, so the stop takes its two seconds.
    let _silent = sidecar.raw_browser().connected();
    sidecar.signal(Signal::SIGTERM);
    sidecar.logged(&["event=draining"]);
    let mut stream = sidecar.hand(&hand_off());
    let answer = read_answer(&mut stream);
    assert_eq!(answer.status, 503);
    assert_eq!(answer.field("retry-after").as_deref(), Some("5"));
    assert_eq!(sidecar.ended().code(), Some(0));
}
