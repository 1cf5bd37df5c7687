//! Collection tasks: made, changed, paused, run and removed; and what came of each run.
//!
//! Invariants: who changes a task says which version was seen last; a rate of a run has the meters
//! it concerned when it began as its denominator, whether they were reached or not.

mod body;

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use domain::tasks::{self, Change, Task};
use domain::{Device, View, assets};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub use body::{NewTask, RunBody, TaskBody, WhomBody};

use crate::areas::{Page, keys, matches, number, time};
use crate::http::asked::Asked;
use crate::http::extract::{Body, Params};
use crate::http::problem::{Problem, ProblemBody};

/// What the list of tasks takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct TaskParams {
    /// Only tasks whose names contain this text, whatever its case.
    pub query: Option<String>,
}

/// What the list of meters that were given up takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct GivenUpParams {
    /// Which run; the last one when left out. Of older runs only the numbers are kept where a
    /// device was read for a newer one.
    pub run: Option<u64>,
    /// 1 to 1000 items; 100 when left out. Those of one device stay together.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// What the list of clocks takes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ClockParams {
    /// 1 to 1000 items; 100 when left out.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// The clock of a concentrator.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ClockBody {
    /// Logical device name.
    pub concentrator: String,
    /// How far it was off, seconds; ahead of ours is more than 0.
    pub offset_s: String,
    /// When that was measured.
    pub measured: String,
}

/// A meter that was given up in a run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct GivenUpBody {
    /// Its serial.
    pub serial: String,
    /// The concentrator it is reached through; null for a meter with an address of its own.
    pub concentrator: Option<String>,
    /// Why.
    pub reason: String,
}

/// Every task with its last run, in order of the names.
#[utoipa::path(get, path = "/api/v1/tasks", tag = "tasks", params(TaskParams),
    responses((status = 200, body = Page<TaskBody>)))]
pub async fn list(
    app: Asked,
    Params(params): Params<TaskParams>,
) -> Result<Json<Page<TaskBody>>, Problem> {
    Ok(Json(Page { items: found(&app, params.query.as_deref())?, next: None }))
}

/// The tasks whose names contain a text.
pub fn found(app: &Asked, query: Option<&str>) -> Result<Vec<TaskBody>, Problem> {
    let (view, now) = (app.view()?, app.live()?.cluster.stamp_now());
    let found = tasks::tasks(&view)?;
    let wanted = found.iter().filter(|task| matches(query, &[&task.name]));
    wanted.map(|task| Ok(body::task(&view, task, now)?)).collect()
}

/// A task with its runs, newest first.
pub fn with_runs(app: &Asked, name: &str) -> Result<(TaskBody, Vec<RunBody>), Problem> {
    let (view, now) = (app.view()?, app.live()?.cluster.stamp_now());
    let task = known(&view, name)?;
    let runs = tasks::runs(&view, &task)?;
    Ok((body::task(&view, &task, now)?, runs.iter().rev().map(body::run).collect()))
}

/// Make a task, or change one: its open run ends.
#[utoipa::path(post, path = "/api/v1/tasks", tag = "tasks", request_body = NewTask,
    params(("Idempotency-Key" = Option<String>, Header, description = "repeats are one change")),
    responses(
    (status = 200, body = TaskBody),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn set(
    app: Asked,
    headers: HeaderMap,
    Body(new): Body<NewTask>,
) -> Result<Json<TaskBody>, Problem> {
    let (name, seen) = (new.name.clone(), new.seen);
    let rule = Box::new(new.rule()?);
    propose(&app, &headers, Change::Set { name: name.clone(), rule, seen }).await?;
    shown(&app, &name).await
}

/// One task with its last run.
#[utoipa::path(get, path = "/api/v1/tasks/{name}", tag = "tasks",
    params(("name" = String, Path, description = "name")), responses(
    (status = 200, body = TaskBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(app: Asked, Path(name): Path<String>) -> Result<Json<TaskBody>, Problem> {
    let (view, now) = (app.view()?, app.live()?.cluster.stamp_now());
    Ok(Json(body::task(&view, &known(&view, &name)?, now)?))
}

/// Remove a task with its runs. What was read stays.
#[utoipa::path(delete, path = "/api/v1/tasks/{name}", tag = "tasks",
    params(("name" = String, Path, description = "name")), responses(
    (status = 204, description = "removed"),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn remove(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    propose(&app, &headers, Change::Remove { name }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begin no run of a task and go on with none, until it is resumed.
#[utoipa::path(post, path = "/api/v1/tasks/{name}/pause", tag = "tasks",
    params(("name" = String, Path, description = "name")), responses(
    (status = 200, body = TaskBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn pause(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<TaskBody>, Problem> {
    propose(&app, &headers, Change::Pause { name: name.clone() }).await?;
    shown(&app, &name).await
}

/// Go on with a task that was paused.
#[utoipa::path(post, path = "/api/v1/tasks/{name}/resume", tag = "tasks",
    params(("name" = String, Path, description = "name")), responses(
    (status = 200, body = TaskBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn resume(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<TaskBody>, Problem> {
    propose(&app, &headers, Change::Resume { name: name.clone() }).await?;
    shown(&app, &name).await
}

/// Begin a run of a task now.
#[utoipa::path(post, path = "/api/v1/tasks/{name}/run", tag = "tasks",
    params(("name" = String, Path, description = "name")), responses(
    (status = 202, body = TaskBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn run(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<TaskBody>), Problem> {
    propose(&app, &headers, Change::Run { name: name.clone() }).await?;
    Ok((StatusCode::ACCEPTED, shown(&app, &name).await?))
}

/// The runs of a task that are kept, newest first: the last hundred.
#[utoipa::path(get, path = "/api/v1/tasks/{name}/runs", tag = "tasks",
    params(("name" = String, Path, description = "name")), responses(
    (status = 200, body = Page<RunBody>),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn runs(app: Asked, Path(name): Path<String>) -> Result<Json<Page<RunBody>>, Problem> {
    let view = app.view()?;
    let found = tasks::runs(&view, &known(&view, &name)?)?;
    Ok(Json(Page { items: found.iter().rev().map(body::run).collect(), next: None }))
}

/// Meters that were given up in a run, with the reason.
#[utoipa::path(get, path = "/api/v1/tasks/{name}/failures", tag = "tasks",
    params(("name" = String, Path, description = "name"), GivenUpParams), responses(
    (status = 200, body = Page<GivenUpBody>),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn failures(
    app: Asked,
    Path(name): Path<String>,
    Params(params): Params<GivenUpParams>,
) -> Result<Json<Page<GivenUpBody>>, Problem> {
    given_up(&app, &name, &params).map(Json)
}

/// Meters that were given up in a run of a task.
pub fn given_up(
    app: &Asked,
    name: &str,
    params: &GivenUpParams,
) -> Result<Page<GivenUpBody>, Problem> {
    let view = app.view()?;
    let task = known(&view, name)?;
    let behind = params.cursor.as_deref().map(device).transpose()?;
    let limit = params.limit.unwrap_or(100).clamp(1, 1000);
    let number = params.run.unwrap_or(task.runs);
    let found = tasks::given_up(&view, &task, number, behind.as_ref(), limit)?;
    let last = found.last().filter(|_| found.len() >= limit);
    let next = last.map(|one| cursor(&one.device));
    let items = found.into_iter().map(|one| {
        let place = assets::place(&view, one.ordinal)?;
        let concentrator = match one.device {
            Device::Concentrator(name) => Some(name),
            Device::Meter(_) => None,
        };
        let serial = place.map_or_else(|| one.ordinal.to_string(), |place| place.serial);
        Ok(GivenUpBody { serial, concentrator, reason: one.reason.name().to_owned() })
    });
    Ok(Page { items: items.collect::<Result<_, Problem>>()?, next })
}

/// How far the clocks of concentrators are off, as a task of clocks measured them last. Those of
/// meters are readings: the newest values of 0-0:1.0.0.
#[utoipa::path(get, path = "/api/v1/tasks/{name}/clocks", tag = "tasks",
    params(("name" = String, Path, description = "name"), ClockParams), responses(
    (status = 200, body = Page<ClockBody>),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn clocks(
    app: Asked,
    Path(name): Path<String>,
    Params(params): Params<ClockParams>,
) -> Result<Json<Page<ClockBody>>, Problem> {
    let view = app.view()?;
    let behind = params.cursor.as_deref().map(device).transpose()?;
    let limit = params.limit.unwrap_or(100).clamp(1, 1000);
    let found = tasks::clocks(&view, &known(&view, &name)?, behind.as_ref(), limit)?;
    let next = found.last().filter(|_| found.len() == limit).map(|(device, ..)| cursor(device));
    let items = found.into_iter().map(|(device, at, offset_ms)| ClockBody {
        concentrator: device.name().to_owned(),
        offset_s: number::decimal(offset_ms, -3),
        measured: time::stamp(at),
    });
    Ok(Json(Page { items: items.collect(), next }))
}

pub(super) fn cursor(device: &Device) -> String {
    match device {
        Device::Concentrator(name) => format!("c:{name}"),
        Device::Meter(serial) => format!("m:{serial}"),
    }
}

pub(super) fn device(text: &str) -> Result<Device, Problem> {
    match text.split_once(':') {
        Some(("c", name)) => Ok(Device::Concentrator(name.to_owned())),
        Some(("m", serial)) => Ok(Device::Meter(serial.to_owned())),
        _ => Err(Problem::bad("bad_cursor", "not a cursor of this list")),
    }
}

fn known(view: &dyn View, name: &str) -> Result<Task, Problem> {
    tasks::task(view, name)?.ok_or_else(|| Problem::missing("unknown_task", name))
}

async fn shown(app: &Asked, name: &str) -> Result<Json<TaskBody>, Problem> {
    let view = app.fresh_view().await?;
    let now = app.live()?.cluster.stamp_now();
    Ok(Json(body::task(&view, &known(&view, name)?, now)?))
}

async fn propose(app: &Asked, headers: &HeaderMap, change: Change) -> Result<(), Problem> {
    let id = keys::proposal_id(headers, "task")?;
    app.propose(id, domain::Change::Tasks(change)).await?;
    Ok(())
}
