//! Strict reader of JSON objects: no duplicate names, and only values of the expected types.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use crate::claims::ClaimError;

/// Members of one JSON object. Each is removed when it is read.
///
/// An object with a duplicate name is refused: serde_json keeps the last value and other parsers the first, so the same
/// token would have two meanings. Members that are never read are ignored.
pub(crate) struct Members(BTreeMap<String, Value>);

impl Members {
    /// Parses one object. Returns `None` for anything else, and for an object with a duplicate name.
    pub(crate) fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    pub(crate) fn text(&mut self, claim: &'static str) -> Result<Option<String>, ClaimError> {
        match self.remove(claim) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ClaimError::Type {
                claim,
                want: "a string",
            }),
        }
    }

    /// Removes a list of strings. A missing list is empty.
    pub(crate) fn texts(&mut self, claim: &'static str) -> Result<Vec<String>, ClaimError> {
        let wrong = ClaimError::Type {
            claim,
            want: "an array of strings",
        };
        match self.remove(claim) {
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

    /// Removes a time. Fractions are refused, although RFC 7519 allows them: parsers round them differently.
    pub(crate) fn time(&mut self, claim: &'static str) -> Result<Option<u64>, ClaimError> {
        let wrong = ClaimError::Type {
            claim,
            want: "a whole number that is not negative",
        };
        self.remove(claim)
            .map(|value| value.as_u64().ok_or(wrong))
            .transpose()
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueNames)
    }
}

/// Builds [`Members`], and fails at a duplicate name.
struct UniqueNames;

impl<'de> Visitor<'de> for UniqueNames {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate name"));
            }
        }
        Ok(Members(members))
    }
}
