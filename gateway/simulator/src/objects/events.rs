//! Event logs, alarms and errors: what happened to the meter, by logs and by bits.
//!
//! Codes and bits are those of IDIS. Invariants: a log is in order of time and at most
//! [`LOG_ENTRIES`] long; a bit falls only where somebody wrote it as 1.

use cosem::{Data, DataAccessError};

use super::Meter;
use super::memory::{Event, LOG_ENTRIES};
use crate::mix;

/// Standard log.
pub const STANDARD: u8 = 0;
/// Fraud detection log.
pub const FRAUD: u8 = 1;
/// Disconnector log.
pub const SWITCH: u8 = 2;
/// Power quality log.
pub const QUALITY: u8 = 4;
/// Communication log.
pub const COMMUNICATION: u8 = 5;
/// How far back the logs see what the street did by itself.
const SIGHT_S: i64 = 400 * 86_400;
/// Error bit: replace battery. One meter in 50 has it.
const BATTERY_PPM: u32 = 20_000;

/// Bits of the alarm registers that an event of a log raises: register and bit.
fn alarm_of(log: u8, code: u8) -> Option<(usize, u32)> {
    Some(match (log, code) {
        (STANDARD, 6) => (0, 0),
        (STANDARD, 7 | 8) => (0, 1),
        (STANDARD, 15) => (0, 12),
        (FRAUD, 40 | 42 | 44 | 46 | 49 | 50) => (0, 13),
        (FRAUD, 48) => (1, 13),
        (QUALITY, 82..=84) => (1, u32::from(code) - 80),
        (QUALITY, 85..=87) => (1, u32::from(code) - 80),
        (COMMUNICATION, 53) => (1, 18),
        _ => return None,
    })
}

impl Meter<'_> {
    /// Records an event and raises its alarm.
    pub fn happened(&mut self, log: u8, code: u8) {
        self.memory.record(log, self.moment.now_s, code);
        if let Some((register, bit)) = alarm_of(log, code) {
            let bit = 1 << bit;
            let filter = self.filter(register);
            let fresh = self.memory.alarms[register] & bit == 0;
            self.memory.alarms[register] |= bit;
            if fresh && filter & bit != 0 {
                self.memory.descriptors[register] |= bit;
            }
        }
    }

    fn filter(&self, register: usize) -> u32 {
        let name = [0, 0, 97, 98, 10 + u8::from(register == 1), 255];
        self.current(1, name, 2).as_u64().and_then(|bits| u32::try_from(bits).ok()).unwrap_or(0)
    }

    /// A log: what was recorded and what the street did, in order of time.
    #[must_use]
    pub fn log(&self, log: u8) -> Vec<Event> {
        let mut list = self.memory.events.get(&log).cloned().unwrap_or_default();
        let now = self.moment.now_s;
        let outages = || self.model.outages_within(now - SIGHT_S, now, LOG_ENTRIES);
        let mut both = |begin: u8, end: u8| {
            for (from_s, to_s) in outages() {
                list.push(Event { at_s: from_s, code: begin });
                list.push(Event { at_s: to_s, code: end });
            }
        };
        match log {
            STANDARD => both(1, 2),
            QUALITY => (0..self.model.phases).for_each(|phase| both(82 + phase, 85 + phase)),
            _ => {}
        }
        list.sort_by_key(|event| event.at_s);
        let surplus = list.len().saturating_sub(LOG_ENTRIES);
        list.split_off(surplus)
    }

    /// The last event of a log; 0 before the first.
    #[must_use]
    pub fn last_event(&self, log: u8) -> Data {
        Data::U8(self.log(log).last().map_or(0, |event| event.code))
    }

    /// The error register: bit 1 is a battery that should be replaced, bit 0 an invalid clock.
    #[must_use]
    pub fn errors(&self) -> u32 {
        let battery = mix::happens(mix::at(self.model.seed, 60, 0), BATTERY_PPM);
        let clock = self.offset_at(self.moment.now_s) != 0;
        let bits = u32::from(battery) << 1 | u32::from(clock);
        bits & !self.memory.errors_cleared
    }

    /// Writes 1-bits that are to fall.
    ///
    /// # Errors
    /// `TypeUnmatched` for anything but 32 bits.
    pub(super) fn clear_bits(&mut self, what: Bits, value: &Data) -> Result<(), DataAccessError> {
        let Data::U32(bits) = value else { return Err(DataAccessError::TypeUnmatched) };
        match what {
            Bits::Errors => {
                self.memory.errors_cleared |= bits;
                self.happened(STANDARD, 10);
            }
            Bits::Alarm(register) => {
                self.memory.alarms[usize::from(register.min(1))] &= !bits;
                self.happened(STANDARD, 11);
            }
            Bits::Descriptor(register) => {
                self.memory.descriptors[usize::from(register.min(1))] &= !bits;
            }
        }
        Ok(())
    }
}

/// Registers that are written with 1-bits to clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bits {
    /// The error register.
    Errors,
    /// Alarm register 0 or 1.
    Alarm(u8),
    /// Alarm descriptor 0 or 1.
    Descriptor(u8),
}
