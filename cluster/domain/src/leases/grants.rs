//! The last grants of a concentrator's channel: where it was, since when, why, and until when.
//!
//! Invariant: a device has at most `KEPT` rows, whatever happens to it: a grant takes the place of
//! the one `KEPT` epochs before it. Dialled meters have none; there are millions of them.

use serde::{Deserialize, Serialize};

use super::{Lease, Reason, Role};
use crate::apply::table::{Key, Typed, end_of};
use crate::apply::{Table, Tx, View};
use crate::error::{Fault, Stop};
use crate::units::{Device, NodeId, Stamp};

/// Grants of one device that are kept.
const KEPT: u64 = 64;
const AT_MOST: usize = 64;

/// One grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its epoch.
    pub epoch: u64,
    /// Who had the channel.
    pub owner: NodeId,
    /// What kind of channel it was.
    pub channel: Role,
    /// Why it was granted.
    pub reason: Reason,
    /// When.
    pub since: Stamp,
    /// When it was given up or went to another; none while it holds.
    pub until: Option<Stamp>,
}

static GRANTS: Typed<(Device, u64), Grant> = Typed::new(Table::Grants);

fn key(device: &Device, epoch: u64) -> (Device, u64) {
    (device.clone(), epoch % KEPT)
}

pub(super) fn granted(tx: &mut Tx<'_>, lease: &Lease) -> Result<(), Stop> {
    let (Device::Concentrator(_), Some(owner)) = (&lease.device, lease.owner) else {
        return Ok(());
    };
    ended(tx, &lease.device, lease.epoch.saturating_sub(1))?;
    let Lease { epoch, channel, reason, since, .. } = *lease;
    let grant = Grant { epoch, owner, channel, reason, since, until: None };
    GRANTS.put(tx, &key(&lease.device, epoch), &grant)?;
    Ok(())
}

/// The grant of an epoch is over, if it is not already.
pub(super) fn ended(tx: &mut Tx<'_>, device: &Device, epoch: u64) -> Result<(), Stop> {
    let key = key(device, epoch);
    if let Some(mut grant) = GRANTS.get(tx, &key)?
        && grant.epoch == epoch
        && grant.until.is_none()
    {
        grant.until = Some(tx.stamp);
        GRANTS.put(tx, &key, &grant)?;
    }
    Ok(())
}

/// The last grants of a concentrator's channel, at most 64, newest first.
pub fn grants(view: &dyn View, device: &Device) -> Result<Vec<Grant>, Fault> {
    let prefix = device.octets();
    let rows = GRANTS.scan(view, &prefix, &end_of(&prefix), AT_MOST)?;
    let mut grants: Vec<Grant> = rows.into_iter().map(|(_, grant)| grant).collect();
    grants.sort_by_key(|grant| std::cmp::Reverse(grant.epoch));
    Ok(grants)
}
