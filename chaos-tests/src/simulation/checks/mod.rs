//! The promises, each judged by itself over what was asked, what was told and what stands in the
//! end.
//!
//! Not here: what judges while a story runs (`watch`).
//! Invariant: a check that cannot see what it needs says so; it never passes for want of evidence.

mod answers;
mod grants;
mod registers;
mod states;

use std::collections::BTreeMap;

use cluster::LocalView;
use domain::{Outcome, ProposalId, apply::outcome_of};

use super::history::Asked;

/// A promise that does not hold, and how that is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which promise.
    pub promise: &'static str,
    /// What was seen.
    pub seen: String,
}

/// A promise that does not hold.
pub fn broken(promise: &'static str, seen: impl Into<String>) -> Broken {
    Broken { promise, seen: seen.into() }
}

/// What the log made of each proposal, by its id.
pub type Known = BTreeMap<ProposalId, (u64, Outcome)>;

/// What there is to judge by, when everything has settled.
pub struct Evidence {
    /// What was asked and told.
    pub asked: Vec<Asked>,
    /// What stands at each node: number, state, and its stored values.
    pub nodes: Vec<(u64, LocalView, storage::Segments)>,
    /// Of the first node, which all others must equal.
    pub known: Known,
}

impl Evidence {
    /// Reads what became of every question.
    pub fn gather(
        asked: Vec<Asked>,
        nodes: Vec<(u64, LocalView, storage::Segments)>,
    ) -> Result<Self, Broken> {
        let fault = |error: domain::Fault| broken("the state can be read", error.to_string());
        let Some((_, view, _)) = nodes.first() else {
            return Err(broken("the state can be read", "no node stands"));
        };
        let mut known = Known::new();
        for one in &asked {
            if let Some(outcome) = outcome_of(view, &one.id).map_err(fault)? {
                known.insert(one.id, outcome);
            }
        }
        Ok(Self { asked, nodes, known })
    }

    /// Every promise that does not hold.
    pub fn judge(&self) -> Vec<Broken> {
        let mut all = Vec::new();
        answers::check(self, &mut all);
        registers::check(self, &mut all);
        grants::check(&self.asked, &self.known, &mut all);
        states::check(self, &mut all);
        all
    }
}
