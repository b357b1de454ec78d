//! Link of a system test: waits until every connection has everything that was published before, and answers with those
//! that have not. The wait ends early if the process closes the link. Logs nothing.

use std::io;
use std::time::Duration;

use lineside_protocol::codes;
use lineside_protocol::frame::{Fault, SettleReply, SettleRequest, Settled};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};

use super::EXCHANGE_MS_MAX;
use super::first_frame::{LinkRefusal, read_first_frame};
use crate::broker::{Broker, Standing};
use crate::clock::Clock;

/// Maximum number of requests under way.
pub(super) const SETTLES_MAX: usize = 64;

/// Maximum wait of a request, in milliseconds. A longer one is shortened.
const SETTLE_MS_MAX: u64 = 60_000;

/// Maximum number of connections that an answer names. The others are counted.
const LAGGARDS_MAX: usize = 64;

/// Maximum size of the first frame, in bytes, with room for fields of later versions.
const FRAME_BYTES_MAX: usize = 256;

/// Answers and closes a link whose first frame is a [`SettleRequest`]. `slots` limits the requests under way.
pub(super) async fn serve(
    mut stream: UnixStream,
    broker: &Broker,
    clock: Clock,
    slots: &Semaphore,
    mut stop: watch::Receiver<bool>,
) {
    let answered = tokio::select! {
        // First, because a stop closes the connections and so ends every wait.
        biased;
        _ = stop.wait_for(|stop| *stop) => Err(LinkRefusal::of(codes::LINK_DRAIN)),
        answered = answer(&stream, broker, clock, slots) => answered,
    };
    let reply = match answered {
        Ok(settled) => SettleReply::Settled(settled),
        Err(LinkRefusal { code, message }) => {
            let code = code.number;
            SettleReply::Fault(Fault { code, message })
        }
    };
    let mut bytes = Vec::new();
    reply.encode(&mut bytes);
    let sent = stream.write_all(&bytes);
    let _sent = tokio::time::timeout(Duration::from_millis(EXCHANGE_MS_MAX), sent).await;
}

async fn answer(
    stream: &UnixStream,
    broker: &Broker,
    clock: Clock,
    slots: &Semaphore,
) -> Result<Settled, LinkRefusal> {
    let (frame, _) = read_first_frame(stream, FRAME_BYTES_MAX).await?;
    let request = SettleRequest::decode(&frame).map_err(LinkRefusal::bad_frame)?;
    let full = |_| LinkRefusal::of(codes::LINK_SETTLES_FULL);
    let _slot = slots.try_acquire().map_err(full)?;
    let until_ms = clock.now_ms() + request.timeout_ms.min(SETTLE_MS_MAX);
    tokio::select! {
        settled = settle(broker, until_ms) => settled,
        () = ended(stream) => Err(LinkRefusal::bad_frame("the link ended before its answer")),
    }
}

async fn settle(broker: &Broker, until_ms: u64) -> Result<Settled, LinkRefusal> {
    let (cursor, answers) = broker.settle(until_ms);
    let mut settled = Settled {
        cursor: cursor.to_string(),
        connections: 0,
        laggards: Vec::new(),
        more: 0,
    };
    for answer in answers {
        let ended = |_| LinkRefusal::of(codes::LINK_DRAIN);
        let Standing {
            connections,
            mut laggards,
            more,
        } = answer.await.map_err(ended)?;
        settled.connections += connections;
        settled.laggards.append(&mut laggards);
        settled.more += more;
    }
    settled.more += settled.laggards.len().saturating_sub(LAGGARDS_MAX);
    settled.laggards.truncate(LAGGARDS_MAX);
    Ok(settled)
}

/// Waits until the process has closed the link. Ignores what it sends.
async fn ended(stream: &UnixStream) {
    let mut ignored = [0; 64];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut ignored) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}
