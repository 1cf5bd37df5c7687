//! Values of meters out of one dense file: their pages are found by arithmetic, read with one call
//! each (or a whole column at once, where many of 64 meters are asked for), and decoded straight
//! into points.
//!
//! Not here: which files, open ones, whole blocks for folding (`super::reader`).
//! Invariants: a page that is not of our form is an error, never a guess; flags are read only
//! where the row group says that one of them is not 0.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use bytes::buf::Buf;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::{SerializedFileReader, SerializedPageReader};
use parquet::file::statistics::Statistics;

use super::manifest::Entry;
use super::packed;
use super::writer::{BLOCK_METERS, LEADING};
use super::{Column, Point, grid};

pub type Outcome<T> = Result<T, ParquetError>;

/// Place of the column of flags.
const FLAG: usize = 2;
/// From so many meters of a block on its whole column is read at once.
const WHOLE_COLUMN: usize = 8;

/// An open file.
pub struct Opened {
    /// Its footer and the readers of the crate.
    pub reader: SerializedFileReader<Pieces>,
    pieces: Arc<Pieces>,
}

impl Opened {
    /// A file with its parsed footer.
    pub fn new(reader: SerializedFileReader<Pieces>, pieces: Pieces) -> Self {
        Self { reader, pieces: Arc::new(pieces) }
    }
}

/// A file that is read piece by piece, each with one call: nothing is moved or opened for it.
#[derive(Clone)]
pub struct Pieces {
    file: Arc<File>,
    octets: u64,
}

impl Pieces {
    /// An open file of so many octets.
    pub fn new(file: File, octets: u64) -> Self {
        Self { file: Arc::new(file), octets }
    }
}

impl Length for Pieces {
    fn len(&self) -> u64 {
        self.octets
    }
}

impl ChunkReader for Pieces {
    type T = BufReader<Onwards>;

    fn get_read(&self, start: u64) -> Outcome<Self::T> {
        Ok(BufReader::new(Onwards { file: self.file.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Outcome<Bytes> {
        if start.saturating_add(length as u64) > self.octets {
            return Err(other("a piece outside the file"));
        }
        let mut octets = vec![0; length];
        self.file.read_exact_at(&mut octets, start)?;
        Ok(octets.into())
    }
}

/// A file from some place on.
pub struct Onwards {
    file: Arc<File>,
    at: u64,
}

impl Read for Onwards {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(into, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// A part of a file in memory, under the file's own addresses.
struct Part {
    start: u64,
    octets: Bytes,
}

impl Part {
    fn slice(&self, start: u64, length: usize) -> Outcome<Bytes> {
        let from = start.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let end = from.and_then(|from| from.checked_add(length));
        match (from, end.filter(|end| *end <= self.octets.len())) {
            (Some(from), Some(end)) => Ok(self.octets.slice(from..end)),
            _ => Err(other("a page outside its column")),
        }
    }
}

impl Length for Part {
    fn len(&self) -> u64 {
        self.start + self.octets.len() as u64
    }
}

impl ChunkReader for Part {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Outcome<Self::T> {
        let length = usize::try_from(self.len().saturating_sub(start)).unwrap_or(0);
        Ok(self.slice(start, length)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Outcome<Bytes> {
        self.slice(start, length)
    }
}

/// What is asked of a file: meters of one block in order, each with its place in the answer, one
/// column, and a time: after, up to (seconds UTC).
pub struct Asked<'a> {
    /// Ordinals, in order, with their places in the answer.
    pub meters: &'a [(u32, usize)],
    /// The column.
    pub column: Column,
    /// Seconds UTC: from (excluded), to (included).
    pub span: (i64, i64),
}

/// Adds what a dense file answers.
pub fn points(
    file: &Opened,
    entry: &Entry,
    asked: &Asked<'_>,
    found: &mut [Vec<Point>],
) -> Outcome<()> {
    let Some((first, _)) = asked.meters.first() else { return Ok(()) };
    let Ok(place) = entry.columns.binary_search(&asked.column) else { return Ok(()) };
    let block = u16::try_from(first % grid::SHARD_METERS).unwrap_or(0) / BLOCK_METERS;
    let Ok(group) = entry.blocks.binary_search(&block) else { return Ok(()) };
    let of_day = grid::slots(entry.key.interval_minutes).unwrap_or_default();
    let rows = of_day * usize::from(entry.days);
    let slots = slots_of(entry, rows, asked.span);
    if slots.is_empty() {
        return Ok(());
    }
    let in_block = |ordinal: u32| (ordinal % u32::from(BLOCK_METERS)) as usize;
    let last = asked.meters.last().map_or(*first, |(last, _)| *last);
    let from = in_block(*first) * rows;
    let flags = flags(file, group, from..(in_block(last) + 1) * rows)?;
    let column = Pages { file, group, place: LEADING + place, rows };
    let meters = asked.meters.iter().map(|(ordinal, _)| in_block(*ordinal));
    let mut answers = asked.meters.iter();
    column.each(meters, slots.end, &mut |meter, cells| {
        let Some(out) = answers.next().and_then(|(_, at)| found.get_mut(*at)) else { return };
        let flags = flags.get(meter * rows - from..).unwrap_or_default();
        out.reserve(cells.values.len());
        cells.each(slots.start, |slot, value| {
            let flag = flags.get(slot).copied().unwrap_or_default();
            out.push(Point { end_s: grid::end_of(entry.key, slot), value, flag, beside: false });
        });
    })
}

/// The slots of a file that end within a span.
fn slots_of(entry: &Entry, rows: usize, (from_s, to_s): (i64, i64)) -> Range<usize> {
    let step_s = i64::from(entry.key.interval_minutes.max(1)) * 60;
    let start_s = i64::from(entry.key.day) * grid::DAY_S;
    let slot = |after_s: i64| {
        let ended = after_s.saturating_sub(start_s).max(0) / step_s;
        usize::try_from(ended).unwrap_or(usize::MAX).min(rows)
    };
    slot(from_s)..slot(to_s)
}

/// One meter's part of a column.
#[derive(Default)]
struct Cells {
    /// Of each slot 1 if it holds a value.
    held: Vec<u8>,
    /// The values that are held.
    values: Vec<i64>,
}

impl Cells {
    /// Reads the slots up to `end` of a page of `rows`.
    fn read(&mut self, page: &Page, rows: usize, end: usize) -> Outcome<()> {
        let Page::DataPage {
            buf,
            num_values,
            encoding: Encoding::DELTA_BINARY_PACKED,
            def_level_encoding: Encoding::RLE,
            ..
        } = page
        else {
            return Err(other("a page of another form"));
        };
        if *num_values as usize != rows {
            return Err(other("a page of another number of rows"));
        }
        self.held.clear();
        self.values.clear();
        self.unpack(buf, end).ok_or_else(|| other("a page that contradicts itself"))
    }

    fn unpack(&mut self, page: &[u8], end: usize) -> Option<()> {
        let (held, values) = levels(page)?;
        packed::runs(held, 1, 0..end, &mut self.held)?;
        let count = self.held.iter().map(|one| usize::from(*one)).sum();
        packed::differences(values, count, &mut self.values)
    }

    /// Shows slots and their values, from one slot on.
    fn each(&self, from: usize, mut show: impl FnMut(usize, i64)) {
        if self.values.len() == self.held.len() {
            let values = self.values.get(from..).unwrap_or_default();
            return (from..).zip(values).for_each(|(slot, value)| show(slot, *value));
        }
        let held = self.held.iter().enumerate().filter(|(_, held)| **held == 1);
        for ((slot, _), value) in held.zip(&self.values).filter(|((slot, _), _)| *slot >= from) {
            show(slot, *value);
        }
    }
}

/// The levels of a page and what follows them: their length stands before them in four octets.
fn levels(page: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = page.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

/// A column of a block: one page a meter.
struct Pages<'a> {
    file: &'a Opened,
    group: usize,
    place: usize,
    /// Rows of a meter.
    rows: usize,
}

impl Pages<'_> {
    /// Shows what the meters with these numbers in the block hold up to a slot, in order.
    fn each(
        &self,
        meters: impl ExactSizeIterator<Item = usize>,
        end: usize,
        show: &mut dyn FnMut(usize, &Cells),
    ) -> Outcome<()> {
        let (chunk, locations) = self.found()?;
        let all = usize::from(BLOCK_METERS) * self.rows;
        if meters.len() < WHOLE_COLUMN {
            let pieces = self.file.pieces.clone();
            let reader = SerializedPageReader::new(pieces, chunk, all, Some(locations))?;
            return self.walk(reader, meters, end, show);
        }
        let (start, length) = chunk.byte_range();
        let length = usize::try_from(length).map_err(|_| other("a column without an end"))?;
        let octets = self.file.pieces.get_bytes(start, length)?;
        let part = Arc::new(Part { start, octets });
        let reader = SerializedPageReader::new(part, chunk, all, Some(locations))?;
        self.walk(reader, meters, end, show)
    }

    fn found(&self) -> Outcome<(&ColumnChunkMetaData, Vec<PageLocation>)> {
        let (chunk, locations) = column(self.file, self.group, self.place)?;
        let places = (0..).map(|meter: usize| meter * self.rows);
        let aligned = locations.len() == usize::from(BLOCK_METERS)
            && places.zip(&locations).all(|(row, page)| page.first_row_index == row as i64);
        if aligned { Ok((chunk, locations)) } else { Err(other("pages that are not meters")) }
    }

    fn walk<R: ChunkReader>(
        &self,
        mut reader: SerializedPageReader<R>,
        meters: impl Iterator<Item = usize>,
        end: usize,
        show: &mut dyn FnMut(usize, &Cells),
    ) -> Outcome<()> {
        let mut cells = Cells::default();
        let mut next = 0;
        for meter in meters {
            // The same meter may be asked for twice.
            if meter >= next {
                for _ in next..meter {
                    reader.skip_next_page()?;
                }
                let page = reader.get_next_page()?.ok_or_else(|| other("a page is missing"))?;
                cells.read(&page, self.rows, end)?;
                next = meter + 1;
            }
            show(meter, &cells);
        }
        Ok(())
    }
}

fn column(
    file: &Opened,
    group: usize,
    place: usize,
) -> Outcome<(&ColumnChunkMetaData, Vec<PageLocation>)> {
    let metadata = parquet::file::reader::FileReader::metadata(&file.reader);
    let chunk = metadata.row_groups().get(group).and_then(|group| group.columns().get(place));
    let index = metadata.page_index_for_row_group(group);
    let locations = index.offset_index(place).map(|index| index.page_locations().clone());
    chunk.zip(locations).ok_or_else(|| other("a column or its index is missing"))
}

/// Flags of rows of a block, 0 where no row is; none at all when all of the block are 0.
fn flags(file: &Opened, group: usize, rows: Range<usize>) -> Outcome<Vec<u8>> {
    let (chunk, locations) = column(file, group, FLAG)?;
    if let Some(Statistics::Int32(known)) = chunk.statistics()
        && (known.min_opt(), known.max_opt()) == (Some(&0), Some(&0))
    {
        return Ok(Vec::new());
    }
    let mut flags = Vec::with_capacity(rows.len());
    each_page(file, (chunk, locations), rows, &mut |page, dictionary, wanted| {
        flags_of(page, dictionary, wanted, &mut flags)
    })?;
    Ok(flags)
}

/// The meters of a row group, by their number in it, that have rows of their own.
pub fn meters(file: &Opened, group: usize, rows: usize) -> Outcome<Vec<usize>> {
    let mut held = Vec::new();
    let all = 0..usize::from(BLOCK_METERS) * rows;
    each_page(file, column(file, group, FLAG)?, all, &mut |page, _, wanted| {
        packed::runs(levels(page)?.0, 1, wanted, &mut held).map(drop)
    })?;
    let meters = held.chunks(rows.max(1)).enumerate();
    Ok(meters.filter(|(_, held)| held.contains(&1)).map(|(meter, _)| meter).collect())
}

/// What is done with a page of flags: its octets, the dictionary, and which rows of it are wanted.
type Show<'a> = dyn FnMut(&[u8], &[u8], Range<usize>) -> Option<()> + 'a;

/// Shows the pages that hold rows of a column of flags.
fn each_page(
    file: &Opened,
    (chunk, locations): (&ColumnChunkMetaData, Vec<PageLocation>),
    rows: Range<usize>,
    show: &mut Show<'_>,
) -> Outcome<()> {
    let pieces = file.pieces.clone();
    let all = usize::try_from(chunk.num_values()).unwrap_or(0);
    let mut reader = SerializedPageReader::new(pieces, chunk, all, Some(locations))?;
    let (mut dictionary, mut first) = (Bytes::new(), 0);
    while first < rows.end {
        let page = reader.get_next_page()?.ok_or_else(|| other("a page is missing"))?;
        let Page::DataPage { buf, num_values, encoding, .. } = page else {
            dictionary = page.buffer().clone();
            continue;
        };
        if !matches!(encoding, Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY) {
            return Err(other("flags of another form"));
        }
        let end = first + num_values as usize;
        let wanted = rows.start.clamp(first, end) - first..rows.end.min(end) - first;
        show(&buf, &dictionary, wanted).ok_or_else(|| other("flags that contradict themselves"))?;
        first = end;
    }
    Ok(())
}

/// Adds the flags of some rows of a page. A dictionary holds them as numbers of four octets.
fn flags_of(page: &[u8], dictionary: &[u8], rows: Range<usize>, out: &mut Vec<u8>) -> Option<()> {
    let (held, places) = levels(page)?;
    let mut held_here = Vec::with_capacity(rows.len());
    let before = packed::runs(held, 1, rows, &mut held_here)?;
    let count: usize = held_here.iter().map(|one| usize::from(*one)).sum();
    let mut own = Vec::with_capacity(count);
    if count > 0 {
        let (width, places) = places.split_first()?;
        packed::runs(places, u32::from(*width), before..before + count, &mut own)?;
    }
    let mut own = own.iter();
    for held in held_here {
        out.push(match held {
            0 => 0,
            _ => *dictionary.get(usize::from(*own.next()?) * 4)?,
        });
    }
    Some(())
}

/// An error in words.
pub fn other(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}
