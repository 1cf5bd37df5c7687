//! Files that are gone or are not what was sealed: found, moved aside, healed from a peer.
//!
//! Invariants: a file is judged by its hash, never by what a decoder makes of it; a damaged
//! file is never read for an answer, its range is refused with its name; what comes from a peer
//! is ours only after its hash is right and it has been opened.

use std::cmp::Reverse;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::manifest::{Entry, LEVEL_MONTH};
use super::worker::Core;
use super::{DayKey, Sealed, Segments};
use crate::error::{Error, Result};
use crate::file;

/// Folder of files that were moved aside, below that of the segments.
const QUARANTINE: &str = "quarantine";

/// A file that this node lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Interval, shard, first day.
    pub key: DayKey,
    /// 1: day file; 2: month file.
    pub level: u8,
    /// Number in its name.
    pub generation: u64,
    /// blake3 of its content; none for a month that cannot be folded here.
    pub content_hash: Option<[u8; 32]>,
}

impl Core {
    /// Compares a file with its hash; one that differs is quarantined.
    ///
    /// # Errors
    /// `segment_damaged`; the codes of the disk.
    pub fn examine(&self, entry: &Entry) -> Result<()> {
        let path = self.dir.join(entry.name());
        let found = match file::hash(&path) {
            Ok(found) => found,
            Err(error) if error.code() == "not_found" => (0, [0; 32]),
            Err(error) => return Err(error),
        };
        self.judge(entry, found)
    }

    /// Quarantines a file whose size and hash are not those that it was sealed with.
    ///
    /// # Errors
    /// `segment_damaged`.
    pub fn judge(&self, entry: &Entry, found: (u64, [u8; 32])) -> Result<()> {
        if found == (entry.octets, entry.file_hash) {
            return Ok(());
        }
        let detail = match found.0 {
            0 => "it is missing or empty",
            octets if octets != entry.octets => "its size is not the one it was sealed with",
            _ => "its hash is not the one it was sealed with",
        };
        let path = self.dir.join(entry.name());
        self.quarantine(entry, detail);
        Err(Error::damaged("segment_damaged", "a segment file", &path, detail))
    }

    /// Moves a file aside and serves its range no more.
    fn quarantine(&self, entry: &Entry, detail: &str) {
        let name = entry.name();
        {
            let mut state = self.write();
            if !state.is_current(entry) || state.damaged.contains_key(&name) {
                return;
            }
            state.damaged.insert(name.clone(), detail.to_owned());
        }
        self.readers.close(entry);
        self.metrics.segment_damages.inc();
        self.measure();
        let (from, folder) = (self.dir.join(&name), self.dir.join(QUARANTINE));
        let aside = folder.join(name.replace('/', "_"));
        let moved = file::make_dirs(&folder).and_then(|()| match fs::rename(&from, &aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("move", &from)(error))
            }
            _ => Ok(()),
        });
        if let Err(error) = moved {
            tracing::warn!(code = error.code(), %error, "a damaged file stays where it is");
        }
        tracing::error!(
            code = "segment_damaged",
            file = name,
            detail,
            "a segment file is damaged: its range is not served until it is healed from a peer"
        );
    }
}

impl Segments {
    /// The damaged files, whose ranges are not served.
    pub fn damaged(&self) -> Vec<Entry> {
        let state = self.core.read();
        let damaged = state.files().filter(|entry| state.damaged.contains_key(&entry.name()));
        damaged.map(|entry| Entry::clone(entry)).collect()
    }

    /// Names of the damaged files, each with what was found.
    pub fn damage(&self) -> Vec<(String, String)> {
        self.core.read().damaged.clone().into_iter().collect()
    }

    /// Moves a file aside whose content the other nodes have otherwise: from now on the content
    /// with this hash is wanted. Nothing happens when there is no such file (any more).
    pub fn distrust(&self, sealed: &Sealed, content_hash: [u8; 32]) {
        self.core.with_files(|| {
            let current = {
                let state = self.core.read();
                state.file(sealed.key, sealed.level, sealed.index).cloned()
            };
            let Some(entry) = current.filter(|entry| entry.content_hash == sealed.content_hash)
            else {
                return;
            };
            self.core.quarantine(&entry, "its content is not that of the other nodes");
            let right = Entry { content_hash, ..Entry::clone(&entry) };
            self.core.write().correct(right);
        });
        self.core.notify();
    }

    /// Files to fetch from a peer, the newest first: damaged ones, those that a snapshot left for
    /// later, and months that cannot be folded for want of them.
    pub fn wants(&self) -> Vec<Want> {
        let mut wants: Vec<Want> = self
            .damaged()
            .into_iter()
            .map(|entry| Want {
                key: entry.key,
                level: entry.level,
                generation: entry.generation,
                content_hash: Some(entry.content_hash),
            })
            .collect();
        let state = self.core.read();
        let stuck = state.folding.iter().filter(|fold| state.stuck.contains_key(&fold.place()));
        wants.extend(stuck.map(|fold| Want {
            key: fold.key,
            level: LEVEL_MONTH,
            generation: fold.index,
            content_hash: None,
        }));
        wants.sort_by_key(|want| Reverse(want.key.day));
        wants
    }

    /// The sound file here that a peer wants.
    pub fn offer(&self, want: &Want) -> Option<Entry> {
        let state = self.core.read();
        let fits = |entry: &&Arc<Entry>| {
            (entry.key, entry.level, entry.generation) == (want.key, want.level, want.generation)
                && want.content_hash.is_none_or(|hash| hash == entry.content_hash)
        };
        let current = state.file(want.key, want.level, want.generation).filter(fits);
        let found = current.or_else(|| state.retired.iter().find(fits))?;
        (!state.damaged.contains_key(&found.name())).then(|| Entry::clone(found))
    }

    /// A piece of a file that was offered; shorter at its end.
    ///
    /// # Errors
    /// `segment_unknown` when it is not here (any more); the codes of the disk.
    pub fn read_piece(&self, entry: &Entry, offset: u64, max: usize) -> Result<Vec<u8>> {
        let known = {
            let state = self.core.read();
            let held = state.is_current(entry) && !state.damaged.contains_key(&entry.name());
            held || state.retired.iter().any(|known| known.file_hash == entry.file_hash)
        };
        if !known {
            return Err(Error::misuse("segment_unknown", entry.name()));
        }
        let path = self.path(entry);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let left = usize::try_from(entry.octets.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut piece = vec![0; left.min(max)];
        file.read_exact_at(&mut piece, offset).map_err(Error::io("read", &path))?;
        Ok(piece)
    }

    /// Begins to take a wanted file from a peer, whose entry it is.
    ///
    /// # Errors
    /// `segment_unknown` when the entry is not the wanted one; the codes of the disk.
    pub fn heal(&self, want: &Want, entry: Entry) -> Result<Healing> {
        let place = (entry.key, entry.level, entry.generation);
        let wanted = (want.key, want.level, want.generation);
        let other = want.content_hash.is_some_and(|hash| hash != entry.content_hash);
        if place != wanted || other || !self.wants().contains(want) {
            return Err(Error::misuse("segment_unknown", entry.name()));
        }
        let path = self.path(&entry);
        let temp = path.with_extension("healing");
        if let Some(folder) = path.parent() {
            file::make_dirs(folder)?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temp)
            .map_err(Error::io("create", &temp))?;
        let segments = self.clone();
        Ok(Healing { segments, want: want.clone(), entry, path, temp, file, octets: 0 })
    }
}

/// A file on its way from a peer.
pub struct Healing {
    segments: Segments,
    want: Want,
    entry: Entry,
    path: PathBuf,
    temp: PathBuf,
    file: File,
    octets: u64,
}

impl Healing {
    /// What is being received.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Where the next piece begins; none when all are here.
    pub fn next_offset(&self) -> Option<u64> {
        (self.octets < self.entry.octets).then_some(self.octets)
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// `segment_piece` for one that is empty or too long; the codes of the disk.
    pub fn receive(&mut self, octets: &[u8]) -> Result<()> {
        let end = self.octets.saturating_add(octets.len() as u64);
        if octets.is_empty() || end > self.entry.octets {
            return Err(Error::misuse("segment_piece", format!("of {}", self.entry.name())));
        }
        self.file.write_all(octets).map_err(Error::io("write", &self.temp))?;
        self.octets = end;
        Ok(())
    }

    /// Checks the whole file and puts it in its place.
    ///
    /// # Errors
    /// `segment_hash` when it is not what the peer said; the codes of the disk.
    pub fn finish(self) -> Result<()> {
        let Self { segments, want, entry, path, temp, file, .. } = self;
        if file::hash(&temp)? != (entry.octets, entry.file_hash) {
            file::remove(&temp)?;
            return Err(Error::misuse("segment_hash", format!("{} came otherwise", entry.name())));
        }
        let core = &segments.core;
        core.with_files(|| {
            if !segments.wants().contains(&want) {
                return file::remove(&temp);
            }
            file::publish(&file, &temp, &path)?;
            core.readers.check(&entry)?;
            if entry.level == LEVEL_MONTH && want.content_hash.is_none() {
                core.name_month(entry.clone())?;
            } else {
                core.replace(entry.clone())?;
            }
            Ok(())
        })?;
        core.metrics.segment_heals.inc();
        core.measure();
        core.notify();
        tracing::info!(file = entry.name(), "a segment file is healed from a peer");
        Ok(())
    }
}

impl Core {
    /// Puts a healed file in the place of the damaged one. Its octets may differ where its
    /// content does not: another version of the encoder wrote it.
    fn replace(&self, entry: Entry) -> Result<()> {
        let mut entries = self.shard(entry.key);
        entries.retain(|known| known.name() != entry.name());
        entries.push(entry.clone());
        self.save(entry.key, entries)?;
        let mut state = self.write();
        state.damaged.remove(&entry.name());
        let month = super::open::month_key(entry.key);
        state.stuck.retain(|(_, key), _| *key != month);
        if entry.level == LEVEL_MONTH {
            state.months.insert(entry.key, Arc::new(entry));
        } else {
            state.sealed(entry);
        }
        Ok(())
    }
}
