//! Alarms: what meters reported as events lately, in one order that a reader follows.
//!
//! Events themselves are values (irregular readings of event code objects, 0-b:96.11.e) and stay
//! where values are. Here stands a bounded feed of the recent ones, each once, whatever way and how
//! often it came. What a concentrator reports of itself goes the same way, and is kept here, the
//! newest of each. Not here: what a meter's code means (its model says), who is told.
//!
//! Invariants: 1. Places rise by one and are never given again. 2. One event (meter, object, time,
//! code) has one place while it is kept. 3. What is older than [`RECENT_S`] when it comes is no
//! alarm any more. 4. What is kept is bounded by number and age; the oldest go first, and a reader
//! sees from the first place that is left that he has missed some. 5. A report is taken from the
//! node that holds the concentrator's channel, and stands once (concentrator, object, time, code,
//! whom it is about).

use serde::{Deserialize, Serialize};

use crate::apply::table::{Key, Typed, after};
use crate::apply::{Author, Done, Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::readings::Batch;
use crate::units::{Device, Obis, Stamp};
use crate::{assets, leases};

/// An event that comes later than this behind its time is history.
pub const RECENT_S: i64 = 2 * 86_400;
/// How long an alarm is kept: longer than `RECENT_S`, so that a repeat is known as one.
pub const KEPT_S: u64 = 4 * 86_400;
/// The most alarms that are kept.
pub const MAX_KEPT: u64 = 500_000;
/// How many old ones go with each new one at the most.
const DROPPED: usize = 4;

/// The ordinal of alarms that are a concentrator's own: no meter has it. Whose it is says
/// [`report`].
pub const CONCENTRATOR: u32 = u32::MAX;
/// Events that the head-end itself finds out of a device: B 94 is nobody's physical object.
pub const HEAD_END: Obis = Obis([0, 94, 96, 11, 0, 255]);
/// Code of [`HEAD_END`]: the clock is off by more than tasks shift.
pub const CLOCK_BEYOND: u32 = 1;

/// How many reports of a concentrator are kept; up to a tenth more between two clearings.
pub const MAX_REPORTS: usize = 1_000;
/// The most events of one report.
pub const MAX_EVENTS: usize = 256;
/// The most letters of whom an event is about.
const MAX_ABOUT: usize = 64;

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A concentrator reports of itself.
    Report(Report),
}

/// What a concentrator reports of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its logical device name.
    pub concentrator: String,
    /// The epoch of its channel.
    pub epoch: u64,
    /// What happened; at most [`MAX_EVENTS`].
    pub events: Vec<Event>,
}

/// Something that happened to a concentrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The object whose value the code is.
    pub object: Obis,
    /// The code, as the concentrator's agreement lists it.
    pub code: u32,
    /// The meter that it is about; empty for the concentrator itself.
    pub about: String,
    /// When, by its clock, Unix seconds.
    pub end_s: i64,
}

/// An event of a concentrator as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// What happened.
    pub event: Event,
    /// When the cluster took it.
    pub taken: Stamp,
    /// Its place in the feed; none for one that was old when it came.
    pub place: Option<u64>,
}

/// An alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// The meter's ordinal, or [`CONCENTRATOR`].
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

/// Rows of one table: whose alarm a place is; events by concentrator, the newest first; how many a
/// concentrator has.
struct Row(u8, Vec<u8>);

impl Key for Row {
    fn octets(&self) -> Vec<u8> {
        [&[self.0], self.1.as_slice()].concat()
    }
}

impl Row {
    fn place(place: u64) -> Row {
        Row(0, place.octets())
    }

    fn event(concentrator: &str, event: &Event) -> Row {
        let newest_first = !(event.end_s.cast_unsigned() ^ (1 << 63));
        let mut octets = [concentrator.as_bytes(), &[0], &newest_first.to_be_bytes()].concat();
        octets.extend(event.object.0);
        octets.extend(event.code.to_be_bytes());
        octets.extend(event.about.as_bytes());
        Row(1, octets)
    }

    /// Between these stand all events of a concentrator.
    fn events(concentrator: &str) -> (Vec<u8>, Vec<u8>) {
        let row = |end| Row(1, [concentrator.as_bytes(), &[end]].concat()).octets();
        (row(0), row(1))
    }

    fn count(concentrator: &str) -> Row {
        Row(2, concentrator.as_bytes().to_vec())
    }
}

static WHOSE: Typed<Row, (String, String)> = Typed::new(Table::Reports);
static REPORTS: Typed<Row, Reported> = Typed::new(Table::Reports);
static COUNTS: Typed<Row, u32> = Typed::new(Table::Reports);

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
            let (object, end_s) = (register.obis, row.end_s);
            let alarm = Alarm { ordinal: row.ordinal, object, code, end_s, taken: tx.stamp };
            take_alarm(tx, &mut head, alarm)?;
        }
    }
    HEAD.put(tx, &AT_HEAD, &head)
}

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    let Change::Report(report) = change;
    let device = Device::Concentrator(report.concentrator.clone());
    match tx.author {
        Author::Node(node) => leases::check_owner(tx, &device, *node, report.epoch)?,
        _ => return Err(refuse("lease_required", "a node reports under a lease")),
    }
    let is_plain =
        |text: &str| text.len() <= MAX_ABOUT && text.bytes().all(|o| o.is_ascii_graphic());
    let is_good =
        |event: &Event| event.code > 0 && is_event(event.object) && is_plain(&event.about);
    if !(1..=MAX_EVENTS).contains(&report.events.len()) || !report.events.iter().all(is_good) {
        return Err(refuse("bad_event", "a code of an event object, about a meter or nobody"));
    }
    let mut head = HEAD.get(tx, &AT_HEAD)?.unwrap_or_default();
    for event in &report.events {
        take_report(tx, &mut head, &report.concentrator, event)?;
    }
    HEAD.put(tx, &AT_HEAD, &head)?;
    Ok(Done::Noted)
}

fn take_report(
    tx: &mut Tx<'_>,
    head: &mut Head,
    concentrator: &str,
    event: &Event,
) -> Result<(), Fault> {
    let row = Row::event(concentrator, event);
    if REPORTS.get(tx, &row)?.is_some() {
        return Ok(());
    }
    let is_recent = event.end_s >= tx.stamp.seconds() - RECENT_S;
    let place = is_recent.then_some(head.last + 1);
    let reported = Reported { event: event.clone(), taken: tx.stamp, place };
    REPORTS.put(tx, &row, &reported)?;
    bound_reports(tx, concentrator)?;
    let Some(place) = place else { return Ok(()) };
    head.last = place;
    let (object, code, end_s) = (event.object, event.code, event.end_s);
    let alarm = Alarm { ordinal: CONCENTRATOR, object, code, end_s, taken: tx.stamp };
    ALARMS.put(tx, &place, &alarm)?;
    WHOSE.put(tx, &Row::place(place), &(concentrator.to_owned(), event.about.clone()))?;
    drop_old(tx, head)
}

/// What the head-end itself found out of a device now, by its own code of [`HEAD_END`].
pub(crate) fn raise(tx: &mut Tx<'_>, device: &Device, code: u32) -> Result<(), Fault> {
    let (object, end_s) = (HEAD_END, tx.stamp.seconds());
    let mut head = HEAD.get(tx, &AT_HEAD)?.unwrap_or_default();
    match device {
        Device::Concentrator(name) => {
            let event = Event { object, code, about: String::new(), end_s };
            take_report(tx, &mut head, name, &event)?;
        }
        Device::Meter(serial) => {
            let Some(meter) = assets::meter(tx, serial)? else { return Ok(()) };
            let alarm = Alarm { ordinal: meter.ordinal, object, code, end_s, taken: tx.stamp };
            take_alarm(tx, &mut head, alarm)?;
        }
    }
    HEAD.put(tx, &AT_HEAD, &head)
}

fn take_alarm(tx: &mut Tx<'_>, head: &mut Head, alarm: Alarm) -> Result<(), Fault> {
    let known = Known(alarm.ordinal, alarm.object, alarm.end_s, alarm.code);
    if KNOWN.get(tx, &known)?.is_some() {
        return Ok(());
    }
    head.last += 1;
    KNOWN.put(tx, &known, &head.last)?;
    ALARMS.put(tx, &head.last, &alarm)?;
    drop_old(tx, head)
}

/// The oldest reports of a concentrator go, some at a time.
fn bound_reports(tx: &mut Tx<'_>, concentrator: &str) -> Result<(), Fault> {
    let count = COUNTS.get(tx, &Row::count(concentrator))?.unwrap_or(0) + 1;
    let mut kept = count;
    if count as usize > MAX_REPORTS + MAX_REPORTS / 10 {
        let (from, to) = Row::events(concentrator);
        let all = REPORTS.scan(tx, &from, &to, count as usize)?;
        for (key, _) in all.into_iter().skip(MAX_REPORTS) {
            tx.put(Table::Reports, key, None);
            kept -= 1;
        }
    }
    COUNTS.put(tx, &Row::count(concentrator), &kept)
}

/// Whose alarm stands at a place, when it is a concentrator's own: its name, and the meter that it
/// is about (empty for itself).
pub fn report(view: &dyn View, place: u64) -> Result<Option<(String, String)>, Fault> {
    WHOSE.get(view, &Row::place(place))
}

/// The same by the octets of a place.
pub(crate) fn report_at(view: &dyn View, place: &[u8]) -> Result<Option<(String, String)>, Fault> {
    WHOSE.get(view, &Row(0, place.to_vec()))
}

/// Whose a row of the table of reports is.
pub(crate) fn reporter(key: &[u8], row: &[u8]) -> Result<Option<String>, Fault> {
    Ok(match key.split_first() {
        Some((0, _)) => Some(WHOSE.decode(row)?.0),
        Some((_, rest)) => {
            let name = rest.split(|octet| *octet == 0).next().unwrap_or_default();
            String::from_utf8(name.to_vec()).ok()
        }
        None => None,
    })
}

/// The newest events of a concentrator, at most `limit`.
pub fn reports(view: &dyn View, concentrator: &str, limit: usize) -> Result<Vec<Reported>, Fault> {
    let (from, to) = Row::events(concentrator);
    let found = REPORTS.scan(view, &from, &to, limit)?;
    Ok(found.into_iter().map(|(_, reported)| reported).collect())
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
        if old.ordinal == CONCENTRATOR {
            WHOSE.delete(tx, &Row::place(place));
        } else {
            KNOWN.delete(tx, &Known(old.ordinal, old.object, old.end_s, old.code));
        }
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
