//! One frame of type 3 (IEC 62056-46 clauses 6.4.2 and 6.4.3): octets between two flags to a
//! `Frame` and back. It does not search for flags (that is `deframer`) and keeps no sequence
//! numbers (that is `link`).
//!
//! Invariants: what decodes encodes to the same octets, but for a header check sequence before an
//! empty information field, which is accepted and not sent.

use bytes::Bytes;

use super::{Address, FLAG, fcs};
use crate::axdr::Reader;
use crate::error::Error;

/// Longest frame between its flags: the format field has 11 bits for it.
pub const MAX_FRAME_OCTETS: usize = 0x7ff;

/// Shortest frame: format, two addresses of one octet, control, check sequence.
const MIN_FRAME_OCTETS: usize = 7;

/// The bit of poll (from the client) and final (from the server).
const POLL_FINAL: u8 = 0x10;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// I: a piece of an APDU, numbered.
    Information {
        /// N(S), its own number, 0..=7.
        send: u8,
        /// N(R), the number expected next, 0..=7.
        receive: u8,
    },
    /// RR: nothing to send, ready.
    ReceiveReady {
        /// N(R), the number expected next, 0..=7.
        receive: u8,
    },
    /// RNR: nothing to send, not ready.
    ReceiveNotReady {
        /// N(R), the number expected next, 0..=7.
        receive: u8,
    },
    /// SNRM: the client opens the link.
    SetNormalResponseMode,
    /// UA: yes to SNRM or DISC.
    Acknowledgement,
    /// DISC: the client closes the link.
    Disconnect,
    /// DM: there is no link.
    DisconnectedMode,
    /// FRMR: the peer refuses a frame for good.
    FrameReject,
    /// UI: a piece of an APDU without number or answer.
    Unnumbered,
}

/// The control field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// What the frame is for.
    pub kind: Kind,
    /// Poll or final: the turn passes to the other side.
    pub poll_final: bool,
}

impl Control {
    /// From the octet.
    ///
    /// # Errors
    /// `Malformed` for a frame that DLMS does not use (REJ, SREJ, other unnumbered ones).
    pub fn from_octet(octet: u8) -> Result<Self, Error> {
        let receive = octet >> 5;
        let kind = match octet & !POLL_FINAL {
            base if base & 1 == 0 => Kind::Information { send: base >> 1 & 7, receive },
            base if base & 0x0f == 0x01 => Kind::ReceiveReady { receive },
            base if base & 0x0f == 0x05 => Kind::ReceiveNotReady { receive },
            0x83 => Kind::SetNormalResponseMode,
            0x63 => Kind::Acknowledgement,
            0x43 => Kind::Disconnect,
            0x0f => Kind::DisconnectedMode,
            0x87 => Kind::FrameReject,
            0x03 => Kind::Unnumbered,
            _ => return Err(Error::malformed(0, "a control field that DLMS does not use")),
        };
        Ok(Self { kind, poll_final: octet & POLL_FINAL != 0 })
    }

    /// As the octet. Sequence numbers are taken modulo 8.
    #[must_use]
    pub const fn octet(self) -> u8 {
        let base = match self.kind {
            Kind::Information { send, receive } => (receive & 7) << 5 | (send & 7) << 1,
            Kind::ReceiveReady { receive } => (receive & 7) << 5 | 0x01,
            Kind::ReceiveNotReady { receive } => (receive & 7) << 5 | 0x05,
            Kind::SetNormalResponseMode => 0x83,
            Kind::Acknowledgement => 0x63,
            Kind::Disconnect => 0x43,
            Kind::DisconnectedMode => 0x0f,
            Kind::FrameReject => 0x87,
            Kind::Unnumbered => 0x03,
        };
        if self.poll_final { base | POLL_FINAL } else { base }
    }
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// More of the same APDU follows.
    pub segmented: bool,
    /// To whom.
    pub destination: Address,
    /// From whom.
    pub source: Address,
    /// What for.
    pub control: Control,
    /// The content, LLC octets included; empty for most kinds.
    pub information: Bytes,
}

impl Frame {
    /// From the octets between the flags.
    ///
    /// # Errors
    /// `Malformed` when the format is not type 3, the length is not the number of octets, a check
    /// sequence does not verify, or an address or the control field is none of DLMS.
    pub fn decode(octets: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(octets);
        let format = reader.u16()?;
        if announced(format)? != octets.len() {
            return Err(Error::malformed(0, "the frame length is not the number of octets"));
        }
        let destination = Address::read(&mut reader)?;
        let source = Address::read(&mut reader)?;
        let at = reader.position();
        let control = reader.u8()?;
        let header_octets = reader.position();
        if !fcs::verifies(octets) {
            return Err(Error::malformed(octets.len() - 2, "the frame check does not verify"));
        }
        let information = match reader.remaining() {
            0 | 1 => return Err(Error::malformed(at, "the check sequence is missing")),
            2 => &[],
            3 => return Err(Error::malformed(at, "the header check is missing")),
            rest => {
                let header = octets.get(..header_octets + 2).unwrap_or_default();
                if !fcs::verifies(header) {
                    let what = "the header check does not verify";
                    return Err(Error::malformed(header_octets, what));
                }
                reader.take(2)?;
                reader.take(rest - 4)?
            }
        };
        let control = Control::from_octet(control)
            .map_err(|_| Error::malformed(at, "a control field that DLMS does not use"))?;
        Ok(Self {
            segmented: format & SEGMENTED != 0,
            destination,
            source,
            control,
            information: Bytes::copy_from_slice(information),
        })
    }

    /// With a flag on both ends, as it is sent.
    ///
    /// # Errors
    /// `TooLong` when the frame would have more than 2,047 octets between its flags.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let header = 2 + self.destination.octets() + self.source.octets() + 1 + 2;
        let body = if self.information.is_empty() { 0 } else { self.information.len() + 2 };
        let length = header + body;
        let too_long = Error::TooLong { length, limit: MAX_FRAME_OCTETS };
        let field = u16::try_from(length).ok().filter(|field| *field & !LENGTH == 0);
        let mut format = field.ok_or(too_long)? | TYPE_3;
        if self.segmented {
            format |= SEGMENTED;
        }
        let mut out = Vec::with_capacity(length + 2);
        out.push(FLAG);
        out.extend_from_slice(&format.to_be_bytes());
        self.destination.put(&mut out);
        self.source.put(&mut out);
        out.push(self.control.octet());
        fcs::append(&mut out, 1);
        if !self.information.is_empty() {
            out.extend_from_slice(&self.information);
            fcs::append(&mut out, 1);
        }
        out.push(FLAG);
        Ok(out)
    }
}

const TYPE_3: u16 = 0xa000;
const SEGMENTED: u16 = 0x0800;
const LENGTH: u16 = 0x07ff;

/// The frame length that a format field announces, octets between the flags.
///
/// # Errors
/// `Malformed` when it is not of type 3 or shorter than any frame.
pub(super) fn announced(format: u16) -> Result<usize, Error> {
    if format & 0xf000 != TYPE_3 {
        return Err(Error::malformed(0, "not a frame of type 3"));
    }
    let length = usize::from(format & LENGTH);
    if length < MIN_FRAME_OCTETS {
        return Err(Error::malformed(0, "shorter than any frame"));
    }
    Ok(length)
}

/// Whether the octets that are there can still become a frame of `length` octets: the addresses
/// end, and the header check, once it is there, verifies. So a false length costs no more than a
/// header of waiting.
pub(super) fn plausible(octets: &[u8], length: usize) -> bool {
    let mut reader = Reader::new(octets);
    if reader.take(2).is_err() {
        return true;
    }
    for _ in 0..2 {
        let there = reader.remaining();
        if Address::read(&mut reader).is_err() {
            return there < 4;
        }
    }
    let header = reader.position() + 1 + 2;
    if length < header {
        return false;
    }
    octets.get(..header).is_none_or(fcs::verifies)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Control, Frame, Kind, plausible};
    use crate::hdlc::Address;

    #[test]
    fn every_control_octet_reads_back() {
        let mut known = 0;
        for octet in 0..=u8::MAX {
            if let Ok(control) = Control::from_octet(octet) {
                assert_eq!(control.octet(), octet);
                known += 1;
            }
        }
        // 128 I, 16 RR, 16 RNR, and six unnumbered ones with and without the bit.
        assert_eq!(known, 128 + 16 + 16 + 12);
        let snrm = Control { kind: Kind::SetNormalResponseMode, poll_final: true };
        assert_eq!(snrm.octet(), 0x93);
    }

    fn frame(information: usize) -> Frame {
        Frame {
            segmented: true,
            destination: Address::four(1, 17).unwrap(),
            source: Address::one(16).unwrap(),
            control: Control { kind: Kind::Information { send: 3, receive: 5 }, poll_final: true },
            information: Bytes::from(vec![0x7e; information]),
        }
    }

    #[test]
    fn lengths_up_to_the_limit_read_back() {
        for length in [0, 1, 2, 127, 128, 2030, 2035] {
            let octets = frame(length).encode().unwrap();
            assert_eq!(Frame::decode(&octets[1..octets.len() - 1]).unwrap(), frame(length));
        }
        assert!(frame(2036).encode().is_err());
    }

    #[test]
    fn any_changed_bit_and_any_cut_are_refused() {
        let octets = frame(20).encode().unwrap();
        let octets = &octets[1..octets.len() - 1];
        for bit in 0..octets.len() * 8 {
            let mut changed = octets.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(&changed).is_err(), "bit {bit}");
        }
        for cut in 0..octets.len() {
            assert!(Frame::decode(&octets[..cut]).is_err(), "cut {cut}");
            assert!(plausible(&octets[..cut], octets.len()), "cut {cut}");
        }
        let mut changed = octets.to_vec();
        changed[8] ^= 1;
        assert!(!plausible(&changed[..12], changed.len()));
    }
}
