//! Waits until every connection has everything that was published before.

use serde_json::{Value, json};
use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

use super::stage::{Page, Received, Stage, connect};
use crate::broker::{Settle, Standing};

/// An answer that all of these connections have everything.
fn settled(connections: usize) -> Standing {
    Standing {
        connections,
        ..Standing::default()
    }
}

fn pong(cursor: &str) -> Value {
    json!({"type": "pong", "cursor": cursor})
}

impl Stage {
    /// Begins to wait for everything that has landed.
    fn settle(&mut self, ms: u64) -> Receiver<Standing> {
        let position = self.broker.cursor().position;
        let (settle, answer) = Settle::new(position, self.now_ms() + ms);
        self.worker.settle([settle]);
        self.turns();
        answer
    }

    /// A connected page that has received its welcome.
    fn settled_page(&mut self) -> Page {
        let page = self.page(None);
        page.received();
        page
    }
}

/// Cursors of the pings that a page has received, without other frames.
#[track_caller]
fn pings(page: &Page) -> Vec<String> {
    let received = page.received();
    let texts = received.iter().map(Received::text);
    texts
        .map(|it| {
            assert_eq!(it["type"], "ping");
            it["cursor"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn wait_without_connections_ends_at_once() {
    let mut stage = Stage::new();
    assert_eq!(stage.settle(1_000).try_recv(), Ok(settled(0)));
}

#[test]
fn wait_ends_when_every_page_has_answered_with_the_position() {
    let mut stage = Stage::new();
    let (first, second) = (stage.settled_page(), stage.settled_page());
    stage.publish("a", 1, 0);
    let cursor = stage.publish("b", 2, 0);
    assert_eq!([&first, &second].map(Page::messages), [[1], [1]]);
    let mut answer = stage.settle(1_000);
    for page in [&first, &second] {
        assert_eq!(pings(page), [cursor.as_str()]);
    }
    stage.request(&first, &pong(&cursor));
    for other in ["e.1", "other.2", "2", ""] {
        stage.request(&second, &pong(other));
    }
    stage.request(&second, &json!({"type": "pong"}));
    assert_eq!(answer.try_recv(), Err(TryRecvError::Empty));
    stage.request(&second, &pong(&cursor));
    assert_eq!(answer.try_recv(), Ok(settled(2)));
    assert_eq!([&first, &second].map(pings), [[], []] as [[&str; 0]; 2]);
}

#[test]
fn page_is_asked_once_everything_is_dispatched() {
    let mut stage = Stage::new();
    let page = stage.settled_page();
    let cursor = stage.land("a", 1, 0);
    let mut answer = stage.settle(1_000);
    assert_eq!(page.received(), []);
    stage.deliver();
    let received = page.received();
    let kinds: Vec<_> = received.iter().map(Received::kind).collect();
    assert_eq!(kinds, ["message", "ping"]);
    stage.request(&page, &pong(&cursor));
    assert_eq!(answer.try_recv(), Ok(settled(1)));
}

#[test]
fn page_that_sends_a_request_before_its_answer_is_asked_again() {
    let mut stage = Stage::new();
    let page = stage.settled_page();
    let start = stage.publish("elsewhere", 0, 0);
    let cursor = stage.publish("b", 1, 0);
    let mut answer = stage.settle(1_000);
    assert_eq!(pings(&page), [cursor.as_str()]);
    let subscribe = json!({"type": "subscribe", "channel": "b", "after": start});
    stage.request(&page, &subscribe);
    page.received();
    stage.request(&page, &pong(&cursor));
    assert_eq!(answer.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(pings(&page), [cursor.as_str()], "behind the replay");
    stage.request(&page, &pong(&cursor));
    assert_eq!(answer.try_recv(), Ok(settled(1)));
}

#[test]
fn page_that_opens_meanwhile_is_waited_for_and_one_that_closes_is_not() {
    let mut stage = Stage::new();
    let leaving = stage.settled_page();
    let cursor = stage.publish("b", 1, 0);
    let mut answer = stage.settle(1_000);
    let late = stage.open();
    stage.cut(&leaving);
    assert_eq!(answer.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(late.received(), [], "not before its connect");
    stage.request(&late, &connect(None));
    let received = late.received();
    let kinds: Vec<_> = received.iter().map(Received::kind).collect();
    assert_eq!(kinds, ["welcome", "ping"]);
    stage.request(&late, &pong(&cursor));
    assert_eq!(answer.try_recv(), Ok(settled(1)));
}

#[test]
fn pages_that_have_not_answered_at_the_deadline_are_named() {
    let mut stage = Stage::new();
    let answering = stage.settled_page();
    let silent = stage.open();
    let token = stage.token("42", 60);
    let mut with_token = connect(None);
    with_token["token"] = token.into();
    stage.request(&silent, &with_token);
    let blocked = stage.narrow_page(0);
    let _unconnected = stage.open();
    let cursor = stage.publish("a", 1, 0);
    let mut answer = stage.settle(1_000);
    stage.request(&answering, &pong(&cursor));
    stage.pass_ms(999);
    assert_eq!(answer.try_recv(), Err(TryRecvError::Empty));
    stage.pass_ms(1);
    let standing = answer.try_recv().unwrap();
    assert_eq!((standing.connections, standing.more), (1, 0));
    let named = standing.laggards.iter().map(|it| {
        let channels: Vec<_> = it.channels.iter().map(String::as_str).collect();
        let reason = it.reason.split(':').next().unwrap();
        (it.user.as_deref(), channels, reason)
    });
    let expected = [
        (Some("42"), vec!["user:42", "a"], "has not answered"),
        (None, vec!["a"], "does not read what it is sent"),
        (None, vec![], "has not sent its connect"),
    ];
    assert_eq!(named.collect::<Vec<_>>(), expected);
    assert_eq!(standing.laggards[0].protocol, "lineside-v1");
    assert_eq!(standing.laggards[0].address, "127.0.0.1");
    drop((silent, blocked));
}

#[test]
fn answers_do_not_count_as_requests() {
    let mut stage = Stage::new();
    let page = stage.settled_page();
    for number in 1..=2_000 {
        let cursor = stage.publish("b", number, 0);
        let mut answer = stage.settle(1_000);
        stage.request(&page, &pong(&cursor));
        assert_eq!(answer.try_recv(), Ok(settled(1)));
    }
    assert_eq!(pings(&page).len(), 2_000);
}

#[test]
fn wait_of_a_process_that_ended_asks_no_page() {
    let mut stage = Stage::new();
    let page = stage.settled_page();
    let cursor = stage.publish("a", 1, 0);
    page.received();
    drop(stage.settle(1_000));
    assert_eq!(pings(&page), [cursor.as_str()]);
    let late = stage.page(None);
    assert_eq!(late.received().len(), 1, "a ping beside the welcome");
}
