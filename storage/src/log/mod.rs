//! API skeleton.
use std::io;
use std::ops::Range;
use std::path::Path;
use bytes::Bytes;
use crate::{Config, Metrics, Result};

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its index; records follow each other without a gap.
    pub index: u64,
    /// What the caller wrote.
    pub payload: Bytes,
}
/// Called once, on the writer's thread, in the order of the calls, when the octets are synced.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;
/// What an opened log was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// First index held.
    pub first: Option<u64>,
    /// Last index held.
    pub last: Option<u64>,
    /// Everything up to this index was purged.
    pub purged: Option<u64>,
    /// Octets of an unsynced tail that were cut.
    pub cut_octets: u64,
}
/// The log; cheap to clone.
#[derive(Debug, Clone)]
pub struct Log;
impl Log {
    /// Opens.
    pub fn open(_dir: &Path, _config: &Config, _group: u32, _metrics: &Metrics) -> Result<(Self, Recovered)> { todo!() }
    /// Appends; readable at once, durable when `done` is called. Blocks only while the queue is full.
    pub fn append(&self, _records: Vec<Record>, _done: Done) { todo!() }
    /// Drops every record after the index (`None`: all); durable before it returns.
    pub fn truncate_after(&self, _index: Option<u64>) -> io::Result<()> { todo!() }
    /// Drops every record up to the index, durable before it returns.
    pub fn purge_to(&self, _index: u64) -> io::Result<()> { todo!() }
    /// Keeps a small value, durable before it returns.
    pub fn save_meta(&self, _key: u8, _value: &[u8]) -> io::Result<()> { todo!() }
    /// As `save_meta`, without waiting.
    pub fn save_meta_then(&self, _key: u8, _value: &[u8], _done: Done) { todo!() }
    /// The newest value of the key (readable at once).
    pub fn meta(&self, _key: u8) -> Option<Vec<u8>> { todo!() }
    /// Records of the range that are held, at least one if there is one, then as many as fit.
    pub fn read(&self, _range: Range<u64>, _max_octets: usize) -> io::Result<Vec<Record>> { todo!() }
    /// First index held.
    pub fn first_index(&self) -> Option<u64> { todo!() }
    /// Last index held.
    pub fn last_index(&self) -> Option<u64> { todo!() }
    /// Everything up to this index was purged.
    pub fn purged_index(&self) -> Option<u64> { todo!() }
    /// Writes what waits and ends the writer.
    pub fn stop(&self) { todo!() }
}
