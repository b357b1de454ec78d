//! JSON encoder for Ruby values, with the same bytes as ActiveSupport, except that floats may be written in another
//! notation of the same number. Encodes core classes natively and all other values through `Lineside::Json`.

mod text;

use std::io::Write;

use lineside_publisher::{NESTING_LEVELS_MAX, nesting_levels};
use magnus::r_hash::ForEach;
use magnus::rb_sys::AsRawValue;
use magnus::value::{Lazy, LazyId, ReprValue};
use magnus::{
    Error, Float, Integer, Module, RArray, RClass, RHash, RModule, RString, Ruby, Symbol, Value,
};

use self::text::{Escapes, NeedsEscapes};
use crate::utf8::utf8_problem;
use crate::{error, gvl};

/// The module of lib/lineside/json.rb, which is loaded before the extension.
static CALLBACKS: Lazy<RModule> = Lazy::new(|ruby| {
    let lineside = ruby.class_object().const_get::<_, RModule>("Lineside");
    lineside
        .and_then(|module| module.const_get("Json"))
        .expect("lib/lineside/json.rb is loaded before the extension")
});

/// Appends the JSON of `value` to `out`, as a value inside `levels` arrays or objects. May call the app (`as_json`), which
/// may raise, throw and publish: `out` then contains incomplete JSON.
///
/// # Errors
/// Returns `ArgumentError` for text that is not UTF-8 and for data that nests too deep or contains itself, and any error
/// of the app.
pub(crate) fn encode(
    ruby: &Ruby,
    value: Value,
    levels: usize,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    Encoder {
        ruby,
        out,
        levels,
        escapes: None,
    }
    .value(value)
}

static COMPARES_BY_IDENTITY: LazyId = LazyId::new("compare_by_identity?");

struct Encoder<'a> {
    ruby: &'a Ruby,
    out: &'a mut Vec<u8>,
    /// Number of open arrays and hashes, and of objects whose `as_json` is running.
    levels: usize,
    /// Escapes of the running app. Fetched when they first matter.
    escapes: Option<Escapes>,
}

/// Class of a hash key. Different keys of one kind are different as JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    String,
    Symbol,
    Integer,
}

impl Encoder<'_> {
    fn value(&mut self, value: Value) -> Result<(), Error> {
        if value.is_nil() {
            self.out.extend_from_slice(b"null");
        } else if let Some(integer) = Integer::from_value(value) {
            return self.integer(integer);
        } else if let Some(string) = plain(value, RString::from_value, self.ruby.class_string()) {
            return self.string(string);
        } else if let Some(symbol) = Symbol::from_value(value) {
            return self.string(gvl::symbol_name(symbol));
        } else if let Some(hash) = plain(value, RHash::from_value, self.ruby.class_hash()) {
            return self.hash(hash);
        } else if let Some(array) = plain(value, RArray::from_value, self.ruby.class_array()) {
            return self.array(array);
        } else if let Some(float) = Float::from_value(value) {
            return self.float(float);
        } else if value.is_kind_of(self.ruby.class_true_class()) {
            self.out.extend_from_slice(b"true");
        } else if value.is_kind_of(self.ruby.class_false_class()) {
            self.out.extend_from_slice(b"false");
        } else {
            return self.other(value);
        }
        Ok(())
    }

    fn hash(&mut self, hash: RHash) -> Result<(), Error> {
        let start = self.out.len();
        let mut kind = None;
        let mut mixed = false;
        let mut keys = 0;
        self.open(b'{')?;
        hash.foreach(|key: Value, value: Value| {
            let found = key_kind(self.ruby, key);
            keys += 1;
            mixed = found.is_none()
                || (kind.is_some() && found != kind)
                || (keys == 2 && found != Some(KeyKind::Symbol) && self.by_identity(hash)?);
            if mixed {
                return Ok(ForEach::Stop);
            }
            if kind.is_some() {
                self.out.push(b',');
            }
            kind = found;
            self.key(key)?;
            self.out.push(b':');
            self.value(value)?;
            Ok(ForEach::Continue)
        })?;
        self.close(b'}');
        if mixed {
            // Keys of several kinds, or compared by identity, may be equal as JSON. ActiveSupport decides which of them
            // remains.
            self.out.truncate(start);
            return self.other(hash.as_value());
        }
        Ok(())
    }

    fn by_identity(&self, hash: RHash) -> Result<bool, Error> {
        hash.funcall(LazyId::get_inner_with(&COMPARES_BY_IDENTITY, self.ruby), ())
    }

    fn key(&mut self, key: Value) -> Result<(), Error> {
        if let Some(string) = RString::from_value(key) {
            self.string(string)
        } else if let Some(symbol) = Symbol::from_value(key) {
            self.string(gvl::symbol_name(symbol))
        } else if let Some(integer) = Integer::from_value(key) {
            self.out.push(b'"');
            self.integer(integer)?;
            self.out.push(b'"');
            Ok(())
        } else {
            self.other(key)
        }
    }

    fn array(&mut self, array: RArray) -> Result<(), Error> {
        self.open(b'[')?;
        let mut index = 0;
        // By index: the app's callbacks may change the array.
        while index < array.len() {
            if index > 0 {
                self.out.push(b',');
            }
            self.value(array.entry(isize::try_from(index).unwrap_or(isize::MAX))?)?;
            index += 1;
        }
        self.close(b']');
        Ok(())
    }

    fn integer(&mut self, integer: Integer) -> Result<(), Error> {
        if let Ok(small) = integer.to_i64() {
            write!(self.out, "{small}").expect("a Vec takes all that is written");
            return Ok(());
        }
        self.digits(integer)
    }

    fn float(&mut self, float: Float) -> Result<(), Error> {
        if float.to_f64().is_finite() {
            // Rust and Ruby format some floats differently: 97263033315662.125 ends in 13 in Ruby and in 12 in Rust.
            return self.digits(float);
        }
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn digits(&mut self, number: impl ReprValue) -> Result<(), Error> {
        let digits: RString = number.funcall("to_s", ())?;
        gvl::read(digits, |bytes| self.out.extend_from_slice(bytes));
        Ok(())
    }

    fn string(&mut self, string: RString) -> Result<(), Error> {
        check_utf8(self.ruby, string)?;
        let start = self.out.len();
        let (out, escapes) = (&mut *self.out, self.escapes);
        if gvl::read(string, |bytes| text::write(bytes, escapes, out)) == Err(NeedsEscapes) {
            let (html, separators) = self.ruby.get_inner(&CALLBACKS).funcall("escapes", ())?;
            self.escapes = Some(Escapes { html, separators });
            self.out.truncate(start);
            return self.string(string);
        }
        Ok(())
    }

    /// Encodes a value in Ruby. Counts as a level, so that an object whose `as_json` returns itself ends.
    fn other(&mut self, value: Value) -> Result<(), Error> {
        if self.levels >= NESTING_LEVELS_MAX {
            return Err(too_deep(self.ruby));
        }
        let callbacks = self.ruby.get_inner(&CALLBACKS);
        let json: RString = callbacks.funcall("generate", (value, self.levels + 1))?;
        check_utf8(self.ruby, json)?;
        let (levels, out) = (self.levels, &mut *self.out);
        let deepest = gvl::read(json, |bytes| {
            out.extend_from_slice(bytes);
            levels + nesting_levels(bytes)
        });
        if deepest > NESTING_LEVELS_MAX {
            Err(too_deep(self.ruby))
        } else {
            Ok(())
        }
    }

    fn open(&mut self, bracket: u8) -> Result<(), Error> {
        if self.levels >= NESTING_LEVELS_MAX {
            return Err(too_deep(self.ruby));
        }
        self.levels += 1;
        self.out.push(bracket);
        Ok(())
    }

    fn close(&mut self, bracket: u8) {
        self.levels -= 1;
        self.out.push(bracket);
    }
}

/// Returns the value as an instance of exactly `class`, without subclasses and singleton methods.
pub(crate) fn plain<T: ReprValue>(
    value: Value,
    from: fn(Value) -> Option<T>,
    class: RClass,
) -> Option<T> {
    from(value).filter(|_| value.class().as_raw() == class.as_raw())
}

fn key_kind(ruby: &Ruby, key: Value) -> Option<KeyKind> {
    if plain(key, RString::from_value, ruby.class_string()).is_some() {
        Some(KeyKind::String)
    } else if Symbol::from_value(key).is_some() {
        Some(KeyKind::Symbol)
    } else {
        Integer::from_value(key).map(|_| KeyKind::Integer)
    }
}

fn check_utf8(ruby: &Ruby, string: RString) -> Result<(), Error> {
    match utf8_problem(ruby, string)? {
        None => Ok(()),
        Some(problem) => Err(error::argument(
            ruby,
            format!("a String in the data ({} bytes) {problem}", string.len()),
        )),
    }
}

fn too_deep(ruby: &Ruby) -> Error {
    error::argument(
        ruby,
        format!("the data nests deeper than {NESTING_LEVELS_MAX} levels, or holds itself"),
    )
}
