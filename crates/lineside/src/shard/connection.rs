//! One browser's side of `lineside-v1`: who it is, what it may see, and the answers to its requests.
//!
//! Knows no socket and no clock: requests and times come in, frames go into the connection's outbox. What is delivered in
//! which order is the hub's ([`lineside_hub::Shard`]); what is allowed is the tokens' ([`lineside_token`]).

mod rights;
mod wants;

use std::sync::{Arc, Mutex, PoisonError};

use lineside_hub::{ConnectionId, Hub, Resume, Resumed, Revocation, Shard, Verdict, Want};
use lineside_protocol::codes::{self, CloseCode, ErrorCode};
use lineside_protocol::envelope::{Envelope, Limits, Refused, Welcome};
use lineside_protocol::request::{Connect, Ref, Request, RequestError, Subscribe};
use lineside_protocol::{Epoch, channel};
use lineside_token::Grant;

use crate::keyring::Keyring;
use crate::metrics::ShardCounts;

pub(crate) use rights::Refusal;
use rights::Rights;
use wants::Wants;

/// Channels of one connection at one time: what a token can bring (129), and as many again.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 256;

/// Requests a second that a connection may make, on average.
pub(crate) const REQUESTS_PER_SECOND_MAX: u32 = 50;

/// Seconds over which that average is taken: a page that opens may ask for many channels at once.
const REQUEST_BURST_SECONDS: u32 = 10;

/// What every connection of a shard is judged by.
#[derive(Debug)]
pub struct Rules {
    /// What tokens are verified with.
    pub keys: Arc<Keyring>,
    /// Channels that need no token.
    pub public_channels: Vec<Grant>,
    /// Seconds between pings, as the welcome tells.
    pub heartbeat_seconds: u64,
    /// The journal's epoch.
    pub epoch: Epoch,
}

/// What a connection may touch while it acts.
pub(crate) struct Turn<'a> {
    /// Its own number.
    pub(crate) id: ConnectionId,
    /// The shard that owns it.
    pub(crate) shard: &'a mut Shard,
    /// The journal, for replays, and who is signed out.
    pub(crate) hub: &'a Mutex<Hub>,
    /// What it is judged by.
    pub(crate) rules: &'a Rules,
    /// Milliseconds since the Unix epoch.
    pub(crate) wall_ms: u64,
    /// What its shard counts.
    pub(crate) counts: &'a ShardCounts,
}

impl Turn<'_> {
    /// Queues an envelope.
    pub(crate) fn send(&mut self, envelope: &Envelope<'_>) {
        self.shard.push_frame(self.id, envelope.frame());
    }

    /// Whether a token of the user, with this session and made at that time, is revoked.
    ///
    /// A revocation that lands after this was asked reaches the shard after this turn, and finds the connection there.
    fn is_revoked(&self, user: &str, session: Option<&str>, issued_ms: u64) -> bool {
        let hub = self.hub.lock().unwrap_or_else(PoisonError::into_inner);
        hub.revocations.is_revoked(user, session, issued_ms)
    }

    fn resume(&mut self, wants: Vec<Want>) -> Resume {
        let hub = self.hub.lock().unwrap_or_else(PoisonError::into_inner);
        self.shard.resume(self.id, &hub.journal, wants)
    }

    fn refuse(&mut self, refusal: &Refusal, reference: Option<&Ref>, channel: Option<&str>) {
        let (code, message) = (refusal.code, refusal.message.as_str());
        self.send(&Envelope::Error {
            code,
            reference,
            channel,
            message,
        });
    }
}

/// Why a connection must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// What the browser acts on.
    pub(crate) code: CloseCode,
    /// For people, where there is more to say.
    pub(crate) message: Option<String>,
}

impl From<CloseCode> for Ending {
    fn from(code: CloseCode) -> Self {
        Self {
            code,
            message: None,
        }
    }
}

/// One browser.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Random; names it in the welcome and in logs.
    name: [u8; 8],
    /// What its browser brought in a cookie, until it connects.
    identity: Option<Box<str>>,
    rights: Option<Box<Rights>>,
    /// An answer that waits for its resume.
    pending: Option<Box<Pending>>,
    /// Requests that may come at once, and when that was counted, in seconds.
    allowance: (u32, u64),
}

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
    /// A connection that has not said anything, with the identity of its cookie.
    pub(crate) fn new(name: [u8; 8], identity: Option<Box<str>>) -> Self {
        Self {
            name,
            identity,
            rights: None,
            pending: None,
            allowance: (REQUESTS_PER_SECOND_MAX * REQUEST_BURST_SECONDS, 0),
        }
    }

    /// Whether `connect` was heard.
    pub(crate) fn is_connected(&self) -> bool {
        self.rights.is_some()
    }

    /// Whether requests must wait, so that they are answered in order.
    pub(crate) fn is_busy(&self) -> bool {
        self.pending.is_some()
    }

    /// The name in the welcome and in logs.
    pub(crate) fn name(&self) -> String {
        self.name.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Who it is, once connected and unless anonymous.
    pub(crate) fn user(&self) -> Option<&str> {
        self.rights.as_ref()?.user()
    }

    /// Counts one message of any kind against the allowance. `now_s` is monotonic.
    pub(crate) fn count_request(&mut self, now_s: u64) -> Result<(), Ending> {
        let most = REQUESTS_PER_SECOND_MAX * REQUEST_BURST_SECONDS;
        let (left, counted_s) = self.allowance;
        let passed = u32::try_from(now_s.saturating_sub(counted_s)).unwrap_or(u32::MAX);
        let left = left
            .saturating_add(passed.saturating_mul(REQUESTS_PER_SECOND_MAX))
            .min(most);
        self.allowance = (left.saturating_sub(1), now_s);
        if left == 0 {
            Err(codes::CLOSE_TOO_MANY_REQUESTS.into())
        } else {
            Ok(())
        }
    }

    /// Acts on a text message.
    pub(crate) fn hear(&mut self, text: &str, turn: &mut Turn<'_>) -> Result<(), Ending> {
        match Request::parse(text) {
            Ok(Request::Connect(connect)) if !self.is_connected() => self.connect(connect, turn),
            Ok(request) if self.is_connected() => {
                self.answer(request, turn);
                Ok(())
            }
            Err(error) if self.is_connected() => {
                let RequestError {
                    code,
                    reference,
                    message,
                } = error;
                turn.refuse(&Refusal::new(code, message), reference.as_ref(), None);
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

    /// Acts on a connect, from the first message or the URL.
    pub(crate) fn connect(&mut self, connect: Connect, turn: &mut Turn<'_>) -> Result<(), Ending> {
        let identity = self.identity.take();
        let rights = Rights::verify(connect.token.as_deref(), identity.as_deref(), turn);
        let rights = rights.map_err(|refusal| Ending {
            code: refusal.close_code(),
            message: Some(refusal.message),
        })?;
        let rights = self.rights.insert(Box::new(rights));
        let any_after =
            connect.after.is_some() || connect.subscribe.iter().any(|entry| entry.after.is_some());
        let mut wants = Wants::of_token(rights.own_channels(), connect.after.as_ref());
        let mut refused = Vec::new();
        for Subscribe {
            channel,
            token,
            after,
        } in connect.subscribe
        {
            let after = after.or_else(|| connect.after.clone());
            match rights.open(&channel, token.as_deref(), turn) {
                Err(refusal) => refused.push((channel, refusal.code)),
                Ok(()) if wants.name(&channel, after, SUBSCRIPTIONS_MAX) => {}
                Ok(()) => refused.push((channel, codes::TOO_MANY_SUBSCRIPTIONS)),
            }
        }
        let resume = turn.resume(wants.into_vec());
        self.pending = Some(Box::new(Pending::Connect { refused, any_after }));
        self.settle(resume, turn);
        Ok(())
    }

    fn answer(&mut self, request: Request, turn: &mut Turn<'_>) {
        match request {
            Request::Connect(Connect { reference, .. }) => {
                let refusal =
                    Refusal::new(codes::ALREADY_CONNECTED, codes::ALREADY_CONNECTED.meaning);
                turn.refuse(&refusal, reference.as_ref(), None);
            }
            Request::Subscribe { entry, reference } => self.subscribe(entry, reference, turn),
            Request::Unsubscribe { channel, reference } => {
                if let Err(error) = channel::check(&channel) {
                    let refusal = Refusal::new(codes::BAD_CHANNEL, error.to_string());
                    return turn.refuse(&refusal, reference.as_ref(), None);
                }
                turn.shard.unsubscribe(turn.id, &channel);
                self.forget(&channel);
                turn.send(&Envelope::Unsubscribed {
                    channel: &channel,
                    code: None,
                    reference: reference.as_ref(),
                });
            }
            Request::Refresh { token, reference } => self.refresh(&token, reference.as_ref(), turn),
            Request::Pong => {}
        }
    }

    fn subscribe(&mut self, entry: Subscribe, reference: Option<Ref>, turn: &mut Turn<'_>) {
        let Some(rights) = &mut self.rights else {
            return;
        };
        let full = turn.shard.subscriptions(turn.id).count() >= SUBSCRIPTIONS_MAX;
        let granted = if full && !turn.shard.is_subscribed(turn.id, &entry.channel) {
            let message = format!(
                "the connection holds {SUBSCRIPTIONS_MAX} channels already; unsubscribe first"
            );
            Err(Refusal::new(codes::TOO_MANY_SUBSCRIPTIONS, message))
        } else {
            rights.open(&entry.channel, entry.token.as_deref(), turn)
        };
        if let Err(refusal) = granted {
            return turn.refuse(&refusal, reference.as_ref(), Some(&entry.channel));
        }
        let any_after = entry.after.is_some();
        let resume = turn.resume(vec![Want {
            channel: entry.channel.into(),
            after: entry.after,
        }]);
        self.pending = Some(Box::new(Pending::Subscribe {
            reference,
            any_after,
        }));
        self.settle(resume, turn);
    }

    fn settle(&mut self, resume: Resume, turn: &mut Turn<'_>) {
        match resume {
            Resume::Ready(resumed) => self.resumed(resumed, turn),
            Resume::Waiting => {}
        }
    }

    /// Gives the answer that waited for its resume.
    pub(crate) fn resumed(&mut self, resumed: Resumed, turn: &mut Turn<'_>) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let epoch = &turn.rules.epoch;
        let (cursor, seam) = (epoch.at(resumed.floor), epoch.at(resumed.seam));
        let verdicts = resumed.outcomes.iter().map(|outcome| outcome.verdict);
        let recovered = verdicts.filter(|it| *it == Verdict::Recovered).count();
        let lost: Vec<&str> = resumed
            .outcomes
            .iter()
            .filter(|outcome| outcome.verdict == Verdict::Lost)
            .map(|outcome| &*outcome.channel)
            .collect();
        let is_caught_up = recovered > 0 || lost.is_empty();
        turn.counts.lost.add(lost.len() as u64);
        turn.counts.recovered.add(recovered as u64);
        let (any_after, only) = match *pending {
            Pending::Connect { refused, any_after } => {
                let channels: Vec<Arc<str>> = turn.shard.subscriptions(turn.id).cloned().collect();
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
                turn.send(&Envelope::Welcome(welcome));
                (any_after, None)
            }
            Pending::Subscribe {
                reference,
                any_after,
            } => {
                let Some(outcome) = resumed.outcomes.first() else {
                    return;
                };
                let channel = &*outcome.channel;
                let recovered = any_after.then_some(lost.is_empty());
                turn.send(&Envelope::Subscribed {
                    channel,
                    cursor,
                    recovered,
                    reference: reference.as_ref(),
                });
                (any_after, Some(Arc::clone(&outcome.channel)))
            }
        };
        turn.counts.replayed.add(resumed.replay.len() as u64);
        turn.shard.push_replay(turn.id, resumed.replay);
        if any_after && is_caught_up {
            turn.send(&Envelope::CaughtUp {
                cursor: seam,
                channel: only.as_deref(),
            });
        }
    }

    fn refresh(&mut self, token: &str, reference: Option<&Ref>, turn: &mut Turn<'_>) {
        let Some(rights) = &mut self.rights else {
            return;
        };
        if let Err(refusal) = rights.refresh(token, turn) {
            return turn.refuse(&refusal, reference, None);
        }
        let exp = rights.exp().unwrap_or_default();
        let held: Vec<Arc<str>> = turn.shard.subscriptions(turn.id).cloned().collect();
        let wanted: Vec<Arc<str>> = rights
            .own_channels()
            .filter(|channel| !held.contains(channel))
            .collect();
        for channel in held
            .iter()
            .filter(|channel| !rights.covers(channel, turn.rules))
        {
            end_subscription(channel, turn);
        }
        let room = SUBSCRIPTIONS_MAX.saturating_sub(turn.shard.subscriptions(turn.id).count());
        let wants = wanted
            .into_iter()
            .take(room)
            .map(|channel| Want {
                channel,
                after: None,
            })
            .collect();
        // Without a cursor there is nothing to wait for.
        let _ready = turn.resume(wants);
        let channels: Vec<Arc<str>> = turn.shard.subscriptions(turn.id).cloned().collect();
        let channels = channels.iter().map(|channel| &**channel).collect();
        turn.send(&Envelope::Refreshed {
            exp,
            channels,
            reference,
        });
    }

    /// Ends what has expired; an error when that is the connection itself.
    pub(crate) fn expire(&mut self, turn: &mut Turn<'_>) -> Result<(), Ending> {
        let Some(rights) = &mut self.rights else {
            return Ok(());
        };
        if rights.is_expired(turn.wall_ms) {
            return Err(codes::CLOSE_TOKEN_EXPIRED.into());
        }
        for channel in rights.expire(turn.wall_ms) {
            if !rights.covers(&channel, turn.rules) {
                end_subscription(&channel, turn);
            }
        }
        Ok(())
    }

    /// Ends what a revocation of its user means; an error when that is the connection itself.
    pub(crate) fn revoke(
        &mut self,
        revocation: &Revocation,
        turn: &mut Turn<'_>,
    ) -> Result<(), Ending> {
        let Some(rights) = &mut self.rights else {
            return Ok(());
        };
        if rights.is_ended_by(revocation) {
            return Err(codes::CLOSE_TOKEN_REVOKED.into());
        }
        for channel in rights.revoke(revocation) {
            if !rights.covers(&channel, turn.rules) {
                end_subscription(&channel, turn);
            }
        }
        Ok(())
    }

    /// When `expire` has something to do next, in milliseconds since the Unix epoch.
    pub(crate) fn expires_at_ms(&self) -> Option<u64> {
        self.rights.as_ref()?.expires_at_ms()
    }

    /// Sends the application's ping; none while a resume is under way, whose cursor would run ahead.
    pub(crate) fn ping(&self, turn: &mut Turn<'_>) {
        if self.is_connected() && !self.is_busy() {
            let cursor = turn.rules.epoch.at(turn.shard.dispatched());
            turn.send(&Envelope::Ping { cursor });
        }
    }

    fn forget(&mut self, channel: &str) {
        if let Some(rights) = &mut self.rights {
            rights.forget(channel);
        }
    }
}

/// Ends one subscription unasked; what of it was not sent yet stays unsent.
fn end_subscription(channel: &str, turn: &mut Turn<'_>) {
    if turn.shard.unsubscribe(turn.id, channel) {
        turn.shard.forget(turn.id, channel);
        turn.send(&Envelope::Unsubscribed {
            channel,
            code: Some(codes::EXPIRED),
            reference: None,
        });
    }
}

const LIMITS: Limits = Limits {
    message_bytes_max: crate::shard::websocket::MESSAGE_BYTES_MAX,
    subscriptions_max: SUBSCRIPTIONS_MAX,
    requests_per_second_max: REQUESTS_PER_SECOND_MAX,
};

#[cfg(test)]
mod tests;
