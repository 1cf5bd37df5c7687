//! Arrived characters, cut into the message that the state expects. It does not know states; the
//! machine asks for one kind of message at a time.
//!
//! Invariants: at most `limit` characters are held; junk before a message is dropped; a block
//! whose check character is wrong is reported, never given.

use bytes::{Buf, Bytes, BytesMut};

use super::check::{Parity, block_check};
use super::{ACK, EOT, ETX, NAK, SOH, STX};

/// Longest line with a check of its own form; a longer one is junk.
const MAX_LINE: usize = 96;

/// A message of the programming mode, or a data block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Ack,
    Nak,
    /// Characters came that end like a block and do not verify, or too many.
    Corrupt,
    Block {
        /// Letter and variant, where it began with SOH.
        command: Option<[u8; 2]>,
        data: Bytes,
        /// It ended in EOT.
        partial: bool,
    },
}

pub(super) struct Intake {
    parity: Parity,
    limit: usize,
    buffer: BytesMut,
    overflown: bool,
    /// So many octets of a block are known not to hold its end, so that a long block that comes
    /// octet by octet is searched once.
    searched: usize,
}

impl Intake {
    pub(super) fn new(parity: Parity, limit: usize) -> Self {
        Self { parity, limit, buffer: BytesMut::new(), overflown: false, searched: 0 }
    }

    pub(super) fn feed(&mut self, octets: &[u8]) {
        let room = self.limit.saturating_sub(self.buffer.len());
        self.overflown |= octets.len() > room;
        let parity = self.parity;
        self.buffer.extend(octets.iter().take(room).map(|octet| parity.strip(*octet)));
    }

    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.overflown = false;
        self.searched = 0;
    }

    /// The next line from its last `start` on, without CR and LF.
    pub(super) fn line(&mut self, start: u8) -> Option<Bytes> {
        loop {
            let Some(end) = self.buffer.iter().position(|c| *c == b'\n') else {
                // Without its end only so much of a line is kept.
                let surplus = self.buffer.len().saturating_sub(MAX_LINE);
                self.buffer.advance(surplus);
                self.overflown = false;
                self.searched = 0;
                return None;
            };
            self.searched = 0;
            let line = self.buffer.split_to(end + 1).freeze();
            let line = line.slice(..end);
            let line = line.strip_suffix(b"\r").map_or_else(|| line.clone(), |l| line.slice_ref(l));
            if let Some(at) = line.iter().rposition(|c| *c == start) {
                return Some(line.slice(at..));
            }
        }
    }

    /// Whether a NAK came; what stood before it is dropped.
    pub(super) fn nak(&mut self) -> bool {
        let at = self.buffer.iter().position(|c| *c == NAK);
        self.buffer.advance(at.map_or(0, |at| at + 1));
        self.searched = 0;
        at.is_some()
    }

    /// The next single character, break, or block.
    pub(super) fn message(&mut self) -> Option<Message> {
        let starts = [ACK, NAK, SOH, STX];
        let junk = self.buffer.iter().position(|c| starts.contains(c)).unwrap_or(self.buffer.len());
        self.buffer.advance(junk);
        if junk > 0 {
            self.searched = 0;
        }
        match *self.buffer.first()? {
            ACK => {
                self.buffer.advance(1);
                Some(Message::Ack)
            }
            NAK => {
                self.buffer.advance(1);
                Some(Message::Nak)
            }
            _ => self.block(),
        }
    }

    fn block(&mut self) -> Option<Message> {
        let fresh = self.buffer.get(self.searched..).unwrap_or_default();
        let end = fresh.iter().position(|c| *c == ETX || *c == EOT);
        let end = end.map(|end| end + self.searched);
        self.searched = end.unwrap_or(self.buffer.len());
        let Some(end) = end.filter(|end| end + 1 < self.buffer.len()) else {
            if self.overflown {
                self.clear();
                return Some(Message::Corrupt);
            }
            return None;
        };
        self.searched = 0;
        let block = self.buffer.split_to(end + 2).freeze();
        let body = block.slice(1..);
        if block_check(&body) != 0 {
            return Some(Message::Corrupt);
        }
        let partial = block.get(end) == Some(&EOT);
        let content = block.slice(1..end);
        let (command, data) = match (block.first(), content.split_first_chunk::<2>()) {
            (Some(&STX), _) => (None, content),
            (_, Some((command, rest))) => {
                let rest = rest.strip_prefix(&[STX]).unwrap_or(rest);
                (Some(*command), content.slice_ref(rest))
            }
            (_, None) => return Some(Message::Corrupt),
        };
        Some(Message::Block { command, data, partial })
    }

    /// The next telegram of mode D: the identification's line and the data behind it, with STX
    /// and check character or without both. None while the end is missing; `Err` for one that
    /// does not verify.
    pub(super) fn telegram(&mut self) -> Option<Result<(Bytes, Bytes), ()>> {
        let start = self.buffer.iter().position(|c| *c == b'/').unwrap_or(self.buffer.len());
        self.buffer.advance(start);
        let overflown = std::mem::take(&mut self.overflown);
        let head = self.buffer.iter().position(|c| *c == b'\n');
        let Some(head) = head else {
            if self.buffer.len() > MAX_LINE {
                self.buffer.advance(1);
            }
            return None;
        };
        let rest = self.buffer.get(head + 1..).unwrap_or_default();
        let framed = rest.first() == Some(&STX);
        let end = if framed {
            rest.iter().position(|c| *c == ETX).map(|end| end + 2)
        } else {
            let mark = rest.windows(2).position(|pair| pair == b"\n!");
            let mark = mark.map(|at| at + 1);
            mark.and_then(|at| rest.get(at..)?.iter().position(|c| *c == b'\n').map(|n| at + n + 1))
        };
        let Some(end) = end.filter(|end| *end <= rest.len()) else {
            if overflown {
                self.clear();
                return Some(Err(()));
            }
            return None;
        };
        let telegram = self.buffer.split_to(head + 1 + end).freeze();
        let line = telegram.slice(..head);
        let line = line.strip_suffix(b"\r").map_or_else(|| line.clone(), |l| line.slice_ref(l));
        let body = telegram.slice(head + 1..);
        if framed {
            if block_check(body.get(1..).unwrap_or_default()) != 0 {
                return Some(Err(()));
            }
            return Some(Ok((line, body.slice(1..body.len() - 2))));
        }
        if !p1_check_holds(&telegram) {
            return Some(Err(()));
        }
        Some(Ok((line, body)))
    }
}

/// Whether the four hexadecimal digits behind the last `!` are the CRC-16/ARC of what stands up
/// to it (DSMR P1, version 4 on). Without digits there is nothing to check.
fn p1_check_holds(telegram: &[u8]) -> bool {
    let Some(mark) = telegram.iter().rposition(|c| *c == b'!') else { return true };
    let (body, digits) = telegram.split_at(mark + 1);
    let Some(digits) = digits.get(..4) else { return true };
    let digits = std::str::from_utf8(digits).ok();
    let Some(expect) = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()) else {
        return true;
    };
    let crc = body.iter().fold(0_u16, |crc, octet| {
        (0..8).fold(crc ^ u16::from(*octet), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xa001 } else { crc >> 1 }
        })
    });
    crc == expect
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Intake, Message};
    use crate::iec62056_21::check::Parity;

    fn intake(octets: &[u8]) -> Intake {
        let mut intake = Intake::new(Parity::Port, 1000);
        intake.feed(octets);
        intake
    }

    #[test]
    fn lines_begin_at_their_last_start() {
        let mut intake = intake(b"\x00/gar/ABC5x\r\nrest\r\n/?!\r\n/half");
        assert_eq!(intake.line(b'/').as_deref(), Some(&b"/ABC5x"[..]));
        assert_eq!(intake.line(b'/').as_deref(), Some(&b"/?!"[..]));
        assert_eq!(intake.line(b'/'), None);
        intake.feed(b" more\n");
        assert_eq!(intake.line(b'/').as_deref(), Some(&b"/half more"[..]));
    }

    #[test]
    fn messages_are_told_apart() {
        // The right check of (ER01) is 14.
        let mut intake = intake(b"junk\x06\x15\x01B0\x03q\x02(ER01)\x03#\x02x\x03\x00\x01R1\x02");
        assert_eq!(intake.message(), Some(Message::Ack));
        assert_eq!(intake.message(), Some(Message::Nak));
        let block = |command, data: &'static [u8]| {
            Some(Message::Block { command, data: Bytes::from_static(data), partial: false })
        };
        assert_eq!(intake.message(), block(Some(*b"B0"), b""));
        assert_eq!(intake.message(), Some(Message::Corrupt));
        assert_eq!(intake.message(), Some(Message::Corrupt));
        assert_eq!(intake.message(), None);
        intake.feed(b"1.8.0()\x03Z");
        assert_eq!(intake.message(), block(Some(*b"R1"), b"1.8.0()"));
    }

    #[test]
    fn a_block_may_come_octet_by_octet() {
        let mut intake = intake(b"\x06");
        assert_eq!(intake.message(), Some(Message::Ack));
        for _ in 0..2 {
            let stream = b"..\x01R1\x021.8.0()\x03Z";
            let (last, first) = stream.split_last().unwrap();
            for octet in first {
                intake.feed(&[*octet]);
                assert_eq!(intake.message(), None);
            }
            intake.feed(&[*last]);
            assert!(matches!(intake.message(), Some(Message::Block { .. })));
        }
    }

    #[test]
    fn too_many_characters_are_not_held() {
        let mut intake = intake(&[&b"\x02"[..], &[b'x'; 5000]].concat());
        assert_eq!(intake.buffer.len(), 1000);
        assert_eq!(intake.message(), Some(Message::Corrupt));
        assert_eq!(intake.buffer.len(), 0);
        intake.feed(&[b'x'; 5000]);
        assert_eq!(intake.line(b'/'), None);
        assert!(intake.buffer.len() <= 96);
    }

    #[test]
    fn telegrams_with_and_without_check() {
        // The check of the second was reckoned by another program.
        let telegram = b"/ABC5x\r\n\r\n1-0:1.8.1(1*kWh)\r\n!\r\n";
        let mut intake = intake(telegram);
        let (line, body) = intake.telegram().unwrap().unwrap();
        assert_eq!(line, &b"/ABC5x"[..]);
        assert_eq!(body, &b"\r\n1-0:1.8.1(1*kWh)\r\n!\r\n"[..]);
        intake.feed(b"/ABC5x\r\n\r\n1-0:1.8.1(1*kWh)\r\n!0000\r\n");
        assert_eq!(intake.telegram(), Some(Err(())));
        intake.feed(b"/ABC5x\r\n\r\n1-0:1.8.1(1*kWh)\r\n!59E6\r\n");
        assert!(intake.telegram().unwrap().is_ok());
        assert!(super::p1_check_holds(b"no mark"));
        assert!(super::p1_check_holds(b"123456789!") && !super::p1_check_holds(b"x!BB3D"));
    }
}
