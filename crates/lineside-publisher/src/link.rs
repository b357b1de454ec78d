//! This end of the link, over all the connections that it will have: no IO, no clock, no thread.

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
use backoff::Backoff;
pub use ended::Ended;
use ended::quoted;

/// The pause after the sidecar said that another process uses this publisher's identity, in milliseconds.
const REPLACED_PAUSE_MS: u64 = 60_000;

/// What brings the [`Spool`] to the sidecar, and the sidecar's answers back: the hello, what is sent and sent again, acks,
/// receipts, refusals, age, and the pauses between connections.
///
/// It is told what happened and says what to do. Whoever owns the connection and the clock repeats, as
/// [`Publisher`](crate::Publisher)'s thread does with a socket:
///
/// ```
/// use std::sync::Arc;
/// use std::task::Waker;
/// use lineside_publisher::{Ended, Link, PublishOptions, Settings, Spool};
///
/// let spool = Arc::new(Spool::new(Settings::new("/run/app/lineside.sock", "worker[4711]")));
/// let mut link = Link::new(Arc::clone(&spool), [7; 16]);
/// spool.publish(&[("news", b"1")], PublishOptions::default())?;
///
/// let now_ms = 0; // by any clock that does not go back
/// assert!(link.may_open(now_ms)); // so connect
/// link.opened(now_ms);
/// link.tick(now_ms)?; // what time brings; an error ends the connection
/// while let Some(bytes) = link.unsent() {
///     let taken = bytes.len(); // or as many as the connection takes
///     link.sent(taken);
/// }
/// // Wait until the connection can be read (or written, if something is unsent), the waker is used, or the time is over.
/// let wait_ms = link.wait_ms(Waker::noop(), now_ms);
/// assert_eq!(wait_ms, Some(1000));
/// link.receive(&[])?; // what was read; an error ends the connection
///
/// // However it ended:
/// link.closed(&Ended::Transport("the sidecar closed the link".into()), now_ms);
/// assert!(!link.may_open(now_ms)); // it pauses first
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Times are in milliseconds of one clock that does not go back.
#[derive(Debug)]
pub struct Link {
    spool: Arc<Spool>,
    identity: [u8; 16],
    backlog: Backlog,
    backoff: Backoff,
    /// Of the last welcome.
    epoch: Option<Epoch>,
    phase: Phase,
    /// What came and is no whole frame yet.
    received: BytesMut,
}

#[derive(Debug)]
enum Phase {
    /// There is no connection, and none is wanted before `opens_ms`.
    Closed { opens_ms: u64 },
    /// The rest of the hello is to be sent, and the welcome must come before `ends_ms`.
    Greeting { hello: Vec<u8>, ends_ms: u64 },
    /// The welcome has come.
    Open,
}

impl Link {
    /// The sending end of `spool`, which wants a connection at once. `identity` is random: it tells this publisher from all
    /// others, and the sidecar knows it again on its next connection.
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

    /// Whether a connection is to be made now.
    #[must_use]
    pub fn may_open(&self, now_ms: u64) -> bool {
        matches!(self.phase, Phase::Closed { opens_ms } if opens_ms <= now_ms)
    }

    /// A connection was made: it begins with the hello.
    pub fn opened(&mut self, now_ms: u64) {
        let mut hello = Vec::new();
        self.hello().encode(&mut hello);
        self.phase = Phase::Greeting {
            hello,
            ends_ms: now_ms + HANDSHAKE_MS_MAX,
        };
    }

    /// The connection is over, or could not be made. What it left unacked goes out again on the next one.
    pub fn closed(&mut self, why: &Ended, now_ms: u64) {
        self.backlog.unlink();
        self.received.clear();
        let pause_ms = if why.is_replaced() {
            REPLACED_PAUSE_MS
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

    /// What is to be sent next, if anything.
    #[must_use]
    pub fn unsent(&self) -> Option<&[u8]> {
        match &self.phase {
            Phase::Closed { .. } => None,
            Phase::Greeting { hello, .. } => Some(hello.as_slice()).filter(|rest| !rest.is_empty()),
            Phase::Open => self.backlog.unsent(),
        }
    }

    /// The connection took `count` bytes of [`unsent`](Self::unsent).
    pub fn sent(&mut self, count: usize) {
        match &mut self.phase {
            Phase::Closed { .. } => {}
            Phase::Greeting { hello, .. } => drop(hello.drain(..count.min(hello.len()))),
            Phase::Open => self.backlog.sent(count),
        }
    }

    /// Acts on every frame that has come whole. What is kept is bounded by the largest frame and by what is given at once.
    ///
    /// # Errors
    /// Says why the connection must end: close it, and say so by [`closed`](Self::closed).
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.received.extend_from_slice(bytes);
        while let Some(frame) = Frame::split(&mut self.received)? {
            let frame = ToPublisher::decode(&frame)?;
            match self.phase {
                Phase::Open => self.act(frame)?,
                Phase::Closed { .. } | Phase::Greeting { .. } => self.expect_welcome(frame)?,
            }
        }
        Ok(())
    }

    /// Takes from the spool what is due and drops what is too old: to be called after every wait, with or without a
    /// connection.
    ///
    /// # Errors
    /// Says why the connection must end: close it, and say so by [`closed`](Self::closed).
    pub fn tick(&mut self, now_ms: u64) -> Result<(), Ended> {
        self.take_due(now_ms);
        self.drop_aged(now_ms);
        match self.phase {
            Phase::Greeting { ends_ms, .. } if ends_ms <= now_ms => Err(Ended::Silent),
            _ => Ok(()),
        }
    }

    /// How long to wait before the next [`tick`](Self::tick), in milliseconds, unless the connection is ready or `waker` is
    /// used before; `None` when only they count. Producers use `waker` when the spool was empty: without a connection, or
    /// while one takes no more, they have no reason to.
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
            ToPublisher::Fault(fault) => Err(Ended::fault(fault.code, &fault.message)),
            _ => Err(Ended::Protocol("it did not welcome first".into())),
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
        let ours = self.spool.settings().fingerprint;

        let mut state = self.spool.state();
        state.backlog_bytes = self.backlog.bytes();
        state.welcomed(&welcome);
        let status = &mut state.status;
        status.mismatch =
            ours != [0; 8] && welcome.fingerprint != [0; 8] && ours != welcome.fingerprint;
        status.last_error = status.mismatch.then(|| {
            "this process and the sidecar sign with different keys, so tokens of this app will be refused: give both the \
             same LINESIDE_SECRET, or start the sidecar with `bundle exec lineside`"
                .to_owned()
        });
        status.linked = true;
        status.reconnects += u64::from(self.epoch.is_some());
        status.resent += resumed.resent;
        drop(state);
        self.epoch = Some(welcome.epoch);
        self.phase = Phase::Open;
        self.settle(welcome.last, resumed.skipped);
        Ok(())
    }

    /// Takes what producers appended: at once when everything before it is sent, otherwise when its age must be watched.
    fn take_due(&mut self, now_ms: u64) {
        let is_idle = matches!(self.phase, Phase::Open) && self.backlog.unsent().is_none();
        let mut state = self.spool.state();
        state.woke();
        let Some(since_ms) = state.tail.since_ms(now_ms) else {
            return;
        };
        if is_idle || now_ms - since_ms >= AGE_STEP_MS {
            self.backlog.take(&mut state.tail, since_ms);
            state.backlog_bytes = self.backlog.bytes();
            drop(state);
            self.backlog.keep_spare();
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

    fn act(&mut self, frame: ToPublisher) -> Result<(), Ended> {
        match frame {
            ToPublisher::Ack(ack) => self.acked(&ack),
            ToPublisher::Receipt(receipt) => self.landed(&receipt),
            ToPublisher::Refusal(refusal) => self.refused(&refusal),
            ToPublisher::Moved(moved) => {
                self.check(0, moved.position)?;
                self.spool.state().moved(moved.position);
                Ok(())
            }
            ToPublisher::Fault(fault) => Err(Ended::fault(fault.code, &fault.message)),
            ToPublisher::Welcome(_) => Err(Ended::Protocol("a second welcome".into())),
        }
    }

    fn acked(&mut self, ack: &Ack) -> Result<(), Ended> {
        self.check(ack.sequence, ack.position)?;
        let skipped = self.backlog.ack(ack.sequence);
        self.spool.state().moved(ack.position);
        self.settle(ack.sequence, skipped);
        Ok(())
    }

    fn landed(&mut self, receipt: &Receipt) -> Result<(), Ended> {
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

    fn refused(&mut self, refusal: &Refusal) -> Result<(), Ended> {
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

    /// Everything up to `sequence` is dealt with.
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

    /// A sequence that was never sent, or a position that cannot be, would corrupt what is kept here.
    fn check(&self, sequence: u64, position: Position) -> Result<(), Ended> {
        if sequence > self.backlog.reached() {
            let reached = self.backlog.reached();
            return Err(Ended::Protocol(format!(
                "it answers frame {sequence}, and only {reached} were sent"
            )));
        }
        if position.0 > POSITION_MAX {
            return Err(Ended::Protocol(format!("{position} is not a position")));
        }
        Ok(())
    }
}
