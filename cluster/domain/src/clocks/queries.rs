//! Questions about clocks, and of whom a row of their table is.
//!
//! Invariant: every answer is bounded by the number that was asked for.

use super::{CLOCK_ROW, CLOCKS, COUNTS, COUNTS_ROW, Clock, Counts, MARK_ROW, Row, WAITING};
use super::{WAITING_ROW, clock_row};
use crate::apply::View;
use crate::apply::table::{Key, after, end_of};
use crate::error::Fault;
use crate::units::Device;

/// The device of a row, when it is of one; the ordinal of a meter for a mark.
pub(crate) fn whose(key: &[u8], row: &[u8]) -> Result<Whose, Fault> {
    Ok(match key.split_first() {
        Some((&CLOCK_ROW, rest)) => Whose::Device(crate::regions::device(rest)?),
        Some((&WAITING_ROW, _)) => Whose::Device(WAITING.decode(row)?),
        Some((&MARK_ROW, rest)) => match rest.first_chunk() {
            Some(ordinal) => Whose::Meter(u32::from_be_bytes(*ordinal)),
            None => Whose::Nobody,
        },
        _ => Whose::Nobody,
    })
}

/// Of whom a row of this table is.
pub(crate) enum Whose {
    /// Of a device.
    Device(Device),
    /// Of a meter, by its ordinal.
    Meter(u32),
    /// Of the cluster.
    Nobody,
}

/// Clocks in numbers.
pub fn counts(view: &dyn View) -> Result<Counts, Fault> {
    Ok(COUNTS.get(view, &Row(COUNTS_ROW, Vec::new()))?.unwrap_or_default())
}

/// The clock of a device; none when there is nothing to say about it: it was right all the time,
/// or no task has measured it.
pub fn clock(view: &dyn View, device: &Device) -> Result<Option<Clock>, Fault> {
    CLOCKS.get(view, &clock_row(device))
}

/// At most `limit` clocks of devices behind one, concentrators first, in order of their names.
pub fn clocks(
    view: &dyn View,
    behind: Option<&Device>,
    limit: usize,
) -> Result<Vec<(Device, Clock)>, Fault> {
    let from = behind.map_or_else(|| vec![CLOCK_ROW], |one| after(&clock_row(one).octets()));
    let rows = CLOCKS.scan(view, &from, &end_of(&[CLOCK_ROW]), limit)?;
    let named = rows
        .into_iter()
        .map(|(key, clock)| Ok((crate::regions::device(key.get(1..).unwrap_or_default())?, clock)));
    named.collect()
}

/// At most `limit` devices whose clocks wait for a step: somebody proposes `Step`.
pub fn waiting(view: &dyn View, limit: usize) -> Result<Vec<Device>, Fault> {
    let rows = WAITING.scan(view, &[WAITING_ROW], &end_of(&[WAITING_ROW]), limit)?;
    Ok(rows.into_iter().map(|(_, device)| device).collect())
}
