//! Snapshots: a manifest of immutable, hashed files that together are the state as of one
//! index of the log.
//!
//! A snapshot's folder holds the tables in parts, a checkpoint of the open days and the
//! manifest; sealed segment files are named by the manifest and stay where they are. What the
//! index and the caller's octets mean is the caller's business.
//!
//! A snapshot shares the parts of the one before (a second name for the same file) and adds one
//! of what changed since; when the changes have grown, the parts are folded into one, without a
//! look at the tables. These are read through only when the changes are not known: for the first
//! snapshot after a start, and after more of them than memory should hold.
//!
//! Invariants: a folder bears its number only when all of it is synced, tables included, so
//! that the log may be purged up to it; an installation that a crash cut short is finished at
//! the next opening, before anything else is done.

mod dump;
mod export;
mod incoming;
mod manifest;
mod parts;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::file;
use crate::segment::{Checkpoint, Entry, Pin, Segments};
use crate::tables::{Cut, Tables};

pub use export::exported;
use incoming::Turns;
pub use incoming::{Incoming, Months};
pub use manifest::{Item, Kind, Manifest};
use manifest::{OPEN_DAYS, TABLES, segment_item};

const MANIFEST: &str = "manifest";
const INSTALLING: &str = "installing";
const INCOMING: &str = "incoming";
const BUILDING: &str = "building";

/// The state as of one index: cheap to take, written in the background.
#[derive(Debug)]
pub struct Frozen {
    index: u64,
    meta: Vec<u8>,
    tables: Cut,
    /// The snapshot that the changes begin at.
    base: Option<Manifest>,
    days: Checkpoint,
    segments: Vec<Entry>,
    /// The segment files stay until the snapshot is written and holds a pin of its own.
    pin: Pin,
}

/// The snapshots of one group; cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshots {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    kept: usize,
    tables: Tables,
    segments: Segments,
    /// Complete snapshots, oldest first. Held for moments only.
    complete: Mutex<Vec<Manifest>>,
    /// Segment files that complete snapshots name, by the snapshot's index.
    pins: Mutex<BTreeMap<u64, Pin>>,
    /// Held while folders are made and changed, which may take long.
    work: Mutex<()>,
    /// Whose the folder is into which snapshots are received.
    turns: Turns,
}

impl Snapshots {
    /// Opens the snapshots of one group and finishes an installation that was cut short.
    ///
    /// # Errors
    /// The codes of the disk; those of an installation.
    pub fn open(dir: &Path, config: &Config, tables: &Tables, segments: &Segments) -> Result<Self> {
        file::make_dirs(dir)?;
        file::remove_tree(&dir.join(BUILDING))?;
        incoming::take_up(dir, &dir.join(INCOMING))?;
        let inner = Inner {
            dir: dir.to_path_buf(),
            kept: config.snapshots_kept,
            tables: tables.clone(),
            segments: segments.clone(),
            complete: Mutex::new(list(dir)?),
            pins: Mutex::default(),
            work: Mutex::new(()),
            turns: Turns::default(),
        };
        let snapshots = Self { inner: Arc::new(inner) };
        for manifest in snapshots.list() {
            snapshots.pins().insert(manifest.index, segments.pin(&manifest.segments));
        }
        if dir.join(INSTALLING).exists() {
            tracing::info!("finishing the installation of a snapshot");
            snapshots.finish_install()?;
        }
        Ok(snapshots)
    }

    /// Freezes tables and days. Call it between two applied entries, with the index of the
    /// last one; it takes milliseconds, and entries may be applied while it is written.
    ///
    /// # Errors
    /// `dump_running` while an earlier one is still being written.
    pub fn freeze(&self, index: u64, meta: Vec<u8>) -> Result<Frozen> {
        let base = self.newest();
        let tables = self.inner.tables.cut(base.as_ref().map(|base| base.index), index)?;
        // Days first: a file that appears between the two is then in both, which is harmless;
        // the other way round it could be in neither.
        let days = self.inner.segments.freeze(index);
        let (segments, pin) = self.inner.segments.pinned(index);
        Ok(Frozen { index, meta, tables, base, days, segments, pin })
    }

    /// Writes what was frozen (blocking), syncs the tables, drops old snapshots. When it
    /// returns, the log may be purged up to the index.
    ///
    /// # Errors
    /// The codes of the disk; `tables_fault`.
    pub fn write(&self, frozen: Frozen) -> Result<Manifest> {
        let _work = self.work();
        let written = self.write_files(frozen);
        if written.is_err() {
            self.inner.tables.forget_changes();
        }
        written
    }

    fn write_files(&self, frozen: Frozen) -> Result<Manifest> {
        let Frozen { index, meta, tables, base, days, segments, pin } = frozen;
        let dir = self.inner.dir.join(BUILDING);
        file::remove_tree(&dir)?;
        file::make_dirs(&dir)?;
        let mut own = match (tables, base) {
            (Cut::Changes(delta), Some(base)) => {
                let from = self.inner.dir.join(folder(base.index));
                parts::add(&from, base.parts().cloned().collect(), delta, &dir)?
            }
            (Cut::Whole(tables), _) => {
                dump::write(tables, &dir.join(TABLES))?;
                vec![item(&dir, Kind::Tables, TABLES)?]
            }
            (Cut::Changes(_), None) => {
                return Err(Error::misuse("snapshot_unknown", "changes since no snapshot"));
            }
        };
        days.write(&dir.join(OPEN_DAYS))?;
        own.push(item(&dir, Kind::OpenDays, OPEN_DAYS)?);
        let manifest = Manifest::new(index, meta, own, segments);
        file::write_atomic(&dir.join(MANIFEST), &manifest.encode())?;
        self.inner.tables.flush()?;
        self.complete(&dir, manifest.clone())?;
        drop(pin);
        Ok(manifest)
    }

    /// The newest complete snapshot.
    pub fn newest(&self) -> Option<Manifest> {
        self.lock().last().cloned()
    }

    /// The complete snapshots, oldest first.
    pub fn list(&self) -> Vec<Manifest> {
        self.lock().clone()
    }

    /// A piece of a file of a complete snapshot, for a receiver; shorter at the file's end.
    ///
    /// # Errors
    /// `snapshot_unknown` when there is no such snapshot or file (any more); the codes of the
    /// disk.
    pub fn read(&self, index: u64, name: &str, offset: u64, max: usize) -> Result<Vec<u8>> {
        let path = self.file(index, name)?;
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let octets = file.metadata().map_err(Error::io("read", &path))?.len();
        let left = usize::try_from(octets.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut piece = vec![0; left.min(max)];
        file.read_exact_at(&mut piece, offset).map_err(Error::io("read", &path))?;
        Ok(piece)
    }

    fn file(&self, index: u64, name: &str) -> Result<PathBuf> {
        let unknown = || {
            Error::misuse("snapshot_unknown", format!("no file {name} of a snapshot at {index}"))
        };
        let complete = self.lock();
        let manifest = complete.iter().find(|manifest| manifest.index == index);
        let manifest = manifest.ok_or_else(unknown)?;
        if manifest.own().any(|item| item.name == name) {
            return Ok(self.inner.dir.join(folder(index)).join(name));
        }
        let entry = manifest.segments.iter().find(|entry| segment_item(entry).name == name);
        Ok(self.inner.segments.path(entry.ok_or_else(unknown)?))
    }

    /// Begins to receive a snapshot, or goes on where an earlier try of the same one stopped.
    /// Whoever was receiving one before writes no more; what was sealed stays.
    ///
    /// # Errors
    /// `snapshot_old` when a newer one is complete here; the codes of the disk.
    pub fn receive(&self, manifest: Manifest, months: Months) -> Result<Incoming> {
        let _work = self.work();
        if self.newest().is_some_and(|newest| newest.index > manifest.index) {
            return Err(Error::misuse("snapshot_old", "a newer snapshot is already here"));
        }
        let octets = manifest.encode();
        let dir = self.inner.dir.join(INCOMING);
        let turns = self.inner.turns.clone();
        let mut turn = turns.lock();
        *turn += 1;
        let known = dir.join(MANIFEST);
        if fs::read(&known).ok().as_deref() != Some(octets.as_slice()) {
            file::remove_tree(&dir)?;
            file::make_dirs(&dir)?;
            file::write_atomic(&known, &octets)?;
        }
        let complete = self.list();
        // Parts that a snapshot of ours shares with this one are not sent again.
        let known = |wanted: &Item| {
            complete.iter().find_map(|ours| {
                let same = |item: &&Item| (item.octets, item.hash) == (wanted.octets, wanted.hash);
                let item = ours.own().find(same)?;
                Some(self.inner.dir.join(folder(ours.index)).join(&item.name))
            })
        };
        let mine = (turns.clone(), *turn);
        Incoming::begin(dir, mine, manifest, &self.inner.segments, months, &known)
    }

    /// Puts a wholly received snapshot in the place of tables, open days and segment files.
    /// Durable when it returns; a crash meanwhile is finished at the next opening. Nothing may
    /// be applied meanwhile.
    ///
    /// # Errors
    /// `snapshot_incomplete` when files are missing; `snapshot_superseded` when it was not sealed
    /// and another is being received; the codes of the disk; `tables_fault`.
    pub fn install(&self, mut incoming: Incoming) -> Result<Manifest> {
        incoming.seal()?;
        let work = self.work();
        let dir = self.inner.dir.join(INSTALLING);
        file::remove_tree(&dir)?;
        fs::rename(incoming.dir(), &dir).map_err(Error::io("rename", incoming.dir()))?;
        file::sync_dir(&self.inner.dir)?;
        let installed = self.finish_install();
        drop(work);
        installed
    }

    fn finish_install(&self) -> Result<Manifest> {
        let dir = self.inner.dir.join(INSTALLING);
        let manifest = load_manifest(&dir)?;
        let source = |entry: &Entry| dir.join(incoming::flat(&segment_item(entry).name));
        self.inner.segments.adopt(&manifest.segments, &source)?;
        self.load(&dir, &manifest)?;
        self.complete(&dir, manifest.clone())?;
        self.inner.tables.begin_changes(manifest.index);
        Ok(manifest)
    }

    /// Loads the tables and the open days anew from the newest complete snapshot; without one
    /// the tables are emptied, and the whole log is to be applied again. Call it when the
    /// tables were opened as [`crate::tables::Opened::Rebuild`].
    ///
    /// # Errors
    /// The codes of the disk; `tables_fault`; `dump_damaged`.
    pub fn rebuild(&self) -> Result<Option<Manifest>> {
        let _work = self.work();
        let Some(newest) = self.newest() else {
            self.inner.tables.clear()?;
            return Ok(None);
        };
        let dir = self.inner.dir.join(folder(newest.index));
        for item in newest.own() {
            let path = dir.join(&item.name);
            if file::hash(&path)? != (item.octets, item.hash) {
                let detail = "its hash is not the manifest's";
                return Err(Error::damaged("snapshot_damaged", "a snapshot", &path, detail));
            }
        }
        self.load_tables(&dir, &newest)?;
        self.inner.tables.begin_changes(newest.index);
        if self.inner.segments.floor() < newest.index {
            self.inner.segments.restore(Checkpoint::read(&dir.join(OPEN_DAYS))?);
        }
        Ok(Some(newest))
    }

    /// The open days of the newest complete snapshot, when they are newer than `floor`.
    pub(crate) fn open_days(&self, floor: u64) -> Result<Option<Checkpoint>> {
        match self.lock().last() {
            Some(newest) if newest.index > floor => {
                let path = self.inner.dir.join(folder(newest.index)).join(OPEN_DAYS);
                Ok(Some(Checkpoint::read(&path)?))
            }
            _ => Ok(None),
        }
    }

    fn load(&self, dir: &Path, manifest: &Manifest) -> Result<()> {
        let days = Checkpoint::read(&dir.join(OPEN_DAYS))?;
        self.load_tables(dir, manifest)?;
        self.inner.segments.restore(days);
        Ok(())
    }

    fn load_tables(&self, dir: &Path, manifest: &Manifest) -> Result<()> {
        let parts: Vec<PathBuf> = manifest.parts().map(|item| dir.join(&item.name)).collect();
        self.inner.tables.replace(&mut |load| {
            dump::visit(&parts, &mut |table, key, value| load.put(table, key, value))
        })
    }

    /// Gives a finished folder its number and drops the oldest above the number kept.
    fn complete(&self, dir: &Path, manifest: Manifest) -> Result<()> {
        let to = self.inner.dir.join(folder(manifest.index));
        file::remove_tree(&to)?;
        fs::rename(dir, &to).map_err(Error::io("rename", dir))?;
        file::sync_dir(&self.inner.dir)?;
        let pin = self.inner.segments.pin(&manifest.segments);
        self.pins().insert(manifest.index, pin);
        let old: Vec<Manifest> = {
            let mut complete = self.lock();
            complete.retain(|known| known.index != manifest.index);
            complete.push(manifest);
            complete.sort_by_key(|manifest| manifest.index);
            let gone = complete.len().saturating_sub(self.inner.kept);
            complete.drain(..gone).collect()
        };
        for manifest in old {
            self.pins().remove(&manifest.index);
            file::remove_tree(&self.inner.dir.join(folder(manifest.index)))?;
        }
        Ok(())
    }

    fn work(&self) -> MutexGuard<'_, ()> {
        self.inner.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pins(&self) -> MutexGuard<'_, BTreeMap<u64, Pin>> {
        self.inner.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Manifest>> {
        self.inner.complete.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file of a folder, with its size and hash.
fn item(dir: &Path, kind: Kind, name: &str) -> Result<Item> {
    let (octets, hash) = file::hash(&dir.join(name))?;
    Ok(Item { kind, name: name.to_owned(), octets, hash })
}

fn folder(index: u64) -> String {
    format!("{index:020}")
}

/// Complete snapshots, oldest first; a folder that cannot be read is left alone.
fn list(dir: &Path) -> Result<Vec<Manifest>> {
    let mut complete = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let path = entry.map_err(Error::io("list", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Ok(index) = name.parse::<u64>() else { continue };
        match load_manifest(&path) {
            Ok(manifest) if manifest.index == index => complete.push(manifest),
            Ok(_) => tracing::warn!(index, "a snapshot bears another number than its folder"),
            Err(error) => tracing::warn!(index, code = error.code(), %error, "left out"),
        }
    }
    complete.sort_by_key(|manifest| manifest.index);
    Ok(complete)
}

fn load_manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join(MANIFEST);
    Manifest::decode(&fs::read(&path).map_err(Error::io("read", &path))?)
}
