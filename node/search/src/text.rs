//! Texts as they are compared: what two people would call the same is the same here.
//!
//! Compatibility forms are folded (NFKC, Unicode Annex 15), letters are small, ё is е and ς is σ;
//! hyphens, punctuation, symbols and spaces become one space; soft hyphens, joiners and accents
//! that stand alone vanish. Not a stemmer and not a transliteration: "Иван" is not found as
//! "Ivan". Invariants: the result has no space at either end and no two in a row, only letters,
//! digits and single spaces; nothing that is normal changes when it is made normal again.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// The form in which documents and queries are compared.
#[must_use]
pub fn normalise(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    if !text.chars().all(|letter| join_plain(&mut normal, letter)) {
        // Small letters of composed ones need not be composed: İ becomes i and a dot above.
        normal.clear();
        let folded = text.nfkc().flat_map(char::to_lowercase).nfkc();
        folded.for_each(|letter| join(&mut normal, letter));
    }
    if normal.ends_with(' ') {
        normal.pop();
    }
    normal
}

/// Appends one letter if it is of those that most texts are made of and that no neighbour changes;
/// false if it takes more than that.
#[inline]
fn join_plain(normal: &mut String, letter: char) -> bool {
    match letter {
        'a'..='z' | '0'..='9' | '\u{4e00}'..='\u{9fff}' => normal.push(letter),
        'A'..='Z' => normal.push(letter.to_ascii_lowercase()),
        'ё' | 'Ё' => normal.push('е'),
        'а'..='я' | 'ß'..='ö' | 'ø'..='ÿ' => normal.push(letter),
        // Capitals are 32 before their small letters.
        'А'..='Я' | 'À'..='Ö' | 'Ø'..='Þ' => {
            normal.push(char::from_u32(u32::from(letter) + 32).unwrap_or(letter))
        }
        '\0'..='\u{7f}' => space(normal),
        _ => return false,
    }
    true
}

/// Appends one letter, or what stands between words.
fn join(normal: &mut String, letter: char) {
    match letter {
        'ё' => normal.push('е'),
        'ς' => normal.push('σ'),
        letter if letter.is_alphanumeric() => normal.push(letter),
        letter if is_combining_mark(letter) || is_ignorable(letter) => {}
        _ => space(normal),
    }
}

/// Appends what stands between words, once.
fn space(normal: &mut String) {
    if !normal.is_empty() && !normal.ends_with(' ') {
        normal.push(' ');
    }
}

/// What is in a text without being seen: soft hyphens, joiners, marks of direction and order.
fn is_ignorable(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{join_plain, normalise};

    #[test]
    fn what_people_call_the_same_is_the_same() {
        let table = [
            ("", ""),
            (" \t\u{a0}\u{3000} ", ""),
            ("Ivanov", "ivanov"),
            ("  Anna--Maria   O'Brien ", "anna maria o brien"),
            ("ёлкин", "елкин"),
            ("ЁЛКИН", "елкин"),
            ("е\u{308}лкин", "елкин"),
            ("Йод", "йод"),
            ("и\u{306}од", "йод"),
            ("за\u{301}мок", "замок"),
            ("+7 (921) 123-45-67", "7 921 123 45 67"),
            ("Müller", "müller"),
            ("Mu\u{308}ller", "müller"),
            ("İZMİR", "izmir"),
            ("Οδυσσεύς", "οδυσσεύσ"),
            ("ｗａｎｇ　４２", "wang 42"),
            ("ﬁnch", "finch"),
            ("王伟,北京市", "王伟 北京市"),
            ("№5", "no5"),
            ("inter\u{ad}net\u{200b}", "internet"),
            ("A77-0042/1", "a77 0042 1"),
            ("ул. Ленина, д. 5", "ул ленина д 5"),
            ("— x —", "x"),
        ];
        for (text, expected) in table {
            assert_eq!(normalise(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_short_way_leads_to_the_same_place() {
        for letter in (0..=0x10_FFFF).filter_map(char::from_u32) {
            let mut plain = String::from("a");
            if join_plain(&mut plain, letter) {
                // The accent at the end takes the long way with all of it.
                let long = normalise(&format!("a{letter}q\u{307}"));
                assert_eq!(plain + "q", long, "{letter:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_normal_changes(
            text in "[a-zA-Zéñüßğа-яА-ЯёЁіїґα-ωΑ-Ως王伟北京가-나ﬁ①２\u{300}-\u{308} .,'+-]{0,40}",
        ) {
            let normal = normalise(&text);
            prop_assert_eq!(normalise(&normal), normal.as_str());
        }

        #[test]
        fn spaces_are_single_and_inside(text in any::<String>()) {
            let normal = normalise(&text);
            prop_assert!(!normal.starts_with(' ') && !normal.ends_with(' '), "{:?}", normal);
            prop_assert!(!normal.contains("  "), "{:?}", normal);
            prop_assert!(normal.chars().all(|c| c == ' ' || c.is_alphanumeric()), "{:?}", normal);
        }
    }
}
