//! What one meter registers, as a pure function of (seed of the meter, time).
//!
//! Nothing is integrated or remembered: a restart, another process or a reading out of order gives
//! the same values. The field's year has 13 blocks of 28 days, so that a register is the sum of
//! whole blocks (a constant), of days in the block (at most 28 terms) and of slots in the day
//! (96 terms).
//!
//! Invariants: registers never fall; slots without supply add nothing; a day's slots add up to the
//! day and a block's days add up to the block exactly (integers in mWh, floored prefix sums).

use crate::mix;
use crate::shapes::{BLOCK_DAYS, BLOCKS, SLOTS_A_DAY, Shape};

/// Seconds of a slot of the shapes.
pub const SLOT_S: i64 = 900;
const DAY_S: i64 = 86_400;
/// Monday, 1 January 2018 00:00 UTC: register epoch.
const EPOCH_S: i64 = 1_514_764_800;

const NOISE_DAY: u64 = 1;
const NOISE_SLOT: u64 = 2;
const NOISE_WEEK: u64 = 3;
const NOISE_OUTAGE: u64 = 4;

/// One direction of energy of one meter.
#[derive(Clone, Debug)]
pub struct Flow {
    seed: u64,
    /// Seed of the supply, which both directions of a meter share.
    supply: u64,
    shape: Shape,
    /// Register at the epoch, mWh.
    base_mwh: u64,
    /// Energy of each block of the year, mWh.
    blocks_mwh: [u64; BLOCKS],
    /// Shift of the daily curve in slots; 0 for solar.
    shift: usize,
}

/// Slots of a day in which the meter had no supply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outage {
    first: usize,
    slots: usize,
}

impl Outage {
    /// The outage of a day, if any: 1 to 6 slots, about once in 400 days, never over midnight.
    #[must_use]
    pub fn of(seed: u64, day: u64) -> Self {
        let noise = mix::at(seed, NOISE_OUTAGE, day);
        if !mix::happens(noise, 2_500) {
            return Self::default();
        }
        let slots = mix::between(mix::word(noise), 1, 6) as usize;
        let last = (SLOTS_A_DAY - slots - 1) as u64;
        Self { first: mix::between(mix::word(!noise), 1, last) as usize, slots }
    }

    /// Begin and end in seconds UTC when it is the outage of this day; `None` when there is none.
    #[must_use]
    pub fn span(self, day: u64) -> Option<(i64, i64)> {
        let start = EPOCH_S + day as i64 * DAY_S;
        let at = |slot: usize| start + slot as i64 * SLOT_S;
        (self.slots > 0).then(|| (at(self.first), at(self.first + self.slots)))
    }

    /// Whether a slot of the day lies in the outage.
    #[must_use]
    pub fn covers(self, slot: usize) -> bool {
        slot >= self.first && slot < self.first + self.slots
    }
}

impl Flow {
    /// `supply`: seed of the outages; `annual_wh`: energy of 364 days; `base_wh`: register at the
    /// start of 2018.
    #[must_use]
    pub fn new(seed: u64, supply: u64, shape: Shape, annual_wh: u64, base_wh: u64) -> Self {
        let weeks: Vec<u64> = (0..BLOCKS).map(|block| shape.week(block)).collect();
        let year: u64 = weeks.iter().sum::<u64>().max(1);
        let mut blocks_mwh = [0; BLOCKS];
        for (block, week) in blocks_mwh.iter_mut().zip(&weeks) {
            *block = scale(annual_wh * 1_000, *week, year);
        }
        let shift = match shape {
            Shape::Solar(_) => 0,
            _ => mix::between(mix::word(seed), 0, 6) as usize,
        };
        Self { seed, supply, shape, base_mwh: base_wh * 1_000, blocks_mwh, shift }
    }

    /// Register in mWh at a time (seconds UTC); constant before 2018.
    #[must_use]
    pub fn register_mwh(&self, at_s: i64, outages: bool) -> u64 {
        Day::of(self, day_of(at_s), outages).register_mwh(at_s)
    }

    fn week_of(&self, day: u64) -> usize {
        let block = (day / BLOCK_DAYS) as usize;
        match self.shape {
            Shape::Solar(_) => block,
            _ => block + mix::between(mix::at(self.seed, NOISE_WEEK, day), 0, 2) as usize + 12,
        }
    }

    fn day_weight(&self, day: u64) -> u64 {
        let noise = mix::at(self.seed, NOISE_DAY, day);
        let share = match self.shape {
            Shape::Solar(_) => mix::between(noise, 15, 170),
            _ => mix::between(noise, 70, 135),
        };
        // One more than nothing, so that a block's weights never add up to zero.
        self.shape.day(self.week_of(day), (day % 7) as usize) * share + 1
    }

    fn slot_weight(&self, day: u64, slot: usize) -> u64 {
        let noise = mix::at(self.seed, NOISE_SLOT, day * SLOTS_A_DAY as u64 + slot as u64);
        let weight = self.shape.weight(self.week_of(day), (day % 7) as usize, slot + self.shift);
        match self.shape {
            Shape::Solar(_) => weight * mix::between(noise, 80, 120),
            _ => weight * mix::between(noise, 60, 150) + 100,
        }
    }
}

/// A flow on one day: what repeated readings of that day share.
#[derive(Clone, Debug)]
pub struct Day {
    day: u64,
    /// Register at 00:00, mWh.
    start_mwh: u64,
    /// Energy of the day, mWh.
    total_mwh: u64,
    /// Sum of the weights before each slot; the last element is the whole day.
    prefix: [u64; SLOTS_A_DAY + 1],
}

impl Day {
    /// Reckons a day (days since 2018-01-01).
    #[must_use]
    pub fn of(flow: &Flow, day: u64, outages: bool) -> Self {
        let block = day / BLOCK_DAYS;
        let year = block / BLOCKS as u64;
        let in_year = (block % BLOCKS as u64) as usize;
        let year_mwh: u64 = flow.blocks_mwh.iter().sum();
        let before: u64 = flow.blocks_mwh.iter().take(in_year).sum();
        let block_mwh = flow.blocks_mwh.get(in_year).copied().unwrap_or(0);
        let (mut until, mut through, mut all) = (0, 0, 0);
        for other in block * BLOCK_DAYS..(block + 1) * BLOCK_DAYS {
            let weight = flow.day_weight(other);
            until += if other < day { weight } else { 0 };
            through += if other <= day { weight } else { 0 };
            all += weight;
        }
        let (from, to) = (scale(block_mwh, until, all), scale(block_mwh, through, all));
        let outage = if outages { Outage::of(flow.supply, day) } else { Outage::default() };
        let mut prefix = [0; SLOTS_A_DAY + 1];
        let mut sum = 0;
        for (slot, place) in prefix.iter_mut().skip(1).enumerate() {
            sum += if outage.covers(slot) { 0 } else { flow.slot_weight(day, slot) };
            *place = sum;
        }
        let start_mwh = flow.base_mwh + year * year_mwh + before + from;
        Self { day, start_mwh, total_mwh: to - from, prefix }
    }

    /// Whether a time (seconds UTC) is read from this day; 24:00 counts to the day that ends.
    #[must_use]
    pub fn holds(&self, at_s: i64) -> bool {
        day_of(at_s) == self.day
    }

    /// Register in mWh at a time of this day, linear within a slot.
    #[must_use]
    pub fn register_mwh(&self, at_s: i64) -> u64 {
        if at_s < EPOCH_S {
            return self.start_mwh;
        }
        let second = (at_s - EPOCH_S) as u64 - self.day * DAY_S as u64;
        let slot = (second / SLOT_S as u64).min(SLOTS_A_DAY as u64 - 1) as usize;
        let into = (second - slot as u64 * SLOT_S as u64).min(SLOT_S as u64);
        let before = self.prefix.get(slot).copied().unwrap_or(0);
        let after = self.prefix.get(slot + 1).copied().unwrap_or(before);
        let all = self.prefix.last().copied().unwrap_or(0);
        let (part, whole) = if all == 0 {
            // A winter day without sun still belongs to its block: spread evenly.
            (second.min(DAY_S as u64), DAY_S as u64)
        } else {
            (before * SLOT_S as u64 + (after - before) * into, all * SLOT_S as u64)
        };
        self.start_mwh + scale(self.total_mwh, part, whole)
    }
}

/// Day number (since 2018-01-01) from which a time is read; an interval end at 00:00 is 24:00 of
/// the day before.
#[must_use]
pub fn day_of(at_s: i64) -> u64 {
    ((at_s - 1 - EPOCH_S).max(0) / DAY_S) as u64
}

/// Slot of the day (0..=95) that ends at or after a time.
#[must_use]
pub fn slot_of(at_s: i64) -> usize {
    ((at_s - 1 - EPOCH_S).max(0) % DAY_S / SLOT_S) as usize
}

/// `value * part / whole`, floored, without overflow.
fn scale(value: u64, part: u64, whole: u64) -> u64 {
    let product = u128::from(value) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(product).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{DAY_S, Day, EPOCH_S, Flow, Outage, SLOT_S, day_of, slot_of};
    use crate::shapes::Shape;

    const NOV: i64 = 1_795_305_600; // 2026-11-22 00:00 UTC

    #[test]
    fn registers_rise_and_meet_the_year_exactly() {
        let flow = Flow::new(42, 42, Shape::Household(0), 3_000_000, 500);
        let mut last = 0;
        for slot in 0..40 * 96 {
            let now = flow.register_mwh(NOV + slot * SLOT_S, true);
            assert!(now >= last, "slot {slot}");
            last = now;
        }
        let year = 364 * DAY_S;
        let (a, b) = (EPOCH_S + 8 * year, EPOCH_S + 9 * year);
        let used = flow.register_mwh(b, true) - flow.register_mwh(a, true);
        let expect: u64 = flow.blocks_mwh.iter().sum();
        assert_eq!(used, expect);
        assert!((2_999_999_900..=3_000_000_000).contains(&used), "{used}");
    }

    #[test]
    fn midnight_is_the_same_from_both_sides() {
        let flow = Flow::new(9, 9, Shape::Solar(1), 5_000_000, 0);
        for day in 3_000..3_100 {
            let midnight = EPOCH_S + (day + 1) * DAY_S;
            let before = Day::of(&flow, day as u64, true);
            let after = Day::of(&flow, day as u64 + 1, true);
            assert!(before.holds(midnight) && !after.holds(midnight));
            assert_eq!(before.register_mwh(midnight), after.start_mwh);
        }
        assert_eq!((day_of(EPOCH_S + DAY_S), slot_of(EPOCH_S + DAY_S)), (0, 95));
        assert_eq!((day_of(EPOCH_S + DAY_S + 1), slot_of(EPOCH_S + DAY_S + 1)), (1, 0));
    }

    #[test]
    fn nothing_is_used_without_supply() {
        let flow = Flow::new(77, 77, Shape::Household(1), 2_500_000, 0);
        let day = (0..4_000).find(|day| Outage::of(77, *day).slots > 0).unwrap();
        let outage = Outage::of(77, day);
        let start = EPOCH_S + day as i64 * DAY_S + outage.first as i64 * SLOT_S;
        let end = start + outage.slots as i64 * SLOT_S;
        assert_eq!(flow.register_mwh(start, true), flow.register_mwh(end, true));
        assert!(flow.register_mwh(start, false) < flow.register_mwh(end, false));
    }

    #[test]
    fn two_meters_of_one_shape_differ() {
        let one = Flow::new(1, 1, Shape::Household(0), 3_000_000, 0);
        let two = Flow::new(2, 2, Shape::Household(0), 3_000_000, 0);
        let used = |f: &Flow, s: i64| {
            f.register_mwh(NOV + (s + 1) * SLOT_S, true) - f.register_mwh(NOV + s * SLOT_S, true)
        };
        let same = (0..960).filter(|s| used(&one, *s) == used(&two, *s)).count();
        assert!(same < 20, "{same} of 960 slots alike");
    }
}
