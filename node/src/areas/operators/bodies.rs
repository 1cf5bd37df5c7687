//! Operators as the API tells of them.

use domain::operators::{Grant, GrantState, Operator};
use domain::{Stamp, View, regions};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::areas::time;
use crate::http::problem::Problem;
use crate::texts::WHOLE;

/// An operator.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OperatorBody {
    /// The name to log in with.
    pub name: String,
    /// Name of the person or program.
    pub full_name: String,
    /// The region whose staff it is.
    pub home: u32,
    /// The home's name.
    pub home_name: String,
    /// A program.
    pub program: bool,
    /// en, es, ru or zh.
    pub language: String,
    /// active, locked, ended or new: no password yet.
    pub state: String,
    /// Roles that count now, with their regions, in words.
    pub roles: Vec<String>,
    /// Whether a second factor is asked for.
    pub second_factor: bool,
    /// When he logged in last.
    pub last_login: Option<String>,
    /// Grants that wait for a second person.
    pub waiting: usize,
}

/// An operator with everything that was granted, and the sessions.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OperatorDetail {
    /// The operator.
    #[serde(flatten)]
    pub operator: OperatorBody,
    /// Everything that was granted, ended and declined included.
    pub grants: Vec<GrantBody>,
    /// Sessions and tokens that hold.
    pub sessions: Vec<SessionBody>,
    /// Since when he is known.
    pub registered: String,
    /// Since when he is gone.
    pub ended: Option<String>,
}

/// A role in a region.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct GrantBody {
    /// Its number with this operator.
    pub id: u32,
    /// The role.
    pub role: String,
    /// The region.
    pub region: u32,
    /// The region's name.
    pub region_name: String,
    /// From when on.
    pub from: String,
    /// Until when; null: for good.
    pub until: Option<String>,
    /// waiting, given, declined, revoked or over.
    pub state: String,
    /// Who asked for it.
    pub by: String,
    /// The second person.
    pub judged_by: Option<String>,
    /// Why.
    pub reason: String,
}

/// A session or token that holds.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionBody {
    /// login or token.
    pub kind: String,
    /// Where a login came from, or what a token is for.
    pub label: String,
    /// Since when.
    pub begun: String,
    /// When it was last used, to a minute or so.
    pub used: String,
    /// When it ends at the latest.
    pub expires: String,
}

fn region_name(view: &dyn View, id: u32) -> Result<String, Problem> {
    let known = regions::region(view, id)?;
    Ok(known.map_or_else(|| WHOLE.to_owned(), |region| region.name))
}

/// An operator in the API's words.
pub fn body(view: &dyn View, one: &Operator, now: Stamp) -> Result<OperatorBody, Problem> {
    let locked = one.locked_until.is_some_and(|until| now < until);
    let state = match one {
        _ if one.ended.is_some() => "ended",
        _ if locked => "locked",
        _ if one.password.is_none() && !one.program => "new",
        _ => "active",
    };
    let counting = one.grants.iter().filter(|grant| one.ended.is_none() && grant.counts(now));
    let roles = counting
        .map(|grant| Ok(format!("{} in {}", grant.role.name(), region_name(view, grant.region)?)));
    Ok(OperatorBody {
        name: one.name.clone(),
        full_name: one.about.full_name.clone(),
        home: one.home,
        home_name: region_name(view, one.home)?,
        program: one.program,
        language: one.about.language.clone(),
        state: state.to_owned(),
        roles: roles.collect::<Result<_, Problem>>()?,
        second_factor: one.factor.as_ref().is_some_and(|factor| factor.confirmed),
        last_login: one.last_login.map(time::stamp),
        waiting: one.grants.iter().filter(|grant| grant.waits(now)).count(),
    })
}

/// A grant in the API's words.
pub fn grant_body(view: &dyn View, grant: &Grant, now: Stamp) -> Result<GrantBody, Problem> {
    let (state, judged_by) = match &grant.state {
        GrantState::Waiting { .. } if grant.waits(now) => ("waiting", None),
        GrantState::Waiting { .. } => ("over", None),
        GrantState::Given { approved_by } if grant.until.is_none_or(|until| now < until) => {
            ("given", approved_by.clone())
        }
        GrantState::Given { approved_by } => ("over", approved_by.clone()),
        GrantState::Declined { by } => ("declined", Some(by.clone())),
        GrantState::Revoked { by, .. } => ("revoked", Some(by.clone())),
    };
    Ok(GrantBody {
        id: grant.id,
        role: grant.role.name().to_owned(),
        region: grant.region,
        region_name: region_name(view, grant.region)?,
        from: time::stamp(grant.from),
        until: grant.until.map(time::stamp),
        state: state.to_owned(),
        by: grant.by.clone(),
        judged_by,
        reason: grant.reason.clone(),
    })
}
