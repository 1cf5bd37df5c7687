//! Writes days and months as plain Parquet files that every other engine reads too.
//!
//! Dense files: row groups of 64 meters, every slot of every meter a row, null when missing;
//! the page of a value column is one meter's day or month. So a value's place is arithmetic:
//! row group = the meter's block, row = meter in the block x slots + slot. Columns: `ordinal`,
//! `end_time` (microseconds UTC), `flag`, `beside`, then one a register (`1-0:1.8.0`). Values
//! kept beside others stand as rows with `beside` set in one more row group at the end.
//! Irregular values: one row a value, `ordinal`, `end_time`, `flag`, `beside`, `register`,
//! `value`, in order.
//!
//! Invariants: equal contents give equal octets, for one recipe and one version of the encoder;
//! every write is a whole column of a row group, for the octets depend on how writes are cut.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{ConvertedType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use serde::Serialize;

use super::grid;
use super::image::{Image, MeterImage};
use super::recipe::Recipe;
use super::{Column, DayKey};
use crate::error::{Error, Result};

/// Meters of a row group.
pub const BLOCK_METERS: u16 = grid::BLOCK as u16;
/// Columns before those of values.
pub const LEADING: usize = 4;

type Written<T> = std::result::Result<T, ParquetError>;

/// Which row groups a file has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// Blocks of 64 meters, in order of their row groups.
    pub blocks: Vec<u16>,
    /// Rows in the last row group for values beside others.
    pub besides: u64,
}

/// Writes a day into `out`.
///
/// # Errors
/// `segment_write` with the reason of the encoder or the disk.
pub fn write_day<W: Write + Send>(out: W, image: &Image, recipe: Recipe) -> Result<Layout> {
    let slots = grid::slots(image.key.interval_minutes)?;
    if slots == 0 {
        return write_lines(out, image.key, &Line::sparse(image), recipe);
    }
    let mut file = DenseWriter::new(out, image.key, slots, &image.columns, recipe)?;
    for meters in image.meters.chunk_by(|one, next| block_of(one) == block_of(next)) {
        if let Some(number) = meters.first().map(block_of) {
            file.block(number, meters)?;
        }
    }
    file.finish(&Line::beside(image))
}

fn block_of(meter: &MeterImage) -> u16 {
    meter.meter / BLOCK_METERS
}

/// A fault of the encoder, told as the disk's when it was the disk's.
fn segment_fault(error: ParquetError) -> Error {
    if let ParquetError::External(inner) = error {
        return match inner.downcast::<std::io::Error>() {
            Ok(disk) => Error::io("write", std::path::Path::new("a segment file"))(*disk),
            Err(other) => Error::misuse("segment_write", other.to_string()),
        };
    }
    Error::misuse("segment_write", error.to_string())
}

/// A register's name as people write it; the last group only when it says something.
pub fn column_name(name: Column) -> String {
    let [a, b, c, d, e, f] = name;
    if f == 255 { format!("{a}-{b}:{c}.{d}.{e}") } else { format!("{a}-{b}:{c}.{d}.{e}*{f}") }
}

/// The register that a name names; none when it is no such name.
pub fn parse_name(text: &str) -> Option<Column> {
    let (medium, rest) = text.split_once('-')?;
    let (channel, rest) = rest.split_once(':')?;
    let (groups, last) = rest.split_once('*').unwrap_or((rest, "255"));
    let mut parts = [medium, channel].into_iter().chain(groups.split('.')).chain([last]);
    let mut name = [0; 6];
    for octet in &mut name {
        *octet = parts.next()?.parse().ok()?;
    }
    parts.next().is_none().then_some(name)
}

fn field(name: &str, physical: Physical, converted: ConvertedType) -> Written<Arc<Type>> {
    let required = matches!(name, "ordinal" | "end_time" | "beside" | "register" | "value");
    let repetition = if required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
    let built = Type::primitive_type_builder(name, physical)
        .with_repetition(repetition)
        .with_converted_type(converted)
        .build()?;
    Ok(Arc::new(built))
}

fn leading() -> Written<Vec<Arc<Type>>> {
    Ok(vec![
        field("ordinal", Physical::INT32, ConvertedType::UINT_32)?,
        field("end_time", Physical::INT64, ConvertedType::TIMESTAMP_MICROS)?,
        field("flag", Physical::INT32, ConvertedType::UINT_8)?,
        field("beside", Physical::BOOLEAN, ConvertedType::NONE)?,
    ])
}

/// A dense file in the making, one block of 64 meters after the other.
pub struct DenseWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    key: DayKey,
    slots: usize,
    columns: Vec<Column>,
    blocks: Vec<u16>,
}

impl<W: Write + Send> DenseWriter<W> {
    /// A file whose meters have `slots` slots from the beginning of the key's day.
    ///
    /// # Errors
    /// `segment_write` with the reason of the encoder or the disk.
    pub fn new(
        out: W,
        key: DayKey,
        slots: usize,
        columns: &[Column],
        recipe: Recipe,
    ) -> Result<Self> {
        let make = || {
            let mut fields = leading()?;
            for name in columns {
                fields.push(field(&column_name(*name), Physical::INT64, ConvertedType::NONE)?);
            }
            let schema = Type::group_type_builder(recipe.root).with_fields(fields).build()?;
            let whole = usize::from(BLOCK_METERS) * slots;
            let properties = Arc::new(recipe.properties(key, slots, whole));
            SerializedFileWriter::new(out, Arc::new(schema), properties)
        };
        let file = make().map_err(segment_fault)?;
        Ok(Self { file, key, slots, columns: columns.to_vec(), blocks: Vec::new() })
    }

    /// Adds the meters of a block that have rows, in order; blocks come in order too.
    ///
    /// # Errors
    /// `segment_write` with the reason of the encoder or the disk.
    pub fn block(&mut self, number: u16, meters: &[MeterImage]) -> Result<()> {
        let mut write = || {
            let mut group = self.file.next_row_group()?;
            let (key, slots) = (self.key, self.slots);
            let block = Block { key, slots, columns: self.columns.len(), number, meters };
            block.write(&mut group)?;
            group.close()?;
            Ok(())
        };
        write().map_err(segment_fault)?;
        self.blocks.push(number);
        Ok(())
    }

    /// Adds the values beside others and ends the file.
    ///
    /// # Errors
    /// `segment_write` with the reason of the encoder or the disk.
    pub fn finish(mut self, besides: &[Line]) -> Result<Layout> {
        let mut write = || {
            if !besides.is_empty() {
                let mut group = self.file.next_row_group()?;
                write_leading(&mut group, besides)?;
                for name in &self.columns {
                    let own = besides.iter().filter(|line| line.name == *name);
                    let values: Vec<i64> = own.map(|line| line.value).collect();
                    let levels: Vec<i16> =
                        besides.iter().map(|line| i16::from(line.name == *name)).collect();
                    write_values(&mut group, &values, &levels)?;
                }
                group.close()?;
            }
            self.file.finish()?;
            Ok(())
        };
        write().map_err(segment_fault)?;
        Ok(Layout { blocks: self.blocks, besides: besides.len() as u64 })
    }
}

/// 64 meters of a dense file.
struct Block<'a> {
    key: DayKey,
    slots: usize,
    columns: usize,
    number: u16,
    meters: &'a [MeterImage],
}

impl Block<'_> {
    fn write<W: Write + Send>(&self, group: &mut SerializedRowGroupWriter<'_, W>) -> Written<()> {
        let key = self.key;
        let whole = usize::from(BLOCK_METERS) * self.slots;
        let first = key.shard * grid::SHARD_METERS + u32::from(self.number * BLOCK_METERS);
        let ordinals: Vec<i32> = (first..)
            .take(usize::from(BLOCK_METERS))
            .flat_map(|ordinal| std::iter::repeat_n(ordinal.cast_signed(), self.slots))
            .collect();
        let day: Vec<i64> = (0..self.slots).map(|slot| micros(grid::end_of(key, slot))).collect();
        let ends: Vec<i64> = day.iter().copied().cycle().take(whole).collect();
        write_ints(group, &ordinals)?;
        write_longs(group, &ends)?;
        let mut flags = Vec::with_capacity(whole);
        let mut levels = Vec::with_capacity(whole);
        self.each_meter(|meter| {
            for slot in 0..self.slots {
                let held = meter.is_some_and(|meter| has_row(meter, slot));
                let flag = meter.and_then(|meter| meter.flags.get(slot)).copied();
                levels.push(i16::from(held));
                flags.extend(flag.filter(|_| held).map(i32::from));
            }
        });
        write_flags(group, &flags, &levels)?;
        write_bools(group, &vec![false; whole])?;
        for column in 0..self.columns {
            let mut values = Vec::with_capacity(whole);
            let mut levels = Vec::with_capacity(whole);
            self.each_meter(|meter| {
                let column = meter.and_then(|meter| meter.values.get(column));
                for slot in 0..self.slots {
                    let value = column.and_then(|column| column.get(slot)).copied().flatten();
                    levels.push(i16::from(value.is_some()));
                    values.extend(value);
                }
            });
            write_values(group, &values, &levels)?;
        }
        Ok(())
    }

    /// All 64 places in order, empty ones too.
    fn each_meter(&self, mut visit: impl FnMut(Option<&MeterImage>)) {
        let mut meters = self.meters.iter().peekable();
        for place in 0..BLOCK_METERS {
            let number = self.number * BLOCK_METERS + place;
            visit(meters.next_if(|meter| meter.meter == number));
        }
    }
}

fn has_row(meter: &MeterImage, slot: usize) -> bool {
    meter.values.iter().any(|column| matches!(column.get(slot), Some(Some(_))))
}

fn micros(seconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000)
}

/// A row that stands outside the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Ordinal of the meter.
    pub ordinal: u32,
    /// Column.
    pub name: Column,
    /// Time of the value, seconds UTC.
    pub end_s: i64,
    /// The value.
    pub value: i64,
    /// Quality.
    pub flag: u8,
    /// Whether another value is the stored one.
    pub beside: bool,
}

impl Line {
    fn beside(image: &Image) -> Vec<Self> {
        let mut lines = Vec::new();
        for beside in &image.besides {
            let ordinal = image.key.shard * grid::SHARD_METERS + u32::from(beside.meter);
            let end_s = grid::end_of(image.key, usize::from(beside.slot));
            for (value, flag) in &beside.values {
                let (name, value, flag) = (beside.name, *value, *flag);
                lines.push(Self { ordinal, end_s, name, value, flag, beside: true });
            }
        }
        lines
    }

    fn sparse(image: &Image) -> Vec<Self> {
        let mut lines = Vec::new();
        for row in &image.sparse {
            for (at, (value, flag)) in row.values.iter().enumerate() {
                let (ordinal, end_s, name) = (row.ordinal, row.end_s, row.name);
                let (value, flag, beside) = (*value, *flag, at > 0);
                lines.push(Self { ordinal, end_s, name, value, flag, beside });
            }
        }
        lines
    }
}

/// Writes irregular values, which stand in order.
///
/// # Errors
/// `segment_write` with the reason of the encoder or the disk.
pub fn write_lines<W: Write + Send>(
    out: W,
    key: DayKey,
    lines: &[Line],
    recipe: Recipe,
) -> Result<Layout> {
    let write = || {
        let mut fields = leading()?;
        fields.push(field("register", Physical::BYTE_ARRAY, ConvertedType::UTF8)?);
        fields.push(field("value", Physical::INT64, ConvertedType::NONE)?);
        let schema = Type::group_type_builder(recipe.root).with_fields(fields).build()?;
        let properties = Arc::new(recipe.properties(key, 0, 0));
        let mut file = SerializedFileWriter::new(out, Arc::new(schema), properties)?;
        for lines in lines.chunks(recipe.sparse_group) {
            write_line_group(&mut file, lines)?;
        }
        file.finish()?;
        Ok(Layout::default())
    };
    write().map_err(segment_fault)
}

fn write_line_group<W: Write + Send>(
    file: &mut SerializedFileWriter<W>,
    lines: &[Line],
) -> Written<()> {
    let mut group = file.next_row_group()?;
    write_leading(&mut group, lines)?;
    let registers: Vec<ByteArray> =
        lines.iter().map(|line| ByteArray::from(column_name(line.name).into_bytes())).collect();
    let mut column = next(&mut group)?;
    column.typed::<ByteArrayType>().write_batch(&registers, None, None)?;
    column.close()?;
    let values: Vec<i64> = lines.iter().map(|line| line.value).collect();
    write_longs(&mut group, &values)?;
    group.close()?;
    Ok(())
}

fn write_leading<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    lines: &[Line],
) -> Written<()> {
    let ordinals: Vec<i32> = lines.iter().map(|line| line.ordinal.cast_signed()).collect();
    let ends: Vec<i64> = lines.iter().map(|line| micros(line.end_s)).collect();
    let flags: Vec<i32> = lines.iter().map(|line| i32::from(line.flag)).collect();
    let besides: Vec<bool> = lines.iter().map(|line| line.beside).collect();
    write_ints(group, &ordinals)?;
    write_longs(group, &ends)?;
    write_flags(group, &flags, &vec![1; lines.len()])?;
    write_bools(group, &besides)
}

fn next<'a, W: Write + Send>(
    group: &'a mut SerializedRowGroupWriter<'_, W>,
) -> Written<parquet::file::writer::SerializedColumnWriter<'a>> {
    group.next_column()?.ok_or_else(|| ParquetError::General("no column is left".to_owned()))
}

fn write_ints<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[i32],
) -> Written<()> {
    let mut column = next(group)?;
    column.typed::<Int32Type>().write_batch(values, None, None)?;
    column.close()
}

fn write_flags<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[i32],
    levels: &[i16],
) -> Written<()> {
    let mut column = next(group)?;
    column.typed::<Int32Type>().write_batch(values, Some(levels), None)?;
    column.close()
}

fn write_longs<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[i64],
) -> Written<()> {
    let mut column = next(group)?;
    column.typed::<Int64Type>().write_batch(values, None, None)?;
    column.close()
}

fn write_values<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[i64],
    levels: &[i16],
) -> Written<()> {
    let mut column = next(group)?;
    column.typed::<Int64Type>().write_batch(values, Some(levels), None)?;
    column.close()
}

fn write_bools<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[bool],
) -> Written<()> {
    let mut column = next(group)?;
    column.typed::<BoolType>().write_batch(values, None, None)?;
    column.close()
}

#[cfg(test)]
mod tests {
    use super::{column_name, parse_name};

    #[test]
    fn names_of_registers_come_back() {
        for name in [[1, 0, 1, 8, 0, 255], [0, 1, 96, 7, 21, 255], [1, 0, 1, 8, 0, 3], [255; 6]] {
            assert_eq!(parse_name(&column_name(name)), Some(name));
        }
        for text in ["", "1-0", "1-0:1.8", "1-0:1.8.0.9", "1-0:1.8.x", "1-0:1.8.256", "1-0:1.8.0*"]
        {
            assert_eq!(parse_name(text), None, "{text}");
        }
    }
}
