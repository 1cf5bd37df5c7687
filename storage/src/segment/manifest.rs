//! What is known of the sealed files of one shard: a small file beside them.
//!
//! Invariants: a file that the manifest does not name is not there; an entry never changes.
//! Two hashes: of the content (differs: replicas diverged) and of the file (differs with equal
//! content: another version of the encoder).

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Column, DayKey};
use crate::error::{Error, Result};
use crate::file;

const MAGIC: [u8; 8] = *b"HFSEGM\x00\x01";
const NAME: &str = "manifest";

/// One sealed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Interval, shard and first day.
    pub key: DayKey,
    /// Days that it covers: 1 for a day file.
    pub days: u16,
    /// 1: day file; 2: month file.
    pub level: u8,
    /// 0 for the first seal of a day, then one for every later lot of late rows.
    pub generation: u32,
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
        let generation = match self.generation {
            0 => String::new(),
            number => format!(".{number}"),
        };
        format!("{}/{}{generation}.parquet", shard_name(self.key), date(self.key.day))
    }
}

/// A shard's folder below the folder of the segments.
pub fn shard_name(key: DayKey) -> String {
    match key.interval_minutes {
        0 => format!("irregular/shard-{:05}", key.shard),
        minutes => format!("lp{minutes}/shard-{:05}", key.shard),
    }
}

/// A day's date, as in file names: proleptic Gregorian, from days since 1970-01-01.
fn date(day: i32) -> String {
    // Howard Hinnant's civil_from_days, in 400-year eras that begin on the first of March.
    let shifted = i64::from(day) + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}")
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

fn folders(dir: &Path) -> Result<Vec<PathBuf>> {
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
    use super::{Entry, NAME, date, load_all, save, shard_name};
    use crate::file;
    use crate::segment::DayKey;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let check = |day, expect: &str| assert_eq!(date(day), expect);
        check(0, "1970-01-01");
        check(-1, "1969-12-31");
        check(11_016, "2000-02-29");
        check(11_017, "2000-03-01");
        check(20_779, "2026-11-22");
        check(47_540, "2100-02-28");
        check(47_541, "2100-03-01");
    }

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
