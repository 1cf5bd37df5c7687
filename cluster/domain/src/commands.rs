//! Commands: the outbox of orders to devices, each with a life cycle.
//!
//! queued -> sent -> acknowledged, or failed; queued -> expired or cancelled; sent -> unknown
//! when its time is over without an answer; unknown -> acknowledged or failed when the answer
//! comes late.
//!
//! Invariants: 1. The outbox is state: effects are only wake-ups. 2. A command is sent at most once
//! under one epoch, and only under the current one. 3. Nothing is sent after its expiry. 4. An end
//! state is left by nothing.

mod value;

use serde::{Deserialize, Serialize};

pub use value::{MAX_DEPTH, Value};

use crate::apply::table::{END, Key, Pair, Typed, after, end_of};
use crate::apply::{Author, Done, Effect, Table, Tx, View, hash};
use crate::error::{Fault, Stop, refuse};
use crate::units::{CommandId, Device, NodeId, Obis, Stamp};
use crate::{assets, leases};

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
}

/// What a device is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Read attributes.
    Read {
        /// Which, 1 to 64.
        attributes: Vec<Attribute>,
    },
    /// Read a load profile by range of time.
    Profile {
        /// Which profile.
        obis: Obis,
        /// From, seconds UTC, inclusive.
        from_s: i64,
        /// To, seconds UTC, inclusive.
        to_s: i64,
    },
}

/// An attribute of a COSEM object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// Interface class.
    pub class: u16,
    /// Logical name.
    pub obis: Obis,
    /// Attribute index.
    pub attribute: i8,
}

/// One attribute as read from the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Logical name.
    pub obis: Obis,
    /// Attribute index.
    pub attribute: i8,
    /// What stood there, unscaled.
    pub value: Value,
    /// Values are in 10^scaler of the unit, when the object has one.
    pub scaler: Option<i8>,
    /// Unit code of IEC 62056-6-2, when the object has one.
    pub unit: Option<u8>,
}

/// Why a command came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// No channel leads to the device.
    NoChannel,
    /// The device did not answer in time.
    NoAnswer,
    /// The device refused the association; why, as far as it said.
    Rejected(String),
    /// The device refused the access: its data-access-result code.
    Access(u8),
    /// The answer does not decode, or does not answer the question.
    Malformed(String),
    /// The answer does not decipher, or the device refused our ciphering.
    Security(String),
    /// The channel was lost to another node while the device was asked.
    ChannelLost,
    /// The head-end cannot do this order to this device.
    Unsupported(String),
    /// Too many orders wait for this device.
    Busy,
    /// The line to the device is not there or went away: a serial port, a serial server.
    Line(String),
}

/// Where a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// In the outbox, not sent.
    Queued,
    /// On its way under a grant.
    Sent {
        /// Who sent it.
        node: NodeId,
        /// Under which grant.
        epoch: u64,
    },
    /// The device did it.
    Acknowledged,
    /// It came to nothing; the result says why.
    Failed,
    /// Its time was over before it was sent.
    Expired,
    /// An operator took it back before it was sent.
    Cancelled,
    /// Its time was over after it was sent and before an answer came.
    Unknown {
        /// Who sent it.
        node: NodeId,
        /// Under which grant.
        epoch: u64,
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

/// The most attributes of one order.
pub const MAX_ATTRIBUTES: usize = 64;

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
        Change::Queue { id, target, order, expires } => queue(tx, *id, target, order, *expires),
        Change::Sent { id, node, epoch } => sent(tx, id, *node, *epoch),
        Change::Settle { id, epoch, result } => settle(tx, id, *epoch, result),
        Change::Expire { id } => expire(tx, id),
        Change::Cancel { id } => cancel(tx, id),
    }
}

fn queue(
    tx: &mut Tx<'_>,
    id: CommandId,
    target: &str,
    order: &Order,
    expires: Stamp,
) -> Result<Done, Stop> {
    if let Some(known) = COMMANDS.get(tx, &id)? {
        let same = known.target == target && known.order == *order && known.expires == expires;
        return if same { Ok(Done::Noted) } else { Err(refuse("command_exists", id.to_string())) };
    }
    check_order(order)?;
    if expires <= tx.stamp {
        return Err(refuse("expired", "the expiry is not in the future"));
    }
    if expires.0 - tx.stamp.0 > MAX_WAIT_MICROS {
        return Err(refuse("expires_too_late", "a command waits for a week at most"));
    }
    let Some(device) = assets::device_of(tx, target)? else {
        return Err(refuse("unknown_target", target));
    };
    if outbox(tx, &device, MAX_OPEN)?.len() >= MAX_OPEN {
        return Err(refuse("outbox_full", device.to_string()));
    }
    clear_old(tx)?;
    let by = match tx.author {
        Author::Operator(name) => name.clone(),
        Author::Node(node) => format!("node {node}"),
        Author::Bootstrap => "bootstrap".to_owned(),
    };
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

fn check_order(order: &Order) -> Result<(), Stop> {
    let fits = match order {
        Order::Read { attributes } => (1..=MAX_ATTRIBUTES).contains(&attributes.len()),
        Order::Profile { from_s, to_s, .. } => from_s < to_s,
    };
    if fits {
        return Ok(());
    }
    Err(refuse("bad_order", "1 to 64 attributes, or a range that ends after it begins"))
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
    COMMANDS.put(tx, id, &command)?;
    Ok(Done::Noted)
}

fn settle(
    tx: &mut Tx<'_>,
    id: &CommandId,
    epoch: u64,
    result: &Result<Vec<Read>, Failure>,
) -> Result<Done, Stop> {
    let mut command = known(tx, id)?;
    let under = match command.state {
        State::Sent { epoch, .. } | State::Unknown { epoch, .. } => epoch,
        State::Queued => return Err(refuse("not_sent", id.to_string())),
        _ => return Err(refuse("already_settled", id.to_string())),
    };
    if epoch != under {
        return Err(refuse("stale_epoch", format!("{id}: epoch {epoch}, sent under {under}")));
    }
    leases::check_epoch(tx, &command.device, epoch)?;
    if hash::encode(result)?.len() > MAX_RESULT_OCTETS {
        return Err(refuse("result_too_large", format!("more than {MAX_RESULT_OCTETS} octets")));
    }
    let state = if result.is_ok() { State::Acknowledged } else { State::Failed };
    command.result = Some(result.clone());
    close(tx, command, state)
}

fn expire(tx: &mut Tx<'_>, id: &CommandId) -> Result<Done, Stop> {
    let command = known(tx, id)?;
    if tx.stamp < command.expires {
        return Err(refuse("not_expired", id.to_string()));
    }
    match command.state {
        State::Queued => close(tx, command, State::Expired),
        State::Sent { node, epoch } => close(tx, command, State::Unknown { node, epoch }),
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

/// Takes a command out of the outbox in a state that it does not leave by itself.
fn close(tx: &mut Tx<'_>, mut command: Command, state: State) -> Result<Done, Stop> {
    command.state = state;
    command.settled = Some(tx.stamp);
    COMMANDS.put(tx, &command.id, &command)?;
    OUTBOX.delete(tx, &Pair(&command.device, &command.index));
    EXPIRY.delete(tx, &Pair(&command.expires.0, &command.index));
    tx.wake(Effect::CommandSettled { id: command.id });
    Ok(Done::Noted)
}

fn known(view: &dyn View, id: &CommandId) -> Result<Command, Stop> {
    COMMANDS.get(view, id)?.ok_or_else(|| refuse("unknown_command", id.to_string()))
}

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

impl Order {
    /// Whether doing it twice does no more than doing it once.
    pub fn is_repeatable(&self) -> bool {
        match self {
            Order::Read { .. } | Order::Profile { .. } => true,
        }
    }
}

impl State {
    /// The state's name, as the API gives it.
    pub fn name(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Sent { .. } => "sent",
            State::Acknowledged => "acknowledged",
            State::Failed => "failed",
            State::Expired => "expired",
            State::Cancelled => "cancelled",
            State::Unknown { .. } => "unknown",
        }
    }
}

impl Failure {
    /// The failure's stable name, as the API gives it.
    pub fn code(&self) -> &'static str {
        match self {
            Failure::NoChannel => "no_channel",
            Failure::NoAnswer => "no_answer",
            Failure::Rejected(_) => "association_rejected",
            Failure::Access(_) => "access_refused",
            Failure::Malformed(_) => "malformed_answer",
            Failure::Security(_) => "security",
            Failure::ChannelLost => "channel_lost",
            Failure::Unsupported(_) => "unsupported",
            Failure::Busy => "busy",
            Failure::Line(_) => "line_gone",
        }
    }
}
