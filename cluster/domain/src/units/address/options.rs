//! The options behind the `?` of an address. What they mean, `address` knows.

use crate::error::Refusal;

/// `name=value` pairs, each name once.
pub(super) struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    /// Splits a query.
    pub fn split(query: Option<&'a str>) -> Result<Self, Refusal> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for pair in query.into_iter().flat_map(|query| query.split('&')) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(option_fault(format!("{pair:?} is not option=value")));
            };
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(option_fault(format!("{name} stands twice")));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// Refuses every other name.
    pub fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        match self.0.iter().find(|(name, _)| !known.contains(name)) {
            None => Ok(()),
            Some((name, _)) if known.is_empty() => {
                Err(option_fault(format!("no option {name:?}: tcp takes none")))
            }
            Some((name, _)) => {
                let text = format!("no option {name:?} here; known are {}", known.join(", "));
                Err(option_fault(text))
            }
        }
    }

    /// A value.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// A whole number within bounds.
    pub fn number(&self, name: &str, low: i32, high: i32) -> Result<Option<i32>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let digits = text.strip_prefix('-').unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
        match text.parse().ok().filter(|number| plain && (low..=high).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(option_fault(format!("{name} is a number from {low} to {high}"))),
        }
    }

    /// One of some words.
    pub fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(option_fault(format!("{name} is one of {}", known.join(", "))))
            }
        }
    }
}

/// A fault of an option.
pub(super) fn option_fault(why: impl Into<String>) -> Refusal {
    Refusal::new("bad_address_option", why)
}
