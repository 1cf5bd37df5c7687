//! The list of what a snapshot is made of, on disk and on the wire.
//!
//! Invariant: every name is one that this crate would give, so no name of a peer can point
//! outside the data directory.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::segment::Entry;

const MAGIC: [u8; 8] = *b"HFSNAP\x00\x01";
/// As above, with parts of changes among its files.
const MAGIC_CHANGES: [u8; 8] = *b"HFSNAP\x00\x02";
/// Name of the part with all keys of the tables.
pub const TABLES: &str = "tables";
/// Name of the checkpoint of the open days.
pub const OPEN_DAYS: &str = "open-days";

/// Name of a part with changes of the tables, counted from 1.
pub fn changes_name(number: usize) -> String {
    format!("{TABLES}-{number}")
}

/// What a file of a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Dump of the tables.
    Tables,
    /// Checkpoint of the open days.
    OpenDays,
    /// A sealed segment file.
    Segment,
    /// Keys of the tables that were written later than those of the parts before.
    Changes,
}

/// One file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Name, unique in the snapshot.
    pub name: String,
    /// Size.
    pub octets: u64,
    /// blake3 of the file.
    pub hash: [u8; 32],
}

/// All that a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Index of the last entry of the log whose effects it holds.
    pub index: u64,
    /// The caller's octets: last log id, membership.
    pub meta: Vec<u8>,
    /// Every file: the parts of the tables, the open days, then the segment files.
    pub items: Vec<Item>,
    /// What is known of the segment files, in the same order.
    pub segments: Vec<Entry>,
}

impl Manifest {
    /// The manifest of its own files and of segment files.
    pub(super) fn new(index: u64, meta: Vec<u8>, own: Vec<Item>, segments: Vec<Entry>) -> Self {
        let items = own.into_iter().chain(segments.iter().map(segment_item)).collect();
        Self { index, meta, items, segments }
    }

    /// Octets for a file or the wire.
    pub fn encode(&self) -> Vec<u8> {
        let body = postcard::to_stdvec(self).expect("plain structs and lists always encode");
        let changes = self.own().any(|item| item.kind == Kind::Changes);
        let mut octets = if changes { MAGIC_CHANGES } else { MAGIC }.to_vec();
        octets.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        octets.extend_from_slice(&body);
        octets
    }

    /// Checks and reads octets; never panics.
    ///
    /// # Errors
    /// `snapshot_invalid`.
    pub fn decode(octets: &[u8]) -> Result<Self> {
        let (head, body) = octets.split_at_checked(12).ok_or_else(|| invalid("it is cut"))?;
        if !head.starts_with(&MAGIC) && !head.starts_with(&MAGIC_CHANGES) {
            return Err(invalid("it does not begin as one"));
        }
        if head.get(8..) != Some(&crc32c::crc32c(body).to_le_bytes()[..]) {
            return Err(invalid("its checksum is wrong"));
        }
        let manifest: Self =
            postcard::from_bytes(body).map_err(|error| invalid(&error.to_string()))?;
        let own = manifest.own().count();
        let changes = (1..own.saturating_sub(1)).map(|at| (Kind::Changes, changes_name(at)));
        let expect = std::iter::once((Kind::Tables, TABLES.to_owned()))
            .chain(changes)
            .chain([(Kind::OpenDays, OPEN_DAYS.to_owned())]);
        if !manifest.own().map(|item| (item.kind, item.name.clone())).eq(expect) {
            return Err(invalid("its own files are not those that belong to it"));
        }
        let segments = manifest.items.iter().skip(own).cloned();
        if !segments.eq(manifest.segments.iter().map(segment_item)) {
            return Err(invalid("its files are not those of its segments"));
        }
        Ok(manifest)
    }

    /// The parts of the tables and the open days.
    pub(super) fn own(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().take_while(|item| item.kind != Kind::Segment)
    }

    /// The parts of the tables, in the order in which they count.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Item> {
        self.own().filter(|item| item.kind != Kind::OpenDays)
    }

    /// Octets of all files.
    pub fn octets(&self) -> u64 {
        self.items.iter().map(|item| item.octets).sum()
    }
}

/// A segment file as an item.
pub fn segment_item(entry: &Entry) -> Item {
    let name = format!("segments/{}", entry.name());
    Item { kind: Kind::Segment, name, octets: entry.octets, hash: entry.file_hash }
}

fn invalid(detail: &str) -> Error {
    Error::misuse("snapshot_invalid", format!("a snapshot's manifest: {detail}"))
}
