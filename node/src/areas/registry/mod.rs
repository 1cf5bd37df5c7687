//! The registry: feeders, transformers, points, customers, contracts, meters at points, and the
//! warehouse; as they are, and as they were on any day.
//!
//! Network and people have routes of their own to change them, because different roles do it.

mod body;
pub mod import;

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use domain::Stamp;
use domain::registry::{self, Change, Kind, Object};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub use self::body::{
    Facts, FindingBody, InstallationBody, ObjectBody, RegisterBody, VersionBody, kind_of,
};
use crate::areas::{Page, keys};
use crate::http::asked::{Asked, Seen};
use crate::http::extract::{Body, Params};
use crate::http::problem::{Problem, ProblemBody};

/// What a list of the registry takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct RegistryParams {
    /// As it was at this time (RFC 3339, or a day); now when left out.
    pub at: Option<String>,
    /// Also what is closed.
    #[serde(default)]
    pub closed: bool,
    /// 1 to 1000 items; 100 when left out.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

impl RegistryParams {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(100).clamp(1, 1000)
    }
}

/// What an object is to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// What it is.
    pub facts: Facts,
    /// From when on (RFC 3339, or a day); now when left out.
    pub from: Option<String>,
    /// Why; up to 500 letters.
    #[serde(default)]
    pub reason: String,
}

/// From when on something is gone, and why.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Closing {
    /// From when on; now when left out.
    pub from: Option<String>,
    /// Why; 1 to 500 letters.
    pub reason: String,
}

/// A meter that is built in or taken out.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fitting {
    /// Its serial.
    pub meter: String,
    /// From when on; now when left out.
    pub from: Option<String>,
    /// What its registers show.
    #[serde(default)]
    pub registers: Vec<RegisterBody>,
    /// Why; a removal needs it.
    #[serde(default)]
    pub reason: String,
}

/// A meter that takes the place of another.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Serial of the meter that is there.
    pub old: String,
    /// Serial of the meter that comes.
    pub new: String,
    /// From when on; now when left out.
    pub from: Option<String>,
    /// What the old one's registers show at last.
    #[serde(default)]
    pub last: Vec<RegisterBody>,
    /// What the new one's registers show at first.
    #[serde(default)]
    pub first: Vec<RegisterBody>,
    /// Why; 1 to 500 letters.
    pub reason: String,
}

/// An object with all that is known of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ObjectDetail {
    /// As it is, or was at the time that was asked for; null when it was not there then.
    pub object: Option<ObjectBody>,
    /// Its versions, oldest first.
    pub versions: Vec<VersionBody>,
    /// Of a point: every meter that was ever there, oldest first.
    pub meters: Vec<InstallationBody>,
    /// Of a point or a customer: contracts at that time.
    pub contracts: Vec<ObjectBody>,
}

/// The time that is asked for; none: now.
pub fn time_of(params: &RegistryParams) -> Result<Option<Stamp>, Problem> {
    body::at("at", params.at.as_deref())
}

/// Objects of a kind, in order of their numbers.
#[utoipa::path(get, path = "/api/v1/registry/{kind}", tag = "registry",
    params(("kind" = String, Path, description = "feeders, transformers, points, customers, \
        contracts, installations or items"), RegistryParams),
    responses((status = 200, body = Page<ObjectBody>)))]
pub async fn list(
    app: Asked,
    Path(kind): Path<String>,
    Params(params): Params<RegistryParams>,
) -> Result<Json<Page<ObjectBody>>, Problem> {
    found(&app.view()?, kind_of(&kind)?, &params).map(Json)
}

/// The page of a list.
pub fn found(
    view: &Seen,
    kind: Kind,
    params: &RegistryParams,
) -> Result<Page<ObjectBody>, Problem> {
    let at = body::at("at", params.at.as_deref())?;
    let (limit, mut behind) = (params.limit(), params.cursor.clone());
    let mut items = Vec::new();
    loop {
        let chunk = registry::list(view, kind, behind.as_deref(), limit)?;
        let last = chunk.len() < limit;
        for (object, head) in chunk {
            if items.len() == limit {
                return Ok(Page { items, next: behind });
            }
            behind = Some(object.id.clone());
            let one = match at {
                Some(at) => registry::object_at(view, &object, at)?
                    .and_then(|version| ObjectBody::of_version(&object, &version)),
                None => Some(ObjectBody::of_head(&object, &head)),
            };
            items.extend(one.filter(|one| params.closed || !one.closed));
        }
        if last {
            return Ok(Page { items, next: None });
        }
    }
}

/// One object, with its history.
#[utoipa::path(get, path = "/api/v1/registry/{kind}/{number}", tag = "registry",
    params(("kind" = String, Path, description = "such as points"),
        ("number" = String, Path, description = "its number"), RegistryParams),
    responses(
    (status = 200, body = ObjectDetail),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(
    app: Asked,
    Path((kind, number)): Path<(String, String)>,
    Params(params): Params<RegistryParams>,
) -> Result<Json<ObjectDetail>, Problem> {
    let at = body::at("at", params.at.as_deref())?;
    detail(&app.view()?, &Object::new(kind_of(&kind)?, &number), at).map(Json)
}

/// All that is known of an object.
pub fn detail(view: &Seen, object: &Object, at: Option<Stamp>) -> Result<ObjectDetail, Problem> {
    let unknown = || Problem::missing("unknown_object", object.to_string());
    let head = registry::head(view, object)?.ok_or_else(unknown)?;
    let when = at.unwrap_or(Stamp(u64::MAX));
    let now = match at {
        None => Some(ObjectBody::of_head(object, &head)),
        Some(at) => registry::object_at(view, object, at)?
            .and_then(|version| ObjectBody::of_version(object, &version)),
    };
    let mut contracts = Vec::new();
    if matches!(object.kind, Kind::Point | Kind::Customer) {
        let found = registry::children(view, object, Kind::Contract, when, None, 100)?;
        contracts = found
            .iter()
            .filter_map(|child| ObjectBody::of_version(&child.object, &child.version))
            .collect();
    }
    let meters = match object.kind {
        Kind::Point => registry::occupancy(view, &object.id)?,
        _ => Vec::new(),
    };
    let versions = registry::versions(view, object)?;
    Ok(ObjectDetail {
        object: now,
        versions: versions.into_iter().map(VersionBody::of).collect(),
        meters: meters.iter().map(InstallationBody::of).collect(),
        contracts,
    })
}

/// What hangs on an object: transformers of a feeder, points of a transformer, contracts and
/// installations of a point, contracts of a customer.
#[utoipa::path(get, path = "/api/v1/registry/{kind}/{number}/{of}", tag = "registry",
    params(("kind" = String, Path, description = "such as transformers"),
        ("number" = String, Path, description = "its number"),
        ("of" = String, Path, description = "such as points"), RegistryParams),
    responses(
    (status = 200, body = Page<ObjectBody>),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn children(
    app: Asked,
    Path((kind, number, of)): Path<(String, String, String)>,
    Params(params): Params<RegistryParams>,
) -> Result<Json<Page<ObjectBody>>, Problem> {
    let object = Object::new(kind_of(&kind)?, &number);
    hanging(&app.view()?, &object, kind_of(&of)?, &params).map(Json)
}

/// The page of what hangs on an object.
pub fn hanging(
    view: &Seen,
    object: &Object,
    of: Kind,
    params: &RegistryParams,
) -> Result<Page<ObjectBody>, Problem> {
    if registry::head(view, object)?.is_none() {
        return Err(Problem::missing("unknown_object", object.to_string()));
    }
    let when = body::at("at", params.at.as_deref())?.unwrap_or(Stamp(u64::MAX));
    let (limit, behind) = (params.limit(), params.cursor.as_deref());
    let found = registry::children(view, object, of, when, behind, limit + 1)?;
    let next = found.get(limit.wrapping_sub(1)).filter(|_| found.len() > limit);
    let next = next.map(|last| last.object.id.clone());
    let items = found.iter().take(limit);
    let items = items.filter_map(|one| ObjectBody::of_version(&one.object, &one.version));
    Ok(Page { items: items.collect(), next })
}

/// What does not fit together, with what mends it. A page looks at so many objects as its limit
/// says and may have no findings though there are more pages.
#[utoipa::path(get, path = "/api/v1/registry/check/{kind}", tag = "registry",
    params(("kind" = String, Path, description = "points, customers, installations, \
        transformers, contracts; or items: meters that stand at no point"), RegistryParams),
    responses((status = 200, body = Page<FindingBody>)))]
pub async fn check(
    app: Asked,
    Path(kind): Path<String>,
    Params(params): Params<RegistryParams>,
) -> Result<Json<Page<FindingBody>>, Problem> {
    let (view, kind) = (app.view()?, kind_of(&kind)?);
    let now = app.live()?.cluster.stamp_now();
    let when = body::at("at", params.at.as_deref())?.unwrap_or(now);
    let (limit, behind) = (params.limit(), params.cursor);
    let look = move || registry::findings(&view, kind, when, behind.as_deref(), limit);
    let found = tokio::task::spawn_blocking(look).await.map_err(|_| Problem::fault())?;
    let (found, next) = found?;
    Ok(Json(Page { items: found.into_iter().map(FindingBody::of).collect(), next }))
}

/// Say what a part of the network is, from a time on: a feeder, transformer, point, or a thing of
/// the warehouse. What is already so is no change.
#[utoipa::path(put, path = "/api/v1/network/{kind}/{number}", tag = "registry",
    params(("kind" = String, Path, description = "feeders, transformers, points or items"),
        ("number" = String, Path, description = "its number")),
    request_body = Setting, responses(
    (status = 200, body = ObjectDetail),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn set_network(
    app: Asked,
    Path((kind, number)): Path<(String, String)>,
    headers: HeaderMap,
    Body(setting): Body<Setting>,
) -> Result<Json<ObjectDetail>, Problem> {
    let object = Object::new(network(&kind)?, &number);
    set(&app, &headers, object, setting).await
}

/// Close a part of the network. Nothing may hang on it.
#[utoipa::path(post, path = "/api/v1/network/{kind}/{number}/close", tag = "registry",
    params(("kind" = String, Path, description = "feeders, transformers, points or items"),
        ("number" = String, Path, description = "its number")),
    request_body = Closing, responses(
    (status = 200, body = ObjectDetail),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn close_network(
    app: Asked,
    Path((kind, number)): Path<(String, String)>,
    headers: HeaderMap,
    Body(closing): Body<Closing>,
) -> Result<Json<ObjectDetail>, Problem> {
    close(&app, &headers, Object::new(network(&kind)?, &number), closing).await
}

/// Say who a customer is, or what a contract is about, from a time on.
#[utoipa::path(put, path = "/api/v1/people/{kind}/{number}", tag = "registry",
    params(("kind" = String, Path, description = "customers or contracts"),
        ("number" = String, Path, description = "its number")),
    request_body = Setting, responses(
    (status = 200, body = ObjectDetail),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn set_people(
    app: Asked,
    Path((kind, number)): Path<(String, String)>,
    headers: HeaderMap,
    Body(setting): Body<Setting>,
) -> Result<Json<ObjectDetail>, Problem> {
    set(&app, &headers, Object::new(people(&kind)?, &number), setting).await
}

/// Close a customer or a contract.
#[utoipa::path(post, path = "/api/v1/people/{kind}/{number}/close", tag = "registry",
    params(("kind" = String, Path, description = "customers or contracts"),
        ("number" = String, Path, description = "its number")),
    request_body = Closing, responses(
    (status = 200, body = ObjectDetail),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn close_people(
    app: Asked,
    Path((kind, number)): Path<(String, String)>,
    headers: HeaderMap,
    Body(closing): Body<Closing>,
) -> Result<Json<ObjectDetail>, Problem> {
    close(&app, &headers, Object::new(people(&kind)?, &number), closing).await
}

/// Build a meter in at a point.
#[utoipa::path(post, path = "/api/v1/points/{number}/install", tag = "registry",
    params(("number" = String, Path, description = "the point's number")),
    request_body = Fitting, responses(
    (status = 200, body = ObjectDetail),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn install(
    app: Asked,
    Path(point): Path<String>,
    headers: HeaderMap,
    Body(new): Body<Fitting>,
) -> Result<Json<ObjectDetail>, Problem> {
    let change = Change::Install {
        meter: new.meter,
        point: point.clone(),
        from: body::at("from", new.from.as_deref())?,
        registers: body::registers(new.registers)?,
        reason: new.reason,
    };
    propose(&app, &headers, change, Object::new(Kind::Point, &point)).await
}

/// Take a meter out of a point.
#[utoipa::path(post, path = "/api/v1/points/{number}/remove", tag = "registry",
    params(("number" = String, Path, description = "the point's number")),
    request_body = Fitting, responses(
    (status = 200, body = ObjectDetail),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn remove(
    app: Asked,
    Path(point): Path<String>,
    headers: HeaderMap,
    Body(old): Body<Fitting>,
) -> Result<Json<ObjectDetail>, Problem> {
    let from = body::at("from", old.from.as_deref())?;
    // It may have been built in at another node a moment ago.
    let view = app.fresh_view().await?;
    let there = registry::installation(&view, &old.meter, Stamp(u64::MAX))?;
    if there.as_deref() != Some(point.as_str()) {
        let text = format!("{} at {point}", old.meter);
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(Problem::new(status, "meter_not_installed", text));
    }
    let registers = body::registers(old.registers)?;
    let change = Change::Remove { meter: old.meter, from, registers, reason: old.reason };
    propose(&app, &headers, change, Object::new(Kind::Point, &point)).await
}

/// Exchange the meter of a point: the old one's last and the new one's first registers, both or
/// neither, at one time.
#[utoipa::path(post, path = "/api/v1/points/{number}/exchange", tag = "registry",
    params(("number" = String, Path, description = "the point's number")),
    request_body = Exchange, responses(
    (status = 200, body = ObjectDetail),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn exchange(
    app: Asked,
    Path(point): Path<String>,
    headers: HeaderMap,
    Body(new): Body<Exchange>,
) -> Result<Json<ObjectDetail>, Problem> {
    let change = Change::Exchange {
        point: point.clone(),
        old: new.old,
        new: new.new,
        from: body::at("from", new.from.as_deref())?,
        last: body::registers(new.last)?,
        first: body::registers(new.first)?,
        reason: new.reason,
    };
    propose(&app, &headers, change, Object::new(Kind::Point, &point)).await
}

async fn set(
    app: &Asked,
    headers: &HeaderMap,
    object: Object,
    setting: Setting,
) -> Result<Json<ObjectDetail>, Problem> {
    let change = Change::Set {
        object: object.clone(),
        body: setting.facts.body()?,
        from: body::at("from", setting.from.as_deref())?,
        reason: setting.reason,
    };
    propose(app, headers, change, object).await
}

async fn close(
    app: &Asked,
    headers: &HeaderMap,
    object: Object,
    closing: Closing,
) -> Result<Json<ObjectDetail>, Problem> {
    let from = body::at("from", closing.from.as_deref())?;
    let change = Change::Close { object: object.clone(), from, reason: closing.reason };
    propose(app, headers, change, object).await
}

/// Proposes, and answers with the object as it became.
async fn propose(
    app: &Asked,
    headers: &HeaderMap,
    change: Change,
    object: Object,
) -> Result<Json<ObjectDetail>, Problem> {
    let id = keys::proposal_id(headers, "registry")?;
    app.propose(id, domain::Change::Registry(change)).await?;
    detail(&app.fresh_view().await?, &object, None).map(Json)
}

fn network(plural: &str) -> Result<Kind, Problem> {
    let kind = kind_of(plural)?;
    let fits = matches!(kind, Kind::Feeder | Kind::Transformer | Kind::Point | Kind::Item);
    if fits { Ok(kind) } else { Err(Problem::missing("unknown_kind", plural.to_owned())) }
}

fn people(plural: &str) -> Result<Kind, Problem> {
    let kind = kind_of(plural)?;
    let fits = kind.is_personal();
    if fits { Ok(kind) } else { Err(Problem::missing("unknown_kind", plural.to_owned())) }
}
