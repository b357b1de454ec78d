//! One publisher's link, from its hello to its end.

use std::fmt::Display;

use bytes::BytesMut;
use lineside_hub::{Admission, Checked, CheckedRevocation, PublishOutcome, Refused};
use lineside_protocol::codes;
use lineside_protocol::frame::{
    Ack, Disconnect, Fault, Frame, FrameError, Hello, Moved, PROTOCOL_VERSION, Receipt, Refusal,
    ToPublisher, ToSidecar, Welcome,
};
use lineside_protocol::{PAYLOAD_BYTES_MAX, Position};
use lineside_token::LEEWAY_MS;

use super::{End, Intake};
use crate::clock::Now;
use crate::log::{Level, event};

/// Time for a hello, in milliseconds.
const HELLO_MS_MAX: u64 = 5000;

/// A publisher hears of a new position at the latest after this time, in milliseconds; a page's cursor is that fresh.
const MOVED_MS_MAX: u64 = 20;

/// For an app whose tokens this sidecar will refuse.
const KEY_REMEDY: &str = "publisher and sidecar sign with different keys: start the sidecar with `bundle exec lineside` \
                          inside the app, or give both the same LINESIDE_SECRET";

/// The sidecar's end of one link: bytes come in, publications and sign-outs go into the [`Intake`], and answers out.
///
/// It does no IO and asks no clock; the [module](super) shows how it is driven.
#[derive(Debug)]
pub struct Session {
    number: u64,
    publisher: [u8; 16],
    name: String,
    /// When the hello must have come; nothing once it has.
    hello_by_ms: Option<u64>,
    received: BytesMut,
    replies: Vec<u8>,
    /// The session that this one takes the place of, until somebody has asked.
    replaces: Option<u64>,
    /// The newest position that the publisher was told.
    told: Position,
    /// When it is told a newer one.
    tells_at_ms: Option<u64>,
    /// The newest sequence that was dealt with, and not acked yet.
    dealt: Option<u64>,
}

impl Session {
    /// The link that was accepted as the `number`th.
    #[must_use]
    pub fn new(number: u64, now_ms: u64) -> Self {
        Self {
            number,
            publisher: [0; 16],
            name: String::new(),
            hello_by_ms: Some(now_ms + HELLO_MS_MAX),
            received: BytesMut::new(),
            replies: Vec::new(),
            replaces: None,
            told: Position::default(),
            tells_at_ms: None,
            dealt: None,
        }
    }

    /// Where bytes that came are to be appended. What stays there after [`take`](Self::take) is less than one frame.
    pub fn received(&mut self) -> &mut BytesMut {
        &mut self.received
    }

    /// Whether the publisher has said who it is.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.hello_by_ms.is_none()
    }

    /// Deals with every frame that has come whole, and answers them together.
    ///
    /// # Errors
    /// Says why the link is to end. What came before the offending frame has been dealt with, and its answers are to be sent.
    pub fn take(&mut self, intake: &Intake, now: Now) -> Result<(), End> {
        let taken = self.act_on_all(intake, now);
        self.ack(intake);
        taken
    }

    /// The number of the session that this one takes the place of: it is to [close](Self::close) as [`End::replaced`].
    /// Says so once.
    pub fn replaces(&mut self) -> Option<u64> {
        self.replaces.take()
    }

    /// Answers that are to be sent: those to what one [`take`](Self::take) was given, if they are sent before the next.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        &self.replies
    }

    /// The link took `count` bytes of [`unsent`](Self::unsent).
    pub fn sent(&mut self, count: usize) {
        self.replies.drain(..count.min(self.replies.len()));
    }

    /// When to [`tick`](Self::tick) at the latest, if nothing happens before.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.hello_by_ms.or(self.tells_at_ms)
    }

    /// What time brings: the end of the wait for a hello, and word of a newer position. To be called when it is
    /// [due](Self::due_ms), and after other sessions have taken something.
    ///
    /// # Errors
    /// Says why the link is to end.
    pub fn tick(&mut self, intake: &Intake, now_ms: u64) -> Result<(), End> {
        if let Some(hello_by_ms) = self.hello_by_ms {
            if hello_by_ms <= now_ms {
                let message = format!("no hello came within {HELLO_MS_MAX} ms");
                return Err(End::Fault(codes::LINK_BAD_FRAME, message));
            }
            return Ok(());
        }
        let position = intake.newest();
        if position <= self.told {
            self.tells_at_ms = None;
        } else if *self.tells_at_ms.get_or_insert(now_ms + MOVED_MS_MAX) <= now_ms {
            self.tells_at_ms = None;
            self.told = position;
            self.reply(&ToPublisher::Moved(Moved { position }));
        }
        Ok(())
    }

    /// Ends the session. A publisher that is still there is told why: send what is [unsent](Self::unsent).
    pub fn close(&mut self, intake: &Intake, end: End, now_ms: u64) {
        intake
            .hub()
            .publishers
            .unlink(self.publisher, self.number, now_ms);
        let (reason, detail) = match end {
            End::Closed => ("closed", String::new()),
            End::Broken(message) => ("broken", message),
            End::Fault(code, message) => {
                let level = if code == codes::LINK_DRAIN {
                    Level::Info
                } else {
                    Level::Error
                };
                event(
                    level,
                    "link_fault",
                    &[
                        ("publisher", &self.name),
                        ("code", &code.name),
                        ("message", &message),
                    ],
                );
                self.reply(&ToPublisher::Fault(Fault {
                    code: code.number,
                    message: message.clone(),
                }));
                (code.name, message)
            }
        };
        event(
            Level::Info,
            "publisher_unlinked",
            &[
                ("publisher", &self.name),
                ("link", &self.number),
                ("reason", &reason),
                ("detail", &detail),
            ],
        );
    }

    fn act_on_all(&mut self, intake: &Intake, now: Now) -> Result<(), End> {
        while let Some(frame) = Frame::split(&mut self.received)? {
            if self.is_open() {
                self.act(intake, &frame, now)?;
            } else {
                self.greet(intake, &frame, now.ms)?;
            }
        }
        Ok(())
    }

    fn greet(&mut self, intake: &Intake, frame: &Frame, now_ms: u64) -> Result<(), End> {
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
        let (greeting, cursor) = {
            let mut hub = intake.hub();
            let greeting = hub
                .publishers
                .hello(hello.publisher, hello.done, self.number, now_ms)
                .map_err(|_| End::Fault(codes::LINK_FULL, codes::LINK_FULL.meaning.into()))?;
            (greeting, hub.journal.cursor())
        };
        self.hello_by_ms = None;
        self.replaces = greeting.replaces;
        self.told = cursor.position;
        let fingerprint = self.agree_on_key(intake, &hello);
        event(
            Level::Info,
            "publisher_linked",
            &[("publisher", &self.name), ("link", &self.number)],
        );
        self.reply(&ToPublisher::Welcome(Welcome {
            version: PROTOCOL_VERSION,
            last: greeting.last,
            position: cursor.position,
            fingerprint,
            payload_bytes_max: u32::try_from(PAYLOAD_BYTES_MAX).unwrap_or(u32::MAX),
            epoch: cursor.epoch,
        }));
        Ok(())
    }

    /// The fingerprint to answer with. Within a rotation any of the keys is good, so theirs is named back where it is one
    /// of ours.
    fn agree_on_key(&self, intake: &Intake, hello: &Hello) -> [u8; 8] {
        let fingerprints = intake.fingerprints();
        let shared = fingerprints.iter().find(|it| **it == hello.fingerprint);
        if shared.is_none() && hello.fingerprint != [0; 8] {
            let fields: &[(_, &dyn Display)] =
                &[("publisher", &self.name), ("remedy", &KEY_REMEDY)];
            event(Level::Error, "key_mismatch", fields);
        }
        shared.or(fingerprints.first()).copied().unwrap_or_default()
    }

    fn act(&mut self, intake: &Intake, frame: &Frame, now: Now) -> Result<(), End> {
        match ToSidecar::decode(frame) {
            Ok(ToSidecar::Publish(publish)) => {
                let checked = Checked::inspect(&publish, PAYLOAD_BYTES_MAX);
                let outcome = intake.publish(self.names(), &checked, now.ms);
                self.answer((publish.sequence, publish.wants_receipt), outcome)
            }
            Ok(ToSidecar::Disconnect(disconnect)) => {
                self.revoke(intake, &disconnect, now.wall_ms + LEEWAY_MS)
            }
            Ok(ToSidecar::Skip(skip)) => self.skip(intake, skip.through),
            Ok(ToSidecar::Hello(_)) => {
                Err(End::Fault(codes::LINK_BAD_FRAME, "a second hello".into()))
            }
            Err(FrameError::UnknownOption {
                tag,
                sequence: Some(sequence),
            }) => {
                let unnumbered = FrameError::UnknownOption {
                    tag,
                    sequence: None,
                };
                let refused = Refused {
                    code: codes::LINK_UNKNOWN_OPTION,
                    message: unnumbered.to_string(),
                };
                let refused = Checked::refused(sequence, refused);
                let outcome = intake.publish(self.names(), &refused, now.ms);
                self.answer((sequence, false), outcome)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whose frames these are, and on which link they came.
    fn names(&self) -> ([u8; 16], u64) {
        (self.publisher, self.number)
    }

    fn skip(&mut self, intake: &Intake, through: u64) -> Result<(), End> {
        let publishers = &mut intake.hub().publishers;
        if publishers.skip(self.publisher, self.number, through) == Admission::Replaced {
            return Err(End::replaced());
        }
        event(
            Level::Warn,
            "publications_skipped",
            &[("publisher", &self.name), ("through", &through)],
        );
        self.dealt = self.dealt.max(Some(through));
        Ok(())
    }

    fn revoke(&mut self, intake: &Intake, frame: &Disconnect, latest_ms: u64) -> Result<(), End> {
        let checked = CheckedRevocation::inspect(frame, latest_ms);
        let outcome = intake.revoke(self.names(), &checked);
        if let PublishOutcome::Revoked { revocation, .. } = &outcome {
            let whole = revocation.session.is_none();
            event(
                Level::Info,
                "user_signed_out",
                &[
                    ("user", &revocation.user),
                    ("sessions", if whole { &"all" } else { &"one" }),
                    ("publisher", &self.name),
                ],
            );
        }
        self.answer((frame.sequence, frame.wants_receipt), outcome)
    }

    fn answer(
        &mut self,
        (sequence, wants_receipt): (u64, bool),
        outcome: PublishOutcome,
    ) -> Result<(), End> {
        let (position, duplicate) = match outcome {
            PublishOutcome::Landed {
                receipt, duplicate, ..
            } => (Some(receipt), duplicate),
            PublishOutcome::Known { receipt, duplicate } => (receipt, duplicate),
            PublishOutcome::Revoked { position, .. } => (Some(position), false),
            PublishOutcome::Refused(refused) => {
                self.dealt = self.dealt.max(Some(sequence));
                self.refuse(sequence, refused);
                return Ok(());
            }
            PublishOutcome::Replaced => return Err(End::replaced()),
        };
        self.dealt = self.dealt.max(Some(sequence));
        if let Some(position) = position.filter(|_| wants_receipt) {
            self.reply(&ToPublisher::Receipt(Receipt {
                sequence,
                position,
                duplicate,
            }));
        }
        Ok(())
    }

    fn refuse(&mut self, sequence: u64, refused: Refused) {
        let name = refused.code.name;
        event(
            Level::Warn,
            "publication_refused",
            &[
                ("publisher", &self.name),
                ("code", &name),
                ("message", &refused.message),
            ],
        );
        self.reply(&ToPublisher::Refusal(Refusal {
            sequence,
            code: refused.code.number,
            message: refused.message,
        }));
    }

    fn ack(&mut self, intake: &Intake) {
        if let Some(sequence) = self.dealt.take() {
            let position = intake.announce();
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
