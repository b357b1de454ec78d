//! JSON strings (RFC 8259 §7), with the additional escapes of ActiveSupport.

/// Escapes of the running app beyond those that JSON requires.
#[derive(Clone, Copy)]
pub(super) struct Escapes {
    /// Escapes `<`, `>` and `&`, which could end a script element.
    pub(super) html: bool,
    /// Escapes U+2028 and U+2029, which are line ends in older JavaScript.
    pub(super) separators: bool,
}

/// The text contains characters that only some apps escape, and the app's [`Escapes`] were not given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NeedsEscapes;

/// Length of the parts of a text that are searched at once, in bytes: the width of a vector register.
const PART_BYTES: usize = 16;

/// Whether a byte may need an escape. 0xE2 begins U+2028 and U+2029.
const fn is_special(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xE2)
}

/// Returns the index of the first byte from `from` on that may need an escape.
fn find_special(utf8: &[u8], from: usize) -> Option<usize> {
    let mut index = from;
    for part in utf8[from..].chunks(PART_BYTES) {
        // Without an early end, so that the compiler compares all bytes of the part at once.
        if part.iter().fold(false, |any, &byte| any | is_special(byte)) {
            return part
                .iter()
                .position(|&byte| is_special(byte))
                .map(|found| index + found);
        }
        index += part.len();
    }
    None
}

const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";

/// Appends a UTF-8 text as a JSON string in quotes. Without `escapes` it stops at the first character for which they
/// matter, and leaves incomplete JSON.
pub(super) fn write(
    utf8: &[u8],
    escapes: Option<Escapes>,
    out: &mut Vec<u8>,
) -> Result<(), NeedsEscapes> {
    out.push(b'"');
    let mut copied = 0;
    let mut from = 0;
    while let Some(index) = find_special(utf8, from) {
        from = index + 1;
        if let Some((escape, length)) = escape(&utf8[index..], escapes)? {
            out.extend_from_slice(&utf8[copied..index]);
            out.extend_from_slice(escape.as_bytes());
            copied = index + length;
            from = copied;
        }
    }
    out.extend_from_slice(&utf8[copied..]);
    out.push(b'"');
    Ok(())
}

/// Returns the escape of the first character of `rest` and the character's length, or `None` if it needs no escape.
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

/// An escape, such as `\n` or `\u001f`.
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
