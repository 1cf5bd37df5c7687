//! Readings: which series there are, up to when, how many of the values due are stored, and which
//! days wait to be sealed. The values themselves are not in the tables: they go out as rows.
//!
//! Invariants: 1. A part of an ingest is taken whole or refused whole. 2. A slot that came twice
//! counts once. 3. The scaler and unit of a series never change. 4. A row reaches the store only
//! under the current epoch of the channel it came by.

mod batch;

use serde::{Deserialize, Serialize};

pub use batch::{Batch, BatchBuilder, MAX_REGISTERS, MAX_ROWS, Register, Row, Rows};

use crate::units::{Device, Obis};

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Store values.
    Ingest(Ingest),
    /// Seal a day of a shard into a file.
    Seal(Seal),
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

pub(crate) fn apply(
    _tx: &mut crate::apply::Tx<'_>,
    _change: &Change,
) -> Result<crate::Done, crate::error::Stop> {
    Ok(crate::Done::Noted)
}

impl std::fmt::Display for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Seal { interval_minutes, shard, day, recipe } = self;
        write!(f, "interval {interval_minutes} shard {shard} day {day} recipe {recipe}")
    }
}
