//! Where folded months lie: on the nodes' disks, in the archive, or nowhere any more.
//!
//! A month of a shard goes to the archive, and later away, by the retention parameters of its
//! class. A node copies its file and reads it back before it proposes `Archive`; the entry says
//! which file that is, and only then local copies may go, on any node. Where files lie is a fact
//! of the tables: whoever restarts or joins finds it there.
//!
//! Invariants: 1. What is archived is one whole month file, by content; it is never folded again.
//! 2. Nothing goes before its parameter says so at the entry's stamp. 3. A month that was removed
//! takes its corrections along in no case: those stay.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::compact::{MONTHS, OPEN_MONTHS};
use super::slots::month_of;
use crate::apply::table::{END, Key, Typed, after};
use crate::apply::{Done, Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::parameters;
use crate::units::{Obis, Stamp};

/// The most columns and blocks of an archived file that an entry may name.
const MAX_NAMED: usize = 1024;

/// Rows of one step of a look.
const PAGE: usize = 1024;

/// One month of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MonthOf {
    /// Which table of values; 0 is irregular reads.
    pub interval_minutes: u16,
    /// Meter ordinal / [`SHARD_METERS`](super::SHARD_METERS).
    pub shard: u32,
    /// Months since 1970-01, UTC.
    pub month: i32,
}

/// A month file in the archive: all that is needed to fetch and to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedFile {
    /// Index of the entry that folded it.
    pub sealed_index: u64,
    /// How it was written.
    pub recipe: u16,
    /// Days that it covers.
    pub days: u16,
    /// Rows.
    pub rows: u64,
    /// Rows of values beside others.
    pub besides: u64,
    /// Octets of the file.
    pub octets: u64,
    /// Columns, in the file's order.
    pub columns: Vec<Obis>,
    /// Blocks of 64 meters, in order.
    pub blocks: Vec<u16>,
    /// blake3 of the canonical content.
    pub content_hash: [u8; 32],
    /// blake3 of the file.
    pub file_hash: [u8; 32],
}

/// A folded month is in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Which.
    pub month: MonthOf,
    /// Its file there.
    pub file: ArchivedFile,
}

/// A month that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Which.
    pub month: MonthOf,
    /// Index of the entry; files that earlier entries sealed are to go.
    pub index: u64,
    /// Its file in the archive, which is to go too.
    pub file: Option<ArchivedFile>,
}

/// What is due of a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Copy it to the archive.
    Archive {
        /// Which.
        month: MonthOf,
        /// Index of the entry that folded it.
        sealed_index: u64,
    },
    /// Remove it.
    Forget(MonthOf),
}

type Place = (u16, u32, i32);

static ARCHIVED: Typed<Place, Archive> = Typed::new(Table::ArchivedMonths);
static GONE: Typed<Place, Gone> = Typed::new(Table::GoneMonths);

impl fmt::Display for MonthOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MonthOf { interval_minutes, shard, month } = self;
        write!(f, "interval {interval_minutes} shard {shard} month {month}")
    }
}

impl MonthOf {
    fn place(&self) -> Place {
        (self.interval_minutes, self.shard, self.month)
    }
}

/// Months that a class of data stays online, and months that it is kept; 0: for ever.
#[derive(Clone, Copy)]
struct Policy {
    online: u32,
    kept: u32,
}

impl Policy {
    fn of(view: &dyn View, interval_minutes: u16, stamp: Stamp) -> Result<Policy, Fault> {
        let (online, kept) = match interval_minutes {
            0 => (parameters::READINGS_ONLINE, parameters::READINGS_KEPT),
            _ => (parameters::PROFILES_ONLINE, parameters::PROFILES_KEPT),
        };
        let value = |name| parameters::value(view, name, stamp);
        Ok(Policy { online: value(online)?, kept: value(kept)? })
    }

    /// Whether so many whole months have passed since a month's end.
    fn passed(months: u32, month: i32, stamp: Stamp) -> bool {
        let now = i64::from(month_of(super::day_of(stamp.seconds())));
        months != 0 && now - i64::from(month) > i64::from(months)
    }
}

pub(super) fn archive(tx: &mut Tx<'_>, archive: &Archive) -> Result<Done, Stop> {
    let Archive { month, file } = archive;
    let key = month.place();
    let folded = MONTHS.get(tx, &key)?.filter(|folded| folded.index == file.sealed_index);
    if folded.is_none() {
        return Err(refuse("archive_stale", month.to_string()));
    }
    if ARCHIVED.get(tx, &key)?.is_some() {
        return Err(refuse("already_archived", month.to_string()));
    }
    if file.columns.len() > MAX_NAMED || file.blocks.len() > MAX_NAMED {
        return Err(refuse("bad_archive", month.to_string()));
    }
    let policy = Policy::of(tx, month.interval_minutes, tx.stamp)?;
    if !Policy::passed(policy.online, month.month, tx.stamp) {
        return Err(refuse("too_early", month.to_string()));
    }
    ARCHIVED.put(tx, &key, archive)?;
    Ok(Done::Noted)
}

pub(super) fn forget(tx: &mut Tx<'_>, month: &MonthOf) -> Result<Done, Stop> {
    let key = month.place();
    let archived = ARCHIVED.get(tx, &key)?;
    if MONTHS.get(tx, &key)?.is_none() {
        return Err(refuse("nothing_to_forget", month.to_string()));
    }
    let policy = Policy::of(tx, month.interval_minutes, tx.stamp)?;
    if !Policy::passed(policy.kept, month.month, tx.stamp) {
        return Err(refuse("too_early", month.to_string()));
    }
    MONTHS.delete(tx, &key);
    OPEN_MONTHS.delete(tx, &key);
    ARCHIVED.delete(tx, &key);
    let file = archived.map(|archived| archived.file);
    GONE.put(tx, &key, &Gone { month: *month, index: tx.index, file })?;
    Ok(Done::Noted)
}

/// Whether a month is in the archive, and so is never folded again.
pub(super) fn is_archived(view: &dyn View, key: &Place) -> Result<bool, Fault> {
    Ok(ARCHIVED.get(view, key)?.is_some())
}

/// Every month in the archive.
pub fn archived(view: &dyn View) -> Result<Vec<Archive>, Fault> {
    all(view, &ARCHIVED)
}

/// Every month that is gone.
pub fn gone(view: &dyn View) -> Result<Vec<Gone>, Fault> {
    all(view, &GONE)
}

fn all<V: Serialize + serde::de::DeserializeOwned>(
    view: &dyn View,
    table: &Typed<Place, V>,
) -> Result<Vec<V>, Fault> {
    let (mut found, mut from) = (Vec::new(), Vec::new());
    loop {
        let page = table.scan(view, &from, END, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        from = after(last);
        found.extend(page.into_iter().map(|(_, row)| row));
    }
}

/// What is due at a stamp, at most `limit` months: those to be removed are not archived first.
pub fn due_tiers(view: &dyn View, stamp: Stamp, limit: usize) -> Result<Vec<Due>, Fault> {
    let (readings, profiles) = (Policy::of(view, 0, stamp)?, Policy::of(view, 1, stamp)?);
    let (mut due, mut from) = (Vec::new(), Vec::new());
    loop {
        let page = MONTHS.scan(view, &from, END, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(due) };
        from = after(last);
        for (key, folded) in page {
            let month = month_of_key(&key)?;
            let policy = if month.interval_minutes == 0 { readings } else { profiles };
            if Policy::passed(policy.kept, month.month, stamp) {
                due.push(Due::Forget(month));
            } else if Policy::passed(policy.online, month.month, stamp)
                && !is_archived(view, &month.place())?
            {
                due.push(Due::Archive { month, sealed_index: folded.index });
            }
            if due.len() >= limit {
                return Ok(due);
            }
        }
    }
}

fn month_of_key(key: &[u8]) -> Result<MonthOf, Fault> {
    let corrupt = Fault::Corrupt { table: Table::Months, why: "the key is of another length" };
    let octets: [u8; 10] = key.try_into().map_err(|_| corrupt)?;
    let [a, b, c, d, e, f, g, h, i, j] = octets;
    let month = MonthOf {
        interval_minutes: u16::from_be_bytes([a, b]),
        shard: u32::from_be_bytes([c, d, e, f]),
        month: (u32::from_be_bytes([g, h, i, j]) ^ 0x8000_0000).cast_signed(),
    };
    debug_assert_eq!(month.place().octets(), key);
    Ok(month)
}
