//! The documents as they are now: what changed lately in a map, everything else in segments.
//!
//! Whoever searches holds the lock only while the map is looked through and the list of segments
//! copied; segments never change and marks of the dead are copied when they are written. The work
//! of building is done without the lock by whoever calls [`Index::maintain`] or fills the index.
//! Not durable: after a start the index is filled from what is. Invariants: of each key at most one
//! document lives, in the map or in one segment; a search sees the index of one moment.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::dead::Dead;
use crate::fill::{Fill, OutOfOrder};
use crate::plan::{self, Size};
use crate::query::{After, Hit, MAX_LIMIT, MAX_MATCHED, Page, Prepared, Query, QueryError};
use crate::scan::{Harvest, View};
use crate::segment::{Builder, Facet, Segment};
use crate::{letters, text};

/// What is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doc {
    /// What it is known by: of two documents with one key the later one holds. Hits of one score
    /// come in the order of keys.
    pub key: Vec<u8>,
    /// What it is found by, in any form; of its normal form the first 4 KiB or so count.
    pub text: String,
    /// The region whose people may find it.
    pub region: u32,
    /// What kind of thing it is, 0 to 31; any greater one is never found.
    pub class: u8,
}

/// What an index takes. Octets are those of memory, allocators' overhead not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Documents that can be found.
    pub docs: usize,
    /// Documents that are no more and still take room.
    pub dead: usize,
    /// Documents that are in no segment yet, and are compared one by one.
    pub recent: usize,
    /// Segments.
    pub segments: usize,
    /// Octets of keys.
    pub key_octets: usize,
    /// Octets of texts.
    pub text_octets: usize,
    /// Octets of what leads from grams to documents.
    pub posting_octets: usize,
    /// Octets of what tells where documents begin and who may see them.
    pub other_octets: usize,
}

/// An index of documents. See the module.
pub struct Index {
    state: RwLock<State>,
    /// Held by whoever builds segments out of what is there.
    maintaining: Mutex<()>,
    /// So many documents are compared one by one before they become a segment.
    recent: usize,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) views: Vec<View>,
    recent: BTreeMap<Arc<[u8]>, Recent>,
    /// Counts changes.
    sequence: u64,
    /// Counts fills; the last one counts.
    pub(crate) fills: u64,
    /// The keys that were changed since the last fill began, while it goes on.
    pub(crate) touched: Option<HashSet<Arc<[u8]>>>,
}

/// A document that is in no segment.
#[derive(Clone)]
struct Recent {
    /// Tells this version from others of its key.
    sequence: u64,
    text: Arc<[u8]>,
    facet: Facet,
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

impl Index {
    /// An index without documents.
    #[must_use]
    pub fn new() -> Self {
        Self::with_recent(4096)
    }

    /// An index that makes a segment of so many changed documents. A search compares them one by
    /// one: 0.1 us each or so. For tests a few are right, else [`Index::new`].
    #[must_use]
    pub fn with_recent(recent: usize) -> Self {
        let (state, maintaining) = Default::default();
        Self { state, maintaining, recent: recent.max(1) }
    }

    /// An index of documents that come in the order of their keys.
    ///
    /// # Errors
    ///
    /// [`OutOfOrder`] if a key is not above the one before.
    pub fn load(docs: impl IntoIterator<Item = Doc>) -> Result<Self, OutOfOrder> {
        let index = Self::new();
        let mut fill = index.fill();
        for doc in docs {
            fill.push(&doc)?;
        }
        // Nobody else has this index: no other fill was begun.
        fill.finish().unwrap_or_default();
        Ok(index)
    }

    /// Begins to replace the whole content, which goes on being found meanwhile.
    pub fn fill(&self) -> Fill<'_> {
        let mut state = self.write();
        state.fills += 1;
        state.touched = Some(HashSet::new());
        Fill::of(self, state.fills)
    }

    /// Takes a document, in the place of the one of its key. What does not change anything costs
    /// nothing later.
    pub fn upsert(&self, doc: &Doc) {
        let octets: Arc<[u8]> = letters::document(&text::normalise(&doc.text)).into();
        let facet = Facet { region: doc.region, class: doc.class };
        let key: Arc<[u8]> = doc.key.as_slice().into();
        let mut state = self.write();
        state.touch(&key);
        state.put(key, octets, facet);
    }

    /// Forgets a document; false if there was none.
    pub fn remove(&self, key: &[u8]) -> bool {
        let key: Arc<[u8]> = key.into();
        let mut state = self.write();
        state.touch(&key);
        state.recent.remove(&key).is_some() || state.bury(&key)
    }

    /// Finds documents. Takes a thread for up to some ten milliseconds.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if the query has too few or too many letters or words.
    pub fn search(&self, query: &Query<'_>) -> Result<Page, QueryError> {
        let prepared = Prepared::of(query)?;
        let (views, recent) = {
            let state = self.read();
            (state.views.clone(), state.suiting(&prepared))
        };
        let limit = query.limit.clamp(1, MAX_LIMIT);
        let mut hits: Vec<Hit> = Vec::new();
        let (mut matched, mut more) = (recent.len() as u64, false);
        for (score, _) in (0_u8..).zip(&prepared.forms) {
            let passed = query.after.is_some_and(|after| score < after.score);
            // One more than wanted tells whether there is a next page.
            let wanted = if passed { 0 } else { limit + 1 - hits.len() };
            let behind =
                |hit: &&Hit| hit.score == score && query.after.is_none_or(|a| a.before(hit));
            let hits_here = recent.iter().filter(behind).cloned().collect();
            let mut harvest = Harvest::of(hits_here, matched);
            for view in &views {
                view.gather(&prepared, score, query.after, wanted, &mut harvest);
            }
            matched = harvest.matched;
            more |= harvest.more;
            harvest.hits.sort_unstable_by(|one, other| one.key.cmp(&other.key));
            harvest.hits.truncate(wanted);
            hits.append(&mut harvest.hits);
        }
        let another = hits.len() > limit;
        hits.truncate(limit);
        let last = hits.last().filter(|_| another);
        let next = last.map(|hit| After { score: hit.score, key: hit.key.clone() });
        let capped = more || matched > MAX_MATCHED;
        Ok(Page { hits, matched: matched.min(MAX_MATCHED), capped, next })
    }

    /// Whether [`Index::maintain`] has something to do. Costs next to nothing.
    #[must_use]
    pub fn due(&self) -> bool {
        let state = self.read();
        state.recent.len() >= self.recent || !plan::choose(&state.sizes()).is_empty()
    }

    /// Does one step of what keeps searches quick and memory small: what changed lately becomes a
    /// segment, or segments become one. False if there was nothing to do, or somebody else is
    /// about it. Takes a thread for 3 s a million documents of the segments merged, and their
    /// memory once more; searches and changes go on.
    pub fn maintain(&self) -> bool {
        let Ok(_alone) = self.maintaining.try_lock() else { return false };
        if self.read().recent.len() >= self.recent {
            self.freeze();
            return true;
        }
        let views: Vec<View> = {
            let state = self.read();
            let chosen = plan::choose(&state.sizes());
            chosen.into_iter().filter_map(|at| state.views.get(at).cloned()).collect()
        };
        if views.is_empty() {
            return false;
        }
        self.exchange(&views, merged(&views));
        true
    }

    /// What the index takes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let state = self.read();
        let mut stats = Stats { recent: state.recent.len(), ..Stats::default() };
        stats.docs = stats.recent;
        for (key, recent) in &state.recent {
            stats.key_octets += key.len();
            stats.text_octets += recent.text.len();
        }
        stats.segments = state.views.len();
        for View { segment, dead } in &state.views {
            let (keys, texts, other) = segment.octets();
            stats.docs += segment.docs() - dead.count();
            stats.dead += dead.count();
            stats.key_octets += keys;
            stats.text_octets += texts;
            stats.other_octets += other;
            stats.posting_octets += segment.postings().octets();
        }
        stats
    }

    /// Makes a segment of the recent documents.
    fn freeze(&self) {
        let recent = self.read().recent.clone();
        let mut builder = Builder::default();
        let mut frozen = Vec::with_capacity(recent.len());
        for (key, doc) in &recent {
            // What an arena cannot take stays recent: many times what becomes a segment here.
            if builder.fits(key, &doc.text) {
                builder.push(key, &doc.text, doc.facet);
                frozen.push((key, doc.sequence));
            }
        }
        let Some(segment) = builder.finish() else { return };
        let mut dead = Dead::default();
        let mut state = self.write();
        for (doc, (key, sequence)) in frozen.into_iter().enumerate() {
            let same = state.recent.get(key).is_some_and(|recent| recent.sequence == sequence);
            if same {
                state.recent.remove(key);
            } else {
                dead.mark(doc);
            }
        }
        state.views.push(View { segment: Arc::new(segment), dead: Arc::new(dead) });
    }

    /// Puts a segment in the place of those that it was merged of. What has died in these since
    /// is dead in it.
    fn exchange(&self, views: &[View], merged: Option<Segment>) {
        let merged = merged.map(Arc::new);
        let mut state = self.write();
        let mut dead = Dead::default();
        for view in views {
            let same = |now: &&View| Arc::ptr_eq(&now.segment, &view.segment);
            // A fill has replaced them: the work was in vain.
            let Some(now) = state.views.iter().find(same) else { return };
            for doc in now.dead.since(&view.dead) {
                let key = view.segment.key(doc);
                if let Some(doc) = merged.as_ref().and_then(|merged| merged.find(key)) {
                    dead.mark(doc);
                }
            }
        }
        state.views.retain(|now| !views.iter().any(|was| Arc::ptr_eq(&was.segment, &now.segment)));
        state.views.extend(merged.map(|segment| View { segment, dead: Arc::new(dead) }));
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The living documents of some segments; none if there are none.
fn merged(views: &[View]) -> Option<Segment> {
    let mut builder = Builder::default();
    let mut places = vec![0; views.len()];
    loop {
        let mut least: Option<(usize, &[u8])> = None;
        for (at, View { segment, dead }) in views.iter().enumerate() {
            while places[at] < segment.docs() && dead.holds(places[at]) {
                places[at] += 1;
            }
            if places[at] < segment.docs() {
                let key = segment.key(places[at]);
                if least.is_none_or(|(_, least)| key < least) {
                    least = Some((at, key));
                }
            }
        }
        let Some((at, key)) = least else { return builder.finish() };
        let segment = &views[at].segment;
        builder.push(key, segment.text(places[at]), segment.facet(places[at]));
        places[at] += 1;
    }
}

impl After {
    /// Whether a hit comes later.
    fn before(&self, hit: &Hit) -> bool {
        (self.score, &self.key) < (hit.score, &hit.key)
    }
}

impl State {
    fn touch(&mut self, key: &Arc<[u8]>) {
        if let Some(touched) = &mut self.touched {
            touched.insert(Arc::clone(key));
        }
    }

    fn put(&mut self, key: Arc<[u8]>, text: Arc<[u8]>, facet: Facet) {
        if let Some(recent) = self.recent.get(&key) {
            if recent.text == text && recent.facet == facet {
                return;
            }
        } else if let Some((at, doc)) = self.place(&key) {
            let segment = &self.views[at].segment;
            if segment.text(doc) == &*text && segment.facet(doc) == facet {
                return;
            }
            self.bury(&key);
        }
        self.sequence += 1;
        let sequence = self.sequence;
        self.recent.insert(key, Recent { sequence, text, facet });
    }

    /// Marks the document of a key in a segment; false if there is none.
    fn bury(&mut self, key: &[u8]) -> bool {
        let Some((at, doc)) = self.place(key) else { return false };
        Arc::make_mut(&mut self.views[at].dead).mark(doc)
    }

    /// The segment that has a key's document, and which one it is.
    fn place(&self, key: &[u8]) -> Option<(usize, usize)> {
        self.views.iter().enumerate().find_map(|(at, view)| Some((at, view.find(key)?)))
    }

    /// The hits among the recent documents, by key.
    fn suiting(&self, prepared: &Prepared<'_>) -> Vec<Hit> {
        let permitted = self.recent.iter().filter(|(_, doc)| prepared.permits(doc.facet));
        let hits = permitted.filter_map(|(key, doc)| {
            let score = prepared.score(&doc.text)?;
            let Facet { region, class } = doc.facet;
            Some(Hit { key: key.to_vec(), score, region, class })
        });
        hits.collect()
    }

    fn sizes(&self) -> Vec<Size> {
        let size = |View { segment, dead }: &View| {
            let (keys, texts, _) = segment.octets();
            let living = segment.docs() - dead.count();
            Size { living, dead: dead.count(), octets: keys.max(texts) }
        };
        self.views.iter().map(size).collect()
    }

    /// Puts segments in the place of everything but what was touched since the fill began.
    pub(crate) fn replace(&mut self, segments: Vec<Segment>) {
        let touched = self.touched.take().unwrap_or_default();
        let mut kept = BTreeMap::new();
        for key in &touched {
            if let Some(recent) = self.recent.remove(key) {
                kept.insert(Arc::clone(key), recent);
            } else if let Some((at, doc)) = self.place(key) {
                // What was touched and is in a segment by now goes back among the recent.
                let segment = &self.views[at].segment;
                let (text, facet) = (segment.text(doc).into(), segment.facet(doc));
                self.sequence += 1;
                kept.insert(Arc::clone(key), Recent { sequence: self.sequence, text, facet });
            }
        }
        let view = |segment| View { segment: Arc::new(segment), dead: Arc::default() };
        self.views = segments.into_iter().map(view).collect();
        self.recent = kept;
        for key in &touched {
            self.bury(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Doc, Index, merged};
    use crate::query::{ALL_CLASSES, Query};

    fn doc(key: &str, text: &str) -> Doc {
        Doc { key: key.into(), text: text.to_owned(), region: 0, class: 0 }
    }

    fn found(index: &Index, text: &str) -> Vec<String> {
        let query = Query { text, regions: None, classes: ALL_CLASSES, after: None, limit: 50 };
        let page = index.search(&query).expect("it is long enough");
        let keys = page.hits.iter().map(|hit| String::from_utf8_lossy(&hit.key).into_owned());
        keys.collect()
    }

    /// Two segments of two documents each.
    fn two() -> Index {
        let index = Index::with_recent(2);
        for key in ["a", "b", "c", "d"] {
            index.upsert(&doc(key, "old"));
            index.maintain();
        }
        assert_eq!((index.stats().segments, index.stats().recent), (2, 0));
        index
    }

    #[test]
    fn what_changes_while_segments_are_merged_stays_changed() {
        let index = two();
        let views = index.read().views.clone();
        let one = merged(&views);
        index.upsert(&doc("a", "new"));
        index.remove(b"d");
        index.exchange(&views, one);
        assert_eq!(found(&index, "old"), ["b", "c"]);
        assert_eq!(found(&index, "new"), ["a"]);
        let stats = index.stats();
        assert_eq!((stats.segments, stats.docs, stats.dead, stats.recent), (1, 3, 2, 1));
    }

    #[test]
    fn what_was_merged_of_what_a_fill_replaced_is_dropped() {
        let index = two();
        let views = index.read().views.clone();
        let one = merged(&views);
        let mut fill = index.fill();
        fill.push(&doc("e", "old")).expect("it is the first");
        index.upsert(&doc("a", "old"));
        fill.finish().expect("no other was begun");
        index.exchange(&views, one);
        assert_eq!(found(&index, "old"), ["a", "e"]);
    }
}
