//! Publications that wait for a commit: encoded when they were published, and counted in the spool from then on.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use lineside_publisher::{PublishOptions, Publisher};
use magnus::value::ReprValue;
use magnus::{Error, IntoValue, RArray, RString, Ruby, Value};

use crate::error::guard;
use crate::link::{self, Publication};

/// `Native::Held`: full until it is handed over or released, by its last owner or by the garbage collector.
#[magnus::wrap(class = "Lineside::Native::Held", free_immediately)]
pub(crate) struct Held(RefCell<Option<Parcel>>);

struct Parcel {
    buffer: Vec<u8>,
    publications: Vec<Publication>,
    once: Option<String>,
    room: Room,
}

/// Room in the spool of that publisher. Weak: a forked child may not even drop its parent's.
struct Room {
    publisher: Weak<Publisher>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        // Another one is a successor, or a child's: nothing is kept there.
        if let Some(publisher) = link::present()
            && Arc::as_ptr(&publisher) == self.publisher.as_ptr()
        {
            publisher.release(self.bytes);
        }
    }
}

/// `Native.hold(pairs, once)`: as `Native.publish`, but the answer, when there is room, is a `Held`.
pub(crate) fn hold(ruby: &Ruby, pairs: RArray, once: Option<RString>) -> Result<Value, Error> {
    guard(ruby, || {
        let mut buffer = Vec::new();
        let publications = link::encode_all(ruby, pairs, &mut buffer)?;
        let once = once.map(RString::to_string).transpose()?;
        let slices = link::slices(ruby, &buffer, &publications)?;
        let publisher = link::publisher(ruby)?;
        match publisher.hold(&slices, options(once.as_deref())) {
            Ok(bytes) => {
                buffer.shrink_to_fit();
                let publisher = Arc::downgrade(&publisher);
                let parcel = Parcel {
                    buffer,
                    publications,
                    once,
                    room: Room { publisher, bytes },
                };
                Ok(ruby.obj_wrap(Held(RefCell::new(Some(parcel)))).as_value())
            }
            Err(problem) => link::why_not(ruby, &problem),
        }
    })
}

/// `Native.publish_held(held)`: hands it over, as `Native.publish` does; nil when it is empty.
pub(crate) fn publish_held(ruby: &Ruby, held: &Held) -> Result<Value, Error> {
    guard(ruby, || {
        let Some(parcel) = held.0.take() else {
            return Ok(ruby.qnil().as_value());
        };
        // The GVL is held until it is handed over, so nobody takes the room in between.
        drop(parcel.room);
        link::hand_over(
            ruby,
            &parcel.buffer,
            &parcel.publications,
            options(parcel.once.as_deref()),
        )
    })
}

/// `Native.release(held)`: empties it. Whether there was something in it.
pub(crate) fn release(ruby: &Ruby, held: &Held) -> Result<Value, Error> {
    guard(ruby, || Ok(held.0.take().is_some().into_value_with(ruby)))
}

fn options(once: Option<&str>) -> PublishOptions<'_> {
    PublishOptions {
        once,
        wants_receipt: false,
    }
}
