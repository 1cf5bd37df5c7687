//! API skeleton.
use crate::{log, tables, Config, Log, Metrics, Result, Segments, Snapshots, Tables};
/// All stores of one data directory. Stop with [`Store::stop`].
#[derive(Debug)]
pub struct Store {
    /// The log.
    pub log: Log,
    /// The tables.
    pub tables: Tables,
    /// The values.
    pub segments: Segments,
    /// The snapshots.
    pub snapshots: Snapshots,
}
/// What was found at the opening.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The log.
    pub log: log::Recovered,
    /// The tables. On `Rebuild` call [`Snapshots::rebuild`] before anything else.
    pub tables: tables::Opened,
    /// Open days hold every entry up to this index; entries in (floor, applied] are to be merged again.
    pub floor: u64,
}
impl Store {
    /// Opens all of it.
    pub fn open(_config: &Config, _group: u32, _metrics: &Metrics) -> Result<(Self, Opening)> { todo!() }
    /// Saves the open days as of `index` (call between two applied entries), so that less log is merged again at the next start.
    pub fn checkpoint(&self, _index: u64) -> Result<()> { todo!() }
    /// Ends all threads, flushes, unlocks.
    pub fn stop(&self) -> Result<()> { todo!() }
}
