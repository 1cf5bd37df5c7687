//! The settings of the stores, their units and the harm of a wrong value.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::tables::Backend;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// How the stores below one data directory behave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The data directory; made when it is missing. One process at a time.
    pub dir: PathBuf,
    /// Octets of one preallocated file of the log. Too small: a file change every few
    /// moments, each with three syncs. Too large: disk held long after a purge.
    pub wal_segment_octets: u64,
    /// Octets that may wait for the log's writer. Too small: proposals wait for each other.
    /// Too large: memory, and a long wait at a stop.
    pub wal_queue_octets: u64,
    /// Octets of the newest records kept in memory for followers that read along.
    pub wal_cache_octets: u64,
    /// Octets that one sync of the log may carry. Larger batches raise latency.
    pub wal_batch_octets: u64,
    /// How long a full queue of the log may hold its caller before the call fails.
    pub wal_wait: Duration,
    /// How often the tables are flushed and synced. Longer: more log is applied again after
    /// a power cut.
    pub tables_flush_interval: Duration,
    /// Engine of the tables. A folder that another engine wrote is refused at the opening.
    pub tables_backend: Backend,
    /// Octets of memory for pages of the tables.
    pub tables_cache_octets: u64,
    /// Complete snapshots kept; the newest is what the log is purged by.
    pub snapshots_kept: usize,
    /// Readers of segment files kept open with their footers.
    pub segment_readers: usize,
    /// Free octets below which a node takes no more work. Too small: a write may fail in its
    /// middle, which halts the node. Too large: room that is never used.
    pub low_water_octets: u64,
    /// Octets held back while there is room, and given free below the mark, so that what was
    /// taken can still be written.
    pub reserve_octets: u64,
    /// How long the sealing thread waits before it tries a day again that could not be
    /// written (a full disk). The day stays in memory and in the checkpoints meanwhile.
    pub seal_retry: Duration,
    /// Octets a second at which the scrubber reads all segment files again. Too small: damage
    /// stays unseen for months. Too large: it takes the disk from queries.
    pub scrub_octets_per_s: u64,
    /// Rest between two passes of the scrubber.
    pub scrub_pause: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("data"),
            wal_segment_octets: 64 * MIB,
            wal_queue_octets: 64 * MIB,
            wal_cache_octets: 32 * MIB,
            wal_batch_octets: 4 * MIB,
            wal_wait: Duration::from_secs(20),
            tables_flush_interval: Duration::from_millis(1500),
            tables_backend: Backend::Sled,
            tables_cache_octets: 256 * MIB,
            snapshots_kept: 2,
            segment_readers: 256,
            low_water_octets: 256 * MIB,
            reserve_octets: 128 * MIB,
            seal_retry: Duration::from_secs(10),
            scrub_octets_per_s: 16 * MIB,
            scrub_pause: Duration::from_secs(600),
        }
    }
}

impl Config {
    /// Small limits, so that tests meet every border in little time.
    pub fn for_test(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            wal_segment_octets: 64 * KIB,
            wal_queue_octets: MIB,
            wal_cache_octets: 16 * KIB,
            wal_batch_octets: 64 * KIB,
            wal_wait: Duration::from_secs(10),
            tables_flush_interval: Duration::from_millis(100),
            tables_backend: Backend::Sled,
            tables_cache_octets: 8 * MIB,
            snapshots_kept: 2,
            segment_readers: 4,
            // Tests of a full disk set a mark of their own.
            low_water_octets: 0,
            reserve_octets: 0,
            seal_retry: Duration::from_millis(100),
            scrub_octets_per_s: 256 * MIB,
            scrub_pause: Duration::from_millis(500),
        }
    }

    /// Checks every field and names all faults at once, one a line.
    ///
    /// # Errors
    /// [`Error::Config`] when at least one field cannot work.
    pub fn validate(&self) -> Result<()> {
        let mut faults = Vec::new();
        let mut need = |good: bool, fault: &str| {
            if !good {
                faults.push(fault.to_owned());
            }
        };
        need(!self.dir.as_os_str().is_empty(), "dir must not be empty");
        let segment = self.wal_segment_octets;
        need(
            (16 * KIB..=1024 * MIB).contains(&segment),
            "wal_segment_octets must be 16 KiB to 1 GiB",
        );
        need(self.wal_queue_octets >= 64 * KIB, "wal_queue_octets must be at least 64 KiB");
        need(
            (4 * KIB..=256 * MIB).contains(&self.wal_batch_octets),
            "wal_batch_octets must be 4 KiB to 256 MiB",
        );
        need(!self.wal_wait.is_zero(), "wal_wait must not be zero");
        let flush = self.tables_flush_interval;
        need(
            flush >= Duration::from_millis(10) && flush <= Duration::from_secs(60),
            "tables_flush_interval must be 10 ms to 60 s",
        );
        need(self.tables_cache_octets >= MIB, "tables_cache_octets must be at least 1 MiB");
        need((1..=100).contains(&self.snapshots_kept), "snapshots_kept must be 1 to 100");
        need(self.segment_readers >= 1, "segment_readers must be at least 1");
        need(!self.seal_retry.is_zero(), "seal_retry must not be zero");
        let scrub = self.scrub_octets_per_s;
        need(scrub >= 64 * KIB, "scrub_octets_per_s must be at least 64 KiB");
        need(!self.scrub_pause.is_zero(), "scrub_pause must not be zero");
        if faults.is_empty() { Ok(()) } else { Err(Error::Config(faults.join("\n"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::Config;
    use std::path::PathBuf;
    use std::time::Duration;

    #[test]
    fn good_settings_pass() {
        Config::default().validate().unwrap();
        Config::for_test("/x").validate().unwrap();
    }

    #[test]
    fn all_faults_are_named_at_once() {
        let config = Config {
            dir: PathBuf::new(),
            wal_segment_octets: 1,
            tables_flush_interval: Duration::ZERO,
            snapshots_kept: 0,
            ..Config::default()
        };
        let text = config.validate().unwrap_err().to_string();
        for field in ["dir", "wal_segment_octets", "tables_flush_interval", "snapshots_kept"] {
            assert!(text.contains(field), "{field} is not named in: {text}");
        }
    }
}
