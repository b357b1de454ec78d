//! One publisher's link, from its hello to its end.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use interprocess::local_socket::tokio::Stream;
use lineside_hub::{Checked, CheckedRevocation, PublishOutcome, Refused};
use lineside_protocol::codes::{self, LinkCode};
use lineside_protocol::frame::{
    Ack, Disconnect, Fault, Frame, FrameError, Hello, Moved, PROTOCOL_VERSION, Receipt, Refusal,
    ToPublisher, ToSidecar, Welcome,
};
use lineside_protocol::{PAYLOAD_BYTES_MAX, Position};
use lineside_token::LEEWAY_MS;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, watch};

use super::Ingress;
use crate::log::{Level, event};

/// What one read takes from a link, in bytes: what a publisher's kernel buffer holds by default (212,992).
const READ_BYTES: usize = 256 * 1024;

/// Time for a hello, in milliseconds.
const HELLO_MS_MAX: u64 = 5000;

/// A publisher hears of a new position at the latest after this time, in milliseconds; a page's cursor is that fresh.
const MOVED_MS_MAX: u64 = 20;

/// For an app whose tokens this sidecar will refuse.
const KEY_REMEDY: &str = "publisher and sidecar sign with different keys: start the sidecar with `bundle exec lineside` \
                          inside the app, or give both the same LINESIDE_SECRET";

/// Why a link ends.
pub(super) enum End {
    /// The publisher closed it, or it broke.
    Gone(io::Error),
    /// The publisher must be told.
    Fault(LinkCode, String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::UnknownKind(_) => codes::LINK_UNKNOWN_KIND,
            _ => codes::LINK_BAD_FRAME,
        };
        Self::Fault(code, error.to_string())
    }
}

/// One publisher's link.
pub(super) struct Session<'a> {
    ingress: &'a Ingress,
    stream: &'a Stream,
    number: u64,
    publisher: [u8; 16],
    name: String,
    buffer: BytesMut,
    replies: Vec<u8>,
    /// The newest position that the publisher was told.
    told: Position,
    /// The newest sequence that was dealt with, and not acked yet.
    dealt: Option<u64>,
}

impl End {
    pub(super) fn replaced() -> Self {
        Self::Fault(codes::LINK_REPLACED, codes::LINK_REPLACED.meaning.into())
    }
}

impl<'a> Session<'a> {
    pub(super) fn new(ingress: &'a Ingress, stream: &'a Stream, number: u64) -> Self {
        Self {
            ingress,
            stream,
            number,
            publisher: [0; 16],
            name: String::new(),
            buffer: BytesMut::new(),
            replies: Vec::new(),
            told: Position::default(),
            dealt: None,
        }
    }

    pub(super) async fn run(&mut self, replaced: &Arc<Notify>) -> End {
        match self.greet(replaced).await {
            Err(end) => end,
            Ok(()) => self.publish().await,
        }
    }

    async fn greet(&mut self, replaced: &Arc<Notify>) -> Result<(), End> {
        let deadline = Duration::from_millis(HELLO_MS_MAX);
        let hello = tokio::time::timeout(deadline, self.hello())
            .await
            .unwrap_or_else(|_| {
                Err(End::Fault(
                    codes::LINK_BAD_FRAME,
                    format!("no hello came within {HELLO_MS_MAX} ms"),
                ))
            })?;
        if hello.version_min > PROTOCOL_VERSION || hello.version_max < PROTOCOL_VERSION {
            let (least, most) = (hello.version_min, hello.version_max);
            let message = format!(
                "the publisher speaks versions {least} to {most} of the link, the sidecar {PROTOCOL_VERSION}"
            );
            return Err(End::Fault(codes::LINK_UNSUPPORTED_VERSION, message));
        }
        self.publisher = hello.publisher;
        self.name.clone_from(&hello.name);
        let greeting = {
            let mut hub = self.ingress.hub();
            let now_ms = self.ingress.clock.now_ms();
            let greeting = hub
                .publishers
                .hello(hello.publisher, hello.done, self.number, now_ms);
            greeting.map(|greeting| (greeting, hub.journal.cursor()))
        };
        let (greeting, cursor) =
            greeting.map_err(|_| End::Fault(codes::LINK_FULL, codes::LINK_FULL.meaning.into()))?;
        let older = {
            let mut links = self.ingress.links();
            links.insert(self.number, Arc::clone(replaced));
            greeting.replaces.and_then(|older| links.remove(&older))
        };
        if let Some(older) = older {
            older.notify_one();
        }
        let fingerprints = self.ingress.keys.current().fingerprints();
        let shared = fingerprints.iter().find(|it| **it == hello.fingerprint);
        if shared.is_none() && hello.fingerprint != [0; 8] {
            let fields: &[(_, &dyn Display)] =
                &[("publisher", &self.name), ("remedy", &KEY_REMEDY)];
            event(Level::Error, "key_mismatch", fields);
        }
        event(
            Level::Info,
            "publisher_linked",
            &[("publisher", &self.name), ("link", &self.number)],
        );
        self.told = cursor.position;
        let welcome = Welcome {
            version: PROTOCOL_VERSION,
            last: greeting.last,
            position: cursor.position,
            // Within a rotation any of the keys is good, so theirs is named back where it is one of them.
            fingerprint: shared.or(fingerprints.first()).copied().unwrap_or_default(),
            payload_bytes_max: u32::try_from(PAYLOAD_BYTES_MAX).unwrap_or(u32::MAX),
            epoch: cursor.epoch,
        };
        self.reply(&ToPublisher::Welcome(welcome));
        Ok(self.flush().await?)
    }

    async fn hello(&mut self) -> Result<Hello, End> {
        loop {
            if let Some(frame) = Frame::split(&mut self.buffer)? {
                return match ToSidecar::decode(&frame)? {
                    ToSidecar::Hello(hello) => Ok(hello),
                    ToSidecar::Publish(_) | ToSidecar::Skip(_) | ToSidecar::Disconnect(_) => {
                        Err(End::Fault(
                            codes::LINK_BAD_FRAME,
                            "the first frame must be a hello".into(),
                        ))
                    }
                };
            }
            self.read().await?;
        }
    }

    async fn publish(&mut self) -> End {
        let mut newest = self.ingress.newest.subscribe();
        let mut stop = self.ingress.stop.subscribe();
        let mut tell_at = None;
        loop {
            if let Err(end) = self.take().await {
                return end;
            }
            let tell = async {
                match tell_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // A publisher that never pauses must not keep the others, the browsers and the signals waiting.
            tokio::task::yield_now().await;
            tokio::select! {
                biased;
                () = stopped(&mut stop) => {
                    return End::Fault(codes::LINK_DRAIN, codes::LINK_DRAIN.meaning.into());
                }
                () = tell => {
                    tell_at = None;
                    let position = *newest.borrow_and_update();
                    if let Err(error) = self.tell(position).await {
                        return End::Gone(error);
                    }
                }
                read = self.read() => if let Err(error) = read {
                    return End::Gone(error);
                },
                Ok(()) = newest.changed(), if tell_at.is_none() => {
                    tell_at = Some(tokio::time::Instant::now() + Duration::from_millis(MOVED_MS_MAX));
                }
            }
        }
    }

    /// Takes every whole frame out of the buffer and answers them together.
    async fn take(&mut self) -> Result<(), End> {
        let mut frames = Vec::new();
        let mut fault = None;
        loop {
            match Frame::split(&mut self.buffer) {
                Ok(None) => break,
                Ok(Some(frame)) => frames.push(frame),
                Err(error) => {
                    fault = Some(error.into());
                    break;
                }
            }
        }
        if !frames.is_empty() {
            for shard in &self.ingress.shards {
                shard.has_room().await;
            }
        }
        for frame in &frames {
            if let Err(end) = self.act(frame) {
                fault = Some(end);
                break;
            }
        }
        self.ack();
        self.flush().await?;
        fault.map_or(Ok(()), Err)
    }

    fn act(&mut self, frame: &Frame) -> Result<(), End> {
        match ToSidecar::decode(frame) {
            Ok(ToSidecar::Publish(publish)) => {
                let checked = Checked::inspect(&publish, PAYLOAD_BYTES_MAX);
                self.land(&checked, (publish.sequence, publish.wants_receipt))
            }
            Ok(ToSidecar::Disconnect(disconnect)) => self.revoke(&disconnect),
            Ok(ToSidecar::Skip(skip)) => {
                self.ingress
                    .hub()
                    .publishers
                    .skip(self.publisher, self.number, skip.through);
                event(
                    Level::Warn,
                    "publications_skipped",
                    &[("publisher", &self.name), ("through", &skip.through)],
                );
                self.dealt = self.dealt.max(Some(skip.through));
                Ok(())
            }
            Ok(ToSidecar::Hello(_)) => {
                Err(End::Fault(codes::LINK_BAD_FRAME, "a second hello".into()))
            }
            Err(FrameError::UnknownOption {
                tag,
                sequence: Some(sequence),
            }) => {
                let message = FrameError::UnknownOption {
                    tag,
                    sequence: None,
                }
                .to_string();
                let refused = Refused {
                    code: codes::LINK_UNKNOWN_OPTION,
                    message,
                };
                self.land(&Checked::refused(sequence, refused), (sequence, false))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn land(&mut self, frame: &Checked, (sequence, wants_receipt): (u64, bool)) -> Result<(), End> {
        let now_ms = self.ingress.clock.now_ms();
        let outcome = {
            let mut hub = self.ingress.hub();
            let outcome = hub.publish(self.publisher, self.number, frame, now_ms);
            if let PublishOutcome::Landed { publications, .. } = &outcome {
                for shard in &self.ingress.shards {
                    shard.publish(publications);
                }
            }
            outcome
        };
        self.answer(sequence, wants_receipt, outcome)
    }

    fn revoke(&mut self, frame: &Disconnect) -> Result<(), End> {
        let latest_ms = self.ingress.clock.wall_ms() + LEEWAY_MS;
        let checked = CheckedRevocation::inspect(frame, latest_ms);
        let outcome = {
            let mut hub = self.ingress.hub();
            let outcome = hub.revoke(self.publisher, self.number, &checked);
            if let PublishOutcome::Revoked {
                position,
                revocation,
            } = &outcome
            {
                for shard in &self.ingress.shards {
                    shard.revoke(*position, revocation);
                }
            }
            outcome
        };
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
        self.answer(frame.sequence, frame.wants_receipt, outcome)
    }

    fn answer(
        &mut self,
        sequence: u64,
        wants_receipt: bool,
        outcome: PublishOutcome,
    ) -> Result<(), End> {
        self.dealt = self.dealt.max(Some(sequence));
        let (position, duplicate) = match outcome {
            PublishOutcome::Landed {
                receipt, duplicate, ..
            }
            | PublishOutcome::Known { receipt, duplicate } => (receipt, duplicate),
            PublishOutcome::Revoked { position, .. } => (position, false),
            PublishOutcome::Refused(refused) => {
                self.refuse(sequence, refused);
                return Ok(());
            }
            PublishOutcome::Replaced => {
                return Err(End::replaced());
            }
        };
        if wants_receipt {
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

    fn ack(&mut self) {
        if let Some(sequence) = self.dealt.take() {
            let position = self.ingress.hub().journal.newest();
            self.told = position;
            self.ingress.newest.send_replace(position);
            self.reply(&ToPublisher::Ack(Ack { sequence, position }));
        }
    }

    async fn tell(&mut self, position: Position) -> io::Result<()> {
        if position > self.told {
            self.told = position;
            self.reply(&ToPublisher::Moved(Moved { position }));
        }
        self.flush().await
    }

    fn reply(&mut self, frame: &ToPublisher) {
        frame.encode(&mut self.replies);
    }

    async fn read(&mut self) -> io::Result<()> {
        self.buffer.reserve(READ_BYTES);
        let mut stream = self.stream;
        match stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let mut stream = self.stream;
        stream.write_all(&self.replies).await?;
        self.replies.clear();
        Ok(())
    }

    pub(super) async fn close(&mut self, end: End) {
        self.ingress.links().remove(&self.number);
        self.ingress.hub().publishers.unlink(
            self.publisher,
            self.number,
            self.ingress.clock.now_ms(),
        );
        let (reason, detail) = match end {
            End::Gone(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                ("closed", String::new())
            }
            End::Gone(error) => ("broken", error.to_string()),
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
                // A publisher that does not read gets no reason.
                let _told = tokio::time::timeout(Duration::from_secs(1), self.flush()).await;
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
}

/// Returns when the links are to end.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Without a sender the whole sidecar has ended.
    let _ended = stop.wait_for(|stop| *stop).await.map(drop);
}
