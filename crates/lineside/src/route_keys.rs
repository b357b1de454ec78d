//! Keys of Turbo's signed stream names for connections by route. The app that booted last decides about them.

use std::sync::{Arc, PoisonError, RwLock};

use lineside_token::StreamKeys;

/// Keys in effect, shared by all shards and links. Without a key, no signed name opens a stream.
#[derive(Debug)]
pub struct RouteKeys(RwLock<Decision>);

#[derive(Debug)]
struct Decision {
    keys: Arc<StreamKeys>,
    /// Time of the decision in milliseconds since the Unix epoch. 0 for the setting of the sidecar.
    decided_ms: u64,
}

impl RouteKeys {
    /// Creates the keys from the sidecar's setting, which is in effect until an app decides.
    #[must_use]
    pub fn new(keys: StreamKeys) -> Self {
        Self(RwLock::new(Decision {
            keys: Arc::new(keys),
            decided_ms: 0,
        }))
    }

    /// Current keys.
    #[must_use]
    pub fn current(&self) -> Arc<StreamKeys> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).keys)
    }

    /// Replaces the keys, unless an app that booted later has already decided. `decided_ms` is the time of the decision in
    /// milliseconds since the Unix epoch. Returns whether the keys have changed.
    pub fn decide(&self, keys: StreamKeys, decided_ms: u64) -> bool {
        let mut decision = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if decided_ms < decision.decided_ms {
            return false;
        }
        decision.decided_ms = decided_ms;
        let has_changed = *decision.keys != keys;
        if has_changed {
            decision.keys = Arc::new(keys);
        }
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(texts: &[&str]) -> StreamKeys {
        let texts: Vec<_> = texts.iter().map(|it| (*it).to_owned()).collect();
        StreamKeys::decode(&texts).unwrap()
    }

    #[test]
    fn app_that_booted_last_decides_whatever_the_order_of_the_links() {
        let shared = RouteKeys::new(keys(&["aw=="]));
        assert!(!shared.decide(keys(&["aw=="]), 1));
        assert!(shared.decide(keys(&[]), 3));
        assert!(!shared.decide(keys(&["aw=="]), 2));
        assert!(shared.current().is_empty());
        assert!(shared.decide(keys(&["a2s="]), 3));
        assert_eq!(*shared.current(), keys(&["a2s="]));
    }

    #[test]
    fn equal_keys_stay_the_same_object() {
        let shared = RouteKeys::new(keys(&["aw=="]));
        let before = shared.current();
        shared.decide(keys(&["aw=="]), 1);
        assert!(Arc::ptr_eq(&before, &shared.current()));
    }
}
