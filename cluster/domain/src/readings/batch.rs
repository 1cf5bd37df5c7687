//! A batch of readings, in columns.
//!
//! Rows of one profile signature (interval and registers) are sorted by meter and time and written
//! meter by meter; within a meter every column is the differences of its values, packed to the
//! width of the largest. A steady row of A+ and A- takes 1.4 octets when a day of each meter is
//! sent at once, 3.7 for an hour of it, 8 for a single row. Absolute values are kept as delivered:
//! a lost row never breaks a register.
//!
//! Octets of the body, for each meter (integers are LEB128 varints, signed ones zigzag):
//!
//! 1. Control. Bit 0: the ordinal follows (else the last + 1); 1: the count of rows (else the
//!    last); 2: the first end (else the last meter's); 3: times (else one interval apart); 4: flags
//!    (else all 0); 5: presence (else all values are there).
//! 2. Ordinal and first end, as differences to the meter before, and the count; as far as the
//!    control octet says.
//! 3. Times: packed differences, count - 1. Flags: packed, count.
//! 4. Each register: presence bits when bit 5 is set; the first value; packed differences of the
//!    rest.
//!
//! Packed: the smallest, the width in bits, then the distances from the smallest at that width.
//!
//! Invariants: 1. `finish` then `rows` gives the rows sorted. 2. Decoding never panics and holds
//! at most [`MAX_ROWS`] rows of [`MAX_REGISTERS`] values, whatever the octets claim.

use serde::{Deserialize, Serialize};

use super::packed::{Reader, Writer};
use crate::error::Malformed;
use crate::units::Obis;

/// The most rows of a batch.
pub const MAX_ROWS: usize = 16_384;

/// The most registers of a batch.
pub const MAX_REGISTERS: usize = 16;

/// What a column of values is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Register {
    /// Which register.
    pub obis: Obis,
    /// Values are in 10^scaler of the unit.
    pub scaler: i8,
    /// Unit code of IEC 62056-6-2: 30 is Wh.
    pub unit: u8,
}

/// Readings of one profile signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    interval_minutes: u16,
    registers: Vec<Register>,
    rows: u32,
    #[serde(with = "crate::units::octets")]
    body: Vec<u8>,
}

/// A decoded batch, sorted by ordinal and end time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    registers: usize,
    ordinals: Vec<u32>,
    ends_s: Vec<i64>,
    flags: Vec<u8>,
    values: Vec<Option<i64>>,
}

/// The values of one meter at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Which meter.
    pub ordinal: u32,
    /// End of the interval, or the instant of an irregular read, in seconds UTC.
    pub end_s: i64,
    /// Quality bits, see the constants in [`flag`](super::flag).
    pub flag: u8,
    /// One value a register, in the batch's order.
    pub values: &'a [Option<i64>],
}

/// Collects rows into a [`Batch`].
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    interval_minutes: u16,
    registers: Vec<Register>,
    rows: Rows,
}

/// What a meter's control octet says that follows.
mod control {
    pub(super) const ORDINAL: u8 = 1 << 0;
    pub(super) const COUNT: u8 = 1 << 1;
    pub(super) const START: u8 = 1 << 2;
    pub(super) const TIMES: u8 = 1 << 3;
    pub(super) const FLAGS: u8 = 1 << 4;
    pub(super) const PRESENCE: u8 = 1 << 5;
    pub(super) const ALL: u8 = ORDINAL | COUNT | START | TIMES | FLAGS | PRESENCE;
}

/// What the next meter is coded against.
#[derive(Clone, Copy, Default)]
struct Last {
    ordinal: u32,
    count: usize,
    start_s: i64,
}

impl BatchBuilder {
    /// An empty batch of an interval (minutes; 0 for irregular reads) and its registers.
    ///
    /// Registers beyond [`MAX_REGISTERS`] are left out.
    pub fn new(interval_minutes: u16, mut registers: Vec<Register>) -> BatchBuilder {
        registers.truncate(MAX_REGISTERS);
        let rows = Rows { registers: registers.len(), ..Rows::default() };
        BatchBuilder { interval_minutes, registers, rows }
    }

    /// Adds a row. Values missing at the end are none; values beyond the registers are left out.
    ///
    /// Gives false, and adds nothing, when the batch already has [`MAX_ROWS`] rows.
    pub fn push(&mut self, ordinal: u32, end_s: i64, flag: u8, values: &[Option<i64>]) -> bool {
        if self.len() >= MAX_ROWS {
            return false;
        }
        self.rows.ordinals.push(ordinal);
        self.rows.ends_s.push(end_s);
        self.rows.flags.push(flag);
        let values = values.iter().copied().chain(std::iter::repeat(None));
        self.rows.values.extend(values.take(self.registers.len()));
        true
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The batch, its rows sorted by meter and time.
    pub fn finish(self) -> Batch {
        let rows = self.rows.sorted();
        let mut body = Writer::default();
        let mut last = Last::default();
        let mut start = 0;
        while start < rows.len() {
            let ordinal = rows.ordinals[start];
            let same = rows.ordinals[start..].iter().take_while(|other| **other == ordinal);
            let end = start + same.count();
            last = write_meter(&mut body, self.interval_minutes, &rows, start..end, last);
            start = end;
        }
        let count = u32::try_from(rows.len()).expect("MAX_ROWS fits in 32 bits");
        Batch {
            interval_minutes: self.interval_minutes,
            registers: self.registers,
            rows: count,
            body: body.into_octets(),
        }
    }
}

impl Batch {
    /// Minutes between two rows of a meter; 0 for irregular reads.
    pub fn interval_minutes(&self) -> u16 {
        self.interval_minutes
    }

    /// What the values of a row are.
    pub fn registers(&self) -> &[Register] {
        &self.registers
    }

    /// How many rows it says it has; [`Batch::rows`] refuses it when that is not so.
    pub fn len(&self) -> usize {
        self.rows as usize
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Octets of the encoded rows.
    pub fn octets(&self) -> usize {
        self.body.len()
    }

    /// Decodes the rows, sorted by ordinal and end time.
    ///
    /// Errors: octets that [`BatchBuilder::finish`] did not make.
    pub fn rows(&self) -> Result<Rows, Malformed> {
        let claimed = self.rows as usize;
        if claimed > MAX_ROWS || self.registers.len() > MAX_REGISTERS {
            return Err(Malformed("a batch of too many rows or registers"));
        }
        let mut rows = Rows { registers: self.registers.len(), ..Rows::default() };
        let mut body = Reader::new(&self.body);
        let mut last = Last::default();
        while rows.len() < claimed {
            last = read_meter(&mut body, self.interval_minutes, &mut rows, claimed, last)?;
        }
        if body.is_empty() { Ok(rows) } else { Err(Malformed("octets behind the last row")) }
    }
}

impl Rows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ordinals.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ordinals.is_empty()
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.len()).map(|position| self.row(position))
    }

    fn row(&self, position: usize) -> Row<'_> {
        Row {
            ordinal: self.ordinals[position],
            end_s: self.ends_s[position],
            flag: self.flags[position],
            values: &self.values[position * self.registers..][..self.registers],
        }
    }

    /// The same rows by meter and time; rows of one instant keep their order.
    fn sorted(self) -> Rows {
        let key = |position: usize| (self.ordinals[position], self.ends_s[position]);
        if (1..self.len()).all(|position| key(position - 1) <= key(position)) {
            return self;
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|position| key(*position));
        let mut sorted = Rows { registers: self.registers, ..Rows::default() };
        for row in order.into_iter().map(|position| self.row(position)) {
            sorted.ordinals.push(row.ordinal);
            sorted.ends_s.push(row.end_s);
            sorted.flags.push(row.flag);
            sorted.values.extend_from_slice(row.values);
        }
        sorted
    }
}

fn write_meter(
    body: &mut Writer,
    interval_minutes: u16,
    rows: &Rows,
    range: std::ops::Range<usize>,
    last: Last,
) -> Last {
    let (ends, flags) = (&rows.ends_s[range.clone()], &rows.flags[range.clone()]);
    let values = &rows.values[range.start * rows.registers..range.end * rows.registers];
    let own = Last { ordinal: rows.ordinals[range.start], count: range.len(), start_s: ends[0] };
    let steps: Vec<i64> = ends.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    let step_s = i64::from(interval_minutes) * 60;
    let control = [
        (control::ORDINAL, own.ordinal != last.ordinal.wrapping_add(1)),
        (control::COUNT, own.count != last.count),
        (control::START, own.start_s != last.start_s),
        (control::TIMES, steps.iter().any(|step| *step != step_s)),
        (control::FLAGS, flags.iter().any(|flag| *flag != 0)),
        (control::PRESENCE, values.iter().any(Option::is_none)),
    ];
    let control = control.iter().fold(0, |all, (bit, set)| if *set { all | bit } else { all });
    body.octet(control);
    if control & control::ORDINAL != 0 {
        body.varint(u64::from(own.ordinal.wrapping_sub(last.ordinal)));
    }
    if control & control::COUNT != 0 {
        body.varint(own.count as u64);
    }
    if control & control::START != 0 {
        body.signed(own.start_s.wrapping_sub(last.start_s));
    }
    if control & control::TIMES != 0 {
        body.packed(&steps);
    }
    if control & control::FLAGS != 0 {
        body.packed(&flags.iter().map(|flag| i64::from(*flag)).collect::<Vec<_>>());
    }
    for register in 0..rows.registers {
        let column = values.iter().skip(register).step_by(rows.registers);
        write_column(body, column, control & control::PRESENCE != 0);
    }
    own
}

fn write_column<'a>(
    body: &mut Writer,
    column: impl Iterator<Item = &'a Option<i64>> + Clone,
    presence: bool,
) {
    if presence {
        body.bits(column.clone().map(Option::is_some));
    }
    let mut there = column.flatten();
    let Some(first) = there.next() else { return };
    body.signed(*first);
    let mut before = *first;
    let steps: Vec<i64> = there
        .map(|value| {
            let step = value.wrapping_sub(before);
            before = *value;
            step
        })
        .collect();
    body.packed(&steps);
}

fn read_meter(
    body: &mut Reader<'_>,
    interval_minutes: u16,
    rows: &mut Rows,
    claimed: usize,
    last: Last,
) -> Result<Last, Malformed> {
    let control = body.octet()?;
    if control & !control::ALL != 0 {
        return Err(Malformed("an unknown control bit"));
    }
    let mut own = Last { ordinal: last.ordinal.wrapping_add(1), ..last };
    if control & control::ORDINAL != 0 {
        let step = u32::try_from(body.varint()?).map_err(|_| Malformed("an ordinal too large"))?;
        own.ordinal = last.ordinal.wrapping_add(step);
    }
    if control & control::COUNT != 0 {
        own.count = usize::try_from(body.varint()?).map_err(|_| Malformed("too many rows"))?;
    }
    if own.count == 0 || own.count > claimed - rows.len() {
        return Err(Malformed("more or fewer rows than the batch says"));
    }
    if control & control::START != 0 {
        own.start_s = last.start_s.wrapping_add(body.signed()?);
    }
    let steps = if control & control::TIMES != 0 {
        body.packed(own.count - 1)?
    } else {
        vec![i64::from(interval_minutes) * 60; own.count - 1]
    };
    rows.ordinals.extend(std::iter::repeat_n(own.ordinal, own.count));
    rows.ends_s.push(own.start_s);
    rows.ends_s.extend(steps.iter().scan(own.start_s, |end, step| {
        *end = end.wrapping_add(*step);
        Some(*end)
    }));
    if control & control::FLAGS != 0 {
        for flag in body.packed(own.count)? {
            rows.flags.push(u8::try_from(flag).map_err(|_| Malformed("a flag above 255"))?);
        }
    } else {
        rows.flags.extend(std::iter::repeat_n(0, own.count));
    }
    let start = rows.values.len();
    rows.values.resize(start + own.count * rows.registers, None);
    for register in 0..rows.registers {
        let column = rows.values[start..].iter_mut().skip(register).step_by(rows.registers);
        read_column(body, column, own.count, control & control::PRESENCE != 0)?;
    }
    Ok(own)
}

fn read_column<'a>(
    body: &mut Reader<'_>,
    column: impl Iterator<Item = &'a mut Option<i64>>,
    count: usize,
    presence: bool,
) -> Result<(), Malformed> {
    let presence = if presence { body.bits(count)? } else { vec![true; count] };
    let there = presence.iter().filter(|there| **there).count();
    if there == 0 {
        return Ok(());
    }
    let mut value = body.signed()?;
    let mut steps = body.packed(there - 1)?.into_iter();
    let mut first = true;
    for (cell, _) in column.zip(&presence).filter(|(_, there)| **there) {
        if !first {
            value = value.wrapping_add(steps.next().unwrap_or(0));
        }
        first = false;
        *cell = Some(value);
    }
    Ok(())
}
