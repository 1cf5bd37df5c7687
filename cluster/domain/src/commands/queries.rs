//! Questions about commands: one by its id, those of a device, the newest, those that are due.
//!
//! Invariant: every answer is bounded by the number that was asked for.

use super::{COMMANDS, Command, EXPIRY, OUTBOX, RECENT};
use crate::apply::View;
use crate::apply::table::{END, Key, after, end_of};
use crate::error::Fault;
use crate::units::{CommandId, Device, Stamp};

/// A command by its id.
pub fn command(view: &dyn View, id: &CommandId) -> Result<Option<Command>, Fault> {
    COMMANDS.get(view, id)
}

/// At most `limit` open commands of a device, oldest first: queued ones, and sent ones that wait
/// for their answer. What a channel looks at when it wakes.
pub fn outbox(view: &dyn View, device: &Device, limit: usize) -> Result<Vec<Command>, Fault> {
    let prefix = device.octets();
    let rows = OUTBOX.scan(view, &prefix, &end_of(&prefix), limit)?;
    resolve(view, rows)
}

/// At most `limit` commands that arrived before a log index (none: from the newest), newest first.
pub fn recent(view: &dyn View, before: Option<u64>, limit: usize) -> Result<Vec<Command>, Fault> {
    let from = before.map_or_else(Vec::new, |index| after(&(!index).octets()));
    resolve(view, RECENT.scan(view, &from, END, limit)?)
}

/// At most `limit` open commands of all devices, the next to expire first.
pub fn open(view: &dyn View, limit: usize) -> Result<Vec<Command>, Fault> {
    resolve(view, EXPIRY.scan(view, &[], END, limit)?)
}

/// At most `limit` open commands whose time is over at a stamp: somebody proposes `Expire`.
pub fn due_expiries(view: &dyn View, stamp: Stamp, limit: usize) -> Result<Vec<CommandId>, Fault> {
    let to = stamp.0.saturating_add(1).octets();
    let rows = EXPIRY.scan(view, &[], &to, limit)?;
    Ok(rows.into_iter().map(|(_, id)| id).collect())
}

fn resolve(view: &dyn View, rows: Vec<(Vec<u8>, CommandId)>) -> Result<Vec<Command>, Fault> {
    let mut commands = Vec::with_capacity(rows.len());
    for (_, id) in rows {
        commands.extend(COMMANDS.get(view, &id)?);
    }
    Ok(commands)
}
