//! Strings of JSON (RFC 8259 §7), with what ActiveSupport escapes beyond them.

/// What the running app escapes beyond what JSON demands.
#[derive(Clone, Copy)]
pub(super) struct Escapes {
    /// `<`, `>` and `&`, which could end a script element.
    pub(super) html: bool,
    /// U+2028 and U+2029, which ended lines in older JavaScript.
    pub(super) separators: bool,
}

/// The text holds what some apps escape, and it was not said whether this one does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NeedsEscapes;

/// Bytes that cannot simply be copied. 0xE2 begins the separators.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        special[byte] = true;
        byte += 1;
    }
    let others = *b"\"\\<>&\xE2";
    let mut index = 0;
    while index < others.len() {
        special[others[index] as usize] = true;
        index += 1;
    }
    special
};

const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";

/// Appends UTF-8 as a string of JSON, in its quotes. Without `escapes` it gives up half-way where they matter.
pub(super) fn write(
    utf8: &[u8],
    escapes: Option<Escapes>,
    out: &mut Vec<u8>,
) -> Result<(), NeedsEscapes> {
    out.push(b'"');
    let mut copied = 0;
    for (index, &byte) in utf8.iter().enumerate() {
        if !SPECIAL[usize::from(byte)] {
            continue;
        }
        let Some((escape, length)) = escape(&utf8[index..], escapes)? else {
            continue;
        };
        out.extend_from_slice(&utf8[copied..index]);
        out.extend_from_slice(escape.as_bytes());
        copied = index + length;
    }
    out.extend_from_slice(&utf8[copied..]);
    out.push(b'"');
    Ok(())
}

/// What stands for the first character of `rest`, and how many bytes that has; `None` if it stays as it is.
fn escape(rest: &[u8], escapes: Option<Escapes>) -> Result<Option<(Escape, usize)>, NeedsEscapes> {
    let wanted = |which: fn(Escapes) -> bool| escapes.map(which).ok_or(NeedsEscapes);
    Ok(match rest {
        [b'"', ..] => Some((Escape::short(b'"'), 1)),
        [b'\\', ..] => Some((Escape::short(b'\\'), 1)),
        [0x08, ..] => Some((Escape::short(b'b'), 1)),
        [0x0C, ..] => Some((Escape::short(b'f'), 1)),
        [b'\n', ..] => Some((Escape::short(b'n'), 1)),
        [b'\r', ..] => Some((Escape::short(b'r'), 1)),
        [b'\t', ..] => Some((Escape::short(b't'), 1)),
        [byte @ (b'<' | b'>' | b'&'), ..] => {
            wanted(|escapes| escapes.html)?.then(|| (Escape::long(u16::from(*byte)), 1))
        }
        [0xE2, 0x80, last @ (0xA8 | 0xA9), ..] => {
            let character = 0x2028 + u16::from(last - 0xA8);
            wanted(|escapes| escapes.separators)?.then(|| (Escape::long(character), 3))
        }
        [byte @ ..0x20, ..] => Some((Escape::long(u16::from(*byte)), 1)),
        _ => None,
    })
}

/// `\n` or `\u001f`.
struct Escape {
    bytes: [u8; 6],
    length: usize,
}

impl Escape {
    fn short(letter: u8) -> Self {
        Self {
            bytes: [b'\\', letter, 0, 0, 0, 0],
            length: 2,
        }
    }

    fn long(character: u16) -> Self {
        let digit = |shift: u16| HEXADECIMAL[usize::from(character >> shift & 0xF)];
        Self {
            bytes: [b'\\', b'u', digit(12), digit(8), digit(4), digit(0)],
            length: 6,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Levels of arrays and objects in a text of JSON.
pub(super) fn nesting(json: &[u8]) -> usize {
    let (mut level, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                level += 1;
                deepest = deepest.max(level);
            }
            b']' | b'}' => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
