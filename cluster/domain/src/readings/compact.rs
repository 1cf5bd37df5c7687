//! Months whose day files wait to be folded into one file, and months that are.
//!
//! A month of a shard is folded once it has been over for [`COMPACT_AFTER_DAYS`]: until then its
//! day files serve questions about many meters. What comes later makes files of its own, folded
//! in when they hold more than one row in [`LATE_SHARE`] of the month's. Invariant: what a fold
//! takes follows from the log alone: all that was sealed before its entry.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::slots::{DAY_S, month_end, month_of};
use super::tier;
use crate::apply::table::{END, Typed, after};
use crate::apply::{Done, Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::units::Stamp;

/// How month files are written today; see the storage crate.
pub const MONTH_RECIPE: u16 = 2;

/// Days after a month's end before it is folded: its day files are kept that long at least.
pub const COMPACT_AFTER_DAYS: i64 = 35;

/// A folded month is folded again when late rows are more than one in this many.
pub const LATE_SHARE: u64 = 100;

/// The most compactions that are due at a time: each takes a node seconds to minutes.
const MAX_DUE: usize = 16;

/// Rows of one step of a look.
const PAGE: usize = 1024;

/// Rows of a day that no seal has taken yet.
static OPEN_ROWS: Typed<(u16, u32, i32), u64> = Typed::new(Table::OpenRows);
pub(super) static OPEN_MONTHS: Typed<(u16, u32, i32), OpenMonth> = Typed::new(Table::OpenMonths);
pub(super) static MONTHS: Typed<(u16, u32, i32), Month> = Typed::new(Table::Months);

/// Fold one month of one shard into one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Compact {
    /// Which table of values; 0 is irregular reads.
    pub interval_minutes: u16,
    /// Meter ordinal / [`SHARD_METERS`](super::SHARD_METERS).
    pub shard: u32,
    /// Months since 1970-01, UTC.
    pub month: i32,
    /// How the file is written.
    pub recipe: u16,
    /// Index of the last seal of the month that the planner saw; a later one means a new plan.
    pub up_to_index: u64,
}

impl fmt::Display for Compact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compact { interval_minutes, shard, month, recipe, up_to_index } = self;
        write!(f, "interval {interval_minutes} shard {shard} month {month} recipe {recipe}")?;
        write!(f, " up to {up_to_index}")
    }
}

/// Sealed days of a month that no month file holds.
#[derive(Serialize, Deserialize)]
pub(super) struct OpenMonth {
    month: (u16, u32, i32),
    rows: u64,
    sealed_index: u64,
}

/// A month that was folded.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Month {
    pub(super) index: u64,
    recipe: u16,
    rows: u64,
    times: u32,
}

pub(super) fn apply(tx: &mut Tx<'_>, compact: &Compact) -> Result<Done, Stop> {
    let key = (compact.interval_minutes, compact.shard, compact.month);
    let Some(open) = OPEN_MONTHS.get(tx, &key)? else {
        return Err(refuse("nothing_to_compact", compact.to_string()));
    };
    if compact.recipe != MONTH_RECIPE {
        return Err(refuse("bad_recipe", compact.to_string()));
    }
    if open.sealed_index > compact.up_to_index {
        return Err(refuse("compact_stale", compact.to_string()));
    }
    if tier::is_archived(tx, &key)? {
        return Err(refuse("month_archived", compact.to_string()));
    }
    let before = MONTHS.get(tx, &key)?;
    if !open.is_due(tx.stamp, before.as_ref()) {
        return Err(refuse("too_early", compact.to_string()));
    }
    let before = before.unwrap_or_default();
    let folded = Month {
        index: tx.index,
        recipe: compact.recipe,
        rows: before.rows.saturating_add(open.rows),
        times: before.times.saturating_add(1),
    };
    OPEN_MONTHS.delete(tx, &key);
    MONTHS.put(tx, &key, &folded)?;
    tx.compactions.push(*compact);
    Ok(Done::Noted)
}

/// Counts rows that came for a day.
pub(super) fn count(tx: &mut Tx<'_>, day: (u16, u32, i32), rows: u64) -> Result<(), Fault> {
    let before = OPEN_ROWS.get(tx, &day)?.unwrap_or(0);
    OPEN_ROWS.put(tx, &day, &before.saturating_add(rows))
}

/// A day was sealed: its rows wait for their month's file.
pub(super) fn sealed(tx: &mut Tx<'_>, day: (u16, u32, i32)) -> Result<(), Fault> {
    let rows = OPEN_ROWS.get(tx, &day)?.unwrap_or(0);
    OPEN_ROWS.delete(tx, &day);
    let month = (day.0, day.1, month_of(day.2));
    let before = OPEN_MONTHS.get(tx, &month)?.map_or(0, |open| open.rows);
    let open = OpenMonth { month, rows: before.saturating_add(rows), sealed_index: tx.index };
    OPEN_MONTHS.put(tx, &month, &open)
}

impl OpenMonth {
    fn is_due(&self, stamp: Stamp, folded: Option<&Month>) -> bool {
        let end_s = i64::from(month_end(self.month.2)) * DAY_S;
        let over = stamp.seconds() > end_s.saturating_add(COMPACT_AFTER_DAYS * DAY_S);
        over && folded.is_none_or(|month| self.rows.saturating_mul(LATE_SHARE) > month.rows)
    }
}

/// The compactions that may be proposed at a stamp, with today's recipe; at most 16 of them.
pub fn due_compactions(view: &dyn View, stamp: Stamp) -> Result<Vec<Compact>, Fault> {
    let mut due = Vec::new();
    let mut from = Vec::new();
    loop {
        let page = OPEN_MONTHS.scan(view, &from, END, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(due) };
        from = after(last);
        for (_, open) in page {
            let folded = MONTHS.get(view, &open.month)?;
            if !open.is_due(stamp, folded.as_ref()) || tier::is_archived(view, &open.month)? {
                continue;
            }
            let (interval_minutes, shard, month) = open.month;
            let up_to_index = open.sealed_index;
            let recipe = MONTH_RECIPE;
            due.push(Compact { interval_minutes, shard, month, recipe, up_to_index });
            if due.len() == MAX_DUE {
                return Ok(due);
            }
        }
    }
}
