//! The GSM 7-bit default alphabet with its extension, and how septets are packed.
//!
//! 3GPP TS 23.038 sections 6.1.2.1 (packing) and 6.2.1 (tables). No national tables. Invariants:
//! what `encode` gives, `decode` reads back letter by letter; neither panics on any input.

/// The default alphabet by code; 0x1b is the escape to the extension.
const BASIC: [char; 128] = [
    '@', '£', '$', '¥', 'è', 'é', 'ù', 'ì', 'ò', 'Ç', '\n', 'Ø', 'ø', '\r', 'Å', 'å', 'Δ', '_',
    'Φ', 'Γ', 'Λ', 'Ω', 'Π', 'Ψ', 'Σ', 'Θ', 'Ξ', '\u{1b}', 'Æ', 'æ', 'ß', 'É', ' ', '!', '"', '#',
    '¤', '%', '&', '\'', '(', ')', '*', '+', ',', '-', '.', '/', '0', '1', '2', '3', '4', '5', '6',
    '7', '8', '9', ':', ';', '<', '=', '>', '?', '¡', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I',
    'J', 'K', 'L', 'M', 'N', 'O', 'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'Ä', 'Ö',
    'Ñ', 'Ü', '§', '¿', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o',
    'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', 'ä', 'ö', 'ñ', 'ü', 'à',
];

/// The extension: code after the escape, and letter.
const EXTENSION: [(u8, char); 10] = [
    (0x0a, '\u{c}'),
    (0x14, '^'),
    (0x28, '{'),
    (0x29, '}'),
    (0x2f, '\\'),
    (0x3c, '['),
    (0x3d, '~'),
    (0x3e, ']'),
    (0x40, '|'),
    (0x65, '€'),
];

/// Leads to the extension.
pub const ESCAPE: u8 = 0x1b;

/// The septets of a letter (one, or two with the escape); `None` when the alphabet lacks it.
pub fn septets_of(letter: char) -> Option<(u8, Option<u8>)> {
    if letter != '\u{1b}'
        && let Some(code) = BASIC.iter().position(|known| *known == letter)
    {
        return Some((u8::try_from(code).ok()?, None));
    }
    let found = EXTENSION.iter().find(|(_, known)| *known == letter);
    found.map(|(code, _)| (ESCAPE, Some(*code)))
}

/// The septets of a text, one an octet; `None` when a letter is not in the alphabet.
pub fn encode(text: &str) -> Option<Vec<u8>> {
    let mut septets = Vec::with_capacity(text.len());
    for letter in text.chars() {
        let (first, second) = septets_of(letter)?;
        septets.push(first);
        septets.extend(second);
    }
    Some(septets)
}

/// The text of septets. An unknown extension code is a space (23.038 section 6.2.1.1).
pub fn decode(septets: &[u8]) -> String {
    let mut text = String::with_capacity(septets.len());
    let mut escaped = false;
    for septet in septets.iter().map(|septet| septet & 0x7f) {
        if escaped {
            let found = EXTENSION.iter().find(|(code, _)| *code == septet);
            text.push(found.map_or(' ', |(_, letter)| *letter));
            escaped = false;
        } else if septet == ESCAPE {
            escaped = true;
        } else {
            text.push(BASIC[usize::from(septet)]);
        }
    }
    text
}

/// Packs septets into octets, the first septet `fill` bits after the first octet's lowest bit.
pub fn pack(septets: &[u8], fill: usize) -> Vec<u8> {
    let bits = fill + septets.len() * 7;
    let mut octets = vec![0_u8; bits.div_ceil(8)];
    for (nth, septet) in septets.iter().enumerate() {
        let at = fill + nth * 7;
        let wide = u16::from(septet & 0x7f) << (at % 8);
        octets[at / 8] |= (wide & 0xff) as u8;
        if let Some(next) = octets.get_mut(at / 8 + 1) {
            *next |= (wide >> 8) as u8;
        }
    }
    octets
}

/// The septets that `pack` packed; fewer than `count` when the octets end before.
pub fn unpack(octets: &[u8], fill: usize, count: usize) -> Vec<u8> {
    let held = (octets.len() * 8).saturating_sub(fill) / 7;
    (0..count.min(held))
        .map(|nth| {
            let at = fill + nth * 7;
            let low = u16::from(octets[at / 8]);
            let high = u16::from(octets.get(at / 8 + 1).copied().unwrap_or(0));
            (((high << 8 | low) >> (at % 8)) & 0x7f) as u8
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    #[test]
    fn packs_as_the_well_known_example() {
        // The example of many introductions to SMS: "hellohello" is E8329BFD4697D9EC37.
        let octets = pack(&encode("hellohello").unwrap(), 0);
        assert_eq!(octets, [0xe8, 0x32, 0x9b, 0xfd, 0x46, 0x97, 0xd9, 0xec, 0x37]);
        assert_eq!(decode(&unpack(&octets, 0, 10)), "hellohello");
    }

    #[test]
    fn letters_stand_where_the_table_has_them() {
        let cases = [("@", vec![0]), ("€", vec![0x1b, 0x65]), ("Δ", vec![0x10]), ("à", vec![0x7f])];
        for (text, septets) in cases {
            assert_eq!(encode(text), Some(septets), "{text}");
        }
        assert_eq!(encode("ç"), None, "the small c with cedilla is not in the table");
        assert_eq!(encode("Привет"), None);
    }

    proptest! {
        #[test]
        fn every_packing_is_read_back(
            raw in proptest::collection::vec(0_u8..128, 0..200),
            fill in 0_usize..8,
        ) {
            let octets = pack(&raw, fill);
            assert_eq!(unpack(&octets, fill, raw.len()), raw);
        }

        #[test]
        fn any_octets_are_some_text(
            raw in proptest::collection::vec(any::<u8>(), 0..200),
            fill in 0_usize..8,
            count in 0_usize..300,
        ) {
            decode(&unpack(&raw, fill, count));
        }
    }
}
