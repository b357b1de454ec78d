//! Random faults: kills, restarts, clock steps, and faults of connections and pages.

use lineside_tests::history::Event;

use super::{Host, Sidecar, World};

/// Rounds after which a commit has usually landed, and its process knows the position.
const LAG_STEPS: u64 = 20;

impl World {
    pub(super) fn inject_fault(&mut self) {
        match self.random.between(0, 99) {
            0..12 => self.restart_or_kill(),
            12..25 => self.cut_link(),
            25..35 => self.step_clock(),
            35..38 => self.end_process(),
            38..46 => match self.lagging_shard {
                Some(_) => self.lagging_shard = None,
                None => self.begin_lag(),
            },
            46..50 => {
                self.stalled_shard = match self.stalled_shard {
                    Some(_) => None,
                    None => Some(self.random.index(2)),
                };
                self.tally.note("a stalled shard");
            }
            _ => self.disturb_tab(),
        }
    }

    /// Lets a shard lag, and renders a page with a cursor ahead of the shard.
    fn begin_lag(&mut self) {
        self.tally.note("a lagging shard");
        self.lagging_shard = Some(self.random.index(self.settings.limits.shards));
        self.commit();
        for _ in 0..LAG_STEPS {
            self.continue_job();
            self.run_process();
            self.deliver_bytes();
            self.run_link();
        }
        self.begin_render(None);
    }

    fn restart_or_kill(&mut self) {
        match &mut self.host {
            Host::Down(_) => {
                self.start_sidecar();
                self.starts += 1;
            }
            Host::Up(sidecar) if sidecar.is_stopping => {
                self.finish_stop("an interrupted planned restart");
            }
            Host::Up(sidecar) => {
                if self.random.percent(60) {
                    sidecar.stop();
                } else {
                    self.tally.note("a kill");
                    self.host = Host::Down(None);
                    self.reset_some_connections();
                }
            }
        }
    }

    /// Starts a sidecar, with the saved state of its predecessor if there is one.
    pub(super) fn start_sidecar(&mut self) {
        if let Host::Down(saved) = &mut self.host {
            let saved = saved.take();
            let saved = saved.as_deref();
            let sidecar = Sidecar::start(&self.settings, saved, self.time, &mut self.random);
            self.host = Host::Up(Box::new(sidecar));
        }
    }

    /// Ends a planned stop, complete or interrupted, and keeps the saved state.
    pub(super) fn finish_stop(&mut self, what: &'static str) {
        if let Host::Up(sidecar) = std::mem::replace(&mut self.host, Host::Down(None)) {
            self.tally.note(what);
            self.host = Host::Down(Some(sidecar.save(self.time)));
            self.reset_some_connections();
        }
    }

    /// Resets some connections after the end of a sidecar, so that bytes in flight are lost.
    fn reset_some_connections(&mut self) {
        for at in 0..self.wires.len() {
            if self.random.percent(30) {
                self.wires[at].borrow_mut().reset();
            }
        }
    }

    fn cut_link(&mut self) {
        let process = self.random.index(self.processes.len());
        if let Some(wire) = self.processes[process].wire() {
            self.tally.note("a link was cut");
            wire.borrow_mut().reset();
        }
    }

    /// Steps the wall clock forward, or a little back: after a large step back, sign-outs would revoke tokens issued later.
    ///
    /// No step once there are `once` ids: a successor measures the time between two sidecars by the wall clock, and would
    /// expire them too early.
    fn step_clock(&mut self) {
        if !self.onces.is_empty() {
            return;
        }
        if self.random.percent(70) {
            self.tally.note("a clock step forward");
            self.time.ahead_ms += self.random.between(1, 7_200_000);
        } else {
            self.tally.note("a clock step back");
            self.time.ahead_ms -= self.random.between(1, 3_000);
        }
    }

    /// Kills a process of the app and starts another.
    fn end_process(&mut self) {
        let at = self.random.index(self.processes.len());
        let process = self.processes.swap_remove(at);
        if let Some(wire) = process.wire() {
            wire.borrow_mut().close(crate::network::Side::Near);
        }
        self.tally.note("a killed process");
        let publisher = process.name.clone();
        self.log.push(Event::Gone { publisher });
        self.start_process();
    }

    fn disturb_tab(&mut self) {
        if self.tabs.is_empty() {
            return;
        }
        let at = self.random.index(self.tabs.len());
        let tab = &mut self.tabs[at];
        let date_ms = tab.date_ms(self.time.ms);
        if !tab.is_asleep {
            tab.page.advance(date_ms);
        }
        match self.random.between(0, 99) {
            0..25 => self.cut_tab(at),
            25..40 => {
                if let Some(wire) = tab.wire() {
                    let (up, down) = [(true, true), (true, false), (false, true), (false, false)]
                        [self.random.index(4)];
                    wire.borrow_mut().hold(up, down);
                    self.tally.note("a black hole");
                }
            }
            40..60 => {
                tab.is_stalled = !tab.is_stalled;
                self.tally.note("a page that does not read");
            }
            60..75 => {
                tab.is_asleep = !tab.is_asleep;
                self.tally.note("a sleeping page");
                if !tab.is_asleep {
                    tab.wake(date_ms, self.random.percent(70));
                }
            }
            75..90 if !tab.is_asleep => self.toggle_network(at),
            _ if !tab.is_asleep => {
                tab.is_hidden = !tab.is_hidden;
                self.tally.note("a page in the back and forward cache");
                if tab.is_hidden {
                    tab.page.hide();
                } else {
                    tab.page.show();
                }
            }
            _ => {}
        }
        self.tabs[at].run_actions(&mut self.log, &mut self.tally);
    }

    fn cut_tab(&mut self, at: usize) {
        let tab = &self.tabs[at];
        let Some(wire) = tab.wire() else {
            return;
        };
        let within = u64::from(tab.is_replaying());
        self.tally.note_many("a cut within a replay", within);
        if self.random.percent(50) {
            self.tally.note("a browser's connection reset");
            wire.borrow_mut().reset();
        } else {
            self.tally.note("a browser's connection cut");
            wire.borrow_mut().cut();
        }
    }

    /// Takes a page offline or back online, with or without an event.
    pub(super) fn toggle_network(&mut self, at: usize) {
        let tab = &mut self.tabs[at];
        tab.is_offline = !tab.is_offline;
        let is_offline = tab.is_offline;
        if let Some(wire) = tab.wire() {
            wire.borrow_mut().hold(is_offline, is_offline);
        }
        if self.random.percent(80) {
            tab.page.network(!is_offline);
            self.tally.note("an offline page");
        }
    }
}
