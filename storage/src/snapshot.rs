//! API skeleton.
use std::path::PathBuf;
use crate::Result;
/// What a file of a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// Dump of the tables.
    Tables,
    /// Checkpoint of the open days.
    OpenDays,
    /// A sealed segment file.
    Segment,
}
/// One file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Name, unique in the snapshot, relative, without `..`.
    pub name: String,
    /// Size.
    pub octets: u64,
    /// blake3 of the file.
    pub hash: [u8; 32],
}
/// All that a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    /// Index of the last entry of the log whose effects it holds.
    pub index: u64,
    /// The caller's octets (last log id, membership).
    pub meta: Vec<u8>,
    /// Files.
    pub items: Vec<Item>,
}
impl Manifest {
    /// Octets for the wire.
    pub fn encode(&self) -> Vec<u8> { todo!() }
    /// Checks and reads octets from the wire; never panics.
    pub fn decode(_octets: &[u8]) -> Result<Self> { todo!() }
}
/// Point-in-time state, cheap to take between two applied entries; written in the background.
#[derive(Debug)]
pub struct Frozen;
/// A snapshot that is being received.
#[derive(Debug)]
pub struct Incoming;
impl Incoming {
    /// Files still missing, with the octets already there: (item, offset to go on from).
    pub fn missing(&self) -> Vec<(Item, u64)> { todo!() }
    /// Appends a piece at `offset`, which must be where the file ends; the last piece verifies the hash.
    pub fn receive(&mut self, _name: &str, _offset: u64, _octets: &[u8]) -> Result<()> { todo!() }
    /// The manifest.
    pub fn manifest(&self) -> &Manifest { todo!() }
}
/// Snapshots of one group; cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshots;
impl Snapshots {
    /// Freezes tables and open days; call between two applied entries, `index` being the last applied. Milliseconds.
    pub fn freeze(&self, _index: u64, _meta: Vec<u8>) -> Result<Frozen> { todo!() }
    /// Writes a frozen state (blocking, seconds), flushes the tables, drops old snapshots. Durable when it returns: the log may be purged to its index.
    pub fn write(&self, _frozen: Frozen) -> Result<Manifest> { todo!() }
    /// The newest complete snapshot.
    pub fn newest(&self) -> Option<Manifest> { todo!() }
    /// Reads a piece of a file of a complete snapshot, for a receiver.
    pub fn read(&self, _index: u64, _name: &str, _offset: u64, _max_octets: usize) -> Result<Vec<u8>> { todo!() }
    /// Begins (or goes on with) receiving a snapshot.
    pub fn receive(&self, _manifest: Manifest) -> Result<Incoming> { todo!() }
    /// Installs a wholly received snapshot: tables cleared and loaded, open days restored, segment files adopted. Durable when it returns.
    pub fn install(&self, _incoming: Incoming) -> Result<Manifest> { todo!() }
    /// Loads the tables anew from the newest complete snapshot (after `Opened::Rebuild`); `None`: there is no snapshot, tables are empty, replay the whole log.
    pub fn rebuild(&self) -> Result<Option<Manifest>> { todo!() }
    /// Folder.
    pub fn path(&self) -> PathBuf { todo!() }
}
