//! Normal texts as octets in which every letter of common alphabets is one octet.
//!
//! UTF-8 spends two octets on a Cyrillic letter, so that three octets are a letter and a half and
//! tell little apart. Here the letters of Latin, Cyrillic and Greek names and the digits are one
//! octet each and all others three (five beyond the Basic Multilingual Plane): texts are shorter
//! and three octets are three letters. Not a format: nothing of this is ever stored on disk.
//!
//! Invariants: different texts have different octets; the first octet of a letter is never one
//! that follows, so that octets found inside of others are always whole letters.

/// Octets below this one, [`ASTRAL`] left out, are a whole letter.
pub const FIRST_LEAD: u8 = 0xB0;

/// Begins a letter beyond the Basic Multilingual Plane: four octets follow.
pub const ASTRAL: u8 = 0x7F;

/// The octets that follow are this and more: six bits each.
const TRAIL: u8 = 0xC0;

/// The most octets of one document: what stands behind them is not found.
pub const MAX_TEXT: usize = 4096;

/// Letters of names in further languages, in order, each with an octet that is otherwise free.
const FURTHER: [(char, u8); 31] = [
    ('ą', 0x1A),
    ('ć', 0x1B),
    ('č', 0x1C),
    ('ę', 0x1D),
    ('ě', 0x1E),
    ('ğ', 0x1F),
    ('ı', 0x21),
    ('ł', 0x22),
    ('ń', 0x23),
    ('ő', 0x24),
    ('ř', 0x25),
    ('ś', 0x26),
    ('ş', 0x27),
    ('š', 0x28),
    ('ů', 0x29),
    ('ű', 0x2A),
    ('ź', 0x2B),
    ('ż', 0x2C),
    ('ž', 0x2D),
    ('ґ', 0x2E),
    ('ғ', 0x2F),
    ('қ', 0x5B),
    ('ң', 0x5C),
    ('ү', 0x5D),
    ('ұ', 0x5E),
    ('ҳ', 0x5F),
    ('ҷ', 0x60),
    ('һ', 0x7B),
    ('ә', 0x7C),
    ('ө', 0x7D),
    ('ӯ', 0x7E),
];

/// The octets of a document's normal text, a space before and behind it: a word begins behind a
/// space, and every two letters have a third.
#[must_use]
pub fn document(normal: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(normal.len() + 2);
    octets.push(b' ');
    for letter in normal.chars() {
        // One letter takes five octets at the most, and the space one.
        if octets.len() + 6 > MAX_TEXT {
            break;
        }
        push(&mut octets, letter);
    }
    octets.push(b' ');
    octets
}

/// The octets of one word, without spaces.
#[must_use]
pub fn word(normal: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(normal.len());
    normal.chars().for_each(|letter| push(&mut octets, letter));
    octets
}

fn push(octets: &mut Vec<u8>, letter: char) {
    let code = u32::from(letter);
    // The ranges below are shorter than an octet's, so the low octet is all there is.
    let offset = |first: u32, base: u8| base + ((code - first) & 0xFF) as u8;
    match letter {
        ' ' | '0'..='9' | 'a'..='z' => octets.push(offset(0, 0)),
        'α'..='ω' => octets.push(offset(0x3B1, 0x01)),
        'ß'..='ÿ' => octets.push(offset(0xDF, 0x3A)),
        '\u{430}'..='\u{45f}' => octets.push(offset(0x430, 0x80)),
        _ => match FURTHER.binary_search_by_key(&letter, |(letter, _)| *letter) {
            Ok(at) => octets.push(FURTHER[at].1),
            Err(_) if code < 0x1_0000 => {
                octets.extend([FIRST_LEAD + (code >> 12) as u8, trail(code >> 6), trail(code)]);
            }
            Err(_) => {
                let trails = [code >> 18, code >> 12, code >> 6, code].map(trail);
                octets.push(ASTRAL);
                octets.extend(trails);
            }
        },
    }
}

fn trail(bits: u32) -> u8 {
    TRAIL | (bits & 0x3F) as u8
}

/// How many octets follow the first one of a letter.
#[must_use]
pub const fn following(first: u8) -> usize {
    match first {
        ASTRAL => 4,
        FIRST_LEAD..TRAIL => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{FURTHER, MAX_TEXT, TRAIL, document, following, word};
    use crate::text::normalise;

    #[test]
    fn every_letter_has_octets_of_its_own() {
        let mut seen = BTreeMap::new();
        for letter in (0..=0x10_FFFF).filter_map(char::from_u32) {
            if letter != ' ' && !letter.is_alphanumeric() || letter.is_ascii_uppercase() {
                continue;
            }
            let octets = word(&letter.to_string());
            assert_eq!(octets.len(), 1 + following(octets[0]), "{letter}");
            assert!(octets[0] < TRAIL && octets[1..].iter().all(|octet| *octet >= TRAIL));
            if let Some(other) = seen.insert(octets, letter) {
                panic!("{letter} and {other} are the same");
            }
        }
        assert!(FURTHER.is_sorted());
    }

    #[test]
    fn names_take_an_octet_a_letter() {
        let table = [
            ("ivanov 4711", 13),
            ("щербакова", 11),
            ("müller", 8),
            ("παπαδοπουλου", 14),
            ("王伟", 8),
            ("қазақстан", 11),
            ("𠀀", 7),
        ];
        for (text, octets) in table {
            assert_eq!(document(&normalise(text)).len(), octets, "{text}");
        }
    }

    #[test]
    fn a_text_is_cut_between_letters() {
        let long = document(&"王".repeat(5000));
        assert!(long.len() <= MAX_TEXT && long.len() > MAX_TEXT - 6);
        assert_eq!(long.len() % 3, 2);
        assert!(long.starts_with(b" ") && long.ends_with(b" "));
    }
}
