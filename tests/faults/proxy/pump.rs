//! How bytes get through.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::watch::Receiver;
use tokio::time::sleep;

use super::{End, Way, Ways};

/// The most that one direction holds.
const HELD_BYTES_MAX: usize = 16 * 1024;
/// What trickles goes out in so many portions a second.
const PORTIONS_PER_SECOND: u32 = 20;

/// Passes bytes both ways until both have ended, one has failed, or the test ends it. Gives the sockets back for a reset: when
/// the test asks for one, and when one end has sent one, which the other then hears.
pub(super) async fn pass<S>(
    client: S,
    server: S,
    ways: Receiver<Ways>,
    mut end: Receiver<Option<End>>,
) -> Option<(S, S)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut client_read, mut client_write) = split(client);
    let (mut server_read, mut server_write) = split(server);
    let mut up = Pump::new(&mut client_read, &mut server_write, ways.clone(), |ways| {
        ways.up
    });
    let mut down = Pump::new(&mut server_read, &mut client_write, ways, |ways| ways.down);
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

/// One direction.
struct Pump<'a, S> {
    from: &'a mut ReadHalf<S>,
    to: &'a mut WriteHalf<S>,
    ways: Receiver<Ways>,
    choose: fn(&Ways) -> Way,
    passed_bytes: u64,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Pump<'a, S> {
    fn new(
        from: &'a mut ReadHalf<S>,
        to: &'a mut WriteHalf<S>,
        ways: Receiver<Ways>,
        choose: fn(&Ways) -> Way,
    ) -> Self {
        Self {
            from,
            to,
            ways,
            choose,
            passed_bytes: 0,
        }
    }

    /// Ok when this direction has ended and the other may go on; otherwise how the whole connection ends.
    async fn run(&mut self) -> Result<(), End> {
        let mut buffer = vec![0; HELD_BYTES_MAX];
        loop {
            let way = self.passable().await?;
            if way.closed {
                return self.close().await;
            }
            let read = tokio::select! {
                read = self.from.read(&mut buffer) => read,
                changed = self.ways.changed() => {
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

    /// Writes these bytes on, piece by piece, as the way is by then.
    async fn forward(&mut self, mut bytes: &[u8]) -> Result<(), End> {
        let delay = (self.choose)(&self.ways.borrow()).delay;
        sleep(delay).await;
        while !bytes.is_empty() {
            let way = self.passable().await?;
            if way.closed {
                return Ok(());
            }
            let mut piece = bytes.len();
            if way.slice_bytes > 0 {
                piece = piece.min(way.slice_bytes);
            }
            if way.bytes_per_second > 0 {
                piece = piece.min(portion_bytes(way.bytes_per_second));
            }
            let mut last = false;
            if way.cut_after_bytes > 0 {
                let left = way.cut_after_bytes.saturating_sub(self.passed_bytes);
                let left = usize::try_from(left).unwrap_or(usize::MAX);
                last = piece >= left;
                piece = piece.min(left);
            }
            self.write(&bytes[..piece]).await?;
            if last {
                return Err(End::Cut);
            }
            bytes = &bytes[piece..];
            if way.bytes_per_second > 0 {
                sleep(portion_time(piece, way.bytes_per_second)).await;
            }
        }
        Ok(())
    }

    async fn write(&mut self, piece: &[u8]) -> Result<(), End> {
        self.to.write_all(piece).await.map_err(reset)?;
        self.passed_bytes += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Waits until there is no black hole, and gives how the way is.
    async fn passable(&mut self) -> Result<Way, End> {
        let choose = self.choose;
        let ways = self.ways.wait_for(|ways| !choose(ways).blackhole).await;
        // Nobody can change it any more: the proxy is gone.
        Ok(choose(&*ways.map_err(|_| End::Cut)?))
    }
}

/// An end that failed is one that was reset, or that is gone while somebody writes to it: the other hears the same.
fn reset(_: io::Error) -> End {
    End::Reset
}

fn portion_bytes(bytes_per_second: u32) -> usize {
    usize::try_from(bytes_per_second / PORTIONS_PER_SECOND)
        .unwrap_or(usize::MAX)
        .max(1)
}

/// How long so many bytes take.
fn portion_time(bytes: usize, bytes_per_second: u32) -> Duration {
    Duration::from_secs_f64(bytes_as_f64(bytes) / f64::from(bytes_per_second))
}

fn bytes_as_f64(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX))
}
