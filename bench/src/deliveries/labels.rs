//! Texts of the tables and charts.

use super::scenario::Scenario;

/// Texts of a scenario.
#[derive(Clone, Copy, Debug)]
pub(super) struct Labels {
    pub(super) title: &'static str,
    /// Name of the chart's file.
    pub(super) name: &'static str,
    /// Load, and the meaning of the figures.
    pub(super) note: &'static str,
    /// Text above the bars of the chart.
    pub(super) unit: &'static str,
    pub(super) is_less_better: bool,
    /// Columns of the table, behind that of the server.
    pub(super) head: &'static [&'static str],
}

const PACED: &[&str] = &[
    "server CPU, µs per delivery",
    "× limit",
    "p50 ms",
    "p99 ms",
    "deliveries/s",
    "generator CPU, µs",
    "missing / repeated or reordered",
];
const SATURATED: &[&str] = &[
    "deliveries/s",
    "× limit",
    "server CPU, µs per delivery",
    "server busy",
    "generator busy",
    "missing / repeated or reordered",
];
const PACED_UNIT: &str = "server CPU per delivery, × limit";
const SHARED_UNIT: &str = "deliveries/s, × limit-coalescing";

const SHARED_1000_PACED: Labels = Labels {
    title: "One channel, 1,000 pages, paced",
    name: "shared-1000-paced",
    note: "100 publications a second, so 100,000 deliveries a second (Action Cable: 5,000).",
    unit: PACED_UNIT,
    is_less_better: true,
    head: PACED,
};
const SHARED_10000_PACED: Labels = Labels {
    title: "One channel, 10,000 pages, paced",
    name: "shared-10000-paced",
    note: "10 publications a second, so 100,000 deliveries a second. A publication reaches the pages one after another, so p50 is about half of the time until the last one. A server that delivers less than the rate has a backlog, and its latencies grow with the duration of the phase.",
    unit: PACED_UNIT,
    is_less_better: true,
    head: PACED,
};
const OWN_PACED: Labels = Labels {
    title: "A channel for each of 10,000 pages, paced",
    name: "own-paced",
    note: "10,000 publications a second, each to one page.",
    unit: PACED_UNIT,
    is_less_better: true,
    head: PACED,
};
const SHARED_1000_SATURATED: Labels = Labels {
    title: "One channel, 1,000 pages, saturated",
    name: "shared-1000-saturated",
    note: "32 publications in flight (Action Cable: 2). Servers that send several waiting publications in one write deliver far more.",
    unit: SHARED_UNIT,
    is_less_better: false,
    head: SATURATED,
};
const SHARED_10000_SATURATED: Labels = Labels {
    title: "One channel, 10,000 pages, saturated",
    name: "shared-10000-saturated",
    note: "8 publications in flight.",
    unit: SHARED_UNIT,
    is_less_better: false,
    head: SATURATED,
};
const OWN_SATURATED: Labels = Labels {
    title: "A channel for each of 10,000 pages, saturated",
    name: "own-saturated",
    note: "1,000 publications in flight, each to one page.",
    unit: "deliveries/s, × limit",
    is_less_better: false,
    head: SATURATED,
};
const MEMORY: Labels = Labels {
    title: "Memory of an idle connection",
    name: "memory",
    note: "Growth of the server's private memory with 10,000 idle pages, each with its own channel. The kernel's memory for the sockets is not included.",
    unit: "bytes per connection",
    is_less_better: true,
    head: &["bytes"],
};
const CONNECTS: Labels = Labels {
    title: "Connects",
    name: "connects",
    note: "Connect, upgrade, check of a token (limits and Nchan: none) and subscription, 64 at once, up to 10,000 pages.",
    unit: "connects/s, × limit",
    is_less_better: false,
    head: &["connects/s", "× limit", "server CPU, µs per connect"],
};
const STALLED: Labels = Labels {
    title: "Ten pages stop reading",
    name: "stalled",
    note: "1,000 pages receive 20 publications a second (Action Cable: 5), while ten pages of another channel stop reading. That channel receives 150 publications of 32 KiB a second (Action Cable: 7). The kernel buffers about 3 MB for each of the ten pages; beyond that, the server buffers or closes the connection.",
    unit: "p99 of the others, × that with all reading",
    is_less_better: true,
    head: &[
        "p99 ratio",
        "p99 ms, all reading",
        "p99 ms, ten stalled",
        "memory growth, MiB",
        "missing / repeated or reordered",
    ],
};
const STORM: Labels = Labels {
    title: "10,000 pages reconnect",
    name: "storm",
    note: "1,000 others receive 20 publications a second, while 10,000 pages with own channels reconnect within a second or as fast as the server allows. With resume, each page has missed one publication, which it must receive.",
    unit: "p99 of the others, × that before",
    is_less_better: true,
    head: &[
        "p99 ratio",
        "p99 ms before",
        "p99 ms during",
        "resume",
        "missing / repeated or reordered",
    ],
};

impl Labels {
    pub(super) fn of(scenario: Scenario) -> Self {
        match scenario {
            Scenario::Shared1000Paced => SHARED_1000_PACED,
            Scenario::Shared10000Paced => SHARED_10000_PACED,
            Scenario::OwnPaced => OWN_PACED,
            Scenario::Shared1000Saturated => SHARED_1000_SATURATED,
            Scenario::Shared10000Saturated => SHARED_10000_SATURATED,
            Scenario::OwnSaturated => OWN_SATURATED,
            Scenario::Memory => MEMORY,
            Scenario::Connects => CONNECTS,
            Scenario::Stalled => STALLED,
            Scenario::Storm => STORM,
        }
    }
}
