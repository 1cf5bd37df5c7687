//! Accepted rows on their way into the open days, and the markers that heal a crash on the way.
//!
//! Not here: the open days themselves (`storage::segment`).
//! Invariants:
//! 1. An entry with rows, seals or compactions leaves a marker in the same batch as its
//!    writes. The marker says which parts were accepted; the rows themselves stand in the log.
//! 2. Merging an entry twice changes nothing, so a replay may begin too early but never too late.
//! 3. The log holds every entry above the open days' floor, because it is purged only up to a
//!    complete snapshot, which holds the open days as of its index.

use std::io;

use domain::{
    Done, Outcome,
    readings::{self, Batch, Compact, Seal},
    tasks,
};
use openraft::EntryPayload;
use storage::{
    Put, Segments, Tables,
    segment::{DayKey, MonthKey, Row},
};

use super::log_store::LogStore;

/// Our table of markers, by log index; the domain leaves numbers from 64 up to us.
const TABLE: u8 = 65;

/// What a marker's first octet says: rows, with a bitmap of accepted parts, a seal, or a month
/// to fold.
const KIND_ROWS: u8 = 1;
const KIND_SEAL: u8 = 2;
const KIND_COMPACT: u8 = 3;

/// Markers dropped with one run, so that no run becomes slow by it.
const DROPPED_A_RUN: usize = 512;

/// Rows, seals and compactions of one applied entry.
#[derive(Default)]
pub struct Work {
    kind: u8,
    parts: Vec<u8>,
    rows: Vec<Batch>,
    seals: Vec<Seal>,
    compactions: Vec<Compact>,
}

/// What an entry's outcome leaves to do, if anything.
pub fn work(
    outcome: &Outcome,
    rows: Vec<Batch>,
    seals: Vec<Seal>,
    compactions: Vec<Compact>,
) -> Option<Work> {
    let kind = match (rows.is_empty(), seals.is_empty(), compactions.is_empty()) {
        (false, _, _) => KIND_ROWS,
        (true, false, _) => KIND_SEAL,
        (true, true, false) => KIND_COMPACT,
        (true, true, true) => return None,
    };
    let mut parts = Vec::new();
    if let Ok(Done::Ingested(results)) = outcome {
        parts = vec![0; results.len().div_ceil(8)];
        for (at, result) in results.iter().enumerate() {
            if let (Ok(_), Some(octet)) = (result, parts.get_mut(at / 8)) {
                *octet |= 1 << (at % 8);
            }
        }
    }
    Some(Work { kind, parts, rows, seals, compactions })
}

impl Work {
    /// The marker to commit with the entry's writes.
    pub fn marker(&self, index: u64) -> Put {
        let value = [&[self.kind], self.parts.as_slice()].concat();
        Put { table: TABLE, key: index.to_be_bytes().to_vec(), value: Some(value) }
    }

    /// Merges the rows, freezes the days to seal and notes the months to fold.
    pub fn carry_out(&self, index: u64, segments: &Segments) -> io::Result<()> {
        for batch in &self.rows {
            merge(index, batch, segments)?;
        }
        for seal in &self.seals {
            let key = DayKey {
                interval_minutes: seal.interval_minutes,
                shard: seal.shard,
                day: seal.day,
            };
            segments.seal(index, key, seal.recipe)?;
        }
        for compact in &self.compactions {
            let Compact { interval_minutes, shard, month, recipe, .. } = *compact;
            segments.compact(index, MonthKey { interval_minutes, shard, month }, recipe)?;
        }
        Ok(())
    }
}

fn merge(index: u64, batch: &Batch, segments: &Segments) -> io::Result<()> {
    let decoded = batch.rows().map_err(invalid)?;
    let columns: Vec<_> = batch.registers().iter().map(|register| register.obis.0).collect();
    let rows: Vec<_> = decoded
        .iter()
        .map(|row| Row {
            ordinal: row.ordinal,
            end_s: row.end_s,
            flag: row.flag,
            values: row.values,
        })
        .collect();
    segments.merge(index, batch.interval_minutes(), &columns, &rows)?;
    Ok(())
}

/// Merges again every marked entry that the open days may lack, up to what is applied.
pub fn replay(
    tables: &Tables,
    segments: &Segments,
    log: &LogStore,
    applied: u64,
) -> io::Result<()> {
    let mut from = segments.floor().saturating_add(1);
    let to = applied.saturating_add(1).to_be_bytes();
    let mut merged = 0_u64;
    loop {
        let found = tables.scan(TABLE, &from.to_be_bytes(), &to, DROPPED_A_RUN)?;
        let Some((last, _)) = found.last() else { break };
        from = index_of(last)?.saturating_add(1);
        for (key, marker) in &found {
            let index = index_of(key)?;
            marked(index, marker, log)?.carry_out(index, segments)?;
            merged += 1;
        }
    }
    if merged > 0 {
        tracing::info!(merged, applied, "entries merged again into the open days");
    }
    Ok(())
}

/// Reads the work of a marked entry from the log.
fn marked(index: u64, marker: &[u8], log: &LogStore) -> io::Result<Work> {
    let lost = || invalid(format!("the log lacks entry {index}, whose rows were accepted"));
    let entry = log.entry(index)?.ok_or_else(lost)?;
    let EntryPayload::Normal(payload) = entry.payload else { return Err(lost()) };
    let entry = domain::Entry::decode(&payload.0).map_err(invalid)?;
    let Some((kind, parts)) = marker.split_first() else {
        return Err(invalid(format!("the marker of entry {index} is empty")));
    };
    let mut work = Work { kind: *kind, parts: parts.to_vec(), ..Work::default() };
    match entry.proposal.change {
        domain::Change::Readings(readings::Change::Ingest(ingest)) => {
            let accepted =
                |at: usize| parts.get(at / 8).is_some_and(|octet| octet >> (at % 8) & 1 == 1);
            for (at, part) in ingest.parts.into_iter().enumerate() {
                if accepted(at) {
                    work.rows.extend(part.batches);
                }
            }
        }
        // A refill with a marker was taken: it has one part.
        domain::Change::Readings(readings::Change::Refill(refill)) => {
            work.rows.extend(refill.part.batches);
        }
        // So does a report of a task.
        domain::Change::Tasks(tasks::Change::Report(report)) => {
            work.rows.extend(report.part.batches);
        }
        domain::Change::Readings(readings::Change::Seal(seal)) => work.seals.push(seal),
        domain::Change::Readings(readings::Change::Compact(month)) => work.compactions.push(month),
        _ => return Err(invalid(format!("entry {index} is marked and holds no readings"))),
    }
    Ok(work)
}

/// Adds deletions of markers in (`dropped`, `floor`] to a batch; answers how far they reach.
pub fn drop_markers(
    tables: &Tables,
    dropped: u64,
    floor: u64,
    puts: &mut Vec<Put>,
) -> io::Result<u64> {
    let (from, to) = (dropped.to_be_bytes(), floor.saturating_add(1).to_be_bytes());
    let found = tables.scan(TABLE, &from, &to, DROPPED_A_RUN)?;
    let reached = match found.last() {
        Some((last, _)) if found.len() == DROPPED_A_RUN => index_of(last)?,
        _ => floor,
    };
    let deletions = found.into_iter().map(|(key, _)| Put { table: TABLE, key, value: None });
    puts.extend(deletions);
    Ok(reached)
}

fn index_of(key: &[u8]) -> io::Result<u64> {
    let octets = key.try_into().map_err(|_| invalid("a marker's key is not an index"))?;
    Ok(u64::from_be_bytes(octets))
}

fn invalid(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

#[cfg(test)]
mod tests {
    use domain::{Refusal, readings::BatchBuilder};

    use super::*;

    #[test]
    fn a_marker_names_the_accepted_parts() {
        let refused = Err(Refusal::new("stale_epoch", "a test"));
        let results = [vec![Ok(1), refused.clone()], vec![refused; 7], vec![Ok(2)]].concat();
        let batch = BatchBuilder::new(15, Vec::new()).finish();
        let work = work(&Ok(Done::Ingested(results)), vec![batch], vec![], vec![]).unwrap();
        let marker = work.marker(258);
        assert_eq!(marker.key, [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(marker.value, Some(vec![KIND_ROWS, 0b1, 0b10]));
    }

    #[test]
    fn no_rows_no_marker() {
        assert!(work(&Ok(Done::Noted), vec![], vec![], vec![]).is_none());
    }
}
