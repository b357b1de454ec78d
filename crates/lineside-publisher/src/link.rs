//! One connection to the sidecar: opened, greeted, read frame by frame.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI32;
use std::time::Duration;

use bytes::BytesMut;
use lineside_protocol::codes::{LINK_CODES, LINK_REPLACED};
use lineside_protocol::frame::{Frame, FrameError, PROTOCOL_VERSION, ToPublisher, ToSidecar};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};

use crate::bell::Bell;
use crate::settings::{HANDSHAKE_MS_MAX, REASON_BYTES_MAX};
use crate::socket::{self, Socket};

/// What is read at once, in bytes: the sidecar's frames are some twenty-five.
const READ_BYTES: usize = 16 * 1024;

/// Why there is no link (any more): what happened, and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("no sidecar listens at {path} ({}): start it with `bundle exec lineside`", .errno.desc())]
    Absent { path: PathBuf, errno: Errno },
    #[error(
        "a process of user {theirs} listens at {path}, and this one runs as user {ours}, so nothing was sent: start the \
         sidecar as the same user, or set LINESIDE_LINK to a place of your own"
    )]
    Foreign {
        path: PathBuf,
        theirs: u32,
        ours: u32,
    },
    #[error(
        "the sidecar did not answer within {HANDSHAKE_MS_MAX} ms: is it stopped or overloaded?"
    )]
    Silent,
    #[error("the sidecar closed the link: is it still running?")]
    Closed,
    #[error("the link failed ({}): is the sidecar still running?", .0.desc())]
    Failed(Errno),
    #[error(
        "the sidecar speaks version {0} of the link, and this gem {PROTOCOL_VERSION}: bring both to one version"
    )]
    Version(u8),
    #[error("the sidecar broke the link's protocol ({0}): bring gem and sidecar to one version")]
    Frame(#[from] FrameError),
    #[error("the sidecar broke the link's protocol ({0}): bring gem and sidecar to one version")]
    Protocol(String),
    #[error("the sidecar ended the link: {name} ({code}), {message}. {meaning}")]
    Fault {
        code: u16,
        name: &'static str,
        meaning: &'static str,
        message: String,
    },
    #[error("this publisher was stopped")]
    Stopped,
}

impl Ended {
    pub(crate) fn fault(code: u16, message: &str) -> Self {
        let known = LINK_CODES.iter().find(|known| known.number == code);
        let (name, meaning) = known.map_or(("unknown", ""), |known| (known.name, known.meaning));
        Self::Fault {
            code,
            name,
            meaning,
            message: quoted(message),
        }
    }

    /// Another process uses this publisher's identity: coming back at once would only cut its link in turn.
    pub(crate) fn is_replaced(&self) -> bool {
        matches!(self, Self::Fault { code, .. } if *code == LINK_REPLACED.number)
    }
}

/// An open link.
#[derive(Debug)]
pub(crate) struct Link<'a> {
    socket: Socket<'a>,
    inbox: BytesMut,
}

impl<'a> Link<'a> {
    /// Connects, and makes sure that the process there is the same user's before anything is sent.
    pub(crate) fn open(path: &Path, number: &'a AtomicI32) -> Result<Self, Ended> {
        let absent = |errno| Ended::Absent {
            path: path.to_owned(),
            errno,
        };
        let socket = Socket::connect(path, number).map_err(absent)?;
        let (theirs, ours) = (
            socket.peer_uid().map_err(Ended::Failed)?,
            nix::unistd::geteuid().as_raw(),
        );
        if theirs != ours {
            return Err(Ended::Foreign {
                path: path.to_owned(),
                theirs,
                ours,
            });
        }
        Ok(Self {
            socket,
            inbox: BytesMut::new(),
        })
    }

    /// Sends the first frame. A new socket has room for it.
    pub(crate) fn greet(&self, hello: &ToSidecar) -> Result<(), Ended> {
        let mut bytes = Vec::new();
        hello.encode(&mut bytes);
        let sent = self.send(&bytes)?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(Ended::Failed(Errno::EAGAIN))
        }
    }

    /// Hands bytes to the kernel; returns how many it took, 0 when it takes none now.
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<usize, Ended> {
        self.socket.send(bytes).map_err(Ended::Failed)
    }

    /// Reads what has come.
    pub(crate) fn fill(&mut self) -> Result<(), Ended> {
        let mut buffer = [0; READ_BYTES];
        match self.socket.receive(&mut buffer).map_err(Ended::Failed)? {
            Some(0) => Err(Ended::Closed),
            Some(count) => {
                self.inbox.extend_from_slice(&buffer[..count]);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The next whole frame of what was read. The inbox is bounded by the largest frame, and what is read at once.
    pub(crate) fn next_frame(&mut self) -> Result<Option<ToPublisher>, Ended> {
        Ok(Frame::split(&mut self.inbox)?
            .map(|frame| ToPublisher::decode(&frame))
            .transpose()?)
    }

    /// Waits until the link can be read, or written where `to_write`, or the bell rings; says whether it can be read.
    pub(crate) fn wait(
        &self,
        bell: &Bell,
        to_write: bool,
        time: Option<Duration>,
    ) -> Result<bool, Ended> {
        let interest = if to_write {
            PollFlags::POLLIN | PollFlags::POLLOUT
        } else {
            PollFlags::POLLIN
        };
        let mut descriptors = [
            PollFd::new(self.socket.as_fd(), interest),
            PollFd::new(bell.as_fd(), PollFlags::POLLIN),
        ];
        socket::wait(&mut descriptors, time).map_err(Ended::Failed)?;
        let seen = descriptors.map(|descriptor| descriptor.revents().unwrap_or(PollFlags::empty()));
        if !seen[1].is_empty() {
            bell.hush();
        }
        Ok(!(seen[0] - PollFlags::POLLOUT).is_empty())
    }
}

/// Text of the other end, fit for one log line.
pub(crate) fn quoted(text: &str) -> String {
    let end = text
        .char_indices()
        .map(|(at, _)| at)
        .take_while(|at| *at <= REASON_BYTES_MAX)
        .last()
        .unwrap_or(0);
    let short = if text.len() <= REASON_BYTES_MAX {
        text
    } else {
        &text[..end]
    };
    let mut quoted = String::with_capacity(short.len());
    for char in short.chars() {
        match char {
            // They are part of its own wording, which quotes and escapes what it repeats.
            '"' | '\'' | '\\' => quoted.push(char),
            _ => quoted.extend(char.escape_debug()),
        }
    }
    quoted
}
