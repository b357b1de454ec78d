//! Resume after a cursor: a channel is replayed completely, in order and once, or reported as `lost`.

use serde_json::json;

use crate::support::{Browser, Sidecar, is_after, place, position, sidecar, token_for};

/// A token of user 1 with the channels `a` and `b`.
fn token() -> String {
    token_for("1", &["a", "b"], &[])
}

fn connect(sidecar: &Sidecar, after: &str) -> Browser {
    sidecar.browser(json!({"token": token(), "after": after}))
}

/// Receives `caught_up`; returns its cursor.
fn caught_up(browser: &mut Browser) -> String {
    let envelope = browser.next();
    let cursor = envelope["cursor"].clone();
    assert_eq!(envelope, json!({"type": "caught_up", "cursor": cursor}));
    cursor.as_str().unwrap().to_owned()
}

#[test]
fn resume_replays_missed_messages_in_order_before_live_ones() {
    let sidecar = sidecar();
    let publisher = sidecar.publisher();
    let mut browser = sidecar.browser(json!({"token": token()}));
    publisher.publish("a", 1);
    let seen = browser.expect_message("a", json!(1));
    browser.close();
    publisher.publish("a", 2);
    publisher.publish("secret", "must not arrive");
    publisher.publish("b", 3);
    publisher.publish("user:1", 4);
    let last = publisher.publish("a", 5);

    let mut browser = connect(&sidecar, &seen);
    assert_eq!(browser.welcome["recovered"], true);
    assert_eq!(browser.welcome["lost"], json!([]));
    assert_eq!(
        browser.welcome["cursor"],
        json!(seen),
        "a cursor ahead of what was sent"
    );
    browser.expect_message("a", json!(2));
    browser.expect_message("b", json!(3));
    browser.expect_message("user:1", json!(4));
    assert_eq!(browser.expect_message("a", json!(5)), last);
    assert_eq!(caught_up(&mut browser), last);
    publisher.publish("b", 6);
    browser.expect_message("b", json!(6));
}

#[test]
fn caught_up_is_sent_when_nothing_was_missed() {
    let sidecar = sidecar();
    let cursor = sidecar.publisher().publish("a", 1);
    let mut browser = connect(&sidecar, &cursor);
    assert_eq!(caught_up(&mut browser), cursor);
    // Without a cursor there is no `caught_up`.
    let mut plain = sidecar.browser(json!({"token": token()}));
    sidecar.publisher().publish("a", 2);
    plain.expect_message("a", json!(2));
}

#[test]
fn caught_up_is_sent_when_no_channel_resumes() {
    let sidecar = sidecar();
    let cursor = sidecar.publisher().publish("a", 1);
    for connect in [
        json!({"after": cursor}),
        json!({"after": "unknown"}),
        json!({"subscribe": [{"channel": "secret", "after": cursor}]}),
    ] {
        let mut browser = sidecar.browser(connect.clone());
        assert_eq!(browser.welcome["recovered"], true, "{connect}");
        caught_up(&mut browser);
    }
}

#[test]
fn channel_named_twice_resumes_after_the_lower_cursor() {
    let sidecar = place().with("LINESIDE_PUBLIC_CHANNELS", "n").start();
    let publisher = sidecar.publisher();
    let cursors: Vec<String> = (0..5)
        .map(|number| publisher.publish("n", number))
        .collect();
    let (early, late) = (&cursors[1], &cursors[3]);
    for entries in [
        json!([{"channel": "n", "after": early}, {"channel": "n"}]),
        json!([{"channel": "n"}, {"channel": "n", "after": early}]),
        json!([{"channel": "n", "after": early}, {"channel": "n", "after": late}]),
        json!([{"channel": "n", "after": late}, {"channel": "n", "after": early}]),
    ] {
        let mut browser = sidecar.browser(json!({"subscribe": entries}));
        assert_eq!(browser.welcome["recovered"], true);
        for number in 2..5 {
            browser.expect_message("n", json!(number));
        }
        caught_up(&mut browser);
    }
    let entries = json!([{"channel": "n", "after": early}, {"channel": "n", "after": "unknown"}]);
    let browser = sidecar.browser(json!({"subscribe": entries}));
    assert_eq!(browser.welcome["lost"], json!(["n"]));
}

#[test]
fn unreadable_or_foreign_cursor_resumes_as_lost() {
    let sidecar = sidecar();
    let cursor = sidecar.publisher().publish("a", 1);
    let (epoch, _) = cursor.split_once('.').unwrap();
    let cursors = [
        json!("unknown"),
        json!(""),
        json!("."),
        json!("1"),
        json!("other.1"),
        json!(format!("{epoch}.")),
        json!(format!("{epoch}.-1")),
        json!(format!("{epoch}.+1")),
        json!(format!("{epoch}.01")),
        json!(format!("{epoch}.1 ")),
        json!(format!("{epoch}.1.1")),
        json!(format!("{epoch}.1e3")),
        json!(format!("{epoch}.9007199254740992")),
        json!(format!("{epoch}.99999999999999999999999")),
        json!(format!("{}.1", epoch.to_uppercase())),
        json!("x".repeat(10_000)),
        json!("\u{0}\r\n"),
        json!(7),
        json!({}),
        json!([cursor]),
        json!(true),
    ];
    for after in cursors {
        let mut browser = sidecar.browser(json!({"token": token(), "after": after}));
        assert_eq!(browser.welcome["recovered"], false, "{after}");
        assert_eq!(
            browser.welcome["lost"],
            json!(["user:1", "a", "b"]),
            "{after}"
        );
        let answer = browser.subscribe(json!({"channel": "a", "after": after}));
        assert_eq!(answer["recovered"], false, "{after}");
        // No replay and no `caught_up`.
        let marker = sidecar.publisher().publish("a", "marker");
        assert_eq!(browser.expect_message("a", json!("marker")), marker);
    }
}

#[test]
fn cursor_ahead_of_the_journal_resumes_as_lost() {
    let sidecar = sidecar();
    let publisher = sidecar.publisher();
    let cursor = publisher.publish("a", 1);
    let (epoch, newest) = cursor.split_once('.').unwrap();
    for ahead in [newest.parse::<u64>().unwrap() + 1, 9_007_199_254_740_991] {
        let mut browser = connect(&sidecar, &format!("{epoch}.{ahead}"));
        assert_eq!(browser.welcome["recovered"], false);
        publisher.publish("a", "marker");
        browser.expect_message("a", json!("marker"));
    }
}

#[test]
fn channel_with_evicted_history_is_lost_and_never_replayed_in_part() {
    let sidecar = place()
        .with("LINESIDE_HISTORY_CHANNEL_PUBLICATIONS_MAX", 10)
        .start();
    let publisher = sidecar.publisher();
    let cursors: Vec<String> = (0..=30)
        .map(|number| publisher.publish("a", number))
        .collect();
    for (number, after) in cursors.iter().enumerate() {
        let token = token_for("1", &["a"], &["marker:*"]);
        let mut browser = sidecar.browser(json!({"token": token, "after": after}));
        let recovered = browser.welcome["recovered"] == true;
        if recovered {
            for missed in number + 1..=30 {
                browser.expect_message("a", json!(missed));
            }
            caught_up(&mut browser);
        } else {
            assert_eq!(
                browser.welcome["lost"],
                json!(["a"]),
                "user:1 has no history to evict"
            );
            caught_up(&mut browser);
        }
        assert_eq!(recovered, number >= 20, "after {number}");
        let marker = format!("marker:{number}");
        browser.subscribe(json!({"channel": marker}));
        publisher.publish(&marker, 1);
        browser.expect_message(&marker, json!(1));
    }
}

#[test]
fn channel_with_evicted_history_is_lost_and_others_resume() {
    let sidecar = place()
        .with("LINESIDE_HISTORY_CHANNEL_PUBLICATIONS_MAX", 10)
        .start();
    let publisher = sidecar.publisher();
    let seen = publisher.publish("b", 0);
    publisher.publish("b", 1);
    (0..11).for_each(|number| drop(publisher.publish("a", number)));
    publisher.publish("b", 2);
    let mut browser = connect(&sidecar, &seen);
    assert_eq!(browser.welcome["recovered"], false);
    assert_eq!(browser.welcome["lost"], json!(["a"]));
    browser.expect_message("b", json!(1));
    browser.expect_message("b", json!(2));
    caught_up(&mut browser);
    publisher.publish("a", "new");
    browser.expect_message("a", json!("new"));
}

#[test]
fn channels_with_different_cursors_resume_in_one_merged_replay() {
    let sidecar = sidecar();
    let publisher = sidecar.publisher();
    let cursors: Vec<String> = (0..10)
        .map(|number| publisher.publish(["a", "b"][number % 2], number))
        .collect();
    let mut browser = sidecar.browser(json!({
        "token": token(), "after": cursors[7],
        "subscribe": [{"channel": "a", "after": cursors[3]}],
    }));
    assert_eq!(browser.welcome["recovered"], true);
    for (channel, number) in [("a", 4), ("a", 6), ("a", 8), ("b", 9)] {
        browser.expect_message(channel, json!(number));
    }
    assert_eq!(caught_up(&mut browser), cursors[9]);
}

#[test]
fn subscribe_with_a_cursor_replays_on_a_live_subscription() {
    let sidecar = sidecar();
    let publisher = sidecar.publisher();
    let mut browser = sidecar.browser(json!({"token": token()}));
    let first = publisher.publish("a", 1);
    browser.expect_message("a", json!(1));
    let second = publisher.publish("a", 2);
    browser.expect_message("a", json!(2));
    publisher.publish("b", 3);
    browser.expect_message("b", json!(3));

    let answer = browser.subscribe(json!({"channel": "a", "after": first, "ref": 1}));
    assert_eq!(
        answer,
        json!({"type": "subscribed", "channel": "a", "cursor": first, "recovered": true, "ref": 1})
    );
    assert_eq!(browser.expect_message("a", json!(2)), second);
    let end = browser.next();
    assert_eq!(
        (&end["type"], &end["channel"]),
        (&json!("caught_up"), &json!("a"))
    );
    publisher.publish("a", 4);
    browser.expect_message("a", json!(4));
    // Without a cursor the subscription is confirmed and nothing is replayed.
    let answer = browser.subscribe(json!({"channel": "a"}));
    assert_eq!(answer.get("recovered"), None);
    publisher.publish("a", 5);
    browser.expect_message("a", json!(5));
}

#[test]
fn new_subscription_resumes_after_the_cursor_of_a_page() {
    let sidecar = sidecar();
    let publisher = sidecar.publisher();
    let mut browser = sidecar.browser(json!({"token": token_for("1", &[], &["n:*"])}));
    let page = publisher.publish("n:1", "rendered");
    publisher.publish("n:1", "between");
    publisher.publish("n:2", "of another channel");
    let answer = browser.subscribe(json!({"channel": "n:1", "after": page}));
    assert_eq!(answer["recovered"], true);
    browser.expect_message("n:1", json!("between"));
    assert_eq!(browser.next()["type"], "caught_up");
    publisher.publish("n:1", "live");
    browser.expect_message("n:1", json!("live"));
}

#[test]
fn replay_larger_than_the_outbox_is_complete() {
    let sidecar = place()
        .with("LINESIDE_OUTBOX_BYTES_MAX", 65_536)
        .with("LINESIDE_HISTORY_CHANNEL_BYTES_MAX", 64 * 1024 * 1024)
        .start();
    let publisher = sidecar.publisher();
    let start = publisher.publish("a", 0);
    let text = "x".repeat(10_000);
    for number in 0..800 {
        publisher.enqueue("a", json!([number, text]));
        if number % 100 == 99 {
            publisher.flush();
        }
    }
    let mut browser = connect(&sidecar, &start);
    // Live messages wait behind the replay and, although they exceed the outbox, do not count as slowness.
    for number in 800..900 {
        publisher.publish("a", json!([number, text]));
    }
    let mut next = 0;
    let mut is_caught_up = false;
    while next < 900 || !is_caught_up {
        let envelope = browser.next();
        match envelope["type"].as_str().unwrap() {
            "caught_up" => is_caught_up = true,
            "message" => {
                assert_eq!(envelope["data"][0], json!(next));
                next += 1;
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn ping_advances_the_cursor_of_an_idle_browser() {
    let sidecar = place()
        .with("LINESIDE_HEARTBEAT_SECONDS", 1)
        .with("LINESIDE_HISTORY_CHANNEL_PUBLICATIONS_MAX", 10)
        .start();
    let mut browser = sidecar.browser(json!({"token": token()}));
    let before = browser.cursor.clone();
    let last = sidecar.publisher().publish("elsewhere", 1);
    let mut ping = browser.next_ping();
    while ping["cursor"] != json!(last) {
        let cursor = ping["cursor"].as_str().unwrap();
        assert!(is_after(&last, cursor), "{cursor} is ahead of the journal");
        ping = browser.next_ping();
    }
    assert_eq!(ping, json!({"type": "ping", "cursor": last}));
    assert!(is_after(&browser.cursor, &before));
    browser.send(json!({"type": "pong"}));
    // A resume after that cursor misses nothing.
    sidecar.publisher().publish("a", 2);
    let mut again = connect(&sidecar, &last);
    assert_eq!(again.welcome["recovered"], true);
    again.expect_message("a", json!(2));
}

#[test]
fn positions_increase_and_are_exact_in_javascript() {
    let sidecar = sidecar();
    let publisher = sidecar.publisher();
    let cursors: Vec<String> = (0..100)
        .map(|number| publisher.publish("a", number))
        .collect();
    for pair in cursors.windows(2) {
        assert!(is_after(&pair[1], &pair[0]));
    }
    assert!(position(&cursors[99]) < 1 << 53);
    let (epoch, _) = cursors[0].split_once('.').unwrap();
    assert!((1..=32).contains(&epoch.len()));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    assert!(epoch.bytes().all(plain));
}
