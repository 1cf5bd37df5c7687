//! The clock (class 8): its time, zone and daylight saving, and how it is set.
//!
//! A deviation is minutes from local time to UTC, as everywhere in COSEM (UTC+2 is -120).
//! Invariant: the clock is true time plus the offset of its last setting; nothing else moves it.

use cosem::datetime::{Date, DateTime, Time, status};
use cosem::{Data, DataAccessError};

use super::Meter;
use crate::fault::Kind as Fault;
use crate::push::CLOCK;

/// Class 8.
const ID: u16 = 8;
/// Furthest that `shift_time` moves, seconds.
const MAX_SHIFT_S: i64 = 900;
/// Standard log.
const STANDARD: u8 = 0;
/// Fields "last day" and "second last day" of a date.
const LAST_DAY: u8 = 0xfe;
const SECOND_LAST_DAY: u8 = 0xfd;

impl Meter<'_> {
    /// Seconds that the clock is ahead of a true time.
    #[must_use]
    pub fn offset_at(&self, at_s: i64) -> i64 {
        let jump = if self.plays(Fault::ClockJump) && at_s >= self.moment.now_s / 86_400 * 86_400 {
            // Since midnight the clock stands an hour ahead.
            3_600
        } else {
            0
        };
        self.memory.past.offset_s(at_s, self.model.skew_s) + jump
    }

    /// What the clock shows, seconds UTC.
    #[must_use]
    pub fn clock_s(&self) -> i64 {
        self.moment.now_s + self.offset_at(self.moment.now_s)
    }

    /// Minutes from local time to UTC at a time.
    #[must_use]
    pub fn deviation_at(&self, at_s: i64) -> i16 {
        let zone = self.zone();
        if self.is_summer(at_s) { zone.saturating_sub(self.summer_minutes()) } else { zone }
    }

    fn zone(&self) -> i16 {
        let written = self.memory.written(ID, CLOCK, 3).and_then(|zone| zone.as_i64());
        written.and_then(|zone| i16::try_from(zone).ok()).unwrap_or(0)
    }

    fn summer_minutes(&self) -> i16 {
        let minutes = self.current(ID, CLOCK, 7).as_i64().unwrap_or(0);
        i16::try_from(minutes).unwrap_or(0)
    }

    /// Whether daylight saving counts at a time.
    fn is_summer(&self, at_s: i64) -> bool {
        // Most meters never switch, so the dates are looked at only when they count.
        if self.memory.written(ID, CLOCK, 8) != Some(Data::Boolean(true)) {
            return false;
        }
        let zone_s = i64::from(self.zone()) * 60;
        let year = DateTime::from_unix_s(at_s - zone_s, 0, 0).date.year;
        let switch = |attribute| {
            let pattern = self.current(ID, CLOCK, attribute).as_date_time()?;
            Some(switch_s(&pattern, year)? + zone_s)
        };
        let (Some(begin), Some(end)) = (switch(5), switch(6)) else { return false };
        // The end is given in summer time.
        let end = end - i64::from(self.summer_minutes()) * 60;
        if begin <= end { (begin..end).contains(&at_s) } else { !(end..begin).contains(&at_s) }
    }

    /// A true time as the meter's clock shows it.
    #[must_use]
    pub fn date_time(&self, at_s: i64) -> DateTime {
        let offset = self.offset_at(at_s);
        let mut bits = if offset == 0 { 0 } else { status::DOUBTFUL };
        if self.is_summer(at_s) {
            bits |= status::DAYLIGHT_SAVING;
        }
        let mut shown = DateTime::from_unix_s(at_s + offset, self.deviation_at(at_s), bits);
        if self.plays(Fault::DeviationUnset) {
            shown.deviation = cosem::datetime::DEVIATION_NOT_SPECIFIED;
        }
        shown
    }

    /// As `date_time`, as an octet-string of 12.
    #[must_use]
    pub fn time_cell(&self, at_s: i64) -> Data {
        Data::octets(&self.date_time(at_s).to_octets())
    }

    /// Attributes of the clock.
    pub(super) fn clock(&self, attribute: i8) -> Result<Data, DataAccessError> {
        let pattern = |month, hour| {
            Data::octets(&[0xff, 0xff, month, LAST_DAY, 7, hour, 0, 0, 0, 0x80, 0, 0xff])
        };
        Ok(match attribute {
            2 => self.time_cell(self.moment.now_s),
            3 => Data::I16(0),
            4 => Data::U8(self.date_time(self.moment.now_s).status),
            5 => pattern(3, 2),
            6 => pattern(10, 3),
            7 => Data::I8(60),
            8 => Data::Boolean(false),
            9 => Data::Enum(1),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// Sets the clock to a time; other attributes are kept as they are written.
    pub(super) fn set_clock(&mut self, value: &Data) -> Result<(), DataAccessError> {
        let given = value.as_date_time().ok_or(DataAccessError::TypeUnmatched)?;
        let default = self.deviation_at(self.moment.now_s);
        let to_s = given.to_unix_s(default).ok_or(DataAccessError::TypeUnmatched)?;
        self.step_clock(to_s);
        Ok(())
    }

    fn step_clock(&mut self, to_s: i64) {
        let now = self.moment.now_s;
        self.memory.record(STANDARD, now, 4);
        self.memory.past.step(now, to_s - now);
        self.memory.record(STANDARD, now, 5);
    }

    /// Methods of the clock.
    pub(super) fn adjust(
        &mut self,
        method: i8,
        parameter: Option<&Data>,
    ) -> Result<(), DataAccessError> {
        let shown = self.clock_s();
        let nearest = |period: i64| (shown + period / 2).div_euclid(period) * period;
        let to_s = match method {
            1 => nearest(900),
            2 => nearest(i64::from(self.moment.interval_s.max(1))),
            3 => nearest(60),
            4 => {
                let (time, from, to) = self.memory.preset.ok_or(DataAccessError::OtherReason)?;
                if !(from..=to).contains(&shown) {
                    return Err(DataAccessError::OtherReason);
                }
                time
            }
            5 => return self.preset(parameter),
            _ => {
                let seconds = parameter.and_then(Data::as_i64);
                let seconds = seconds.ok_or(DataAccessError::TypeUnmatched)?;
                if seconds.abs() > MAX_SHIFT_S {
                    return Err(DataAccessError::OtherReason);
                }
                shown + seconds
            }
        };
        self.step_clock(to_s);
        Ok(())
    }

    fn preset(&mut self, parameter: Option<&Data>) -> Result<(), DataAccessError> {
        let wrong = DataAccessError::TypeUnmatched;
        let Some([time, from, to]) = parameter.and_then(Data::as_structure) else {
            return Err(wrong);
        };
        let default = self.deviation_at(self.moment.now_s);
        let at = |data: &Data| data.as_date_time().and_then(|time| time.to_unix_s(default));
        let (time, from, to) = (at(time), at(from), at(to));
        self.memory.preset = Some((time.ok_or(wrong)?, from.ok_or(wrong)?, to.ok_or(wrong)?));
        Ok(())
    }
}

/// When a pattern such as "last Sunday of March, 02:00" is met in a year: seconds, local.
fn switch_s(pattern: &DateTime, year: u16) -> Option<i64> {
    let first = |year, month| Date { year, month, day: 1, weekday: 0xff }.to_unix_days();
    let Date { month, day, weekday, .. } = pattern.date;
    if !(1..=12).contains(&month) {
        return None;
    }
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let last = first(next_year, next_month)? - 1;
    let mut at = match day {
        LAST_DAY => last,
        SECOND_LAST_DAY => last - 1,
        1..=31 => first(year, month)? + i64::from(day) - 1,
        _ => return None,
    };
    if (1..=7).contains(&weekday) {
        // Back to the weekday from the end of a month, forward from a day.
        let step = if day >= SECOND_LAST_DAY { -1 } else { 1 };
        while Date::from_unix_days(at)?.weekday != weekday {
            at += step;
        }
    }
    let Time { hour, minute, .. } = pattern.time;
    let known = |field: u8| if field == 0xff { 0 } else { i64::from(field) };
    Some(at * 86_400 + known(hour) * 3_600 + known(minute) * 60)
}

#[cfg(test)]
mod tests {
    use cosem::DateTime;

    use super::switch_s;

    #[test]
    fn daylight_saving_begins_and_ends_where_its_pattern_says() {
        let pattern = |month, day, weekday, hour| {
            DateTime::from_octets([0xff, 0xff, month, day, weekday, hour, 0, 0, 0, 0x80, 0, 0xff])
        };
        // 29 March and 25 October 2026 are the last Sundays.
        for (pattern, expect) in [
            (pattern(3, 0xfe, 7, 2), "2026-03-29T02:00:00Z"),
            (pattern(10, 0xfe, 7, 3), "2026-10-25T03:00:00Z"),
            (pattern(4, 1, 0xff, 0), "2026-04-01T00:00:00Z"),
            (pattern(11, 1, 7, 2), "2026-11-01T02:00:00Z"),
            (pattern(12, 0xfe, 0xff, 1), "2026-12-31T01:00:00Z"),
        ] {
            let expect: jiff::Timestamp = expect.parse().unwrap();
            assert_eq!(switch_s(&pattern, 2026), Some(expect.as_second()), "{pattern:?}");
        }
        assert_eq!(switch_s(&pattern(0xff, 1, 1, 0), 2026), None);
    }
}
