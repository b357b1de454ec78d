//! The app: its database, who is signed in, what they may see, and the tokens that say so.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lineside_tests::history::Item;
use lineside_tests::random::Random;
use serde_json::Value;

use lineside_token::{ChannelDraft, ConnectionDraft, Keys, sign_channel, sign_connection};

/// What a token says; nothing when it cannot be read.
pub(crate) fn claims(token: Option<&str>) -> Value {
    let read = |token: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        serde_json::from_slice(&bytes).ok()
    };
    token.and_then(read).unwrap_or_default()
}

pub(crate) const SECRET: &str = "the secret of the simulation 0123456789";

/// What is published, and where.
pub(crate) const CHANNELS: [&str; 8] = [
    "news", "board", "orders:7", "orders:8", "scores:1", "user:1", "user:2", "user:3",
];

pub(crate) const PUBLIC: &str = "scores:*";

const USERS: [&str; 3] = ["1", "2", "3"];

/// What one user may see, beside `user:<id>`.
#[derive(Clone, Default)]
struct Rights {
    channels: Vec<String>,
    allow: Vec<String>,
}

/// A browser with its cookies: the tabs of one share a session.
#[derive(Clone)]
pub(crate) struct Profile {
    pub(crate) user: Option<String>,
    pub(crate) session: String,
}

pub(crate) struct App {
    keys: Keys,
    /// Everything that was ever committed, in order.
    pub(crate) rows: Vec<Item>,
    rights: Vec<Rights>,
    pub(crate) profiles: Vec<Profile>,
    sessions: u64,
    life_s: u64,
}

impl App {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut app = Self {
            keys: Keys::parse(SECRET).expect("a secret"),
            rows: Vec::new(),
            rights: vec![Rights::default(); USERS.len()],
            profiles: Vec::new(),
            sessions: 0,
            life_s: random.between(8, 90),
        };
        for user in 0..USERS.len() {
            app.change_rights(user, random);
        }
        for _ in 0..random.between(1, 3) {
            let user = random
                .percent(90)
                .then(|| USERS[random.index(USERS.len())].to_owned());
            let session = app.session();
            app.profiles.push(Profile { user, session });
        }
        app
    }

    fn session(&mut self) -> String {
        self.sessions += 1;
        format!("s{}", self.sessions)
    }

    fn change_rights(&mut self, user: usize, random: &mut Random) {
        let mut some = |of: &[&str], chance| {
            let kept = of.iter().filter(|_| random.percent(chance));
            kept.map(|it| (*it).to_owned()).collect()
        };
        self.rights[user] = Rights {
            channels: some(&["news", "board"], 70),
            allow: some(&["orders:*", "board"], 50),
        };
    }

    /// Somebody's rights become others.
    pub(crate) fn change_any_rights(&mut self, random: &mut Random) {
        self.change_rights(random.index(USERS.len()), random);
    }

    pub(crate) fn sign_in(&mut self, profile: usize, random: &mut Random) {
        let session = self.session();
        self.profiles[profile] = Profile {
            user: Some(USERS[random.index(USERS.len())].into()),
            session,
        };
    }

    /// From here on no token ends before the run does.
    pub(crate) fn give_long_lives(&mut self) {
        self.life_s = 20_000;
    }

    /// A connection token for who is signed in there.
    pub(crate) fn token(&self, profile: usize, wall_ms: u64) -> Option<String> {
        let Profile { user, session } = &self.profiles[profile];
        let user = user.as_ref()?;
        let at = USERS.iter().position(|it| it == user)?;
        let Rights { channels, allow } = self.rights[at].clone();
        let draft = ConnectionDraft {
            sub: Some(user.clone()),
            sid: Some(session.clone()),
            channels,
            allow,
            ttl_s: self.life_s,
        };
        Some(sign_connection(draft, &self.keys, wall_ms).expect("a token"))
    }

    /// A channel token, for this user only or for anybody.
    pub(crate) fn channel_token(&self, channel: &str, sub: Option<&str>, wall_ms: u64) -> String {
        let draft = ChannelDraft {
            channel: channel.into(),
            sub: sub.map(ToOwned::to_owned),
            ttl_s: self.life_s * 3,
        };
        sign_channel(draft, &self.keys, wall_ms).expect("a token")
    }
}
