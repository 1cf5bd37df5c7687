//! Numbered transfer in both directions: APDUs cut into frames, a window of them kept until they
//! are acknowledged, frames in order put together to APDUs. It knows nothing of turns and time.
//!
//! Invariants: at most a window (7) of frames is unacknowledged, so that a number of three bits
//! tells old from new; frames out of order are never taken; the reassembly is at most
//! `max_apdu` octets.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::without_llc;
use crate::error::Error;
use crate::hdlc::{Control, Kind, Parameters};

/// What became of an arrived frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It ended an APDU.
    Apdu(Bytes),
    /// It is one piece.
    Piece,
    /// It was here before, or one before it is missing.
    OutOfOrder,
    /// With it the APDU is longer than the limit.
    TooLong,
}

#[derive(Debug, Clone)]
struct Piece {
    segmented: bool,
    information: Bytes,
}

pub(super) struct Transfer {
    llc: [u8; 3],
    max_apdu: usize,
    max_queue: usize,
    limits: Parameters,
    /// V(S), the number of the next new frame.
    send_next: u8,
    /// V(R), the number of the frame that is expected.
    receive_next: u8,
    unacknowledged: VecDeque<Piece>,
    /// APDUs with their LLC octets, not yet cut, or the rest of the first.
    waiting: VecDeque<Bytes>,
    /// Some from the first piece of an APDU to its last.
    assembly: Option<BytesMut>,
}

impl Transfer {
    pub(super) fn new(llc: [u8; 3], max_apdu: usize, max_queue: usize) -> Self {
        Self {
            llc,
            max_apdu,
            max_queue,
            limits: Parameters::default(),
            send_next: 0,
            receive_next: 0,
            unacknowledged: VecDeque::new(),
            waiting: VecDeque::new(),
            assembly: None,
        }
    }

    /// Begins anew under these limits; what was queued is dropped.
    pub(super) fn reset(&mut self, limits: Parameters) {
        *self = Self { limits, ..Self::new(self.llc, self.max_apdu, self.max_queue) };
    }

    /// Queues an APDU.
    pub(super) fn queue(&mut self, apdu: &[u8]) -> Result<(), Error> {
        if apdu.len() > self.max_apdu {
            return Err(Error::TooLong { length: apdu.len(), limit: self.max_apdu });
        }
        if self.waiting.len() >= self.max_queue {
            return Err(Error::QueueFull);
        }
        let mut octets = BytesMut::with_capacity(self.llc.len() + apdu.len());
        octets.extend_from_slice(&self.llc);
        octets.extend_from_slice(apdu);
        self.waiting.push_back(octets.freeze());
        Ok(())
    }

    pub(super) fn receive_next(&self) -> u8 {
        self.receive_next
    }

    /// Whether frames wait for their acknowledgement.
    pub(super) fn unacknowledged(&self) -> bool {
        !self.unacknowledged.is_empty()
    }

    /// Whether frames are to be sent, for the first time or again.
    pub(super) fn has_frames(&self) -> bool {
        self.unacknowledged() || !self.waiting.is_empty()
    }

    /// Whether an APDU has begun to arrive and not ended.
    pub(super) fn is_assembling(&self) -> bool {
        self.assembly.is_some()
    }

    /// Takes the peer's N(R). True when it acknowledges frames that were not before; a number
    /// outside the window is an old one and says nothing.
    pub(super) fn acknowledge(&mut self, receive: u8) -> bool {
        let held = self.unacknowledged.len();
        let first = usize::from(self.send_next) + 8 - held;
        let count = (usize::from(receive) + 16 - first) % 8;
        if count > held {
            return false;
        }
        self.unacknowledged.drain(..count);
        count > 0
    }

    /// Takes an arrived frame.
    pub(super) fn take(&mut self, send: u8, segmented: bool, information: &Bytes) -> Taken {
        if send != self.receive_next {
            return Taken::OutOfOrder;
        }
        self.receive_next = (self.receive_next + 1) % 8;
        let Some(mut assembly) = self.assembly.take() else {
            let apdu = without_llc(information);
            return self.first_piece(segmented, apdu);
        };
        if assembly.len() + information.len() > self.max_apdu {
            return Taken::TooLong;
        }
        assembly.extend_from_slice(information);
        if segmented {
            self.assembly = Some(assembly);
            return Taken::Piece;
        }
        Taken::Apdu(assembly.freeze())
    }

    fn first_piece(&mut self, segmented: bool, apdu: Bytes) -> Taken {
        if apdu.len() > self.max_apdu {
            return Taken::TooLong;
        }
        if segmented {
            self.assembly = Some(BytesMut::from(&apdu[..]));
            return Taken::Piece;
        }
        if apdu.is_empty() { Taken::Piece } else { Taken::Apdu(apdu) }
    }

    /// The frames of one turn: all that are unacknowledged and new ones up to the window; the
    /// last one passes the turn. Control field, segmentation bit and information of each.
    pub(super) fn burst(&mut self) -> Vec<(Control, bool, Bytes)> {
        while self.unacknowledged.len() < usize::from(self.limits.transmit_window) {
            let Some(piece) = self.cut() else { break };
            self.unacknowledged.push_back(piece);
            self.send_next = (self.send_next + 1) % 8;
        }
        let held = u8::try_from(self.unacknowledged.len()).unwrap_or(0);
        let first = (self.send_next + 8 - held) % 8;
        let frames = self.unacknowledged.iter().zip(0_u8..);
        frames
            .map(|(piece, index)| {
                let send = (first + index) % 8;
                let kind = Kind::Information { send, receive: self.receive_next };
                let control = Control { kind, poll_final: index + 1 == held };
                (control, piece.segmented, piece.information.clone())
            })
            .collect()
    }

    /// The next piece of what waits.
    fn cut(&mut self) -> Option<Piece> {
        let limit = usize::from(self.limits.transmit_octets);
        let apdu = self.waiting.front_mut()?;
        if apdu.len() > limit {
            let information = apdu.slice(..limit);
            apdu.advance(limit);
            return Some(Piece { segmented: true, information });
        }
        self.waiting.pop_front().map(|information| Piece { segmented: false, information })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Taken, Transfer};
    use crate::error::Error;
    use crate::hdlc::link::LLC_REQUEST;
    use crate::hdlc::{Kind, Parameters};

    fn transfer(window: u8) -> Transfer {
        let mut transfer = Transfer::new(LLC_REQUEST, 100, 2);
        let limits =
            Parameters { transmit_octets: 10, transmit_window: window, ..Parameters::default() };
        transfer.reset(limits);
        transfer
    }

    fn numbers(transfer: &mut Transfer) -> Vec<(u8, bool, bool)> {
        let burst = transfer.burst();
        let number = |kind| match kind {
            Kind::Information { send, .. } => send,
            other => panic!("{other:?}"),
        };
        burst.iter().map(|(c, segmented, _)| (number(c.kind), *segmented, c.poll_final)).collect()
    }

    #[test]
    fn an_apdu_is_cut_numbered_and_repeated_from_the_first_missing() {
        let mut transfer = transfer(3);
        transfer.queue(&[7; 40]).unwrap();
        let first = [(0, true, false), (1, true, false), (2, true, true)];
        assert_eq!(numbers(&mut transfer), first);
        assert_eq!(numbers(&mut transfer), first);
        assert!(!transfer.acknowledge(5));
        assert!(!transfer.acknowledge(0));
        assert!(transfer.acknowledge(1));
        let second = [(1, true, false), (2, true, false), (3, true, true)];
        assert_eq!(numbers(&mut transfer), second);
        assert!(transfer.acknowledge(4));
        assert_eq!(numbers(&mut transfer), [(4, false, true)]);
        assert!(transfer.acknowledge(5));
        assert!(!transfer.has_frames());
    }

    #[test]
    fn numbers_go_round_under_the_widest_window() {
        let mut transfer = transfer(7);
        for round in 0..20_u8 {
            transfer.queue(&[round; 60]).unwrap();
            let sent = numbers(&mut transfer);
            assert_eq!(sent.len(), 7);
            let next = (sent[6].0 + 1) % 8;
            assert!(!transfer.acknowledge(sent[0].0));
            assert!(transfer.acknowledge(next));
            assert!(!transfer.has_frames());
        }
    }

    #[test]
    fn pieces_in_order_become_an_apdu_once() {
        let mut transfer = transfer(1);
        let piece = |octets: &'static [u8]| Bytes::from_static(octets);
        assert_eq!(transfer.take(1, false, &piece(b"x")), Taken::OutOfOrder);
        assert_eq!(transfer.take(0, true, &piece(b"\xe6\xe6\x00ab")), Taken::Piece);
        assert_eq!(transfer.take(0, true, &piece(b"\xe6\xe6\x00ab")), Taken::OutOfOrder);
        assert!(transfer.is_assembling());
        assert_eq!(transfer.take(1, false, &piece(b"\xe6\xe6\x00")), {
            Taken::Apdu(piece(b"ab\xe6\xe6\x00"))
        });
        assert_eq!(transfer.take(2, false, &piece(b"no llc")), Taken::Apdu(piece(b"no llc")));
        assert_eq!(transfer.take(3, false, &piece(b"")), Taken::Piece);
    }

    #[test]
    fn limits_hold() {
        let mut transfer = transfer(1);
        assert_eq!(transfer.queue(&[0; 101]), Err(Error::TooLong { length: 101, limit: 100 }));
        transfer.queue(&[0; 100]).unwrap();
        transfer.queue(&[0; 1]).unwrap();
        assert_eq!(transfer.queue(&[0; 1]), Err(Error::QueueFull));
        let long = Bytes::from(vec![0; 60]);
        assert_eq!(transfer.take(0, true, &long), Taken::Piece);
        assert_eq!(transfer.take(1, true, &long), Taken::TooLong);
        assert_eq!(transfer.take(2, true, &Bytes::from(vec![0; 101])), Taken::TooLong);
    }
}
