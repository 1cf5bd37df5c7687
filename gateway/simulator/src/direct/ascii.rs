//! What a meter says in IEC 62056-21: data readout, register reads, load profile, and the clock
//! that may be set.
//!
//! Codes are the short ones of DIN 43863-3 / OBIS, energy in kWh with three decimals. Invariant:
//! whatever is asked, the answer is a data set or an error text, never silence.

use bytes::Bytes;
use cosem::class::profile::Range;
use cosem::iec62056_21::{Command, DataSet, Reply, Value, data};
use cosem::{AttributeRef, Data, DateTime};

use super::DirectField;
use crate::concentrator::Now;
use crate::objects::catalogue::{BILLING, Name};
use crate::objects::{Meter, Who};
use crate::push::{CLOCK, LOAD_PROFILE};

/// Bit of the status of a profile row in VDEW form: power failed.
const VDEW_POWER_FAILURE: u8 = 0x80;
/// Rows of a load profile in one answer.
const MOST_ROWS: usize = 3_840;
/// A parameter that may be written: the owner's mark (1-0:0.0.1).
const MARK: &str = "0.0.1";
const MARK_NAME: Name = [1, 0, 0, 0, 1, 255];
const BAD_COMMAND: &str = "ER01";
const NOT_THERE: &str = "ER07";
const NOT_ALLOWED: &str = "ER06";

/// How a register is written: value groups C and E, and its look.
struct Shown {
    c: u8,
    d: u8,
    e: u8,
    /// Digits before and behind the point.
    digits: (usize, usize),
    unit: &'static str,
}

const fn shown(cde: [u8; 3], digits: (usize, usize), unit: &'static str) -> Shown {
    let [c, d, e] = cde;
    Shown { c, d, e, digits, unit }
}

const ENERGY: (usize, usize) = (7, 3);

/// The registers of a readout; those that a meter does not have are left out.
const SHOWN: [Shown; 26] = [
    shown([1, 8, 0], ENERGY, "kWh"),
    shown([2, 8, 0], ENERGY, "kWh"),
    shown([3, 8, 0], ENERGY, "kvarh"),
    shown([4, 8, 0], ENERGY, "kvarh"),
    shown([1, 8, 1], ENERGY, "kWh"),
    shown([1, 8, 2], ENERGY, "kWh"),
    shown([1, 8, 3], ENERGY, "kWh"),
    shown([1, 8, 4], ENERGY, "kWh"),
    shown([2, 8, 1], ENERGY, "kWh"),
    shown([2, 8, 2], ENERGY, "kWh"),
    shown([2, 8, 3], ENERGY, "kWh"),
    shown([2, 8, 4], ENERGY, "kWh"),
    shown([1, 7, 0], (3, 3), "kW"),
    shown([2, 7, 0], (3, 3), "kW"),
    shown([3, 7, 0], (3, 3), "kvar"),
    shown([4, 7, 0], (3, 3), "kvar"),
    shown([32, 7, 0], (3, 1), "V"),
    shown([52, 7, 0], (3, 1), "V"),
    shown([72, 7, 0], (3, 1), "V"),
    shown([31, 7, 0], (3, 2), "A"),
    shown([51, 7, 0], (3, 2), "A"),
    shown([71, 7, 0], (3, 2), "A"),
    shown([91, 7, 0], (3, 2), "A"),
    shown([13, 7, 0], (1, 3), ""),
    shown([14, 7, 0], (2, 2), "Hz"),
    shown([1, 6, 0], (3, 3), "kW"),
];

/// The data readout.
pub fn readout(field: &DirectField, place: usize, now: Now) -> Reply {
    let sets = field.locally(place, now, all).unwrap_or_default();
    match data::encode(&sets) {
        Ok(octets) => Reply::Data(octets.into()),
        Err(_) => Reply::Error(BAD_COMMAND.to_owned()),
    }
}

/// What a mode D meter sends: identification and data, without check character.
pub fn unasked(field: &DirectField, place: usize, now: Now) -> Bytes {
    let mut octets = b"/HFd3SIM D\r\n\r\n".to_vec();
    if let Reply::Data(data) = readout(field, place, now) {
        octets.extend_from_slice(&data);
    }
    octets.extend_from_slice(b"!\r\n");
    octets.into()
}

/// A command of the programming mode.
pub fn command(field: &DirectField, place: usize, now: Now, command: &Command) -> Reply {
    let text = String::from_utf8_lossy(&command.data).into_owned();
    let (address, argument) = match text.split_once('(') {
        Some((address, rest)) => (address, rest.trim_end_matches(')')),
        None => (text.as_str(), ""),
    };
    let answer = match command.letter {
        b'R' if address == "P.01" => {
            field.locally(place, now, |meter| load_profile(meter, argument))
        }
        b'R' => field.locally(place, now, |meter| one(meter, address)),
        b'W' if address == MARK => field.locally(place, now, |meter| mark(meter, argument)),
        b'W' => field.locally(place, now, |meter| write(meter, address, argument)),
        _ => Some(Reply::Error(BAD_COMMAND.to_owned())),
    };
    answer.unwrap_or_else(|| Reply::Error(NOT_THERE.to_owned()))
}

fn value(text: String, unit: &str) -> Value {
    Value { text, unit: (!unit.is_empty()).then(|| unit.to_owned()) }
}

fn set(address: impl Into<String>, values: Vec<Value>) -> DataSet {
    DataSet { address: address.into(), values }
}

/// All data sets of the readout.
fn all(meter: &mut Meter<'_>) -> Vec<DataSet> {
    let clock = meter.date_time(meter.moment.now_s);
    let serial = meter.model.serial.clone();
    let errors = meter.errors();
    let mut sets = vec![
        set("F.F", vec![value(format!("{errors:08X}"), "")]),
        set("0.0.0", vec![value(serial, "")]),
        set("0.9.1", vec![value(time_text(&clock), "")]),
        set("0.9.2", vec![value(date_text(&clock), "")]),
    ];
    sets.extend(SHOWN.iter().filter_map(|shown| register(meter, shown)));
    sets.extend(billing(meter));
    sets
}

fn register(meter: &Meter<'_>, shown: &Shown) -> Option<DataSet> {
    let name: Name = [1, 0, shown.c, shown.d, shown.e, 255];
    let class = if shown.d == 6 { 4 } else { 3 };
    let number = meter.current(class, name, 2).as_u64()?;
    let address = format!("{}.{}.{}", shown.c, shown.d, shown.e);
    let mut values = vec![value(decimal(number, shown), shown.unit)];
    if class == 4 {
        // A maximum carries the time at which it was reached.
        let at = meter.current(4, name, 5).as_date_time()?;
        values.push(value(format!("{}{}", date_text(&at), &time_text(&at)[..4]), ""));
    }
    Some(set(address, values))
}

/// Registers at the ends of the last billing periods, `1.8.0*01` the latest.
fn billing(meter: &Meter<'_>) -> Vec<DataSet> {
    let buffer = meter.current(7, BILLING, 2);
    let rows = buffer.as_array().unwrap_or(&[]);
    let mut sets = Vec::new();
    for (column, c) in [(1, 1), (2, 2)] {
        for (number, row) in rows.iter().rev().enumerate() {
            let cell = row.as_structure().and_then(|cells| cells.get(column)?.as_u64());
            let text = decimal(cell.unwrap_or(0), &shown([c, 8, 0], ENERGY, "kWh"));
            sets.push(set(format!("{c}.8.0*{:02}", number + 1), vec![value(text, "kWh")]));
        }
    }
    sets
}

/// One register, or one of the texts.
fn one(meter: &mut Meter<'_>, address: &str) -> Reply {
    let wanted = address.trim_end_matches("*255");
    if wanted == MARK {
        let written = meter.memory.written(1, MARK_NAME, 2);
        let text = written.as_ref().and_then(Data::as_octets).unwrap_or(b"000.00");
        return Reply::Data([b"0.0.1(", text, b")"].concat().into());
    }
    let found = all(meter).into_iter().find(|set| set.address == wanted);
    let Some(found) = found else { return Reply::Error(NOT_THERE.to_owned()) };
    match data::encode(&[found]) {
        Ok(octets) => Reply::Data(octets.trim_ascii_end().to_vec().into()),
        Err(_) => Reply::Error(BAD_COMMAND.to_owned()),
    }
}

/// Keeps the mark of the owner, a text of up to 32 characters.
fn mark(meter: &mut Meter<'_>, argument: &str) -> Reply {
    if argument.is_empty() || argument.len() > 32 {
        return Reply::Error(BAD_COMMAND.to_owned());
    }
    meter.memory.write(1, MARK_NAME, 2, &Data::octets(argument.as_bytes()));
    Reply::Done
}

/// Time and date may be written, and nothing else of the registers.
fn write(meter: &mut Meter<'_>, address: &str, argument: &str) -> Reply {
    let mut clock = meter.date_time(meter.moment.now_s);
    let Some([one, two, three]) = pairs(argument) else {
        return Reply::Error(BAD_COMMAND.to_owned());
    };
    match address {
        "0.9.1" => (clock.time.hour, clock.time.minute, clock.time.second) = (one, two, three),
        "0.9.2" => {
            let weekday = 0xff;
            clock.date = cosem::datetime::Date {
                year: 2_000 + u16::from(one),
                month: two,
                day: three,
                weekday,
            };
        }
        _ => return Reply::Error(NOT_ALLOWED.to_owned()),
    }
    let target = AttributeRef::new(8, CLOCK, 2);
    let value = Data::octets(&clock.to_octets());
    match meter.set(Who::Manager, &target, &value) {
        Ok(()) => Reply::Done,
        Err(_) => Reply::Error(BAD_COMMAND.to_owned()),
    }
}

/// Three numbers of two digits.
fn pairs(text: &str) -> Option<[u8; 3]> {
    let text: String = text.chars().filter(char::is_ascii_digit).collect();
    let pair = |at: usize| text.get(at..at + 2)?.parse().ok();
    if text.len() != 6 { None } else { Some([pair(0)?, pair(2)?, pair(4)?]) }
}

/// `P.01(ZSTs13)(status)(minutes)(n)(code)(unit)...` and a line for each row; the stamp is the end
/// of the first. A hole begins a new header.
fn load_profile(meter: &mut Meter<'_>, argument: &str) -> Reply {
    let (from, to) = argument.split_once(';').unwrap_or((argument, ""));
    let (from, to) = (limit(from), limit(to));
    let range = Range::of_clock(
        from.unwrap_or(DateTime::NOT_SPECIFIED),
        to.unwrap_or(DateTime::NOT_SPECIFIED),
    );
    let buffer = AttributeRef::new(7, LOAD_PROFILE, 2);
    let Ok(rows) = meter.get(Who::Manager, &buffer, Some(&range.to_selection())) else {
        return Reply::Error(BAD_COMMAND.to_owned());
    };
    let rows = rows.as_array().unwrap_or(&[]);
    let minutes = meter.moment.interval_s / 60;
    let bidirectional = meter.model.bidirectional();
    let deviation = meter.deviation_at(meter.moment.now_s);
    let mut out = String::new();
    let mut before: Option<(i64, u8)> = None;
    for row in rows.iter().take(MOST_ROWS) {
        let Some([clock, status, import, export]) = row.as_structure() else { continue };
        let status = status.as_u64().and_then(|bits| u8::try_from(bits).ok()).unwrap_or(0);
        let power_failure = if status & 0x80 == 0 { 0 } else { VDEW_POWER_FAILURE };
        let shown_at = clock.as_date_time().and_then(|time| time.to_unix_s(deviation));
        let follows = before.map(|(at_s, _)| at_s + i64::from(meter.moment.interval_s));
        let Some(at_s) = shown_at.or(follows) else { continue };
        // A hole or another status begins a new header.
        if before.map(|(_, bits)| bits) != Some(power_failure) || follows != Some(at_s) {
            let stamp = DateTime::from_unix_s(at_s, deviation, 0);
            let season = u8::from(status & 0x08 != 0);
            let (date, time) = (date_text(&stamp), time_text(&stamp));
            let count = if bidirectional { 2 } else { 1 };
            let head = format!("P.01({season}{date}{time})({power_failure:02X})({minutes})");
            out.push_str(&format!("{head}({count})(1.8.0)(kWh)"));
            out.push_str(if bidirectional { "(2.8.0)(kWh)\r\n" } else { "\r\n" });
        }
        before = Some((at_s, power_failure));
        for cell in [Some(import), bidirectional.then_some(export)].into_iter().flatten() {
            let text = decimal(cell.as_u64().unwrap_or(0), &shown([1, 8, 0], ENERGY, ""));
            out.push_str(&format!("({text})"));
        }
        out.push_str("\r\n");
    }
    if out.is_empty() {
        out.push_str("P.01()");
    }
    Reply::Data(Bytes::copy_from_slice(out.trim_end().as_bytes()))
}

/// `YYMMDDhhmm` or with a season digit in front and seconds behind.
fn limit(text: &str) -> Option<DateTime> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let digits = if digits.len() % 2 == 1 { digits.get(1..)? } else { digits.as_str() };
    let pair = |at: usize| digits.get(at..at + 2)?.parse::<u8>().ok();
    let mut time = DateTime::from_unix_s(0, 0, 0);
    time.date.year = 2_000 + u16::from(pair(0)?);
    (time.date.month, time.date.day, time.date.weekday) = (pair(2)?, pair(4)?, 0xff);
    (time.time.hour, time.time.minute) = (pair(6)?, pair(8)?);
    (time.time.second, time.time.hundredths) = (pair(10).unwrap_or(0), 0);
    Some(time)
}

fn decimal(number: u64, shown: &Shown) -> String {
    let (before, behind) = shown.digits;
    let one = 10_u64.pow(behind as u32);
    format!("{:0before$}.{:0behind$}", number / one, number % one)
}

fn time_text(time: &DateTime) -> String {
    format!("{:02}{:02}{:02}", time.time.hour, time.time.minute, time.time.second)
}

fn date_text(time: &DateTime) -> String {
    format!("{:02}{:02}{:02}", time.date.year % 100, time.date.month, time.date.day)
}
