//! Concentrators: who they are, how they are keyed, where their channel stands.
//!
//! Invariant: no answer holds a key. The channel of a list is replicated state, equal on every
//! node; what only the node with the socket knows (octets, last heard) is shown by that node alone.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use domain::assets::{self, Change, Concentrator};
use domain::keys::KeyKind;
use domain::leases;
use domain::{Device, Fault, Stamp, View};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::areas::keys::{self, SecretHex, Wrapped, inner};
use crate::areas::{Imported, ListParams, MAX_IMPORT, Page, Verdict, matches, page, time};
use crate::http::asked::Asked;
use crate::http::extract::{Body, Params};
use crate::http::problem::{Problem, ProblemBody};
use crate::secret::hex;

/// Entries of an import that are proposed at a time: enough for group commit, few for the queue.
pub const IMPORT_AT_A_TIME: usize = 64;

/// A concentrator to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewConcentrator {
    /// Logical device name, 1 to 16 printable ASCII octets.
    pub id: String,
    /// System title, 16 hex digits.
    pub system_title: String,
    /// What people call it.
    #[serde(default)]
    pub name: String,
    /// Global unicast encryption key, 32 hex digits.
    #[schema(value_type = Option<String>)]
    pub guek: Option<SecretHex>,
    /// Global authentication key, 32 hex digits.
    #[schema(value_type = Option<String>)]
    pub gak: Option<SecretHex>,
}

/// Concentrators to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewConcentrators {
    /// At most 20,000.
    pub items: Vec<NewConcentrator>,
}

/// A concentrator.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConcentratorBody {
    /// Logical device name.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// System title, 16 hex digits.
    pub system_title: String,
    /// Since when it is known.
    pub registered: String,
    /// Since when it is gone.
    pub retired: Option<String>,
    /// Its active channel; null when no living node has one.
    pub channel: Option<ChannelBody>,
    /// Nodes at which a warm standby channel stands.
    pub standbys: Vec<String>,
    /// Last push sequence that was stored.
    pub last_sequence: Option<u32>,
}

/// An active channel.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChannelBody {
    /// The node that has it.
    pub node: String,
    /// main, standby or dial: which address the device dialled.
    pub role: String,
    /// Epoch of the lease.
    pub epoch: u64,
    /// Why it was granted: login, promoted, owner_lost, ordered, returned.
    pub reason: String,
    /// Since when.
    pub since: String,
}

/// All concentrators, in order of their names.
#[utoipa::path(get, path = "/api/v1/concentrators", tag = "concentrators", params(ListParams),
    responses((status = 200, body = Page<ConcentratorBody>)))]
pub async fn list(
    app: Asked,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<ConcentratorBody>>, Problem> {
    let view = app.view()?;
    let stamp = app.live()?.cluster.stamp_now();
    let found = page(
        &params,
        |after, limit| assets::concentrators(&view, after, limit),
        |record| record.id.clone(),
        |record| {
            let wanted = matches(params.query.as_deref(), &[&record.id, &record.name]);
            if wanted { body(&app, &view, record, stamp).map(Some) } else { Ok(None) }
        },
    )?;
    Ok(Json(found))
}

/// One concentrator.
#[utoipa::path(get, path = "/api/v1/concentrators/{id}", tag = "concentrators",
    params(("id" = String, Path, description = "logical device name")), responses(
    (status = 200, body = ConcentratorBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(app: Asked, Path(id): Path<String>) -> Result<Json<ConcentratorBody>, Problem> {
    let view = app.view()?;
    let found = assets::concentrator(&view, &id)?
        .ok_or_else(|| Problem::missing("unknown_concentrator", id))?;
    let stamp = app.live()?.cluster.stamp_now();
    Ok(Json(body(&app, &view, found, stamp)?))
}

/// Register a concentrator with its keys. The very same again is no change.
#[utoipa::path(post, path = "/api/v1/concentrators", tag = "concentrators",
    request_body = NewConcentrator, responses(
    (status = 201, body = ConcentratorBody),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn add(
    app: Asked,
    Body(new): Body<NewConcentrator>,
) -> Result<(StatusCode, Json<ConcentratorBody>), Problem> {
    let id = new.id.clone();
    register(&app, new).await?;
    // A record that this node knows already need not wait for the leader once more.
    let mut view = app.view()?;
    if assets::concentrator(&view, &id)?.is_none() {
        view = app.fresh_view().await?;
    }
    let found = assets::concentrator(&view, &id)?.ok_or_else(Problem::fault)?;
    let stamp = app.live()?.cluster.stamp_now();
    Ok((StatusCode::CREATED, Json(body(&app, &view, found, stamp)?)))
}

/// Register many concentrators; those that are refused are listed, the others are in.
#[utoipa::path(post, path = "/api/v1/concentrators/import", tag = "concentrators",
    request_body = NewConcentrators, responses((status = 200, body = Imported)))]
pub async fn import(
    app: Asked,
    Body(new): Body<NewConcentrators>,
) -> Result<Json<Imported>, Problem> {
    let entries = new.items.into_iter().map(|item| (item.id.clone(), item)).collect();
    import_all(entries, |item| register(&app, item)).await.map(Json)
}

/// Registers entries some at a time; stops only when the cluster is not there.
pub async fn import_all<T, F: Future<Output = Result<(), Problem>>>(
    entries: Vec<(String, T)>,
    register: impl Fn(T) -> F,
) -> Result<Imported, Problem> {
    if entries.len() > MAX_IMPORT {
        let text = format!("{} entries; {MAX_IMPORT} at a time", entries.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_entries", text));
    }
    let mut running = futures::stream::iter(entries)
        .map(|(name, entry)| {
            let run = register(entry);
            async move { (name, run.await) }
        })
        .buffered(IMPORT_AT_A_TIME);
    let mut imported = Imported { added: 0, refused: Vec::new() };
    while let Some((name, result)) = running.next().await {
        match result {
            Ok(()) => imported.added += 1,
            Err(problem) if problem.status == StatusCode::SERVICE_UNAVAILABLE => {
                return Err(problem);
            }
            Err(problem) => imported.refused.push(Verdict {
                name,
                code: Some(problem.code.to_string()),
                detail: Some(problem.detail),
            }),
        }
    }
    Ok(imported)
}

async fn register(app: &Asked, new: NewConcentrator) -> Result<(), Problem> {
    let system_title = keys::system_title(&new.system_title)?;
    let wrapped: Vec<Wrapped> = [
        keys::wrap(app, "guek", KeyKind::Guek, inner(new.guek.as_ref()))?,
        keys::wrap(app, "gak", KeyKind::Gak, inner(new.gak.as_ref()))?,
    ]
    .into_iter()
    .flatten()
    .collect();
    let device = Device::Concentrator(new.id.clone());
    let change = Change::RegisterConcentrator { id: new.id, system_title, name: new.name };
    app.propose(crate::app::random_id()?, domain::Change::Assets(change)).await?;
    keys::install(app, &device, wrapped).await
}

/// A concentrator in the API's words.
pub fn body(
    app: &App,
    view: &dyn View,
    record: Concentrator,
    stamp: Stamp,
) -> Result<ConcentratorBody, Fault> {
    let device = Device::Concentrator(record.id.clone());
    let lease = leases::lease(view, &device)?;
    let standbys = lease.iter().flat_map(|l| &l.standbys).map(|n| app.node_name(*n)).collect();
    let mark = domain::readings::mark(view, &record.id)?;
    Ok(ConcentratorBody {
        channel: channel(app, view, &device, stamp)?,
        standbys,
        last_sequence: mark.map(|mark| mark.sequence),
        id: record.id,
        name: record.name,
        system_title: hex(&record.system_title),
        registered: time::stamp(record.registered),
        retired: record.retired.map(time::stamp),
    })
}

/// The active channel of a device, when a living node has one.
pub fn channel(
    app: &App,
    view: &dyn View,
    device: &Device,
    stamp: Stamp,
) -> Result<Option<ChannelBody>, Fault> {
    let Some(lease) = leases::holder(view, device, stamp)? else { return Ok(None) };
    let Some(owner) = lease.owner else { return Ok(None) };
    Ok(Some(ChannelBody {
        node: app.node_name(owner),
        role: role_name(lease.channel).to_string(),
        epoch: lease.epoch,
        reason: reason_name(lease.reason).to_string(),
        since: time::stamp(lease.since),
    }))
}

/// The API's word for a kind of channel.
pub fn role_name(role: leases::Role) -> &'static str {
    match role {
        leases::Role::Main => "main",
        leases::Role::Standby => "standby",
        leases::Role::Dial => "dial",
    }
}

/// The API's word for why a channel was granted.
pub fn reason_name(reason: leases::Reason) -> &'static str {
    match reason {
        leases::Reason::Login => "login",
        leases::Reason::Promoted => "promoted",
        leases::Reason::OwnerLost => "owner_lost",
        leases::Reason::Ordered => "ordered",
        leases::Reason::Returned => "returned",
    }
}
