//! Checks of received messages: grant, epoch and position.

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
        let Some(number) = line.publications.by_id(id) else {
            let what = format!("page {} received {id}, which was not published", self.name);
            return line.find(Fault::NotPublished, [], what);
        };
        let publication = &line.publications.all[number];
        if let Some((banned, why)) = publication.banned {
            let what = format!("page {} received {id}, which was {why}", self.name);
            line.find(Fault::NotPublished, [publication.line, banned], what);
        }
        if publication.channel != channel {
            let what = format!(
                "page {} received {id} on {channel}, and it was published on {}",
                self.name, publication.channel
            );
            line.find(Fault::Unauthorized, [publication.line], what);
        }
        self.check_repeat(number, at, *resent, line);
        if self.check_grant(channel, at, line) {
            self.check_position(channel, id, at, line);
        }
        self.received
            .entry(number)
            .or_default()
            .push((at, line.number));
    }

    /// Reports a message repeated in another epoch that is not marked `resent`.
    fn check_repeat(&self, number: usize, at: At<'a>, resent: bool, line: &mut Line<'_, 'a>) {
        let before = self.received.get(&number).into_iter().flatten();
        let Some((_, earlier)) = before.into_iter().find(|(it, _)| it.epoch != at.epoch) else {
            return;
        };
        if resent {
            line.judgement.counts.repeated += 1;
        } else {
            let what = format!(
                "page {} received {} in two epochs, and not marked as resent",
                self.name, line.publications.all[number].id
            );
            line.find(Fault::NotMarkedResent, [*earlier], what);
        }
    }

    /// Checks that the connection may receive the channel. Returns false if its position cannot be checked.
    fn check_grant(&self, channel: &'a str, at: At<'a>, line: &mut Line<'_, 'a>) -> bool {
        let name = self.name;
        let Some(open) = &self.open else {
            let what = format!("page {name} received {channel} without a connection");
            line.find(Fault::Late, [], what);
            return false;
        };
        let Some(epoch) = open.epoch else {
            let what = format!("page {name} received {channel} before its welcome");
            line.find(Fault::Early, [open.line], what);
            return false;
        };
        if !open.grants(channel, &self.granted) {
            let what = format!("page {name} received {channel} without a grant");
            line.find(Fault::Unauthorized, [open.line], what);
        }
        let sign_out = open.user.and_then(|user| {
            line.publications
                .sign_out(user, open.session, open.issued_ms, at)
        });
        if let Some(sign_out) = sign_out {
            let what = format!("page {name} received {channel} after its sign-out");
            line.find(Fault::Unauthorized, [sign_out, open.line], what);
        }
        if epoch != at.epoch {
            let what = format!(
                "page {name} received epoch {} on a connection to epoch {epoch}",
                at.epoch
            );
            line.find(Fault::StaleEpoch, [open.line], what);
            return false;
        }
        true
    }

    /// Checks the position of a message.
    fn check_position(&mut self, channel: &'a str, id: &str, at: At<'a>, line: &mut Line<'_, 'a>) {
        let name = self.name;
        let Some(open) = &mut self.open else {
            return;
        };
        let connect_fault = open.fault();
        let Some(subscription) = open.subscriptions.get_mut(channel) else {
            let left = open.left.contains(channel);
            let (fault, when) = if left {
                (Fault::Late, "after its unsubscribed")
            } else {
                (Fault::Early, "before its subscribed")
            };
            let what = format!("page {name} received {id} of {channel} {when}");
            return line.find(fault, [open.line], what);
        };
        let began = subscription.line;
        if subscription.known.is_none() && open.is_replaying {
            let what =
                format!("page {name} received {id} within a replay that does not cover {channel}");
            line.find(Fault::FalseRecovery, [began], what);
        }
        let fault = if subscription.is_replaying {
            Fault::FalseRecovery
        } else {
            connect_fault
        };
        let wrong = subscription.receive(at.position, fault, line);
        let wrong = wrong.or_else(|| {
            let is_back = !subscription.is_replaying && at.position <= open.newest;
            is_back.then_some(Fault::Reordered)
        });
        let replaying = subscription.is_replaying;
        if let Some(fault) = wrong {
            let newest = open.newest;
            let what = format!(
                "page {name} received {id} of {channel} at {} after {newest}",
                at.position
            );
            line.find(fault, [began], what);
        } else if !replaying {
            self.reach(at, line);
        }
    }
}
