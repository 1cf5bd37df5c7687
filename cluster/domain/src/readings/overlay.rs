//! Corrections and estimates: values that people or rules put beside what was measured.
//!
//! They stand in a table of their own, each with its quality, author, reason and the index of
//! its entry; what was measured is never touched. Invariants: 1. Nothing here is overwritten: a
//! later correction of the same time counts instead of an earlier one, and both stay. 2. As of an
//! index of the log, the same corrections count for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::series_of;
use super::slots::{DAY_S, day_of, interval_fits, interval_s};
use crate::apply::table::{Key, Typed};
use crate::apply::{Author, Done, Table, Tx, View};
use crate::assets;
use crate::error::{Fault, Stop, refuse};
use crate::units::{Obis, Stamp};

/// The most values of one correction: a month of a quarter of an hour.
pub const MAX_CORRECTED: usize = 2976;

/// The most letters of a reason.
const MAX_REASON: usize = 500;

/// Rows that one step of a query reads.
const PAGE: usize = 256;

/// Meter and interval, register and day, index of the entry.
type Place = ((u32, u16), (Obis, i32), u64);

/// Corrections by their place.
static OVERLAY: Typed<Place, Row> = Typed::new(Table::Overlay);

/// How a value beside a measured one came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quality {
    /// Estimated, by a method.
    Estimated(Method),
    /// Put in by a person.
    Edited,
}

/// How a value was estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// On the straight line between two measured values.
    Linear,
    /// Along the meter's own days like this one.
    OwnProfile,
    /// Along the shape of its class of customers.
    ClassProfile,
    /// Otherwise; the reason says how.
    Other,
}

/// Put values beside what was measured of one register of one meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correct {
    /// Which meter.
    pub ordinal: u32,
    /// Which table of values; 0 is irregular reads, one value a correction.
    pub interval_minutes: u16,
    /// Which register; the meter must have values of it.
    pub obis: Obis,
    /// End of the first interval, seconds UTC.
    pub from_s: i64,
    /// One value an interval, in the series' scaler; none leaves that interval alone.
    pub values: Vec<Option<i64>>,
    /// How they came about.
    pub quality: Quality,
    /// Why; for people.
    pub reason: String,
}

/// The corrections of one entry for one day.
#[derive(Serialize, Deserialize)]
struct Row {
    index: u64,
    stamp: Stamp,
    author: String,
    quality: Quality,
    reason: String,
    values: Vec<(i64, i64)>,
}

/// One corrected value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrected {
    /// End of the interval, seconds UTC.
    pub end_s: i64,
    /// The value that counts, in the series' scaler.
    pub value: i64,
    /// How it came about.
    pub quality: Quality,
    /// Who said so.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Index of the log's entry.
    pub index: u64,
    /// Time of the entry.
    pub stamp: Stamp,
}

pub(super) fn apply(tx: &mut Tx<'_>, correct: &Correct) -> Result<Done, Stop> {
    let Correct { ordinal, interval_minutes, obis, from_s, .. } = *correct;
    let Some(place) = assets::place(tx, ordinal)? else {
        return Err(refuse("unknown_meter", format!("ordinal {ordinal}")));
    };
    let count = correct.values.len();
    let most = if interval_minutes == 0 { 1 } else { MAX_CORRECTED };
    if count == 0 || count > most || correct.values.iter().all(Option::is_none) {
        return Err(refuse("bad_correction", format!("1 to {most} values, not {count}")));
    }
    let letters = correct.reason.chars().count();
    if correct.reason.trim().is_empty() || letters > MAX_REASON {
        return Err(refuse("bad_reason", format!("a reason of 1 to {MAX_REASON} letters")));
    }
    if interval_minutes != 0 {
        if !interval_fits(interval_minutes) {
            return Err(refuse("bad_interval", format!("{interval_minutes} minutes")));
        }
        if from_s.rem_euclid(interval_s(interval_minutes)) != 0 {
            return Err(refuse("unaligned", format!("{}: {from_s}", place.serial)));
        }
    }
    let step_s = if interval_minutes == 0 { 0 } else { interval_s(interval_minutes) };
    let last_s = i64::try_from(count).ok().and_then(|count| step_s.checked_mul(count - 1));
    if last_s
        .and_then(|last_s| from_s.checked_add(last_s))
        .is_none_or(|end_s| end_s > tx.stamp.seconds().saturating_add(DAY_S) || from_s < 0)
    {
        return Err(refuse("from_the_future", format!("{}: {from_s}", place.serial)));
    }
    let series = series_of(tx, ordinal, interval_minutes)?;
    if !series.iter().any(|series| series.obis == obis) {
        return Err(refuse("unknown_series", format!("{} {obis}", place.serial)));
    }
    write(tx, correct, step_s)?;
    Ok(Done::Noted)
}

fn write(tx: &mut Tx<'_>, correct: &Correct, step_s: i64) -> Result<(), Fault> {
    let author = match tx.author {
        Author::Operator(name) => name.clone(),
        Author::Node(node) => format!("node {node}"),
        Author::Bootstrap => "the first set-up".to_owned(),
    };
    let mut days: BTreeMap<i32, Vec<(i64, i64)>> = BTreeMap::new();
    let mut end_s = correct.from_s;
    for value in &correct.values {
        if let Some(value) = value {
            days.entry(day_of(end_s)).or_default().push((end_s, *value));
        }
        end_s = end_s.saturating_add(step_s);
    }
    for (day, values) in days {
        let meter = (correct.ordinal, correct.interval_minutes);
        let row = Row {
            index: tx.index,
            stamp: tx.stamp,
            author: author.clone(),
            quality: correct.quality,
            reason: correct.reason.clone(),
            values,
        };
        OVERLAY.put(tx, &(meter, (correct.obis, day), tx.index), &row)?;
    }
    Ok(())
}

/// All corrections of a register with `from_s < end_s <= to_s`, in order of their day and entry;
/// at most `limit`, and those of entries up to `as_of` only when it is given.
pub fn corrections(
    view: &dyn View,
    (ordinal, interval_minutes, obis): (u32, u16, Obis),
    (from_s, to_s): (i64, i64),
    as_of: Option<u64>,
    limit: usize,
) -> Result<Vec<Corrected>, Fault> {
    let mut found = Vec::new();
    if from_s >= to_s {
        return Ok(found);
    }
    let key = |day: i32| ((ordinal, interval_minutes), (obis, day), 0_u64).octets();
    let to = key(day_of(to_s).saturating_add(1));
    let mut from = key(day_of(from_s.saturating_add(1)));
    loop {
        let page = OVERLAY.scan(view, &from, &to, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        from = crate::apply::table::after(last);
        for (_, row) in page {
            if as_of.is_some_and(|as_of| row.index > as_of) {
                continue;
            }
            for (end_s, value) in &row.values {
                if found.len() == limit {
                    return Ok(found);
                }
                if from_s < *end_s && *end_s <= to_s {
                    found.push(row.corrected(*end_s, *value));
                }
            }
        }
    }
}

impl Row {
    fn corrected(&self, end_s: i64, value: i64) -> Corrected {
        Corrected {
            end_s,
            value,
            quality: self.quality,
            author: self.author.clone(),
            reason: self.reason.clone(),
            index: self.index,
            stamp: self.stamp,
        }
    }
}

/// The corrections that count, by the end of their interval: the last entry's for each.
pub fn counting(corrections: Vec<Corrected>) -> BTreeMap<i64, Corrected> {
    let mut counting: BTreeMap<i64, Corrected> = BTreeMap::new();
    for one in corrections {
        match counting.get(&one.end_s) {
            Some(known) if known.index > one.index => {}
            _ => drop(counting.insert(one.end_s, one)),
        }
    }
    counting
}
