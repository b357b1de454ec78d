//! Subscriptions of one shard by channel.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use crate::interest::Interest;

/// One subscription, as its connection holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    /// Key of the channel.
    pub(super) channel: usize,
    /// Index of the connection among the channel's subscribers.
    pub(super) place: usize,
}

#[derive(Debug)]
struct Channel {
    name: Arc<str>,
    /// Slots of connections, in no particular order.
    subscribers: Vec<usize>,
}

/// Channels of one shard that have a subscriber.
#[derive(Debug, Default)]
pub(super) struct Channels {
    keys: HashMap<Arc<str>, usize>,
    channels: Slab<Channel>,
    subscriptions: usize,
    /// The same channels, for other threads.
    pub(super) interest: Arc<Interest>,
}

impl Channels {
    /// Key of a channel with subscribers.
    pub(super) fn key(&self, name: &str) -> Option<usize> {
        self.keys.get(name).copied()
    }

    /// Whether there is no subscription.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.channels.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    /// Number of subscriptions of all channels.
    pub(super) fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    pub(super) fn name(&self, key: usize) -> &Arc<str> {
        &self.channels[key].name
    }

    /// Slots of the channel's subscribers.
    pub(super) fn subscribers(&self, name: &str) -> &[usize] {
        self.key(name)
            .map_or(&[], |key| &self.channels[key].subscribers)
    }

    /// Subscribes the connection at `slot`, which must not be subscribed.
    pub(super) fn add(&mut self, name: &Arc<str>, slot: usize) -> Subscription {
        let key = *self.keys.entry(Arc::clone(name)).or_insert_with(|| {
            self.interest.add(name);
            self.channels.insert(Channel {
                name: Arc::clone(name),
                subscribers: Vec::new(),
            })
        });
        let subscribers = &mut self.channels[key].subscribers;
        subscribers.push(slot);
        self.subscriptions += 1;
        Subscription {
            channel: key,
            place: subscribers.len() - 1,
        }
    }

    /// Ends a subscription. The channel's last subscriber moves to its index; returns the slot of that one, if any.
    pub(super) fn remove(&mut self, subscription: Subscription) -> Option<usize> {
        let Subscription {
            channel: key,
            place,
        } = subscription;
        let subscribers = &mut self.channels[key].subscribers;
        subscribers.swap_remove(place);
        self.subscriptions -= 1;
        let moved = subscribers.get(place).copied();
        if subscribers.is_empty() {
            let channel = self.channels.remove(key);
            self.keys.remove(&channel.name);
            self.interest.remove(&channel.name);
        }
        moved
    }
}
