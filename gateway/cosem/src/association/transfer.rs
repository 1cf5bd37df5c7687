//! Pieces of long values: cutting what is sent, joining what comes. It knows no services.
//!
//! Invariant: block numbers start at 1 and rise by 1; what is joined never exceeds the limit.

use bytes::Bytes;

use crate::apdu::set::Block;
use crate::error::Error;

/// A long value on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    octets: Bytes,
    number: u32,
}

impl Outgoing {
    pub(super) const fn new(octets: Bytes) -> Self {
        Self { octets, number: 0 }
    }

    /// Number of the last block given out.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// Whether all octets were given out.
    pub(super) const fn is_finished(&self) -> bool {
        self.octets.is_empty()
    }

    /// The next block of at most `size` octets; the last one when nothing is left after it.
    pub(super) fn next(&mut self, size: usize) -> Block {
        let octets = self.octets.split_to(size.min(self.octets.len()));
        self.number = self.number.saturating_add(1);
        Block { last: self.octets.is_empty(), number: self.number, octets }
    }
}

/// A long value on its way in.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    octets: Vec<u8>,
    number: u32,
}

impl Incoming {
    pub(super) const fn new() -> Self {
        Self { octets: Vec::new(), number: 0 }
    }

    /// Takes the next block.
    pub(super) fn take(&mut self, number: u32, octets: &[u8], limit: usize) -> Result<(), Error> {
        if number != self.number.saturating_add(1) {
            return Err(Error::WrongState("a block out of order"));
        }
        let length = self.octets.len() + octets.len();
        if length > limit {
            return Err(Error::TooLong { length, limit });
        }
        self.octets.extend_from_slice(octets);
        self.number = number;
        Ok(())
    }

    pub(super) fn into_octets(self) -> Vec<u8> {
        self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::{Incoming, Outgoing};

    #[test]
    fn what_is_cut_is_joined_again() {
        for size in [1, 2, 3, 7, 100] {
            let value: Vec<u8> = (0..21).collect();
            let (mut out, mut into) = (Outgoing::new(value.clone().into()), Incoming::default());
            loop {
                let block = out.next(size);
                into.take(block.number, &block.octets, 21).unwrap();
                if block.last {
                    break;
                }
            }
            assert_eq!(into.into_octets(), value);
        }
        let mut into = Incoming::default();
        assert!(into.take(2, b"x", 10).is_err());
        assert!(into.take(1, b"12345678901", 10).is_err());
    }
}
