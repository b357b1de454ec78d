//! Publishing to each server over its own protocol, without waiting for it.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use lineside_publisher::{PublishOptions, Publisher};

use crate::Outcome;

/// Bytes of one read of answers.
const ANSWER_BYTES: usize = 64 * 1024;
/// Publications that wait for a server that does not read, in bytes.
const UNSENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A form of publications on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `<channel>\t<payload>\n`.
    Lines,
    /// Requests of HTTP/1.1, pipelined, with the channel in the query of `/pub` (Nchan).
    Nchan,
    /// The same to `/api/publish`, with the channel in the body (Centrifugo).
    Centrifugo,
    /// `PUBLISH` of Redis.
    Redis,
}

/// A publishing end.
pub(super) enum Publishing {
    /// The publisher of the gem.
    Link(Box<Publisher>),
    /// A stream that takes publications in this form, and may answer.
    Stream(Stream),
}

/// A stream with what it has not taken yet.
pub(super) struct Stream {
    form: Form,
    socket: Box<dyn Socket>,
    unsent: Vec<u8>,
    answers: Vec<u8>,
    /// Whether the first answer has been checked.
    is_checked: bool,
}

trait Socket: Read + Write {}
impl Socket for TcpStream {}
impl Socket for UnixStream {}

impl Publishing {
    pub(super) fn tcp(port: u16, form: Form) -> Outcome<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self::stream(form, Box::new(socket)))
    }

    pub(super) fn unix(socket: UnixStream) -> Outcome<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self::stream(Form::Lines, Box::new(socket)))
    }

    fn stream(form: Form, socket: Box<dyn Socket>) -> Self {
        Self::Stream(Stream {
            form,
            socket,
            unsent: Vec::new(),
            answers: vec![0; ANSWER_BYTES],
            is_checked: false,
        })
    }

    /// Queues a publication, which [`flush`](Self::flush) sends.
    pub(super) fn publish(&mut self, channel: &str, payload: &str) -> Outcome<()> {
        match self {
            Self::Link(publisher) => {
                publisher.publish(channel, payload.as_bytes(), PublishOptions::default())?;
                Ok(())
            }
            Self::Stream(stream) => stream.queue(channel, payload),
        }
    }

    /// Sends what is queued, as far as the socket takes it, and reads answers.
    pub(super) fn flush(&mut self) -> Outcome<()> {
        match self {
            Self::Link(_) => Ok(()),
            Self::Stream(stream) => stream.flush(),
        }
    }

    /// Newest cursor, for a server that resumes.
    pub(super) fn cursor(&self) -> Option<String> {
        match self {
            Self::Link(publisher) => publisher.cursor().map(|it| it.to_string()),
            Self::Stream(_) => None,
        }
    }
}

impl Stream {
    fn queue(&mut self, channel: &str, payload: &str) -> Outcome<()> {
        let out = &mut self.unsent;
        if out.len() > UNSENT_BYTES_MAX {
            return Err(format!(
                "the server has not read {} bytes of publications",
                out.len()
            )
            .into());
        }
        match self.form {
            Form::Lines => writeln!(out, "{channel}\t{payload}")?,
            Form::Nchan => write!(
                out,
                "POST /pub?id={channel} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{payload}",
                payload.len()
            )?,
            Form::Centrifugo => {
                let mut body = String::with_capacity(payload.len() + 64);
                write!(body, r#"{{"channel":"{channel}","data":{payload}}}"#)?;
                write!(
                    out,
                    "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nX-API-Key: bench\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )?;
            }
            Form::Redis => write!(
                out,
                "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${}\r\n{payload}\r\n",
                channel.len(),
                payload.len()
            )?,
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome<()> {
        if !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.form == Form::Lines {
            return Ok(());
        }
        match self.socket.read(&mut self.answers) {
            Ok(0) => Err("the server closed the publishing connection".into()),
            Ok(count) => self.check(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Checks the first answer. A publication that is not accepted later is found by its missing deliveries.
    fn check(&mut self, count: usize) -> Outcome<()> {
        let answer = &self.answers[..count];
        let is_good = match self.form {
            Form::Redis => answer.starts_with(b":"),
            Form::Centrifugo => {
                answer.starts_with(b"HTTP/1.1 200")
                    && memchr::memmem::find(answer, br#""error""#).is_none()
            }
            Form::Lines | Form::Nchan => answer.starts_with(b"HTTP/1.1 20"),
        };
        if !self.is_checked && !is_good {
            let answer = String::from_utf8_lossy(answer).into_owned();
            return Err(io::Error::other(format!("not published: {answer}")).into());
        }
        self.is_checked = true;
        Ok(())
    }
}
