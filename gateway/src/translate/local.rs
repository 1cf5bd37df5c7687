//! Data sets of IEC 62056-21 into the domain's values: codes become OBIS codes, decimals become
//! integers with scaler and unit, the clock's two registers an instant, a load profile's block
//! rows. It speaks with nobody.
//!
//! Invariants: no value is changed; what is no decimal stays text; a row without a time that can
//! be known is left out; what came in a readout and was not asked for is not looked at.

use cosem::DateTime;
use cosem::datetime::{Date, NOT_SPECIFIED, Time};
use cosem::iec62056_21::{Code, DataSet, Decimal, Unit, Value as Text};
use cosem::scaler::unit;
use domain::Obis;
use domain::commands::{Attribute, Failure, Read, Value};
use domain::readings::{MAX_REGISTERS, Register, flag};

use crate::order::{ProfileRead, ProfileRow};

/// The address under which meters tell who they are (device address).
const IDENTITY: Obis = Obis([1, 0, 0, 0, 0, 255]);

/// Time and date of the meter's clock: `0.9.1` and `0.9.2`.
pub(crate) const CLOCK_TIME: Obis = Obis([1, 0, 0, 9, 1, 255]);
pub(crate) const CLOCK_DATE: Obis = Obis([1, 0, 0, 9, 2, 255]);

/// The clock object of COSEM, which those two stand for.
pub(crate) const CLOCK: Obis = Obis([0, 0, 1, 0, 0, 255]);

/// Seconds by which summer time is ahead.
const SUMMER_S: i64 = 3_600;

/// The most rows of one profile reading.
const MAX_ROWS: usize = 100_000;

/// Values of C for which a code without A and B is of no medium: general objects and errors.
const ABSTRACT: [u8; 2] = [96, 97];

/// The code of an OBIS code, as short as meters like it: `1.8.0`, `1-1:1.8.0`, `C.1.0`, `P.01`.
pub(crate) fn code_of(obis: Obis) -> String {
    let [a, b, c, d, e, f] = obis.0;
    let period = if f == 255 { String::new() } else { format!("*{f:02}") };
    match (a, b, c, d) {
        (1, 0, 99, _) if e == 0 => format!("P.{d:02}{period}"),
        (0 | 1, 0, 97, 97) if e == 0 => format!("F.F{period}"),
        (0 | 1, 0, 96, _) => format!("C.{d}.{e}{period}"),
        (1, 0, ..) => format!("{c}.{d}.{e}{period}"),
        _ => format!("{a}-{b}:{c}.{d}.{e}{period}"),
    }
}

/// The data set of an OBIS code.
pub(crate) fn find(sets: &[DataSet], obis: Obis) -> Option<&DataSet> {
    sets.iter().find(|set| Code::parse(&set.address).is_some_and(|code| is_of(code, obis)))
}

fn is_of(code: Code, obis: Obis) -> bool {
    let medium = if ABSTRACT.contains(&code.quantity) { obis.0[0].min(1) } else { 1 };
    code.logical_name(medium, 0) == obis.0
}

/// An attribute of a data set: 2 is the value, 3 scaler and unit, 5 of a maximum (class 4) its
/// time.
///
/// # Errors
/// `Access` 4 (object undefined) for what a data set does not have.
pub(crate) fn read(attribute: &Attribute, set: &DataSet) -> Result<Read, Failure> {
    let undefined = Failure::Access(4);
    let first = set.values.first().ok_or(undefined.clone())?;
    // Only the value matters: that the address is the one that was asked for is seen elsewhere.
    let decimal = Decimal::parse(&first.text);
    let unit = first.unit.as_deref().and_then(Unit::parse);
    let scaled = decimal.map(|decimal| {
        let prefix = unit.map_or(0, |unit| unit.scaler);
        (decimal.integer, decimal.scaler.saturating_add(prefix))
    });
    let code = unit.map_or(unit::NONE, |unit| unit.code);
    let is_flags = attribute.obis.0[2] == 97;
    let (value, scaler) = match (attribute.attribute, scaled) {
        (2, Some((number, scaler))) if !is_flags => (Value::Integer(number), Some(scaler)),
        (2, _) if is_flags => (flags(&first.text), None),
        (2, _) => (Value::Text(first.text.clone()), None),
        (3, Some((_, scaler))) => {
            let parts = [Value::Integer(scaler.into()), Value::Unsigned(code.into())];
            (Value::List(parts.to_vec()), None)
        }
        (5, _) if attribute.class == 4 => {
            let time = set.values.get(1).ok_or(undefined)?;
            (Value::Time { utc_s: None, text: stamp_text(&time.text) }, None)
        }
        _ => return Err(undefined),
    };
    let unit = scaler.map(|_| code);
    Ok(Read { obis: attribute.obis, attribute: attribute.attribute, value, scaler, unit })
}

/// Error flags: hexadecimal digits are octets.
fn flags(text: &str) -> Value {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    match digits {
        Some(digits) if !digits.is_empty() && digits.len().is_multiple_of(2) => {
            Value::Octets(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        }
        _ => Value::Text(text.to_owned()),
    }
}

/// The meter's clock from its time and its date.
///
/// # Errors
/// `Access` 4 when they are no time and no date.
pub(crate) fn clock(
    attribute: &Attribute,
    time: &DataSet,
    date: &DataSet,
    offset_minutes: i16,
) -> Result<Read, Failure> {
    let digits = |set: &DataSet| -> String {
        let text = set.values.first().map_or("", |value| value.text.as_str());
        text.chars().filter(char::is_ascii_digit).collect()
    };
    let (time, date) = (digits(time), digits(date));
    // A seventh digit before the six is the season: 0 normal, 1 summer, 2 UTC.
    let split = |text: &str| match text.len() {
        6 => Some((None, text.to_owned())),
        7 => Some((text.chars().next(), text.get(1..)?.to_owned())),
        _ => None,
    };
    let undefined = Failure::Access(4);
    let (season, date) = split(&date).ok_or(undefined.clone())?;
    let (other, time) = split(&time).ok_or(undefined.clone())?;
    let season = season.or(other).unwrap_or('0');
    let stamp = format!("{season}{date}{time}");
    let utc_s = stamp_s(&stamp, offset_minutes).ok_or(undefined)?;
    let value = Value::Time { utc_s: Some(utc_s), text: stamp_text(&stamp) };
    let Attribute { obis, attribute, .. } = *attribute;
    Ok(Read { obis, attribute, value, scaler: None, unit: None })
}

/// How a meter writes its clock: with a season digit or without, and how far it is ahead of UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockForm {
    date_season: Option<char>,
    time_season: Option<char>,
    ahead_s: i64,
}

impl ClockForm {
    /// The form of a time and a date that were read. None when they are no time and no date.
    pub fn of(time: &DataSet, date: &DataSet, offset_minutes: i16) -> Option<Self> {
        let season = |set: &DataSet| {
            let text = set.values.first().map_or("", |value| value.text.as_str());
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            match digits.len() {
                6 => Some(None),
                7 => Some(digits.chars().next()),
                _ => None,
            }
        };
        let (time_season, date_season) = (season(time)?, season(date)?);
        let ahead_s = ahead_s(date_season.or(time_season).unwrap_or('0'), offset_minutes)?;
        Some(Self { date_season, time_season, ahead_s })
    }

    /// Date and time of an instant, seconds UTC, in this form.
    pub fn texts(&self, at_s: i64) -> (String, String) {
        let local = DateTime::from_unix_s(at_s.saturating_add(self.ahead_s), 0, 0);
        let (date, time) = (local.date, local.time);
        let text = |season: Option<char>, [one, two, three]: [u8; 3]| {
            let season = season.map(String::from).unwrap_or_default();
            format!("{season}{one:02}{two:02}{three:02}")
        };
        let year = u8::try_from(date.year % 100).unwrap_or(0);
        (
            text(self.date_season, [year, date.month, date.day]),
            text(self.time_season, [time.hour, time.minute, time.second]),
        )
    }
}

/// Seconds by which a season's time is ahead of UTC.
fn ahead_s(season: char, offset_minutes: i16) -> Option<i64> {
    match season {
        '0' => Some(i64::from(offset_minutes) * 60),
        '1' => Some(i64::from(offset_minutes) * 60 + SUMMER_S),
        '2' => Some(0),
        _ => None,
    }
}

/// Seconds UTC of `YYMMDDhhmm`, `YYMMDDhhmmss`, each with a season before it or not.
fn stamp_s(text: &str, offset_minutes: i16) -> Option<i64> {
    let all_digits = text.bytes().all(|octet| octet.is_ascii_digit());
    let (season, digits) = match text.len() {
        10 | 12 => ('0', text),
        11 | 13 => (text.chars().next()?, text.get(1..)?),
        _ => return None,
    };
    let part = |at: usize| digits.get(at..at + 2)?.parse::<u8>().ok();
    let (year, month, day) = (part(0)?, part(2)?, part(4)?);
    let (hour, minute) = (part(6)?, part(8)?);
    let second = if digits.len() == 12 { part(10)? } else { 0 };
    // 24:00 is how some meters write the end of a day.
    let whole = hour == 24 && minute == 0 && second == 0;
    if !all_digits || minute > 59 || second > 59 || (hour > 23 && !whole) {
        return None;
    }
    let date = Date { year: 2000 + u16::from(year), month, day, weekday: NOT_SPECIFIED };
    let time = Time { hour: 0, minute: 0, second: 0, hundredths: 0 };
    let midnight = DateTime { date, time, deviation: 0, status: 0 };
    let within_s = i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second);
    Some(midnight.to_unix_s(0)? + within_s - ahead_s(season, offset_minutes)?)
}

/// A stamp as people read it; any other text as it is.
fn stamp_text(text: &str) -> String {
    let digits = match text.len() {
        11 | 13 => text.get(1..),
        _ => Some(text),
    };
    let part = |at: usize| digits.and_then(|digits| digits.get(at..at + 2));
    match (part(0), part(2), part(4), part(6), part(8)) {
        (Some(year), Some(month), Some(day), Some(hour), Some(minute))
            if text.bytes().all(|octet| octet.is_ascii_digit()) =>
        {
            let second = part(10).unwrap_or("00");
            format!("20{year}-{month}-{day}T{hour}:{minute}:{second}")
        }
        _ => text.to_owned(),
    }
}

/// `YYMMDDhhmm` of an instant in the meter's normal time.
pub(crate) fn stamp_of(at_s: i64, offset_minutes: i16) -> String {
    let local = DateTime::from_unix_s(at_s, -offset_minutes, 0);
    let (date, time) = (local.date, local.time);
    let year = date.year % 100;
    format!("{year:02}{:02}{:02}{:02}{:02}", date.month, date.day, time.hour, time.minute)
}

/// The rows of a load profile: blocks of `P.01(stamp)(status)(minutes)(n)(code)(unit)...` and
/// then rows `(value)...`, oldest first; the stamp is the end of the first row of its block.
///
/// # Errors
/// `Malformed` when a head does not say what follows it.
pub(crate) fn profile(
    obis: Obis,
    sets: &[DataSet],
    offset_minutes: i16,
) -> Result<ProfileRead, Failure> {
    let malformed = |what: &str| Failure::Malformed(format!("load profile: {what}"));
    let mut read =
        ProfileRead { obis, interval_minutes: 0, registers: Vec::new(), rows: Vec::new() };
    let mut cells: Vec<(i64, u8, Vec<Option<Decimal>>)> = Vec::new();
    let mut block: Option<(i64, i64, u8)> = None;
    for set in sets {
        let values = if set.address.is_empty() {
            set.values.as_slice()
        } else {
            let Some(head) = head(set, offset_minutes)? else { continue };
            if !read.registers.is_empty() && read.registers != head.registers {
                return Err(malformed("its registers change within one answer"));
            }
            read.interval_minutes = head.minutes;
            read.registers = head.registers;
            block = Some((head.end_s, i64::from(head.minutes) * 60, head.flags));
            set.values.get(head.values..).unwrap_or_default()
        };
        if values.is_empty() {
            continue;
        }
        let Some((end_s, step_s, flags)) = &mut block else {
            return Err(malformed("values before any head"));
        };
        for row in values.chunks(read.registers.len().max(1)) {
            if row.len() < read.registers.len() || cells.len() >= MAX_ROWS {
                return Err(malformed("a row of another width than its head"));
            }
            let row = row.iter().map(|value| Decimal::parse(&value.text)).collect();
            cells.push((*end_s, *flags, row));
            *end_s = end_s.saturating_add(*step_s);
        }
    }
    scale(&mut read, cells);
    Ok(read)
}

struct Head {
    end_s: i64,
    flags: u8,
    minutes: u16,
    registers: Vec<Register>,
    /// Where values begin that stand on the same line.
    values: usize,
}

/// The head of a block; None when the meter says that it has nothing in the range.
fn head(set: &DataSet, offset_minutes: i16) -> Result<Option<Head>, Failure> {
    let malformed = |what: &str| Failure::Malformed(format!("load profile: {what}"));
    let text = |at: usize| set.values.get(at).map(|value| value.text.as_str());
    match (text(0), text(1)) {
        (None, _) => return Ok(None),
        (Some(first), None) if first.is_empty() || first.starts_with("ER") => return Ok(None),
        _ => {}
    }
    let end_s = text(0).and_then(|stamp| stamp_s(stamp, offset_minutes));
    let status = text(1).and_then(|status| u64::from_str_radix(status, 16).ok());
    let minutes = text(2).and_then(|minutes| minutes.parse().ok());
    let count = text(3).and_then(|count| count.parse().ok());
    let (Some(end_s), Some(status), Some(minutes), Some(count)) = (end_s, status, minutes, count)
    else {
        return Err(malformed("a head without stamp, status, minutes and number of columns"));
    };
    if minutes == 0 || count == 0 || count > MAX_REGISTERS {
        return Err(malformed("no minutes, or too many columns or none"));
    }
    let mut registers = Vec::with_capacity(count);
    for column in 0..count {
        let code = text(4 + 2 * column).and_then(Code::parse);
        let code = code.ok_or_else(|| malformed("a column without a code"))?;
        let unit = text(5 + 2 * column).and_then(Unit::parse);
        registers.push(Register {
            obis: Obis(code.logical_name(1, 0)),
            scaler: unit.map_or(0, |unit| unit.scaler),
            unit: unit.map_or(unit::NONE, |unit| unit.code),
        });
    }
    let values = 4 + 2 * count;
    Ok(Some(Head { end_s, flags: flags_of(status), minutes, registers, values }))
}

/// The status octet of the load profile: power failed 80, clock set 20, value disturbed 04,
/// running reserve empty 02, fatal error 01.
fn flags_of(status: u64) -> u8 {
    let meanings = [
        (0x80, flag::POWER_FAILURE),
        (0x20, flag::CLOCK_SET),
        (0x04, flag::ESTIMATED),
        (0x02, flag::CLOCK_DOUBTFUL),
    ];
    let set = meanings.iter().filter(|(bit, _)| status & bit != 0);
    set.fold(0, |flags, (_, flag)| flags | flag)
}

/// Brings each column to the scaler of its finest value.
fn scale(read: &mut ProfileRead, cells: Vec<(i64, u8, Vec<Option<Decimal>>)>) {
    let finest: Vec<i8> = (0..read.registers.len())
        .map(|column| {
            let values = cells.iter().filter_map(|(_, _, row)| row.get(column)?.as_ref());
            values.map(|decimal| decimal.scaler).min().unwrap_or(0)
        })
        .collect();
    for (end_s, flag, row) in cells {
        let values = row.iter().zip(&finest).map(|(decimal, finest)| {
            let decimal = decimal.as_ref()?;
            let steps = decimal.scaler.checked_sub(*finest)?;
            decimal.integer.checked_mul(10_i64.checked_pow(u32::try_from(steps).ok()?)?)
        });
        let values = values.collect();
        read.rows.push(ProfileRow { end_s, flag, values });
    }
    for (register, finest) in read.registers.iter_mut().zip(finest) {
        register.scaler = register.scaler.saturating_add(finest);
    }
}

/// Whether the meter that answered says that it is another one than was called. Addresses are
/// compared by their ends: some are the last digits of a longer number.
pub(crate) fn is_other(sets: &[DataSet], called: &str) -> bool {
    let named = find(sets, IDENTITY).and_then(|set| set.values.first());
    let bare = |text: &str| text.trim_matches(' ').trim_start_matches('0').to_owned();
    match named {
        Some(Text { text, .. }) if !called.is_empty() && !bare(text).is_empty() => {
            let (ours, theirs) = (bare(called), bare(text));
            !ours.ends_with(&theirs) && !theirs.ends_with(&ours)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use cosem::iec62056_21::data::parse;
    use domain::Obis;
    use domain::commands::{Attribute, Failure, Value};
    use domain::readings::flag;

    use super::{ClockForm, code_of, find, is_other, profile, read, stamp_of, stamp_s};

    const NOON: i64 = 1_795_348_800;

    #[test]
    fn codes_are_as_short_as_meters_like_them_and_find_themselves() {
        let check = |obis: [u8; 6], code: &str| {
            let obis = Obis(obis);
            assert_eq!(code_of(obis), code);
            let sets = parse(format!("9.9(0)\r\n{code}(1)\r\n").as_bytes()).unwrap();
            assert_eq!(find(&sets, obis).map(|set| set.address.as_str()), Some(code), "{code}");
        };
        check([1, 0, 1, 8, 0, 255], "1.8.0");
        check([1, 0, 1, 8, 1, 3], "1.8.1*03");
        check([1, 1, 1, 8, 0, 255], "1-1:1.8.0");
        check([0, 0, 96, 1, 0, 255], "C.1.0");
        check([0, 0, 97, 97, 0, 255], "F.F");
        check([1, 0, 99, 1, 0, 255], "P.01");
        let other_channel = parse(b"1-1:1.8.0(5*kWh)").unwrap();
        assert_eq!(find(&other_channel, Obis::ACTIVE_IMPORT), None, "another channel's register");
    }

    #[test]
    fn values_keep_their_digits_and_texts_stay_texts() {
        let check = |line: &str, expect: (Value, Option<i8>, Option<u8>)| {
            let sets = parse(line.as_bytes()).unwrap();
            let what = Attribute { class: 3, obis: Obis::ACTIVE_IMPORT, attribute: 2 };
            let read = read(&what, &sets[0]).unwrap();
            assert_eq!((read.value, read.scaler, read.unit), expect, "{line}");
        };
        check("1.8.0(000123.45*kWh)", (Value::Integer(12_345), Some(1), Some(30)));
        check("1.8.0(-7)", (Value::Integer(-7), Some(0), Some(255)));
        check("1.8.0(--.--)", (Value::Text("--.--".to_owned()), None, None));
    }

    #[test]
    fn stamps_know_their_season() {
        for (text, offset, expect) in [
            ("2611221200", 0, Some(NOON)),
            ("261122120000", 60, Some(NOON - 3_600)),
            ("02611221200", 60, Some(NOON - 3_600)),
            ("1261122120000", 60, Some(NOON - 7_200)),
            ("22611221200", 60, Some(NOON)),
            ("2611222400", 0, Some(NOON + 12 * 3_600)),
            ("2613221200", 0, None),
            ("2611221260", 0, None),
            ("26112212", 0, None),
            ("x611221200", 0, None),
        ] {
            assert_eq!(stamp_s(text, offset), expect, "{text}");
        }
        assert_eq!(stamp_of(NOON, 60), "2611221300");
        assert_eq!(stamp_s(&stamp_of(NOON, -90), -90), Some(NOON));
    }

    #[test]
    fn a_clock_is_written_as_it_is_read() {
        let set = |text: &str| parse(format!("0.9.1({text})\r\n").as_bytes()).unwrap().remove(0);
        for (time, date, offset, expect) in [
            ("000000", "260101", 0, ("261122", "120000")),
            ("00:00:00", "26-01-01", 60, ("261122", "130000")),
            ("000000", "1260701", 60, ("1261122", "140000")),
            ("2000000", "260101", 60, ("261122", "2120000")),
            ("000000", "260101", 840, ("261123", "020000")),
        ] {
            let form = ClockForm::of(&set(time), &set(date), offset).unwrap();
            let (date, time) = form.texts(NOON);
            assert_eq!((date.as_str(), time.as_str()), expect);
        }
        assert!(ClockForm::of(&set("12"), &set("260101"), 0).is_none());
        assert!(ClockForm::of(&set("000000"), &set("9260101"), 0).is_none());
    }

    #[test]
    fn a_profile_has_heads_and_rows_and_flags() {
        let text = "P.01(0261122120000)(00)(15)(2)(1.5)(kW)(2.5)(kW)\r\n(1.25)(0)\r\n(1.5)(--)\r\n\
                    P.01(0261122130000)(A2)(15)(2)(1.5)(kW)(2.5)(kW)\r\n(2.000)(0)\r\n";
        let obis = Obis::LOAD_PROFILE;
        let read = profile(obis, &parse(text.as_bytes()).unwrap(), 0).unwrap();
        assert_eq!(read.interval_minutes, 15);
        let registers: Vec<_> = read.registers.iter().map(|r| (r.obis.0[2], r.scaler)).collect();
        assert_eq!(registers, [(1, 0), (2, 3)]);
        let rows: Vec<_> =
            read.rows.iter().map(|row| (row.end_s - NOON, row.flag, row.values.clone())).collect();
        let bad = flag::POWER_FAILURE | flag::CLOCK_SET | flag::CLOCK_DOUBTFUL;
        let expected = [
            (0, 0, vec![Some(1_250), Some(0)]),
            (900, 0, vec![Some(1_500), None]),
            (3_600, bad, vec![Some(2_000), Some(0)]),
        ];
        assert_eq!(rows, expected);
        for empty in ["", "P.01()", "P.01(ERROR)"] {
            let sets = parse(empty.as_bytes()).unwrap();
            assert_eq!(profile(obis, &sets, 0).unwrap().rows.len(), 0, "{empty}");
        }
        for bad in [
            "(1.25)",
            "P.01(yesterday)(00)(15)(1)(1.5)(kW)",
            "P.01(2611221200)(00)(0)(1)(1.5)(kW)",
            "P.01(2611221200)(00)(15)(2)(1.5)(kW)",
            "P.01(2611221200)(00)(15)(99)(1.5)(kW)",
            "P.01(2611221200)(00)(15)(2)(1.5)(kW)(2.5)(kW)\r\n(1)",
        ] {
            let sets = parse(bad.as_bytes()).unwrap();
            assert!(matches!(profile(obis, &sets, 0), Err(Failure::Malformed(_))), "{bad}");
        }
    }

    #[test]
    fn a_meter_that_says_another_number_is_another() {
        let says = |number: &str| parse(format!("0.0.0({number})\r\n").as_bytes()).unwrap();
        assert!(!is_other(&says("0012345678"), "12345678"));
        assert!(!is_other(&says("1EMH0012345678"), "12345678"));
        assert!(!is_other(&says("99"), ""));
        assert!(is_other(&says("87654321"), "12345678"));
    }
}
