//! Processes of a fault run: a sidecar, pages and publishing processes, with a proxy in each network between them.

mod markers;
mod report;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::browser::{Browser, Visitor};
use crate::proxy::{Direction, Directions, Proxy};
use crate::publishing::Publishing;
use crate::record::Record;
use crate::support::{Place, Sidecar, place, within};

use markers::{Markers, marker_id};
use report::Report;

/// Number of shared channels, in addition to user channels.
const CHANNELS: u64 = 6;
/// Number of shared channels in each page's token. Each page subscribes to one more by name.
const CHANNELS_EACH: u64 = 2;
/// Delay of acks after [`Load::delay_acks`].
const ACK_DELAY: Duration = Duration::from_millis(30);
/// Rounds of last markers before a page that misses them fails the run.
const MARKER_ROUNDS_MAX: u64 = 20;

/// Running fault run. Ends all that it started on drop.
pub(crate) struct Load {
    /// Name of the run, for messages and the log file.
    what: &'static str,
    pub(crate) record: Record,
    pub(crate) place: Place,
    sidecar: Option<Sidecar>,
    started: Instant,
    /// Proxy between pages and sidecar.
    pub(crate) web: Proxy,
    /// Proxy between publishers and sidecar.
    pub(crate) link: Proxy,
    link_path: PathBuf,
    /// Port of the app, if pages connect through it.
    app_port: Option<u16>,
    pub(crate) browsers: Vec<Browser>,
    visitors: Vec<Visitor>,
    pub(crate) publishing: Vec<Publishing>,
    markers: Markers,
}

impl Load {
    /// Starts a sidecar with default settings.
    pub(crate) fn start(what: &'static str) -> Self {
        Self::start_in(what, place())
    }

    /// Starts a sidecar with the settings of a place.
    pub(crate) fn start_in(what: &'static str, place: Place) -> Self {
        let sidecar = place.start();
        Self::over(what, place, sidecar)
    }

    /// Uses a sidecar that runs in the place.
    pub(crate) fn over(what: &'static str, place: Place, sidecar: Sidecar) -> Self {
        let link_path = place.folder().join("link-proxy.sock");
        let record = Record::default();
        Self {
            what,
            web: Proxy::tcp(sidecar.port),
            link: Proxy::unix(link_path.clone(), place.link()),
            link_path,
            app_port: None,
            markers: Markers::new(&place, &record),
            sidecar: Some(sidecar),
            started: Instant::now(),
            place,
            record,
            browsers: Vec::new(),
            visitors: Vec::new(),
            publishing: Vec::new(),
        }
    }

    /// Lets new pages connect to the port of an app that hands their sockets over.
    pub(crate) fn connect_through(&mut self, port: u16) {
        self.web.retarget(port);
        self.app_port = Some(port);
    }

    /// Opens pages, each of its own user and with a part of the channels, and waits until they are connected.
    pub(crate) fn browse(mut self, count: u64) -> Self {
        for number in 0..count {
            self.open(Self::visitor(number));
        }
        self.await_connected();
        self
    }

    /// Returns the visitor of a page of [`browse`](Self::browse), by its number.
    pub(crate) fn visitor(number: u64) -> Visitor {
        Visitor {
            user: format!("u{number}"),
            channels: (0..CHANNELS_EACH)
                .map(|it| format!("c{}", (number + it) % CHANNELS))
                .collect(),
            allow: vec!["named:*".into()],
            subscribe: vec![format!("named:{}", number % 2)],
        }
    }

    /// Opens one page.
    pub(crate) fn open(&mut self, visitor: Visitor) {
        let name = page_name(self.browsers.len());
        let page = Browser::open(&name, self.web.port(), visitor.clone(), &self.record);
        self.browsers.push(page);
        self.visitors.push(visitor);
    }

    /// Starts publishing processes of three threads each, for all channels that pages read.
    pub(crate) fn publish(self, processes: u64, calls_per_second: u64) -> Self {
        const THREADS: u64 = 3;
        let per_second = calls_per_second.div_ceil(processes * THREADS);
        self.publish_with(
            processes,
            &json!({"threads": THREADS, "per_second": per_second, "receipts": true}),
        )
    }

    /// Starts publishing processes with a plan.
    pub(crate) fn publish_with(mut self, processes: u64, plan: &Value) -> Self {
        for _ in 0..processes {
            let name = format!("p{}", self.publishing.len());
            self.start_publishing(&name, plan.clone());
        }
        self
    }

    /// Starts one process. Without channels in its plan it publishes to all that pages read.
    pub(crate) fn start_publishing(&mut self, name: &str, plan: Value) {
        let command = Command::new(env!("CARGO_BIN_EXE_lineside-test-publisher"));
        self.start_script(name, command, plan);
    }

    /// Starts one process of another program, as [`start_publishing`](Self::start_publishing) does.
    pub(crate) fn start_script(&mut self, name: &str, command: Command, mut plan: Value) {
        if plan.get("channels").is_none() {
            plan["channels"] = json!(self.channels());
        }
        let process = Publishing::start(command, name, &self.link_path, &self.record, plan);
        self.publishing.push(process);
    }

    /// Returns all channels that a page reads, and one that no page reads.
    pub(crate) fn channels(&self) -> Vec<String> {
        let mut channels: Vec<_> = self.visitors.iter().flat_map(read_by).collect();
        channels.push("unread".into());
        channels.sort();
        channels.dedup();
        channels
    }

    pub(crate) fn sidecar(&self) -> &Sidecar {
        self.sidecar.as_ref().expect("a sidecar runs")
    }

    /// Loads a page, by its number, for another user.
    pub(crate) fn switch_user(&mut self, page: u64, visitor: Visitor) {
        let page = usize::try_from(page).unwrap();
        let cursor = self.markers.cursor();
        self.browsers[page].switch(visitor.clone(), cursor);
        self.visitors[page] = visitor;
    }

    /// Number of open file descriptors of the sidecar: its sockets and a constant number of others.
    pub(crate) fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.sidecar().pid());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// Resident memory of the sidecar, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// Highest resident memory of the sidecar so far, in KiB.
    pub(crate) fn peak_resident_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    /// Cursor of the newest publication.
    pub(crate) fn cursor(&self) -> String {
        self.markers.cursor()
    }

    fn status_kib(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.sidecar().pid());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse().expect(number)
    }

    /// Waits until every page has received this many more messages.
    #[track_caller]
    pub(crate) fn await_messages(&self, publications: u64) {
        let before: Vec<_> = self.browsers.iter().map(Browser::messages).collect();
        within("messages reach every page", || {
            let pages = self.browsers.iter().zip(&before);
            pages
                .clone()
                .all(|(page, before)| page.messages() >= before + publications)
                .then_some(())
        });
    }

    /// Waits until the publishing processes have made this many more calls of `publish`.
    #[track_caller]
    pub(crate) fn await_calls(&self, calls: u64) {
        let count = || self.publishing.iter().map(Publishing::calls).sum::<u64>();
        let before = count();
        within("processes publish", || {
            (count() >= before + calls).then_some(())
        });
    }

    /// Waits until no publishing process has more than `count` calls without a receipt.
    #[track_caller]
    pub(crate) fn await_receipts(&self, count: u64) {
        within("receipts arrive", || {
            let mut processes = self.publishing.iter();
            processes.all(|it| it.unanswered() <= count).then_some(())
        });
    }

    /// Waits until every page is connected in the current epoch.
    #[track_caller]
    pub(crate) fn await_connected(&mut self) {
        let epoch = self.markers.publish("unread", "epoch");
        within("every page is connected", || {
            let pages = self.browsers.iter();
            pages
                .clone()
                .all(|page| page.epoch().is_some_and(|it| it == epoch))
                .then_some(())
        });
    }

    /// Waits until every page has received more welcomes than in `welcomes`.
    #[track_caller]
    pub(crate) fn await_reconnects(&self, welcomes: &[u64]) {
        within("every page has reconnected", || {
            let pages = self.browsers.iter().zip(welcomes);
            pages
                .clone()
                .all(|(page, before)| page.welcomes() > *before)
                .then_some(())
        });
    }

    /// Number of welcomes of each page.
    pub(crate) fn welcomes(&self) -> Vec<u64> {
        self.browsers.iter().map(Browser::welcomes).collect()
    }

    /// Delays everything that publishers receive by more than a delivery takes, so that faults of the sidecar happen between
    /// delivery and ack.
    pub(crate) fn delay_acks(self) -> Self {
        let down = Direction {
            delay: ACK_DELAY,
            ..Direction::default()
        };
        self.link.set(Directions {
            down,
            ..Directions::default()
        });
        self
    }

    /// Suspends the sidecar (SIGSTOP), and waits until `calls` more calls were made.
    #[track_caller]
    pub(crate) fn suspend(&self, calls: u64) {
        self.sidecar().signal(Signal::SIGSTOP);
        self.await_calls(calls);
    }

    pub(crate) fn resume(&self) {
        self.sidecar().signal(Signal::SIGCONT);
    }

    /// Kills the sidecar (SIGKILL) and starts a successor.
    pub(crate) fn kill_and_start(&mut self) {
        self.kill();
        self.start_sidecar();
    }

    /// Kills the sidecar (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.sidecar.take().expect("a sidecar runs").kill();
    }

    /// Stops the sidecar (SIGTERM), and starts a successor after its end.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        let mut sidecar = self.sidecar.take().expect("a sidecar runs");
        sidecar.signal(Signal::SIGTERM);
        assert_eq!(sidecar.ended().code(), Some(0), "a planned stop succeeds");
        self.start_sidecar();
    }

    /// Starts a sidecar in the same place.
    pub(crate) fn start_sidecar(&mut self) {
        let sidecar = self.place.start();
        if self.app_port.is_none() {
            self.web.retarget(sidecar.port);
        }
        self.sidecar = Some(sidecar);
    }

    /// Number of connects answered with `recovered` true and false, of all pages.
    pub(crate) fn resumes(&self) -> (u64, u64) {
        let each = self.browsers.iter().map(Browser::resumes);
        each.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
    }

    /// Ends all faults and publishing, waits until every page has received the last markers, and checks the log.
    #[track_caller]
    pub(crate) fn settle(mut self) -> Report {
        self.web.set(Directions::default());
        self.link.set(Directions::default());
        self.web.refuse(false);
        self.link.refuse(false);
        let statuses = self.publishing.drain(..).map(Publishing::stop).collect();
        self.await_last_markers();
        let pages = (0..).zip(&self.visitors);
        let undelivered = pages.map(|(number, visitor)| {
            self.record
                .undelivered(&page_name(number), &read_by(visitor))
        });
        let undelivered = undelivered.sum();
        // Pages stay open: a closed page need not receive anything.
        let counts = self.record.judge(self.what);
        Report {
            counts,
            undelivered,
            took: self.started.elapsed(),
            statuses,
        }
    }

    /// Publishes a last marker to every channel, and repeats that for pages that a late fault still disconnects.
    #[track_caller]
    fn await_last_markers(&mut self) {
        let channels = self.channels();
        for round in 0..MARKER_ROUNDS_MAX {
            self.await_connected();
            let marker = format!("last{round}");
            for channel in &channels {
                self.markers.publish(channel, &marker);
            }
            let mut looks = 0;
            let received = within("every page receives the last markers or reconnects", || {
                looks += 1;
                let all = self
                    .browsers
                    .iter()
                    .zip(&self.visitors)
                    .all(|(page, visitor)| {
                        read_by(visitor)
                            .iter()
                            .all(|channel| page.has_received(&marker_id(channel, &marker)))
                    });
                // A page that reconnected as lost never receives the markers of this round.
                (all || looks > 1_000).then_some(all)
            });
            if received {
                return;
            }
        }
        panic!("a page did not receive the last markers");
    }
}

fn page_name(number: usize) -> String {
    format!("page{number}")
}

/// Returns the channels of a page.
fn read_by(visitor: &Visitor) -> Vec<String> {
    let own = [format!("user:{}", visitor.user)];
    [&own, &visitor.channels[..], &visitor.subscribe[..]].concat()
}
