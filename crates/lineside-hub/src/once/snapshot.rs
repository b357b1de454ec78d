//! The `once` ids' part of a [snapshot](crate::snapshot).

use std::io::{self, Read, Write};

use super::OnceIds;
use crate::encoding::{Reader, SnapshotError, Writer};

impl OnceIds {
    pub(crate) fn save(&self, out: &mut Writer<impl Write>) -> io::Result<()> {
        out.count(self.order.len())?;
        for (at_ms, key) in &self.order {
            out.u64(*at_ms)?;
            out.text(key.channel.as_bytes())?;
            out.text(&key.id)?;
            out.u64(self.landed.get(key).map_or(0, |position| position.0))?;
        }
        Ok(())
    }

    pub(crate) fn restore(input: &mut Reader<impl Read>) -> Result<Self, SnapshotError> {
        let mut once = Self::default();
        for _ in 0..input.u32()? {
            let at_ms = input.u64()?;
            let channel = input.text()?.into();
            let id = input.id()?;
            once.land(&channel, &id, input.position()?, at_ms);
        }
        Ok(once)
    }
}
