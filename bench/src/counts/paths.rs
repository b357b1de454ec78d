//! The hot paths.

use std::sync::Arc;

use bytes::BytesMut;
use lineside_protocol::frame::{Ack, Frame, PROTOCOL_VERSION, ToPublisher, ToSidecar, Welcome};
use lineside_protocol::{Epoch, Position};
use lineside_publisher::{LinkClient, PublishOptions, Settings, Spool};

use super::stage::{PAYLOAD, Stage};
use crate::Outcome;

/// Runs a path a number of times.
type Run = fn(u64) -> Outcome<()>;

/// Names of the paths, each with a description of one repetition.
pub(crate) const PATHS: [(&str, &str, Run); 4] = [
    (
        "publish",
        "a publication, in the process of the app",
        publish,
    ),
    (
        "shared",
        "a publication to 100 pages of a shared channel, in the sidecar",
        shared,
    ),
    (
        "user",
        "a publication to one of 100 users, in the sidecar",
        user,
    ),
    (
        "connect",
        "a page that connects with a token, in the sidecar",
        connect,
    ),
];

/// Pages that are connected while publications are counted.
const PAGES: u64 = 100;

/// Publications that one ack covers.
const ACKED: u64 = 64;

/// Runs the named path.
pub(crate) fn run(path: &str, repetitions: u64) -> Outcome<()> {
    let known = PATHS.iter().find(|(name, ..)| *name == path);
    let (.., run) = known.ok_or_else(|| format!("no path is called {path:?}"))?;
    run(repetitions)
}

/// Spool and writer of a publisher whose sidecar answers at once.
fn publish(repetitions: u64) -> Outcome<()> {
    let spool = Arc::new(Spool::new(Settings::new("/nowhere", "counts")));
    let mut link = LinkClient::new(Arc::clone(&spool), [1; 16]);
    link.opened(0);
    answer(
        &mut link,
        &ToPublisher::Welcome(Welcome {
            version: PROTOCOL_VERSION,
            last: 0,
            position: Position(0),
            fingerprint: [0; 8],
            epoch: Epoch::new("counts")?,
        }),
    )?;
    let mut sent = BytesMut::new();
    for number in 1..=repetitions {
        spool.publish(&[("orders", PAYLOAD.as_bytes())], PublishOptions::default())?;
        link.tick(0).map_err(|ended| format!("{ended:?}"))?;
        while let Some(bytes) = link.unsent() {
            let count = bytes.len();
            sent.extend_from_slice(bytes);
            link.sent(count);
        }
        if number % ACKED == 0 || number == repetitions {
            let (sequence, position) = (number, Position(number));
            answer(&mut link, &ToPublisher::Ack(Ack { sequence, position }))?;
        }
    }
    let mut frames = 0;
    while let Some(frame) = Frame::split(&mut sent)? {
        frames += u64::from(matches!(ToSidecar::decode(&frame)?, ToSidecar::Publish(_)));
    }
    expect("frames", frames, repetitions)?;
    expect("acked publications", spool.status().acked, repetitions)
}

/// Hands the publisher an answer of the sidecar.
fn answer(link: &mut LinkClient, frame: &ToPublisher) -> Outcome<()> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    link.receive(&bytes)
        .map_err(|ended| format!("the link has ended: {ended:?}").into())
}

fn shared(repetitions: u64) -> Outcome<()> {
    let mut stage = connected(PAGES)?;
    let before = stage.received();
    for _ in 0..repetitions {
        stage.publish("board")?;
    }
    expect_deliveries(&mut stage, before, repetitions * PAGES)
}

fn user(repetitions: u64) -> Outcome<()> {
    let mut stage = connected(PAGES)?;
    let before = stage.received();
    for number in 0..repetitions {
        stage.publish(&format!("user:{}", number % PAGES))?;
    }
    expect_deliveries(&mut stage, before, repetitions)
}

fn connect(repetitions: u64) -> Outcome<()> {
    connected(repetitions)?;
    Ok(())
}

/// A sidecar with connected pages, of as many users as there are [`PAGES`].
fn connected(pages: u64) -> Outcome<Stage> {
    let mut stage = Stage::new()?;
    let tokens: Vec<String> = (0..PAGES)
        .map(|user| stage.sign(user))
        .collect::<Outcome<_>>()?;
    for token in tokens.iter().cycle().take(usize::try_from(pages)?) {
        stage.connect(token)?;
    }
    Ok(stage)
}

/// Checks that the pages received this number of publications. A frame is longer than its payload, and shorter than two.
fn expect_deliveries(stage: &mut Stage, before: u64, deliveries: u64) -> Outcome<()> {
    let bytes = stage.received() - before;
    let payloads = deliveries * PAYLOAD.len() as u64;
    if (payloads..2 * payloads).contains(&bytes) {
        return Ok(());
    }
    Err(format!("the pages received {bytes} bytes of {deliveries} publications").into())
}

fn expect(what: &str, found: u64, expected: u64) -> Outcome<()> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{found} {what} instead of {expected}").into())
}
