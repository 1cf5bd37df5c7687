//! What is known of the sealed files of one shard: a small file beside them.
//!
//! Invariants: a file that the manifest does not name is not there; an entry never changes.
//! Two hashes: of the content (differs: replicas diverged) and of the file (differs with equal
//! content: another version of the encoder).

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Column, DayKey, calendar, cold};
use crate::error::{Error, Result};
use crate::file;

const MAGIC: [u8; 8] = *b"HFSEGM\x00\x01";
/// Name of a shard's manifest.
pub const NAME: &str = "manifest";
/// Level of day files.
pub const LEVEL_DAY: u8 = 1;
/// Level of month files.
pub const LEVEL_MONTH: u8 = 2;
/// Level of month files that lie in the archive; never in a manifest.
pub const LEVEL_COLD: u8 = 3;

/// One sealed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Interval, shard and first day; a month file begins with its month.
    pub key: DayKey,
    /// Days that it covers: 1 for a day file.
    pub days: u16,
    /// 1: day file; 2: month file; 3: month file in the archive.
    pub level: u8,
    /// Number in the file's name: the index of the entry that sealed it. Files of earlier
    /// versions count 0, 1, 2.
    pub generation: u64,
    /// Index of the log's entry that sealed it.
    pub sealed_index: u64,
    /// How it was written.
    pub recipe: u16,
    /// Rows that hold at least one value.
    pub rows: u64,
    /// Rows of values kept beside others, in the last row group.
    pub besides: u64,
    /// Octets of the file.
    pub octets: u64,
    /// Columns of values, in the file's order; empty for irregular values.
    pub columns: Vec<Column>,
    /// Blocks of 64 meters that have a row group, in order.
    pub blocks: Vec<u16>,
    /// blake3 of the canonical content.
    pub content_hash: [u8; 32],
    /// blake3 of the file.
    pub file_hash: [u8; 32],
}

impl Entry {
    /// The file's name below the folder of the segments.
    pub fn name(&self) -> String {
        if self.level == LEVEL_COLD {
            return cold::cached_name(&self.file_hash);
        }
        let generation = match self.generation {
            0 => String::new(),
            number => format!(".{number}"),
        };
        let date = match self.level {
            LEVEL_MONTH => calendar::year_month(self.key.day),
            _ => calendar::date(self.key.day),
        };
        format!("{}/{date}{generation}.parquet", shard_name(self.key))
    }

    /// Whether the other is the same content of the same place.
    pub fn same(&self, other: &Self) -> bool {
        (self.key, self.level, self.generation, self.content_hash)
            == (other.key, other.level, other.generation, other.content_hash)
    }
}

/// A shard's folder below the folder of the segments.
pub fn shard_name(key: DayKey) -> String {
    match key.interval_minutes {
        0 => format!("irregular/shard-{:05}", key.shard),
        minutes => format!("lp{minutes}/shard-{:05}", key.shard),
    }
}

/// Reads the manifests of all shards below a folder.
pub fn load_all(dir: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for table in folders(dir)? {
        for shard in folders(&table)? {
            let path = shard.join(NAME);
            if path.exists() {
                entries.extend(load(&path)?);
            }
        }
    }
    Ok(entries)
}

/// Folders in a folder, in order.
pub fn folders(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let path = entry.map_err(Error::io("list", dir))?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

fn load(path: &Path) -> Result<Vec<Entry>> {
    let damaged = |detail| Error::damaged("manifest_damaged", "a manifest", path, detail);
    let octets = fs::read(path).map_err(Error::io("read", path))?;
    let (head, body) = octets.split_at_checked(12).ok_or_else(|| damaged("it is cut"))?;
    if !head.starts_with(&MAGIC) {
        return Err(damaged("it does not begin as one"));
    }
    if head.get(8..) != Some(&crc32c::crc32c(body).to_le_bytes()[..]) {
        return Err(damaged("its checksum is wrong"));
    }
    postcard::from_bytes(body).map_err(|_| damaged("it cannot be read"))
}

/// Writes the manifest of one shard, whole.
pub fn save(dir: &Path, key: DayKey, entries: &[Entry]) -> Result<()> {
    let path = dir.join(shard_name(key)).join(NAME);
    let body = postcard::to_stdvec(entries)
        .map_err(|error| Error::misuse("manifest_invalid", error.to_string()))?;
    let mut octets = MAGIC.to_vec();
    octets.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    octets.extend_from_slice(&body);
    file::write_atomic(&path, &octets)
}

#[cfg(test)]
mod tests {
    use super::{Entry, LEVEL_MONTH, NAME, load_all, save, shard_name};
    use crate::file;
    use crate::segment::DayKey;

    #[test]
    fn entries_come_back_and_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let key = DayKey { interval_minutes: 15, shard: 2, day: 20_779 };
        let entry = Entry {
            key,
            days: 1,
            level: 1,
            generation: 1,
            sealed_index: 9,
            recipe: 1,
            rows: 5,
            besides: 0,
            octets: 100,
            columns: vec![[1, 0, 1, 8, 0, 255]],
            blocks: vec![0, 7],
            content_hash: [1; 32],
            file_hash: [2; 32],
        };
        assert_eq!(entry.name(), "lp15/shard-00002/2026-11-22.1.parquet");
        let month = Entry { level: LEVEL_MONTH, generation: 77, ..entry.clone() };
        assert_eq!(month.name(), "lp15/shard-00002/2026-11.77.parquet");
        let folder = dir.path().join(shard_name(key));
        file::make_dirs(&folder).unwrap();
        save(dir.path(), key, std::slice::from_ref(&entry)).unwrap();
        assert_eq!(load_all(dir.path()).unwrap(), [entry]);
        let path = folder.join(NAME);
        let mut octets = std::fs::read(&path).unwrap();
        *octets.last_mut().unwrap() ^= 1;
        std::fs::write(&path, octets).unwrap();
        assert_eq!(load_all(dir.path()).unwrap_err().code(), "manifest_damaged");
    }
}
