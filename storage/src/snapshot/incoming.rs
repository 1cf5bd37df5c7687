//! A snapshot that is being received, piece by piece, over any number of connections and
//! restarts.
//!
//! Invariants: a file counts as received only when its hash is the manifest's; a file that is
//! already here is never asked for; one receiver at a time writes the folder, the newest, and what
//! is wholly received leaves the folder before another may come.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::manifest::{Item, Manifest, segment_item};
use crate::error::{Error, Result};
use crate::file;
use crate::segment::{Entry, LEVEL_MONTH, Segments};

/// Begins the name of a folder whose snapshot is whole.
const RECEIVED: &str = "received-";

/// When the month files of a snapshot are to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Months {
    /// With all others, before it is installed.
    Now,
    /// After it is installed, from whichever peer has them ([`Segments::wants`]): ten years of
    /// them must not keep a node from voting. Their ranges are not served until then.
    Later,
}

/// Which receiver the folder belongs to: each new one takes the next number, and those before it
/// write no more. Held while the folder is changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<u64>>);

impl Turns {
    /// The turn of now, held; nobody writes meanwhile.
    pub(super) fn lock(&self) -> MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot that is being received, or is wholly here and waits to be installed.
#[derive(Debug)]
pub struct Incoming {
    dir: PathBuf,
    manifest: Manifest,
    /// Files to pull, with the octets that are here.
    wanted: Vec<(Item, u64)>,
    turns: Turns,
    turn: u64,
    /// Whether the folder is its own.
    sealed: bool,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Whole, but never installed: something newer came, or consensus stopped.
        if self.sealed
            && self.dir.exists()
            && let Err(error) = file::remove_tree(&self.dir)
        {
            tracing::warn!(%error, "a received snapshot that nobody needs stays until the start");
        }
    }
}

impl Incoming {
    /// Begins, or goes on where an earlier try of the same snapshot stopped.
    /// Month files are left for later if `months` says so. `known` tells where a file of the same
    /// content may be already.
    pub(super) fn begin(
        dir: PathBuf,
        (turns, turn): (Turns, u64),
        manifest: Manifest,
        segments: &Segments,
        months: Months,
        known: &dyn Fn(&Item) -> Option<PathBuf>,
    ) -> Result<Self> {
        file::make_dirs(&dir)?;
        let mut items: Vec<Item> = manifest.own().cloned().collect();
        let later = |entry: &Entry| months == Months::Later && entry.level == LEVEL_MONTH;
        let unknown =
            manifest.segments.iter().filter(|entry| !later(entry) && !segments.holds(entry));
        items.extend(unknown.map(segment_item));
        let mut wanted = Vec::new();
        for item in items {
            let here = dir.join(flat(&item.name));
            if here.exists() || known(&item).is_some_and(|path| link(&path, &here, &item)) {
                continue;
            }
            let here = fs::metadata(part(&dir, &item.name)).map_or(0, |data| data.len());
            wanted.push((item, here));
        }
        let mut incoming = Self { dir, manifest, wanted, turns, turn, sealed: false };
        // A crash may have come between the last piece and its check.
        let whole = incoming.wanted.iter().filter(|(item, here)| *here >= item.octets);
        let whole: Vec<Item> = whole.map(|(item, _)| item.clone()).collect();
        for item in whole {
            incoming.finish(&item).or_else(|error| {
                tracing::warn!(code = error.code(), %error, "a received file begins anew");
                Ok::<(), Error>(())
            })?;
        }
        Ok(incoming)
    }

    /// Files still missing, each with the offset to go on from.
    pub fn missing(&self) -> Vec<(Item, u64)> {
        self.wanted.clone()
    }

    /// What is being received.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Adds a piece to a file, at the offset where it ends so far; the last piece checks the
    /// hash, and a wrong one makes the file begin anew.
    ///
    /// # Errors
    /// `snapshot_piece` for a piece that does not fit; `snapshot_hash` for a wrong file;
    /// `snapshot_superseded` when another one is being received; the codes of the disk.
    pub fn receive(&mut self, name: &str, offset: u64, octets: &[u8]) -> Result<()> {
        let turns = self.turns.clone();
        let turn = turns.lock();
        self.check_turn(*turn)?;
        let wanted = self.wanted.iter_mut().find(|(item, _)| item.name == name);
        let Some((item, here)) = wanted else {
            return Err(Error::misuse("snapshot_piece", format!("{name} is not wanted")));
        };
        let end = offset.saturating_add(octets.len() as u64);
        if offset != *here || end > item.octets {
            let detail = format!("octets {offset} to {end} of {name}, which ends at {here}");
            return Err(Error::misuse("snapshot_piece", detail));
        }
        let path = part(&self.dir, name);
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        file.write_all(octets).map_err(Error::io("write", &path))?;
        *here = end;
        if end < item.octets {
            return Ok(());
        }
        let item = item.clone();
        self.finish(&item)
    }

    fn finish(&mut self, item: &Item) -> Result<()> {
        let path = part(&self.dir, &item.name);
        if file::hash(&path)? != (item.octets, item.hash) {
            file::remove(&path)?;
            for (wanted, here) in &mut self.wanted {
                if wanted.name == item.name {
                    *here = 0;
                }
            }
            let detail = format!("{} came with another hash", item.name);
            return Err(Error::misuse("snapshot_hash", detail));
        }
        let handle =
            OpenOptions::new().append(true).open(&path).map_err(Error::io("open", &path))?;
        file::publish(&handle, &path, &self.dir.join(flat(&item.name)))?;
        self.wanted.retain(|(wanted, _)| wanted.name != item.name);
        Ok(())
    }

    fn check_turn(&self, now: u64) -> Result<()> {
        if self.sealed || now == self.turn {
            return Ok(());
        }
        Err(Error::misuse("snapshot_superseded", "another snapshot is being received since"))
    }

    /// Moves what is wholly received to a folder of its own, where no other receiver comes. Once
    /// it is there, installing it cannot meet another's files.
    ///
    /// # Errors
    /// `snapshot_incomplete` when files are missing; `snapshot_superseded`; the codes of the disk.
    pub fn seal(&mut self) -> Result<()> {
        if self.sealed {
            return Ok(());
        }
        if !self.wanted.is_empty() {
            return Err(Error::misuse("snapshot_incomplete", "files are still missing"));
        }
        let turns = self.turns.clone();
        let turn = turns.lock();
        self.check_turn(*turn)?;
        let to = self.dir.with_file_name(format!("{RECEIVED}{turn}"));
        file::remove_tree(&to)?;
        fs::rename(&self.dir, &to).map_err(Error::io("rename", &self.dir))?;
        (self.dir, self.sealed) = (to, true);
        Ok(())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// What a stopped node had wholly received and not installed becomes what is being received, so
/// that it is not asked for again: one of them, the others go.
pub(super) fn take_up(dir: &Path, incoming: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        if !entry.file_name().to_string_lossy().starts_with(RECEIVED) {
            continue;
        }
        if incoming.exists() {
            file::remove_tree(&entry.path())?;
        } else {
            fs::rename(entry.path(), incoming).map_err(Error::io("rename", incoming))?;
        }
    }
    Ok(())
}

/// Takes a file that is here under another name, if it is what it is said to be.
fn link(from: &Path, to: &Path, item: &Item) -> bool {
    let same = file::hash(from).is_ok_and(|found| found == (item.octets, item.hash));
    same && fs::hard_link(from, to).is_ok()
}

/// A file's name inside the one folder of a received snapshot.
pub(super) fn flat(name: &str) -> String {
    name.replace('/', "_")
}

fn part(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{}.part", flat(name)))
}
