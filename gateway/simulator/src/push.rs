//! Profile pushes: which stretch of the field comes next, and what stands in it.
//!
//! It sends nothing. Invariants: a stretch gives the same rows and octets whenever it is computed;
//! stretches follow each other without hole or overlap, meter by meter; the body of a push fits
//! [`BODY_OCTETS`].

use std::collections::BTreeMap;

use cosem::{Data, DateTime};

use crate::field::{ConcentratorModel, PROFILE_DAYS, Past, Row, STATUS_CLOCK_DOUBTFUL};
use crate::happenings::What;
use crate::objects::memory::MeterMemory;
use crate::state::{Memory, Stretch};

/// Longest body of a push: leaves room in a frame for notification header, ciphering and wrapper.
pub const BODY_OCTETS: usize = 60_000;
/// Most interval ends of one meter in a push.
const SLOTS_A_PUSH: i64 = 16;
/// Octets of everything that stands once in a body, generously.
const HEAD_OCTETS: usize = 256;
/// Octets that stand once for a meter: structure, serial of up to 32, array with its count.
const METER_OCTETS: usize = 2 + 34 + 4;
/// Longest row: structure, clock, status and two u64.
const ROW_OCTETS: usize = 2 + 14 + 2 + 9 + 9;

/// Logical name of the push setup for profiles.
pub const PROFILE_PUSH: [u8; 6] = [0, 5, 25, 9, 0, 255];
/// Load profile 1.
pub const LOAD_PROFILE: [u8; 6] = [1, 0, 99, 1, 0, 255];
/// Clock.
pub const CLOCK: [u8; 6] = [0, 0, 1, 0, 0, 255];
/// Status of the profile.
pub const STATUS: [u8; 6] = [0, 0, 96, 10, 1, 255];
/// Register A+.
pub const IMPORT: [u8; 6] = [1, 0, 1, 8, 0, 255];
/// Register A-.
pub const EXPORT: [u8; 6] = [1, 0, 2, 8, 0, 255];
/// Unit Wh (IEC 62056-6-2).
pub const WATT_HOUR: u8 = 30;

/// Plans the next push, or nothing when all that was captured is planned. The plan is entered in
/// the memory, which must be kept before the push is sent. The number of rows that fell out of the
/// meters' memory is returned beside it.
pub fn plan(
    memory: &mut Memory,
    first_s: i64,
    now_s: i64,
    interval_s: u32,
    meters: u32,
) -> (Option<Stretch>, u64) {
    if meters == 0 {
        return (None, 0);
    }
    let (group, expired) = match memory.unfinished.take() {
        Some(group) => (group, 0),
        None => match next_group(memory, first_s, now_s, interval_s, meters) {
            (Some(group), expired) => (group, expired),
            (None, expired) => return (None, expired),
        },
    };
    let left = meters.saturating_sub(group.first_meter);
    let stretch =
        Stretch { sequence: memory.next_sequence, meters: group.meters.min(left), ..group };
    let first_meter = stretch.first_meter + stretch.meters;
    if first_meter < meters {
        memory.unfinished = Some(Stretch { first_meter, ..group });
    }
    memory.next_sequence = memory.next_sequence.wrapping_add(1);
    memory.unacknowledged.push(stretch);
    (Some(stretch), expired)
}

/// The next stretch of time with the greatest group of meters that fits a push.
fn next_group(
    memory: &mut Memory,
    first_s: i64,
    now_s: i64,
    interval_s: u32,
    meters: u32,
) -> (Option<Stretch>, u64) {
    let period = i64::from(interval_s.max(1));
    let latest = now_s.div_euclid(period) * period;
    let planned = memory.planned_to_s.unwrap_or(first_s - 1);
    let mut from_s = (planned.div_euclid(period) + 1) * period;
    let oldest = latest - PROFILE_DAYS * 86_400;
    let mut expired = 0;
    if from_s < oldest {
        expired = u64::from(meters) * ((oldest - from_s) / period) as u64;
        from_s += (oldest - from_s) / period * period;
    }
    // While it was off it collected nothing.
    let mut until_s = latest;
    if let Some((off_s, on_s)) = memory.off {
        if from_s > off_s && from_s <= on_s {
            from_s = (on_s.div_euclid(period) + 1) * period;
        }
        if from_s <= off_s {
            until_s = until_s.min(off_s.div_euclid(period) * period);
        }
    }
    if from_s > until_s {
        return (None, expired);
    }
    let slots = ((until_s - from_s) / period + 1).min(SLOTS_A_PUSH);
    let to_s = from_s + (slots - 1) * period;
    let room = BODY_OCTETS - HEAD_OCTETS;
    let group = (room / (METER_OCTETS + slots as usize * ROW_OCTETS)).max(1) as u32;
    memory.planned_to_s = Some(to_s);
    let (sequence, first_meter, what) = (0, 0, What::Profile);
    let meters = group;
    let stretch = Stretch { sequence, from_s, to_s, interval_s, first_meter, meters, what };
    (Some(stretch), expired)
}

/// Forgets everything up to and with `sequence`; gives what was forgotten.
pub fn acknowledge(memory: &mut Memory, sequence: u32) -> Vec<Stretch> {
    let done = memory.unacknowledged.iter().take_while(|s| s.sequence <= sequence).count();
    memory.unacknowledged.drain(..done).collect()
}

/// The rows of a stretch, meter by meter; meters without rows are left out. `meters` is what was
/// done to them.
#[must_use]
pub fn rows(
    model: &ConcentratorModel,
    stretch: &Stretch,
    meters: &BTreeMap<String, MeterMemory>,
) -> Vec<(String, Vec<Row>)> {
    let untouched = Past::default();
    let first = stretch.first_meter as usize;
    let period = i64::from(stretch.interval_s.max(1));
    let of = |meter: &crate::field::MeterModel| {
        let past = meters.get(&meter.serial).map_or(&untouched, |memory| &memory.past);
        let mut player = meter.player_after(past);
        let slots = (stretch.to_s - stretch.from_s) / period + 1;
        let rows: Vec<Row> = (0..slots)
            .filter_map(|slot| player.row(stretch.from_s + slot * period, stretch.interval_s))
            .collect();
        (!rows.is_empty()).then(|| (meter.serial.clone(), rows))
    };
    model.meters.iter().skip(first).take(stretch.meters as usize).filter_map(of).collect()
}

/// The body of the notification of a push (docs/reference/concentrator.md, profile push).
#[must_use]
pub fn body(ldn: &str, stretch: &Stretch, rows: &[(String, Vec<Row>)]) -> Data {
    Data::Structure(vec![
        Data::octets(ldn.as_bytes()),
        Data::octets(&PROFILE_PUSH),
        Data::U32(stretch.sequence),
        Data::octets(&LOAD_PROFILE),
        Data::U32(stretch.interval_s),
        Data::Array(pushed_objects()),
        meters_rows(stretch.interval_s, rows),
    ])
}

/// The answer of a concentrator's store: the number of rows, then as in a push from its profile on.
#[must_use]
pub fn stored(total: usize, interval_s: u32, rows: &[(String, Vec<Row>)]) -> Data {
    Data::Structure(vec![
        Data::U32(u32::try_from(total).unwrap_or(u32::MAX)),
        Data::octets(&LOAD_PROFILE),
        Data::U32(interval_s),
        Data::Array(pushed_objects()),
        meters_rows(interval_s, rows),
    ])
}

fn meters_rows(interval_s: u32, rows: &[(String, Vec<Row>)]) -> Data {
    let of = |(serial, rows): &(String, Vec<Row>)| {
        let rows = encode_rows(rows, interval_s);
        Data::Structure(vec![Data::octets(serial.as_bytes()), Data::Array(rows)])
    };
    Data::Array(rows.iter().map(of).collect())
}

/// Rows as structures; a clock that is one period after the row before is null-data.
#[must_use]
pub fn encode_rows(rows: &[Row], interval_s: u32) -> Vec<Data> {
    let mut before: Option<i64> = None;
    let mut encoded = Vec::with_capacity(rows.len());
    for row in rows {
        let follows = before.is_some_and(|end| end + i64::from(interval_s) == row.end_s);
        let clock = if follows { Data::Null } else { clock(row.end_s, row.status) };
        before = Some(row.end_s);
        encoded.push(Data::Structure(vec![
            clock,
            Data::U8(row.status),
            energy(Some(row.import_wh)),
            energy(row.export_wh),
        ]));
    }
    encoded
}

/// A time as an octet-string of 12, in UTC.
#[must_use]
pub fn clock(at_s: i64, status: u8) -> Data {
    let doubtful = cosem::datetime::status::DOUBTFUL;
    let status = if status & STATUS_CLOCK_DOUBTFUL == 0 { 0 } else { doubtful };
    Data::octets(&DateTime::from_unix_s(at_s, 0, status).to_octets())
}

/// A register value: u32 as long as it fits.
#[must_use]
pub fn energy(value_wh: Option<u64>) -> Data {
    match value_wh {
        None => Data::Null,
        Some(value) => u32::try_from(value).map_or(Data::U64(value), Data::U32),
    }
}

/// Class, logical name and attribute of the columns of the load profile.
pub const COLUMNS: [(u16, [u8; 6], i8); 4] =
    [(8, CLOCK, 2), (1, STATUS, 2), (3, IMPORT, 2), (3, EXPORT, 2)];

fn pushed_objects() -> Vec<Data> {
    COLUMNS
        .iter()
        .map(|(class, name, attribute)| {
            let unit = if *class == 3 { WATT_HOUR } else { cosem::scaler::unit::NONE };
            Data::Structure(vec![
                Data::U16(*class),
                Data::octets(name),
                Data::I8(*attribute),
                Data::U16(0),
                Data::I8(0),
                Data::Enum(unit),
            ])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{BODY_OCTETS, acknowledge, body, plan, rows};
    use crate::field::{FieldConfig, concentrators};
    use crate::state::Memory;

    const NOV: i64 = 1_795_305_600;

    #[test]
    fn stretches_cover_every_meter_and_slot_once() {
        let (meters, interval) = (1_024_u32, 900_u32);
        let mut memory = Memory::new(1, 0);
        let mut covered = std::collections::BTreeMap::new();
        // History first, then slot by slot, as a live field does.
        for now in [NOV + 40 * 900, NOV + 41 * 900, NOV + 42 * 900 + 5] {
            while let (Some(s), 0) = plan(&mut memory, NOV, now, interval, meters) {
                for end in (s.from_s..=s.to_s).step_by(900) {
                    for meter in s.first_meter..s.first_meter + s.meters {
                        *covered.entry((meter, end)).or_insert(0) += 1;
                    }
                }
            }
        }
        assert_eq!(covered.len(), 1_024 * 43);
        assert!(covered.values().all(|times| *times == 1));
        let sequences: Vec<u32> = memory.unacknowledged.iter().map(|s| s.sequence).collect();
        assert_eq!(sequences, (1..=sequences.len() as u32).collect::<Vec<_>>());
        let gone = acknowledge(&mut memory, 3);
        assert_eq!(gone.iter().map(|s| s.sequence).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(acknowledge(&mut memory, 3).is_empty());
    }

    #[test]
    fn what_came_while_it_was_off_is_not_pushed() {
        let (off_s, on_s) = (NOV + 3 * 900, NOV + 50 * 900);
        let mut memory = Memory { off: Some((off_s, on_s)), ..Memory::new(1, 0) };
        let mut ends = Vec::new();
        for now in [NOV + 40 * 900, NOV + 50 * 900 + 899, NOV + 80 * 900] {
            while let (Some(stretch), _) = plan(&mut memory, NOV, now, 900, 1) {
                ends.extend((stretch.from_s..=stretch.to_s).step_by(900));
            }
        }
        let expect: Vec<i64> = (0..=3).chain(51..=80).map(|slot| NOV + slot * 900).collect();
        assert_eq!(ends, expect);
    }

    #[test]
    fn what_a_meter_no_longer_holds_is_skipped_and_counted() {
        let mut memory = Memory::new(1, 0);
        let now = NOV + 50 * 86_400;
        let (stretch, expired) = plan(&mut memory, NOV, now, 900, 10);
        assert_eq!(stretch.map(|s| s.from_s), Some(NOV + 10 * 86_400));
        assert_eq!(expired, 10 * 10 * 96);
    }

    #[test]
    fn the_greatest_body_fits_and_decodes() {
        let field =
            concentrators(&FieldConfig { meters: 1_024, gaps_ppm: 0, ..FieldConfig::default() });
        for now in [NOV, NOV + 15 * 900] {
            let mut memory = Memory::new(1, 0);
            let (stretch, _) = plan(&mut memory, NOV, now, 900, 1_024);
            let stretch = stretch.unwrap();
            let octets =
                body(&field[0].ldn, &stretch, &rows(&field[0], &stretch, &memory.meters)).to_axdr();
            assert!(octets.len() <= BODY_OCTETS, "{}", octets.len());
            assert!(cosem::Data::decode(&octets).is_ok());
        }
    }
}
