use super::*;

fn get(target: &str, fields: &str) -> Head {
    let text = format!("GET {target} HTTP/1.1\r\nHost: app.example\r\n{fields}\r\n");
    Head::parse(text.as_bytes()).unwrap().unwrap()
}

#[test]
fn url_and_subprotocol_can_be_the_connect() {
    let subscribe = |channel: &str| Subscribe {
        channel: channel.into(),
        token: None,
        after: None,
    };
    assert_eq!(connect(&get("/lineside", "")), Ok(None));
    assert_eq!(connect(&get("/lineside?after=e.1&x=y", "")), Ok(None));
    let target = "/lineside?token=t&after=e.1&channel=a%3A1&channel=b+c%C3%A9";
    let asked = connect(&get(target, "")).unwrap().unwrap();
    assert_eq!(asked.token.as_deref(), Some("t"));
    assert_eq!(asked.after, Some(After::parse("e.1")));
    assert_eq!(asked.subscribe, [subscribe("a:1"), subscribe("b cé")]);
    let head = get(
        "/lineside",
        "Sec-WebSocket-Protocol: lineside-v1, lineside.token.abc\r\n",
    );
    assert_eq!(
        connect(&head).unwrap().unwrap().token.as_deref(),
        Some("abc")
    );
}

#[test]
fn malformed_url_is_refused() {
    for query in [
        "channel=%",
        "channel=%4",
        "channel=%zz",
        "channel=%FF",
        "token=%+1",
    ] {
        assert_eq!(
            connect(&get(&format!("/lineside?{query}"), ""))
                .unwrap_err()
                .status,
            400,
            "{query}"
        );
    }
}
