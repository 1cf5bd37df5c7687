//! Documents in the order of their keys, with their postings: written once, never changed.
//!
//! Not a place for what was changed since: marks of what is no more stand beside it (`dead`).
//! Invariants: keys ascend strictly; arenas are below 4 GiB, so that an end is a `u32`; a facet's
//! number is below the length of the table.

use std::collections::HashMap;

use crate::pieces::Pieces;
use crate::postings::Postings;

/// The most octets of an arena: a bit below what a `u32` tells.
pub const MAX_ARENA: usize = 0xFFF0_0000;

/// What a document is filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Facet {
    /// The region that it belongs to.
    pub region: u32,
    /// What kind of thing it is.
    pub class: u8,
}

/// An unchanging set of documents.
pub struct Segment {
    docs: Docs,
    postings: Postings,
    /// The blocks of each facet, by its place in the table.
    blocks: Postings,
}

#[derive(Default)]
struct Docs {
    keys: Vec<u8>,
    key_ends: Vec<u32>,
    texts: Vec<u8>,
    text_ends: Vec<u32>,
    /// The place in the table of each document's facet.
    facets: Vec<u32>,
    table: Vec<Facet>,
}

impl Segment {
    /// How many documents there are, dead ones too.
    #[must_use]
    pub const fn docs(&self) -> usize {
        self.docs.facets.len()
    }

    /// A document's key.
    #[must_use]
    pub fn key(&self, doc: usize) -> &[u8] {
        part(&self.docs.keys, &self.docs.key_ends, doc)
    }

    /// A document's text, a space before and behind it.
    #[must_use]
    pub fn text(&self, doc: usize) -> &[u8] {
        part(&self.docs.texts, &self.docs.text_ends, doc)
    }

    /// All texts, one behind another.
    #[must_use]
    pub fn texts(&self) -> &[u8] {
        &self.docs.texts
    }

    /// Where a document's text ends within all texts.
    #[must_use]
    pub fn text_end(&self, doc: usize) -> usize {
        self.docs.text_ends[doc] as usize
    }

    /// Where a document's text begins within all texts.
    #[must_use]
    pub fn text_start(&self, doc: usize) -> usize {
        start(&self.docs.text_ends, doc)
    }

    /// What a document is filtered by.
    #[must_use]
    pub fn facet(&self, doc: usize) -> Facet {
        self.docs.table[self.docs.facets[doc] as usize]
    }

    /// The place of a document's facet in the table.
    #[must_use]
    pub fn facet_number(&self, doc: usize) -> usize {
        self.docs.facets[doc] as usize
    }

    /// All facets that occur.
    #[must_use]
    pub fn table(&self) -> &[Facet] {
        &self.docs.table
    }

    /// The grams' blocks.
    #[must_use]
    pub const fn postings(&self) -> &Postings {
        &self.postings
    }

    /// The facets' blocks, by their places in the table.
    #[must_use]
    pub const fn blocks(&self) -> &Postings {
        &self.blocks
    }

    /// The document of a key.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        let doc = self.behind(|other| other < key);
        (doc < self.docs() && self.key(doc) == key).then_some(doc)
    }

    /// The first document whose key is above one.
    #[must_use]
    pub fn above(&self, key: &[u8]) -> usize {
        self.behind(|other| other <= key)
    }

    /// How many documents from the first one on have keys of which something is true.
    fn behind(&self, holds: impl Fn(&[u8]) -> bool) -> usize {
        let (mut from, mut to) = (0, self.docs());
        while from < to {
            let middle = from + (to - from) / 2;
            if holds(self.key(middle)) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }

    /// Octets of keys, of texts, and of what tells one document from the next.
    #[must_use]
    pub fn octets(&self) -> (usize, usize, usize) {
        let docs = &self.docs;
        let tables = docs.key_ends.len() + docs.text_ends.len() + docs.facets.len();
        let facets = docs.table.len() * size_of::<Facet>() + self.blocks.octets();
        (docs.keys.len(), docs.texts.len(), 4 * tables + facets)
    }
}

fn start(ends: &[u32], at: usize) -> usize {
    if at == 0 { 0 } else { ends[at - 1] as usize }
}

fn part<'a>(arena: &'a [u8], ends: &[u32], at: usize) -> &'a [u8] {
    &arena[start(ends, at)..ends[at] as usize]
}

/// A segment in the making.
#[derive(Default)]
pub struct Builder {
    docs: Docs,
    numbers: HashMap<Facet, u32>,
}

impl Builder {
    /// Takes a document, whose key must be above the last one's.
    pub fn push(&mut self, key: &[u8], text: &[u8], facet: Facet) {
        debug_assert!(self.last().is_none_or(|last| last < key) && self.fits(key, text));
        let docs = &mut self.docs;
        docs.keys.extend_from_slice(key);
        docs.key_ends.push(docs.keys.len() as u32);
        docs.texts.extend_from_slice(text);
        docs.text_ends.push(docs.texts.len() as u32);
        let number = *self.numbers.entry(facet).or_insert_with(|| {
            docs.table.push(facet);
            (docs.table.len() - 1) as u32
        });
        docs.facets.push(number);
    }

    /// Whether there is room for one more document.
    #[must_use]
    pub fn fits(&self, key: &[u8], text: &[u8]) -> bool {
        let docs = &self.docs;
        docs.keys.len() + key.len() <= MAX_ARENA && docs.texts.len() + text.len() <= MAX_ARENA
    }

    /// The last document's key.
    #[must_use]
    pub fn last(&self) -> Option<&[u8]> {
        let last = self.docs.facets.len().checked_sub(1)?;
        Some(part(&self.docs.keys, &self.docs.key_ends, last))
    }

    /// The segment, if there is any document. Reads all texts thrice: 2 to 3 s a million.
    #[must_use]
    pub fn finish(mut self) -> Option<Segment> {
        let docs = &mut self.docs;
        if docs.facets.is_empty() {
            return None;
        }
        docs.keys.shrink_to_fit();
        docs.texts.shrink_to_fit();
        docs.facets.shrink_to_fit();
        docs.key_ends.shrink_to_fit();
        docs.text_ends.shrink_to_fit();
        let postings = Postings::of(Pieces::Texts(&docs.texts, &docs.text_ends));
        let blocks = Postings::of(Pieces::Numbers(&docs.facets));
        Some(Segment { docs: self.docs, postings, blocks })
    }
}

#[cfg(test)]
mod tests {
    use super::{Builder, Facet};

    #[test]
    fn documents_are_found_by_their_keys() {
        let mut builder = Builder::default();
        let facet = |doc: usize| Facet { region: doc as u32 % 3, class: (doc % 2) as u8 };
        for doc in 0..100 {
            builder.push(format!("{:03}", doc * 2).as_bytes(), b" a text ", facet(doc));
        }
        assert_eq!(builder.last(), Some(&b"198"[..]));
        let segment = builder.finish().expect("there are documents");
        for doc in 0..100 {
            let key = format!("{:03}", doc * 2);
            assert_eq!(segment.find(key.as_bytes()), Some(doc));
            assert_eq!((segment.key(doc), segment.facet(doc)), (key.as_bytes(), facet(doc)));
            assert_eq!(segment.above(key.as_bytes()), doc + 1);
            assert_eq!(segment.find(format!("{:03}", doc * 2 + 1).as_bytes()), None);
        }
        assert_eq!((segment.above(b""), segment.above(b"999")), (0, 100));
        assert_eq!((segment.table().len(), segment.text(99)), (6, &b" a text "[..]));
        assert!(Builder::default().finish().is_none());
    }
}
