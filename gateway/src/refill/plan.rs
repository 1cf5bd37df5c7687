//! What is asked for to fill gaps, and what of an answer fills them. Pure.
//!
//! Invariants: 1. every gap is in exactly one ask for its meter; 2. a read of a meter spans no more
//! than one chunk, a read of the store no more rows than [`STORE_ROWS`]; 3. a row that is stored
//! already is not handed on: the cluster gets what it lacks and nothing twice.

use std::collections::BTreeSet;
use std::ops::Range;

use domain::readings::{Answered, Batch, BatchBuilder, Hole, flag, slots_of};

use crate::upcall::MeterHoles;

/// The most rows of one answer of a concentrator's store: some 14,000 octets, which a slow link
/// carries within its answer time.
pub(super) const STORE_ROWS: i64 = 400;

/// Gaps so few slots apart are asked for together: an exchange costs more than these rows.
const JOINED_SLOTS: i64 = 32;

/// The most gaps in one ask.
const MAX_JOINED: usize = 512;

/// A read of the concentrator's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreAsk {
    /// First interval end.
    pub from_s: i64,
    /// Last interval end.
    pub to_s: i64,
    /// Places of the meters.
    pub meters: Range<usize>,
}

/// A read of a meter's load profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MeterAsk {
    /// Which profile.
    pub interval_minutes: u16,
    /// First interval end.
    pub from_s: i64,
    /// Last interval end.
    pub to_s: i64,
    /// The gaps in it: for these the meter answers.
    pub gaps: Vec<Answered>,
}

/// A slot: ordinal, minutes of the interval, interval end.
pub(crate) type Slot = (u32, u16, i64);

fn step_s(interval_minutes: u16) -> i64 {
    i64::from(interval_minutes.max(1)) * 60
}

/// The reads of the store that cover the gaps of these meters, meters beside each other together.
pub(crate) fn store_asks(meters: &[MeterHoles]) -> Vec<StoreAsk> {
    let bounds = |meter: &MeterHoles| {
        let from_s = meter.holes.iter().map(|hole| hole.from_s + step_s(hole.interval_minutes));
        let to_s = meter.holes.iter().map(|hole| hole.to_s).max()?;
        let step = meter.holes.iter().map(|hole| step_s(hole.interval_minutes)).min()?;
        Some((from_s.min()?, to_s, step))
    };
    let mut asks = Vec::new();
    let mut start = 0;
    while start < meters.len() {
        let mut end = start + 1;
        let Some((mut from_s, mut to_s, mut step)) = meters.get(start).and_then(bounds) else {
            start = end;
            continue;
        };
        while let Some((from, to, other)) = meters.get(end).and_then(bounds) {
            let (from, to, least) = (from_s.min(from), to_s.max(to), step.min(other));
            let count = i64::try_from(end - start + 1).unwrap_or(i64::MAX);
            if ((to - from) / least + 1).saturating_mul(count) > STORE_ROWS {
                break;
            }
            (from_s, to_s, step) = (from, to, least);
            end += 1;
        }
        // A meter whose gaps reach far is asked for piece by piece.
        let count = i64::try_from(end - start).unwrap_or(i64::MAX);
        let piece_s = (STORE_ROWS / count).max(1) * step;
        let mut at_s = from_s;
        while at_s <= to_s {
            let last_s = to_s.min(at_s + piece_s - step);
            asks.push(StoreAsk { from_s: at_s, to_s: last_s, meters: start..end });
            at_s = last_s + step;
        }
        start = end;
    }
    asks
}

/// The reads of a meter's profile that cover its gaps, in order of profile and time.
pub(crate) fn meter_asks(holes: &[Hole], chunk_s: i64) -> Vec<MeterAsk> {
    let mut asks: Vec<MeterAsk> = Vec::new();
    for hole in holes {
        let interval_minutes = hole.interval_minutes;
        let step = step_s(interval_minutes);
        let chunk_s = (chunk_s / step).max(1) * step;
        let mut from_s = hole.from_s;
        while from_s < hole.to_s {
            let to_s = hole.to_s.min(from_s + chunk_s);
            let gap = Answered { ordinal: hole.ordinal, interval_minutes, from_s, to_s };
            match asks.last_mut() {
                Some(last)
                    if last.interval_minutes == interval_minutes
                        && from_s - last.to_s <= JOINED_SLOTS * step
                        && to_s - (last.from_s - step) <= chunk_s
                        && last.gaps.len() < MAX_JOINED =>
                {
                    last.to_s = to_s;
                    last.gaps.push(gap);
                }
                _ => asks.push(MeterAsk {
                    interval_minutes,
                    from_s: from_s + step,
                    to_s,
                    gaps: vec![gap],
                }),
            }
            from_s = to_s;
        }
    }
    asks
}

/// Every slot of these gaps.
pub(crate) fn slots(holes: &[Hole]) -> BTreeSet<Slot> {
    let of = |hole: &Hole| {
        let (ordinal, interval) = (hole.ordinal, hole.interval_minutes);
        slots_of(hole).map(move |end_s| (ordinal, interval, end_s))
    };
    holes.iter().flat_map(of).collect()
}

/// The rows that are wanted, and the slots that they fill. Rows of an interval of which a meter
/// has no gap are kept: nobody knew of that profile.
pub(crate) fn wanted_rows(
    batches: &[Batch],
    wanted: &BTreeSet<Slot>,
) -> (Vec<Batch>, BTreeSet<Slot>) {
    let (mut kept, mut filled) = (Vec::new(), BTreeSet::new());
    for batch in batches {
        let Ok(rows) = batch.rows() else { continue };
        let interval = batch.interval_minutes();
        let mut builder = BatchBuilder::new(interval, batch.registers().to_vec());
        for row in rows.iter() {
            let slot = (row.ordinal, interval, row.end_s);
            let of_profile = (row.ordinal, interval, i64::MIN)..=(row.ordinal, interval, i64::MAX);
            if wanted.contains(&slot) || wanted.range(of_profile).next().is_none() {
                builder.push(row.ordinal, row.end_s, row.flag, row.values);
                let measured = row.flag & flag::ESTIMATED == 0;
                if measured && row.values.iter().any(Option::is_some) {
                    filled.insert(slot);
                }
            }
        }
        if !builder.is_empty() {
            kept.push(builder.finish());
        }
    }
    (kept, filled)
}

/// What is left of gaps when some slots of them are filled.
pub(crate) fn without(holes: &[Hole], filled: &BTreeSet<Slot>) -> Vec<Hole> {
    let mut left: Vec<Hole> = Vec::new();
    for hole in holes {
        let step = step_s(hole.interval_minutes);
        let mut open: Option<Hole> = None;
        for end_s in slots_of(hole) {
            let is_filled = filled.contains(&(hole.ordinal, hole.interval_minutes, end_s));
            match (&mut open, is_filled) {
                (Some(open), false) => open.to_s = end_s,
                (None, false) => {
                    open = Some(Hole { from_s: end_s - step, to_s: end_s, ..hole.clone() });
                }
                (_, true) => left.extend(open.take()),
            }
        }
        left.extend(open);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::{STORE_ROWS, meter_asks, slots, store_asks, wanted_rows, without};
    use crate::upcall::MeterHoles;
    use domain::Obis;
    use domain::readings::{BatchBuilder, Hole, Register, flag};
    use std::collections::BTreeSet;

    const DAY: i64 = 86_400;

    fn hole(ordinal: u32, from_s: i64, to_s: i64) -> Hole {
        let serial = format!("M{ordinal}");
        Hole { serial, ordinal, interval_minutes: 15, from_s, to_s, newest_s: None }
    }

    fn meter(ordinal: u32, spans: &[(i64, i64)]) -> MeterHoles {
        let holes = spans.iter().map(|(from, to)| hole(ordinal, *from, *to)).collect();
        let serial = format!("M{ordinal}");
        MeterHoles { serial, ordinal, profile: Obis::LOAD_PROFILE, holes }
    }

    #[test]
    fn near_gaps_are_asked_for_together_and_far_ones_apart() {
        for (spans, chunk_s, expect) in [
            (vec![(0, 900)], DAY, vec![(900, 900, 1)]),
            (vec![(0, 900), (1800, 3600)], DAY, vec![(900, 3600, 2)]),
            (vec![(0, 900), (33 * 900, 34 * 900)], DAY, vec![(900, 34 * 900, 2)]),
            (vec![(0, 900), (34 * 900, 35 * 900)], DAY, vec![(900, 900, 1), (31_500, 31_500, 1)]),
            (
                vec![(0, 3 * DAY)],
                DAY,
                vec![(900, DAY, 1), (DAY + 900, 2 * DAY, 1), (2 * DAY + 900, 3 * DAY, 1)],
            ),
            (vec![(0, 1800), (2700, 3600)], 1800, vec![(900, 1800, 1), (3600, 3600, 1)]),
            (vec![(0, 1800)], 1, vec![(900, 900, 1), (1800, 1800, 1)]),
        ] {
            let holes: Vec<Hole> = spans.iter().map(|(from, to)| hole(1, *from, *to)).collect();
            let asks = meter_asks(&holes, chunk_s);
            let found: Vec<_> =
                asks.iter().map(|ask| (ask.from_s, ask.to_s, ask.gaps.len())).collect();
            assert_eq!(found, expect, "{spans:?}");
            // Every slot is answered for once, and none that is no gap.
            let answered = asks.iter().flat_map(|ask| &ask.gaps);
            let answered: Vec<Hole> = answered.map(|gap| hole(1, gap.from_s, gap.to_s)).collect();
            assert_eq!(slots(&answered), slots(&holes));
        }
    }

    #[test]
    fn the_store_is_asked_for_many_meters_and_bounded_rows() {
        let day = |ordinal| meter(ordinal, &[(0, DAY)]);
        let asks = store_asks(&(0..10).map(day).collect::<Vec<_>>());
        let meters: Vec<_> = asks.iter().map(|ask| ask.meters.clone()).collect();
        assert_eq!(meters, [0..4, 4..8, 8..10]);
        let far = store_asks(&[meter(1, &[(0, 900), (20 * DAY, 20 * DAY + 900)])]);
        assert!(far.len() > 4 && far.iter().all(|ask| ask.meters == (0..1)));
        let covered: i64 = far.iter().map(|ask| (ask.to_s - ask.from_s) / 900 + 1).sum();
        assert_eq!(covered, 20 * 96 + 1);
        assert!(far.iter().all(|ask| (ask.to_s - ask.from_s) / 900 < STORE_ROWS));
        assert!(store_asks(&[]).is_empty());
        assert!(store_asks(&[meter(1, &[])]).is_empty());
    }

    #[test]
    fn only_what_is_lacking_is_handed_on() {
        let wanted = slots(&[hole(1, 900, 2700)]);
        let register = Register { obis: Obis::ACTIVE_IMPORT, scaler: 0, unit: 30 };
        let mut rows = BatchBuilder::new(15, vec![register]);
        for (ordinal, end_s, flag, value) in [
            (1, 900, 0, Some(1)),
            (1, 1800, 0, Some(2)),
            (1, 2700, flag::ESTIMATED, Some(3)),
            (1, 3600, 0, Some(4)),
            (2, 900, 0, Some(5)),
        ] {
            rows.push(ordinal, end_s, flag, &[value]);
        }
        let (kept, filled) = wanted_rows(&[rows.finish()], &wanted);
        let rows = kept[0].rows().unwrap();
        let ends: Vec<_> = rows.iter().map(|row| (row.ordinal, row.end_s)).collect();
        assert_eq!(ends, [(1, 1800), (1, 2700), (2, 900)]);
        assert_eq!(filled, BTreeSet::from([(1, 15, 1800), (2, 15, 900)]));
        let left = without(&[hole(1, 900, 2700)], &filled);
        assert_eq!(left, [hole(1, 1800, 2700)]);
        let middle = BTreeSet::from([(1, 15, 1800)]);
        let left = without(&[hole(1, 0, 2700)], &middle);
        assert_eq!(left, [hole(1, 0, 900), hole(1, 1800, 2700)]);
    }
}
