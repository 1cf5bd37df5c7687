//! One client's talk with one direct meter, and the faults that the meter plays in it.
//!
//! Faults come at fixed places (every fourth request), so that a test can await them. Invariant:
//! every fault that is counted changed the octets or the time of an answer.

use bytes::Bytes;
use cosem::acse::{Aare, ApplicationContext, AssociateResult, Diagnostic};
use cosem::apdu::{Apdu, tag};
use cosem::wrapper::Header;

use crate::fault::{Kind, Quirks};
use crate::session::Session;

/// Every how many requests a fault comes.
const EVERY: u32 = 4;
/// A general-block-transfer APDU.
const GBT: u8 = 0xe0;

/// What goes back to the client.
#[derive(Debug, Default)]
pub struct Answered {
    /// APDUs, each with its header.
    pub apdus: Vec<(Header, Bytes)>,
    /// The association is gone: new keys, or a restart.
    pub ended: bool,
    /// The line is gone as well.
    pub cut: bool,
    /// The answer comes late.
    pub late: bool,
    /// Only half of the last frame is sent.
    pub half: bool,
    /// The faults that were played.
    pub faults: Vec<Kind>,
}

/// A talk.
#[derive(Debug)]
pub struct Conversation {
    pub(super) session: Session,
    pub(super) place: usize,
    /// Invoke id of the last push.
    pub(super) invoke: u32,
    quirks: Quirks,
    requests: u32,
    refused_once: bool,
    /// The last answer, to be replayed.
    last: Option<(Header, Bytes)>,
    /// Whether the second block of this transfer was lost already.
    lost_block: bool,
}

impl Conversation {
    pub(super) fn new(session: Session, place: usize, quirks: Quirks) -> Self {
        Self {
            session,
            place,
            invoke: 0,
            quirks,
            requests: 0,
            refused_once: false,
            last: None,
            lost_block: false,
        }
    }

    fn due(&self, kind: Kind) -> bool {
        self.quirks.plays(kind) && self.requests.is_multiple_of(EVERY)
    }

    /// Counts a request; gives what answers it when the meter itself does not.
    pub(super) fn before(&mut self, header: Header, apdu: &[u8]) -> Option<Answered> {
        self.requests += 1;
        if apdu.first() == Some(&tag::AARQ)
            && self.quirks.plays(Kind::Busy)
            && !std::mem::replace(&mut self.refused_once, true)
        {
            let apdus = vec![(header.reversed(), busy())];
            return Some(Answered { apdus, faults: vec![Kind::Busy], ..Answered::default() });
        }
        if self.due(Kind::MeterRestart) {
            let faults = vec![Kind::MeterRestart];
            return Some(Answered { ended: true, cut: true, faults, ..Answered::default() });
        }
        None
    }

    /// Whether the answers to this request have counters that were used before.
    pub(super) fn uses_low_counters(&self) -> bool {
        self.due(Kind::AnswerCounter)
    }

    /// Collects the answers and spoils them.
    pub(super) fn after(&mut self, ended: bool) -> Answered {
        let mut answered = Answered { ended, ..Answered::default() };
        while let Some((header, apdu)) = self.session.poll_apdu() {
            if !self.loses(&apdu, &mut answered.faults) {
                answered.apdus.push((header, apdu));
            }
        }
        let fresh = answered.apdus.last().cloned();
        if let Some(last) = answered.apdus.last_mut() {
            if self.due(Kind::AnswerCounter) {
                answered.faults.push(Kind::AnswerCounter);
            }
            if self.due(Kind::AnswerTag) && is_ciphered(&last.1) {
                let mut octets = last.1.to_vec();
                if let Some(octet) = octets.last_mut() {
                    *octet ^= 0x55;
                }
                last.1 = octets.into();
                answered.faults.push(Kind::AnswerTag);
            }
            if let Some(old) = self.last.clone().filter(|_| self.due(Kind::AnswerReplay)) {
                *last = old;
                answered.faults.push(Kind::AnswerReplay);
            }
            answered.late = self.due(Kind::LateAnswer);
            answered.half = self.due(Kind::HalfFrame);
            answered.faults.extend(answered.late.then_some(Kind::LateAnswer));
            answered.faults.extend(answered.half.then_some(Kind::HalfFrame));
        }
        self.last = fresh.or(self.last.take());
        answered
    }

    /// Whether this APDU is the block that gets lost.
    fn loses(&mut self, apdu: &[u8], faults: &mut Vec<Kind>) -> bool {
        // E0, control, block number u16.
        let number = match apdu {
            [GBT, _, high, low, ..] => u16::from_be_bytes([*high, *low]),
            _ => return false,
        };
        if number == 1 {
            self.lost_block = false;
        }
        let lost = self.quirks.plays(Kind::LostBlock) && number == 2 && !self.lost_block;
        if lost {
            self.lost_block = true;
            faults.push(Kind::LostBlock);
        }
        lost
    }
}

/// glo-, ded- and general-ciphered services.
fn is_ciphered(apdu: &[u8]) -> bool {
    matches!(apdu.first(), Some(0xc8..=0xcf | 0xd0..=0xd7 | 0xdb..=0xdd))
}

/// An AARE that says: not now.
fn busy() -> Bytes {
    let aare = Aare {
        context: ApplicationContext::LOGICAL_NAME,
        result: AssociateResult::RejectedTransient,
        diagnostic: Diagnostic::NO_REASON,
        responding_title: None,
        mechanism: None,
        authentication: None,
        user_information: None,
    };
    Apdu::Aare(aare).encode().into()
}

#[cfg(test)]
mod tests {
    use super::{Conversation, Kind};
    use crate::field::{FieldConfig, direct_meters};
    use crate::objects::memory::MeterMemory;
    use crate::session::Session;

    #[test]
    fn the_second_block_of_a_transfer_is_lost_once() {
        let config = FieldConfig { direct: 1, ..FieldConfig::default() };
        let model = direct_meters(&config).remove(0);
        let session = Session::meter(&model, &MeterMemory::default(), 1, 16).unwrap();
        let quirks = [Kind::LostBlock].into_iter().collect();
        let mut talk = Conversation::new(session, 0, quirks);
        let mut faults = Vec::new();
        let block = |number: u8| [0xe0, 0x01, 0, number, 0, 0, 1, 0xaa];
        let mut lost = |number| talk.loses(&block(number), &mut faults);
        assert_eq!([1, 2, 3, 2, 3].map(&mut lost), [false, true, false, false, false]);
        assert_eq!([1, 2, 2].map(&mut lost), [false, true, false], "the next transfer");
        assert!(!lost(0));
        assert_eq!(faults.len(), 2);
    }
}
