//! What was seen while a drill ran, as the driver hands it in: operations, answers, channels.
//!
//! Not what it means (`judge`). Invariants: one clock for all times, microseconds since the driver
//! began; nothing is left out but what is beyond the bounds, and then it says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::drills::acceptance::Measured;

/// The most operations of one drill.
pub const MAX_OPERATIONS: usize = 100_000;

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum Kind {
    /// A numbered write.
    #[serde(rename = "w")]
    Write,
    /// A read of the last acknowledged number, confirmed by a quorum.
    #[serde(rename = "r")]
    Read,
}

impl Kind {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Write => "write",
            Kind::Read => "read",
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Answer {
    /// Acknowledged, or read and found.
    #[serde(rename = "ok")]
    Good,
    /// Read, and an acknowledged number was not there.
    #[serde(rename = "stale")]
    Stale,
    /// The node said no.
    #[serde(rename = "no")]
    Refused,
    /// No connection, or it broke.
    #[serde(rename = "down")]
    Down,
    /// No answer in time.
    #[serde(rename = "late")]
    Late,
}

type Packed = (Kind, u8, u32, u64, u64, Answer);

/// One attempt at one node. Goes over the wire as
/// `[kind, node, number, sent_us, ended_us, answer]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Packed", into = "Packed")]
pub struct Operation {
    /// Write or read.
    pub kind: Kind,
    /// Place of the node in [`Evidence::nodes`].
    pub node: u8,
    /// Which write, or which was read. A write that failed is tried again elsewhere under its
    /// number.
    pub number: u32,
    /// When it was sent.
    pub sent_us: u64,
    /// When it was answered or given up.
    pub ended_us: u64,
    /// What came of it.
    pub answer: Answer,
}

impl From<Packed> for Operation {
    fn from((kind, node, number, sent_us, ended_us, answer): Packed) -> Operation {
        Operation { kind, node, number, sent_us, ended_us, answer }
    }
}

impl From<Operation> for Packed {
    fn from(one: Operation) -> Packed {
        (one.kind, one.node, one.number, one.sent_us, one.ended_us, one.answer)
    }
}

/// What a node says of the cluster; kept when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Seen {
    /// When.
    pub at_us: u64,
    /// The node that was asked.
    pub node: u8,
    /// The leader that it knows.
    pub leader: Option<String>,
    /// Its term.
    pub term: u64,
    /// Whether it was ready for work.
    pub ready: bool,
    /// Whether it answered at all.
    pub up: bool,
}

/// What a node says of the channel that is hurt; kept when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChannelSeen {
    /// When.
    pub at_us: u64,
    /// The node that was asked.
    pub node: u8,
    /// Epoch of the lease.
    pub epoch: u64,
    /// Whether its own socket is the active channel, by which the concentrator agreed to it.
    pub active_here: bool,
}

/// The writes that a node holds at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Held {
    /// Runs of numbers, from and to, both inclusive.
    pub runs: Vec<(u32, u32)>,
    /// Numbers that were applied more than once.
    pub again: Vec<u32>,
}

impl Held {
    /// Whether a number is there.
    pub fn has(&self, number: u32) -> bool {
        let behind = self.runs.partition_point(|(from, _)| *from <= number);
        let run = behind.checked_sub(1).and_then(|at| self.runs.get(at));
        run.is_some_and(|(_, to)| number <= *to)
    }
}

/// What a node's state is at an index that all have reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replica {
    /// Its name.
    pub node: String,
    /// The index.
    pub index: u64,
    /// The state hash there; null when it did not answer in time.
    pub hash: Option<String>,
}

/// A counter over all nodes: what it rose by, restarts left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sign {
    /// The metric.
    pub metric: String,
    /// The largest rise at one node.
    pub rose_by: u64,
}

/// A backup that was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Restored {
    /// The backup.
    pub backup: String,
    /// When it was taken, RFC 3339.
    pub created: String,
    /// How old it was at the drill, s: what was acknowledged since is not in it.
    pub age_s: u64,
    /// Index of the last log entry that it holds.
    pub index: u64,
    /// State hash as the backup's record has it.
    pub recorded: String,
    /// State hash as it was restored.
    pub restored: String,
    /// State hash that the running cluster had at the index; null when it no longer knows.
    pub live: Option<String>,
    /// Octets that were read and installed.
    pub octets: u64,
    /// How long reading, checking and installing took, ms.
    pub took_ms: u32,
}

/// A node's turn in a drill that goes from node to node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Place of the node in [`Evidence::nodes`].
    pub node: u8,
    /// When the order was sent.
    pub ordered_us: u64,
    /// When every node worked again; null when not all did.
    pub back_us: Option<u64>,
    /// Version and revision that ran before; null when it did not tell.
    pub before: Option<Build>,
    /// The same afterwards.
    pub after: Option<Build>,
}

/// What runs on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Build {
    /// Its version.
    pub version: String,
    /// The source revision that was built.
    pub revision: String,
}

impl std::fmt::Display for Build {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} ({})", self.version, self.revision)
    }
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The driver's clock at its zero, RFC 3339.
    pub began: String,
    /// Names of the nodes, in the order in which they are numbered here.
    pub nodes: Vec<String>,
    /// When the order to inject was sent; null when it never was.
    pub injected_us: Option<u64>,
    /// When the node said that it will.
    pub taken_us: Option<u64>,
    /// When the failure had ended by itself, where it lasts.
    pub undone_us: Option<u64>,
    /// When every node worked again; null when not all did.
    pub whole_us: Option<u64>,
    /// When the driver ceased to try.
    pub ended_us: u64,
    /// Why the drill was given up, if it was.
    pub aborted: Option<String>,
    /// Attempts, in the order in which they ended.
    #[schema(value_type = Vec<Vec<Object>>)]
    pub operations: Vec<Operation>,
    /// Attempts that were not made or kept for want of room.
    pub skipped: u64,
    /// What the nodes said.
    pub seen: Vec<Seen>,
    /// What they said of the channel.
    pub channel: Vec<ChannelSeen>,
    /// Writes that each node holds, by its name; a node that did not answer is not there.
    pub held: BTreeMap<String, Held>,
    /// Their states at one index.
    pub replicas: Vec<Replica>,
    /// Counters.
    pub signs: Vec<Sign>,
    /// The backup that was restored, in a drill of that.
    #[serde(default)]
    pub restored: Option<Restored>,
    /// What was measured, in an acceptance.
    #[serde(default)]
    pub measured: Option<Measured>,
    /// The nodes' turns, in a drill that goes from node to node.
    #[serde(default)]
    pub steps: Vec<Step>,
}
