//! The block check character (ISO 1155) and the parity of seven-bit characters (7E1). Both find
//! noise, not malice.
//!
//! Invariant: a character with wrong parity never passes as another character.

use super::{EOT, ETX};

/// What stands in place of a character whose parity is wrong (SUB; no message contains it).
pub const SUBSTITUTE: u8 = 0x1a;

/// Who deals with the parity bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// The port is set to 7E1 and gives characters.
    Port,
    /// The port is set to 8N1, as with many TCP serial servers: octets carry the bit.
    Octet,
}

impl Parity {
    /// A character as the port wants it.
    #[must_use]
    pub const fn add(self, character: u8) -> u8 {
        match self {
            Self::Port => character,
            Self::Octet if character.count_ones() % 2 == 1 => character ^ 0x80,
            Self::Octet => character,
        }
    }

    /// A character from the port; `SUBSTITUTE` when its parity is odd.
    #[must_use]
    pub const fn strip(self, octet: u8) -> u8 {
        match self {
            Self::Port => octet,
            Self::Octet if octet.count_ones() % 2 == 1 => SUBSTITUTE,
            Self::Octet => octet & 0x7f,
        }
    }
}

/// The exclusive or of all characters: of those after the first SOH or STX up to and with the
/// ETX or EOT (clause 6.3.6).
#[must_use]
pub fn block_check(characters: &[u8]) -> u8 {
    characters.iter().fold(0, |check, character| check ^ character)
}

/// Appends the end and the check character of everything after the first character of `out`.
pub(super) fn close(out: &mut Vec<u8>, more: End) {
    out.push(more.character());
    let check = block_check(out.get(1..).unwrap_or_default());
    out.push(check);
}

/// Whether a block is the last of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// ETX.
    Last,
    /// EOT: a partial block, more follow.
    Partial,
}

impl End {
    const fn character(self) -> u8 {
        match self {
            Self::Last => ETX,
            Self::Partial => EOT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{End, Parity, SUBSTITUTE, block_check, close};

    #[test]
    fn the_break_has_its_known_check() {
        // SOH B 0 ETX, check character "q": widely published.
        let mut message = b"\x01B0".to_vec();
        close(&mut message, End::Last);
        assert_eq!(message, b"\x01B0\x03q");
        assert_eq!(block_check(b"B0\x03q"), 0);
    }

    #[test]
    fn parity_is_even_and_one_changed_bit_is_seen() {
        for character in 0..0x80_u8 {
            let octet = Parity::Octet.add(character);
            assert_eq!(octet.count_ones() % 2, 0);
            assert_eq!(Parity::Octet.strip(octet), character);
            for bit in 0..8 {
                assert_eq!(Parity::Octet.strip(octet ^ (1 << bit)), SUBSTITUTE);
            }
            assert_eq!(Parity::Port.strip(Parity::Port.add(character)), character);
        }
        // "/?!" CR LF as a port without parity sees it.
        let octets: Vec<u8> = b"/?!\r\n".iter().map(|c| Parity::Octet.add(*c)).collect();
        assert_eq!(octets, [0xaf, 0x3f, 0x21, 0x8d, 0x0a]);
    }
}
