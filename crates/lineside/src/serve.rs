//! `lineside serve`: everything together, from the settings to the last goodbye.

mod reload;
mod stops;

use std::convert::Infallible;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lineside_hub::Hub;
use lineside_protocol::Epoch;
use lineside_protocol::frame::{HAND_OFF, WATCH};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::http::admin::Admin;
use crate::http::upgrade::Browsers;
use crate::link::hand_off::HandOffs;
use crate::link::ingress::Ingress;
use crate::link::socket::{Link, first_kind};
use crate::listener::Listener;
use crate::log::{self, Level, event};
use crate::metrics::{Metrics, ShardCounts};
use crate::serve::reload::reload_secrets;
use crate::serve::stops::Stops;
use crate::settings::Settings;
use crate::shard::connection::Rules;
use crate::shard::inbox::Inbox;
use crate::shard::random::Random;
use crate::shard::{Plan, Reactor};
use crate::state;

/// Descriptors that are no browsers: links, listeners, shards, the log.
pub(crate) const DESCRIPTORS_RESERVED: u64 = 256;

/// How often what is too old is forgotten, and the link's socket looked for, in milliseconds.
const TICK_MS: u64 = 1000;

/// Without descriptors an accept fails at once, again and again; so long is waited in between, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 10;

/// Serves until SIGTERM, SIGINT or the end of the process that it belongs to, then drains, and leaves its state to the
/// successor. A second signal cuts the drain.
///
/// # Errors
/// One line that says what stood in the way of starting.
pub(crate) fn serve(settings: Settings) -> Result<(), String> {
    log::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot start: {error}"))?;
    let served = runtime.block_on(run(Arc::new(settings)));
    runtime.shutdown_timeout(Duration::ZERO);
    log::finish();
    served
}

async fn run(settings: Arc<Settings>) -> Result<(), String> {
    let unwatched = |error| format!("signals cannot be watched: {error}");
    let in_terminal = std::io::stdin().is_terminal();
    let mut stops = Stops::new(in_terminal, settings.parent_pid).map_err(unwatched)?;
    let hangups = signal(SignalKind::hangup()).map_err(unwatched)?;
    let connections_max = connections_max(&settings);
    let mut link = Link::open(&settings.link)?;
    let listeners = Listeners::open(&settings)?;
    // What can keep us from serving comes before this: the state is gone once it is taken.
    let (hub, clock) = state::take(&settings.link, settings.limits.history)?;
    let epoch = hub.journal.epoch().clone();
    let hub = Arc::new(Mutex::new(hub));

    let shards = Shards::start(&settings, &hub, clock)?;
    let inboxes = || shards.inboxes.clone();
    let browsers = Arc::new(Browsers::new(
        Arc::clone(&settings),
        inboxes(),
        connections_max,
    ));
    let metrics = Metrics {
        hub: Arc::clone(&hub),
        shards: shards.counts.clone(),
        requests: browsers.counts(),
        connections_max,
        started_ms: clock.now().wall_ms,
    };
    let hosts = settings.admin_hosts.clone();
    let admin = Arc::new(Admin::new(metrics, Arc::clone(&browsers), hosts));
    let ingress = Ingress::new(
        Arc::clone(&hub),
        inboxes(),
        Arc::clone(&settings.keys),
        clock,
    );
    let ingress = Arc::new(ingress);
    let hand_offs = Arc::new(HandOffs::new(Arc::clone(&browsers)));
    announce(&settings, &listeners, &epoch)?;

    let mut publishers = JoinSet::new();
    let signal = tokio::select! {
        never = admit(&mut link, (&ingress, &hand_offs), &mut publishers) => match never {},
        never = listeners.accept(&browsers, &admin) => match never {},
        signal = stops.next() => signal,
        never = reload_secrets(hangups, &settings.keys), if !in_terminal => match never {},
    };
    let seconds = settings.limits.drain_seconds_max;
    event(
        Level::Info,
        "draining",
        &[("signal", &signal), ("seconds_max", &seconds)],
    );
    browsers.drain();
    ingress.stop();
    let stop = async {
        tokio::select! {
            () = shards.drain(&mut publishers) => event(Level::Info, "drained", &[]),
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {
                event(Level::Warn, "drain_cut", &[("seconds", &seconds)]);
            }
            signal = stops.next() => event(Level::Warn, "drain_cut", &[("signal", &signal)]),
        }
        // Without publishers nothing is acked and no position given away any more.
        publishers.shutdown().await;
        state::leave(&link, &hub, clock).await;
    };
    tokio::select! {
        () = stop => {}
        never = admit_browsers(&link, &hand_offs) => match never {},
        never = listeners.accept(&browsers, &admin) => match never {},
    }
    Ok(())
}

/// The effective configuration, once, and where we are to be found.
fn announce(settings: &Settings, listeners: &Listeners, epoch: &Epoch) -> Result<(), String> {
    for name in &settings.unknown {
        event(Level::Warn, "unknown_setting", &[("name", name)]);
    }
    for (name, value) in &settings.shown {
        event(Level::Info, "setting", &[("name", name), ("value", value)]);
    }
    let (path, link, version) = (
        &settings.path,
        settings.link.display(),
        env!("CARGO_PKG_VERSION"),
    );
    event(
        Level::Info,
        "listening",
        &[
            ("bind", &listeners.browsers.shown()?),
            ("admin", &listeners.operators.shown()?),
            ("path", path),
            ("link", &link),
            ("epoch", epoch),
            ("version", &version),
        ],
    );
    Ok(())
}

/// The two listeners, either of which may be none.
struct Listeners {
    browsers: Listener,
    operators: Listener,
}

impl Listeners {
    fn open(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            browsers: settings.bind.listen()?,
            operators: settings.admin_bind.listen()?,
        })
    }

    /// Accepts for ever.
    async fn accept(&self, browsers: &Arc<Browsers>, admin: &Arc<Admin>) -> Infallible {
        tokio::select! {
            never = browsers.accept(&self.browsers) => never,
            never = admin.accept(&self.operators) => never,
        }
    }
}

/// Accepts publishers and hand-offs for ever, and keeps the journal and the link in order meanwhile.
async fn admit(
    link: &mut Link,
    (ingress, hand_offs): (&Arc<Ingress>, &Arc<HandOffs>),
    publishers: &mut JoinSet<()>,
) -> Infallible {
    let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
    loop {
        tokio::select! {
            publisher = link.accept() => match publisher {
                Ok(stream) => {
                    let ingress = Arc::clone(ingress);
                    let hand_offs = Arc::clone(hand_offs);
                    let number = ingress.number_link();
                    publishers.spawn(async move {
                        match first_kind(&stream).await {
                            Some(HAND_OFF) => hand_offs.serve(stream).await,
                            Some(WATCH) => ingress.show(stream).await,
                            // Who says nothing, or fails, is told so as a publisher.
                            _ => ingress.serve(number, stream).await,
                        }
                    });
                }
                Err(message) => {
                    event(Level::Warn, "publisher_refused", &[("message", &message)]);
                    tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
            },
            _ = tick.tick() => {
                ingress.look_after();
                if link.is_lost() {
                    match link.reopen() {
                        Ok(()) => {
                            event(Level::Warn, "link_restored", &[]);
                            state::discard(link.path());
                        }
                        Err(message) => event(Level::Error, "link_lost", &[("message", &message)]),
                    }
                }
            }
            Some(_) = publishers.join_next() => {}
        }
    }
}

/// Answers browsers that the app hands over while the sidecar stops: they are told when to come back. Publishers find
/// the link closed, and keep what they have.
async fn admit_browsers(link: &Link, hand_offs: &Arc<HandOffs>) -> Infallible {
    loop {
        let Ok(stream) = link.accept().await else {
            tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            continue;
        };
        let hand_offs = Arc::clone(hand_offs);
        tokio::spawn(async move {
            if first_kind(&stream).await == Some(HAND_OFF) {
                hand_offs.serve(stream).await;
            }
        });
    }
}

/// The threads that own the browsers.
struct Shards {
    inboxes: Vec<Arc<Inbox>>,
    counts: Vec<Arc<ShardCounts>>,
    threads: Vec<JoinHandle<()>>,
}

impl Shards {
    fn start(settings: &Settings, hub: &Arc<Mutex<Hub>>, clock: Clock) -> Result<Self, String> {
        let cursor = hub
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .journal
            .cursor();
        let rules = Arc::new(Rules {
            keys: Arc::clone(&settings.keys),
            public_channels: settings.public_channels.clone(),
            heartbeat_seconds: settings.limits.heartbeat_seconds,
            epoch: cursor.epoch,
        });
        let mut shards = Self {
            inboxes: Vec::new(),
            counts: Vec::new(),
            threads: Vec::new(),
        };
        for number in 0..settings.limits.shards {
            let plan = Plan {
                hub: Arc::clone(hub),
                rules: Arc::clone(&rules),
                limits: settings.limits,
                random: Random::of_the_system(),
                dispatched: cursor.position,
            };
            let fail = |error: std::io::Error| format!("shard {number} cannot start: {error}");
            let reactor = Reactor::new(plan, clock).map_err(fail)?;
            shards.inboxes.push(reactor.inbox());
            shards.counts.push(reactor.counts());
            let thread = std::thread::Builder::new().name(format!("shard-{number}"));
            shards
                .threads
                .push(thread.spawn(move || reactor.run()).map_err(fail)?);
        }
        Ok(shards)
    }

    /// Publishers first, so that nothing is acked that no browser can still be sent; then the browsers.
    async fn drain(&self, publishers: &mut JoinSet<()>) {
        while publishers.join_next().await.is_some() {}
        for inbox in &self.inboxes {
            inbox.drain();
        }
        while !self.threads.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// As many connections as the settings and the process's descriptors allow.
fn connections_max(settings: &Settings) -> usize {
    let wanted = settings.limits.connections_max;
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok(hard)
    });
    let Ok(descriptors) = raised else {
        return wanted;
    };
    let most = usize::try_from(descriptors.saturating_sub(DESCRIPTORS_RESERVED))
        .unwrap_or(usize::MAX)
        .max(1);
    if most < wanted {
        event(
            Level::Info,
            "connections_limited",
            &[
                ("connections_max", &most),
                (
                    "remedy",
                    &"raise the limit of open files (ulimit -n, LimitNOFILE) or lower LINESIDE_CONNECTIONS_MAX",
                ),
            ],
        );
    }
    wanted.min(most)
}
