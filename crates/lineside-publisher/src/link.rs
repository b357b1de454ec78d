//! State machine of the publishing end of the link, across all its connections. No IO, no clock, no thread.

mod backoff;
mod ended;

use std::sync::Arc;
use std::task::Waker;

use bytes::BytesMut;
use lineside_protocol::frame::{
    Ack, Frame, Hello, PROTOCOL_VERSION, Receipt, Refusal, ToPublisher, ToSidecar, Welcome,
};
use lineside_protocol::{Epoch, POSITION_MAX, Position};

use crate::settings::{AGE_STEP_MS, HANDSHAKE_MS_MAX, NAME_BYTES_MAX};
use crate::spool::{Backlog, Outcome, Spool};
use backoff::{Backoff, LONGEST_MS};
pub use ended::Ended;
use ended::quoted;

/// Delay before the next connection after the sidecar reported another process with this publisher's identity, in
/// milliseconds.
const REPLACED_PAUSE_MS: u64 = 60_000;

/// Client of the link: sends the frames of the [`Spool`] to the sidecar, and applies the sidecar's replies. Handles the
/// hello, retransmission, acks, receipts, refusals, the age of frames, and the back-off between connections.
///
/// The caller owns the connection and the clock, reports events, and repeats the steps below, as the thread of
/// [`Publisher`](crate::Publisher) does:
///
/// ```
/// use std::sync::Arc;
/// use std::task::Waker;
/// use lineside_publisher::{Ended, LinkClient, PublishOptions, Settings, Spool};
///
/// let spool = Arc::new(Spool::new(Settings::new("/run/app/lineside.sock", "worker[4711]")));
/// let mut link = LinkClient::new(Arc::clone(&spool), [7; 16]);
/// spool.publish(&[("news", b"1")], PublishOptions::default())?;
///
/// let now_ms = 0; // of a monotonic clock
/// assert!(link.may_open(now_ms)); // connect now
/// link.opened(now_ms);
/// link.tick(now_ms)?; // timers; an error ends the connection
/// while let Some(bytes) = link.unsent() {
///     let count = bytes.len(); // or as many as the socket accepts
///     link.sent(count);
/// }
/// // Wait until the socket is readable (or writable, if bytes are unsent), the waker is called, or the time is over.
/// let wait_ms = link.wait_ms(Waker::noop(), now_ms);
/// assert_eq!(wait_ms, Some(1000));
/// link.receive(&[])?; // bytes from the socket; an error ends the connection
///
/// // After the connection ended, for any reason:
/// link.closed(&Ended::Transport("the sidecar closed the link".into()), now_ms);
/// assert!(!link.may_open(now_ms)); // back-off
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Times are in milliseconds of one monotonic clock.
#[derive(Debug)]
pub struct LinkClient {
    spool: Arc<Spool>,
    identity: [u8; 16],
    backlog: Backlog,
    backoff: Backoff,
    /// Epoch of the last welcome.
    epoch: Option<Epoch>,
    phase: Phase,
    /// Received bytes that are not a complete frame yet.
    received: BytesMut,
}

#[derive(Debug)]
enum Phase {
    /// No connection. The next one may be made at `opens_ms`.
    Closed { opens_ms: u64 },
    /// Connected, with the unsent rest of the hello. The welcome must arrive before `ends_ms`.
    Greeting { hello: Vec<u8>, ends_ms: u64 },
    /// The welcome was received.
    Open,
}

impl LinkClient {
    /// Creates the client of `spool`. It may connect at once. `identity` is random and unique to this publisher; the
    /// sidecar recognizes it on later connections.
    #[must_use]
    pub fn new(spool: Arc<Spool>, identity: [u8; 16]) -> Self {
        Self {
            spool,
            identity,
            backlog: Backlog::new(),
            backoff: Backoff::new(identity),
            epoch: None,
            phase: Phase::Closed { opens_ms: 0 },
            received: BytesMut::new(),
        }
    }

    /// Returns whether the caller should connect now.
    #[must_use]
    pub fn may_open(&self, now_ms: u64) -> bool {
        matches!(self.phase, Phase::Closed { opens_ms } if opens_ms <= now_ms)
    }

    /// Records a new connection, and prepares the hello.
    pub fn opened(&mut self, now_ms: u64) {
        let mut hello = Vec::new();
        self.hello().encode(&mut hello);
        self.phase = Phase::Greeting {
            hello,
            ends_ms: now_ms + HANDSHAKE_MS_MAX,
        };
    }

    /// Records the end of the connection, or a failure to connect. Unacked frames are sent again on the next connection.
    pub fn closed(&mut self, why: &Ended, now_ms: u64) {
        self.backlog.unlink();
        self.received.clear();
        let pause_ms = if why.is_replaced() {
            REPLACED_PAUSE_MS
        } else if why.is_key_mismatch() {
            LONGEST_MS
        } else {
            self.backoff.next_ms()
        };
        self.phase = Phase::Closed {
            opens_ms: now_ms + pause_ms,
        };
        self.spool
            .state()
            .unlinked(self.backlog.bytes(), &why.to_string());
    }

    /// Returns the next bytes to send, if any.
    #[must_use]
    pub fn unsent(&self) -> Option<&[u8]> {
        match &self.phase {
            Phase::Closed { .. } => None,
            Phase::Greeting { hello, .. } => Some(hello.as_slice()).filter(|rest| !rest.is_empty()),
            Phase::Open => self.backlog.unsent(),
        }
    }

    /// Records that the socket accepted `count` bytes of [`unsent`](Self::unsent).
    pub fn sent(&mut self, count: usize) {
        match &mut self.phase {
            Phase::Closed { .. } => {}
            Phase::Greeting { hello, .. } => drop(hello.drain(..count.min(hello.len()))),
            Phase::Open => self.backlog.sent(count),
        }
    }

    /// Applies every complete frame. Keeps at most one incomplete frame.
    ///
    /// # Errors
    /// Returns the reason for which the caller must close the connection and call [`closed`](Self::closed).
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.received.extend_from_slice(bytes);
        while let Some(frame) = Frame::split(&mut self.received)? {
            let frame = ToPublisher::decode(&frame)?;
            match self.phase {
                Phase::Open => self.apply(frame)?,
                Phase::Closed { .. } | Phase::Greeting { .. } => self.expect_welcome(frame)?,
            }
        }
        Ok(())
    }

    /// Collects frames from the spool and drops expired ones. Call it after every wait, with or without a connection.
    ///
    /// # Errors
    /// Returns the reason for which the caller must close the connection and call [`closed`](Self::closed).
    pub fn tick(&mut self, now_ms: u64) -> Result<(), Ended> {
        self.collect_due(now_ms);
        self.drop_aged(now_ms);
        match self.phase {
            Phase::Greeting { ends_ms, .. } if ends_ms <= now_ms => Err(Ended::Silent),
            _ => Ok(()),
        }
    }

    /// Returns the maximum time to wait before the next [`tick`](Self::tick), in milliseconds, or `None` for no time-out.
    /// A ready socket or a call of `waker` ends the wait early. Producers call `waker` only if the spool was empty and a
    /// connection is ready for more.
    #[must_use]
    pub fn wait_ms(&self, waker: &Waker, now_ms: u64) -> Option<u64> {
        let until = |end_ms: u64| Some(end_ms.saturating_sub(now_ms).min(AGE_STEP_MS));
        match self.phase {
            Phase::Closed { opens_ms } => until(opens_ms),
            Phase::Greeting { ends_ms, .. } => until(ends_ms),
            Phase::Open if self.backlog.unsent().is_some() => Some(AGE_STEP_MS),
            Phase::Open if self.spool.state().may_sleep(waker) => None,
            Phase::Open => Some(0),
        }
    }

    fn hello(&self) -> ToSidecar {
        let settings = self.spool.settings();
        let name = settings
            .name
            .char_indices()
            .take_while(|(at, sign)| at + sign.len_utf8() <= NAME_BYTES_MAX);
        ToSidecar::Hello(Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            publisher: self.identity,
            done: self.backlog.done(),
            fingerprint: settings.fingerprint,
            name: name.map(|(_, sign)| sign).collect(),
        })
    }

    fn expect_welcome(&mut self, frame: ToPublisher) -> Result<(), Ended> {
        match frame {
            ToPublisher::Welcome(welcome) => self.welcome(welcome),
            ToPublisher::Fault(fault) => {
                let ended = Ended::fault(fault.code, &fault.message);
                self.spool.state().status.mismatch = ended.is_key_mismatch();
                Err(ended)
            }
            _ => Err(Ended::Protocol("the first frame is not a welcome".into())),
        }
    }

    fn welcome(&mut self, welcome: Welcome) -> Result<(), Ended> {
        if welcome.version != PROTOCOL_VERSION {
            return Err(Ended::Version(welcome.version));
        }
        self.check(welcome.last, welcome.position)?;
        let is_new_epoch = self
            .epoch
            .as_ref()
            .is_some_and(|epoch| *epoch != welcome.epoch);
        let unanswered = self.spool.state().unanswered();
        let resumed = self.backlog.resume(welcome.last, &unanswered, is_new_epoch);

        let mut state = self.spool.state();
        state.backlog_bytes = self.backlog.bytes();
        state.welcomed(&welcome);
        let status = &mut state.status;
        status.mismatch = false;
        status.last_error = None;
        status.linked = true;
        status.reconnects += u64::from(self.epoch.is_some());
        status.resent += resumed.resent;
        drop(state);
        self.epoch = Some(welcome.epoch);
        self.phase = Phase::Open;
        self.settle(welcome.last, resumed.skipped);
        Ok(())
    }

    /// Moves appended frames to the backlog: at once if the backlog is sent, otherwise after [`AGE_STEP_MS`], so that their
    /// age is tracked.
    fn collect_due(&mut self, now_ms: u64) {
        let is_idle = matches!(self.phase, Phase::Open) && self.backlog.unsent().is_none();
        let mut state = self.spool.state();
        state.remove_sleeper();
        let Some(since_ms) = state.tail.since_ms(now_ms) else {
            return;
        };
        if is_idle || now_ms - since_ms >= AGE_STEP_MS {
            self.backlog.append_tail(&mut state.tail, since_ms);
            state.backlog_bytes = self.backlog.bytes();
            drop(state);
            self.backlog.refill_spare();
        }
    }

    fn drop_aged(&mut self, now_ms: u64) {
        let age_ms = self
            .spool
            .settings()
            .spool_seconds_max
            .max(1)
            .saturating_mul(1000);
        let Some(before_ms) = now_ms.checked_sub(age_ms) else {
            return;
        };
        let held = self.backlog.bytes();
        let expired = self.backlog.expire(before_ms);
        if self.backlog.bytes() < held {
            let mut state = self.spool.state();
            state.backlog_bytes = self.backlog.bytes();
            state.status.dropped_aged += expired.frames;
            state.status.publications_aged += expired.publications;
            expired
                .unsent
                .into_iter()
                .for_each(|sequences| state.dropped(sequences));
        }
    }

    fn apply(&mut self, frame: ToPublisher) -> Result<(), Ended> {
        match frame {
            ToPublisher::Ack(ack) => self.apply_ack(&ack),
            ToPublisher::Receipt(receipt) => self.apply_receipt(&receipt),
            ToPublisher::Refusal(refusal) => self.apply_refusal(&refusal),
            ToPublisher::Moved(moved) => {
                self.check(0, moved.position)?;
                self.spool.state().moved(moved.position);
                Ok(())
            }
            ToPublisher::Fault(fault) => Err(Ended::fault(fault.code, &fault.message)),
            ToPublisher::Welcome(_) => Err(Ended::Protocol("a second welcome".into())),
        }
    }

    fn apply_ack(&mut self, ack: &Ack) -> Result<(), Ended> {
        self.check(ack.sequence, ack.position)?;
        let skipped = self.backlog.ack(ack.sequence);
        self.spool.state().moved(ack.position);
        self.settle(ack.sequence, skipped);
        Ok(())
    }

    fn apply_receipt(&mut self, receipt: &Receipt) -> Result<(), Ended> {
        self.check(receipt.sequence, receipt.position)?;
        let epoch = self
            .epoch
            .as_ref()
            .ok_or_else(|| Ended::Protocol("a receipt without an epoch".into()))?;
        let outcome = Outcome::Receipt {
            cursor: epoch.at(receipt.position),
            duplicate: receipt.duplicate,
        };
        let mut state = self.spool.state();
        state.moved(receipt.position);
        state.answer(receipt.sequence, outcome);
        Ok(())
    }

    fn apply_refusal(&mut self, refusal: &Refusal) -> Result<(), Ended> {
        self.check(refusal.sequence, Position(0))?;
        let message = quoted(&refusal.message);
        let mut state = self.spool.state();
        state.status.refused += 1;
        state.status.publications_refused += self.backlog.publications(refusal.sequence);
        state.status.last_refusal = Some(message.clone());
        let outcome = Outcome::Refused {
            code: refusal.code,
            message,
        };
        state.answer(refusal.sequence, outcome);
        Ok(())
    }

    /// Marks every frame up to `sequence` as settled: landed, refused or dropped.
    fn settle(&mut self, sequence: u64, skipped: u64) {
        let mut state = self.spool.state();
        if sequence > state.settled() {
            self.backoff.reset();
        }
        state.backlog_bytes = self.backlog.bytes();
        state.settle(sequence, skipped);
        if state.stop_waits {
            self.spool.changed.notify_all();
        }
    }

    /// Refuses a sequence that was never sent and a position that is out of range: either would corrupt the counters.
    fn check(&self, sequence: u64, position: Position) -> Result<(), Ended> {
        if sequence > self.backlog.reached() {
            let reached = self.backlog.reached();
            return Err(Ended::Protocol(format!(
                "a reply to frame {sequence}, but only {reached} were sent"
            )));
        }
        if position.0 > POSITION_MAX {
            return Err(Ended::Protocol(format!("{position} is not a position")));
        }
        Ok(())
    }
}
