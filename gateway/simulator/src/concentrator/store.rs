//! What a concentrator holds of its meters' rows, for a head-end that lacks some
//! (docs/reference/concentrator.md, store); and the time in which it was off and collected nothing.
//!
//! Rows are computed again whenever they are asked for. Invariants: nothing of the time in which it
//! was off, nothing older than its store reaches; an answer has at most [`ROWS`] rows.

use cosem::{Data, DataAccessError, DateTime, Selection};

use super::{Concentrator, Now};
use crate::field::PROFILE_DAYS;
use crate::happenings::What;
use crate::mix;
use crate::push;
use crate::state::Stretch;

/// The selection of meters and a range.
const SELECTOR: u8 = 128;
/// The most rows of an answer: they fit a frame.
const ROWS: i64 = 1_500;
/// The most meters of a question.
const METERS: usize = 1_024;

/// The interval ends at which a concentrator was off, exclusive and inclusive, of a history of
/// `span`: from, to, seconds between two rows. It lies anywhere in it, but for two rows at its
/// beginning.
#[must_use]
pub fn outage((from_s, to_s, period): (i64, i64, i64), hold_s: i64, seed: u64) -> (i64, i64) {
    let first = from_s.div_euclid(period) + 3;
    let slots = hold_s / period;
    let last = (to_s.div_euclid(period) - slots).max(first);
    let room = u64::try_from(last - first).unwrap_or(0);
    let begin = first + i64::try_from(mix::between(mix::at(seed, 43, 0), 0, room)).unwrap_or(0);
    (begin * period, (begin + slots) * period)
}

impl Concentrator {
    /// From when to when the store reaches: {first interval end, last interval end}.
    pub(super) fn store_bounds(&self, now: Now) -> Data {
        let (from_s, to_s) = self.held(now);
        let time = |at_s| Data::octets(&DateTime::from_unix_s(at_s, 0, 0).to_octets());
        Data::Structure(vec![time(from_s), time(to_s)])
    }

    /// Rows of some meters in a range of interval ends.
    pub(super) fn stored_rows(
        &self,
        selection: &Selection,
        now: Now,
    ) -> Result<Data, DataAccessError> {
        let refused = DataAccessError::ScopeOfAccessViolated;
        let Data::Structure(fields) = &selection.parameters else { return Err(refused) };
        let [from, to, serials] = fields.as_slice() else { return Err(refused) };
        let time = |data: &Data| data.as_date_time()?.to_unix_s(0);
        let (Some(from_s), Some(to_s)) = (time(from), time(to)) else { return Err(refused) };
        let serials = serials.as_array().filter(|_| selection.selector == SELECTOR);
        let serials = serials.filter(|all| all.len() <= METERS).ok_or(refused)?;
        let period = i64::from(self.settings.interval_s.max(1));
        let (oldest_s, newest_s) = self.held(now);
        let first = from_s.max(oldest_s).div_euclid(period);
        let last = to_s.min(newest_s).div_euclid(period);
        let slots = (last - first + 1).max(0);
        let count = i64::try_from(serials.len()).unwrap_or(i64::MAX);
        if slots.saturating_mul(count) > ROWS {
            return Err(refused);
        }
        let mut all = Vec::new();
        let mut total = 0;
        for serial in serials {
            let wanted = |meter: &crate::field::MeterModel| {
                serial.as_octets() == Some(meter.serial.as_bytes())
            };
            let Some(place) = self.model.meters.iter().position(wanted) else { continue };
            let stretch = Stretch {
                sequence: 0,
                from_s: first * period,
                to_s: last * period,
                interval_s: self.settings.interval_s,
                first_meter: u32::try_from(place).unwrap_or(u32::MAX),
                meters: 1,
                what: What::Profile,
            };
            if slots == 0 {
                continue;
            }
            for (serial, mut rows) in push::rows(&self.model, &stretch, &self.memory.meters) {
                rows.retain(|row| from_s <= row.end_s && row.end_s <= to_s);
                if let Some((off_s, on_s)) = self.memory.off {
                    rows.retain(|row| row.end_s <= off_s || row.end_s > on_s);
                }
                total += rows.len();
                all.push((serial, rows));
            }
        }
        Ok(push::stored(total, self.settings.interval_s, &all))
    }

    /// First and last interval end that the store reaches.
    fn held(&self, now: Now) -> (i64, i64) {
        let now_s = self.field_now_s(now);
        let first_s = self.memory.first_s.unwrap_or(self.first_s);
        let planned_s = self.memory.planned_to_s.unwrap_or(first_s);
        (first_s.max(now_s - PROFILE_DAYS * 86_400), planned_s)
    }
}

#[cfg(test)]
mod tests {
    use super::outage;

    #[test]
    fn an_outage_lies_in_the_history() {
        let (from_s, to_s) = (1_795_305_600, 1_795_305_600 + 86_400);
        let mut begins = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let (off_s, on_s) = outage((from_s, to_s, 900), 6 * 3_600, seed);
            assert_eq!((on_s - off_s, off_s % 900), (6 * 3_600, 0));
            assert!(off_s >= from_s + 2 * 900 && on_s <= to_s, "{off_s} {on_s}");
            begins.insert(off_s);
        }
        assert!(begins.len() > 30, "{}", begins.len());
    }
}
