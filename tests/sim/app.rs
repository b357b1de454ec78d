//! Simulated app: database, signed-in users, their grants, and tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lineside_tests::history::Item;
use lineside_tests::random::Random;
use serde_json::Value;

use lineside_token::{ChannelDraft, ConnectionDraft, Keys, sign_channel, sign_connection};

/// Returns the claims of a token; null if it cannot be read.
pub(crate) fn claims(token: Option<&str>) -> Value {
    let read = |token: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        serde_json::from_slice(&bytes).ok()
    };
    token.and_then(read).unwrap_or_default()
}

pub(crate) const SECRET: &str = "the secret of the simulation 0123456789";

/// Channels of the publications.
pub(crate) const CHANNELS: [&str; 8] = [
    "news", "board", "orders:7", "orders:8", "scores:1", "user:1", "user:2", "user:3",
];

pub(crate) const PUBLIC: &str = "scores:*";

const USERS: [&str; 3] = ["1", "2", "3"];

/// Grants of one user, except `user:<id>`.
#[derive(Clone, Default)]
struct Grants {
    channels: Vec<String>,
    allow: Vec<String>,
}

/// Browser profile: its tabs share cookies, and so a session.
#[derive(Clone)]
pub(crate) struct Profile {
    pub(crate) user: Option<String>,
    pub(crate) session: String,
}

pub(crate) struct App {
    keys: Keys,
    /// All committed publications, in order.
    pub(crate) rows: Vec<Item>,
    grants: Vec<Grants>,
    pub(crate) profiles: Vec<Profile>,
    sessions: u64,
    token_ttl_s: u64,
}

impl App {
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut app = Self {
            keys: Keys::parse(SECRET).expect("a secret"),
            rows: Vec::new(),
            grants: vec![Grants::default(); USERS.len()],
            profiles: Vec::new(),
            sessions: 0,
            token_ttl_s: random.between(8, 90),
        };
        for user in 0..USERS.len() {
            app.change_grants(user, random);
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

    fn change_grants(&mut self, user: usize, random: &mut Random) {
        let mut some = |of: &[&str], chance| {
            let kept = of.iter().filter(|_| random.percent(chance));
            kept.map(|it| (*it).to_owned()).collect()
        };
        self.grants[user] = Grants {
            channels: some(&["news", "board"], 70),
            allow: some(&["orders:*", "board"], 50),
        };
    }

    /// Changes the grants of a random user.
    pub(crate) fn change_random_grants(&mut self, random: &mut Random) {
        self.change_grants(random.index(USERS.len()), random);
    }

    pub(crate) fn sign_in(&mut self, profile: usize, random: &mut Random) {
        let session = self.session();
        self.profiles[profile] = Profile {
            user: Some(USERS[random.index(USERS.len())].into()),
            session,
        };
    }

    /// Issues tokens that do not expire before the end of the run.
    pub(crate) fn extend_token_lifetimes(&mut self) {
        self.token_ttl_s = 20_000;
    }

    /// Returns a connection token for the user of a profile, if one is signed in.
    pub(crate) fn token(&self, profile: usize, wall_ms: u64) -> Option<String> {
        let Profile { user, session } = &self.profiles[profile];
        let user = user.as_ref()?;
        let at = USERS.iter().position(|it| it == user)?;
        let Grants { channels, allow } = self.grants[at].clone();
        let draft = ConnectionDraft {
            sub: Some(user.clone()),
            sid: Some(session.clone()),
            channels,
            allow,
            ttl_s: self.token_ttl_s,
        };
        Some(sign_connection(draft, &self.keys, wall_ms).expect("a token"))
    }

    /// Returns a channel token, for one user or for all.
    pub(crate) fn channel_token(&self, channel: &str, sub: Option<&str>, wall_ms: u64) -> String {
        let draft = ChannelDraft {
            channel: channel.into(),
            sub: sub.map(ToOwned::to_owned),
            ttl_s: self.token_ttl_s * 3,
        };
        sign_channel(draft, &self.keys, wall_ms).expect("a token")
    }
}
