//! Orders of operators to switch a concentrator's channel.
//!
//! An order names the node whose standby takes over; that node claims the lease, and the grant ends
//! the order. Effects only wake it: the order stands in the state until it is void.
//!
//! Invariant: a node claims a channel as ordered only while an order names it.

use serde::{Deserialize, Serialize};

use super::{LEASES, is_alive};
use crate::apply::table::Typed;
use crate::apply::{Done, Effect, Table, Tx, View};
use crate::assets;
use crate::error::{Fault, Stop, refuse};
use crate::units::{Device, NodeId, Stamp};

/// How long an order is tried, in milliseconds.
pub const ORDER_MS: u64 = 60_000;

/// An order to switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchOrder {
    /// Which device.
    pub device: Device,
    /// Where its standby is to take over.
    pub to: NodeId,
    /// Who ordered it.
    pub by: String,
    /// Void from here on.
    pub until: Stamp,
}

static ORDERS: Typed<Device, SwitchOrder> = Typed::new(Table::SwitchOrders);

pub(super) fn order(tx: &mut Tx<'_>, device: &Device, to: Option<NodeId>) -> Result<Done, Stop> {
    let known = match device {
        Device::Concentrator(_) => assets::has_channel(tx, device)?,
        Device::Meter(_) => false,
    };
    if !known {
        return Err(refuse("unknown_device", device.to_string()));
    }
    let lease = LEASES.get(tx, device)?;
    let (owner, standbys) = lease.map_or((None, Vec::new()), |l| (l.owner, l.standbys));
    if to.is_some() && to == owner {
        return Err(refuse("already_there", format!("{device} is active at that node")));
    }
    let mut living = Vec::new();
    for node in standbys {
        if is_alive(tx, node, tx.stamp)? {
            living.push(node);
        }
    }
    // The newest standby stands first.
    let chosen = match to {
        Some(node) => living.into_iter().find(|standby| *standby == node),
        None => living.pop(),
    };
    let Some(to) = chosen else {
        return Err(refuse("no_standby", format!("{device} has no standby channel there")));
    };
    let by = tx.author.name();
    let order = SwitchOrder { device: device.clone(), to, by, until: tx.stamp.plus_ms(ORDER_MS) };
    ORDERS.put(tx, device, &order)?;
    tx.wake(Effect::SwitchOrdered { device: order.device, to });
    Ok(Done::Noted)
}

/// Refuses a node that no order names.
pub(super) fn check(tx: &Tx<'_>, device: &Device, node: NodeId) -> Result<(), Stop> {
    match ordered(tx, device, tx.stamp)? {
        Some(order) if order.to == node => Ok(()),
        _ => Err(refuse("not_ordered", format!("nobody ordered {device} to node {node}"))),
    }
}

/// The channel was granted, to whomever: what was ordered before is over.
pub(super) fn done(tx: &mut Tx<'_>, device: &Device) {
    ORDERS.delete(tx, device);
}

/// The order for a device that stands at a stamp.
pub fn ordered(
    view: &dyn View,
    device: &Device,
    stamp: Stamp,
) -> Result<Option<SwitchOrder>, Fault> {
    Ok(ORDERS.get(view, device)?.filter(|order| stamp < order.until))
}
