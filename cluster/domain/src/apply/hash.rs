//! The state hash: a chain over everything that entries did.
//!
//! Each hash is blake3 over the one before, the index, the outcome, the writes, the rows, the
//! seals and the compactions, every field with its length before it, so that no two histories run
//! together.

use crate::apply::{Outcome, Write};
use crate::error::Fault;
use crate::readings::{Batch, Compact, Seal};

/// What one entry did, as far as replicas must agree on it.
pub(crate) struct Done<'a> {
    pub(crate) index: u64,
    pub(crate) outcome: &'a Outcome,
    pub(crate) writes: &'a [Write],
    pub(crate) rows: &'a [Batch],
    pub(crate) seals: &'a [Seal],
    pub(crate) compactions: &'a [Compact],
}

/// The hash behind `previous` when `done` is added.
pub(crate) fn next(previous: &[u8; 32], done: &Done<'_>) -> Result<[u8; 32], Fault> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous).update(&done.index.to_be_bytes());
    field(&mut hasher, &encode(done.outcome)?);
    count(&mut hasher, done.writes.len());
    for write in done.writes {
        hasher.update(&[write.table.id()]);
        field(&mut hasher, &write.key);
        match &write.value {
            Some(value) => field(hasher.update(&[1]), value),
            None => _ = hasher.update(&[0]),
        }
    }
    count(&mut hasher, done.rows.len());
    for batch in done.rows {
        field(&mut hasher, &encode(batch)?);
    }
    field(&mut hasher, &encode(done.seals)?);
    field(&mut hasher, &encode(done.compactions)?);
    Ok(*hasher.finalize().as_bytes())
}

/// A value in the octets that are hashed.
pub(crate) fn encode<T: serde::Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Fault> {
    postcard::to_allocvec(value)
        .map_err(|why| Fault::Storage(format!("a value cannot be hashed: {why}")))
}

fn field(hasher: &mut blake3::Hasher, octets: &[u8]) {
    count(hasher, octets.len());
    hasher.update(octets);
}

fn count(hasher: &mut blake3::Hasher, count: usize) {
    hasher.update(&(count as u64).to_be_bytes());
}
