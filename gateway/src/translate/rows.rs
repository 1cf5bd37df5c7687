//! Rows into batches: aligned ones by interval, the others as irregular reads.

use std::collections::BTreeMap;

use domain::Obis;
use domain::commands::{Read, Value};
use domain::readings::{Batch, BatchBuilder, MAX_REGISTERS, Part, Register};

/// Rows and columns that could not be carried over, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Rows of meters that are not registered behind this concentrator.
    pub unknown_meter: u64,
    /// Rows without a time that can be known.
    pub no_time: u64,
    /// Values that are no integer of 64 bits.
    pub value_range: u64,
    /// Rows of another shape than the capture objects say.
    pub shape: u64,
}

impl Dropped {
    /// With metric labels.
    pub fn by_code(self) -> [(&'static str, u64); 4] {
        [
            ("unknown_meter", self.unknown_meter),
            ("no_time", self.no_time),
            ("value_range", self.value_range),
            ("shape", self.shape),
        ]
    }
}

/// Collects rows of one profile signature.
pub(super) struct Collector {
    interval_minutes: u16,
    registers: Vec<Register>,
    aligned: BatchBuilder,
    irregular: BatchBuilder,
    finished: Vec<Batch>,
}

impl Collector {
    /// For a capture period in seconds; one that is no whole number of minutes makes every row
    /// irregular. Registers beyond the most that a batch holds are left out.
    pub fn new(period_s: u32, mut registers: Vec<Register>) -> Self {
        registers.truncate(MAX_REGISTERS);
        let interval_minutes = minutes(period_s);
        Self {
            aligned: BatchBuilder::new(interval_minutes, registers.clone()),
            irregular: BatchBuilder::new(0, registers.clone()),
            interval_minutes,
            registers,
            finished: Vec::new(),
        }
    }

    pub fn push(&mut self, ordinal: u32, end_s: i64, flag: u8, values: &[Option<i64>]) {
        let interval_s = i64::from(self.interval_minutes) * 60;
        let is_aligned = interval_s > 0 && end_s.rem_euclid(interval_s) == 0;
        let (builder, interval) = if is_aligned {
            (&mut self.aligned, self.interval_minutes)
        } else {
            (&mut self.irregular, 0)
        };
        if builder.push(ordinal, end_s, flag, values) {
            return;
        }
        let fresh = BatchBuilder::new(interval, self.registers.clone());
        self.finished.push(std::mem::replace(builder, fresh).finish());
        builder.push(ordinal, end_s, flag, values);
    }

    pub fn finish(mut self) -> Vec<Batch> {
        let rest = [self.aligned, self.irregular];
        self.finished
            .extend(rest.into_iter().filter(|rest| !rest.is_empty()).map(BatchBuilder::finish));
        self.finished
    }
}

/// Whole minutes of a capture period; 0 when it has none or they do not fit.
pub(super) fn minutes(period_s: u32) -> u16 {
    if period_s.is_multiple_of(60) { u16::try_from(period_s / 60).unwrap_or(0) } else { 0 }
}

/// Divides a refused part by meter, so that one bad meter does not hold back the others. The mark
/// goes last, in a part of its own. Nothing when there is only one meter: it cannot be divided.
pub(crate) fn divide(part: &Part) -> Vec<Part> {
    let mut by_meter: BTreeMap<u32, Vec<Batch>> = BTreeMap::new();
    for batch in &part.batches {
        let Ok(rows) = batch.rows() else { continue };
        let mut builders: BTreeMap<u32, BatchBuilder> = BTreeMap::new();
        for row in rows.iter() {
            let empty = || BatchBuilder::new(batch.interval_minutes(), batch.registers().to_vec());
            let builder = builders.entry(row.ordinal).or_insert_with(empty);
            builder.push(row.ordinal, row.end_s, row.flag, row.values);
        }
        for (ordinal, builder) in builders {
            by_meter.entry(ordinal).or_default().push(builder.finish());
        }
    }
    if by_meter.len() < 2 {
        return Vec::new();
    }
    let lease = part.lease.clone();
    let mut parts: Vec<Part> = by_meter
        .into_values()
        .map(|batches| Part { lease: lease.clone(), mark: None, batches })
        .collect();
    if part.mark.is_some() {
        parts.push(Part { lease, mark: part.mark.clone(), batches: Vec::new() });
    }
    parts
}

/// Register reads of one meter at one instant as an irregular batch. None when no read is an
/// integer with a scaler and a unit.
pub(crate) fn registers_batch(ordinal: u32, at_s: i64, reads: &[Read]) -> Option<Batch> {
    let mut registers: Vec<Register> = Vec::new();
    let mut values = Vec::new();
    for read in reads {
        let (Some(scaler), Some(unit)) = (read.scaler, read.unit) else { continue };
        let Some(value) = integer(&read.value) else { continue };
        let known = registers.iter().any(|register| register.obis == read.obis);
        if !known && registers.len() < MAX_REGISTERS {
            registers.push(register(read.obis, scaler, unit));
            values.push(Some(value));
        }
    }
    if registers.is_empty() {
        return None;
    }
    let mut builder = BatchBuilder::new(0, registers);
    builder.push(ordinal, at_s, 0, &values);
    Some(builder.finish())
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        Value::Unsigned(number) => i64::try_from(*number).ok(),
        _ => None,
    }
}

pub(super) fn register(obis: Obis, scaler: i8, unit: u8) -> Register {
    Register { obis, scaler, unit }
}

#[cfg(test)]
mod tests {
    use super::{Collector, divide, register, registers_batch};
    use domain::commands::{Read, Value};
    use domain::readings::{Mark, Part};
    use domain::{Device, Obis};

    const NOON: i64 = 1_795_305_600;

    fn collector(period_s: u32) -> Collector {
        Collector::new(period_s, vec![register(Obis::ACTIVE_IMPORT, 0, 30)])
    }

    #[test]
    fn aligned_and_unaligned_rows_part() {
        let mut rows = collector(900);
        rows.push(1, NOON, 0, &[Some(1)]);
        rows.push(1, NOON + 37, 1, &[Some(2)]);
        rows.push(1, NOON + 900, 0, &[None]);
        let batches = rows.finish();
        let seen: Vec<(u16, usize)> =
            batches.iter().map(|batch| (batch.interval_minutes(), batch.len())).collect();
        assert_eq!(seen, [(15, 2), (0, 1)]);
    }

    #[test]
    fn a_period_that_is_no_minutes_makes_irregular_rows() {
        for period in [0, 90, u32::MAX] {
            let mut rows = collector(period);
            rows.push(1, NOON, 0, &[Some(1)]);
            let batches = rows.finish();
            assert_eq!(batches.first().map(|batch| batch.interval_minutes()), Some(0));
        }
    }

    #[test]
    fn more_rows_than_a_batch_holds_make_more_batches() {
        let mut rows = collector(900);
        for slot in 0..20_000 {
            rows.push(1, NOON + slot * 900, 0, &[Some(slot)]);
        }
        let counts: Vec<usize> = rows.finish().iter().map(|batch| batch.len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 20_000);
        assert_eq!(counts.len(), 2);
    }

    #[test]
    fn a_part_is_divided_by_meter_and_its_mark_goes_last() {
        let mut rows = collector(900);
        for ordinal in [3, 1, 2] {
            rows.push(ordinal, NOON, 0, &[Some(5)]);
            rows.push(ordinal, NOON + 1, 0, &[Some(5)]);
        }
        let mark = Mark { concentrator: "C".to_owned(), sequence: 9, counter: 8 };
        let lease = Some((Device::Concentrator("C".to_owned()), 4));
        let part = Part { lease: lease.clone(), mark: Some(mark.clone()), batches: rows.finish() };
        let pieces = divide(&part);
        assert_eq!(pieces.len(), 4);
        assert!(pieces.iter().all(|piece| piece.lease == lease));
        assert_eq!(
            pieces.last().map(|piece| (piece.mark.clone(), piece.batches.len())),
            Some((Some(mark), 0))
        );
        for piece in &pieces[..3] {
            assert_eq!(piece.batches.len(), 2, "the aligned and the irregular row of one meter");
            assert!(divide(piece).is_empty());
        }
    }

    #[test]
    fn register_reads_need_an_integer_with_scaler_and_unit() {
        let read = |value, scaler| Read {
            obis: Obis::ACTIVE_IMPORT,
            attribute: 2,
            value,
            scaler,
            unit: scaler.map(|_| 30),
        };
        assert!(registers_batch(1, NOON, &[read(Value::Unsigned(5), None)]).is_none());
        assert!(registers_batch(1, NOON, &[read(Value::Null, Some(0))]).is_none());
        let batch = registers_batch(7, NOON, &[read(Value::Unsigned(5), Some(-1))]).unwrap();
        let rows = batch.rows().unwrap();
        let row = rows.iter().next().unwrap();
        assert_eq!((row.ordinal, row.end_s, row.values), (7, NOON, &[Some(5)][..]));
    }
}
