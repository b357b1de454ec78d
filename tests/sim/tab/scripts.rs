//! Scripts of a page, which use the browser module.

use std::collections::HashMap;

use super::{Applied, Rendered, Tab};

impl Tab {
    /// Subscribes to channels as the scripts of a rendered page.
    pub(super) fn listen(&mut self, rendered: &Rendered) {
        if rendered.user.is_some() && self.random.percent(70) {
            self.subscribe(None, None, rendered);
        }
        for (channel, token, _) in &rendered.channel_tokens {
            if self.random.percent(80) {
                self.subscribe(Some(channel), Some(token), rendered);
            }
        }
        for channel in ["news", "board", "orders:8", "scores:1"] {
            if self.random.percent(50) {
                self.subscribe(Some(channel), None, rendered);
            }
        }
    }

    fn subscribe(&mut self, channel: Option<&str>, token: Option<&str>, rendered: &Rendered) {
        let id = self.next_listener;
        self.next_listener += 1;
        match channel {
            Some(channel) => self.page.subscribe(id, channel, token),
            None => self.page.user(id),
        }
        let name = match (channel, &rendered.user) {
            (Some(channel), _) => Some(channel.to_owned()),
            (None, user) => user.as_ref().map(|user| format!("user:{user}")),
        };
        self.applied.insert(
            id,
            Applied {
                channel: channel.map(ToOwned::to_owned),
                rows: name.into_iter().map(|name| (name, rendered.rows)).collect(),
                ids: HashMap::new(),
                is_refused: false,
            },
        );
    }

    /// Subscribes to one more channel.
    pub(crate) fn subscribe_more(&mut self) {
        let channel = ["news", "board", "orders:7", "scores:1"][self.random.index(4)];
        let token = self.channel_tokens.iter().find(|(of, ..)| of == channel);
        let token = token.map(|(_, token, _)| token.clone());
        let rendered = Rendered {
            profile: self.profile,
            user: None,
            tags: self.tags.clone(),
            rows: self.rows,
            channel_tokens: Vec::new(),
        };
        self.subscribe(Some(channel), token.as_deref(), &rendered);
    }

    pub(crate) fn unsubscribe_one(&mut self) {
        let ids: Vec<u32> = self.applied.keys().copied().collect();
        if let Some(id) = self.random.pick(&ids) {
            self.applied.remove(id);
            self.page.unsubscribe(*id);
        }
    }

    /// Performs a Turbo visit: another page in the same document.
    pub(crate) fn visit(&mut self, rendered: &Rendered) {
        self.tags = rendered.tags.clone();
        self.rows = rendered.rows;
        self.channel_tokens.clone_from(&rendered.channel_tokens);
        if self.random.percent(70) {
            for id in std::mem::take(&mut self.applied).into_keys() {
                self.page.unsubscribe(id);
            }
        }
        if self.user != rendered.user {
            self.user.clone_from(&rendered.user);
            self.show_user(rendered);
        }
        self.page.visit(&rendered.tags);
        self.listen(rendered);
    }

    /// Shows the state of another user, for the listeners that the page has kept.
    fn show_user(&mut self, rendered: &Rendered) {
        let Some(user) = &rendered.user else {
            return;
        };
        for applied in self.applied.values_mut().filter(|it| it.channel.is_none()) {
            applied.rows.insert(format!("user:{user}"), rendered.rows);
        }
    }
}
