//! The tables on sled. The only file that names it.
//!
//! sled 0.34 loses acknowledged writes, may panic on its own files after a power cut, and may
//! open damaged files as if they had been short; its own flush does not sync on Linux. So every
//! flush syncs the files behind it, and the flush's number stands inside, in a tree of its own.

use std::fs::{self, File};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::engine::{Engine, Unopened, Writes};
use super::types::Pair;
use crate::error::{Error, Result};
use crate::file;

/// The tree, and the key in it, that count the flushes.
const FLUSHES: &str = "flushes";

struct OnSled {
    path: PathBuf,
    db: sled::Db,
}

/// Opens a folder and reads every page; answers the number of the last flush inside.
pub fn open(
    dir: &Path,
    cache_octets: u64,
) -> std::result::Result<(Box<dyn Engine>, u64), Unopened> {
    let open = || -> sled::Result<(sled::Db, u64)> {
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_octets)
            .flush_every_ms(None)
            .open()?;
        for pair in db.iter() {
            pair?;
        }
        let counted = db.open_tree(FLUSHES)?.get(FLUSHES)?;
        let counted = counted.and_then(|octets| octets.as_ref().try_into().ok());
        Ok((db, counted.map_or(0, u64::from_be_bytes)))
    };
    match open() {
        Ok((db, counted)) => Ok((Box::new(OnSled { path: dir.to_path_buf(), db }), counted)),
        Err(error) => {
            let why = error.to_string();
            let held = why.contains("acquire lock");
            Err(if held { Unopened::Held(why) } else { Unopened::Damaged(why) })
        }
    }
}

impl OnSled {
    /// The engine's error as ours: what the system answered keeps its kind, so that a full disk
    /// is told as one.
    fn told(&self, error: sled::Error) -> Error {
        match error {
            sled::Error::Io(source) => Error::io("write the tables in", &self.path)(source),
            other => Error::Tables(other.to_string()),
        }
    }
}

impl Engine for OnSled {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.db.get(key).map_err(|error| self.told(error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<Pair>> {
        let mut pairs = Vec::new();
        for pair in self.db.range::<&[u8], _>((from, to)).take(limit) {
            let (key, value) = pair.map_err(|error| self.told(error))?;
            pairs.push((key.to_vec(), value.to_vec()));
        }
        Ok(pairs)
    }

    fn apply(&self, writes: Writes) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db.apply_batch(batch).map_err(|error| self.told(error))
    }

    fn flush(&self, number: u64) -> Result<()> {
        let count = || -> sled::Result<()> {
            self.db.open_tree(FLUSHES)?.insert(FLUSHES, &number.to_be_bytes())?;
            self.db.flush().map(|_| ())
        };
        count().map_err(|error| self.told(error))?;
        sync_files(&self.path)
    }
}

/// Syncs the engine's files and their folders.
fn sync_files(dir: &Path) -> Result<()> {
    for name in ["db", "conf"] {
        let path = dir.join(name);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        file.sync_all().map_err(Error::io("sync", &path))?;
    }
    let blobs = dir.join("blobs");
    if let Ok(entries) = fs::read_dir(&blobs) {
        for path in entries.flatten().map(|entry| entry.path()) {
            // The engine removes large values that nothing refers to any more at any time.
            match File::open(&path).and_then(|file| file.sync_all()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("sync", &path)(error));
                }
                _ => {}
            }
        }
        file::sync_dir(&blobs)?;
    }
    file::sync_dir(dir)?;
    dir.parent().map_or(Ok(()), file::sync_dir)
}
