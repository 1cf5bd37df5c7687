//! The replicated state as this node has applied it.
//!
//! Not here: writing; only the state machine writes, in one batch for each run of entries.
//! Invariant: every answer is of an applied state. Two calls may see two states, the second the
//! newer one; a caller that needs "now" asks for a linearizable view first.

use domain::{Fault, Table, View, apply::KeyValue};
use storage::Tables;

/// Reads of this node's tables. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LocalView {
    tables: Tables,
    applied_index: u64,
}

impl LocalView {
    pub(crate) fn new(tables: Tables, applied_index: u64) -> Self {
        Self { tables, applied_index }
    }

    /// The log index that this view has reached at least.
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }
}

impl View for LocalView {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.tables.get(table.id(), key).map_err(|error| fault(&error))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<KeyValue>, Fault> {
        self.tables.scan(table.id(), from, to, limit).map_err(|error| fault(&error))
    }
}

/// A failed store is a fault: the domain must not go on over it.
pub(crate) fn fault(error: &storage::Error) -> Fault {
    Fault::Storage(error.to_string())
}
