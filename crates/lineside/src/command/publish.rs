//! `lineside publish`: publishes one payload, or a line each of standard input, and waits for the acks.

use std::ffi::OsString;
use std::io::{BufRead, Read as _};
use std::time::{Duration, Instant};

use lineside_protocol::{PAYLOAD_BYTES_MAX, channel};
use lineside_publisher::{
    Flushed, NotAccepted, Outcome, PublishOptions, Publisher, Settings, Waiter,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{Failure, print};
use crate::settings::{self, Environment};

/// Maximum time without an ack.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum length of a line of standard input, in bytes: the largest payload, and as much for the channel and the JSON around
/// them.
const LINE_BYTES_MAX: u64 = 2 * PAYLOAD_BYTES_MAX as u64;

/// Line of standard input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    channel: String,
    data: Box<RawValue>,
}

/// Publications to send.
pub(super) enum Input {
    /// A channel and its payload.
    One(String, String),
    /// Each line of standard input.
    Lines,
}

impl Input {
    /// Parses the arguments, none of which is an option: a payload may be -1.
    pub(super) fn parse(arguments: Vec<OsString>) -> Result<Self, Failure> {
        let arguments = arguments
            .into_iter()
            .map(OsString::into_string)
            .collect::<Result<Vec<_>, _>>();
        let arguments =
            arguments.map_err(|argument| Failure::usage(format!("{argument:?} is not UTF-8")))?;
        match &arguments[..] {
            [dash] if dash == "-" => Ok(Self::Lines),
            [channel, json] => {
                channel::check(channel)
                    .map_err(|error| format!("the channel {channel:?} is refused: {error}"))?;
                serde_json::from_str::<IgnoredAny>(json).map_err(|error| {
                    format!(
                        "the payload is not JSON: {error}; a text needs quotes, such as '\"hello\"'"
                    )
                })?;
                Ok(Self::One(channel.clone(), json.clone()))
            }
            _ => Err(Failure::usage(
                "publish takes a channel and its data as JSON, or - for lines on standard input",
            )),
        }
    }
}

pub(super) fn run(input: &Input) -> Result<(), Failure> {
    let link = settings::link_path(&Environment)?;
    let mut settings = Settings::new(link, format!("lineside publish[{}]", std::process::id()));
    // The sidecar accepts a publisher without a secret, and refuses one with another secret.
    if let Ok(keys) = settings::secret(&Environment) {
        settings.fingerprint = keys.fingerprint();
    }
    let call = Call {
        publisher: Publisher::new(settings),
        waiter: Waiter::new()
            .map_err(|error| format!("cannot open a file descriptor to wait for acks: {error}"))?,
    };
    let published = match input {
        Input::Lines => call.publish_lines(std::io::stdin().lock()),
        Input::One(channel, json) => call.publish_one(channel, json),
    };
    call.publisher.stop(Instant::now());
    published
}

struct Call {
    publisher: Publisher,
    waiter: Waiter,
}

impl Call {
    fn publish_one(&self, channel: &str, json: &str) -> Result<(), Failure> {
        let options = PublishOptions {
            wants_receipt: true,
            once: None,
        };
        let sequence = self
            .publisher
            .publish(channel, json.as_bytes(), options)
            .map_err(|error| error.to_string())?;
        match self
            .publisher
            .wait_receipt(sequence, Instant::now() + ACK_TIMEOUT, &self.waiter)
        {
            Outcome::Receipt { cursor, .. } => print(&format!("{cursor}\n")),
            Outcome::Refused { message, .. } => Err(message.into()),
            Outcome::TimedOut | Outcome::Dropped | Outcome::Interrupted => Err(self.failure()),
        }
    }

    fn publish_lines(&self, mut input: impl BufRead) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        for number in 1_u64.. {
            bytes.clear();
            let read = input
                .by_ref()
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut bytes);
            let read = read.map_err(|error| format!("standard input cannot be read: {error}"))?;
            if read == 0 {
                break;
            }
            if read as u64 == LINE_BYTES_MAX && !bytes.ends_with(b"\n") {
                return Err(self.invalid(number, &format!("over {LINE_BYTES_MAX} bytes")));
            }
            if !bytes.trim_ascii().is_empty()
                && let Err(message) = self.accept(&bytes)
            {
                return Err(self.invalid(number, &message));
            }
        }
        self.wait_for_acks()
    }

    /// Returns the failure of an invalid line, after the lines before it are published.
    fn invalid(&self, number: u64, message: &str) -> Failure {
        match self.wait_for_acks() {
            Ok(()) => format!("line {number}: {message}; the lines before it are published, and the lines after it are not").into(),
            Err(failure) => failure,
        }
    }

    fn accept(&self, line: &[u8]) -> Result<(), String> {
        let Line { channel, data } = serde_json::from_slice(line)
            .map_err(|error| format!("expected {{\"channel\":…,\"data\":…}}: {error}"))?;
        loop {
            match self
                .publisher
                .publish(&channel, data.get().as_bytes(), PublishOptions::default())
            {
                Ok(_) => return Ok(()),
                Err(NotAccepted::SpoolFull { .. }) => self.wait_for_room()?,
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn wait_for_room(&self) -> Result<(), String> {
        match self
            .publisher
            .wait_flushed(Instant::now() + ACK_TIMEOUT, &self.waiter)
        {
            Flushed::Done => Ok(()),
            Flushed::TimedOut | Flushed::Interrupted => Err(self.failure().message),
        }
    }

    /// Waits until every publication is acked, or no ack comes for [`ACK_TIMEOUT`].
    fn wait_for_acks(&self) -> Result<(), Failure> {
        loop {
            let acked = self.publisher.status().acked;
            let flushed = self
                .publisher
                .wait_flushed(Instant::now() + ACK_TIMEOUT, &self.waiter);
            let status = self.publisher.status();
            match flushed {
                Flushed::Done if status.dropped_aged > 0 => return Err(self.failure()),
                Flushed::Done => {
                    return status
                        .last_refusal
                        .map_or(Ok(()), |refusal| Err(refusal.into()));
                }
                Flushed::TimedOut if status.acked == acked => return Err(self.failure()),
                Flushed::TimedOut | Flushed::Interrupted => {}
            }
        }
    }

    /// Last error of the link, or the time-out.
    fn failure(&self) -> Failure {
        let reason = self.publisher.status().last_error;
        reason
            .unwrap_or_else(|| {
                format!(
                    "the sidecar did not answer within {} s",
                    ACK_TIMEOUT.as_secs()
                )
            })
            .into()
    }
}
