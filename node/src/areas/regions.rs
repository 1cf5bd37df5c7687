//! Regions: the tree of the utility and its subsystems, and what lies where.
//!
//! Invariant: whoever has a role in a region sees that region and what is below it, and nothing
//! beside it.

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use domain::regions::{self, Change, Region};
use domain::{Device, Done};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::areas::{ListParams, Page, keys, time};
use crate::http::asked::Asked;
use crate::http::extract::{Body, Params};
use crate::http::problem::{Problem, ProblemBody};

/// A region.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RegionBody {
    /// Its number; 0 is the whole utility and not in the list.
    pub id: u32,
    /// In which region it lies.
    pub parent: u32,
    /// Its name.
    pub name: String,
    /// Names from the top to it.
    pub path: Vec<String>,
    /// Since when.
    pub since: String,
    /// Since when it is closed.
    pub closed: Option<String>,
}

/// A region to add.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRegion {
    /// In which region it lies; 0, the whole utility, when left out.
    #[serde(default)]
    pub parent: u32,
    /// Its name, unlike its neighbours'.
    pub name: String,
}

/// Another name.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewName {
    /// The name.
    pub name: String,
}

/// Devices to place in a region.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Placing {
    /// Logical device names; the meters behind them lie there, too, unless placed themselves.
    #[serde(default)]
    pub concentrators: Vec<String>,
    /// Serials.
    #[serde(default)]
    pub meters: Vec<String>,
    /// Why; 1 to 500 letters.
    pub reason: String,
}

/// A device that was placed in a region itself.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PlacedBody {
    /// concentrator or meter.
    pub kind: String,
    /// Logical device name or serial.
    pub name: String,
    /// Since when it lies there.
    pub since: Option<String>,
    /// Who placed it.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

fn body(all: &[Region], region: &Region) -> RegionBody {
    let mut path = vec![region.name.clone()];
    let mut at = region.parent;
    // No deeper than the tree may be.
    for _ in 0..regions::MAX_DEPTH {
        let Some(above) = all.iter().find(|one| one.id == at) else { break };
        path.insert(0, above.name.clone());
        at = above.parent;
    }
    RegionBody {
        id: region.id,
        parent: region.parent,
        name: region.name.clone(),
        path,
        since: time::stamp(region.since),
        closed: region.closed.map(time::stamp),
    }
}

/// Every region that the caller sees, closed ones included.
#[utoipa::path(get, path = "/api/v1/regions", tag = "regions",
    responses((status = 200, body = Page<RegionBody>)))]
pub async fn list(app: Asked) -> Result<Json<Page<RegionBody>>, Problem> {
    let view = app.view()?;
    let all = regions::regions(&view)?;
    let seen = all.iter().filter(|region| view.scope().has(region.id));
    let items = seen.map(|region| body(&all, region)).collect();
    Ok(Json(Page { items, next: None }))
}

/// Add a region.
#[utoipa::path(post, path = "/api/v1/regions", tag = "regions", request_body = NewRegion,
    params(("Idempotency-Key" = Option<String>, Header, description = "repeats are one region")),
    responses(
    (status = 201, body = RegionBody),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn add(
    app: Asked,
    headers: HeaderMap,
    Body(new): Body<NewRegion>,
) -> Result<(StatusCode, Json<RegionBody>), Problem> {
    let id = keys::proposal_id(&headers, "region")?;
    let change = Change::Add { parent: new.parent, name: new.name };
    let (_, done) = app.propose(id, domain::Change::Regions(change)).await?;
    let Done::Region { id } = done else { return Err(Problem::fault()) };
    one(&app, id).await.map(|body| (StatusCode::CREATED, Json(body)))
}

async fn one(app: &Asked, id: u32) -> Result<RegionBody, Problem> {
    let all = regions::regions(&app.fresh_view().await?)?;
    let found = all.iter().find(|region| region.id == id);
    found.map(|region| body(&all, region)).ok_or_else(Problem::fault)
}

/// Give a region another name.
#[utoipa::path(post, path = "/api/v1/regions/{id}/rename", tag = "regions",
    params(("id" = u32, Path, description = "number")), request_body = NewName, responses(
    (status = 200, body = RegionBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn rename(
    app: Asked,
    Path(id): Path<u32>,
    Body(new): Body<NewName>,
) -> Result<Json<RegionBody>, Problem> {
    let change = Change::Rename { region: id, name: new.name };
    app.propose(crate::app::random_id()?, domain::Change::Regions(change)).await?;
    one(&app, id).await.map(Json)
}

/// Close a region that is empty.
#[utoipa::path(post, path = "/api/v1/regions/{id}/close", tag = "regions",
    params(("id" = u32, Path, description = "number")), responses(
    (status = 200, body = RegionBody),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn close(app: Asked, Path(id): Path<u32>) -> Result<Json<RegionBody>, Problem> {
    let change = Change::Close { region: id };
    app.propose(crate::app::random_id()?, domain::Change::Regions(change)).await?;
    one(&app, id).await.map(Json)
}

/// Devices that were placed in a region themselves; meters behind its concentrators are not named.
#[utoipa::path(get, path = "/api/v1/regions/{id}/devices", tag = "regions",
    params(("id" = u32, Path, description = "number"), ListParams), responses(
    (status = 200, body = Page<PlacedBody>),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn devices(
    app: Asked,
    Path(id): Path<u32>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<PlacedBody>>, Problem> {
    let view = app.view()?;
    if !view.scope().has(id) || (id != regions::ROOT && regions::region(&view, id)?.is_none()) {
        return Err(Problem::missing("unknown_region", id.to_string()));
    }
    let behind = params.cursor.as_deref().map(device_of).transpose()?;
    let found = regions::devices(&view, id, behind.as_ref(), params.limit() + 1)?;
    let more = found.len() > params.limit();
    let found = found.into_iter().take(params.limit());
    let mut items = Vec::new();
    let mut last = None;
    for device in found {
        let placed = regions::placements(&view, &device)?.pop();
        last = Some(cursor_of(&device));
        items.push(PlacedBody {
            kind: kind(&device).to_owned(),
            name: device.name().to_owned(),
            since: placed.as_ref().map(|placed| time::stamp(placed.since)),
            by: placed.as_ref().map(|placed| placed.by.clone()),
            reason: placed.map(|placed| placed.reason),
        });
    }
    Ok(Json(Page { items, next: last.filter(|_| more) }))
}

fn kind(device: &Device) -> &'static str {
    match device {
        Device::Concentrator(_) => "concentrator",
        Device::Meter(_) => "meter",
    }
}

fn cursor_of(device: &Device) -> String {
    format!("{}:{}", kind(device), device.name())
}

fn device_of(cursor: &str) -> Result<Device, Problem> {
    match cursor.split_once(':') {
        Some(("concentrator", name)) => Ok(Device::Concentrator(name.to_owned())),
        Some(("meter", name)) => Ok(Device::Meter(name.to_owned())),
        _ => Err(Problem::bad("bad_cursor", "not a cursor of this list")),
    }
}

/// Place devices in a region, from now on.
#[utoipa::path(post, path = "/api/v1/regions/{id}/devices", tag = "regions",
    params(("id" = u32, Path, description = "number; 0: the whole utility")),
    request_body = Placing, responses(
    (status = 204, description = "placed"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn place(
    app: Asked,
    Path(region): Path<u32>,
    headers: HeaderMap,
    Body(new): Body<Placing>,
) -> Result<StatusCode, Problem> {
    let concentrators = new.concentrators.into_iter().map(Device::Concentrator);
    let devices: Vec<Device> =
        concentrators.chain(new.meters.into_iter().map(Device::Meter)).collect();
    let change = Change::Place { devices, region, reason: new.reason };
    let id = keys::proposal_id(&headers, "place")?;
    app.propose(id, domain::Change::Regions(change)).await?;
    Ok(StatusCode::NO_CONTENT)
}
