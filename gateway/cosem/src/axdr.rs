//! A-XDR primitives (IEC 61334-6): a cursor over octets and the length encoding. It knows
//! nothing of types of data or of services.
//!
//! Invariant: no read goes past the end, and no length is believed before the octets are there,
//! so a length field of 4 GiB costs nothing.

use crate::error::Error;

type Result<T> = std::result::Result<T, Error>;

/// A cursor over octets; every error carries the offset at which it happened.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    octets: &'a [u8],
    at: usize,
    base: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first octet.
    #[must_use]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { octets, at: 0, base: 0 }
    }

    /// A reader over a part whose first octet has the offset `base` in the whole.
    #[must_use]
    pub const fn with_base(octets: &'a [u8], base: usize) -> Self {
        Self { octets, at: 0, base }
    }

    /// Offset of the next octet, from the start of the whole.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.base + self.at
    }

    /// Octets that are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.octets.len() - self.at
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// The octets that are left, without taking them.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.octets.get(self.at..).unwrap_or_default()
    }

    /// The next octet, without taking it.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    /// An error at the present position.
    #[must_use]
    pub const fn malformed(&self, what: &'static str) -> Error {
        Error::malformed(self.position(), what)
    }

    /// Takes `count` octets.
    ///
    /// # Errors
    /// `Malformed` when fewer are left.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let rest = self.octets.get(self.at..).unwrap_or_default();
        let Some(taken) = rest.get(..count) else {
            return Err(self.malformed("the octets end too early"));
        };
        self.at += count;
        Ok(taken)
    }

    /// Takes `N` octets as an array.
    ///
    /// # Errors
    /// `Malformed` when fewer are left.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let rest = self.octets.get(self.at..).unwrap_or_default();
        let Some(taken) = rest.first_chunk::<N>() else {
            return Err(self.malformed("the octets end too early"));
        };
        self.at += N;
        Ok(*taken)
    }

    /// Takes one octet.
    ///
    /// # Errors
    /// `Malformed` when none is left.
    #[inline]
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// Takes a big-endian u16.
    ///
    /// # Errors
    /// `Malformed` when fewer than 2 octets are left.
    #[inline]
    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Takes a big-endian u32.
    ///
    /// # Errors
    /// `Malformed` when fewer than 4 octets are left.
    #[inline]
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Takes a length: below 80 one octet, else 80 + count and that many octets (at most 4).
    ///
    /// # Errors
    /// `Malformed` for the indefinite form, for more than 4 octets, or when octets are missing.
    #[inline]
    pub fn length(&mut self) -> Result<usize> {
        let at = self.position();
        match self.u8()? {
            short @ 0..=0x7f => Ok(usize::from(short)),
            long @ 0x81..=0x84 => {
                let mut value = 0usize;
                for octet in self.take(usize::from(long & 0x0f))? {
                    value = (value << 8) | usize::from(*octet);
                }
                Ok(value)
            }
            _ => Err(Error::malformed(at, "a length field of an unknown form")),
        }
    }

    /// Takes a length and that many octets.
    ///
    /// # Errors
    /// `Malformed` when the length is malformed or goes beyond the octets.
    #[inline]
    pub fn octets(&mut self) -> Result<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    /// Takes the number of elements of a list whose elements need at least one octet each.
    ///
    /// # Errors
    /// `Malformed` when more elements are announced than octets are left.
    #[inline]
    pub fn count(&mut self) -> Result<usize> {
        let at = self.position();
        let count = self.length()?;
        if count > self.remaining() {
            return Err(Error::malformed(at, "more elements announced than octets are left"));
        }
        Ok(count)
    }

    /// Takes the presence octet of an OPTIONAL or DEFAULT component, or a BOOLEAN of a service.
    ///
    /// # Errors
    /// `Malformed` when no octet is left.
    pub fn flag(&mut self) -> Result<bool> {
        Ok(self.u8()? != 0)
    }

    /// Asserts that all octets were taken.
    ///
    /// # Errors
    /// `Malformed` when octets are left over.
    pub fn finish(&self) -> Result<()> {
        if self.is_empty() { Ok(()) } else { Err(self.malformed("octets are left over")) }
    }
}

/// Appends a length in its shortest form.
///
/// Lengths come from our own memory, so more than 4 GiB cannot occur on the wire; such a length
/// would be written modulo 2^32 and refused by the peer.
pub fn put_length(out: &mut Vec<u8>, length: usize) {
    let octets = (length as u64).to_be_bytes();
    match length {
        0..=0x7f => out.push(octets[7]),
        0x80..=0xff => out.extend_from_slice(&[0x81, octets[7]]),
        0x100..=0xffff => out.extend_from_slice(&[0x82, octets[6], octets[7]]),
        0x1_0000..=0xff_ffff => out.extend_from_slice(&[0x83, octets[5], octets[6], octets[7]]),
        _ => {
            out.push(0x84);
            out.extend_from_slice(&octets[4..]);
        }
    }
}

/// Number of octets that `put_length` writes.
#[must_use]
pub const fn length_size(length: usize) -> usize {
    match length {
        0..=0x7f => 1,
        0x80..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xff_ffff => 4,
        _ => 5,
    }
}

/// Appends a length and the octets.
pub fn put_octets(out: &mut Vec<u8>, octets: &[u8]) {
    put_length(out, octets.len());
    out.extend_from_slice(octets);
}

#[cfg(test)]
mod tests {
    use super::{Reader, length_size, put_length};

    #[test]
    fn lengths_go_both_ways() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0xff_ffff, 0x100_0000] {
            let mut out = Vec::new();
            put_length(&mut out, length);
            assert_eq!(out.len(), length_size(length));
            let mut reader = Reader::new(&out);
            assert_eq!(reader.length().unwrap(), length);
            reader.finish().unwrap();
        }
    }

    #[test]
    fn a_length_beyond_the_octets_is_refused_with_its_offset() {
        let mut reader = Reader::new(&[0x84, 0xff, 0xff, 0xff, 0xff, 0x00]);
        let error = reader.count().unwrap_err();
        assert_eq!(
            error,
            crate::Error::malformed(0, "more elements announced than octets are left")
        );
        assert!(Reader::new(&[0x80]).length().is_err());
        assert!(Reader::new(&[0x85, 0, 0, 0, 0, 0]).length().is_err());
    }
}
