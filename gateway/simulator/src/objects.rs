//! The COSEM objects of a meter: what GET answers, as a pure function of meter and time.
//!
//! Nothing here is written to. Invariant: an answer never has more rows than the meter keeps, and
//! input from the wire only selects, it never sizes an allocation.

use cosem::{AttributeRef, Data, DataAccessError, DateTime, Selection};

use crate::field::{Access, MeterModel, PROFILE_DAYS, Row};
use crate::push::{self, CLOCK, COLUMNS, EXPORT, IMPORT, LOAD_PROFILE, WATT_HOUR};
use crate::session::{Ask, Reply};

/// Firmware id that every simulated device gives.
pub const FIRMWARE: &str = "HFD-SIM 1";
/// Logical device name.
pub const DEVICE_NAME: [u8; 6] = [0, 0, 42, 0, 0, 255];
/// SAP assignment.
pub const SAP_ASSIGNMENT: [u8; 6] = [0, 0, 41, 0, 0, 255];
/// Current association.
pub const ASSOCIATION: [u8; 6] = [0, 0, 40, 0, 0, 255];
/// Invocation counter.
pub const INVOCATION_COUNTER: [u8; 6] = [0, 0, 43, 1, 0, 255];
/// Device id 1: the serial.
pub const SERIAL: [u8; 6] = [0, 0, 96, 1, 0, 255];
/// Active firmware id.
pub const FIRMWARE_ID: [u8; 6] = [1, 0, 0, 2, 0, 255];

const POWER_IMPORT: [u8; 6] = [1, 0, 1, 7, 0, 255];
const POWER_EXPORT: [u8; 6] = [1, 0, 2, 7, 0, 255];
const VOLTAGE: [u8; 6] = [1, 0, 32, 7, 0, 255];
const CURRENT: [u8; 6] = [1, 0, 31, 7, 0, 255];

/// Objects of a meter: class, logical name, number of attributes.
const OBJECTS: [(u16, [u8; 6], i8); 14] = [
    (1, DEVICE_NAME, 2),
    (1, SERIAL, 2),
    (1, FIRMWARE_ID, 2),
    (1, INVOCATION_COUNTER, 2),
    (8, CLOCK, 9),
    (15, ASSOCIATION, 2),
    (17, SAP_ASSIGNMENT, 2),
    (3, IMPORT, 3),
    (3, EXPORT, 3),
    (3, POWER_IMPORT, 3),
    (3, POWER_EXPORT, 3),
    (3, VOLTAGE, 3),
    (3, CURRENT, 3),
    (7, LOAD_PROFILE, 8),
];

/// What the public client may read.
const PUBLIC: [[u8; 6]; 6] =
    [DEVICE_NAME, SERIAL, FIRMWARE_ID, INVOCATION_COUNTER, CLOCK, SAP_ASSIGNMENT];

/// What a meter's answer depends on besides the meter.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// True time, seconds UTC.
    pub now_s: i64,
    /// Capture period, seconds.
    pub interval_s: u32,
    /// Highest invocation counter accepted from the asking client.
    pub counter: u32,
    /// Server SAP that was asked.
    pub sap: u16,
}

/// Serves one request of a meter's client. Whoever proved nothing to a meter that asks for proof
/// may read its name, clock and invocation counter, as the public client of real meters.
pub fn serve(meter: &MeterModel, moment: Moment, public: bool, ask: &Ask) -> Reply {
    match ask {
        Ask::Get { attribute, selection } => {
            let open = !public || meter.access == Access::None;
            let name = attribute.logical_name.0;
            if !open && !PUBLIC.contains(&name) {
                return Reply::Value(Err(DataAccessError::ReadWriteDenied));
            }
            Reply::Value(read(meter, moment, attribute, selection.as_ref()))
        }
        Ask::Set { .. } => Reply::Done(Err(DataAccessError::ReadWriteDenied)),
        Ask::Action => Reply::Done(Err(DataAccessError::ObjectUndefined)),
    }
}

/// Reads an attribute.
///
/// # Errors
/// `ObjectUndefined` for what a meter does not have, `ObjectClassInconsistent` for a wrong class,
/// `ScopeOfAccessViolated` for a selection that makes no sense there.
pub fn read(
    meter: &MeterModel,
    moment: Moment,
    wanted: &AttributeRef,
    selection: Option<&Selection>,
) -> Result<Data, DataAccessError> {
    let name = wanted.logical_name.0;
    let known = OBJECTS.iter().find(|(_, known, _)| *known == name);
    let (class, _, attributes) = known.ok_or(DataAccessError::ObjectUndefined)?;
    if *class != wanted.class {
        return Err(DataAccessError::ObjectClassInconsistent);
    }
    if !(1..=*attributes).contains(&wanted.attribute) {
        return Err(DataAccessError::ObjectUndefined);
    }
    if wanted.attribute == 1 {
        return Ok(Data::octets(&name));
    }
    match class {
        1 => identity(meter, moment, name),
        3 => register(meter, moment, name, wanted.attribute),
        7 => profile(meter, moment, wanted.attribute, selection),
        8 => clock(meter, moment, wanted.attribute),
        15 => Ok(object_list()),
        17 => Ok(Data::Array(vec![Data::Structure(vec![
            Data::U16(moment.sap),
            Data::octets(meter.serial.as_bytes()),
        ])])),
        _ => Err(DataAccessError::ObjectUndefined),
    }
}

fn identity(meter: &MeterModel, moment: Moment, name: [u8; 6]) -> Result<Data, DataAccessError> {
    match name {
        DEVICE_NAME | SERIAL => Ok(Data::octets(meter.serial.as_bytes())),
        FIRMWARE_ID => Ok(Data::octets(FIRMWARE.as_bytes())),
        INVOCATION_COUNTER => Ok(Data::U32(moment.counter)),
        _ => Err(DataAccessError::ObjectUndefined),
    }
}

fn register(
    meter: &MeterModel,
    moment: Moment,
    name: [u8; 6],
    attribute: i8,
) -> Result<Data, DataAccessError> {
    let shown = meter.instant(moment.now_s);
    let (value, scaler, unit) = match name {
        IMPORT => (push::energy(Some(shown.import_wh)), 0, WATT_HOUR),
        EXPORT => (push::energy(Some(shown.export_wh)), 0, WATT_HOUR),
        POWER_IMPORT => (Data::U32(shown.import_w), 0, cosem::scaler::unit::WATT),
        POWER_EXPORT => (Data::U32(shown.export_w), 0, cosem::scaler::unit::WATT),
        VOLTAGE => (Data::U16(shown.voltage_dv), -1, cosem::scaler::unit::VOLT),
        CURRENT => (Data::U16(shown.current_ca), -2, cosem::scaler::unit::AMPERE),
        _ => return Err(DataAccessError::ObjectUndefined),
    };
    match attribute {
        2 => Ok(value),
        _ => Ok(Data::Structure(vec![Data::I8(scaler), Data::Enum(unit)])),
    }
}

fn clock(meter: &MeterModel, moment: Moment, attribute: i8) -> Result<Data, DataAccessError> {
    let status = if meter.skew_s == 0 { 0 } else { cosem::datetime::status::DOUBTFUL };
    match attribute {
        2 => {
            let now = DateTime::from_unix_s(moment.now_s + meter.skew_s, 0, status);
            Ok(Data::octets(&now.to_octets()))
        }
        3 => Ok(Data::I16(0)),
        4 => Ok(Data::U8(status)),
        7 => Ok(Data::I8(0)),
        8 => Ok(Data::Boolean(false)),
        9 => Ok(Data::Enum(1)),
        _ => Ok(Data::octets(&DateTime::NOT_SPECIFIED.to_octets())),
    }
}

fn object_list() -> Data {
    let access = |attributes: i8| {
        let read_only = |a| Data::Structure(vec![Data::I8(a), Data::Enum(1), Data::Null]);
        Data::Structure(vec![
            Data::Array((1..=attributes).map(read_only).collect()),
            Data::Array(Vec::new()),
        ])
    };
    let entry = |(class, name, attributes): &(u16, [u8; 6], i8)| {
        let version = if *class == 7 { 1 } else { 0 };
        Data::Structure(vec![
            Data::U16(*class),
            Data::U8(version),
            Data::octets(name),
            access(*attributes),
        ])
    };
    Data::Array(OBJECTS.iter().map(entry).collect())
}

fn profile(
    meter: &MeterModel,
    moment: Moment,
    attribute: i8,
    selection: Option<&Selection>,
) -> Result<Data, DataAccessError> {
    let entries = PROFILE_DAYS * 86_400 / i64::from(moment.interval_s.max(1));
    match attribute {
        2 => buffer(meter, moment, selection),
        3 => Ok(Data::Array(COLUMNS.iter().map(column).collect())),
        4 => Ok(Data::U32(moment.interval_s)),
        5 => Ok(Data::Enum(1)),
        6 => Ok(column(&COLUMNS[0])),
        7 => Ok(Data::U32(kept(meter, moment, i64::MIN, i64::MAX).len() as u32)),
        _ => Ok(Data::U32(u32::try_from(entries).unwrap_or(u32::MAX))),
    }
}

fn column((class, name, attribute): &(u16, [u8; 6], i8)) -> Data {
    Data::Structure(vec![Data::U16(*class), Data::octets(name), Data::I8(*attribute), Data::U16(0)])
}

/// Rows that the meter still holds and that end within `from_s..=to_s` by its clock.
fn kept(meter: &MeterModel, moment: Moment, from_s: i64, to_s: i64) -> Vec<Row> {
    let period = i64::from(moment.interval_s.max(1));
    let latest = moment.now_s.div_euclid(period);
    let oldest = latest - PROFILE_DAYS * 86_400 / period + 1;
    let first = oldest.max(from_s.saturating_sub(meter.skew_s).div_euclid(period));
    let last = latest.min(to_s.saturating_sub(meter.skew_s).div_euclid(period));
    let mut player = meter.player();
    let row = |slot: i64| player.row(slot * period, moment.interval_s);
    let within = |row: &Row| (from_s..=to_s).contains(&row.end_s);
    (first..=last).filter_map(row).filter(within).collect()
}

fn buffer(
    meter: &MeterModel,
    moment: Moment,
    selection: Option<&Selection>,
) -> Result<Data, DataAccessError> {
    let refused = DataAccessError::ScopeOfAccessViolated;
    let all = |from, to| kept(meter, moment, from, to);
    let Some(selection) = selection else {
        return Ok(Data::Array(push::encode_rows(&all(i64::MIN, i64::MAX), moment.interval_s)));
    };
    let parameters = selection.parameters.as_structure().ok_or(refused)?;
    match (selection.selector, parameters) {
        (1, [restricting, from, to, columns]) => {
            let by = restricting.as_structure().and_then(|object| object.get(1));
            if by.and_then(Data::as_octets) != Some(&CLOCK) {
                return Err(refused);
            }
            let time = |data: &Data| data.as_date_time().and_then(|time| time.to_unix_s(0));
            let (from, to) = (time(from).ok_or(refused)?, time(to).ok_or(refused)?);
            let rows = push::encode_rows(&all(from, to), moment.interval_s);
            Ok(Data::Array(only_columns(rows, &chosen(columns)?)))
        }
        (2, [from, to, first, last]) => {
            let number = |data: &Data| data.as_u64().ok_or(refused);
            let (from, to) = (number(from)?.max(1), number(to)?);
            let (first, last) = (number(first)?.max(1), number(last)?);
            let rows = all(i64::MIN, i64::MAX);
            let to = if to == 0 { rows.len() as u64 } else { to.min(rows.len() as u64) };
            let rows = rows.get(from as usize - 1..to as usize).unwrap_or(&[]);
            let last = if last == 0 { COLUMNS.len() as u64 } else { last };
            let wanted: Vec<usize> = (0..COLUMNS.len())
                .filter(|at| (first..=last).contains(&(*at as u64 + 1)))
                .collect();
            Ok(Data::Array(only_columns(push::encode_rows(rows, moment.interval_s), &wanted)))
        }
        _ => Err(refused),
    }
}

/// Places of the columns that a range selection names; none named means all.
fn chosen(columns: &Data) -> Result<Vec<usize>, DataAccessError> {
    let refused = DataAccessError::ScopeOfAccessViolated;
    let columns = columns.as_array().ok_or(refused)?;
    if columns.is_empty() {
        return Ok((0..COLUMNS.len()).collect());
    }
    let place = |column: &Data| {
        let name = column.as_structure()?.get(1)?.as_octets()?;
        COLUMNS.iter().position(|(_, known, _)| known == name)
    };
    columns.iter().map(|column| place(column).ok_or(refused)).collect()
}

fn only_columns(rows: Vec<Data>, wanted: &[usize]) -> Vec<Data> {
    if wanted.len() == COLUMNS.len() {
        return rows;
    }
    rows.into_iter()
        .map(|row| {
            let cells = row.as_structure().unwrap_or(&[]);
            let pick = |at: &usize| cells.get(*at).cloned().unwrap_or(Data::Null);
            Data::Structure(wanted.iter().map(pick).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use cosem::{AttributeRef, Data, DataAccessError, Selection};

    use super::{CLOCK, EXPORT, IMPORT, LOAD_PROFILE, Moment, read};
    use crate::field::{FieldConfig, MeterModel, Outages, concentrators};
    use crate::push;

    const NOW: i64 = 1_795_305_600 + 12 * 3_600 + 100;
    const MOMENT: Moment = Moment { now_s: NOW, interval_s: 900, counter: 5, sap: 1 };

    fn meter() -> MeterModel {
        let config = FieldConfig {
            meters: 1,
            dead_ppm: 0,
            gaps_ppm: 0,
            outages: Outages::Never,
            ..FieldConfig::default()
        };
        concentrators(&config).remove(0).meters.remove(0)
    }

    fn range(from: i64, to: i64, columns: Vec<Data>) -> Selection {
        let clock = vec![Data::U16(8), Data::octets(&CLOCK), Data::I8(2), Data::U16(0)];
        let fields = vec![
            Data::Structure(clock),
            push::clock(from, 0),
            push::clock(to, 0),
            Data::Array(columns),
        ];
        Selection { selector: 1, parameters: Data::Structure(fields) }
    }

    fn rows(selection: Option<&Selection>) -> Vec<Data> {
        let buffer = AttributeRef::new(7, LOAD_PROFILE, 2);
        read(&meter(), MOMENT, &buffer, selection).unwrap().as_array().unwrap().to_vec()
    }

    #[test]
    fn a_profile_is_read_whole_by_range_and_by_entry() {
        assert_eq!(rows(None).len(), 3_840);
        let noon = NOW - 100;
        let hour = rows(Some(&range(noon - 3_600, noon, vec![])));
        assert_eq!(hour.len(), 5, "both ends belong to the range");
        assert_eq!(hour[0].as_structure().unwrap().len(), 4);
        let only = vec![Data::Structure(vec![
            Data::U16(3),
            Data::octets(&IMPORT),
            Data::I8(2),
            Data::U16(0),
        ])];
        let narrow = rows(Some(&range(noon - 3_600, noon, only)));
        assert_eq!(narrow[4].as_structure().unwrap(), &hour[4].as_structure().unwrap()[2..3]);
        let entries = |from, to| {
            let fields = vec![Data::U32(from), Data::U32(to), Data::U16(1), Data::U16(0)];
            rows(Some(&Selection { selector: 2, parameters: Data::Structure(fields) }))
        };
        assert_eq!(
            entries(3_840, 0)[0].as_structure().unwrap()[2..],
            hour[4].as_structure().unwrap()[2..]
        );
        assert_eq!((entries(1, 3).len(), entries(4_000, 0).len(), entries(5, 2).len()), (3, 0, 0));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let meter = meter();
        let get = |class, name, attribute| {
            read(&meter, MOMENT, &AttributeRef::new(class, name, attribute), None)
        };
        assert_eq!(get(3, [9; 6], 2), Err(DataAccessError::ObjectUndefined));
        assert_eq!(get(1, IMPORT, 2), Err(DataAccessError::ObjectClassInconsistent));
        assert_eq!(get(3, EXPORT, 4), Err(DataAccessError::ObjectUndefined));
        let bad = Selection { selector: 1, parameters: Data::Null };
        let buffer = AttributeRef::new(7, LOAD_PROFILE, 2);
        assert_eq!(
            read(&meter, MOMENT, &buffer, Some(&bad)),
            Err(DataAccessError::ScopeOfAccessViolated)
        );
    }
}
