//! `lineside tail`: prints each publication as a line of JSON.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use lexopt::{Arg, Parser, ValueExt as _};
use lineside_protocol::frame::{Fault, Frame, Seen, TailReply, TailRequest};
use lineside_protocol::{channel, codes};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::link::{connect, refusal};
use super::{Failure, print_error};
use crate::settings::{self, Environment};
use crate::text::{printable_json, readable_channel};

/// Fields of a `message` envelope that are printed.
#[derive(Deserialize)]
struct Message<'a> {
    channel: String,
    cursor: String,
    #[serde(default)]
    resent: bool,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Parses the name or the prefix of the channels.
pub(super) fn parse(mut parser: Parser) -> Result<String, Failure> {
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
    Ok(wanted)
}

pub(super) fn run(wanted: String) -> Result<(), Failure> {
    let link = settings::link_path(&Environment)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot start: {error}"))?;
    runtime.block_on(tail(&link, TailRequest { wanted }))
}

/// Prints publications until the sidecar closes the link, or the output is closed.
async fn tail(path: &Path, request: TailRequest) -> Result<(), Failure> {
    let mut link = connect(path).await?;
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    let broken = |error| format!("the link failed ({error}): is the sidecar still running?");
    link.write_all(&bytes).await.map_err(broken)?;
    let mut received = BytesMut::new();
    loop {
        while let Some(frame) = Frame::split(&mut received).map_err(|error| error.to_string())? {
            match TailReply::decode(&frame).map_err(|error| error.to_string())? {
                TailReply::Opened(_) => {}
                TailReply::Seen(seen) => {
                    if !print_line(&line(&seen)?)? {
                        return Ok(());
                    }
                }
                TailReply::Missed(count) => print_error(&format!(
                    "{count} publications are missing here: they came faster than the output was read"
                )),
                TailReply::Fault(fault) => return end(fault),
            }
        }
        if link.read_buf(&mut received).await.map_err(broken)? == 0 {
            return Err("the sidecar closed the link: is it still running?"
                .to_owned()
                .into());
        }
    }
}

/// Result of the command after a fault that the sidecar sent. A planned stop is no failure.
fn end(fault: Fault) -> Result<(), Failure> {
    if fault.code == codes::LINK_DRAIN.number {
        print_error(&fault.message);
        Ok(())
    } else {
        Err(refusal(fault).into())
    }
}

/// Encodes a publication as a line. The name of a record's channel is followed by its readable form.
fn line(seen: &Seen) -> Result<String, String> {
    let Seen { at_ms, message } = seen;
    let Message {
        channel,
        cursor,
        resent,
        data,
    } = read(message)?;
    let text = |value: &str| printable_json(&serde_json::Value::from(value).to_string());
    let readable = readable_channel(&channel)
        .map(|readable| format!(",\"readable\":{}", text(&readable)))
        .unwrap_or_default();
    let resent = if resent { ",\"resent\":true" } else { "" };
    let line = format!(
        "{{\"channel\":{}{readable},\"cursor\":{},\"at\":{}.{:03}{resent},\"data\":{}}}\n",
        text(&channel),
        text(&cursor),
        at_ms / 1000,
        at_ms % 1000,
        printable_json(data.get())
    );
    Ok(line)
}

fn read(message: &Bytes) -> Result<Message<'_>, String> {
    serde_json::from_slice(message)
        .map_err(|error| format!("the sidecar sent a malformed message: {error}"))
}

/// Prints a line. Returns false if the output is closed.
fn print_line(line: &str) -> Result<bool, Failure> {
    let mut out = std::io::stdout();
    match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(format!("standard output cannot be written: {error}").into()),
    }
}
