//! Which files are ours: taken over from a snapshot, kept for those that name them, swept.
//!
//! Invariants: a file is named by the manifest only when its hash is right; what is no longer
//! ours goes only when nobody reads or names it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Segments;
use super::manifest::{self, Entry, LEVEL_MONTH};
use super::open::State;
use super::worker::Core;
use crate::error::{Error, Result};
use crate::file;

/// Why the range of a month file is not served after a snapshot without it.
const LATER: &str = "it is still on its way from a peer";

impl Segments {
    /// The file of an entry.
    pub(crate) fn path(&self, entry: &Entry) -> PathBuf {
        self.core.dir.join(entry.name())
    }

    /// Whether a file of that name and content is here.
    pub(crate) fn holds(&self, entry: &Entry) -> bool {
        self.known(entry).is_some()
    }

    fn known(&self, entry: &Entry) -> Option<Arc<Entry>> {
        let state = self.core.read();
        let known = state.file(entry.key, entry.level, entry.generation);
        let known = known.filter(|known| known.same(entry))?.clone();
        (!state.damaged.contains_key(&known.name()) && self.path(&known).exists()).then_some(known)
    }

    /// Makes exactly these files the sealed ones; those that are not here yet are moved from
    /// where `source` says. A month file that is not there either is fetched later, and its
    /// range is not served until then. May be called again after a crash.
    pub(crate) fn adopt(
        &self,
        entries: &[Entry],
        source: &dyn Fn(&Entry) -> PathBuf,
    ) -> Result<()> {
        self.core.with_files(|| {
            let mut state = State::default();
            let mut later = BTreeMap::new();
            let mut folders: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
            for entry in self.entries() {
                folders.entry(manifest::shard_name(entry.key)).or_default();
            }
            for entry in entries {
                let entry = match self.known(entry) {
                    Some(known) => Entry::clone(&known),
                    None if self.is_for_later(entry, &source(entry)) => {
                        if let Some(folder) = self.path(entry).parent() {
                            file::make_dirs(folder)?;
                        }
                        later.insert(entry.name(), LATER.to_owned());
                        entry.clone()
                    }
                    None => {
                        self.take_file(entry, &source(entry))?;
                        entry.clone()
                    }
                };
                folders.entry(manifest::shard_name(entry.key)).or_default().push(entry.clone());
                state.sealed(entry);
            }
            for files in folders.values() {
                if let Some(first) = files.first() {
                    manifest::save(&self.core.dir, first.key, files)?;
                }
            }
            self.empty_shards(&folders)?;
            let mut now = self.core.write();
            let before: Vec<Arc<Entry>> = now.files().cloned().collect();
            now.retired.extend(before);
            now.sealed = state.sealed;
            now.months = state.months;
            now.damaged = later;
            now.stuck.clear();
            now.learn_latest();
            Ok(())
        })?;
        self.core.measure();
        self.core.notify();
        Ok(())
    }

    /// Empties the manifests of shards that have no file any more.
    fn empty_shards(&self, folders: &BTreeMap<String, Vec<Entry>>) -> Result<()> {
        for old in self.entries() {
            if folders.get(&manifest::shard_name(old.key)).is_none_or(Vec::is_empty) {
                manifest::save(&self.core.dir, old.key, &[])?;
            }
        }
        Ok(())
    }

    fn is_for_later(&self, entry: &Entry, source: &Path) -> bool {
        entry.level == LEVEL_MONTH && !source.exists() && !self.path(entry).exists()
    }

    fn take_file(&self, entry: &Entry, from: &Path) -> Result<()> {
        let to = self.path(entry);
        if let Some(folder) = to.parent() {
            file::make_dirs(folder)?;
            if from.exists() {
                fs::rename(from, &to).map_err(Error::io("move", from))?;
                file::sync_dir(folder)?;
            }
        }
        let (octets, hash) = file::hash(&to)?;
        if (octets, hash) == (entry.octets, entry.file_hash) {
            return Ok(());
        }
        Err(Error::damaged("segment_damaged", "a received file", &to, "its hash is wrong"))
    }

    /// Keeps the files of these entries on disk for as long as the pin lives, even when they
    /// are folded meanwhile: for a snapshot that names them, or a backup that copies them.
    /// What is not here is left out.
    pub fn pin(&self, entries: &[Entry]) -> Pin {
        let mut state = self.core.write();
        let mut held = Vec::with_capacity(entries.len());
        for entry in entries {
            let current = state.file(entry.key, entry.level, entry.generation).cloned();
            let retired = || state.retired.iter().find(|known| known.same(entry)).cloned();
            let known = current.filter(|known| known.same(entry)).or_else(retired);
            if let Some(known) = known {
                held.push(known);
            } else if self.path(entry).exists() {
                // Folded before this process began, and still named by a snapshot.
                let known = Arc::new(entry.clone());
                state.retired.push(known.clone());
                held.push(known);
            }
        }
        Pin { _held: held }
    }

    /// The files whose rows were sealed up to `index`, pinned. A month file may hold more.
    pub(crate) fn pinned(&self, index: u64) -> (Vec<Entry>, Pin) {
        let state = self.core.read();
        let before =
            |entry: &&Arc<Entry>| entry.sealed_index <= index || entry.level == LEVEL_MONTH;
        let held: Vec<Arc<Entry>> = state.files().filter(before).cloned().collect();
        let entries = held.iter().map(|entry| Entry::clone(entry)).collect();
        (entries, Pin { _held: held })
    }

    /// Removes what lies in the shards' folders and is neither ours nor pinned: the remains of
    /// a crash. Call it once, at start, after every pin is made.
    ///
    /// # Errors
    /// The codes of the disk.
    pub(crate) fn sweep(&self) -> Result<()> {
        self.core.with_files(|| {
            let mut ours: BTreeSet<PathBuf> = BTreeSet::new();
            {
                let state = self.core.read();
                ours.extend(state.files().chain(&state.retired).map(|entry| self.path(entry)));
            }
            for table in manifest::folders(&self.core.dir)? {
                for shard in manifest::folders(&table)? {
                    sweep_folder(&shard, &ours)?;
                }
            }
            Ok(())
        })
    }
}

fn sweep_folder(shard: &Path, ours: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(shard).map_err(Error::io("list", shard))? {
        let path = entry.map_err(Error::io("list", shard))?.path();
        let manifest = path.file_name().is_some_and(|name| name == manifest::NAME);
        if path.is_file() && !manifest && !ours.contains(&path) {
            tracing::info!(file = %path.display(), "the remains of a crash are removed");
            file::remove(&path)?;
        }
    }
    Ok(())
}

/// Keeps files on disk: see [`Segments::pin`].
pub struct Pin {
    _held: Vec<Arc<Entry>>,
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pin").field("files", &self._held.len()).finish()
    }
}

impl Core {
    /// Notes every file that is missing or has another size; hashes are for later.
    pub(super) fn look_for_all(&self) {
        let files: Vec<Arc<Entry>> = self.read().files().cloned().collect();
        for entry in files {
            let found = fs::metadata(self.dir.join(entry.name())).map_or(0, |data| data.len());
            if found != entry.octets {
                // Told where it is judged.
                drop(self.judge(&entry, (found, entry.file_hash)));
            }
        }
    }
}
