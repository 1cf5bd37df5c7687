//! The tables as they will be when the entries of a running batch are committed.
//!
//! Not here: committing. Invariant: a read sees every write absorbed so far and nothing else.

use std::{collections::BTreeMap, ops::Bound};

use domain::{Fault, Table, View, Write, apply::KeyValue};
use storage::{Put, Tables};

use crate::view::fault;

type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Writes over a base of tables.
#[derive(Debug)]
pub struct Overlay<'a> {
    base: &'a Tables,
    tables: BTreeMap<u8, Rows>,
}

impl<'a> Overlay<'a> {
    /// Nothing written yet.
    pub fn new(base: &'a Tables) -> Self {
        Self { base, tables: BTreeMap::new() }
    }

    /// Takes the writes of one entry over.
    pub fn absorb(&mut self, writes: Vec<Write>) {
        for write in writes {
            let rows = self.tables.entry(write.table.id()).or_default();
            rows.insert(write.key, write.value);
        }
    }

    /// All writes, for one atomic commit.
    pub fn into_puts(self) -> Vec<Put> {
        let tables = self.tables.into_iter();
        tables
            .flat_map(|(table, rows)| {
                rows.into_iter().map(move |(key, value)| Put { table, key, value })
            })
            .collect()
    }
}

impl View for Overlay<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let written = self.tables.get(&table.id()).and_then(|rows| rows.get(key));
        match written {
            Some(value) => Ok(value.clone()),
            None => self.base.get(table.id(), key).map_err(|error| fault(&error)),
        }
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<KeyValue>, Fault> {
        if from >= to || limit == 0 {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        let written: Vec<_> = match self.tables.get(&table.id()) {
            Some(rows) => rows.range::<[u8], _>(range).collect(),
            None => Vec::new(),
        };
        // Each written row hides at most one row of the base, so with so many more of the base
        // the first `limit` rows of both together are certain.
        let enough = limit.saturating_add(written.len());
        let base = self.base.scan(table.id(), from, to, enough).map_err(|error| fault(&error))?;
        if written.is_empty() {
            return Ok(base);
        }
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = base.into_iter().collect();
        for (key, value) in written {
            match value {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok(merged.into_iter().take(limit).collect())
    }
}
