//! Process of the app: the real spool and link, with its lines of the log.

use std::io::ErrorKind;
use std::sync::Arc;
use std::task::{Poll, Waker};

use lineside_protocol::Cursor;
use lineside_publisher::{
    CONTROL_BYTES_RESERVED, Ended, LinkClient, NotAccepted, Outcome, PublishOptions, Sequence,
    Settings, Spool,
};
use lineside_tests::history::{Event, Item};
use lineside_tests::random::Random;

use crate::network::{Shared, Side};
use crate::tally::Tally;

const READ_BYTES: usize = 1024;

/// Kind of call without an answer.
enum Awaited {
    Publication,
    SignOut {
        user: String,
        session: Option<String>,
        until_ms: u64,
    },
}

pub(crate) struct Process {
    pub(crate) name: String,
    spool: Arc<Spool>,
    link: LinkClient,
    wire: Option<Shared>,
    /// True if each call asks for a receipt. Otherwise the process only counts acks.
    wants_receipts: bool,
    awaited: Vec<(Sequence, Awaited)>,
    /// Number of calls, and the call of each sequence. Declined calls have no sequence.
    calls: u64,
    accepted: Vec<u64>,
    logged_acks: u64,
    bytes_max: usize,
}

impl Process {
    pub(crate) fn new(name: String, random: &mut Random) -> Self {
        let mut settings = Settings::new("/nowhere", name.clone());
        let wants_receipts = random.percent(60);
        settings.spool_bytes_max = random.size(500, 20_000);
        if wants_receipts && random.percent(30) {
            // Only with receipts is each drop reported.
            settings.spool_seconds_max = random.between(1, 20);
        } else {
            settings.spool_seconds_max = 1_000_000;
        }
        let bytes_max = settings.spool_bytes_max + CONTROL_BYTES_RESERVED;
        let mut identity = [0; 16];
        identity[..8].copy_from_slice(&random.number().to_be_bytes());
        identity[8..].copy_from_slice(&random.number().to_be_bytes());
        let spool = Arc::new(Spool::new(settings));
        Self {
            name,
            link: LinkClient::new(Arc::clone(&spool), identity),
            spool,
            wire: None,
            wants_receipts,
            awaited: Vec::new(),
            calls: 0,
            accepted: Vec::new(),
            logged_acks: 0,
            bytes_max,
        }
    }

    pub(crate) fn cursor(&self) -> Option<Cursor> {
        self.spool.cursor()
    }

    pub(crate) fn wire(&self) -> Option<&Shared> {
        self.wire.as_ref()
    }

    /// Publishes items in one call. Returns false if the spool declined them.
    pub(crate) fn publish(
        &mut self,
        items: &[Item],
        once: Option<&str>,
        log: &mut Vec<Event>,
        random: &mut Random,
    ) -> bool {
        let payloads: Vec<String> = items
            .iter()
            .map(|item| {
                let padding = "·".repeat(random.size(0, 60));
                format!("{{\"id\":\"{}\",\"padding\":\"{padding}\"}}", item.id)
            })
            .collect();
        let publications: Vec<(&str, &[u8])> = items
            .iter()
            .zip(&payloads)
            .map(|(item, payload)| (item.channel.as_str(), payload.as_bytes()))
            .collect();
        let known = self.cursor().map(|cursor| cursor.to_string());
        let options = PublishOptions {
            once,
            wants_receipt: self.wants_receipts,
        };
        let published = self.spool.publish(&publications, options);
        self.calls += 1;
        let (publisher, sequence) = (self.name.clone(), self.calls);
        log.push(Event::Sent {
            publisher: publisher.clone(),
            sequence,
            items: items.to_vec(),
            once: once.map(ToOwned::to_owned),
            known,
        });
        match published {
            Ok(accepted) => {
                self.accepted.push(sequence);
                if self.wants_receipts {
                    self.awaited.push((accepted, Awaited::Publication));
                }
            }
            Err(NotAccepted::SpoolFull { .. }) => {
                log.push(Event::Declined {
                    publisher,
                    sequence,
                });
                return false;
            }
            Err(other) => panic!("{other}"),
        }
        self.assert_spool_limit();
        true
    }

    /// Signs a user out. Returns false if the spool declined it.
    pub(crate) fn disconnect(&mut self, user: &str, session: Option<&str>, until_ms: u64) -> bool {
        let Ok(sequence) = self.spool.revoke(user, session, until_ms, true) else {
            return false;
        };
        let awaited = Awaited::SignOut {
            user: user.to_owned(),
            session: session.map(ToOwned::to_owned),
            until_ms,
        };
        self.awaited.push((sequence, awaited));
        self.calls += 1;
        self.accepted.push(self.calls);
        true
    }

    pub(crate) fn may_connect(&self, now_ms: u64) -> bool {
        self.wire.is_none() && self.link.may_open(now_ms)
    }

    /// Notes that the sidecar accepted the connection.
    pub(crate) fn opened(&mut self, wire: Shared, now_ms: u64) {
        self.wire = Some(wire);
        self.link.opened(now_ms);
    }

    /// Notes that the sidecar does not listen.
    pub(crate) fn refused(&mut self, now_ms: u64) {
        let why = Ended::Transport("connection refused".into());
        self.link.closed(&why, now_ms);
    }

    /// Runs one turn of the publisher's writer thread.
    pub(crate) fn pump(&mut self, now_ms: u64, log: &mut Vec<Event>, tally: &mut Tally) {
        let ended = self.exchange(now_ms).err();
        if let Some(ended) = ended {
            if let Some(wire) = self.wire.take() {
                wire.borrow_mut().close(Side::Near);
                tally.note("a link ended");
            }
            self.link.closed(&ended, now_ms);
        }
        self.collect(log, tally);
        self.assert_spool_limit();
    }

    fn exchange(&mut self, now_ms: u64) -> Result<(), Ended> {
        self.link.tick(now_ms)?;
        let Some(wire) = self.wire.clone() else {
            return Ok(());
        };
        let transport = |error: std::io::Error| Ended::Transport(error.to_string());
        let mut bytes = [0; READ_BYTES];
        match wire.borrow_mut().read(Side::Near, &mut bytes) {
            Ok(0) => return Err(Ended::Transport("the sidecar closed the link".into())),
            Ok(count) => self.link.receive(&bytes[..count])?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(transport(error)),
        }
        if let Some(bytes) = self.link.unsent() {
            match wire.borrow_mut().write(Side::Near, bytes) {
                Ok(count) => self.link.sent(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(transport(error)),
            }
        }
        Ok(())
    }

    /// Time at which the writer thread wakes without an event.
    pub(crate) fn due_ms(&self, now_ms: u64) -> Option<u64> {
        Some(now_ms + self.link.wait_ms(Waker::noop(), now_ms)?)
    }

    pub(crate) fn description(&self) -> String {
        format!("{} {:?}", self.name, self.spool.status())
    }

    /// Returns true if every accepted call is acked or dropped.
    pub(crate) fn is_settled(&self) -> bool {
        let status = self.spool.status();
        status.acked + status.dropped_aged == status.accepted
    }

    /// Gives up the calls that were sent, became too old to be resent, and have no answer.
    pub(crate) fn give_up(&mut self, log: &mut Vec<Event>) {
        for (sequence, _) in std::mem::take(&mut self.awaited) {
            self.spool.give_up(sequence);
            log.push(Event::GivenUp {
                publisher: self.name.clone(),
                sequence: self.accepted[usize::try_from(sequence.0 - 1).expect("an index")],
            });
        }
    }

    fn collect(&mut self, log: &mut Vec<Event>, tally: &mut Tally) {
        let spool = Arc::clone(&self.spool);
        let (publisher, calls) = (&self.name, &self.accepted);
        let call = |sequence: u64| calls[usize::try_from(sequence - 1).expect("an index")];
        self.awaited.retain(|(sequence, awaited)| {
            let Poll::Ready(outcome) = spool.answer(*sequence, Waker::noop()) else {
                return true;
            };
            let (publisher, sequence) = (publisher.clone(), call(sequence.0));
            match (outcome, awaited) {
                (Outcome::Receipt { cursor, duplicate }, Awaited::Publication) => {
                    tally.note(if duplicate {
                        "a duplicate by its once id"
                    } else {
                        "a receipt"
                    });
                    log.push(Event::Receipt {
                        publisher,
                        sequence,
                        cursor: cursor.to_string(),
                        duplicate,
                    });
                }
                (
                    Outcome::Receipt { cursor, .. },
                    Awaited::SignOut {
                        user,
                        session,
                        until_ms,
                    },
                ) => {
                    log.push(Event::SignedOut {
                        user: user.clone(),
                        session: session.clone(),
                        until_ms: *until_ms,
                        cursor: cursor.to_string(),
                    });
                }
                (Outcome::Dropped, Awaited::Publication) => {
                    tally.note("a publication dropped for its age");
                    log.push(Event::Dropped {
                        publisher,
                        sequence,
                    });
                }
                (Outcome::Dropped, Awaited::SignOut { .. }) => {}
                (outcome, _) => panic!("{publisher} received {outcome:?}"),
            }
            false
        });
        let acked = self.spool.status().acked;
        if !self.wants_receipts
            && acked > self.logged_acks
            && let Some(cursor) = self.cursor()
        {
            self.logged_acks = acked;
            log.push(Event::Acked {
                publisher: self.name.clone(),
                through: call(acked),
                cursor: cursor.to_string(),
            });
        }
    }

    fn assert_spool_limit(&self) {
        let status = self.spool.status();
        assert!(status.spool_bytes <= self.bytes_max, "{status:?}");
    }
}
