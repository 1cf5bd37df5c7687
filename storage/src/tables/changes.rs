//! The keys that were written since a snapshot began, with their last values: all that the next
//! snapshot has to add to that one.
//!
//! Kept in memory alone. After a start, after a load and above the bound nothing is known, and
//! the next snapshot reads the tables through.
//! Invariant: what is known is complete from the named snapshot on, or nothing is known.

use std::collections::BTreeMap;

use super::engine::Writes;

/// Octets of keys and values above which no more is kept: reading the tables through is then no
/// dearer than what it spares.
const LIMIT_OCTETS: usize = 64 << 20;
/// What an entry costs beside its octets, roughly.
const ENTRY_OCTETS: usize = 96;

/// Keys (with their table's octet in front) and their last values; none: deleted.
pub type Delta = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The changes since a snapshot.
#[derive(Default)]
pub struct Changes {
    /// Index of the snapshot that they begin at; none while they are not known.
    since: Option<u64>,
    delta: Delta,
    octets: usize,
}

impl Changes {
    /// Nothing has changed since the snapshot of this index.
    pub fn begin(&mut self, index: u64) {
        *self = Self { since: Some(index), ..Self::default() };
    }

    /// Nothing is known any more.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Notes a batch that was written.
    pub fn note(&mut self, writes: &Writes) {
        if self.since.is_none() {
            return;
        }
        for (key, value) in writes {
            let octets = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
            let new = octets(value);
            match self.delta.insert(key.clone(), value.clone()) {
                Some(old) => self.octets = self.octets + new - octets(&old),
                None => self.octets += key.len() + new + ENTRY_OCTETS,
            }
        }
        if self.octets > LIMIT_OCTETS {
            self.forget();
        }
    }

    /// The changes since the snapshot of `base`, if they are known; from now on they are counted
    /// from `index`.
    pub fn cut(&mut self, base: Option<u64>, index: u64) -> Option<Delta> {
        let known = self.since.is_some() && self.since == base;
        let delta = std::mem::take(&mut self.delta);
        self.begin(index);
        known.then_some(delta)
    }
}

#[cfg(test)]
mod tests {
    use super::{Changes, LIMIT_OCTETS};

    fn write(key: &[u8], value: Option<&[u8]>) -> (Vec<u8>, Option<Vec<u8>>) {
        (key.to_vec(), value.map(<[u8]>::to_vec))
    }

    #[test]
    fn the_last_value_of_a_key_counts_and_a_cut_begins_anew() {
        let mut changes = Changes::default();
        changes.note(&vec![write(b"a", Some(b"0"))]);
        assert_eq!(changes.cut(None, 5), None, "before a first snapshot nothing is known");
        changes.note(&vec![write(b"a", Some(b"1")), write(b"b", Some(b"2"))]);
        changes.note(&vec![write(b"a", None)]);
        let delta = changes.cut(Some(5), 9).unwrap();
        let all: Vec<_> = delta.into_iter().collect();
        assert_eq!(all, [write(b"a", None), write(b"b", Some(b"2"))]);
        assert_eq!(changes.cut(Some(9), 12).unwrap().len(), 0);
    }

    #[test]
    fn changes_since_another_snapshot_are_no_changes_since_this_one() {
        let mut changes = Changes::default();
        changes.begin(5);
        assert_eq!(changes.cut(Some(4), 9), None);
        assert!(changes.cut(Some(9), 10).is_some());
        changes.forget();
        assert_eq!(changes.cut(Some(10), 11), None);
    }

    #[test]
    fn too_many_changes_are_forgotten() {
        let mut changes = Changes::default();
        changes.begin(1);
        let large = vec![0; LIMIT_OCTETS / 4];
        for key in 0..5 {
            changes.note(&vec![write(&[key], Some(&large))]);
        }
        assert_eq!(changes.cut(Some(1), 2), None);
    }
}
