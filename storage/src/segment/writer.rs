//! Writes a day as a plain Parquet file that every other engine reads too.
//!
//! Dense days: row groups of 64 meters, every slot of every meter a row, null when missing;
//! the page of a value column is one meter's day. So a value's place is arithmetic: row group
//! = the meter's block, row = meter in the block x slots + slot. Columns: `ordinal`,
//! `end_time` (microseconds UTC), `flag`, `beside`, then one a register (`1-0:1.8.0`). Values
//! kept beside others stand as rows with `beside` set in one more row group at the end.
//! Irregular days: one row a value, `ordinal`, `end_time`, `flag`, `beside`, `register`,
//! `value`, in order.
//!
//! Invariant: equal images give equal octets, for one recipe and one version of the encoder.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, Encoding, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type};

use super::grid;
use super::image::{Image, MeterImage};
use super::{Column, DayKey};
use crate::error::{Error, Result};

/// Meters of a row group.
pub const BLOCK_METERS: u16 = 64;
/// The recipe of day files: lz4_raw, row groups of 64 meters, pages of one meter's day.
pub const RECIPE_DAY: u16 = 1;
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

/// Writes the image into `out`.
///
/// # Errors
/// `recipe_unknown`; `segment_write` with the reason of the encoder or the disk.
pub fn write<W: Write + Send>(out: W, image: &Image, recipe: u16) -> Result<Layout> {
    if recipe != RECIPE_DAY {
        return Err(Error::misuse("recipe_unknown", format!("recipe {recipe}")));
    }
    let slots = grid::slots(image.key.interval_minutes)?;
    let written =
        if slots == 0 { write_sparse(out, image) } else { write_dense(out, image, slots) };
    written.map_err(segment_fault)
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

fn properties(key: DayKey, page_rows: usize, whole_rows: usize) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(format!("holdfast recipe {RECIPE_DAY}"))
        .set_compression(Compression::LZ4_RAW)
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::DELTA_BINARY_PACKED)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_data_page_row_count_limit(page_rows)
        .set_write_batch_size(page_rows)
        .set_key_value_metadata(Some(facts(key)));
    // These say little; one page a row group keeps them near to nothing.
    for name in ["ordinal", "end_time", "flag", "beside", "register"] {
        let path = ColumnPath::new(vec![name.to_owned()]);
        builder = builder
            .set_column_data_page_row_count_limit(path.clone(), whole_rows)
            .set_column_dictionary_enabled(path, name != "beside" && name != "ordinal");
    }
    let beside = ColumnPath::new(vec!["beside".to_owned()]);
    let register = ColumnPath::new(vec!["register".to_owned()]);
    builder
        .set_column_encoding(beside, Encoding::PLAIN)
        .set_column_encoding(register, Encoding::PLAIN)
        .build()
}

fn facts(key: DayKey) -> Vec<KeyValue> {
    let fact =
        |name: &str, value: i64| KeyValue::new(format!("holdfast.{name}"), value.to_string());
    vec![
        fact("interval_minutes", i64::from(key.interval_minutes)),
        fact("shard", i64::from(key.shard)),
        fact("day", i64::from(key.day)),
        fact("recipe", i64::from(RECIPE_DAY)),
    ]
}

fn write_dense<W: Write + Send>(out: W, image: &Image, slots: usize) -> Written<Layout> {
    let mut fields = leading()?;
    for name in &image.columns {
        fields.push(field(&column_name(*name), Physical::INT64, ConvertedType::NONE)?);
    }
    let schema = Arc::new(Type::group_type_builder("day").with_fields(fields).build()?);
    let whole = usize::from(BLOCK_METERS) * slots;
    let properties = Arc::new(properties(image.key, slots, whole));
    let mut file = SerializedFileWriter::new(out, schema, properties)?;
    let mut blocks: BTreeMap<u16, Vec<&MeterImage>> = BTreeMap::new();
    for meter in &image.meters {
        blocks.entry(meter.meter / BLOCK_METERS).or_default().push(meter);
    }
    for (block, meters) in &blocks {
        let mut group = file.next_row_group()?;
        let rows = Block { image, slots, number: *block, meters };
        rows.write(&mut group)?;
        group.close()?;
    }
    let besides = Lines::beside(image);
    if !besides.is_empty() {
        let mut group = file.next_row_group()?;
        write_leading(&mut group, &besides)?;
        for name in &image.columns {
            let values: Vec<i64> =
                besides.iter().filter(|line| line.name == *name).map(|line| line.value).collect();
            let levels: Vec<i16> =
                besides.iter().map(|line| i16::from(line.name == *name)).collect();
            write_values(&mut group, &values, &levels)?;
        }
        group.close()?;
    }
    file.close()?;
    Ok(Layout { blocks: blocks.into_keys().collect(), besides: besides.len() as u64 })
}

/// 64 meters of a dense day.
struct Block<'a> {
    image: &'a Image,
    slots: usize,
    number: u16,
    meters: &'a [&'a MeterImage],
}

impl Block<'_> {
    fn write<W: Write + Send>(&self, group: &mut SerializedRowGroupWriter<'_, W>) -> Written<()> {
        let key = self.image.key;
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
        for column in 0..self.image.columns.len() {
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
            visit(meters.next_if(|meter| meter.meter == number).copied());
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
struct Lines {
    ordinal: u32,
    end_s: i64,
    name: Column,
    value: i64,
    flag: u8,
    beside: bool,
}

impl Lines {
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

fn write_sparse<W: Write + Send>(out: W, image: &Image) -> Written<Layout> {
    let mut fields = leading()?;
    fields.push(field("register", Physical::BYTE_ARRAY, ConvertedType::UTF8)?);
    fields.push(field("value", Physical::INT64, ConvertedType::NONE)?);
    let schema = Arc::new(Type::group_type_builder("day").with_fields(fields).build()?);
    let properties = Arc::new(properties(image.key, 4096, 4096));
    let mut file = SerializedFileWriter::new(out, schema, properties)?;
    let lines = Lines::sparse(image);
    let mut group = file.next_row_group()?;
    write_leading(&mut group, &lines)?;
    let registers: Vec<ByteArray> =
        lines.iter().map(|line| ByteArray::from(column_name(line.name).into_bytes())).collect();
    let mut column = next(&mut group)?;
    column.typed::<ByteArrayType>().write_batch(&registers, None, None)?;
    column.close()?;
    let values: Vec<i64> = lines.iter().map(|line| line.value).collect();
    write_longs(&mut group, &values)?;
    group.close()?;
    file.close()?;
    Ok(Layout::default())
}

fn write_leading<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    lines: &[Lines],
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
