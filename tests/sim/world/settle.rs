//! End of a run: all faults end, and the run continues until nothing is left to do.

use lineside_tests::history::Event;

use super::{Host, World};

/// Maximum virtual time until nothing is left to do, in milliseconds: several of the longest waits.
const REST_MS_MAX: u64 = 600_000;

/// Maximum number of waits.
const ROUNDS_MAX: u32 = 20_000;

/// Number of rounds without an event before time advances.
const IDLE_ROUNDS: u32 = 2;

impl World {
    /// Ends all faults, and runs until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        self.end_faults();
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
            assert!(rounds < ROUNDS_MAX, "not settled: {}", self.unsettled());
            assert!(self.time.ms < end_ms, "not settled: {}", self.unsettled());
            self.time.ms = self.next_due_ms();
            idle = 0;
        }
        for process in &mut self.processes {
            process.give_up(&mut self.log);
        }
        self.log.push(Event::Settled);
    }

    /// Ends every fault.
    fn end_faults(&mut self) {
        self.stalled_shard = None;
        self.lagging_shard = None;
        self.app.extend_token_lifetimes();
        if let Host::Up(sidecar) = &self.host
            && sidecar.is_stopping
        {
            self.finish_stop("an interrupted planned restart");
        }
        self.start_sidecar();
        for wire in &self.wires {
            wire.borrow_mut().hold(false, false);
        }
        for at in 0..self.tabs.len() {
            let tab = &mut self.tabs[at];
            let date_ms = tab.date_ms(self.time.ms);
            tab.is_stalled = false;
            if std::mem::take(&mut tab.is_asleep) {
                tab.wake(date_ms, true);
            }
            tab.is_offline = false;
            tab.page.network(true);
            if std::mem::take(&mut tab.is_hidden) {
                tab.page.show();
            }
            tab.run_actions(&mut self.log, &mut self.tally);
        }
    }

    /// Runs every party once. Returns true if bytes moved.
    fn round(&mut self) -> bool {
        while let Some(job) = self.jobs.pop() {
            self.run_job(job);
        }
        for at in 0..self.processes.len() {
            self.pump_process(at);
        }
        let mut delivered = 0;
        for wire in &self.wires {
            delivered += wire.borrow_mut().deliver_bytes(true);
        }
        if let Host::Up(sidecar) = &mut self.host {
            for at in (0..sidecar.links()).rev() {
                sidecar.serve(at, self.time);
            }
            for at in 0..sidecar.shards() {
                sidecar.turn(at, false, self.time);
            }
        }
        for at in 0..self.tabs.len() {
            // Also for pages that a job has just opened: endless requests would exceed the rate limit.
            self.tabs[at].page.quieten();
            self.pump_tab(at, usize::MAX);
            self.answer_fetches(at, 0);
        }
        crate::panics::assert_none();
        delivered > 0
    }

    fn is_settled(&self) -> bool {
        self.jobs.is_empty()
            && self.processes.iter().all(super::Process::is_settled)
            && self.wires.iter().all(|wire| wire.borrow().is_idle())
            && self.tabs.iter().all(super::Tab::is_idle)
            && !matches!(&self.host, Host::Up(sidecar) if sidecar.has_replays())
    }

    fn unsettled(&self) -> String {
        self.write_log();
        let tabs = self.tabs.iter().filter(|tab| !tab.is_idle());
        let tabs = tabs.map(super::Tab::description);
        let processes = self.processes.iter().map(super::Process::description);
        tabs.chain(processes).collect::<Vec<_>>().join("; ")
    }

    /// Returns the time of the next timer, of any party.
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
