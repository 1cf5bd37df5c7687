//! When a task is due: five fields as cron has them, over local time that counts minutes since
//! 1970. Pure arithmetic: which zone the minutes are of is the caller's.
//!
//! Fields: minute 0-59, hour 0-23, day of month 1-31, month 1-12, day of week 0-7 (0 and 7 are
//! Sunday). Each is `*`, a number, a range `a-b`, any of these with a step `/n`, or a list of them
//! with commas. Where both days are restricted, either of them is enough, as cron has it.

use crate::error::Malformed;

/// How far is looked for the next or last time: the 29th of February comes within 8 years.
const MAX_DAYS: i64 = 8 * 366 + 1;

/// Minutes of a day.
const DAY_MINUTES: i64 = 1440;

const WANTED: Malformed = Malformed("five fields: minute hour day-of-month month day-of-week");

/// Times that repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    either_day: bool,
}

impl Cron {
    /// Reads five fields.
    ///
    /// # Errors
    /// What is no such text, or names a time that never comes.
    pub fn parse(text: &str) -> Result<Cron, Malformed> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else { return Err(WANTED) };
        let weekdays = field(weekday, 0, 7)?;
        let cron = Cron {
            minutes: field(minute, 0, 59)?,
            hours: field(hour, 0, 23)?,
            days: field(day, 1, 31)?,
            months: field(month, 1, 12)?,
            weekdays: weekdays & 0x7f | weekdays >> 7,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        match cron.next(0) {
            Some(_) => Ok(cron),
            None => Err(Malformed("a day that no month has")),
        }
    }

    /// The first time after a minute.
    pub fn next(&self, after: i64) -> Option<i64> {
        let first = after.saturating_add(1);
        let day = first.div_euclid(DAY_MINUTES);
        let found = |minute: &i64| *minute >= first;
        (day..day.saturating_add(MAX_DAYS))
            .filter(|day| self.has_day(*day))
            .find_map(|day| self.of_day(day).find(found))
    }

    /// The last time at or before a minute.
    pub fn last(&self, at: i64) -> Option<i64> {
        let day = at.div_euclid(DAY_MINUTES);
        let found = |minute: &i64| *minute <= at;
        (day.saturating_sub(MAX_DAYS)..=day)
            .rev()
            .filter(|day| self.has_day(*day))
            .find_map(|day| self.of_day(day).filter(found).last())
    }

    fn has_day(&self, day: i64) -> bool {
        let (month, of_month) = civil(day);
        // 1970-01-01 was a Thursday.
        let weekday = has(self.weekdays, (day + 4).rem_euclid(7));
        let of_month = has(self.days, of_month);
        let day = if self.either_day { of_month || weekday } else { of_month && weekday };
        has(self.months, month) && day
    }

    /// The times of a day, in order.
    fn of_day(&self, day: i64) -> impl Iterator<Item = i64> + use<> {
        let (hours, minutes) = (self.hours, self.minutes);
        let hours = (0..24).filter(move |hour| has(hours, *hour));
        hours.flat_map(move |hour| {
            let minutes = (0..60).filter(move |minute| has(minutes, *minute));
            minutes.map(move |minute| day * DAY_MINUTES + hour * 60 + minute)
        })
    }
}

fn has(mask: u64, bit: i64) -> bool {
    mask >> bit & 1 == 1
}

fn field(text: &str, least: u32, most: u32) -> Result<u64, Malformed> {
    text.split(',').try_fold(0, |mask, piece| Ok(mask | range(piece, least, most)?))
}

fn range(text: &str, least: u32, most: u32) -> Result<u64, Malformed> {
    let (span, step) = match text.split_once('/') {
        Some((span, step)) => (span, number(step)?),
        None => (text, 1),
    };
    let (first, last) = match span.split_once('-') {
        _ if span == "*" => (least, most),
        Some((first, last)) => (number(first)?, number(last)?),
        // A number with a step goes on to the end, as cron has it.
        None if text.contains('/') => (number(span)?, most),
        None => (number(span)?, number(span)?),
    };
    if first < least || last > most || first > last || step == 0 {
        return Err(WANTED);
    }
    let step = usize::try_from(step).map_err(|_| WANTED)?;
    Ok((first..=last).step_by(step).fold(0, |mask, bit| mask | 1 << bit))
}

fn number(text: &str) -> Result<u32, Malformed> {
    let is_number = !text.is_empty() && text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit());
    if is_number { text.parse().map_err(|_| WANTED) } else { Err(WANTED) }
}

/// Month and day of month of a day since 1970.
fn civil(day: i64) -> (i64, i64) {
    // Howard Hinnant's civil_from_days, in 400-year eras that begin on the first of March.
    let of_era = (day + 719_468).rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    (if month < 10 { month + 3 } else { month - 9 }, of_month)
}

#[cfg(test)]
mod tests {
    use super::{Cron, civil};

    /// 2026-11-23 00:00, a Monday, in minutes.
    const MONDAY: i64 = 20_780 * 1440;

    fn times(text: &str, count: usize) -> Vec<i64> {
        let cron = Cron::parse(text).unwrap();
        let mut at = MONDAY - 1;
        let next = || {
            at = cron.next(at)?;
            assert_eq!(cron.last(at), Some(at));
            assert!(cron.last(at - 1) < Some(at));
            Some(at - MONDAY)
        };
        std::iter::from_fn(next).take(count).collect()
    }

    #[test]
    fn times_come_in_order() {
        const DAY: i64 = 1440;
        for (text, expect) in [
            ("*/15 * * * *", vec![0, 15, 30, 45, 60]),
            ("5/20 1-2 * * *", vec![65, 85, 105, 125, 145, 165, DAY + 65]),
            ("0 2 * * *", vec![120, DAY + 120, 2 * DAY + 120]),
            ("30 0 1 * *", vec![8 * DAY + 30, 39 * DAY + 30]),
            ("0 0 * * 0", vec![6 * DAY, 13 * DAY]),
            ("0 0 * * 7", vec![6 * DAY, 13 * DAY]),
            ("0 0 24 * 3", vec![DAY, 2 * DAY, 9 * DAY]),
            ("0,30 4-6/2 23 11 *", vec![240, 270, 360, 390, 365 * DAY + 240]),
        ] {
            assert_eq!(times(text, expect.len()), expect, "{text}");
        }
        // The next 29th of February is that of 2028.
        let leap = Cron::parse("0 0 29 2 *").unwrap().next(MONDAY).unwrap();
        assert_eq!(civil(leap / 1440), (2, 29));
        assert_eq!((leap - MONDAY) / 1440, 463);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-3 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "1- * * * *",
            "+1 * * * *",
            "001 * * * *",
            "0 0 30 2 *",
            "1,,2 * * * *",
        ] {
            assert!(Cron::parse(text).is_err(), "{text}");
        }
    }
}
