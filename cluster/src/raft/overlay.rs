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
        let Some(rows) = self.tables.get(&table.id()) else {
            return self.base.scan(table.id(), from, to, limit).map_err(|error| fault(&error));
        };
        let mut found = Vec::new();
        let (mut from, mut rest) = (from.to_vec(), limit);
        // Read in pieces, because deletions may hide what was read, and because a run writes many
        // rows and every entry scans: reading a row more for each would cost the square of them.
        loop {
            let base = self.base.scan(table.id(), &from, to, rest);
            let base = base.map_err(|error| fault(&error))?;
            // Up to the last row read, or to the end, both sides are known.
            let last =
                if base.len() < rest { None } else { base.last().map(|(key, _)| key.clone()) };
            let until = last.as_deref().map_or(Bound::Excluded(to), Bound::Included);
            let range = (Bound::Included(from.as_slice()), until);
            merge(base, rows.range::<[u8], _>(range), limit, &mut found);
            match last {
                Some(last) if found.len() < limit => from = [last.as_slice(), &[0]].concat(),
                _ => return Ok(found),
            }
            rest = rest.saturating_mul(2).min(limit.max(LARGEST_PIECE));
        }
    }
}

/// Rows of one read of the base, when many deletions make several reads needed.
const LARGEST_PIECE: usize = 256;

/// Adds rows of a range in order, written ones before those that they hide, up to `limit`.
fn merge<'r>(
    base: Vec<KeyValue>,
    written: impl Iterator<Item = (&'r Vec<u8>, &'r Option<Vec<u8>>)>,
    limit: usize,
    found: &mut Vec<KeyValue>,
) {
    let (mut base, mut written) = (base.into_iter().peekable(), written.peekable());
    while found.len() < limit {
        let hides = match (base.peek(), written.peek()) {
            (None, None) => return,
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (Some((old, _)), Some((new, _))) => *new <= old,
        };
        if !hides {
            found.extend(base.next());
            continue;
        }
        let Some((key, value)) = written.next() else { return };
        base.next_if(|(old, _)| old == key);
        found.extend(value.as_ref().map(|value| (key.clone(), value.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator, so that a failing seed can be run again.
    fn next(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    #[test]
    fn an_overlay_reads_as_the_tables_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let settings = storage::Config::for_test(dir.path());
        let metrics = storage::Metrics::unregistered();
        let (tables, _) = Tables::open(dir.path(), &settings, &metrics).unwrap();
        let (table, mut seed) = (Table::Meters, 0x9e37_79b9_7f4a_7c15);
        let mut model = BTreeMap::new();
        for round in 0..40 {
            let mut overlay = Overlay::new(&tables);
            for _ in 0..next(&mut seed) % 12 {
                let key = vec![(next(&mut seed) % 32) as u8];
                let value = (!next(&mut seed).is_multiple_of(3)).then(|| vec![round]);
                match &value {
                    Some(value) => model.insert(key.clone(), value.clone()),
                    None => model.remove(&key),
                };
                overlay.absorb(vec![Write { table, key, value }]);
            }
            for from in [0_u8, 7, 20] {
                for limit in [0, 1, 3, 100] {
                    let range = model.range(vec![from]..vec![28]).take(limit);
                    let expect: Vec<_> = range.map(|(k, v)| (k.clone(), v.clone())).collect();
                    let found = overlay.scan(table, &[from], &[28], limit).unwrap();
                    assert_eq!(found, expect, "round {round} from {from} limit {limit}");
                }
                assert_eq!(overlay.get(table, &[from]).unwrap(), model.get(&vec![from]).cloned());
            }
            tables.commit(&overlay.into_puts()).unwrap();
        }
        tables.stop().unwrap();
    }
}
