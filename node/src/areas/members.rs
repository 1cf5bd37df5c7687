//! The members of the cluster: who is one, and the wishes to change that.
//!
//! Not the rules (`cluster::members`, `domain::members`). Invariants: an answer of 202 means that
//! the leader granted the wish and that it stands in the log; how far it is says the list. A
//! request repeated with its `Idempotency-Key` is one wish.

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use cluster::Verb;
use domain::members::Node;
use domain::{Device, Fault, NodeId, View, leases};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::areas::cluster::{NodeBody, node_body};
use crate::areas::keys;
use crate::http::asked::Asked;
use crate::http::extract::Body;
use crate::http::problem::{Problem, ProblemBody};

/// A node that is to join.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    /// Its number, as in its certificate; never one that was used before.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// `host:port` (UDP) of its node link.
    pub address: String,
    /// URL of its HTTP side.
    #[serde(default)]
    pub url: String,
}

impl From<NewMember> for Node {
    fn from(new: NewMember) -> Node {
        Node { id: NodeId(new.id), name: new.name, address: new.address, http: new.url }
    }
}

/// Who shall lead.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Heir {
    /// A node by name or number; the best one when left out.
    pub to: Option<String>,
}

/// A member with what it holds.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MemberBody {
    /// The node as the cluster's page shows it.
    #[serde(flatten)]
    pub node: NodeBody,
    /// Devices whose channel it owns.
    pub channels: u64,
}

/// The members.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MembersBody {
    /// All members, by number.
    pub items: Vec<MemberBody>,
    /// Voters.
    pub voters: usize,
    /// Nodes that may be lost at once while the cluster goes on; 0: no failover.
    pub tolerates: usize,
    /// Whether a change is under way, as far as the answering node knows.
    pub changing: bool,
    /// Name of the leader, or null while none is known.
    pub leader: Option<String>,
}

/// A wish that was granted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Granted {
    /// Log index at which the wish stands.
    pub index: u64,
}

type Answer = Result<(StatusCode, Json<Granted>), Problem>;

/// All members.
#[utoipa::path(get, path = "/api/v1/cluster/members", tag = "cluster", responses(
    (status = 200, body = MembersBody),
    (status = 503, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn list(app: Asked) -> Result<Json<MembersBody>, Problem> {
    let status = app.live()?.cluster.status();
    let owned = owned(&app.view()?)?;
    let items = status.nodes.iter().map(|node| MemberBody {
        node: node_body(&status, node),
        channels: owned.iter().filter(|owner| **owner == node.id).count() as u64,
    });
    Ok(Json(MembersBody {
        items: items.collect(),
        voters: status.voters,
        tolerates: status.tolerates,
        changing: status.moving,
        leader: status.leader.clone(),
    }))
}

/// Owner of every owned channel.
fn owned(view: &dyn View) -> Result<Vec<NodeId>, Fault> {
    const CHUNK: usize = 1000;
    let mut owners = Vec::new();
    let mut behind: Option<Device> = None;
    loop {
        let chunk = leases::list(view, behind.as_ref(), CHUNK)?;
        owners.extend(chunk.iter().filter_map(|lease| lease.owner));
        match chunk.last() {
            Some(last) if chunk.len() == CHUNK => behind = Some(last.device.clone()),
            _ => return Ok(owners),
        }
    }
}

async fn wish(app: &Asked, headers: &HeaderMap, verb: Verb) -> Answer {
    let id = keys::proposal_id(headers, "members")?;
    let index = app.change_members(id, verb).await?;
    Ok((StatusCode::ACCEPTED, Json(Granted { index })))
}

/// Take a new node in: it receives the log and has no vote until it is promoted.
#[utoipa::path(post, path = "/api/v1/cluster/members", tag = "cluster", request_body = NewMember,
    responses(
    (status = 202, body = Granted),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn add(app: Asked, headers: HeaderMap, Body(new): Body<NewMember>) -> Answer {
    wish(&app, &headers, Verb::Add(new.into())).await
}

/// Give a node that has caught up a vote.
#[utoipa::path(post, path = "/api/v1/cluster/members/{name}/promote", tag = "cluster",
    params(("name" = String, Path, description = "name or number of the node")), responses(
    (status = 202, body = Granted),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn promote(app: Asked, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    wish(&app, &headers, Verb::Promote(name)).await
}

/// Take a node out; its number is never given again.
#[utoipa::path(delete, path = "/api/v1/cluster/members/{name}", tag = "cluster",
    params(("name" = String, Path, description = "name or number of the node")), responses(
    (status = 202, body = Granted),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn remove(app: Asked, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    wish(&app, &headers, Verb::Remove(name)).await
}

/// Let a new node take the place of another, in one change when it has caught up.
#[utoipa::path(post, path = "/api/v1/cluster/members/{name}/replace", tag = "cluster",
    params(("name" = String, Path, description = "name or number of the node that goes")),
    request_body = NewMember, responses(
    (status = 202, body = Granted),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn replace(
    app: Asked,
    Path(lost): Path<String>,
    headers: HeaderMap,
    Body(new): Body<NewMember>,
) -> Answer {
    wish(&app, &headers, Verb::Replace { lost, by: new.into() }).await
}

/// Let a node give its channels and its office to others and take none.
#[utoipa::path(post, path = "/api/v1/cluster/members/{name}/drain", tag = "cluster",
    params(("name" = String, Path, description = "name or number of the node")), responses(
    (status = 202, body = Granted),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn drain(app: Asked, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    wish(&app, &headers, Verb::Drain(name)).await
}

/// Let a drained node work again.
#[utoipa::path(delete, path = "/api/v1/cluster/members/{name}/drain", tag = "cluster",
    params(("name" = String, Path, description = "name or number of the node")), responses(
    (status = 202, body = Granted),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn undrain(app: Asked, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    wish(&app, &headers, Verb::Undrain(name)).await
}

/// Hand the leadership to another node.
#[utoipa::path(post, path = "/api/v1/cluster/leader", tag = "cluster", request_body = Heir,
    responses(
    (status = 202, body = Granted),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn hand_over(app: Asked, headers: HeaderMap, Body(heir): Body<Heir>) -> Answer {
    wish(&app, &headers, Verb::HandOver(heir.to)).await
}
