//! Connections in memory: bytes that are on their way, arrive in pieces, stop, or are lost with the connection.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::rc::Rc;

use lineside::shard::Socket;
use lineside_tests::random::Random;

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    /// Taken from the writer, and nowhere yet.
    flying: VecDeque<u8>,
    /// With the reader.
    arrived: VecDeque<u8>,
    /// Nothing arrives, and nobody is told.
    is_held: bool,
    /// The writer has closed.
    is_ended: bool,
}

/// Who dialled, and who listened: the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Near,
    Far,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    up: Pipe,
    down: Pipe,
    /// What both kernels keep of one direction, in bytes.
    room: usize,
    is_reset: bool,
    random: Random,
    /// What the listener's poll has not told it yet.
    readable: bool,
    writable: bool,
    /// It was refused a write, and waits for a word.
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

    /// The pipe into which a side writes, and the one that it reads.
    fn pipes(&mut self, side: Side) -> (&mut Pipe, &mut Pipe) {
        match side {
            Side::Near => (&mut self.up, &mut self.down),
            Side::Far => (&mut self.down, &mut self.up),
        }
    }

    /// Writes some of the bytes.
    pub(crate) fn write(&mut self, side: Side, bytes: &[u8]) -> io::Result<usize> {
        let (out, back) = self.pipes(side);
        let is_noticed = out.is_ended || back.is_ended && !back.is_held;
        let taken = out.flying.len() + out.arrived.len();
        if self.is_reset || is_noticed {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let fits = bytes.len().min(self.room.saturating_sub(taken));
        if fits == 0 {
            self.is_refused |= side == Side::Far;
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.part(fits);
        self.pipes(side).0.flying.extend(&bytes[..count]);
        Ok(count)
    }

    /// Reads some of what has arrived; nothing more comes after `Ok(0)`.
    pub(crate) fn read(&mut self, side: Side, into: &mut [u8]) -> io::Result<usize> {
        let (_, pipe) = self.pipes(side);
        let most = pipe.arrived.len().min(into.len());
        let is_over = pipe.is_ended && !pipe.is_held && pipe.flying.is_empty();
        if most == 0 {
            return match (self.is_reset, is_over) {
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

    /// Lets bytes arrive in both directions: some, or all. Says how many.
    pub(crate) fn carry(&mut self, all: bool) -> usize {
        let mut carried = 0;
        for side in [Side::Near, Side::Far] {
            let (out, _) = self.pipes(side);
            let most = if out.is_held { 0 } else { out.flying.len() };
            let count = if all || most == 0 {
                most
            } else {
                self.part(most)
            };
            let (out, _) = self.pipes(side);
            out.arrived.extend(out.flying.drain(..count));
            self.readable |= side == Side::Near && count > 0;
            carried += count;
        }
        carried
    }

    pub(crate) fn is_still(&self) -> bool {
        let is_still = |pipe: &Pipe| pipe.flying.is_empty() || pipe.is_held;
        is_still(&self.up) && is_still(&self.down)
    }

    /// Closes one end: what it sent still arrives, what it was sent is gone.
    pub(crate) fn close(&mut self, side: Side) {
        let (out, back) = self.pipes(side);
        out.is_ended = true;
        back.flying.clear();
        back.arrived.clear();
        self.readable |= side == Side::Near;
    }

    /// Ends both directions behind what is on its way: something between the ends has closed it.
    pub(crate) fn cut(&mut self) {
        self.up.is_ended = true;
        self.down.is_ended = true;
        self.readable = true;
    }

    /// Ends it at once, with everything that is on its way.
    pub(crate) fn reset(&mut self) {
        for pipe in [&mut self.up, &mut self.down] {
            pipe.flying.clear();
            pipe.arrived.clear();
            pipe.is_held = false;
        }
        self.is_reset = true;
        self.readable = true;
    }

    /// Stops the bytes of the directions, or lets them go on. Nobody is told.
    pub(crate) fn hold(&mut self, up: bool, down: bool) {
        self.up.is_held = up;
        self.down.is_held = down;
        self.readable |= !up;
    }

    /// What the listener's poll says, once: readable, writable.
    pub(crate) fn edges(&mut self) -> (bool, bool) {
        let is_told = self.is_reset || !self.up.is_held;
        let readable = is_told && std::mem::take(&mut self.readable);
        (readable, std::mem::take(&mut self.writable))
    }
}

/// The sidecar's end of a browser's connection.
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
