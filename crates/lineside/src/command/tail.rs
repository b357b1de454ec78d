//! `lineside tail`: a line of JSON for each publication, as it lands.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use lexopt::{Arg, Parser, ValueExt as _};
use lineside_protocol::frame::{Fault, Frame, Seen, ToWatcher, Watch};
use lineside_protocol::{channel, codes};
use nix::errno::Errno;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::{Failure, complain};
use crate::settings::{self, Environment};

/// A `message` envelope, as far as it is shown.
#[derive(Deserialize)]
struct Message<'a> {
    channel: String,
    cursor: String,
    #[serde(default)]
    resent: bool,
    #[serde(borrow)]
    data: &'a RawValue,
}

pub(super) fn run(mut parser: Parser) -> Result<(), Failure> {
    let mut wanted = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(name) if wanted.is_none() => wanted = Some(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let wanted = wanted.unwrap_or_else(|| "*".to_owned());
    let name = wanted.strip_suffix('*').filter(|it| !it.contains('*'));
    if name.is_none() {
        channel::check(&wanted).map_err(|error| error.to_string())?;
    }
    let link = settings::link(&Environment)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot start: {error}"))?;
    runtime.block_on(watch(&link, Watch { wanted }))
}

/// Prints until the sidecar ends, or nobody reads any more.
async fn watch(path: &Path, watch: Watch) -> Result<(), Failure> {
    let mut link = open(path).await?;
    let mut asked = Vec::new();
    watch.encode(&mut asked);
    let broken = |error| format!("the link failed ({error}): is the sidecar still running?");
    link.write_all(&asked).await.map_err(broken)?;
    let mut received = BytesMut::new();
    loop {
        while let Some(frame) = Frame::split(&mut received).map_err(|error| error.to_string())? {
            match ToWatcher::decode(&frame).map_err(|error| error.to_string())? {
                ToWatcher::Watching(_) => {}
                ToWatcher::Seen(seen) => {
                    if !print_line(&line(&seen)?)? {
                        return Ok(());
                    }
                }
                ToWatcher::Missed(count) => complain(&format!(
                    "{count} publications are missing here: they came faster than they were read"
                )),
                ToWatcher::Fault(Fault { code, message }) => return ended(code, message),
            }
        }
        if link.read_buf(&mut received).await.map_err(broken)? == 0 {
            return Err("the sidecar closed the link: is it still running?"
                .to_owned()
                .into());
        }
    }
}

/// A planned stop is no failure.
fn ended(code: u16, message: String) -> Result<(), Failure> {
    if code == codes::LINK_DRAIN.number {
        complain(&message);
        Ok(())
    } else if code == codes::LINK_UNKNOWN_KIND.number || code == codes::LINK_BAD_FRAME.number {
        Err(format!("the sidecar does not know this command: {message}").into())
    } else {
        Err(message.into())
    }
}

/// Connects, and makes sure that the process there runs as the same user, before it is believed.
async fn open(path: &Path) -> Result<UnixStream, Failure> {
    let shown = path.display();
    let ours = nix::unistd::geteuid().as_raw();
    let link = UnixStream::connect(path)
        .await
        .map_err(|error| match Errno::try_from(error) {
            Ok(Errno::EACCES) => format!(
                "user {ours}, as whom this process runs, may not open {shown}: run it as the same user as the sidecar"
            ),
            Ok(errno) => format!(
                "no sidecar listens at {shown} ({}): start it with `bundle exec lineside`",
                errno.desc()
            ),
            Err(error) => format!("{shown} cannot be opened: {error}"),
        })?;
    let theirs = link
        .peer_cred()
        .map_err(|error| format!("who listens at {shown} cannot be told: {error}"))?
        .uid();
    if theirs != ours {
        let message = format!(
            "a process of user {theirs} listens at {shown}, and this one runs as user {ours}: run it as the same user"
        );
        return Err(message.into());
    }
    Ok(link)
}

/// The line of one publication.
fn line(seen: &Seen) -> Result<String, String> {
    let Seen { at_ms, message } = seen;
    let Message {
        channel,
        cursor,
        resent,
        data,
    } = read(message)?;
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let resent = if resent { ",\"resent\":true" } else { "" };
    let line = format!(
        "{{\"channel\":{},\"cursor\":{},\"at\":{}.{:03}{resent},\"data\":{}}}\n",
        text(&channel),
        text(&cursor),
        at_ms / 1000,
        at_ms % 1000,
        on_one_line(data.get())
    );
    Ok(line)
}

fn read(message: &Bytes) -> Result<Message<'_>, String> {
    serde_json::from_slice(message).map_err(|error| format!("no message of a sidecar: {error}"))
}

/// The same JSON without anything that ends a line or steers a terminal. Control characters stand between tokens, where a
/// space does as well, or (those above U+007E) in strings, where an escape does.
fn on_one_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for char in json.chars() {
        match char {
            '\n' | '\r' | '\t' => line.push(' '),
            control if control.is_control() => {
                line.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => line.push(other),
        }
    }
    line
}

/// Whether anybody reads on.
fn print_line(line: &str) -> Result<bool, Failure> {
    let mut out = std::io::stdout();
    match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(format!("standard output cannot be written: {error}").into()),
    }
}
