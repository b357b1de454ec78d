//! Channels that a connect asks for, each once, with its cursor.

use std::sync::Arc;

use lineside_hub::Want;
use lineside_protocol::After;

/// Channels of one connect, in the order of the request.
#[derive(Debug, Default)]
pub(super) struct Requested {
    wants: Vec<Want>,
    /// Number of channels from the token. The rest were named.
    from_token: usize,
}

impl Requested {
    /// Begins with the channels of the token, each after the connection's cursor.
    pub(super) fn of_token(
        channels: impl Iterator<Item = Arc<str>>,
        after: Option<&After>,
    ) -> Self {
        let want = |channel| Want {
            channel,
            after: after.cloned(),
        };
        let wants: Vec<Want> = channels.map(want).collect();
        Self {
            from_token: wants.len(),
            wants,
        }
    }

    /// Adds a named channel. Returns false if there would be more than `most`.
    ///
    /// The cursor of a named channel replaces the connection's. If a channel is named twice, the lower cursor counts.
    pub(super) fn add(&mut self, channel: &str, after: Option<After>, most: usize) -> bool {
        match self.wants.iter().position(|want| *want.channel == *channel) {
            None if self.wants.len() >= most => return false,
            None => self.wants.push(Want {
                channel: channel.into(),
                after,
            }),
            Some(at) if at < self.from_token => {
                self.wants.remove(at);
                self.from_token -= 1;
                self.wants.push(Want {
                    channel: channel.into(),
                    after,
                });
            }
            Some(at) => {
                let earlier = self.wants[at].after.take();
                self.wants[at].after = lower(earlier, after);
            }
        }
        true
    }

    pub(super) fn into_wants(self) -> Vec<Want> {
        self.wants
    }
}

/// The lower of two cursors. Cursors that cannot be compared become unknown, which resumes as lost.
fn lower(one: Option<After>, other: Option<After>) -> Option<After> {
    match (one, other) {
        (None, after) | (after, None) => after,
        (Some(After::Cursor(one)), Some(After::Cursor(other))) if one.epoch == other.epoch => {
            Some(After::Cursor(if one.position <= other.position {
                one
            } else {
                other
            }))
        }
        (Some(_), Some(_)) => Some(After::Unknown),
    }
}
