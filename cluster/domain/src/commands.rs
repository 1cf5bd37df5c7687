//! Commands: the outbox of orders to devices, each with a life cycle.
//!
//! queued -> sent -> acknowledged, or failed; queued -> expired or cancelled; sent -> unknown when
//! its time is over without an answer; unknown -> acknowledged or failed when the answer comes late.
//!
//! Invariants: 1. The outbox is state: effects are only wake-ups. 2. A command is sent at most once
//! under one epoch, and only under the current one. 3. Nothing is sent after its expiry. 4. An end
//! state is left by nothing.

mod value;

use serde::{Deserialize, Serialize};

pub use value::Value;

use crate::units::{CommandId, Device, NodeId, Obis, Stamp};

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

pub(crate) fn apply(
    _tx: &mut crate::apply::Tx<'_>,
    _change: &Change,
) -> Result<crate::Done, crate::error::Stop> {
    Ok(crate::Done::Noted)
}
