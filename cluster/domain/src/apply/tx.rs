//! One change in the making: an overlay of writes over the committed view.
//!
//! Invariants: 1. reads see the change's own writes. 2. Nothing reaches the view: a refused change
//! is dropped as a whole. 3. Writes come out in order of table and key, so they hash equally.

use std::collections::BTreeMap;

use crate::apply::view::{KeyValue, View, Write};
use crate::apply::{Author, Effect, Table};
use crate::error::Fault;
use crate::readings::{Batch, Compact, Seal};
use crate::units::Stamp;

/// The change in the making, and what is known of it.
pub struct Tx<'a> {
    view: &'a dyn View,
    overlay: BTreeMap<Table, BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
    /// Index of the entry in the log.
    pub index: u64,
    /// The effective stamp: never before that of an earlier entry.
    pub stamp: Stamp,
    /// Who asked for the change.
    pub author: &'a Author,
    pub(crate) rows: Vec<Batch>,
    pub(crate) seals: Vec<Seal>,
    pub(crate) compactions: Vec<Compact>,
    pub(crate) effects: Vec<Effect>,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(view: &'a dyn View, index: u64, stamp: Stamp, author: &'a Author) -> Tx<'a> {
        Tx {
            view,
            overlay: BTreeMap::new(),
            index,
            stamp,
            author,
            rows: Vec::new(),
            seals: Vec::new(),
            compactions: Vec::new(),
            effects: Vec::new(),
        }
    }

    pub(crate) fn put(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.overlay.entry(table).or_default().insert(key, value);
    }

    /// A wake-up for those who listen. It may be lost: the state says what is due.
    pub(crate) fn wake(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// The writes, in order of table and key.
    pub(crate) fn into_writes(self) -> Vec<Write> {
        let tables = self.overlay.into_iter();
        tables
            .flat_map(|(table, rows)| {
                rows.into_iter().map(move |(key, value)| Write { table, key, value })
            })
            .collect()
    }
}

impl View for Tx<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        match self.overlay.get(&table).and_then(|rows| rows.get(key)) {
            Some(value) => Ok(value.clone()),
            None => self.view.get(table, key),
        }
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<KeyValue>, Fault> {
        let Some(own) = self.overlay.get(&table) else {
            return self.view.scan(table, from, to, limit);
        };
        if from >= to {
            return Ok(Vec::new());
        }
        // Every deleted row can hide one committed row, so that many more are asked for.
        let own: Vec<_> = own.range(from.to_vec()..to.to_vec()).collect();
        let committed = self.view.scan(table, from, to, limit.saturating_add(own.len()))?;
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = committed.into_iter().collect();
        for (key, value) in own {
            match value {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok(merged.into_iter().take(limit).collect())
    }
}
