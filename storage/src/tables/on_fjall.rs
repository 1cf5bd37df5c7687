//! The tables on fjall. The only file that names it.
//!
//! fjall keeps a journal and a log-structured tree. A batch goes into the journal as one record,
//! and a torn record at its end is dropped at the opening, so what a flush counted is what is
//! there. Its damaged pages are found by their checksums when they are read.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use super::engine::{Engine, Unopened, Writes};
use super::types::Pair;
use crate::error::{Error, Result};
use crate::file;

/// The keyspace of all tables.
const TABLES: &str = "tables";
/// The keyspace, and the key in it, that count the flushes.
const FLUSHES: &str = "flushes";
/// Most octets of journals before older memory is written out; the engine's least is 64 MiB.
const JOURNAL_OCTETS: u64 = 128 * 1024 * 1024;
/// Octets of a table in memory before it is written out.
const MEMORY_OCTETS: u64 = 16 * 1024 * 1024;

struct OnFjall {
    path: PathBuf,
    db: Database,
    tables: Keyspace,
    flushes: Keyspace,
}

/// Opens a folder and reads every page; answers the number of the last flush inside.
pub fn open(
    dir: &Path,
    cache_octets: u64,
) -> std::result::Result<(Box<dyn Engine>, u64), Unopened> {
    let open = || -> fjall::Result<(OnFjall, u64)> {
        let db = Database::builder(dir)
            .cache_size(cache_octets)
            .worker_threads(1)
            .max_journaling_size(JOURNAL_OCTETS)
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMORY_OCTETS);
        let tables = db.keyspace(TABLES, options)?;
        let flushes = db.keyspace(FLUSHES, options)?;
        for pair in tables.iter() {
            pair.into_inner()?;
        }
        let counted = flushes.get(FLUSHES)?;
        let counted = counted.and_then(|octets| octets.as_ref().try_into().ok());
        let counted = counted.map_or(0, u64::from_be_bytes);
        Ok((OnFjall { path: dir.to_path_buf(), db, tables, flushes }, counted))
    };
    match open() {
        Ok((engine, counted)) => Ok((Box::new(engine), counted)),
        Err(error @ fjall::Error::Locked) => Err(Unopened::Held(error.to_string())),
        Err(error) => Err(Unopened::Damaged(error.to_string())),
    }
}

impl OnFjall {
    /// The engine's error as ours: what the system answered keeps its kind, so that a full disk
    /// is told as one.
    fn told(&self, error: fjall::Error) -> Error {
        match error {
            fjall::Error::Io(source) => Error::io("write the tables in", &self.path)(source),
            other => Error::Tables(other.to_string()),
        }
    }
}

impl Engine for OnFjall {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.tables.get(key).map_err(|error| self.told(error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<Pair>> {
        let mut pairs = Vec::new();
        // A snapshot, because the keys of a batch become readable one by one.
        let snapshot = self.db.snapshot();
        for pair in snapshot.range::<&[u8], _>(&self.tables, (from, to)).take(limit) {
            let (key, value) = pair.into_inner().map_err(|error| self.told(error))?;
            pairs.push((key.to_vec(), value.to_vec()));
        }
        Ok(pairs)
    }

    fn apply(&self, writes: Writes) -> Result<()> {
        // All keys of a batch get one number, so of two writes of a key only one may be left.
        let writes: BTreeMap<_, _> = writes.into_iter().collect();
        let mut batch = self.db.batch();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(&self.tables, key, value),
                None => batch.remove(&self.tables, key),
            }
        }
        batch.commit().map_err(|error| self.told(error))
    }

    fn flush(&self, number: u64) -> Result<()> {
        let counted = self.flushes.insert(FLUSHES, number.to_be_bytes());
        counted.map_err(|error| self.told(error))?;
        self.db.persist(PersistMode::SyncAll).map_err(|error| self.told(error))?;
        file::sync_dir(&self.path)?;
        self.path.parent().map_or(Ok(()), file::sync_dir)
    }
}
