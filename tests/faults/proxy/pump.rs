//! Forwarding of bytes with faults.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::watch::Receiver;
use tokio::time::sleep;

use super::{Direction, Directions, End};

/// Maximum of bytes held in one direction.
const HELD_BYTES_MAX: usize = 16 * 1024;
/// Writes per second of a direction with a maximum rate.
const PORTIONS_PER_SECOND: u32 = 20;

/// Forwards bytes until both directions have ended, one has failed, or the test ends the connection. Returns the sockets if they
/// must be reset: because the test asks for it, or because one end has sent a RST.
pub(super) async fn pass<S>(
    client: S,
    server: S,
    directions: Receiver<Directions>,
    mut end: Receiver<Option<End>>,
) -> Option<(S, S)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut client_read, mut client_write) = split(client);
    let (mut server_read, mut server_write) = split(server);
    let mut up = Pump::new(
        &mut client_read,
        &mut server_write,
        directions.clone(),
        |directions| directions.up,
    );
    let mut down = Pump::new(
        &mut server_read,
        &mut client_write,
        directions,
        |directions| directions.down,
    );
    let ended = tokio::select! {
        passed = async { tokio::try_join!(up.run(), down.run()) } => passed.err().unwrap_or(End::Cut),
        asked = end.wait_for(Option::is_some) => asked.ok().and_then(|end| *end).unwrap_or(End::Cut),
    };
    (ended == End::Reset).then(|| {
        (
            client_read.unsplit(client_write),
            server_read.unsplit(server_write),
        )
    })
}

/// Forwarding in one direction.
struct Pump<'a, S> {
    from: &'a mut ReadHalf<S>,
    to: &'a mut WriteHalf<S>,
    directions: Receiver<Directions>,
    choose: fn(&Directions) -> Direction,
    passed_bytes: u64,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Pump<'a, S> {
    fn new(
        from: &'a mut ReadHalf<S>,
        to: &'a mut WriteHalf<S>,
        directions: Receiver<Directions>,
        choose: fn(&Directions) -> Direction,
    ) -> Self {
        Self {
            from,
            to,
            directions,
            choose,
            passed_bytes: 0,
        }
    }

    /// Forwards until the end of this direction. Returns an error if the whole connection ends.
    async fn run(&mut self) -> Result<(), End> {
        let mut buffer = vec![0; HELD_BYTES_MAX];
        loop {
            let direction = self.passable().await?;
            if direction.closed {
                return self.close().await;
            }
            let read = tokio::select! {
                read = self.from.read(&mut buffer) => read,
                changed = self.directions.changed() => {
                    changed.map_err(|_| End::Cut)?;
                    continue;
                }
            };
            match read.map_err(reset)? {
                0 => {
                    self.passable().await?;
                    return self.close().await;
                }
                count => self.forward(&buffer[..count]).await?,
            }
        }
    }

    async fn close(&mut self) -> Result<(), End> {
        self.to.shutdown().await.map_err(reset)
    }

    /// Writes bytes piece by piece, with the faults set at that time.
    async fn forward(&mut self, mut bytes: &[u8]) -> Result<(), End> {
        let delay = (self.choose)(&self.directions.borrow()).delay;
        sleep(delay).await;
        while !bytes.is_empty() {
            let direction = self.passable().await?;
            if direction.closed {
                return Ok(());
            }
            let mut piece = bytes.len();
            if direction.slice_bytes > 0 {
                piece = piece.min(direction.slice_bytes);
            }
            if direction.bytes_per_second > 0 {
                piece = piece.min(portion_bytes(direction.bytes_per_second));
            }
            let mut last = false;
            if direction.cut_after_bytes > 0 {
                let left = direction.cut_after_bytes.saturating_sub(self.passed_bytes);
                let left = usize::try_from(left).unwrap_or(usize::MAX);
                last = piece >= left;
                piece = piece.min(left);
            }
            self.write(&bytes[..piece]).await?;
            if last {
                return Err(End::Cut);
            }
            bytes = &bytes[piece..];
            if direction.bytes_per_second > 0 {
                sleep(portion_time(piece, direction.bytes_per_second)).await;
            }
        }
        Ok(())
    }

    async fn write(&mut self, piece: &[u8]) -> Result<(), End> {
        self.to.write_all(piece).await.map_err(reset)?;
        self.passed_bytes += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Waits until there is no black hole. Returns the current faults.
    async fn passable(&mut self) -> Result<Direction, End> {
        let choose = self.choose;
        let directions = self
            .directions
            .wait_for(|directions| !choose(directions).blackhole)
            .await;
        // The sender is dropped with the proxy.
        Ok(choose(&*directions.map_err(|_| End::Cut)?))
    }
}

/// Maps an IO error to a reset of the other end.
fn reset(_: io::Error) -> End {
    End::Reset
}

fn portion_bytes(bytes_per_second: u32) -> usize {
    usize::try_from(bytes_per_second / PORTIONS_PER_SECOND)
        .unwrap_or(usize::MAX)
        .max(1)
}

/// Returns the time that bytes take at a rate.
fn portion_time(bytes: usize, bytes_per_second: u32) -> Duration {
    Duration::from_secs_f64(bytes_as_f64(bytes) / f64::from(bytes_per_second))
}

fn bytes_as_f64(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX))
}
