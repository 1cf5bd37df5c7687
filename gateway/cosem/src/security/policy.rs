//! Security policies (attribute 2 of the security setup, IEC 62056-6-2 clause 4.4.7): what
//! requests and responses must be protected with. It judges; protecting is `seal`'s work.
//!
//! Invariant: what is protected more than demanded is taken, what is protected less is refused.

use super::suite::{SecurityControl, Suite};
use crate::error::Error;

/// What an APDU must be, or is, protected with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Required {
    /// Has an authentication tag.
    pub authenticated: bool,
    /// Is encrypted.
    pub encrypted: bool,
    /// Has a digital signature.
    pub signed: bool,
}

impl Required {
    /// Nothing.
    pub const NONE: Self = Self { authenticated: false, encrypted: false, signed: false };
    /// Authenticated and encrypted.
    pub const BOTH: Self = Self { authenticated: true, encrypted: true, signed: false };

    /// What a security control says.
    #[must_use]
    pub const fn of(control: SecurityControl) -> Self {
        Self {
            authenticated: control.is_authenticated(),
            encrypted: control.is_encrypted(),
            signed: false,
        }
    }

    /// All that either demands.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            authenticated: self.authenticated || other.authenticated,
            encrypted: self.encrypted || other.encrypted,
            signed: self.signed || other.signed,
        }
    }

    /// Whether an APDU with the protection `found` may be taken.
    ///
    /// # Errors
    /// `Protection` naming what is missing.
    pub const fn check(self, found: Self) -> Result<(), Error> {
        if self.authenticated && !found.authenticated {
            return Err(Error::Protection("not authenticated"));
        }
        if self.encrypted && !found.encrypted {
            return Err(Error::Protection("not encrypted"));
        }
        if self.signed && !found.signed {
            return Err(Error::Protection("not signed"));
        }
        Ok(())
    }

    /// Whether ciphering is needed.
    #[must_use]
    pub const fn is_ciphered(self) -> bool {
        self.authenticated || self.encrypted
    }

    /// The security control that meets it.
    #[must_use]
    pub const fn control(self, suite: Suite) -> SecurityControl {
        let authenticated = if self.authenticated { 0x10 } else { 0 };
        let encrypted = if self.encrypted { 0x20 } else { 0 };
        SecurityControl(authenticated | encrypted).in_suite(suite)
    }
}

/// A security policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Of what the client sends.
    pub requests: Required,
    /// Of what the server sends.
    pub responses: Required,
}

impl Policy {
    /// Nothing is demanded.
    pub const NONE: Self = Self { requests: Required::NONE, responses: Required::NONE };
    /// Everything authenticated and encrypted: 3 in version 0, 6C in version 1.
    pub const BOTH: Self = Self { requests: Required::BOTH, responses: Required::BOTH };

    /// From version 0 of the security setup: 0 nothing, 1 authenticated, 2 encrypted, 3 both,
    /// each for requests and responses alike.
    ///
    /// # Errors
    /// `Protection` for another number.
    pub const fn from_v0(number: u8) -> Result<Self, Error> {
        if number > 3 {
            return Err(Error::Protection("an unknown security policy"));
        }
        let required =
            Required { authenticated: number & 1 != 0, encrypted: number & 2 != 0, signed: false };
        Ok(Self { requests: required, responses: required })
    }

    /// As version 0 has it, when version 0 can say it.
    #[must_use]
    pub fn to_v0(self) -> Option<u8> {
        (0..=3).find(|number| Self::from_v0(*number) == Ok(self))
    }

    /// From version 1 of the security setup: bits 04, 08, 10 for requests (authenticated,
    /// encrypted, signed), 20, 40, 80 for responses.
    ///
    /// # Errors
    /// `Protection` when one of the two reserved bits is set.
    pub const fn from_v1(bits: u8) -> Result<Self, Error> {
        if bits & 0x03 != 0 {
            return Err(Error::Protection("an unknown security policy"));
        }
        Ok(Self {
            requests: Required::from_bits(bits >> 2),
            responses: Required::from_bits(bits >> 5),
        })
    }

    /// As version 1 has it.
    #[must_use]
    pub const fn to_v1(self) -> u8 {
        (self.requests.bits() << 2) | (self.responses.bits() << 5)
    }
}

impl Required {
    const fn from_bits(bits: u8) -> Self {
        Self { authenticated: bits & 1 != 0, encrypted: bits & 2 != 0, signed: bits & 4 != 0 }
    }

    const fn bits(self) -> u8 {
        self.authenticated as u8 | (self.encrypted as u8) << 1 | (self.signed as u8) << 2
    }
}

#[cfg(test)]
mod tests {
    use super::{Policy, Required};
    use crate::error::Error;

    #[test]
    fn both_versions_are_read_and_written() {
        for number in 0..=3 {
            assert_eq!(Policy::from_v0(number).unwrap().to_v0(), Some(number));
        }
        assert!(Policy::from_v0(4).is_err());
        for bits in (0..=255u8).filter(|bits| bits & 3 == 0) {
            assert_eq!(Policy::from_v1(bits).unwrap().to_v1(), bits);
        }
        assert!(Policy::from_v1(1).is_err() && Policy::from_v1(2).is_err());
        assert_eq!((Policy::BOTH.to_v0(), Policy::BOTH.to_v1()), (Some(3), 0x6c));
        assert_eq!(Policy::from_v1(0x10).unwrap().to_v0(), None);
    }

    #[test]
    fn less_than_demanded_is_refused_and_more_is_taken() {
        let all: Vec<Required> = (0..8).map(Required::from_bits).collect();
        for (demanded, found) in all.iter().flat_map(|d| all.iter().map(move |f| (*d, *f))) {
            let missing = demanded.bits() & !found.bits();
            let expect = match missing.trailing_zeros() {
                0 => Err(Error::Protection("not authenticated")),
                1 => Err(Error::Protection("not encrypted")),
                2 => Err(Error::Protection("not signed")),
                _ => Ok(()),
            };
            assert_eq!(demanded.check(found), expect, "{demanded:?} {found:?}");
        }
    }
}
