//! Looks at personal data, on their way into the audit trail: who saw whose values, name or
//! address.
//!
//! Noted where the login lets a request through, so no handler can forget it. Invariants: the same
//! look of the same operator within ten minutes is one record; what could not be told to the log
//! yet is kept, up to a bound; beyond it looks are counted and the count is told. A look is told
//! within seconds; a node that dies in between takes those seconds' looks with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{Method, Uri};
use domain::audit::{MAX_LOOK, MAX_LOOKS};
use domain::operators::Permission;

use crate::http::rules::Rule;

/// The same look within this time is one.
const ONE_LOOK: Duration = Duration::from_secs(600);
/// Looks that are remembered, told or not.
const MOST: usize = 20_000;

/// The looks of a node.
#[derive(Default)]
pub struct Looks {
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// When a look was noted last.
    noted: BTreeMap<(String, String), Instant>,
    /// Those that the log does not have yet.
    waiting: BTreeSet<(String, String)>,
    /// Looks by operator that found no room.
    more: BTreeMap<String, u64>,
}

/// What a request looks at, if that is personal data.
pub fn personal(method: &Method, uri: &Uri, rule: Option<Rule>) -> Option<String> {
    let what = rule.map(Rule::permission)?;
    let is_search = uri.path().ends_with("/search");
    let is_personal = is_search
        || matches!(what, Permission::Customers | Permission::Readings | Permission::Read);
    if !is_personal || method != Method::GET {
        return None;
    }
    let question = uri.query().filter(|_| is_search).unwrap_or_default();
    let text = question.split('&').find(|pair| pair.starts_with("text="));
    let look = match text {
        Some(text) => format!("{}?{text}", uri.path()),
        None => uri.path().to_owned(),
    };
    Some(cut(&decoded(&look)))
}

/// As people wrote it: percent-encoding undone (RFC 3986, 2.1), control characters left out.
fn decoded(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|_| *first == b'%');
        let octet = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        rest = match octet.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(octet) => {
                octets.push(octet);
                behind.get(2..).unwrap_or_default()
            }
            None => {
                octets.push(*first);
                behind
            }
        };
    }
    String::from_utf8_lossy(&octets).chars().filter(|letter| !letter.is_control()).collect()
}

/// No longer than a record takes, cut between letters.
fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_LOOK);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

impl Looks {
    /// Notes a look.
    pub fn note(&self, operator: &str, look: String) {
        let now = Instant::now();
        let mut book = self.book();
        let key = (operator.to_owned(), look);
        let again = book.noted.get(&key).is_some_and(|at| now.duration_since(*at) < ONE_LOOK);
        if again {
            return;
        }
        if book.noted.len() >= MOST {
            book.noted.retain(|_, at| now.duration_since(*at) < ONE_LOOK);
        }
        if book.noted.len() >= MOST || book.waiting.len() >= MOST {
            *book.more.entry(operator.to_owned()).or_default() += 1;
            return;
        }
        book.noted.insert(key.clone(), now);
        book.waiting.insert(key);
    }

    /// What the log does not have yet: operators with their looks, as records take them.
    pub fn take(&self) -> Vec<(String, Vec<String>)> {
        let mut book = self.book();
        let mut by_operator: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (operator, look) in std::mem::take(&mut book.waiting) {
            by_operator.entry(operator).or_default().push(look);
        }
        for (operator, more) in std::mem::take(&mut book.more) {
            by_operator.entry(operator).or_default().push(format!("and {more} more"));
        }
        let cut = |(operator, looks): (String, Vec<String>)| {
            let parts: Vec<Vec<String>> = looks.chunks(MAX_LOOKS).map(<[String]>::to_vec).collect();
            parts.into_iter().map(move |part| (operator.clone(), part))
        };
        by_operator.into_iter().flat_map(cut).collect()
    }

    /// Takes back what could not be told.
    pub fn put_back(&self, operator: &str, looks: Vec<String>) {
        let mut book = self.book();
        for look in looks {
            if book.waiting.len() < MOST {
                book.waiting.insert((operator.to_owned(), look));
            } else {
                *book.more.entry(operator.to_owned()).or_default() += 1;
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_at_people_are_seen_and_others_are_not() {
        let customers = Some(Rule::Some(Permission::Customers));
        let look = Some(Rule::Some(Permission::Look));
        for (method, uri, rule, expect) in [
            (Method::GET, "/registry/points/P-1?at=x", customers, Some("/registry/points/P-1")),
            (Method::GET, "/api/v1/search?limit=3&text=ana", look, Some("/api/v1/search?text=ana")),
            (Method::GET, "/search?text=%D0%AE%20%0A", look, Some("/search?text=Ю ")),
            (Method::GET, "/search?text=5%", look, Some("/search?text=5%")),
            (Method::GET, "/api/v1/cluster", look, None),
            (Method::PUT, "/api/v1/people/customers/K-1", customers, None),
            (Method::GET, "/registry/points", None, None),
        ] {
            let uri: Uri = uri.parse().expect("a path");
            assert_eq!(personal(&method, &uri, rule).as_deref(), expect, "{uri}");
        }
    }

    #[test]
    fn a_long_look_is_cut_between_letters() {
        let long = "Ю".repeat(MAX_LOOK);
        assert_eq!(cut(&format!("x{long}")).len(), MAX_LOOK - 1);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn a_look_is_told_once_and_kept_until_it_is() {
        let looks = Looks::default();
        for number in 0..40 {
            looks.note("ana", format!("/p/{}", number % 35));
        }
        looks.note("tom", "/p/0".to_owned());
        let taken = looks.take();
        let sizes: Vec<_> = taken.iter().map(|(who, looks)| (who.as_str(), looks.len())).collect();
        assert_eq!(sizes, [("ana", 32), ("ana", 3), ("tom", 1)]);
        looks.note("ana", "/p/1".to_owned());
        assert!(looks.take().is_empty(), "within ten minutes it is one look");
        looks.put_back("tom", vec!["/p/0".to_owned()]);
        assert_eq!(looks.take(), [("tom".to_owned(), vec!["/p/0".to_owned()])]);
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let looks = Looks::default();
        for number in 0..MOST + 7 {
            looks.note("ana", format!("/p/{number}"));
        }
        let taken = looks.take();
        let last = taken.last().and_then(|(_, looks)| looks.last().cloned());
        assert_eq!(last.as_deref(), Some("and 7 more"));
    }
}
