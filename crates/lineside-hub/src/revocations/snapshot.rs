//! The revocations' part of a [snapshot](crate::snapshot).

use std::io::{self, Read, Write};
use std::sync::Arc;

use super::Revocations;
use crate::encoding::{Reader, SnapshotError, Writer};

impl Revocations {
    pub(crate) fn save(&self, out: &mut Writer<impl Write>) -> io::Result<()> {
        out.count(self.order.len())?;
        for (until_ms, key) in &self.order {
            out.u64(*until_ms)?;
            out.text(key.as_bytes())?;
        }
        Ok(())
    }

    pub(crate) fn restore(input: &mut Reader<impl Read>) -> Result<Self, SnapshotError> {
        let mut revocations = Self::default();
        for _ in 0..input.u32()? {
            let until_ms = input.u64()?;
            let key: Arc<str> = input.text()?.into();
            if revocations.order.len() >= revocations.max {
                return Err(SnapshotError::Impossible("so many revocations"));
            }
            if revocations
                .until_ms
                .insert(Arc::clone(&key), until_ms)
                .is_some()
            {
                return Err(SnapshotError::Impossible("a revocation twice"));
            }
            revocations.order.insert((until_ms, key));
        }
        Ok(revocations)
    }
}
