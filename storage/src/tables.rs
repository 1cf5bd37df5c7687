//! The tables: ordered keys and values of up to 256 tables, with atomic batches over all of
//! them. The only place that names sled.
//!
//! sled 0.34 loses acknowledged writes, may panic on its own files after a power cut, and may
//! open damaged files as if they had been short. So this is materialised state and never the
//! only copy: the caller keeps its applied index in the same batch as its rows; every flush is
//! counted inside and in a small file outside (`<dir>.synced`), so that a loss is seen at the
//! opening; and whatever cannot be opened or is behind that file is moved aside and rebuilt.
//!
//! Invariants: a batch is visible whole or not at all, also after a crash; what was committed
//! before a finished [`Tables::flush`] survives a power cut; the first fault while running is
//! sticky; a load that did not finish is never opened as if it were whole.

mod flusher;
mod overlay;
mod trace;
mod types;

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::file;
use crate::metrics::Metrics;
use flusher::Flusher;
use overlay::Overlay;
use trace::{move_aside, read_flushes, remove_mark, set_mark, sync_files, waits, write_flushes};

pub(crate) use trace::waits as wait_for_load;
pub use types::{Opened, Pair, Put, Visit};

/// Keys that a dump reads while it holds the commits up.
const DUMP_KEYS: usize = 512;
/// Keys that one batch of a load carries.
const LOAD_KEYS: usize = 1024;

/// sled's tree, and the key in it, that count the flushes.
const FLUSHES: &str = "flushes";

/// The tables; cheap to clone.
#[derive(Clone)]
pub struct Tables {
    inner: Arc<Inner>,
    /// Dropped with the last handle, which ends the flusher.
    _flushing: Arc<Flushing>,
}

/// Ends the flusher when the last handle goes; the flusher itself holds none.
struct Flushing(Arc<Inner>);

impl Drop for Flushing {
    fn drop(&mut self) {
        self.0.flusher.stop();
    }
}

struct Inner {
    path: PathBuf,
    cache_octets: u64,
    metrics: Metrics,
    /// `None` only while the tables are replaced or after the stop.
    db: RwLock<Option<sled::Db>>,
    /// Held over every commit; inside: what a running dump must still see of overwritten keys.
    commits: Mutex<Option<Overlay>>,
    fault: Mutex<Option<Error>>,
    flusher: Flusher,
    /// Number of the last finished flush; held over every flush.
    flushes: Mutex<u64>,
    /// Something was committed since the last flush began.
    dirty: AtomicBool,
}

/// The tables as of one moment, while commits go on. Only one at a time.
pub struct FrozenTables {
    inner: Arc<Inner>,
}

impl Tables {
    /// Opens the tables in a folder; damaged ones are moved aside.
    ///
    /// # Errors
    /// The codes of the disk, when not even fresh tables can be made.
    pub fn open(dir: &Path, config: &Config, metrics: &Metrics) -> Result<(Self, Opened)> {
        config.validate()?;
        if let Some(parent) = dir.parent() {
            file::make_dirs(parent)?;
        }
        let (db, opened) = open_or_move(dir, config.tables_cache_octets)?;
        let inner = Arc::new(Inner {
            path: dir.to_path_buf(),
            cache_octets: config.tables_cache_octets,
            metrics: metrics.clone(),
            db: RwLock::new(Some(db)),
            commits: Mutex::new(None),
            fault: Mutex::new(None),
            flusher: Flusher::default(),
            flushes: Mutex::new(read_flushes(dir)?),
            dirty: AtomicBool::new(true),
        });
        let tables = Self { _flushing: Arc::new(Flushing(inner.clone())), inner };
        tables.flush()?;
        tables.start_flusher(config.tables_flush_interval)?;
        Ok((tables, opened))
    }

    /// One value.
    ///
    /// # Errors
    /// `tables_fault`, sticky.
    pub fn get(&self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let guard = self.inner.db()?;
        let value = self.inner.check(guard.get(full_key(table, key)))?;
        Ok(value.map(|value| value.to_vec()))
    }

    /// Keys of a table in `from..to` (end excluded) with their values, at most `limit`.
    ///
    /// # Errors
    /// `tables_fault`, sticky.
    pub fn scan(&self, table: u8, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let guard = self.inner.db()?;
        let mut pairs = Vec::new();
        for pair in guard.range(full_key(table, from)..full_key(table, to)).take(limit) {
            let (key, value) = self.inner.check(pair)?;
            pairs.push((key.get(1..).unwrap_or_default().to_vec(), value.to_vec()));
        }
        Ok(pairs)
    }

    /// Writes a batch, all or nothing. Durable after the next flush.
    ///
    /// # Errors
    /// `tables_fault`, sticky.
    pub fn commit(&self, batch: &[Put]) -> Result<()> {
        let mut commits = lock(&self.inner.commits);
        let guard = self.inner.db()?;
        let mut writes = sled::Batch::default();
        for put in batch {
            let key = full_key(put.table, &put.key);
            if let Some(overlay) = commits.as_mut()
                && !overlay.holds(&key)
            {
                let before = self.inner.check(guard.get(&key))?.map(|value| value.to_vec());
                overlay.note(key.clone(), before);
            }
            match &put.value {
                Some(value) => writes.insert(key, value.as_slice()),
                None => writes.remove(key),
            }
        }
        self.inner.check(guard.apply_batch(writes))?;
        self.inner.dirty.store(true, Ordering::Release);
        Ok(())
    }

    /// Makes everything committed so far durable. sled's own flush does not sync on Linux, so
    /// its file is synced behind it.
    ///
    /// # Errors
    /// `tables_fault` or the code of the disk, sticky.
    pub fn flush(&self) -> Result<()> {
        self.inner.flush()
    }

    /// Freezes a view for a dump, in no time; commits go on meanwhile.
    ///
    /// # Errors
    /// `dump_running` while an earlier view lives.
    pub fn freeze(&self) -> Result<FrozenTables> {
        self.inner.db()?;
        let mut commits = lock(&self.inner.commits);
        if commits.is_some() {
            return Err(Error::misuse("dump_running", "one dump of the tables at a time"));
        }
        *commits = Some(Overlay::default());
        Ok(FrozenTables { inner: self.inner.clone() })
    }

    /// Visits every table, key and value in order, as of the call.
    ///
    /// # Errors
    /// `tables_fault`, `dump_running`, or what the visitor answers.
    pub fn dump(&self, visit: &mut Visit<'_>) -> Result<()> {
        self.freeze()?.visit(visit)
    }

    /// Drops everything; durable when it returns.
    ///
    /// # Errors
    /// `tables_fault` or the code of the disk, sticky.
    pub fn clear(&self) -> Result<()> {
        self.replace(&mut |_| Ok(()))
    }

    /// Drops everything and loads what `fill` hands over; durable when it returns. A crash
    /// before that is met as [`Opened::Rebuild`] at the next opening.
    ///
    /// # Errors
    /// `tables_fault` or the code of the disk, sticky; what `fill` answers.
    pub fn replace(&self, fill: &mut dyn FnMut(&mut Load<'_>) -> Result<()>) -> Result<()> {
        let inner = &self.inner;
        // The order of these locks is the same everywhere: flushes, commits, tables.
        let mut flushes = lock(&inner.flushes);
        let mut commits = lock(&inner.commits);
        *commits = None;
        let mut slot = inner.db.write().unwrap_or_else(PoisonError::into_inner);
        let done = inner.replace(&mut slot, &mut flushes, fill);
        if let Err(error) = &done {
            // Half a load must not be read; the next opening finds the mark and rebuilds.
            inner.set_fault(error.clone());
        }
        done
    }

    /// The sticky fault, if there is one.
    pub fn fault(&self) -> Option<Error> {
        lock(&self.inner.fault).clone()
    }

    /// Flushes and ends the flusher. Later calls fail.
    ///
    /// # Errors
    /// Those of [`Tables::flush`].
    pub fn stop(&self) -> Result<()> {
        self.inner.flusher.stop();
        let flushed = self.flush();
        let mut slot = self.inner.db.write().unwrap_or_else(PoisonError::into_inner);
        drop(slot.take());
        flushed
    }

    fn start_flusher(&self, interval: Duration) -> Result<()> {
        let inner = self.inner.clone();
        let work = move || {
            // A fault is kept, and told where it is met.
            while !inner.flusher.rest(interval) && inner.flush().is_ok() {}
        };
        self.inner.flusher.start(work).map_err(Error::io("start the flusher of", &self.inner.path))
    }
}

/// Where a load puts its keys.
pub struct Load<'a> {
    db: &'a sled::Db,
    path: &'a Path,
    batch: sled::Batch,
    keys: usize,
}

impl Load<'_> {
    /// Adds one key.
    ///
    /// # Errors
    /// `tables_fault`.
    pub fn put(&mut self, table: u8, key: &[u8], value: &[u8]) -> Result<()> {
        self.batch.insert(full_key(table, key), value);
        self.keys += 1;
        if self.keys < LOAD_KEYS { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<()> {
        self.keys = 0;
        let batch = std::mem::take(&mut self.batch);
        self.db.apply_batch(batch).map_err(|error| told(self.path, error))
    }
}

impl Inner {
    fn db(&self) -> Result<DbGuard<'_>> {
        if let Some(fault) = &*lock(&self.fault) {
            return Err(fault.clone());
        }
        let guard = self.db.read().unwrap_or_else(PoisonError::into_inner);
        if guard.is_some() { Ok(DbGuard(guard)) } else { Err(Error::Stopped("the tables")) }
    }

    /// Turns sled's errors into the sticky fault.
    fn check<T>(&self, result: sled::Result<T>) -> Result<T> {
        result.map_err(|error| self.set_fault(told(&self.path, error)))
    }

    /// Keeps the first fault and tells it once, whoever met it.
    fn set_fault(&self, error: Error) -> Error {
        let mut first = lock(&self.fault);
        if first.is_none() && !matches!(error, Error::Stopped(_)) {
            let (code, fault) = (error.code(), error.report());
            tracing::error!(code, fault, "the tables cannot be read or written");
        }
        first.get_or_insert(error).clone()
    }

    fn flush(&self) -> Result<()> {
        let mut flushes = lock(&self.flushes);
        let guard = self.db()?;
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let begun = Instant::now();
        let number = *flushes + 1;
        let synced = self.check(count_flush(&guard, number)).and_then(|()| {
            sync_files(&self.path)?;
            write_flushes(&self.path, number)
        });
        synced.map_err(|error| self.set_fault(error))?;
        *flushes = number;
        drop(guard);
        self.metrics.tables_flush_s.observe(begun.elapsed().as_secs_f64());
        let octets = file::tree_octets(&self.path);
        self.metrics.tables_octets.set(i64::try_from(octets).unwrap_or(i64::MAX));
        Ok(())
    }

    fn replace(
        &self,
        slot: &mut Option<sled::Db>,
        flushes: &mut u64,
        fill: &mut dyn FnMut(&mut Load<'_>) -> Result<()>,
    ) -> Result<()> {
        set_mark(&self.path)?;
        drop(slot.take());
        file::remove_tree(&self.path)?;
        let db = open_guarded(&self.path, self.cache_octets, 0).map_err(Error::Tables)?;
        let mut load = Load { db: &db, path: &self.path, batch: sled::Batch::default(), keys: 0 };
        fill(&mut load)?;
        load.send()?;
        *flushes += 1;
        count_flush(&db, *flushes).map_err(|error| told(&self.path, error))?;
        sync_files(&self.path)?;
        write_flushes(&self.path, *flushes)?;
        remove_mark(&self.path)?;
        *slot = Some(db);
        // What failed before is not there any more.
        *lock(&self.fault) = None;
        Ok(())
    }
}

/// The open tables, known to be there.
struct DbGuard<'a>(RwLockReadGuard<'a, Option<sled::Db>>);

impl std::ops::Deref for DbGuard<'_> {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        self.0.as_ref().expect("checked when the guard was made")
    }
}

impl FrozenTables {
    /// Visits every table, key and value in order, as of the freeze.
    ///
    /// # Errors
    /// `tables_fault`, or what the visitor answers.
    pub fn visit(self, visit: &mut Visit<'_>) -> Result<()> {
        let mut after = None;
        loop {
            let (pairs, next) = self.chunk(after.as_deref())?;
            for (key, value) in &pairs {
                let (table, rest) = key.split_first().unwrap_or((&0, &[]));
                visit(*table, rest, value)?;
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// The next keys after one, as of the freeze, and where to go on; commits wait meanwhile.
    fn chunk(&self, after: Option<&[u8]>) -> Result<(Vec<Pair>, Option<Vec<u8>>)> {
        let mut commits = lock(&self.inner.commits);
        let Some(overlay) = commits.as_mut() else {
            return Err(Error::misuse("dump_lost", "the tables were replaced during a dump"));
        };
        let guard = self.inner.db()?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut now = Vec::with_capacity(DUMP_KEYS);
        for pair in guard.range::<&[u8], _>((from, Bound::Unbounded)).take(DUMP_KEYS) {
            let (key, value) = self.inner.check(pair)?;
            now.push((key.to_vec(), value.to_vec()));
        }
        let full = now.len() == DUMP_KEYS;
        let next = now.last().filter(|_| full).map(|(key, _)| key.clone());
        Ok((overlay.as_of(now, after, next.as_deref()), next))
    }
}

impl Drop for FrozenTables {
    fn drop(&mut self) {
        *lock(&self.inner.commits) = None;
    }
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for FrozenTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrozenTables").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn full_key(table: u8, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(key.len() + 1);
    full.push(table);
    full.extend_from_slice(key);
    full
}

fn open_or_move(dir: &Path, cache_octets: u64) -> Result<(sled::Db, Opened)> {
    let flushes = read_flushes(dir)?;
    let existed = dir.exists() || flushes > 0;
    let loading = waits(dir);
    if !loading {
        match open_guarded(dir, cache_octets, flushes) {
            Ok(db) => {
                let opened = if existed { Opened::Existing } else { Opened::Fresh };
                return Ok((db, opened));
            }
            // Tables that somebody else still holds are not damaged.
            Err(why) if !existed || why.contains("acquire lock") => {
                return Err(Error::Tables(why));
            }
            Err(why) => {
                tracing::warn!(why, "the tables are damaged and will be rebuilt");
            }
        }
    }
    // The mark stays until the caller has loaded the tables anew: a crash before that must
    // not make the empty tables look whole.
    set_mark(dir)?;
    let moved_to = move_aside(dir)?;
    let db = open_guarded(dir, cache_octets, 0).map_err(Error::Tables)?;
    sync_files(dir)?;
    Ok((db, Opened::Rebuild { moved_to }))
}

/// Opens sled and reads every page once, because it panics on damage as often as it answers.
fn open_guarded(
    dir: &Path,
    cache_octets: u64,
    flushes: u64,
) -> std::result::Result<sled::Db, String> {
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
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok((db, counted))) if counted >= flushes => Ok(db),
        Ok(Ok((_, counted))) => Err(format!("flush {flushes} is lost, {counted} is the last")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("panic: {}", text.unwrap_or_default()))
        }
    }
}

/// The engine's error as ours: what the system answered keeps its kind, so that a full disk is
/// told as one.
fn told(path: &Path, error: sled::Error) -> Error {
    match error {
        sled::Error::Io(source) => Error::io("write the tables in", path)(source),
        other => Error::Tables(other.to_string()),
    }
}

/// Notes the number of a flush inside, behind everything committed, and flushes.
fn count_flush(db: &sled::Db, number: u64) -> sled::Result<()> {
    db.open_tree(FLUSHES)?.insert(FLUSHES, &number.to_be_bytes())?;
    db.flush().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::{Opened, Put, Tables};
    use crate::config::Config;
    use crate::metrics::Metrics;
    use std::fs;
    use std::path::Path;

    fn open(dir: &Path) -> (Tables, Opened) {
        Tables::open(&dir.join("tables"), &Config::for_test(dir), &Metrics::unregistered()).unwrap()
    }

    fn put(table: u8, key: &str, value: &str) -> Put {
        let value = (!value.is_empty()).then(|| value.as_bytes().to_vec());
        Put { table, key: key.as_bytes().to_vec(), value }
    }

    fn dump(tables: &Tables) -> Vec<(u8, String, String)> {
        let mut found = Vec::new();
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        tables
            .dump(&mut |table, key, value| {
                found.push((table, text(key), text(value)));
                Ok(())
            })
            .unwrap();
        found
    }

    #[test]
    fn tables_do_not_touch_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let (tables, opened) = open(dir.path());
        assert_eq!(opened, Opened::Fresh);
        tables.commit(&[put(1, "b", "1b"), put(1, "a", "1a"), put(2, "a", "2a")]).unwrap();
        tables.commit(&[put(255, "z", "end"), put(1, "c", "1c"), put(1, "b", "")]).unwrap();
        assert_eq!(tables.get(1, b"a").unwrap().unwrap(), b"1a");
        assert_eq!(tables.get(1, b"b").unwrap(), None);
        let scan = |from: &str, to: &str, limit| {
            let found = tables.scan(1, from.as_bytes(), to.as_bytes(), limit).unwrap();
            found.iter().map(|(key, _)| String::from_utf8(key.clone()).unwrap()).collect::<String>()
        };
        assert_eq!(scan("", "z", 9), "ac");
        assert_eq!(scan("", "z", 1), "a");
        assert_eq!(scan("a", "c", 9), "a");
        assert_eq!(scan("z", "a", 9), "");
        tables.stop().unwrap();
        assert_eq!(tables.get(1, b"a").unwrap_err().code(), "storage_stopped");
        drop(tables);
        let (tables, opened) = open(dir.path());
        assert_eq!((opened, dump(&tables).len()), (Opened::Existing, 4));
    }

    #[test]
    fn a_dump_shows_the_moment_of_the_freeze() {
        let dir = tempfile::tempdir().unwrap();
        let (tables, _) = open(dir.path());
        let name = |number: usize| format!("{number:05}");
        let all: Vec<Put> = (0..3000).map(|number| put(1, &name(number), "old")).collect();
        tables.commit(&all).unwrap();
        let before = dump(&tables);
        let frozen = tables.freeze().unwrap();
        assert_eq!(tables.freeze().unwrap_err().code(), "dump_running");
        let (mut found, mut written) = (Vec::new(), 0);
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        let mut visit = |table, key: &[u8], value: &[u8]| {
            found.push((table, text(key), text(value)));
            // Overwrite, remove and add on both sides of the dump while it runs.
            for number in [written, 2999 - written] {
                let new = format!("{}x", name(number));
                let change = match number % 3 {
                    0 => put(1, &name(number), "new"),
                    1 => put(1, &name(number), ""),
                    _ => put(1, &new, "more"),
                };
                tables.commit(&[change]).unwrap();
            }
            written = (written + 7) % 3000;
            Ok(())
        };
        frozen.visit(&mut visit).unwrap();
        assert_eq!(found, before);
        assert_ne!(dump(&tables), before);
    }

    #[test]
    fn damaged_tables_are_moved_aside_until_they_are_rebuilt() {
        let dir = tempfile::tempdir().unwrap();
        let (tables, _) = open(dir.path());
        let all: Vec<Put> =
            (0..3000).map(|number| put(1, &format!("{number}"), &"v".repeat(200))).collect();
        tables.commit(&all).unwrap();
        tables.stop().unwrap();
        drop(tables);
        let db = dir.path().join("tables/db");
        let mut octets = fs::read(&db).unwrap();
        for at in (0..octets.len()).step_by(97) {
            octets[at] ^= 0x5a;
        }
        fs::write(&db, octets).unwrap();
        let moved_to = dir.path().join("tables.damaged-1");
        let (tables, opened) = open(dir.path());
        assert_eq!(opened, Opened::Rebuild { moved_to: moved_to.clone() });
        assert!(moved_to.join("db").exists());
        assert_eq!(dump(&tables), []);
        drop(tables);
        // Nobody rebuilt them yet, so the empty tables are not taken for whole ones.
        let (tables, opened) = open(dir.path());
        assert!(matches!(opened, Opened::Rebuild { .. }));
        tables.replace(&mut |load| load.put(7, b"k", b"v")).unwrap();
        drop(tables);
        let (tables, opened) = open(dir.path());
        assert_eq!(opened, Opened::Existing);
        assert_eq!(dump(&tables), [(7, "k".to_owned(), "v".to_owned())]);
    }

    #[test]
    fn half_a_load_is_never_taken_for_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (tables, _) = open(dir.path());
        let fault = tables.replace(&mut |load| {
            load.put(7, b"k", b"v")?;
            Err(crate::Error::Tables("the source ended".to_owned()))
        });
        assert!(fault.is_err());
        assert_eq!(tables.get(7, b"k").unwrap_err().code(), "tables_fault");
        drop(tables);
        assert!(matches!(open(dir.path()).1, Opened::Rebuild { .. }));
    }
}
