//! Echo server for the test suite, on the WebSocket code of the sidecar.
//!
//! The sidecar itself echoes nothing. This server reads the upgrade ([`Head`]) and frames ([`Reader`]) and writes frames
//! ([`envelope`]) with the sidecar's code, and ends connections as its shards do. It differs where the suite needs it: binary
//! messages are echoed, and the maximum size of a message is that of the suite.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use lineside::head::{Head, HeadError};
use lineside::shard::websocket::{Inbound, Reader};
use lineside_protocol::envelope;

/// Size of the suite's largest message (cases 9.1.6 and 9.2.6), in bytes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Subprotocol of the upgrade. The suite offers none.
const SUBPROTOCOL: &str = "lineside-v1";

/// First bytes of frames: final fragment, and the opcode of text or binary (RFC 6455 §5.2).
const FINAL_TEXT: u8 = 0x81;
const FINAL_BINARY: u8 = 0x82;

/// Deadline for the answer to a close, as in the sidecar.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Serves on a free port until the process ends.
pub(crate) fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a loopback listener accepts");
            std::thread::spawn(move || {
                // The suite reports how a connection ended.
                let _ended = serve(stream);
            });
        }
    });
    Ok(address)
}

/// Serves one connection to its end.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::<MESSAGE_BYTES_MAX>::default();
    let behind = upgrade(&mut stream)?;
    if !behind.is_empty() {
        reader.receive(&behind);
    }
    let mut received = [0; 16 * 1024];
    loop {
        let (replies, is_over) = answer(&mut reader);
        for reply in replies {
            stream.write_all(&reply)?;
        }
        if is_over {
            return finish(stream);
        }
        match stream.read(&mut received)? {
            0 => return Ok(()),
            bytes => reader.receive(&received[..bytes]),
        }
    }
}

/// Reads the request and answers it. Returns the bytes behind the request.
fn upgrade(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = Head::parse(&bytes).map_err(refused)? {
            stream.write_all(&head.upgrade(SUBPROTOCOL).map_err(refused)?)?;
            return Ok(bytes.split_off(head.bytes));
        }
        let mut more = [0; 1024];
        match stream.read(&mut more)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&more[..count]),
        }
    }
}

fn refused(error: HeadError) -> io::Error {
    io::Error::other(error.message)
}

/// Returns the answers to everything received, and whether the connection ends behind them.
fn answer(reader: &mut Reader<MESSAGE_BYTES_MAX>) -> (Vec<Bytes>, bool) {
    let mut replies = Vec::new();
    loop {
        match reader.next(|reply| replies.push(reply)) {
            Inbound::Text(text) => replies.push(frame(FINAL_TEXT, text.as_bytes())),
            Inbound::Binary(bytes) => replies.push(frame(FINAL_BINARY, &bytes)),
            Inbound::Control => {}
            Inbound::Empty => return (replies, false),
            Inbound::Closed => return (replies, true),
            Inbound::Broken(code) => {
                replies.push(envelope::websocket_close(code));
                return (replies, true);
            }
        }
    }
}

fn frame(first: u8, payload: &[u8]) -> Bytes {
    envelope::frame(first, payload.len(), |out| out.extend_from_slice(payload))
}

/// Waits for the other end to close. Unread bytes would turn the close into a reset, which drops the close frame.
fn finish(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(CLOSE_TIME))?;
    match io::copy(&mut stream, &mut io::sink()) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other.map(|_| ()),
    }
}
