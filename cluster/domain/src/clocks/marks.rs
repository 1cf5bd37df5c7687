//! Which times of a meter's clock a setting touched: where it stood before and behind.
//!
//! Invariants: 1. A mark is short, because a command acts soon after it was sent. 2. As of an index
//! of the log the same marks count for ever. 3. What was measured is not touched: a mark says what
//! else is to be known of a row.

use serde::{Deserialize, Serialize};

use super::{MARK_ROW, Row};
use crate::apply::table::{Key, Typed, end_of};
use crate::apply::{Table, Tx, View};
use crate::commands::{Command, MAX_SHIFT_S, Order};
use crate::error::Fault;
use crate::units::CommandId;

/// The most marks that one question is answered with.
pub const MAX_MARKS: usize = 4_096;

/// A clock that is off by less is right and is left alone, milliseconds: it counts in seconds.
pub(super) const RIGHT_MS: i64 = 1_000;

/// A device acts within so many seconds after the command was sent: it is asked no longer.
const ACTS_WITHIN_S: i64 = 180;

/// The longest mark in seconds: what is not known exactly lies within one shift around it.
const LONGEST_S: i64 = ACTS_WITHIN_S + 2 * MAX_SHIFT_S as i64 + 2;

/// Times by a meter's own clock, both included, at one of which it was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// From, seconds UTC as the meter's clock showed them.
    pub from_s: i64,
    /// To.
    pub to_s: i64,
    /// The command that set it.
    pub command: CommandId,
    /// Index of the entry that said so.
    pub index: u64,
}

static MARKS: Typed<Row, Mark> = Typed::new(Table::Clocks);

impl Mark {
    /// Whether an interval that ends then, of so many minutes, contains a time of the mark.
    pub fn touches(&self, end_s: i64, interval_minutes: u16) -> bool {
        let begin_s = end_s.saturating_sub(i64::from(interval_minutes) * 60);
        self.from_s <= end_s && self.to_s > begin_s
    }
}

fn row(ordinal: u32, from_s: i64, index: u64) -> Row {
    let from = (from_s.cast_unsigned() ^ (1 << 63)).to_be_bytes();
    Row(MARK_ROW, [&ordinal.octets()[..], &from, &index.to_be_bytes()].concat())
}

/// Marks where a clock stood before a command set it, and behind. An offset that is not known lies
/// within the shift that the order allowed.
pub(super) fn touched(
    tx: &mut Tx<'_>,
    ordinal: u32,
    command: &Command,
    before_ms: Option<i64>,
    after_ms: i64,
) -> Result<(), Fault> {
    let sent_s = command.sent.unwrap_or(tx.stamp).seconds();
    let until_s = tx.stamp.seconds().clamp(sent_s, sent_s.saturating_add(ACTS_WITHIN_S));
    let span = |offset_ms: i64| {
        let from_s = sent_s.saturating_add(offset_ms.div_euclid(1_000));
        // Rounded up: a mark includes its ends.
        let to_s = until_s.saturating_add(offset_ms.saturating_add(999).div_euclid(1_000));
        (from_s, to_s.saturating_add(1))
    };
    let before = match (before_ms, &command.order) {
        (Some(before_ms), _) => Some(span(before_ms)),
        (None, Order::Clock { limit_s, set: false }) => {
            let within_s = i64::from(*limit_s);
            Some((sent_s.saturating_sub(within_s), until_s.saturating_add(within_s)))
        }
        // Where it stood nobody knows.
        (None, _) => None,
    };
    let index = tx.index;
    for (from_s, to_s) in before.into_iter().chain([span(after_ms)]) {
        let mark = Mark { from_s, to_s, command: command.id, index };
        MARKS.put(tx, &row(ordinal, from_s, index), &mark)?;
    }
    Ok(())
}

/// Marks of a meter that touch an interval of so many minutes with `from_s < end <= to_s`, in order
/// of time, [`MAX_MARKS`] at most; those of entries up to `as_of` only when it is given.
pub fn marks(
    view: &dyn View,
    ordinal: u32,
    interval_minutes: u16,
    (from_s, to_s): (i64, i64),
    as_of: Option<u64>,
) -> Result<Vec<Mark>, Fault> {
    let first_s = from_s.saturating_sub(i64::from(interval_minutes) * 60).saturating_sub(LONGEST_S);
    let from = row(ordinal, first_s, 0).octets();
    let to = end_of(&row(ordinal, to_s, u64::MAX).octets());
    let found = MARKS.scan(view, &from, &to, MAX_MARKS)?;
    let counts = |mark: &Mark| as_of.is_none_or(|as_of| mark.index <= as_of);
    Ok(found.into_iter().map(|(_, mark)| mark).filter(counts).collect())
}

#[cfg(test)]
mod tests {
    use super::Mark;
    use crate::units::ProposalId;

    fn mark(from_s: i64, to_s: i64) -> Mark {
        Mark { from_s, to_s, command: ProposalId([0; 16]), index: 1 }
    }

    #[test]
    fn a_mark_touches_the_interval_in_which_it_lies_and_no_other() {
        for (from_s, to_s, touched) in [
            // Within one interval.
            (1_000, 1_005, vec![1_800]),
            // The end of an interval belongs to it, not to the next one.
            (900, 900, vec![900]),
            (901, 901, vec![1_800]),
            // Over an end: both.
            (895, 902, vec![900, 1_800]),
        ] {
            let ends = [0, 900, 1_800, 2_700];
            let found = ends.into_iter().filter(|end_s| mark(from_s, to_s).touches(*end_s, 15));
            assert_eq!(found.collect::<Vec<i64>>(), touched, "{from_s} to {to_s}");
        }
    }
}
