//! Days that wait to be sealed, and days that are.
//!
//! A day of a shard is open from its first value until an entry seals it. Values that come after
//! that open it again, and it is sealed once more later: the store joins both. Invariant: a day is
//! sealed by the log alone, never by a node's clock.

use serde::{Deserialize, Serialize};

use super::slots::DAY_S;
use super::{Seal, compact};
use crate::apply::table::{END, Typed};
use crate::apply::{Done, Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::units::Stamp;

/// How files are written today; see the storage crate.
pub const RECIPE: u16 = 1;

/// A day may be sealed six hours after its end: late concentrators have caught up by then.
const WAIT_S: i64 = 6 * 3600;

/// A day that late values have opened again gathers more of them for an hour.
const GATHER_S: i64 = 3600;

/// The most seals that are due at a time: each makes files, and the next look finds the rest.
const MAX_DUE: usize = 64;

/// The most open days that one look goes through.
const MAX_SEEN: usize = 4096;

static OPEN: Typed<(u16, u32, i32), Open> = Typed::new(Table::OpenDays);
static SEALED: Typed<(u16, u32, i32), Sealed> = Typed::new(Table::SealedDays);

/// A day with values that no file holds.
#[derive(Serialize, Deserialize)]
struct Open {
    seal: (u16, u32, i32),
    since: Stamp,
    /// It was sealed before.
    again: bool,
}

/// A day that was sealed.
#[derive(Serialize, Deserialize)]
struct Sealed {
    index: u64,
    recipe: u16,
    times: u32,
}

pub(super) fn apply(tx: &mut Tx<'_>, seal: &Seal) -> Result<Done, Stop> {
    let key = (seal.interval_minutes, seal.shard, seal.day);
    let before = SEALED.get(tx, &key)?;
    let Some(open) = OPEN.get(tx, &key)? else {
        return Err(match before {
            Some(_) => refuse("already_sealed", seal.to_string()),
            None => refuse("nothing_to_seal", seal.to_string()),
        });
    };
    if !open.is_due(tx.stamp) {
        return Err(refuse("too_early", seal.to_string()));
    }
    OPEN.delete(tx, &key);
    let times = before.map_or(0, |sealed| sealed.times).saturating_add(1);
    SEALED.put(tx, &key, &Sealed { index: tx.index, recipe: seal.recipe, times })?;
    compact::sealed(tx, key)?;
    tx.seals.push(*seal);
    Ok(Done::Noted)
}

/// Opens a day, unless it is open.
pub(super) fn open(tx: &mut Tx<'_>, interval: u16, shard: u32, day: i32) -> Result<(), Fault> {
    let key = (interval, shard, day);
    if OPEN.get(tx, &key)?.is_some() {
        return Ok(());
    }
    let again = SEALED.get(tx, &key)?.is_some();
    let since = tx.stamp;
    OPEN.put(tx, &key, &Open { seal: key, since, again })
}

impl Open {
    fn is_due(&self, stamp: Stamp) -> bool {
        let end_s = (i64::from(self.seal.2) + 1) * DAY_S;
        let gathered = !self.again || stamp.seconds() > self.since.seconds() + GATHER_S;
        stamp.seconds() > end_s + WAIT_S && gathered
    }
}

/// The seals that may be proposed at a stamp, with today's recipe; at most 64 of them.
pub fn due_seals(view: &dyn View, stamp: Stamp) -> Result<Vec<Seal>, Fault> {
    let mut due = Vec::new();
    for (_, open) in OPEN.scan(view, &[], END, MAX_SEEN)? {
        if open.is_due(stamp) && due.len() < MAX_DUE {
            let (interval_minutes, shard, day) = open.seal;
            due.push(Seal { interval_minutes, shard, day, recipe: RECIPE });
        }
    }
    Ok(due)
}

/// Whether a day of a shard has been sealed and nothing has come since.
pub fn is_sealed(view: &dyn View, interval: u16, shard: u32, day: i32) -> Result<bool, Fault> {
    let key = (interval, shard, day);
    Ok(SEALED.get(view, &key)?.is_some() && OPEN.get(view, &key)?.is_none())
}
