//! Sums of stored values over periods: pure reckoning, no reading.
//!
//! What a sum is follows from the register (IEC 62056-61): interval energies (D = 29 or 30) are
//! added; of a register that counts on the differences between neighbouring values are; of all
//! else (voltage, power) the least, the mean and the greatest value are told.
//!
//! Invariants: integers only, in the series' scaler; energy is counted in one period at most: what
//! passed in a hole across a period's border is in none, and both say that they are not complete;
//! a register that went back (reset, rollover) adds nothing by that step and is counted.

use domain::Obis;

use super::periods::Span;

/// How values of a register become a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each value is what passed in its interval.
    Amount,
    /// Each value is what passed since the meter began to count.
    Register,
    /// Each value is a level.
    Level,
}

/// What is known of one period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Values that the period should have.
    pub expected: u64,
    /// Values that it has.
    pub stored: u64,
    /// What passed in the period, as far as it is known; none for levels and empty periods.
    pub sum: Option<i128>,
    /// Least and greatest value, and all added; of levels.
    pub level: Option<(i64, i64, i128)>,
    /// Steps back of a register.
    pub resets: u64,
    /// Whether the sum is the whole truth: every amount is there, or the register's readings at
    /// both ends are and it never went back.
    pub complete: bool,
}

/// How values of a register become a sum.
pub fn kind(obis: Obis, unit: u8) -> Kind {
    /// Wh, VAh, varh, and volumes of gas and water (IEC 62056-6-2, table of units).
    const COUNTED: [u8; 7] = [13, 14, 15, 16, 30, 31, 32];
    match obis.0[3] {
        29 | 30 => Kind::Amount,
        _ if COUNTED.contains(&unit) => Kind::Register,
        _ => Kind::Level,
    }
}

/// The sums of periods. `values` are (end, value) in order of time, one for each end; they reach
/// from the first period's beginning to the last one's end, both inclusive.
pub fn sums(kind: Kind, values: &[(i64, i64)], spans: &[Span], interval_s: i64) -> Vec<Sum> {
    spans.iter().map(|span| one(kind, values, span, interval_s)).collect()
}

fn one(kind: Kind, values: &[(i64, i64)], span: &Span, interval_s: i64) -> Sum {
    let behind = |end_s: i64| values.partition_point(|(at_s, _)| *at_s <= end_s);
    let (first, last) = (behind(span.start_s), behind(span.end_s));
    let inside = values.get(first..last).unwrap_or_default();
    let expected = u64::try_from((span.end_s - span.start_s) / interval_s.max(1)).unwrap_or(0);
    let mut sum = Sum { expected, stored: inside.len() as u64, ..Sum::default() };
    match kind {
        Kind::Amount => {
            sum.complete = sum.stored == sum.expected;
            let add = |all: i128, (_, value): &(i64, i64)| all + i128::from(*value);
            sum.sum = (!inside.is_empty()).then(|| inside.iter().fold(0, add));
        }
        Kind::Register => {
            let begin = first
                .checked_sub(1)
                .filter(|at| values.get(*at).is_some_and(|(end_s, _)| *end_s == span.start_s));
            let steps = values.get(begin.unwrap_or(first)..last).unwrap_or_default();
            for pair in steps.windows(2) {
                let [(_, before), (_, after)] = pair else { continue };
                if after < before {
                    sum.resets += 1;
                } else {
                    let step = i128::from(*after) - i128::from(*before);
                    sum.sum = Some(sum.sum.unwrap_or(0) + step);
                }
            }
            let ends = inside.last().is_some_and(|(end_s, _)| *end_s == span.end_s);
            sum.complete = begin.is_some() && ends && sum.resets == 0;
        }
        Kind::Level => {
            sum.complete = sum.stored == sum.expected;
            for (_, value) in inside {
                let (least, greatest, all) = sum.level.unwrap_or((*value, *value, 0));
                let all = all + i128::from(*value);
                sum.level = Some((least.min(*value), greatest.max(*value), all));
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::{Kind, Sum, kind, sums};
    use crate::areas::periods::Span;

    fn span(start_s: i64, end_s: i64) -> Span {
        Span { name: String::new(), start_s, end_s }
    }

    fn check(kind: Kind, values: &[(i64, i64)], expect: &[Sum]) {
        let spans = [span(0, 400), span(400, 800)];
        assert_eq!(sums(kind, values, &spans, 100), expect, "{kind:?} {values:?}");
    }

    #[test]
    fn registers_are_what_their_names_say() {
        for (obis, unit, expect) in [
            ("1-0:1.8.0", 30, Kind::Register),
            ("1-0:1.29.0", 30, Kind::Amount),
            ("1-0:32.7.0", 35, Kind::Level),
            ("1-0:1.7.0", 27, Kind::Level),
            ("8-0:1.0.0", 14, Kind::Register),
        ] {
            assert_eq!(kind(obis.parse().expect(obis), unit), expect, "{obis}");
        }
    }

    #[test]
    fn amounts_are_added() {
        let full = Sum { expected: 4, stored: 4, sum: Some(10), complete: true, ..Sum::default() };
        let part = Sum { stored: 1, sum: Some(7), complete: false, ..full };
        let values = [(0, 99), (100, 1), (200, 2), (300, 3), (400, 4), (600, 7), (900, 50)];
        check(Kind::Amount, &values, &[full, part]);
        let none = Sum { expected: 4, ..Sum::default() };
        check(Kind::Amount, &[], &[none, none]);
    }

    #[test]
    fn a_register_loses_nothing_in_holes_and_counts_nothing_twice() {
        let full = Sum { expected: 4, stored: 4, sum: Some(40), complete: true, ..Sum::default() };
        // A hole inside a day is in its sum.
        let holed = Sum { stored: 2, sum: Some(60), ..full };
        let values = [(0, 0), (100, 5), (200, 10), (300, 30), (400, 40), (600, 70), (800, 100)];
        check(Kind::Register, &values, &[full, holed]);
        // Without a reading at the border between two days neither is complete, and what passed
        // across it is in neither.
        let values = [(0, 0), (200, 10), (300, 20), (500, 90), (800, 100)];
        let first = Sum { stored: 2, sum: Some(20), complete: false, ..full };
        let second = Sum { stored: 2, sum: Some(10), complete: false, ..full };
        check(Kind::Register, &values, &[first, second]);
        // One value alone says nothing.
        let alone = Sum { stored: 1, sum: None, complete: false, ..full };
        check(Kind::Register, &[(300, 5)], &[alone, Sum { stored: 0, ..alone }]);
    }

    #[test]
    fn a_register_that_goes_back_is_counted_and_not_guessed() {
        let values = [(0, 990), (100, 999), (200, 3), (400, 10), (500, 12), (800, 12)];
        let first =
            Sum { expected: 4, stored: 3, sum: Some(16), resets: 1, complete: false, level: None };
        let second = Sum { stored: 2, sum: Some(2), resets: 0, complete: true, ..first };
        check(Kind::Register, &values, &[first, second]);
        let huge = [(0, i64::MIN), (400, i64::MAX)];
        let all = i128::from(i64::MAX) - i128::from(i64::MIN);
        let expect = Sum { stored: 1, sum: Some(all), resets: 0, complete: true, ..first };
        check(Kind::Register, &huge, &[expect, Sum { expected: 4, ..Sum::default() }]);
    }

    #[test]
    fn levels_have_bounds_and_a_mean() {
        let values = [(100, 230), (200, 228), (400, 236)];
        let first = Sum { expected: 4, stored: 3, level: Some((228, 236, 694)), ..Sum::default() };
        check(Kind::Level, &values, &[first, Sum { expected: 4, ..Sum::default() }]);
    }
}
