//! API skeleton.
use crate::{Result};
/// A logical name (OBIS code) of six octets.
pub type Column = [u8; 6];
/// One row of a meter: what it measured in the interval that ended at `end_s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// Ordinal of the meter.
    pub ordinal: u32,
    /// End of the interval, seconds UTC.
    pub end_s: i64,
    /// Quality.
    pub flag: u8,
    /// One value a column.
    pub values: &'a [Option<i64>],
}
/// What became of merged rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Rows that brought at least one new value.
    pub stored: u64,
    /// Rows that brought nothing new.
    pub same: u64,
    /// Rows with a value unlike the stored one; kept beside it.
    pub conflicting: u64,
}
/// One value of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// End of the interval, seconds UTC.
    pub end_s: i64,
    /// Value as delivered.
    pub value: i64,
    /// Quality of the row.
    pub flag: u8,
    /// True for a later value unlike the one first stored for this time.
    pub beside: bool,
}
/// What is to be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DayKey {
    /// Minutes of an interval; 0: irregular values.
    pub interval_minutes: u16,
    /// Ordinal / 8192.
    pub shard: u32,
    /// Days since the epoch, UTC; its slots end in (day, day + 1].
    pub day: i32,
}
/// Open and sealed days; cheap to clone.
#[derive(Debug, Clone)]
pub struct Segments;
impl Segments {
    /// Open days hold everything up to this index of the log; merges at or below it are skipped.
    pub fn floor(&self) -> u64 { todo!() }
    /// Merges rows that entry `index` of the log brought. Nothing is stored when it fails.
    pub fn merge(&self, _index: u64, _interval_minutes: u16, _columns: &[Column], _rows: &[Row<'_>]) -> Result<Merged> { todo!() }
    /// Freezes what is open of that day; the sealing thread writes it. False: nothing was open, or it was done before.
    pub fn seal(&self, _index: u64, _key: DayKey, _recipe: u16) -> Result<bool> { todo!() }
    /// Values of one column of one meter with from_s < end_s <= to_s, in order of time.
    pub fn query(&self, _interval_minutes: u16, _ordinal: u32, _column: Column, _from_s: i64, _to_s: i64) -> Result<Vec<Point>> { todo!() }
    /// The same for several columns, in their order.
    pub fn query_columns(&self, _interval_minutes: u16, _ordinal: u32, _columns: &[Column], _from_s: i64, _to_s: i64) -> Result<Vec<Vec<Point>>> { todo!() }
    /// The columns that a meter has values of.
    pub fn columns(&self, _interval_minutes: u16, _ordinal: u32) -> Vec<Column> { todo!() }
    /// Waits until every frozen day is a file.
    pub fn settle(&self, _deadline: std::time::Duration) -> Result<()> { todo!() }
}
