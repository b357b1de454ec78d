//! JSON objects read strictly: no name twice, and every value of the type it must have.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use crate::claims::ClaimError;

/// The members of one object, taken out as they are read.
///
/// serde_json lets the last of two equal names win, others the first: a token that holds one twice means different
/// things to different readers, so it is refused. Values that nobody takes are ignored whole, with whatever they hold.
pub(crate) struct Members(BTreeMap<String, Value>);

impl Members {
    /// Reads exactly one object; none if it is anything else or holds a name twice.
    pub(crate) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    pub(crate) fn text(&mut self, claim: &'static str) -> Result<Option<String>, ClaimError> {
        match self.take(claim) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ClaimError::Type {
                claim,
                want: "a string",
            }),
        }
    }

    /// A list that is absent is empty.
    pub(crate) fn texts(&mut self, claim: &'static str) -> Result<Vec<String>, ClaimError> {
        let wrong = ClaimError::Type {
            claim,
            want: "an array of strings",
        };
        match self.take(claim) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .into_iter()
                .map(|value| {
                    if let Value::String(text) = value {
                        Ok(text)
                    } else {
                        Err(wrong.clone())
                    }
                })
                .collect(),
            Some(_) => Err(wrong),
        }
    }

    /// A point in time. RFC 7519 would allow fractions; nothing needs them, and every reader rounds them differently.
    pub(crate) fn time(&mut self, claim: &'static str) -> Result<Option<u64>, ClaimError> {
        let wrong = ClaimError::Type {
            claim,
            want: "a whole number that is not negative",
        };
        self.take(claim)
            .map(|value| value.as_u64().ok_or(wrong))
            .transpose()
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Once)
    }
}

/// Builds [`Members`], refusing a name that has been seen.
struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(Members(members))
    }
}
