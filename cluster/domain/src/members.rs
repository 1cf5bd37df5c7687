//! Members: what the operators want the cluster to consist of, and which nodes are drained.
//!
//! Who votes is decided by consensus itself; here stands the wish, so that a new leader finds
//! what its forerunner had begun, every wish is in the audit trail, and a number that was taken
//! out is never given again. Nodes of the first set-up have no row until something is wished of
//! them.
//!
//! Invariants: 1. A number that is gone stays gone. 2. No two wanted nodes have one name or one
//! number. 3. What speaks against a wish but cannot be read from the state (a node that does not
//! answer, a quorum at stake) is judged by the leader and noted as `Object`, which is refused.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::apply::table::{END, Typed};
use crate::apply::{Done, Effect, Table, Tx, View};
use crate::error::{Fault, Refusal, Stop, refuse};
use crate::units::{NodeId, Stamp};

/// The highest number of a node.
pub const MAX_NODE: u64 = 65_535;

/// Most rows that one look reads; a cluster has a handful.
const PAGE: usize = 4096;

/// A node as the others reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its number, 1 to 65,535, never given twice.
    pub id: NodeId,
    /// Its name: 1 to 63 of letters, digits and `-`.
    pub name: String,
    /// `host:port` (UDP) of its node link.
    pub address: String,
    /// URL of its HTTP side.
    pub http: String,
}

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A node shall receive the log, without a vote.
    Add {
        /// Which.
        node: Node,
    },
    /// A node that was added shall vote.
    Promote {
        /// Which.
        node: NodeId,
    },
    /// A node shall be no member any more.
    Remove {
        /// Which.
        node: Node,
    },
    /// A new node shall take the place of another: it joins, catches up, and votes from the
    /// moment when the other is none any more.
    Replace {
        /// Who goes.
        lost: NodeId,
        /// Who comes.
        by: Node,
    },
    /// A node shall give its channels and its office to others and take none.
    Drain {
        /// Which.
        node: NodeId,
    },
    /// A drained node works again.
    Undrain {
        /// Which.
        node: NodeId,
    },
    /// Another node shall lead.
    HandOver {
        /// Which; any other when nobody is named.
        to: Option<NodeId>,
    },
    /// A wish that the leader could not grant; always refused, so that it stands in the trail.
    Object {
        /// The wish in words, such as `remove n2`.
        wish: String,
        /// The stable code of the refusal.
        code: String,
        /// For a person.
        detail: String,
    },
    /// A replaced node is out: nodes tell this, not operators.
    Gone {
        /// Which.
        node: Node,
    },
}

/// What a node shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// Receive the log.
    Learner,
    /// Vote.
    Voter,
    /// No member.
    Gone,
}

/// What is wished of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which.
    pub node: Node,
    /// What it shall be.
    pub wish: Wish,
    /// Whose place it takes.
    pub replaces: Option<NodeId>,
    /// Since when it is wished.
    pub since: Stamp,
}

static MEMBERS: Typed<NodeId, Member> = Typed::new(Table::Members);
static DRAINED: Typed<NodeId, (NodeId, Stamp)> = Typed::new(Table::Drained);

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    match change {
        Change::Add { node } => add(tx, node, Wish::Learner, None)?,
        Change::Promote { node } => {
            let mut member = wanted(tx, *node)?;
            (member.wish, member.since) = (Wish::Voter, tx.stamp);
            MEMBERS.put(tx, node, &member)?;
        }
        Change::Remove { node } | Change::Gone { node } => remove(tx, node)?,
        Change::Replace { lost, by } => {
            refuse_gone(tx, *lost)?;
            add(tx, by, Wish::Voter, Some(*lost))?;
        }
        Change::Drain { node } => {
            refuse_gone(tx, *node)?;
            DRAINED.put(tx, node, &(*node, tx.stamp))?;
        }
        Change::Undrain { node } => {
            refuse_gone(tx, *node)?;
            DRAINED.delete(tx, node);
        }
        Change::HandOver { .. } => return Ok(Done::Noted),
        Change::Object { code, detail, .. } => {
            let code = Cow::Owned(code.clone());
            return Err(Refusal { code, detail: detail.clone() }.into());
        }
    }
    tx.wake(Effect::MembersChanged);
    Ok(Done::Noted)
}

fn add(tx: &mut Tx<'_>, node: &Node, wish: Wish, replaces: Option<NodeId>) -> Result<(), Stop> {
    check(node)?;
    for known in members(tx)? {
        if known.node.id == node.id {
            let gone =
                if known.wish == Wish::Gone { "; a number is never given again" } else { "" };
            let text = format!("number {} is or was {}{gone}", node.id, known.node.name);
            return Err(refuse("node_exists", text));
        }
        if known.wish != Wish::Gone && known.node.name == node.name {
            return Err(refuse(
                "node_exists",
                format!("{} is number {}", node.name, known.node.id),
            ));
        }
    }
    let member = Member { node: node.clone(), wish, replaces, since: tx.stamp };
    Ok(MEMBERS.put(tx, &node.id, &member)?)
}

fn remove(tx: &mut Tx<'_>, node: &Node) -> Result<(), Stop> {
    refuse_gone(tx, node.id)?;
    let member = Member { node: node.clone(), wish: Wish::Gone, replaces: None, since: tx.stamp };
    MEMBERS.put(tx, &node.id, &member)?;
    DRAINED.delete(tx, &node.id);
    Ok(())
}

/// Refuses what cannot be a node.
pub fn check(node: &Node) -> Result<(), Refusal> {
    let bad = |why: &str| Err(Refusal::new("bad_node", format!("{}: {why}", node.name)));
    if !(1..=MAX_NODE).contains(&node.id.0) {
        return bad("a node's number is 1 to 65535");
    }
    let letters = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
    if !(1..=63).contains(&node.name.len()) || !node.name.bytes().all(letters) {
        return bad("a name has 1 to 63 letters, digits and -");
    }
    let port = node.address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
    if node.address.len() > 260 || port.is_none_or(|port| port == 0) {
        return bad("its address is not host:port");
    }
    if node.http.len() > 300 || !node.http.bytes().all(|octet| octet.is_ascii_graphic()) {
        return bad("its URL has more than 300 characters, or others than printable ones");
    }
    Ok(())
}

fn wanted(view: &dyn View, node: NodeId) -> Result<Member, Stop> {
    let member = MEMBERS.get(view, &node)?.filter(|member| member.wish != Wish::Gone);
    member.ok_or_else(|| refuse("unknown_node", format!("node {node} was not added")))
}

fn refuse_gone(view: &dyn View, node: NodeId) -> Result<(), Stop> {
    if is_gone(view, node)? {
        return Err(refuse("unknown_node", format!("node {node} was removed")));
    }
    Ok(())
}

/// Everything that is wished, in order of the numbers; gone nodes too.
pub fn members(view: &dyn View) -> Result<Vec<Member>, Fault> {
    Ok(MEMBERS.scan(view, &[], END, PAGE)?.into_iter().map(|(_, member)| member).collect())
}

/// Drained nodes.
pub fn drained(view: &dyn View) -> Result<Vec<NodeId>, Fault> {
    Ok(DRAINED.scan(view, &[], END, PAGE)?.into_iter().map(|(_, (node, _))| node).collect())
}

/// Whether a node is drained.
pub fn is_drained(view: &dyn View, node: NodeId) -> Result<bool, Fault> {
    Ok(DRAINED.get(view, &node)?.is_some())
}

/// Whether a node was taken out.
pub fn is_gone(view: &dyn View, node: NodeId) -> Result<bool, Fault> {
    Ok(MEMBERS.get(view, &node)?.is_some_and(|member| member.wish == Wish::Gone))
}
