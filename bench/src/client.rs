//! Connections to the port for browsers, for the load and for the attacks.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// Time-out of each step of a request.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// Address from which honest clients connect.
pub(crate) const HONEST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Address from which attacks come.
pub(crate) const HOSTILE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Opens a TCP connection from this address. `receive_bytes`: size of the receive buffer, if not the default.
pub(crate) fn tcp(
    from: Ipv4Addr,
    port: u16,
    receive_bytes: Option<usize>,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(
        &SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into(),
        TIMEOUT,
    )?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Request of an upgrade. `query` names the channels: the request is the connect, so that no frame follows.
pub(crate) fn upgrade_head(query: &str) -> String {
    format!(
        "GET /lineside?{query} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Upgrades a connection to a WebSocket. Returns the bytes received after the response.
pub(crate) fn upgrade(stream: &mut TcpStream, query: &str) -> io::Result<Vec<u8>> {
    stream.write_all(upgrade_head(query).as_bytes())?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    let end = loop {
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break end + 4;
        }
    };
    if !bytes.starts_with(b"HTTP/1.1 101 ") {
        return Err(io::Error::other(
            String::from_utf8_lossy(&bytes).into_owned(),
        ));
    }
    Ok(bytes.split_off(end))
}

/// Connects like a page, up to the first byte of the welcome.
pub(crate) fn connect(port: u16) -> io::Result<()> {
    let mut stream = tcp(HONEST, port, None)?;
    if upgrade(&mut stream, "channel=connect")?.is_empty() {
        stream.read_exact(&mut [0])?;
    }
    Ok(())
}

/// Requests `/up`.
pub(crate) fn up(port: u16) -> io::Result<()> {
    let mut stream = tcp(HONEST, port, None)?;
    stream.write_all(b"GET /up HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    if response.starts_with("HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(io::Error::other(response))
    }
}
