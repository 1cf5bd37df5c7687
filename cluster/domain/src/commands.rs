//! Commands: the outbox of orders to devices, each with a life cycle.
//!
//! Orders that read: queued -> sent -> acknowledged, or failed; queued -> expired or cancelled;
//! sent -> unknown when its time is over without an answer; unknown -> acknowledged or failed when
//! the answer comes late.
//!
//! Orders that act (write, switch, clock) are proven by reading back: sent -> acknowledged ->
//! verified, or failed. One that was sent and whose fate is not known, because the channel or the
//! time was lost, is never sent again: it stays open, and whoever owns the channel reads back.
//!
//! Sent means about to be sent: when the sender knows that no octet has left, because the channel
//! was gone or the device could not be reached, the command is queued again and keeps the reason.
//!
//! Invariants: 1. The outbox is state: effects are only wake-ups. 2. A command is sent at most once
//! under one epoch, and only under the current one; octets of an order that
//! acts leave once at all.
//! 3. Nothing is sent after its expiry. 4. An end state is left by nothing. 5. `Verified` means
//! that the device was read after it acted, and stood as ordered.

mod order;
mod queries;
mod state;
mod value;

use serde::{Deserialize, Serialize};

pub use order::{Attribute, Failure, MAX_ATTRIBUTES, MAX_REASON, MAX_SHIFT_S, Order, Read, Wanted};
pub use queries::{command, due_expiries, open, outbox, recent};
pub use state::State;
pub use value::{MAX_DEPTH, Value};

use crate::apply::table::{END, Pair, Typed};
use crate::apply::{Done, Effect, Table, Tx, View, hash};
use crate::error::{Stop, refuse};
use crate::units::{CommandId, Device, NodeId, ProposalId, Stamp};
use crate::{assets, clocks, leases, setups};

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Take a command into the outbox.
    Queue {
        /// Its id: that of the request.
        id: CommandId,
        /// Meter serial or logical device name.
        target: String,
        /// What to do.
        order: Order,
        /// Nothing is sent after it.
        expires: Stamp,
    },
    /// A node is about to send it: to be committed before the first octet leaves.
    Sent {
        /// Which.
        id: CommandId,
        /// Who sends.
        node: NodeId,
        /// Under which grant.
        epoch: u64,
    },
    /// The device has answered, or will not.
    Settle {
        /// Which.
        id: CommandId,
        /// Under which grant it was sent.
        epoch: u64,
        /// What was read, or why nothing.
        result: Result<Vec<Read>, Failure>,
    },
    /// Its time is over.
    Expire {
        /// Which.
        id: CommandId,
    },
    /// An operator no longer wants it.
    Cancel {
        /// Which.
        id: CommandId,
    },
    /// The device said that it did what was ordered; it is read back next.
    Acknowledge {
        /// Which.
        id: CommandId,
        /// Under which grant it was sent.
        epoch: u64,
    },
    /// No octet of it has left its sender: it waits again.
    Unsent {
        /// Which.
        id: CommandId,
        /// Who did not send it.
        node: NodeId,
        /// Under which grant it was to be sent.
        epoch: u64,
        /// What stood in the way; it stays as the result if the time runs out.
        failure: Failure,
    },
    /// As `Acknowledge`, with what stood there before.
    Acted {
        /// Which.
        id: CommandId,
        /// Under which grant it was sent.
        epoch: u64,
        /// What was read before the device acted: the result until it is read back.
        before: Vec<Read>,
    },
}

/// A command and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Its id.
    pub id: CommandId,
    /// Log index of its arrival: the order of the outbox.
    pub index: u64,
    /// Meter serial or logical device name.
    pub target: String,
    /// Whose channel leads there.
    pub device: Device,
    /// What to do.
    pub order: Order,
    /// Where it stands.
    pub state: State,
    /// Who asked for it.
    pub by: String,
    /// When it came.
    pub queued: Stamp,
    /// When it was last sent.
    pub sent: Option<Stamp>,
    /// When the device said that it acted.
    pub acknowledged: Option<Stamp>,
    /// When it reached its end.
    pub settled: Option<Stamp>,
    /// Nothing is sent after it.
    pub expires: Stamp,
    /// What was read, or why nothing.
    pub result: Option<Result<Vec<Read>, Failure>>,
}

static COMMANDS: Typed<CommandId, Command> = Typed::new(Table::Commands);
static OUTBOX: Typed<Pair<'_, Device, u64>, CommandId> = Typed::new(Table::Outbox);
static LOG: Typed<u64, CommandId> = Typed::new(Table::CommandLog);
static RECENT: Typed<u64, CommandId> = Typed::new(Table::CommandRecent);
static EXPIRY: Typed<Pair<'_, u64, u64>, CommandId> = Typed::new(Table::CommandExpiry);

/// The most open commands of one device.
pub const MAX_OPEN: usize = 256;

/// An order that acted and could not be read back is tried for a day after its expiry, in
/// microseconds.
const READ_BACK_MICROS: u64 = 86_400 * 1_000_000;

/// The most octets of a result.
pub const MAX_RESULT_OCTETS: usize = 128 * 1024;

/// A command may wait for a week at most, in microseconds.
const MAX_WAIT_MICROS: u64 = 7 * 86_400 * 1_000_000;

/// A settled command is kept for 90 days, in microseconds; the audit trail stays for ever.
const KEPT_MICROS: u64 = 90 * 86_400 * 1_000_000;

/// The most old commands that one new one clears away. Above one, so that a crowd shrinks.
const MAX_CLEARED: usize = 2;

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    match change {
        // It carries what is wanted of a concentrator, and nothing else.
        Change::Queue { order: Order::Push { .. }, .. } => {
            Err(refuse("bad_order", "what is wanted of a concentrator is pushed"))
        }
        Change::Queue { id, target, order, expires } => {
            queue(tx, *id, target, order, *expires, tx.author.name())
        }
        Change::Sent { id, node, epoch } => sent(tx, id, *node, *epoch),
        Change::Settle { id, epoch, result } => settle(tx, id, *epoch, result),
        Change::Expire { id } => expire(tx, id),
        Change::Cancel { id } => cancel(tx, id),
        Change::Acknowledge { id, epoch } => acknowledge(tx, id, *epoch, &[]),
        Change::Acted { id, epoch, before } => acknowledge(tx, id, *epoch, before),
        Change::Unsent { id, node, epoch, failure } => unsent(tx, id, (*node, *epoch), failure),
    }
}

/// Takes an order into the outbox.
pub(crate) fn queue(
    tx: &mut Tx<'_>,
    id: CommandId,
    target: &str,
    order: &Order,
    expires: Stamp,
    by: String,
) -> Result<Done, Stop> {
    if let Some(known) = COMMANDS.get(tx, &id)? {
        let same = known.target == target && known.order == *order && known.expires == expires;
        return if same { Ok(Done::Noted) } else { Err(refuse("command_exists", id.to_string())) };
    }
    order.check()?;
    if expires <= tx.stamp {
        return Err(refuse("expired", "the expiry is not in the future"));
    }
    if expires.0 - tx.stamp.0 > MAX_WAIT_MICROS {
        return Err(refuse("expires_too_late", "a command waits for a week at most"));
    }
    let Some(device) = assets::device_of(tx, target)? else {
        return Err(refuse("unknown_target", target));
    };
    let is_itself = device == Device::Concentrator(target.to_owned());
    if order.is_of_concentrators() && !is_itself {
        return Err(refuse("bad_order", "an order for a concentrator"));
    }
    if outbox(tx, &device, MAX_OPEN)?.len() >= MAX_OPEN {
        return Err(refuse("outbox_full", device.to_string()));
    }
    clear_old(tx)?;
    let command = Command {
        id,
        index: tx.index,
        target: target.to_owned(),
        device,
        order: order.clone(),
        state: State::Queued,
        by,
        queued: tx.stamp,
        sent: None,
        acknowledged: None,
        settled: None,
        expires,
        result: None,
    };
    COMMANDS.put(tx, &id, &command)?;
    OUTBOX.put(tx, &Pair(&command.device, &command.index), &id)?;
    LOG.put(tx, &command.index, &id)?;
    RECENT.put(tx, &!command.index, &id)?;
    EXPIRY.put(tx, &Pair(&expires.0, &command.index), &id)?;
    let (target, device) = (command.target, command.device);
    tx.wake(Effect::CommandQueued { id, target, device });
    Ok(Done::Noted)
}

/// Takes an order of the cluster itself into the outbox: one at most in an entry of the log, whose
/// index makes its id. Refused as a command of an operator is.
pub(crate) fn raise(
    tx: &mut Tx<'_>,
    target: &str,
    order: &Order,
    expires: Stamp,
    by: String,
) -> Result<CommandId, Stop> {
    let mut id = [0; 16];
    // Random ids have a version in their seventh octet; this is none of theirs.
    id[8..].copy_from_slice(&tx.index.to_be_bytes());
    let id = ProposalId(id);
    queue(tx, id, target, order, expires, by)?;
    Ok(id)
}

fn clear_old(tx: &mut Tx<'_>) -> Result<(), Stop> {
    for (key, id) in LOG.scan(tx, &[], END, MAX_CLEARED)? {
        let command = known(tx, &id)?;
        if command.settled.is_none_or(|at| tx.stamp.0.saturating_sub(at.0) <= KEPT_MICROS) {
            break;
        }
        COMMANDS.delete(tx, &id);
        RECENT.delete(tx, &!command.index);
        tx.put(Table::CommandLog, key, None);
    }
    Ok(())
}

fn sent(tx: &mut Tx<'_>, id: &CommandId, node: NodeId, epoch: u64) -> Result<Done, Stop> {
    let mut command = known(tx, id)?;
    match command.state {
        State::Queued => {}
        // The channel went to another node: an order that only reads may be sent once more.
        State::Sent { epoch: before, .. } if before < epoch && command.order.is_repeatable() => {}
        State::Sent { .. } => return Err(refuse("already_sent", id.to_string())),
        _ => return Err(refuse("already_settled", id.to_string())),
    }
    if command.expires <= tx.stamp {
        return Err(refuse("expired", id.to_string()));
    }
    leases::check_owner(tx, &command.device, node, epoch)?;
    command.state = State::Sent { node, epoch };
    command.sent = Some(tx.stamp);
    command.result = None;
    COMMANDS.put(tx, id, &command)?;
    Ok(Done::Noted)
}

/// Back into the outbox, on the word of the node that was about to send it. Nobody is woken:
/// whoever has the channel looks again by itself, so a channel that is not there makes no storm.
fn unsent(
    tx: &mut Tx<'_>,
    id: &CommandId,
    (node, epoch): (NodeId, u64),
    failure: &Failure,
) -> Result<Done, Stop> {
    let mut command = known(tx, id)?;
    match command.state {
        State::Sent { node: sender, epoch: under } if (sender, under) == (node, epoch) => {}
        State::Sent { .. } => return Err(refuse("stale_epoch", id.to_string())),
        State::Queued => return Err(refuse("not_sent", id.to_string())),
        _ => return Err(refuse("already_settled", id.to_string())),
    }
    command.state = State::Queued;
    command.sent = None;
    command.result = Some(Err(failure.clone()));
    COMMANDS.put(tx, id, &command)?;
    Ok(Done::Noted)
}

/// The device's word; the proof is the reading back.
fn acknowledge(tx: &mut Tx<'_>, id: &CommandId, epoch: u64, before: &[Read]) -> Result<Done, Stop> {
    let mut command = known(tx, id)?;
    if !command.order.acts() {
        return Err(refuse("bad_order", "an order that only reads is settled"));
    }
    sent_under(tx, &command, epoch)?;
    if hash::encode(&before)?.len() > MAX_RESULT_OCTETS {
        return Err(refuse("result_too_large", format!("more than {MAX_RESULT_OCTETS} octets")));
    }
    clocks::acted(tx, &command, before)?;
    command.acknowledged = Some(tx.stamp);
    if !before.is_empty() {
        command.result = Some(Ok(before.to_vec()));
    }
    keep_open(tx, command, State::Acknowledged)
}

/// Refuses an answer of a command that was not sent under this epoch, or whose channel has gone to
/// another owner.
fn sent_under(tx: &Tx<'_>, command: &Command, epoch: u64) -> Result<(), Stop> {
    let id = command.id;
    let under = match command.state {
        State::Sent { epoch, .. } | State::Unknown { epoch, .. } => epoch,
        State::Queued => return Err(refuse("not_sent", id.to_string())),
        _ => return Err(refuse("already_settled", id.to_string())),
    };
    // Whoever owns the channel may read back what another owner sent.
    let reads_back = command.order.acts() && under < epoch;
    if epoch != under && !reads_back {
        return Err(refuse("stale_epoch", format!("{id}: epoch {epoch}, sent under {under}")));
    }
    leases::check_epoch(tx, &command.device, epoch)
}

fn settle(
    tx: &mut Tx<'_>,
    id: &CommandId,
    epoch: u64,
    result: &Result<Vec<Read>, Failure>,
) -> Result<Done, Stop> {
    let mut command = known(tx, id)?;
    if command.state == State::Acknowledged && command.is_open() {
        leases::check_epoch(tx, &command.device, epoch)?;
    } else {
        sent_under(tx, &command, epoch)?;
    }
    if hash::encode(result)?.len() > MAX_RESULT_OCTETS {
        return Err(refuse("result_too_large", format!("more than {MAX_RESULT_OCTETS} octets")));
    }
    let state = match result {
        Ok(_) if command.order.acts() => State::Verified,
        Ok(_) => State::Acknowledged,
        Err(_) => State::Failed,
    };
    command.result = Some(result.clone());
    close(tx, command, state)
}

fn expire(tx: &mut Tx<'_>, id: &CommandId) -> Result<Done, Stop> {
    let command = known(tx, id)?;
    if tx.stamp < command.due() {
        return Err(refuse("not_expired", id.to_string()));
    }
    match command.state {
        State::Queued => close(tx, command, State::Expired),
        State::Sent { node, epoch } if command.order.acts() => {
            keep_open(tx, command, State::Unknown { node, epoch })
        }
        State::Sent { node, epoch } => close(tx, command, State::Unknown { node, epoch }),
        state if command.is_open() => close(tx, command, state),
        _ => Ok(Done::Noted),
    }
}

fn cancel(tx: &mut Tx<'_>, id: &CommandId) -> Result<Done, Stop> {
    let command = known(tx, id)?;
    match command.state {
        State::Queued => close(tx, command, State::Cancelled),
        State::Cancelled => Ok(Done::Noted),
        State::Sent { .. } => Err(refuse("already_sent", id.to_string())),
        _ => Err(refuse("already_settled", id.to_string())),
    }
}

/// Cancels a command that was not sent; another one goes on.
pub(crate) fn take_back(tx: &mut Tx<'_>, id: &CommandId) -> Result<(), Stop> {
    let command = known(tx, id)?;
    if command.state == State::Queued {
        close(tx, command, State::Cancelled)?;
    }
    Ok(())
}

/// Goes on in a state that waits for the reading back.
fn keep_open(tx: &mut Tx<'_>, mut command: Command, state: State) -> Result<Done, Stop> {
    EXPIRY.delete(tx, &Pair(&command.due().0, &command.index));
    command.state = state;
    EXPIRY.put(tx, &Pair(&command.due().0, &command.index), &command.id)?;
    COMMANDS.put(tx, &command.id, &command)?;
    let Command { id, target, device, .. } = command;
    tx.wake(Effect::CommandQueued { id, target, device });
    Ok(Done::Noted)
}

/// Takes a command out of the outbox in a state that it does not leave by itself.
fn close(tx: &mut Tx<'_>, mut command: Command, state: State) -> Result<Done, Stop> {
    EXPIRY.delete(tx, &Pair(&command.due().0, &command.index));
    command.state = state;
    command.settled = Some(tx.stamp);
    COMMANDS.put(tx, &command.id, &command)?;
    OUTBOX.delete(tx, &Pair(&command.device, &command.index));
    clocks::ended(tx, &command, state)?;
    setups::ended(tx, &command, state)?;
    tx.wake(Effect::CommandSettled { id: command.id });
    Ok(Done::Noted)
}

/// Closes an open command of the cluster that was backed up: it may have been sent and answered
/// there since, so it is never sent again. `row` is the outbox's.
pub(crate) fn restored(tx: &mut Tx<'_>, row: &[u8]) -> Result<(), Stop> {
    let command = known(tx, &OUTBOX.decode(row)?)?;
    // A queued one may have been sent since as well; under which grant nobody knows.
    let (node, epoch) = match command.state {
        State::Sent { node, epoch } => (node, epoch),
        _ => (NodeId(0), 0),
    };
    close(tx, command, State::Unknown { node, epoch })?;
    Ok(())
}

fn known(view: &dyn View, id: &CommandId) -> Result<Command, Stop> {
    COMMANDS.get(view, id)?.ok_or_else(|| refuse("unknown_command", id.to_string()))
}

impl Command {
    /// Whether something is still to be done for it.
    pub fn is_open(&self) -> bool {
        self.settled.is_none()
    }

    /// When `Expire` has something to do.
    fn due(&self) -> Stamp {
        match self.state {
            State::Unknown { .. } | State::Acknowledged => {
                Stamp(self.expires.0.saturating_add(READ_BACK_MICROS))
            }
            _ => self.expires,
        }
    }
}
