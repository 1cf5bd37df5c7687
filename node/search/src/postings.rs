//! From grams to the blocks of documents that hold them.
//!
//! A block is [`BLOCK`] documents. The blocks of a gram are a list of distances, seven bits an
//! octet, or a bit for each block where that is shorter: so no gram takes more than an octet for
//! eight blocks, and reading the longest list is quick. Built in passes over the texts that first
//! count and then write, without holding pairs. Not a judge: a block that holds every gram of a
//! word need not hold the word.
//!
//! Invariants: grams ascend; a gram's octets are those between its end and the one before; they
//! are bits if and only if they are as many as bits take.

use crate::pieces::Pieces;

/// Documents of a block.
pub const BLOCK: usize = 8;

/// Blocks that are looked at in one step.
pub const WINDOW: usize = 4096;

/// A bit for each block of a window.
pub type Bits = [u64; WINDOW / 64];

/// What is counted of a gram before its blocks are written.
#[derive(Clone, Copy)]
struct Count {
    /// The last block, none being before the first.
    last: u32,
    octets: u32,
}

/// Where a gram's blocks are written.
struct Cursor {
    at: usize,
    /// The last block, none being before the first.
    last: u32,
    /// Whether there is a bit for each block.
    dense: bool,
}

/// The blocks of every gram of a segment.
pub struct Postings {
    grams: Vec<u32>,
    /// Where the octets of a gram end.
    ends: Vec<u64>,
    octets: Vec<u8>,
    /// Octets that a bit for each block takes.
    bits: usize,
}

impl Postings {
    /// The postings of what documents have.
    #[must_use]
    pub fn of(pieces: Pieces<'_>) -> Self {
        let names = Names::of(pieces);
        let bits = pieces.docs().div_ceil(BLOCK).div_ceil(8);
        let mut counts = vec![Count { last: u32::MAX, octets: 0 }; names.count];
        pieces.each_sorted(|gram, blocks| {
            let count = &mut counts[names.of_gram(gram)];
            for block in blocks.iter() {
                // What takes as much as bits for all blocks is not counted further.
                if (count.octets as usize) < bits {
                    count.octets += length(distance(count.last, block));
                    count.last = block;
                }
            }
        });
        let (mut end, mut ends) = (0, Vec::with_capacity(counts.len()));
        let mut cursors = Vec::with_capacity(counts.len());
        for count in &counts {
            let dense = count.octets as usize >= bits;
            cursors.push(Cursor { at: end, last: u32::MAX, dense });
            end += if dense { bits } else { count.octets as usize };
            ends.push(end as u64);
        }
        let mut octets = vec![0_u8; end];
        pieces.each_sorted(|gram, blocks| {
            let cursor = &mut cursors[names.of_gram(gram)];
            for block in blocks.iter() {
                if cursor.dense {
                    octets[cursor.at + (block / 8) as usize] |= 1 << (block % 8);
                } else {
                    let distance = distance(cursor.last, block);
                    cursor.at += write(&mut octets[cursor.at..], distance);
                    cursor.last = block;
                }
            }
        });
        Self { grams: names.grams(), ends, octets, bits }
    }

    /// The blocks of one gram.
    #[must_use]
    pub fn find(&self, gram: u32) -> Option<List<'_>> {
        let at = self.grams.binary_search(&gram).ok()?;
        Some(self.list(at))
    }

    /// The blocks of each gram from one to another, both with.
    #[must_use]
    pub fn range(&self, from: u32, to: u32) -> Vec<List<'_>> {
        let first = self.grams.partition_point(|gram| *gram < from);
        let behind = self.grams.partition_point(|gram| *gram <= to);
        (first..behind).map(|at| self.list(at)).collect()
    }

    fn list(&self, at: usize) -> List<'_> {
        let from = if at == 0 { 0 } else { self.ends[at - 1] };
        let octets = &self.octets[from as usize..self.ends[at] as usize];
        if octets.len() == self.bits {
            return List::Bits(octets);
        }
        let mut distances = Distances { octets, next: None };
        distances.step(u32::MAX);
        List::Distances(distances)
    }

    /// Octets in memory.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.octets.len() + self.grams.len() * 4 + self.ends.len() * 8
    }
}

/// How far it is from the last block, none being before the first, to a later one; less one.
fn distance(last: u32, block: u32) -> u32 {
    block.wrapping_sub(last).wrapping_sub(1)
}

/// How many octets a distance takes.
const fn length(distance: u32) -> u32 {
    (32 - (distance | 1).leading_zeros()).div_ceil(7)
}

/// Writes a distance, the low bits first, and says how many octets it took.
fn write(into: &mut [u8], mut distance: u32) -> usize {
    let mut count = 0;
    for octet in into {
        count += 1;
        *octet = (distance & 0x7F) as u8;
        distance >>= 7;
        if distance == 0 {
            break;
        }
        *octet |= 0x80;
    }
    count
}

/// Small numbers for the grams that occur: as many as there are, in the order of grams.
struct Names {
    /// Which of 64 grams occur, and how many of those before.
    words: Vec<(u64, u32)>,
    count: usize,
}

impl Names {
    fn of(pieces: Pieces<'_>) -> Self {
        let mut words = vec![(0_u64, 0_u32); pieces.end().div_ceil(64)];
        pieces.each(0, pieces.docs(), |_, gram| words[gram as usize / 64].0 |= 1 << (gram % 64));
        let mut count = 0;
        for (present, before) in &mut words {
            *before = count;
            count += present.count_ones();
        }
        Self { words, count: count as usize }
    }

    fn of_gram(&self, gram: u32) -> usize {
        let (present, before) = self.words[gram as usize / 64];
        let below = present & ((1 << (gram % 64)) - 1);
        (before + below.count_ones()) as usize
    }

    fn grams(&self) -> Vec<u32> {
        let mut grams = Vec::with_capacity(self.count);
        for (at, (present, _)) in self.words.iter().enumerate() {
            let mut rest = *present;
            while rest != 0 {
                grams.push(at as u32 * 64 + rest.trailing_zeros());
                rest &= rest - 1;
            }
        }
        grams
    }
}

/// The blocks of a gram, read in ascending order.
pub enum List<'a> {
    /// A bit for each block.
    Bits(&'a [u8]),
    /// Distances.
    Distances(Distances<'a>),
}

/// The blocks of a gram that has few.
pub struct Distances<'a> {
    octets: &'a [u8],
    /// The first block that has not been handed out.
    next: Option<u32>,
}

impl Distances<'_> {
    fn step(&mut self, last: u32) {
        let (mut distance, mut shift) = (0_u32, 0);
        while let Some((octet, rest)) = self.octets.split_first() {
            self.octets = rest;
            distance |= u32::from(octet & 0x7F) << shift;
            if octet & 0x80 == 0 {
                self.next = Some(last.wrapping_add(1).wrapping_add(distance));
                return;
            }
            shift += 7;
        }
        self.next = None;
    }
}

impl List<'_> {
    /// How many octets it takes: the fewer, the fewer blocks.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Bits(octets) => octets.len(),
            Self::Distances(distances) => distances.octets.len(),
        }
    }

    /// The first window, from this one on, in which there may be a block.
    pub fn seek(&mut self, window: usize) -> Option<usize> {
        match self {
            Self::Bits(octets) => (window * WINDOW / 8 < octets.len()).then_some(window),
            Self::Distances(distances) => {
                while let Some(block) = distances.next {
                    if block as usize / WINDOW >= window {
                        return Some(block as usize / WINDOW);
                    }
                    distances.step(block);
                }
                None
            }
        }
    }

    /// Sets the bits of the window's blocks. Windows are asked for in ascending order.
    pub fn read(&mut self, window: usize, bits: &mut Bits) {
        match self {
            Self::Bits(octets) => {
                let here = octets.get(window * WINDOW / 8..).unwrap_or_default();
                for (word, octets) in bits.iter_mut().zip(here.chunks(8)) {
                    let mut eight = [0; 8];
                    eight[..octets.len()].copy_from_slice(octets);
                    *word |= u64::from_le_bytes(eight);
                }
            }
            Self::Distances(distances) => {
                while let Some(block) = distances.next
                    && block as usize / WINDOW <= window
                {
                    if block as usize / WINDOW == window {
                        let inside = block as usize % WINDOW;
                        bits[inside / 64] |= 1 << (inside % 64);
                    }
                    distances.step(block);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

    use super::{BLOCK, Bits, List, Postings, WINDOW, length, write};
    use crate::pieces::Pieces;
    use crate::{grams, letters};

    fn blocks(list: &mut List<'_>, windows: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut window = 0;
        while let Some(next) = list.seek(window).filter(|next| *next < windows) {
            let mut bits: Bits = [0; WINDOW / 64];
            list.read(next, &mut bits);
            let set = (0..WINDOW).filter(|at| bits[at / 64] >> (at % 64) & 1 == 1);
            found.extend(set.map(|at| next * WINDOW + at));
            window = next + 1;
        }
        found
    }

    fn built(texts: &[String]) -> (Postings, BTreeMap<u32, BTreeSet<usize>>) {
        let (mut octets, mut ends) = (Vec::new(), Vec::new());
        let mut expected: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
        for (doc, text) in texts.iter().enumerate() {
            let text = letters::document(text);
            grams::each(&text, |gram| {
                expected.entry(gram).or_default().insert(doc / BLOCK);
            });
            octets.extend(text);
            ends.push(octets.len() as u32);
        }
        (Postings::of(Pieces::Texts(&octets, &ends)), expected)
    }

    #[test]
    fn distances_are_as_long_as_counted() {
        for distance in [0, 1, 127, 128, 16_383, 16_384, 1 << 21, u32::MAX - 1] {
            assert_eq!(write(&mut [0; 8], distance), length(distance) as usize, "{distance}");
        }
    }

    #[test]
    fn no_text_has_no_grams() {
        let (postings, _) = built(&[]);
        assert!(postings.find(0x20_61_62).is_none());
        assert_eq!(postings.octets(), 0);
    }

    #[test]
    fn blocks_of_rare_and_of_common_grams_are_found_over_many_windows() {
        let count = 3 * WINDOW * BLOCK + 100;
        let text = |doc: usize| match doc % 50_000 {
            7 => "rare".to_owned(),
            _ => "common".to_owned(),
        };
        let texts: Vec<String> = (0..count).map(text).collect();
        let (postings, expected) = built(&texts);
        let mut kinds = [0, 0];
        for (gram, wanted) in expected {
            let mut list = postings.find(gram).expect("it occurs");
            kinds[usize::from(matches!(list, List::Bits(_)))] += 1;
            assert_eq!(blocks(&mut list, 4), wanted, "{gram:x}");
        }
        assert!(kinds.iter().all(|count| *count > 2), "{kinds:?}: both kinds are tested");
        assert!(postings.octets() < count / BLOCK * 2);
    }

    #[test]
    fn numbers_lead_to_their_blocks() {
        let numbers: Vec<u32> = (0..1000).map(|doc| doc / 100).collect();
        let postings = Postings::of(Pieces::Numbers(&numbers));
        for number in 0..10 {
            let mut list = postings.find(number).expect("it occurs");
            let first = number as usize * 100;
            let wanted = (first / BLOCK..=(first + 99) / BLOCK).collect();
            assert_eq!(blocks(&mut list, 1), wanted, "{number}");
        }
        assert!(postings.find(10).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_gram_leads_to_its_blocks(texts in vec("[ab в王 ]{0,6}", 0..120)) {
            let (postings, expected) = built(&texts);
            for (gram, wanted) in &expected {
                let mut list = postings.find(*gram).expect("it occurs");
                prop_assert_eq!(&blocks(&mut list, 1), wanted);
            }
            let exact = expected.range(0x61_00_00..=0x61_FF_FF).count();
            prop_assert_eq!(postings.range(0x61_00_00, 0x61_FF_FF).len(), exact);
        }
    }
}
