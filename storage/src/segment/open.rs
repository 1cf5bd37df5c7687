//! What the segments hold in memory, how it is frozen, and its checkpoint on disk.
//!
//! Invariants: a checkpoint holds exactly the entries of the log up to its index; a frozen day
//! stays in memory and in checkpoints until its file is named by the manifest.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::grid::Day;
use super::image::Image;
use super::latest::Latest;
use super::manifest::{Entry, LEVEL_MONTH};
use super::{DayKey, calendar};
use crate::error::{Error, Result};
use crate::file;

const MAGIC: [u8; 8] = *b"HFOPEN\x00\x02";
/// Without pending folds at the end.
const MAGIC_1: [u8; 8] = *b"HFOPEN\x00\x01";
/// A day of a shard unpacked is far below this; a larger length is damage.
const DAY_LIMIT: u32 = 1 << 30;

/// Which seal a frozen day belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Index of the entry of the log.
    pub index: u64,
    /// Number in the file's name; the index, in seals since there are month files.
    pub generation: u64,
    /// How to write it.
    pub recipe: u16,
}

/// A day that waits for its file.
#[derive(Clone)]
pub struct FrozenDay {
    /// Why it waits.
    pub seal: Seal,
    /// What it holds.
    pub day: Arc<Day>,
}

impl std::fmt::Debug for FrozenDay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrozenDay").field("seal", &self.seal).field("day", &self.day.key()).finish()
    }
}

/// A month of a shard that waits to be folded into one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fold {
    /// Index of the entry of the log; all that was sealed by earlier entries goes in.
    pub index: u64,
    /// Interval, shard, first day of the month.
    pub key: DayKey,
    /// How to write it.
    pub recipe: u16,
}

impl Fold {
    /// What tells it from all others.
    pub fn place(&self) -> (u64, DayKey) {
        (self.index, self.key)
    }
}

/// All of it.
#[derive(Debug, Default)]
pub struct State {
    /// Entries of the log up to here were in the checkpoint that this run began with.
    pub floor: u64,
    /// Days that take rows.
    pub open: BTreeMap<DayKey, Arc<Day>>,
    /// Days that wait for their file, in order of their seals.
    pub frozen: Vec<FrozenDay>,
    /// Months that wait to be folded, in order of their entries.
    pub folding: Vec<Fold>,
    /// Day files that no month file holds, in order of their seals.
    pub sealed: BTreeMap<DayKey, Vec<Arc<Entry>>>,
    /// Month files, one a month, by their first day.
    pub months: BTreeMap<DayKey, Arc<Entry>>,
    /// Month files in the archive, by their first day.
    pub cold: BTreeMap<DayKey, Arc<Entry>>,
    /// Files that are no longer ours but may still be read or named by a snapshot.
    pub retired: Vec<Arc<Entry>>,
    /// The newest value of every series, as far as it is known.
    pub latest: Latest,
    /// Names of files that are gone or not what was sealed, and why.
    pub damaged: BTreeMap<String, String>,
    /// Folds that cannot be done because a source is damaged.
    pub stuck: BTreeMap<(u64, DayKey), String>,
}

/// The key of the month that a day belongs to.
pub fn month_key(key: DayKey) -> DayKey {
    let month = calendar::month(calendar::month_of(key.day));
    DayKey { day: month.map_or(key.day, |month| month.first), ..key }
}

impl State {
    /// Octets of memory of open and frozen days, roughly.
    pub fn octets(&self) -> u64 {
        let open = self.open.values().map(|day| day.octets());
        let frozen = self.frozen.iter().map(|frozen| frozen.day.octets());
        open.chain(frozen).sum()
    }

    /// Whether a month file holds what was sealed of a day at an index.
    fn is_folded(&self, key: DayKey, sealed_index: u64) -> bool {
        self.months.get(&month_key(key)).is_some_and(|month| month.sealed_index > sealed_index)
    }

    /// Freezes what is open of a day; false: nothing was open, or its file is already there.
    pub fn seal(&mut self, index: u64, key: DayKey, recipe: u16) -> bool {
        if index <= self.floor {
            return false;
        }
        let Some(day) = self.open.remove(&key) else { return false };
        let files = self.sealed.get(&key).map_or(&[][..], Vec::as_slice);
        // A seal that is applied again after a restart finds its file, or the month's: the rows
        // were merged again too and are in it.
        if files.iter().any(|entry| entry.sealed_index == index) || self.is_folded(key, index) {
            return false;
        }
        self.frozen.push(FrozenDay { seal: Seal { index, generation: index, recipe }, day });
        true
    }

    /// Notes a month to fold; false: there is nothing to fold, or it is done already.
    pub fn fold(&mut self, fold: Fold) -> bool {
        let done = self.months.get(&fold.key).is_some_and(|month| month.sealed_index >= fold.index);
        let noted = self.folding.iter().any(|known| known.place() == fold.place());
        if fold.index <= self.floor || done || noted {
            return false;
        }
        // Counted from the entries alone: what an earlier fold takes counts for that one, done yet
        // or not, and what a later entry sealed (in an earlier run) is not there yet.
        let earlier = self.folding.iter().filter(|known| known.key == fold.key);
        let after = earlier.map(|known| known.index).filter(|index| *index < fold.index).max();
        let new = |sealed: u64| after.is_none_or(|after| sealed > after) && sealed < fold.index;
        let waits =
            |frozen: &FrozenDay| month_key(frozen.day.key()) == fold.key && new(frozen.seal.index);
        let any = self.month_files(fold.key).any(|entry| new(entry.sealed_index))
            || self.frozen.iter().any(waits);
        if any {
            self.folding.push(fold);
        }
        any
    }

    /// The day files of a month.
    fn month_files(&self, key: DayKey) -> impl Iterator<Item = &Arc<Entry>> {
        let days = calendar::month(calendar::month_of(key.day)).map_or(1, |month| month.days);
        let last = DayKey { day: key.day.saturating_add(i32::from(days) - 1), ..key };
        self.sealed.range(key..=last).flat_map(|(_, files)| files)
    }

    /// What a fold takes: the month file and the day files that earlier entries sealed, in
    /// order of their seals.
    pub fn sources(&self, fold: &Fold) -> Vec<Arc<Entry>> {
        let before = |entry: &&Arc<Entry>| entry.sealed_index < fold.index;
        let days = self.month_files(fold.key);
        let mut files: Vec<_> =
            self.months.get(&fold.key).into_iter().chain(days).filter(before).cloned().collect();
        files.sort_by_key(|entry| (entry.sealed_index, entry.key));
        files
    }

    /// A frozen day has become a file, or a month was folded.
    pub fn sealed(&mut self, entry: Entry) {
        if entry.level == LEVEL_MONTH {
            return self.folded(entry);
        }
        self.frozen.retain(|frozen| {
            frozen.day.key() != entry.key || frozen.seal.index != entry.sealed_index
        });
        let files = self.sealed.entry(entry.key).or_default();
        files.retain(|known| known.generation != entry.generation);
        files.push(Arc::new(entry));
        files.sort_by_key(|entry| entry.sealed_index);
    }

    fn folded(&mut self, entry: Entry) {
        let key = entry.key;
        let fold = Fold { index: entry.sealed_index, key, recipe: entry.recipe };
        let sources = self.sources(&fold);
        for source in &sources {
            self.damaged.remove(&source.name());
            if let Some(files) = self.sealed.get_mut(&source.key) {
                files.retain(|known| !Arc::ptr_eq(known, source));
            }
        }
        self.sealed.retain(|_, files| !files.is_empty());
        self.retired.extend(sources);
        self.folding.retain(|known| known.place() != fold.place());
        self.stuck.remove(&fold.place());
        self.months.insert(key, Arc::new(entry));
    }

    /// Days and months that wait for their files.
    pub fn waiting(&self) -> usize {
        self.frozen.len() + self.folding.len()
    }

    /// Whether nothing waits that can be written.
    pub fn is_settled(&self) -> bool {
        self.frozen.is_empty() && self.folding.len() <= self.stuck.len()
    }

    /// Every file: days, then months.
    pub fn files(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.sealed.values().flatten().chain(self.months.values())
    }

    /// The file of a place, if it is one of ours now.
    pub fn file(&self, key: DayKey, level: u8, generation: u64) -> Option<&Arc<Entry>> {
        let found = if level == LEVEL_MONTH {
            self.months.get(&key)
        } else {
            self.sealed.get(&key)?.iter().find(|entry| entry.generation == generation)
        };
        found.filter(|entry| entry.generation == generation)
    }

    /// Puts an entry in the place of the one with its number.
    pub fn correct(&mut self, entry: Entry) {
        let place = if entry.level == LEVEL_MONTH {
            self.months.get_mut(&entry.key)
        } else {
            let files = self.sealed.get_mut(&entry.key);
            files.and_then(|files| {
                files.iter_mut().find(|known| known.generation == entry.generation)
            })
        };
        if let Some(place) = place.filter(|known| known.generation == entry.generation) {
            *place = Arc::new(entry);
        }
    }

    /// Whether a file is one of ours now.
    pub fn is_current(&self, entry: &Entry) -> bool {
        self.file(entry.key, entry.level, entry.generation)
            .is_some_and(|known| known.file_hash == entry.file_hash)
    }

    /// Puts the days of a checkpoint in the place of those in memory.
    pub fn restore(&mut self, checkpoint: Checkpoint) {
        self.floor = checkpoint.index;
        self.open = checkpoint.open;
        let Checkpoint { mut frozen, mut folding, .. } = checkpoint;
        frozen.retain(|frozen| {
            let files = self.sealed.get(&frozen.day.key()).map_or(&[][..], Vec::as_slice);
            let there = files.iter().any(|entry| entry.sealed_index == frozen.seal.index);
            !there && !self.is_folded(frozen.day.key(), frozen.seal.index)
        });
        folding.retain(|fold| {
            self.months.get(&fold.key).is_none_or(|month| month.sealed_index < fold.index)
        });
        self.frozen = frozen;
        self.folding = folding;
        self.stuck.clear();
        self.learn_latest();
    }

    /// Learns the newest values anew from the open days.
    pub fn learn_latest(&mut self) {
        let mut latest = Latest::default();
        for (key, day) in &self.open {
            if !self.has_more(*key) {
                latest.take_day(day);
            }
        }
        self.latest = latest;
    }

    /// Whether a day has values beside those that are open: sealed, frozen or in its month.
    pub fn has_more(&self, key: DayKey) -> bool {
        self.sealed.contains_key(&key)
            || self.months.contains_key(&month_key(key))
            || self.cold.contains_key(&month_key(key))
            || self.frozen.iter().any(|frozen| frozen.day.key() == key)
    }
}

/// The days in memory as of one index; cheap to take, shares all memory.
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// Index of the last entry of the log that it holds.
    pub index: u64,
    /// Days that took rows.
    pub open: BTreeMap<DayKey, Arc<Day>>,
    /// Days that waited for their file.
    pub frozen: Vec<FrozenDay>,
    /// Months that waited to be folded.
    pub folding: Vec<Fold>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    seal: Option<Seal>,
    image: Image,
}

impl Checkpoint {
    /// Writes it as a file: temporary name, sync, rename, sync of the folder.
    pub fn write(&self, path: &Path) -> Result<()> {
        let temp = file::temporary(path);
        let handle = file::create(&temp)?;
        let mut out = BufWriter::new(handle);
        let put = |out: &mut BufWriter<fs::File>, octets: &[u8]| {
            out.write_all(octets).map_err(Error::io("write", &temp))
        };
        let count = u32::try_from(self.open.len() + self.frozen.len()).unwrap_or(u32::MAX);
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&self.index.to_le_bytes());
        head.extend_from_slice(&count.to_le_bytes());
        put(&mut out, &head)?;
        put(&mut out, &crc32c::crc32c(&head).to_le_bytes())?;
        let open = self.open.values().map(|day| (None, day));
        let frozen = self.frozen.iter().map(|frozen| (Some(frozen.seal), &frozen.day));
        for (seal, day) in open.chain(frozen) {
            let saved = Saved { seal, image: day.image() };
            let octets = postcard::to_stdvec(&saved)
                .map_err(|error| Error::misuse("image_invalid", error.to_string()))?;
            let packed = lz4_flex::block::compress_prepend_size(&octets);
            let length = u32::try_from(packed.len())
                .map_err(|_| Error::misuse("image_invalid", "a day above 4 GiB"))?;
            put(&mut out, &length.to_le_bytes())?;
            put(&mut out, &crc32c::crc32c(&packed).to_le_bytes())?;
            put(&mut out, &packed)?;
        }
        let folding = postcard::to_stdvec(&self.folding)
            .map_err(|error| Error::misuse("image_invalid", error.to_string()))?;
        put(&mut out, &crc32c::crc32c(&folding).to_le_bytes())?;
        put(&mut out, &folding)?;
        let handle =
            out.into_inner().map_err(|error| Error::io("write", &temp)(error.into_error()))?;
        file::publish(&handle, &temp, path)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// `open_days_damaged`; the codes of the disk.
    pub fn read(path: &Path) -> Result<Self> {
        let octets = fs::read(path).map_err(Error::io("read", path))?;
        let damaged =
            |detail: &str| Error::damaged("open_days_damaged", "a checkpoint", path, detail);
        let mut rest = octets.as_slice();
        let head = take(&mut rest, 20).ok_or_else(|| damaged("it is cut"))?;
        let crc = take(&mut rest, 4).ok_or_else(|| damaged("it is cut"))?;
        let first = head.starts_with(&MAGIC_1);
        if !(first || head.starts_with(&MAGIC)) || crc != crc32c::crc32c(head).to_le_bytes() {
            return Err(damaged("its head is wrong"));
        }
        let mut number = head.get(8..).unwrap_or_default();
        let low = u64::from(take_u32(&mut number).unwrap_or_default());
        let high = u64::from(take_u32(&mut number).unwrap_or_default());
        let count = take_u32(&mut number).unwrap_or_default();
        let mut found = Self { index: low | high << 32, ..Self::default() };
        for _ in 0..count {
            let length = take_u32(&mut rest).ok_or_else(|| damaged("it is cut"))?;
            let crc = take_u32(&mut rest).ok_or_else(|| damaged("it is cut"))?;
            let packed = take(&mut rest, length as usize).ok_or_else(|| damaged("it is cut"))?;
            if crc32c::crc32c(packed) != crc {
                return Err(damaged("the checksum of a day is wrong"));
            }
            let saved = unpack(packed).ok_or_else(|| damaged("a day cannot be read"))?;
            let day = Arc::new(Day::from_image(&saved.image)?);
            match saved.seal {
                None => {
                    found.open.insert(day.key(), day);
                }
                Some(seal) => found.frozen.push(FrozenDay { seal, day }),
            }
        }
        if !first {
            let crc = take_u32(&mut rest).ok_or_else(|| damaged("it is cut"))?;
            if crc32c::crc32c(rest) != crc {
                return Err(damaged("the checksum of its folds is wrong"));
            }
            found.folding =
                postcard::from_bytes(rest).map_err(|_| damaged("its folds cannot be read"))?;
        }
        Ok(found)
    }
}

fn unpack(packed: &[u8]) -> Option<Saved> {
    let mut head = packed;
    if take_u32(&mut head)? > DAY_LIMIT {
        return None;
    }
    let octets = lz4_flex::block::decompress_size_prepended(packed).ok()?;
    postcard::from_bytes(&octets).ok()
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)?.try_into().ok().map(u32::from_le_bytes)
}
