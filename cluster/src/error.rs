//! The ways in which this crate says no.
//!
//! Not here: refusals (`domain::Refusal`), which are answers of the state machine and not errors.
//! Invariant: no text in these errors holds key material or a proposal's content.

use std::io;

/// The cluster could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration has faults; all of them.
    #[error("the cluster configuration has faults: {}", .0.join("; "))]
    Config(Vec<String>),
    /// Certificates or key of this node cannot be used.
    #[error("this node's identity cannot be used: {0}")]
    Identity(String),
    /// The UDP endpoint could not be bound.
    #[error("the node endpoint cannot listen on {address}")]
    Listen {
        /// The address that was asked for.
        address: String,
        /// Why the system refused.
        source: io::Error,
    },
    /// The stores could not be read.
    #[error("the stores of this node cannot be opened")]
    Store(#[source] io::Error),
    /// Two clusters were opened with one metrics registry.
    #[error("a metric is already registered")]
    Metrics(#[from] prometheus::Error),
    /// Consensus could not be started.
    #[error("consensus cannot be started: {0}")]
    Raft(String),
}

/// The state could not be handed out as files.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Nobody could say up to where it must reach.
    #[error("the cluster does not answer")]
    Unavailable(#[source] Unavailable),
    /// The stores could not be read or written.
    #[error("the stores of this node cannot write a snapshot")]
    Store(#[source] io::Error),
}

/// A proposal or a linearizable read got no answer. The same id may be tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The deadline passed while no leader was known or reachable.
    #[error("no leader could be reached before the deadline")]
    NoLeader,
    /// The deadline passed while the leader was at work: the change may or may not be made.
    #[error("the leader did not answer before the deadline; the outcome is unknown")]
    Deadline,
    /// Too many proposals wait at this node.
    #[error("too many proposals wait at this node")]
    Busy,
    /// The change is larger than an entry may be.
    #[error("the change is {octets} octets, the limit is {limit}")]
    TooLarge {
        /// Size of the encoded change.
        octets: usize,
        /// Largest size that is taken.
        limit: usize,
    },
    /// The disk of the leader, or of this node, is almost full.
    #[error("the disk of the leader is full; reads go on, writes wait for room")]
    DiskFull,
    /// This node was removed from the cluster.
    #[error("this node was removed from the cluster; ask another")]
    Removed,
    /// This node is stopping.
    #[error("this node is stopping")]
    Stopping,
    /// This node halted: it cannot read or write its state.
    #[error("this node halted: {0}")]
    Halted(String),
}

impl Unavailable {
    /// Stable label for metrics and problem documents.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoLeader => "no_leader",
            Self::Deadline => "deadline",
            Self::Busy => "busy",
            Self::TooLarge { .. } => "too_large",
            Self::DiskFull => "disk_full",
            Self::Removed => "node_removed",
            Self::Stopping => "stopping",
            Self::Halted(_) => "halted",
        }
    }
}
