//! What a running dump must still see of keys that were written since it began.
//!
//! Invariant: a key is noted with the value that it had at the freeze, once; what was dumped
//! already is let go.

use std::collections::BTreeMap;

use super::Pair;

/// Values as of the freeze, of keys that were written since; `None`: the key was not there.
#[derive(Default)]
pub struct Overlay(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl Overlay {
    /// Whether the key was written since the freeze.
    pub fn holds(&self, key: &[u8]) -> bool {
        self.0.contains_key(key)
    }

    /// Notes the value that a key has before its first write since the freeze.
    pub fn note(&mut self, key: Vec<u8>, before: Option<Vec<u8>>) {
        self.0.insert(key, before);
    }

    /// Keys in `(after, next]` as of the freeze, made of what is there now; an open end is
    /// the first or the last key.
    pub fn as_of(
        &mut self,
        now: Vec<Pair>,
        after: Option<&[u8]>,
        next: Option<&[u8]>,
    ) -> Vec<Pair> {
        let unwritten = now.into_iter().filter(|(key, _)| !self.holds(key));
        let mut then: BTreeMap<Vec<u8>, Vec<u8>> = unwritten.collect();
        let later = match next {
            Some(next) => {
                let mut later = self.0.split_off(next);
                // The border key itself belongs to this part.
                if let Some((key, before)) = later.remove_entry(next) {
                    self.0.insert(key, before);
                }
                later
            }
            None => BTreeMap::new(),
        };
        // Keys at or below `after` were dumped and written again since: never looked at again.
        for (key, before) in std::mem::replace(&mut self.0, later) {
            if let Some(before) = before
                && after.is_none_or(|after| key.as_slice() > after)
            {
                then.insert(key, before);
            }
        }
        then.into_iter().collect()
    }
}
