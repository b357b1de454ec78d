//! Mutations of a correct history, each at a random line where the log proves the fault.

use lineside_tests::history::{Event, Fault};
use lineside_tests::random::Random;

pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    /// Returns None if the history has no suitable line.
    pub(crate) mutate: fn(&[Event], &mut Random) -> Option<Vec<Event>>,
    /// Findings of which the checker must report at least one.
    pub(crate) expected: &'static [Fault],
}

pub(crate) const ALL: &[Mutant] = &[
    Mutant {
        name: "drop a message",
        mutate: drop_message,
        expected: &[Fault::Lost, Fault::FalseRecovery],
    },
    Mutant {
        name: "repeat a message",
        mutate: repeat_message,
        expected: &[Fault::Repeated, Fault::Late],
    },
    Mutant {
        name: "swap two messages",
        mutate: swap_messages,
        expected: &[Fault::Reordered],
    },
    Mutant {
        name: "change the order for one page",
        mutate: change_order,
        expected: &[Fault::Repeated],
    },
    Mutant {
        name: "deliver to another user",
        mutate: deliver_to_another,
        expected: &[Fault::Unauthorized],
    },
    Mutant {
        name: "deliver after a sign-out",
        mutate: deliver_after_sign_out,
        expected: &[Fault::Unauthorized],
    },
    Mutant {
        name: "claim recovered across epochs",
        mutate: recovered_across_epochs,
        expected: &[Fault::FalseRecovery],
    },
    Mutant {
        name: "claim recovered with a gap",
        mutate: recovered_with_gap,
        expected: &[Fault::FalseRecovery],
    },
    Mutant {
        name: "deliver under a stale epoch",
        mutate: stale_epoch,
        expected: &[Fault::StaleEpoch],
    },
    Mutant {
        name: "move a message before the welcome",
        mutate: before_welcome,
        expected: &[Fault::Early],
    },
    Mutant {
        name: "deliver before subscribed",
        mutate: before_subscribed,
        expected: &[Fault::Early],
    },
    Mutant {
        name: "deliver after unsubscribed",
        mutate: after_unsubscribed,
        expected: &[Fault::Late],
    },
    Mutant {
        name: "ack an undelivered publication",
        mutate: ack_undelivered,
        expected: &[Fault::Lost],
    },
    Mutant {
        name: "remove a resent mark",
        mutate: remove_resent_mark,
        expected: &[Fault::NotMarkedResent],
    },
    Mutant {
        name: "deliver a declined publication",
        mutate: deliver_declined,
        expected: &[Fault::NotPublished],
    },
    Mutant {
        name: "add an unanswered call",
        mutate: unanswered_call,
        expected: &[Fault::Unfinished],
    },
    Mutant {
        name: "resume after an unknown cursor",
        mutate: unknown_cursor,
        expected: &[Fault::UnknownCursor],
    },
];

fn browser(event: &Event) -> Option<&str> {
    match event {
        Event::Connect { browser, .. }
        | Event::Welcome { browser, .. }
        | Event::Subscribed { browser, .. }
        | Event::Message { browser, .. }
        | Event::CaughtUp { browser, .. }
        | Event::Unsubscribed { browser, .. }
        | Event::Refreshed { browser, .. }
        | Event::Ping { browser, .. }
        | Event::Closed { browser } => Some(browser),
        _ => None,
    }
}

/// Returns the line of the next event of the same page, or the end of the history.
fn next(events: &[Event], at: usize) -> usize {
    let is_same = |it: &Event| browser(it) == browser(&events[at]) || matches!(it, Event::Settled);
    let found = events[at + 1..].iter().position(is_same);
    found.map_or(events.len() - 1, |found| at + 1 + found)
}

/// Returns a random suitable line.
fn place(
    events: &[Event],
    random: &mut Random,
    fits: impl Fn(usize, &Event) -> bool,
) -> Option<usize> {
    let places: Vec<usize> = (0..events.len())
        .filter(|at| fits(*at, &events[*at]))
        .collect();
    random.pick(&places).copied()
}

fn message(event: &Event) -> Option<(&str, &str, &str, &str)> {
    match event {
        Event::Message {
            browser,
            channel,
            cursor,
            id,
            ..
        } => Some((browser, channel, cursor, id)),
        _ => None,
    }
}

fn is_message(_: usize, event: &Event) -> bool {
    message(event).is_some()
}

/// Returns true if the event shows that an earlier message of the channel is missing.
fn reaches(event: &Event, channel: &str) -> bool {
    match event {
        Event::Ping { .. } | Event::CaughtUp { channel: None, .. } | Event::Settled => true,
        Event::CaughtUp {
            channel: Some(of), ..
        }
        | Event::Message { channel: of, .. } => of == channel,
        _ => false,
    }
}

/// Drops a message that another page received, which proves that the publication is in the journal.
fn drop_message(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let at = place(events, random, |at, event| {
        message(event).is_some_and(|(page, channel, cursor, _)| {
            let received =
                |it: &Event| message(it).is_some_and(|it| it.0 != page && it.2 == cursor);
            reaches(&events[next(events, at)], channel) && events.iter().any(received)
        })
    })?;
    let mut mutated = events.to_vec();
    mutated.remove(at);
    Some(mutated)
}

fn repeat_message(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let at = place(events, random, is_message)?;
    let mut to = at;
    while random.percent(60)
        && !matches!(
            events[next(events, to)],
            Event::Closed { .. } | Event::Settled
        )
    {
        to = next(events, to);
    }
    let mut mutated = events.to_vec();
    mutated.insert(to + 1, events[at].clone());
    Some(mutated)
}

fn swap_messages(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let at = place(events, random, |at, event| {
        is_message(at, event) && is_message(0, &events[next(events, at)])
    })?;
    let mut mutated = events.to_vec();
    mutated.swap(at, next(events, at));
    Some(mutated)
}

/// Swaps the ids of two messages on one of the pages that received them.
fn change_order(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let is_received_elsewhere = |event: &Event| {
        let (browser, _, cursor, _) = message(event)?;
        let other = |it: &&Event| message(it).is_some_and(|it| it.2 == cursor && it.0 != browser);
        events.iter().find(other)
    };
    let at = place(events, random, |at, event| {
        let next = &events[next(events, at)];
        let (one, two) = (message(event), message(next));
        let is_same_channel = one.zip(two).is_some_and(|(one, two)| one.1 == two.1);
        is_same_channel && is_received_elsewhere(event).is_some()
    })?;
    let to = next(events, at);
    let mut mutated = events.to_vec();
    let ids = [message(&events[to])?.3, message(&events[at])?.3].map(ToOwned::to_owned);
    for (at, new) in [at, to].into_iter().zip(ids) {
        if let Event::Message { id, .. } = &mut mutated[at] {
            *id = new;
        }
    }
    Some(mutated)
}

fn deliver_to_another(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let from = place(events, random, |_, event| {
        message(event).is_some_and(|(_, channel, ..)| channel.starts_with("user:"))
    })?;
    let to = place(events, random, |_, event| {
        message(event).is_some_and(|(browser, ..)| {
            let is_other = |it: &Event| match it {
                Event::Connect {
                    browser: of,
                    user: Some(user),
                    ..
                } => {
                    of == browser
                        && message(&events[from]).is_some_and(|it| it.1 != format!("user:{user}"))
                }
                _ => false,
            };
            events.iter().any(is_other)
        })
    })?;
    let mut crossed = events[from].clone();
    if let (
        Event::Message {
            browser, cursor, ..
        },
        Some((other, _, at, _)),
    ) = (&mut crossed, message(&events[to]))
    {
        other.clone_into(browser);
        at.clone_into(cursor);
    }
    let mut mutated = events.to_vec();
    mutated.insert(to + 1, crossed);
    Some(mutated)
}

/// Inserts a sign-out before a message to that user.
fn deliver_after_sign_out(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let at = place(events, random, |_, event| {
        message(event).is_some_and(|(_, channel, ..)| channel.starts_with("user:"))
    })?;
    let (_, channel, cursor, _) = message(&events[at])?;
    let (epoch, position) = cursor.split_once('.')?;
    let before = position.parse::<u64>().ok()? - 1;
    let sign_out = Event::SignedOut {
        user: channel.strip_prefix("user:")?.into(),
        session: None,
        until_ms: u64::MAX,
        cursor: format!("{epoch}.{before}"),
    };
    let mut mutated = events.to_vec();
    mutated.insert(0, sign_out);
    Some(mutated)
}

/// Changes the welcome at `at` to `recovered`.
fn claim_recovered(events: &[Event], at: usize) -> Vec<Event> {
    let mut mutated = events.to_vec();
    if let Event::Welcome {
        lost, recovered, ..
    } = &mut mutated[at]
    {
        *lost = Some(Vec::new());
        *recovered = Some(true);
    }
    mutated
}

/// Returns the cursor that the `connect` of a welcome has for a channel.
fn named<'a>(events: &'a [Event], at: usize, channel: &str) -> Option<&'a str> {
    let is_connect =
        |it: &&Event| matches!(it, Event::Connect { .. }) && browser(it) == browser(&events[at]);
    match events[..at].iter().rev().find(is_connect) {
        Some(Event::Connect { subscribe, .. }) => {
            let found = subscribe.iter().find(|it| it.channel == channel)?;
            found.after.as_deref()
        }
        _ => None,
    }
}

fn recovered_across_epochs(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let at = place(events, random, |at, event| match event {
        Event::Welcome {
            lost: Some(lost),
            cursor,
            ..
        } => lost.iter().any(|channel| {
            let after = named(events, at, channel).unwrap_or_default();
            after.split('.').next() != cursor.split('.').next()
        }),
        _ => false,
    })?;
    Some(claim_recovered(events, at))
}

fn recovered_with_gap(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let at = place(events, random, |at, event| match event {
        Event::Welcome {
            lost: Some(lost), ..
        } => lost.iter().any(|channel| {
            let after = named(events, at, channel).and_then(|after| after.split_once('.'));
            after.is_some_and(|(epoch, after)| {
                let missed = |it: &Event| {
                    message(it).is_some_and(|(_, of, cursor, _)| {
                        of == channel && is_between(cursor, epoch, after, cursor_of(event))
                    })
                };
                reaches(&events[next(events, at)], "") && events.iter().any(missed)
            })
        }),
        _ => false,
    })?;
    Some(claim_recovered(events, at))
}

fn cursor_of(event: &Event) -> &str {
    match event {
        Event::Welcome { cursor, .. } => cursor,
        _ => "",
    }
}

/// Returns true if a cursor is after a position of an epoch and up to the welcome's.
fn is_between(cursor: &str, epoch: &str, after: &str, through: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().unwrap_or(0);
    let position = |cursor: &str| {
        let (of, position) = cursor.split_once('.')?;
        (of == epoch).then(|| number(position))
    };
    let through = position(through);
    position(cursor).is_some_and(|it| it > number(after) && through.is_some_and(|to| it <= to))
}

fn stale_epoch(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let at = place(events, random, is_message)?;
    let mut mutated = events.to_vec();
    if let Event::Message { cursor, .. } = &mut mutated[at] {
        *cursor = format!("e0.{}", cursor.split('.').nth(1)?);
    }
    Some(mutated)
}

fn before_welcome(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let at = place(events, random, |at, event| {
        matches!(event, Event::Welcome { .. }) && is_message(0, &events[next(events, at)])
    })?;
    let mut mutated = events.to_vec();
    let moved = mutated.remove(next(events, at));
    mutated.insert(at, moved);
    Some(mutated)
}

/// Removes the channel of the first message from the welcome.
fn before_subscribed(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let at = place(events, random, |at, event| {
        let received = next(events, at);
        match (event, message(&events[received])) {
            (Event::Welcome { channels, .. }, Some((_, channel, ..))) => {
                channels.iter().any(|it| it == channel)
            }
            _ => false,
        }
    })?;
    let mut mutated = events.to_vec();
    let received = message(&events[next(events, at)])?.1.to_owned();
    if let Event::Welcome { channels, lost, .. } = &mut mutated[at] {
        channels.retain(|it| *it != received);
        lost.iter_mut()
            .for_each(|lost| lost.retain(|it| *it != received));
    }
    Some(mutated)
}

fn after_unsubscribed(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let epoch_at = |at: usize| {
        let is_welcome = |it: &&Event| {
            matches!(it, Event::Welcome { .. }) && browser(it) == browser(&events[at])
        };
        let welcome = events[..at].iter().rfind(is_welcome)?;
        cursor_of(welcome).split('.').next()
    };
    let source = |at: usize| {
        let Event::Unsubscribed { channel, .. } = &events[at] else {
            return None;
        };
        let epoch = epoch_at(at)?;
        let is_one = |it: &&Event| {
            message(it).is_some_and(|it| it.1 == channel && it.2.split('.').next() == Some(epoch))
        };
        events.iter().find(is_one)
    };
    let at = place(events, random, |at, _| source(at).is_some())?;
    let mut late = source(at)?.clone();
    if let (Event::Message { browser: of, .. }, Some(page)) = (&mut late, browser(&events[at])) {
        page.clone_into(of);
    }
    let mut mutated = events.to_vec();
    mutated.insert(at + 1, late);
    Some(mutated)
}

/// Removes all messages of an acked publication to which a page was subscribed from before the call to the end.
fn ack_undelivered(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let at = place(events, random, |at, event| {
        message(event).is_some_and(|received| is_subscribed_throughout(events, at, received))
    })?;
    let id = message(&events[at])?.3;
    let kept = events
        .iter()
        .filter(|it| message(it).is_none_or(|it| it.3 != id));
    Some(kept.cloned().collect())
}

fn is_subscribed_throughout(
    events: &[Event],
    at: usize,
    received: (&str, &str, &str, &str),
) -> bool {
    let (page, channel, _, id) = received;
    let is_sent =
        |it: &Event| matches!(it, Event::Sent { items, .. } if items.iter().any(|it| it.id == id));
    let Some(sent) = events.iter().position(is_sent) else {
        return false;
    };
    let has_channel = |it: &Event| matches!(it, Event::Welcome { channels, .. } if channels.iter().any(|it| it == channel));
    let of_page = |it: &&Event| browser(it) == Some(page);
    let is_end = |it: &Event| match it {
        Event::Unsubscribed { channel: of, .. } => of == channel,
        Event::Subscribed {
            channel: of,
            recovered,
            ..
        } => of == channel && *recovered != Some(true),
        Event::Welcome { lost, .. } => lost.iter().flatten().any(|it| it == channel),
        _ => false,
    };
    let began = events[..sent]
        .iter()
        .filter(of_page)
        .rposition_of(has_channel);
    let ended = events[..sent].iter().filter(of_page).rposition_of(is_end);
    let later: Vec<_> = events[sent..].iter().filter(of_page).collect();
    at > sent
        && began.is_some()
        && began >= ended
        && !later.iter().any(|it| is_end(it))
        && !matches!(later.last(), Some(Event::Closed { .. }))
}

/// Position of the last match in an iterator that has no reverse.
trait Last: Iterator {
    fn rposition_of(self, is_it: impl Fn(&Event) -> bool) -> Option<usize>;
}

impl<'a, I: Iterator<Item = &'a Event>> Last for I {
    fn rposition_of(self, is_it: impl Fn(&Event) -> bool) -> Option<usize> {
        let all: Vec<_> = self.collect();
        all.iter().rposition(|it| is_it(it))
    }
}

fn remove_resent_mark(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let at = place(events, random, |at, event| {
        let Some((page, _, _, id)) = message(event) else {
            return false;
        };
        let earlier = |it: &Event| {
            message(it).is_some_and(|(of, _, cursor, other)| {
                let is_other_epoch = message(event)
                    .is_some_and(|it| it.2.split('.').next() != cursor.split('.').next());
                of == page && other == id && is_other_epoch
            })
        };
        events[..at].iter().any(earlier)
    })?;
    let mut mutated = events.to_vec();
    if let Event::Message { resent, .. } = &mut mutated[at] {
        *resent = false;
    }
    Some(mutated)
}

fn deliver_declined(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let at = place(events, random, is_message)?;
    let id = message(&events[at])?.3;
    let call = events.iter().find_map(|it| match it {
        Event::Sent {
            publisher,
            sequence,
            items,
            ..
        } if items.iter().any(|it| it.id == id) => Some((publisher.clone(), *sequence)),
        _ => None,
    });
    let (publisher, sequence) = call?;
    let mut mutated = events.to_vec();
    mutated.push(Event::Declined {
        publisher,
        sequence,
    });
    Some(mutated)
}

fn unanswered_call(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let at = place(events, random, |_, event| {
        matches!(event, Event::Sent { .. })
    })?;
    let mut sent = events[at].clone();
    if let Event::Sent {
        publisher, items, ..
    } = &mut sent
    {
        "another".clone_into(publisher);
        items.iter_mut().for_each(|item| item.id.push('x'));
    }
    let mut mutated = events.to_vec();
    mutated.insert(at, sent);
    Some(mutated)
}

fn unknown_cursor(events: &[Event], random: &mut Random) -> Option<Vec<Event>> {
    let at = place(
        events,
        random,
        |_, event| matches!(event, Event::Connect { subscribe, .. } if !subscribe.is_empty()),
    )?;
    let mut mutated = events.to_vec();
    if let Event::Connect { subscribe, .. } = &mut mutated[at] {
        // An unknown epoch with an old position.
        subscribe[0].after = Some("e77.1".into());
    }
    Some(mutated)
}
