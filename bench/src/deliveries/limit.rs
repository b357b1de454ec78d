//! The limit: a server of one thread that does nothing that is not needed. Publications come in as lines on a Unix socket,
//! each frame is encoded once, and each subscriber gets one write per publication.
//!
//! With `coalesce`, the frames of a channel that one read of the Unix socket brings go out in one write per subscriber.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use sha1::{Digest, Sha1};
use socket2::{Domain, Socket, Type};

use crate::Outcome;

/// Maximum of the bytes that wait for a connection; then the connection is closed.
const PENDING_BYTES_MAX: usize = 1024 * 1024;
/// Connections that the kernel holds until they are accepted, and accepts in one turn.
const BACKLOG: i32 = 4096;
const ACCEPTS_MAX: usize = 64;
/// Bytes of one read.
const READ_BYTES: usize = 256 * 1024;
/// Appended to the key of an upgrade (RFC 6455 §1.3).
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

struct Connection {
    stream: TcpStream,
    /// Channel, once the connection is upgraded.
    channel: Option<Box<str>>,
    pending: Vec<u8>,
}

struct Server {
    epoll: Epoll,
    /// Indexed by descriptor.
    connections: Vec<Option<Connection>>,
    channels: HashMap<Box<str>, Vec<RawFd>>,
}

/// Runs the server until its process is killed.
pub(crate) fn run(port: u16, socket: &Path, coalesces: bool) -> Outcome<()> {
    let browsers = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    browsers.set_reuse_address(true)?;
    browsers.set_nonblocking(true)?;
    browsers.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    browsers.listen(BACKLOG)?;
    let publishers = UnixListener::bind(socket)?;
    let mut server = Server {
        epoll: Epoll::new(EpollCreateFlags::empty())?,
        connections: Vec::new(),
        channels: HashMap::new(),
    };
    server
        .epoll
        .add(&browsers, readable(browsers.as_raw_fd()))?;
    server
        .epoll
        .add(&publishers, readable(publishers.as_raw_fd()))?;
    let mut publisher: Option<Lines> = None;
    let mut buffer = vec![0; READ_BYTES];
    let mut events = [EpollEvent::empty(); 1024];
    loop {
        let count = server.epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            let descriptor = RawFd::try_from(event.data())?;
            if descriptor == browsers.as_raw_fd() {
                server.accept(&browsers)?;
            } else if descriptor == publishers.as_raw_fd() {
                let (stream, _) = publishers.accept()?;
                server.epoll.add(&stream, readable(stream.as_raw_fd()))?;
                publisher = Some(Lines {
                    stream,
                    partial: Vec::new(),
                });
            } else if let Some(lines) = publisher
                .as_mut()
                .filter(|it| it.stream.as_raw_fd() == descriptor)
            {
                if !lines.read(&mut buffer, &mut server, coalesces)? {
                    publisher = None;
                }
            } else {
                server.handle(descriptor, event.events(), &mut buffer)?;
            }
        }
    }
}

/// Publications of the one publisher: `<channel>\t<payload>\n`.
struct Lines {
    stream: UnixStream,
    partial: Vec<u8>,
}

impl Lines {
    /// Reads once and fans out. Returns false at the end.
    fn read(
        &mut self,
        buffer: &mut [u8],
        server: &mut Server,
        coalesces: bool,
    ) -> io::Result<bool> {
        let count = self.stream.read(buffer)?;
        self.partial.extend_from_slice(&buffer[..count]);
        let mut frames: HashMap<&str, Vec<u8>> = HashMap::new();
        let mut frame = Vec::new();
        let mut begin = 0;
        while let Some(length) = memchr::memchr(b'\n', &self.partial[begin..]) {
            let line = &self.partial[begin..begin + length];
            begin += length + 1;
            let Some(tab) = memchr::memchr(b'\t', line) else {
                continue;
            };
            let channel = std::str::from_utf8(&line[..tab]).map_err(io::Error::other)?;
            if coalesces {
                encode(&line[tab + 1..], frames.entry(channel).or_default());
            } else {
                frame.clear();
                encode(&line[tab + 1..], &mut frame);
                server.fan_out(channel, &frame);
            }
        }
        for (channel, frames) in frames {
            server.fan_out(channel, &frames);
        }
        self.partial.drain(..begin);
        Ok(count > 0)
    }
}

impl Server {
    fn accept(&mut self, listener: &Socket) -> io::Result<()> {
        for _ in 0..ACCEPTS_MAX {
            let stream = match listener.accept() {
                Ok((socket, _)) => TcpStream::from(socket),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let descriptor = stream.as_raw_fd();
            self.epoll.add(&stream, readable(descriptor))?;
            let index = index(descriptor);
            if self.connections.len() <= index {
                self.connections.resize_with(index + 1, || None);
            }
            self.connections[index] = Some(Connection {
                stream,
                channel: None,
                pending: Vec::new(),
            });
        }
        Ok(())
    }

    fn handle(
        &mut self,
        descriptor: RawFd,
        flags: EpollFlags,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        if flags.contains(EpollFlags::EPOLLOUT) {
            self.flush(descriptor)?;
        }
        let Some(Some(connection)) = self.connections.get_mut(index(descriptor)) else {
            return Ok(());
        };
        if !flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
            return Ok(());
        }
        match connection.stream.read(buffer) {
            Ok(0) => self.close(descriptor),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.close(descriptor),
            // Bytes of an upgraded connection are pongs, which say nothing to this server.
            Ok(_) if connection.channel.is_some() => {}
            Ok(count) => self.upgrade(descriptor, &buffer[..count])?,
        }
        Ok(())
    }

    /// Answers an upgrade, whose request came in one read: this is a limit, not a product.
    fn upgrade(&mut self, descriptor: RawFd, request: &[u8]) -> io::Result<()> {
        let Some(Some(connection)) = self.connections.get_mut(index(descriptor)) else {
            return Ok(());
        };
        let request = std::str::from_utf8(request).map_err(io::Error::other)?;
        let key = request
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let channel = request
            .split_once("channel=")
            .and_then(|(_, rest)| rest.split([' ', '&']).next());
        let (Some(key), Some(channel)) = (key, channel) else {
            self.close(descriptor);
            return Ok(());
        };
        let accept = STANDARD.encode(Sha1::digest(format!("{key}{ACCEPT_SUFFIX}")));
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        connection.stream.write_all(response.as_bytes())?;
        connection.channel = Some(channel.into());
        let subscribers = self
            .channels
            .entry(channel.into())
            .or_insert_with(|| Vec::with_capacity(1));
        subscribers.push(descriptor);
        Ok(())
    }

    fn fan_out(&mut self, channel: &str, frames: &[u8]) {
        let Some(subscribers) = self.channels.get(channel) else {
            return;
        };
        let mut ended = Vec::new();
        for descriptor in subscribers {
            let Some(Some(connection)) = self.connections.get_mut(index(*descriptor)) else {
                continue;
            };
            let sent = if connection.pending.is_empty() {
                connection.stream.write(frames)
            } else {
                Ok(0)
            };
            let sent = match sent {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => frames.len() + 1,
            };
            if sent < frames.len() {
                let rest = &frames[sent..];
                if connection.pending.len() + rest.len() > PENDING_BYTES_MAX {
                    ended.push(*descriptor);
                    continue;
                }
                let is_first = connection.pending.is_empty();
                connection.pending.extend_from_slice(rest);
                if is_first {
                    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
                    let mut event = EpollEvent::new(flags, data(*descriptor));
                    if self.epoll.modify(&connection.stream, &mut event).is_err() {
                        ended.push(*descriptor);
                    }
                }
            } else if sent > frames.len() {
                ended.push(*descriptor);
            }
        }
        for descriptor in ended {
            self.close(descriptor);
        }
    }

    fn flush(&mut self, descriptor: RawFd) -> io::Result<()> {
        let Some(Some(connection)) = self.connections.get_mut(index(descriptor)) else {
            return Ok(());
        };
        match connection.stream.write(&connection.pending) {
            Ok(count) => drop(connection.pending.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(_) => {
                self.close(descriptor);
                return Ok(());
            }
        }
        if connection.pending.is_empty() {
            connection.pending = Vec::new();
            let mut event = readable(descriptor);
            self.epoll.modify(&connection.stream, &mut event)?;
        }
        Ok(())
    }

    fn close(&mut self, descriptor: RawFd) {
        let connection = self
            .connections
            .get_mut(index(descriptor))
            .and_then(Option::take);
        if let Some(channel) = connection.and_then(|it| it.channel)
            && let Some(subscribers) = self.channels.get_mut(&channel)
        {
            subscribers.retain(|it| *it != descriptor);
            if subscribers.is_empty() {
                self.channels.remove(&channel);
            }
        }
    }
}

/// Appends a text frame of a server (RFC 6455 §5.2).
fn encode(payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x81);
    match u16::try_from(payload.len()) {
        Ok(length) if length < 126 => out.extend(&length.to_be_bytes()[1..]),
        Ok(length) => {
            out.push(126);
            out.extend(length.to_be_bytes());
        }
        Err(_) => {
            out.push(127);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

fn readable(descriptor: RawFd) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, data(descriptor))
}

fn data(descriptor: RawFd) -> u64 {
    u64::try_from(descriptor).unwrap_or_default()
}

fn index(descriptor: RawFd) -> usize {
    usize::try_from(descriptor).unwrap_or_default()
}
