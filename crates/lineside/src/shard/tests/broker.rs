//! The shard and its broker: proposals of a connection, and revocations during a connect.

use serde_json::json;

use super::stage::{Received, START_MS, Stage};

#[test]
fn connection_proposes_an_entry_and_receives_it_through_its_own_inbox() {
    let mut stage = Stage::new();
    let (author, reader) = (stage.page(None), stage.page(None));
    for page in [&author, &reader] {
        assert_eq!(page.received()[0].kind(), "welcome");
    }
    let Stage {
        worker, publisher, ..
    } = &mut stage;
    worker.act(author.id, |_, turn| {
        publisher.publish(turn.broker, "a", "[1]", 0);
        turn.fan_out
            .push_frame(turn.id, lineside_protocol::envelope::websocket_ping());
        Ok(())
    });
    stage.turns();
    // The entry is dispatched from the inbox, after every reply of the turn.
    assert_eq!(author.received(), [Received::Ping]);
    assert_eq!(reader.received(), []);
    stage.deliver();
    for page in [&author, &reader] {
        assert_eq!(page.messages(), [1]);
    }
}

#[test]
fn revocation_between_its_check_and_the_registration_closes_the_connection() {
    let mut stage = Stage::new();
    let page = stage.open();
    let token = stage.token("42", 60);
    let connect = json!({"type": "connect", "token": token}).to_string();
    let Stage {
        worker, publisher, ..
    } = &mut stage;
    worker.act(page.id, |connection, turn| {
        // Checks the token, which is not revoked.
        let connected = connection.receive(&connect, turn);
        publisher.revoke(turn.broker, "42", "", START_MS);
        connected
    });
    stage.turns();
    assert_eq!(page.received()[0].kind(), "welcome");
    stage.land("user:42", 1, 0);
    stage.deliver();
    let received = page.received();
    let kinds: Vec<_> = received.iter().map(Received::kind).collect();
    assert_eq!(kinds, ["disconnect", "a close frame"]);
    assert_eq!(received[1], Received::Close(4002));
}

#[test]
fn revocation_before_the_check_refuses_the_connect() {
    let mut stage = Stage::new();
    let page = stage.open();
    let token = stage.token("42", 60);
    // The shard has not dispatched it.
    stage.publisher.revoke(&stage.broker, "42", "", START_MS);
    stage.request(&page, &json!({"type": "connect", "token": token}));
    let received = page.received();
    let kinds: Vec<_> = received.iter().map(Received::kind).collect();
    assert_eq!(kinds, ["disconnect", "a close frame"]);
    assert_eq!(received[1], Received::Close(4002));
}

#[test]
fn each_subscriber_of_a_publication_counts_as_a_delivery() {
    let mut stage = Stage::new();
    let pages: Vec<_> = (0..3).map(|_| stage.page(None)).collect();
    stage.publish("a", 1, 0);
    stage.publish("elsewhere", 2, 0);
    assert_eq!(stage.worker.counts.deliveries.count(), 3);
    stage.cut(&pages[0]);
    stage.publish("a", 3, 0);
    assert_eq!(stage.worker.counts.deliveries.count(), 5);
}
