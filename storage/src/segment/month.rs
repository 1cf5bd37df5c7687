//! Folds the day files of a month, and late ones after it, into one month file.
//!
//! Block by block: 64 meters of all sources are in memory, never a whole month of a shard.
//!
//! Invariants: the content follows from the contents of the sources in the order of their
//! seals, so it is equal on every replica; the first value of a place stays the stored one,
//! others stand beside it in their order, as a query over the sources would tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use serde::Serialize;

use super::calendar::Month;
use super::grid::{self, SHARD_METERS};
use super::image::MeterImage;
use super::manifest::Entry;
use super::reader::{BlockRows, Readers};
use super::recipe::Recipe;
use super::writer::{self, BLOCK_METERS, DenseWriter, Layout, Line};
use super::{Column, DayKey};
use crate::error::{Error, Result};

/// What a month file came to hold.
pub struct Folded {
    /// Which row groups it has.
    pub layout: Layout,
    /// Columns of values.
    pub columns: Vec<Column>,
    /// Rows that hold at least one value, those beside included.
    pub rows: u64,
    /// blake3 of the canonical content.
    pub content_hash: [u8; 32],
}

/// Files of one shard in the order of their seals, and the month that they are of.
pub struct Sources<'a> {
    /// Interval, shard, first day of the month.
    pub key: DayKey,
    /// The month.
    pub month: Month,
    /// The files; an older month file first.
    pub files: &'a [Entry],
}

/// The canonical content as a stream of parts, each with its length.
struct ContentHash(blake3::Hasher);

impl ContentHash {
    fn new(key: DayKey, month: Month, columns: &[Column]) -> Result<Self> {
        let mut hash = Self(blake3::Hasher::new());
        hash.part(&(key, month.days, columns))?;
        Ok(hash)
    }

    fn part<T: Serialize + ?Sized>(&mut self, part: &T) -> Result<()> {
        let octets = postcard::to_stdvec(part)
            .map_err(|error| Error::misuse("image_invalid", error.to_string()))?;
        self.0.update(&(octets.len() as u64).to_le_bytes()).update(&octets);
        Ok(())
    }

    fn done(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// Reads the sources and writes the month into `out`.
///
/// # Errors
/// `segment_damaged` when a source cannot be read; `segment_write`; the codes of the disk.
pub fn fold<W: Write + Send>(
    out: W,
    sources: &Sources<'_>,
    readers: &Readers,
    recipe: Recipe,
) -> Result<Folded> {
    let of_day = grid::slots(sources.key.interval_minutes)?;
    if of_day == 0 {
        return fold_lines(out, sources, readers, recipe);
    }
    let slots = of_day * usize::from(sources.month.days);
    let all = sources.files.iter().flat_map(|file| &file.columns).copied();
    let columns: Vec<Column> = all.collect::<BTreeSet<_>>().into_iter().collect();
    let blocks: BTreeSet<u16> =
        sources.files.iter().flat_map(|file| &file.blocks).copied().collect();
    let mut besides = Besides::of(sources, readers)?;
    let mut hash = ContentHash::new(sources.key, sources.month, &columns)?;
    let mut file = DenseWriter::new(out, sources.key, slots, &columns, recipe)?;
    let mut rows = 0;
    for number in blocks {
        let mut block = Block::new(number, slots, &columns);
        for (at, entry) in sources.files.iter().enumerate() {
            if let Some(found) = readers.block(entry, number, &entry.columns)? {
                let first_day = entry.key.day.saturating_sub(sources.key.day);
                let first = usize::try_from(first_day).unwrap_or(usize::MAX).saturating_mul(of_day);
                block.take(&found, &entry.columns, first, |place, value, flag| {
                    besides.put(place, value, flag);
                });
            }
            for line in besides.of_source(at, number) {
                block.settle(sources.key, &line, &mut besides);
            }
        }
        let meters = block.meters();
        for meter in &meters {
            hash.part(meter)?;
            rows += rows_of(meter);
        }
        file.block(number, &meters)?;
    }
    let lines = besides.lines();
    hash.part(lines.as_slice())?;
    let layout = file.finish(&lines)?;
    Ok(Folded { layout, columns, rows: rows + lines.len() as u64, content_hash: hash.done() })
}

fn rows_of(meter: &MeterImage) -> u64 {
    let held =
        |slot: &usize| meter.values.iter().any(|column| matches!(column.get(*slot), Some(Some(_))));
    (0..meter.flags.len()).filter(held).count() as u64
}

/// A place of a value in a month: meter in the shard, slot, column.
type Place = (u16, usize, Column);

/// What stands beside stored values: as read from the sources, and as it will be written.
struct Besides {
    /// Lines of each source, by block.
    given: Vec<BTreeMap<u16, Vec<Line>>>,
    kept: BTreeMap<(u16, usize, Column), Vec<(i64, u8)>>,
    key: DayKey,
}

impl Besides {
    fn of(sources: &Sources<'_>, readers: &Readers) -> Result<Self> {
        let mut given = Vec::with_capacity(sources.files.len());
        for entry in sources.files {
            let mut blocks: BTreeMap<u16, Vec<Line>> = BTreeMap::new();
            for line in readers.besides(entry)? {
                let block = meter_of(line.ordinal) / BLOCK_METERS;
                blocks.entry(block).or_default().push(line);
            }
            given.push(blocks);
        }
        Ok(Self { given, kept: BTreeMap::new(), key: sources.key })
    }

    fn of_source(&mut self, at: usize, block: u16) -> Vec<Line> {
        self.given.get_mut(at).and_then(|blocks| blocks.remove(&block)).unwrap_or_default()
    }

    fn put(&mut self, place: Place, value: i64, flag: u8) {
        let values = self.kept.entry(place).or_default();
        match values.iter_mut().find(|(known, _)| *known == value) {
            Some((_, known)) => *known |= flag,
            None => values.push((value, flag)),
        }
    }

    fn lines(self) -> Vec<Line> {
        let key = self.key;
        let line = move |(meter, slot, name): Place, (value, flag)| Line {
            ordinal: key.shard * SHARD_METERS + u32::from(meter),
            name,
            end_s: grid::end_of(key, slot),
            value,
            flag,
            beside: true,
        };
        let places = self.kept.into_iter();
        places
            .flat_map(|(place, values)| values.into_iter().map(move |value| line(place, value)))
            .collect()
    }
}

fn meter_of(ordinal: u32) -> u16 {
    u16::try_from(ordinal % SHARD_METERS).unwrap_or_default()
}

/// 64 meters of a month.
struct Block<'a> {
    number: u16,
    slots: usize,
    names: &'a [Column],
    /// Column by column, then meter by meter.
    values: Vec<Vec<Option<i64>>>,
    flags: Vec<u8>,
}

impl<'a> Block<'a> {
    fn new(number: u16, slots: usize, names: &'a [Column]) -> Self {
        let places = usize::from(BLOCK_METERS) * slots;
        let values = names.iter().map(|_| vec![None; places]).collect();
        Self { number, slots, names, values, flags: vec![0; places] }
    }

    /// Takes a block of one source whose first slot is `first` of the month's; what is unlike a
    /// stored value goes beside.
    fn take(
        &mut self,
        found: &BlockRows,
        names: &[Column],
        first: usize,
        mut beside: impl FnMut(Place, i64, u8),
    ) {
        for meter in 0..usize::from(BLOCK_METERS) {
            let from = meter * found.slots;
            let to = meter * self.slots + first;
            let number = self.number * BLOCK_METERS + u16::try_from(meter).unwrap_or_default();
            for slot in 0..found.slots.min(self.slots.saturating_sub(first)) {
                let flag = found.flags.get(from + slot).copied().flatten().unwrap_or_default();
                let (mut stored, mut unlike) = (false, false);
                for (name, column) in names.iter().zip(&found.columns) {
                    let Some(value) = column.get(from + slot).copied().flatten() else { continue };
                    let Ok(own) = self.names.binary_search(name) else { continue };
                    let Some(place) = self.values.get_mut(own).and_then(|v| v.get_mut(to + slot))
                    else {
                        continue;
                    };
                    match *place {
                        None => {
                            *place = Some(value);
                            stored = true;
                        }
                        Some(known) if known == value => stored = true,
                        Some(_) => {
                            unlike = true;
                            beside((number, first + slot, *name), value, flag);
                        }
                    }
                }
                // As in an open day: a doubt that any delivery of a row raised stays.
                if (stored || !unlike)
                    && let Some(known) = self.flags.get_mut(to + slot)
                {
                    *known |= flag;
                }
            }
        }
    }

    /// A value that stood beside another in its source: it may be the stored one here.
    fn settle(&mut self, key: DayKey, line: &Line, besides: &mut Besides) {
        let step = i64::from(key.interval_minutes.max(1)) * 60;
        let slot = (line.end_s - i64::from(key.day) * grid::DAY_S) / step - 1;
        let Ok(slot) = usize::try_from(slot) else { return };
        let meter = meter_of(line.ordinal);
        let at = usize::from(meter % BLOCK_METERS) * self.slots + slot;
        let own = self.names.binary_search(&line.name).ok();
        let place = own.and_then(|own| self.values.get_mut(own)).and_then(|v| v.get_mut(at));
        let Some(place) = place.filter(|_| slot < self.slots) else { return };
        match *place {
            Some(known) if known != line.value => {
                besides.put((meter, slot, line.name), line.value, line.flag);
            }
            _ => {
                *place = Some(line.value);
                if let Some(known) = self.flags.get_mut(at) {
                    *known |= line.flag;
                }
            }
        }
    }

    /// The meters that have values.
    fn meters(&self) -> Vec<MeterImage> {
        let mut meters = Vec::new();
        for meter in 0..usize::from(BLOCK_METERS) {
            let range = meter * self.slots..(meter + 1) * self.slots;
            let part = |values: &Vec<Option<i64>>| {
                let own = values.get(range.clone()).unwrap_or_default();
                if own.iter().any(Option::is_some) { own.to_vec() } else { Vec::new() }
            };
            let values: Vec<Vec<Option<i64>>> = self.values.iter().map(part).collect();
            if values.iter().all(Vec::is_empty) {
                continue;
            }
            let number = self.number * BLOCK_METERS + u16::try_from(meter).unwrap_or_default();
            let flags = self.flags.get(range.clone()).unwrap_or_default().to_vec();
            meters.push(MeterImage { meter: number, flags, values });
        }
        meters
    }
}

/// Irregular values: all lines of all sources, by place, each value once.
fn fold_lines<W: Write + Send>(
    out: W,
    sources: &Sources<'_>,
    readers: &Readers,
    recipe: Recipe,
) -> Result<Folded> {
    let mut lines: Vec<Line> = Vec::new();
    for entry in sources.files {
        lines.extend(readers.lines(entry)?);
    }
    // Stable: within a place the sources keep their order.
    lines.sort_by_key(|line| (line.ordinal, line.name, line.end_s));
    let mut folded: Vec<Line> = Vec::with_capacity(lines.len());
    let mut first = 0;
    for line in lines {
        let place = |line: &Line| (line.ordinal, line.name, line.end_s);
        if folded.get(first).is_none_or(|known| place(known) != place(&line)) {
            first = folded.len();
        }
        let here = folded.get_mut(first..).unwrap_or_default();
        match here.iter_mut().find(|known| known.value == line.value) {
            Some(known) => known.flag |= line.flag,
            None => {
                let beside = !here.is_empty();
                folded.push(Line { beside, ..line });
            }
        }
    }
    let mut hash = ContentHash::new(sources.key, sources.month, &[])?;
    for line in &folded {
        hash.part(line)?;
    }
    let layout = writer::write_lines(out, sources.key, &folded, recipe)?;
    let rows = folded.len() as u64;
    Ok(Folded { layout, columns: Vec::new(), rows, content_hash: hash.done() })
}
