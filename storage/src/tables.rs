//! The tables: ordered keys and values of up to 256 tables, with atomic batches over all of
//! them, on one of two engines ([`Backend`]).
//!
//! This is materialised state and never the only copy, whatever the engine: the caller keeps its
//! applied index in the same batch as its rows; every flush is counted inside the engine and in
//! a small file outside (`<dir>.synced`), so that a loss is seen at the opening; and whatever
//! cannot be opened or is behind that file is moved aside and rebuilt.
//!
//! Invariants: a batch is visible whole or not at all, also after a crash; what was committed
//! before a finished [`Tables::flush`] survives a power cut; the first fault while running is
//! sticky; a load that did not finish is never opened as if it were whole.

mod changes;
mod engine;
mod flusher;
mod on_fjall;
#[cfg(feature = "simulation")]
pub mod on_memory;
mod on_sled;
mod overlay;
mod trace;
mod types;

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::file;
use crate::metrics::Metrics;
use changes::Changes;
use engine::{Engine, Unopened, Writes};
use flusher::Flusher;
use overlay::Overlay;
use trace::{move_aside, read_flushes, remove_mark, set_mark, waits, write_flushes};

pub use changes::Delta;
pub use engine::Backend;
pub(crate) use trace::waits as wait_for_load;
pub use types::{Opened, Pair, Put, Visit};

/// Keys that a dump reads while it holds the commits up.
const DUMP_KEYS: usize = 512;
/// Keys that one batch of a load carries.
const LOAD_KEYS: usize = 1024;

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
    backend: Backend,
    cache_octets: u64,
    metrics: Metrics,
    /// `None` only while the tables are replaced or after the stop.
    db: RwLock<Option<Box<dyn Engine>>>,
    /// Held over every commit.
    commits: Mutex<Commits>,
    fault: Mutex<Option<Error>>,
    flusher: Flusher,
    /// Number of the last finished flush; held over every flush.
    flushes: Mutex<u64>,
    /// Something was committed since the last flush began.
    dirty: AtomicBool,
}

/// What commits leave for those who read the tables as of one moment.
#[derive(Default)]
struct Commits {
    /// What a running dump must still see of overwritten keys.
    overlay: Option<Overlay>,
    /// What the next snapshot has to add to the last one.
    changes: Changes,
}

/// The tables as of one moment, for a snapshot.
#[derive(Debug)]
pub enum Cut {
    /// The keys that were written since the snapshot before.
    Changes(Delta),
    /// All of them, to be read through.
    Whole(FrozenTables),
}

/// The tables as of one moment, while commits go on. Only one at a time.
pub struct FrozenTables {
    inner: Arc<Inner>,
}

impl Tables {
    /// Opens the tables in a folder; damaged ones are moved aside.
    ///
    /// # Errors
    /// `tables_backend` when another engine wrote the folder; the codes of the disk, when not
    /// even fresh tables can be made.
    pub fn open(dir: &Path, config: &Config, metrics: &Metrics) -> Result<(Self, Opened)> {
        config.validate()?;
        if let Some(parent) = dir.parent() {
            file::make_dirs(parent)?;
        }
        let backend = config.tables_backend;
        backend.claim(dir)?;
        let (db, opened) = open_or_move(dir, backend, config.tables_cache_octets)?;
        let inner = Arc::new(Inner {
            path: dir.to_path_buf(),
            backend,
            cache_octets: config.tables_cache_octets,
            metrics: metrics.clone(),
            db: RwLock::new(Some(db)),
            commits: Mutex::default(),
            fault: Mutex::new(None),
            flusher: Flusher::default(),
            flushes: Mutex::new(read_flushes(dir)?),
            dirty: AtomicBool::new(true),
        });
        let tables = Self { _flushing: Arc::new(Flushing(inner.clone())), inner };
        tables.flush()?;
        if backend.flushes_by_itself() {
            tables.start_flusher(config.tables_flush_interval)?;
        }
        Ok((tables, opened))
    }

    /// One value.
    ///
    /// # Errors
    /// `tables_fault`, sticky.
    pub fn get(&self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let guard = self.inner.db()?;
        self.inner.check(guard.get(&full_key(table, key)))
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
        let (from, to) = (full_key(table, from), full_key(table, to));
        let found = guard.range(Bound::Included(&from), Bound::Excluded(&to), limit);
        let mut pairs = self.inner.check(found)?;
        for (key, _) in &mut pairs {
            key.remove(0);
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
        let mut writes = Writes::with_capacity(batch.len());
        for put in batch {
            let key = full_key(put.table, &put.key);
            if let Some(overlay) = commits.overlay.as_mut()
                && !overlay.holds(&key)
            {
                let before = self.inner.check(guard.get(&key))?;
                overlay.note(key.clone(), before);
            }
            writes.push((key, put.value.clone()));
        }
        commits.changes.note(&writes);
        self.inner.check(guard.apply(writes))?;
        self.inner.dirty.store(true, Ordering::Release);
        Ok(())
    }

    /// Makes everything committed so far durable.
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
        self.frozen(&mut commits)
    }

    fn frozen(&self, commits: &mut Commits) -> Result<FrozenTables> {
        if commits.overlay.is_some() {
            return Err(Error::misuse("dump_running", "one dump of the tables at a time"));
        }
        commits.overlay = Some(Overlay::default());
        Ok(FrozenTables { inner: self.inner.clone() })
    }

    /// The tables as of now, for a snapshot of `index`, in no time: what was written since the
    /// snapshot of `base` when that is known, else a view of all. Changes are counted from here.
    ///
    /// # Errors
    /// `dump_running` while an earlier view lives.
    pub fn cut(&self, base: Option<u64>, index: u64) -> Result<Cut> {
        self.inner.db()?;
        let mut commits = lock(&self.inner.commits);
        match commits.changes.cut(base, index) {
            Some(delta) => Ok(Cut::Changes(delta)),
            None => self.frozen(&mut commits).map(Cut::Whole),
        }
    }

    /// The tables are now exactly those of the snapshot of `index`: changes are counted from it.
    pub fn begin_changes(&self, index: u64) {
        lock(&self.inner.commits).changes.begin(index);
    }

    /// The last cut did not become a snapshot: the next one begins with all of the tables.
    pub fn forget_changes(&self) {
        lock(&self.inner.commits).changes.forget();
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
        *commits = Commits::default();
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
    db: &'a dyn Engine,
    batch: Writes,
}

impl Load<'_> {
    /// Adds one key.
    ///
    /// # Errors
    /// `tables_fault`.
    pub fn put(&mut self, table: u8, key: &[u8], value: &[u8]) -> Result<()> {
        self.batch.push((full_key(table, key), Some(value.to_vec())));
        if self.batch.len() < LOAD_KEYS { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.db.apply(batch)
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

    /// Turns an engine's error into the sticky fault.
    fn check<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| self.set_fault(error))
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
        let synced = guard.flush(number).and_then(|()| write_flushes(&self.path, number));
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
        slot: &mut Option<Box<dyn Engine>>,
        flushes: &mut u64,
        fill: &mut dyn FnMut(&mut Load<'_>) -> Result<()>,
    ) -> Result<()> {
        set_mark(&self.path)?;
        drop(slot.take());
        file::remove_tree(&self.path)?;
        let db = open_empty(&self.path, self.backend, self.cache_octets)?;
        let mut load = Load { db: &*db, batch: Writes::new() };
        fill(&mut load)?;
        load.send()?;
        *flushes += 1;
        db.flush(*flushes)?;
        write_flushes(&self.path, *flushes)?;
        remove_mark(&self.path)?;
        *slot = Some(db);
        // What failed before is not there any more.
        *lock(&self.fault) = None;
        Ok(())
    }
}

/// The open tables, known to be there.
struct DbGuard<'a>(RwLockReadGuard<'a, Option<Box<dyn Engine>>>);

impl std::ops::Deref for DbGuard<'_> {
    type Target = dyn Engine;

    fn deref(&self) -> &Self::Target {
        self.0.as_deref().expect("checked when the guard was made")
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
        let Some(overlay) = commits.overlay.as_mut() else {
            return Err(Error::misuse("dump_lost", "the tables were replaced during a dump"));
        };
        let guard = self.inner.db()?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let now = self.inner.check(guard.range(from, Bound::Unbounded, DUMP_KEYS))?;
        let full = now.len() == DUMP_KEYS;
        let next = now.last().filter(|_| full).map(|(key, _)| key.clone());
        Ok((overlay.as_of(now, after, next.as_deref()), next))
    }
}

impl Drop for FrozenTables {
    fn drop(&mut self) {
        lock(&self.inner.commits).overlay = None;
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

fn open_or_move(
    dir: &Path,
    backend: Backend,
    cache_octets: u64,
) -> Result<(Box<dyn Engine>, Opened)> {
    let flushes = read_flushes(dir)?;
    let existed = dir.exists() || flushes > 0;
    let loading = waits(dir);
    if !loading {
        match backend.open(dir, cache_octets, flushes) {
            Ok(db) => {
                let opened = if existed { Opened::Existing } else { Opened::Fresh };
                return Ok((db, opened));
            }
            Err(Unopened::Held(why)) => return Err(Error::Tables(why)),
            Err(Unopened::Damaged(why)) if !existed => return Err(Error::Tables(why)),
            Err(Unopened::Damaged(why)) => {
                tracing::warn!(why, "the tables are damaged and will be rebuilt");
            }
        }
    }
    // The mark stays until the caller has loaded the tables anew: a crash before that must
    // not make the empty tables look whole.
    set_mark(dir)?;
    let moved_to = move_aside(dir)?;
    Ok((open_empty(dir, backend, cache_octets)?, Opened::Rebuild { moved_to }))
}

fn open_empty(dir: &Path, backend: Backend, cache_octets: u64) -> Result<Box<dyn Engine>> {
    backend.open(dir, cache_octets, 0).map_err(|why| Error::Tables(why.why()))
}

#[cfg(test)]
mod tests {
    use super::{Backend, Opened, Put, Tables};
    use crate::config::Config;
    use crate::metrics::Metrics;
    use std::fs;
    use std::path::Path;

    fn open(dir: &Path, tables_backend: Backend) -> (Tables, Opened) {
        let config = Config { tables_backend, ..Config::for_test(dir) };
        Tables::open(&dir.join("tables"), &config, &Metrics::unregistered()).unwrap()
    }

    /// Everything below holds on every engine.
    fn on_each(test: impl Fn(&Path, Backend)) {
        for backend in Backend::ALL {
            let dir = tempfile::tempdir().unwrap();
            println!("on {}", backend.name());
            test(dir.path(), backend);
        }
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

    /// What a bad disk may do: every file reads as something else here and there.
    fn spoil(dir: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                spoil(&path);
                continue;
            }
            let mut octets = fs::read(&path).unwrap();
            for octet in octets.iter_mut().step_by(97) {
                *octet ^= 0x5a;
            }
            fs::write(&path, octets).unwrap();
        }
    }

    #[test]
    fn the_last_write_of_a_key_in_a_batch_wins() {
        on_each(|dir, backend| {
            let (tables, _) = open(dir, backend);
            tables.commit(&[put(1, "a", "1"), put(1, "a", "2"), put(1, "b", "x")]).unwrap();
            tables.commit(&[put(1, "a", ""), put(1, "b", ""), put(1, "b", "y")]).unwrap();
            let expect = [(1, "b".to_owned(), "y".to_owned())];
            assert_eq!(dump(&tables), expect);
            drop(tables);
            assert_eq!(dump(&open(dir, backend).0), expect);
        });
    }

    #[test]
    fn tables_of_the_other_engine_are_refused_and_left_alone() {
        let [one, two] = Backend::ALL;
        for (writer, reader) in [(one, two), (two, one)] {
            let dir = tempfile::tempdir().unwrap();
            let (tables, _) = open(dir.path(), writer);
            tables.commit(&[put(1, "a", "1")]).unwrap();
            tables.stop().unwrap();
            drop(tables);
            let path = dir.path().join("tables");
            let config = Config { tables_backend: reader, ..Config::for_test(dir.path()) };
            let refused = Tables::open(&path, &config, &Metrics::unregistered()).unwrap_err();
            assert_eq!(refused.code(), "tables_backend");
            assert_eq!(dump(&open(dir.path(), writer).0).len(), 1);
            // The documented way over: the folder goes, the rest is rebuilt.
            fs::remove_dir_all(&path).unwrap();
            let (tables, opened) = open(dir.path(), reader);
            assert!(matches!(opened, Opened::Rebuild { .. }));
            tables.replace(&mut |load| load.put(1, b"a", b"1")).unwrap();
            drop(tables);
            let (tables, opened) = open(dir.path(), reader);
            assert_eq!((opened, dump(&tables).len()), (Opened::Existing, 1));
        }
    }

    #[test]
    fn tables_do_not_touch_each_other() {
        on_each(|dir, backend| {
            let (tables, opened) = open(dir, backend);
            assert_eq!(opened, Opened::Fresh);
            tables.commit(&[put(1, "b", "1b"), put(1, "a", "1a"), put(2, "a", "2a")]).unwrap();
            tables.commit(&[put(255, "z", "end"), put(1, "c", "1c"), put(1, "b", "")]).unwrap();
            assert_eq!(tables.get(1, b"a").unwrap().unwrap(), b"1a");
            assert_eq!(tables.get(1, b"b").unwrap(), None);
            let scan = |from: &str, to: &str, limit| {
                let found = tables.scan(1, from.as_bytes(), to.as_bytes(), limit).unwrap();
                found
                    .iter()
                    .map(|(key, _)| String::from_utf8(key.clone()).unwrap())
                    .collect::<String>()
            };
            assert_eq!(scan("", "z", 9), "ac");
            assert_eq!(scan("", "z", 1), "a");
            assert_eq!(scan("a", "c", 9), "a");
            assert_eq!(scan("z", "a", 9), "");
            tables.stop().unwrap();
            assert_eq!(tables.get(1, b"a").unwrap_err().code(), "storage_stopped");
            drop(tables);
            let (tables, opened) = open(dir, backend);
            assert_eq!((opened, dump(&tables).len()), (Opened::Existing, 4));
        });
    }

    #[test]
    fn a_dump_shows_the_moment_of_the_freeze() {
        on_each(|dir, backend| {
            let (tables, _) = open(dir, backend);
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
        });
    }

    #[test]
    fn damaged_tables_are_moved_aside_until_they_are_rebuilt() {
        on_each(|dir, backend| {
            let (tables, _) = open(dir, backend);
            let all: Vec<Put> =
                (0..3000).map(|number| put(1, &format!("{number}"), &"v".repeat(200))).collect();
            tables.commit(&all).unwrap();
            tables.stop().unwrap();
            drop(tables);
            spoil(&dir.join("tables"));
            let moved_to = dir.join("tables.damaged-1");
            let (tables, opened) = open(dir, backend);
            assert_eq!(opened, Opened::Rebuild { moved_to: moved_to.clone() });
            assert!(fs::read_dir(&moved_to).unwrap().count() > 0);
            assert_eq!(dump(&tables), []);
            drop(tables);
            // Nobody rebuilt them yet, so the empty tables are not taken for whole ones.
            let (tables, opened) = open(dir, backend);
            assert!(matches!(opened, Opened::Rebuild { .. }));
            tables.replace(&mut |load| load.put(7, b"k", b"v")).unwrap();
            drop(tables);
            let (tables, opened) = open(dir, backend);
            assert_eq!(opened, Opened::Existing);
            assert_eq!(dump(&tables), [(7, "k".to_owned(), "v".to_owned())]);
        });
    }

    #[test]
    fn half_a_load_is_never_taken_for_whole() {
        on_each(|dir, backend| {
            let (tables, _) = open(dir, backend);
            let fault = tables.replace(&mut |load| {
                load.put(7, b"k", b"v")?;
                Err(crate::Error::Tables("the source ended".to_owned()))
            });
            assert!(fault.is_err());
            assert_eq!(tables.get(7, b"k").unwrap_err().code(), "tables_fault");
            drop(tables);
            assert!(matches!(open(dir, backend).1, Opened::Rebuild { .. }));
        });
    }
}
