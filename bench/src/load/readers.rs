//! Connected readers, all read by one thread.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, WebSocket};

use super::{CHANNEL, READERS};
use crate::Outcome;
use crate::client::{self, HONEST};
use crate::clock::micros;

/// Time between two looks at the stop flag.
const POLL: Duration = Duration::from_millis(50);

/// Shared with the thread of the readers.
#[derive(Default)]
pub(super) struct Readers {
    latencies: Mutex<Vec<u64>>,
    /// Number of readers that lost their connection.
    pub(super) ended: AtomicUsize,
    pub(super) stop: AtomicBool,
}

impl Readers {
    /// Latencies of the deliveries so far, in microseconds.
    pub(super) fn latencies(&self) -> MutexGuard<'_, Vec<u64>> {
        self.latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects the readers and starts their thread. Publications name the time since `begin`.
    pub(super) fn start(self: Arc<Self>, port: u16, begin: Instant) -> Outcome<JoinHandle<()>> {
        let poll = Poll::new()?;
        let mut sockets = Vec::new();
        for number in 0..READERS {
            let mut stream = client::tcp(HONEST, port, None)?;
            let received = client::upgrade(&mut stream, &format!("channel={CHANNEL}"))?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(number), Interest::READABLE)?;
            let socket = WebSocket::from_partially_read(stream, received, Role::Client, None);
            sockets.push(Some(socket));
        }
        Ok(thread::spawn(move || self.run(poll, sockets, begin)))
    }

    fn run(&self, mut poll: Poll, mut sockets: Vec<Option<WebSocket<TcpStream>>>, begin: Instant) {
        let mut events = Events::with_capacity(READERS);
        while !self.stop.load(Ordering::Relaxed) {
            // An error, for example after a signal, leaves no events.
            drop(poll.poll(&mut events, Some(POLL)));
            for Token(number) in events.iter().map(mio::event::Event::token) {
                if let Some(socket) = &mut sockets[number]
                    && !self.read(socket, begin)
                {
                    sockets[number] = None;
                    self.ended.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Reads until nothing is left. Returns false at the end of the connection.
    fn read(&self, socket: &mut WebSocket<TcpStream>, begin: Instant) -> bool {
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => self.receive(&text, begin),
                // Sends the pong.
                Ok(_) => drop(socket.flush()),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }

    fn receive(&self, text: &str, begin: Instant) {
        let at = text
            .split_once(r#""at":"#)
            .and_then(|(_, rest)| rest.split(',').next());
        if let Some(at) = at.and_then(|digits| digits.parse::<u64>().ok()) {
            self.latencies()
                .push(micros(begin.elapsed()).saturating_sub(at));
        }
    }
}
