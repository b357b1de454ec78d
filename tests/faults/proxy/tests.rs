//! Tests of the proxy's faults.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use super::{Direction, Directions, End, Proxy};
use crate::support::{PATIENCE, within};

/// Returns a proxy and both ends of a connection through it.
fn pair() -> (Proxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::tcp(listener.local_addr().unwrap().port());
    let client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    let (server, _) = listener.accept().unwrap();
    for end in [&client, &server] {
        end.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    within("the proxy registers the connection", || {
        (proxy.live().len() == 1).then_some(())
    });
    (proxy, client, server)
}

#[track_caller]
fn expect(from: &mut impl Read, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    from.read_exact(&mut read).unwrap();
    assert_eq!(read, bytes);
}

/// Reads until the end of the stream.
#[track_caller]
fn rest(mut from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn delayed_sliced_and_slow_bytes_arrive_whole_and_in_order() {
    let directions = [
        Direction::default(),
        Direction {
            delay: Duration::from_millis(1),
            ..Direction::default()
        },
        Direction {
            slice_bytes: 1,
            ..Direction::default()
        },
        Direction {
            bytes_per_second: 200_000,
            ..Direction::default()
        },
    ];
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(20_000).collect();
    for direction in directions {
        let (proxy, mut client, mut server) = pair();
        proxy.set(Directions::both(direction));
        client.write_all(&bytes).unwrap();
        expect(&mut server, &bytes);
        server.write_all(&bytes).unwrap();
        expect(&mut client, &bytes);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&server), b"", "the end of the stream passes");
        server.write_all(b"still").unwrap();
        expect(&mut client, b"still");
    }
}

#[test]
fn black_hole_holds_one_direction_and_later_releases_its_bytes() {
    let (proxy, mut client, mut server) = pair();
    let up = Direction {
        blackhole: true,
        ..Direction::default()
    };
    proxy.set(Directions {
        up,
        ..Directions::default()
    });
    client.write_all(b"held").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // The other direction passes meanwhile, and no held byte has arrived.
    for _ in 0..50 {
        server.write_all(b"down").unwrap();
        expect(&mut client, b"down");
    }
    server.set_nonblocking(true).unwrap();
    let nothing = server.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    server.set_nonblocking(false).unwrap();
    proxy.set(Directions::default());
    assert_eq!(rest(&server), b"held");
}

#[test]
fn cut_happens_after_the_given_number_of_bytes() {
    for bytes in [1, 7, 20_000] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::tcp(listener.local_addr().unwrap().port());
        proxy.cut_next_after(0, bytes);
        let client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(&[1; 30_000]).unwrap();
        let bytes = usize::try_from(bytes).unwrap();
        assert_eq!(rest(&client).len(), bytes);
    }
}

#[test]
fn reset_and_cut_reach_both_ends() {
    let (proxy, mut client, mut server) = pair();
    proxy.end(End::Reset);
    for end in [&mut client, &mut server] {
        assert_eq!(
            end.read(&mut [0]).unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    }
    let (proxy, client, server) = pair();
    proxy.end(End::Cut);
    assert_eq!((rest(&client), rest(&server)), (vec![], vec![]));
    within("the connection ends", || {
        proxy.live().is_empty().then_some(())
    });
}

#[test]
fn half_closed_connection_passes_the_other_direction() {
    let (proxy, mut client, mut server) = pair();
    let down = Direction {
        closed: true,
        ..Direction::default()
    };
    let up = Direction::default();
    proxy.set(Directions { up, down });
    assert_eq!(rest(&client), b"");
    client.write_all(b"still").unwrap();
    expect(&mut server, b"still");
}

#[test]
fn unix_sockets_are_proxied_cut_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (target, path) = (folder.path().join("target"), folder.path().join("proxy"));
    let listener = UnixListener::bind(&target).unwrap();
    let proxy = Proxy::unix(path.clone(), target);
    proxy.cut_next_after(5, 0);
    let mut client = UnixStream::connect(&path).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"down").unwrap();
    expect(&mut client, b"down");
    client.write_all(b"behind").unwrap();
    assert_eq!(rest(&server), b"behin");
    proxy.refuse(true);
    let refused = UnixStream::connect(&path).unwrap();
    assert_eq!(rest(&refused), b"");
    assert_eq!(proxy.accepted(), 1);
}
