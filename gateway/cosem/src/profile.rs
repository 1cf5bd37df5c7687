//! The fast way from the octets of a profile buffer (class 7, attribute 2) to typed rows, without
//! building `Data`. It knows no OBIS codes: which column is the clock is told by `Layout`.
//!
//! Taken: array of structures and compact array of structures; a clock cell as octet-string of
//! 12 or as date-time; null-data in a clock cell, which means the row before plus the capture
//! period; rows in any order and any number of times. A row's cells are its fields in order.
//!
//! Most rows look like the row before, so its shape is kept (`pattern`) and tried first.
//!
//! Invariants: nothing is allocated but one row's cells and its shape, at most one of each an
//! octet of input; a row reads the same whether its shape was known or not.

mod pattern;

use pattern::Pattern;

use crate::axdr::Reader;
use crate::compact::TypeDescription;
use crate::data::{Data, tag};
use crate::datetime::{Date, DateTime};
use crate::error::Error;

/// What the reader of a buffer has to know about its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Column of the clock, counted from 0; None when there is none.
    pub clock: Option<usize>,
    /// Capture period, seconds; 0 = irregular, so that a null clock cell has no time.
    pub period_s: u32,
    /// Minutes from local standard time to UTC where the meter does not say them; while its clock
    /// status says daylight saving, an hour less is taken.
    pub default_deviation: i16,
}

/// A field of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// null-data: no value (in the clock column: as the row before, plus the period).
    Null,
    /// Any integer, enum or bcd that fits.
    Integer(i64),
    /// A long64-unsigned beyond i64.
    Large(u64),
    /// boolean.
    Boolean(bool),
    /// float32 or float64.
    Float(f64),
    /// Any string.
    Octets(&'a [u8]),
    /// date-time, as a type of its own or as an octet-string of 12 in the clock column.
    Time(DateTime),
    /// Anything else.
    Other(Box<Data>),
}

/// A row; reused from one row to the next.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row<'a> {
    /// End of the interval (the clock cell), Unix seconds UTC, when it is known.
    pub end_s: Option<i64>,
    /// Status of the last clock that was sent; a row with a null clock cell inherits it.
    pub clock_status: u8,
    /// Fields, the clock's included.
    pub cells: Vec<Cell<'a>>,
}

/// The rows of a buffer, one after the other.
#[derive(Debug)]
pub struct Rows<'a> {
    reader: Reader<'a>,
    shape: Shape,
    layout: Layout,
    row: Row<'a>,
    /// The last date reckoned, since most rows are of the same day.
    last_date: Option<(Date, i64)>,
    pattern: Pattern,
    /// How many rows more may miss the pattern before it is given up; a hit pays for a miss.
    patience: u32,
}

/// Misses of the pattern that are taken at first, and the most that hits can save up.
const PATIENCE: u32 = 8;

#[derive(Debug)]
enum Shape {
    /// So many rows with tags are left.
    Tagged(usize),
    /// Rows without tags with these columns, up to this position.
    Described(Vec<TypeDescription>, usize),
}

impl<'a> Rows<'a> {
    /// The rows of an encoded buffer, which must fill `octets`.
    ///
    /// # Errors
    /// `Malformed` when it is neither an array nor a compact array of structures.
    pub fn new(octets: &'a [u8], layout: Layout) -> Result<Self, Error> {
        Self::within(Reader::new(octets), layout)
    }

    /// The rows of a buffer that begins at the reader's position, for one within other data; when
    /// `next_row` has given None, `into_reader` goes on after it.
    ///
    /// # Errors
    /// As `new`.
    pub fn within(mut reader: Reader<'a>, layout: Layout) -> Result<Self, Error> {
        let shape = match reader.u8()? {
            tag::ARRAY => Shape::Tagged(reader.count()?),
            tag::COMPACT_ARRAY => match TypeDescription::from_axdr(&mut reader)? {
                TypeDescription::Structure(columns) if !columns.is_empty() => {
                    let length = reader.length()?;
                    if length > reader.remaining() {
                        return Err(reader.malformed("content beyond the octets"));
                    }
                    Shape::Described(columns, reader.position() + length)
                }
                _ => return Err(reader.malformed("rows that are not structures")),
            },
            _ => return Err(reader.malformed("a buffer is an array or a compact array")),
        };
        Ok(Self {
            reader,
            shape,
            layout,
            row: Row::default(),
            last_date: None,
            pattern: Pattern::default(),
            patience: PATIENCE,
        })
    }

    /// The reader behind the buffer, once `next_row` has given None.
    #[must_use]
    pub fn into_reader(self) -> Reader<'a> {
        self.reader
    }

    /// The next row, or None after the last.
    ///
    /// # Errors
    /// `Malformed` with the offset of what makes no sense; rows before it stay good.
    pub fn next_row(&mut self) -> Result<Option<&Row<'a>>, Error> {
        let more = match &mut self.shape {
            Shape::Tagged(0) => false,
            Shape::Tagged(left) => {
                *left -= 1;
                match self.pattern.fill(self.reader.rest(), &mut self.row.cells) {
                    Some(octets) => {
                        self.reader.take(octets)?;
                        self.patience = PATIENCE.min(self.patience + 1);
                    }
                    None => self.tagged_row()?,
                }
                true
            }
            Shape::Described(_, _) => self.described_row()?,
        };
        if !more {
            self.row.cells.clear();
            return Ok(None);
        }
        self.stamp();
        Ok(Some(&self.row))
    }

    /// A row with tags of any shape.
    fn tagged_row(&mut self) -> Result<(), Error> {
        self.row.cells.clear();
        let octets = self.reader.rest();
        if self.reader.u8()? != tag::STRUCTURE {
            return Err(self.reader.malformed("a row that is not a structure"));
        }
        let count = self.reader.count()?;
        for column in 0..count {
            let type_tag = self.reader.u8()?;
            let clock = self.layout.clock == Some(column);
            let cell = match type_tag {
                tag::ARRAY | tag::STRUCTURE | tag::COMPACT_ARRAY => {
                    nested(type_tag, &mut self.reader)?
                }
                _ => cell(type_tag, &mut self.reader, clock)?,
            };
            self.row.cells.push(cell);
        }
        if self.patience > 0 {
            self.patience -= 1;
            let length = octets.len() - self.reader.remaining();
            self.pattern.learn(octets.get(..length).unwrap_or_default(), self.layout.clock);
        }
        Ok(())
    }

    /// A row without tags; false when the content is over.
    fn described_row(&mut self) -> Result<bool, Error> {
        self.row.cells.clear();
        let Shape::Described(columns, end) = &self.shape else { return Ok(false) };
        let before = self.reader.position();
        if before >= *end {
            return Ok(false);
        }
        for (column, of) in columns.iter().enumerate() {
            let TypeDescription::Simple(type_tag) = of else {
                return Err(self.reader.malformed("a compact row with nested columns"));
            };
            let clock = self.layout.clock == Some(column);
            self.row.cells.push(cell(*type_tag, &mut self.reader, clock)?);
        }
        if self.reader.position() > *end || self.reader.position() == before {
            return Err(self.reader.malformed("a row that does not fit the content"));
        }
        Ok(true)
    }

    /// Reckons the end of the interval from the clock cell.
    fn stamp(&mut self) {
        let Some(clock) = self.layout.clock else { return };
        match self.row.cells.get(clock) {
            Some(Cell::Time(time)) => {
                let time = *time;
                self.row.clock_status = time.status;
                self.row.end_s = self.unix_s(time);
            }
            Some(Cell::Null) if self.layout.period_s > 0 => {
                let period = i64::from(self.layout.period_s);
                self.row.end_s = self.row.end_s.map(|end_s| end_s + period);
            }
            _ => self.row.end_s = None,
        }
    }

    fn unix_s(&mut self, time: DateTime) -> Option<i64> {
        let days = match self.last_date {
            Some((date, days)) if date == time.date => days,
            _ => {
                let days = time.date.to_unix_days()?;
                self.last_date = Some((time.date, days));
                days
            }
        };
        let deviation = time.deviation_or(self.layout.default_deviation);
        Some(days * 86_400 + time.time.to_seconds()? + i64::from(deviation) * 60)
    }
}

/// One cell of a type without elements, whose tag is known.
#[inline]
fn cell<'a>(type_tag: u8, reader: &mut Reader<'a>, clock: bool) -> Result<Cell<'a>, Error> {
    Ok(match type_tag {
        tag::NULL | tag::DONT_CARE => Cell::Null,
        tag::U32 | tag::DELTA_U32 => Cell::Integer(i64::from(reader.u32()?)),
        tag::U8 | tag::ENUM | tag::BCD | tag::DELTA_U8 => Cell::Integer(i64::from(reader.u8()?)),
        tag::U16 | tag::DELTA_U16 => Cell::Integer(i64::from(reader.u16()?)),
        tag::I8 | tag::DELTA_I8 => Cell::Integer(i64::from(i8::from_be_bytes(reader.array()?))),
        tag::I16 | tag::DELTA_I16 => Cell::Integer(i64::from(i16::from_be_bytes(reader.array()?))),
        tag::I32 | tag::DELTA_I32 => Cell::Integer(i64::from(i32::from_be_bytes(reader.array()?))),
        tag::I64 => Cell::Integer(i64::from_be_bytes(reader.array()?)),
        tag::U64 => {
            let value = u64::from_be_bytes(reader.array()?);
            i64::try_from(value).map_or(Cell::Large(value), Cell::Integer)
        }
        tag::BOOLEAN => Cell::Boolean(reader.u8()? != 0),
        tag::F32 => Cell::Float(f64::from(f32::from_be_bytes(reader.array()?))),
        tag::F64 => Cell::Float(f64::from_be_bytes(reader.array()?)),
        tag::DATE_TIME => Cell::Time(DateTime::from_octets(reader.array()?)),
        tag::OCTET_STRING => {
            let octets = reader.octets()?;
            match octets.try_into() {
                Ok(twelve) if clock => Cell::Time(DateTime::from_octets(twelve)),
                _ => Cell::Octets(octets),
            }
        }
        tag::VISIBLE_STRING | tag::UTF8 => Cell::Octets(reader.octets()?),
        other => match Data::simple(other, reader)? {
            Some(data) => Cell::Other(Box::new(data)),
            None => return Err(reader.malformed("unknown data tag")),
        },
    })
}

/// A cell with elements, whose tag was read already; kept as `Data`.
#[cold]
fn nested<'a>(type_tag: u8, reader: &mut Reader<'a>) -> Result<Cell<'a>, Error> {
    Ok(Cell::Other(Box::new(Data::with_tag(type_tag, reader)?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, prop_oneof, proptest};

    use super::{Cell, Layout, PATIENCE, Rows};
    use crate::compact::{CompactArray, TypeDescription};
    use crate::data::Data;
    use crate::datetime::DateTime;
    use crate::error::Error;

    const LAYOUT: Layout = Layout { clock: Some(0), period_s: 900, default_deviation: 0 };

    fn read(octets: &[u8]) -> Result<Vec<(Option<i64>, i64)>, Error> {
        let mut rows = Rows::new(octets, LAYOUT)?;
        let mut out = Vec::new();
        while let Some(row) = rows.next_row()? {
            let Some(Cell::Integer(value)) = row.cells.get(1) else { panic!("{row:?}") };
            out.push((row.end_s, *value));
        }
        rows.into_reader().finish()?;
        Ok(out)
    }

    fn row(clock: Data, value: u32) -> Data {
        Data::Structure(vec![clock, Data::U32(value)])
    }

    #[test]
    fn null_clocks_count_on_from_the_row_before() {
        let first = DateTime::from_unix_s(1_668_268_800, -60, 0);
        let rows = [
            row(Data::Null, 1),
            row(Data::clock(first), 2),
            row(Data::Null, 3),
            row(Data::DateTime(DateTime::from_unix_s(1_668_355_200, 0, 0)), 4),
            row(Data::Null, 5),
        ];
        let expect = [
            (None, 1),
            (Some(1_668_268_800), 2),
            (Some(1_668_269_700), 3),
            (Some(1_668_355_200), 4),
            (Some(1_668_356_100), 5),
        ];
        assert_eq!(read(&Data::Array(rows.to_vec()).to_axdr()).unwrap(), expect);
    }

    #[test]
    fn compact_arrays_give_the_same_rows() {
        let clock = DateTime::from_unix_s(1_668_268_800, 0, 0);
        let rows = vec![row(Data::clock(clock), 2), row(Data::clock(clock), 3)];
        let of = [0x09, 0x06].map(TypeDescription::Simple).to_vec();
        let compact = CompactArray::new(TypeDescription::Structure(of), rows.clone()).unwrap();
        let compact = Data::CompactArray(compact).to_axdr();
        assert_eq!(read(&compact).unwrap(), read(&Data::Array(rows).to_axdr()).unwrap());
        for cut in 0..compact.len() {
            assert!(read(&compact[..cut]).is_err(), "cut at {cut}");
        }
    }

    /// Every row, then the error or the position after the last; `patience` 0 learns no shape.
    fn walk(octets: &[u8], patience: u32) -> String {
        let mut rows = match Rows::new(octets, LAYOUT) {
            Ok(rows) => rows,
            Err(error) => return format!("{error}"),
        };
        rows.patience = patience;
        let mut out = String::new();
        loop {
            match rows.next_row() {
                Ok(Some(row)) => out += &format!("{row:?}\n"),
                Ok(None) => return format!("{out}{}", rows.into_reader().position()),
                Err(error) => return format!("{out}{error} at {}", rows.into_reader().position()),
            }
        }
    }

    fn cell_of(kind: u8, value: u64) -> Data {
        let low = u32::try_from(value & 0xffff_ffff).unwrap();
        let octet = u8::try_from(value & 0xff).unwrap();
        match kind {
            0 => Data::clock(DateTime::from_unix_s(i64::from(low), -60, 0)),
            1 => Data::Null,
            2 => Data::U8(octet),
            3 => Data::U32(low),
            4 => Data::U64(value),
            5 => Data::I64(value.cast_signed()),
            6 => Data::octets(&vec![octet; usize::from(octet)]),
            7 => Data::DateTime(DateTime::from_unix_s(i64::from(low), 0, octet)),
            8 => Data::I16(i16::from(octet) - 200),
            9 => Data::F32(2.5),
            10 => Data::Structure(vec![Data::U8(octet)]),
            11 => Data::Enum(octet),
            _ => Data::text("abc"),
        }
    }

    proptest! {
        #[test]
        fn a_known_shape_changes_no_row(
            kinds in prop::collection::vec(0u8..13, 0..6),
            values in prop::collection::vec(any::<u64>(), 0..12),
            odd in prop::collection::vec((0usize..12, 0usize..6, 0u8..13), 0..3),
            damage in prop::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        ) {
            let rows = values.iter().enumerate().map(|(at, value)| {
                let kind = |column: usize, kind: u8| {
                    let changed = odd.iter().find(|(row, of, _)| (*row, *of) == (at, column));
                    changed.map_or(kind, |(_, _, kind)| *kind)
                };
                let of = kinds.iter().enumerate();
                let of = of.map(|(column, of)| cell_of(kind(column, *of), value.rotate_left(7)));
                Data::Structure(of.collect())
            });
            let mut octets = Data::Array(rows.collect()).to_axdr();
            prop_assert_eq!(walk(&octets, PATIENCE), walk(&octets, 0));
            for (at, value) in damage {
                let at = at % octets.len();
                octets[at] = value;
                prop_assert_eq!(walk(&octets, PATIENCE), walk(&octets, 0));
                prop_assert_eq!(walk(&octets[..at], PATIENCE), walk(&octets[..at], 0));
            }
        }

        #[test]
        fn a_known_shape_changes_nothing_for_noise(
            mut octets in prop::collection::vec(prop_oneof![0u8..0x24, any::<u8>()], 0..200),
        ) {
            octets.splice(..0, [1, 9, 2, 2]);
            prop_assert_eq!(walk(&octets, PATIENCE), walk(&octets, 0));
        }
    }

    #[test]
    fn a_shape_is_learnt_and_given_up() {
        let same: Vec<Data> = (0..50).map(|at| row(Data::Null, at)).collect();
        let octets = Data::Array(same).to_axdr();
        let mut rows = Rows::new(&octets, LAYOUT).unwrap();
        while rows.next_row().unwrap().is_some() {}
        assert_eq!(rows.patience, PATIENCE, "one miss, then hits");
        let mixed = |at| row(if at % 2 == 0 { Data::Null } else { Data::U8(1) }, at);
        let octets = Data::Array((0..50).map(mixed).collect()).to_axdr();
        let mut rows = Rows::new(&octets, LAYOUT).unwrap();
        while rows.next_row().unwrap().is_some() {}
        assert_eq!(rows.patience, 0, "no row is like the one before");
    }

    #[test]
    fn what_is_no_buffer_is_refused() {
        for bad in [&[][..], &[2, 0], &[1, 1, 6, 0, 0, 0, 1], &[1, 5, 2, 0], &[0x13, 6, 0]] {
            assert!(read(bad).is_err(), "{bad:02x?}");
        }
        // Columns of null-data only would never end.
        assert!(Rows::new(&[0x13, 2, 1, 0, 1, 7], LAYOUT).unwrap().next_row().is_err());
    }
}
