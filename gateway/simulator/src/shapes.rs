//! Real load and generation shapes: 13 weeks of a year in 15 minute slots (`data/NOTICE.md`).
//!
//! It holds weights only, no energy: a weight is the square of the stored octet (0..=65,025).
//! Invariant: every accessor wraps its indices, so that no caller can read outside of the table.

use std::sync::LazyLock;

/// Slots of 15 minutes in a day.
pub const SLOTS_A_DAY: usize = 96;
/// Days of a block: one stored week stands for four.
pub const BLOCK_DAYS: u64 = 28;
/// Blocks in the field's year of 364 days.
pub const BLOCKS: usize = 13;

const WEEK: usize = 7 * SLOTS_A_DAY;
const PROFILES: usize = 7;
static OCTETS: &[u8; PROFILES * BLOCKS * WEEK] = include_bytes!("../data/shapes.bin");

/// Sums of the weights of each day: profile, block, weekday.
static DAYS: LazyLock<[[[u64; 7]; BLOCKS]; PROFILES]> = LazyLock::new(|| {
    let mut days = [[[0; 7]; BLOCKS]; PROFILES];
    for (slot, octet) in OCTETS.iter().enumerate() {
        let day = slot / SLOTS_A_DAY;
        days[day / 7 / BLOCKS][day / 7 % BLOCKS][day % 7] += u64::from(*octet).pow(2);
    }
    days
});

/// A profile of the extract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Households (SimBench H0-A, H0-B, H0-C).
    Household(u8),
    /// A business open in daytime (G0-A).
    Business,
    /// A farm (L1-A).
    Farm,
    /// Photovoltaic generation (PV1, PV3).
    Solar(u8),
}

impl Shape {
    fn index(self) -> usize {
        match self {
            Self::Household(n) => usize::from(n % 3),
            Self::Business => 3,
            Self::Farm => 4,
            Self::Solar(n) => 5 + usize::from(n % 2),
        }
    }

    /// Weight of one slot; `block`, `weekday` (0 = Monday) and `slot` wrap.
    #[must_use]
    pub fn weight(self, block: usize, weekday: usize, slot: usize) -> u64 {
        let week = (self.index() * BLOCKS + block % BLOCKS) * WEEK;
        let octet = OCTETS[week + (weekday % 7) * SLOTS_A_DAY + slot % SLOTS_A_DAY];
        u64::from(octet) * u64::from(octet)
    }

    /// Sum of the weights of one day.
    #[must_use]
    pub fn day(self, block: usize, weekday: usize) -> u64 {
        DAYS[self.index()][block % BLOCKS][weekday % 7]
    }

    /// Sum of the weights of one stored week.
    #[must_use]
    pub fn week(self, block: usize) -> u64 {
        (0..7).map(|weekday| self.day(block, weekday)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCKS, Shape};

    #[test]
    fn solar_sleeps_at_night_and_peaks_in_summer() {
        for shape in [Shape::Solar(0), Shape::Solar(1)] {
            for block in 0..BLOCKS {
                let night: u64 = (0..12).map(|slot| shape.weight(block, 2, slot)).sum();
                assert_eq!(night, 0, "block {block}");
            }
            assert!(shape.week(6) > 3 * shape.week(12), "July against December");
        }
    }

    #[test]
    fn households_use_more_in_the_evening_than_deep_in_the_night() {
        for n in 0..3 {
            let span = |from: usize, to: usize| -> u64 {
                (0..BLOCKS)
                    .flat_map(|b| (0..7).map(move |d| (b, d)))
                    .flat_map(|(b, d)| (from..to).map(move |s| (b, d, s)))
                    .map(|(b, d, s)| Shape::Household(n).weight(b, d, s))
                    .sum()
            };
            assert!(span(72, 84) > span(8, 20), "shape {n}");
        }
    }
}
