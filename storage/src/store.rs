//! All stores of one data directory, opened in order under one lock, stopped in reverse.
//!
//! Layout: `lock`, `wal/g0/`, `tables/`, `segments/g0/`, `snapshots/g0/`, `open-days/g0`.
//!
//! Invariant: one process at a time; the lock goes with the process, however it ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::file;
use crate::log::{self, Log};
use crate::metrics::Metrics;
use crate::segment::{Checkpoint, Segments};
use crate::snapshot::Snapshots;
use crate::space::Space;
use crate::tables::{self, Opened, Tables};

/// All stores of one data directory.
#[derive(Debug)]
pub struct Store {
    /// The log.
    pub log: Log,
    /// The tables.
    pub tables: Tables,
    /// The values.
    pub segments: Segments,
    /// The snapshots.
    pub snapshots: Snapshots,
    /// The free space below all of them.
    pub space: Space,
    open_days: PathBuf,
    /// Held for as long as the store lives.
    _lock: File,
}

/// What was found at the opening.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The log.
    pub log: log::Recovered,
    /// The tables. On `Rebuild` call [`Snapshots::rebuild`] before anything is read or
    /// committed; until then every opening says so again.
    pub tables: Opened,
    /// The open days hold every entry of the log up to this index; those after it, up to the
    /// tables' applied index, are to be merged again.
    pub floor: u64,
}

impl Store {
    /// Opens everything below `config.dir`, for one Raft group.
    ///
    /// # Errors
    /// `storage_in_use` when another process has it; `storage_config`; the codes of the disk;
    /// `wal_damaged`, `manifest_damaged` when acknowledged octets cannot be read back.
    pub fn open(config: &Config, group: u32, metrics: &Metrics) -> Result<(Self, Opening)> {
        Self::open_with(config, group, metrics, &|dir| Log::open(dir, config, group, metrics))
    }

    /// As [`Store::open`], with a log that is written by hand: see [`Log::open_by_hand`].
    ///
    /// # Errors
    /// Those of [`Store::open`].
    #[cfg(feature = "simulation")]
    pub fn open_by_hand(
        config: &Config,
        group: u32,
        metrics: &Metrics,
        woken: log::by_hand::Woken,
    ) -> Result<(Self, Opening)> {
        let woken = std::cell::Cell::new(Some(woken));
        Self::open_with(config, group, metrics, &|dir| {
            let woken = woken.take().unwrap_or_else(|| Box::new(|| {}));
            Log::open_by_hand(dir, config, group, metrics, woken)
        })
    }

    fn open_with(
        config: &Config,
        group: u32,
        metrics: &Metrics,
        open_log: &dyn Fn(&Path) -> Result<(Log, log::Recovered)>,
    ) -> Result<(Self, Opening)> {
        config.validate()?;
        let dir = &config.dir;
        file::make_dirs(dir)?;
        let lock = lock(dir)?;
        let space = Space::open(config, metrics)?;
        let of_group = |name: &str| dir.join(name).join(format!("g{group}"));
        let (log, recovered) = open_log(&of_group("wal"))?;
        let (tables, mut opened) = Tables::open(&dir.join("tables"), config, metrics)?;
        let segments = Segments::open(&of_group("segments"), config, metrics)?;
        let installing = of_group("snapshots");
        let snapshots = Snapshots::open(&installing, config, &tables, &segments)?;
        if let (Opened::Rebuild { .. }, false) =
            (&opened, tables::wait_for_load(&dir.join("tables")))
        {
            // An installation that was cut short has just loaded them.
            opened = Opened::Existing;
        }
        let open_days = of_group("open-days");
        file::make_dirs(&dir.join("open-days"))?;
        restore_days(&open_days, &segments, &snapshots)?;
        segments.sweep()?;
        let floor = segments.floor();
        let store = Self { log, tables, segments, snapshots, space, open_days, _lock: lock };
        Ok((store, Opening { log: recovered, tables: opened, floor }))
    }

    /// Saves the open days as of `index`, the last applied entry, so that less of the log is
    /// merged again at the next start. Call it between two applied entries, or use
    /// [`Store::freeze_days`] and write in the background.
    ///
    /// # Errors
    /// The codes of the disk.
    pub fn checkpoint(&self, index: u64) -> Result<()> {
        self.write_days(&self.freeze_days(index))
    }

    /// Freezes the open days as of `index`, the last applied entry; takes no time.
    pub fn freeze_days(&self, index: u64) -> Checkpoint {
        self.segments.freeze(index)
    }

    /// Writes frozen open days (blocking).
    ///
    /// # Errors
    /// The codes of the disk.
    pub fn write_days(&self, days: &Checkpoint) -> Result<()> {
        days.write(&self.open_days)
    }

    /// What keeps the log or the tables from working, if anything; a stop is no fault.
    pub fn fault(&self) -> Option<Error> {
        let mut faults = [self.log.fault(), self.tables.fault()].into_iter().flatten();
        faults.find(|fault| !matches!(fault, Error::Stopped(_)))
    }

    /// Ends all threads and flushes the tables. The lock goes when the store is dropped.
    ///
    /// # Errors
    /// `tables_fault`; the codes of the disk.
    pub fn stop(&self) -> Result<()> {
        self.log.stop();
        self.segments.stop();
        self.tables.stop()
    }
}

/// Restores the newest open days: those of the own checkpoint or of the newest snapshot.
fn restore_days(path: &Path, segments: &Segments, snapshots: &Snapshots) -> Result<()> {
    if path.exists() {
        match Checkpoint::read(path) {
            Ok(days) if days.index > segments.floor() => segments.restore(days),
            Ok(_) => {}
            // The snapshot and the log after it hold all of it too.
            Err(error) => {
                tracing::warn!(code = error.code(), %error, "a checkpoint is left out");
            }
        }
    }
    if let Some(days) = snapshots.open_days(segments.floor())? {
        segments.restore(days);
    }
    Ok(())
}

/// Takes the lock file and writes the own process id into it.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            return Err(Error::InUse { path: dir.to_path_buf(), pid: pid.unwrap_or(0) });
        }
        Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
    }
    let text = format!("{}\n", std::process::id());
    lock.set_len(0).map_err(Error::io("write", &path))?;
    lock.rewind().map_err(Error::io("write", &path))?;
    lock.write_all(text.as_bytes()).map_err(Error::io("write", &path))?;
    Ok(lock)
}
