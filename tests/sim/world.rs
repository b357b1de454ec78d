//! State of a run, and its steps, which the seed decides.

mod actions;
mod check;
mod faults;
mod settle;

use std::sync::Arc;

use lineside::keyring::Keyring;
use lineside::settings::Limits;
use lineside_hub::HistoryLimits;
use lineside_tests::history::{Event, Item};
use lineside_tests::random::Random;
use lineside_token::{Grant, Keys};

use crate::app::{App, PUBLIC, SECRET};
use crate::network::{Shared, Wire};
use crate::panics;
use crate::process::Process;
use crate::sidecar::{Settings, Sidecar};
use crate::tab::{Rendered, Tab};
use crate::tally::Tally;

/// Current time: monotonic clock and wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    /// Monotonic clock, in milliseconds.
    pub(crate) ms: u64,
    /// Difference of the wall clock, in milliseconds since the Unix epoch, to the monotonic one.
    ahead_ms: u64,
}

impl Time {
    pub(crate) fn wall_ms(self) -> u64 {
        self.ms + self.ahead_ms
    }
}

/// Rounds after which all processes have connected.
const BOOT_STEPS: u64 = 20;

/// Running or stopped sidecar.
enum Host {
    Up(Box<Sidecar>),
    /// With the saved state of its predecessor.
    Down(Option<Vec<u8>>),
}

/// Work that takes several steps.
enum Job {
    /// Publish committed items.
    Publish {
        process: usize,
        items: Vec<Item>,
        once: Option<String>,
    },
    /// Request for a page.
    Render {
        profile: usize,
        name: String,
        /// True for a Turbo visit of an open page.
        visits: bool,
        cursor: Option<String>,
        rows: Option<usize>,
    },
    /// Fetch the state of lost channels.
    Refetch { name: String, channels: Vec<String> },
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) time: Time,
    pub(crate) log: Vec<Event>,
    pub(crate) tally: Tally,
    trace: Trace,
    settings: Settings,
    host: Host,
    app: App,
    processes: Vec<Process>,
    tabs: Vec<Tab>,
    wires: Vec<Shared>,
    jobs: Vec<Job>,
    names: u64,
    /// Shard that does not run, and so lags behind the others.
    stalled_shard: Option<usize>,
    /// Shard that runs, and takes no entries: it sends heartbeats while it is behind.
    lagging_shard: Option<usize>,
    /// Number of sidecar starts before the end of the run.
    starts: u64,
    onces: Vec<(String, String)>,
}

impl World {
    pub(crate) fn new(mut random: Random) -> Self {
        let time = Time {
            ms: 1_000,
            ahead_ms: 1_700_000_000_000,
        };
        let settings = settings(&mut random);
        let sidecar = Sidecar::start(&settings, None, time, &mut random);
        let app = App::new(&mut random);
        let mut world = Self {
            time,
            log: Vec::new(),
            tally: Tally::default(),
            trace: Trace::default(),
            settings,
            host: Host::Up(Box::new(sidecar)),
            app,
            processes: Vec::new(),
            tabs: Vec::new(),
            wires: Vec::new(),
            jobs: Vec::new(),
            names: 0,
            stalled_shard: None,
            lagging_shard: None,
            starts: 1,
            onces: Vec::new(),
            random,
        };
        for _ in 0..world.random.between(1, 3) {
            world.start_process();
        }
        // Connects the app before its first visitor.
        for _ in 0..BOOT_STEPS {
            world.run_process();
            world.deliver_bytes();
            world.run_link();
        }
        for _ in 0..world.random.between(1, 3) {
            world.begin_render(None);
        }
        world
    }

    /// Runs one random step.
    pub(crate) fn step(&mut self) {
        let kind = self.random.between(0, 999);
        self.trace.note(kind);
        match kind {
            0..200 => self.deliver_bytes(),
            200..390 => self.run_shard(),
            390..500 => self.run_link(),
            500..610 => self.run_process(),
            610..800 => self.run_tab(),
            800..850 => self.pass_time(),
            850..910 => self.continue_job(),
            910..955 => self.commit(),
            955..980 => self.act_randomly(),
            _ => self.inject_fault(),
        }
        self.trace.note(self.time.ms);
        self.trace.note(self.log.len() as u64);
        panics::assert_none();
    }

    /// Writes the log to the path in `LINESIDE_SIM_LOG`, if it is set.
    pub(crate) fn write_log(&self) {
        if let Ok(path) = std::env::var("LINESIDE_SIM_LOG") {
            std::fs::write(path, self.log_lines()).expect("LINESIDE_SIM_LOG is a writable path");
        }
    }

    /// Returns a hash of all steps and of the log.
    pub(crate) fn trace(&mut self) -> u64 {
        for byte in self.log_lines() {
            self.trace.note(u64::from(byte));
        }
        self.trace.note(self.random.number());
        self.trace.0
    }

    fn log_lines(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        lineside_tests::history::write(&self.log, &mut lines).expect("a Vec takes every byte");
        lines
    }

    fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}{}", self.names)
    }

    fn wire(&mut self) -> Shared {
        // Some buffers are smaller than a message, so that replays take several turns.
        let room = if self.random.percent(40) {
            self.random.size(30, 300)
        } else {
            self.random.size(300, 4_000)
        };
        let wire = Wire::new(room, Random::new(self.random.number()));
        self.wires.push(wire.clone());
        wire
    }

    fn deliver_bytes(&mut self) {
        if self.random.percent(20) {
            self.wires
                .retain(|wire| std::rc::Rc::strong_count(wire) > 1);
        }
        let most = self.random.size(1, 3);
        for _ in 0..most {
            if let Some(wire) = self.random.pick(&self.wires) {
                let delivered = wire.borrow_mut().deliver_bytes(false);
                self.trace.note(delivered as u64);
            }
        }
    }

    fn run_shard(&mut self) {
        let Host::Up(sidecar) = &mut self.host else {
            return;
        };
        let at = self.random.index(sidecar.shards());
        if self.stalled_shard == Some(at) {
            return;
        }
        sidecar.turn(at, self.lagging_shard == Some(at), self.time);
        if self.random.percent(3) {
            sidecar.expire(self.time);
        }
        if sidecar.is_drained() {
            self.finish_stop("a planned restart");
        }
    }

    fn run_link(&mut self) {
        let Host::Up(sidecar) = &mut self.host else {
            return;
        };
        if sidecar.links() > 0 {
            sidecar.serve(self.random.index(sidecar.links()), self.time);
        }
    }

    fn run_process(&mut self) {
        let at = self.random.index(self.processes.len());
        self.pump_process(at);
    }

    fn pump_process(&mut self, at: usize) {
        let now_ms = self.time.ms;
        if self.processes[at].may_connect(now_ms) {
            let wire = self.wire();
            match &mut self.host {
                Host::Up(sidecar) if !sidecar.is_stopping => {
                    sidecar.link(&wire, self.time);
                    self.processes[at].opened(wire, now_ms);
                }
                Host::Up(_) | Host::Down(_) => {
                    self.tally.note("a refused connect");
                    self.processes[at].refused(now_ms);
                }
            }
        }
        self.processes[at].pump(now_ms, &mut self.log, &mut self.tally);
    }

    fn run_tab(&mut self) {
        if self.tabs.is_empty() {
            return;
        }
        let at = self.random.index(self.tabs.len());
        let most = self.random.size(1, 12);
        self.pump_tab(at, most);
    }

    fn pump_tab(&mut self, at: usize, most: usize) {
        let tab = &mut self.tabs[at];
        if tab.is_asleep {
            return;
        }
        tab.page.advance(tab.date_ms(self.time.ms));
        tab.run_actions(&mut self.log, &mut self.tally);
        if tab.is_connecting() && self.random.percent(70) {
            tab.opened();
            tab.run_actions(&mut self.log, &mut self.tally);
        }
        tab.pump(most, &mut self.log, &mut self.tally);
        if let Some(number) = self.tabs[at].wanted.take() {
            self.connect(at, number);
        }
        self.handle_requests(at);
    }

    fn connect(&mut self, at: usize, number: u32) {
        let wire = self.wire();
        match &mut self.host {
            Host::Up(sidecar) if !sidecar.is_stopping && !self.tabs[at].is_offline => {
                let shard = self.random.index(sidecar.shards());
                sidecar.admit(&wire, shard, self.time);
                self.tabs[at].connected(number, wire, self.starts);
            }
            Host::Up(_) | Host::Down(_) => {
                self.tally.note("a refused connect");
                self.tabs[at].refused(number);
            }
        }
        self.tabs[at].run_actions(&mut self.log, &mut self.tally);
    }

    fn pass_time(&mut self) {
        let most_ms = if self.onces.is_empty() {
            u64::MAX
        } else {
            45_000
        };
        let ms = match self.random.between(0, 99) {
            0..60 => self.random.between(1, 30),
            60..80 => self.random.between(100, 2_000),
            80..95 => self.random.between(2_000, 12_000),
            _ => self.random.between(5_000, 40_000),
        };
        if self.time.ms + ms < most_ms {
            self.time.ms += ms;
        }
    }
}

/// Returns random settings with limits that a run reaches.
fn settings(random: &mut Random) -> Settings {
    let tight = random.percent(35);
    let history = if tight {
        HistoryLimits {
            channel_publications_max: random.size(0, 8),
            channel_bytes_max: random.size(500, 5_000),
            age_ms_max: random.between(3_000, 120_000),
            bytes_max: random.size(500, 20_000),
            channels_max: random.size(1, 8),
        }
    } else {
        HistoryLimits::default()
    };
    // Some heartbeats are shorter than a resume waits for its shard.
    let heartbeat_seconds = if random.percent(40) {
        random.between(1, 3)
    } else {
        random.between(5, 25)
    };
    let limits = Limits {
        shards: random.size(1, 2),
        connections_max: 1_000,
        outbox_bytes_max: random.size(2_000, 20_000),
        slow_seconds_max: random.between(2, 10),
        replay_seconds_max: random.between(5, 30),
        heartbeat_seconds,
        drain_seconds_max: 10,
        history,
    };
    Settings {
        limits,
        keys: Arc::new(Keyring::new(Keys::parse(SECRET).expect("a secret"))),
        public: vec![Grant::parse(PUBLIC).expect("a grant")],
    }
}

/// FNV-1a hash (Fowler, Noll, Vo) of the steps.
struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    fn note(&mut self, number: u64) {
        for byte in number.to_be_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
