//! Days and months of the proleptic Gregorian calendar, UTC, in days since 1970-01-01.
//!
//! Not here: time zones. Invariant: a month is told by its number, months since 1970-01.

/// A month of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Month {
    /// Its first day, days since the epoch.
    pub first: i32,
    /// How many days it has.
    pub days: u16,
}

/// Year, month (1 to 12) and date of a day: Howard Hinnant's `civil_from_days`, in 400-year
/// eras that begin on the first of March.
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, date)
}

/// The first day of a month: `days_from_civil` of the same source.
fn first_of(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month_from_march + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Number of the month that a day belongs to: months since 1970-01.
pub fn month_of(day: i32) -> i32 {
    let (year, month, _) = civil(i64::from(day));
    i32::try_from((year - 1970) * 12 + month - 1).unwrap_or(i32::MAX)
}

/// The month of a number; none when its days cannot be counted.
pub fn month(number: i32) -> Option<Month> {
    let number = i64::from(number);
    let first = |number: i64| first_of(1970 + number.div_euclid(12), number.rem_euclid(12) + 1);
    let days = u16::try_from(first(number + 1) - first(number)).ok()?;
    Some(Month { first: i32::try_from(first(number)).ok()?, days })
}

/// The first day of a month; none when no month has that number.
pub fn first_day(number: i32) -> Option<i32> {
    month(number).map(|month| month.first)
}

/// A day's date, as in file names.
pub fn date(day: i32) -> String {
    let (year, month, date) = civil(i64::from(day));
    format!("{year:04}-{month:02}-{date:02}")
}

/// Year and month of a day, as in file names.
pub fn year_month(day: i32) -> String {
    let (year, month, _) = civil(i64::from(day));
    format!("{year:04}-{month:02}")
}

#[cfg(test)]
mod tests {
    use super::{date, month, month_of, year_month};

    #[test]
    fn dates_are_those_of_the_calendar() {
        let check = |day, expect: &str| assert_eq!(date(day), expect);
        check(0, "1970-01-01");
        check(-1, "1969-12-31");
        check(11_016, "2000-02-29");
        check(11_017, "2000-03-01");
        check(20_779, "2026-11-22");
        check(47_540, "2100-02-28");
        check(47_541, "2100-03-01");
    }

    #[test]
    fn months_follow_each_other_without_a_gap() {
        let mut next = month(-1200).unwrap().first;
        for number in -1200..2400 {
            let found = month(number).unwrap();
            assert_eq!(found.first, next);
            let last = found.first + i32::from(found.days) - 1;
            assert_eq!((month_of(found.first), month_of(last)), (number, number));
            next = last + 1;
        }
        assert_eq!(month(month_of(20_779)).map(|month| month.days), Some(30));
        assert_eq!((year_month(0), year_month(20_779)), ("1970-01".into(), "2026-11".into()));
        assert_eq!(month(i32::MAX), None);
    }
}
