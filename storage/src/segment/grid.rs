//! One day of one shard in memory: dense values by meter and slot, or irregular values by time.
//!
//! Address is arithmetic: a row's place follows from its ordinal and its end. Memory is taken
//! a meter at a time; copies share everything that was not written since (copy on write), so
//! that a day can be frozen in no time while it still takes rows.
//!
//! Invariants: a stored value is never overwritten; a later value unlike it is kept beside it;
//! merging the same rows again changes nothing.

mod doubt;
mod newest;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::image::{BesideImage, Image, MeterImage, SparseImage};
use super::{Column, DayKey, Point, Row};
use crate::error::{Error, Result};

/// Meters of a shard: a shard's day of 15 minutes and three registers is about 20 MB.
pub const SHARD_METERS: u32 = 8192;
/// Meters of a row group.
pub const BLOCK: u32 = 64;
/// Seconds of a day.
pub const DAY_S: i64 = 86_400;
const DAY_MINUTES: u16 = 1440;

/// What became of one row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Taken {
    /// At least one value was new.
    pub stored: bool,
    /// At least one value was unlike the stored one.
    pub conflicting: bool,
}

/// One meter's day of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    present: Vec<u64>,
    values: Vec<i64>,
}

#[derive(Debug, Clone)]
struct DenseColumn {
    name: Column,
    meters: Vec<Option<Arc<Block>>>,
}

/// Values unlike the stored one, in the order they came, with the flags they came with.
type Besides = Vec<(i64, u8)>;

/// Rows of a fixed interval.
#[derive(Debug, Clone)]
struct Dense {
    slots: usize,
    columns: Vec<DenseColumn>,
    flags: Vec<Option<Arc<Vec<u8>>>>,
    besides: BTreeMap<(u16, u16, Column), Besides>,
}

/// Irregular values; the first of each list is the stored one.
type Sparse = Arc<BTreeMap<(u32, Column, i64), Besides>>;

#[derive(Debug, Clone)]
enum Rows {
    Dense(Dense),
    Sparse(Sparse),
}

/// A day of a shard.
#[derive(Debug, Clone)]
pub struct Day {
    key: DayKey,
    rows: Rows,
    octets: u64,
}

/// Which day a row belongs to; a day's slots end in (00:00, 24:00].
///
/// # Errors
/// `interval_invalid` when the interval does not divide a day, `row_unaligned` when the end is
/// no end of a slot, `row_time` when no day has that number.
pub fn key_of(interval_minutes: u16, ordinal: u32, end_s: i64) -> Result<DayKey> {
    slots(interval_minutes)?;
    let step = i64::from(interval_minutes.max(1)) * 60;
    if interval_minutes > 0 && end_s.rem_euclid(step) != 0 {
        let detail = format!("{end_s} is no end of {interval_minutes} minutes");
        return Err(Error::misuse("row_unaligned", detail));
    }
    let day = end_s.checked_sub(1).map(|last| last.div_euclid(DAY_S));
    let day = day.and_then(|day| i32::try_from(day).ok());
    let day = day.ok_or_else(|| Error::misuse("row_time", format!("{end_s} s is no time")))?;
    Ok(DayKey { interval_minutes, shard: ordinal / SHARD_METERS, day })
}

/// Slots of a day; 0 for irregular values.
///
/// # Errors
/// `interval_invalid` when the interval does not divide a day.
pub fn slots(interval_minutes: u16) -> Result<usize> {
    match interval_minutes {
        0 => Ok(0),
        minutes if DAY_MINUTES.is_multiple_of(minutes) => Ok(usize::from(DAY_MINUTES / minutes)),
        minutes => {
            Err(Error::misuse("interval_invalid", format!("{minutes} minutes divide no day")))
        }
    }
}

/// A meter's place in its shard.
fn local(ordinal: u32) -> u16 {
    u16::try_from(ordinal % SHARD_METERS).unwrap_or_default()
}

impl Day {
    /// An empty day.
    ///
    /// # Errors
    /// `interval_invalid`.
    pub fn new(key: DayKey) -> Result<Self> {
        let slots = slots(key.interval_minutes)?;
        let dense =
            || Dense { slots, columns: Vec::new(), flags: Vec::new(), besides: BTreeMap::new() };
        let rows = if slots == 0 { Rows::Sparse(Sparse::default()) } else { Rows::Dense(dense()) };
        Ok(Self { key, rows, octets: 0 })
    }

    /// Which day this is.
    pub fn key(&self) -> DayKey {
        self.key
    }

    /// Octets of memory, roughly.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Takes rows of this day; `each` is told what became of every one.
    pub fn merge(&mut self, columns: &[Column], rows: &[Row<'_>], each: &mut dyn FnMut(Taken)) {
        let key = self.key;
        match &mut self.rows {
            Rows::Dense(dense) => {
                let places: Vec<usize> = columns.iter().map(|name| dense.column(name)).collect();
                for row in rows {
                    each(dense.merge(key, &places, row, &mut self.octets));
                }
            }
            Rows::Sparse(sparse) => {
                let sparse = Arc::make_mut(sparse);
                for row in rows {
                    each(merge_sparse(sparse, columns, row, &mut self.octets));
                }
            }
        }
    }

    /// Adds the values of one column of one meter with `from_s < end_s <= to_s`.
    pub fn points(&self, ordinal: u32, name: Column, span: (i64, i64), out: &mut Vec<Point>) {
        let (from_s, to_s) = span;
        match &self.rows {
            Rows::Dense(dense) => dense.points(self.key, local(ordinal), name, span, out),
            Rows::Sparse(sparse) => {
                if from_s >= to_s {
                    return;
                }
                let range = (ordinal, name, from_s.saturating_add(1))..=(ordinal, name, to_s);
                for ((_, _, end_s), values) in sparse.range(range) {
                    push_points(*end_s, values, out);
                }
            }
        }
    }

    /// Adds the columns that a meter has values of.
    pub fn columns_of(&self, ordinal: u32, out: &mut Vec<Column>) {
        match &self.rows {
            Rows::Dense(dense) => {
                let at = usize::from(local(ordinal));
                let held = |column: &&DenseColumn| matches!(column.meters.get(at), Some(Some(_)));
                out.extend(dense.columns.iter().filter(held).map(|column| column.name));
            }
            Rows::Sparse(sparse) => {
                let range = (ordinal, [0; 6], i64::MIN)..=(ordinal, [255; 6], i64::MAX);
                out.extend(sparse.range(range).map(|((_, name, _), _)| *name));
            }
        }
    }

    /// The day in its canonical form: the same for the same content, whatever way it came.
    pub fn image(&self) -> Image {
        match &self.rows {
            Rows::Dense(dense) => dense.image(self.key),
            Rows::Sparse(sparse) => Image {
                key: self.key,
                columns: Vec::new(),
                meters: Vec::new(),
                besides: Vec::new(),
                sparse: sparse
                    .iter()
                    .map(|((ordinal, name, end_s), values)| SparseImage {
                        ordinal: *ordinal,
                        name: *name,
                        end_s: *end_s,
                        values: values.clone(),
                    })
                    .collect(),
            },
        }
    }

    /// The day that an image shows.
    ///
    /// # Errors
    /// `image_invalid` when it contradicts itself.
    pub fn from_image(image: &Image) -> Result<Self> {
        let mut day = Self::new(image.key)?;
        match &mut day.rows {
            Rows::Dense(dense) => dense.load(image, &mut day.octets)?,
            Rows::Sparse(sparse) => {
                let sparse = Arc::make_mut(sparse);
                for row in &image.sparse {
                    day.octets += 64 + 16 * row.values.len() as u64;
                    sparse.insert((row.ordinal, row.name, row.end_s), row.values.clone());
                }
            }
        }
        Ok(day)
    }
}

impl Dense {
    fn column(&mut self, name: &Column) -> usize {
        let found = self.columns.iter().position(|column| column.name == *name);
        found.unwrap_or_else(|| {
            self.columns.push(DenseColumn { name: *name, meters: Vec::new() });
            self.columns.len() - 1
        })
    }

    fn merge(&mut self, key: DayKey, places: &[usize], row: &Row<'_>, octets: &mut u64) -> Taken {
        let meter = usize::from(local(row.ordinal));
        let slot = slot_of(key, row.end_s);
        let mut taken = Taken::default();
        let mut any = false;
        for (place, value) in places.iter().zip(row.values) {
            let (Some(value), Some(column)) = (value, self.columns.get_mut(*place)) else {
                continue;
            };
            any = true;
            let block = block_mut(&mut column.meters, meter, octets, || Block::new(self.slots));
            match block.get(slot) {
                None => {
                    block.set(slot, *value);
                    taken.stored = true;
                }
                Some(stored) if stored == *value => {}
                Some(_) => {
                    taken.conflicting = true;
                    let name = column.name;
                    let at = (local(row.ordinal), u16::try_from(slot).unwrap_or(u16::MAX), name);
                    put_beside(self.besides.entry(at).or_default(), (*value, row.flag), octets);
                }
            }
        }
        // A doubt that any delivery of a row raised stays; a conflicting one keeps its own.
        if any && (taken.stored || !taken.conflicting) {
            let flags = block_mut(&mut self.flags, meter, octets, || vec![0; self.slots]);
            if let Some(flag) = flags.get_mut(slot) {
                *flag |= row.flag;
            }
        }
        taken
    }

    fn points(
        &self,
        key: DayKey,
        meter: u16,
        name: Column,
        (from_s, to_s): (i64, i64),
        out: &mut Vec<Point>,
    ) {
        let at = usize::from(meter);
        let column = self.columns.iter().find(|column| column.name == name);
        let Some(Some(block)) = column.and_then(|column| column.meters.get(at)) else { return };
        let flags = self.flags.get(at).and_then(Option::as_ref);
        for slot in 0..self.slots {
            let end_s = end_of(key, slot);
            let Some(value) = block.get(slot).filter(|_| from_s < end_s && end_s <= to_s) else {
                continue;
            };
            let flag = flags.and_then(|flags| flags.get(slot)).copied().unwrap_or_default();
            out.push(Point { end_s, value, flag, beside: false });
            let beside = (meter, u16::try_from(slot).unwrap_or(u16::MAX), name);
            for (value, flag) in self.besides.get(&beside).into_iter().flatten() {
                out.push(Point { end_s, value: *value, flag: *flag, beside: true });
            }
        }
    }

    fn image(&self, key: DayKey) -> Image {
        let mut columns: Vec<&DenseColumn> = self
            .columns
            .iter()
            .filter(|column| column.meters.iter().any(Option::is_some))
            .collect();
        columns.sort_unstable_by_key(|column| column.name);
        let mut meters = Vec::new();
        for (at, flags) in self.flags.iter().enumerate() {
            let Some(flags) = flags else { continue };
            let values = columns
                .iter()
                .map(|column| match column.meters.get(at) {
                    Some(Some(block)) => (0..self.slots).map(|slot| block.get(slot)).collect(),
                    _ => Vec::new(),
                })
                .collect();
            let meter = u16::try_from(at).unwrap_or(u16::MAX);
            meters.push(MeterImage { meter, flags: flags.to_vec(), values });
        }
        let besides = self.besides.iter().map(|((meter, slot, name), values)| BesideImage {
            meter: *meter,
            slot: *slot,
            name: *name,
            values: values.clone(),
        });
        Image {
            key,
            columns: columns.iter().map(|column| column.name).collect(),
            meters,
            besides: besides.collect(),
            sparse: Vec::new(),
        }
    }

    fn load(&mut self, image: &Image, octets: &mut u64) -> Result<()> {
        let wrong = |what: &str| Error::misuse("image_invalid", format!("a day with {what}"));
        let places: Vec<usize> = image.columns.iter().map(|name| self.column(name)).collect();
        for meter in &image.meters {
            let at = usize::from(meter.meter);
            if u32::from(meter.meter) >= SHARD_METERS || meter.flags.len() != self.slots {
                return Err(wrong("a meter outside its shard or without all its slots"));
            }
            if meter.values.len() != places.len() {
                return Err(wrong("another number of columns in one meter"));
            }
            *block_mut(&mut self.flags, at, octets, || vec![0; self.slots]) = meter.flags.clone();
            for (place, values) in places.iter().zip(&meter.values) {
                let Some(column) = self.columns.get_mut(*place).filter(|_| !values.is_empty())
                else {
                    continue;
                };
                if values.len() != self.slots {
                    return Err(wrong("a column without all its slots"));
                }
                let block = block_mut(&mut column.meters, at, octets, || Block::new(self.slots));
                for (slot, value) in values.iter().enumerate() {
                    if let Some(value) = value {
                        block.set(slot, *value);
                    }
                }
            }
        }
        for beside in &image.besides {
            *octets += 64 + 16 * beside.values.len() as u64;
            let at = (beside.meter, beside.slot, beside.name);
            self.besides.insert(at, beside.values.clone());
        }
        Ok(())
    }
}

impl Block {
    fn new(slots: usize) -> Self {
        Self { present: vec![0; slots.div_ceil(64)], values: vec![0; slots] }
    }

    fn get(&self, slot: usize) -> Option<i64> {
        let held = self.present.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1);
        self.values.get(slot).copied().filter(|_| held)
    }

    fn set(&mut self, slot: usize, value: i64) {
        if let (Some(word), Some(place)) =
            (self.present.get_mut(slot / 64), self.values.get_mut(slot))
        {
            *word |= 1 << (slot % 64);
            *place = value;
        }
    }
}

fn merge_sparse(
    sparse: &mut BTreeMap<(u32, Column, i64), Besides>,
    columns: &[Column],
    row: &Row<'_>,
    octets: &mut u64,
) -> Taken {
    let mut taken = Taken::default();
    for (name, value) in columns.iter().zip(row.values) {
        let Some(value) = value else { continue };
        let values = sparse.entry((row.ordinal, *name, row.end_s)).or_default();
        match values.first_mut() {
            None => {
                values.push((*value, row.flag));
                *octets += 64;
                taken.stored = true;
            }
            Some((stored, flag)) if stored == value => *flag |= row.flag,
            Some(_) => {
                taken.conflicting = true;
                put_beside(values, (*value, row.flag), octets);
            }
        }
    }
    taken
}

/// Keeps a value beside the stored one, once.
fn put_beside(besides: &mut Besides, (value, flag): (i64, u8), octets: &mut u64) {
    match besides.iter_mut().find(|(known, _)| *known == value) {
        Some((_, known)) => *known |= flag,
        None => {
            besides.push((value, flag));
            *octets += 64;
        }
    }
}

fn push_points(end_s: i64, values: &Besides, out: &mut Vec<Point>) {
    for (at, (value, flag)) in values.iter().enumerate() {
        out.push(Point { end_s, value: *value, flag: *flag, beside: at > 0 });
    }
}

/// A meter's block, made when it is missing, copied when somebody else holds it.
fn block_mut<'a, T>(
    meters: &'a mut Vec<Option<Arc<T>>>,
    at: usize,
    octets: &mut u64,
    make: impl FnOnce() -> T,
) -> &'a mut T
where
    T: Clone + Weigh,
{
    if meters.len() <= at {
        meters.resize(at + 1, None);
    }
    let slot = &mut meters[at];
    let block = slot.get_or_insert_with(|| {
        let block = make();
        *octets += block.weight();
        Arc::new(block)
    });
    Arc::make_mut(block)
}

/// Octets of memory of a block.
trait Weigh {
    fn weight(&self) -> u64;
}

impl Weigh for Block {
    fn weight(&self) -> u64 {
        8 * (self.present.len() + self.values.len()) as u64 + 64
    }
}

impl Weigh for Vec<u8> {
    fn weight(&self) -> u64 {
        self.len() as u64 + 40
    }
}

/// End of a slot, seconds UTC.
pub fn end_of(key: DayKey, slot: usize) -> i64 {
    let step = i64::from(key.interval_minutes) * 60;
    i64::from(key.day) * DAY_S + (i64::try_from(slot).unwrap_or_default() + 1) * step
}

fn slot_of(key: DayKey, end_s: i64) -> usize {
    let step = i64::from(key.interval_minutes.max(1)) * 60;
    usize::try_from((end_s - i64::from(key.day) * DAY_S) / step - 1).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Day, key_of};
    use crate::segment::image::Image;
    use crate::segment::{Column, Row};

    const A: Column = [1, 0, 1, 8, 0, 255];
    const B: Column = [1, 0, 2, 8, 0, 255];

    fn row(ordinal: u32, end_s: i64, flag: u8, values: &[Option<i64>]) -> Row<'_> {
        Row { ordinal, end_s, flag, values }
    }

    fn told(day: &mut Day, columns: &[Column], row: Row<'_>) -> (bool, bool) {
        let mut told = Vec::new();
        day.merge(columns, &[row], &mut |taken| told.push((taken.stored, taken.conflicting)));
        assert_eq!(told.len(), 1);
        told[0]
    }

    #[test]
    fn the_last_slot_of_a_day_ends_at_midnight() {
        let check = |minutes, end_s, expect| {
            assert_eq!(key_of(minutes, 8200, end_s).map(|key| (key.shard, key.day)).ok(), expect);
        };
        check(15, 900, Some((1, 0)));
        check(15, 86_400, Some((1, 0)));
        check(15, 87_300, Some((1, 1)));
        check(15, 0, Some((1, -1)));
        check(15, 901, None);
        check(0, 901, Some((1, 0)));
        check(7, 420, None);
        check(1440, 86_400, Some((1, 0)));
        check(0, i64::MIN, None);
        check(0, i64::MAX, None);
    }

    #[test]
    fn values_are_stored_once_and_never_overwritten() {
        for minutes in [15, 0] {
            let mut day = Day::new(key_of(minutes, 3, 900).unwrap()).unwrap();
            assert_eq!(told(&mut day, &[A, B], row(3, 900, 1, &[Some(5), None])), (true, false));
            assert_eq!(told(&mut day, &[A, B], row(3, 900, 2, &[Some(5), None])), (false, false));
            assert_eq!(told(&mut day, &[B], row(3, 900, 0, &[Some(9)])), (true, false));
            assert_eq!(told(&mut day, &[A], row(3, 900, 4, &[Some(6)])), (false, true));
            assert_eq!(told(&mut day, &[A], row(3, 900, 8, &[Some(6)])), (false, true));
            let mut points = Vec::new();
            day.points(3, A, (0, 900), &mut points);
            let found: Vec<_> = points.iter().map(|p| (p.value, p.flag, p.beside)).collect();
            assert_eq!(found, [(5, 3, false), (6, 12, true)], "{minutes} minutes");
            points.clear();
            day.points(3, B, (900, 1800), &mut points);
            assert_eq!(points, []);
            let mut columns = Vec::new();
            day.columns_of(3, &mut columns);
            assert_eq!(columns, [A, B]);
        }
    }

    #[test]
    fn the_image_does_not_know_the_way_rows_came() {
        let rows = [(3, 900, 5), (8191, 1800, 6), (3, 86_400, -7)];
        let build = |order: &[usize], columns: [Column; 2]| {
            let mut day = Day::new(key_of(15, 0, 900).unwrap()).unwrap();
            for at in order {
                let (ordinal, end_s, value) = rows[*at];
                let values =
                    if columns[0] == A { [Some(value), None] } else { [None, Some(value)] };
                told(&mut day, &columns, row(ordinal, end_s, 0, &values));
            }
            day.image().encode().unwrap()
        };
        let first = build(&[0, 1, 2], [A, B]);
        assert_eq!(first, build(&[2, 1, 0, 0], [B, A]));
        let image = Image::decode(&first).unwrap();
        assert_eq!(image.rows(), 3);
        let again = Day::from_image(&image).unwrap();
        assert_eq!(again.image().encode().unwrap(), first);
    }

    #[test]
    fn a_copy_does_not_see_later_rows() {
        let mut day = Day::new(key_of(60, 0, 3600).unwrap()).unwrap();
        told(&mut day, &[A], row(7, 3600, 0, &[Some(1)]));
        let frozen = day.clone();
        told(&mut day, &[A], row(7, 7200, 0, &[Some(2)]));
        assert_eq!(frozen.image().rows(), 1);
        assert_eq!(day.image().rows(), 2);
    }

    #[test]
    fn a_contradicting_image_is_refused() {
        let mut day = Day::new(key_of(60, 0, 3600).unwrap()).unwrap();
        told(&mut day, &[A], row(7, 3600, 0, &[Some(1)]));
        let spoil = |change: &dyn Fn(&mut Image)| {
            let mut image = day.image();
            change(&mut image);
            assert_eq!(Day::from_image(&image).unwrap_err().code(), "image_invalid");
        };
        spoil(&|image| image.meters[0].meter = 8192);
        spoil(&|image| image.meters[0].flags.truncate(3));
        spoil(&|image| image.columns.push(B));
        spoil(&|image| image.meters[0].values[0].truncate(1));
        assert!(Image::decode(&[0xff; 40]).is_err());
    }
}
