//! The tables in memory, with a memory of what was flushed. For the deterministic simulation.
//!
//! A platter stands for the disk below one folder: it outlives the tables, and when it is told to
//! crash, the batches since the last flush are lost from some point on, each whole or not at all,
//! which is what the engines of a disk promise.
//!
//! Invariant: what a flush covered is never lost, but with the folder.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::engine::{Engine, Unopened, Writes};
use super::types::Pair;
use crate::error::Result;
use crate::file;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Default)]
struct Platter {
    now: Rows,
    flushed: Rows,
    /// Batches since the last flush, oldest first.
    pending: Vec<Writes>,
    flushes: u64,
}

static PLATTERS: Mutex<BTreeMap<PathBuf, Arc<Mutex<Platter>>>> = Mutex::new(BTreeMap::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct OnMemory(Arc<Mutex<Platter>>);

/// Opens what stands under a folder's name; a folder that is gone begins anew.
pub(super) fn open(dir: &Path) -> std::result::Result<(Box<dyn Engine>, u64), Unopened> {
    let mut platters = lock(&PLATTERS);
    if !dir.exists() {
        platters.remove(dir);
        file::make_dirs(dir).map_err(|error| Unopened::Damaged(error.to_string()))?;
    }
    let platter = platters.entry(dir.to_path_buf()).or_default().clone();
    let flushes = lock(&platter).flushes;
    Ok((Box::new(OnMemory(platter)), flushes))
}

/// How many batches were committed since the last flush.
pub fn unflushed(dir: &Path) -> usize {
    lock(&PLATTERS).get(dir).map_or(0, |platter| lock(platter).pending.len())
}

/// The power goes: of the batches since the last flush only the first `kept` are there.
pub fn crash(dir: &Path, kept: usize) {
    let Some(platter) = lock(&PLATTERS).get(dir).cloned() else { return };
    let mut platter = lock(&platter);
    let pending = std::mem::take(&mut platter.pending);
    for writes in pending.into_iter().take(kept) {
        write(&mut platter.flushed, writes);
    }
    platter.now = platter.flushed.clone();
}

/// Forgets every platter below a folder that is not needed any more.
pub fn forget_below(dir: &Path) {
    lock(&PLATTERS).retain(|path, _| !path.starts_with(dir));
}

fn write(rows: &mut Rows, writes: Writes) {
    for (key, value) in writes {
        match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }
}

impl Engine for OnMemory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(lock(&self.0).now.get(key).cloned())
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, limit: usize) -> Result<Vec<Pair>> {
        let platter = lock(&self.0);
        let range = platter.now.range::<[u8], _>((from, to)).take(limit);
        Ok(range.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn apply(&self, writes: Writes) -> Result<()> {
        let mut platter = lock(&self.0);
        write(&mut platter.now, writes.clone());
        platter.pending.push(writes);
        Ok(())
    }

    fn flush(&self, number: u64) -> Result<()> {
        let mut platter = lock(&self.0);
        let pending = std::mem::take(&mut platter.pending);
        for writes in pending {
            write(&mut platter.flushed, writes);
        }
        platter.flushes = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: u8, value: u8) -> Writes {
        vec![(vec![key], Some(vec![value]))]
    }

    #[test]
    fn a_crash_loses_the_last_batches_and_nothing_that_was_flushed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tables");
        let Ok((engine, 0)) = open(&path) else { panic!("fresh") };
        engine.apply(put(1, 1)).unwrap();
        engine.flush(1).unwrap();
        engine.apply(put(1, 2)).unwrap();
        engine.apply(put(2, 2)).unwrap();
        assert_eq!(unflushed(&path), 2);
        crash(&path, 1);
        let Ok((engine, 1)) = open(&path) else { panic!("as it was flushed") };
        assert_eq!(engine.get(&[1]).unwrap(), Some(vec![2]));
        assert_eq!(engine.get(&[2]).unwrap(), None);
        forget_below(dir.path());
        assert_eq!(unflushed(&path), 0);
    }
}
