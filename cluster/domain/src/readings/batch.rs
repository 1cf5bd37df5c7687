//! A batch of readings, in columns.
//!
//! Rows of one profile signature (interval and registers) are sorted by meter and time and written
//! meter by meter; within a meter every column is the differences of its values, packed to the
//! width of the largest. A steady row of A+ and A- takes 2 to 4 octets. Absolute values are kept as
//! delivered: a lost row never breaks a register.
//!
//! Octets of the body, for each meter (integers are LEB128 varints, signed ones zigzag):
//!
//! | part | octets |
//! |---|---|
//! | control | bit 0 ordinal follows (else the last + 1), 1 count follows (else the last), 2 first end follows (else the last meter's), 3 times follow (else one interval apart), 4 flags follow (else all 0), 5 presence follows (else all values are there) |
//! | ordinal, count, first end | as far as the control octet says, each as the difference to the meter before (count in full) |
//! | times | packed differences, count - 1 |
//! | flags | packed, count |
//! | each register | presence bits when bit 5 is set; the first value; packed differences of the rest |
//!
//! Packed: the smallest, the width in bits, then the distances from the smallest at that width.
//!
//! Invariants: 1. `finish` then `rows` gives the rows sorted. 2. Decoding never panics and holds
//! at most [`MAX_ROWS`] rows of [`MAX_REGISTERS`] values, whatever the octets claim.

use serde::{Deserialize, Serialize};

use crate::units::Obis;

/// The most rows of a batch.
pub const MAX_ROWS: usize = 16_384;

/// The most registers of a batch.
pub const MAX_REGISTERS: usize = 16;

/// What a column of values is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Register {
    /// Which register.
    pub obis: Obis,
    /// Values are in 10^scaler of the unit.
    pub scaler: i8,
    /// Unit code of IEC 62056-6-2: 30 is Wh.
    pub unit: u8,
}

/// Readings of one profile signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    interval_minutes: u16,
    registers: Vec<Register>,
    rows: u32,
    #[serde(with = "crate::units::octets")]
    body: Vec<u8>,
}

/// A decoded batch, sorted by ordinal and end time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    registers: usize,
    ordinals: Vec<u32>,
    ends_s: Vec<i64>,
    flags: Vec<u8>,
    values: Vec<Option<i64>>,
}

/// The values of one meter at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Which meter.
    pub ordinal: u32,
    /// End of the interval, or the instant of an irregular read, in seconds UTC.
    pub end_s: i64,
    /// Quality bits, see the constants in [`flag`](super::flag).
    pub flag: u8,
    /// One value a register, in the batch's order.
    pub values: &'a [Option<i64>],
}

/// Collects rows into a [`Batch`].
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    interval_minutes: u16,
    registers: Vec<Register>,
    rows: Rows,
}
