//! Times with units, and secrets.
//!
//! Invariant: a `Secret` is never shown.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// A length of time as the file writes it: `500ms`, `10s`, `5m`, `4h`, `1d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    pub(super) const fn seconds(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }

    /// In milliseconds.
    pub fn millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    /// The notation, in the largest unit that leaves it whole.
    pub fn text(self) -> String {
        let millis = self.0.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let whole = units.into_iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
        match whole {
            Some((unit, letter)) => format!("{}{letter}", millis / unit),
            None if millis == 0 => "0s".into(),
            None => format!("{millis}ms"),
        }
    }

    /// Reads the notation; `None` when it is something else, or more than ten years.
    pub fn parse(text: &str) -> Option<Span> {
        let unit = text.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = text[..unit].parse().ok()?;
        let millis = match &text[unit..] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let whole = number.checked_mul(millis).filter(|whole| *whole <= 315_360_000_000)?;
        Some(Span(Duration::from_millis(whole)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        Span::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("\"{text}\" is no time such as 10s, 5m, 4h or 1d"))
        })
    }
}

/// What stands in a file of its own and is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A secret of this text.
    pub fn new(text: &str) -> Secret {
        Secret(Zeroizing::new(text.to_owned()))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
