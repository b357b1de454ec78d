//! Connections of Action Cable, which the app hands over, and channel classes that run in the app.

use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use lineside_protocol::codes::{LINK_BAD_FRAME, LINK_DRAIN};
use lineside_protocol::frame::runner::{Command, CommandKind, Done, Stream, Transmit};
use lineside_protocol::frame::{FromApp, ToApp};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::app_link::App;
use crate::hand_off::hand_off_of_cable;
use crate::settle::{LONG_MS, Settle};
use crate::support::{
    Browser, Received, Sidecar, channel_token, now_ms, place, read_response, sidecar,
};

/// Key of signed stream names, and its base64.
const KEY: &[u8] = b"k";
pub(crate) const KEY_BASE64: &str = "aw==";

pub(crate) const ROOM: &str = r#"{"channel":"RoomChannel"}"#;

fn decided() -> Value {
    json!({"identifier": "Z2lk", "turbo_keys": [KEY_BASE64], "context": "the context"})
}

/// Identifier of the Turbo stream `books`.
pub(crate) fn books(more: &str) -> String {
    turbo(&json!("books"), more)
}

/// Identifier of a Turbo stream. `name` is what the app signs.
pub(crate) fn turbo(name: &Value, more: &str) -> String {
    let encoded = STANDARD.encode(name.to_string());
    let mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
    let digest = mac.chain_update(&encoded).finalize().into_bytes();
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        r#"{{ "channel":"Turbo::StreamsChannel","signed_stream_name":"{encoded}--{digest}"{more}}}"#
    )
}

/// Identifier of a page that has this key and was rendered at the beginning of the epoch.
fn books_of_page(sidecar: &Sidecar, key: &str) -> String {
    let cursor = sidecar.publisher().publish("other", 1);
    books(&format!(
        r#","lineside_after":"{cursor}","lineside_page":"{key}""#
    ))
}

fn upgraded(sidecar: &Sidecar, decided: &Value) -> TcpStream {
    let mut stream = hand_off_of_cable(sidecar, decided);
    let response = read_response(&mut stream);
    assert_eq!(response.status, 101);
    let subprotocol = response.header("sec-websocket-protocol");
    assert_eq!(subprotocol.as_deref(), Some("actioncable-v1-json"));
    stream
}

fn connected(sidecar: &Sidecar) -> Browser {
    Browser::new(upgraded(sidecar, &decided())).expect_welcome()
}

pub(crate) fn command(browser: &mut Browser, command: &str, identifier: &str) {
    browser.send(json!({"command": command, "identifier": identifier}));
}

pub(crate) fn subscribe(browser: &mut Browser, identifier: &str) {
    command(browser, "subscribe", identifier);
    browser.expect(json!({"type": "confirm_subscription", "identifier": identifier}));
}

pub(crate) fn expect_message(browser: &mut Browser, identifier: &str, message: Value) {
    browser.expect(json!({"identifier": identifier, "message": message}));
}

/// Receives up to the end, and returns the disconnect and the close code.
pub(crate) fn ending(browser: &mut Browser) -> (Value, u16) {
    let disconnect = browser.next();
    match browser.receive() {
        Received::Close(code, _) => (disconnect, code),
        other => panic!("expected a close, received {other:?}"),
    }
}

impl App {
    fn command(&mut self) -> Command {
        loop {
            match self.next() {
                Some(ToApp::Command(command)) => return command,
                Some(ToApp::Reached(_)) => {}
                other => panic!("expected a command, received {other:?}"),
            }
        }
    }

    fn transmit(&mut self, command: &Command, text: &Value) {
        let (connection, text) = (command.connection.clone(), text.to_string());
        self.send(&FromApp::Transmit(Transmit { connection, text }));
    }

    fn done(&mut self, command: &Command) {
        let (connection, id) = (command.connection.clone(), command.id);
        self.send(&FromApp::Done(Done {
            connection,
            id,
            variables: None,
        }));
    }

    /// Runs a subscribe command of the room, which streams `room`.
    fn subscribe(&mut self) -> Command {
        let command = self.command();
        assert_eq!(command.command, CommandKind::Subscribe);
        assert_eq!(command.identifier.as_deref(), Some(ROOM));
        self.send(&FromApp::Stream(Stream {
            connection: command.connection.clone(),
            identifier: ROOM.into(),
            stream: "room".into(),
        }));
        let confirm = json!({"type": "confirm_subscription", "identifier": ROOM});
        self.transmit(&command, &confirm);
        self.done(&command);
        command
    }
}

#[test]
fn turbo_stream_is_delivered_with_the_identifier_byte_for_byte() {
    let sidecar = sidecar();
    let mut browser = connected(&sidecar);
    subscribe(&mut browser, &books(""));
    let publisher = sidecar.publisher();
    publisher.publish("cable:other", "not this");
    publisher.publish("cable:books", "<turbo-stream>");
    expect_message(&mut browser, &books(""), json!("<turbo-stream>"));
    let forged = books("").replace("signed_stream_name\":\"I", "signed_stream_name\":\"J");
    command(&mut browser, "subscribe", &forged);
    browser.expect(json!({"type": "reject_subscription", "identifier": forged}));
}

#[test]
fn channel_token_opens_a_shared_channel() {
    let sidecar = sidecar();
    let decided = json!({"user": "42", "turbo_keys": [KEY_BASE64], "issued_ms": now_ms()});
    let mut browser = Browser::new(upgraded(&sidecar, &decided)).expect_welcome();
    let identifier = |sub| {
        let token = channel_token("orders", sub, 60);
        json!({"channel": "Lineside", "token": token}).to_string()
    };
    let own = identifier(Some("42"));
    subscribe(&mut browser, &own);
    let other = identifier(Some("43"));
    command(&mut browser, "subscribe", &other);
    browser.expect(json!({"type": "reject_subscription", "identifier": other}));
    let publisher = sidecar.publisher();
    publisher.publish("cable:orders", "not this");
    publisher.publish("orders", 7);
    expect_message(&mut browser, &own, json!(7));
    sidecar.logged(&["event=subscription_rejected", "another user"]);
    let secret = other.split('.').nth(2).unwrap();
    assert!(!sidecar.log().iter().any(|line| line.contains(secret)));
}

#[test]
fn visit_in_one_burst_leaves_every_stream_subscribed() {
    let sidecar = sidecar();
    let publisher = sidecar.publisher();
    let mut browser = connected(&sidecar);
    let identifiers: Vec<String> = (0..3).map(|it| books(&format!(r#","n":{it}"#))).collect();
    for number in 0..20 {
        for identifier in &identifiers {
            command(&mut browser, "unsubscribe", identifier);
        }
        for identifier in &identifiers {
            command(&mut browser, "subscribe", identifier);
        }
        for identifier in &identifiers {
            browser.expect(json!({"type": "confirm_subscription", "identifier": identifier}));
        }
        publisher.publish("cable:books", number);
        for identifier in &identifiers {
            expect_message(&mut browser, identifier, json!(number));
        }
    }
}

#[test]
fn rejected_connection_gets_rails_disconnect() {
    let sidecar = sidecar();
    let mut browser = Browser::new(upgraded(&sidecar, &json!({"rejected": true})));
    let unauthorized = json!({"type": "disconnect", "reason": "unauthorized", "reconnect": false});
    assert_eq!(ending(&mut browser), (unauthorized, 1000));
}

#[test]
fn planned_stop_tells_pages_to_reconnect_and_loses_nothing() {
    let place = place();
    let mut sidecar = place.start();
    let identifier = books_of_page(&sidecar, "page");
    let mut browser = connected(&sidecar);
    subscribe(&mut browser, &identifier);
    sidecar.publisher().publish("cable:books", 1);
    expect_message(&mut browser, &identifier, json!(1));
    sidecar.signal(Signal::SIGTERM);
    let restart = json!({"type": "disconnect", "reason": "server_restart", "reconnect": true});
    assert_eq!(ending(&mut browser), (restart, 1000));
    drop(browser);
    assert!(sidecar.ended().success());

    let sidecar = place.start();
    sidecar.publisher().publish("cable:books", 2);
    let mut browser = connected(&sidecar);
    subscribe(&mut browser, &identifier);
    expect_message(&mut browser, &identifier, json!(2));
}

#[test]
fn page_that_was_cut_off_resumes_after_what_it_has_confirmed() {
    let sidecar = sidecar();
    let identifier = books_of_page(&sidecar, "page");
    let publisher = sidecar.publisher();
    publisher.publish("cable:books", 1);
    let mut browser = connected(&sidecar);
    subscribe(&mut browser, &identifier);
    expect_message(&mut browser, &identifier, json!(1));
    // The ping behind it asks what the browser has received.
    while browser.receive() != Received::Ping {}
    publisher.publish("cable:books", 2);
    expect_message(&mut browser, &identifier, json!(2));
    // The socket stays open, as if the network were cut.
    publisher.publish("cable:books", 3);
    let mut again = connected(&sidecar);
    subscribe(&mut again, &identifier);
    let first = again.next()["message"].clone();
    assert!(first == json!(2) || first == json!(3), "{first}");
    if first == json!(2) {
        expect_message(&mut again, &identifier, json!(3));
    }
    let mut other = connected(&sidecar);
    let identifier = identifier.replace("\"page\"", "\"other\"");
    subscribe(&mut other, &identifier);
    for number in 1..=3 {
        expect_message(&mut other, &identifier, json!(number));
    }
}

#[test]
fn channel_of_the_app_runs_in_a_runner_and_moves_when_it_dies() {
    let sidecar = sidecar();
    let mut first = sidecar.runner("puma[1]");
    let mut browser = connected(&sidecar);
    command(&mut browser, "subscribe", ROOM);
    let subscribed = first.subscribe();
    assert_eq!(subscribed.context.as_deref(), Some("the context"));
    let confirm = json!({"type": "confirm_subscription", "identifier": ROOM});
    browser.expect(confirm);
    let publisher = sidecar.publisher();
    publisher.publish("cable:room", 1);
    expect_message(&mut browser, ROOM, json!(1));

    browser
        .send(json!({"command": "message", "identifier": ROOM, "data": r#"{"action":"speak"}"#}));
    let speak = first.command();
    assert_eq!(speak.data.as_deref(), Some(r#"{"action":"speak"}"#));
    let mut second = sidecar.runner("puma[2]");
    drop(first);
    let end = second.command();
    assert_eq!(
        (end.command, end.context.as_deref()),
        (CommandKind::End, Some("the context"))
    );
    publisher.publish("cable:room", 2);
    expect_message(&mut browser, ROOM, json!(2));
    second.done(&end);
    second.subscribe();
    publisher.publish("cable:room", 3);
    expect_message(&mut browser, ROOM, json!(3));

    drop(browser);
    let close = second.command();
    assert_eq!((close.command, close.ended), (CommandKind::Close, vec![]));
}

#[test]
fn planned_stop_ends_each_connection_in_the_app_once() {
    let sidecar = sidecar();
    let mut runner = sidecar.runner("puma[1]");
    let mut subscribed = connected(&sidecar);
    command(&mut subscribed, "subscribe", ROOM);
    let subscribe = runner.subscribe();
    let mut decided = decided();
    decided["disconnects"] = json!(true);
    // Without a channel in the app, the runner has not heard of the connection.
    let _other = Browser::new(upgraded(&sidecar, &decided)).expect_welcome();
    sidecar.signal(Signal::SIGTERM);
    let mut closes = [runner.command(), runner.command()];
    closes.sort_by_key(|close| close.context.is_some());
    let of = |close: &Command| (close.command, close.context.clone());
    let close = CommandKind::Close;
    let context = Some("the context".into());
    assert_eq!(closes.each_ref().map(of), [(close, None), (close, context)]);
    assert_eq!(closes[0].connection, subscribe.connection);
    assert!(matches!(runner.next(), Some(ToApp::Fault(fault)) if fault.code == LINK_DRAIN.number));
    assert_eq!(runner.next(), None);
}

#[test]
fn runner_that_does_not_answer_delays_only_its_own_connection() {
    let sidecar = sidecar();
    let mut runner = sidecar.runner("puma[1]");
    let mut waiting = connected(&sidecar);
    command(&mut waiting, "subscribe", ROOM);
    command(&mut waiting, "subscribe", &books(""));
    assert_eq!(runner.command().command, CommandKind::Subscribe);
    let mut other = connected(&sidecar);
    subscribe(&mut other, &books(""));
    sidecar.publisher().publish("cable:books", 1);
    expect_message(&mut other, &books(""), json!(1));
    assert_eq!(waiting.next_ping()["type"], "ping", "it is still served");
}

#[test]
fn process_that_runs_no_channels_may_not_report_on_connections() {
    let sidecar = sidecar();
    let mut runner = sidecar.runner("puma[1]");
    let mut browser = connected(&sidecar);
    command(&mut browser, "subscribe", ROOM);
    let command = runner.command();
    let mut other = sidecar.app();
    let confirm = json!({"type": "confirm_subscription", "identifier": ROOM});
    other.transmit(&command, &confirm);
    assert_eq!(other.expect_fault().0, LINK_BAD_FRAME.number);
    // Nor may another runner than the connection's.
    let mut second = sidecar.runner("puma[2]");
    second.transmit(
        &command,
        &json!({"identifier": ROOM, "message": "not this"}),
    );
    runner.transmit(&command, &confirm);
    browser.expect(confirm);
}

#[test]
fn settling_waits_for_the_browser_and_for_commands_in_the_app() {
    let sidecar = sidecar();
    let mut runner = sidecar.runner("puma[1]");
    let mut browser = connected(&sidecar);
    subscribe(&mut browser, &books(""));
    sidecar.publisher().publish("cable:books", 1);
    expect_message(&mut browser, &books(""), json!(1));
    command(&mut browser, "subscribe", ROOM);
    let running = runner.command();
    let mut settle = Settle::begin(sidecar.place(), LONG_MS);
    let late = Settle::begin(sidecar.place(), 300).settled();
    let [laggard] = &late.laggards[..] else {
        panic!("{late:?}")
    };
    assert_eq!(laggard.channels, ["cable:action_cable/Z2lk", "cable:books"]);
    assert!(laggard.reason.contains("the app"), "{laggard:?}");
    assert!(settle.is_under_way());
    let confirm = json!({"type": "confirm_subscription", "identifier": ROOM});
    runner.transmit(&running, &confirm);
    runner.done(&running);
    browser.expect(confirm);
    // Its pong is sent when it is received.
    while browser.receive() != Received::Ping {}
    assert_eq!(settle.settled().connections, 1);
}
