//! The collection rate: slots that are stored, of the slots that were due.
//!
//! Due are all intervals that ended since a meter was registered, or since its first value when
//! that is older, whether it ever answered or not: a meter that never delivered counts against
//! the rate from its registration. Stored are slots with a measured value, each once; estimates
//! never count. Four numbers come of that: of the first pass, after the refill, overall (with what
//! people brought), and how the concentrators' rates are spread.

use super::gaps::KnownDay;
use super::ingest::KEPT_DAYS;
use super::slots::{DaySlots, day_of, interval_s};
use super::{DAY_SLOTS, ORIGINS, Progress, progress_of};
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
    /// Slots stored of those due, whatever way they came.
    pub stored: u64,
    /// Of those stored, slots that came because they were asked for as missing.
    pub refilled: u64,
    /// Of those stored, slots that people brought.
    pub brought: u64,
    /// Slots due and not stored for which the meter has answered: nobody holds them.
    pub missing: u64,
}

impl Collection {
    /// Slots stored of those due that came by themselves: by a push or a read on schedule.
    pub fn first_pass(&self) -> u64 {
        self.stored.saturating_sub(self.refilled).saturating_sub(self.brought)
    }

    /// The rate of the first pass in millionths; none when nothing was due.
    pub fn first_pass_ppm(&self) -> Option<u64> {
        (self.first_pass() * 1_000_000).checked_div(self.expected)
    }

    /// The rate after the refill in millionths; none when nothing was due.
    pub fn refilled_ppm(&self) -> Option<u64> {
        ((self.first_pass() + self.refilled) * 1_000_000).checked_div(self.expected)
    }

    /// The overall rate in millionths; none when nothing was due.
    pub fn rate_ppm(&self) -> Option<u64> {
        (self.stored * 1_000_000).checked_div(self.expected)
    }

    /// Adds what another of the same window has.
    pub fn add(&mut self, other: &Collection) {
        self.meters += other.meters;
        self.silent += other.silent;
        self.expected += other.expected;
        self.stored += other.stored;
        self.refilled += other.refilled;
        self.brought += other.brought;
        self.missing += other.missing;
    }
}

/// How the overall rates of concentrators lie, in millionths; those with nothing due are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// How many concentrators.
    pub concentrators: u64,
    /// The lowest rate.
    pub least_ppm: u64,
    /// A tenth of them lie at or below this.
    pub tenth_ppm: u64,
    /// Half of them lie at or below this.
    pub median_ppm: u64,
    /// Nine tenths of them lie at or below this.
    pub ninetieth_ppm: u64,
    /// The highest rate.
    pub most_ppm: u64,
}

/// How the overall rates of these lie (nearest rank); none when nothing was due of any.
pub fn spread<'a>(each: impl Iterator<Item = &'a Collection>) -> Option<Spread> {
    let mut rates: Vec<u64> = each.filter_map(Collection::rate_ppm).collect();
    rates.sort_unstable();
    let last = rates.len().checked_sub(1)?;
    // Nearest rank: the first that at least so many hundredths of all do not exceed.
    let rank = |hundredths: usize| {
        let place = (rates.len() * hundredths).div_ceil(100).saturating_sub(1).min(last);
        rates.get(place).copied().unwrap_or(0)
    };
    Some(Spread {
        concentrators: rates.len() as u64,
        least_ppm: rank(0),
        tenth_ppm: rank(10),
        median_ppm: rank(50),
        ninetieth_ppm: rank(90),
        most_ppm: rank(100),
    })
}

/// The collection of all meters, for interval ends with `from_s < end <= to_s`.
///
/// Reads three rows or more of every meter: seconds for a million of them.
pub fn collection(view: &dyn View, from_s: i64, to_s: i64) -> Result<Collection, Fault> {
    collection_with(view, from_s, to_s, |_, _| {})
}

/// As [`collection`], and shows each meter with its own.
pub fn collection_with(
    view: &dyn View,
    from_s: i64,
    to_s: i64,
    mut each: impl FnMut(&Meter, &Collection),
) -> Result<Collection, Fault> {
    let mut all = window(view, from_s, to_s)?;
    let mut behind: Option<String> = None;
    loop {
        let meters = assets::meters(view, behind.as_deref(), PAGE)?;
        for meter in &meters {
            let own = collection_of(view, meter, from_s, to_s)?;
            all.add(&own);
            each(meter, &own);
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
    for (interval, progress) in &profiles_of(view, meter.ordinal)? {
        let since_s = due_since(meter, *interval, progress).max(all.from_s);
        let until_s = meter.retired.map_or(all.to_s, |at| at.seconds().min(all.to_s));
        let step_s = interval_s(*interval);
        let due = until_s.div_euclid(step_s) - since_s.div_euclid(step_s);
        all.expected += u64::try_from(due).unwrap_or(0);
        if due > 0 {
            let span = (since_s, until_s);
            for day in known_days(view, meter.ordinal, *interval, progress, span)? {
                count(&mut all, &day, *interval, span);
            }
        }
    }
    all.meters = u64::from(all.expected > 0);
    all.silent = u64::from(all.expected > 0 && all.stored == 0);
    Ok(all)
}

fn count(all: &mut Collection, day: &KnownDay, interval: u16, (from_s, to_s): (i64, i64)) {
    let of = |slots: &DaySlots| slots.count(interval, from_s, to_s);
    all.stored += of(&day.stored);
    if let Some(origins) = &day.origins {
        all.refilled += of(&origins.refilled);
        all.brought += of(&origins.brought);
        all.missing += of(&origins.answered.without(&day.stored));
    }
}

/// The window cut to what is known: nothing is due after the last stamp, and slots of days long
/// gone are no longer kept.
pub(super) fn window(view: &dyn View, from_s: i64, to_s: i64) -> Result<Collection, Fault> {
    let now_s = last_stamp(view)?.seconds();
    let kept_s = now_s.saturating_sub(i64::from(KEPT_DAYS - 2) * super::slots::DAY_S);
    let (from_s, to_s) = (from_s.max(kept_s), to_s.min(now_s));
    Ok(Collection { from_s, to_s: to_s.max(from_s), ..Collection::default() })
}

/// The profiles of a meter; one that has delivered none owes that of the default interval.
pub(super) fn profiles_of(view: &dyn View, ordinal: u32) -> Result<Vec<(u16, Progress)>, Fault> {
    let mut profiles = progress_of(view, ordinal)?;
    profiles.retain(|(interval, _)| *interval != 0);
    if profiles.is_empty() {
        profiles.push((DEFAULT_INTERVAL_MINUTES, Progress::default()));
    }
    Ok(profiles)
}

/// From when on a meter owes values: an exclusive bound in seconds UTC.
pub(super) fn due_since(meter: &Meter, interval: u16, progress: &Progress) -> i64 {
    let first_s = progress.series.iter().map(|series| series.first_s).min();
    let registered_s = meter.registered.seconds();
    first_s.map_or(registered_s, |end_s| registered_s.min(end_s - interval_s(interval)))
}

/// What is known of the days of a profile that a span touches, in order of the days.
pub(super) fn known_days(
    view: &dyn View,
    ordinal: u32,
    interval: u16,
    progress: &Progress,
    (from_s, to_s): (i64, i64),
) -> Result<Vec<KnownDay>, Fault> {
    let (first, last) = (day_of(from_s.saturating_add(1)), day_of(to_s));
    let key = |day: i32| (ordinal, interval, day).octets();
    let (from, to) = (key(first), after(&key(last)));
    let most = usize::try_from(KEPT_DAYS).unwrap_or(usize::MAX) + 2;
    let older = DAY_SLOTS.scan(view, &from, &to, most)?.into_iter().map(|(_, slots)| slots);
    let recent = progress.recent.iter().filter(|day| (first..=last).contains(&day.day));
    let known = |stored: DaySlots| KnownDay { day: stored.day, stored, origins: None };
    let mut days: Vec<KnownDay> = older.chain(recent.cloned()).map(known).collect();
    for (_, origins) in ORIGINS.scan(view, &from, &to, most)? {
        let day = origins.answered.day;
        match days.iter_mut().find(|known| known.day == day) {
            Some(known) => known.origins = Some(origins),
            None => {
                let stored = DaySlots::empty(day);
                days.push(KnownDay { day, stored, origins: Some(origins) });
            }
        }
    }
    days.sort_by_key(|known| known.day);
    Ok(days)
}
