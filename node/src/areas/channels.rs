//! The channels of a concentrator: which is active, where standbys stand, what became of earlier
//! ones, and the order to switch.
//!
//! Invariants: an answer of 202 means that the order stands in the log; the channel moves a moment
//! later, or not within a minute. What is replicated is equal on every node; `here` is what the
//! answering node's own socket shows.

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use domain::assets;
use domain::leases::{self, Grant, SwitchOrder};
use domain::{Device, NodeId, ProposalId};
use gateway::ChannelStatus;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::areas::concentrators::{ChannelBody, channel, reason_name, role_name};
use crate::areas::{keys, time};
use crate::http::asked::Asked;
use crate::http::extract::Body;
use crate::http::problem::{Problem, ProblemBody};

/// The channels of one concentrator.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChannelsBody {
    /// The active one; null when no living node has one.
    pub active: Option<ChannelBody>,
    /// Nodes at which a warm standby stands.
    pub standbys: Vec<String>,
    /// An order to switch that has not been carried out yet.
    pub ordered: Option<OrderBody>,
    /// From when on the main channel takes over again, if it stands; null for never, or when it is
    /// the active one.
    pub returns: Option<String>,
    /// The channel that ends at the answering node.
    pub here: Option<HereBody>,
    /// The last grants, at most 64, newest first.
    pub history: Vec<GrantBody>,
}

/// An order to switch.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderBody {
    /// The node whose standby takes over.
    pub to: String,
    /// Who ordered it.
    pub by: String,
    /// Void from then on.
    pub until: String,
}

/// One grant of the channel.
#[derive(Debug, Serialize, ToSchema)]
pub struct GrantBody {
    /// Epoch of the lease.
    pub epoch: u64,
    /// The node that had it.
    pub node: String,
    /// main, standby or dial: which address the device dialled.
    pub role: String,
    /// Why: login, promoted, owner_lost, ordered, returned.
    pub reason: String,
    /// Since when.
    pub since: String,
    /// Until when; null while it holds.
    pub until: Option<String>,
}

/// What a socket of the answering node shows.
#[derive(Debug, Serialize, ToSchema)]
pub struct HereBody {
    /// The answering node.
    pub node: String,
    /// login, standby or active.
    pub state: String,
    /// main or standby: which address the device says that it dialled.
    pub address: Option<String>,
    /// The other end.
    pub remote: String,
    /// Whether it is TLS.
    pub tls: bool,
    /// Since when it stands.
    pub since: String,
    /// When octets last came.
    pub last_heard: String,
    /// Meters that it reaches, from its last heartbeat.
    pub meters_online: Option<u16>,
    /// Pushes stored.
    pub pushes: u64,
    /// Rows stored.
    pub rows: u64,
    /// Octets received.
    pub received_bytes: u64,
    /// Octets sent.
    pub sent_bytes: u64,
}

/// Where the active channel shall be.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// A node by name or number; the standby that stands longest when left out.
    pub to: Option<String>,
}

/// The channels of a concentrator, with their history.
#[utoipa::path(get, path = "/api/v1/concentrators/{id}/channels", tag = "concentrators",
    params(("id" = String, Path, description = "logical device name")), responses(
    (status = 200, body = ChannelsBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(app: Asked, Path(id): Path<String>) -> Result<Json<ChannelsBody>, Problem> {
    body(&app, &id).map(Json)
}

/// Switch the active channel to a standby.
#[utoipa::path(post, path = "/api/v1/concentrators/{id}/switch", tag = "concentrators",
    params(("id" = String, Path, description = "logical device name")), request_body = Switch,
    responses(
    (status = 202, body = ChannelsBody),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn switch(
    app: Asked,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(wish): Body<Switch>,
) -> Result<(StatusCode, Json<ChannelsBody>), Problem> {
    order(&app, &id, keys::proposal_id(&headers, "switch")?, wish).await?;
    Ok((StatusCode::ACCEPTED, Json(body(&app, &id)?)))
}

/// Puts the order to switch into the log.
pub async fn order(
    app: &Asked,
    id: &str,
    proposal: ProposalId,
    wish: Switch,
) -> Result<(), Problem> {
    let to = wish.to.map(|text| node(app, &text)).transpose()?;
    let change = leases::Change::Switch { device: Device::Concentrator(id.to_owned()), to };
    app.propose(proposal, domain::Change::Leases(change)).await?;
    Ok(())
}

/// A node by its name or number.
fn node(app: &App, text: &str) -> Result<NodeId, Problem> {
    let status = app.live()?.cluster.status();
    let is_meant = |name: &str, id: NodeId| name == text || id.0.to_string() == text;
    let found = status.nodes.iter().find(|node| is_meant(&node.name, node.id));
    found.map(|node| node.id).ok_or_else(|| Problem::missing("unknown_node", text))
}

/// The channels of a concentrator in the API's words.
pub fn body(app: &Asked, id: &str) -> Result<ChannelsBody, Problem> {
    let view = app.view()?;
    let live = app.live()?;
    let stamp = live.cluster.stamp_now();
    if assets::concentrator(&view, id)?.is_none() {
        return Err(Problem::missing("unknown_concentrator", id));
    }
    let device = Device::Concentrator(id.to_owned());
    let lease = leases::lease(&view, &device)?;
    let returns = lease.as_ref().map(|lease| leases::returns_at(&view, lease, stamp));
    let standbys = lease.iter().flat_map(|l| &l.standbys).map(|n| app.node_name(*n)).collect();
    let here = live.gateway.channels().into_iter().find(|channel| channel.concentrator == id);
    let grants = leases::grants(&view, &device)?;
    Ok(ChannelsBody {
        active: channel(app, &view, &device, stamp)?,
        standbys,
        ordered: leases::ordered(&view, &device, stamp)?.map(|order| order_body(app, order)),
        returns: returns.transpose()?.flatten().map(time::stamp),
        here: here.map(|status| here_body(live.cluster.status().name, status)),
        history: grants.into_iter().map(|grant| grant_body(app, grant)).collect(),
    })
}

fn order_body(app: &App, order: SwitchOrder) -> OrderBody {
    OrderBody { to: app.node_name(order.to), by: order.by, until: time::stamp(order.until) }
}

fn grant_body(app: &App, grant: Grant) -> GrantBody {
    GrantBody {
        epoch: grant.epoch,
        node: app.node_name(grant.owner),
        role: role_name(grant.channel).to_owned(),
        reason: reason_name(grant.reason).to_owned(),
        since: time::stamp(grant.since),
        until: grant.until.map(time::stamp),
    }
}

fn here_body(own: String, status: ChannelStatus) -> HereBody {
    HereBody {
        node: own,
        state: status.role.label().to_owned(),
        address: status.login.address.map(|role| role_name(role).to_owned()),
        remote: status.remote.to_string(),
        tls: status.tls,
        since: time::of_system(status.since),
        last_heard: time::of_system(status.last_heard),
        meters_online: status.meters_online,
        pushes: status.pushes,
        rows: status.rows,
        received_bytes: status.received_bytes,
        sent_bytes: status.sent_bytes,
    }
}
