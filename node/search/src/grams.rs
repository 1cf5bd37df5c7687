//! The grams of a text: short pieces whose numbers lead to the documents that hold them.
//!
//! Three letters of one octet each are a gram, exactly. A letter of more octets (Chinese and
//! whatever has many letters) is a gram, and so are it and its neighbour, by a hash. Common pieces
//! would tell little about where words begin and end: "begins with ree" is rare where every street
//! has "ree" somewhere and some word that begins with "re". So the first three letters of a word
//! are a gram besides, and so is a whole word, but for long numbers, which are rare enough; and so
//! are four times the same letter.
//!
//! Invariant: a text that holds a piece holds every gram of the piece; what a piece tells of words
//! it tells by the spaces in it. The reverse is not so: who finds by grams compares.

use crate::letters::following;

/// How many numbers there are.
pub const GRAMS: usize = 1 << 24;

/// What stands in the place of a third letter that has more than one octet.
const WIDE: u32 = 0xFF;

/// Units from here on are letters of several octets, below octets.
const FIRST_WIDE: u32 = 0x100;

/// No letter: before the first one.
const NONE: u32 = u32::MAX;

/// Hashed grams begin here: no octet that is a whole letter is as great as their first.
const HASHED: u32 = 0xC0_0000;

/// Tells beginnings of words from pairs in the hash.
const BEGINNING: u32 = 1 << 30;

/// Tells words from pairs in the hash.
const WORD: u32 = 1 << 31;

/// Tells four times the same letter from pairs in the hash.
const RUN: u32 = 1 << 29;

/// Words of more letters, and those with digits of more than four, are no grams.
const MAX_WORD: u32 = 24;

/// Hands out the grams of a text, in order, some of them more than once.
pub fn each(text: &[u8], mut take: impl FnMut(u32)) {
    // The last two units, the newest first.
    let mut last = [NONE; 2];
    let mut word = Word::OUTSIDE;
    // How often the last letter came again.
    let mut again = 0;
    let mut at = 0;
    while let Some(&first) = text.get(at) {
        let more = following(first);
        at += 1 + more;
        if more == 0 {
            let unit = u32::from(first);
            narrow(last, unit, &mut take);
            again = if unit == last[0] { again + 1 } else { 0 };
            if again == 3 {
                take(hashed(RUN, unit));
            }
            word.step(first, &mut take);
            last = [unit, last[0]];
        } else {
            let trails = text.get(at - more..at).unwrap_or_default();
            let head = if more == 2 { u32::from(first) & 0x0F } else { 0 };
            let code = trails.iter().fold(head, |code, t| code << 6 | u32::from(t & 0x3F));
            wide(last, FIRST_WIDE + code, &mut take);
            (word, again) = (Word::OUTSIDE, 0);
            last = [FIRST_WIDE + code, last[0]];
        }
    }
}

/// The grams that end with a letter of one octet.
#[inline]
fn narrow([one, two]: [u32; 2], unit: u32, take: &mut impl FnMut(u32)) {
    if one < FIRST_WIDE && two < FIRST_WIDE {
        take(two << 16 | one << 8 | unit);
    } else if one != NONE && one >= FIRST_WIDE {
        take(hashed(one, unit));
    }
}

/// The grams that end with a letter of several octets.
fn wide([one, two]: [u32; 2], unit: u32, take: &mut impl FnMut(u32)) {
    take(hashed(NONE, unit));
    if one != NONE {
        take(hashed(one, unit));
    }
    if one < FIRST_WIDE && two < FIRST_WIDE {
        // Whoever looks for two letters finds them before any third one.
        take(two << 16 | one << 8 | WIDE);
    }
}

/// The word that is being read, as far as it is made of letters of one octet.
struct Word {
    /// Letters so far; none of them if the beginning is not known.
    letters: u32,
    digits: bool,
    hash: u32,
}

impl Word {
    /// In no word that a gram could be made of.
    const OUTSIDE: Self = Self { letters: MAX_WORD + 1, digits: false, hash: 0 };

    #[inline]
    fn step(&mut self, octet: u8, take: &mut impl FnMut(u32)) {
        if octet == b' ' {
            let most = if self.digits { 4 } else { MAX_WORD };
            if self.letters > 0 && self.letters <= most {
                take(hashed(WORD, self.hash));
            }
            *self = Self { letters: 0, digits: false, hash: 0 };
        } else if self.letters <= MAX_WORD {
            self.letters += 1;
            self.digits |= octet.is_ascii_digit();
            self.hash = (self.hash ^ u32::from(octet)).wrapping_mul(0x0100_0193);
            if self.letters == 3 && !self.digits {
                take(hashed(BEGINNING, self.hash));
            }
        }
    }
}

/// A number for two units (multiplication by a fraction of the golden ratio).
fn hashed(one: u32, other: u32) -> u32 {
    let both = u64::from(one) << 32 | u64::from(other);
    HASHED | (both.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 42) as u32
}

/// The grams of two letters of one octet each and any third one: from, up to and with.
pub fn of_two(one: u8, two: u8) -> (u32, u32) {
    let first = u32::from(one) << 16 | u32::from(two) << 8;
    (first, first | WIDE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{prop_assert, proptest};

    use super::{GRAMS, HASHED, each, of_two};
    use crate::letters::{document, following, word};
    use crate::text::normalise;

    fn grams(text: &[u8]) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        each(text, |gram| assert!(found.insert(gram) || (gram as usize) < GRAMS));
        found
    }

    #[test]
    fn a_text_has_the_grams_it_should_have() {
        let table = [
            ("ab", 2 + 1),           // " ab", "ab ", and the word
            ("abc", 3 + 2),          // " ab", "abc", "bc ", the beginning, the word
            ("щи", 2 + 1),           // a letter is a letter
            ("1234", 4 + 1),         // of a short number the word
            ("12345", 5),            // of a long one nothing more
            ("11111", 3 + 1),        // " 11", "111", "11 ", four times the same
            ("王", 3),               // itself, with the space before, with the space behind
            ("王伟", 2 + 3),         // two letters, three neighbourhoods
            ("12号", 1 + 1 + 1 + 2), // " 12", "12?", itself, its neighbourhoods
        ];
        for (text, count) in table {
            assert_eq!(grams(&document(text)).len(), count, "{text}");
        }
    }

    #[test]
    fn hashed_grams_are_apart_from_exact_ones() {
        let letters = document("ӯ џ ў zz");
        let exact = grams(&letters).into_iter().filter(|gram| *gram < HASHED).count();
        assert_eq!(exact, grams(&letters).len() - 4, "all but the words");
    }

    proptest! {
        #[test]
        fn a_part_has_no_gram_that_the_whole_lacks(
            text in "[ab я王伟𠀀]{1,5}[a1]{0,6}[ab я王伟𠀀]{1,5}", from in 0usize..12, len in 1usize..12,
        ) {
            let normal = normalise(&text);
            let whole = grams(&document(&normal));
            let letters: Vec<char> = normal.chars().collect();
            let part: String = letters.iter().skip(from).take(len).collect();
            let octets = word(&part);
            prop_assert!(grams(&octets).is_subset(&whole), "{:?} in {:?}", part, normal);
            if let [one, two] = octets[..] && following(one) == 0 && following(two) == 0 {
                let (from, to) = of_two(one, two);
                prop_assert!(whole.range(from..=to).next().is_some(), "{:?} in {:?}", part, normal);
            }
        }
    }
}
