//! The revocations' part of a [snapshot](crate::snapshot).

use std::io::{self, Read, Write};
use std::sync::Arc;

use super::Revocations;
use crate::encoding::{Reader, SnapshotError, Writer};

impl Revocations {
    pub(crate) fn save(&self, out: &mut Writer<impl Write>) -> io::Result<()> {
        out.count(self.order.len())?;
        for (added_ms, key) in &self.order {
            out.u64(self.revoked.get(key).map_or(0, |it| it.until_ms))?;
            out.u64(*added_ms)?;
            out.text(key.as_bytes())?;
        }
        Ok(())
    }

    pub(crate) fn restore(input: &mut Reader<impl Read>) -> Result<Self, SnapshotError> {
        let mut revocations = Self::default();
        for _ in 0..input.u32()? {
            let (until_ms, added_ms) = (input.u64()?, input.u64()?);
            let key: Arc<str> = input.text()?.into();
            if revocations.order.len() >= revocations.max {
                return Err(SnapshotError::Impossible("so many revocations"));
            }
            if revocations.revoked.contains_key(&key) {
                return Err(SnapshotError::Impossible("a revocation twice"));
            }
            revocations.insert(key, until_ms, added_ms);
        }
        Ok(revocations)
    }
}
