//! Integers in few octets: varints, and columns packed to the width of their spread.
//!
//! Invariant: the reader never goes behind its input, never panics, and allocates only for counts
//! that its caller has bounded.

use crate::error::Malformed;

const CUT_SHORT: Malformed = Malformed("octets that end too soon");

/// Writes.
#[derive(Default)]
pub(super) struct Writer {
    octets: Vec<u8>,
}

impl Writer {
    pub(super) fn into_octets(self) -> Vec<u8> {
        self.octets
    }

    pub(super) fn octet(&mut self, octet: u8) {
        self.octets.push(octet);
    }

    /// LEB128: seven bits an octet, lowest first.
    pub(super) fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.octets.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.octets.push(value as u8);
    }

    /// A varint whose lowest bit is the sign.
    pub(super) fn signed(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// One bit each, first bit lowest, filled up with zeros.
    pub(super) fn bits(&mut self, bits: impl Iterator<Item = bool>) {
        let mut filled = 8;
        for bit in bits {
            if filled == 8 {
                self.octets.push(0);
                filled = 0;
            }
            if let Some(last) = self.octets.last_mut() {
                *last |= u8::from(bit) << filled;
            }
            filled += 1;
        }
    }

    /// A column: nothing when it is empty; else its least value, the width of its spread in bits,
    /// and the distances from the least at that width.
    pub(super) fn packed(&mut self, column: &[i64]) {
        let Some(least) = column.iter().min().copied() else { return };
        let spread = column.iter().fold(0, |spread, value| spread.max(distance(*value, least)));
        let width = u64::BITS - spread.leading_zeros();
        self.signed(least);
        self.octets.push(width as u8);
        let (mut held, mut filled) = (0_u128, 0);
        for value in column {
            held |= u128::from(distance(*value, least)) << filled;
            filled += width;
            while filled >= 8 {
                self.octets.push(held as u8);
                held >>= 8;
                filled -= 8;
            }
        }
        if filled > 0 {
            self.octets.push(held as u8);
        }
    }
}

/// How far a value is above the least. Exact for every pair, because it wraps as it is undone.
fn distance(value: i64, least: i64) -> u64 {
    value.wrapping_sub(least) as u64
}

/// Reads what [`Writer`] wrote.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Reader<'a> {
        Reader { rest: octets }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn octet(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.rest.split_first().ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(first)
    }

    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let octet = self.octet()?;
            let bits = u64::from(octet & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("a number of more than 64 bits"))
    }

    pub(super) fn signed(&mut self) -> Result<i64, Malformed> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(super) fn bits(&mut self, count: usize) -> Result<Vec<bool>, Malformed> {
        let octets = self.take(count.div_ceil(8))?;
        Ok((0..count).map(|bit| (octets[bit / 8] >> (bit % 8)) & 1 == 1).collect())
    }

    /// A column of `count` values, which the caller has bounded.
    pub(super) fn packed(&mut self, count: usize) -> Result<Vec<i64>, Malformed> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let least = self.signed()?;
        let width = u32::from(self.octet()?);
        if width > u64::BITS {
            return Err(Malformed("a column wider than 64 bits"));
        }
        let octets = self.take((count * width as usize).div_ceil(8))?;
        let mask = if width == 0 { 0 } else { u64::MAX >> (u64::BITS - width) };
        let (mut held, mut filled) = (0_u128, 0);
        let mut rest = octets.iter();
        let mut column = Vec::with_capacity(count);
        for _ in 0..count {
            while filled < width {
                held |= u128::from(*rest.next().ok_or(CUT_SHORT)?) << filled;
                filled += 8;
            }
            column.push(least.wrapping_add((held as u64 & mask) as i64));
            held >>= width;
            filled -= width;
        }
        Ok(column)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let numbers = [0, 1, -1, 63, -64, 64, i64::MAX, i64::MIN];
        let mut writer = Writer::default();
        numbers.iter().for_each(|number| writer.signed(*number));
        writer.packed(&numbers);
        writer.packed(&[]);
        writer.packed(&[7; 1000]);
        let before = writer.octets.len();
        writer.bits([true, false, true].into_iter());
        assert_eq!(writer.octets.len(), before + 1);
        let octets = writer.into_octets();
        let mut reader = Reader::new(&octets);
        for number in numbers {
            assert_eq!(reader.signed(), Ok(number));
        }
        assert_eq!(reader.packed(numbers.len()), Ok(numbers.to_vec()));
        assert_eq!(reader.packed(0), Ok(vec![]));
        assert_eq!(reader.packed(1000), Ok(vec![7; 1000]));
        assert_eq!(reader.bits(3), Ok(vec![true, false, true]));
        assert!(reader.is_empty());
    }

    #[test]
    fn what_is_cut_short_or_too_wide_is_refused() {
        assert_eq!(Reader::new(&[0x80]).varint(), Err(CUT_SHORT));
        assert!(Reader::new(&[0xff; 10]).varint().is_err());
        assert!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2])
                .varint()
                .is_err()
        );
        assert!(Reader::new(&[0, 65, 0, 0, 0, 0, 0, 0, 0, 0, 0]).packed(1).is_err());
        assert_eq!(Reader::new(&[0, 8]).packed(1), Err(CUT_SHORT));
        assert_eq!(Reader::new(&[1]).bits(9), Err(CUT_SHORT));
    }
}
