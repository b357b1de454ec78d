//! What a connect asks for: each channel once, with the cursor that it resumes after.

use std::sync::Arc;

use lineside_hub::Want;
use lineside_protocol::After;

/// The wants of one connect, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Wants {
    wants: Vec<Want>,
    /// How many of them the token brought; the rest were named.
    brought: usize,
}

impl Wants {
    /// The channels that the token brings, each after the connection's cursor.
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
            brought: wants.len(),
            wants,
        }
    }

    /// Adds a channel that is asked for by name; false when that would make more than `most`.
    ///
    /// Its own cursor is nearer than the connection's. Of a channel that is named twice the lower cursor counts: nothing
    /// that either would bring is left out.
    pub(super) fn name(&mut self, channel: &str, after: Option<After>, most: usize) -> bool {
        match self.wants.iter().position(|want| *want.channel == *channel) {
            None if self.wants.len() >= most => return false,
            None => self.wants.push(Want {
                channel: channel.into(),
                after,
            }),
            Some(at) if at < self.brought => {
                self.wants.remove(at);
                self.brought -= 1;
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

    pub(super) fn into_vec(self) -> Vec<Want> {
        self.wants
    }
}

/// The cursor that leaves out less. One that cannot be compared resumes as lost, and so does the whole.
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
