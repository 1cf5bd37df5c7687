//! What came by the channel of a device for a run, and what it settles.
//!
//! Invariants: 1. Values and what they settle are taken together or not at all. 2. Only under the
//! current epoch of the channel, so of two nodes one can report. 3. How far a profile was read only
//! rises, and never beyond a clock that is an hour ahead.

use serde::{Deserialize, Serialize};

use super::run::{Ending, Reason, Run};
use super::{RUNS, TASKS, Task, What, close};
use crate::apply::table::{Key, Pair, Typed, after, end_of};
use crate::apply::{Done, Table, Tx, View};
use crate::clocks;
use crate::error::{Fault, Stop, refuse};
use crate::readings::{self, Answered, Part};
use crate::units::{Device, Obis, Stamp};

/// The most meters of one report.
pub const MAX_REPORTED: usize = 512;

/// A meter's clock may be so far ahead that its rows still say how far it was read.
const AHEAD_S: i64 = 3_600;

/// What came by the channel of a device for a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Of which task.
    pub name: String,
    /// Its number.
    pub task: u32,
    /// Which run.
    pub run: u64,
    /// What was read, under the lease of the channel it came by.
    pub part: Part,
    /// Spans of a load profile for which meters have answered.
    pub answered: Vec<Answered>,
    /// How far profiles without slots were read: meter, profile, newest row, seconds UTC.
    pub marks: Vec<(u32, Obis, i64)>,
    /// What became of meters, by their ordinals.
    pub meters: Vec<(u32, Result<(), Reason>)>,
    /// How far the concentrator's own clock is off, milliseconds; ahead of ours is more than 0.
    pub offset_ms: Option<i64>,
    /// Nothing is left to be read of this device in this run.
    pub is_whole: bool,
}

/// How far one device is in the last run of a task that touched it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) run: u64,
    /// Ordinals, in order.
    pub(super) done: Vec<u32>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) failed: Vec<(u32, Reason)>,
    pub(super) is_whole: bool,
    /// How far the concentrator's own clock was off, milliseconds, and when.
    clock: Option<(Stamp, i64)>,
}

/// A meter that failed and is to be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) ordinal: u32,
    failures: u8,
    pub(super) not_before_s: i64,
}

/// How a device stands in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Meters done.
    pub done: usize,
    /// Meters that rest after a failure.
    pub waiting: usize,
    /// Meters that were given up, by their ordinals, and why.
    pub failed: Vec<(u32, Reason)>,
}

/// A meter that was given up in the last run of its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// By whose channel it is reached.
    pub device: Device,
    /// Its ordinal.
    pub ordinal: u32,
    /// Why.
    pub reason: Reason,
}

pub(super) static PROGRESS: Typed<Pair<'_, u32, Device>, Progress> =
    Typed::new(Table::TaskProgress);
static MARKS: Typed<(u32, Obis), i64> = Typed::new(Table::TaskMarks);

pub(super) fn apply(tx: &mut Tx<'_>, report: &Report) -> Result<Done, Stop> {
    if report.meters.len() > MAX_REPORTED || report.marks.len() > MAX_REPORTED {
        return Err(refuse("bad_report", format!("at most {MAX_REPORTED} meters")));
    }
    if report.part.mark.is_some() {
        return Err(refuse("bad_report", "a report has no mark of pushes"));
    }
    let Some((device, _)) = &report.part.lease else {
        return Err(refuse("lease_required", "a report comes under a lease"));
    };
    let rows = readings::collected(tx, &report.part, &report.answered)?;
    let ahead_s = tx.stamp.seconds().saturating_add(AHEAD_S);
    for (ordinal, profile, newest_s) in &report.marks {
        check_behind(tx, *ordinal, device)?;
        let known_s = MARKS.get(tx, &(*ordinal, *profile))?.unwrap_or(i64::MIN);
        if *newest_s > known_s && *newest_s <= ahead_s {
            MARKS.put(tx, &(*ordinal, *profile), newest_s)?;
        }
    }
    // What was read is stored; a run that is over goes on with nothing.
    let task = TASKS.get(tx, &report.name)?.filter(|task| task.id == report.task);
    let open = task.filter(|task| task.is_running && task.runs == report.run);
    if let Some(mut task) = open
        && let Some(mut run) = RUNS.get(tx, &(task.id, report.run))?
    {
        run.rows += u64::from(rows);
        settle(tx, &task, &mut run, device, report)?;
        RUNS.put(tx, &(task.id, run.number), &run)?;
        if run.done.saturating_add(run.failed) >= run.meters {
            close(tx, &mut task, Ending::Complete)?;
            TASKS.put(tx, &report.name, &task)?;
        }
    }
    Ok(Done::Ingested(vec![Ok(rows)]))
}

fn settle(
    tx: &mut Tx<'_>,
    task: &Task,
    run: &mut Run,
    device: &Device,
    report: &Report,
) -> Result<(), Stop> {
    let key = Pair(&task.id, device);
    let known = PROGRESS.get(tx, &key)?.filter(|progress| progress.run == run.number);
    let mut progress = known.unwrap_or_else(|| Progress { run: run.number, ..Progress::default() });
    for (ordinal, result) in &report.meters {
        check_behind(tx, *ordinal, device)?;
        let Err(at) = progress.done.binary_search(ordinal) else { continue };
        if progress.failed.iter().any(|(failed, _)| failed == ordinal) {
            continue;
        }
        let place = progress.waiting.iter().position(|waiting| waiting.ordinal == *ordinal);
        let before = place.map_or(0, |place| progress.waiting.remove(place).failures);
        match result {
            Ok(()) => {
                progress.done.insert(at, *ordinal);
                run.done += 1;
            }
            Err(reason) if reason.is_final() || before + 1 >= task.rule.attempts => {
                progress.failed.push((*ordinal, *reason));
                run.failed += 1;
                match run.reasons.iter_mut().find(|(known, _)| known == reason) {
                    Some((_, count)) => *count += 1,
                    None => run.reasons.push((*reason, 1)),
                }
            }
            Err(_) => {
                let failures = before + 1;
                let pause_s = task.rule.backoff_s(*ordinal, failures);
                let not_before_s = tx.stamp.seconds().saturating_add(pause_s);
                progress.waiting.push(Waiting { ordinal: *ordinal, failures, not_before_s });
                run.retries += 1;
            }
        }
    }
    if let Some(offset_ms) = report.offset_ms {
        progress.clock = Some((tx.stamp, offset_ms));
    }
    let shifts = match task.rule.what {
        What::Clock => None,
        What::ClockShift => Some(task.name.as_str()),
        _ => return kept(tx, &key, progress, run, report),
    };
    clocks::measured_of(tx, &report.part.batches, device, shifts)?;
    if let (Some(offset_ms), Device::Concentrator(_)) = (report.offset_ms, device) {
        clocks::measured(tx, device, offset_ms, shifts)?;
    }
    kept(tx, &key, progress, run, report)
}

fn kept(
    tx: &mut Tx<'_>,
    key: &Pair<'_, u32, Device>,
    mut progress: Progress,
    run: &mut Run,
    report: &Report,
) -> Result<(), Stop> {
    if report.is_whole && !progress.is_whole {
        progress.is_whole = true;
        run.devices += 1;
    }
    PROGRESS.put(tx, key, &progress)?;
    Ok(())
}

fn check_behind(tx: &Tx<'_>, ordinal: u32, device: &Device) -> Result<(), Stop> {
    match crate::assets::place(tx, ordinal)? {
        Some(place) if place.device == *device => Ok(()),
        Some(place) => Err(refuse("not_behind", format!("{} by {device}", place.serial))),
        None => Err(refuse("unknown_meter", format!("ordinal {ordinal}"))),
    }
}

/// At most `limit` meters, and those of whole devices, that were given up in a run, behind a
/// device. A device whose next run has begun is no longer there.
pub fn given_up(
    view: &dyn View,
    task: &Task,
    number: u64,
    behind: Option<&Device>,
    limit: usize,
) -> Result<Vec<GivenUp>, Fault> {
    const PAGE: usize = 256;
    let prefix = task.id.octets();
    let mut from =
        behind.map_or_else(|| prefix.clone(), |device| after(&Pair(&task.id, device).octets()));
    let mut found = Vec::new();
    loop {
        let rows = PROGRESS.scan(view, &from, &end_of(&prefix), PAGE)?;
        for (key, progress) in &rows {
            if progress.run != number || progress.failed.is_empty() {
                continue;
            }
            let device = device_of(key)?;
            let one = |(ordinal, reason): &(u32, Reason)| GivenUp {
                device: device.clone(),
                ordinal: *ordinal,
                reason: *reason,
            };
            found.extend(progress.failed.iter().map(one));
            if found.len() >= limit {
                return Ok(found);
            }
        }
        match rows.last() {
            Some((last, _)) if rows.len() == PAGE => from = after(last),
            _ => return Ok(found),
        }
    }
}

/// The clocks of at most `limit` concentrators behind a device, as a task measured them last: when,
/// and how far each was off, milliseconds.
pub fn clocks(
    view: &dyn View,
    task: &Task,
    behind: Option<&Device>,
    limit: usize,
) -> Result<Vec<(Device, Stamp, i64)>, Fault> {
    const PAGE: usize = 256;
    let prefix = task.id.octets();
    let mut from =
        behind.map_or_else(|| prefix.clone(), |device| after(&Pair(&task.id, device).octets()));
    let mut found = Vec::new();
    loop {
        let rows = PROGRESS.scan(view, &from, &end_of(&prefix), PAGE)?;
        for (key, progress) in &rows {
            if let Some((at, offset_ms)) = progress.clock {
                found.push((device_of(key)?, at, offset_ms));
            }
            if found.len() >= limit {
                return Ok(found);
            }
        }
        match rows.last() {
            Some((last, _)) if rows.len() == PAGE => from = after(last),
            _ => return Ok(found),
        }
    }
}

/// The device of a key: number, kind, name, zero.
fn device_of(key: &[u8]) -> Result<Device, Fault> {
    let why = "the key has no device";
    let corrupt = || Fault::Corrupt { table: Table::TaskProgress, why };
    let name = key.get(5..key.len().saturating_sub(1)).ok_or_else(corrupt)?;
    let name = String::from_utf8(name.to_vec()).map_err(|_| corrupt())?;
    match key.get(4) {
        Some(b'c') => Ok(Device::Concentrator(name)),
        Some(b'm') => Ok(Device::Meter(name)),
        _ => Err(corrupt()),
    }
}

/// Up to when a profile without slots was read of a meter: the newest row, seconds UTC.
pub fn read_until_s(view: &dyn View, ordinal: u32, profile: Obis) -> Result<Option<i64>, Fault> {
    MARKS.get(view, &(ordinal, profile))
}

/// How a device stands in a run.
pub fn standing(
    view: &dyn View,
    task: &Task,
    number: u64,
    device: &Device,
) -> Result<Standing, Fault> {
    let known = PROGRESS.get(view, &Pair(&task.id, device))?;
    let progress = known.filter(|progress| progress.run == number).unwrap_or_default();
    let Progress { done, waiting, failed, .. } = progress;
    Ok(Standing { done: done.len(), waiting: waiting.len(), failed })
}
