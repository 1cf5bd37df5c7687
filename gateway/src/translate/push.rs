//! A concentrator's profile push into batches. The rows are read from the octets without building
//! values in between, because they are the bulk of all traffic.

use std::collections::{BTreeSet, HashMap};

use cosem::axdr::Reader;
use cosem::data::tag;
use cosem::{DateTime, Error};
use domain::Obis;
use domain::readings::{Batch, flag};

use super::profile::clock_flags;
use super::rows::{Collector, Dropped, register};
use crate::concentrator::notification::{self, PushColumn, PushHead};

/// What a push holds, for the domain.
#[derive(Debug)]
pub(crate) struct Pushed {
    /// Aligned and irregular batches.
    pub batches: Vec<Batch>,
    /// What was left out.
    pub dropped: Dropped,
    /// Serials that have rows here and no ordinal, each once; only such as a meter can have.
    pub strangers: BTreeSet<String>,
}

/// What a column of the push is.
enum Role {
    Clock,
    Status,
    Register,
    Ignored,
}

/// Status bits that the concentrator's protocol gives the domain's meaning.
const STATUS_BITS: u8 = flag::CLOCK_DOUBTFUL
    | flag::DAYLIGHT_SAVING
    | flag::POWER_FAILURE
    | flag::ESTIMATED
    | flag::CLOCK_SET;

/// Reads the meters of a push; `ordinals` knows those behind this concentrator.
///
/// # Errors
/// `Malformed` when the octets are not an array of {serial, rows}; a row of another shape than the
/// columns is only left out and counted.
pub(crate) fn push(
    head: &PushHead,
    meters: &[u8],
    ordinals: &HashMap<String, u32>,
) -> Result<Pushed, Error> {
    let mut rows = Rows::new(head);
    let mut reader = Reader::new(meters);
    let mut strangers = BTreeSet::new();
    let count = array(&mut reader)?;
    for _ in 0..count {
        structure(&mut reader, 2)?;
        let serial = octets(&mut reader)?;
        let name = std::str::from_utf8(serial).ok();
        let ordinal = name.and_then(|serial| ordinals.get(serial)).copied();
        let unknown_before = rows.dropped.unknown_meter;
        rows.meter(&mut reader, ordinal)?;
        let has_rows = rows.dropped.unknown_meter > unknown_before;
        if let Some(serial) = name.filter(|serial| has_rows && can_be_registered(serial)) {
            strangers.insert(serial.to_owned());
        }
    }
    reader.finish()?;
    Ok(Pushed { batches: rows.collector.finish(), dropped: rows.dropped, strangers })
}

/// Reads what a concentrator's store answered: a structure of the number of rows, then the fields
/// of a push from its profile on (docs/reference/concentrator.md, store).
///
/// # Errors
/// `Malformed` when the octets are of another shape.
pub(crate) fn store(octets: &[u8], ordinals: &HashMap<String, u32>) -> Result<Pushed, Error> {
    let (head, meters) = notification::stored(octets)?;
    push(&head, meters, ordinals)
}

/// Whether the registry would take this serial: 1..=32 ASCII letters, digits and `-`.
fn can_be_registered(serial: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
    (1..=32).contains(&serial.len()) && serial.bytes().all(fits)
}

struct Rows {
    roles: Vec<Role>,
    period_s: i64,
    collector: Collector,
    dropped: Dropped,
    values: Vec<Option<i64>>,
}

impl Rows {
    fn new(head: &PushHead) -> Self {
        let roles: Vec<Role> = head.columns.iter().map(role).collect();
        let registers = head
            .columns
            .iter()
            .zip(&roles)
            .filter(|(_, role)| matches!(role, Role::Register))
            .map(|(column, _)| register(Obis(column.name), column.scaler, column.unit));
        Self {
            collector: Collector::new(head.period_s, registers.collect()),
            roles,
            period_s: i64::from(head.period_s),
            dropped: Dropped::default(),
            values: Vec::new(),
        }
    }

    fn meter(&mut self, reader: &mut Reader<'_>, ordinal: Option<u32>) -> Result<(), Error> {
        let count = array(reader)?;
        let mut last_s: Option<i64> = None;
        for _ in 0..count {
            let cells = any_structure(reader)?;
            if cells != self.roles.len() {
                for _ in 0..cells {
                    cosem::Data::from_axdr(reader)?;
                }
                self.dropped.shape += 1;
                continue;
            }
            let (end_s, flag) = self.row(reader, last_s)?;
            last_s = end_s;
            match (ordinal, end_s) {
                (None, _) => self.dropped.unknown_meter += 1,
                (_, None) => self.dropped.no_time += 1,
                (Some(ordinal), Some(end_s)) => {
                    self.collector.push(ordinal, end_s, flag, &self.values);
                }
            }
        }
        Ok(())
    }

    fn row(
        &mut self,
        reader: &mut Reader<'_>,
        last_s: Option<i64>,
    ) -> Result<(Option<i64>, u8), Error> {
        self.values.clear();
        let (mut end_s, mut flag) = (None, 0);
        for role in &self.roles {
            match role {
                Role::Clock => {
                    let (time, bits) = clock(reader, last_s, self.period_s)?;
                    (end_s, flag) = (time, flag | bits);
                }
                Role::Status => match cell(reader)? {
                    Cell::Number(bits) => flag |= bits.to_le_bytes()[0] & STATUS_BITS,
                    Cell::Null | Cell::Other => {}
                },
                Role::Register => self.values.push(match cell(reader)? {
                    Cell::Null => None,
                    Cell::Number(number) => Some(number),
                    Cell::Other => {
                        self.dropped.value_range += 1;
                        None
                    }
                }),
                Role::Ignored => {
                    cell(reader)?;
                }
            }
        }
        Ok((end_s, flag))
    }
}

fn role(column: &PushColumn) -> Role {
    match (column.class, column.name, column.attribute) {
        (8, _, 2) => Role::Clock,
        (1, [0, 0, 96, 10, _, _], 2) => Role::Status,
        (3 | 4, _, 2) | (5, _, 2 | 3) => Role::Register,
        // Codes of events are values, too.
        (1, name, 2) if domain::alarms::is_event(Obis(name)) => Role::Register,
        _ => Role::Ignored,
    }
}

/// An interval end and its flags. Null-data is one period after the row before.
fn clock(
    reader: &mut Reader<'_>,
    last_s: Option<i64>,
    period_s: i64,
) -> Result<(Option<i64>, u8), Error> {
    match reader.peek() {
        Some(tag::NULL) => {
            reader.u8()?;
            Ok((last_s.and_then(|last| last.checked_add(period_s)), 0))
        }
        Some(tag::OCTET_STRING) => {
            let octets = octets(reader)?;
            let Ok(time) = DateTime::from_slice(octets) else { return Ok((None, 0)) };
            Ok((time.to_unix_s(0), clock_flags(time)))
        }
        _ => {
            cosem::Data::from_axdr(reader)?;
            Ok((None, 0))
        }
    }
}

enum Cell {
    Null,
    Number(i64),
    Other,
}

fn cell(reader: &mut Reader<'_>) -> Result<Cell, Error> {
    let Some(kind) = reader.peek() else { return Err(reader.malformed("a cell is missing")) };
    let number = match kind {
        tag::NULL => {
            reader.u8()?;
            return Ok(Cell::Null);
        }
        tag::U8 => {
            reader.u8()?;
            i64::from(reader.u8()?)
        }
        tag::U16 => {
            reader.u8()?;
            i64::from(reader.u16()?)
        }
        tag::U32 => {
            reader.u8()?;
            i64::from(reader.u32()?)
        }
        _ => match cosem::Data::from_axdr(reader)?.as_i64() {
            Some(number) => number,
            None => return Ok(Cell::Other),
        },
    };
    Ok(Cell::Number(number))
}

fn array(reader: &mut Reader<'_>) -> Result<usize, Error> {
    expect(reader, tag::ARRAY, "an array is expected")?;
    reader.count()
}

fn any_structure(reader: &mut Reader<'_>) -> Result<usize, Error> {
    expect(reader, tag::STRUCTURE, "a structure is expected")?;
    reader.count()
}

fn structure(reader: &mut Reader<'_>, fields: usize) -> Result<(), Error> {
    if any_structure(reader)? == fields {
        Ok(())
    } else {
        Err(reader.malformed("a structure of another size is expected"))
    }
}

fn octets<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    expect(reader, tag::OCTET_STRING, "an octet-string is expected")?;
    reader.octets()
}

fn expect(reader: &mut Reader<'_>, wanted: u8, what: &'static str) -> Result<(), Error> {
    if reader.u8()? == wanted { Ok(()) } else { Err(reader.malformed(what)) }
}

#[cfg(test)]
mod tests {
    use super::{Pushed, push};
    use crate::concentrator::notification::{PushColumn, PushHead};
    use crate::translate::Dropped;
    use cosem::{Data, DateTime};
    use domain::readings::flag;
    use std::collections::HashMap;

    const NOON: i64 = 1_795_305_600;

    fn head() -> PushHead {
        let column = |class, name, unit| PushColumn { class, name, attribute: 2, scaler: 0, unit };
        PushHead {
            sequence: 1,
            profile: [1, 0, 99, 1, 0, 255],
            period_s: 900,
            columns: vec![
                column(8, [0, 0, 1, 0, 0, 255], 255),
                column(1, [0, 0, 96, 10, 1, 255], 255),
                column(3, [1, 0, 1, 8, 0, 255], 30),
                column(3, [1, 0, 2, 8, 0, 255], 30),
            ],
        }
    }

    fn row(clock: Data, status: u8, import: Data, export: Data) -> Data {
        Data::Structure(vec![clock, Data::U8(status), import, export])
    }

    fn at(time_s: i64, deviation: i16, status: u8) -> Data {
        Data::octets(&DateTime::from_unix_s(time_s, deviation, status).to_octets())
    }

    fn translate(meters: Vec<(&str, Vec<Data>)>) -> Pushed {
        let meters = meters.into_iter().map(|(serial, rows)| {
            Data::Structure(vec![Data::octets(serial.as_bytes()), Data::Array(rows)])
        });
        let octets = Data::Array(meters.collect()).to_axdr();
        let ordinals = HashMap::from([("M1".to_owned(), 11), ("M2".to_owned(), 12)]);
        push(&head(), &octets, &ordinals).unwrap()
    }

    #[test]
    fn null_clocks_follow_and_flags_are_kept() {
        let rows = vec![
            row(at(NOON, -120, 0x80), 0, Data::U32(5), Data::U64(6)),
            row(Data::Null, flag::POWER_FAILURE | 0x40, Data::U32(7), Data::Null),
            row(at(NOON + 1_837, 0, 0x02), 0, Data::U16(8), Data::U8(9)),
        ];
        let pushed = translate(vec![("M1", rows)]);
        assert_eq!(pushed.dropped, Dropped::default());
        let seen: Vec<_> = pushed
            .batches
            .iter()
            .flat_map(|batch| {
                let rows = batch.rows().unwrap();
                let of = |row: domain::readings::Row<'_>| {
                    let values = row.values.to_vec();
                    (batch.interval_minutes(), row.ordinal, row.end_s, row.flag, values)
                };
                rows.iter().map(of).collect::<Vec<_>>()
            })
            .collect();
        let expect = [
            (15, 11, NOON, flag::DAYLIGHT_SAVING, vec![Some(5), Some(6)]),
            (15, 11, NOON + 900, flag::POWER_FAILURE, vec![Some(7), None]),
            (0, 11, NOON + 1_837, flag::CLOCK_DOUBTFUL, vec![Some(8), Some(9)]),
        ];
        assert_eq!(seen, expect);
    }

    #[test]
    fn codes_of_events_are_values_of_irregular_rows() {
        let column = |class, name| PushColumn { class, name, attribute: 2, scaler: 0, unit: 255 };
        let head = PushHead {
            profile: [0, 0, 99, 98, 0, 255],
            period_s: 0,
            columns: vec![column(8, [0, 0, 1, 0, 0, 255]), column(1, [0, 0, 96, 11, 0, 255])],
            ..head()
        };
        let row = Data::Structure(vec![at(NOON + 7, 0, 0), Data::U8(1)]);
        let meter = Data::Structure(vec![Data::octets(b"M1"), Data::Array(vec![row])]);
        let ordinals = HashMap::from([("M1".to_owned(), 11)]);
        let pushed = push(&head, &Data::Array(vec![meter]).to_axdr(), &ordinals).unwrap();
        assert_eq!((pushed.dropped, pushed.batches.len()), (Dropped::default(), 1));
        let batch = &pushed.batches[0];
        assert_eq!(batch.interval_minutes(), 0);
        assert!(domain::alarms::is_event(batch.registers()[0].obis));
        let rows = batch.rows().unwrap();
        let row = rows.iter().next().unwrap();
        assert_eq!((row.ordinal, row.end_s, row.values), (11, NOON + 7, &[Some(1)][..]));
    }

    #[test]
    fn what_cannot_be_carried_over_is_counted_and_the_rest_goes_on() {
        let good = |time_s| row(at(time_s, 0, 0), 0, Data::U32(1), Data::U32(1));
        let pushed = translate(vec![
            ("stranger", vec![good(NOON), good(NOON + 900)]),
            ("no serial!", vec![good(NOON)]),
            ("rowless", vec![]),
            ("M1", vec![row(Data::Null, 0, Data::U32(1), Data::Null), good(NOON)]),
            (
                "M2",
                vec![
                    Data::Structure(vec![Data::Null]),
                    row(at(NOON, 0, 0), 0, Data::U64(u64::MAX), Data::text("x")),
                ],
            ),
        ]);
        let expect = Dropped { unknown_meter: 3, no_time: 1, value_range: 2, shape: 1 };
        let rows: usize = pushed.batches.iter().map(|batch| batch.len()).sum();
        assert_eq!((rows, pushed.dropped), (2, expect));
        let strangers: Vec<_> = pushed.strangers.iter().map(String::as_str).collect();
        assert_eq!(strangers, ["stranger"], "only who has rows and can be registered");
    }

    #[test]
    fn garbage_is_malformed_and_never_a_panic() {
        let ordinals = HashMap::new();
        let whole = Data::Array(vec![Data::Structure(vec![
            Data::octets(b"M1"),
            Data::Array(vec![row(at(NOON, 0, 0), 0, Data::U32(1), Data::Null)]),
        ])])
        .to_axdr();
        for end in 0..whole.len() {
            assert!(push(&head(), &whole[..end], &ordinals).is_err(), "cut at {end}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                let _ = push(&head(), &changed, &ordinals);
            }
        }
    }
}
