//! The words of the pages: a catalogue for each language, and texts filled from it.
//!
//! Not here: the words of messages (the monitor's), of the API and of the command line, which are
//! English. Invariants: every language has every key with the same places to fill (a test insists);
//! a key that is missing nonetheless is shown in English, then as itself; a code that has no text
//! is shown as it is; what is filled in is escaped like everything else of a page.

mod catalogue;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter, Write};

/// What the API calls the root of all regions.
pub const WHOLE: &str = "the whole utility";

/// A language that the pages speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Spanish.
    Spanish,
    /// Russian.
    Russian,
    /// Chinese, simplified.
    Chinese,
}

impl Language {
    /// Every language.
    pub const ALL: [Language; 4] =
        [Language::English, Language::Spanish, Language::Russian, Language::Chinese];

    /// Its code (ISO 639-1), as an operator's account has it.
    pub fn code(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Spanish => "es",
            Language::Russian => "ru",
            Language::Chinese => "zh",
        }
    }

    /// What `<html lang>` says (BCP 47).
    pub fn tag(self) -> &'static str {
        match self {
            Language::Chinese => "zh-Hans",
            other => other.code(),
        }
    }

    /// What its speakers call it.
    pub fn own_name(self) -> &'static str {
        match self {
            Language::English => "English",
            Language::Spanish => "Español",
            Language::Russian => "Русский",
            Language::Chinese => "中文",
        }
    }

    /// The language of a code, or of a tag that begins with it (`es-MX`).
    pub fn of(code: &str) -> Option<Language> {
        let primary = code.split(['-', '_']).next().unwrap_or_default();
        Language::ALL.into_iter().find(|one| one.code().eq_ignore_ascii_case(primary))
    }

    /// The one of ours that an `Accept-Language` header (RFC 9110, 12.5.4) likes best.
    pub fn accepted(header: &str) -> Option<Language> {
        let mut best: Option<(u32, Language)> = None;
        for item in header.split(',').take(32) {
            let (tag, rest) = item.trim().split_once(';').unwrap_or((item.trim(), ""));
            let Some(language) = Language::of(tag.trim()) else { continue };
            let weight = rest.trim().strip_prefix("q=").map_or(1000, thousandths);
            if weight > best.map_or(0, |(most, _)| most) {
                best = Some((weight, language));
            }
        }
        best.map(|(_, language)| language)
    }

    /// The text of a key.
    pub fn say(self, key: &str) -> Text {
        let pattern = catalogue::find(self, key)
            .or_else(|| catalogue::find(Language::English, key))
            .map_or_else(|| key.to_owned(), str::to_owned);
        Text { pattern, values: Vec::new() }
    }

    /// The word of a code in a list of codes; the code itself when there is none.
    pub fn word(self, list: &str, code: &str) -> String {
        let key = format!("code.{list}.{code}");
        let found = catalogue::find(self, &key).or_else(|| catalogue::find(Self::English, &key));
        found.unwrap_or(code).to_owned()
    }

    /// The word of a code and the code itself behind it, as markup; once where they are the same.
    pub fn coded(self, list: &str, code: &str) -> String {
        let word = self.word(list, code);
        let same = word.to_lowercase().replace([' ', '-'], "_") == code.replace('-', "_");
        let mut out = escaped(&word);
        if !same {
            out.push_str(&format!(" <code>{}</code>", escaped(code)));
        }
        out
    }

    /// The name of a region; the root of all has none of its own.
    pub fn region(self, name: &str) -> String {
        if name == WHOLE { self.say("region.whole").to_string() } else { name.to_owned() }
    }

    /// A role that is held, such as `operator in North`, as markup.
    pub fn held(self, held: &str) -> String {
        match held.split_once(" in ") {
            Some((role, region)) => {
                format!("{}: {}", self.coded("role", role), escaped(&self.region(region)))
            }
            None => escaped(held),
        }
    }

    /// A decimal number with the language's sign between whole and fraction.
    pub fn decimal(self, number: &str) -> String {
        match self {
            Language::Spanish | Language::Russian => number.replace('.', ","),
            Language::English | Language::Chinese => number.to_owned(),
        }
    }
}

/// The names of the lists of codes, each with how many codes it has.
pub fn dictionaries() -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for key in catalogue::all(Language::English).keys() {
        let list = key.strip_prefix("code.").and_then(|rest| rest.split_once('.'));
        if let Some((list, _)) = list {
            *found.entry(list.to_owned()).or_insert(0) += 1;
        }
    }
    found
}

/// The codes of a list, in their order; none of a list that there is not.
pub fn codes(list: &str) -> BTreeSet<String> {
    let prefix = format!("code.{list}.");
    let keys = catalogue::all(Language::English).keys();
    keys.filter_map(|key| key.strip_prefix(&prefix)).map(str::to_owned).collect()
}

/// `0.85` as 850; what is no such number counts nothing.
fn thousandths(text: &str) -> u32 {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    match (whole.parse::<u32>(), digits.parse::<u32>()) {
        (Ok(whole), Ok(fraction)) => whole.min(1) * 1000 + fraction.min(999),
        _ => 0,
    }
}

/// A text with places to fill: `{name}`; what stands between backticks is code.
#[derive(Clone, Debug)]
pub struct Text {
    pattern: String,
    values: Vec<(&'static str, String)>,
}

impl Text {
    /// Fills a place.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Display) -> Text {
        self.values.push((name, value.to_string()));
        self
    }

    /// With its places open, for a script of the page that fills them.
    pub fn open(&self) -> &str {
        &self.pattern
    }

    /// As markup, with code marked as such.
    pub fn marked(&self) -> String {
        let mut out = String::new();
        let mut open = false;
        for part in parts(&self.pattern) {
            match part {
                Part::Plain(text) => {
                    for piece in text.split_inclusive('`') {
                        out.push_str(&escaped(piece.trim_end_matches('`')));
                        if piece.ends_with('`') {
                            out.push_str(if open { "</code>" } else { "<code>" });
                            open = !open;
                        }
                    }
                }
                Part::Place(name) => out.push_str(&escaped(self.value(name))),
            }
        }
        if open {
            out.push_str("</code>");
        }
        out
    }

    fn value(&self, name: &str) -> &str {
        let found = self.values.iter().find(|(known, _)| *known == name);
        found.map_or("–", |(_, value)| value.as_str())
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        parts(&self.pattern).into_iter().try_for_each(|part| match part {
            Part::Plain(text) => f.write_str(text),
            Part::Place(name) => f.write_str(self.value(name)),
        })
    }
}

enum Part<'a> {
    Plain(&'a str),
    Place(&'a str),
}

/// Plain text and places in turn; a brace without its other half is plain.
fn parts(pattern: &str) -> Vec<Part<'_>> {
    let mut out = Vec::new();
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('{') {
        let Some((name, after)) = behind.split_once('}') else { break };
        out.push(Part::Plain(before));
        out.push(Part::Place(name));
        rest = after;
    }
    out.push(Part::Plain(rest));
    out
}

/// Text as markup: what has a meaning there is written as a number.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' | '<' | '>' | '"' | '\'' => {
                // Writing into a string cannot fail.
                let _ = write!(out, "&#{};", u32::from(letter));
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests;
