//! Parameters of the whole cluster: shown with their bounds and history, set with a reason.
//!
//! Invariant: who sets one says which version was seen last, so two people do not overwrite each
//! other unseen.

use axum::Json;
use axum::extract::Path;
use axum::http::HeaderMap;
use domain::parameters::{self, Definition, Setting};
use domain::{ProposalId, Stamp, View};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::areas::{Page, keys, time};
use crate::http::asked::Asked;
use crate::http::extract::Body;
use crate::http::problem::{Problem, ProblemBody};

/// A parameter.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ParameterBody {
    /// Its name.
    pub name: String,
    /// The value that counts now.
    pub value: u32,
    /// Its unit.
    pub unit: String,
    /// The version that counts now; 0: the default.
    pub version: u32,
    /// The last version, which may begin later.
    pub last_version: u32,
    /// The least value besides 0.
    pub least: u32,
    /// The greatest value.
    pub most: u32,
    /// What counts without any setting.
    pub default: u32,
    /// What it means.
    pub about: String,
}

/// A parameter with its history.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ParameterDetail {
    /// The parameter.
    #[serde(flatten)]
    pub parameter: ParameterBody,
    /// Every version, oldest first.
    pub history: Vec<SettingBody>,
}

/// One version of a parameter.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SettingBody {
    /// 1 and up.
    pub version: u32,
    /// Its value.
    pub value: u32,
    /// From when on it counts.
    pub from: String,
    /// When it was set.
    pub set: String,
    /// Who set it.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// A parameter's new value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSetting {
    /// Its value.
    pub value: u32,
    /// From when on it counts (RFC 3339); at once when left out.
    pub from: Option<String>,
    /// `last_version` as it was seen.
    pub seen: u32,
    /// Why; 1 to 500 letters.
    pub reason: String,
}

fn body(definition: &Definition, history: &[Setting], now: Stamp) -> ParameterBody {
    let counts = parameters::counting(history, now);
    ParameterBody {
        name: definition.name.to_owned(),
        value: counts.map_or(definition.default, |setting| setting.value),
        unit: definition.unit.to_owned(),
        version: counts.map_or(0, |setting| setting.version),
        last_version: history.last().map_or(0, |setting| setting.version),
        least: definition.least,
        most: definition.most,
        default: definition.default,
        about: definition.about.to_owned(),
    }
}

fn setting(setting: &Setting) -> SettingBody {
    SettingBody {
        version: setting.version,
        value: setting.value,
        from: time::stamp(setting.from),
        set: time::stamp(setting.stamp),
        author: setting.author.clone(),
        reason: setting.reason.clone(),
    }
}

/// Every parameter as it counts now.
pub fn all(app: &Asked) -> Result<Vec<ParameterBody>, Problem> {
    let (view, now) = (app.view()?, app.live()?.cluster.stamp_now());
    let one = |definition: &Definition| {
        Ok(body(definition, &parameters::history(&view, definition.name)?, now))
    };
    parameters::DEFINITIONS.iter().map(one).collect()
}

/// One parameter with its history.
pub fn one(app: &Asked, name: &str) -> Result<ParameterDetail, Problem> {
    detail(&app.view()?, name, app.live()?.cluster.stamp_now())
}

fn detail(view: &dyn View, name: &str, now: Stamp) -> Result<ParameterDetail, Problem> {
    let definition = parameters::definition(name)
        .ok_or_else(|| Problem::missing("unknown_parameter", name.to_owned()))?;
    let history = parameters::history(view, name)?;
    let parameter = body(definition, &history, now);
    Ok(ParameterDetail { parameter, history: history.iter().map(setting).collect() })
}

/// Every parameter with the value that counts now.
#[utoipa::path(get, path = "/api/v1/parameters", tag = "cluster",
    responses((status = 200, body = Page<ParameterBody>)))]
pub async fn list(app: Asked) -> Result<Json<Page<ParameterBody>>, Problem> {
    Ok(Json(Page { items: all(&app)?, next: None }))
}

/// One parameter with its history.
#[utoipa::path(get, path = "/api/v1/parameters/{name}", tag = "cluster",
    params(("name" = String, Path, description = "name")), responses(
    (status = 200, body = ParameterDetail),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(app: Asked, Path(name): Path<String>) -> Result<Json<ParameterDetail>, Problem> {
    one(&app, &name).map(Json)
}

/// Set a parameter: a new version of it.
#[utoipa::path(post, path = "/api/v1/parameters/{name}", tag = "cluster",
    request_body = NewSetting,
    params(("name" = String, Path, description = "name"),
        ("Idempotency-Key" = Option<String>, Header, description = "repeats are one setting")),
    responses(
    (status = 200, body = ParameterDetail),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn set(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(new): Body<NewSetting>,
) -> Result<Json<ParameterDetail>, Problem> {
    let key = headers
        .get("idempotency-key")
        .map(|value| value.to_str().map_err(|_| Problem::bad("bad_idempotency_key", "not ASCII")));
    let id = keys::request_id("parameter", key.transpose()?)?;
    order(&app, id, &name, new).await.map(Json)
}

/// Sets a parameter under an id, so that a repeat is one setting.
pub async fn order(
    app: &Asked,
    id: ProposalId,
    name: &str,
    new: NewSetting,
) -> Result<ParameterDetail, Problem> {
    let from = new.from.as_deref().map(|text| time::parse("from", text)).transpose()?;
    let past = || Problem::bad("bad_time", "from: a time before 1970");
    let from = from.map(|from_s| u64::try_from(from_s).map_err(|_| past())).transpose()?;
    let change = parameters::Change::Set {
        name: name.to_owned(),
        value: new.value,
        from: from.map(Stamp::from_seconds),
        seen: new.seen,
        reason: new.reason,
    };
    app.propose(id, domain::Change::Parameters(change)).await?;
    let view = app.fresh_view().await?;
    detail(&view, name, app.live()?.cluster.stamp_now())
}
