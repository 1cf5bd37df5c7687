//! The shape of a row, learnt from the row before: tags and lengths at fixed places, so that the
//! next row is checked and read at once. It is not a decoder of its own: a row that differs in
//! one octet of its shape is left to the general path.
//!
//! Invariant: what `fill` accepts, the general path reads to the same cells in the same octets.

use super::Cell;
use crate::data::tag;
use crate::datetime::DateTime;

/// Octets of a row before its first cell: the tag of a structure and the count.
const HEAD_OCTETS: usize = 2;

/// A shape; empty until one was learnt.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    /// Length of a row, octets; 0 = nothing is known.
    octets: usize,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    tag: u8,
    /// Length octet of a string, below 80.
    length: u8,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Null,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    DateTime,
    /// octet-string of 12 in the clock column.
    Clock,
    Octets,
}

impl Pattern {
    /// Learns the shape of `row`, which the general path has just read in full.
    pub(super) fn learn(&mut self, row: &[u8], clock: Option<usize>) {
        if self.fields_of(row, clock).is_none() {
            self.octets = 0;
        }
    }

    fn fields_of(&mut self, row: &[u8], clock: Option<usize>) -> Option<()> {
        self.octets = 0;
        self.fields.clear();
        let (head, mut rest) = row.split_first_chunk::<HEAD_OCTETS>()?;
        if head[0] != tag::STRUCTURE || head[1] >= 0x80 {
            return None;
        }
        for column in 0..usize::from(head[1]) {
            let (tag, after) = rest.split_first()?;
            let mut field = Field { tag: *tag, length: 0, kind: kind_of(*tag)? };
            let mut octets = field.kind.octets();
            if matches!(field.kind, Kind::Octets) {
                field.length = *after.first().filter(|length| **length < 0x80)?;
                octets = 1 + usize::from(field.length);
                if *tag == tag::OCTET_STRING && field.length == 12 && clock == Some(column) {
                    field.kind = Kind::Clock;
                }
            }
            rest = after.get(octets..)?;
            self.fields.push(field);
        }
        if rest.is_empty() {
            self.octets = row.len();
        }
        Some(())
    }

    /// Reads the row at the start of `octets` into `cells` when it has this shape: its length in
    /// octets. None when it has not; `cells` are then of no use.
    #[inline]
    pub(super) fn fill<'a>(&self, octets: &'a [u8], cells: &mut Vec<Cell<'a>>) -> Option<usize> {
        if self.octets == 0 {
            return None;
        }
        let row = octets.get(..self.octets)?;
        let (head, mut rest) = row.split_first_chunk::<HEAD_OCTETS>()?;
        if head[0] != tag::STRUCTURE || usize::from(head[1]) != self.fields.len() {
            return None;
        }
        if cells.len() != self.fields.len() {
            cells.clear();
            cells.resize_with(self.fields.len(), || Cell::Null);
        }
        for (field, cell) in self.fields.iter().zip(cells.iter_mut()) {
            let (tag, after) = rest.split_first()?;
            if *tag != field.tag {
                return None;
            }
            rest = after;
            field.put(&mut rest, cell)?;
        }
        Some(self.octets)
    }
}

impl Field {
    /// Takes the content of the field into `cell`. Rows have the same kinds of cells, so most
    /// values are written over the one of the row before, without dropping it.
    #[inline(always)]
    fn put<'a>(&self, rest: &mut &'a [u8], cell: &mut Cell<'a>) -> Option<()> {
        let value = match self.kind {
            Kind::U8 => i64::from(u8::from_be_bytes(take(rest)?)),
            Kind::U16 => i64::from(u16::from_be_bytes(take(rest)?)),
            Kind::U32 => i64::from(u32::from_be_bytes(take(rest)?)),
            Kind::I8 => i64::from(i8::from_be_bytes(take(rest)?)),
            Kind::I16 => i64::from(i16::from_be_bytes(take(rest)?)),
            Kind::I32 => i64::from(i32::from_be_bytes(take(rest)?)),
            Kind::I64 => i64::from_be_bytes(take(rest)?),
            Kind::Clock => {
                let [length, octets @ ..]: [u8; 13] = take(rest)?;
                put_time(DateTime::from_octets(octets), cell);
                return (length == self.length).then_some(());
            }
            Kind::DateTime => {
                put_time(DateTime::from_octets(take(rest)?), cell);
                return Some(());
            }
            Kind::Null | Kind::U64 | Kind::Octets => {
                *cell = self.other(rest)?;
                return Some(());
            }
        };
        match cell {
            Cell::Integer(slot) => *slot = value,
            other => *other = Cell::Integer(value),
        }
        Some(())
    }

    /// The kinds whose cells are made anew.
    fn other<'a>(&self, rest: &mut &'a [u8]) -> Option<Cell<'a>> {
        match self.kind {
            Kind::U64 => {
                let value = u64::from_be_bytes(take(rest)?);
                Some(i64::try_from(value).map_or(Cell::Large(value), Cell::Integer))
            }
            Kind::Octets => {
                let [length] = take(rest)?;
                let (octets, after) = rest.split_at_checked(usize::from(self.length))?;
                *rest = after;
                (length == self.length).then_some(Cell::Octets(octets))
            }
            _ => Some(Cell::Null),
        }
    }
}

#[inline(always)]
fn put_time(time: DateTime, cell: &mut Cell<'_>) {
    match cell {
        Cell::Time(slot) => *slot = time,
        other => *other = Cell::Time(time),
    }
}

impl Kind {
    /// Octets after the tag; 0 for strings, which say it themselves.
    const fn octets(self) -> usize {
        match self {
            Self::Null | Self::Clock | Self::Octets => 0,
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 => 4,
            Self::U64 | Self::I64 => 8,
            Self::DateTime => 12,
        }
    }
}

/// How a type is read; None for one that is left to the general path.
const fn kind_of(type_tag: u8) -> Option<Kind> {
    Some(match type_tag {
        tag::NULL | tag::DONT_CARE => Kind::Null,
        tag::U8 | tag::ENUM | tag::BCD | tag::DELTA_U8 => Kind::U8,
        tag::U16 | tag::DELTA_U16 => Kind::U16,
        tag::U32 | tag::DELTA_U32 => Kind::U32,
        tag::U64 => Kind::U64,
        tag::I8 | tag::DELTA_I8 => Kind::I8,
        tag::I16 | tag::DELTA_I16 => Kind::I16,
        tag::I32 | tag::DELTA_I32 => Kind::I32,
        tag::I64 => Kind::I64,
        tag::DATE_TIME => Kind::DateTime,
        tag::OCTET_STRING | tag::VISIBLE_STRING | tag::UTF8 => Kind::Octets,
        _ => return None,
    })
}

#[inline(always)]
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}
