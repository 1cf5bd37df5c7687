//! Hours, days and months of a time zone as spans of UTC.
//!
//! A local day begins at its first moment, which is not always 00:00, and has 23 or 25 hours when
//! the clocks change. The zones are those of the IANA database that is built into the program.
//! Invariants: spans follow each other without gap or overlap; a span begins and ends where
//! intervals do, or the zone is refused.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::problem::Problem;

/// What values are summed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// Hours of the zone's days, counted from each day's first moment.
    Hour,
    /// Local days.
    Day,
    /// Local months.
    Month,
}

/// One period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its name: `2026-03`, `2026-03-29` or `2026-03-29T03:00:00+02:00`.
    pub name: String,
    /// Its first moment, seconds UTC.
    pub start_s: i64,
    /// The first moment after it, seconds UTC.
    pub end_s: i64,
}

/// The zone of a name, such as `Europe/Berlin`; UTC when none is given.
pub fn zone(name: Option<&str>) -> Result<TimeZone, Problem> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    TimeZone::get(name)
        .map_err(|_| Problem::bad("bad_zone", format!("{name:?} is no time zone of IANA")))
}

/// The periods from the one that holds `from_s` to the one that holds the last moment before
/// `to_s`, at most `limit` of them.
pub fn spans(
    period: Period,
    zone: &TimeZone,
    (from_s, to_s): (i64, i64),
    limit: usize,
) -> Result<Vec<Span>, Problem> {
    let mut spans = Vec::new();
    let first = Timestamp::from_second(from_s).map_err(|_| out_of_time())?.to_zoned(zone.clone());
    let mut date = match period {
        Period::Month => first.date().first_of_month(),
        Period::Hour | Period::Day => first.date(),
    };
    while spans.len() < limit {
        let next = next(period, date)?;
        let start = moment(date, zone)?;
        let (start_s, end_s) = (start.timestamp().as_second(), moment(next, zone)?.timestamp());
        let end_s = end_s.as_second();
        if start_s >= to_s {
            break;
        }
        match period {
            Period::Hour => hours(zone, (start_s, end_s), (from_s, to_s), limit, &mut spans)?,
            // A day that a zone skipped altogether has no moment.
            Period::Day if start_s < end_s => {
                spans.push(Span { name: date.to_string(), start_s, end_s });
            }
            Period::Month if start_s < end_s => {
                let name = date.strftime("%Y-%m").to_string();
                spans.push(Span { name, start_s, end_s });
            }
            Period::Day | Period::Month => {}
        }
        date = next;
    }
    Ok(spans)
}

fn hours(
    zone: &TimeZone,
    (start_s, end_s): (i64, i64),
    (from_s, to_s): (i64, i64),
    limit: usize,
    spans: &mut Vec<Span>,
) -> Result<(), Problem> {
    let mut at_s = start_s;
    while at_s < end_s.min(to_s) && spans.len() < limit {
        // The last hour of a day is shorter where clocks change by half an hour.
        let next_s = at_s.saturating_add(3600).min(end_s);
        if next_s > from_s {
            let start = Timestamp::from_second(at_s).map_err(|_| out_of_time())?;
            let name = start.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
            spans.push(Span { name, start_s: at_s, end_s: next_s });
        }
        at_s = next_s;
    }
    Ok(())
}

fn next(period: Period, date: Date) -> Result<Date, Problem> {
    let next = match period {
        Period::Month => date.last_of_month().tomorrow(),
        Period::Hour | Period::Day => date.tomorrow(),
    };
    next.map_err(|_| out_of_time())
}

/// The first moment of a date.
fn moment(date: Date, zone: &TimeZone) -> Result<Zoned, Problem> {
    // Where midnight is skipped this is the moment after the gap; where it comes twice, the first.
    date.to_zoned(zone.clone()).map_err(|_| out_of_time())
}

fn out_of_time() -> Problem {
    Problem::bad("bad_range", "a time that no calendar has")
}

/// Refuses spans that do not begin and end where intervals do.
pub fn check_aligned(
    spans: &[Span],
    interval_minutes: u16,
    zone: &TimeZone,
) -> Result<(), Problem> {
    let step_s = i64::from(interval_minutes.max(1)) * 60;
    let cut = |span: &&Span| span.start_s % step_s != 0 || span.end_s % step_s != 0;
    let Some(span) = spans.iter().find(cut) else { return Ok(()) };
    let zone = zone.iana_name().unwrap_or("UTC");
    let text = format!("{} of {zone} cuts an interval of {interval_minutes} minutes", span.name);
    Err(Problem::bad("unaligned_zone", text))
}

#[cfg(test)]
mod tests {
    use super::{Period, Span, check_aligned, spans, zone};

    fn at(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().expect(text).as_second()
    }

    fn find(period: Period, name: &str, from: &str, to: &str) -> Vec<Span> {
        let zone = zone(Some(name)).expect(name);
        spans(period, &zone, (at(from), at(to)), 10_000).expect("spans")
    }

    /// Names and lengths in hours.
    fn lengths(spans: &[Span]) -> Vec<(&str, f64)> {
        for pair in spans.windows(2) {
            assert_eq!(pair[0].end_s, pair[1].start_s, "no gap, no overlap");
        }
        let hours = |span: &Span| (span.end_s - span.start_s) as f64 / 3600.0;
        spans.iter().map(|span| (span.name.as_str(), hours(span))).collect()
    }

    #[test]
    fn days_of_berlin_have_23_24_or_25_hours() {
        let spring = find(
            Period::Day,
            "Europe/Berlin",
            "2026-03-28T00:00:00+01:00",
            "2026-03-31T00:00:00+02:00",
        );
        let expect = [("2026-03-28", 24.0), ("2026-03-29", 23.0), ("2026-03-30", 24.0)];
        assert_eq!(lengths(&spring), expect);
        let autumn =
            find(Period::Day, "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
        let expect = [("2026-10-24", 24.0), ("2026-10-25", 25.0), ("2026-10-26", 24.0)];
        assert_eq!(lengths(&autumn), expect);
    }

    #[test]
    fn tehran_changed_its_clocks_at_midnight_and_no_longer_does() {
        // 22 March 2022 began at 01:00; 21 September 2022 had 23:00 to 24:00 twice.
        let spring =
            find(Period::Day, "Asia/Tehran", "2022-03-20T21:00:00Z", "2022-03-23T00:00:00+04:30");
        let expect = [("2022-03-21", 24.0), ("2022-03-22", 23.0)];
        assert_eq!(lengths(&spring), expect);
        assert_eq!(spring[1].start_s, at("2022-03-22T01:00:00+04:30"));
        let autumn = find(
            Period::Day,
            "Asia/Tehran",
            "2022-09-21T12:00:00+04:30",
            "2022-09-22T12:00:00+03:30",
        );
        assert_eq!(lengths(&autumn), [("2022-09-21", 25.0), ("2022-09-22", 24.0)]);
        let now =
            find(Period::Day, "Asia/Tehran", "2026-03-22T00:00:00+03:30", "2026-03-22T20:30:00Z");
        assert_eq!(lengths(&now), [("2026-03-22", 24.0)]);
    }

    #[test]
    fn months_and_hours_follow_the_clocks() {
        let months =
            find(Period::Month, "Europe/Berlin", "2026-02-10T00:00:00Z", "2026-04-01T00:00:00Z");
        let names = [("2026-02", 672.0), ("2026-03", 743.0), ("2026-04", 720.0)];
        assert_eq!(lengths(&months), names);
        let hours = find(
            Period::Hour,
            "Europe/Berlin",
            "2026-10-25T00:00:00+02:00",
            "2026-10-26T00:00:00+01:00",
        );
        assert_eq!(hours.len(), 25);
        let twice: Vec<&str> = hours[2..4].iter().map(|span| span.name.as_str()).collect();
        assert_eq!(twice, ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"]);
        let part = find(Period::Hour, "UTC", "2026-01-01T22:10:00Z", "2026-01-02T01:00:00Z");
        assert_eq!(part.len(), 3, "from the hour that holds the beginning");
    }

    #[test]
    fn a_whole_year_of_days_has_its_hours_everywhere() {
        let zones = [
            "Europe/Berlin",
            "Asia/Tehran",
            "Australia/Lord_Howe",
            "America/Havana",
            "UTC",
            "Asia/Kathmandu",
            "America/Sao_Paulo",
            "Africa/Cairo",
            "Asia/Beirut",
        ];
        for name in zones {
            for year in [2000, 2016, 2022, 2024] {
                let (from, to) =
                    (format!("{year}-01-01T12:00:00Z"), format!("{year}-12-31T12:00:00Z"));
                let days = find(Period::Day, name, &from, &to);
                let hours = find(Period::Hour, name, &from, &to);
                let all: f64 = lengths(&days).iter().map(|(_, hours)| hours).sum();
                assert!((8760.0..=8808.0).contains(&all), "{name} {year}: {all}");
                lengths(&hours);
                assert!(days.iter().all(|day| day.end_s > day.start_s));
            }
        }
    }

    #[test]
    fn a_zone_that_cuts_intervals_is_refused() {
        let days =
            |name: &str| find(Period::Day, name, "2026-01-01T12:00:00Z", "2026-01-02T12:00:00Z");
        for (name, minutes, fits) in [
            ("Asia/Tehran", 30, true),
            ("Asia/Tehran", 60, false),
            ("Asia/Kathmandu", 15, true),
            ("Asia/Kathmandu", 30, false),
            ("Europe/Berlin", 60, true),
            ("Europe/Berlin", 120, false),
        ] {
            let zone = zone(Some(name)).expect(name);
            let checked = check_aligned(&days(name), minutes, &zone);
            assert_eq!(checked.is_ok(), fits, "{name} {minutes}");
        }
        assert_eq!(zone(Some("Mars/Olympus")).expect_err("no zone").code, "bad_zone");
    }
}
