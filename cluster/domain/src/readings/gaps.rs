//! Gaps: which values due are not stored, and what was asked for because of that.
//!
//! A slot is a gap when it was due, no measured value of it is stored, and the device itself has
//! not been asked for it. Who has a device's channel asks for its gaps and proposes a [`Refill`]:
//! what came, and for which spans the device has answered. A slot that the device has answered for
//! and that is still not stored is missing for good: it is not asked for again, and a value that
//! comes all the same is stored like any other.
//!
//! Invariants: 1. A refill is taken whole or refused whole. 2. A slot is asked for no more once it
//! is stored or answered for. 3. Nothing before a meter's first due time is a gap.

use serde::{Deserialize, Serialize};

use super::collect::{due_since, known_days, profiles_of, window};
use super::ingest::{KEPT_DAYS, Origin, stage};
use super::slots::{DAY_S, day_of, interval_fits, interval_s};
use super::{Origins, Part, Progress};
use crate::apply::{Done, Effect, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::units::{Device, Stamp};
use crate::{assets, parameters};

/// The most spans of one refill that a device has answered for.
pub const MAX_ANSWERED: usize = 1024;

/// The most days of all these spans together.
const MAX_ANSWERED_DAYS: i64 = 4096;

/// Meters that one step of a search reads.
const PAGE: usize = 256;

/// Values that were asked for because they were missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refill {
    /// What came, under the lease of the channel that it came by.
    pub part: Part,
    /// For what the meters themselves have answered: what is not stored after this they do not
    /// hold.
    pub answered: Vec<Answered>,
}

/// A span of interval ends for which a meter has answered: `from_s < end_s <= to_s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Which meter.
    pub ordinal: u32,
    /// Which profile.
    pub interval_minutes: u16,
    /// Seconds UTC, exclusive.
    pub from_s: i64,
    /// Seconds UTC, inclusive.
    pub to_s: i64,
}

/// Slots in a row that are gaps: `from_s < end_s <= to_s`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The meter.
    pub serial: String,
    /// Its ordinal.
    pub ordinal: u32,
    /// The profile; 15 minutes for a meter that has delivered none yet.
    pub interval_minutes: u16,
    /// Seconds UTC, exclusive, aligned to the interval.
    pub from_s: i64,
    /// Seconds UTC, inclusive, aligned to the interval.
    pub to_s: i64,
    /// End of the newest interval that is stored of the profile; none when it has delivered none.
    pub newest_s: Option<i64>,
}

/// Slots of a meter in a row that were due and are not stored: `from_s < end_s <= to_s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The profile; 15 minutes for a meter that has delivered none yet.
    pub interval_minutes: u16,
    /// Seconds UTC, exclusive, aligned to the interval.
    pub from_s: i64,
    /// Seconds UTC, inclusive, aligned to the interval.
    pub to_s: i64,
    /// Whether the meter has answered for them: it does not hold them.
    pub lost: bool,
}

impl Gap {
    /// How many slots it has.
    pub fn slots(&self) -> u64 {
        slots_within((self.from_s, self.to_s), self.interval_minutes)
    }
}

impl Refill {
    /// What it is about: the device by whose channel it came, and how many spans it answers for.
    pub(crate) fn object(&self) -> String {
        let device = self.part.lease.as_ref().map(|(device, _)| device.to_string());
        format!("{} {} spans", device.unwrap_or_default(), self.answered.len())
    }
}

impl Hole {
    /// How many slots it has.
    pub fn slots(&self) -> u64 {
        slots_within((self.from_s, self.to_s), self.interval_minutes)
    }
}

fn slots_within((from_s, to_s): (i64, i64), interval_minutes: u16) -> u64 {
    u64::try_from((to_s - from_s) / interval_s(interval_minutes)).unwrap_or(0)
}

pub(super) fn apply(tx: &mut Tx<'_>, refill: &Refill) -> Result<Done, Stop> {
    if refill.part.mark.is_some() {
        return Err(refuse("bad_refill", "a refill has no mark of pushes"));
    }
    let Some((device, _)) = &refill.part.lease else {
        return Err(refuse("lease_required", "a refill comes under a lease"));
    };
    let rows = take(tx, (&refill.part, &refill.answered), Origin::Refill, device)?;
    Ok(Done::Ingested(vec![Ok(rows)]))
}

/// Takes what came by a read on schedule, and for what the meters have answered.
pub(crate) fn collected(tx: &mut Tx<'_>, part: &Part, answered: &[Answered]) -> Result<u32, Stop> {
    match &part.lease {
        Some((device, _)) => take(tx, (part, answered), Origin::FirstPass, device),
        None => Err(refuse("lease_required", "what a node has read comes under a lease")),
    }
}

fn take(
    tx: &mut Tx<'_>,
    (part, spans): (&Part, &[Answered]),
    origin: Origin,
    device: &Device,
) -> Result<u32, Stop> {
    let mut staged = stage(tx, part, origin)?;
    let mut days = 0;
    if spans.len() > MAX_ANSWERED {
        return Err(refuse("bad_refill", format!("at most {MAX_ANSWERED} spans")));
    }
    for answered in spans {
        let Answered { ordinal, interval_minutes, from_s, to_s } = *answered;
        let Some(place) = assets::place(tx, ordinal)? else {
            return Err(refuse("unknown_meter", format!("ordinal {ordinal}")));
        };
        if place.device != *device {
            return Err(refuse("not_behind", format!("{} by {device}", place.serial)));
        }
        if !interval_fits(interval_minutes) {
            return Err(refuse("bad_interval", format!("{interval_minutes} minutes")));
        }
        // Nobody can answer for what is not over; a meter's clock may be a little ahead.
        if from_s >= to_s || to_s > tx.stamp.seconds() + DAY_S {
            return Err(refuse("bad_refill", format!("{}: {from_s} to {to_s}", place.serial)));
        }
        // Slots of older days are not kept, and so never asked for.
        let oldest = day_of(tx.stamp.seconds()) - KEPT_DAYS;
        let (first, last) = (day_of(from_s.saturating_add(1)).max(oldest), day_of(to_s));
        days += i64::from(last) - i64::from(first) + 1;
        if days > MAX_ANSWERED_DAYS {
            return Err(refuse("bad_refill", format!("more than {MAX_ANSWERED_DAYS} days")));
        }
        for day in first..=last {
            let origins = staged.origins(tx, (ordinal, interval_minutes, day))?;
            origins.answered.set_span(interval_minutes, from_s, to_s);
        }
    }
    let rows = staged.rows;
    staged.write(tx, part)?;
    if rows > 0 {
        tx.wake(Effect::ReadingsStored { rows });
    }
    Ok(rows)
}

/// The gaps of the meters by a device's channel, for interval ends with `from_s < end <= to_s`, in
/// order of the serials: those of at most `meters` meters behind `behind` that have some.
///
/// Reads two rows or more of every meter of the device.
pub fn holes(
    view: &dyn View,
    device: &Device,
    (from_s, to_s): (i64, i64),
    behind: Option<&str>,
    meters: usize,
) -> Result<Vec<Hole>, Fault> {
    let (mut found, mut with_holes) = (Vec::new(), 0);
    let concentrator = match device {
        Device::Concentrator(name) => name,
        Device::Meter(serial) => {
            if let Some(meter) = assets::meter(view, serial)?.filter(|m| m.retired.is_none()) {
                of_meter(view, &meter, (from_s, to_s), &mut found)?;
            }
            return Ok(found);
        }
    };
    let mut behind = behind.map(str::to_owned);
    loop {
        let page = assets::meters_of(view, concentrator, behind.as_deref(), PAGE)?;
        for meter in &page {
            let before = found.len();
            of_meter(view, meter, (from_s, to_s), &mut found)?;
            with_holes += usize::from(found.len() > before);
            if with_holes == meters {
                return Ok(found);
            }
        }
        if page.len() < PAGE {
            return Ok(found);
        }
        behind = page.last().map(|meter| meter.serial.clone());
    }
}

/// The gaps of one meter, for interval ends with `from_s < end <= to_s`, in order of profile and
/// time.
pub fn holes_of(
    view: &dyn View,
    meter: &assets::Meter,
    span: (i64, i64),
) -> Result<Vec<Hole>, Fault> {
    let mut found = Vec::new();
    of_meter(view, meter, span, &mut found)?;
    Ok(found)
}

/// What was due of a meter and is not stored, for interval ends with `from_s < end <= to_s`, in
/// order of profile and time: what may still come and what is missing for good. Only of what is
/// kept: 62 days up to the last stamp.
pub fn gaps_of(
    view: &dyn View,
    meter: &assets::Meter,
    (from_s, to_s): (i64, i64),
) -> Result<Vec<Gap>, Fault> {
    let all = window(view, from_s, to_s)?;
    let until_s = meter.retired.map_or(all.to_s, |at| at.seconds().min(all.to_s));
    let mut found = Vec::new();
    for (interval, progress) in profiles_of(view, meter.ordinal)? {
        found.extend(of_profile(view, meter, (interval, &progress), (all.from_s, until_s))?);
    }
    Ok(found)
}

/// Within which time missing values are asked for at a stamp, by the parameters of the cluster:
/// `from_s < end_s <= to_s`. None: they are not asked for.
pub fn refill_window(view: &dyn View, now: Stamp) -> Result<Option<(i64, i64)>, Fault> {
    let reach_days = parameters::value(view, parameters::REFILL_REACH, now)?;
    let wait_minutes = parameters::value(view, parameters::REFILL_WAIT, now)?;
    let now_s = now.seconds();
    // Slots of older days are no longer kept.
    let from_s = now_s - i64::from(reach_days).min(i64::from(KEPT_DAYS) - 2) * DAY_S;
    let window = (from_s, now_s - i64::from(wait_minutes) * 60);
    Ok((reach_days > 0 && window.0 < window.1).then_some(window))
}

/// The interval ends of a hole, in order.
pub fn slots_of(hole: &Hole) -> impl Iterator<Item = i64> + use<> {
    let step_s = interval_s(hole.interval_minutes);
    let (first_s, to_s) = (hole.from_s + step_s, hole.to_s);
    (0..).map(move |slot| first_s + slot * step_s).take_while(move |end_s| *end_s <= to_s)
}

fn of_meter(
    view: &dyn View,
    meter: &assets::Meter,
    span: (i64, i64),
    found: &mut Vec<Hole>,
) -> Result<(), Fault> {
    for (interval, progress) in profiles_of(view, meter.ordinal)? {
        let newest_s = progress.series.iter().map(|series| series.last_s).max();
        let gaps = of_profile(view, meter, (interval, &progress), span)?;
        found.extend(gaps.into_iter().filter(|gap| !gap.lost).map(|gap| Hole {
            serial: meter.serial.clone(),
            ordinal: meter.ordinal,
            interval_minutes: interval,
            from_s: gap.from_s,
            to_s: gap.to_s,
            newest_s,
        }));
    }
    Ok(())
}

fn of_profile(
    view: &dyn View,
    meter: &assets::Meter,
    (interval, progress): (u16, &Progress),
    (from_s, to_s): (i64, i64),
) -> Result<Vec<Gap>, Fault> {
    let step_s = interval_s(interval);
    let since_s = due_since(meter, interval, progress).max(from_s);
    let (first, last) = (since_s.div_euclid(step_s), to_s.div_euclid(step_s));
    let mut found: Vec<Gap> = Vec::new();
    if first >= last {
        return Ok(found);
    }
    let span = (first * step_s, last * step_s);
    let mut days = known_days(view, meter.ordinal, interval, progress, span)?.into_iter();
    let mut known = days.next();
    for slot in first + 1..=last {
        let end_s = slot * step_s;
        let day = day_of(end_s);
        while known.as_ref().is_some_and(|known| known.day < day) {
            known = days.next();
        }
        let known = known.as_ref().filter(|known| known.day == day);
        if known.is_some_and(|known| known.stored.has(interval, end_s)) {
            continue;
        }
        let lost = known.is_some_and(|known| known.is_answered(interval, end_s));
        let begin_s = end_s - step_s;
        match found.last_mut() {
            Some(gap) if gap.to_s == begin_s && gap.lost == lost => gap.to_s = end_s,
            _ => found.push(Gap { interval_minutes: interval, from_s: begin_s, to_s: end_s, lost }),
        }
    }
    Ok(found)
}

/// What is known of one day of one profile of a meter.
pub(super) struct KnownDay {
    pub(super) day: i32,
    pub(super) stored: super::DaySlots,
    pub(super) origins: Option<Origins>,
}

impl KnownDay {
    fn is_answered(&self, interval: u16, end_s: i64) -> bool {
        let origins = self.origins.as_ref();
        origins.is_some_and(|origins| origins.answered.has(interval, end_s))
    }
}
