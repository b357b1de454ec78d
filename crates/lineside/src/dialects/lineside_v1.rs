//! Dialect `lineside-v1`: protocol state of one connection, and the answers to its requests (docs/protocol.md).
//!
//! Rights come from tokens ([`rights`]), order and replay from the hub. Requests and times come in, and frames go into the
//! connection's outbox.

mod opening;
mod pings;
mod requested;
mod rights;

use std::sync::Arc;

use bytes::Bytes;
use lineside_hub::{Resumed, Revocation, Unencoded, Verdict, Want};
use lineside_protocol::channel;
use lineside_protocol::codes::{self, CloseCode, ErrorCode};
use lineside_protocol::envelope::{self, Envelope, Limits, Refused, Welcome, websocket_close};
use lineside_protocol::request::{Connect, Ref, Request, RequestError, Subscribe};

use super::allowance::{Allowance, MESSAGES_PER_SECOND_MAX};
use super::tokens::Refusal;
use super::{Ending, Turn};
use crate::clock::Now;
use crate::log::{Level, event};

pub use opening::Opening;
pub(super) use opening::SUBPROTOCOL;
pub(super) use pings::applied_by_text;
use requested::Requested;
use rights::Rights;

/// Maximum size of a message from a browser, in bytes: a connect that names 256 channels, each with its name, cursor and
/// channel token in about 400 bytes.
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// Maximum number of subscriptions per connection: the 129 that a token can bring, and as many again.
const SUBSCRIPTIONS_MAX: usize = 256;

/// Deadline for the connect, in milliseconds (docs/protocol.md).
pub(super) const CONNECT_MS_MAX: u64 = 5000;

/// Maximum silence after a ping, in milliseconds (docs/protocol.md).
pub(super) const SILENCE_MS_MAX: u64 = 10_000;

const LIMITS: Limits = Limits {
    message_bytes_max: MESSAGE_BYTES_MAX,
    subscriptions_max: SUBSCRIPTIONS_MAX,
    requests_per_second_max: MESSAGES_PER_SECOND_MAX,
};

/// Protocol state of one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Random name for the welcome and logs.
    name: [u8; 8],
    /// Contents of the upgrade request, until the connect.
    opening: Option<Box<Opening>>,
    /// Rights of a connected browser.
    rights: Option<Box<Rights>>,
    /// The upgrade request was the connect, as from a client without code of its own for this protocol.
    is_plain: bool,
    /// Reply that waits for its resume.
    pending: Option<Box<Pending>>,
    allowance: Allowance,
}

/// A reply that waits for its resume.
#[derive(Debug)]
enum Pending {
    Connect {
        refused: Vec<(String, ErrorCode)>,
        any_after: bool,
    },
    Subscribe {
        reference: Option<Ref>,
        any_after: bool,
    },
}

impl Connection {
    pub(super) fn new(opening: Opening, name: [u8; 8]) -> Self {
        let is_empty = opening.connect.is_none() && opening.identities.is_empty();
        Self {
            name,
            is_plain: opening.connect.is_some(),
            opening: (!is_empty).then(|| Box::new(opening)),
            rights: None,
            pending: None,
            allowance: Allowance::default(),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.rights.is_some()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.pending.is_some()
    }

    pub(super) fn name(&self) -> String {
        self.name.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.rights.as_ref()?.user()
    }

    pub(super) fn count_message(&mut self, now_s: u64) -> Result<(), Ending> {
        self.allowance.count(now_s)
    }

    pub(super) fn begin(&mut self, turn: &mut Turn<'_>) -> Result<(), Ending> {
        let connect = self.opening.as_mut().and_then(|it| it.connect.take());
        connect.map_or(Ok(()), |connect| self.connect(connect, turn))
    }

    pub(super) fn receive(&mut self, text: &str, turn: &mut Turn<'_>) -> Result<(), Ending> {
        match Request::parse(text) {
            Ok(Request::Connect(connect)) if !self.is_connected() => self.connect(connect, turn),
            Ok(request) if self.is_connected() => self.answer(request, turn),
            Err(error) if self.is_connected() => {
                let RequestError {
                    code,
                    reference,
                    message,
                } = error;
                refuse(&Refusal::new(code, message), reference.as_ref(), None, turn);
                Ok(())
            }
            not_a_connect => {
                let message = not_a_connect.map_or_else(
                    |error| error.message,
                    |_| "the first frame must be a connect".into(),
                );
                Err(Ending {
                    code: codes::CLOSE_BAD_CONNECT,
                    message: Some(message),
                })
            }
        }
    }

    fn connect(&mut self, connect: Connect, turn: &mut Turn<'_>) -> Result<(), Ending> {
        let opening = self.opening.take();
        let identities = opening
            .map(|opening| opening.identities)
            .unwrap_or_default();
        let rights = Rights::verify(connect.token.as_deref(), &identities, turn);
        let rights = rights.map_err(|refusal| Ending {
            code: refusal.close_code(),
            message: Some(refusal.message),
        })?;
        let rights = self.rights.insert(Box::new(rights));
        let any_after =
            connect.after.is_some() || connect.subscribe.iter().any(|entry| entry.after.is_some());
        let mut requested = Requested::of_token(rights.own_channels(), connect.after.as_ref());
        let mut refused = Vec::new();
        for Subscribe {
            channel,
            token,
            after,
        } in connect.subscribe
        {
            let after = after.or_else(|| connect.after.clone());
            match rights.open(&channel, token.as_deref(), turn) {
                Err(refusal) => {
                    log_refused(&channel, &refusal);
                    refused.push((channel, refusal.code));
                }
                Ok(()) if requested.add(&channel, after, SUBSCRIPTIONS_MAX) => {}
                Ok(()) => {
                    rights.forget(&channel);
                    refused.push((channel, codes::TOO_MANY_SUBSCRIPTIONS));
                }
            }
        }
        self.pending = Some(Box::new(Pending::Connect { refused, any_after }));
        self.resume(requested.into_wants(), turn);
        Ok(())
    }

    fn answer(&mut self, request: Request, turn: &mut Turn<'_>) -> Result<(), Ending> {
        match request {
            Request::Connect(Connect { reference, .. }) => {
                let refusal =
                    Refusal::new(codes::ALREADY_CONNECTED, codes::ALREADY_CONNECTED.meaning);
                refuse(&refusal, reference.as_ref(), None, turn);
            }
            Request::Subscribe { entry, reference } => self.subscribe(entry, reference, turn),
            Request::Unsubscribe { channel, reference } => {
                if let Err(error) = channel::check(&channel) {
                    let refusal = Refusal::new(codes::BAD_CHANNEL, error.to_string());
                    refuse(&refusal, reference.as_ref(), None, turn);
                    return Ok(());
                }
                turn.fan_out.unsubscribe(turn.id, &channel);
                self.forget(&channel);
                send(
                    turn,
                    &Envelope::Unsubscribed {
                        channel: &channel,
                        code: None,
                        reference: reference.as_ref(),
                    },
                );
            }
            Request::Refresh { token, reference } => {
                return self.refresh(&token, reference.as_ref(), turn);
            }
            Request::Pong { .. } => {}
        }
        Ok(())
    }

    fn subscribe(&mut self, entry: Subscribe, reference: Option<Ref>, turn: &mut Turn<'_>) {
        let Some(rights) = &mut self.rights else {
            return;
        };
        let full = turn.fan_out.subscriptions(turn.id).count() >= SUBSCRIPTIONS_MAX;
        let granted = if full && !turn.fan_out.is_subscribed(turn.id, &entry.channel) {
            let message = format!(
                "the connection holds {SUBSCRIPTIONS_MAX} channels already; unsubscribe first"
            );
            Err(Refusal::new(codes::TOO_MANY_SUBSCRIPTIONS, message))
        } else {
            rights.open(&entry.channel, entry.token.as_deref(), turn)
        };
        if let Err(refusal) = granted {
            log_refused(&entry.channel, &refusal);
            return refuse(&refusal, reference.as_ref(), Some(&entry.channel), turn);
        }
        let any_after = entry.after.is_some();
        self.pending = Some(Box::new(Pending::Subscribe {
            reference,
            any_after,
        }));
        let want = Want {
            channel: entry.channel.into(),
            after: entry.after,
        };
        self.resume(vec![want], turn);
    }

    fn resume(&mut self, wants: Vec<Want>, turn: &mut Turn<'_>) {
        if let Some(resumed) = turn.resume(wants) {
            self.resumed(resumed, turn);
        }
    }

    pub(super) fn resumed(&mut self, resumed: Resumed, turn: &mut Turn<'_>) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let cursor = turn.fan_out.cursor_at(resumed.floor);
        let seam = turn.fan_out.cursor_at(resumed.seam);
        let of = |verdict| {
            resumed
                .verdicts
                .iter()
                .filter(move |it| it.verdict == verdict)
        };
        let recovered = of(Verdict::Recovered).count();
        let lost: Vec<&str> = of(Verdict::Lost).map(|it| &*it.channel).collect();
        let is_caught_up = recovered > 0 || lost.is_empty();
        turn.counts.lost.add(lost.len() as u64);
        turn.counts.recovered.add(recovered as u64);
        let (any_after, only) = match *pending {
            Pending::Connect { refused, any_after } => {
                let channels: Vec<Arc<str>> =
                    turn.fan_out.subscriptions(turn.id).cloned().collect();
                let welcome = Welcome {
                    connection: &self.name(),
                    user: self.user(),
                    channels: channels.iter().map(|channel| &**channel).collect(),
                    refused: refused
                        .iter()
                        .map(|(channel, code)| Refused {
                            channel,
                            code: *code,
                        })
                        .collect(),
                    cursor,
                    recovered: any_after.then_some(lost.is_empty()),
                    lost: any_after.then_some(lost),
                    heartbeat: turn.rules.heartbeat_seconds,
                    limits: LIMITS,
                    features: &[],
                };
                send(turn, &Envelope::Welcome(welcome));
                (any_after, None)
            }
            Pending::Subscribe {
                reference,
                any_after,
            } => {
                let Some(only) = resumed.verdicts.first() else {
                    return;
                };
                let channel = &*only.channel;
                let recovered = any_after.then_some(lost.is_empty());
                send(
                    turn,
                    &Envelope::Subscribed {
                        channel,
                        cursor,
                        recovered,
                        reference: reference.as_ref(),
                    },
                );
                (any_after, Some(Arc::clone(&only.channel)))
            }
        };
        turn.counts.replayed.add(resumed.replay.len() as u64);
        turn.fan_out.push_replay(turn.id, resumed.replay);
        if any_after && is_caught_up {
            send(
                turn,
                &Envelope::CaughtUp {
                    cursor: seam,
                    channel: only.as_deref(),
                },
            );
        }
    }

    fn refresh(
        &mut self,
        token: &str,
        reference: Option<&Ref>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Ending> {
        let Some(rights) = &mut self.rights else {
            return Ok(());
        };
        if let Err(refusal) = rights.refresh(token, turn) {
            refuse(&refusal, reference, None, turn);
            return Ok(());
        }
        let exp = rights.exp().unwrap_or_default();
        let held: Vec<Arc<str>> = turn.fan_out.subscriptions(turn.id).cloned().collect();
        let wanted: Vec<Arc<str>> = rights
            .own_channels()
            .filter(|channel| !held.contains(channel))
            .collect();
        for channel in held
            .iter()
            .filter(|channel| !rights.covers(channel, turn.rules))
        {
            end_subscription(channel, codes::CLOSE_TOKEN_EXPIRED, turn)?;
        }
        let room = SUBSCRIPTIONS_MAX.saturating_sub(turn.fan_out.subscriptions(turn.id).count());
        let wants = wanted
            .into_iter()
            .take(room)
            .map(|channel| Want {
                channel,
                after: None,
            })
            .collect();
        // A resume without cursors never waits.
        let _resumed = turn.resume(wants);
        let channels: Vec<Arc<str>> = turn.fan_out.subscriptions(turn.id).cloned().collect();
        let channels = channels.iter().map(|channel| &**channel).collect();
        send(
            turn,
            &Envelope::Refreshed {
                exp,
                channels,
                reference,
            },
        );
        Ok(())
    }

    pub(super) fn expire(&mut self, turn: &mut Turn<'_>) -> Result<(), Ending> {
        let Some(rights) = &mut self.rights else {
            return Ok(());
        };
        if rights.is_expired(turn.now) {
            return Err(codes::CLOSE_TOKEN_EXPIRED.into());
        }
        for channel in rights.expire(turn.now) {
            if !rights.covers(&channel, turn.rules) {
                end_subscription(&channel, codes::CLOSE_TOKEN_EXPIRED, turn)?;
            }
        }
        Ok(())
    }

    pub(super) fn revoke(
        &mut self,
        revocation: &Revocation,
        turn: &mut Turn<'_>,
    ) -> Result<(), Ending> {
        let Some(rights) = &mut self.rights else {
            return Ok(());
        };
        if rights.is_ended_by(revocation, turn.now.wall_ms) {
            return Err(codes::CLOSE_TOKEN_REVOKED.into());
        }
        for channel in rights.revoke(revocation, turn.now.wall_ms) {
            if !rights.covers(&channel, turn.rules) {
                end_subscription(&channel, codes::CLOSE_TOKEN_REVOKED, turn)?;
            }
        }
        Ok(())
    }

    pub(super) fn expires_in_ms(&self, now: Now) -> Option<u64> {
        self.rights.as_ref()?.expires_in_ms(now)
    }

    fn forget(&mut self, channel: &str) {
        if let Some(rights) = &mut self.rights {
            rights.forget(channel);
        }
    }
}

/// Ends a subscription whose right has ended, and drops its unsent publications. If there were any, ends the connection: what
/// follows them in the outbox would move the page's cursor past them, and a later right to the channel would resume behind them.
///
/// # Errors
/// Returns an [`Ending`] with `code` if publications were dropped.
fn end_subscription(channel: &str, code: CloseCode, turn: &mut Turn<'_>) -> Result<(), Ending> {
    if !turn.fan_out.unsubscribe(turn.id, channel) {
        return Ok(());
    }
    if turn.fan_out.forget(turn.id, channel) {
        return Err(code.into());
    }
    send(
        turn,
        &Envelope::Unsubscribed {
            channel,
            code: Some(codes::EXPIRED),
            reference: None,
        },
    );
    Ok(())
}

/// Frames that tell the browser why the connection ends.
pub(super) fn closing_frames(ending: &Ending, after_ms: Option<u64>) -> [Bytes; 2] {
    let CloseCode { number, name, .. } = ending.code;
    let disconnect = Envelope::Disconnect {
        code: number,
        reason: name,
        message: ending.message.as_deref(),
        after_ms,
    };
    [disconnect.frame(), websocket_close(ending.code)]
}

/// Encodes a publication as the frame that all its subscribers receive.
pub(super) fn encode(publication: &Unencoded<'_>) -> Bytes {
    let Unencoded {
        channel,
        epoch,
        position,
        payload,
        resent,
    } = *publication;
    envelope::message(channel, epoch, position, payload, resent)
}

fn send(turn: &mut Turn<'_>, envelope: &Envelope<'_>) {
    turn.push(envelope.frame());
}

fn refuse(refusal: &Refusal, reference: Option<&Ref>, channel: Option<&str>, turn: &mut Turn<'_>) {
    let (code, message) = (refusal.code, refusal.message.as_str());
    let error = Envelope::Error {
        code,
        reference,
        channel,
        message,
    };
    send(turn, &error);
}

/// Logs a channel that a page may not read, because the usual cause is a mistake in the app.
fn log_refused(channel: &str, refusal: &Refusal) {
    if refusal.code == codes::FORBIDDEN {
        let (message, remedy) = (&refusal.message, "name it in lineside_meta_tags channels:");
        event!(Level::Info, "channel_refused", channel, message, remedy);
    }
}

#[cfg(test)]
mod tests;
