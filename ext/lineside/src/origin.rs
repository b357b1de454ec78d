//! The app's own origin behind proxies, for the hand-off. The rule is that of `lineside-protocol`, which the sidecar uses too.

use lineside_publisher::forwarded::{FIELDS, Forwarded, parse_address};
use magnus::{Error, RArray, RString, Ruby, TryConvert as _};

use crate::error::guard;
use crate::gvl;

/// `Native.server_origin(scheme, host, client, fields)`: the server's origin as a String, or nil if `host` is none. `client` is
/// the address behind the trusted proxies, and `fields` has the value of each of `Native::FORWARDED_FIELDS`.
pub(crate) fn server_origin(
    ruby: &Ruby,
    scheme: RString,
    host: RString,
    client: RString,
    fields: RArray,
) -> Result<Option<String>, Error> {
    guard(ruby, || {
        let fields = fields.into_iter();
        let fields: Vec<String> = fields
            .map(|value| RString::try_convert(value).map(text))
            .collect::<Result<_, _>>()?;
        let forwarded = Forwarded::read(|name| {
            let mut known = FIELDS.iter().zip(&fields);
            let found = known.find(|(known, _)| **known == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        });
        let client = parse_address(&text(client));
        let origin = forwarded.server_origin(&text(scheme), &text(host), client);
        Ok(origin.map(|origin| origin.to_string()))
    })
}

/// Text of a header's value, which may hold any bytes.
fn text(value: RString) -> String {
    gvl::read(value, |bytes| String::from_utf8_lossy(bytes).into_owned())
}
