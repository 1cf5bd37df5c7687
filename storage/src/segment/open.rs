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

use super::DayKey;
use super::grid::Day;
use super::image::Image;
use super::manifest::Entry;
use crate::error::{Error, Result};
use crate::file;

const MAGIC: [u8; 8] = *b"HFOPEN\x00\x01";
/// A day of a shard unpacked is far below this; a larger length is damage.
const DAY_LIMIT: u32 = 1 << 30;

/// Which seal a frozen day belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Index of the entry of the log.
    pub index: u64,
    /// Number of the file for this day.
    pub generation: u32,
    /// How to write it.
    pub recipe: u16,
}

/// A day that waits for its file.
#[derive(Debug, Clone)]
pub struct FrozenDay {
    /// Why it waits.
    pub seal: Seal,
    /// What it holds.
    pub day: Arc<Day>,
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
    /// Files, in order of their generations.
    pub sealed: BTreeMap<DayKey, Vec<Arc<Entry>>>,
}

impl State {
    /// Octets of memory of open and frozen days, roughly.
    pub fn octets(&self) -> u64 {
        let open = self.open.values().map(|day| day.octets());
        let frozen = self.frozen.iter().map(|frozen| frozen.day.octets());
        open.chain(frozen).sum()
    }

    /// Freezes what is open of a day; false: nothing was open, or its file is already there.
    pub fn seal(&mut self, index: u64, key: DayKey, recipe: u16) -> bool {
        if index <= self.floor {
            return false;
        }
        let Some(day) = self.open.remove(&key) else { return false };
        let files = self.sealed.get(&key).map_or(&[][..], Vec::as_slice);
        // A seal that is applied again after a restart finds its file: the rows were merged
        // again too and are in it.
        if files.iter().any(|entry| entry.sealed_index == index) {
            return false;
        }
        let before = files.iter().filter(|entry| entry.sealed_index < index).count();
        let waiting = self.frozen.iter().filter(|frozen| frozen.day.key() == key).count();
        let generation = u32::try_from(before + waiting).unwrap_or(u32::MAX);
        self.frozen.push(FrozenDay { seal: Seal { index, generation, recipe }, day });
        true
    }

    /// A frozen day has become a file.
    pub fn sealed(&mut self, entry: Entry) {
        self.frozen.retain(|frozen| {
            frozen.day.key() != entry.key || frozen.seal.index != entry.sealed_index
        });
        let files = self.sealed.entry(entry.key).or_default();
        files.retain(|known| known.generation != entry.generation);
        files.push(Arc::new(entry));
        files.sort_by_key(|entry| entry.generation);
    }

    /// Puts the days of a checkpoint in the place of those in memory.
    pub fn restore(&mut self, checkpoint: Checkpoint) {
        self.floor = checkpoint.index;
        self.open = checkpoint.open;
        self.frozen = checkpoint.frozen;
        let sealed = &self.sealed;
        self.frozen.retain(|frozen| {
            let files = sealed.get(&frozen.day.key()).map_or(&[][..], Vec::as_slice);
            !files.iter().any(|entry| entry.sealed_index == frozen.seal.index)
        });
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
        if !head.starts_with(&MAGIC) || crc != crc32c::crc32c(head).to_le_bytes() {
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
