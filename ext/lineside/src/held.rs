//! Publications that wait for a commit. They are encoded at the call, and reserve space in the spool until the commit.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use lineside_publisher::{PublishOptions, Publisher};
use magnus::value::ReprValue;
use magnus::{Error, IntoValue, RArray, RHash, RString, Ruby, Value};

use crate::error::guard;
use crate::publisher::{self, Publication};

/// `Native::Held`: publications with their reserved space. Empty after they were handed over or released.
#[magnus::wrap(class = "Lineside::Native::Held", free_immediately)]
pub(crate) struct Held(RefCell<Option<HeldPublications>>);

struct HeldPublications {
    buffer: Vec<u8>,
    publications: Vec<Publication>,
    once: Option<String>,
    reservation: Reservation,
}

/// Reserved space in the spool of one publisher. Frees it on drop. The reference is weak, since a forked child must not
/// drop its parent's publisher.
struct Reservation {
    publisher: Weak<Publisher>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // A publisher created after `configure` or in a forked child has no such reservation.
        if let Some(publisher) = publisher::existing()
            && Arc::as_ptr(&publisher) == self.publisher.as_ptr()
        {
            publisher.release(self.bytes);
        }
    }
}

/// `Native.hold(pairs, once, event)`: encodes publications and reserves space for them. Returns a `Held`, or a String with
/// the reason if they were not accepted. Adds the size of the JSON to the event, if there is one.
pub(crate) fn hold(
    ruby: &Ruby,
    pairs: RArray,
    once: Option<RString>,
    event: Option<RHash>,
) -> Result<Value, Error> {
    guard(ruby, || {
        let mut buffer = Vec::new();
        let publications = publisher::encode_all(ruby, pairs, &mut buffer, event)?;
        let once = once.map(RString::to_string).transpose()?;
        let slices = publisher::slices(ruby, &buffer, &publications)?;
        let publisher = publisher::current(ruby)?;
        match publisher.hold(&slices, options(once.as_deref())) {
            Ok(bytes) => {
                buffer.shrink_to_fit();
                let publisher = Arc::downgrade(&publisher);
                let contents = HeldPublications {
                    buffer,
                    publications,
                    once,
                    reservation: Reservation { publisher, bytes },
                };
                Ok(ruby.obj_wrap(Held(RefCell::new(Some(contents)))).as_value())
            }
            Err(problem) => publisher::not_accepted(ruby, &problem),
        }
    })
}

/// `Native.publish_held(held)`: publishes the held publications. Returns the same as `Native.publish`, or nil if `held` is
/// empty.
pub(crate) fn publish_held(ruby: &Ruby, held: &Held) -> Result<Value, Error> {
    guard(ruby, || {
        let Some(contents) = held.0.take() else {
            return Ok(ruby.qnil().as_value());
        };
        // The GVL is held until the hand-over, so that no other thread can use the freed space.
        drop(contents.reservation);
        publisher::hand_over(
            ruby,
            &contents.buffer,
            &contents.publications,
            options(contents.once.as_deref()),
        )
    })
}

/// `Native.release(held)`: drops the held publications. Returns whether there were any.
pub(crate) fn release(ruby: &Ruby, held: &Held) -> Result<Value, Error> {
    guard(ruby, || Ok(held.0.take().is_some().into_value_with(ruby)))
}

fn options(once: Option<&str>) -> PublishOptions<'_> {
    PublishOptions {
        once,
        wants_receipt: false,
    }
}
