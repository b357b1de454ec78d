//! Reading of requests, and requests that wait.

use lineside_hub::SLICE_CONNECTIONS;
use serde_json::json;

use super::super::reading::{
    CHANNEL_COST_BYTES, CLOSING_READS_MAX, COST_BYTES_BESIDE_WRITES, COST_BYTES_MAX, READ_BYTES,
    READS_MAX,
};
use super::stage::{ENDLESS, End, Page, Received, Stage, connect};

/// Puts a request of several reads before the worker, and reports it.
fn flood(stage: &mut Stage, page: &Page) {
    let request = json!({"type": "unsubscribe", "channel": "b", "padding": "x".repeat(20_000)});
    Stage::put(page, 1, request.to_string().as_bytes());
    stage.worker.readable(page.id.slot());
}

#[test]
fn request_larger_than_the_reads_of_one_turn_is_answered() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    page.received();
    // Readiness is reported only once.
    let padding = "x".repeat(100_000);
    let request = json!({"type": "unsubscribe", "channel": "b", "padding": padding});
    stage.request(&page, &request);
    assert_eq!(page.received().len(), 1);
}

#[test]
fn requests_wait_while_a_page_does_not_read_its_replies() {
    let mut stage = Stage::new();
    let page = stage.narrow_page(0);
    let request = json!({"type": "unsubscribe", "channel": "b"});
    for _ in 0..50 {
        stage.request(&page, &request);
        assert_eq!(stage.outbox_items(&page), 1);
    }
    stage.widen(&page, ENDLESS);
    assert_eq!(page.received().len(), 50);
}

#[test]
fn each_connection_is_read_once_per_turn_however_often_it_is_readable() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    flood(&mut stage, &page);
    let mut before = page.unread();
    while before > READ_BYTES {
        (0..10).for_each(|_| stage.worker.readable(page.id.slot()));
        stage.worker.turn();
        assert_eq!(before - page.unread(), READ_BYTES);
        before = page.unread();
    }
}

#[test]
fn connections_that_send_much_leave_a_turn_to_others() {
    let mut stage = Stage::new();
    let greedy: Vec<_> = (0..READS_MAX + 20).map(|_| stage.page(None)).collect();
    let page = stage.page(None);
    page.received();
    for page in &greedy {
        flood(&mut stage, page);
    }
    let all = |greedy: &[Page]| greedy.iter().map(Page::unread).sum::<usize>();
    let before = all(&greedy);
    Stage::put(&page, 1, br#"{"type":"unsubscribe","channel":"b"}"#);
    stage.worker.readable(page.id.slot());
    stage.worker.turn();
    assert_eq!(before - all(&greedy), READS_MAX * READ_BYTES);
    assert_eq!(page.received(), []);
    // The rest of the queue, before any connection is read again.
    stage.worker.turn();
    assert_eq!(page.received().len(), 1);
    stage.turns();
    assert!(greedy.iter().all(|page| page.unread() == 0));
}

const CHANNELS: usize = 200;

/// Maximum number of channels that are resumed in one turn.
const RESUMED_MAX: u64 = (COST_BYTES_MAX / CHANNEL_COST_BYTES + CHANNELS) as u64;

/// Puts a connect to this number of channels before the worker, and reports it.
fn connect_to(channels: usize, stage: &mut Stage, page: &Page, after: &str) {
    let entry = |number| json!({"channel": format!("channel {number}"), "after": after});
    let entries: Vec<_> = (0..channels).map(entry).collect();
    let request = json!({"type": "connect", "subscribe": entries});
    Stage::put(page, 1, request.to_string().as_bytes());
    stage.worker.readable(page.id.slot());
}

/// Runs turns until the channels of so many connects are resumed, and asserts that each turn resumes few.
fn assert_resumed_in_turns(stage: &mut Stage, connects: usize) {
    let mut before = stage.worker.fan_out.resumed_count();
    while before < (connects * CHANNELS) as u64 {
        assert_eq!(stage.worker.due_ms(), 0, "the rest waits");
        stage.worker.turn();
        let resumed = stage.worker.fan_out.resumed_count();
        assert!(resumed - before <= RESUMED_MAX, "{}", resumed - before);
        before = resumed;
    }
}

#[test]
fn connects_to_many_channels_leave_a_turn_to_publications_and_others() {
    let mut stage = Stage::new();
    let reader = stage.page(None);
    reader.received();
    let start = stage.broker.cursor().to_string();
    let greedy: Vec<_> = (0..20).map(|_| stage.open()).collect();
    for page in &greedy {
        connect_to(CHANNELS, &mut stage, page, &start);
    }
    stage.land("a", 1, 0);
    stage.enqueue_all();
    assert_resumed_in_turns(&mut stage, 2);
    assert_eq!(reader.messages(), [1]);
    assert_resumed_in_turns(&mut stage, 20);
}

#[test]
fn connects_leave_more_of_a_turn_to_writes_that_wait() {
    let mut stage = Stage::new();
    let start = stage.broker.cursor().to_string();
    let readers: Vec<_> = (0..4 * SLICE_CONNECTIONS)
        .map(|_| stage.page(None))
        .collect();
    readers.iter().for_each(|reader| drop(reader.received()));
    let late: Vec<_> = (0..READS_MAX).map(|_| stage.open()).collect();
    stage.land("a", 1, 0);
    stage.enqueue_all();
    stage.worker.turn();
    late.iter()
        .for_each(|page| connect_to(1, &mut stage, page, &start));
    let most = (COST_BYTES_BESIDE_WRITES / CHANNEL_COST_BYTES) as u64 + 1;
    let mut turns = 0;
    while stage.worker.fan_out.has_live_flush() {
        let before = stage.worker.fan_out.resumed_count();
        stage.worker.turn();
        assert!(stage.worker.fan_out.resumed_count() - before <= most);
        turns += 1;
    }
    assert!(turns >= 3, "{turns}");
    assert!(readers.iter().all(|reader| reader.messages() == [1]));
    // Then the connects get whole turns again.
    let before = stage.worker.fan_out.resumed_count();
    stage.worker.turn();
    assert!(stage.worker.fan_out.resumed_count() - before > most);
}

#[test]
fn waiting_resumes_are_completed_in_several_turns() {
    let mut stage = Stage::new();
    let ahead = stage.land("a", 1, 0);
    let greedy: Vec<_> = (0..20).map(|_| stage.open()).collect();
    for page in &greedy {
        connect_to(CHANNELS, &mut stage, page, &ahead);
    }
    stage.turns();
    stage.enqueue_all();
    assert_resumed_in_turns(&mut stage, 20);
}

#[test]
fn connection_in_the_queue_of_reads_is_not_silent() {
    let mut stage = Stage::new();
    let pages: Vec<_> = (0..2 * READS_MAX).map(|_| stage.page(None)).collect();
    stage.pass_ms(25_000);
    let late: Vec<_> = (0..2 * READS_MAX).map(|_| stage.open()).collect();
    stage.suspend_ms(10_000);
    for page in &pages {
        page.received();
        Stage::put(page, 0xa, &[]);
        stage.worker.readable(page.id.slot());
    }
    for page in &late {
        Stage::put(page, 1, connect(None).to_string().as_bytes());
        stage.worker.readable(page.id.slot());
    }
    stage.turns();
    stage.pass_ms(1_000);
    assert!(pages.iter().all(|page| page.received().is_empty()));
    let is_welcomed = |page: &Page| page.received()[0].kind() == "welcome";
    assert!(late.iter().all(is_welcomed));
}

#[test]
fn connection_that_was_ended_is_read_no_more_than_one_message() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    // Beyond the rate of requests.
    let pings = 100_000;
    (0..pings).for_each(|_| Stage::put(&page, 9, &[]));
    stage.worker.readable(page.id.slot());
    let before = page.unread();
    for _ in 0..100 {
        stage.worker.readable(page.id.slot());
        stage.turns();
    }
    let read = before - page.unread();
    assert!(
        read <= (2 + usize::from(CLOSING_READS_MAX)) * READ_BYTES,
        "{read}"
    );
    stage.pass_ms(2_000);
    assert_eq!(page.end(), Some(End::Closed));
}

#[test]
fn close_behind_a_message_on_its_way_is_found() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    stage.worker.drain();
    stage.turns();
    Stage::put(&page, 1, &[b'x'; 120_000]);
    stage.send(&page, 8, &4100_u16.to_be_bytes());
    assert_eq!(page.received().last(), Some(&Received::Close(4100)));
    assert_eq!(page.end(), Some(End::Closed));
}
