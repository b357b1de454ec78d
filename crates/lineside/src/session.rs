//! Session of one publisher's link, without IO: it splits and validates frames, and proposes them to the [`Broker`].
//!
//! A shard owns the socket and the clock (`shard/links.rs`). A simulation uses bytes and times of its own
//! (docs/decisions/0016-link-without-io.md):
//!
//! ```text
//! let broker = Broker::new(hub, inboxes, encode);          // each inbox: Inbox::new(waker), emptied by inbox.take(max)
//! let mut session = Session::new(number, keys, now.ms);    // numbers grow in the order in which links are accepted
//! loop {
//!     session.received().extend_from_slice(bytes);         // bytes that the link received
//!     if broker.has_room() {                               // do not read the link otherwise
//!         session.process(&broker, now)?;                  // an error ends the link, after the frames before it
//!     }
//!     session.replaces();                                  // number of the session to close with End::replaced()
//!     session.unsent(); session.sent(count);               // acks and other answers
//!     session.tick(&broker, now.ms)?;                      // at session.due_ms(), and soon after the journal has a new entry
//! }
//! session.close(&broker, end, now.ms);                     // then send what is unsent: the reason
//! ```

mod end;

use std::sync::Arc;

use bytes::BytesMut;
use lineside_hub::{Origin, Outcome, Proposal, Rejection, Revocation};
use lineside_protocol::codes;
use lineside_protocol::frame::{
    Ack, Fault, Frame, FrameError, Hello, Moved, PROTOCOL_VERSION, Receipt, Refusal, ToPublisher,
    ToSidecar, Welcome,
};
use lineside_protocol::{PAYLOAD_BYTES_MAX, Position};
use lineside_token::LEEWAY_MS;

use crate::broker::Broker;
use crate::clock::Now;
use crate::keyring::Keyring;
use crate::log::{Level, event};
pub use end::End;

/// Deadline for the hello, in milliseconds.
const HELLO_MS_MAX: u64 = 5000;

/// Maximum delay of a new position after the first look that sees it, in milliseconds. With the time until that look, the cursors of
/// a publisher's pages are at most 50 ms old.
const MOVED_MS_MAX: u64 = 20;

/// Maximum delay of an ack, in milliseconds. An ack at once for each publication of a quiet link would cost the sidecar and
/// the publisher a system call and a wake-up each. Frames with another answer are acked at once.
const ACK_MS_MAX: u64 = 5;

/// Size of unacked frames from which they are acked at once, in bytes. Unacked frames occupy the publisher's spool, which has
/// 8 MiB by default.
const ACK_BYTES_MAX: usize = 16 * 1024;

/// Session of one link: splits and validates frames, proposes them to the [`Broker`], and encodes the answers.
///
/// It does no IO and reads no clock. The [module](self) shows how to drive it.
#[derive(Debug)]
pub struct Session {
    number: u64,
    keys: Arc<Keyring>,
    publisher: [u8; 16],
    name: String,
    /// Deadline for the hello. `None` once it came.
    hello_by_ms: Option<u64>,
    received: BytesMut,
    replies: Vec<u8>,
    /// Number of the session that this one replaces, until it is asked for.
    replaces: Option<u64>,
    /// Newest position that the publisher was told.
    told: Position,
    /// Time at which it is told a newer one.
    tells_at_ms: Option<u64>,
    /// Newest sequence with an outcome that is not acked yet.
    settled: Option<u64>,
    /// Size of the frames that are settled and not acked yet, in bytes.
    unacked_bytes: usize,
    /// Time at which these frames are acked.
    acks_at_ms: Option<u64>,
}

impl Session {
    /// Session of the link with this number. The publisher is told the fingerprint of one of `keys`.
    #[must_use]
    pub fn new(number: u64, keys: Arc<Keyring>, now_ms: u64) -> Self {
        Self {
            number,
            keys,
            publisher: [0; 16],
            name: String::new(),
            hello_by_ms: Some(now_ms + HELLO_MS_MAX),
            received: BytesMut::new(),
            replies: Vec::new(),
            replaces: None,
            told: Position::default(),
            tells_at_ms: None,
            settled: None,
            unacked_bytes: 0,
            acks_at_ms: None,
        }
    }

    /// Buffer for received bytes. After [`process`](Self::process) it holds less than one frame.
    pub fn received(&mut self) -> &mut BytesMut {
        &mut self.received
    }

    /// Whether the hello came.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.hello_by_ms.is_none()
    }

    /// Processes every complete frame. Acks the frames together: at once after another answer or 16 KiB, and otherwise in a
    /// [tick](Self::tick) or at the [close](Self::close).
    ///
    /// # Errors
    /// The reason why the link must end. Frames before the offending one have been processed. Close the session then.
    pub fn process(&mut self, broker: &Broker, now: Now) -> Result<(), End> {
        let received_bytes = self.received.len();
        let processed = self.process_frames(broker, now);
        let bytes = received_bytes - self.received.len();
        if bytes > 0 && self.settled.is_some() {
            self.unacked_bytes += bytes;
            self.acks_at_ms.get_or_insert(now.ms + ACK_MS_MAX);
            let has_answer = !self.replies.is_empty();
            if has_answer || self.unacked_bytes >= ACK_BYTES_MAX {
                self.ack(broker);
            }
        }
        processed
    }

    /// Number of the session that this one replaces, once. [Close](Self::close) it with [`End::replaced`].
    pub fn replaces(&mut self) -> Option<u64> {
        self.replaces.take()
    }

    /// Answers to send.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        &self.replies
    }

    /// Removes the first `count` bytes of [`unsent`](Self::unsent).
    pub fn sent(&mut self, count: usize) {
        self.replies.drain(..count.min(self.replies.len()));
    }

    /// Latest time for the next [`tick`](Self::tick).
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        let times = [self.hello_by_ms, self.acks_at_ms, self.tells_at_ms];
        times.into_iter().flatten().min()
    }

    /// Checks the deadline for the hello, sends an ack that was delayed, and tells the publisher a newer position. Call it when
    /// it is [due](Self::due_ms), and within 20 ms after the journal has a new entry.
    ///
    /// # Errors
    /// The reason why the link must end.
    pub fn tick(&mut self, broker: &Broker, now_ms: u64) -> Result<(), End> {
        if let Some(hello_by_ms) = self.hello_by_ms {
            if hello_by_ms <= now_ms {
                let message = format!("no hello came within {HELLO_MS_MAX} ms");
                return Err(End::Fault(codes::LINK_BAD_FRAME, message));
            }
            return Ok(());
        }
        if self.acks_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            self.ack(broker);
        }
        let position = broker.newest();
        // A publisher that does not read is told the newest position once it does.
        if position <= self.told || !self.replies.is_empty() {
            self.tells_at_ms = None;
        } else if *self.tells_at_ms.get_or_insert(now_ms + MOVED_MS_MAX) <= now_ms {
            self.tells_at_ms = None;
            self.told = position;
            self.reply(&ToPublisher::Moved(Moved { position }));
        }
        Ok(())
    }

    /// Closes the session. Send what is [unsent](Self::unsent) afterwards: it tells the publisher the reason.
    pub fn close(&mut self, broker: &Broker, end: End, now_ms: u64) {
        self.ack(broker);
        broker.unlink(self.origin(), now_ms);
        let (reason, detail) = match end {
            End::Closed => ("closed", String::new()),
            End::Broken(message) => ("broken", message),
            End::Fault(code, message) => {
                let level = if code == codes::LINK_DRAIN {
                    Level::Info
                } else {
                    Level::Error
                };
                event!(
                    level,
                    "link_fault",
                    publisher = self.name,
                    code = code.name,
                    message
                );
                self.reply(&ToPublisher::Fault(Fault {
                    code: code.number,
                    message: message.clone(),
                }));
                (code.name, message)
            }
        };
        event!(
            Level::Info,
            "publisher_unlinked",
            publisher = self.name,
            link = self.number,
            reason,
            detail
        );
    }

    fn process_frames(&mut self, broker: &Broker, now: Now) -> Result<(), End> {
        while let Some(frame) = Frame::split(&mut self.received)? {
            if self.is_open() {
                self.propose(broker, &frame, now)?;
            } else {
                self.greet(broker, &frame, now.ms)?;
            }
        }
        Ok(())
    }

    fn greet(&mut self, broker: &Broker, frame: &Frame, now_ms: u64) -> Result<(), End> {
        let ToSidecar::Hello(hello) = ToSidecar::decode(frame)? else {
            let message = "the first frame must be a hello".into();
            return Err(End::Fault(codes::LINK_BAD_FRAME, message));
        };
        if hello.version_min > PROTOCOL_VERSION || hello.version_max < PROTOCOL_VERSION {
            let (least, most) = (hello.version_min, hello.version_max);
            let message = format!(
                "the publisher speaks versions {least} to {most} of the link, the sidecar {PROTOCOL_VERSION}"
            );
            return Err(End::Fault(codes::LINK_UNSUPPORTED_VERSION, message));
        }
        self.publisher = hello.publisher;
        self.name.clone_from(&hello.name);
        let fingerprint = self.agree_on_key(&hello)?;
        let (greeting, cursor) = broker
            .greet(self.origin(), hello.done, now_ms)
            .map_err(|_| End::Fault(codes::LINK_FULL, codes::LINK_FULL.meaning.into()))?;
        self.hello_by_ms = None;
        self.replaces = greeting.replaces;
        self.told = cursor.position;
        event!(
            Level::Info,
            "publisher_linked",
            publisher = self.name,
            link = self.number
        );
        self.reply(&ToPublisher::Welcome(Welcome {
            version: PROTOCOL_VERSION,
            last: greeting.last,
            position: cursor.position,
            fingerprint,
            epoch: cursor.epoch,
        }));
        Ok(())
    }

    /// Fingerprint for the welcome: the publisher's own if it is one of ours, because during a rotation several keys are
    /// valid. A publisher without a key signs no tokens, and gets that of our first key.
    fn agree_on_key(&self, hello: &Hello) -> Result<[u8; 8], End> {
        let fingerprints = self.keys.current().fingerprints();
        if hello.fingerprint == [0; 8] {
            return Ok(fingerprints.first().copied().unwrap_or_default());
        }
        if fingerprints.contains(&hello.fingerprint) {
            return Ok(hello.fingerprint);
        }
        let code = codes::LINK_KEY_MISMATCH;
        let message = "the publisher signs with another secret than the sidecar";
        Err(End::Fault(code, message.into()))
    }

    /// Validates a frame, proposes it, and answers it once its outcome is known.
    fn propose(&mut self, broker: &Broker, frame: &Frame, now: Now) -> Result<(), End> {
        let proposal = match ToSidecar::decode(frame) {
            Ok(ToSidecar::Publish(publish)) => Proposal::publish(&publish, PAYLOAD_BYTES_MAX),
            Ok(ToSidecar::Revoke(revoke)) => {
                let set_back_from_ms = broker.set_back_from_ms(now.wall_ms);
                Proposal::revoke(&revoke, now.wall_ms + LEEWAY_MS, set_back_from_ms)
            }
            Ok(ToSidecar::Skip(skip)) => Proposal::skip(&skip),
            Ok(ToSidecar::Hello(_)) => {
                return Err(End::Fault(codes::LINK_BAD_FRAME, "a second hello".into()));
            }
            Err(FrameError::UnknownOption {
                tag,
                sequence: Some(sequence),
            }) => {
                let unnumbered = FrameError::UnknownOption {
                    tag,
                    sequence: None,
                };
                let rejection = Rejection {
                    code: codes::LINK_UNKNOWN_OPTION,
                    message: unnumbered.to_string(),
                };
                Proposal::rejected(sequence, rejection)
            }
            Err(error) => return Err(error.into()),
        };
        let (sequence, wants_receipt) = (proposal.sequence(), proposal.wants_receipt());
        let outcome = broker.propose(self.origin(), proposal, now.ms);
        self.answer(sequence, wants_receipt, outcome)
    }

    /// Answers a frame with its outcome.
    fn answer(&mut self, sequence: u64, wants_receipt: bool, outcome: Outcome) -> Result<(), End> {
        let (position, duplicate) = match outcome {
            Outcome::Landed {
                receipt, duplicate, ..
            } => (Some(receipt), duplicate),
            Outcome::Known { receipt, duplicate } => (receipt, duplicate),
            Outcome::Revoked {
                position,
                revocation,
            } => {
                self.log_revocation(&revocation);
                (Some(position), false)
            }
            Outcome::Skipped => {
                event!(
                    Level::Warn,
                    "publications_skipped",
                    publisher = self.name,
                    through = sequence
                );
                (None, false)
            }
            Outcome::Rejected(rejection) => {
                self.refuse(sequence, rejection);
                (None, false)
            }
            Outcome::UnderWay => return Ok(()),
            Outcome::Replaced => return Err(End::replaced()),
        };
        self.settled = self.settled.max(Some(sequence));
        if let Some(position) = position.filter(|_| wants_receipt) {
            self.reply(&ToPublisher::Receipt(Receipt {
                sequence,
                position,
                duplicate,
            }));
        }
        Ok(())
    }

    /// Sender of the frames of this session.
    fn origin(&self) -> Origin {
        Origin {
            publisher: self.publisher,
            link: self.number,
        }
    }

    fn log_revocation(&self, revocation: &Revocation) {
        let sessions = if revocation.session.is_none() {
            "all"
        } else {
            "one"
        };
        event!(
            Level::Info,
            "user_revoked",
            user = revocation.user,
            sessions,
            publisher = self.name
        );
    }

    fn refuse(&mut self, sequence: u64, rejection: Rejection) {
        event!(
            Level::Warn,
            "publication_refused",
            publisher = self.name,
            code = rejection.code.name,
            message = rejection.message
        );
        self.reply(&ToPublisher::Refusal(Refusal {
            sequence,
            code: rejection.code.number,
            message: rejection.message,
        }));
    }

    fn ack(&mut self, broker: &Broker) {
        self.acks_at_ms = None;
        self.unacked_bytes = 0;
        if let Some(sequence) = self.settled.take() {
            let position = broker.newest();
            self.told = position;
            self.reply(&ToPublisher::Ack(Ack { sequence, position }));
        }
    }

    fn reply(&mut self, frame: &ToPublisher) {
        frame.encode(&mut self.replies);
    }
}

#[cfg(test)]
mod tests;
