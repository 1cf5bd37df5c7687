//! Date, time and date-time of COSEM (Blue Book 4.1.6.1), each with its "not specified" forms
//! kept as sent. It is not a calendar: the only reckoning is to and from Unix seconds.
//!
//! Invariant: octets to value and back is the identity, wildcards included.

use crate::error::Error;

/// Year not specified.
pub const YEAR_NOT_SPECIFIED: u16 = 0xffff;
/// Deviation not specified.
pub const DEVIATION_NOT_SPECIFIED: i16 = i16::MIN;
/// Any other field not specified; for the clock status: no status kept.
pub const NOT_SPECIFIED: u8 = 0xff;

/// Minutes by which daylight saving is ahead of standard time.
const SUMMER_MINUTES: i16 = 60;

/// Bits of the clock status.
pub mod status {
    /// The time is invalid.
    pub const INVALID: u8 = 0x01;
    /// The time is doubtful.
    pub const DOUBTFUL: u8 = 0x02;
    /// The clock base is another one.
    pub const DIFFERENT_BASE: u8 = 0x04;
    /// The status itself is invalid.
    pub const INVALID_STATUS: u8 = 0x08;
    /// Daylight saving is active.
    pub const DAYLIGHT_SAVING: u8 = 0x80;
}

/// A date in 5 octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Date {
    /// Year, FFFF = not specified.
    pub year: u16,
    /// Month 1-12; FD = end of daylight saving, FE = its begin, FF = not specified.
    pub month: u8,
    /// Day 1-31; FD = second last day of the month, FE = last day, FF = not specified.
    pub day: u8,
    /// Weekday, 1 = Monday, FF = not specified.
    pub weekday: u8,
}

/// A time of day in 4 octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Time {
    /// Hour 0-23, FF = not specified.
    pub hour: u8,
    /// Minute 0-59, FF = not specified.
    pub minute: u8,
    /// Second 0-59, FF = not specified.
    pub second: u8,
    /// Hundredths 0-99, FF = not specified.
    pub hundredths: u8,
}

/// A date-time in 12 octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DateTime {
    /// Local date.
    pub date: Date,
    /// Local time of day.
    pub time: Time,
    /// Minutes from local time to UTC (UTC+2 is -120), 8000 = not specified.
    pub deviation: i16,
    /// Clock status, bits of `status`; FF = not specified.
    pub status: u8,
}

impl Date {
    /// From its 5 octets.
    #[must_use]
    pub const fn from_octets(octets: [u8; 5]) -> Self {
        let [y1, y0, month, day, weekday] = octets;
        Self { year: u16::from_be_bytes([y1, y0]), month, day, weekday }
    }

    /// Its 5 octets.
    #[must_use]
    pub const fn to_octets(self) -> [u8; 5] {
        let [y1, y0] = self.year.to_be_bytes();
        [y1, y0, self.month, self.day, self.weekday]
    }

    /// Days since 1970-01-01, or None when a field is not specified or out of range.
    #[must_use]
    #[inline]
    pub const fn to_unix_days(self) -> Option<i64> {
        if self.year == YEAR_NOT_SPECIFIED || self.day == 0 {
            return None;
        }
        let month_days = match self.month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if is_leap(self.year) => 29,
            2 => 28,
            _ => return None,
        };
        if self.day > month_days {
            return None;
        }
        // Days from civil: years start in March, so that the leap day is the last of a year;
        // an era has 400 years = 146,097 days; 719,468 days lie between 0000-03-01 and 1970.
        let shift = (self.month <= 2) as i64;
        let year = self.year as i64 - shift;
        let month = self.month as i64 + 12 * shift - 3;
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let day_of_year = (153 * month + 2) / 5 + self.day as i64 - 1;
        let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + day_of_year;
        Some(era * 146_097 + day_of_era - 719_468)
    }

    /// The date of a day since 1970-01-01, or None outside of the years 0 to 65,534.
    #[must_use]
    pub fn from_unix_days(days: i64) -> Option<Self> {
        if !(-719_468..23_217_000).contains(&days) {
            return None;
        }
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        // 1970-01-01 was a Thursday, weekday 4.
        let weekday = (days + 3).rem_euclid(7) + 1;
        Some(Self {
            year: u16::try_from(era * 400 + year_of_era + carry).ok()?,
            month: u8::try_from(month).ok()?,
            day: u8::try_from(day).ok()?,
            weekday: u8::try_from(weekday).ok()?,
        })
    }
}

impl Time {
    /// From its 4 octets.
    #[must_use]
    pub const fn from_octets(octets: [u8; 4]) -> Self {
        let [hour, minute, second, hundredths] = octets;
        Self { hour, minute, second, hundredths }
    }

    /// Its 4 octets.
    #[must_use]
    pub const fn to_octets(self) -> [u8; 4] {
        [self.hour, self.minute, self.second, self.hundredths]
    }

    /// Seconds since midnight; a second that is not specified counts as 0, hour and minute must
    /// be specified. None when a field is out of range.
    #[must_use]
    #[inline]
    pub const fn to_seconds(self) -> Option<i64> {
        let second = if self.second == NOT_SPECIFIED { 0 } else { self.second };
        if self.hour > 23 || self.minute > 59 || second > 59 {
            return None;
        }
        Some(self.hour as i64 * 3600 + self.minute as i64 * 60 + second as i64)
    }
}

impl DateTime {
    /// Every field not specified.
    pub const NOT_SPECIFIED: Self =
        Self::from_octets([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x80, 0x00, 0xff]);

    /// From its 12 octets.
    #[must_use]
    #[inline]
    pub const fn from_octets(octets: [u8; 12]) -> Self {
        let [y1, y0, month, day, weekday, hour, minute, second, hundredths, d1, d0, status] =
            octets;
        Self {
            date: Date { year: u16::from_be_bytes([y1, y0]), month, day, weekday },
            time: Time { hour, minute, second, hundredths },
            deviation: i16::from_be_bytes([d1, d0]),
            status,
        }
    }

    /// From an octet-string.
    ///
    /// # Errors
    /// `Malformed` when it has not 12 octets.
    pub fn from_slice(octets: &[u8]) -> Result<Self, Error> {
        let octets = octets.try_into();
        octets.map(Self::from_octets).map_err(|_| Error::malformed(0, "a date-time has 12 octets"))
    }

    /// Its 12 octets.
    #[must_use]
    pub const fn to_octets(self) -> [u8; 12] {
        let [y1, y0, month, day, weekday] = self.date.to_octets();
        let [hour, minute, second, hundredths] = self.time.to_octets();
        let [d1, d0] = self.deviation.to_be_bytes();
        [y1, y0, month, day, weekday, hour, minute, second, hundredths, d1, d0, self.status]
    }

    /// Seconds since 1970-01-01 UTC = local seconds + deviation x 60. A deviation that is not
    /// specified is taken from `default_deviation` (minutes from local time to UTC). None when
    /// the date, the hour or the minute is not specified or out of range.
    #[must_use]
    #[inline]
    pub const fn to_unix_s(self, default_deviation: i16) -> Option<i64> {
        let deviation = match self.deviation {
            DEVIATION_NOT_SPECIFIED => default_deviation,
            specified => specified,
        };
        match (self.date.to_unix_days(), self.time.to_seconds()) {
            (Some(days), Some(seconds)) => Some(days * 86_400 + seconds + deviation as i64 * 60),
            _ => None,
        }
    }

    /// Minutes from local time to UTC: as specified, or else reckoned from those of standard
    /// time. While the status says daylight saving, local time is an hour ahead of it; so the
    /// hour that comes twice in autumn is told apart. A status that is not specified says
    /// nothing.
    #[must_use]
    #[inline]
    pub const fn deviation_or(self, standard: i16) -> i16 {
        match self.deviation {
            DEVIATION_NOT_SPECIFIED if self.is_summer() => standard.saturating_sub(SUMMER_MINUTES),
            DEVIATION_NOT_SPECIFIED => standard,
            specified => specified,
        }
    }

    /// Minutes from local standard time to UTC, when the deviation is specified.
    #[must_use]
    pub const fn standard_deviation(self) -> Option<i16> {
        match self.deviation {
            DEVIATION_NOT_SPECIFIED => None,
            summer if self.is_summer() => Some(summer.saturating_add(SUMMER_MINUTES)),
            standard => Some(standard),
        }
    }

    /// Whether the clock status says that daylight saving is active.
    #[must_use]
    pub const fn is_summer(self) -> bool {
        self.status != NOT_SPECIFIED && self.status & status::DAYLIGHT_SAVING != 0
    }

    /// The date-time of `unix_s` (UTC) in a zone with `deviation` minutes from local time to UTC,
    /// hundredths 0. A deviation that is not specified means that local time is UTC. A second
    /// before the year 0 or after 65,534 gives the date-time without any field specified.
    #[must_use]
    pub fn from_unix_s(unix_s: i64, deviation: i16, status: u8) -> Self {
        let minutes = if deviation == DEVIATION_NOT_SPECIFIED { 0 } else { deviation };
        let local = unix_s.saturating_sub(i64::from(minutes) * 60);
        let Some(date) = Date::from_unix_days(local.div_euclid(86_400)) else {
            return Self { status, ..Self::NOT_SPECIFIED };
        };
        let second = local.rem_euclid(86_400);
        let octet = |value: i64| u8::try_from(value).unwrap_or(NOT_SPECIFIED);
        let time = Time {
            hour: octet(second / 3600),
            minute: octet(second / 60 % 60),
            second: octet(second % 60),
            hundredths: 0,
        };
        Self { date, time, deviation, status }
    }

    /// Whether the status says that the time is invalid or doubtful (a status that is not
    /// specified says nothing).
    #[must_use]
    pub const fn is_doubtful(self) -> bool {
        self.status != NOT_SPECIFIED && self.status & (status::INVALID | status::DOUBTFUL) != 0
    }
}

const fn is_leap(year: u16) -> bool {
    (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
}

#[cfg(test)]
mod tests {
    use super::{Date, DateTime};

    fn check(octets: [u8; 12], default_deviation: i16, expect: Option<i64>) {
        let value = DateTime::from_octets(octets);
        assert_eq!(value.to_octets(), octets);
        assert_eq!(value.to_unix_s(default_deviation), expect, "{octets:02x?}");
    }

    #[test]
    fn standard_time_stands_in_and_the_status_tells_summer() {
        const UNSET: i16 = super::DEVIATION_NOT_SPECIFIED;
        for (deviation, status, reckoned, standard) in [
            (UNSET, 0x00, -60, None),
            (UNSET, 0x80, -120, None),
            (UNSET, 0x82, -120, None),
            // Not specified, which has the bit too.
            (UNSET, 0xff, -60, None),
            (-120, 0x80, -120, Some(-60)),
            (-60, 0x00, -60, Some(-60)),
            (-60, 0xff, -60, Some(-60)),
        ] {
            let time = DateTime { deviation, status, ..DateTime::NOT_SPECIFIED };
            let got = (time.deviation_or(-60), time.standard_deviation());
            assert_eq!(got, (reckoned, standard), "{deviation} {status:02x}");
        }
    }

    #[test]
    fn unix_seconds_of_published_clocks() {
        // Kaifa push: 2022-11-12 06(Sat) 16:54:00 UTC+1 (FFC4 = -60) -> 15:54 UTC.
        check([7, 0xe6, 11, 12, 6, 16, 54, 0, 0, 0xff, 0xc4, 0], 0, Some(1_668_268_440));
        // Not specified deviation takes the default, here UTC+1.
        check([7, 0xe6, 11, 12, 6, 16, 54, 0, 0, 0x80, 0, 0], -60, Some(1_668_268_440));
        check([7, 0xe6, 11, 12, 6, 16, 54, 0xff, 0xff, 0x80, 0, 0], -60, Some(1_668_268_440));
        check([0xff; 12], 0, None);
        check([7, 0xe7, 2, 29, 0xff, 0, 0, 0, 0, 0, 0, 0], 0, None);
        check([7, 0xe6, 0xfd, 1, 1, 0, 0, 0, 0, 0, 0, 0], 0, None);
        check([7, 0xb2, 1, 1, 4, 0, 0, 0, 0, 0, 0, 0], 0, Some(0));
    }

    #[test]
    fn from_and_to_agree_across_four_centuries() {
        for day in (-200_000i64..200_000).step_by(17) {
            let date = Date::from_unix_days(day).unwrap();
            assert_eq!(date.to_unix_days(), Some(day));
        }
        for unix_s in [0i64, -1, 1_668_268_440, 4_102_444_800, 951_782_399] {
            for deviation in [-120i16, -60, 0, 330, i16::MIN] {
                let value = DateTime::from_unix_s(unix_s, deviation, 0);
                assert_eq!(value.to_unix_s(0), Some(unix_s));
            }
        }
        let sunday = DateTime::from_unix_s(1_668_268_440 + 86_400, -60, 0);
        assert_eq!(sunday.date.weekday, 7);
        assert_eq!(DateTime::from_unix_s(i64::MAX, 0, 0).to_unix_s(0), None);
    }
}
