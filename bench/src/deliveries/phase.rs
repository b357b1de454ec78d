//! The load on one server: publications at a fixed rate, or as many as are in flight at once.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::cores::{NEAR_NANOS_MAX, round_trip_nanos};
use super::dialect::Page;
use super::pages::{Deliveries, NUMBER_DIGITS, NUMBER_FIELD, Pages};
use super::publishing::Publishing;
use super::server::{Program, Server};
use crate::Outcome;
use crate::process;

/// Time after a phase in which its last publications may arrive.
const SETTLE: Duration = Duration::from_secs(5);
/// Part of a saturated phase before it is measured: its first quarter.
const WARM_UP: u32 = 4;
/// Size of a publication, in bytes.
const PAYLOAD_BYTES: usize = 128;
/// Channel of the pages that stall.
pub(super) const STALLED_CHANNEL: &str = "stalled";
/// Reconnects of a storm per second, and those that wait for their subscription.
const RECONNECTS_PER_SECOND: u32 = 10_000;
const RECONNECTING_MAX: usize = 64;
/// Time after the phase in which all pages must have reconnected. The phase lasts until then.
const RECONNECT_MAX: Duration = Duration::from_secs(20);

/// Result of one phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) deliveries_per_second: f64,
    /// CPU time per delivery, in microseconds.
    pub(super) server_micros: f64,
    pub(super) generator_micros: f64,
    /// Latencies from the due time of a publication to the read of a page, in milliseconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// The same p99 in the phase before, which this one is compared with.
    pub(super) p99_before: f64,
    /// Growth of the server's memory over the phase, in bytes.
    pub(super) growth_bytes: f64,
    /// Publications that did not arrive, and those that came again or out of order.
    pub(super) missing: u64,
    pub(super) repeated: u64,
    /// Whether the cores shared a cache before and after.
    pub(super) is_near: bool,
}

/// A server with its pages and its publishing end.
pub(super) struct Load {
    pub(super) program: Program,
    pub(super) server: Server,
    pub(super) pages: Pages,
    pub(super) publishing: Publishing,
    /// Pages of group 0 that are read, each of which gets every publication of a shared channel.
    pub(super) readers: u64,
    text: String,
}

/// Channels of a phase: one for all pages, or one for each, which take turns.
#[derive(Clone, Debug)]
pub(super) struct Channels(Vec<String>);

/// Load beside the publications that are measured.
#[derive(Default)]
pub(super) struct Beside {
    /// Pages that connect, with their numbering.
    pub(super) reconnecting: VecDeque<(Page, u64, u64)>,
    /// Channel, size and interval of publications that nobody reads.
    pub(super) unread: Option<(String, usize, Duration)>,
}

/// Counters at a moment.
struct Mark {
    at: Instant,
    count: u64,
    server_nanos: u64,
    generator_nanos: u64,
}

impl Channels {
    pub(super) fn shared(program: Program) -> Self {
        Self(vec![program.shared_channel()])
    }

    pub(super) fn stalled() -> Self {
        Self(vec![STALLED_CHANNEL.into()])
    }

    pub(super) fn own(program: Program, count: usize) -> Self {
        Self((0..count).map(|it| program.own_channel(it)).collect())
    }

    /// Pages with their numbering, each of the channel of its turn.
    pub(super) fn pages(&self, program: Program, count: usize) -> Outcome<Vec<(Page, u64, u64)>> {
        let stride = u64::try_from(self.0.len())?;
        (0..count)
            .map(|number| {
                let index = number % self.0.len();
                let page = program.page(number, &self.0[index])?;
                Ok((page, u64::try_from(index)?, stride))
            })
            .collect()
    }
}

impl Load {
    /// Starts a server and its publishing end.
    pub(super) fn start(program: Program) -> Outcome<Self> {
        let mut server = program.start()?;
        let publishing = server.publishing()?;
        let pages = Pages::new(program.dialect(), server.port)?;
        Ok(Self {
            program,
            server,
            pages,
            publishing,
            readers: 0,
            text: String::new(),
        })
    }

    /// Opens pages of group 0 on these channels.
    pub(super) fn open(&mut self, channels: &Channels, count: usize) -> Outcome<()> {
        let pages = channels.pages(self.program, count)?;
        self.pages.open(0, pages, None)?;
        self.readers = if channels.0.len() == 1 {
            u64::try_from(count)?
        } else {
            1
        };
        Ok(())
    }

    /// Publishes at a fixed rate for this time, or until all pages have reconnected.
    pub(super) fn paced(
        &mut self,
        channels: &Channels,
        interval: Duration,
        time: Duration,
        beside: Beside,
    ) -> Outcome<Sample> {
        let mut reconnecting = beside.reconnecting;
        let is_near = is_near();
        self.reset();
        let replays = if self.program.resumes() {
            u64::try_from(reconnecting.len())?
        } else {
            0
        };
        let memory = self.server.private_bytes();
        let begin = self.mark();
        let mut end = begin.at + time;
        let (mut due, mut connect_due, mut unread_due) = (begin.at, begin.at, begin.at);
        let mut published = 0;
        loop {
            let now = Instant::now();
            while connect_due <= now
                && self.pages.opening() < RECONNECTING_MAX
                && let Some(page) = reconnecting.pop_front()
            {
                self.pages.begin(1, page, None)?;
                connect_due += Duration::from_secs(1) / RECONNECTS_PER_SECOND;
            }
            let is_connecting = !reconnecting.is_empty() || self.pages.opening() > 0;
            if is_connecting && now > end {
                if now > begin.at + time + RECONNECT_MAX {
                    let left = reconnecting.len() + self.pages.opening();
                    return Err(format!(
                        "{left} pages did not reconnect within {} s after the phase",
                        RECONNECT_MAX.as_secs()
                    )
                    .into());
                }
                end = now;
            }
            while due <= now && due <= end {
                self.publish(channels, due)?;
                published += 1;
                due += interval;
            }
            while let Some((channel, bytes, interval)) = &beside.unread
                && unread_due <= now.min(end)
            {
                let payload = format!("\"{:-<bytes$}\"", "");
                self.publishing.publish(channel, &payload)?;
                unread_due += *interval;
            }
            self.publishing.flush()?;
            self.pages.turn()?;
            let has_all = self.pages.groups[0].count >= published * self.readers
                && self.pages.groups[1].count >= replays;
            if (now >= end && has_all && !is_connecting) || now >= end + SETTLE {
                break;
            }
        }
        let ended = self.mark();
        let mut sample = self.sample(&begin, &ended, published * self.readers, is_near);
        sample.missing += replays.saturating_sub(self.pages.groups[1].count);
        sample.repeated += self.pages.groups[1].repeated;
        sample.growth_bytes = difference(self.server.private_bytes(), memory);
        Ok(sample)
    }

    /// Keeps this many publications in flight for this time.
    pub(super) fn saturated(
        &mut self,
        channels: &Channels,
        window: u64,
        time: Duration,
    ) -> Outcome<Sample> {
        let is_near = is_near();
        self.reset();
        let start = Instant::now();
        let (warm, end) = (start + time / WARM_UP, start + time + time / WARM_UP);
        let mut published = 0;
        let (mut begin, mut ended) = (None, None);
        loop {
            let now = Instant::now();
            if begin.is_none() && now >= warm {
                begin = Some(self.mark());
            }
            if ended.is_none() && now >= end {
                ended = Some(self.mark());
            }
            if now < end {
                let arrived = self.pages.groups[0].count / self.readers;
                while published < arrived + window {
                    self.publish(channels, now)?;
                    published += 1;
                }
            }
            self.publishing.flush()?;
            self.pages.turn()?;
            let has_all = self.pages.groups[0].count >= published * self.readers;
            if (now >= end && has_all) || now >= end + SETTLE {
                break;
            }
        }
        let (begin, ended) = begin.zip(ended).ok_or("the phase did not end")?;
        Ok(self.sample(&begin, &ended, published * self.readers, is_near))
    }

    /// Publishes the next number on the channel of its turn.
    fn publish(&mut self, channels: &Channels, due: Instant) -> Outcome<()> {
        let number = self.pages.due.len();
        self.pages.due.push(due);
        self.text.clear();
        write!(
            self.text,
            "{{{NUMBER_FIELD}{number:0NUMBER_DIGITS$}\",\"text\":\"{:-<width$}\"}}",
            "",
            // Fields, number and punctuation are 32 bytes.
            width = PAYLOAD_BYTES - 32
        )?;
        let channel = &channels.0[number % channels.0.len()];
        self.publishing.publish(channel, &self.text)
    }

    /// Publishes one to each channel, and returns the pages that expect it. Pages of group 0 expect none of them.
    pub(super) fn publish_missed(
        &mut self,
        channels: &Channels,
        pages: Vec<Page>,
    ) -> Outcome<VecDeque<(Page, u64, u64)>> {
        let after = self.publishing.cursor();
        let mut numbered = VecDeque::with_capacity(pages.len());
        for (index, page) in pages.into_iter().enumerate() {
            let number = self.pages.due.len();
            if self.program.resumes() {
                self.pages.due.push(Instant::now());
                let payload = format!("{{{NUMBER_FIELD}{number:0NUMBER_DIGITS$}\"}}");
                self.publishing.publish(&channels.0[index], &payload)?;
            }
            let after = after.clone();
            let stride = u64::from(u32::MAX);
            numbered.push_back((Page { after, ..page }, u64::try_from(number)?, stride));
        }
        self.pages.expect(u64::try_from(self.pages.due.len())?);
        Ok(numbered)
    }

    fn reset(&mut self) {
        self.pages.groups = [Deliveries::default(), Deliveries::default()];
    }

    fn mark(&self) -> Mark {
        Mark {
            at: Instant::now(),
            count: self.pages.groups[0].count,
            server_nanos: self.server.cpu_nanos(),
            generator_nanos: process::cpu_nanos(std::process::id()),
        }
    }

    /// Sample between two marks. `expected`: deliveries of the whole phase.
    fn sample(&self, begin: &Mark, end: &Mark, expected: u64, is_near: bool) -> Sample {
        let group = &self.pages.groups[0];
        let count = as_f64(end.count - begin.count);
        let micros = |from: u64, to: u64| as_f64(to - from) / 1000.0 / count;
        Sample {
            deliveries_per_second: count / (end.at - begin.at).as_secs_f64(),
            server_micros: micros(begin.server_nanos, end.server_nanos),
            generator_micros: micros(begin.generator_nanos, end.generator_nanos),
            p50: group.latencies.percentile(50),
            p99: group.latencies.percentile(99),
            p99_before: f64::NAN,
            growth_bytes: f64::NAN,
            missing: group.missing.max(expected.saturating_sub(group.count)),
            repeated: group.repeated,
            is_near: is_near && self::is_near(),
        }
    }
}

fn is_near() -> bool {
    round_trip_nanos() <= NEAR_NANOS_MAX
}

/// A difference that may be negative.
pub(super) fn difference(after: u64, before: u64) -> f64 {
    as_f64(after) - as_f64(before)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and nanoseconds of a run of minutes are exact"
)]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}
