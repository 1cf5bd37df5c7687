//! The life of a thing: from the day it is received to the day it is scrapped.
//!
//! Invariant: only the steps of [`State::next`] are taken; building in and taking out are steps of
//! the meter's own record, if the warehouse has one.

use serde::{Deserialize, Serialize};

use super::{Body, HEADS, Head, Kind, Object, write};
use crate::apply::Tx;
use crate::error::{Stop, refuse};
use crate::units::Stamp;

/// How far a thing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It has come.
    Received,
    /// It lies in a warehouse.
    InStock,
    /// Somebody is to build it in.
    Assigned,
    /// It is built in.
    Installed,
    /// It was read for the first time.
    Commissioned,
    /// It works.
    InService,
    /// It does not.
    Faulty,
    /// It is built in and not used.
    Suspended,
    /// It was taken out.
    Removed,
    /// It is gone for good.
    Retired,
}

impl State {
    /// Every state.
    pub const ALL: [State; 10] = [
        State::Received,
        State::InStock,
        State::Assigned,
        State::Installed,
        State::Commissioned,
        State::InService,
        State::Faulty,
        State::Suspended,
        State::Removed,
        State::Retired,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            State::Received => "received",
            State::InStock => "in_stock",
            State::Assigned => "assigned",
            State::Installed => "installed",
            State::Commissioned => "commissioned",
            State::InService => "in_service",
            State::Faulty => "faulty",
            State::Suspended => "suspended",
            State::Removed => "removed",
            State::Retired => "retired",
        }
    }

    /// What may come next.
    pub fn next(self) -> &'static [State] {
        use State as S;
        match self {
            S::Received => &[S::InStock, S::Assigned, S::Retired],
            S::InStock => &[S::Assigned, S::Installed, S::Retired],
            S::Assigned => &[S::InStock, S::Installed, S::Retired],
            S::Installed => &[S::Commissioned, S::InService, S::Faulty, S::Removed],
            S::Commissioned => &[S::InService, S::Faulty, S::Removed],
            S::InService => &[S::Faulty, S::Suspended, S::Removed],
            S::Faulty => &[S::InService, S::Suspended, S::Removed],
            S::Suspended => &[S::InService, S::Faulty, S::Removed],
            S::Removed => &[S::InStock, S::Retired],
            S::Retired => &[],
        }
    }
}

/// Refuses a step that a life does not have.
pub(super) fn check_step(before: Option<&Head>, to: State) -> Result<(), Stop> {
    let state = match before.map(|head| &head.body) {
        Some(Body::Item { state, .. }) => *state,
        _ => return Ok(()),
    };
    if state == to || state.next().contains(&to) {
        return Ok(());
    }
    Err(refuse("bad_step", format!("from {} to {}", state.name(), to.name())))
}

/// Refuses to build in or take out a meter whose record does not allow it.
pub(super) fn check_meter(tx: &Tx<'_>, serial: &str, to: State, from: Stamp) -> Result<(), Stop> {
    let item = Object::new(Kind::Item, serial);
    let Some(head) = HEADS.get(tx, &item)?.filter(|head| !head.closed) else { return Ok(()) };
    check_step(Some(&head), to)?;
    if head.from >= from {
        return Err(refuse("not_in_order", format!("{item} changed at or after that time")));
    }
    Ok(())
}

/// Notes in a meter's record that it was built in or taken out.
pub(super) fn move_on(
    tx: &mut Tx<'_>,
    serial: &str,
    to: State,
    at: (Stamp, &str),
    reason: &str,
) -> Result<(), Stop> {
    let item = Object::new(Kind::Item, serial);
    let Some(head) = HEADS.get(tx, &item)?.filter(|head| !head.closed) else { return Ok(()) };
    let Body::Item { category, maker, model, region, .. } = head.body else { return Ok(()) };
    let (from, place) = (at.0, at.1.to_owned());
    let body = Body::Item { category, maker, model, state: to, place, region };
    write(tx, &item, from, Some(body), &[], reason)
}
