//! The monitor's memory on disk: records by key in one append-only file with checksums.
//!
//! Each turn is one frame: length, CRC-32C, then its records; so a turn is there as a whole or
//! not at all. The file is folded into a new one when most of it is old. Not a database:
//! everything is in memory too. Invariants: `commit` returns after the frame is synced; a torn
//! end is cut off at the next start; damage before the end is refused by name, never passed over;
//! after a failed write nothing is put behind it: a new file is begun.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// The first octets of the file; the number is the format's.
const MAGIC: &[u8; 8] = b"HFMON\0\0\x01";
/// The longest frame.
const MAX_FRAME: usize = 256 << 20;
/// Folded when the file is longer than this and than four times what was alive at the last
/// folding.
const FOLD_BYTES: u64 = 4 << 20;

/// Why the memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Octets that were synced have changed.
    #[error("{0} is damaged at octet {1}: move it aside to begin anew")]
    Damaged(PathBuf, u64),
    /// Another process uses it.
    #[error("{0} is in use by another monitor")]
    InUse(PathBuf),
    /// A turn too large to write.
    #[error("a turn of {0} octets is too large")]
    TooLarge(usize),
}

/// The open file and what is alive in it.
pub struct Journal {
    folder: PathBuf,
    file: File,
    records: BTreeMap<String, Vec<u8>>,
    length: u64,
    fold_at: u64,
    broken: bool,
}

impl Journal {
    /// Opens the folder's file, or makes it.
    pub fn open(folder: &Path) -> Result<Journal, Error> {
        let fault = |source| Error::Io { path: folder.to_path_buf(), source };
        std::fs::create_dir_all(folder).map_err(fault)?;
        let path = folder.join("monitor.journal");
        let fault = |source| Error::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fault)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(Error::InUse(path)),
            Err(std::fs::TryLockError::Error(error)) => return Err(fault(error)),
        }
        let mut octets = Vec::new();
        file.read_to_end(&mut octets).map_err(fault)?;
        // A file shorter than its own beginning was never synced.
        if octets.len() < MAGIC.len() && MAGIC.starts_with(&octets) {
            file.set_len(0).map_err(fault)?;
            file.seek(SeekFrom::Start(0)).map_err(fault)?;
            file.write_all(MAGIC).map_err(fault)?;
            file.sync_all().map_err(fault)?;
            sync_folder(folder)?;
            octets = MAGIC.to_vec();
        }
        let (records, length) = read(&octets).map_err(|at| Error::Damaged(path.clone(), at))?;
        file.set_len(length).map_err(fault)?;
        file.seek(SeekFrom::End(0)).map_err(fault)?;
        let fold_at = FOLD_BYTES.max(length * 4);
        let folder = folder.to_path_buf();
        Ok(Journal { folder, file, records, length, fold_at, broken: false })
    }

    /// What is alive.
    pub fn records(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.records
    }

    /// Octets of the file.
    pub fn len_bytes(&self) -> u64 {
        self.length
    }

    /// Writes and removals of one turn, synced when this returns. After a failure everything that
    /// is alive is in memory still, and every further call tries to write all of it anew.
    pub fn commit(&mut self, writes: Vec<(String, Option<Vec<u8>>)>) -> Result<(), Error> {
        if writes.is_empty() && !self.broken {
            return Ok(());
        }
        let frame = frame(writes.iter().map(|(key, value)| (key.as_str(), value.as_deref())));
        for (key, value) in writes {
            match value {
                Some(value) => self.records.insert(key, value),
                None => self.records.remove(&key),
            };
        }
        if self.broken {
            self.fold()?;
            self.broken = false;
            return Ok(());
        }
        // What the disk holds after a failure is not known: nothing may be put behind it.
        self.broken = true;
        let frame = frame?;
        let written = self.file.write_all(&frame).and_then(|()| self.file.sync_data());
        written
            .map_err(|source| Error::Io { path: self.folder.join("monitor.journal"), source })?;
        self.broken = false;
        self.length += frame.len() as u64;
        if self.length > self.fold_at && self.fold().is_err() {
            // The old file is whole: another time.
            self.fold_at = self.length * 2;
        }
        Ok(())
    }

    /// What is alive goes into a new file, which takes the old one's name.
    fn fold(&mut self) -> Result<(), Error> {
        let new = self.folder.join("monitor.journal.new");
        let path = self.folder.join("monitor.journal");
        let fault = |source| Error::Io { path: new.clone(), source };
        let whole =
            frame(self.records.iter().map(|(key, value)| (key.as_str(), Some(value.as_slice()))))?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&new)
            .map_err(fault)?;
        file.try_lock().map_err(|_| Error::InUse(new.clone()))?;
        file.write_all(MAGIC).and_then(|()| file.write_all(&whole)).map_err(fault)?;
        file.sync_all().map_err(fault)?;
        std::fs::rename(&new, &path).map_err(fault)?;
        sync_folder(&self.folder)?;
        self.file = file;
        self.length = (MAGIC.len() + whole.len()) as u64;
        self.fold_at = FOLD_BYTES.max(self.length * 4);
        Ok(())
    }
}

fn sync_folder(folder: &Path) -> Result<(), Error> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| Error::Io { path: folder.to_path_buf(), source })
}

/// Length and checksum of the body, then the body: key and value with their lengths; a length of
/// `u32::MAX` is a removal.
fn frame<'a>(records: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    for (key, value) in records {
        body.extend((key.len() as u32).to_le_bytes());
        body.extend(key.as_bytes());
        match value {
            Some(value) => {
                body.extend((value.len() as u32).to_le_bytes());
                body.extend(value);
            }
            None => body.extend(u32::MAX.to_le_bytes()),
        }
    }
    if body.len() > MAX_FRAME {
        return Err(Error::TooLarge(body.len()));
    }
    let mut frame = Vec::with_capacity(body.len() + 8);
    frame.extend((body.len() as u32).to_le_bytes());
    frame.extend(crc32c::crc32c(&body).to_le_bytes());
    frame.extend(body);
    Ok(frame)
}

type Records = BTreeMap<String, Vec<u8>>;

/// What is alive and how long the whole frames are; or where the damage is.
fn read(octets: &[u8]) -> Result<(Records, u64), u64> {
    if !octets.starts_with(MAGIC) {
        return Err(0);
    }
    let mut records = Records::new();
    let mut at = MAGIC.len();
    while let Some((length, sum)) = head(&octets[at..]) {
        let rest = &octets[at + 8..];
        // A frame beyond the end is a torn one, unless its length cannot be.
        let Some(body) = rest.get(..length) else { break };
        if crc32c::crc32c(body) != sum {
            // The last frame may be torn inside when the disk wrote its length first.
            if rest.len() == length {
                break;
            }
            return Err(at as u64);
        }
        apply(body, &mut records).ok_or(at as u64)?;
        at += 8 + length;
    }
    Ok((records, at as u64))
}

fn head(octets: &[u8]) -> Option<(usize, u32)> {
    let length = octets.get(..4)?.try_into().ok().map(u32::from_le_bytes)?;
    let sum = octets.get(4..8)?.try_into().ok().map(u32::from_le_bytes)?;
    (length > 0).then_some((length as usize, sum))
}

fn apply(mut body: &[u8], records: &mut Records) -> Option<()> {
    while !body.is_empty() {
        let (length, rest) = body.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let key = String::from_utf8(key.to_vec()).ok()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        body = match u32::from_le_bytes(*length) {
            u32::MAX => {
                records.remove(&key);
                rest
            }
            length => {
                let (value, rest) = rest.split_at_checked(length as usize)?;
                records.insert(key, value.to_vec());
                rest
            }
        };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;

    fn put(key: &str, value: &str) -> (String, Option<Vec<u8>>) {
        (key.into(), Some(value.as_bytes().to_vec()))
    }

    fn file(folder: &Path) -> PathBuf {
        folder.join("monitor.journal")
    }

    #[test]
    fn what_was_committed_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        journal.commit(vec![put("a", "1"), put("b", "2")]).unwrap();
        journal.commit(vec![put("a", "3"), ("b".into(), None)]).unwrap();
        assert!(matches!(Journal::open(folder.path()), Err(Error::InUse(_))));
        drop(journal);
        let journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.records(), &BTreeMap::from([("a".into(), b"3".to_vec())]));
    }

    #[test]
    fn old_records_are_folded_away() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        let big = "x".repeat(500_000);
        for nth in 0..20 {
            journal.commit(vec![put("a", &big), put("n", &nth.to_string())]).unwrap();
        }
        assert!(journal.len_bytes() < 5 << 20, "{}", journal.len_bytes());
        drop(journal);
        let journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.records()["n"], b"19");
        assert_eq!(journal.records()["a"].len(), big.len());
    }

    #[test]
    fn damage_before_the_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        journal.commit(vec![put("a", "1")]).unwrap();
        journal.commit(vec![put("b", "2")]).unwrap();
        drop(journal);
        let mut octets = std::fs::read(file(folder.path())).unwrap();
        octets[17] ^= 1;
        std::fs::write(file(folder.path()), octets).unwrap();
        assert!(matches!(Journal::open(folder.path()), Err(Error::Damaged(_, 8))));
    }

    #[test]
    fn after_a_failed_write_all_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        journal.commit(vec![put("a", "1")]).unwrap();
        let whole = std::mem::replace(&mut journal.file, File::open(file(folder.path())).unwrap());
        assert!(journal.commit(vec![put("b", "2")]).is_err(), "it is open for reading alone");
        drop(whole);
        journal.commit(vec![]).unwrap();
        journal.commit(vec![put("c", "3")]).unwrap();
        drop(journal);
        let journal = Journal::open(folder.path()).unwrap();
        let keys: Vec<&str> = journal.records().keys().map(String::as_str).collect();
        assert_eq!(keys, ["a", "b", "c"]);
    }

    proptest! {
        #[test]
        fn a_cut_file_holds_whole_turns(cut in 0_usize..200) {
            let folder = tempfile::tempdir().unwrap();
            let mut journal = Journal::open(folder.path()).unwrap();
            for nth in 0..5 {
                let nth = nth.to_string();
                journal.commit(vec![put("a", &nth), put("b", &nth)]).unwrap();
            }
            drop(journal);
            let octets = std::fs::read(file(folder.path())).unwrap();
            let cut = cut.min(octets.len());
            std::fs::write(file(folder.path()), &octets[..cut]).unwrap();
            let mut journal = Journal::open(folder.path()).unwrap();
            assert_eq!(journal.records().get("a"), journal.records().get("b"));
            journal.commit(vec![put("c", "new")]).unwrap();
            drop(journal);
            assert_eq!(Journal::open(folder.path()).unwrap().records()["c"], b"new");
        }
    }
}
