//! Reads values out of sealed files: of one meter, of a block of 64, or what stands outside the
//! grid.
//!
//! Invariants: a file's hash is checked when it is first opened by this process; decoding runs
//! where a panic of the decoder is caught; at most `segment_readers` files are held open.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use parquet::file::statistics::Statistics;

use super::dense::{self, Asked, Opened, Pieces, other};
use super::grid::{self, SHARD_METERS};
use super::manifest::Entry;
use super::writer::{BLOCK_METERS, LEADING, Line, column_name, parse_name};
use super::{Bounds, Column, Point};
use crate::error::{Error, Result};
use crate::file;

type Read<T> = std::result::Result<T, ParquetError>;
type Reader = SerializedFileReader<Pieces>;

/// Open files with their footers.
pub struct Readers {
    dir: PathBuf,
    limit: usize,
    open: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    clock: u64,
    files: BTreeMap<[u8; 32], (u64, Arc<Opened>)>,
}

/// What is asked of a file.
pub struct Question<'a> {
    /// The meter.
    pub ordinal: u32,
    /// The columns.
    pub columns: &'a [Column],
    /// Seconds UTC: from (excluded), to (included).
    pub span: (i64, i64),
}

/// A whole row group: 64 meters, every slot of each, in order.
#[derive(Debug)]
pub struct BlockRows {
    /// Slots of a meter.
    pub slots: usize,
    /// Flags of the rows; none where no row is.
    pub flags: Vec<Option<u8>>,
    /// Values of the asked columns, in their order; an empty list: the file has none of it.
    pub columns: Vec<Vec<Option<i64>>>,
}

/// Slots of a meter in a file; 0 for irregular values.
fn slots_of(entry: &Entry) -> usize {
    let of_day = grid::slots(entry.key.interval_minutes).unwrap_or_default();
    of_day * usize::from(entry.days)
}

impl Readers {
    /// Readers of the files below a folder.
    pub fn new(dir: &Path, limit: usize) -> Self {
        Self { dir: dir.to_path_buf(), limit, open: Mutex::default() }
    }

    /// Adds what a file answers to a question, column by column.
    ///
    /// # Errors
    /// `segment_damaged` when the file is not the one that was sealed; the codes of the disk.
    pub fn points(
        &self,
        entry: &Entry,
        question: &Question<'_>,
        out: &mut [Vec<Point>],
    ) -> Result<()> {
        self.with(entry, |file| {
            if entry.key.interval_minutes == 0 {
                sparse_points(&file.reader, question, out)
            } else {
                dense_points(file, entry, question, out)
            }
        })
    }

    /// Adds what a dense file without values beside others answers for some meters of a block.
    ///
    /// # Errors
    /// As [`Readers::points`].
    pub fn of_block(&self, entry: &Entry, asked: &Asked<'_>, out: &mut [Vec<Point>]) -> Result<()> {
        self.with(entry, |file| dense::points(file, entry, asked, out))
    }

    /// The ordinals of the meters that have rows in a file.
    ///
    /// # Errors
    /// As [`Readers::points`].
    pub fn meters(&self, entry: &Entry) -> Result<Vec<u32>> {
        if entry.key.interval_minutes == 0 {
            return Ok(self.lines(entry)?.iter().map(|line| line.ordinal).collect());
        }
        let shard = entry.key.shard * SHARD_METERS;
        self.with(entry, |file| {
            let mut ordinals = Vec::new();
            for (group, block) in entry.blocks.iter().enumerate() {
                let first = shard + u32::from(block * BLOCK_METERS);
                let meters = dense::meters(file, group, slots_of(entry))?;
                ordinals.extend(
                    meters.into_iter().filter_map(|at| Some(first + u32::try_from(at).ok()?)),
                );
            }
            Ok(ordinals)
        })
    }

    /// One block of 64 meters with some of its columns; none when the file has no such block.
    ///
    /// # Errors
    /// As [`Readers::points`].
    pub fn block(
        &self,
        entry: &Entry,
        number: u16,
        columns: &[Column],
    ) -> Result<Option<BlockRows>> {
        let Ok(group) = entry.blocks.binary_search(&number) else { return Ok(None) };
        let slots = slots_of(entry);
        let rows = Rows { skip: 0, take: usize::from(BLOCK_METERS) * slots };
        let found = self.with(entry, |Opened { reader, .. }| {
            let flags = optional(int_column(reader, group, 2)?, rows)?;
            let octet = |flag: &Option<i32>| flag.and_then(|flag| u8::try_from(flag).ok());
            let flags = flags.iter().map(octet).collect();
            let read = |name: &Column| match entry.columns.binary_search(name) {
                Ok(place) => optional(long_column(reader, group, LEADING + place)?, rows),
                Err(_) => Ok(Vec::new()),
            };
            let columns = columns.iter().map(read).collect::<Read<_>>()?;
            Ok(BlockRows { slots, flags, columns })
        })?;
        Ok(Some(found))
    }

    /// The least and greatest value of a column of every meter that has any, from the statistics
    /// of the pages: a page of a dense file is one meter's.
    ///
    /// # Errors
    /// As [`Readers::points`].
    pub fn bounds(&self, entry: &Entry, name: Column) -> Result<Vec<Bounds>> {
        let Ok(place) = entry.columns.binary_search(&name) else { return Ok(Vec::new()) };
        let shard = entry.key.shard * SHARD_METERS;
        self.with(entry, |Opened { reader, .. }| {
            let mut bounds = Vec::new();
            for (group, block) in entry.blocks.iter().enumerate() {
                let index = reader.metadata().page_index_for_row_group(group);
                let Some(ColumnIndexMetaData::INT64(pages)) = index.column_index(LEADING + place)
                else {
                    return Err(other("pages without statistics"));
                };
                if pages.min_values().len() != usize::from(BLOCK_METERS) {
                    return Err(other("another number of pages than meters"));
                }
                let first = shard + u32::from(*block) * u32::from(BLOCK_METERS);
                let each = pages.min_values_iter().zip(pages.max_values_iter());
                bounds.extend((first..).zip(each).filter_map(|(ordinal, (least, greatest))| {
                    Some(Bounds { ordinal, least: *least?, greatest: *greatest? })
                }));
            }
            Ok(bounds)
        })
    }

    /// What stands beside stored values of a dense file, in its order.
    ///
    /// # Errors
    /// As [`Readers::points`].
    pub fn besides(&self, entry: &Entry) -> Result<Vec<Line>> {
        if entry.besides == 0 {
            return Ok(Vec::new());
        }
        let (group, rows) = beside_group(entry);
        self.with(entry, |Opened { reader, .. }| {
            let lead = Lead::read(reader, group, rows)?;
            let mut columns = Vec::with_capacity(entry.columns.len());
            for place in 0..entry.columns.len() {
                columns.push(optional(long_column(reader, group, LEADING + place)?, rows)?);
            }
            let line = |at: usize| {
                let mut held = entry.columns.iter().zip(&columns);
                let value = |(name, column): (&Column, &Vec<Option<i64>>)| {
                    Some((*name, column.get(at).copied().flatten()?))
                };
                let (name, value) =
                    held.find_map(value).ok_or_else(|| other("a row without a value"))?;
                lead.line(at, name, value)
            };
            (0..rows.take).map(line).collect()
        })
    }

    /// All irregular values of a file, in its order.
    ///
    /// # Errors
    /// As [`Readers::points`].
    pub fn lines(&self, entry: &Entry) -> Result<Vec<Line>> {
        self.with(entry, |Opened { reader, .. }| {
            let mut lines = Vec::new();
            for group in 0..reader.num_row_groups() {
                let found = SparseGroup::read(reader, group)?;
                for (at, (register, value)) in found.registers.iter().zip(&found.values).enumerate()
                {
                    let name = std::str::from_utf8(register.data()).ok().and_then(parse_name);
                    let name = name.ok_or_else(|| other("a register without a name"))?;
                    lines.push(found.lead.line(at, name, *value)?);
                }
            }
            Ok(lines)
        })
    }

    /// Runs work on an open file where a panic of the decoder is caught.
    fn with<T>(&self, entry: &Entry, work: impl FnOnce(&Opened) -> Read<T>) -> Result<T> {
        let path = self.dir.join(entry.name());
        let file = self.open(entry, &path)?;
        match catch_unwind(AssertUnwindSafe(|| work(&file))) {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(damaged(&path, error.to_string())),
            Err(_) => Err(damaged(&path, "the decoder panicked".to_owned())),
        }
    }

    /// Opens a file, which checks its hash and its footer.
    ///
    /// # Errors
    /// As [`Readers::points`].
    pub fn check(&self, entry: &Entry) -> Result<()> {
        self.close(entry);
        self.with(entry, |_| Ok(()))
    }

    /// Forgets an open file, so that it is checked again before it is read again.
    pub fn close(&self, entry: &Entry) {
        let mut opened = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        opened.files.remove(&entry.file_hash);
    }

    fn open(&self, entry: &Entry, path: &Path) -> Result<Arc<Opened>> {
        let mut opened = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        opened.clock += 1;
        let now = opened.clock;
        if let Some((used, file)) = opened.files.get_mut(&entry.file_hash) {
            *used = now;
            return Ok(file.clone());
        }
        drop(opened);
        let (octets, hash) = file::hash(path)?;
        if (octets, hash) != (entry.octets, entry.file_hash) {
            return Err(damaged(path, "its hash is not the one it was sealed with".to_owned()));
        }
        let handle = File::open(path).map_err(Error::io("open", path))?;
        let pieces = Pieces::new(handle, octets);
        let parse = || {
            let options = ReadOptionsBuilder::new().with_page_index().build();
            SerializedFileReader::new_with_options(pieces.clone(), options)
        };
        let file = match catch_unwind(AssertUnwindSafe(parse)) {
            Ok(Ok(reader)) => Arc::new(Opened::new(reader, pieces)),
            Ok(Err(error)) => return Err(damaged(path, error.to_string())),
            Err(_) => return Err(damaged(path, "the decoder panicked".to_owned())),
        };
        let mut opened = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while opened.files.len() >= self.limit {
            let oldest = opened.files.iter().min_by_key(|(_, (used, _))| *used);
            let Some(oldest) = oldest.map(|(hash, _)| *hash) else { break };
            opened.files.remove(&oldest);
        }
        opened.files.insert(entry.file_hash, (now, file.clone()));
        Ok(file)
    }
}

fn damaged(path: &Path, detail: String) -> Error {
    Error::damaged("segment_damaged", "a segment file", path, detail)
}

fn dense_points(
    file: &Opened,
    entry: &Entry,
    question: &Question<'_>,
    out: &mut [Vec<Point>],
) -> Read<()> {
    for (column, out) in question.columns.iter().zip(out) {
        let Ok(place) = entry.columns.binary_search(column) else { continue };
        let meters = [(question.ordinal, 0)];
        let asked = Asked { meters: &meters, column: *column, span: question.span };
        dense::points(file, entry, &asked, std::slice::from_mut(out))?;
        if entry.besides > 0 {
            let (group, rows) = beside_group(entry);
            beside_points(&file.reader, group, LEADING + place, rows, question, out)?;
        }
    }
    Ok(())
}

fn beside_points(
    reader: &Reader,
    group: usize,
    place: usize,
    rows: Rows,
    question: &Question<'_>,
    out: &mut Vec<Point>,
) -> Read<()> {
    let lead = Lead::read(reader, group, rows)?;
    let values = optional(long_column(reader, group, place)?, rows)?;
    for (at, value) in values.iter().enumerate() {
        if let (Some(value), Some(point)) = (value, lead.point(at, question)) {
            out.push(Point { value: *value, ..point });
        }
    }
    Ok(())
}

/// The row group of values beside others.
fn beside_group(entry: &Entry) -> (usize, Rows) {
    let take = usize::try_from(entry.besides).unwrap_or(0);
    (entry.blocks.len(), Rows { skip: 0, take })
}

/// A row group of irregular values.
struct SparseGroup {
    lead: Lead,
    registers: Vec<ByteArray>,
    values: Vec<i64>,
}

impl SparseGroup {
    fn read(reader: &Reader, group: usize) -> Read<Self> {
        let count = reader.metadata().row_group(group).num_rows();
        let rows = Rows { skip: 0, take: usize::try_from(count).unwrap_or(0) };
        let lead = Lead::read(reader, group, rows)?;
        let ColumnReader::ByteArrayColumnReader(column) = column(reader, group, LEADING)? else {
            return Err(other("a column of another type"));
        };
        let registers = required::<ByteArrayType>(column, rows)?;
        let values = required::<Int64Type>(long_column(reader, group, LEADING + 1)?, rows)?;
        Ok(Self { lead, registers, values })
    }

    /// Whether a group may hold a meter, by the least and greatest ordinal in it.
    fn may_hold(reader: &Reader, group: usize, ordinal: u32) -> bool {
        let ordinals = reader.metadata().row_group(group).columns().first();
        let Some(Statistics::Int32(known)) = ordinals.and_then(|column| column.statistics()) else {
            return true;
        };
        let least = known.min_opt().is_none_or(|least| least.cast_unsigned() <= ordinal);
        least && known.max_opt().is_none_or(|most| most.cast_unsigned() >= ordinal)
    }
}

fn sparse_points(reader: &Reader, question: &Question<'_>, out: &mut [Vec<Point>]) -> Read<()> {
    let names: Vec<String> = question.columns.iter().map(|name| column_name(*name)).collect();
    for group in 0..reader.num_row_groups() {
        if !SparseGroup::may_hold(reader, group, question.ordinal) {
            continue;
        }
        let found = SparseGroup::read(reader, group)?;
        for (at, (register, value)) in found.registers.iter().zip(&found.values).enumerate() {
            let Some(point) = found.lead.point(at, question) else { continue };
            let wanted = names.iter().position(|name| name.as_bytes() == register.data());
            if let Some(out) = wanted.and_then(|place| out.get_mut(place)) {
                out.push(Point { value: *value, ..point });
            }
        }
    }
    Ok(())
}

/// Rows of a row group.
#[derive(Clone, Copy)]
struct Rows {
    skip: usize,
    take: usize,
}

/// The columns before the values.
struct Lead {
    ordinals: Vec<i32>,
    ends: Vec<i64>,
    flags: Vec<Option<i32>>,
    besides: Vec<bool>,
}

impl Lead {
    fn read(reader: &Reader, group: usize, rows: Rows) -> Read<Self> {
        let ColumnReader::BoolColumnReader(besides) = column(reader, group, 3)? else {
            return Err(other("a column of another type"));
        };
        Ok(Self {
            ordinals: required::<Int32Type>(int_column(reader, group, 0)?, rows)?,
            ends: required::<Int64Type>(long_column(reader, group, 1)?, rows)?,
            flags: optional(int_column(reader, group, 2)?, rows)?,
            besides: required::<BoolType>(besides, rows)?,
        })
    }

    /// A row as it stands.
    fn line(&self, at: usize, name: Column, value: i64) -> Read<Line> {
        let held = || {
            let flag = self.flags.get(at).copied().flatten();
            Some(Line {
                ordinal: self.ordinals.get(at)?.cast_unsigned(),
                name,
                end_s: self.ends.get(at)?.div_euclid(1_000_000),
                value,
                flag: flag.and_then(|flag| u8::try_from(flag).ok()).unwrap_or_default(),
                beside: *self.besides.get(at)?,
            })
        };
        held().ok_or_else(|| other("rows are missing"))
    }

    /// The point of a row, without its value, when the question asks for it.
    fn point(&self, at: usize, question: &Question<'_>) -> Option<Point> {
        let Line { ordinal, end_s, flag, beside, .. } = self.line(at, [0; 6], 0).ok()?;
        let asked =
            ordinal == question.ordinal && question.span.0 < end_s && end_s <= question.span.1;
        asked.then_some(Point { end_s, value: 0, flag, beside })
    }
}

fn column(reader: &Reader, group: usize, place: usize) -> Read<ColumnReader> {
    if group >= reader.num_row_groups() {
        return Err(other("a row group is missing"));
    }
    let group = reader.get_row_group(group)?;
    if place >= group.num_columns() {
        return Err(other("a column is missing"));
    }
    group.get_column_reader(place)
}

fn int_column(reader: &Reader, group: usize, place: usize) -> Read<ColumnReaderImpl<Int32Type>> {
    match column(reader, group, place)? {
        ColumnReader::Int32ColumnReader(column) => Ok(column),
        _ => Err(other("a column of another type")),
    }
}

fn long_column(reader: &Reader, group: usize, place: usize) -> Read<ColumnReaderImpl<Int64Type>> {
    match column(reader, group, place)? {
        ColumnReader::Int64ColumnReader(column) => Ok(column),
        _ => Err(other("a column of another type")),
    }
}

fn required<T: DataType>(mut column: ColumnReaderImpl<T>, rows: Rows) -> Read<Vec<T::T>> {
    let mut values = Vec::with_capacity(rows.take);
    skip(&mut column, rows.skip)?;
    while values.len() < rows.take {
        let (records, _, _) =
            column.read_records(rows.take - values.len(), None, None, &mut values)?;
        if records == 0 {
            return Err(other("rows are missing"));
        }
    }
    Ok(values)
}

fn optional<T: DataType>(mut column: ColumnReaderImpl<T>, rows: Rows) -> Read<Vec<Option<T::T>>> {
    let mut values = Vec::with_capacity(rows.take);
    let mut levels = Vec::with_capacity(rows.take);
    skip(&mut column, rows.skip)?;
    while levels.len() < rows.take {
        let wanted = rows.take - levels.len();
        let (records, _, _) = column.read_records(wanted, Some(&mut levels), None, &mut values)?;
        if records == 0 {
            return Err(other("rows are missing"));
        }
    }
    let mut values = values.into_iter();
    Ok(levels.iter().map(|level| if *level > 0 { values.next() } else { None }).collect())
}

fn skip<T: DataType>(column: &mut ColumnReaderImpl<T>, rows: usize) -> Read<()> {
    if rows > 0 && column.skip_records(rows)? != rows {
        return Err(other("rows are missing"));
    }
    Ok(())
}
