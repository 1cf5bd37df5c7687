//! A day in canonical form: what checkpoints hold, files are written from and hashes are of.
//!
//! Invariant: equal contents give equal octets, whatever way the rows came.

use serde::{Deserialize, Serialize};

use super::{Column, DayKey};
use crate::error::{Error, Result};

/// A day in canonical form: what checkpoints hold and what the content hash is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Which day.
    pub key: DayKey,
    /// Dense columns, in order of their names.
    pub columns: Vec<Column>,
    /// Meters that have rows, in order.
    pub meters: Vec<MeterImage>,
    /// Values kept beside dense ones, in order.
    pub besides: Vec<BesideImage>,
    /// Irregular values, in order.
    pub sparse: Vec<SparseImage>,
}

/// One meter of a dense day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterImage {
    /// Ordinal in the shard.
    pub meter: u16,
    /// A flag a slot.
    pub flags: Vec<u8>,
    /// A value a slot, column by column; an empty list: none of that column.
    pub values: Vec<Vec<Option<i64>>>,
}

/// Values beside a stored one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BesideImage {
    /// Ordinal in the shard.
    pub meter: u16,
    /// Slot.
    pub slot: u16,
    /// Column.
    pub name: Column,
    /// Values and flags, as they came.
    pub values: Vec<(i64, u8)>,
}

/// One irregular value, with what is beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SparseImage {
    /// Ordinal.
    pub ordinal: u32,
    /// Column.
    pub name: Column,
    /// Time of the value, seconds UTC.
    pub end_s: i64,
    /// Values and flags; the first is the stored one.
    pub values: Vec<(i64, u8)>,
}

impl Image {
    /// Octets, the same for the same content.
    ///
    /// # Errors
    /// `image_invalid`; cannot happen for an image of a day.
    pub fn encode(&self) -> Result<Vec<u8>> {
        postcard::to_stdvec(self).map_err(|error| Error::misuse("image_invalid", error.to_string()))
    }

    /// Reads octets; never panics.
    ///
    /// # Errors
    /// `image_invalid`.
    pub fn decode(octets: &[u8]) -> Result<Self> {
        postcard::from_bytes(octets)
            .map_err(|error| Error::misuse("image_invalid", error.to_string()))
    }

    /// Rows that hold at least one value, those beside included.
    pub fn rows(&self) -> u64 {
        let dense = self.meters.iter().map(|meter| {
            let slots = 0..meter.flags.len();
            let held = |slot: &usize| {
                meter.values.iter().any(|column| matches!(column.get(*slot), Some(Some(_))))
            };
            slots.filter(held).count() as u64
        });
        let beside = self.besides.iter().map(|beside| beside.values.len() as u64);
        let sparse = self.sparse.iter().map(|row| row.values.len() as u64);
        dense.sum::<u64>() + beside.sum::<u64>() + sparse.sum::<u64>()
    }
}
