//! The check sequence of header and frame: CRC-16/X-25 (ISO/IEC 13239 annex A), polynomial
//! x^16 + x^12 + x^5 + 1, octets from their low bit, start and final complement FFFF, sent low
//! octet first. It says nothing of who sent the octets.

/// The polynomial 1021 with its bits reversed, as octets are taken from their low bit.
const POLYNOMIAL: u16 = 0x8408;

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        // Lossless: `octet` is below 256.
        let mut remainder = octet as u16;
        let mut bit = 0;
        while bit < 8 {
            let carry = remainder & 1 == 1;
            remainder >>= 1;
            if carry {
                remainder ^= POLYNOMIAL;
            }
            bit += 1;
        }
        table[octet] = remainder;
        octet += 1;
    }
    table
}

/// The check sequence of `octets`.
#[must_use]
pub fn checksum(octets: &[u8]) -> u16 {
    let mut remainder = u16::MAX;
    for octet in octets {
        let [low, _] = remainder.to_le_bytes();
        remainder = (remainder >> 8) ^ TABLE[usize::from(low ^ octet)];
    }
    !remainder
}

/// Whether `octets` end in the check sequence of what stands before it.
#[must_use]
pub fn verifies(octets: &[u8]) -> bool {
    octets.split_last_chunk().is_some_and(|(body, check)| checksum(body).to_le_bytes() == *check)
}

/// Appends the check sequence of the octets from `start` on.
pub(super) fn append(out: &mut Vec<u8>, start: usize) {
    let check = checksum(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&check.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::{append, checksum, verifies};

    #[test]
    fn the_catalogue_value_holds() {
        // "check" of CRC-16/IBM-SDLC (alias X-25) in the catalogue of parametrised CRCs.
        assert_eq!(checksum(b"123456789"), 0x906e);
        assert_eq!(checksum(b""), 0);
    }

    #[test]
    fn any_changed_bit_is_seen() {
        let mut octets = b"\xa0\x0a\x00\x02\x00\x23\x21\x93".to_vec();
        append(&mut octets, 0);
        assert_eq!(octets[8..], [0x18, 0x71]);
        assert!(verifies(&octets));
        for bit in 0..octets.len() * 8 {
            let mut changed = octets.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!verifies(&changed), "bit {bit}");
        }
        assert!(!verifies(b"\x00"));
    }
}
