//! The publishers' part of a [snapshot](crate::snapshot): landed sequences and stored answers.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use lineside_protocol::codes::LINK_CODES;

use super::{ANSWERS_MAX, Answer, Publisher, Publishers};
use crate::encoding::{Reader, SnapshotError, Writer};
use crate::rejection::Rejection;

const LANDED: u8 = 0;
const REFUSED: u8 = 1;

impl Publishers {
    /// Linked publishers are written as unlinked at `now_ms`.
    pub(crate) fn save(&self, out: &mut Writer<impl Write>, now_ms: u64) -> io::Result<()> {
        let mut publishers: Vec<_> = self.publishers.iter().collect();
        publishers.sort_unstable_by_key(|(id, _)| **id);
        out.count(publishers.len())?;
        for (id, known) in publishers {
            out.bytes(id)?;
            out.u64(known.landed)?;
            out.u64(known.unlinked_ms.unwrap_or(now_ms))?;
            out.u16(u16::try_from(known.answers.len()).map_err(io::Error::other)?)?;
            for (sequence, answer) in &known.answers {
                out.u64(*sequence)?;
                save_answer(answer, out)?;
            }
        }
        Ok(())
    }

    /// The count of gaps starts at zero, because each process counts its own.
    pub(crate) fn restore(
        input: &mut Reader<impl Read>,
        publishers_max: usize,
    ) -> Result<Self, SnapshotError> {
        let mut publishers = Self::new(publishers_max);
        for _ in 0..input.u32()? {
            let id = input.array()?;
            let landed = input.u64()?;
            let mut known = Publisher {
                proposed: landed,
                landed,
                link: 0,
                unlinked_ms: Some(input.u64()?),
                answers: VecDeque::new(),
            };
            for _ in 0..input.u16()? {
                let sequence = input.u64()?;
                let in_order = known
                    .answers
                    .back()
                    .is_none_or(|(before, _)| *before < sequence);
                if !in_order || sequence > known.landed || known.answers.len() >= ANSWERS_MAX {
                    return Err(SnapshotError::Impossible("an answer out of order"));
                }
                known.answers.push_back((sequence, restore_answer(input)?));
            }
            publishers
                .make_room()
                .map_err(|_| SnapshotError::Impossible("a publisher"))?;
            publishers.publishers.insert(id, known);
        }
        Ok(publishers)
    }
}

fn save_answer(answer: &Answer, out: &mut Writer<impl Write>) -> io::Result<()> {
    match answer {
        Answer::Landed { receipt, duplicate } => {
            out.u8(LANDED)?;
            out.u64(receipt.0)?;
            out.u8(u8::from(*duplicate))
        }
        Answer::Rejected(refused) => {
            out.u8(REFUSED)?;
            out.u16(refused.code.number)?;
            out.text(refused.message.as_bytes())
        }
    }
}

fn restore_answer(input: &mut Reader<impl Read>) -> Result<Answer, SnapshotError> {
    match input.u8()? {
        LANDED => Ok(Answer::Landed {
            receipt: input.position()?,
            duplicate: input.u8()? != 0,
        }),
        REFUSED => {
            let number = input.u16()?;
            let code = LINK_CODES.iter().find(|code| code.number == number);
            Ok(Answer::Rejected(Rejection {
                code: *code.ok_or(SnapshotError::Impossible("that code of a refusal"))?,
                message: input.text()?,
            }))
        }
        _ => Err(SnapshotError::Impossible("that kind of answer")),
    }
}
