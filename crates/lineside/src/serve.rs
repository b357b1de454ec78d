//! `lineside serve`: starts the link, the listeners and the shards, and stops them in order.

mod reload;
mod signals;
mod snapshot;

use std::convert::Infallible;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lineside_hub::{Hub, PUBLISHERS_MAX};
use lineside_protocol::Epoch;
use lineside_protocol::frame::{APP_HELLO, DESCRIPTION, HAND_OFF, SETTLE, TAIL};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::broker::{Broker, Inbox};
use crate::clock::Clock;
use crate::descriptors::Budget;
use crate::dialects::{self, Rules};
use crate::http::admin::Admin;
use crate::http::upgrade::Upgrades;
use crate::link::description::Descriptions;
use crate::link::hand_off::HandOffs;
use crate::link::ingress::Ingress;
use crate::link::socket::{LinkListener, first_kind};
use crate::listener::Listener;
use crate::log::{self, Level, event};
use crate::memory::Monitor;
use crate::metrics::{Metrics, ShardCounts};
use crate::settings::Settings;
use crate::shard::{Arrivals, LinkQueue, Plan, Random, Reactor};
use reload::reload_secrets;
use signals::{IgnoredSignals, StopSignals};
use snapshot::Files;

/// Interval of expiring history and checking the link's socket, in milliseconds.
const TICK_MS: u64 = 1000;

/// Maximum number of open links: all publishers, and some more for links that are replaced or refused, and for tails. Further
/// ones wait in the kernel's queue.
const LINKS_MAX: usize = PUBLISHERS_MAX + 1024;

/// Serves until SIGTERM, SIGINT, SIGQUIT or the end of the parent process, then drains and writes a snapshot. A second signal
/// cuts the drain.
///
/// # Errors
/// One line with the reason why the sidecar cannot start.
pub(crate) fn serve(settings: Settings) -> Result<(), String> {
    log::start(settings.log_format, settings.log_level);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot start: {error}"))?;
    // A thread of its own, so that a flood of connections does not delay the links of publishers.
    let requests = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("requests")
        .enable_all()
        .build()
        .map_err(|error| format!("the thread for requests cannot start: {error}"))?;
    let served = runtime.block_on(run(Arc::new(settings), requests.handle()));
    requests.shutdown_timeout(Duration::ZERO);
    runtime.shutdown_timeout(Duration::ZERO);
    log::finish();
    served
}

/// Serves. HTTP requests run in the runtime `requests`.
async fn run(settings: Arc<Settings>, requests: &Handle) -> Result<(), String> {
    let unwatched = |error| format!("signals cannot be watched: {error}");
    let in_terminal = std::io::stdin().is_terminal();
    let mut stops = StopSignals::new(in_terminal, settings.parent_pid).map_err(unwatched)?;
    let hangups = signal(SignalKind::hangup()).map_err(unwatched)?;
    tokio::spawn(IgnoredSignals::new().map_err(unwatched)?.log());
    let limits = &settings.limits;
    let budget = Budget::of_the_process(limits.connections_max, limits.shards);
    let link = LinkListener::open(&settings.link)?;
    let listeners = {
        let _entered = requests.enter();
        Listeners::open(&settings)?
    };
    let (hub, clock, snapshot) = snapshot::restore(&Files::of(&link), settings.limits.history)?;
    let memory = Monitor::start(hub.memory(), settings.memory_max);
    let epoch = hub.cursor().epoch;

    let (shards, broker) = Shards::start(&settings, hub, clock)?;
    let upgrades = Arc::new(Upgrades::new(
        Arc::clone(&settings),
        shards.arrivals.clone(),
        budget,
        Arc::clone(broker.memory()),
    ));
    let metrics = Metrics {
        broker: Arc::clone(&broker),
        shards: shards.counts.clone(),
        requests: upgrades.counts(),
        connections_max: budget.connections_max,
        started_ms: clock.now().wall_ms,
    };
    let hosts = settings.admin_hosts.clone();
    let admin = Arc::new(Admin::new(metrics, Arc::clone(&upgrades), hosts));
    let descriptions = Descriptions {
        bind: listeners.browsers.shown()?,
        admin: listeners.operators.shown()?,
        path: settings.path.clone(),
        cable_path: settings.cable_path.clone(),
        cable_identity: settings.cable_identity,
        turbo_keys: Arc::clone(&settings.turbo_keys),
        keys: Arc::clone(&settings.keys),
    };
    let services = Services {
        ingress: Arc::new(Ingress::new(
            Arc::clone(&broker),
            shards.link_queues.clone(),
            Arc::clone(&settings.turbo_keys),
            clock,
        )),
        hand_offs: Arc::new(HandOffs::new(Arc::clone(&upgrades))),
        descriptions: Arc::new(descriptions),
    };
    // Nothing that follows can fail, and nothing is served yet.
    snapshot.consume();
    announce(&settings, &services.descriptions, &epoch);

    requests.spawn(listeners.accept(Arc::clone(&upgrades), admin));
    let mut server = Server {
        drain_seconds_max: settings.limits.drain_seconds_max,
        clock,
        broker,
        shards,
        link,
        services,
        upgrades,
    };
    let mut links = JoinSet::new();
    let signal = tokio::select! {
        never = accept_links(&mut server.link, &server.services, &mut links) => match never {},
        never = expire(&server.broker, clock) => match never {},
        never = memory.run(&server.broker, clock) => match never {},
        signal = stops.next() => signal,
        never = reload_secrets(hangups, &settings.keys), if !in_terminal => match never {},
    };
    server.stop(links, stops, signal).await;
    Ok(())
}

/// Logs the addresses in effect, and each setting at the level `debug`.
fn announce(settings: &Settings, effective: &Descriptions, epoch: &Epoch) {
    for name in &settings.unknown {
        event!(Level::Warn, "unknown_setting", name);
    }
    for (name, value) in &settings.shown {
        event!(Level::Debug, "setting", name, value);
    }
    event!(Level::Debug, "epoch", epoch);
    event!(
        Level::Info,
        "listening",
        bind = effective.bind,
        admin = effective.admin,
        path = effective.path,
        link = settings.link.display(),
        version = env!("CARGO_PKG_VERSION")
    );
}

/// Receivers of links, by the kind of their first frame.
#[derive(Clone)]
struct Services {
    ingress: Arc<Ingress>,
    hand_offs: Arc<HandOffs>,
    descriptions: Arc<Descriptions>,
}

impl Services {
    /// Serves a link until it ends. `number` is its number if it is a publisher's.
    async fn serve(self, stream: UnixStream, number: u64) {
        match first_kind(&stream).await {
            Some(HAND_OFF) => {
                // In a task of its own, because a stop that is cut ends the links.
                tokio::spawn(async move { self.hand_offs.serve(stream).await });
            }
            Some(APP_HELLO) => self.ingress.serve_app(stream).await,
            Some(TAIL) => self.ingress.serve_tail(stream).await,
            Some(SETTLE) => self.ingress.serve_settle(stream).await,
            Some(DESCRIPTION) => self.descriptions.serve(stream).await,
            // A link without a valid first frame gets its error as a publisher.
            _ => self.ingress.serve(number, stream).await,
        }
    }
}

/// Parts of a sidecar that serves.
struct Server {
    drain_seconds_max: u64,
    clock: Clock,
    broker: Arc<Broker>,
    shards: Shards,
    link: LinkListener,
    services: Services,
    upgrades: Arc<Upgrades>,
}

impl Server {
    /// Drains the sidecar, for at most its time or until a further signal, and writes the snapshot. Meanwhile the listeners
    /// accept connections, and the link hand-offs, so that their browsers are told when to reconnect. `signal` is the reason.
    async fn stop(self, mut links: JoinSet<()>, mut stops: StopSignals, signal: &'static str) {
        let Services {
            ingress, hand_offs, ..
        } = &self.services;
        let seconds = self.drain_seconds_max;
        event!(Level::Info, "draining", signal, seconds_max = seconds);
        self.upgrades.drain();
        ingress.stop();
        let stop = async {
            tokio::select! {
                () = drain(ingress, &self.shards, &mut links) => event!(Level::Info, "drained"),
                () = tokio::time::sleep(Duration::from_secs(seconds)) => {
                    event!(Level::Warn, "drain_cut", seconds);
                }
                signal = stops.next() => event!(Level::Warn, "drain_cut", signal),
            }
            links.shutdown().await;
            // A drain that is cut may leave links of publishers.
            self.broker.close();
            snapshot::save(&self.link, &self.broker, self.clock).await;
        };
        tokio::select! {
            () = stop => {}
            never = accept_hand_offs(&self.link, hand_offs) => match never {},
        }
        // The app answers a further hand-off, because it finds no link. Hand-offs that were taken are answered here.
        drop(self.link);
        hand_offs.finish().await;
    }
}

/// The two listeners. Each may be none.
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

    /// Accepts until the sidecar stops.
    async fn accept(self, upgrades: Arc<Upgrades>, admin: Arc<Admin>) -> Infallible {
        tokio::select! {
            never = upgrades.accept(&self.browsers) => never,
            never = admin.accept(&self.operators) => never,
        }
    }
}

/// Accepts links until the sidecar stops, and restores a lost socket of the link.
async fn accept_links(
    link: &mut LinkListener,
    services: &Services,
    links: &mut JoinSet<()>,
) -> Infallible {
    let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
    loop {
        tokio::select! {
            stream = link.accept(), if links.len() < LINKS_MAX => {
                let number = services.ingress.number_link();
                links.spawn(services.clone().serve(stream, number));
            }
            _ = tick.tick() => {
                if link.is_lost() {
                    match link.reopen() {
                        Ok(()) => {
                            event!(Level::Warn, "link_restored");
                            snapshot::discard(&Files::of(link));
                        }
                        Err(message) => event!(Level::Error, "link_lost", message),
                    }
                } else if !link.is_held() && let Err(message) = link.renew_lock() {
                    event!(Level::Error, "link_lost", message);
                }
            }
            Some(_) = links.join_next() => {}
        }
    }
}

/// Expires history and revocations until the sidecar stops.
async fn expire(broker: &Broker, clock: Clock) -> Infallible {
    let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
    loop {
        tick.tick().await;
        broker.expire(clock.now());
    }
}

/// Drains the shards once no publisher changes the journal any more: in this order everything acked is still sent. Then waits
/// for links that are still sent the reason, such as tails, so that these do not delay browsers. Links of the app's processes end
/// last, after the commands that tell which connections have closed.
async fn drain(ingress: &Ingress, shards: &Shards, links: &mut JoinSet<()>) {
    ingress.ended().await;
    shards.drain().await;
    ingress.stop_apps();
    while links.join_next().await.is_some() {}
}

/// Serves hand-offs while the sidecar stops: their browsers are told when to reconnect. Publishers find the link closed.
async fn accept_hand_offs(link: &LinkListener, hand_offs: &Arc<HandOffs>) -> Infallible {
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            stream = link.accept(), if links.len() < LINKS_MAX => {
                let hand_offs = Arc::clone(hand_offs);
                links.spawn(async move {
                    if first_kind(&stream).await == Some(HAND_OFF) {
                        // In a task of its own, because the end of the stop ends the links.
                        tokio::spawn(async move { hand_offs.serve(stream).await });
                    }
                });
            }
            Some(_) = links.join_next() => {}
        }
    }
}

/// Threads of the shards.
struct Shards {
    inboxes: Vec<Arc<Inbox>>,
    arrivals: Vec<Arc<Arrivals>>,
    link_queues: Vec<Arc<LinkQueue>>,
    counts: Vec<Arc<ShardCounts>>,
    threads: Vec<JoinHandle<()>>,
}

impl Shards {
    /// Starts the shards, with the broker that feeds them.
    fn start(settings: &Settings, hub: Hub, clock: Clock) -> Result<(Self, Arc<Broker>), String> {
        let start = hub.cursor();
        let rules = Arc::new(Rules {
            keys: Arc::clone(&settings.keys),
            public_channels: settings.public_channels.clone(),
            heartbeat_seconds: settings.limits.heartbeat_seconds,
        });
        let fail = |error: std::io::Error| format!("the shards cannot start: {error}");
        let reactors: Vec<Reactor> = (0..settings.limits.shards)
            .map(|_| Reactor::new(clock))
            .collect::<Result<_, _>>()
            .map_err(fail)?;
        let inboxes: Vec<_> = reactors.iter().map(Reactor::inbox).collect();
        let broker = Arc::new(Broker::new(hub, inboxes.clone(), dialects::encode));
        let mut shards = Self {
            inboxes,
            arrivals: reactors.iter().map(Reactor::arrivals).collect(),
            link_queues: reactors.iter().map(Reactor::link_queue).collect(),
            counts: reactors.iter().map(Reactor::counts).collect(),
            threads: Vec::new(),
        };
        for (number, reactor) in reactors.into_iter().enumerate() {
            let plan = Plan {
                shard: number,
                broker: Arc::clone(&broker),
                start: start.clone(),
                rules: Arc::clone(&rules),
                limits: settings.limits,
                random: Random::of_the_system(),
            };
            let thread = std::thread::Builder::new().name(format!("shard-{number}"));
            let thread = thread.spawn(move || reactor.run(plan)).map_err(fail)?;
            shards.threads.push(thread);
        }
        Ok((shards, broker))
    }

    /// Sends every outbox, and closes every connection.
    async fn drain(&self) {
        for inbox in &self.inboxes {
            inbox.drain();
        }
        while !self.threads.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
