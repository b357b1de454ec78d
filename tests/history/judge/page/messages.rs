//! Messages: who may hear them, and when.

use super::{At, Line, Page};
use crate::history::event::Event;
use crate::history::verdict::Fault;

impl<'a> Page<'a> {
    pub(super) fn message(&mut self, event: &'a Event, line: &mut Line<'_, 'a>) {
        let Event::Message {
            channel,
            cursor,
            id,
            resent,
            ..
        } = event
        else {
            return;
        };
        line.judgement.counts.deliveries += 1;
        let at = At::of(cursor);
        let Some(number) = line.landings.by_id(id) else {
            let what = format!("page {} heard {id}, which nobody published", self.name);
            return line.find(Fault::Phantom, [], what);
        };
        let publication = &line.landings.publications[number];
        if let Some((banned, why)) = publication.banned {
            let what = format!("page {} heard {id}, which was {why}", self.name);
            line.find(Fault::Phantom, [publication.line, banned], what);
        }
        if publication.channel != channel {
            let what = format!(
                "page {} heard {id} on {channel}, and it was published on {}",
                self.name, publication.channel
            );
            line.find(Fault::Crossed, [publication.line], what);
        }
        self.judge_repeat(number, at, *resent, line);
        if self.judge_right(channel, at, line) {
            self.place(channel, id, at, line);
        }
        self.received
            .entry(number)
            .or_default()
            .push((at, line.number));
    }

    /// What a crash repeats says so.
    fn judge_repeat(&self, number: usize, at: At<'a>, resent: bool, line: &mut Line<'_, 'a>) {
        let before = self.received.get(&number).into_iter().flatten();
        let Some((_, earlier)) = before.into_iter().find(|(it, _)| it.epoch != at.epoch) else {
            return;
        };
        if resent {
            line.judgement.counts.repeated += 1;
        } else {
            let what = format!(
                "page {} heard {} in two epochs, and not marked as resent",
                self.name, line.landings.publications[number].id
            );
            line.find(Fault::Unmarked, [*earlier], what);
        }
    }

    /// Whether the connection may hear of the channel at all, now.
    fn judge_right(&self, channel: &'a str, at: At<'a>, line: &mut Line<'_, 'a>) -> bool {
        let name = self.name;
        let Some(open) = &self.open else {
            let what = format!("page {name} heard of {channel} without a connection");
            line.find(Fault::Late, [], what);
            return false;
        };
        let Some(epoch) = open.epoch else {
            let what = format!("page {name} heard of {channel} before its welcome");
            line.find(Fault::Early, [open.line], what);
            return false;
        };
        if !open.grants(channel, &self.granted) {
            let what = format!("page {name} may not hear of {channel}");
            line.find(Fault::Crossed, [open.line], what);
        }
        let sign_out = open.user.and_then(|user| {
            line.landings
                .sign_out(user, open.session, open.issued_ms, at)
        });
        if let Some(sign_out) = sign_out {
            let what = format!("page {name} heard of {channel} after its sign-out");
            line.find(Fault::Crossed, [sign_out, open.line], what);
        }
        if epoch != at.epoch {
            let what = format!(
                "page {name} heard of epoch {} on a connection to epoch {epoch}",
                at.epoch
            );
            line.find(Fault::StaleEpoch, [open.line], what);
            return false;
        }
        true
    }

    /// Whether it comes where it must.
    fn place(&mut self, channel: &'a str, id: &str, at: At<'a>, line: &mut Line<'_, 'a>) {
        let name = self.name;
        let Some(open) = &mut self.open else {
            return;
        };
        let connect_fault = open.fault();
        let Some(stint) = open.stints.get_mut(channel) else {
            let left = open.left.contains(channel);
            let (fault, when) = if left {
                (Fault::Late, "after its unsubscribed")
            } else {
                (Fault::Early, "before its subscribed")
            };
            let what = format!("page {name} heard {id} of {channel} {when}");
            return line.find(fault, [open.line], what);
        };
        let began = stint.line;
        if stint.known.is_none() && open.is_replaying {
            let what =
                format!("page {name} heard {id} within a replay, and {channel} is not replayed");
            line.find(Fault::FalseRecovery, [began], what);
        }
        let fault = if stint.is_replaying {
            Fault::FalseRecovery
        } else {
            connect_fault
        };
        let wrong = stint.take(at.position, fault, line);
        let wrong = wrong.or_else(|| {
            let is_back = !stint.is_replaying && at.position <= open.newest;
            is_back.then_some(Fault::Reordered)
        });
        let replaying = stint.is_replaying;
        if let Some(fault) = wrong {
            let newest = open.newest;
            let what = format!(
                "page {name} heard {id} of {channel} at {} where it had come to {newest}",
                at.position
            );
            line.find(fault, [began], what);
        } else if !replaying {
            self.reach(at, line);
        }
    }
}
