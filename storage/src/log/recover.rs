//! Reads the log's files at the opening and decides between a torn tail and a damaged log.
//!
//! Invariants: a tail that was never acknowledged is cut; anything broken before the last
//! synced octet is refused as `wal_damaged`, and no file is changed then.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::frame::{self, Frame, Home, Kind, Look};
use crate::error::{Error, Result};
use crate::file;

/// Version of the files' format, in the head of each.
const VERSION: u16 = 1;

/// The payload of a file's first frame: what the log was before it, so that older files may go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    version: u16,
    /// Everything up to this index was purged.
    pub purged: Option<u64>,
    /// Small values by key.
    pub metas: BTreeMap<u8, Vec<u8>>,
}

impl Head {
    /// The head of a file that is made now.
    pub fn new(purged: Option<u64>, metas: BTreeMap<u8, Vec<u8>>) -> Self {
        Self { version: VERSION, purged, metas }
    }

    /// Octets for the frame.
    pub fn encode(&self) -> Result<Vec<u8>> {
        postcard::to_stdvec(self)
            .map_err(|error| Error::misuse("wal_head", format!("cannot be written: {error}")))
    }
}

/// Where a record stands on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the file.
    pub segment: u32,
    /// Offset of the frame.
    pub offset: u32,
    /// Octets of the payload.
    pub octets: u32,
}

/// A file of the log and the newest record in it that was not truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Number of the file.
    pub number: u32,
    /// Newest record; `None`: holds none.
    pub last: Option<u64>,
}

/// What the files hold.
#[derive(Debug, Default)]
pub struct Found {
    /// Index of the first place.
    pub first: u64,
    /// Places of the records, without a gap.
    pub places: VecDeque<Place>,
    /// Everything up to this index was purged.
    pub purged: Option<u64>,
    /// Small values by key.
    pub metas: BTreeMap<u8, Vec<u8>>,
    /// The files, oldest first.
    pub segments: Vec<Segment>,
    /// Number for the next file.
    pub next: u32,
    /// Octets of an unsynced tail that were cut.
    pub cut_octets: u64,
}

/// The name of a file of the log.
pub fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:010}.wal"))
}

/// Reads all files of a folder.
pub fn recover(dir: &Path, group: u32) -> Result<Found> {
    let numbers = list(dir)?;
    let mut found = Found { next: 1, ..Found::default() };
    for (at, number) in numbers.iter().copied().enumerate() {
        let path = path(dir, number);
        if at > 0 && number != found.next {
            return Err(damaged(&path, format!("file {} is missing", found.next)));
        }
        let octets = fs::read(&path).map_err(Error::io("read", &path))?;
        let reader = Reader { octets: &octets, path: &path, home: Home { group, segment: number } };
        let last = at + 1 == numbers.len();
        let end = reader.replay(&mut found, last)?;
        found.next = number + 1;
        if last && end.offset < octets.len() {
            cut(&path, end.offset as u64)?;
        } else if last {
            // A process that was killed leaves records that are whole and in memory alone. From
            // now on they count as kept, and no later sync would be of this file.
            sync(&path)?;
        }
        // A file with nothing but its head is made anew under its own number.
        if last && end.frames == 0 {
            found.segments.pop();
            found.next = number;
        }
    }
    check_purge(dir, &mut found)?;
    Ok(found)
}

/// Numbers of the files in order; what was never given its name is removed.
fn list(dir: &Path) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let path = entry.map_err(Error::io("list", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".tmp") {
            file::remove(&path)?;
        } else if let Some(stem) = name.strip_suffix(".wal") {
            let number = stem.parse().map_err(|_| damaged(&path, "its name is no number"))?;
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Shortens a file to its whole frames, durably.
fn cut(path: &Path, octets: u64) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path).map_err(Error::io("open", path))?;
    file.set_len(octets).map_err(Error::io("cut", path))?;
    file.sync_all().map_err(Error::io("sync", path))
}

fn sync(path: &Path) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path).map_err(Error::io("open", path))?;
    file.sync_data().map_err(Error::io("sync", path))
}

/// Drops purged records; the rest must follow the purge without a gap.
fn check_purge(dir: &Path, found: &mut Found) -> Result<()> {
    let Some(purged) = found.purged else { return Ok(()) };
    while !found.places.is_empty() && found.first <= purged {
        found.places.pop_front();
        found.first += 1;
    }
    if !found.places.is_empty() && found.first != purged + 1 {
        let detail = format!("records {} to {} are missing", purged + 1, found.first - 1);
        return Err(damaged(dir, detail));
    }
    Ok(())
}

/// Where the whole frames of a file end, and how many stand behind its head.
struct End {
    offset: usize,
    frames: u64,
}

struct Reader<'a> {
    octets: &'a [u8],
    path: &'a Path,
    home: Home,
}

impl Reader<'_> {
    fn replay(&self, found: &mut Found, last: bool) -> Result<End> {
        let mut offset = self.head(found)?;
        found.segments.push(Segment { number: self.home.segment, last: None });
        let mut frames = 0;
        loop {
            match frame::look(self.octets, offset, self.home) {
                Look::Frame(frame, next) => {
                    self.apply(found, &frame, offset)?;
                    frames += 1;
                    offset = next;
                }
                Look::End if offset >= self.octets.len() => break,
                look if last => {
                    found.cut_octets = self.tail(offset, look)?;
                    break;
                }
                Look::End => return Err(self.damaged(offset, "zeros before the end of the file")),
                Look::Bad(why) => return Err(self.damaged(offset, why)),
            }
        }
        Ok(End { offset: offset.min(self.octets.len()), frames })
    }

    /// A file gets its name only after its head is synced, so a broken head is damage.
    fn head(&self, found: &mut Found) -> Result<usize> {
        let Look::Frame(frame, next) = frame::look(self.octets, 0, self.home) else {
            return Err(self.damaged(0, "the head of the file is broken"));
        };
        if frame.kind != Kind::Head || frame.index != u64::from(self.home.segment) {
            return Err(self.damaged(0, "the first frame is no head of this file"));
        }
        let head: Head = postcard::from_bytes(frame.payload)
            .map_err(|_| self.damaged(0, "the head of the file cannot be read"))?;
        if head.version != VERSION {
            return Err(self.damaged(0, "the file has a format of another version"));
        }
        found.purged = found.purged.max(head.purged);
        found.metas = head.metas;
        Ok(next)
    }

    fn apply(&self, found: &mut Found, frame: &Frame<'_>, offset: usize) -> Result<()> {
        match frame.kind {
            Kind::Head => return Err(self.damaged(offset, "a second head")),
            Kind::Record => self.record(found, frame, offset)?,
            Kind::Meta => {
                let key = u8::try_from(frame.index)
                    .map_err(|_| self.damaged(offset, "a key above 255"))?;
                found.metas.insert(key, frame.payload.to_vec());
            }
            Kind::Truncate => {
                let keep = frame.index.saturating_add(1).saturating_sub(found.first);
                found.places.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
                for segment in &mut found.segments {
                    segment.last = segment.last.map(|last| last.min(frame.index));
                }
            }
            Kind::Clear => {
                found.places.clear();
                for segment in &mut found.segments {
                    segment.last = None;
                }
            }
            Kind::Purge => {
                found.purged = found.purged.max(Some(frame.index));
                while !found.places.is_empty() && found.first <= frame.index {
                    found.places.pop_front();
                    found.first += 1;
                }
            }
        }
        Ok(())
    }

    fn record(&self, found: &mut Found, frame: &Frame<'_>, offset: usize) -> Result<()> {
        if found.places.is_empty() {
            found.first = frame.index;
        } else if frame.index != found.first + found.places.len() as u64 {
            return Err(self.damaged(offset, "a record out of order"));
        }
        let narrow = |wide: usize| {
            u32::try_from(wide).map_err(|_| self.damaged(offset, "the file is too large"))
        };
        found.places.push_back(Place {
            segment: self.home.segment,
            offset: narrow(offset)?,
            octets: narrow(frame.payload.len())?,
        });
        if let Some(segment) = found.segments.last_mut() {
            segment.last = Some(frame.index);
        }
        Ok(())
    }

    /// Octets to cut behind `offset`; an error when a later frame proves that they were synced.
    fn tail(&self, offset: usize, look: Look<'_>) -> Result<u64> {
        let used = self.octets.iter().rposition(|octet| *octet != 0).map_or(0, |at| at + 1);
        let mut at = offset + 8;
        while at < used {
            if let Look::Frame(frame, _) = frame::look(self.octets, at, self.home)
                && frame.synced as usize > offset
            {
                let why = if let Look::Bad(why) = look { why } else { "zeros" };
                return Err(self.damaged(offset, why));
            }
            at += 8;
        }
        Ok(used.saturating_sub(offset) as u64)
    }

    fn damaged(&self, offset: usize, why: &str) -> Error {
        damaged(self.path, format!("{why} at octet {offset}"))
    }
}

fn damaged(path: &Path, detail: impl Into<String>) -> Error {
    Error::damaged("wal_damaged", "the log", path, detail)
}
