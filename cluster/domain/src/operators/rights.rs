//! What somebody may do where, at one time; and how much of the state that shows.

use std::collections::BTreeSet;

use super::{Operator, Permission, Role};
use crate::apply::View;
use crate::error::Fault;
use crate::regions::{self, ROOT};
use crate::units::Stamp;

/// Roles that count at one time, each with its region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    founder: bool,
    held: Vec<(Role, u32)>,
}

/// Regions that may be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// These, and nothing else.
    Regions(BTreeSet<u32>),
}

impl Rights {
    /// Of whoever has the token of the cluster's foundation: everything.
    pub fn founder() -> Rights {
        Rights { founder: true, held: Vec::new() }
    }

    /// Of an operator at a time.
    pub fn of(operator: &Operator, at: Stamp) -> Rights {
        let held = operator.grants.iter().filter(|grant| grant.counts(at));
        let held = held.map(|grant| (grant.role, grant.region)).collect();
        Rights { founder: false, held: if operator.ended.is_some() { Vec::new() } else { held } }
    }

    /// Whether something may be done in a region.
    pub fn may(&self, view: &dyn View, what: Permission, region: u32) -> Result<bool, Fault> {
        if self.founder {
            return Ok(true);
        }
        let path = regions::path(view, region)?;
        Ok(self.with(what).any(|held| path.contains(&held)))
    }

    /// Whether something may be done in any region.
    pub fn may_somewhere(&self, what: Permission) -> bool {
        self.founder || self.with(what).next().is_some()
    }

    /// Whether something may be done in every region.
    pub fn may_everywhere(&self, what: Permission) -> bool {
        self.founder || self.with(what).any(|top| top == ROOT)
    }

    /// Where something may be done: what a question of that kind sees.
    pub fn scope(&self, view: &dyn View, what: Permission) -> Result<Scope, Fault> {
        let tops: BTreeSet<u32> = self.with(what).collect();
        if self.founder || tops.contains(&ROOT) {
            return Ok(Scope::All);
        }
        let mut seen = BTreeSet::new();
        if !tops.is_empty() {
            for region in regions::regions(view)? {
                if regions::path(view, region.id)?.iter().any(|above| tops.contains(above)) {
                    seen.insert(region.id);
                }
            }
        }
        Ok(Scope::Regions(seen))
    }

    /// The roles that count, each with its region.
    pub fn held(&self) -> &[(Role, u32)] {
        &self.held
    }

    /// Whether this is the founder.
    pub fn is_founder(&self) -> bool {
        self.founder
    }

    fn with(&self, what: Permission) -> impl Iterator<Item = u32> {
        let held = self.held.iter().filter(move |(role, _)| role.permissions().contains(&what));
        held.map(|(_, region)| *region)
    }
}

impl Scope {
    /// Whether a region is within.
    pub fn has(&self, region: u32) -> bool {
        match self {
            Scope::All => true,
            Scope::Regions(seen) => seen.contains(&region),
        }
    }
}
