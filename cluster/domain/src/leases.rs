//! Leases: which node owns the channel of a device.
//!
//! A node is alive while its own lease runs, which it renews through the log. The lease of a device
//! is granted to a node under an epoch and holds for as long as that node is alive.
//!
//! A concentrator has a main and a standby address. When its main channel stands again, quiet for
//! as long as the parameter `channels.switch_back_seconds` says, it becomes the active one again.
//!
//! Invariants: 1. Every grant of a device raises its epoch, so no epoch has two owners. 2. Nobody
//! takes a device from a living node, but the device itself, an operator, or the main channel that
//! is back. 3. An epoch never falls.

mod grants;
mod switch;

use serde::{Deserialize, Serialize};

use crate::apply::table::{END, Key, Typed, after};
use crate::apply::{Author, Done, Effect, Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::restore::Plan;
use crate::units::{Device, NodeId, Stamp};
use crate::{assets, keys, members, parameters};

pub use grants::{Grant, grants};
pub use switch::{ORDER_MS, SwitchOrder, ordered};

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
    /// An operator wants the active channel of a concentrator elsewhere: the standby there takes
    /// over, or the order is void after a minute.
    Switch {
        /// Which device.
        device: Device,
        /// At which node; none for the standby that stands longest.
        to: Option<NodeId>,
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
    /// The main channel stands again for long enough.
    Returned,
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

static NODES: Typed<NodeId, NodeLease> = Typed::new(Table::NodeLeases);
static LEASES: Typed<Device, Lease> = Typed::new(Table::Leases);

/// The most standbys that are kept of a device: a concentrator has two head-end addresses, and
/// the others are channels that have not been reported lost yet.
const MAX_STANDBYS: usize = 8;

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    match change {
        Change::Renew { node, ttl_ms } => {
            if !(100..=60_000).contains(ttl_ms) {
                return Err(refuse("bad_ttl", "a node lease runs 100 to 60000 ms"));
            }
            let until = tx.stamp.plus_ms(u64::from(*ttl_ms));
            NODES.put(tx, node, &NodeLease { node: *node, until })?;
            Ok(Done::Noted)
        }
        Change::Claim { device, node, channel, reason } => {
            claim(tx, device, *node, *channel, *reason)
        }
        Change::Release { device, node, epoch } => release(tx, device, *node, *epoch),
        Change::Standby { device, node, up } => standby(tx, device, *node, *up),
        Change::Switch { device, to } => switch::order(tx, device, *to),
    }
}

fn claim(
    tx: &mut Tx<'_>,
    device: &Device,
    node: NodeId,
    channel: Role,
    reason: Reason,
) -> Result<Done, Stop> {
    if !assets::has_channel(tx, device)? {
        return Err(refuse("unknown_device", device.to_string()));
    }
    if members::is_drained(tx, node)? || members::is_gone(tx, node)? {
        return Err(refuse("node_draining", format!("node {node} takes no channels")));
    }
    let known = LEASES.get(tx, device)?;
    match reason {
        Reason::Ordered if matches!(tx.author, Author::Node(_)) => {
            switch::check(tx, device, node)?;
        }
        Reason::Returned => check_return(tx, known.as_ref(), channel)?,
        _ => {}
    }
    if let Some(owner) = known.as_ref().and_then(|lease| lease.owner) {
        let polite = matches!(reason, Reason::Login | Reason::OwnerLost);
        if owner != node && polite && is_alive(tx, owner, tx.stamp)? {
            // The detail is the owner's number alone, for programs to read.
            return Err(refuse("held", owner.to_string()));
        }
    }
    let (before, mut standbys) = match known {
        Some(lease) => (lease.epoch, lease.standbys),
        None => (keys::first_epoch(tx)?, Vec::new()),
    };
    standbys.retain(|standby| *standby != node);
    let epoch = next_epoch(before);
    let device = device.clone();
    let lease =
        Lease { device, owner: Some(node), epoch, channel, reason, since: tx.stamp, standbys };
    LEASES.put(tx, &lease.device, &lease)?;
    grants::granted(tx, &lease)?;
    switch::done(tx, &lease.device);
    tx.wake(Effect::LeaseChanged { device: lease.device, owner: lease.owner, epoch });
    Ok(Done::Lease { epoch })
}

fn next_epoch(before: u64) -> u64 {
    #[cfg(feature = "seeded-bugs")]
    if before > 0 && crate::seeded::makes(crate::seeded::Bug::EpochNotRaised) {
        return before;
    }
    before + 1
}

/// Refuses a main channel that takes over from a standby too early, or from nobody.
fn check_return(tx: &Tx<'_>, known: Option<&Lease>, channel: Role) -> Result<(), Stop> {
    let too_early = |text: &str| Err(refuse("not_due", text));
    let Some(lease) = known.filter(|lease| lease.owner.is_some()) else {
        return too_early("no channel is active; the device logs in");
    };
    if (channel, lease.channel) != (Role::Main, Role::Standby) {
        return too_early("only a main channel returns, and from a standby");
    }
    match returns_at(tx, lease, tx.stamp)? {
        Some(at) if at <= tx.stamp => Ok(()),
        _ => too_early("the standby has not been active for long enough"),
    }
}

/// From when on the main channel may take a device back from its standby; none for never.
pub fn returns_at(view: &dyn View, lease: &Lease, now: Stamp) -> Result<Option<Stamp>, Fault> {
    let seconds = parameters::value(view, parameters::SWITCH_BACK, now)?;
    let due = lease.since.plus_ms(u64::from(seconds) * 1000);
    Ok((seconds > 0 && lease.channel == Role::Standby).then_some(due))
}

fn release(tx: &mut Tx<'_>, device: &Device, node: NodeId, epoch: u64) -> Result<Done, Stop> {
    let Some(mut lease) = LEASES.get(tx, device)? else {
        return Err(refuse("not_owner", device.to_string()));
    };
    if lease.epoch != epoch {
        return Err(stale(device, epoch, lease.epoch));
    }
    if lease.owner != Some(node) {
        return Err(refuse("not_owner", device.to_string()));
    }
    lease.owner = None;
    LEASES.put(tx, device, &lease)?;
    grants::ended(tx, device, epoch)?;
    tx.wake(Effect::LeaseChanged { device: device.clone(), owner: None, epoch });
    Ok(Done::Noted)
}

fn standby(tx: &mut Tx<'_>, device: &Device, node: NodeId, up: bool) -> Result<Done, Stop> {
    if !assets::has_channel(tx, device)? {
        return Err(refuse("unknown_device", device.to_string()));
    }
    // A standby may log in before the main channel: the lease stands then without an owner.
    let first = keys::first_epoch(tx)?;
    let mut lease = LEASES.get(tx, device)?.unwrap_or_else(|| Lease {
        device: device.clone(),
        owner: None,
        epoch: first,
        channel: Role::Standby,
        reason: Reason::Login,
        since: tx.stamp,
        standbys: Vec::new(),
    });
    lease.standbys.retain(|standby| *standby != node);
    if up && lease.owner != Some(node) {
        lease.standbys.insert(0, node);
        lease.standbys.truncate(MAX_STANDBYS);
    }
    LEASES.put(tx, device, &lease)?;
    Ok(Done::Noted)
}

/// Refuses whoever acts under a grant of a device that is no longer the current one.
pub(crate) fn check_epoch(view: &dyn View, device: &Device, epoch: u64) -> Result<(), Stop> {
    let lease = LEASES.get(view, device)?;
    #[cfg(feature = "seeded-bugs")]
    if crate::seeded::makes(crate::seeded::Bug::LeaseNotFenced) {
        return Ok(());
    }
    let (current, owned) = lease.map_or((0, false), |l| (l.epoch, l.owner.is_some()));
    if epoch == current && owned { Ok(()) } else { Err(stale(device, epoch, current)) }
}

/// The same, for a node that must be the owner.
pub(crate) fn check_owner(
    view: &dyn View,
    device: &Device,
    node: NodeId,
    epoch: u64,
) -> Result<(), Stop> {
    check_epoch(view, device, epoch)?;
    let owner = lease(view, device)?.and_then(|lease| lease.owner);
    #[cfg(feature = "seeded-bugs")]
    let owner = owner.filter(|_| !crate::seeded::makes(crate::seeded::Bug::LeaseNotFenced));
    #[cfg(feature = "seeded-bugs")]
    let owner = owner.or(crate::seeded::makes(crate::seeded::Bug::LeaseNotFenced).then_some(node));
    if owner == Some(node) { Ok(()) } else { Err(refuse("not_owner", device.to_string())) }
}

fn stale(device: &Device, epoch: u64, current: u64) -> Stop {
    refuse("stale_epoch", format!("{device}: epoch {epoch}, current {current}"))
}

/// Takes a lease of the cluster that was backed up from its owner, under a raised epoch.
pub(crate) fn restored(tx: &mut Tx<'_>, plan: &Plan, key: &[u8], row: &[u8]) -> Result<(), Stop> {
    let mut lease = LEASES.decode(row)?;
    lease.owner = None;
    lease.standbys.clear();
    lease.epoch = lease.epoch.saturating_add(plan.epochs);
    lease.since = plan.stamp;
    LEASES.put_raw(tx, key, &lease)?;
    Ok(())
}

/// Who owns a device's channel at a stamp: none when its node is not alive then.
pub fn holder(view: &dyn View, device: &Device, stamp: Stamp) -> Result<Option<Lease>, Fault> {
    let Some(lease) = lease(view, device)? else { return Ok(None) };
    let alive = match lease.owner {
        Some(owner) => is_alive(view, owner, stamp)?,
        None => false,
    };
    Ok(alive.then_some(lease))
}

/// The lease of a device, whether its owner is alive or not.
pub fn lease(view: &dyn View, device: &Device) -> Result<Option<Lease>, Fault> {
    LEASES.get(view, device)
}

/// At most `limit` leases behind `behind`, concentrators before meters, each in order of name.
pub fn list(view: &dyn View, behind: Option<&Device>, limit: usize) -> Result<Vec<Lease>, Fault> {
    let from = behind.map_or_else(Vec::new, |device| after(&device.octets()));
    let rows = LEASES.scan(view, &from, END, limit)?;
    Ok(rows.into_iter().map(|(_, lease)| lease).collect())
}

/// Whether a node's own lease runs at a stamp.
pub fn is_alive(view: &dyn View, node: NodeId, stamp: Stamp) -> Result<bool, Fault> {
    Ok(NODES.get(view, &node)?.is_some_and(|lease| stamp < lease.until))
}

/// The leases of all nodes.
pub fn nodes(view: &dyn View) -> Result<Vec<NodeLease>, Fault> {
    let rows = NODES.scan(view, &[], END, 1024)?;
    Ok(rows.into_iter().map(|(_, lease)| lease).collect())
}
