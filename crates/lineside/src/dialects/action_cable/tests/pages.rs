use super::*;

/// Identifier of a page that was rendered at this position.
fn page(key: &str, position: u64) -> String {
    json!({
        "channel": "Turbo::StreamsChannel", "signed_stream_name": BOOKS,
        "lineside_after": format!("e.{position}"), "lineside_page": key
    })
    .to_string()
}

impl Stage {
    /// Subscribes, and returns the messages of the replay behind the confirmation.
    fn resume(&mut self, identifier: &str) -> Vec<Value> {
        let mut sent = self.command("subscribe", identifier);
        let expected = json!({"type": "confirm_subscription", "identifier": identifier});
        assert_eq!(sent.remove(0), expected);
        sent.iter().map(|it| it["message"].clone()).collect()
    }

    /// Publishes a number on the stream, and returns the payload of the ping behind it, if there is one.
    fn number(&mut self, number: u64) -> Option<Vec<u8>> {
        let text = number.to_string();
        let publication = self
            .publisher
            .publish(&self.broker, "cable:books", &text, 0);
        self.fan_out.dispatch(&publication);
        assert!(self.fan_out.next_framed().is_some());
        self.act(|connection, turn| connection.publish(&publication, turn))
            .unwrap();
        let mut sent = self.sent();
        assert_eq!(sent[0].0, 0x81);
        (sent.len() > 1).then(|| sent.remove(1).1)
    }

    fn pong(&mut self, payload: &[u8]) {
        self.connection.pong(payload);
    }
}

#[test]
fn first_subscription_replays_what_came_after_the_page_was_rendered() {
    let mut stage = Stage::new(&stock());
    (1..=3).for_each(|number| stage.publish_ahead("cable:books", &number.to_string()));
    assert_eq!(stage.resume(&page("p", 1)), [2, 3]);
    assert_eq!(stage.resume(&page("q", 3)), [] as [Value; 0]);
    assert_eq!(stage.resume(&turbo(BOOKS)), [] as [Value; 0], "no cursor");
    let foreign = page("r", 1).replace("e.1", "other.1");
    assert_eq!(stage.resume(&foreign), [] as [Value; 0]);
}

#[test]
fn reconnect_replays_what_the_browser_has_not_confirmed_and_nothing_before() {
    let mut stage = Stage::new(&stock());
    let identifier = page("p", 0);
    assert_eq!(stage.resume(&identifier), [] as [Value; 0]);
    let ping = stage
        .number(1)
        .expect("the first publication is asked about");
    stage.pong(&ping);
    assert_eq!(stage.number(2), None, "asked less than a second ago");
    stage.reconnect(&stock());
    stage.publish_ahead("cable:books", "3");
    assert_eq!(stage.resume(&identifier), [2, 3]);
    stage.now_ms = 1_000;
    let ping = stage.number(4).expect("a second has passed");
    stage.pong(&ping);
    stage.reconnect(&stock());
    assert_eq!(stage.resume(&identifier), [] as [Value; 0]);
}

#[test]
fn answer_to_an_earlier_ping_does_not_confirm_a_replay() {
    let mut stage = Stage::new(&stock());
    stage.resume(&page("other", 0));
    let ping = stage.number(1).unwrap();
    assert_eq!(stage.resume(&page("p", 0)), [1]);
    stage.pong(&ping);
    stage.reconnect(&stock());
    assert_eq!(stage.resume(&page("p", 0)), [1]);
    assert_eq!(stage.resume(&page("other", 0)), [] as [Value; 0]);
}

#[test]
fn visit_of_a_permanent_element_repeats_nothing() {
    let mut stage = Stage::new(&stock());
    let identifier = page("p", 0);
    stage.resume(&identifier);
    stage.number(1);
    stage.command("unsubscribe", &identifier);
    stage.publish_ahead("cable:books", "2");
    assert_eq!(stage.resume(&identifier), [2]);
}

#[test]
fn answer_to_the_close_confirms_everything_before() {
    let mut stage = Stage::new(&stock());
    let identifier = page("p", 0);
    stage.resume(&identifier);
    stage.number(1);
    stage.act(|connection, turn| connection.note_end(turn));
    stage.connection.confirm_close();
    stage.reconnect(&stock());
    assert_eq!(stage.resume(&identifier), [] as [Value; 0]);
}

#[test]
fn page_from_the_http_cache_begins_after_its_own_cursor() {
    let mut stage = Stage::new(&stock());
    let (visited, left) = (page("p", 0), page("q", 1));
    stage.resume(&visited);
    let ping = stage.number(1).unwrap();
    stage.pong(&ping);
    stage.command("unsubscribe", &visited);
    stage.resume(&left);
    stage.act(|connection, turn| connection.leave_page(turn));
    stage.reconnect(&stock());
    stage.publish_ahead("cable:books", "2");
    assert_eq!(stage.resume(&left), [2]);
    assert_eq!(stage.resume(&visited), [1, 2]);
}

#[test]
fn regular_ping_asks_when_something_was_sent() {
    let mut stage = Stage::new(&stock());
    stage.resume(&page("p", 0));
    let first = stage.number(1);
    assert!(first.is_some() && stage.number(2).is_none());
    assert!(stage.act(|connection, turn| connection.ping(true, turn)));
    let sent = stage.sent();
    assert_eq!((sent[0].0, sent[1].0), (0x81, 0x89));
    stage.pong(&sent[1].1);
    stage.reconnect(&stock());
    assert_eq!(stage.resume(&page("p", 0)), [] as [Value; 0]);
}

#[test]
fn invalid_pongs_confirm_nothing() {
    let mut stage = Stage::new(&stock());
    stage.resume(&page("p", 0));
    stage.number(1);
    for payload in [&[][..], &[255; 7], &[255; 15], &[255; 17]] {
        stage.pong(payload);
    }
    stage.reconnect(&stock());
    assert_eq!(stage.resume(&page("p", 0)), [1]);
}

#[test]
fn module_gets_cursors_and_is_told_of_a_loss() {
    let mut stage = Stage::new(&stock());
    (1..=2).for_each(|number| stage.publish_ahead("cable:books", &number.to_string()));
    let hello = json!({"command": "lineside"}).to_string();
    assert_eq!(stage.run(|it, turn| it.receive(&hello, turn)), Ok(vec![]));
    let identifier = page("p", 0);
    let mut subscribe = |after: &str| {
        let text =
            json!({"command": "subscribe", "identifier": identifier, "lineside_after": after});
        let sent = stage.run(|it, turn| it.receive(&text.to_string(), turn));
        stage.command("unsubscribe", &identifier);
        sent.unwrap()
    };
    let confirm = |cursor: &str| json!({"type": "confirm_subscription", "identifier": identifier, "cursor": cursor});
    let second = json!({"identifier": identifier, "cursor": "e.2", "message": 2});
    assert_eq!(subscribe("e.1"), [confirm("e.1"), second]);
    let lost = json!({"type": "lineside_lost", "identifier": identifier, "cursor": "e.2"});
    assert_eq!(subscribe("other.1"), [confirm("e.2"), lost.clone()]);
    assert_eq!(subscribe("unreadable"), [confirm("e.2"), lost]);
}
