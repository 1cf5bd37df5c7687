//! Which documents of a segment are no more: replaced by a newer version, or removed.
//!
//! A copy is cheap and never sees what is marked later: whoever searches holds one. Invariant:
//! `count` is the number of marks.

use std::sync::Arc;

/// Documents of a page of marks.
const PAGE: usize = 4096;

/// Marks, a bit for each document; pages without a mark are none.
#[derive(Clone, Default)]
pub struct Dead {
    pages: Vec<Option<Arc<[u64; PAGE / 64]>>>,
    count: usize,
}

impl Dead {
    /// Marks a document, and says whether it was not marked before.
    pub fn mark(&mut self, doc: usize) -> bool {
        let page = doc / PAGE;
        if self.pages.len() <= page {
            self.pages.resize(page + 1, None);
        }
        let page = self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE / 64]));
        let word = &mut Arc::make_mut(page)[doc % PAGE / 64];
        let bit = 1 << (doc % 64);
        let new = *word & bit == 0;
        *word |= bit;
        self.count += usize::from(new);
        new
    }

    /// Whether a document is marked.
    #[must_use]
    pub fn holds(&self, doc: usize) -> bool {
        self.word(doc) >> (doc % 64) & 1 == 1
    }

    /// The marks of eight documents that begin with a multiple of eight, the first one lowest.
    #[must_use]
    pub fn eight(&self, first: usize) -> u8 {
        (self.word(first) >> (first % 64)) as u8
    }

    /// How many are marked.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The documents that are marked here and were not in an earlier copy.
    pub fn since<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = usize> + 'a {
        let pages =
            self.pages.iter().enumerate().filter_map(|(at, page)| Some((at, page.as_ref()?)));
        let changed = pages.filter(|(at, page)| {
            let was = earlier.pages.get(*at).and_then(Option::as_ref);
            !was.is_some_and(|was| Arc::ptr_eq(was, page))
        });
        changed
            .flat_map(|(at, _)| at * PAGE..(at + 1) * PAGE)
            .filter(|doc| self.holds(*doc) && !earlier.holds(*doc))
    }

    fn word(&self, doc: usize) -> u64 {
        let page = self.pages.get(doc / PAGE).and_then(Option::as_ref);
        page.map_or(0, |page| page[doc % PAGE / 64])
    }
}

#[cfg(test)]
mod tests {
    use super::Dead;

    #[test]
    fn a_copy_does_not_see_what_is_marked_later() {
        let mut dead = Dead::default();
        assert!(dead.mark(5) && dead.mark(4096) && !dead.mark(5));
        let copy = dead.clone();
        for doc in [0, 7, 12_345] {
            assert!(dead.mark(doc));
        }
        assert_eq!((dead.count(), copy.count()), (5, 2));
        assert_eq!(dead.since(&copy).collect::<Vec<_>>(), [0, 7, 12_345]);
        assert_eq!(copy.since(&dead).count(), 0);
        assert_eq!((dead.eight(0), copy.eight(0)), (0b1010_0001, 0b0010_0000));
        assert!(dead.holds(12_345) && !copy.holds(12_345) && !dead.holds(1_000_000));
    }
}
