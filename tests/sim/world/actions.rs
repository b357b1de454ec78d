//! Actions of the app and its users.

use lineside_tests::history::{Event, Item};
use lineside_tests::page::Tags;
use lineside_tests::random::Random;

use super::{Job, Process, Rendered, Tab, World};
use crate::app::CHANNELS;

/// Maximum number of open pages.
const TABS_MAX: usize = 6;

impl World {
    pub(super) fn start_process(&mut self) {
        let name = self.name("process");
        self.processes.push(Process::new(name, &mut self.random));
    }

    /// Commits a transaction, whose publications are sent later.
    pub(super) fn commit(&mut self) {
        let process = self.random.index(self.processes.len());
        let once = self.once();
        let count = if once.is_some() {
            1
        } else {
            self.random.size(1, 3)
        };
        let items: Vec<Item> = (0..count)
            .map(|_| {
                let channel = match &once {
                    Some((channel, _)) => channel.clone(),
                    None => CHANNELS[self.random.index(CHANNELS.len())].to_owned(),
                };
                let id = self.name("p");
                Item { channel, id }
            })
            .collect();
        let is_rendering = self
            .jobs
            .iter()
            .any(|job| matches!(job, Job::Render { rows, .. } if rows.is_some()));
        self.tally
            .note_many("a publication within a render", u64::from(is_rendering));
        self.app.rows.extend(items.iter().cloned());
        let once = once.map(|(_, once)| once);
        self.jobs.push(Job::Publish {
            process,
            items,
            once,
        });
    }

    /// Returns a channel and `once` id for some calls, of which half repeat an earlier id.
    fn once(&mut self) -> Option<(String, String)> {
        // Ids are kept for two minutes: after that, publishing again would be correct.
        if !self.random.percent(10) || self.time.ms > 25_000 {
            return None;
        }
        if self.random.percent(50)
            && let Some(known) = self.random.pick(&self.onces)
        {
            return Some(known.clone());
        }
        let channel = CHANNELS[self.random.index(CHANNELS.len())].to_owned();
        let once = (channel, self.name("once"));
        self.onces.push(once.clone());
        Some(once)
    }

    /// Starts the request for a page. Its cursor is sampled only here.
    pub(super) fn begin_render(&mut self, visits: Option<&str>) {
        let process = self.random.index(self.processes.len());
        let cursor = self.processes[process].cursor();
        let name = match visits {
            Some(name) => name.to_owned(),
            None => self.name("page"),
        };
        let profile = match self.tabs.iter().find(|tab| tab.name == name) {
            Some(tab) => tab.profile,
            None => self.random.index(self.app.profiles.len()),
        };
        self.jobs.push(Job::Render {
            profile,
            name,
            visits: visits.is_some(),
            cursor: cursor.map(|cursor| cursor.to_string()),
            rows: None,
        });
    }

    /// Continues a random job.
    pub(super) fn continue_job(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let at = self.random.index(self.jobs.len());
        let job = self.jobs.swap_remove(at);
        self.run_job(job);
    }

    pub(super) fn run_job(&mut self, job: Job) {
        match job {
            Job::Publish {
                process,
                items,
                once,
            } => {
                let process = process % self.processes.len();
                let process = &mut self.processes[process];
                let log = &mut self.log;
                if !process.publish(&items, once.as_deref(), log, &mut self.random) {
                    self.tally.note("a publication declined");
                }
            }
            Job::Render {
                visits: true,
                ref name,
                ..
            } if !self.tabs.iter().any(|tab| tab.name == *name) => {}
            Job::Render { rows: None, .. } => self.query(job),
            Job::Render {
                profile,
                name,
                cursor,
                rows: Some(rows),
                ..
            } => self.show(profile, name, cursor, rows),
            Job::Refetch { name, channels } => self.refetch(&name, &channels),
        }
    }

    /// Runs the queries of a page.
    fn query(&mut self, mut job: Job) {
        let Job::Render {
            name, cursor, rows, ..
        } = &mut job
        else {
            return;
        };
        *rows = Some(self.app.rows.len());
        self.log.push(Event::Fetched {
            browser: name.clone(),
            channels: Vec::new(),
            cursor: cursor.clone(),
        });
        self.jobs.push(job);
    }

    /// Renders the layout, and opens or visits the page.
    fn show(&mut self, profile: usize, name: String, cursor: Option<String>, rows: usize) {
        let wall_ms = self.time.wall_ms();
        let user = self.app.profiles[profile].user.clone();
        let mut channel_tokens = Vec::new();
        for channel in ["orders:7", "orders:8"] {
            if self.random.percent(30) {
                let sub = user.clone().filter(|_| self.random.percent(50));
                let token = self.app.channel_token(channel, sub.as_deref(), wall_ms);
                self.log.push(Event::Granted {
                    browser: name.clone(),
                    user: sub.clone(),
                    channels: vec![channel.to_owned()],
                });
                channel_tokens.push((channel.to_owned(), token, sub));
            }
        }
        let rendered = Rendered {
            profile,
            tags: Tags {
                url: Some("/lineside".into()),
                token: self.app.token(profile, wall_ms),
                token_url: Some("/lineside/token".into()),
                cursor,
                csrf: Some("csrf".into()),
            },
            user,
            rows,
            channel_tokens,
        };
        let at = self.tabs.iter().position(|tab| tab.name == name);
        if let Some(at) = at {
            self.tally.note("a Turbo visit");
            let tab = &mut self.tabs[at];
            tab.page.advance(tab.date_ms(self.time.ms));
            tab.visit(&rendered);
            return tab.run_actions(&mut self.log, &mut self.tally);
        }
        if self.tabs.len() < TABS_MAX {
            let random = Random::new(self.random.number());
            let mut tab = Tab::new(name, &rendered, self.time, random);
            self.tally
                .note_many("a plain client", u64::from(tab.is_plain));
            tab.run_actions(&mut self.log, &mut self.tally);
            self.tabs.push(tab);
        }
    }

    fn refetch(&mut self, name: &str, channels: &[String]) {
        let Some(tab) = self.tabs.iter_mut().find(|tab| tab.name == name) else {
            return;
        };
        self.tally.note("a refetched page");
        self.log.push(Event::Fetched {
            browser: name.to_owned(),
            channels: channels.to_vec(),
            cursor: None,
        });
        for applied in tab.applied.values_mut() {
            for channel in channels {
                let is_of = applied.channel.as_ref().is_none_or(|of| of == channel);
                if is_of {
                    applied.rows.insert(channel.clone(), self.app.rows.len());
                }
            }
        }
    }

    /// Handles the requests of a page to the app.
    pub(super) fn handle_requests(&mut self, at: usize) {
        let tab = &mut self.tabs[at];
        for channels in std::mem::take(&mut tab.refetching) {
            let name = tab.name.clone();
            self.jobs.push(Job::Refetch { name, channels });
        }
        if self.random.percent(50) {
            self.answer_fetches(at, 10);
        }
    }

    pub(super) fn answer_fetches(&mut self, at: usize, failing: u64) {
        let wall_ms = self.time.wall_ms();
        let tab = &mut self.tabs[at];
        for request in std::mem::take(&mut tab.fetching) {
            if tab.is_offline || self.random.percent(failing) {
                self.tally.note("a failed token request");
                tab.page.refuse_token(request, 503);
            } else if let Some(token) = self.app.token(tab.profile, wall_ms) {
                self.tally.note("a token fetched");
                tab.page.give_token(request, &token);
            } else {
                tab.page.refuse_token(request, 401);
            }
            tab.run_actions(&mut self.log, &mut self.tally);
        }
    }

    /// Performs a random action of a user or of the app.
    pub(super) fn act_randomly(&mut self) {
        let chance = self.random.between(0, 99);
        if self.tabs.is_empty() || chance < 15 {
            return self.begin_render(None);
        }
        let at = self.random.index(self.tabs.len());
        if self.tabs[at].has_stopped() {
            // The page of a user who has signed out loads again.
            self.tally.note("a page loaded again");
            self.tabs.remove(at);
            return self.begin_render(None);
        }
        let name = self.tabs[at].name.clone();
        let tab = &mut self.tabs[at];
        let awake = !tab.is_asleep && !tab.is_hidden;
        tab.page.advance(tab.date_ms(self.time.ms));
        match chance {
            15..30 if awake && !tab.is_plain => return self.begin_render(Some(&name)),
            30..40 if awake && !tab.is_plain && self.random.percent(80) => {
                tab.subscribe_more();
            }
            40..50 if awake => tab.unsubscribe_one(),
            50..55 => {
                tab.page.close();
                tab.run_actions(&mut self.log, &mut self.tally);
                self.tabs.remove(at);
                return;
            }
            55..68 => return self.sign_out(),
            68..85 => {
                self.tally.note("changed grants");
                return self.app.change_random_grants(&mut self.random);
            }
            85..92 => {
                self.tally.note("another user signed in");
                let profile = tab.profile;
                return self.app.sign_in(profile, &mut self.random);
            }
            _ => {}
        }
        self.tabs[at].run_actions(&mut self.log, &mut self.tally);
    }

    /// Signs a user out, of all sessions or one, and perhaps in again.
    fn sign_out(&mut self) {
        let profile = self.random.index(self.app.profiles.len());
        let held = self.app.profiles[profile].clone();
        let Some(user) = held.user else {
            return self.app.sign_in(profile, &mut self.random);
        };
        let session = self.random.percent(40).then_some(held.session);
        let process = self.random.index(self.processes.len());
        let until_ms = self.time.wall_ms();
        if self.processes[process].disconnect(&user, session.as_deref(), until_ms) {
            let of_one = session.is_some();
            self.tally.note("a sign-out");
            self.tally
                .note_many("a sign-out of one session", u64::from(of_one));
        }
        // A token issued in the same millisecond counts as older than the sign-out.
        self.time.ms += 1;
        if self.random.percent(70) {
            self.app.sign_in(profile, &mut self.random);
        } else {
            self.app.profiles[profile].user = None;
        }
    }
}
