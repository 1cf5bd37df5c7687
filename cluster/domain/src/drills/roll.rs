//! Drills that go from node to node: which nodes, and which of them had their turn.
//!
//! Not here: in which order, and whether a node is back before the next (the driver waits, and the
//! guard rails are asked again). Invariants: a node has one injection in a drill at most; none that
//! the drill did not begin with.

use serde::{Deserialize, Serialize};

use super::BeginAs;
use crate::apply::table::Typed;
use crate::apply::{Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::units::{NodeId, Stamp};

/// The most nodes of one drill.
pub const MAX_ROLLED: usize = 9;
/// The longest name of a version.
const MAX_VERSION: usize = 64;
/// Where the nodes of a drill stand among its rows: behind every block of its writes, before its
/// report.
const ROLL: u32 = u32::MAX - 1;

/// The nodes of a rolling drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roll {
    /// Each with when its injection was noted.
    pub nodes: Vec<(NodeId, Option<Stamp>)>,
    /// The version with which they are to come back; empty: nothing is asked of it.
    pub to: String,
}

static ROLLS: Typed<(u64, u32), Roll> = Typed::new(Table::DrillParts);

/// Keeps the nodes of a drill that begins with this entry, if there are some.
pub(super) fn begin(tx: &mut Tx<'_>, wish: &BeginAs) -> Result<(), Stop> {
    let BeginAs { begin, nodes, to, .. } = wish;
    let bad = |what: &str| Err(refuse("bad_drill", what.to_owned()));
    if nodes.is_empty() {
        return if to.is_empty() { Ok(()) } else { bad("a version of no node") };
    }
    let twice =
        nodes.iter().enumerate().any(|(at, node)| nodes.iter().skip(at + 1).any(|n| n == node));
    if nodes.len() > MAX_ROLLED || twice || nodes.first() != Some(&begin.target) {
        return bad("1 to 9 nodes, each once, the target first");
    }
    if to.len() > MAX_VERSION {
        return bad("a version has 64 octets at most");
    }
    let nodes = nodes.iter().map(|node| (*node, None)).collect();
    let id = tx.index;
    Ok(ROLLS.put(tx, &(id, ROLL), &Roll { nodes, to: to.clone() })?)
}

/// Notes that a node's turn has come. False when the drill is of one node only.
pub(super) fn inject(tx: &mut Tx<'_>, drill: u64, node: NodeId) -> Result<bool, Stop> {
    let Some(mut roll) = roll(tx, drill)? else { return Ok(false) };
    let now = tx.stamp;
    let Some((_, at)) = roll.nodes.iter_mut().find(|(its, _)| *its == node) else {
        return Err(refuse("drill_elsewhere", format!("drill {drill} is not for node {node}")));
    };
    if at.is_some() {
        return Err(refuse("drill_injected", format!("node {node} has had its turn in {drill}")));
    }
    *at = Some(now);
    ROLLS.put(tx, &(drill, ROLL), &roll)?;
    Ok(true)
}

/// Forgets the nodes of a drill that is dropped.
pub(super) fn delete(tx: &mut Tx<'_>, drill: u64) {
    ROLLS.delete(tx, &(drill, ROLL));
}

/// The nodes of a rolling drill; none of another.
pub fn roll(view: &dyn View, drill: u64) -> Result<Option<Roll>, Fault> {
    ROLLS.get(view, &(drill, ROLL))
}
