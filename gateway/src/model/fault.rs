//! What is wrong with a model file: every fault with its line, its place and a stable code. It
//! decides nothing.
//!
//! Invariant: codes are stable; `docs/reference/models.md` explains each.

use std::fmt;

/// One fault of a model file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Line of the file, counted from 1; 0 when the whole file is meant.
    pub line: usize,
    /// The table and what it names: `object 1-0:1.8.0`, `limits`; empty for the top of the file.
    pub place: String,
    /// Stable code.
    pub code: &'static str,
    /// What is wrong, in words.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        write!(f, "{}: {}", self.code, self.text)
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub list: Vec<Fault>,
}

impl Faults {
    /// Notes one.
    pub fn add(&mut self, at: &At, code: &'static str, text: impl Into<String>) {
        let (line, place) = (at.line, at.place.clone());
        self.list.push(Fault { line, place, code, text: text.into() });
    }

    /// All of them in the order of the file.
    pub fn finish(mut self) -> Vec<Fault> {
        self.list.sort();
        self.list.dedup();
        self.list
    }
}

/// Where in the file something stands.
#[derive(Debug, Clone, Default)]
pub(super) struct At {
    pub line: usize,
    pub place: String,
}

impl At {
    /// The whole file.
    pub fn top() -> Self {
        Self::default()
    }

    /// A table, and what it names.
    pub fn new(line: usize, place: impl Into<String>) -> Self {
        Self { line, place: place.into() }
    }
}
