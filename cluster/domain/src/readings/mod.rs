//! Readings: which series there are, up to when, how many of the values due are stored, and which
//! days wait to be sealed. The values themselves are not in the tables: they go out as rows.
//!
//! Invariants: 1. A part of an ingest is taken whole or refused whole. 2. A slot that came twice
//! counts once. 3. The scaler and unit of a series never change. 4. A row reaches the store only
//! under the current epoch of the channel it came by.

mod batch;
mod collect;
mod compact;
mod gaps;
mod ingest;
mod overlay;
mod packed;
mod seal;
mod slots;
mod tier;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use batch::{Batch, BatchBuilder, MAX_REGISTERS, MAX_ROWS, Register, Row, Rows};
pub use collect::{
    Collection, DEFAULT_INTERVAL_MINUTES, Spread, collection, collection_of, collection_with,
    spread,
};
pub use compact::{COMPACT_AFTER_DAYS, Compact, LATE_SHARE, MONTH_RECIPE, due_compactions};
pub(crate) use gaps::collected;
pub use gaps::{
    Answered, Gap, Hole, MAX_ANSWERED, Refill, gaps_of, holes, holes_of, refill_window, slots_of,
};
pub use ingest::{MAX_INGEST_ROWS, MAX_PARTS};
pub use overlay::{Correct, Corrected, MAX_CORRECTED, Method, Quality, corrections, counting};
pub use seal::{RECIPE, due_seals, is_sealed};
pub use slots::{day_of, interval_fits, month_of};
pub use tier::{Archive, ArchivedFile, Due, Gone, MonthOf, archived, due_tiers, gone};

use crate::apply::table::{Typed, end_of};
use crate::apply::{Done, Outcome, Table, Tx, View};
use crate::error::{Fault, Stop};
use crate::units::{Device, Obis};
use slots::DaySlots;

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Store values.
    Ingest(Ingest),
    /// Seal a day of a shard into a file.
    Seal(Seal),
    /// Fold a month of a shard into a file.
    Compact(Compact),
    /// Put values beside what was measured.
    Correct(Correct),
    /// A folded month was copied to the archive.
    Archive(Archive),
    /// A month is removed for good.
    Forget(MonthOf),
    /// Store values that were asked for because they were missing.
    Refill(Refill),
}

/// Values of any number of concentrators and meters, each part judged by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingest {
    /// One part for each channel; the outcome answers part by part.
    pub parts: Vec<Part>,
}

/// What came by one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Whose channel, and the epoch of its lease. Nodes must give it.
    pub lease: Option<(Device, u64)>,
    /// How far the concentrator's pushes are stored with this part.
    pub mark: Option<Mark>,
    /// The values.
    pub batches: Vec<Batch>,
}

/// How far the pushes of a concentrator are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Logical device name.
    pub concentrator: String,
    /// Last push sequence stored.
    pub sequence: u32,
    /// Highest invocation counter seen from it.
    pub counter: u32,
}

/// Seal one day of one shard of meters into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seal {
    /// Which table of values; 0 is irregular reads.
    pub interval_minutes: u16,
    /// Meter ordinal / [`SHARD_METERS`].
    pub shard: u32,
    /// Days since the epoch, UTC. The day's slots end after 00:00 and up to 24:00.
    pub day: i32,
    /// How the file is written.
    pub recipe: u16,
}

/// Meters of one shard.
pub const SHARD_METERS: u32 = 8192;

/// Quality bits of a row. 0 is measured and clean.
pub mod flag {
    /// The meter doubted its clock.
    pub const CLOCK_DOUBTFUL: u8 = 1 << 0;
    /// Daylight saving time was active.
    pub const DAYLIGHT_SAVING: u8 = 1 << 1;
    /// The power failed in the interval.
    pub const POWER_FAILURE: u8 = 1 << 2;
    /// The meter estimated the value.
    pub const ESTIMATED: u8 = 1 << 3;
    /// The clock was set in the interval.
    pub const CLOCK_SET: u8 = 1 << 7;
}

/// One register of one meter, as far as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Which register.
    pub obis: Obis,
    /// Values are in 10^scaler of the unit.
    pub scaler: i8,
    /// Unit code of IEC 62056-6-2.
    pub unit: u8,
    /// End of the first interval stored, seconds UTC.
    pub first_s: i64,
    /// End of the last interval stored: the watermark, seconds UTC.
    pub last_s: i64,
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seal { interval_minutes, shard, day, recipe } = self;
        write!(f, "interval {interval_minutes} shard {shard} day {day} recipe {recipe}")
    }
}

/// What is known of one meter's values of one interval: one row, written once a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    series: Vec<Series>,
    /// The newest days, oldest first; older ones stand in a table of their own.
    recent: Vec<DaySlots>,
}

static PROGRESS: Typed<(u32, u16), Progress> = Typed::new(Table::Progress);
static DAY_SLOTS: Typed<(u32, u16, i32), DaySlots> = Typed::new(Table::DaySlots);
/// How slots of a day came about that did not come by themselves. A day without such has no row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origins {
    /// Stored first by a refill.
    refilled: DaySlots,
    /// Stored first by people, not by a channel.
    brought: DaySlots,
    /// The device itself was asked for them and has answered.
    answered: DaySlots,
}

impl Origins {
    fn empty(day: i32) -> Origins {
        let none = DaySlots::empty(day);
        Origins { refilled: none.clone(), brought: none.clone(), answered: none }
    }
}

static ORIGINS: Typed<(u32, u16, i32), Origins> = Typed::new(Table::SlotOrigins);
static MARKS: Typed<str, Mark> = Typed::new(Table::Marks);

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    match change {
        Change::Ingest(ingest) => ingest::apply(tx, ingest),
        Change::Seal(seal) => seal::apply(tx, seal),
        Change::Compact(compact) => compact::apply(tx, compact),
        Change::Correct(correct) => overlay::apply(tx, correct),
        Change::Archive(archive) => tier::archive(tx, archive),
        Change::Forget(month) => tier::forget(tx, month),
        Change::Refill(refill) => gaps::apply(tx, refill),
    }
}

/// How far the pushes of a concentrator are stored.
pub fn mark(view: &dyn View, concentrator: &str) -> Result<Option<Mark>, Fault> {
    MARKS.get(view, concentrator)
}

/// The series of a meter in one interval (minutes; 0 for irregular reads).
pub fn series_of(
    view: &dyn View,
    ordinal: u32,
    interval_minutes: u16,
) -> Result<Vec<Series>, Fault> {
    Ok(PROGRESS.get(view, &(ordinal, interval_minutes))?.unwrap_or_default().series)
}

/// All series of a meter, each with its interval in minutes, in order of interval.
pub fn series(view: &dyn View, ordinal: u32) -> Result<Vec<(u16, Series)>, Fault> {
    let rows = progress_of(view, ordinal)?.into_iter();
    let each = rows.flat_map(|(interval, progress)| {
        progress.series.into_iter().map(move |series| (interval, series))
    });
    Ok(each.collect())
}

/// Up to when a register of a meter is stored: end of the last interval, seconds UTC.
pub fn watermark(
    view: &dyn View,
    ordinal: u32,
    interval_minutes: u16,
    obis: Obis,
) -> Result<Option<i64>, Fault> {
    let series = series_of(view, ordinal, interval_minutes)?;
    Ok(series.iter().find(|series| series.obis == obis).map(|series| series.last_s))
}

/// Which parts of an ingest were taken, in their order; none of any other outcome. Who merges an
/// entry of the log once more merges these parts and no others.
pub fn taken(outcome: &Outcome) -> Vec<bool> {
    match outcome {
        Ok(Done::Ingested(parts)) => parts.iter().map(Result::is_ok).collect(),
        _ => Vec::new(),
    }
}

fn progress_of(view: &dyn View, ordinal: u32) -> Result<Vec<(u16, Progress)>, Fault> {
    let prefix = ordinal.to_be_bytes();
    let rows = PROGRESS.scan(view, &prefix, &end_of(&prefix), 64)?;
    rows.into_iter()
        .map(|(key, progress)| match key.get(4..).map(<[u8; 2]>::try_from) {
            Some(Ok(interval)) => Ok((u16::from_be_bytes(interval), progress)),
            _ => Err(Fault::Corrupt { table: Table::Progress, why: "the key has no interval" }),
        })
        .collect()
}
