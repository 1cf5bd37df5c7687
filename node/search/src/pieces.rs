//! What documents have, handed out in an order in which it is quickly counted and written.
//!
//! Grams as they come in a text lie far from one another in any table, and a million documents
//! have eighty million of them. So they are handed out by runs of [`RUN`] blocks, sorted within
//! each: neighbours in the order are neighbours in memory, and a gram of a run is looked up once.
//! Invariant: of each gram the blocks come in ascending order, each once.

use crate::grams;
use crate::postings::BLOCK;

/// Blocks of a run: as many as leave 24 bits of a number for a gram.
const RUN: usize = 256;

/// Places of grams that came lately: a power of two, and small enough for the nearest cache.
const LATELY: usize = 2048;

/// Bits of a number that it is sorted by in one pass.
const DIGIT: u32 = 11;

/// What documents have, one behind another.
#[derive(Clone, Copy)]
pub enum Pieces<'a> {
    /// Grams: texts in a row, and where each ends.
    Texts(&'a [u8], &'a [u32]),
    /// One number below [`grams::GRAMS`] each.
    Numbers(&'a [u32]),
}

impl Pieces<'_> {
    /// How many documents there are.
    #[must_use]
    pub const fn docs(self) -> usize {
        match self {
            Self::Texts(_, each) | Self::Numbers(each) => each.len(),
        }
    }

    /// Above every gram or number.
    #[must_use]
    pub fn end(self) -> usize {
        match self {
            Self::Texts(..) => grams::GRAMS,
            Self::Numbers(numbers) => numbers.iter().max().map_or(0, |most| *most as usize + 1),
        }
    }

    /// Hands out the grams of documents in their order, some of them repeatedly.
    pub fn each(self, from: usize, to: usize, mut take: impl FnMut(usize, u32)) {
        match self {
            Self::Texts(texts, ends) => {
                let mut start = if from == 0 { 0 } else { ends[from - 1] as usize };
                for (doc, end) in ends.iter().enumerate().take(to).skip(from) {
                    grams::each(&texts[start..*end as usize], |gram| take(doc, gram));
                    start = *end as usize;
                }
            }
            Self::Numbers(numbers) => {
                let some = numbers.iter().enumerate().take(to).skip(from);
                some.for_each(|(doc, number)| take(doc, *number));
            }
        }
    }

    /// Hands out each gram of a run with its blocks, run by run, in the order of grams.
    pub fn each_sorted(self, mut take: impl FnMut(u32, Blocks<'_>)) {
        let (mut keys, mut room) = (Vec::new(), Vec::new());
        let mut lately = vec![u64::MAX; LATELY];
        for from in (0..self.docs()).step_by(RUN * BLOCK) {
            keys.clear();
            self.each(from, self.docs().min(from + RUN * BLOCK), |doc, gram| {
                // Most grams come more than once in a block: few of these are sorted.
                let block = doc / BLOCK;
                let both = (block as u64) << 32 | u64::from(gram);
                let place = gram.wrapping_mul(0x9E37_79B1) as usize >> 8 & (LATELY - 1);
                if std::mem::replace(&mut lately[place], both) != both {
                    keys.push(gram << 8 | (block % RUN) as u32);
                }
            });
            sort(&mut keys, &mut room);
            keys.dedup();
            let first = (from / BLOCK) as u32;
            for group in keys.chunk_by(|one, other| one >> 8 == other >> 8) {
                let Some(gram) = group.first().map(|key| key >> 8) else { continue };
                take(gram, Blocks { first, group });
            }
        }
    }
}

/// Some blocks of a run.
pub struct Blocks<'a> {
    /// The run's first block.
    first: u32,
    /// Numbers whose lowest octets are blocks of the run.
    group: &'a [u32],
}

impl Blocks<'_> {
    /// The blocks, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.group.iter().map(|key| self.first + (key & 0xFF))
    }
}

/// Sorts by one digit after another, the lowest first; few numbers are sorted as ever.
fn sort(keys: &mut Vec<u32>, room: &mut Vec<u32>) {
    if keys.len() < 1 << DIGIT {
        keys.sort_unstable();
        return;
    }
    room.resize(keys.len(), 0);
    for shift in (0..u32::BITS).step_by(DIGIT as usize) {
        let digit = |key: u32| (key >> shift) as usize & ((1 << DIGIT) - 1);
        let mut places = [0_u32; 1 << DIGIT];
        keys.iter().for_each(|key| places[digit(*key)] += 1);
        let mut before = 0;
        for place in &mut places {
            before += std::mem::replace(place, before);
        }
        for key in keys.iter() {
            let place = &mut places[digit(*key)];
            room[*place as usize] = *key;
            *place += 1;
        }
        std::mem::swap(keys, room);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

    use super::sort;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn numbers_are_sorted(keys in vec(any::<u32>(), 0..6000)) {
            let (mut sorted, mut expected) = (keys.clone(), keys);
            sort(&mut sorted, &mut Vec::new());
            expected.sort_unstable();
            prop_assert_eq!(sorted, expected);
        }
    }
}
