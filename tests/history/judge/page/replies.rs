//! Server replies about subscriptions.

use super::{At, Line, Page, Subscription};
use crate::history::event::Event;
use crate::history::verdict::Fault;

impl<'a> Page<'a> {
    pub(super) fn reply(&mut self, event: &'a Event, line: &mut Line<'_, 'a>) {
        match event {
            Event::Welcome { .. } => self.welcome(event, line),
            Event::Subscribed {
                channel,
                cursor,
                recovered,
                ..
            } => {
                let at = At::of(cursor);
                self.subscribed(channel, (at, *recovered), line);
            }
            Event::CaughtUp {
                cursor,
                channel: Some(channel),
                ..
            } => {
                let at = At::of(cursor);
                self.caught_up(channel, at, line);
            }
            Event::CaughtUp { cursor, .. } => {
                self.reach(At::of(cursor), line);
                self.connection_caught_up(At::of(cursor), line);
            }
            Event::Unsubscribed {
                channel, unasked, ..
            } => self.leave(channel, *unasked, line),
            Event::Refreshed {
                issued_ms,
                grants,
                channels,
                ..
            } => {
                let Some(open) = &mut self.open else {
                    return;
                };
                open.issued_ms = *issued_ms;
                open.grants = grants;
                let Some(epoch) = open.epoch else {
                    return;
                };
                for channel in channels {
                    open.subscriptions.entry(channel).or_insert_with(|| {
                        self.fetched.insert(channel, line.number);
                        Subscription::new(epoch, channel, line.number, None)
                    });
                }
            }
            Event::Lost {
                channels, cursor, ..
            } => {
                let at = At::of(cursor);
                self.reach(at, line);
                for channel in channels {
                    self.begin(channel, Some(at.position), line);
                    self.lost(channel, None, at, line);
                }
            }
            _ => {}
        }
    }

    fn welcome(&mut self, event: &'a Event, line: &mut Line<'_, 'a>) {
        let Event::Welcome {
            channels,
            cursor,
            recovered,
            lost,
            ..
        } = event
        else {
            return;
        };
        let Some(open) = &mut self.open else {
            return;
        };
        let connected = open.line;
        let at = At::of(cursor);
        open.epoch = Some(at.epoch);
        let lost = lost.as_deref().unwrap_or_default();
        let wanted: Vec<_> = channels
            .iter()
            .map(|channel| {
                let own = open.asked.get(channel.as_str());
                (channel.as_str(), own.copied().unwrap_or(open.after))
            })
            .collect();
        let is_recovered = |(channel, after): &(&str, Option<&str>)| {
            after.is_some() && !lost.iter().any(|it| it == channel)
        };
        let has_replay =
            recovered.is_some() && (lost.is_empty() || wanted.iter().any(is_recovered));
        open.is_replaying = has_replay;
        if recovered.is_some_and(|recovered| recovered != lost.is_empty()) {
            let what = format!(
                "page {} received recovered {recovered:?} and lost {lost:?}",
                self.name
            );
            line.find(Fault::FalseRecovery, [connected], what);
        }
        let seam = (!has_replay).then_some(at.position);
        for wanted in wanted {
            let (channel, after) = wanted;
            if is_recovered(&wanted) {
                let open = self.open.as_ref();
                let is_named = open.is_some_and(|open| open.asked.contains_key(channel));
                self.recovered(channel, (after, at), is_named, line);
            } else {
                self.begin(channel, seam, line);
                match after {
                    Some(_) => self.lost(channel, after, at, line),
                    // No replay was requested.
                    None => _ = self.fetched.insert(channel, line.number),
                }
            }
        }
    }

    fn subscribed(
        &mut self,
        channel: &'a str,
        (at, recovered): (At<'a>, Option<bool>),
        line: &mut Line<'_, 'a>,
    ) {
        let name = self.name;
        let Some(open) = &mut self.open else {
            return;
        };
        let requests = open.requests.get_mut(channel);
        let Some(after) = requests.and_then(std::collections::VecDeque::pop_front) else {
            let what = format!("page {name} received an unsolicited subscribed for {channel}");
            return line.find(Fault::Early, [open.line], what);
        };
        if open.epoch != Some(at.epoch) {
            let what = format!("page {name} received subscribed for {channel} at {at:?}");
            line.find(Fault::StaleEpoch, [open.line], what);
        }
        let subscription = open.subscriptions.get_mut(channel);
        match (recovered, subscription) {
            (Some(true), _) => {
                self.recovered(channel, (after, at), true, line);
                let open = self.open.as_mut();
                if let Some(subscription) =
                    open.and_then(|open| open.subscriptions.get_mut(channel))
                {
                    subscription.is_replaying = true;
                }
            }
            (Some(false), _) => {
                self.begin(channel, Some(at.position), line);
                self.lost(channel, after, at, line);
            }
            // Confirmation of a live subscription.
            (None, Some(subscription)) => subscription.reach(at.position, Fault::Lost, line),
            (None, None) => {
                self.begin(channel, Some(at.position), line);
                self.fetched.insert(channel, line.number);
            }
        }
    }

    /// Starts or restarts a subscription after a position, or at an unknown one.
    fn begin(&mut self, channel: &'a str, after: Option<u64>, line: &mut Line<'_, 'a>) {
        let name = self.name;
        let Some(open) = &mut self.open else {
            return;
        };
        if !open.grants(channel, &self.granted) {
            let what = format!("page {name} is subscribed to {channel} without a grant");
            line.find(Fault::Unauthorized, [open.line], what);
        }
        let epoch = open.epoch.unwrap_or_default();
        open.left.remove(channel);
        let subscription = Subscription::new(epoch, channel, line.number, after);
        if let Some(before) = open.subscriptions.insert(channel, subscription) {
            self.end(before, line);
        }
    }

    /// Starts a subscription that must deliver everything after a cursor.
    fn recovered(
        &mut self,
        channel: &'a str,
        (after, at): (Option<&'a str>, At<'a>),
        is_named: bool,
        line: &mut Line<'_, 'a>,
    ) {
        line.judgement.counts.recovered += 1;
        let after = after.and_then(At::read).filter(|it| it.epoch == at.epoch);
        let Some(after) = after else {
            let what = format!(
                "page {} received recovered for {channel} in epoch {}, after a cursor of another epoch",
                self.name, at.epoch
            );
            line.find(Fault::FalseRecovery, [], what);
            return self.begin(channel, None, line);
        };
        self.begin(channel, Some(after.position), line);
        if is_named {
            self.check_cursor_reached(channel, after, line);
        }
    }

    fn lost(
        &mut self,
        channel: &'a str,
        after: Option<&'a str>,
        at: At<'a>,
        line: &mut Line<'_, 'a>,
    ) {
        line.judgement.counts.lost += 1;
        let after = after.and_then(At::read).filter(|it| it.epoch == at.epoch);
        if let Some(after) = after {
            let mut missed = line
                .publications
                .between(at.epoch, channel, after.position, u64::MAX);
            line.judgement.counts.false_alarms += u64::from(missed.next().is_none());
        }
        // After `lost` the page fetches the state, no earlier than here.
        self.fetched.insert(channel, line.number);
        self.covered.insert(channel, None);
    }

    fn caught_up(&mut self, channel: &'a str, at: At<'a>, line: &mut Line<'_, 'a>) {
        let name = self.name;
        let Some(open) = &mut self.open else {
            return;
        };
        let subscription = open.subscriptions.get_mut(channel);
        let Some(subscription) = subscription.filter(|it| it.is_replaying && it.epoch == at.epoch)
        else {
            let what = format!("page {name} received caught_up for {channel} without a replay");
            return line.find(Fault::FalseRecovery, [open.line], what);
        };
        subscription.reach(at.position, Fault::FalseRecovery, line);
        subscription.is_replaying = false;
        // Live messages up to here arrived before the replay.
        self.reach(at, line);
    }

    fn connection_caught_up(&mut self, at: At<'a>, line: &mut Line<'_, 'a>) {
        let Some(open) = &mut self.open else {
            return;
        };
        if !open.is_replaying {
            let what = format!("page {} received caught_up without a replay", self.name);
            return line.find(Fault::FalseRecovery, [open.line], what);
        }
        open.is_replaying = false;
        self.reach(at, line);
    }

    fn leave(&mut self, channel: &'a str, unasked: bool, line: &mut Line<'_, 'a>) {
        let Some(open) = &mut self.open else {
            return;
        };
        open.left.insert(channel);
        if let Some(mut subscription) = open.subscriptions.remove(channel) {
            if unasked {
                subscription.end_at_last_message();
            }
            self.end(subscription, line);
        }
    }
}
