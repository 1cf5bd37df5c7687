//! What is sealed here, by content, so that replicas can be compared.
//!
//! Invariant: equal logs give equal lines once nothing waits; a line says nothing of the
//! encoder, whose octets may differ where contents do not.

use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::manifest::{Entry, LEVEL_MONTH};
use super::open::State;
use super::{DayKey, Segments};

/// One sealed file by its content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sealed {
    /// Interval, shard, first day.
    pub key: DayKey,
    /// 1: day file; 2: month file.
    pub level: u8,
    /// Index of the log's entry that sealed it.
    pub index: u64,
    /// Days that it covers.
    pub days: u16,
    /// Rows.
    pub rows: u64,
    /// blake3 of the canonical content.
    pub content_hash: [u8; 32],
}

/// What is sealed here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// In order of key, level and index.
    pub sealed: Vec<Sealed>,
    /// Days and months that wait for their files and will add lines or replace some.
    pub waiting: usize,
    /// Names of damaged files.
    pub damaged: Vec<String>,
}

/// What tells one sealed file from the others.
pub type Place = (DayKey, u8, u64);

impl Sealed {
    /// Its key, level and index.
    pub fn place(&self) -> Place {
        (self.key, self.level, self.index)
    }
}

impl State {
    /// At most `limit` lines behind a place, in order. Days, months and cold months each stand in
    /// that order, so the first of all are among the first of each.
    fn lines(&self, after: Option<Place>, limit: usize) -> Vec<Sealed> {
        let from = after.map_or(Bound::Unbounded, |(key, ..)| Bound::Included(key));
        let range = (from, Bound::Unbounded);
        let behind = |line: &Sealed| after.is_none_or(|after| line.place() > after);
        let days = self.sealed.range(range).flat_map(|(_, files)| files);
        let mut lines: Vec<Sealed> = days.map(line).filter(behind).take(limit).collect();
        let months = self.months.range(range).map(|(_, month)| month);
        lines.extend(months.map(line).filter(behind).take(limit));
        let cold = self.cold.range(range).map(|(_, month)| month);
        let cold = cold.filter(|month| !self.months.contains_key(&month.key));
        lines.extend(cold.map(line).filter(behind).take(limit));
        lines.sort();
        lines.truncate(limit);
        lines
    }
}

fn line(entry: &Arc<Entry>) -> Sealed {
    Sealed {
        key: entry.key,
        // A month is the same month wherever its file lies.
        level: entry.level.min(LEVEL_MONTH),
        index: entry.sealed_index,
        days: entry.days,
        rows: entry.rows,
        content_hash: entry.content_hash,
    }
}

impl Segments {
    /// At most `limit` lines of the digest, behind a place. What it takes follows from the page,
    /// not from the digest.
    pub fn digest_after(&self, after: Option<Place>, limit: usize) -> Vec<Sealed> {
        self.core.read().lines(after, limit)
    }

    /// The content hashes of all sealed files, by shard and day.
    pub fn digest(&self) -> Digest {
        let state = self.core.read();
        let damaged = state.damaged.keys().cloned().collect();
        Digest { sealed: state.lines(None, usize::MAX), waiting: state.waiting(), damaged }
    }
}
