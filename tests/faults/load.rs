//! Everything that runs at the same time in a fault run: a sidecar, pages and publishing processes around it, and a network
//! between them that can fail.

mod marks;
mod settled;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::browser::{Browser, Visitor};
use crate::proxy::{Proxy, Way, Ways};
use crate::publishing::Publishing;
use crate::record::Record;
use crate::support::{Place, Sidecar, place, within};

use marks::{Marks, mark_id};
use settled::Settled;

/// Shared channels that publications go to beside those of users.
const CHANNELS: u64 = 6;
/// Of these, how many each page reads by its token; and one more that it asks for by name.
const CHANNELS_EACH: u64 = 2;
/// How late acks are where they are late.
const ACKS_LATE: Duration = Duration::from_millis(30);
/// Marks are published again so often before a page that misses them is given up.
const MARKINGS_MAX: u64 = 20;

/// A run under way. Whatever it started ends with it.
pub(crate) struct Load {
    /// What the run is about, for messages and the log's file.
    what: &'static str,
    pub(crate) record: Record,
    pub(crate) place: Place,
    sidecar: Option<Sidecar>,
    started: Instant,
    /// Between pages and sidecar.
    pub(crate) web: Proxy,
    /// Between publishers and sidecar.
    pub(crate) link: Proxy,
    link_path: PathBuf,
    /// The app's port, when pages come through it.
    door: Option<u16>,
    pub(crate) browsers: Vec<Browser>,
    visitors: Vec<Visitor>,
    pub(crate) publishing: Vec<Publishing>,
    marks: Marks,
}

impl Load {
    /// A sidecar with default settings, and nobody there yet.
    pub(crate) fn start(what: &'static str) -> Self {
        Self::start_in(what, place())
    }

    /// The same with the settings of that place.
    pub(crate) fn start_in(what: &'static str, place: Place) -> Self {
        let sidecar = place.start();
        let link_path = place.folder().join("link-proxy.sock");
        let record = Record::default();
        Self {
            what,
            web: Proxy::tcp(sidecar.port),
            link: Proxy::unix(link_path.clone(), place.link()),
            link_path,
            door: None,
            marks: Marks::new(&place, &record),
            sidecar: Some(sidecar),
            started: Instant::now(),
            place,
            record,
            browsers: Vec::new(),
            visitors: Vec::new(),
            publishing: Vec::new(),
        }
    }

    /// Pages to come connect to that port, of an app that hands their sockets over.
    pub(crate) fn through(&mut self, port: u16) {
        self.web.retarget(port);
        self.door = Some(port);
    }

    /// Opens so many pages, each of its own user and with a share of the channels, and waits until they are connected.
    pub(crate) fn browse(mut self, count: u64) -> Self {
        for number in 0..count {
            self.open(Self::visitor(number));
        }
        self.all_connected();
        self
    }

    /// The page with that number in [`browse`](Self::browse).
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

    /// Starts so many publishing processes of three threads each, for all channels that pages read.
    pub(crate) fn publish(self, processes: u64, calls_per_second: u64) -> Self {
        const THREADS: u64 = 3;
        let per_second = calls_per_second.div_ceil(processes * THREADS);
        self.publish_with(
            processes,
            &json!({"threads": THREADS, "per_second": per_second, "receipts": true}),
        )
    }

    /// Starts so many publishing processes with this plan.
    pub(crate) fn publish_with(mut self, processes: u64, plan: &Value) -> Self {
        for _ in 0..processes {
            let name = format!("p{}", self.publishing.len());
            self.start_publishing(&name, plan.clone());
        }
        self
    }

    /// Starts one process, which publishes to every channel that a page reads unless its plan names them.
    pub(crate) fn start_publishing(&mut self, name: &str, plan: Value) {
        let command = Command::new(env!("CARGO_BIN_EXE_lineside-test-publisher"));
        self.start_script(name, command, plan);
    }

    /// The same by another program.
    pub(crate) fn start_script(&mut self, name: &str, command: Command, mut plan: Value) {
        if plan.get("channels").is_none() {
            plan["channels"] = json!(self.channels());
        }
        let process = Publishing::start(command, name, &self.link_path, &self.record, plan);
        self.publishing.push(process);
    }

    /// Every channel that a page reads, and one that none does.
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

    /// In the page with this number somebody else signs in.
    pub(crate) fn change_hands(&mut self, page: u64, visitor: Visitor) {
        let page = usize::try_from(page).unwrap();
        let cursor = self.marks.cursor();
        self.browsers[page].switch(visitor.clone(), cursor);
        self.visitors[page] = visitor;
    }

    /// Open descriptors of the sidecar: its sockets, but for a constant.
    pub(crate) fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.sidecar().pid());
        std::fs::read_dir(folder).unwrap().count()
    }

    /// The sidecar's resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.sidecar().pid());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse().expect(number)
    }

    /// Waits until every page has heard so many publications more.
    #[track_caller]
    pub(crate) fn flows(&self, publications: u64) {
        let before: Vec<_> = self.browsers.iter().map(Browser::messages).collect();
        within("publications reach every page", || {
            let pages = self.browsers.iter().zip(&before);
            pages
                .clone()
                .all(|(page, before)| page.messages() >= before + publications)
                .then_some(())
        });
    }

    /// Waits until the publishing processes have called `publish` so many times more.
    #[track_caller]
    pub(crate) fn publishes(&self, calls: u64) {
        let count = || self.publishing.iter().map(Publishing::calls).sum::<u64>();
        let before = count();
        within("there is publishing", || {
            (count() >= before + calls).then_some(())
        });
    }

    /// Waits until no publishing process waits for more receipts than so many.
    #[track_caller]
    pub(crate) fn answered(&self, but: u64) {
        within("receipts come", || {
            let mut processes = self.publishing.iter();
            processes.all(|it| it.unanswered() <= but).then_some(())
        });
    }

    /// Waits until every page is connected, in the present epoch.
    #[track_caller]
    pub(crate) fn all_connected(&mut self) {
        let epoch = self.marks.publish("unread", "epoch");
        within("every page is connected", || {
            let pages = self.browsers.iter();
            pages
                .clone()
                .all(|page| page.epoch().is_some_and(|it| it == epoch))
                .then_some(())
        });
    }

    /// Waits until every page has been welcomed once more than `welcomes` says.
    #[track_caller]
    pub(crate) fn all_came_back(&self, welcomes: &[u64]) {
        within("every page came back", || {
            let pages = self.browsers.iter().zip(welcomes);
            pages
                .clone()
                .all(|(page, before)| page.welcomes() > *before)
                .then_some(())
        });
    }

    /// How often each page has been welcomed.
    pub(crate) fn welcomes(&self) -> Vec<u64> {
        self.browsers.iter().map(Browser::welcomes).collect()
    }

    /// Delays all that publishers are told by longer than a publication takes to its pages, so that what happens to the
    /// sidecar happens between delivery and ack.
    pub(crate) fn late_acks(self) -> Self {
        let down = Way {
            delay: ACKS_LATE,
            ..Way::default()
        };
        self.link.set(Ways {
            down,
            ..Ways::default()
        });
        self
    }

    /// Stops the sidecar as a debugger does, until so many calls more were made, and lets it go on or kills it.
    #[track_caller]
    pub(crate) fn suspend(&self, calls: u64) {
        self.sidecar().signal(Signal::SIGSTOP);
        self.publishes(calls);
    }

    pub(crate) fn wake(&self) {
        self.sidecar().signal(Signal::SIGCONT);
    }

    /// kill -9, and a successor.
    pub(crate) fn kill(&mut self) {
        self.leave();
        self.come_again();
    }

    /// kill -9, and nobody in its place.
    pub(crate) fn leave(&mut self) {
        self.sidecar.take().expect("a sidecar runs").kill();
    }

    /// SIGTERM, and a successor once it has ended.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        let mut sidecar = self.sidecar.take().expect("a sidecar runs");
        sidecar.signal(Signal::SIGTERM);
        assert_eq!(sidecar.ended().code(), Some(0), "a planned stop succeeds");
        self.come_again();
    }

    /// A successor.
    pub(crate) fn come_again(&mut self) {
        let sidecar = self.place.start();
        if self.door.is_none() {
            self.web.retarget(sidecar.port);
        }
        self.sidecar = Some(sidecar);
    }

    /// How the pages resumed so far: whole, and lost.
    pub(crate) fn resumes(&self) -> (u64, u64) {
        let each = self.browsers.iter().map(Browser::resumes);
        each.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
    }

    /// Mends the network, ends the publishing, waits until every page has heard what was published last, and judges.
    #[track_caller]
    pub(crate) fn settle(mut self) -> Settled {
        self.web.set(Ways::default());
        self.link.set(Ways::default());
        self.web.refuse(false);
        self.link.refuse(false);
        let statuses = self.publishing.drain(..).map(Publishing::stop).collect();
        self.all_hear_the_last();
        let pages = (0..).zip(&self.visitors);
        let unheard = pages
            .map(|(number, visitor)| self.record.unheard(&page_name(number), &read_by(visitor)));
        let unheard = unheard.sum();
        // The pages are still there: who left would be owed nothing.
        let counts = self.record.judge(self.what);
        Settled {
            counts,
            unheard,
            took: self.started.elapsed(),
            statuses,
        }
    }

    /// Publishes a last mark to every channel, again and again for pages that a late fault of the run still cuts off.
    #[track_caller]
    fn all_hear_the_last(&mut self) {
        let channels = self.channels();
        for round in 0..MARKINGS_MAX {
            self.all_connected();
            let mark = format!("last{round}");
            for channel in &channels {
                self.marks.publish(channel, &mark);
            }
            let mut looks = 0;
            let heard = within("every page hears the last mark or comes back", || {
                looks += 1;
                let all = self
                    .browsers
                    .iter()
                    .zip(&self.visitors)
                    .all(|(page, visitor)| {
                        read_by(visitor)
                            .iter()
                            .all(|channel| page.has_heard(&mark_id(channel, &mark)))
                    });
                // A page that came back as lost will never hear this round's.
                (all || looks > 1_000).then_some(all)
            });
            if heard {
                return;
            }
        }
        panic!("some page never heard the last marks");
    }
}

fn page_name(number: usize) -> String {
    format!("page{number}")
}

/// The channels of a page.
fn read_by(visitor: &Visitor) -> Vec<String> {
    let own = [format!("user:{}", visitor.user)];
    [&own, &visitor.channels[..], &visitor.subscribe[..]].concat()
}
