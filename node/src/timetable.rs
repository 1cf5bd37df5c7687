//! When a task is due: its times of day and its zone together, as moments.
//!
//! Where clocks go back an hour, a time that comes twice is its first moment; where they go
//! forward, a time that does not come is so much later. The domain knows no zones: who leads says
//! when a run was due.

use domain::tasks::{Cron, When};
use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;

/// How many times are tried around a change of clocks.
const TRIES: usize = 8;

/// The last moment at or before `at_s` at which a task was due; none when it is not due by itself,
/// or its zone is not known here.
pub fn last(when: &When, at_s: i64) -> Option<i64> {
    let (cron, zone) = parts(when)?;
    let mut minute = cron.last(local(&zone, at_s)?)?;
    for _ in 0..TRIES {
        // What lies in an hour that clocks leave out comes later than local time says.
        match moment(&zone, minute)? {
            due_s if due_s <= at_s => return Some(due_s),
            _ => minute = cron.last(minute - 1)?,
        }
    }
    None
}

/// The first moment after `at_s` at which a task is due.
pub fn next(when: &When, at_s: i64) -> Option<i64> {
    let (cron, zone) = parts(when)?;
    // Local time may have gone back over times that are still to come.
    let mut minute = cron.last(local(&zone, at_s)?).unwrap_or(0).saturating_sub(1);
    for _ in 0..TRIES * 64 {
        minute = cron.next(minute)?;
        match moment(&zone, minute)? {
            due_s if due_s > at_s => return Some(due_s),
            _ => {}
        }
    }
    None
}

fn parts(when: &When) -> Option<(Cron, TimeZone)> {
    Some((Cron::parse(&when.cron).ok()?, TimeZone::get(&when.zone).ok()?))
}

/// Minutes of local time since 1970.
fn local(zone: &TimeZone, at_s: i64) -> Option<i64> {
    let at = zone.to_datetime(Timestamp::from_second(at_s).ok()?);
    let since =
        at.duration_since(DateTime::from_parts(jiff::civil::date(1970, 1, 1), Time::midnight()));
    Some(since.as_secs().div_euclid(60))
}

/// The moment of a minute of local time.
fn moment(zone: &TimeZone, minute: i64) -> Option<i64> {
    let midnight = DateTime::from_parts(jiff::civil::date(1970, 1, 1), Time::midnight());
    let at = midnight.checked_add(jiff::SignedDuration::from_mins(minute)).ok()?;
    zone.to_zoned(at).ok().map(|zoned| zoned.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::{last, next};
    use domain::tasks::When;
    use jiff::Timestamp;

    fn when(cron: &str, zone: &str) -> When {
        let (cron, zone) = (cron.to_owned(), zone.to_owned());
        When { cron, zone, delay_s: 0, spread_s: 0, lasts_s: 60 }
    }

    fn s(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn a_day_of_local_time_is_not_one_of_utc() {
        let daily = when("30 1 * * *", "Europe/Berlin");
        for (at, before, after) in [
            ("2026-11-23T00:30:00Z", "2026-11-23T00:30:00Z", "2026-11-24T00:30:00Z"),
            ("2026-11-23T00:29:59Z", "2026-11-22T00:30:00Z", "2026-11-23T00:30:00Z"),
            ("2026-07-01T12:00:00Z", "2026-06-30T23:30:00Z", "2026-07-01T23:30:00Z"),
        ] {
            assert_eq!(last(&daily, s(at)), Some(s(before)), "{at}");
            assert_eq!(next(&daily, s(at)), Some(s(after)), "{at}");
        }
    }

    #[test]
    fn what_comes_twice_is_due_once_and_what_does_not_come_is_due_later() {
        // 2026-10-25 in Berlin: 03:00 summer time is 02:00. 2026-03-29: 02:00 is 03:00.
        let daily = when("30 2 * * *", "Europe/Berlin");
        for (at, before, after) in [
            ("2026-10-25T00:29:00Z", "2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z"),
            ("2026-10-25T01:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
            ("2026-03-29T00:59:00Z", "2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z"),
            ("2026-03-29T01:29:00Z", "2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z"),
            ("2026-03-29T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"),
        ] {
            assert_eq!(last(&daily, s(at)), Some(s(before)), "last at {at}");
            assert_eq!(next(&daily, s(at)), Some(s(after)), "next at {at}");
        }
        let quarters = when("*/15 * * * *", "Europe/Berlin");
        let at = s("2026-10-25T00:50:00Z");
        assert_eq!(next(&quarters, at), Some(s("2026-10-25T02:00:00Z")), "an hour comes twice");
    }

    #[test]
    fn a_task_without_times_or_with_an_unknown_zone_is_never_due() {
        for task in [when("", "UTC"), when("* * * * *", "Mars/Olympus")] {
            assert_eq!((last(&task, 0), next(&task, 0)), (None, None));
        }
    }
}
