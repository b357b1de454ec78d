//! Start of a connection: the upgrade, the ways to send a token, and the `welcome`.

use serde_json::{Value, json};

use crate::support::{Browser, place, position, sidecar, token_for};

/// The welcome without its `connection` and `cursor`, which are checked here because they always differ.
fn without_names(browser: &Browser) -> Value {
    let mut welcome = browser.welcome.clone();
    let members = welcome.as_object_mut().unwrap();
    let connection = members.remove("connection").unwrap();
    assert!(connection.as_str().is_some_and(|name| !name.is_empty()));
    let cursor = members.remove("cursor").unwrap();
    position(cursor.as_str().unwrap());
    welcome
}

fn limits() -> Value {
    json!({"message_bytes_max": 131_072, "subscriptions_max": 256, "requests_per_second_max": 50})
}

#[test]
fn welcome_of_an_anonymous_browser_has_no_channels() {
    let sidecar = sidecar();
    let browser = sidecar.browser(json!({}));
    assert_eq!(
        without_names(&browser),
        json!({"type": "welcome", "user": null, "channels": [], "refused": [], "heartbeat": 25,
               "limits": limits(), "features": []})
    );
}

#[test]
fn welcome_has_recovered_and_lost_only_after_a_cursor() {
    let sidecar = sidecar();
    let token = token_for("1", &["a"], &[]);
    let plain = sidecar.browser(json!({"token": token}));
    for key in ["recovered", "lost"] {
        assert_eq!(plain.welcome.get(key), None);
    }
    let with_after = sidecar.browser(json!({"token": token, "after": plain.cursor}));
    assert_eq!(with_after.welcome["recovered"], json!(true));
    assert_eq!(with_after.welcome["lost"], json!([]));
    let of_one = sidecar
        .browser(json!({"token": token, "subscribe": [{"channel": "a", "after": "unknown"}]}));
    assert_eq!(of_one.welcome["recovered"], json!(false));
    assert_eq!(of_one.welcome["lost"], json!(["a"]));
    assert_eq!(of_one.welcome["channels"], json!(["user:1", "a"]));
}

#[test]
fn each_connection_has_an_id_of_its_own() {
    let sidecar = sidecar();
    let names = [sidecar.browser(json!({})), sidecar.browser(json!({}))];
    let [first, second] = names.map(|browser| browser.welcome["connection"].clone());
    assert_ne!(first, second);
}

#[test]
fn only_the_subprotocol_lineside_v1_is_accepted() {
    let sidecar = sidecar();
    for (offered, accepted) in [
        (None, None),
        (Some("lineside-v1"), Some("lineside-v1")),
        (Some("graphql-ws, lineside-v1"), Some("lineside-v1")),
        (Some("graphql-ws"), None),
        (Some("actioncable-v1-json"), None),
        (Some("lineside-v10"), None),
    ] {
        let mut request = sidecar.request();
        if let Some(offered) = offered {
            request = request.header("Sec-WebSocket-Protocol", offered);
        }
        let (_, answer) = request.send();
        assert_eq!(answer.status, 101);
        assert_eq!(
            answer.header("sec-websocket-protocol").as_deref(),
            accepted,
            "{offered:?}"
        );
    }
}

#[test]
fn compression_is_never_negotiated() {
    let sidecar = sidecar();
    let offer = "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame";
    // `open` checks that the response has no extension.
    let request = sidecar.request().header("Sec-WebSocket-Extensions", offer);
    request.connect(json!({})).expect_welcome();
}

#[test]
fn token_in_a_subprotocol_connects_and_is_not_echoed() {
    let sidecar = sidecar();
    let token = token_for("42", &["board"], &[]);
    for offered in [
        format!("lineside-v1, lineside.token.{token}"),
        format!("lineside.token.{token}, lineside-v1"),
    ] {
        let request = sidecar.request().header("Sec-WebSocket-Protocol", offered);
        let (_, answer) = request.send();
        assert_eq!(
            answer.header("sec-websocket-protocol").as_deref(),
            Some("lineside-v1")
        );
        assert!(!answer.head.contains(&token));
        let browser = request.open().expect_welcome();
        assert_eq!(browser.welcome["channels"], json!(["user:42", "board"]));
    }
}

#[test]
fn token_in_the_url_connects() {
    let sidecar = sidecar();
    let token = token_for("42", &[], &[]);
    let browser = sidecar
        .request()
        .path(format!("/lineside?token={token}"))
        .open();
    let mut browser = browser.expect_welcome();
    assert_eq!(browser.welcome["user"], "42");
    sidecar.publisher().publish("user:42", 1);
    browser.expect_message("user:42", json!(1));
}

#[test]
fn channels_in_the_url_connect_without_a_token() {
    let sidecar = place()
        .with("LINESIDE_PUBLIC_CHANNELS", "news,scores:*")
        .start();
    let browser = sidecar
        .request()
        .path("/lineside?channel=news&channel=scores%3A7&channel=secret&utm=x")
        .open()
        .expect_welcome();
    assert_eq!(browser.welcome["channels"], json!(["news", "scores:7"]));
    assert_eq!(
        browser.welcome["refused"],
        json!([{"channel": "secret", "code": "forbidden"}])
    );
}

#[test]
fn after_in_the_url_resumes() {
    let sidecar = place().with("LINESIDE_PUBLIC_CHANNELS", "news").start();
    let publisher = sidecar.publisher();
    let seen = publisher.publish("news", 1);
    publisher.publish("news", 2);
    let request = sidecar.request();
    let mut browser = request
        .clone()
        .path(format!("/lineside?channel=news&after={seen}"))
        .open()
        .expect_welcome();
    assert_eq!(browser.welcome["recovered"], true);
    browser.expect_message("news", json!(2));
    assert_eq!(browser.next()["type"], "caught_up");
    // Without a token or channel the URL does not connect: the first frame does.
    let browser = request
        .path(format!("/lineside?after={seen}"))
        .connect(json!({"subscribe": [{"channel": "news"}]}));
    assert_eq!(
        browser.expect_welcome().welcome["channels"],
        json!(["news"])
    );
}

#[test]
fn first_frame_sent_together_with_the_request_is_handled() {
    let sidecar = sidecar();
    use std::io::Write as _;
    let mut stream = sidecar.tcp();
    let head = format!(
        "GET /lineside HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        sidecar.port
    );
    let mut bytes = head.into_bytes();
    bytes.extend(crate::support::frame(0x81, br#"{"type":"connect"}"#));
    stream.write_all(&bytes).unwrap();
    assert_eq!(crate::support::read_response(&mut stream).status, 101);
    Browser::new(stream).expect_welcome();
}

#[test]
fn first_frame_other_than_a_valid_connect_is_refused() {
    let sidecar = sidecar();
    for first in [
        r#"{"type":"subscribe","channel":"news"}"#,
        r#"{"type":"dance"}"#,
        r#"{"type":"pong"}"#,
        r#"{"type":"connect","token":7}"#,
        r#"{"type":"connect","subscribe":{}}"#,
        r#"{"type":"connect","subscribe":[{}]}"#,
        "{}",
        "[]",
        "nonsense",
        "",
    ] {
        let mut browser = sidecar.request().open();
        browser.send_text(first);
        let ending = browser.expect_close();
        assert_eq!(
            (ending.code, ending.reason.as_str()),
            (4500, "bad_connect"),
            "{first}"
        );
        assert_eq!((ending.after_ms, ending.before), (None, vec![]), "{first}");
        assert!(
            ending.message.is_some_and(|message| message.len() > 10),
            "{first}"
        );
    }
}
