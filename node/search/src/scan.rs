//! Looking through one segment for a query.
//!
//! Grams give blocks, blocks give documents, documents are compared: nothing is handed out that
//! was not. Whoever may not see a document costs it its place before it is compared or counted.
//! Not the merging of several segments (`index`). Invariant: documents are handed out in the
//! order of their keys, each at most once.

use std::sync::Arc;

use crate::dead::Dead;
use crate::postings::{BLOCK, Bits, List, Postings, WINDOW};
use crate::query::{After, Form, Hit, MAX_MATCHED, Needle, Prepared};
use crate::segment::Segment;

/// A segment, and what is no more of it.
#[derive(Clone)]
pub struct View {
    /// The documents.
    pub segment: Arc<Segment>,
    /// Which of them are no more.
    pub dead: Arc<Dead>,
}

/// Blocks that are compared at the most for the sake of counting: a quarter of a million documents,
/// some ten milliseconds.
const MAX_COMPARED: usize = 1 << 15;

/// What is to be done after a document or a block.
enum Step {
    On,
    /// Nothing below this document is wanted.
    From(usize),
    Stop,
}

/// What a look through segments gathers.
pub struct Harvest {
    /// Hits of one score, of each segment the first ones by key.
    pub hits: Vec<Hit>,
    /// Matches of any score so far, not counted further than one above [`MAX_MATCHED`].
    pub matched: u64,
    /// Blocks compared to count them.
    compared: usize,
    /// Whether there may be matches that were not counted.
    pub more: bool,
}

impl Harvest {
    /// What is there before any segment.
    pub const fn of(hits: Vec<Hit>, matched: u64) -> Self {
        Self { hits, matched, compared: 0, more: false }
    }

    /// Whether counting goes no further; the page may have to be filled all the same.
    const fn counted(&self) -> bool {
        self.matched > MAX_MATCHED || self.compared > MAX_COMPARED
    }
}

impl View {
    /// A living document of a key.
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        self.segment.find(key).filter(|doc| !self.dead.holds(*doc))
    }

    /// Gathers the first `wanted` hits of one score behind a place. With the broadest form, counts
    /// all matches besides.
    pub fn gather(
        &self,
        prepared: &Prepared<'_>,
        score: u8,
        after: Option<&After>,
        wanted: usize,
        harvest: &mut Harvest,
    ) {
        let broadest = usize::from(score) + 1 == prepared.forms.len();
        if wanted == 0 && (!broadest || harvest.counted()) {
            harvest.more |= broadest;
            return;
        }
        let first = match after {
            Some(after) if after.score == score => self.segment.above(&after.key),
            _ => 0,
        };
        let full = harvest.hits.len() + wanted;
        let segment = &*self.segment;
        let mut look = Look::of(self, prepared, &prepared.forms[usize::from(score)]);
        look.each(if broadest { 0 } else { first }, &mut |seen| {
            if let Some(doc) = seen {
                harvest.matched += u64::from(broadest && !harvest.counted());
                let hit = doc >= first && harvest.hits.len() < full;
                if hit && prepared.score_of_match(segment.text(doc)) == score {
                    let (key, facet) = (segment.key(doc).to_vec(), segment.facet(doc));
                    harvest.hits.push(Hit { key, score, region: facet.region, class: facet.class });
                }
            } else {
                harvest.compared += usize::from(broadest);
            }
            if broadest && !harvest.counted() {
                return Step::On;
            }
            harvest.more |= broadest;
            if harvest.hits.len() < full { Step::From(first) } else { Step::Stop }
        });
    }
}

/// Lists of which a block is in one at least.
struct Source<'a>(Vec<List<'a>>);

impl Source<'_> {
    fn weight(&self) -> usize {
        self.0.iter().map(List::weight).sum()
    }

    fn seek(&mut self, window: usize) -> Option<usize> {
        self.0.iter_mut().filter_map(|list| list.seek(window)).min()
    }

    fn read(&mut self, window: usize, bits: &mut Bits) {
        self.0.iter_mut().for_each(|list| list.read(window, bits));
    }
}

/// The sources of what contains a needle, and what the least of them weighs; `None` if there is
/// nothing that does. A needle of one letter of a small alphabet has none, and weighs the most.
fn sources<'a>(needle: &Needle, postings: &'a Postings) -> Option<(usize, Vec<Source<'a>>)> {
    let mut sources = Vec::new();
    for gram in &needle.grams {
        sources.push(Source(vec![postings.find(*gram)?]));
    }
    if let Some((from, to)) = needle.range {
        sources.push(Source(postings.range(from, to)));
    }
    let least = sources.iter().map(Source::weight).min();
    Some((least.unwrap_or(usize::MAX), sources))
}

/// The blocks of permitted facets, if these are so few that reading their lists is worth it.
fn few<'a>(permitted: &[bool], segment: &'a Segment) -> Option<Source<'a>> {
    let numbers = (0_u32..).zip(permitted).filter(|(_, permitted)| **permitted);
    let lists = numbers.filter_map(|(number, _)| segment.blocks().find(number));
    let source = Source(lists.collect());
    (source.weight() < segment.docs() / BLOCK / 2).then_some(source)
}

/// One look through one segment.
struct Look<'a> {
    view: &'a View,
    /// What a document must contain, the rarest first.
    needles: Vec<&'a Needle>,
    /// By a facet's number: whether it is permitted. `None`: all are.
    permitted: Option<Vec<bool>>,
    /// Of each of these a document's block is in one list; the shortest first. None: nothing is
    /// found.
    sources: Vec<Source<'a>>,
}

impl<'a> Look<'a> {
    fn of(view: &'a View, prepared: &Prepared<'_>, form: &'a Form) -> Self {
        let segment = &*view.segment;
        let facets = segment.table().iter();
        let permitted: Vec<bool> = facets.map(|facet| prepared.permits(*facet)).collect();
        let mut look = Self { view, needles: Vec::new(), permitted: None, sources: Vec::new() };
        if !permitted.contains(&true) {
            return look;
        }
        if permitted.contains(&false) {
            look.sources.extend(few(&permitted, segment));
            look.permitted = Some(permitted);
        }
        // A range has many lists: they are read only where there is nothing better.
        let ranges = form.needles.iter().all(|needle| needle.grams.is_empty());
        let mut weighed = Vec::new();
        for needle in &form.needles {
            let Some((weight, sources)) = sources(needle, segment.postings()) else {
                look.sources.clear();
                return look;
            };
            weighed.push((weight, needle));
            if ranges || needle.range.is_none() {
                look.sources.extend(sources);
            }
        }
        weighed.sort_by_key(|(weight, _)| *weight);
        look.needles = weighed.into_iter().map(|(_, needle)| needle).collect();
        look.sources.sort_by_key(Source::weight);
        look
    }

    /// Hands out the documents from one on that match and are permitted, and nothing after each
    /// block that was compared.
    fn each(&mut self, mut from: usize, visit: &mut dyn FnMut(Option<usize>) -> Step) {
        let mut window = from / BLOCK / WINDOW;
        while let Some(next) = self.seek(window) {
            let bits = self.read(next);
            for (at, word) in bits.iter().enumerate() {
                let mut rest = *word;
                while rest != 0 {
                    let block = next * WINDOW + at * 64 + rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    if (block + 1) * BLOCK > from && !self.block(block, &mut from, visit) {
                        return;
                    }
                }
            }
            window = (next + 1).max(from / BLOCK / WINDOW);
        }
    }

    /// The first window from this one on in which every source may have a block.
    fn seek(&mut self, mut window: usize) -> Option<usize> {
        if self.sources.is_empty() {
            return None;
        }
        loop {
            let before = window;
            for source in &mut self.sources {
                window = source.seek(window)?;
            }
            if window == before {
                return Some(window);
            }
        }
    }

    /// The blocks of a window that are in every source.
    fn read(&mut self, window: usize) -> Bits {
        let mut all: Bits = [u64::MAX; WINDOW / 64];
        for source in &mut self.sources {
            let mut bits: Bits = [0; WINDOW / 64];
            source.read(window, &mut bits);
            all.iter_mut().zip(&bits).for_each(|(all, one)| *all &= one);
            if all.iter().all(|word| *word == 0) {
                break;
            }
        }
        all
    }

    /// Compares the documents of a block; false if no more are wanted.
    fn block(
        &self,
        block: usize,
        from: &mut usize,
        visit: &mut dyn FnMut(Option<usize>) -> Step,
    ) -> bool {
        let segment = &*self.view.segment;
        let first = block * BLOCK;
        let behind = (first + BLOCK).min(segment.docs());
        let open = self.open(first, behind);
        if open == 0 {
            return true;
        }
        let end = segment.text_end(behind - 1);
        let (mut doc, mut at) = (first, segment.text_start(first));
        // All texts of the block are searched at once: no needle reaches from one into the next,
        // since two spaces never stand in a needle and always between two texts.
        let Some((rarest, others)) = self.needles.split_first() else { return true };
        while let Some(found) = rarest.find(&segment.texts()[at..end]) {
            while segment.text_end(doc) <= at + found {
                doc += 1;
            }
            at = segment.text_end(doc);
            let wanted = open >> (doc - first) & 1 == 1 && doc >= *from;
            let suits = || others.iter().all(|other| other.find(segment.text(doc)).is_some());
            if wanted && suits() {
                match visit(Some(doc)) {
                    Step::On => {}
                    Step::From(next) => *from = next.max(*from),
                    Step::Stop => return false,
                }
            }
        }
        match visit(None) {
            Step::On => true,
            Step::From(next) => {
                *from = next.max(*from);
                true
            }
            Step::Stop => false,
        }
    }

    /// Which documents of a block live and may be seen, the first one lowest.
    fn open(&self, first: usize, behind: usize) -> u8 {
        let living = !self.view.dead.eight(first);
        let Some(permitted) = &self.permitted else { return living };
        let segment = &*self.view.segment;
        let may = (first..behind).filter(|doc| permitted[segment.facet_number(*doc)]);
        may.fold(0, |may, doc| may | 1 << (doc - first)) & living
    }
}
