//! Link of `lineside tail`: sends an operator what is published.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use lineside_hub::Publication;
use lineside_protocol::codes;
use lineside_protocol::envelope;
use lineside_protocol::frame::{Fault, Seen, TailReply, TailRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::EXCHANGE_MS_MAX;
use super::first_frame::{LinkRefusal, read_first_frame};
use crate::broker::{Broker, Filter, Tail};
use crate::clock::{Clock, Now};
use crate::log::{Level, event};

/// Maximum size of the first frame, in bytes: the name of a cable stream and the frame's head.
const FRAME_BYTES_MAX: usize = 2048;

/// Times of the wall clock for times of the sidecar's clock. Both are read in whole milliseconds, so their difference varies by
/// one. The first difference is kept until a later one differs by more, so that times do not go back.
#[derive(Debug)]
struct WallTimes {
    clock: Clock,
    /// Wall clock minus the sidecar's clock, in milliseconds.
    ahead_ms: i64,
}

impl WallTimes {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            ahead_ms: ahead_ms(clock.now()),
        }
    }

    fn of(&mut self, at_ms: u64, now: Now) -> u64 {
        let ahead_ms = ahead_ms(now);
        if ahead_ms.abs_diff(self.ahead_ms) > 1 {
            self.ahead_ms = ahead_ms;
        }
        at_ms.saturating_add_signed(self.ahead_ms)
    }
}

fn ahead_ms(now: Now) -> i64 {
    now.wall_ms.cast_signed() - now.ms.cast_signed()
}

/// Serves a link whose first frame is a [`TailRequest`], until it closes or the sidecar stops.
pub(crate) async fn serve(
    stream: &mut UnixStream,
    broker: &Broker,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    let mut unsent = BytesMut::new();
    let mut wall = WallTimes::new(clock);
    let refusal = match open(stream, broker).await {
        Err(refusal) => refusal,
        Ok((tail, first)) => {
            append(&mut unsent, &first);
            let closed = tokio::select! {
                closed = send(stream, &tail, &mut unsent, &mut wall) => Some(closed),
                _ = stop.wait_for(|stop| *stop) => None,
            };
            broker.close_tail(&tail);
            if let Some(error) = closed {
                return event!(Level::Info, "tail_closed", reason = error);
            }
            append_batch(&tail, &mut unsent, &mut wall);
            LinkRefusal::of(codes::LINK_DRAIN)
        }
    };
    let LinkRefusal { code, message } = refusal;
    event!(Level::Info, "tail_closed", reason = code.name, message);
    let code = code.number;
    append(&mut unsent, &TailReply::Fault(Fault { code, message }));
    let sent = stream.write_all(&unsent);
    // An operator that does not read gets no reason.
    let _sent = tokio::time::timeout(Duration::from_millis(EXCHANGE_MS_MAX), sent).await;
}

async fn open(stream: &UnixStream, broker: &Broker) -> Result<(Arc<Tail>, TailReply), LinkRefusal> {
    let (frame, _) = read_first_frame(stream, FRAME_BYTES_MAX).await?;
    let request = TailRequest::decode(&frame).map_err(LinkRefusal::bad_frame)?;
    let filter = Filter::parse(&request.wanted).map_err(|message| LinkRefusal {
        code: codes::LINK_BAD_CHANNEL,
        message,
    })?;
    let (tail, cursor) = broker
        .open_tail(filter)
        .map_err(|_| LinkRefusal::of(codes::LINK_TAILS_FULL))?;
    event!(Level::Info, "tail_opened", channel = request.wanted);
    Ok((tail, TailReply::Opened(cursor)))
}

/// Sends everything that is added to the tail, until the link closes or fails.
async fn send(
    stream: &mut UnixStream,
    tail: &Tail,
    unsent: &mut BytesMut,
    wall: &mut WallTimes,
) -> io::Error {
    let (mut reader, mut writer) = stream.split();
    let mut ignored = [0; 64];
    loop {
        tokio::select! {
            written = writer.write(unsent), if !unsent.is_empty() => match written {
                Ok(count) => unsent.advance(count),
                Err(error) => return error,
            },
            () = tail.added(), if unsent.is_empty() => append_batch(tail, unsent, wall),
            // Detects that the operator closed the link.
            read = reader.read(&mut ignored) => match read {
                Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => {}
                Err(error) => return error,
            },
        }
    }
}

fn append_batch(tail: &Tail, unsent: &mut BytesMut, wall: &mut WallTimes) {
    let batch = tail.take();
    for publication in batch.publications {
        append(unsent, &seen(&publication, wall));
    }
    if batch.missed > 0 {
        append(unsent, &TailReply::Missed(batch.missed));
    }
}

fn seen(publication: &Publication, wall: &mut WallTimes) -> TailReply {
    TailReply::Seen(Seen {
        at_ms: wall.of(publication.at_ms, wall.clock.now()),
        message: envelope::text(&publication.body),
    })
}

fn append(unsent: &mut BytesMut, frame: &TailReply) {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    unsent.extend_from_slice(&bytes);
}

#[cfg(test)]
mod tests;
