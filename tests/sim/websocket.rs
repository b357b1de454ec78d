//! Browser's end of RFC 6455, without fragments and extensions.

use lineside_tests::random::Random;

const FINAL: u8 = 0x80;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Complete frame.
#[derive(Debug)]
pub(crate) enum Frame {
    Text(String),
    Ping(Vec<u8>),
    Close(u16),
}

/// Received bytes that are not yet a complete frame.
#[derive(Debug, Default)]
pub(crate) struct Frames(Vec<u8>);

impl Frames {
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Returns the next complete frame. The server must not mask and does not fragment.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let (first, second) = (*self.0.first()?, *self.0.get(1)?);
        assert_eq!(second & 0x80, 0, "the server masks a frame");
        let (length, head) = match second {
            126 => (number(self.0.get(2..4)?), 4),
            127 => (number(self.0.get(2..10)?), 10),
            short => (usize::from(short), 2),
        };
        let payload = self.0.get(head..head + length)?.to_vec();
        self.0.drain(..head + length);
        assert_eq!(
            first & 0xf0,
            FINAL,
            "the server sends a fragment or an extension"
        );
        Some(match first & 0x0f {
            TEXT => Frame::Text(String::from_utf8(payload).expect("text")),
            PING => Frame::Ping(payload),
            CLOSE => Frame::Close(
                payload
                    .get(..2)
                    .map_or(1005, |it| u16::try_from(number(it)).expect("two bytes")),
            ),
            other => panic!("unexpected opcode {other}"),
        })
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// Returns a masked frame.
fn frame(kind: u8, payload: &[u8], random: &mut Random) -> Vec<u8> {
    let mut frame = vec![FINAL | kind];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => frame.push(0x80 | length),
        (_, Ok(length)) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        _ => panic!("a page sends no frame of this size"),
    }
    let mask = random.number().to_be_bytes();
    frame.extend(&mask[..4]);
    frame.extend(
        payload
            .iter()
            .zip(mask[..4].iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

pub(crate) fn text(text: &str, random: &mut Random) -> Vec<u8> {
    frame(TEXT, text.as_bytes(), random)
}

pub(crate) fn pong(payload: &[u8], random: &mut Random) -> Vec<u8> {
    frame(PONG, payload, random)
}

pub(crate) fn close(random: &mut Random) -> Vec<u8> {
    frame(CLOSE, &1000u16.to_be_bytes(), random)
}
