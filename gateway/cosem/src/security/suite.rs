//! Security suites and the security control octet (IEC 62056-5-3 clause 5.3.4). It holds no keys.
//!
//! Invariant: a suite has one length of keys, one curve (none in suite 0) and one hash.

use std::fmt;

use super::TAG_OCTETS;
use crate::error::Error;

/// A security suite: which ciphers, curve and hash stand behind the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suite {
    /// 0: AES-GCM-128, key wrap with AES-128.
    Zero,
    /// 1: as 0, with ECDSA and ECDH over P-256 and SHA-256.
    One,
    /// 2: AES-GCM-256, key wrap with AES-256, ECDSA and ECDH over P-384, SHA-384.
    Two,
}

impl Suite {
    /// The suite with a number.
    ///
    /// # Errors
    /// `Suite` for a number that the standard does not have.
    pub const fn of(number: u8) -> Result<Self, Error> {
        match number {
            0 => Ok(Self::Zero),
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            other => Err(Error::Suite(other)),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Zero => 0,
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// Octets of its symmetric keys.
    #[must_use]
    pub const fn key_octets(self) -> usize {
        match self {
            Self::Zero | Self::One => 16,
            Self::Two => 32,
        }
    }

    /// Octets of a coordinate and of a private key on its curve; 0 when it has no curve.
    #[must_use]
    pub const fn curve_octets(self) -> usize {
        match self {
            Self::Zero => 0,
            Self::One => 32,
            Self::Two => 48,
        }
    }
}

/// Security control: the low 4 bits are the suite.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecurityControl(pub u8);

impl SecurityControl {
    /// Suite 0 without protection.
    pub const NONE: Self = Self(0x00);
    /// Suite 0, authenticated.
    pub const AUTHENTICATED: Self = Self(0x10);
    /// Suite 0, encrypted.
    pub const ENCRYPTED: Self = Self(0x20);
    /// Suite 0, authenticated and encrypted.
    pub const BOTH: Self = Self(0x30);

    /// The number of the suite.
    #[must_use]
    pub const fn suite(self) -> u8 {
        self.0 & 0x0f
    }

    /// The same protection in another suite.
    #[must_use]
    pub const fn in_suite(self, suite: Suite) -> Self {
        Self((self.0 & 0xf0) | suite.number())
    }

    /// The same protection under the broadcast key.
    #[must_use]
    pub const fn under_broadcast_key(self) -> Self {
        Self(self.0 | 0x40)
    }

    /// Whether there is a tag.
    #[must_use]
    pub const fn is_authenticated(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// Whether the content is encrypted.
    #[must_use]
    pub const fn is_encrypted(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// Octets of the content that `plain` octets become: as many, and a tag.
    pub(crate) const fn content_octets(self, plain: usize) -> usize {
        if self.is_authenticated() { plain.saturating_add(TAG_OCTETS) } else { plain }
    }

    /// Whether the broadcast key is used.
    #[must_use]
    pub const fn is_broadcast(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// Whether the content is compressed.
    #[must_use]
    pub const fn is_compressed(self) -> bool {
        self.0 & 0x80 != 0
    }
}

impl fmt::Debug for SecurityControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecurityControl({:02x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{SecurityControl, Suite};
    use crate::error::Error;

    #[test]
    fn a_suite_is_known_by_its_number_and_no_other_number_is_one() {
        for number in 0..=15 {
            match Suite::of(number) {
                Ok(suite) => assert_eq!((suite.number(), number < 3), (number, true)),
                Err(error) => assert_eq!((error, number > 2), (Error::Suite(number), true)),
            }
        }
        let control = SecurityControl::BOTH.in_suite(Suite::Two).under_broadcast_key();
        assert_eq!(control.0, 0x72);
        assert!(control.is_authenticated() && control.is_encrypted() && control.is_broadcast());
    }
}
