//! Ingest: values of any number of channels, each part judged by itself and taken whole or not.
//!
//! A part is staged beside the change first, so a part that is refused at its last row has written
//! nothing. Cost of a part in steady state: one row read and one written for each meter and
//! interval, and nothing more.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::slots::{DAY_S, DaySlots, day_of, interval_fits, interval_s};
use super::{
    Batch, DAY_SLOTS, Ingest, MARKS, Mark, ORIGINS, Origins, PROGRESS, Part, Progress, Register,
    Row, SHARD_METERS, Series, compact, flag, seal,
};
use crate::apply::table::Key;
use crate::apply::{Author, Done, Effect, Tx};
use crate::error::{Fault, Refusal, Stop, refuse};
use crate::units::Device;
use crate::{alarms, assets, leases};

/// The most parts of one ingest.
pub const MAX_PARTS: usize = 1024;

/// The most rows of one ingest: 256 KiB of entry cannot be blown up to more than this.
pub const MAX_INGEST_ROWS: usize = 262_144;

/// How far ahead of the stamp a value may stand: a wrong clock, not another day.
const MAX_AHEAD_S: i64 = DAY_S;

/// How old a value may be: ten years online and the rest of a year before.
const MAX_AGE_S: i64 = 4000 * DAY_S;

/// Days of a meter that its progress row holds: today and the day that is being completed.
const RECENT_DAYS: usize = 2;

/// For how many days the slots of a meter are kept.
pub(super) const KEPT_DAYS: i32 = 62;

/// The most days that a new day of a meter drops. Above one, so that what a gap left behind goes.
const MAX_DROPPED: usize = 4;

pub(super) fn apply(tx: &mut Tx<'_>, ingest: &Ingest) -> Result<Done, Stop> {
    if ingest.parts.len() > MAX_PARTS {
        return Err(refuse("too_many_parts", format!("at most {MAX_PARTS} parts")));
    }
    let batches = ingest.parts.iter().flat_map(|part| &part.batches);
    let claimed = batches.fold(0_usize, |sum, batch| sum.saturating_add(batch.len()));
    if claimed > MAX_INGEST_ROWS {
        return Err(refuse("too_many_rows", format!("at most {MAX_INGEST_ROWS} rows")));
    }
    let mut outcomes = Vec::with_capacity(ingest.parts.len());
    let mut stored = 0;
    for part in &ingest.parts {
        let outcome: Result<u32, Refusal> = match stage(tx, part, Origin::of(tx.author)) {
            Ok(staged) => {
                let rows = staged.rows;
                staged.write(tx, part)?;
                Ok(rows)
            }
            Err(Stop::Refused(refusal)) => Err(refusal),
            Err(Stop::Fault(fault)) => return Err(fault.into()),
        };
        stored += outcome.as_ref().unwrap_or(&0);
        outcomes.push(outcome);
    }
    if stored > 0 {
        tx.wake(Effect::ReadingsStored { rows: stored });
    }
    Ok(Done::Ingested(outcomes))
}

/// By what way the values of a part came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// By a push or a read on schedule.
    FirstPass,
    /// Asked for because they were missing.
    Refill,
    /// People brought them.
    Brought,
}

impl Origin {
    fn of(author: &Author) -> Origin {
        match author {
            Author::Node(_) => Origin::FirstPass,
            Author::Operator(_) | Author::Bootstrap => Origin::Brought,
        }
    }
}

/// What a part will write when nothing in it is refused.
pub(super) struct Staged {
    origin: Origin,
    pub(super) rows: u32,
    progress: BTreeMap<(u32, u16), Progress>,
    /// Days that are no longer recent.
    late: BTreeMap<(u32, u16, i32), DaySlots>,
    /// Days that a newer one has pushed out of what is kept.
    dropped: BTreeSet<(u32, u16, i32)>,
    /// Days with slots that did not come by themselves.
    origins: BTreeMap<(u32, u16, i32), Origins>,
    /// Days whose origins go with them.
    forgotten: BTreeSet<(u32, u16, i32)>,
    /// Rows that came, by day.
    open: BTreeMap<(u16, u32, i32), u64>,
}

pub(super) fn stage(tx: &Tx<'_>, part: &Part, origin: Origin) -> Result<Staged, Stop> {
    let device = check_channel(tx, part)?;
    let mut staged = Staged {
        origin,
        rows: 0,
        progress: BTreeMap::new(),
        late: BTreeMap::new(),
        dropped: BTreeSet::new(),
        origins: BTreeMap::new(),
        forgotten: BTreeSet::new(),
        open: BTreeMap::new(),
    };
    for batch in &part.batches {
        check_batch(batch)?;
        let rows = batch.rows().map_err(|why| refuse("bad_batch", why.to_string()))?;
        let rows: Vec<Row<'_>> = rows.iter().collect();
        for meter in rows.chunk_by(|one, next| one.ordinal == next.ordinal) {
            staged.take_meter(tx, device, batch, meter)?;
        }
        staged.rows += u32::try_from(rows.len()).unwrap_or(u32::MAX);
    }
    Ok(staged)
}

/// Checks by which channel a part came. Gives the device when it came by one.
fn check_channel<'a>(tx: &Tx<'_>, part: &'a Part) -> Result<Option<&'a Device>, Stop> {
    let device = match &part.lease {
        Some((device, epoch)) => {
            match tx.author {
                Author::Node(node) => leases::check_owner(tx, device, *node, *epoch)?,
                _ => leases::check_epoch(tx, device, *epoch)?,
            }
            Some(device)
        }
        // Only what was collected elsewhere comes without a channel, and people bring it.
        None if matches!(tx.author, Author::Node(_)) => {
            return Err(refuse("lease_required", "a node ingests under a lease"));
        }
        None => None,
    };
    match (&part.mark, device) {
        (Some(mark), Some(device))
            if *device != Device::Concentrator(mark.concentrator.clone()) =>
        {
            Err(refuse("not_behind", format!("a mark of {} by {device}", mark.concentrator)))
        }
        _ => Ok(device),
    }
}

fn check_batch(batch: &Batch) -> Result<(), Stop> {
    let interval = batch.interval_minutes();
    if interval != 0 && !interval_fits(interval) {
        return Err(refuse("bad_interval", format!("{interval} minutes do not divide a day")));
    }
    let registers: BTreeSet<_> = batch.registers().iter().map(|register| register.obis).collect();
    if registers.is_empty() || registers.len() != batch.registers().len() {
        return Err(refuse("bad_batch", "a batch has registers, each of them once"));
    }
    Ok(())
}

impl Staged {
    /// Takes the rows of one meter, which stand together and in order of time.
    fn take_meter(
        &mut self,
        tx: &Tx<'_>,
        device: Option<&Device>,
        batch: &Batch,
        rows: &[Row<'_>],
    ) -> Result<(), Stop> {
        let Some(first) = rows.first() else { return Ok(()) };
        let (ordinal, interval) = (first.ordinal, batch.interval_minutes());
        let Some(place) = assets::place(tx, ordinal)? else {
            return Err(refuse("unknown_meter", format!("ordinal {ordinal}")));
        };
        if device.is_some_and(|device| *device != place.device) {
            return Err(refuse("not_behind", format!("{} by {}", place.serial, place.device)));
        }
        rows.iter().try_for_each(|row| check_time(tx, &place.serial, interval, row.end_s))?;
        let mut progress = match self.progress.remove(&(ordinal, interval)) {
            Some(progress) => progress,
            None => PROGRESS.get(tx, &(ordinal, interval))?.unwrap_or_default(),
        };
        note_series(&mut progress.series, &place.serial, batch.registers(), rows)?;
        let shard = ordinal / SHARD_METERS;
        for day_rows in rows.chunk_by(|one, next| day_of(one.end_s) == day_of(next.end_s)) {
            let Some(day) = day_rows.first().map(|row| day_of(row.end_s)) else { continue };
            *self.open.entry((interval, shard, day)).or_default() += day_rows.len() as u64;
            if interval != 0 {
                let slots = measured(interval, day, day_rows);
                self.take_day(tx, ordinal, interval, &mut progress, slots)?;
            }
        }
        self.progress.insert((ordinal, interval), progress);
        Ok(())
    }

    fn take_day(
        &mut self,
        tx: &Tx<'_>,
        ordinal: u32,
        interval: u16,
        progress: &mut Progress,
        slots: DaySlots,
    ) -> Result<(), Fault> {
        let recent = &mut progress.recent;
        let at = recent.partition_point(|known| known.day < slots.day);
        if let Some(known) = recent.get_mut(at).filter(|known| known.day == slots.day) {
            let fresh = slots.without(known);
            known.join(&slots);
            return self.note_origin(tx, (ordinal, interval, slots.day), &fresh);
        }
        if at == 0 && recent.len() >= RECENT_DAYS {
            let newest = recent.last().map_or(slots.day, |known| known.day);
            if slots.day > newest.saturating_sub(KEPT_DAYS) {
                let fresh = self.take_late(tx, (ordinal, interval, slots.day), &slots)?;
                self.note_origin(tx, (ordinal, interval, slots.day), &fresh)?;
            }
            return Ok(());
        }
        let newest = slots.day;
        self.note_origin(tx, (ordinal, interval, slots.day), &slots)?;
        recent.insert(at, slots);
        if recent.len() > RECENT_DAYS {
            let evicted = recent.remove(0);
            self.take_late(tx, (ordinal, interval, evicted.day), &evicted)?;
            self.drop_old(tx, ordinal, interval, newest.saturating_sub(KEPT_DAYS))?;
        }
        Ok(())
    }

    /// Drops days before `kept`, a few at a time: a meter gains one a day.
    fn drop_old(
        &mut self,
        tx: &Tx<'_>,
        ordinal: u32,
        interval: u16,
        kept: i32,
    ) -> Result<(), Fault> {
        let from = (ordinal, interval, i32::MIN).octets();
        let to = (ordinal, interval, kept).octets();
        for (_, old) in DAY_SLOTS.scan(tx, &from, &to, MAX_DROPPED)? {
            let key = (ordinal, interval, old.day);
            self.late.remove(&key);
            self.dropped.insert(key);
        }
        for (_, old) in ORIGINS.scan(tx, &from, &to, MAX_DROPPED)? {
            let key = (ordinal, interval, old.answered.day);
            self.origins.remove(&key);
            self.forgotten.insert(key);
        }
        Ok(())
    }

    /// Remembers slots that are stored for the first time and did not come by themselves.
    fn note_origin(
        &mut self,
        tx: &Tx<'_>,
        key: (u32, u16, i32),
        fresh: &DaySlots,
    ) -> Result<(), Fault> {
        if self.origin == Origin::FirstPass || fresh.is_empty() {
            return Ok(());
        }
        let refill = self.origin == Origin::Refill;
        let origins = self.origins(tx, key)?;
        if refill {
            origins.refilled.join(fresh);
        } else {
            origins.brought.join(fresh);
        }
        Ok(())
    }

    /// The origins of a day, to be added to.
    pub(super) fn origins(
        &mut self,
        tx: &Tx<'_>,
        key: (u32, u16, i32),
    ) -> Result<&mut Origins, Fault> {
        self.forgotten.remove(&key);
        match self.origins.entry(key) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(free) => {
                let known = ORIGINS.get(tx, &key)?;
                Ok(free.insert(known.unwrap_or_else(|| Origins::empty(key.2))))
            }
        }
    }

    /// Joins slots to those of a day that is no longer recent. Gives those that are new.
    fn take_late(
        &mut self,
        tx: &Tx<'_>,
        key: (u32, u16, i32),
        slots: &DaySlots,
    ) -> Result<DaySlots, Fault> {
        let known = match self.late.remove(&key) {
            Some(known) => Some(known),
            None => DAY_SLOTS.get(tx, &key)?,
        };
        let mut all = known.unwrap_or_else(|| DaySlots::empty(key.2));
        let fresh = slots.without(&all);
        all.join(slots);
        self.late.insert(key, all);
        Ok(fresh)
    }

    pub(super) fn write(self, tx: &mut Tx<'_>, part: &Part) -> Result<(), Fault> {
        for (key, progress) in &self.progress {
            PROGRESS.put(tx, key, progress)?;
        }
        for key in &self.dropped {
            DAY_SLOTS.delete(tx, key);
        }
        for (key, slots) in &self.late {
            DAY_SLOTS.put(tx, key, slots)?;
        }
        for key in &self.forgotten {
            ORIGINS.delete(tx, key);
        }
        for (key, origins) in &self.origins {
            ORIGINS.put(tx, key, origins)?;
        }
        for (day, rows) in self.open {
            seal::open(tx, day.0, day.1, day.2)?;
            compact::count(tx, day, rows)?;
        }
        if let Some(mark) = &part.mark {
            write_mark(tx, mark)?;
        }
        for batch in &part.batches {
            alarms::take(tx, batch)?;
        }
        tx.rows.extend(part.batches.iter().filter(|batch| !batch.is_empty()).cloned());
        Ok(())
    }
}

fn check_time(tx: &Tx<'_>, serial: &str, interval: u16, end_s: i64) -> Result<(), Stop> {
    if interval != 0 && end_s.rem_euclid(interval_s(interval)) != 0 {
        return Err(refuse("unaligned", format!("{serial}: {end_s} in {interval} minutes")));
    }
    let ahead_s = end_s.saturating_sub(tx.stamp.seconds());
    if ahead_s > MAX_AHEAD_S {
        return Err(refuse("from_the_future", format!("{serial}: {end_s}")));
    }
    if ahead_s < -MAX_AGE_S {
        return Err(refuse("too_old", format!("{serial}: {end_s}")));
    }
    Ok(())
}

/// Moves the series on by what the rows hold of them.
fn note_series(
    series: &mut Vec<Series>,
    serial: &str,
    registers: &[Register],
    rows: &[Row<'_>],
) -> Result<(), Stop> {
    for (column, register) in registers.iter().enumerate() {
        let there = |row: &&Row<'_>| row.values.get(column).is_some_and(Option::is_some);
        // Rows are in order of time: the first and the last value bound the rest.
        let Some(first_s) = rows.iter().find(there).map(|row| row.end_s) else { continue };
        let last_s = rows.iter().rev().find(there).map_or(first_s, |row| row.end_s);
        let Register { obis, scaler, unit } = *register;
        let Some(known) = series.iter_mut().find(|series| series.obis == obis) else {
            series.push(Series { obis, scaler, unit, first_s, last_s });
            continue;
        };
        if (known.scaler, known.unit) != (scaler, unit) {
            let was = format!("10^{} of unit {}", known.scaler, known.unit);
            let text = format!("{serial} {obis}: {was} became 10^{scaler} of unit {unit}");
            return Err(refuse("scaler_changed", text));
        }
        known.first_s = known.first_s.min(first_s);
        known.last_s = known.last_s.max(last_s);
    }
    Ok(())
}

/// The slots of a day that hold at least one measured value; what a meter estimated never counts.
fn measured(interval: u16, day: i32, rows: &[Row<'_>]) -> DaySlots {
    let mut slots = DaySlots::empty(day);
    for row in rows {
        let valued = row.values.iter().any(Option::is_some);
        if valued && row.flag & flag::ESTIMATED == 0 {
            slots.set(interval, row.end_s);
        }
    }
    slots
}

/// Neither number ever goes down: an old push that comes again moves nothing.
fn write_mark(tx: &mut Tx<'_>, mark: &Mark) -> Result<(), Fault> {
    let mut mark = mark.clone();
    if let Some(known) = MARKS.get(tx, &mark.concentrator)? {
        mark.sequence = mark.sequence.max(known.sequence);
        mark.counter = mark.counter.max(known.counter);
    }
    MARKS.put(tx, &mark.concentrator.clone(), &mark)
}
