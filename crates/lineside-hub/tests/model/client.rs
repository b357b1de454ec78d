//! Client of docs/protocol.md. It has one cursor for its connection, and one for each channel from its request for a replay
//! to `caught_up`.

use std::collections::{BTreeMap, BTreeSet};

use lineside_hub::Verdict;
use lineside_protocol::Position;

use crate::history::Entry;

/// One line that a connection receives. Represents an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Reply(usize),
    Message { position: Position, channel: usize },
    CaughtUp(usize),
    Unsubscribed(usize),
    Ping(Position),
}

impl Line {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Reply(resume) => format!("reply {resume}"),
            // Long, and of various lengths, so that partial writes end anywhere.
            Self::Message { position, .. } => {
                format!(
                    "message {position}{}",
                    "+".repeat(usize::try_from(position.0 % 60).unwrap_or(0))
                )
            }
            Self::CaughtUp(resume) => format!("caught up {resume}"),
            Self::Unsubscribed(channel) => format!("unsubscribed {channel}"),
            Self::Ping(position) => format!("ping {position}"),
        }
    }
}

/// Content of a reply.
pub(crate) struct Reply {
    pub(crate) is_connect: bool,
    pub(crate) verdicts: Vec<(usize, Verdict)>,
    pub(crate) floor: Position,
    pub(crate) seam: Position,
}

impl Reply {
    pub(crate) fn has_replay(&self) -> bool {
        self.verdicts
            .iter()
            .any(|(_, verdict)| *verdict == Verdict::Recovered)
    }
}

/// State of one channel of the client.
#[derive(Debug, Default)]
struct Followed {
    /// Number of its latest resume.
    asked: usize,
    /// Cursor for a reconnect, while the cursor of the connection does not apply to this channel.
    own: Option<Position>,
    /// Every later publication has been or will be received. `None` until the first reply.
    complete_after: Option<Position>,
    received: BTreeSet<Position>,
}

#[derive(Debug, Default)]
pub(crate) struct Client {
    cursor: Option<Position>,
    channels: BTreeMap<usize, Followed>,
    /// Number of the resume whose replay is being received.
    replaying: Option<usize>,
}

impl Client {
    /// Channels of a reconnect, each with the cursor that applies to it.
    pub(crate) fn cursors(&self) -> Vec<(usize, Option<Position>)> {
        let named =
            |(channel, followed): (&usize, &Followed)| (*channel, followed.own.or(self.cursor));
        self.channels.iter().map(named).collect()
    }

    pub(crate) fn follows(&self, channel: usize) -> bool {
        self.channels.contains_key(&channel)
    }

    /// Registers a reconnect of a channel after its cursor.
    pub(crate) fn continue_after(
        &mut self,
        channel: usize,
        after: Option<Position>,
        resume: usize,
    ) {
        let followed = self.channels.entry(channel).or_default();
        followed.asked = resume;
        followed.own = after;
    }

    /// Registers a new channel. The client has its state as of `after` from another source, or none.
    pub(crate) fn start_after(&mut self, channel: usize, after: Option<Position>, resume: usize) {
        self.channels.insert(
            channel,
            Followed {
                asked: resume,
                own: after,
                ..Followed::default()
            },
        );
    }

    pub(crate) fn unfollow(&mut self, channel: usize) {
        self.channels.remove(&channel);
    }

    pub(crate) fn disconnected(&mut self) {
        self.replaying = None;
    }

    pub(crate) fn receive(&mut self, line: Line, replies: &BTreeMap<usize, Reply>) {
        match line {
            Line::Reply(resume) => self.receive_reply(resume, &replies[&resume]),
            Line::Message { position, channel } => {
                if let Some(followed) = self.channels.get_mut(&channel) {
                    followed.received.insert(position);
                }
                match self.replaying {
                    Some(resume) => self
                        .asked_in(resume)
                        .for_each(|followed| followed.own = followed.own.max(Some(position))),
                    None => self.cursor = self.cursor.max(Some(position)),
                }
            }
            Line::CaughtUp(resume) => {
                assert_eq!(
                    self.replaying.take(),
                    Some(resume),
                    "caught up once, after the replay of the same resume"
                );
                self.asked_in(resume)
                    .for_each(|followed| followed.own = None);
                self.cursor = self.cursor.max(Some(replies[&resume].seam));
            }
            Line::Ping(position) => self.cursor = self.cursor.max(Some(position)),
            Line::Unsubscribed(_) => {}
        }
    }

    fn receive_reply(&mut self, resume: usize, reply: &Reply) {
        assert_eq!(self.replaying, None, "a replay is not interrupted");
        for (channel, verdict) in &reply.verdicts {
            let Some(followed) = self
                .channels
                .get_mut(channel)
                .filter(|it| it.asked == resume)
            else {
                continue;
            };
            if *verdict == Verdict::Recovered {
                followed.complete_after = followed.complete_after.or(followed.own);
            } else {
                followed.complete_after = Some(reply.seam);
                followed.received.clear();
                followed.own = reply.has_replay().then_some(reply.floor);
            }
        }
        // A new connection starts at the cursor of its welcome. Later replies never move the cursor back.
        self.cursor = if reply.is_connect {
            Some(reply.floor)
        } else {
            self.cursor.max(Some(reply.floor))
        };
        self.replaying = reply.has_replay().then_some(resume);
    }

    fn asked_in(&mut self, resume: usize) -> impl Iterator<Item = &mut Followed> {
        self.channels
            .values_mut()
            .filter(move |followed| followed.asked == resume)
    }

    /// Checks that no publication is missing in any channel since its latest verdict to refetch. Call it once everything is
    /// delivered.
    pub(crate) fn assert_complete(&self, history: &[Entry]) {
        for (channel, followed) in &self.channels {
            assert_eq!(followed.own, None, "channel {channel} did not catch up");
            let complete_after = followed.complete_after.expect("a reply");
            let of_channel = history.iter().filter(|entry| entry.channel == *channel);
            for entry in of_channel.filter(|entry| entry.position > complete_after) {
                assert!(
                    followed.received.contains(&entry.position),
                    "{} of channel {channel} is missing without a verdict of lost",
                    entry.position
                );
            }
        }
    }
}
