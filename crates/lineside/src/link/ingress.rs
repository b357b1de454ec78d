//! Ingress: distributes new links. Links of publishers go to the shards (`shard/links.rs`), in rotation. Tails, app links and requests
//! to settle have a task each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::net::UnixStream;
use tokio::sync::{Semaphore, oneshot, watch};

use super::{app, settle, tail};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::log::{Level, event};
use crate::route_keys::RouteKeys;
use crate::shard::{LinkQueue, NewLink};

/// Ingress of all links.
#[derive(Debug)]
pub(crate) struct Ingress {
    broker: Arc<Broker>,
    /// One for each shard, of which there is at least one.
    shards: Vec<Arc<LinkQueue>>,
    turbo_keys: Arc<RouteKeys>,
    clock: Clock,
    stop: watch::Sender<bool>,
    /// Stop of the app links.
    stop_apps: watch::Sender<bool>,
    /// Has a receiver for each link that may still change the journal.
    served: watch::Sender<()>,
    /// Places for requests to settle.
    settles: Semaphore,
    next_link: AtomicU64,
    /// Number of publishers' links so far.
    publishers: AtomicUsize,
}

impl Ingress {
    pub(crate) fn new(
        broker: Arc<Broker>,
        shards: Vec<Arc<LinkQueue>>,
        turbo_keys: Arc<RouteKeys>,
        clock: Clock,
    ) -> Self {
        Self {
            broker,
            shards,
            turbo_keys,
            clock,
            stop: watch::Sender::new(false),
            stop_apps: watch::Sender::new(false),
            served: watch::Sender::new(()),
            settles: Semaphore::new(settle::SETTLES_MAX),
            next_link: AtomicU64::new(1),
            publishers: AtomicUsize::new(0),
        }
    }

    /// Number of the next link. Call it in the order in which links are accepted: the highest number is a publisher's
    /// newest link.
    pub(crate) fn number_link(&self) -> u64 {
        self.next_link.fetch_add(1, Ordering::Relaxed)
    }

    /// Hands a publisher's link to a shard, and waits until it ends.
    pub(crate) async fn serve(&self, number: u64, stream: UnixStream) {
        let socket = match stream.into_std() {
            Ok(socket) => socket,
            Err(error) => return event!(Level::Error, "link_lost", link = number, error),
        };
        let (open, ended) = oneshot::channel();
        let next = self.publishers.fetch_add(1, Ordering::Relaxed);
        self.shards[next % self.shards.len()].push(NewLink {
            number,
            socket,
            is_served: self.served.subscribe(),
            open,
        });
        // Nothing is sent: the shard drops the sender.
        let _ended = ended.await;
    }

    /// Serves a link of `lineside tail` until it ends.
    pub(crate) async fn serve_tail(&self, mut stream: UnixStream) {
        let stop = self.stop.subscribe();
        tail::serve(&mut stream, &self.broker, self.clock, stop).await;
    }

    /// Serves a link on which a process of the app receives publications, until it ends.
    pub(crate) async fn serve_app(&self, stream: UnixStream) {
        let stop = self.stop_apps.subscribe();
        app::serve(stream, &self.broker, &self.turbo_keys, self.clock, stop).await;
    }

    /// Answers a link of a system test that waits for all pages.
    pub(crate) async fn serve_settle(&self, stream: UnixStream) {
        let stop = self.stop.subscribe();
        settle::serve(stream, &self.broker, self.clock, &self.settles, stop).await;
    }

    /// Ends every link, except app links, after the frames that were read from it.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
        self.broker.stop_links();
    }

    /// Ends every app link after the commands that wait for its process. Call it after the shards have closed their connections,
    /// which adds the last of these commands.
    pub(crate) fn stop_apps(&self) {
        self.stop_apps.send_replace(true);
    }

    /// Waits until no publisher's link changes the journal any more. After a [stop](Self::stop) this waits for no publisher.
    pub(crate) async fn ended(&self) {
        self.served.closed().await;
    }
}
