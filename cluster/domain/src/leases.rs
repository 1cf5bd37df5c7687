//! Leases: which node owns the channel of a device.
//!
//! A node is alive while its own lease runs, which it renews through the log. The lease of a device
//! is granted to a node under an epoch and holds for as long as that node is alive.
//!
//! Invariants: 1. Every grant of a device raises its epoch, so no epoch has two owners. 2. Nobody
//! takes a device from a living node, but the device itself or an operator. 3. An epoch never falls.

use serde::{Deserialize, Serialize};

use crate::units::{Device, NodeId, Stamp};

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A node is alive for another while.
    Renew {
        /// Which.
        node: NodeId,
        /// For how long from the entry's stamp, 100 to 60,000 ms.
        ttl_ms: u32,
    },
    /// A node wants the channel of a device. Answers the epoch.
    Claim {
        /// Which device.
        device: Device,
        /// Who wants it.
        node: NodeId,
        /// What kind of channel it has.
        channel: Role,
        /// Why it should have it.
        reason: Reason,
    },
    /// The owner gives the device up.
    Release {
        /// Which device.
        device: Device,
        /// Who gives it up.
        node: NodeId,
        /// Under which grant it had it.
        epoch: u64,
    },
    /// A warm standby channel of the device stands at a node, or no longer does.
    Standby {
        /// Which device.
        device: Device,
        /// At which node.
        node: NodeId,
        /// Stands, or has fallen.
        up: bool,
    },
}

/// What kind of channel leads to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The device dialled its main address.
    Main,
    /// The device dialled its standby address.
    Standby,
    /// We dial the device.
    Dial,
}

/// Why a node claims a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The device logged in here.
    Login,
    /// The device itself says that its main channel is lost.
    Promoted,
    /// The owner's node lease has run out.
    OwnerLost,
    /// An operator said so.
    Ordered,
}

/// Who owns the channel of a device, living or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Which device.
    pub device: Device,
    /// Who owns its channel; none after a release.
    pub owner: Option<NodeId>,
    /// The epoch of the last grant.
    pub epoch: u64,
    /// What kind of channel the owner has.
    pub channel: Role,
    /// Why it was granted.
    pub reason: Reason,
    /// When it was granted.
    pub since: Stamp,
    /// Nodes at which a warm standby channel stands.
    pub standbys: Vec<NodeId>,
}

/// A node's own lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLease {
    /// Whose.
    pub node: NodeId,
    /// Alive up to here, exclusive.
    pub until: Stamp,
}

pub(crate) fn apply(
    _tx: &mut crate::apply::Tx<'_>,
    _change: &Change,
) -> Result<crate::Done, crate::error::Stop> {
    Ok(crate::Done::Noted)
}
