//! Alarms: what meters reported as events lately, in one order that a reader follows.
//!
//! Events themselves are values (irregular readings of event code objects, 0-b:96.11.e) and stay
//! where values are. Here stands a bounded feed of the recent ones, each once, whatever way and how
//! often it came. Not here: what a code means (the meter's model says), who is told.
//!
//! Invariants: 1. Places rise by one and are never given again. 2. One event (meter, object, time,
//! code) has one place while it is kept. 3. What is older than [`RECENT_S`] when it comes is no
//! alarm any more. 4. What is kept is bounded by number and age; the oldest go first, and a reader
//! sees from the first place that is left that he has missed some.

use serde::{Deserialize, Serialize};

use crate::apply::table::{Key, Typed, after};
use crate::apply::{Table, Tx, View};
use crate::error::Fault;
use crate::readings::Batch;
use crate::units::{Obis, Stamp};

/// An event that comes later than this behind its time is history.
pub const RECENT_S: i64 = 2 * 86_400;
/// How long an alarm is kept: longer than `RECENT_S`, so that a repeat is known as one.
pub const KEPT_S: u64 = 4 * 86_400;
/// The most alarms that are kept.
pub const MAX_KEPT: u64 = 500_000;
/// How many old ones go with each new one at the most.
const DROPPED: usize = 4;

/// An alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// The meter's ordinal.
    pub ordinal: u32,
    /// The object whose value the code is.
    pub object: Obis,
    /// The code, as the meter's model lists it.
    pub code: u32,
    /// When it happened by the meter's clock, Unix seconds.
    pub end_s: i64,
    /// When the cluster took it.
    pub taken: Stamp,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    /// The last place that was given.
    last: u64,
    /// The oldest that is kept.
    first: u64,
}

static HEAD: Typed<u64, Head> = Typed::new(Table::Alarms);
static ALARMS: Typed<u64, Alarm> = Typed::new(Table::Alarms);
static KNOWN: Typed<Known, u64> = Typed::new(Table::AlarmsKnown);

/// What makes an event this one.
struct Known(u32, Obis, i64, u32);

impl Key for Known {
    fn octets(&self) -> Vec<u8> {
        let time = (self.2.cast_unsigned() ^ (1 << 63)).to_be_bytes();
        [&self.0.to_be_bytes()[..], &self.1.0, &time, &self.3.to_be_bytes()].concat()
    }
}

/// The head stands at a place that is never given.
const AT_HEAD: u64 = 0;

/// Whether an object's values are event codes (0-b:96.11.e, IEC 62056-6-1).
pub fn is_event(object: Obis) -> bool {
    matches!(object.0, [0, _, 96, 11, _, _])
}

/// Takes what a batch that was stored holds of recent events.
pub(crate) fn take(tx: &mut Tx<'_>, batch: &Batch) -> Result<(), Fault> {
    let events = batch.interval_minutes() == 0
        && batch.registers().iter().any(|register| is_event(register.obis));
    let Ok(rows) = batch.rows() else { return Ok(()) };
    if !events {
        return Ok(());
    }
    let mut head = HEAD.get(tx, &AT_HEAD)?.unwrap_or_default();
    let oldest_s = tx.stamp.seconds() - RECENT_S;
    for row in rows.iter().filter(|row| row.end_s >= oldest_s) {
        for (register, value) in batch.registers().iter().zip(row.values) {
            let code = value.and_then(|value| u32::try_from(value).ok());
            let Some(code) = code.filter(|code| *code > 0 && is_event(register.obis)) else {
                continue;
            };
            let known = Known(row.ordinal, register.obis, row.end_s, code);
            if KNOWN.get(tx, &known)?.is_some() {
                continue;
            }
            head.last += 1;
            let (object, end_s) = (register.obis, row.end_s);
            let alarm = Alarm { ordinal: row.ordinal, object, code, end_s, taken: tx.stamp };
            KNOWN.put(tx, &known, &head.last)?;
            ALARMS.put(tx, &head.last, &alarm)?;
            drop_old(tx, &mut head)?;
        }
    }
    HEAD.put(tx, &AT_HEAD, &head)
}

fn drop_old(tx: &mut Tx<'_>, head: &mut Head) -> Result<(), Fault> {
    let (from, to) = (after(&head.first.octets()), head.last.octets());
    let kept = Stamp(tx.stamp.0.saturating_sub(KEPT_S * 1_000_000));
    for (_, old) in ALARMS.scan(tx, &from, &to, DROPPED)? {
        let place = head.first + 1;
        if old.taken >= kept && head.last - head.first <= MAX_KEPT {
            break;
        }
        ALARMS.delete(tx, &place);
        KNOWN.delete(tx, &Known(old.ordinal, old.object, old.end_s, old.code));
        head.first = place;
    }
    Ok(())
}

/// The place behind which everything is kept, and the last place: a reader who stands before the
/// first of them has missed some.
pub fn bounds(view: &dyn View) -> Result<(u64, u64), Fault> {
    let head = HEAD.get(view, &AT_HEAD)?.unwrap_or_default();
    Ok((head.first, head.last))
}

/// At most `limit` alarms behind a place, with their places.
pub fn behind(view: &dyn View, place: u64, limit: usize) -> Result<Vec<(u64, Alarm)>, Fault> {
    let (first, last) = bounds(view)?;
    let place = place.max(first);
    if place >= last {
        return Ok(Vec::new());
    }
    let (from, to) = ((place + 1).octets(), (last + 1).octets());
    let found = ALARMS.scan(view, &from, &to, limit)?;
    let numbered = found.into_iter().filter_map(|(key, alarm)| {
        let place: [u8; 8] = key.try_into().ok()?;
        Some((u64::from_be_bytes(place), alarm))
    });
    Ok(numbered.collect())
}
