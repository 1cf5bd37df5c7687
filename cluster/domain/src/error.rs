//! The ways in which a change can end other than well.
//!
//! A [`Refusal`] is a no by rule: it has a stable code, is the same on every replica and is part of
//! the result. A [`Fault`] means that this node cannot read its own state: it must halt and never
//! skip an entry. [`Malformed`] are octets that do not decode. None of them is ever a panic.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::apply::Table;

/// A no by rule. Equal on every replica, because it is hashed with the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// Stable code, listed in `docs/reference/refusals.md`. Other people's scripts match on it.
    pub code: Cow<'static, str>,
    /// For a person: which thing, and what was found. Never a secret.
    pub detail: String,
}

impl Refusal {
    /// A refusal with a code of the reference list.
    pub fn new(code: &'static str, detail: impl Into<String>) -> Refusal {
        Refusal { code: Cow::Borrowed(code), detail: detail.into() }
    }
}

/// This node cannot read its own state. The only right answer is to halt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The store under the view failed.
    #[error("the tables cannot be read: {0}")]
    Storage(String),
    /// A row does not decode as what its table holds.
    #[error("a row of table {table:?} is damaged: {why}")]
    Corrupt {
        /// Where the row stands.
        table: Table,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An entry was offered that had been applied before: a bug of the caller.
    #[error("entry {offered} was offered after entry {applied}")]
    OutOfOrder {
        /// Index of the entry offered now.
        offered: u64,
        /// Index of the last entry applied.
        applied: u64,
    },
}

/// Why an area stopped in the middle of a change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// By rule; everything that the change wrote is dropped.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The state cannot be read.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Stops a change by rule.
pub fn refuse(code: &'static str, detail: impl Into<String>) -> Stop {
    Stop::Refused(Refusal::new(code, detail))
}

/// Octets that do not decode. The text says what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed: {0}")]
pub struct Malformed(pub &'static str);
