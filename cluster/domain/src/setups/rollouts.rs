//! Rollouts: the same done to many concentrators, wave by wave, and stopped when too much fails.
//!
//! Begun by an operator, carried on by steps that the leader asks for; each step orders one device,
//! ends a wave or ends the rollout. What becomes of the orders is the outbox's.
//!
//! Invariants: 1. A device is ordered once in a rollout. 2. No order of a wave is made before the
//! wave before it is over. 3. When more of a wave failed than was allowed, nothing more is ordered.
//! 4. A wave ends: what has no outcome a while after its order's time has failed.

use serde::{Deserialize, Serialize};

use super::{Row, active, check_reason, check_trial, push_order};
use crate::apply::table::{Key, Typed, end_of};
use crate::apply::{Done, Table, Tx, View};
use crate::commands::{self, Command, Order, State};
use crate::error::{Fault, Stop, refuse};
use crate::units::{CommandId, Device, Stamp};

/// The most devices of one rollout.
pub const MAX_TARGETS: usize = 4_096;
/// The most devices of one wave.
const MAX_WAVE: u16 = 256;
/// The most rollouts that are not over.
const MAX_OPEN: usize = 16;
/// Bounds of the time in which an order may be sent, seconds.
const WAIT_S: std::ops::RangeInclusive<u32> = 10..=86_400;
/// So long after its order's time an outcome is awaited, beside the trial, seconds.
const GRACE_S: u64 = 120;

/// How a rollout goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What is done.
    pub work: Work,
    /// So many devices at a time.
    pub wave: u16,
    /// When more of a wave than this share in percent failed, nothing more is ordered.
    pub stop_percent: u8,
    /// So long each order may wait for its device, seconds.
    pub wait_s: u32,
}

/// What is done to each device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Set it to what is wanted of it when its turn comes.
    Push {
        /// So long a new address has to prove itself, seconds.
        trial_s: u16,
    },
    /// Restart it.
    Restart,
    /// Read all its parameters, so that it shows where they differ.
    Read,
}

/// What an operator wants of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Steering {
    /// Order nothing more for now.
    Pause,
    /// Go on, also after it stopped by itself.
    Resume,
    /// Order nothing more, and take back what was not sent.
    Abort,
}

/// How a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It goes on by itself.
    Running,
    /// An operator paused it.
    Paused,
    /// Too much of a wave failed.
    Stopped,
    /// An operator ended it.
    Aborted,
    /// Every device had its turn.
    Done,
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Log index of its begin.
    pub id: u64,
    /// How it goes.
    pub plan: Plan,
    /// How it stands.
    pub phase: Phase,
    /// How many devices.
    pub total: u16,
    /// The next of them to be ordered.
    pub next: u16,
    /// Number of the wave, from 1.
    pub wave: u16,
    /// Where the wave began.
    pub wave_from: u16,
    /// The first device behind the wave.
    pub wave_to: u16,
    /// Ordered in this wave and without outcome.
    pub open: u16,
    /// How many of the wave failed.
    pub wave_failed: u16,
    /// How many were read back as ordered.
    pub verified: u16,
    /// How many failed.
    pub failed: u16,
    /// What has no outcome then has failed.
    pub overdue: Stamp,
    /// Who began it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub begun: Stamp,
    /// When it was over.
    pub ended: Option<Stamp>,
    /// Who paused, resumed or aborted it last, and why.
    pub steered: Option<(String, String)>,
}

/// A device of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its logical device name.
    pub concentrator: String,
    /// What became of it.
    pub fate: Fate,
    /// The order, when one was made.
    pub command: Option<CommandId>,
}

/// What became of a device of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// Its turn has not come.
    Waiting,
    /// Ordered.
    Ordered,
    /// Read back as ordered, or read.
    Verified,
    /// It came to nothing: a code of a refusal or of a failure, or the state of its command.
    Failed(String),
}

/// Rollouts, newest first.
const ROLLOUTS: u8 = 6;
/// Their devices by rollout and place.
const TARGETS: u8 = 7;
/// Place by command.
const ORDERS: u8 = 8;
/// Those that are not over.
const OPEN: u8 = 9;

static HEADS: Typed<Row, Rollout> = Typed::new(Table::Setups);
static PLACES: Typed<Row, Target> = Typed::new(Table::Setups);
static BY_COMMAND: Typed<Row, (u64, u16)> = Typed::new(Table::Setups);
static OPEN_IDS: Typed<Row, u64> = Typed::new(Table::Setups);

fn head(id: u64) -> Row {
    Row(ROLLOUTS, (!id).octets())
}

fn place(id: u64, place: u16) -> Row {
    Row(TARGETS, [id.octets(), place.octets()].concat())
}

fn order_row(id: &CommandId) -> Row {
    Row(ORDERS, id.0.to_vec())
}

pub(super) fn begin(
    tx: &mut Tx<'_>,
    targets: &[String],
    plan: &Plan,
    reason: &str,
) -> Result<Done, Stop> {
    check_reason(reason)?;
    let bad = |text: String| Err(refuse("bad_rollout", text));
    if !(1..=MAX_TARGETS).contains(&targets.len()) {
        return bad(format!("1 to {MAX_TARGETS} concentrators"));
    }
    if !(1..=MAX_WAVE).contains(&plan.wave) {
        return bad(format!("a wave of 1 to {MAX_WAVE}"));
    }
    if plan.stop_percent > 100 {
        return bad("a share of 0 to 100 percent".to_owned());
    }
    if !WAIT_S.contains(&plan.wait_s) {
        return bad("an order waits for 10 s to a day".to_owned());
    }
    if let Work::Push { trial_s } = plan.work {
        check_trial(trial_s)?;
    }
    let open = OPEN_IDS.scan(tx, &[OPEN], &end_of(&[OPEN]), MAX_OPEN)?;
    if open.len() >= MAX_OPEN {
        return Err(refuse("setups_full", format!("{MAX_OPEN} rollouts are not over")));
    }
    let mut sorted: Vec<&String> = targets.iter().collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return bad("a concentrator twice".to_owned());
    }
    let id = tx.index;
    for (number, concentrator) in (0_u16..).zip(targets) {
        active(tx, concentrator)?;
        let concentrator = concentrator.clone();
        let target = Target { concentrator, fate: Fate::Waiting, command: None };
        PLACES.put(tx, &place(id, number), &target)?;
    }
    let total = u16::try_from(targets.len()).unwrap_or(u16::MAX);
    let rollout = Rollout {
        id,
        plan: plan.clone(),
        phase: Phase::Running,
        total,
        next: 0,
        wave: 1,
        wave_from: 0,
        wave_to: plan.wave.min(total),
        open: 0,
        wave_failed: 0,
        verified: 0,
        failed: 0,
        overdue: tx.stamp,
        by: tx.author.name(),
        reason: reason.to_owned(),
        begun: tx.stamp,
        ended: None,
        steered: None,
    };
    put(tx, &rollout)?;
    Ok(Done::Rollout { id })
}

/// Writes a rollout, and whether it is open.
fn put(tx: &mut Tx<'_>, rollout: &Rollout) -> Result<(), Fault> {
    let open = Row(OPEN, rollout.id.octets());
    match rollout.ended {
        None => OPEN_IDS.put(tx, &open, &rollout.id)?,
        Some(_) => OPEN_IDS.delete(tx, &open),
    }
    HEADS.put(tx, &head(rollout.id), rollout)
}

fn known(view: &dyn View, id: u64) -> Result<Rollout, Stop> {
    rollout(view, id)?.ok_or_else(|| refuse("unknown_rollout", id.to_string()))
}

pub(super) fn steer(tx: &mut Tx<'_>, id: u64, to: Steering, reason: &str) -> Result<Done, Stop> {
    check_reason(reason)?;
    let mut rollout = known(tx, id)?;
    if rollout.ended.is_some() {
        return Err(refuse("rollout_over", id.to_string()));
    }
    rollout.phase = match to {
        Steering::Pause => Phase::Paused,
        Steering::Resume => Phase::Running,
        Steering::Abort => Phase::Aborted,
    };
    if to == Steering::Resume {
        // Whoever lets it go on has seen what failed.
        rollout.wave_failed = 0;
    }
    rollout.steered = Some((tx.author.name(), reason.to_owned()));
    if to == Steering::Abort {
        rollout.ended = Some(tx.stamp);
        put(tx, &rollout)?;
        for number in rollout.wave_from..rollout.next {
            let Some(target) = PLACES.get(tx, &place(id, number))? else { continue };
            let Some(command) = target.command.filter(|_| target.fate == Fate::Ordered) else {
                continue;
            };
            commands::take_back(tx, &command)?;
        }
        return Ok(Done::Noted);
    }
    put(tx, &rollout)?;
    Ok(Done::Noted)
}

pub(super) fn step(tx: &mut Tx<'_>, id: u64) -> Result<Done, Stop> {
    let mut rollout = known(tx, id)?;
    if !is_due(&rollout, tx.stamp) {
        return Err(refuse("not_due", id.to_string()));
    }
    if rollout.next < rollout.wave_to {
        return order_next(tx, rollout);
    }
    if rollout.open > 0 {
        return give_up(tx, rollout);
    }
    let size = u32::from(rollout.wave_to - rollout.wave_from);
    if u32::from(rollout.wave_failed) * 100 > u32::from(rollout.plan.stop_percent) * size {
        rollout.phase = Phase::Stopped;
    } else if rollout.next == rollout.total {
        (rollout.phase, rollout.ended) = (Phase::Done, Some(tx.stamp));
    } else {
        rollout.wave += 1;
        rollout.wave_from = rollout.next;
        rollout.wave_to = rollout.next.saturating_add(rollout.plan.wave).min(rollout.total);
        rollout.wave_failed = 0;
    }
    put(tx, &rollout)?;
    Ok(Done::Noted)
}

/// Orders the next device; one that cannot be ordered has failed with the refusal's code.
fn order_next(tx: &mut Tx<'_>, mut rollout: Rollout) -> Result<Done, Stop> {
    let row = place(rollout.id, rollout.next);
    let mut target = PLACES.get(tx, &row)?.ok_or(Fault::Corrupt {
        table: Table::Setups,
        why: "a device of a rollout is not there",
    })?;
    let wait_us = u64::from(rollout.plan.wait_s) * 1_000_000;
    let expires = Stamp(tx.stamp.0.saturating_add(wait_us));
    let order = match rollout.plan.work {
        Work::Push { trial_s } => push_order(tx, &target.concentrator, trial_s),
        Work::Read => Ok(Order::Read { attributes: super::attributes() }),
        Work::Restart => Ok(Order::Restart { reason: text_of(&rollout.reason) }),
    };
    let by = rollout.by.clone();
    let name = target.concentrator.clone();
    match order.and_then(|order| commands::raise(tx, &name, &order, expires, by)) {
        Ok(command) => {
            BY_COMMAND.put(tx, &order_row(&command), &(rollout.id, rollout.next))?;
            (target.fate, target.command) = (Fate::Ordered, Some(command));
            rollout.open += 1;
        }
        Err(Stop::Refused(refusal)) => {
            target.fate = Fate::Failed(refusal.code.to_string());
            rollout.failed += 1;
            rollout.wave_failed += 1;
        }
        Err(fault) => return Err(fault),
    }
    PLACES.put(tx, &row, &target)?;
    rollout.next += 1;
    let trial_s = match rollout.plan.work {
        Work::Push { trial_s } => u64::from(trial_s),
        Work::Restart | Work::Read => 0,
    };
    rollout.overdue = Stamp(expires.0.saturating_add((trial_s + GRACE_S) * 1_000_000));
    put(tx, &rollout)?;
    Ok(Done::Noted)
}

/// A reason as an order takes it.
fn text_of(reason: &str) -> String {
    let mut text = String::new();
    for letter in reason.trim().chars() {
        if text.len() + letter.len_utf8() > commands::MAX_REASON {
            break;
        }
        text.push(letter);
    }
    text
}

/// What has no outcome in time has failed; what becomes of it later stands in its command.
fn give_up(tx: &mut Tx<'_>, mut rollout: Rollout) -> Result<Done, Stop> {
    for number in rollout.wave_from..rollout.next {
        let row = place(rollout.id, number);
        let Some(mut target) = PLACES.get(tx, &row)? else { continue };
        let Some(command) = target.command.filter(|_| target.fate == Fate::Ordered) else {
            continue;
        };
        BY_COMMAND.delete(tx, &order_row(&command));
        target.fate = Fate::Failed("overdue".to_owned());
        PLACES.put(tx, &row, &target)?;
        rollout.failed += 1;
        rollout.wave_failed += 1;
    }
    rollout.open = 0;
    put(tx, &rollout)?;
    Ok(Done::Noted)
}

/// An order has ended: whether it was one of a rollout, and what that means there.
pub(super) fn ended(tx: &mut Tx<'_>, command: &Command, state: State) -> Result<(), Stop> {
    let by_command = order_row(&command.id);
    let Some((id, number)) = BY_COMMAND.get(tx, &by_command)? else { return Ok(()) };
    BY_COMMAND.delete(tx, &by_command);
    let row = place(id, number);
    let (Some(mut rollout), Some(mut target)) = (rollout(tx, id)?, PLACES.get(tx, &row)?) else {
        return Ok(());
    };
    rollout.open = rollout.open.saturating_sub(1);
    target.fate = match (state, &command.result) {
        (State::Verified, _) | (State::Acknowledged, Some(Ok(_))) => {
            rollout.verified += 1;
            Fate::Verified
        }
        (state, result) => {
            rollout.failed += 1;
            rollout.wave_failed += 1;
            let failure = result.as_ref().and_then(|result| result.as_ref().err());
            let code = failure.filter(|_| state == State::Failed).map(commands::Failure::code);
            Fate::Failed(code.unwrap_or(state.name()).to_owned())
        }
    };
    PLACES.put(tx, &row, &target)?;
    put(tx, &rollout)?;
    Ok(())
}

/// Pauses a rollout that is not over; other rows stay.
pub(super) fn restored(tx: &mut Tx<'_>, key: &[u8]) -> Result<(), Stop> {
    if key.first() != Some(&OPEN) {
        return Ok(());
    }
    let octets = key.get(1..).and_then(|rest| <[u8; 8]>::try_from(rest).ok());
    let Some(id) = octets.map(u64::from_be_bytes) else { return Ok(()) };
    let mut rollout = known(tx, id)?;
    if rollout.phase == Phase::Running {
        rollout.phase = Phase::Paused;
    }
    put(tx, &rollout)?;
    Ok(())
}

pub(super) fn whose(key: &[u8], row: &[u8]) -> Result<Option<Device>, Fault> {
    match key.first() {
        Some(&TARGETS) => Ok(Some(Device::Concentrator(PLACES.decode(row)?.concentrator))),
        _ => Ok(None),
    }
}

fn is_due(rollout: &Rollout, now: Stamp) -> bool {
    rollout.phase == Phase::Running
        && (rollout.next < rollout.wave_to || rollout.open == 0 || now >= rollout.overdue)
}

/// Rollouts that have a step due.
pub fn due(view: &dyn View, now: Stamp) -> Result<Vec<u64>, Fault> {
    let mut found = Vec::new();
    for (_, id) in OPEN_IDS.scan(view, &[OPEN], &end_of(&[OPEN]), MAX_OPEN)? {
        if rollout(view, id)?.is_some_and(|rollout| is_due(&rollout, now)) {
            found.push(id);
        }
    }
    Ok(found)
}

/// A rollout by its number.
pub fn rollout(view: &dyn View, id: u64) -> Result<Option<Rollout>, Fault> {
    HEADS.get(view, &head(id))
}

/// At most `limit` rollouts before a number (none: from the newest), newest first.
pub fn rollouts(view: &dyn View, before: Option<u64>, limit: usize) -> Result<Vec<Rollout>, Fault> {
    let from =
        before.map_or_else(|| vec![ROLLOUTS], |id| crate::apply::table::after(&head(id).octets()));
    let rows = HEADS.scan(view, &from, &end_of(&[ROLLOUTS]), limit)?;
    Ok(rows.into_iter().map(|(_, rollout)| rollout).collect())
}

/// At most `limit` devices of a rollout from a place on, with their places.
pub fn targets(
    view: &dyn View,
    id: u64,
    from: u16,
    limit: usize,
) -> Result<Vec<(u16, Target)>, Fault> {
    let end = end_of(&Row(TARGETS, id.octets()).octets());
    let rows = PLACES.scan(view, &place(id, from).octets(), &end, limit)?;
    let number = |key: &[u8]| match key.last_chunk::<2>() {
        Some(octets) => u16::from_be_bytes(*octets),
        None => 0,
    };
    Ok(rows.into_iter().map(|(key, target)| (number(&key), target)).collect())
}
