//! The cluster as the answering node sees it.

use axum::Json;
use cluster::{NodeStatus, Role, Status};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::asked::Asked;
use crate::http::extract::Params;
use crate::http::problem::{Problem, ProblemBody};
use crate::secret::hex;
use crate::wiring::power::Power;

/// The cluster.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ClusterBody {
    /// The answering node's name.
    pub node: String,
    /// The answering node's role.
    pub role: String,
    /// Name of the leader, or null while none is known.
    pub leader: Option<String>,
    /// Raft term.
    pub term: u64,
    /// Highest log index known here to be committed.
    pub commit_index: u64,
    /// Highest log index applied here.
    pub applied_index: u64,
    /// Hash of the state at `applied_index`, 64 hex digits.
    pub state_hash: String,
    /// The hash at the index that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<HashAt>,
    /// Why the answering node halted, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Voters of the cluster.
    pub voters: usize,
    /// Nodes that may be lost at once while the cluster goes on; 0: no failover.
    pub tolerates: usize,
    /// Whether the answering node was removed from the cluster.
    pub removed: bool,
    /// Whether the answering node's disk is almost full, so that it takes no writes.
    pub disk_full: bool,
    /// What feeds the answering node: mains, battery, or low for a battery that is nearly empty:
    /// then it has handed over leadership and channels. mains without a UPS, too.
    #[serde(default)]
    pub power: String,
    /// Whether a change of the members is under way, as far as the answering node knows.
    pub changing: bool,
    /// All members.
    pub nodes: Vec<NodeBody>,
}

/// The state hash at an index.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct HashAt {
    /// The index.
    pub index: u64,
    /// The hash; null when this node no longer knows it, or does not know it yet.
    pub state_hash: Option<String>,
}

/// One node, as the answering node sees it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeBody {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its HTTP address.
    pub url: String,
    /// learner, follower, candidate, leader or halted.
    pub role: String,
    /// Whether the link to it stands.
    pub reachable: bool,
    /// Highest log index stored there; only the leader knows it of others.
    pub matched: Option<u64>,
    /// Log entries that it is behind the answering node's commit index, where that is known.
    pub lag: Option<u64>,
    /// `host:port` of its node link.
    pub address: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it is drained.
    pub drained: bool,
    /// What it shall become and is not yet: voter, gone.
    pub wish: Option<String>,
    /// Why the link to it does not stand.
    pub trouble: Option<String>,
}

/// Parameters.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ClusterParams {
    /// Also answer the state hash at this log index (the last 4096 are kept).
    pub index: Option<u64>,
}

/// The cluster: leader, indexes, state hash, nodes.
#[utoipa::path(get, path = "/api/v1/cluster", tag = "cluster", params(ClusterParams), responses(
    (status = 200, body = ClusterBody),
    (status = 503, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(
    app: Asked,
    Params(params): Params<ClusterParams>,
) -> Result<Json<ClusterBody>, Problem> {
    let cluster = &app.live()?.cluster;
    let mut body = body(&cluster.status());
    body.power = app.power().name().to_owned();
    body.at = params
        .index
        .map(|index| HashAt { index, state_hash: cluster.hash_at(index).map(|hash| hex(&hash)) });
    Ok(Json(body))
}

/// The status in the API's words.
pub fn body(status: &Status) -> ClusterBody {
    ClusterBody {
        node: status.name.clone(),
        role: status.role.as_str().to_string(),
        leader: status.leader.clone(),
        term: status.term,
        commit_index: status.commit_index,
        applied_index: status.applied_index,
        state_hash: hex(&status.state_hash),
        at: None,
        fault: status.fault.clone(),
        voters: status.voters,
        tolerates: status.tolerates,
        removed: status.removed,
        disk_full: status.disk_full,
        power: Power::Mains.name().to_owned(),
        changing: status.moving,
        nodes: status.nodes.iter().map(|node| node_body(status, node)).collect(),
    }
}

/// One node in the API's words.
pub fn node_body(status: &Status, node: &NodeStatus) -> NodeBody {
    let own = node.id == status.node;
    let matched = if own { Some(status.applied_index) } else { node.matched };
    // A follower's idea of others is old after a silence: an unreachable leader leads no more.
    let role = if node.reachable || node.role != Role::Leader {
        node.role.as_str()
    } else {
        "unreachable"
    };
    NodeBody {
        id: node.id.0,
        name: node.name.clone(),
        url: node.http.clone(),
        role: role.to_string(),
        reachable: node.reachable,
        matched,
        lag: matched.map(|matched| status.commit_index.saturating_sub(matched)),
        address: node.address.clone(),
        voter: node.voter,
        drained: node.drained,
        wish: node.wish.map(str::to_string),
        trouble: node.trouble.clone(),
    }
}
