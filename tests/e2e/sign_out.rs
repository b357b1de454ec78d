//! Sign-out: the end of a user's sockets, and of every token that was made before it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lineside_protocol::frame::{Disconnect, ToPublisher, ToSidecar};
use lineside_token::{ConnectionDraft, Keys, sign_connection};
use serde_json::{Value, json};

use crate::support::{
    Browser, RawLink, SECRET, Sidecar, now_ms, place, publish, sidecar, sign, token_for, within,
};

/// A publisher that signs people out, on a link of its own.
struct Office {
    link: RawLink,
    sequence: u64,
}

impl Office {
    fn of(sidecar: &Sidecar) -> Self {
        Self {
            link: sidecar.linked(7),
            sequence: 0,
        }
    }

    fn tell(&mut self, sub: &[u8], sid: &[u8], revoked_ms: u64) -> Vec<ToPublisher> {
        self.sequence += 1;
        self.link
            .send(&disconnect(self.sequence, sub, sid, revoked_ms));
        self.link.acked(self.sequence)
    }

    /// Signs out a user, or one session, of all that was signed up to then; gives where that stands in the journal.
    #[track_caller]
    fn sign_out(&mut self, sub: &str, sid: &str, revoked_ms: u64) -> u64 {
        let answers = self.tell(sub.as_bytes(), sid.as_bytes(), revoked_ms);
        let [.., ToPublisher::Receipt(receipt)] = &answers[..] else {
            panic!("a receipt, and not {answers:?}")
        };
        receipt.position.0
    }

    #[track_caller]
    fn publish(&mut self, channel: &str, payload: &str) {
        self.sequence += 1;
        self.link.send(&publish(self.sequence, channel, payload));
        self.link.acked(self.sequence);
    }
}

pub(crate) fn disconnect(sequence: u64, sub: &[u8], sid: &[u8], revoked_ms: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = Disconnect {
        sequence,
        wants_receipt: true,
        revoked_ms,
        sub: sub.to_vec().into(),
        sid: sid.to_vec().into(),
    };
    ToSidecar::Disconnect(frame).encode(&mut bytes);
    bytes
}

fn of_session(sub: &str, sid: &str) -> String {
    sign(ConnectionDraft {
        sub: Some(sub.into()),
        sid: Some(sid.into()),
        ..ConnectionDraft::default()
    })
}

/// A token for the user that is signed at that time.
fn signed_for(sub: &str, at_ms: u64) -> String {
    let draft = ConnectionDraft {
        sub: Some(sub.into()),
        channels: vec!["a".into()],
        ttl_s: 60,
        ..ConnectionDraft::default()
    };
    sign_connection(draft, &Keys::parse(SECRET).unwrap(), at_ms).unwrap()
}

/// A browser that has sent its connect, and heard nothing.
fn connect(sidecar: &Sidecar, token: &str) -> Browser {
    let mut browser = sidecar.dial().open();
    browser.send(json!({"type": "connect", "token": token}));
    browser
}

#[track_caller]
fn expect_refused(sidecar: &Sidecar, token: &str) {
    let mut browser = connect(sidecar, token);
    let ending = browser.ended();
    assert_eq!(
        (ending.code, ending.reason.as_str()),
        (4002, "token_revoked")
    );
    assert_eq!(ending.before, Vec::<Value>::new());
}

#[test]
fn a_sign_out_closes_all_of_a_users_sockets_and_no_other() {
    let sidecar = place().with("LINESIDE_SHARDS", 3).start();
    let mut office = Office::of(&sidecar);
    let token = token_for("1", &["a"], &[]);
    let mut hers: Vec<_> = (0..6)
        .map(|_| sidecar.browser(json!({"token": token})))
        .collect();
    let mut his = sidecar.browser(json!({"token": token_for("2", &["a"], &[])}));
    let mut nobodys = sidecar.browser(json!({"token": token_for_nobody()}));
    office.publish("a", "1");
    // What was not sent by the sign-out need not be.
    for browser in &mut hers {
        browser.expect_message("a", json!(1));
    }
    office.sign_out("1", "", now_ms());
    office.publish("a", "2");
    for browser in &mut hers {
        let ending = browser.ended();
        assert_eq!(
            (ending.code, ending.reason.as_str()),
            (4002, "token_revoked")
        );
        assert_eq!(ending.before, Vec::<Value>::new());
        let after_ms = ending.after_ms.expect("coming again helps");
        assert!(
            after_ms >= 2000,
            "{after_ms}: the sign-out has to reach the browser first"
        );
    }
    for other in [&mut his, &mut nobodys] {
        other.expect_message("a", json!(1));
        other.expect_message("a", json!(2));
    }
    expect_refused(&sidecar, &token);
    sidecar.logged(&["event=user_signed_out", "user=1", "sessions=all"]);
}

fn token_for_nobody() -> String {
    sign(ConnectionDraft {
        channels: vec!["a".into()],
        ..ConnectionDraft::default()
    })
}

#[test]
fn one_session_is_signed_out_and_the_others_stay() {
    let sidecar = sidecar();
    let mut office = Office::of(&sidecar);
    let (phone, laptop) = (of_session("1", "phone"), of_session("1", "laptop"));
    let mut on_phone = sidecar.browser(json!({"token": phone}));
    let mut on_laptop = sidecar.browser(json!({"token": laptop}));
    let mut elsewhere = sidecar.browser(json!({"token": token_for("1", &[], &[])}));
    let mut other = sidecar.browser(json!({"token": of_session("2", "phone")}));
    office.sign_out("1", "phone", now_ms());
    assert_eq!(on_phone.ended().code, 4002);
    expect_refused(&sidecar, &phone);
    for (user, browser) in [
        ("1", &mut on_laptop),
        ("1", &mut elsewhere),
        ("2", &mut other),
    ] {
        office.publish(&format!("user:{user}"), "1");
        browser.send(json!({"type": "subscribe", "channel": format!("user:{user}"), "ref": 1}));
        while browser.next()["ref"] != 1 {}
    }
    office.sign_out("1", "", now_ms());
    assert_eq!(on_laptop.ended().code, 4002);
    assert_eq!(elsewhere.ended().code, 4002);
    expect_refused(&sidecar, &laptop);
}

#[test]
fn signing_in_again_within_the_same_second_works() {
    let sidecar = sidecar();
    let mut office = Office::of(&sidecar);
    // Within one second, whatever the clock shows.
    let out_ms = now_ms() / 1000 * 1000 - 500;
    let (before, after) = (signed_for("1", out_ms), signed_for("1", out_ms + 1));
    let mut old = sidecar.browser(json!({"token": before}));
    let mut young = sidecar.browser(json!({"token": after}));
    office.sign_out("1", "", out_ms);
    assert_eq!(old.ended().code, 4002);
    expect_refused(&sidecar, &before);
    let mut again = sidecar.browser(json!({"token": after}));
    office.publish("a", "1");
    young.expect_message("a", json!(1));
    again.expect_message("a", json!(1));
    // An earlier sign-out that comes late takes nothing back.
    office.sign_out("1", "", out_ms - 1);
    expect_refused(&sidecar, &before);
}

#[test]
fn a_sign_out_has_its_place_in_the_journals_order() {
    let sidecar = sidecar();
    let mut office = Office::of(&sidecar);
    let publisher = sidecar.publisher();
    let before = publisher.publish("a", 1);
    let position = office.sign_out("1", "", now_ms());
    assert_eq!(position, crate::support::position(&before) + 1);
    let after = publisher.publish("a", 2);
    // A page that has seen the sign-out's own position resumes there, and misses nothing.
    let epoch = after.split_once('.').unwrap().0;
    let mut browser = sidecar.browser(json!({
        "token": token_for("2", &["a"], &[]), "after": format!("{epoch}.{position}"),
    }));
    assert_eq!(browser.welcome["recovered"], json!(true));
    browser.expect_message("a", json!(2));
}

/// Browsers that come and go on many threads while their user signs out: whoever was let in is closed, and whatever is
/// published behind the sign-out reaches none of them.
#[test]
fn no_connection_slips_between() {
    const BROWSERS: usize = 8;
    /// Of each thread's browsers this one stays until it is closed.
    const STAYS: usize = 3;
    for round in 0..5 {
        let sidecar = place().with("LINESIDE_SHARDS", 2).start();
        let mut office = Office::of(&sidecar);
        let token = token_for("1", &["a"], &[]);
        let (is_over, let_in) = (AtomicBool::new(false), AtomicUsize::new(0));
        let come_and_go = || {
            for number in 1.. {
                let was_over = is_over.load(Ordering::SeqCst);
                let mut browser = connect(&sidecar, &token);
                let heard = browser.next();
                if heard["type"] == "disconnect" {
                    return assert_eq!(heard["code"], 4002, "{heard}");
                }
                assert_eq!(heard["type"], "welcome", "{heard}");
                assert!(!was_over, "let in after the sign-out was acked");
                let_in.fetch_add(1, Ordering::SeqCst);
                if number == STAYS {
                    let ending = browser.ended();
                    assert_eq!((ending.code, ending.before), (4002, vec![]));
                }
            }
        };
        std::thread::scope(|scope| {
            (0..BROWSERS).for_each(|_| drop(scope.spawn(come_and_go)));
            // At another moment each round.
            within("some are let in", || {
                (let_in.load(Ordering::SeqCst) > 4 * round).then_some(())
            });
            office.sign_out("1", "", now_ms());
            is_over.store(true, Ordering::SeqCst);
            for _ in 0..20 {
                office.publish("a", "\"after\"");
                office.publish("user:1", "\"after\"");
            }
        });
    }
}
