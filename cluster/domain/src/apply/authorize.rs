//! Who may ask for which change. Thin for now: every operator may everything that operators do.
//!
//! Invariant: a node speaks for itself alone; no node can claim, renew or send in another's name.

use crate::apply::{Author, Change};
use crate::error::Refusal;
use crate::units::NodeId;
use crate::{assets, commands, drills, keys, leases, members, readings};

/// Refuses what an author may not do.
pub(crate) fn authorize(author: &Author, change: &Change) -> Result<(), Refusal> {
    let allowed = match author {
        Author::Operator(_) => by_operator(change),
        Author::Node(node) => by_node(*node, change),
        Author::Bootstrap => by_bootstrap(change),
    };
    if allowed {
        return Ok(());
    }
    let who = match author {
        Author::Operator(_) => "an operator".to_owned(),
        Author::Node(node) => format!("node {node}"),
        Author::Bootstrap => "the first set-up".to_owned(),
    };
    Err(Refusal::new("not_allowed", format!("{who} may not do {}", change.name())))
}

/// Everything but what only a node can know: that it lives, and what it is about to send.
fn by_operator(change: &Change) -> bool {
    !matches!(
        change,
        Change::Leases(leases::Change::Renew { .. } | leases::Change::Standby { .. })
            | Change::Commands(
                commands::Change::Sent { .. }
                    | commands::Change::Unsent { .. }
                    | commands::Change::Acknowledge { .. }
                    | commands::Change::Settle { .. }
            )
            | Change::Members(members::Change::Gone { .. })
            | Change::Drills(drills::Change::Inject { .. } | drills::Change::Finish { .. })
            | Change::Readings(
                readings::Change::Archive(_)
                    | readings::Change::Forget(_)
                    | readings::Change::Refill(_)
            )
    ) && !matches!(change, Change::Tasks(change) if change.is_of_nodes())
}

fn by_node(own: NodeId, change: &Change) -> bool {
    match change {
        Change::Assets(_) => false,
        Change::Keys(change) => !matches!(change, keys::Change::Install { .. }),
        Change::Readings(_) => true,
        Change::Leases(change) => match change {
            leases::Change::Switch { .. } => false,
            // Whether a switch was ordered, the area looks at.
            leases::Change::Claim { node, .. }
            | leases::Change::Renew { node, .. }
            | leases::Change::Release { node, .. }
            | leases::Change::Standby { node, .. } => *node == own,
        },
        Change::Commands(change) => match change {
            commands::Change::Sent { node, .. } | commands::Change::Unsent { node, .. } => {
                *node == own
            }
            commands::Change::Acknowledge { .. }
            | commands::Change::Settle { .. }
            | commands::Change::Expire { .. } => true,
            commands::Change::Queue { .. } | commands::Change::Cancel { .. } => false,
        },
        Change::Members(change) => matches!(change, members::Change::Gone { .. }),
        Change::Parameters(_) => false,
        Change::Drills(change) => match change {
            drills::Change::Begin(_)
            | drills::Change::Probe { .. }
            | drills::Change::Abort { .. } => false,
            drills::Change::Inject { node, .. } | drills::Change::Finish { node, .. } => {
                *node == own
            }
        },
        Change::Tasks(change) => change.is_of_nodes(),
    }
}

fn by_bootstrap(change: &Change) -> bool {
    match change {
        Change::Assets(change) => !matches!(change, assets::Change::Retire { .. }),
        Change::Keys(change) => matches!(change, keys::Change::Install { .. }),
        Change::Readings(_)
        | Change::Leases(_)
        | Change::Commands(_)
        | Change::Members(_)
        | Change::Parameters(_)
        | Change::Drills(_)
        | Change::Tasks(_) => false,
    }
}
