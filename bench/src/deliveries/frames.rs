//! Frames of WebSocket (RFC 6455 §5.2) as the generator needs them: no copy of a frame that has arrived whole.

/// A frame of a server.
pub(super) struct Frame<'a> {
    pub(super) opcode: u8,
    pub(super) payload: &'a [u8],
}

pub(super) const TEXT: u8 = 1;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// Takes the first frame from `bytes`, which moves behind it. Returns `None` if it has not arrived whole.
pub(super) fn take<'a>(bytes: &mut &'a [u8]) -> Option<Frame<'a>> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (head, length): (usize, usize) = match second & 0x7f {
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            (10, usize::try_from(length).ok()?)
        }
        length => (2, usize::from(length)),
    };
    let end = head.checked_add(length)?;
    let payload = bytes.get(head..end)?;
    *bytes = &bytes[end..];
    Some(Frame {
        opcode: first & 0x0f,
        payload,
    })
}

/// Encodes a frame of a client, masked with zeros.
pub(super) fn encode(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match u16::try_from(payload.len()) {
        Ok(length) if length < 126 => frame.push(0x80 | length.to_be_bytes()[1]),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}
