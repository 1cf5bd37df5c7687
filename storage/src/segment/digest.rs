//! What is sealed here, by content, so that replicas can be compared.
//!
//! Invariant: equal logs give equal lines once nothing waits; a line says nothing of the
//! encoder, whose octets may differ where contents do not.

use serde::{Deserialize, Serialize};

use super::manifest::LEVEL_MONTH;
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

impl Segments {
    /// At most `limit` lines of the digest, behind a place.
    pub fn digest_after(&self, after: Option<Place>, limit: usize) -> Vec<Sealed> {
        let behind = |line: &Sealed| after.is_none_or(|after| line.place() > after);
        self.digest().sealed.into_iter().filter(behind).take(limit).collect()
    }

    /// The content hashes of all sealed files, by shard and day.
    pub fn digest(&self) -> Digest {
        let state = self.core.read();
        let mut sealed: Vec<Sealed> = state
            .files()
            .chain(state.cold.values().filter(|cold| !state.months.contains_key(&cold.key)))
            .map(|entry| Sealed {
                key: entry.key,
                // A month is the same month wherever its file lies.
                level: entry.level.min(LEVEL_MONTH),
                index: entry.sealed_index,
                days: entry.days,
                rows: entry.rows,
                content_hash: entry.content_hash,
            })
            .collect();
        sealed.sort();
        let damaged = state.damaged.keys().cloned().collect();
        Digest { sealed, waiting: state.waiting(), damaged }
    }
}
