//! App link: a process of the app follows channels and receives their publications, such as broadcasts of Action Cable.
//!
//! The process follows channels after its own cursors, as a browser resumes. Publications are sent in journal order, each
//! once: those that waited when a request was handled, the reply, the replay, and the publications after the seam. A process
//! that does not read is not waited for: its link ends with a fault, and it resumes after its cursors on the next one.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use lineside_hub::{Publication, Replay, Verdict, Want};
use lineside_protocol::codes::{self, LinkCode};
use lineside_protocol::frame::runner::{
    Done, Left, StopStream, Stream, TRANSMIT_BYTES_MAX, Transmit, VARIABLES_BYTES_MAX,
};
use lineside_protocol::frame::{
    APP_LINK_VERSION, AppHello, AppWelcome, ByRoute, FOLLOWED_STREAMS_MAX, FRAME_BYTES_MAX, Fault,
    Follow, Followed, FollowedFrom, Frame, FrameError, FromApp, Reached, ToApp, Unfollow,
    encode_published,
};
use lineside_protocol::{After, Cursor, channel, envelope};
use lineside_token::StreamKeys;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::Interval;

use super::EXCHANGE_MS_MAX;
use super::first_frame::{LinkRefusal, read_first_frame};
use crate::broker::runners::{Report, RunnerId};
use crate::broker::{AppQueue, AppReplay, Broker, Overflowed};
use crate::clock::Clock;
use crate::log::{Level, event};
use crate::route_keys::RouteKeys;

/// Size from which encoded publications are sent before more are encoded, in bytes.
const SLICE_BYTES: usize = 64 * 1024;

/// Maximum size of one read, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Interval in which a link is sent the newest cursor, in milliseconds. Far shorter than the age of the history, so that quiet
/// streams resume after a cursor that the journal still knows.
const REACHED_MS: u64 = 10_000;

/// Time in which a process must read the commands that wait at a stop, in milliseconds.
const LAST_COMMANDS_MS_MAX: u64 = 2_000;

/// Reason for the end of a link.
#[derive(Debug)]
enum End {
    /// The process closed the link, or it failed.
    Closed(io::Error),
    /// The sidecar ends it.
    Refused(LinkRefusal),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Closed(error)
    }
}

impl From<LinkCode> for End {
    fn from(code: LinkCode) -> Self {
        Self::Refused(LinkRefusal::of(code))
    }
}

impl From<Overflowed> for End {
    fn from(_: Overflowed) -> Self {
        codes::LINK_APP_SLOW.into()
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::UnknownKind(_) => codes::LINK_UNKNOWN_KIND,
            _ => codes::LINK_BAD_FRAME,
        };
        Self::Refused(LinkRefusal {
            code,
            message: error.to_string(),
        })
    }
}

/// One app link.
#[derive(Debug)]
struct AppLink<'a> {
    broker: &'a Broker,
    queue: Arc<AppQueue>,
    followed: HashSet<Arc<str>>,
    received: BytesMut,
    unsent: Vec<u8>,
    /// Number of bytes of `unsent` that were sent.
    sent: usize,
    replay: Replay,
    /// End of the replay under way.
    seam: Option<Cursor>,
    /// Newest cursor that was sent for all followed channels.
    reached: Cursor,
    /// The newest cursor is to be sent.
    is_due: bool,
    /// Id of the process if it runs channel classes.
    runner: Option<RunnerId>,
}

/// Serves a link whose first frame is an [`AppHello`], until it closes or the sidecar stops.
pub(crate) async fn serve(
    mut stream: UnixStream,
    broker: &Broker,
    turbo_keys: &RouteKeys,
    clock: Clock,
    stop: watch::Receiver<bool>,
) {
    let (hello, queue) = match open(&stream, broker).await {
        Ok(opened) => opened,
        Err(refusal) => {
            let code = refusal.code.name;
            event!(
                Level::Warn,
                "app_link_refused",
                code,
                message = refusal.message
            );
            return send_fault(&mut stream, Vec::new(), refusal).await;
        }
    };
    let process = &hello.process;
    event!(Level::Info, "app_link_opened", process);
    // The decision is in effect before the welcome, so a welcomed process can rely on it.
    if let Some(decision) = &hello.by_route {
        decide_by_route(decision, process, turbo_keys, clock.now().wall_ms);
    }
    let mut link = AppLink::new(broker, queue);
    link.welcome();
    if hello.runner {
        link.runner = Some(broker.runners().open(process, &link.queue));
    }
    let end = link.run(&mut stream, stop).await;
    if let Some(runner) = link.runner {
        // A process whose link was refused lives, and ends its channel objects itself.
        let is_clean = matches!(end, End::Refused(_));
        broker.runners().close(runner, is_clean);
    }
    broker.close_app_link(&link.queue, link.followed.iter());
    match end {
        End::Closed(error) => event!(Level::Info, "app_link_closed", process, reason = error),
        End::Refused(refusal) => {
            let LinkRefusal { code, message } = &refusal;
            let level = match code.number {
                number if number == codes::LINK_DRAIN.number => Level::Info,
                _ => Level::Warn,
            };
            let reason = code.name;
            event!(level, "app_link_closed", process, reason, message);
            let unsent = link.unsent.split_off(link.sent);
            send_fault(&mut stream, unsent, refusal).await;
        }
    }
}

async fn open(
    stream: &UnixStream,
    broker: &Broker,
) -> Result<(AppHello, Arc<AppQueue>), LinkRefusal> {
    let (frame, _) = read_first_frame(stream, FRAME_BYTES_MAX).await?;
    let FromApp::Hello(hello) = FromApp::decode(&frame).map_err(LinkRefusal::bad_frame)? else {
        return Err(LinkRefusal::bad_frame("the first frame is no AppHello"));
    };
    if hello.version < APP_LINK_VERSION {
        return Err(LinkRefusal {
            code: codes::LINK_UNSUPPORTED_VERSION,
            message: format!(
                "the process supports version {} of the app link at most, and this sidecar version {APP_LINK_VERSION}; bring \
                 gem and sidecar to one version",
                hello.version
            ),
        });
    }
    let queue = broker
        .open_app_link()
        .map_err(|_| LinkRefusal::of(codes::LINK_APP_LINKS_FULL))?;
    Ok((hello, queue))
}

/// Puts the app's decision about connections by route into effect, unless an app that booted later has already decided.
fn decide_by_route(decision: &ByRoute, process: &str, turbo_keys: &RouteKeys, wall_ms: u64) {
    let keys = StreamKeys::decode(&decision.turbo_keys).unwrap_or_else(|number| {
        let message =
            "the sidecar cannot read a key of Turbo's stream names that the app has sent, so it opens no stream by route";
        event!(Level::Error, "turbo_keys_invalid", process, number, message);
        StreamKeys::default()
    });
    let count = keys.count();
    // A time in the future would outrank the apps that boot until then.
    if turbo_keys.decide(keys, decision.decided_ms.min(wall_ms)) {
        event!(Level::Info, "turbo_keys_replaced", process, keys = count);
    }
}

/// Sends the rest of a frame and the reason. A process that does not read gets no reason.
async fn send_fault(stream: &mut UnixStream, mut unsent: Vec<u8>, refusal: LinkRefusal) {
    let LinkRefusal { code, message } = refusal;
    let code = code.number;
    ToApp::Fault(Fault { code, message }).encode(&mut unsent);
    let sent = stream.write_all(&unsent);
    let _sent = tokio::time::timeout(Duration::from_millis(EXCHANGE_MS_MAX), sent).await;
}

impl<'a> AppLink<'a> {
    fn new(broker: &'a Broker, queue: Arc<AppQueue>) -> Self {
        Self {
            broker,
            queue,
            followed: HashSet::new(),
            received: BytesMut::new(),
            unsent: Vec::new(),
            sent: 0,
            replay: Replay::default(),
            seam: None,
            reached: broker.cursor(),
            is_due: false,
            runner: None,
        }
    }

    fn welcome(&mut self) {
        let welcome = AppWelcome {
            version: APP_LINK_VERSION,
            cursor: self.reached.to_string(),
        };
        ToApp::Welcome(welcome).encode(&mut self.unsent);
    }

    /// Sends and receives until the link ends. At a stop, first sends the commands that wait, for up to
    /// [`LAST_COMMANDS_MS_MAX`]: they tell the app which connections the stop has closed.
    async fn run(&mut self, stream: &mut UnixStream, mut stop: watch::Receiver<bool>) -> End {
        let (mut reader, mut writer) = stream.split();
        let mut tick = tokio::time::interval(Duration::from_millis(REACHED_MS));
        let turns = async {
            loop {
                if let Err(end) = self.turn(&mut reader, &mut writer, &mut tick).await {
                    return end;
                }
            }
        };
        tokio::select! {
            end = turns => return end,
            _ = stop.wait_for(|stop| *stop) => {}
        }
        let rest = async {
            while self.queue.has_commands() || !self.unsent.is_empty() {
                self.turn(&mut reader, &mut writer, &mut tick).await?;
            }
            Ok(())
        };
        let time = Duration::from_millis(LAST_COMMANDS_MS_MAX);
        match tokio::time::timeout(time, rest).await {
            Ok(Err(end)) => end,
            Ok(Ok(())) | Err(_) => codes::LINK_DRAIN.into(),
        }
    }

    /// Prepares what is to be sent, then waits for the first thing that can be done. Cancel safe.
    async fn turn(
        &mut self,
        reader: &mut ReadHalf<'_>,
        writer: &mut WriteHalf<'_>,
        tick: &mut Interval,
    ) -> Result<(), End> {
        let has_room = self.runner.is_none() || self.broker.has_room();
        if has_room {
            self.handle_requests()?;
        }
        self.encode_next()?;
        let is_sent = self.unsent.is_empty();
        let queue = Arc::clone(&self.queue);
        // Requests wait while the process does not read their answers.
        self.received.reserve(if is_sent { READ_BYTES } else { 0 });
        tokio::select! {
            written = writer.write(&self.unsent[self.sent..]), if !is_sent => {
                self.sent += written?;
                if self.sent == self.unsent.len() {
                    self.unsent.clear();
                    self.sent = 0;
                }
            }
            read = reader.read_buf(&mut self.received), if is_sent && has_room => {
                if read? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
            }
            () = queue.added() => {}
            () = self.broker.room(), if !has_room => {}
            _ = tick.tick() => self.is_due = true,
        }
        Ok(())
    }

    /// Handles received requests up to one whose answer must be sent first.
    fn handle_requests(&mut self) -> Result<(), End> {
        while self.unsent.is_empty() && self.seam.is_none() {
            let Some(frame) = Frame::split(&mut self.received)? else {
                break;
            };
            match FromApp::decode(&frame)? {
                FromApp::Follow(follow) => self.follow(follow)?,
                FromApp::Unfollow(unfollow) => self.unfollow(&unfollow),
                FromApp::Hello(_) => {
                    return Err(End::Refused(LinkRefusal::bad_frame("a second AppHello")));
                }
                FromApp::Done(Done {
                    connection,
                    id: number,
                    variables,
                }) => {
                    let variables = variables.filter(|it| it.len() <= VARIABLES_BYTES_MAX);
                    self.report(&connection, Report::Done { number, variables })?;
                }
                FromApp::Transmit(Transmit { connection, text }) => {
                    self.transmit(&connection, text)?;
                }
                FromApp::Stream(Stream {
                    connection,
                    identifier,
                    stream,
                }) => self.report(&connection, Report::Stream { identifier, stream })?,
                FromApp::StopStream(StopStream {
                    connection,
                    identifier,
                    stream,
                }) => self.report(&connection, Report::StopStream { identifier, stream })?,
                FromApp::Left(Left { connection }) => self.report(&connection, Report::Left)?,
            }
        }
        Ok(())
    }

    fn follow(&mut self, follow: Follow) -> Result<(), End> {
        let mut wants: Vec<Want> = Vec::with_capacity(follow.streams.len());
        let mut names = HashSet::with_capacity(follow.streams.len());
        for stream in follow.streams {
            channel::check(&stream.name).map_err(|error| {
                End::Refused(LinkRefusal {
                    code: codes::LINK_BAD_CHANNEL,
                    message: format!("cannot follow {:?}: {error}", stream.name),
                })
            })?;
            let channel: Arc<str> = stream.name.into();
            if names.insert(Arc::clone(&channel)) {
                let after = stream.after.as_deref().map(After::parse);
                wants.push(Want { channel, after });
            }
        }
        let new = names.difference(&self.followed).count();
        if self.followed.len() + new > FOLLOWED_STREAMS_MAX {
            return Err(codes::LINK_STREAMS_FULL.into());
        }
        let AppReplay {
            earlier,
            answer,
            seam,
        } = self.broker.follow(&self.queue, wants.clone());
        for publication in earlier {
            self.append(&publication);
        }
        self.followed.extend(names);
        let streams = wants.into_iter().zip(&answer.verdicts);
        let streams = streams
            .map(|(want, verdict)| followed_from(want, *verdict, &seam))
            .collect();
        ToApp::Followed(Followed { streams }).encode(&mut self.unsent);
        self.replay = answer.replay;
        self.seam = Some(seam);
        Ok(())
    }

    fn transmit(&self, connection: &str, text: String) -> Result<(), End> {
        let bytes = text.len();
        if bytes > TRANSMIT_BYTES_MAX {
            // Only its sender is at fault, so the link goes on.
            let message = format!("a text of {bytes} bytes; {TRANSMIT_BYTES_MAX} are possible");
            event!(Level::Warn, "transmit_refused", message);
            return Ok(());
        }
        self.report(connection, Report::Text(text))
    }

    /// Passes what a channel does to the shard of its connection.
    fn report(&self, connection: &str, report: Report) -> Result<(), End> {
        let Some(runner) = self.runner else {
            let message = "the process reports on a connection, but its AppHello says that it runs no channels";
            return Err(End::Refused(LinkRefusal::bad_frame(message)));
        };
        self.broker.runners().report(runner, connection, report);
        Ok(())
    }

    fn unfollow(&mut self, unfollow: &Unfollow) {
        for channel in &unfollow.streams {
            if self.followed.remove(channel.as_str()) {
                self.broker.unfollow(&self.queue, channel);
            }
        }
    }

    /// Encodes about [`SLICE_BYTES`] of the replay, and then of the queue, once everything before is sent.
    fn encode_next(&mut self) -> Result<(), Overflowed> {
        if self.queue.overflowed() {
            return Err(Overflowed);
        }
        if !self.unsent.is_empty() {
            return Ok(());
        }
        while self.unsent.len() < SLICE_BYTES
            && let Some(command) = self.queue.take_command()
        {
            ToApp::Command(command).encode(&mut self.unsent);
        }
        while self.unsent.len() < SLICE_BYTES
            && let Some(publication) = self.replay.take_next()
        {
            self.append(&publication);
        }
        if self.replay.is_empty()
            && let Some(seam) = self.seam.take()
        {
            self.send_reached(seam);
        }
        while self.unsent.len() < SLICE_BYTES
            && let Some(publication) = self.queue.take_next()?
        {
            self.append(&publication);
        }
        if self.is_due && self.unsent.len() < SLICE_BYTES {
            self.announce();
        }
        Ok(())
    }

    /// Appends a publication, unless the process has unfollowed its channel.
    fn append(&mut self, publication: &Publication) {
        if self.followed.contains(&publication.channel) {
            let cursor = self.reached.epoch.at(publication.position).to_string();
            let payload = envelope::payload(&publication.body);
            encode_published(&mut self.unsent, &publication.channel, &cursor, &payload);
        }
    }

    /// Sends the newest cursor if it has moved, unless more publications wait by now.
    fn announce(&mut self) {
        if let Some(cursor) = self.broker.cursor_of(&self.queue) {
            self.is_due = false;
            if cursor != self.reached {
                self.send_reached(cursor);
            }
        }
    }

    fn send_reached(&mut self, cursor: Cursor) {
        let text = cursor.to_string();
        ToApp::Reached(Reached { cursor: text }).encode(&mut self.unsent);
        self.reached = cursor;
    }
}

fn followed_from(want: Want, verdict: Verdict, seam: &Cursor) -> FollowedFrom {
    let cursor = match (want.after, verdict) {
        (Some(After::Cursor(after)), Verdict::Recovered) => after,
        _ => seam.clone(),
    };
    FollowedFrom {
        name: want.channel.as_ref().into(),
        cursor: cursor.to_string(),
        lost: verdict == Verdict::Lost,
    }
}
