//! In-memory connections whose bytes arrive late and in pieces, can be held, and are lost by a reset.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::rc::Rc;

use lineside::shard::Socket;
use lineside_tests::random::Random;

/// One direction of a connection.
#[derive(Debug, Default)]
struct Pipe {
    /// Bytes written and not yet arrived.
    in_flight: VecDeque<u8>,
    /// Bytes that the reader can read.
    arrived: VecDeque<u8>,
    /// True while bytes do not arrive (black hole).
    is_held: bool,
    /// True once the writer has closed.
    is_ended: bool,
}

/// End of a connection: `Near` connected, `Far` (the sidecar) accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Near,
    Far,
}

/// In-memory connection.
#[derive(Debug)]
pub(crate) struct Wire {
    up: Pipe,
    down: Pipe,
    /// Capacity of both kernel buffers of one direction, in bytes.
    room: usize,
    is_reset: bool,
    random: Random,
    /// Pending readiness events of the sidecar's end.
    readable: bool,
    writable: bool,
    /// True if a write of the sidecar has returned `WouldBlock` since its last writable event.
    is_refused: bool,
}

pub(crate) type Shared = Rc<RefCell<Wire>>;

impl Wire {
    pub(crate) fn new(room: usize, random: Random) -> Shared {
        Rc::new(RefCell::new(Self {
            up: Pipe::default(),
            down: Pipe::default(),
            room,
            is_reset: false,
            random,
            readable: false,
            writable: false,
            is_refused: false,
        }))
    }

    /// Returns the pipes that a side writes and reads.
    fn pipes(&mut self, side: Side) -> (&mut Pipe, &mut Pipe) {
        match side {
            Side::Near => (&mut self.up, &mut self.down),
            Side::Far => (&mut self.down, &mut self.up),
        }
    }

    /// Writes some of the bytes, and returns how many.
    pub(crate) fn write(&mut self, side: Side, bytes: &[u8]) -> io::Result<usize> {
        let (out, back) = self.pipes(side);
        let is_noticed = out.is_ended || back.is_ended && !back.is_held;
        let taken = out.in_flight.len() + out.arrived.len();
        if self.is_reset || is_noticed {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let fits = bytes.len().min(self.room.saturating_sub(taken));
        if fits == 0 {
            self.is_refused |= side == Side::Far;
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.part(fits);
        self.pipes(side).0.in_flight.extend(&bytes[..count]);
        Ok(count)
    }

    /// Reads some of the arrived bytes. Returns `Ok(0)` at the end of the stream.
    pub(crate) fn read(&mut self, side: Side, into: &mut [u8]) -> io::Result<usize> {
        let (_, pipe) = self.pipes(side);
        let most = pipe.arrived.len().min(into.len());
        let is_at_end = pipe.is_ended && !pipe.is_held && pipe.in_flight.is_empty();
        if most == 0 {
            return match (self.is_reset, is_at_end) {
                (true, _) => Err(ErrorKind::ConnectionReset.into()),
                (_, true) => Ok(0),
                _ => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let count = self.part(most);
        let (_, pipe) = self.pipes(side);
        for (byte, read) in into.iter_mut().zip(pipe.arrived.drain(..count)) {
            *byte = read;
        }
        if side == Side::Near && std::mem::take(&mut self.is_refused) {
            self.writable = true;
        }
        Ok(count)
    }

    fn part(&mut self, most: usize) -> usize {
        if self.random.percent(30) {
            self.random.size(1, most)
        } else {
            most
        }
    }

    /// Lets some or all bytes arrive in both directions. Returns their number.
    pub(crate) fn deliver_bytes(&mut self, all: bool) -> usize {
        let mut delivered = 0;
        for side in [Side::Near, Side::Far] {
            let (out, _) = self.pipes(side);
            let most = if out.is_held { 0 } else { out.in_flight.len() };
            let count = if all || most == 0 {
                most
            } else {
                self.part(most)
            };
            let (out, _) = self.pipes(side);
            out.arrived.extend(out.in_flight.drain(..count));
            self.readable |= side == Side::Near && count > 0;
            delivered += count;
        }
        delivered
    }

    pub(crate) fn is_idle(&self) -> bool {
        let is_idle = |pipe: &Pipe| pipe.in_flight.is_empty() || pipe.is_held;
        is_idle(&self.up) && is_idle(&self.down)
    }

    /// Closes one end. Bytes that it sent still arrive; bytes sent to it are lost.
    pub(crate) fn close(&mut self, side: Side) {
        let (out, back) = self.pipes(side);
        out.is_ended = true;
        back.in_flight.clear();
        back.arrived.clear();
        self.readable |= side == Side::Near;
    }

    /// Ends both directions after the bytes in flight, as when a proxy closes the connection.
    pub(crate) fn cut(&mut self) {
        self.up.is_ended = true;
        self.down.is_ended = true;
        self.readable = true;
    }

    /// Resets the connection. Bytes in flight are lost.
    pub(crate) fn reset(&mut self) {
        for pipe in [&mut self.up, &mut self.down] {
            pipe.in_flight.clear();
            pipe.arrived.clear();
            pipe.is_held = false;
        }
        self.is_reset = true;
        self.readable = true;
    }

    /// Holds or releases the bytes of each direction. Neither end notices.
    pub(crate) fn hold(&mut self, up: bool, down: bool) {
        self.up.is_held = up;
        self.down.is_held = down;
        self.readable |= !up;
    }

    /// Takes the pending readiness events of the sidecar's end: readable, writable.
    pub(crate) fn edges(&mut self) -> (bool, bool) {
        let is_notified = self.is_reset || !self.up.is_held;
        let readable = is_notified && std::mem::take(&mut self.readable);
        (readable, std::mem::take(&mut self.writable))
    }
}

/// Sidecar's end of a browser connection.
#[derive(Debug)]
pub(crate) struct BrowserSocket {
    pub(crate) wire: Shared,
    resets: bool,
}

impl BrowserSocket {
    pub(crate) fn new(wire: Shared) -> Self {
        Self {
            wire,
            resets: false,
        }
    }
}

impl Read for BrowserSocket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.wire.borrow_mut().read(Side::Far, into)
    }
}

impl Write for BrowserSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wire.borrow_mut().write(Side::Far, bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = slices.iter().flat_map(|it| it.iter().copied()).collect();
        self.write(&bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for BrowserSocket {
    fn reset_on_close(&mut self) {
        self.resets = true;
    }
}

impl Drop for BrowserSocket {
    fn drop(&mut self) {
        let mut wire = self.wire.borrow_mut();
        if self.resets {
            wire.reset();
        } else {
            wire.close(Side::Far);
        }
    }
}
