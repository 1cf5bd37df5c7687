//! Class 8, clock (Blue Book 4.5.1). Its times are those of `datetime`; how a deviation turns
//! into UTC is known there.

use super::value::{Wrong, class, codes, structure};
use super::{Call, call};
use crate::apdu::{AttributeRef, LogicalName};
use crate::datetime::DateTime;

/// Logical name of the clock.
pub const NAME: [u8; 6] = [0, 0, 1, 0, 0, 255];
/// The time attribute of the clock, first column of most profiles.
pub const TIME_OF_CLOCK: AttributeRef = AttributeRef::new(ID, NAME, TIME);
/// The most seconds that `shift_time` moves, either way.
pub const MAX_SHIFT_S: i16 = 900;

codes! {
    /// Where the time comes from.
    ClockBase {
        /// Not defined.
        0 NotDefined,
        /// Internal crystal.
        1 Crystal,
        /// Mains, 50 Hz.
        2 Mains50,
        /// Mains, 60 Hz.
        3 Mains60,
        /// Satellites.
        4 Satellite,
        /// Radio.
        5 Radio,
    }
}

class! {
    /// Class 8, clock.
    Clock, 8, "clock", versions 0 to 0;
    attributes {
        /// time: local, with its deviation.
        2 TIME time: DateTime,
        /// time_zone: minutes from local time to UTC.
        3 TIME_ZONE time_zone: i16,
        /// status.
        4 STATUS status: u8,
        /// daylight_savings_begin.
        5 DST_BEGIN daylight_savings_begin: DateTime,
        /// daylight_savings_end.
        6 DST_END daylight_savings_end: DateTime,
        /// daylight_savings_deviation, minutes.
        7 DST_DEVIATION daylight_savings_deviation: i8,
        /// daylight_savings_enabled.
        8 DST_ENABLED daylight_savings_enabled: bool,
        /// clock_base.
        9 CLOCK_BASE clock_base: ClockBase,
    }
    methods {
        /// Method adjust_to_quarter.
        1 ADJUST_TO_QUARTER "adjust_to_quarter",
        /// Method adjust_to_measuring_period.
        2 ADJUST_TO_PERIOD "adjust_to_measuring_period",
        /// Method adjust_to_minute.
        3 ADJUST_TO_MINUTE "adjust_to_minute",
        /// Method adjust_to_preset_time.
        4 ADJUST_TO_PRESET "adjust_to_preset_time",
        /// Method preset_adjusting_time.
        5 PRESET "preset_adjusting_time",
        /// Method shift_time, -900 to 900 seconds.
        6 SHIFT_TIME "shift_time",
    }
}

structure! {
    /// A time that is set when `adjust_to_preset_time` comes within a span.
    Preset {
        /// The time to set.
        preset_time: DateTime,
        /// Begin of the span.
        validity_interval_start: DateTime,
        /// End of the span.
        validity_interval_end: DateTime,
    }
}

/// To the nearest quarter of an hour.
#[must_use]
pub fn adjust_to_quarter(name: LogicalName) -> Call {
    call(ID, name, ADJUST_TO_QUARTER, &0i8)
}

/// To the nearest begin of a measuring period.
#[must_use]
pub fn adjust_to_measuring_period(name: LogicalName) -> Call {
    call(ID, name, ADJUST_TO_PERIOD, &0i8)
}

/// To the nearest minute.
#[must_use]
pub fn adjust_to_minute(name: LogicalName) -> Call {
    call(ID, name, ADJUST_TO_MINUTE, &0i8)
}

/// To the preset time.
#[must_use]
pub fn adjust_to_preset_time(name: LogicalName) -> Call {
    call(ID, name, ADJUST_TO_PRESET, &0i8)
}

/// Sets the preset time.
#[must_use]
pub fn preset_adjusting_time(name: LogicalName, preset: &Preset) -> Call {
    call(ID, name, PRESET, preset)
}

/// Moves the clock by so many seconds.
///
/// # Errors
/// More than 900 seconds either way: the clock is to be set instead.
pub fn shift_time(name: LogicalName, seconds: i16) -> Result<Call, Wrong> {
    if !(-MAX_SHIFT_S..=MAX_SHIFT_S).contains(&seconds) {
        return Err(Wrong { field: "shift_time", expected: "-900 to 900 seconds" });
    }
    Ok(call(ID, name, SHIFT_TIME, &seconds))
}
