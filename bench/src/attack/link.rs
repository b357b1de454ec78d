//! Attacks over the link, and the history that resumes read.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lineside_protocol::frame::{Hello, PROTOCOL_VERSION, PublishHead, ToSidecar, encode_publish};
use lineside_publisher::{
    Flushed, Outcome as Receipt, PublishOptions, Publisher, Settings, Waiter,
};

use super::Target;
use crate::Outcome;
use crate::client::TIMEOUT;
use crate::clock::{schedule, wait_until};
use crate::sidecar;

/// History that a resume reads: this many channels, each with this many small publications.
pub(super) const HISTORY_CHANNELS: u64 = 256;
const HISTORY_PUBLICATIONS: u64 = 1_000;
/// Time-out until the sidecar has acked the history.
const HISTORY_TIME: Duration = Duration::from_secs(60);
const SIGN_OUTS_PER_SECOND: u32 = 5_000;

pub(super) fn history_channel(number: u64) -> String {
    format!("h{number}")
}

/// Publishes the history. Returns the cursor before it.
pub(super) fn publish_history(link: &Path) -> Outcome<String> {
    let publisher = Publisher::new(Settings::new(link, "history"));
    let waiter = Waiter::new()?;
    let end = Instant::now() + HISTORY_TIME;
    let options = PublishOptions {
        wants_receipt: true,
        ..PublishOptions::default()
    };
    let first = publisher.publish("history", b"1", options)?;
    let Receipt::Receipt { cursor, .. } = publisher.wait_receipt(first, end, &waiter) else {
        return Err("the sidecar accepted no publication".into());
    };
    let channels: Vec<String> = (0..HISTORY_CHANNELS).map(history_channel).collect();
    let publications: Vec<(&str, &[u8])> = channels
        .iter()
        .map(|channel| (channel.as_str(), &b"1"[..]))
        .collect();
    for _ in 0..HISTORY_PUBLICATIONS {
        publisher.publish_all(&publications)?;
        if publisher.wait_flushed(end, &waiter) != Flushed::Done {
            return Err(format!("the history was not acked: {:?}", publisher.status()).into());
        }
    }
    Ok(cursor.to_string())
}

/// Publishes as fast as the link takes it, requests receipts and reads none.
pub(super) fn publish_unread(target: &Target, sent: &mut u64) -> io::Result<()> {
    let mut stream = UnixStream::connect(sidecar::link(Path::new(".")))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut bytes = Vec::new();
    let hello = Hello {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        // Another publisher each time, so that the sequences below are new.
        publisher: now()?.as_nanos().to_be_bytes(),
        done: 0,
        fingerprint: [0; 8],
        name: "attack".into(),
    };
    ToSidecar::Hello(hello).encode(&mut bytes);
    stream.write_all(&bytes)?;
    stream.read_exact(&mut [0])?;
    for sequence in 1.. {
        if target.is_over() {
            break;
        }
        bytes.clear();
        let head = PublishHead {
            sequence,
            wants_receipt: true,
            once: None,
        };
        encode_publish(&mut bytes, head, [("flood", &b"1"[..])]);
        stream.write_all(&bytes)?;
        *sent += 1;
    }
    Ok(())
}

/// Signs another user out each time.
pub(super) fn sign_outs(target: &Target) -> io::Result<u64> {
    let publisher = Publisher::new(Settings::new(sidecar::link(Path::new(".")), "attack"));
    let mut sent = 0;
    for due in schedule(Duration::from_secs(1) / SIGN_OUTS_PER_SECOND, target.until) {
        wait_until(due);
        let now_ms = u64::try_from(now()?.as_millis()).map_err(io::Error::other)?;
        // A full spool is no failure of the attack.
        if publisher
            .revoke(&format!("user-{sent}"), None, now_ms, false)
            .is_ok()
        {
            sent += 1;
        }
    }
    publisher.stop(target.until);
    Ok(sent)
}

/// Time since the Unix epoch.
fn now() -> io::Result<Duration> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_err(io::Error::other)
}
