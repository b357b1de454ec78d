//! Revocation (`Lineside.disconnect`): it closes the connections of a user or session and refuses their earlier tokens.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lineside_protocol::frame::{Revoke, ToPublisher, ToSidecar};
use lineside_token::ConnectionDraft;
use serde_json::{Value, json};

use crate::support::{
    RawLink, SECRET, Sidecar, now_ms, place, publish, sidecar, sign, sign_with, token_for, within,
};

/// A publisher that revokes tokens, on a raw link.
struct Revoker {
    link: RawLink,
    sequence: u64,
}

impl Revoker {
    fn new(sidecar: &Sidecar) -> Self {
        Self {
            link: sidecar.raw_publisher(7),
            sequence: 0,
        }
    }

    /// Revokes the tokens of a user, or of one session, that were signed up to this time; returns the position of the
    /// revocation in the journal.
    #[track_caller]
    fn revoke(&mut self, sub: &str, sid: &str, revoked_ms: u64) -> u64 {
        self.sequence += 1;
        let (sub, sid) = (sub.as_bytes(), sid.as_bytes());
        self.link
            .send(&revoke_frame(self.sequence, sub, sid, revoked_ms));
        let answers = self.link.read_until_ack(self.sequence);
        let [.., ToPublisher::Receipt(receipt)] = &answers[..] else {
            panic!("expected a receipt, received {answers:?}")
        };
        receipt.position.0
    }

    #[track_caller]
    fn publish(&mut self, channel: &str, payload: &str) {
        self.sequence += 1;
        self.link.send(&publish(self.sequence, channel, payload));
        self.link.read_until_ack(self.sequence);
    }
}

/// The frame that revokes tokens.
pub(crate) fn revoke_frame(sequence: u64, sub: &[u8], sid: &[u8], revoked_ms: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = Revoke {
        sequence,
        wants_receipt: true,
        revoked_ms,
        sub: sub.to_vec().into(),
        sid: sid.to_vec().into(),
    };
    ToSidecar::Revoke(frame).encode(&mut bytes);
    bytes
}

fn of_session(sub: &str, sid: &str) -> String {
    sign(ConnectionDraft {
        sub: Some(sub.into()),
        sid: Some(sid.into()),
        ..ConnectionDraft::default()
    })
}

/// A token of the user, signed at this time.
fn signed_for(sub: &str, at_ms: u64) -> String {
    let draft = ConnectionDraft {
        sub: Some(sub.into()),
        channels: vec!["a".into()],
        ..ConnectionDraft::default()
    };
    sign_with(SECRET, draft, at_ms)
}

#[track_caller]
fn expect_revoked(sidecar: &Sidecar, token: &str) {
    let ending = sidecar
        .request()
        .expect_refused(json!({"token": token}), 4002);
    assert_eq!(ending.reason, "token_revoked");
}

#[test]
fn revocation_closes_all_connections_of_the_user_and_no_other() {
    let sidecar = place().with("LINESIDE_SHARDS", 3).start();
    let mut revoker = Revoker::new(&sidecar);
    let token = token_for("1", &["a"], &[]);
    let mut revoked: Vec<_> = (0..6)
        .map(|_| sidecar.browser(json!({"token": token})))
        .collect();
    let mut other = sidecar.browser(json!({"token": token_for("2", &["a"], &[])}));
    let mut anonymous = sidecar.browser(json!({"token": anonymous_token()}));
    revoker.publish("a", "1");
    // A message still unsent at the revocation may be dropped, so receive it before.
    for browser in &mut revoked {
        browser.expect_message("a", json!(1));
    }
    revoker.revoke("1", "", now_ms());
    revoker.publish("a", "2");
    for browser in &mut revoked {
        let ending = browser.expect_close();
        assert_eq!(
            (ending.code, ending.reason.as_str()),
            (4002, "token_revoked")
        );
        assert_eq!(ending.before, Vec::<Value>::new());
        let after_ms = ending.after_ms.expect("a delay before the reconnect");
        assert!(
            after_ms >= 2000,
            "{after_ms}: the response to the sign-out must reach the browser first"
        );
    }
    for browser in [&mut other, &mut anonymous] {
        browser.expect_message("a", json!(1));
        browser.expect_message("a", json!(2));
    }
    expect_revoked(&sidecar, &token);
    sidecar.logged(&["event=user_revoked", "user=1", "sessions=all"]);
}

fn anonymous_token() -> String {
    sign(ConnectionDraft {
        channels: vec!["a".into()],
        ..ConnectionDraft::default()
    })
}

#[test]
fn revocation_of_a_session_keeps_other_sessions() {
    let sidecar = sidecar();
    let mut revoker = Revoker::new(&sidecar);
    let (phone, laptop) = (of_session("1", "phone"), of_session("1", "laptop"));
    let mut on_phone = sidecar.browser(json!({"token": phone}));
    let mut on_laptop = sidecar.browser(json!({"token": laptop}));
    let mut elsewhere = sidecar.browser(json!({"token": token_for("1", &[], &[])}));
    let mut other = sidecar.browser(json!({"token": of_session("2", "phone")}));
    revoker.revoke("1", "phone", now_ms());
    assert_eq!(on_phone.expect_close().code, 4002);
    expect_revoked(&sidecar, &phone);
    for (user, browser) in [
        ("1", &mut on_laptop),
        ("1", &mut elsewhere),
        ("2", &mut other),
    ] {
        revoker.publish(&format!("user:{user}"), "1");
        browser.send(json!({"type": "subscribe", "channel": format!("user:{user}"), "ref": 1}));
        while browser.next()["ref"] != 1 {}
    }
    revoker.revoke("1", "", now_ms());
    assert_eq!(on_laptop.expect_close().code, 4002);
    assert_eq!(elsewhere.expect_close().code, 4002);
    expect_revoked(&sidecar, &laptop);
}

#[test]
fn token_signed_after_the_revocation_in_the_same_second_is_accepted() {
    let sidecar = sidecar();
    let mut revoker = Revoker::new(&sidecar);
    // Both tokens are signed within one second.
    let out_ms = now_ms() / 1000 * 1000 - 500;
    let (before, after) = (signed_for("1", out_ms), signed_for("1", out_ms + 1));
    let mut old = sidecar.browser(json!({"token": before}));
    let mut young = sidecar.browser(json!({"token": after}));
    revoker.revoke("1", "", out_ms);
    assert_eq!(old.expect_close().code, 4002);
    expect_revoked(&sidecar, &before);
    let mut again = sidecar.browser(json!({"token": after}));
    revoker.publish("a", "1");
    young.expect_message("a", json!(1));
    again.expect_message("a", json!(1));
    // An earlier revocation that arrives late changes nothing.
    revoker.revoke("1", "", out_ms - 1);
    expect_revoked(&sidecar, &before);
}

#[test]
fn revocation_has_a_position_in_the_journal() {
    let sidecar = sidecar();
    let mut revoker = Revoker::new(&sidecar);
    let publisher = sidecar.publisher();
    let before = publisher.publish("a", 1);
    let position = revoker.revoke("1", "", now_ms());
    assert_eq!(position, crate::support::position(&before) + 1);
    let after = publisher.publish("a", 2);
    // A resume after the position of the revocation misses nothing.
    let epoch = after.split_once('.').unwrap().0;
    let mut browser = sidecar.browser(json!({
        "token": token_for("2", &["a"], &[]), "after": format!("{epoch}.{position}"),
    }));
    assert_eq!(browser.welcome["recovered"], json!(true));
    browser.expect_message("a", json!(2));
}

/// Browsers connect on many threads while their user is revoked. Every accepted connection must be closed, and none may
/// receive a publication that was sent after the revocation.
#[test]
fn connections_opened_during_a_revocation_are_closed() {
    const BROWSERS: usize = 8;
    /// Each thread keeps its third connection open until it is closed.
    const KEPT: usize = 3;
    for round in 0..5 {
        let sidecar = place().with("LINESIDE_SHARDS", 2).start();
        let mut revoker = Revoker::new(&sidecar);
        let token = token_for("1", &["a"], &[]);
        let (is_acked, accepted) = (AtomicBool::new(false), AtomicUsize::new(0));
        let connect_repeatedly = || {
            for number in 1.. {
                let was_acked = is_acked.load(Ordering::SeqCst);
                let mut browser = sidecar.request().connect(json!({"token": token}));
                let first = browser.next();
                if first["type"] == "disconnect" {
                    return assert_eq!(first["code"], 4002, "{first}");
                }
                assert_eq!(first["type"], "welcome", "{first}");
                assert!(!was_acked, "accepted after the revocation was acked");
                accepted.fetch_add(1, Ordering::SeqCst);
                if number == KEPT {
                    let ending = browser.expect_close();
                    assert_eq!((ending.code, ending.before), (4002, vec![]));
                }
            }
        };
        std::thread::scope(|scope| {
            (0..BROWSERS).for_each(|_| drop(scope.spawn(connect_repeatedly)));
            // A different number of connections each round.
            within("some connections are accepted", || {
                (accepted.load(Ordering::SeqCst) > 4 * round).then_some(())
            });
            revoker.revoke("1", "", now_ms());
            is_acked.store(true, Ordering::SeqCst);
            for _ in 0..20 {
                revoker.publish("a", "\"after\"");
                revoker.publish("user:1", "\"after\"");
            }
        });
    }
}
