//! The collection rate: slots that are stored, of the slots that were due.
//!
//! Due are all intervals that ended since a meter was registered, or since its first value when
//! that is older, whether it ever answered or not: a meter that never delivered counts against
//! the rate from its registration. Stored are slots with a measured value, each once.

use super::ingest::KEPT_DAYS;
use super::slots::{DaySlots, day_of, interval_s};
use super::{DAY_SLOTS, Progress, progress_of};
use crate::apply::table::{Key, after};
use crate::apply::{View, last_stamp};
use crate::assets::{self, Meter};
use crate::error::Fault;

/// The interval that is due of a meter which has delivered none yet.
pub const DEFAULT_INTERVAL_MINUTES: u16 = 15;

/// Meters that one step of a whole collection reads.
const PAGE: usize = 1024;

/// What was due in a window and what is stored of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// Start of the window as it was reckoned, seconds UTC, exclusive: slots are kept for 62 days.
    pub from_s: i64,
    /// End of the window as it was reckoned, seconds UTC, inclusive: the future is not due.
    pub to_s: i64,
    /// Active meters that had something due.
    pub meters: u64,
    /// Of these, meters with nothing stored.
    pub silent: u64,
    /// Slots due.
    pub expected: u64,
    /// Slots stored of those due.
    pub stored: u64,
}

impl Collection {
    /// The rate in millionths; none when nothing was due.
    pub fn rate_ppm(&self) -> Option<u64> {
        (self.stored * 1_000_000).checked_div(self.expected)
    }

    /// Adds what another of the same window has.
    pub fn add(&mut self, other: &Collection) {
        self.meters += other.meters;
        self.silent += other.silent;
        self.expected += other.expected;
        self.stored += other.stored;
    }
}

/// The collection of all meters, for interval ends with `from_s < end <= to_s`.
///
/// Reads two rows or more of every meter: seconds for a million of them.
pub fn collection(view: &dyn View, from_s: i64, to_s: i64) -> Result<Collection, Fault> {
    let mut all = window(view, from_s, to_s)?;
    let mut behind: Option<String> = None;
    loop {
        let meters = assets::meters(view, behind.as_deref(), PAGE)?;
        for meter in &meters {
            all.add(&collection_of(view, meter, from_s, to_s)?);
        }
        if meters.len() < PAGE {
            return Ok(all);
        }
        behind = meters.last().map(|meter| meter.serial.clone());
    }
}

/// The collection of one meter, for interval ends with `from_s < end <= to_s`.
pub fn collection_of(
    view: &dyn View,
    meter: &Meter,
    from_s: i64,
    to_s: i64,
) -> Result<Collection, Fault> {
    let mut all = window(view, from_s, to_s)?;
    let mut profiles = progress_of(view, meter.ordinal)?;
    profiles.retain(|(interval, _)| *interval != 0);
    if profiles.is_empty() {
        profiles.push((DEFAULT_INTERVAL_MINUTES, Progress::default()));
    }
    for (interval, progress) in &profiles {
        let since_s = since(meter, *interval, progress).max(all.from_s);
        let until_s = meter.retired.map_or(all.to_s, |at| at.seconds().min(all.to_s));
        let step_s = interval_s(*interval);
        let due = until_s.div_euclid(step_s) - since_s.div_euclid(step_s);
        all.expected += u64::try_from(due).unwrap_or(0);
        if due > 0 {
            all.stored += stored(view, meter.ordinal, *interval, progress, since_s, until_s)?;
        }
    }
    all.meters = u64::from(all.expected > 0);
    all.silent = u64::from(all.expected > 0 && all.stored == 0);
    Ok(all)
}

/// The window cut to what is known: nothing is due after the last stamp, and slots of days long
/// gone are no longer kept.
fn window(view: &dyn View, from_s: i64, to_s: i64) -> Result<Collection, Fault> {
    let now_s = last_stamp(view)?.seconds();
    let kept_s = now_s.saturating_sub(i64::from(KEPT_DAYS - 2) * super::slots::DAY_S);
    let (from_s, to_s) = (from_s.max(kept_s), to_s.min(now_s));
    Ok(Collection { from_s, to_s: to_s.max(from_s), ..Collection::default() })
}

/// From when on a meter owes values: an exclusive bound in seconds UTC.
fn since(meter: &Meter, interval: u16, progress: &Progress) -> i64 {
    let first_s = progress.series.iter().map(|series| series.first_s).min();
    let registered_s = meter.registered.seconds();
    first_s.map_or(registered_s, |end_s| registered_s.min(end_s - interval_s(interval)))
}

fn stored(
    view: &dyn View,
    ordinal: u32,
    interval: u16,
    progress: &Progress,
    from_s: i64,
    to_s: i64,
) -> Result<u64, Fault> {
    let count = |slots: &DaySlots| slots.count(interval, from_s, to_s);
    let recent: u64 = progress.recent.iter().map(count).sum();
    let key = |day: i32| (ordinal, interval, day).octets();
    let (first, last) = (key(day_of(from_s.saturating_add(1))), key(day_of(to_s)));
    let days = usize::try_from(KEPT_DAYS).unwrap_or(usize::MAX) + 2;
    let older = DAY_SLOTS.scan(view, &first, &after(&last), days)?;
    Ok(recent + older.iter().map(|(_, slots)| count(slots)).sum::<u64>())
}
