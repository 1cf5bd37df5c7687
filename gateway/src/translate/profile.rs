//! A meter's load profile (class 7) as read from it: capture objects become columns, the buffer
//! becomes rows.

use cosem::{Data, DateTime};
use domain::commands::{Failure, Read, Value};
use domain::readings::{MAX_REGISTERS, Part, flag};
use domain::{Device, Obis};

use super::rows::{Collector, minutes, register};
use crate::order::{ProfileRead, ProfileRow};

/// The most capture objects of a profile.
const MAX_COLUMNS: usize = 64;

/// What a status column means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StatusBits {
    /// As the concentrator's protocol says: the domain's own bits.
    Agreed,
    /// As IDIS meters have it: 01 critical error, 02 clock invalid, 04 data not valid, 08 daylight
    /// saving, 20 clock adjusted, 80 power down.
    Idis,
    /// As the meter's model says, by profile: mask of the meter, flag of the domain. A profile
    /// that the model does not name is read as IDIS meters have it.
    Listed(Vec<(Obis, Vec<(u64, u8)>)>),
}

/// A capture object of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    /// Interface class.
    pub class: u16,
    /// Logical name.
    pub obis: Obis,
    /// Attribute.
    pub attribute: i8,
    /// Scaler and unit, once read.
    pub scaled: Option<(i8, u8)>,
}

impl Column {
    /// The attribute that holds scaler and unit, for classes that have one.
    pub fn scaler_attribute(&self) -> Option<i8> {
        match (self.class, self.attribute) {
            (3 | 4, 2) => Some(3),
            (5, 2 | 3) => Some(4),
            _ => None,
        }
    }

    /// Whether its cells are numbers that can be stored: registers, and the event codes of logs
    /// (0-b:96.11.e, IEC 62056-6-1), which have neither scaler nor unit.
    pub fn is_value(&self) -> bool {
        let is_event =
            matches!((self.class, self.obis.0, self.attribute), (1, [0, _, 96, 11, ..], 2));
        is_event || self.scaler_attribute().is_some()
    }
}

/// What the rows of a profile look like; read once and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The cells of a row.
    pub columns: Vec<Column>,
    /// Seconds between two rows; 0 without a fixed period.
    pub period_s: u32,
}

/// Reads the capture objects (attribute 3).
///
/// # Errors
/// `Malformed` for anything but an array of {class, logical name, attribute, data index}.
pub(crate) fn shape_of(objects: &Data) -> Result<Vec<Column>, Failure> {
    let malformed = || Failure::Malformed("capture objects of another shape".to_owned());
    let objects = objects.as_array().ok_or_else(malformed)?;
    if objects.is_empty() || objects.len() > MAX_COLUMNS {
        return Err(malformed());
    }
    objects
        .iter()
        .map(|object| {
            let [class, name, attribute, _index] = object.as_structure()? else { return None };
            Some(Column {
                class: u16::try_from(class.as_integer()?).ok()?,
                obis: Obis(name.as_octets()?.try_into().ok()?),
                attribute: i8::try_from(attribute.as_integer()?).ok()?,
                scaled: None,
            })
        })
        .collect::<Option<Vec<Column>>>()
        .ok_or_else(malformed)
}

/// Reads a buffer (attribute 2). Rows without a time that can be known are left out; their number
/// is the second result. `standard`, minutes from local standard time to UTC, stands in where the
/// meter did not specify a deviation; a row of summer time is then an hour earlier.
///
/// # Errors
/// `Malformed` when the buffer is no array of rows of the shape's width.
pub(crate) fn profile_read(
    obis: Obis,
    shape: &Shape,
    buffer: &Data,
    standard: i16,
    bits: &StatusBits,
) -> Result<(ProfileRead, u64), Failure> {
    let malformed = |what: &str| Failure::Malformed(what.to_owned());
    let rows = buffer.as_array().ok_or_else(|| malformed("the buffer is no array"))?;
    let is_value = |column: &&Column| column.is_value();
    let registers = shape.columns.iter().filter(is_value).take(MAX_REGISTERS);
    let registers = registers.map(|column| {
        let (scaler, unit) = column.scaled.unwrap_or((0, cosem::scaler::unit::NONE));
        register(column.obis, scaler, unit)
    });
    let interval_minutes = minutes(shape.period_s);
    let mut read =
        ProfileRead { obis, interval_minutes, registers: registers.collect(), rows: Vec::new() };
    let (mut last_s, mut without_time) = (None, 0);
    let pairs = bits.pairs(obis);
    for row in rows {
        let cells = row.as_structure().ok_or_else(|| malformed("a row is no structure"))?;
        if cells.len() != shape.columns.len() {
            return Err(malformed("a row of another width than the capture objects"));
        }
        let row = self::row(shape, cells, last_s, standard, &pairs);
        last_s = row.as_ref().map(|row| row.end_s);
        match row {
            Some(row) => read.rows.push(row),
            None => without_time += 1,
        }
    }
    Ok((read, without_time))
}

fn row(
    shape: &Shape,
    cells: &[Data],
    last_s: Option<i64>,
    standard: i16,
    pairs: &[(u64, u8)],
) -> Option<ProfileRow> {
    let (mut end_s, mut flags, mut values) = (None, 0, Vec::new());
    for (column, cell) in shape.columns.iter().zip(cells) {
        match (column.class, column.obis.0, column.attribute) {
            (8, _, 2) if *cell == Data::Null => {
                // Null-data: as computed from the row before (Blue Book, class 7).
                end_s = last_s.and_then(|last| last.checked_add(i64::from(shape.period_s)));
            }
            (8, _, 2) => {
                let time = cell.as_date_time()?;
                end_s = time.to_unix_s(time.deviation_or(standard));
                flags |= clock_flags(time);
            }
            (1, [_, _, 96, 10, _, _], 2) => {
                flags |= status_flags(cell.as_u64().unwrap_or(0), pairs);
            }
            _ if column.is_value() && values.len() < MAX_REGISTERS => {
                values.push(cell.as_i64());
            }
            _ => {}
        }
    }
    Some(ProfileRow { end_s: end_s?, flag: flags, values })
}

/// The flags that a clock's status octet carries. FF is "not specified" and says nothing.
pub(super) fn clock_flags(time: DateTime) -> u8 {
    let mut flags = 0;
    if time.is_doubtful() {
        flags |= flag::CLOCK_DOUBTFUL;
    }
    if time.is_summer() {
        flags |= flag::DAYLIGHT_SAVING;
    }
    flags
}

fn status_flags(status: u64, pairs: &[(u64, u8)]) -> u8 {
    pairs.iter().filter(|(bit, _)| status & bit != 0).fold(0, |all, (_, flag)| all | flag)
}

impl StatusBits {
    /// Masks and flags of a profile's status word.
    fn pairs(&self, profile: Obis) -> Vec<(u64, u8)> {
        let agreed = [
            flag::CLOCK_DOUBTFUL,
            flag::DAYLIGHT_SAVING,
            flag::POWER_FAILURE,
            flag::ESTIMATED,
            flag::CLOCK_SET,
        ];
        // A value that the meter calls critical or not valid must not be billed as measured.
        let idis = vec![
            (0x02, flag::CLOCK_DOUBTFUL),
            (0x08, flag::DAYLIGHT_SAVING),
            (0x80, flag::POWER_FAILURE),
            (0x05, flag::ESTIMATED),
            (0x20, flag::CLOCK_SET),
        ];
        match self {
            Self::Agreed => agreed.map(|flag| (u64::from(flag), flag)).to_vec(),
            Self::Idis => idis,
            Self::Listed(profiles) => profiles
                .iter()
                .find(|(obis, _)| *obis == profile)
                .map_or(idis, |(_, pairs)| pairs.clone()),
        }
    }
}

/// The rows as a part to store.
pub(crate) fn part_of(ordinal: u32, lease: Option<(Device, u64)>, read: &ProfileRead) -> Part {
    let period_s = u32::from(read.interval_minutes) * 60;
    let mut collector = Collector::new(period_s, read.registers.clone());
    for row in &read.rows {
        collector.push(ordinal, row.end_s, row.flag, &row.values);
    }
    Part { lease, mark: None, batches: collector.finish() }
}

/// The rows as the result of a command: one value, a list of rows {time, flag, values...}; scaler
/// and unit are those of the first register.
pub(crate) fn reads_of(read: &ProfileRead) -> Vec<Read> {
    let rows = read.rows.iter().map(|row| {
        let time = DateTime::from_unix_s(row.end_s, 0, 0);
        let text = super::time_text(time);
        let mut cells = vec![
            Value::Time { utc_s: Some(row.end_s), text },
            Value::Unsigned(u64::from(row.flag)),
        ];
        cells.extend(row.values.iter().map(|value| value.map_or(Value::Null, Value::Integer)));
        Value::List(cells)
    });
    let first = read.registers.first();
    vec![Read {
        obis: read.obis,
        attribute: 2,
        value: Value::List(rows.collect()),
        scaler: first.map(|register| register.scaler),
        unit: first.map(|register| register.unit),
    }]
}

#[cfg(test)]
mod tests {
    use super::{Column, Shape, StatusBits, part_of, profile_read, reads_of, shape_of};
    use cosem::{Data, DateTime};
    use domain::Obis;
    use domain::commands::{Failure, Value};
    use domain::readings::flag;

    const NOON: i64 = 1_795_305_600;

    fn objects() -> Data {
        let object = |class, name: [u8; 6]| {
            let name = Data::octets(&name);
            Data::Structure(vec![Data::U16(class), name, Data::I8(2), Data::U16(0)])
        };
        Data::Array(vec![
            object(8, [0, 0, 1, 0, 0, 255]),
            object(1, [0, 0, 96, 10, 1, 255]),
            object(3, [1, 0, 1, 8, 0, 255]),
        ])
    }

    fn shape() -> Shape {
        let mut columns = shape_of(&objects()).unwrap();
        for column in &mut columns {
            column.scaled = column.scaler_attribute().map(|_| (-1, 30));
        }
        Shape { columns, period_s: 900 }
    }

    fn row(clock: Data, status: u8, value: Data) -> Data {
        Data::Structure(vec![clock, Data::U8(status), value])
    }

    #[test]
    fn capture_objects_are_read_or_refused() {
        let columns = shape_of(&objects()).unwrap();
        let scalers: Vec<Option<i8>> = columns.iter().map(Column::scaler_attribute).collect();
        assert_eq!(scalers, [None, None, Some(3)]);
        for wrong in [Data::Null, Data::Array(vec![]), Data::Array(vec![Data::Null])] {
            assert!(shape_of(&wrong).is_err());
        }
    }

    #[test]
    fn rows_of_a_meter_in_local_time_without_deviation() {
        let local = DateTime { deviation: i16::MIN, ..DateTime::from_unix_s(NOON, -60, 0x02) };
        let buffer = Data::Array(vec![
            row(Data::octets(&local.to_octets()), 0x08, Data::U32(5)),
            row(Data::Null, 0x84, Data::U32(6)),
            row(Data::octets(&[0xff; 12]), 0, Data::U32(7)),
        ]);
        let obis = Obis::LOAD_PROFILE;
        let (read, lost) = profile_read(obis, &shape(), &buffer, -60, &StatusBits::Idis).unwrap();
        let rows: Vec<_> = read.rows.iter().map(|row| (row.end_s, row.flag)).collect();
        let expect = [
            (NOON, flag::CLOCK_DOUBTFUL | flag::DAYLIGHT_SAVING),
            (NOON + 900, flag::POWER_FAILURE | flag::ESTIMATED),
        ];
        assert_eq!((rows.as_slice(), lost), (&expect[..], 1));
        assert_eq!((read.interval_minutes, read.registers[0].scaler), (15, -1));
        let part = part_of(3, None, &read);
        assert_eq!(part.batches.iter().map(|batch| batch.len()).sum::<usize>(), 2);
        let reads = reads_of(&read);
        assert!(matches!(&reads[0].value, Value::List(rows) if rows.len() == 2));
    }

    #[test]
    fn the_hour_that_comes_twice_is_two_hours_without_a_deviation() {
        // 2026-10-25: at 01:00 UTC summer time ends in Central Europe.
        let ends = [0, 1, 2, 3].map(|half| 1_792_886_400 + 1_800 * half);
        let rows = ends.iter().zip([(-120, 0x80), (-120, 0x80), (-60, 0), (-60, 0)]);
        let rows = rows.map(|(end_s, (zone, status))| {
            let shown = DateTime::from_unix_s(*end_s, zone, status);
            let unset = DateTime { deviation: i16::MIN, ..shown };
            row(Data::octets(&unset.to_octets()), 0, Data::U32(5))
        });
        let buffer = Data::Array(rows.collect());
        let bits = StatusBits::Idis;
        let (read, lost) = profile_read(Obis::LOAD_PROFILE, &shape(), &buffer, -60, &bits).unwrap();
        let seen: Vec<_> = read.rows.iter().map(|row| (row.end_s, row.flag)).collect();
        let summer = flag::DAYLIGHT_SAVING;
        let expect = [(ends[0], summer), (ends[1], summer), (ends[2], 0), (ends[3], 0)];
        assert_eq!((seen.as_slice(), lost), (&expect[..], 0));
    }

    #[test]
    fn a_buffer_of_another_shape_is_malformed() {
        for wrong in [
            Data::Null,
            Data::Array(vec![Data::Null]),
            Data::Array(vec![Data::Structure(vec![Data::Null])]),
        ] {
            let refused =
                profile_read(Obis::LOAD_PROFILE, &shape(), &wrong, 0, &StatusBits::Agreed);
            assert!(matches!(refused, Err(Failure::Malformed(_))));
        }
    }
}
