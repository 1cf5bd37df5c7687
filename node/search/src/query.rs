//! What is asked for, and what is answered.
//!
//! A query's words are brought into three forms of rising breadth: whole words, beginnings of
//! words, parts of words. Not the looking itself (`scan`). Invariants: a query that passes has a
//! gram or a range of grams in each form; what suits a narrower form suits a broader one.

use std::collections::BTreeSet;

use memchr::memmem::Finder;
use thiserror::Error;

use crate::segment::Facet;
use crate::{grams, letters, text};

/// All classes there are, for [`Query::classes`].
pub const ALL_CLASSES: u32 = u32::MAX;

/// The most hits of a page.
pub const MAX_LIMIT: usize = 500;

/// The greatest number of matches that is counted out. Where matches are so far apart that a
/// quarter of a million documents were compared before, it is fewer.
pub const MAX_MATCHED: u64 = 10_000;

/// The fewest octets of a query's longest word: two letters, or one of a large alphabet.
const MIN_OCTETS: usize = 2;

/// The most letters of a query.
const MAX_LETTERS: usize = 64;

/// The most words of a query.
const MAX_WORDS: usize = 8;

/// The most octets of a query as it came: four a letter, and as many signs between them.
const MAX_OCTETS: usize = 8 * MAX_LETTERS;

/// What is looked for, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Words in any case and alphabet: a document must contain each of them. At most 64 letters
    /// and 8 words, one of at least two letters or one letter of a large alphabet (Chinese).
    pub text: &'a str,
    /// The regions that the asker may see; `None` is all. What lies in others is neither found nor
    /// counted.
    pub regions: Option<&'a BTreeSet<u32>>,
    /// The classes wanted: bit `n` is class `n`. See [`ALL_CLASSES`].
    pub classes: u32,
    /// Where the page before ended: [`Page::next`].
    pub after: Option<&'a After>,
    /// The most hits wanted, 1 to [`MAX_LIMIT`]; what is outside is moved to the nearer end.
    pub limit: usize,
}

/// A place between two hits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct After {
    /// The score of the hit before.
    pub score: u8,
    /// The key of the hit before.
    pub key: Vec<u8>,
}

/// A document that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its key.
    pub key: Vec<u8>,
    /// 0: each word of the query is a word of it. 1: each word begins one. 2: each is contained.
    pub score: u8,
    /// Its region.
    pub region: u32,
    /// Its class.
    pub class: u8,
}

/// Some hits by score and key, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Ordered by score, then key.
    pub hits: Vec<Hit>,
    /// How many documents match, on all pages; [`MAX_MATCHED`] if there are more, and fewer if it
    /// takes too long to count so many: see `capped`.
    pub matched: u64,
    /// Whether there may be more than `matched`.
    pub capped: bool,
    /// Where the next page begins, if there is one.
    pub next: Option<After>,
}

/// Why a query is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QueryError {
    /// It would find nearly everything.
    #[error("give at least two letters side by side, or one Chinese one")]
    TooShort,
    /// Nobody is called so.
    #[error("give at most {MAX_LETTERS} letters and {MAX_WORDS} words")]
    TooLong,
}

impl QueryError {
    /// A code that never changes its meaning.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooShort => "search_too_short",
            Self::TooLong => "search_too_long",
        }
    }
}

/// A query's words in the form of one score: a document suits it that contains each.
pub struct Form {
    /// The words, with or without spaces around them.
    pub needles: Vec<Needle>,
}

/// One word in the form of one score.
pub struct Needle {
    finder: Finder<'static>,
    /// The grams of which a document that contains it has each.
    pub grams: Vec<u32>,
    /// If it has no grams, being of two letters: the range of which such a document has one.
    pub range: Option<(u32, u32)>,
}

impl Needle {
    fn of(octets: &[u8]) -> Self {
        let mut found = BTreeSet::new();
        grams::each(octets, |gram| {
            found.insert(gram);
        });
        let range = match *octets {
            [one, two] if found.is_empty() => Some(grams::of_two(one, two)),
            _ => None,
        };
        let finder = Finder::new(octets).into_owned();
        Self { finder, grams: found.into_iter().collect(), range }
    }

    /// Where it is in octets first.
    #[must_use]
    pub fn find(&self, octets: &[u8]) -> Option<usize> {
        self.finder.find(octets)
    }
}

impl Form {
    fn of(score: u8, words: &[Vec<u8>]) -> Self {
        let space: &[u8] = b" ";
        let needles = words.iter().map(|word| match score {
            0 => Needle::of(&[space, word, space].concat()),
            1 => Needle::of(&[space, word].concat()),
            _ => Needle::of(word),
        });
        Self { needles: needles.collect() }
    }

    /// Whether a document contains all.
    #[must_use]
    pub fn suits(&self, text: &[u8]) -> bool {
        self.needles.iter().all(|needle| needle.find(text).is_some())
    }
}

/// A query that can be answered.
pub struct Prepared<'a> {
    /// By score: whole words, beginnings, parts.
    pub forms: [Form; 3],
    regions: Option<&'a BTreeSet<u32>>,
    classes: u32,
}

impl<'a> Prepared<'a> {
    /// Reads a query.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if it has too few or too many letters or words.
    pub fn of(query: &Query<'a>) -> Result<Self, QueryError> {
        if query.text.len() > MAX_OCTETS {
            return Err(QueryError::TooLong);
        }
        let normal = text::normalise(query.text);
        let words: BTreeSet<&str> = normal.split(' ').filter(|word| !word.is_empty()).collect();
        let count = normal.chars().filter(|letter| *letter != ' ').count();
        if count > MAX_LETTERS || words.len() > MAX_WORDS {
            return Err(QueryError::TooLong);
        }
        let words: Vec<Vec<u8>> = words.iter().map(|word| letters::word(word)).collect();
        // One letter of a large alphabet tells as much as two of a small one.
        if words.iter().all(|word| word.len() < MIN_OCTETS) {
            return Err(QueryError::TooShort);
        }
        let forms = [0, 1, 2].map(|score| Form::of(score, &words));
        Ok(Self { forms, regions: query.regions, classes: query.classes })
    }

    /// Whether the asker may see, and wants to see, what has this facet.
    #[must_use]
    pub fn permits(&self, facet: Facet) -> bool {
        let wanted = 1_u32.checked_shl(u32::from(facet.class)).unwrap_or(0);
        self.classes & wanted != 0
            && self.regions.is_none_or(|regions| regions.contains(&facet.region))
    }

    /// The score of a document, if it matches.
    #[must_use]
    pub fn score(&self, text: &[u8]) -> Option<u8> {
        let broad = self.forms[2].suits(text);
        broad.then(|| self.score_of_match(text))
    }

    /// The score of a document that is known to match.
    #[must_use]
    pub fn score_of_match(&self, text: &[u8]) -> u8 {
        if !self.forms[1].suits(text) {
            2
        } else if self.forms[0].suits(text) {
            0
        } else {
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL_CLASSES, Prepared, Query, QueryError};
    use crate::letters::document;
    use crate::segment::Facet;
    use crate::text::normalise;

    fn query(text: &str) -> Query<'_> {
        Query { text, regions: None, classes: ALL_CLASSES, after: None, limit: 10 }
    }

    #[test]
    fn queries_have_a_length() {
        let long = "a".repeat(64);
        let longer = "a".repeat(65);
        let spaced = format!("ab{}", " ".repeat(600));
        let table = [
            ("", Err("search_too_short")),
            ("a", Err("search_too_short")),
            ("王", Ok(())),
            ("я", Err("search_too_short")),
            ("-+-", Err("search_too_short")),
            ("a b c", Err("search_too_short")),
            ("я 1", Err("search_too_short")),
            ("王 1", Ok(())),
            ("ab", Ok(())),
            ("ab c", Ok(())),
            (long.as_str(), Ok(())),
            (longer.as_str(), Err("search_too_long")),
            ("aa bb cc dd ee ff gg hh", Ok(())),
            ("aa bb cc dd ee ff gg hh ii", Err("search_too_long")),
            ("aa aa aa aa aa aa aa aa aa", Ok(())),
            (spaced.as_str(), Err("search_too_long")),
        ];
        for (text, expected) in table {
            let found = Prepared::of(&query(text)).map(|_| ()).map_err(QueryError::code);
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn documents_are_ranked_as_people_would() {
        let table = [
            ("4711", "4711 Ivanov", Some(0)),
            ("4711", "47110 Ivanov", Some(1)),
            ("4711", "14711 Ivanov", Some(2)),
            ("4711", "4712 Ivanov", None),
            ("ivan", "Anna Ivanova", Some(1)),
            ("anna ivanova", "IVANOVA, Anna", Some(0)),
            ("anna ivan", "Ivanova, Anna", Some(1)),
            ("anna vanova", "Ivanova, Anna", Some(2)),
            ("anna petrova", "Ivanova, Anna", None),
            ("ёлкин", "Елкин Пётр", Some(0)),
            ("ПЕТР", "Елкин Пётр", Some(0)),
            ("王伟", "王伟 北京", Some(0)),
            ("北京", "王伟 北京市", Some(1)),
            ("京市", "王伟 北京市", Some(2)),
        ];
        for (text, name, expected) in table {
            let prepared = Prepared::of(&query(text)).expect("it is long enough");
            let octets = document(&normalise(name));
            assert_eq!(prepared.score(&octets), expected, "{text} in {name}");
        }
    }

    #[test]
    fn classes_and_regions_are_those_asked_for() {
        let regions = [3, 5].into();
        let asked = Query { regions: Some(&regions), classes: 0b101, ..query("ab") };
        let prepared = Prepared::of(&asked).expect("two letters");
        let permits = |region, class| prepared.permits(Facet { region, class });
        assert!(permits(3, 0) && permits(5, 2));
        assert!(!permits(4, 0) && !permits(3, 1) && !permits(3, 32) && !permits(3, 34));
    }
}
