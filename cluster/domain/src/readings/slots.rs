//! Slots of a day: the places where an aligned profile has its values.
//!
//! A day's slots are the interval ends after 00:00 and up to 24:00 UTC, so the slot that ends at
//! midnight belongs to the day before. Invariant: a slot is set or not; setting it twice is setting
//! it once.

use serde::{Deserialize, Serialize};

/// Seconds of a day of UTC: it has no leap seconds in Unix time.
pub(crate) const DAY_S: i64 = 86_400;

/// Minutes of a day.
const DAY_MINUTES: u16 = 1440;

/// The day in which an interval ends, in days since the epoch: 24:00 is of the day that closes.
pub fn day_of(end_s: i64) -> i32 {
    let day = end_s.saturating_sub(1).div_euclid(DAY_S);
    i32::try_from(day).unwrap_or(if day < 0 { i32::MIN } else { i32::MAX })
}

/// The month of a day: months since 1970-01, UTC.
pub fn month_of(day: i32) -> i32 {
    // Howard Hinnant's civil_from_days, in 400-year eras that begin on the first of March.
    let shifted = i64::from(day) + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months since a first of March; March of the year 0 is 1970 * 12 - 2 months before 1970-01.
    let months = (era * 400 + year_of_era) * 12 + (5 * of_year + 2) / 153;
    i32::try_from(months - (1970 * 12 - 2)).unwrap_or(if day < 0 { i32::MIN } else { i32::MAX })
}

/// The first day behind a month.
pub(crate) fn month_end(month: i32) -> i32 {
    let next = i64::from(month) + 1;
    let (year, month) = (1970 + next.div_euclid(12), next.rem_euclid(12) + 1);
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month_from_march + 2) / 5;
    let day = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    i32::try_from(day).unwrap_or(if day < 0 { i32::MIN } else { i32::MAX })
}

/// Whether an interval can be that of a profile: a whole number of them makes a day.
pub fn interval_fits(interval_minutes: u16) -> bool {
    (1..=DAY_MINUTES).contains(&interval_minutes) && DAY_MINUTES.is_multiple_of(interval_minutes)
}

/// Seconds of an interval; at least one minute, so that it can divide.
pub(crate) fn interval_s(interval_minutes: u16) -> i64 {
    i64::from(interval_minutes.max(1)) * 60
}

/// Which slots of one day are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DaySlots {
    pub(crate) day: i32,
    #[serde(with = "crate::units::octets")]
    bits: Vec<u8>,
}

impl DaySlots {
    /// A day without values.
    pub(crate) fn empty(day: i32) -> DaySlots {
        DaySlots { day, bits: Vec::new() }
    }

    /// Sets the slot that ends at `end_s`, which is aligned and of this day.
    pub(crate) fn set(&mut self, interval_minutes: u16, end_s: i64) {
        let into_day_s = end_s - i64::from(self.day) * DAY_S;
        let slot = into_day_s / interval_s(interval_minutes) - 1;
        let Ok(slot) = usize::try_from(slot) else { return };
        if slot >= usize::from(DAY_MINUTES) {
            return;
        }
        if self.bits.len() <= slot / 8 {
            self.bits.resize(slot / 8 + 1, 0);
        }
        self.bits[slot / 8] |= 1 << (slot % 8);
    }

    /// Sets all slots that another has of the same day.
    pub(crate) fn join(&mut self, other: &DaySlots) {
        if self.bits.len() < other.bits.len() {
            self.bits.resize(other.bits.len(), 0);
        }
        for (own, other) in self.bits.iter_mut().zip(&other.bits) {
            *own |= other;
        }
    }

    /// Sets every slot of the day that ends after `from_s` and not after `to_s`.
    pub(crate) fn set_span(&mut self, interval_minutes: u16, from_s: i64, to_s: i64) {
        let (step_s, start_s) = (interval_s(interval_minutes), i64::from(self.day) * DAY_S);
        let mut end_s = start_s.max(from_s.div_euclid(step_s) * step_s) + step_s;
        while end_s <= to_s.min(start_s + DAY_S) {
            self.set(interval_minutes, end_s);
            end_s += step_s;
        }
    }

    /// Whether the slot that ends at `end_s` is set.
    pub(crate) fn has(&self, interval_minutes: u16, end_s: i64) -> bool {
        let into_day_s = end_s - i64::from(self.day) * DAY_S;
        let slot = usize::try_from(into_day_s / interval_s(interval_minutes) - 1);
        slot.is_ok_and(|slot| {
            self.bits.get(slot / 8).is_some_and(|octet| octet >> (slot % 8) & 1 == 1)
        })
    }

    /// The slots that are set here and not there, of the same day.
    pub(crate) fn without(&self, there: &DaySlots) -> DaySlots {
        let there = there.bits.iter().copied().chain(std::iter::repeat(0));
        let bits = self.bits.iter().zip(there).map(|(own, other)| own & !other).collect();
        DaySlots { day: self.day, bits }
    }

    /// Whether no slot is set.
    pub(crate) fn is_empty(&self) -> bool {
        self.bits.iter().all(|octet| *octet == 0)
    }

    /// How many slots are set that end after `from_s` and not after `to_s`.
    pub(crate) fn count(&self, interval_minutes: u16, from_s: i64, to_s: i64) -> u64 {
        let start_s = i64::from(self.day) * DAY_S;
        if from_s <= start_s && to_s >= start_s + DAY_S {
            return self.bits.iter().map(|octet| u64::from(octet.count_ones())).sum();
        }
        let slots = (0_i64..)
            .zip(self.bits.iter().flat_map(|octet| (0..8).map(move |bit| (octet >> bit) & 1 == 1)));
        let mut count = 0;
        for (slot, set) in slots {
            let end_s = start_s + (slot + 1) * interval_s(interval_minutes);
            count += u64::from(set && end_s > from_s && end_s <= to_s);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midnight_closes_a_day() {
        for (end_s, day) in [(1, 0), (DAY_S, 0), (DAY_S + 1, 1), (0, -1), (-1, -1)] {
            assert_eq!(day_of(end_s), day, "{end_s}");
        }
        assert_eq!((day_of(i64::MIN), day_of(i64::MAX)), (i32::MIN, i32::MAX));
    }

    #[test]
    fn months_begin_where_the_one_before_ends() {
        assert_eq!((month_of(0), month_of(-1), month_of(20_779)), (0, -1, 682));
        assert_eq!((month_end(-1), month_end(0), month_end(1)), (0, 31, 59));
        for month in -900..1800 {
            let end = month_end(month);
            assert_eq!((month_of(end - 1), month_of(end)), (month, month + 1));
        }
        assert_eq!(month_of(i32::MAX), month_of(i32::MAX - 40) + 1);
    }

    #[test]
    fn intervals_make_whole_days() {
        let fit: Vec<u16> = (0..=1500).filter(|minutes| interval_fits(*minutes)).collect();
        assert_eq!(fit.len(), 36, "1440 has 36 divisors");
        assert!(fit.contains(&15) && fit.contains(&1440) && !fit.contains(&0));
    }

    #[test]
    fn a_slot_counts_once_and_only_in_its_range() {
        let mut slots = DaySlots::empty(1);
        for end_s in [DAY_S + 900, DAY_S + 900, DAY_S + 1800, 2 * DAY_S] {
            slots.set(15, end_s);
        }
        for (from_s, to_s, expect) in [
            (0, 3 * DAY_S, 3),
            (DAY_S, 2 * DAY_S, 3),
            (DAY_S, DAY_S + 900, 1),
            (DAY_S + 900, DAY_S + 1800, 1),
            (DAY_S + 1800, 2 * DAY_S - 1, 0),
        ] {
            assert_eq!(slots.count(15, from_s, to_s), expect, "{from_s} {to_s}");
        }
        let mut other = DaySlots::empty(1);
        other.join(&slots);
        assert_eq!(other, slots);
        let mut some = DaySlots::empty(1);
        some.set_span(15, DAY_S + 1, DAY_S + 1799);
        assert!(some.has(15, DAY_S + 900) && !some.has(15, DAY_S + 1800));
        let rest = slots.without(&some);
        assert_eq!(rest.count(15, DAY_S, 2 * DAY_S), 2);
        assert!(some.without(&slots).is_empty() && !rest.is_empty());
        some.set_span(15, 0, i64::MAX);
        assert_eq!(some.count(15, DAY_S, 2 * DAY_S), 96);
    }
}
