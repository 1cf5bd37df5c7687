//! Wall clocks: who is on call, quiet hours, when the heartbeat is due, times in texts.
//!
//! Zone rules come from the program. Instants are arguments, Unix milliseconds. Invariants: a
//! shift changes at the same wall-clock time on both sides of a daylight saving day; nothing
//! panics for any instant or configuration that was checked.

use jiff::civil::{DateTime, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Unit};

use crate::config::Schedule;

/// The zone of this name, from the rules in the program.
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

fn timestamp(now: i64) -> Timestamp {
    Timestamp::from_millisecond(now).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A time for people: `2026-11-23 07:15:02 CET`.
pub fn text(now: i64, zone: &TimeZone) -> String {
    timestamp(now).to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// A time for programs: RFC 3339 in UTC.
pub fn rfc3339(now: i64) -> String {
    timestamp(now).to_string()
}

/// Unix milliseconds of an RFC 3339 time.
pub fn from_rfc3339(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// The date in a zone, as `2026-11-23`, and the time of day.
pub fn day(now: i64, zone: &TimeZone) -> (String, Time) {
    let local = timestamp(now).to_zoned(zone.clone());
    (local.date().to_string(), local.time())
}

/// Hours of every day, the end not included; they may go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    from: Time,
    until: Time,
}

impl Hours {
    /// Reads `22:00-07:00`.
    pub fn parse(text: &str) -> Option<Hours> {
        let (from, until) = text.split_once('-')?;
        let hours = Hours { from: time(from.trim())?, until: time(until.trim())? };
        (hours.from != hours.until).then_some(hours)
    }

    /// Whether an instant is within them.
    pub fn hold(&self, now: i64, zone: &TimeZone) -> bool {
        let (_, time) = day(now, zone);
        match self.from < self.until {
            true => (self.from..self.until).contains(&time),
            false => time >= self.from || time < self.until,
        }
    }
}

/// Reads `08:00`.
pub fn time(text: &str) -> Option<Time> {
    (text.len() == 5).then(|| text.parse().ok()).flatten()
}

/// A schedule that was checked.
#[derive(Clone, Debug)]
pub struct Rota {
    start: DateTime,
    zone: TimeZone,
    shift_hours: i64,
    members: Vec<String>,
    substitutes: Vec<(DateTime, DateTime, String)>,
}

impl Rota {
    /// Of a section of the configuration; the fault as a sentence. `default_zone` stands in for a
    /// zone that is left out.
    pub fn of(schedule: &Schedule, default_zone: &str) -> Result<Rota, String> {
        let read = |text: &str| -> Result<DateTime, String> {
            text.parse().map_err(|_| format!("\"{text}\" is no time such as 2026-11-23T08:00"))
        };
        let name = schedule.zone.as_deref().unwrap_or(default_zone);
        let zone = zone(name).ok_or_else(|| format!("there is no zone \"{name}\""))?;
        if schedule.members.is_empty() {
            return Err("it has no members".into());
        }
        if schedule.shift_hours == 0 || schedule.shift_hours > 24 * 366 {
            return Err("shift_hours is 1 to 8784".into());
        }
        let mut substitutes = Vec::new();
        for one in &schedule.substitutes {
            let (from, until) = (read(&one.from)?, read(&one.until)?);
            if from >= until {
                return Err(format!("a substitute's time ends before it begins: {}", one.from));
            }
            substitutes.push((from, until, one.member.clone()));
        }
        Ok(Rota {
            start: read(&schedule.start)?,
            zone,
            shift_hours: i64::from(schedule.shift_hours),
            members: schedule.members.clone(),
            substitutes,
        })
    }

    /// Who is on call. Before the start it is the first member.
    pub fn on_call(&self, now: i64) -> &str {
        let local = timestamp(now).to_zoned(self.zone.clone()).datetime();
        let substitute =
            self.substitutes.iter().find(|(from, until, _)| *from <= local && local < *until);
        if let Some((_, _, member)) = substitute {
            return member;
        }
        // Wall-clock hours between two civil times: daylight saving does not move hand-overs.
        let hours = self.start.until((Unit::Hour, local)).map_or(0, |span| {
            let minutes = i64::from(span.get_hours()) * 60 + span.get_minutes();
            minutes.div_euclid(60).max(0)
        });
        let turns = usize::try_from(hours / self.shift_hours).unwrap_or(0);
        &self.members[turns % self.members.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Substitute;

    fn at(text: &str) -> i64 {
        from_rfc3339(text).unwrap()
    }

    fn weekly() -> Schedule {
        Schedule {
            name: "night".into(),
            zone: Some("Europe/Madrid".into()),
            start: "2026-10-19T09:00".into(),
            shift_hours: 168,
            members: vec!["anna".into(), "boris".into(), "chen".into()],
            announce: false,
            substitutes: vec![Substitute {
                from: "2026-11-02T12:00".into(),
                until: "2026-11-02T18:00".into(),
                member: "dora".into(),
            }],
        }
    }

    #[test]
    fn members_take_turns_at_the_same_hour_of_the_wall_clock() {
        let rota = Rota::of(&weekly(), "UTC").unwrap();
        // Summer time ends on 25 October 2026: 09:00 is 07:00Z before and 08:00Z after.
        let cases = [
            ("2020-01-01T00:00:00Z", "anna"),
            ("2026-10-19T07:00:00Z", "anna"),
            ("2026-10-26T07:59:59Z", "anna"),
            ("2026-10-26T08:00:00Z", "boris"),
            ("2026-11-02T08:00:00Z", "chen"),
            ("2026-11-02T11:30:00Z", "dora"),
            ("2026-11-02T17:00:00Z", "chen"),
            ("2026-11-09T08:00:00Z", "anna"),
        ];
        for (now, wanted) in cases {
            assert_eq!(rota.on_call(at(now)), wanted, "{now}");
        }
    }

    #[test]
    fn schedules_that_make_no_sense_are_refused() {
        let change = |change: fn(&mut Schedule)| {
            let mut schedule = weekly();
            change(&mut schedule);
            Rota::of(&schedule, "UTC").unwrap_err()
        };
        assert!(change(|s| s.members.clear()).contains("no members"));
        assert!(change(|s| s.shift_hours = 0).contains("shift_hours"));
        assert!(change(|s| s.zone = Some("Mars/Base".into())).contains("Mars/Base"));
        assert!(change(|s| s.start = "soon".into()).contains("soon"));
    }

    #[test]
    fn quiet_hours_go_over_midnight() {
        let madrid = zone("Europe/Madrid").unwrap();
        let night = Hours::parse("22:00-07:00").unwrap();
        let noon = Hours::parse("12:00-14:00").unwrap();
        let cases = [
            ("2026-11-23T20:59:00Z", false, false),
            ("2026-11-23T21:00:00Z", true, false),
            ("2026-11-23T05:59:00Z", true, false),
            ("2026-11-23T06:00:00Z", false, false),
            ("2026-11-23T11:00:00Z", false, true),
        ];
        for (now, in_night, in_noon) in cases {
            assert_eq!(night.hold(at(now), &madrid), in_night, "{now}");
            assert_eq!(noon.hold(at(now), &madrid), in_noon, "{now}");
        }
        for text in ["22:00", "22-7", "22:00-22:00", "25:00-07:00", ""] {
            assert_eq!(Hours::parse(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_told_in_the_readers_zone() {
        let madrid = zone("Europe/Madrid").unwrap();
        assert_eq!(text(at("2026-11-23T06:15:02Z"), &madrid), "2026-11-23 07:15:02 CET");
    }
}
