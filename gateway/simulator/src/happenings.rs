//! What happens to meters and concentrators of the field and is told at once: power cuts of all
//! meters, and the concentrator's own events (docs/reference/concentrator.md, events).
//!
//! It sends nothing. Invariants: an event is planned once and stands in the memory with its
//! sequence before it is sent; sent again it is the same; the meters' part of a body fits a push.

use cosem::apdu::EventNotification;
use cosem::{AttributeRef, Data, DateTime};
use serde::{Deserialize, Serialize};

use crate::field::ConcentratorModel;
use crate::push::{CLOCK, PROFILE_PUSH, clock};
use crate::state::{Memory, Stretch};

/// The meters' standard event log, and the object of its last event (IEC 62056-6-1).
const EVENT_LOG: [u8; 6] = [0, 0, 99, 98, 0, 255];
/// The object whose value is the code of an event.
pub const EVENT_CODE: [u8; 6] = [0, 0, 96, 11, 0, 255];
/// Within so many seconds the meters of a concentrator lose or get power.
pub const SPREAD_S: i64 = 10;
/// The most own events that wait; more are lost, as in a device with a short memory.
const MAX_WAITING: usize = 256;

/// Codes of a concentrator's own events.
pub mod code {
    /// Its supply is gone; it runs on its battery.
    pub const POWER_DOWN: u8 = 1;
    /// Its supply is back.
    pub const POWER_UP: u8 = 2;
    /// It has started.
    pub const RESTARTED: u8 = 3;
    /// Its clock was set or shifted.
    pub const CLOCK_SET: u8 = 4;
    /// A meter does not answer any more.
    pub const METER_LOST: u8 = 5;
    /// It answers again.
    pub const METER_FOUND: u8 = 6;
    /// The connection that carried data was lost.
    pub const CHANNEL_LOST: u8 = 7;
    /// Data is carried again.
    pub const CHANNEL_RESTORED: u8 = 8;
    /// Its door was opened.
    pub const COVER_OPENED: u8 = 9;
}

/// What a push carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum What {
    /// Rows of the load profile.
    #[default]
    Profile,
    /// Events of meters with this code.
    Meters(u8),
    /// An event of the concentrator with this code.
    Own(u8),
}

/// A power cut of all meters, true time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blackout {
    /// When the first meter loses power.
    pub down_s: i64,
    /// When the first has it again.
    pub up_s: i64,
    /// Up to here all is planned.
    pub planned_to_s: i64,
}

/// An own event that waits for its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// When it happened.
    pub at_s: i64,
    /// What.
    pub code: u8,
    /// Place of the meter that it is about.
    pub meter: Option<u32>,
}

/// Notes an own event.
pub fn note(memory: &mut Memory, at_s: i64, code: u8, meter: Option<u32>) {
    if memory.happened.len() < MAX_WAITING {
        memory.happened.push(Waiting { at_s, code, meter });
    }
}

/// When meter `nth` of `meters` loses or gets power, seconds after the first.
fn delay_s(nth: u32, meters: u32) -> i64 {
    i64::from(nth) * SPREAD_S / i64::from(meters.max(1))
}

/// The next event that is due, with its sequence; it is entered in the memory.
pub fn plan(memory: &mut Memory, now_s: i64, meters: u32) -> Option<Stretch> {
    let stretch = match memory.happened.is_empty() {
        false => own(memory.happened.remove(0)),
        true => of_meters(memory.blackout.as_mut()?, now_s, meters)?,
    };
    let stretch = Stretch { sequence: memory.next_sequence, ..stretch };
    memory.next_sequence = memory.next_sequence.wrapping_add(1);
    memory.unacknowledged.push(stretch);
    Some(stretch)
}

fn own(event: Waiting) -> Stretch {
    Stretch {
        sequence: 0,
        from_s: event.at_s,
        to_s: event.at_s,
        interval_s: 0,
        first_meter: event.meter.unwrap_or(0),
        meters: u32::from(event.meter.is_some()),
        what: What::Own(event.code),
    }
}

fn of_meters(blackout: &mut Blackout, now_s: i64, meters: u32) -> Option<Stretch> {
    let phases = [(blackout.down_s, code::POWER_DOWN), (blackout.up_s, code::POWER_UP)];
    for (begin_s, code) in phases {
        let from_s = begin_s.max(blackout.planned_to_s + 1);
        let to_s = now_s.min(begin_s + SPREAD_S - 1);
        if from_s > to_s {
            continue;
        }
        blackout.planned_to_s = to_s;
        let what = What::Meters(code);
        return Some(Stretch {
            sequence: 0,
            from_s,
            to_s,
            interval_s: 0,
            first_meter: 0,
            meters,
            what,
        });
    }
    None
}

/// When the next event of meters is due, true time.
#[must_use]
pub fn next_s(memory: &Memory) -> Option<i64> {
    let blackout = memory.blackout?;
    let phases = [blackout.down_s, blackout.up_s];
    let next = phases.map(|begin_s| {
        let next_s = begin_s.max(blackout.planned_to_s + 1);
        (next_s < begin_s + SPREAD_S).then_some(next_s)
    });
    next.into_iter().flatten().min()
}

/// Meters with the second of their event within a stretch.
#[must_use]
pub fn meters(model: &ConcentratorModel, stretch: &Stretch, memory: &Memory) -> Vec<(String, i64)> {
    let (What::Meters(code), Some(blackout)) = (stretch.what, memory.blackout) else {
        return Vec::new();
    };
    let begin_s = if code == code::POWER_DOWN { blackout.down_s } else { blackout.up_s };
    let all = u32::try_from(model.meters.len()).unwrap_or(u32::MAX);
    let of = |(nth, meter): (u32, &crate::field::MeterModel)| {
        let at_s = begin_s + delay_s(nth, all);
        (stretch.from_s..=stretch.to_s).contains(&at_s).then(|| (meter.serial.clone(), at_s))
    };
    (0..).zip(&model.meters).filter_map(of).collect()
}

/// The body of a push of meters' events.
#[must_use]
pub fn body(ldn: &str, stretch: &Stretch, meters: &[(String, i64)]) -> Data {
    let code = match stretch.what {
        What::Meters(code) | What::Own(code) => code,
        What::Profile => 0,
    };
    let column = |class: u16, name: &[u8; 6]| {
        Data::Structure(vec![
            Data::U16(class),
            Data::octets(name),
            Data::I8(2),
            Data::U16(0),
            Data::I8(0),
            Data::Enum(cosem::scaler::unit::NONE),
        ])
    };
    let row = |at_s: i64| Data::Structure(vec![clock(at_s, 0), Data::U8(code)]);
    let rows = meters.iter().map(|(serial, at_s)| {
        Data::Structure(vec![Data::octets(serial.as_bytes()), Data::Array(vec![row(*at_s)])])
    });
    Data::Structure(vec![
        Data::octets(ldn.as_bytes()),
        Data::octets(&PROFILE_PUSH),
        Data::U32(stretch.sequence),
        Data::octets(&EVENT_LOG),
        Data::U32(0),
        Data::Array(vec![column(8, &CLOCK), column(1, &EVENT_CODE)]),
        Data::Array(rows.collect()),
    ])
}

/// An own event as it is sent.
#[must_use]
pub fn notification(model: &ConcentratorModel, stretch: &Stretch, code: u8) -> EventNotification {
    let about = model.meters.get(stretch.first_meter as usize).filter(|_| stretch.meters > 0);
    let about = about.map(|meter| meter.serial.as_str()).unwrap_or_default();
    EventNotification {
        time: Some(DateTime::from_unix_s(stretch.from_s, 0, 0)),
        attribute: AttributeRef::new(1, EVENT_CODE, 2),
        value: Data::Structure(vec![
            Data::octets(model.ldn.as_bytes()),
            Data::U32(stretch.sequence),
            Data::U16(u16::from(code)),
            Data::octets(about.as_bytes()),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::{Blackout, What, body, code, meters, next_s, note, plan};
    use crate::field::{FieldConfig, concentrators};
    use crate::push::BODY_OCTETS;
    use crate::state::Memory;

    const NOV: i64 = 1_795_305_600;

    #[test]
    fn every_meter_loses_and_gets_power_once_and_the_greatest_push_fits() {
        let field = concentrators(&FieldConfig { meters: 1_024, ..FieldConfig::default() });
        let mut memory = Memory::new(1, 0);
        let blackout = Blackout { down_s: NOV, up_s: NOV + 60, planned_to_s: NOV - 100 };
        memory.blackout = Some(blackout);
        assert_eq!(plan(&mut memory, NOV - 1, 1_024), None);
        let mut seen = std::collections::BTreeMap::new();
        // One push a second, then a concentrator that was busy for a minute.
        for now_s in (NOV..NOV + 12).chain([NOV + 80]) {
            while let Some(stretch) = plan(&mut memory, now_s, 1_024) {
                let found = meters(&field[0], &stretch, &memory);
                assert!(!found.is_empty());
                let octets = body("X", &stretch, &found).to_axdr().len();
                assert!(octets <= BODY_OCTETS, "{octets}");
                for (serial, at_s) in found {
                    assert!((stretch.from_s..=stretch.to_s).contains(&at_s));
                    *seen.entry((serial, stretch.what)).or_insert(0) += 1;
                }
            }
        }
        assert_eq!(seen.len(), 2 * 1_024);
        assert!(seen.values().all(|times| *times == 1));
        assert_eq!(next_s(&memory), None);
    }

    #[test]
    fn own_events_come_first_and_in_order() {
        let mut memory = Memory::new(1, 0);
        memory.blackout = Some(Blackout { down_s: NOV, up_s: NOV + 60, planned_to_s: NOV - 1 });
        note(&mut memory, NOV - 5, code::RESTARTED, None);
        note(&mut memory, NOV - 4, code::METER_LOST, Some(3));
        let whats: Vec<What> = std::iter::from_fn(|| plan(&mut memory, NOV, 10))
            .take(3)
            .map(|stretch| stretch.what)
            .collect();
        let wanted = [What::Own(3), What::Own(5), What::Meters(1)];
        assert_eq!(whats, wanted);
        for _ in 0..1_000 {
            note(&mut memory, NOV, code::CHANNEL_LOST, None);
        }
        assert_eq!(memory.happened.len(), 256);
    }
}
