//! The end of a run: nothing goes wrong any more, and everything comes to rest.

use lineside_tests::history::Event;

use super::{Host, Sidecar, World};

/// Virtual time that everything may take to come to rest, in milliseconds: some of the longest waits after each other.
const REST_MS_MAX: u64 = 600_000;

/// Times that something may be waited for.
const ROUNDS_MAX: u32 = 20_000;

/// Rounds in which nothing happened, until time passes.
const IDLE_ROUNDS: u32 = 2;

impl World {
    pub(crate) fn settle(&mut self) {
        self.heal();
        let end_ms = self.time.ms + REST_MS_MAX;
        let mut idle = 0;
        let mut rounds = 0;
        loop {
            let before = self.log.len();
            let moved = self.round();
            idle = if moved || self.log.len() > before {
                0
            } else {
                idle + 1
            };
            if idle < IDLE_ROUNDS {
                continue;
            }
            if self.is_settled() {
                break;
            }
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "never at rest: {}", self.unrest());
            assert!(self.time.ms < end_ms, "never at rest: {}", self.unrest());
            self.time.ms = self.next_due_ms();
            idle = 0;
        }
        for process in &mut self.processes {
            process.give_up(&mut self.log);
        }
        self.log.push(Event::Settled);
    }

    /// Ends every fault.
    fn heal(&mut self) {
        self.stalled = None;
        self.app.give_long_lives();
        if let Host::Up(sidecar) = &self.host
            && sidecar.is_stopping
        {
            self.end_stop("a planned restart that was cut");
        }
        if let Host::Down(saved) = &mut self.host {
            let saved = saved.take();
            let saved = saved.as_deref();
            let sidecar = Sidecar::start(&self.settings, saved, self.time, &mut self.random);
            self.host = Host::Up(Box::new(sidecar));
        }
        for wire in &self.wires {
            wire.borrow_mut().hold(false, false);
        }
        for at in 0..self.tabs.len() {
            let tab = &mut self.tabs[at];
            let date_ms = tab.date_ms(self.time.ms);
            tab.is_deaf = false;
            tab.page.calm();
            if std::mem::take(&mut tab.is_asleep) {
                tab.wake(date_ms, true);
            }
            tab.is_offline = false;
            tab.page.network(true);
            if std::mem::take(&mut tab.is_hidden) {
                tab.page.show();
            }
            tab.act(&mut self.log, &mut self.tally);
        }
    }

    /// Everybody does what there is to do; says whether bytes moved.
    fn round(&mut self) -> bool {
        while let Some(job) = self.jobs.pop() {
            self.go_on_with(job);
        }
        for at in 0..self.processes.len() {
            self.pump_process(at);
        }
        let mut carried = 0;
        for wire in &self.wires {
            carried += wire.borrow_mut().carry(true);
        }
        if let Host::Up(sidecar) = &mut self.host {
            for at in (0..sidecar.links()).rev() {
                sidecar.serve(at, self.time);
            }
            for at in 0..sidecar.shards() {
                sidecar.turn(at, self.time);
            }
        }
        for at in 0..self.tabs.len() {
            self.pump_tab(at, usize::MAX);
            self.answer_fetches(at, 0);
        }
        crate::panics::assert_none();
        carried > 0
    }

    fn is_settled(&self) -> bool {
        self.jobs.is_empty()
            && self.processes.iter().all(super::Process::is_settled)
            && self.wires.iter().all(|wire| wire.borrow().is_still())
            && self.tabs.iter().all(super::Tab::is_at_rest)
    }

    fn unrest(&self) -> String {
        self.leave_log();
        let tabs = self.tabs.iter().filter(|tab| !tab.is_at_rest());
        let tabs = tabs.map(super::Tab::shown);
        let processes = self.processes.iter().map(super::Process::shown);
        tabs.chain(processes).collect::<Vec<_>>().join("; ")
    }

    /// When the next thing happens by itself.
    fn next_due_ms(&self) -> u64 {
        let now_ms = self.time.ms;
        let processes = self.processes.iter().filter_map(|it| it.due_ms(now_ms));
        let tabs = self.tabs.iter().filter_map(super::Tab::due_ms);
        let sidecar = match &self.host {
            Host::Up(sidecar) => sidecar.due_ms(),
            Host::Down(_) => None,
        };
        let due = processes.chain(tabs).chain(sidecar).min();
        due.unwrap_or(now_ms).max(now_ms + 1)
    }
}
