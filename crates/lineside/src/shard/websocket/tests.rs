use super::*;

/// One masked frame of a browser. The mask is zero, so the payload stays readable.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        short @ 0..126 => out.push(0x80 | u8::try_from(short).unwrap()),
        medium @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend((long as u64).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend(payload);
    out
}

/// Every message that the reader returns, as text, and the bytes of its own answers.
fn read_all(reader: &mut Reader) -> (Vec<String>, Vec<u8>) {
    let (mut messages, mut replies) = (Vec::new(), Vec::new());
    loop {
        messages.push(match reader.next(|reply| replies.extend(reply)) {
            Inbound::Text(text) => text.to_string(),
            Inbound::Binary(bytes) => format!("{bytes:?}"),
            Inbound::Ping => "control".into(),
            Inbound::Pong(_) => "control".into(),
            Inbound::Closed(_) => "closed".into(),
            Inbound::Empty => return (messages, replies),
            Inbound::Broken(code) => {
                messages.push(code.name.into());
                return (messages, replies);
            }
        });
    }
}

fn read(bytes: &[u8]) -> Vec<String> {
    let mut reader = Reader::default();
    reader.receive(bytes);
    read_all(&mut reader).0
}

#[test]
fn messages_are_complete_wherever_the_bytes_are_cut() {
    let mut bytes = frame(0x81, b"one");
    bytes.extend(frame(0x01, b"tw"));
    bytes.extend(frame(0x89, b"ping"));
    bytes.extend(frame(0x80, b"o"));
    bytes.extend(frame(0x82, b"\x00\xff"));
    bytes.extend(frame(0x81, "x".repeat(300).as_bytes()));
    for cut in 0..=bytes.len() {
        let mut reader = Reader::default();
        reader.receive(&bytes[..cut]);
        let (mut messages, mut replies) = read_all(&mut reader);
        reader.receive(&bytes[cut..]);
        let (more, rest) = read_all(&mut reader);
        messages.extend(more);
        replies.extend(rest);
        let long = "x".repeat(300);
        let all = ["one", "control", "two", r#"b"\0\xff""#, &long];
        assert_eq!(messages, all, "{cut}");
        assert_eq!(replies, b"\x8a\x04ping", "{cut}");
        assert!(reader.is_idle(), "{cut}");
    }
}

#[test]
fn incomplete_message_keeps_its_context() {
    for part in [
        &frame(0x81, b"whole")[..3],
        &frame(0x01, b"open"),
        &frame(0x81, b"whole")[..8],
    ] {
        let mut reader = Reader::default();
        reader.receive(part);
        assert!(read_all(&mut reader).0.is_empty());
        assert!(!reader.is_idle());
    }
}

#[test]
fn close_is_answered() {
    let mut reader = Reader::default();
    reader.receive(&frame(0x88, &1000_u16.to_be_bytes()));
    let (messages, replies) = read_all(&mut reader);
    assert_eq!(messages[0], "closed");
    assert_eq!(replies, [0x88, 2, 3, 0xe8]);
}

#[test]
fn protocol_violation_has_its_close_code() {
    let long = frame(0x81, &vec![b'x'; MESSAGE_BYTES_MAX - 1]);
    assert_eq!(read(&long)[0].len(), MESSAGE_BYTES_MAX - 1);
    let mut claimed = vec![0x81, 0xFF];
    claimed.extend(u64::MAX.to_be_bytes());
    claimed.extend([0; 4]);
    let mut grown = frame(0x01, &vec![b'x'; MESSAGE_BYTES_MAX - 9]);
    grown.extend(frame(0x00, &[b'x'; 10]));
    for (bytes, code) in [
        (frame(0x81, b"\xff\xfe"), CLOSE_INVALID_TEXT),
        (vec![0x81, 1, b'x'], CLOSE_PROTOCOL_ERROR),
        (frame(0xC1, b"reserved bit"), CLOSE_PROTOCOL_ERROR),
        (frame(0x83, b"reserved opcode"), CLOSE_PROTOCOL_ERROR),
        (frame(0x80, b"no start"), CLOSE_PROTOCOL_ERROR),
        (frame(0x09, b"fragmented ping"), CLOSE_PROTOCOL_ERROR),
        (claimed, CLOSE_TOO_LARGE),
        (grown, CLOSE_TOO_LARGE),
    ] {
        assert_eq!(
            read(&bytes).last().map(String::as_str),
            Some(code.name),
            "{:?}",
            &bytes[..2]
        );
    }
}

#[test]
fn claimed_length_allocates_no_memory() {
    let mut reader = Reader::default();
    let mut bytes = vec![0x81, 0x80 | 127];
    bytes.extend(60_000_u64.to_be_bytes());
    bytes.extend([0; 4]);
    reader.receive(&bytes);
    assert!(read_all(&mut reader).0.is_empty());
    assert!(reader.0.is_some_and(|busy| busy.unread.capacity() < 1024));
}

#[test]
fn number_of_empty_fragments_is_limited() {
    let mut reader = Reader::default();
    reader.receive(&frame(0x01, b"open"));
    assert!(read_all(&mut reader).0.is_empty());
    for _ in 1..Reader::<MESSAGE_BYTES_MAX>::FRAGMENTS_MAX {
        reader.receive(&frame(0x00, b""));
        assert!(read_all(&mut reader).0.is_empty());
    }
    reader.receive(&frame(0x00, b""));
    assert_eq!(read_all(&mut reader).0, [CLOSE_TOO_LARGE.name]);
}
