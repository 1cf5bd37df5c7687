//! Addresses of HDLC stations (IEC 62056-46 clause 6.4.2.2): seven bits an octet, the low bit
//! marks the last one. A client has one octet, a server one, two or four: the upper half is the
//! logical device, the lower half the physical one.
//!
//! Invariant: an address keeps the length that it was read with, so it encodes to the same
//! octets.

use crate::axdr::Reader;
use crate::error::Error;

/// Largest half of an address in one octet.
const MAX_SHORT: u16 = 0x7f;

/// Largest half of an address in two octets.
const MAX_LONG: u16 = 0x3fff;

/// The address of a station.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address(Form);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Form {
    One(u16),
    Two(u16, u16),
    Four(u16, u16),
}

impl Address {
    /// One octet: a client, or a server without a physical part; `logical` is at most 127.
    ///
    /// # Errors
    /// `TooLong` when the number does not fit.
    pub fn one(logical: u8) -> Result<Self, Error> {
        fits(u16::from(logical), MAX_SHORT).map(|logical| Self(Form::One(logical)))
    }

    /// Two octets; both parts are at most 127.
    ///
    /// # Errors
    /// `TooLong` when a number does not fit.
    pub fn two(logical: u8, physical: u8) -> Result<Self, Error> {
        let logical = fits(u16::from(logical), MAX_SHORT)?;
        Ok(Self(Form::Two(logical, fits(u16::from(physical), MAX_SHORT)?)))
    }

    /// Four octets; both parts are at most 16,383.
    ///
    /// # Errors
    /// `TooLong` when a number does not fit.
    pub fn four(logical: u16, physical: u16) -> Result<Self, Error> {
        Ok(Self(Form::Four(fits(logical, MAX_LONG)?, fits(physical, MAX_LONG)?)))
    }

    /// The upper half: client SAP or logical device.
    #[must_use]
    pub const fn logical(self) -> u16 {
        match self.0 {
            Form::One(logical) | Form::Two(logical, _) | Form::Four(logical, _) => logical,
        }
    }

    /// The lower half, where there is one: the physical device on the line.
    #[must_use]
    pub const fn physical(self) -> Option<u16> {
        match self.0 {
            Form::One(_) => None,
            Form::Two(_, physical) | Form::Four(_, physical) => Some(physical),
        }
    }

    /// Octets on the wire: 1, 2 or 4.
    #[must_use]
    pub const fn octets(self) -> usize {
        match self.0 {
            Form::One(_) => 1,
            Form::Two(..) => 2,
            Form::Four(..) => 4,
        }
    }

    /// Whether both name the same station. Meters answer from a shorter form than they were
    /// called by, so a physical part is compared only where both have one.
    #[must_use]
    pub fn same_station(self, other: Self) -> bool {
        let physical = match (self.physical(), other.physical()) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        physical && self.logical() == other.logical()
    }

    /// Whether every station is meant: all bits of the upper half set.
    #[must_use]
    pub const fn is_all_stations(self) -> bool {
        match self.0 {
            Form::One(logical) | Form::Two(logical, _) => logical == MAX_SHORT,
            Form::Four(logical, _) => logical == MAX_LONG,
        }
    }

    /// Reads an address.
    ///
    /// # Errors
    /// `Malformed` when it does not end after 1, 2 or 4 octets.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let at = reader.position();
        let mut parts = [0_u16; 4];
        for (index, part) in parts.iter_mut().enumerate() {
            let octet = reader.u8()?;
            *part = u16::from(octet >> 1);
            if octet & 1 == 1 {
                let [first, second, third, fourth] = parts;
                return match index {
                    0 => Ok(Self(Form::One(first))),
                    1 => Ok(Self(Form::Two(first, second))),
                    3 => Ok(Self(Form::Four(first << 7 | second, third << 7 | fourth))),
                    _ => Err(Error::malformed(at, "an address of three octets")),
                };
            }
        }
        Err(Error::malformed(at, "an address of more than four octets"))
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        let pair = |half: u16| [septet(half >> 7) << 1, septet(half) << 1];
        let start = out.len();
        match self.0 {
            Form::One(logical) => out.push(septet(logical) << 1),
            Form::Two(logical, physical) => {
                out.extend_from_slice(&[septet(logical) << 1, septet(physical) << 1]);
            }
            Form::Four(logical, physical) => {
                out.extend_from_slice(&pair(logical));
                out.extend_from_slice(&pair(physical));
            }
        }
        if let Some(last) = out.get_mut(start..).and_then(<[u8]>::last_mut) {
            *last |= 1;
        }
    }
}

/// The low seven bits.
const fn septet(half: u16) -> u8 {
    let [low, _] = half.to_le_bytes();
    low & 0x7f
}

fn fits(value: u16, limit: u16) -> Result<u16, Error> {
    if value > limit {
        return Err(Error::TooLong { length: usize::from(value), limit: usize::from(limit) });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::Address;
    use crate::axdr::Reader;

    fn check(octets: &[u8], expect: Address) {
        let mut reader = Reader::new(octets);
        assert_eq!(Address::read(&mut reader).unwrap(), expect);
        let mut out = Vec::new();
        expect.put(&mut out);
        assert_eq!(out, octets);
        assert_eq!(expect.octets(), octets.len());
    }

    #[test]
    fn every_length_reads_and_writes() {
        check(&[0x21], Address::one(16).unwrap());
        check(&[0x01], Address::one(0).unwrap());
        check(&[0xff], Address::one(127).unwrap());
        check(&[0x08, 0x83], Address::two(4, 65).unwrap());
        check(&[0x02, 0x01], Address::two(1, 0).unwrap());
        check(&[0x00, 0x02, 0x00, 0x23], Address::four(1, 17).unwrap());
        check(&[0xfe, 0xfe, 0xfe, 0xff], Address::four(0x3fff, 0x3fff).unwrap());
    }

    #[test]
    fn other_lengths_and_numbers_are_refused() {
        for octets in [&[][..], &[0, 0, 1], &[0, 0, 0, 0, 1], &[0, 2]] {
            assert!(Address::read(&mut Reader::new(octets)).is_err(), "{octets:?}");
        }
        assert!(Address::one(128).is_err());
        assert!(Address::two(1, 128).is_err());
        assert!(Address::four(1, 0x4000).is_err());
    }

    #[test]
    fn stations_are_compared_by_what_both_know() {
        let long = Address::four(1, 17).unwrap();
        assert!(long.same_station(Address::one(1).unwrap()));
        assert!(long.same_station(Address::two(1, 17).unwrap()));
        assert!(!long.same_station(Address::two(1, 18).unwrap()));
        assert!(!long.same_station(Address::one(2).unwrap()));
        assert!(Address::one(127).unwrap().is_all_stations());
        assert!(!long.is_all_stations());
    }
}
