//! API skeleton.
use std::path::{Path, PathBuf};
use crate::{Config, Metrics, Result};
/// One write of a batch; `None` deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Table.
    pub table: u8,
    /// Key.
    pub key: Vec<u8>,
    /// Value.
    pub value: Option<Vec<u8>>,
}
/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);
/// How the tables were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// None were there.
    Fresh,
    /// They were there and could be read.
    Existing,
    /// They were damaged or half loaded and have been moved aside: rebuild from snapshot and log.
    Rebuild {
        /// Where the damaged folder is kept.
        moved_to: PathBuf,
    },
}
/// The tables; cheap to clone.
#[derive(Debug, Clone)]
pub struct Tables;
/// A view of the tables as of one moment while commits go on; see [`Tables::freeze`].
#[derive(Debug)]
pub struct FrozenTables;
impl FrozenTables {
    /// Visits every key in order (table, key), as of the freeze.
    pub fn visit(self, _visit: &mut dyn FnMut(u8, &[u8], &[u8]) -> Result<()>) -> Result<()> { todo!() }
}
impl Tables {
    /// Opens.
    pub fn open(_dir: &Path, _config: &Config, _metrics: &Metrics) -> Result<(Self, Opened)> { todo!() }
    /// One value.
    pub fn get(&self, _table: u8, _key: &[u8]) -> Result<Option<Vec<u8>>> { todo!() }
    /// Keys from..to (exclusive), at most `limit`.
    pub fn scan(&self, _table: u8, _from: &[u8], _to: &[u8], _limit: usize) -> Result<Vec<Pair>> { todo!() }
    /// All or nothing, over all tables.
    pub fn commit(&self, _batch: &[Put]) -> Result<()> { todo!() }
    /// Durable when it returns.
    pub fn flush(&self) -> Result<()> { todo!() }
    /// Freezes a view for a dump; at most one at a time.
    pub fn freeze(&self) -> Result<FrozenTables> { todo!() }
    /// Drops everything.
    pub fn clear(&self) -> Result<()> { todo!() }
    /// Visits everything, as of the call.
    pub fn dump(&self, visit: &mut dyn FnMut(u8, &[u8], &[u8]) -> Result<()>) -> Result<()> { self.freeze()?.visit(visit) }
    /// Flushes and ends the flusher.
    pub fn stop(&self) -> Result<()> { todo!() }
}
