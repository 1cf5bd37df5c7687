//! What a node knows of itself and the others, for people and tests.
//!
//! Invariant: `state_hash` is the hash at exactly `applied_index`.

use domain::NodeId;

/// What a node is in its Raft group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives the log and does not vote.
    Learner,
    /// Votes and follows.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Decides the order of the log.
    Leader,
    /// Stopped, or halted by a fault.
    Halted,
}

impl Role {
    /// Lower-case word for pages and interfaces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Learner => "learner",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Halted => "halted",
        }
    }

    pub(crate) fn gauge(self) -> i64 {
        match self {
            Self::Learner => 0,
            Self::Follower => 1,
            Self::Candidate => 2,
            Self::Leader => 3,
            Self::Halted => 4,
        }
    }
}

/// The cluster as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The answering node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Name of the leader, while one is known.
    pub leader: Option<String>,
    /// Raft term.
    pub term: u64,
    /// Highest log index known here to be committed.
    pub commit_index: u64,
    /// Highest log index applied here.
    pub applied_index: u64,
    /// Hash of the state at `applied_index`; zeros before the first entry.
    pub state_hash: [u8; 32],
    /// Why this node halted, if it did.
    pub fault: Option<String>,
    /// Whether this node was removed from the cluster.
    pub removed: bool,
    /// Whether this node's disk is almost full, so that it takes no entries.
    pub disk_full: bool,
    /// Voters of the membership.
    pub voters: usize,
    /// Nodes that may be lost at once while the cluster goes on; 0: no failover.
    pub tolerates: usize,
    /// Whether a change of the members is under way, as far as this node knows.
    pub moving: bool,
    /// All members; the configured nodes while none is known.
    pub nodes: Vec<NodeStatus>,
}

/// One node, as the answering node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Number.
    pub id: NodeId,
    /// Name.
    pub name: String,
    /// Address of its node link, `host:port`.
    pub address: String,
    /// URL of its HTTP side.
    pub http: String,
    /// Its role, as far as it is known here.
    pub role: Role,
    /// Highest log index known to be stored there; only the leader knows it of others.
    pub matched: Option<u64>,
    /// Whether the link to it stands; true for the answering node itself.
    pub reachable: bool,
    /// Why the link does not stand, when the last try told.
    pub trouble: Option<String>,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it is drained.
    pub drained: bool,
    /// What is wished of it and not so yet.
    pub wish: Option<&'static str>,
}
