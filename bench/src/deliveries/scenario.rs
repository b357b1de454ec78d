//! The scenarios. Those that need the same server and pages run one after another on one start of the server.

use std::time::{Duration, Instant};

use super::phase::{Beside, Channels, Load, STALLED_CHANNEL, Sample, as_f64, difference};
use super::server::Program;
use crate::Outcome;

/// A row of figures for each program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    Shared1000Paced,
    Shared1000Saturated,
    Shared10000Paced,
    Shared10000Saturated,
    OwnPaced,
    OwnSaturated,
    Memory,
    Connects,
    Stalled,
    Storm,
}

/// Scenarios that share a start of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Shared1000,
    Shared10000,
    Own,
    Stalled,
    Storm,
}

pub(crate) const GROUPS: [Group; 5] = [
    Group::Shared1000,
    Group::Shared10000,
    Group::Own,
    Group::Stalled,
    Group::Storm,
];

/// Pages of the small and the large scenarios.
const FEW: usize = 1_000;
const MANY: usize = 10_000;
/// Publications per second to own channels, and those in flight when saturated.
const OWN_PER_SECOND: u32 = 10_000;
const OWN_WINDOW: u64 = 1_000;
/// Pages that stall, and their receive buffer; size and rate of their publications. The kernel takes about 3 MB for each
/// before the server notices.
const STALLED: usize = FEW / 100;
const STALLED_RECEIVE_BYTES: usize = 4 * 1024;
const STALLED_PAYLOAD_BYTES: usize = 32 * 1024;
const STALLED_PER_SECOND: u32 = 150;
/// Publications per second to the others, while pages stall or reconnect.
const OTHERS_PER_SECOND: u32 = 20;
/// Measurements of a phase until the cores are near.
const ATTEMPTS: usize = 2;
/// Time until a server's memory is read after its connections are open.
const REST: Duration = Duration::from_millis(300);

/// The figure of one scenario in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) scenario: Scenario,
    /// Microseconds per delivery, deliveries or connects per second, bytes, or a ratio of latencies.
    pub(crate) value: f64,
    /// Microseconds of the server's CPU time per connect.
    pub(crate) connect_micros: f64,
    pub(crate) sample: Option<Sample>,
}

impl Group {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Shared1000 => "shared-1000",
            Self::Shared10000 => "shared-10000",
            Self::Own => "own",
            Self::Stalled => "stalled",
            Self::Storm => "storm",
        }
    }

    /// Connections that the program must hold.
    pub(crate) fn pages(self) -> usize {
        match self {
            Self::Shared1000 | Self::Stalled => FEW,
            Self::Shared10000 | Self::Own => MANY,
            Self::Storm => FEW + MANY,
        }
    }

    /// Runs the scenarios of the group once.
    pub(crate) fn run(self, program: Program, time: Duration) -> Outcome<Vec<Figure>> {
        match self {
            Self::Shared1000 => shared(
                program,
                FEW,
                time,
                [Scenario::Shared1000Paced, Scenario::Shared1000Saturated],
            ),
            Self::Shared10000 => shared(
                program,
                MANY,
                time,
                [Scenario::Shared10000Paced, Scenario::Shared10000Saturated],
            ),
            Self::Own => own(program, time),
            Self::Stalled => stalled(program, time),
            Self::Storm => storm(program, time),
        }
    }
}

/// One channel that all pages read.
fn shared(
    program: Program,
    count: usize,
    time: Duration,
    [paced, saturated]: [Scenario; 2],
) -> Outcome<Vec<Figure>> {
    let channels = Channels::shared(program);
    let mut load = Load::start(program)?;
    load.open(&channels, count)?;
    let interval = interval(program, count)?;
    let pace = near(|| load.paced(&channels, interval, time, Beside::default()))?;
    let window = program.window(count);
    let most = near(|| load.saturated(&channels, window, time))?;
    Ok(vec![
        Figure::new(paced, pace.server_micros, pace),
        Figure::new(saturated, most.deliveries_per_second, most),
    ])
}

/// A channel for each page: connects with the check of a token and a subscription, memory, and publications to one page each.
fn own(program: Program, time: Duration) -> Outcome<Vec<Figure>> {
    let channels = Channels::own(program, MANY);
    let mut load = Load::start(program)?;
    let memory = load.server.private_bytes();
    let pages = channels.pages(program, MANY)?;
    let (begin, cpu) = (Instant::now(), load.server.cpu_nanos());
    load.pages.open(0, pages, None)?;
    let elapsed = begin.elapsed();
    let count = as_f64(u64::try_from(MANY)?);
    let connect_micros = difference(load.server.cpu_nanos(), cpu) / count / 1000.0;
    load.readers = 1;
    std::thread::park_timeout(REST);
    let bytes = difference(load.server.private_bytes(), memory) / count;
    let second = Duration::from_secs(1);
    let interval = second / OWN_PER_SECOND;
    let pace = near(|| load.paced(&channels, interval, time, Beside::default()))?;
    let most = near(|| load.saturated(&channels, OWN_WINDOW, time))?;
    Ok(vec![
        Figure::bare(Scenario::Memory, bytes),
        Figure {
            connect_micros,
            ..Figure::bare(Scenario::Connects, count / elapsed.as_secs_f64())
        },
        Figure::new(Scenario::OwnPaced, pace.server_micros, pace),
        Figure::new(Scenario::OwnSaturated, most.deliveries_per_second, most),
    ])
}

/// A shared channel, while the pages of another channel do not read its large publications.
fn stalled(program: Program, time: Duration) -> Outcome<Vec<Figure>> {
    let channels = Channels::shared(program);
    let mut load = Load::start(program)?;
    load.open(&channels, FEW)?;
    let stalled = Channels::stalled().pages(program, STALLED)?;
    load.pages.open(1, stalled, Some(STALLED_RECEIVE_BYTES))?;
    let second = Duration::from_secs(1);
    let per_second = program.deliveries_per_second() / u32::try_from(FEW)?;
    let interval = second / OTHERS_PER_SECOND.min(per_second);
    let quiet = load.paced(&channels, interval, time, Beside::default())?;
    load.pages.stall(1)?;
    let unread = (
        STALLED_CHANNEL.into(),
        STALLED_PAYLOAD_BYTES,
        second / (STALLED_PER_SECOND * per_second / 100),
    );
    let beside = Beside {
        unread: Some(unread),
        ..Beside::default()
    };
    let sample = load.paced(&channels, interval, time, beside)?;
    Ok(vec![Figure::compared(Scenario::Stalled, &quiet, sample)])
}

/// Pages with own channels that reconnect while others receive a shared channel. If the server resumes, each page has missed
/// one publication.
fn storm(program: Program, time: Duration) -> Outcome<Vec<Figure>> {
    let shared = Channels::shared(program);
    let own = Channels::own(program, MANY);
    let mut load = Load::start(program)?;
    load.open(&shared, FEW)?;
    load.pages.open(1, own.pages(program, MANY)?, None)?;
    let interval = Duration::from_secs(1) / OTHERS_PER_SECOND;
    let quiet = load.paced(&shared, interval, time, Beside::default())?;
    let pages = load.pages.close(1);
    let reconnecting = load.publish_missed(&own, pages)?;
    let beside = Beside {
        reconnecting,
        ..Beside::default()
    };
    let sample = load.paced(&shared, interval, time, beside)?;
    Ok(vec![Figure::compared(Scenario::Storm, &quiet, sample)])
}

/// Time between publications to this many pages at the program's rate of deliveries.
fn interval(program: Program, pages: usize) -> Outcome<Duration> {
    Ok(Duration::from_secs(1) * u32::try_from(pages)? / program.deliveries_per_second())
}

/// Measures again if the cores were far.
fn near(mut measure: impl FnMut() -> Outcome<Sample>) -> Outcome<Sample> {
    let mut sample = measure()?;
    for _ in 1..ATTEMPTS {
        if sample.is_near || sample.missing + sample.repeated > 0 {
            break;
        }
        sample = measure()?;
    }
    Ok(sample)
}

impl Figure {
    fn new(scenario: Scenario, value: f64, sample: Sample) -> Self {
        Self {
            sample: Some(sample),
            ..Self::bare(scenario, value)
        }
    }

    fn bare(scenario: Scenario, value: f64) -> Self {
        Self {
            scenario,
            value,
            connect_micros: f64::NAN,
            sample: None,
        }
    }

    /// The factor by which the p99 of others rose.
    fn compared(scenario: Scenario, quiet: &Sample, mut sample: Sample) -> Self {
        sample.p99_before = quiet.p99;
        sample.missing += quiet.missing;
        sample.repeated += quiet.repeated;
        sample.is_near &= quiet.is_near;
        Self::new(scenario, sample.p99 / quiet.p99, sample)
    }
}
