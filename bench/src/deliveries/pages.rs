//! The pages: connections that one thread opens and reads. They count deliveries and check loss, repetition and order.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use memchr::memmem::Finder;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Socket, Type};

use super::dialect::{Dialect, Page};
use super::frames::{self, PING, PONG, TEXT};
use super::histogram::Histogram;
use crate::Outcome;
use crate::clock::micros;

/// Field of a publication before its number, and the digits of that number.
pub(super) const NUMBER_FIELD: &str = r#""bench":""#;
pub(super) const NUMBER_DIGITS: usize = 10;
/// Connections that are opened before the first of them is confirmed.
const OPENING_MAX: usize = 64;
/// Time-out of opening connections, for each thousand and at least.
const OPEN_MAX_PER_THOUSAND: Duration = Duration::from_secs(2);
const OPEN_MAX_LEAST: Duration = Duration::from_secs(10);
/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of a response to an upgrade.
const RESPONSE_BYTES_MAX: usize = 8 * 1024;
/// Time between two looks at the sockets if nothing has arrived. A sleep in `epoll_wait` would make the server pay for the
/// wake-up of the generator.
const IDLE: Duration = Duration::from_micros(50);

/// Deliveries of a group of pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Deliveries {
    pub(super) count: u64,
    /// Publications that were skipped, and that came again or too late.
    pub(super) missing: u64,
    pub(super) repeated: u64,
    pub(super) latencies: Histogram,
}

enum State {
    Upgrading,
    Confirming,
    Ready,
    /// Not read.
    Stalled,
    Closed,
}

struct Connection {
    stream: TcpStream,
    state: State,
    /// Index in `Pages::groups`.
    group: usize,
    page: Page,
    partial: Vec<u8>,
    /// Number of the next publication, and the step to the one after it.
    expected: u64,
    stride: u64,
}

/// Connected pages of one server.
pub(super) struct Pages {
    dialect: Dialect,
    address: SocketAddr,
    epoll: Epoll,
    connections: Vec<Connection>,
    opening: usize,
    events: Vec<EpollEvent>,
    buffer: Vec<u8>,
    finder: Finder<'static>,
    /// Due time of each publication by number.
    pub(super) due: Vec<Instant>,
    /// Groups 0 and 1.
    pub(super) groups: [Deliveries; 2],
    /// Connections that the server has closed.
    pub(super) closed: u64,
}

impl Pages {
    pub(super) fn new(dialect: Dialect, port: u16) -> Outcome<Self> {
        Ok(Self {
            dialect,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            epoll: Epoll::new(EpollCreateFlags::empty())?,
            connections: Vec::new(),
            opening: 0,
            events: vec![EpollEvent::empty(); 512],
            buffer: vec![0; READ_BYTES],
            finder: Finder::new(NUMBER_FIELD),
            due: Vec::new(),
            groups: [Deliveries::default(), Deliveries::default()],
            closed: 0,
        })
    }

    /// Opens connections and waits until all are subscribed. `first` and `stride` number the publications of each.
    /// `receive_bytes`: size of their receive buffers, if not the default.
    pub(super) fn open(
        &mut self,
        group: usize,
        pages: Vec<(Page, u64, u64)>,
        receive_bytes: Option<usize>,
    ) -> Outcome<()> {
        let thousands = u32::try_from(pages.len() / 1000)?;
        let end = Instant::now() + OPEN_MAX_LEAST + OPEN_MAX_PER_THOUSAND * thousands;
        for numbered in pages {
            self.begin(group, numbered, receive_bytes)?;
            self.wait_opening(OPENING_MAX, end)?;
        }
        self.wait_opening(0, end)
    }

    /// Connections that wait for their subscription.
    pub(super) fn opening(&self) -> usize {
        self.opening
    }

    fn wait_opening(&mut self, max: usize, end: Instant) -> Outcome<()> {
        while self.opening > max {
            self.turn()?;
            if self.closed > 0 || Instant::now() > end {
                return Err(format!(
                    "{} of {} connections were not subscribed, {} were closed",
                    self.opening,
                    self.connections.len(),
                    self.closed
                )
                .into());
            }
        }
        Ok(())
    }

    /// Opens a connection and sends its request.
    pub(super) fn begin(
        &mut self,
        group: usize,
        (page, expected, stride): (Page, u64, u64),
        receive_bytes: Option<usize>,
    ) -> Outcome<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.connect(&self.address.into())?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        stream.write_all(self.dialect.request(&page).as_bytes())?;
        let number = u64::try_from(self.connections.len())?;
        self.epoll
            .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
        self.opening += 1;
        self.connections.push(Connection {
            stream,
            state: State::Upgrading,
            group,
            page,
            partial: Vec::new(),
            expected,
            stride,
        });
        Ok(())
    }

    /// Reads what has arrived, or rests a moment. Returns the number of connections that were read.
    pub(super) fn turn(&mut self) -> Outcome<usize> {
        let count = self.epoll.wait(&mut self.events, EpollTimeout::ZERO)?;
        for index in 0..count {
            let number = usize::try_from(self.events[index].data())?;
            self.read(number)?;
        }
        if count == 0 {
            std::thread::park_timeout(IDLE);
        }
        Ok(count)
    }

    fn read(&mut self, number: usize) -> Outcome<()> {
        let connection = &mut self.connections[number];
        let count = match connection.stream.read(&mut self.buffer) {
            Ok(0) => return self.end(number),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return self.end(number),
        };
        let mut bytes = &self.buffer[..count];
        let mut joined = std::mem::take(&mut connection.partial);
        if !joined.is_empty() {
            joined.extend_from_slice(bytes);
            bytes = &joined;
        }
        if matches!(connection.state, State::Upgrading) {
            let Some(end) = upgraded(bytes)? else {
                connection.partial = bytes.to_vec();
                return Ok(());
            };
            bytes = &bytes[end..];
            if self.dialect.prompt().is_none() {
                greet(self.dialect, connection)?;
            }
            connection.state = if self.dialect.confirmation().is_some() {
                State::Confirming
            } else {
                self.opening -= 1;
                State::Ready
            };
        }
        let now = Instant::now();
        while let Some(frame) = frames::take(&mut bytes) {
            match frame.opcode {
                TEXT => {
                    if matches!(connection.state, State::Confirming)
                        && let Some(text) = self.dialect.confirmation()
                        && memchr::memmem::find(frame.payload, text).is_some()
                    {
                        connection.state = State::Ready;
                        self.opening -= 1;
                    } else if matches!(connection.state, State::Confirming)
                        && let Some(text) = self.dialect.prompt()
                        && frame.payload.starts_with(text)
                    {
                        greet(self.dialect, connection)?;
                    } else if let Some(answer) = self.dialect.answer(frame.payload) {
                        send(connection, TEXT, answer)?;
                    } else {
                        let group = &mut self.groups[connection.group];
                        for at in self.finder.find_iter(frame.payload) {
                            let digits = &frame.payload[at + NUMBER_FIELD.len()..];
                            let published = parse(digits)?;
                            group.receive(connection, published, now, &self.due)?;
                        }
                    }
                }
                PING => send(connection, PONG, frame.payload)?,
                _ => {}
            }
        }
        connection.partial = bytes.to_vec();
        Ok(())
    }

    fn end(&mut self, number: usize) -> Outcome<()> {
        let connection = &mut self.connections[number];
        if matches!(connection.state, State::Upgrading | State::Confirming) {
            self.opening -= 1;
        }
        connection.state = State::Closed;
        self.epoll.delete(connection.stream.as_fd())?;
        self.closed += 1;
        Ok(())
    }

    /// Stops reading the connections of a group.
    pub(super) fn stall(&mut self, group: usize) -> Outcome<()> {
        for connection in self.connections.iter_mut().filter(|it| it.group == group) {
            self.epoll.delete(connection.stream.as_fd())?;
            connection.state = State::Stalled;
        }
        Ok(())
    }

    /// Sets the number of the next publication of group 0.
    pub(super) fn expect(&mut self, number: u64) {
        for connection in self.connections.iter_mut().filter(|it| it.group == 0) {
            connection.expected = number;
        }
    }

    /// Closes the connections of a group, and returns their pages.
    pub(super) fn close(&mut self, group: usize) -> Vec<Page> {
        let (closed, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.connections)
            .into_iter()
            .partition(|it| it.group == group);
        // Connections are numbered by their order, so those that are closed must be the last.
        self.connections = kept;
        closed.into_iter().map(|it| it.page).collect()
    }
}

impl Deliveries {
    fn receive(
        &mut self,
        connection: &mut Connection,
        published: u64,
        now: Instant,
        due: &[Instant],
    ) -> Outcome<()> {
        self.count += 1;
        if published == connection.expected {
            connection.expected += connection.stride;
        } else if published > connection.expected {
            self.missing += (published - connection.expected) / connection.stride;
            connection.expected = published + connection.stride;
        } else {
            // It may be the one that was missing. A repetition that hides a loss is counted here all the same.
            self.missing = self.missing.saturating_sub(1);
            self.repeated += 1;
        }
        let due = due
            .get(usize::try_from(published)?)
            .ok_or_else(|| format!("publication {published} was never published"))?;
        self.latencies
            .add(micros(now.saturating_duration_since(*due)));
        Ok(())
    }
}

/// End of the response to an upgrade, or `None` if it has not arrived whole.
fn upgraded(bytes: &[u8]) -> Outcome<Option<usize>> {
    if let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") {
        if bytes.starts_with(b"HTTP/1.1 101 ") {
            return Ok(Some(end + 4));
        }
    } else if bytes.len() < RESPONSE_BYTES_MAX {
        return Ok(None);
    }
    Err(format!("no upgrade: {}", String::from_utf8_lossy(bytes)).into())
}

fn parse(digits: &[u8]) -> Outcome<u64> {
    let digits = digits.get(..NUMBER_DIGITS).ok_or("a short publication")?;
    Ok(std::str::from_utf8(digits)?.parse()?)
}

fn greet(dialect: Dialect, connection: &mut Connection) -> io::Result<()> {
    match dialect.greeting(&connection.page) {
        Some(text) => send(connection, TEXT, text.as_bytes()),
        None => Ok(()),
    }
}

/// Sends a small frame. The socket has room for it, because the page sends nothing else.
fn send(connection: &mut Connection, opcode: u8, payload: &[u8]) -> io::Result<()> {
    connection
        .stream
        .write_all(&frames::encode(opcode, payload))
}
