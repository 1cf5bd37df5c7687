//! Roles as they are granted: dated, for a region, some of them only with a second person's yes.

use serde::{Deserialize, Serialize};

use super::{Role, active, keep};
use crate::apply::{Author, Done, Tx};
use crate::error::{Stop, refuse};
use crate::operators::FOUNDER;
use crate::regions::{self, ROOT, check_reason};
use crate::units::Stamp;

/// How long a grant waits for its second person, in milliseconds: a week.
pub const WAITS_MS: u64 = 7 * 86_400_000;
/// The most grants that an operator's record holds; ended ones make room.
const MAX_GRANTS: usize = 64;

/// A role in a region and all below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its number with this operator, from 1 on; never reused.
    pub id: u32,
    /// Which role.
    pub role: Role,
    /// Where.
    pub region: u32,
    /// From when on.
    pub from: Stamp,
    /// Until when.
    pub until: Option<Stamp>,
    /// Who asked for it.
    pub by: String,
    /// When.
    pub asked: Stamp,
    /// Why.
    pub reason: String,
    /// What became of it.
    pub state: GrantState,
}

/// What became of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantState {
    /// A second person is asked until then.
    Waiting {
        /// Void from here on.
        until: Stamp,
    },
    /// It counts.
    Given {
        /// The second person, where one was needed.
        approved_by: Option<String>,
    },
    /// The second person said no.
    Declined {
        /// Who.
        by: String,
    },
    /// It ended before its time.
    Revoked {
        /// Who.
        by: String,
        /// When.
        at: Stamp,
    },
}

/// What is asked for.
pub(super) struct Wish {
    pub role: Role,
    pub region: u32,
    pub from: Option<Stamp>,
    pub until: Option<Stamp>,
}

impl Grant {
    /// Whether it counts at a time.
    pub fn counts(&self, at: Stamp) -> bool {
        matches!(self.state, GrantState::Given { .. })
            && self.from <= at
            && self.until.is_none_or(|until| at < until)
    }

    /// Whether it waits for a second person at a time.
    pub fn waits(&self, at: Stamp) -> bool {
        matches!(self.state, GrantState::Waiting { until } if at < until)
    }

    /// Whether nothing can come of it any more.
    pub fn is_over(&self, at: Stamp) -> bool {
        match self.state {
            GrantState::Waiting { until } => until <= at,
            GrantState::Given { .. } => self.until.is_some_and(|until| until <= at),
            GrantState::Declined { .. } | GrantState::Revoked { .. } => true,
        }
    }
}

pub(super) fn grant(tx: &mut Tx<'_>, name: &str, wish: Wish, reason: &str) -> Result<Done, Stop> {
    check_reason(reason)?;
    let author = other_than(tx, name)?;
    let mut known = active(tx, name)?;
    let Wish { role, region, from, until } = wish;
    if region != ROOT && regions::region(tx, region)?.is_none_or(|r| r.closed.is_some()) {
        return Err(refuse("unknown_region", region.to_string()));
    }
    let from = from.unwrap_or(tx.stamp);
    if from < tx.stamp || until.is_some_and(|until| until <= from) {
        return Err(refuse("bad_validity", "a grant begins now or later and ends after that"));
    }
    if known.grants.len() >= MAX_GRANTS {
        let over = known.grants.iter().position(|grant| grant.is_over(tx.stamp));
        let Some(over) = over else {
            return Err(refuse("bad_grant", format!("{name} has {MAX_GRANTS} grants")));
        };
        known.grants.remove(over);
    }
    // The founder is who sets a cluster up, alone; the audit trail shows it.
    let waits = role.needs_two() && author != FOUNDER;
    let state = if waits {
        GrantState::Waiting { until: tx.stamp.plus_ms(WAITS_MS) }
    } else {
        GrantState::Given { approved_by: None }
    };
    let id = known.grants.iter().map(|grant| grant.id).max().unwrap_or(0) + 1;
    let (asked, reason) = (tx.stamp, reason.to_owned());
    known.grants.push(Grant { id, role, region, from, until, by: author, asked, reason, state });
    keep(tx, &known)?;
    Ok(Done::Granted { grant: id, waits })
}

pub(super) fn judge(tx: &mut Tx<'_>, name: &str, id: u32, approve: bool) -> Result<Done, Stop> {
    let author = other_than(tx, name)?;
    let mut known = active(tx, name)?;
    let now = tx.stamp;
    let found = known.grants.iter_mut().find(|grant| grant.id == id && grant.waits(now));
    let Some(grant) = found else {
        return Err(refuse("unknown_grant", format!("{name} {id}: none that waits")));
    };
    if grant.by == author {
        return Err(refuse("second_person", "who asked for a grant does not approve it"));
    }
    grant.state = if approve {
        GrantState::Given { approved_by: Some(author) }
    } else {
        GrantState::Declined { by: author }
    };
    keep(tx, &known)
}

pub(super) fn revoke(tx: &mut Tx<'_>, name: &str, id: u32, reason: &str) -> Result<Done, Stop> {
    check_reason(reason)?;
    let by = tx.author.name();
    let mut known = active(tx, name)?;
    let at = tx.stamp;
    let found = known.grants.iter_mut().find(|grant| grant.id == id && !grant.is_over(at));
    let Some(grant) = found else {
        return Err(refuse("unknown_grant", format!("{name} {id}: none that counts or waits")));
    };
    grant.state = GrantState::Revoked { by, at };
    keep(tx, &known)
}

/// The author's name, who must be another than whose rights change.
fn other_than(tx: &Tx<'_>, name: &str) -> Result<String, Stop> {
    match tx.author {
        Author::Operator(author) if author != name => Ok(author.clone()),
        _ => Err(refuse("own_rights", "nobody changes his own rights")),
    }
}
