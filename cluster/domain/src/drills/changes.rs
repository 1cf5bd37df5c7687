//! Names of the area's changes, and what they need.

use super::{Change, PlanChange};
use crate::operators::Permission;

/// What an operator needs for a change, in the whole utility; none when it is a node's alone.
pub(crate) fn needs(change: &Change) -> Option<Permission> {
    match change {
        Change::Inject { .. } | Change::Finish { .. } => None,
        Change::Plans(PlanChange::Miss { .. }) => None,
        Change::Begin(_) => Some(Permission::Cluster),
        Change::Plans(PlanChange::Ask { .. } | PlanChange::Revoke { .. }) => {
            Some(Permission::Cluster)
        }
        Change::Plans(PlanChange::Approve { .. } | PlanChange::Decline { .. }) => {
            Some(Permission::Approve)
        }
        // Two persons have agreed to it.
        Change::BeginAs(wish) if wish.turn.is_some() => Some(Permission::Drills),
        Change::BeginAs(_) => Some(Permission::Cluster),
        Change::Plans(PlanChange::Claim { .. } | PlanChange::Refuse { .. }) => {
            Some(Permission::Drills)
        }
        Change::Probe { .. } | Change::Abort { .. } => Some(Permission::Drills),
    }
}

impl Change {
    /// Area and verb.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Change::Begin(_) | Change::BeginAs(_) => "drills.begin",
            Change::Inject { .. } => "drills.inject",
            Change::Probe { .. } => "drills.probe",
            Change::Abort { .. } => "drills.abort",
            Change::Finish { .. } => "drills.finish",
            Change::Plans(change) => change.name(),
        }
    }

    /// The drill, or the plan, that it is about.
    pub(crate) fn object(&self) -> String {
        match self {
            Change::Begin(begin) => format!("{} node {}", begin.scenario, begin.target),
            Change::BeginAs(wish) => {
                let planned = wish.turn.as_ref().map(|(name, _)| format!(" of plan {name}"));
                let nodes = match wish.nodes.len() {
                    0 => format!("node {}", wish.begin.target),
                    count => format!("{count} nodes"),
                };
                format!("{} {nodes}{}", wish.begin.scenario, planned.unwrap_or_default())
            }
            Change::Inject { drill, .. }
            | Change::Abort { drill, .. }
            | Change::Finish { drill, .. } => drill.to_string(),
            Change::Probe { drill, number } => format!("{drill} {number}"),
            Change::Plans(change) => change.object(),
        }
    }
}
