//! Rollouts: the same done to many concentrators, wave by wave.
//!
//! Invariant: an answer shows what the log says; what was ordered of a device is its command's.

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use domain::setups::{self, Change, Fate, MAX_TARGETS, Plan, Rollout, Steering, Target, Work};
use domain::{Done, View, assets};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::areas::setups::DEFAULT_TRIAL_S;
use crate::areas::{ListParams, Page, keys, time};
use crate::http::asked::Asked;
use crate::http::extract::{Body, Params};
use crate::http::problem::{Problem, ProblemBody};

/// Devices of a rollout in one answer.
const PAGE: usize = 1_000;
/// Concentrators that one look goes through.
const CHUNK: usize = 500;

/// A rollout to begin.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRollout {
    /// push (what is wanted of each), restart, or read (all parameters).
    pub work: WorkName,
    /// Logical device names; with `template` those of it are added.
    #[serde(default)]
    pub concentrators: Vec<String>,
    /// All concentrators of which this template is wanted.
    #[serde(default)]
    pub template: Option<String>,
    /// So many at a time, 1 to 256; 10 when left out.
    #[serde(default)]
    pub wave: Option<u16>,
    /// When more than this share of a wave failed, nothing more is ordered; 20 when left out.
    #[serde(default)]
    pub stop_percent: Option<u8>,
    /// So long an order waits for its concentrator, 10 s to a day; 300 when left out.
    #[serde(default)]
    pub wait_s: Option<u32>,
    /// So long a new address has to prove itself, 5 to 3600 s; 120 when left out.
    #[serde(default)]
    pub trial_s: Option<u16>,
    /// Why; 1 to 500 letters.
    pub reason: String,
}

/// What a rollout does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkName {
    /// Set each to what is wanted of it.
    Push,
    /// Restart each.
    Restart,
    /// Read all parameters of each.
    Read,
}

/// A rollout.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RolloutBody {
    /// Its number.
    pub id: u64,
    /// push, restart or read.
    pub work: String,
    /// running, paused, stopped (too much of a wave failed), aborted or done.
    pub phase: String,
    /// How many concentrators.
    pub total: u16,
    /// How many had their turn.
    pub ordered: u16,
    /// How many were read back as ordered, or read.
    pub verified: u16,
    /// How many failed.
    pub failed: u16,
    /// Ordered and without outcome.
    pub open: u16,
    /// Number of the wave, from 1.
    pub wave: u16,
    /// Concentrators of a wave.
    pub wave_size: u16,
    /// How many of the wave failed.
    pub wave_failed: u16,
    /// When more than this share of a wave failed, nothing more is ordered.
    pub stop_percent: u8,
    /// So long an order waits for its concentrator.
    pub wait_s: u32,
    /// Who began it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub begun: String,
    /// When it was over.
    pub ended: Option<String>,
    /// Who paused, resumed or aborted it last.
    pub steered_by: Option<String>,
    /// Why.
    pub steered_reason: Option<String>,
}

/// A rollout with its devices.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RolloutDetail {
    /// The rollout.
    #[serde(flatten)]
    pub rollout: RolloutBody,
    /// Devices in order of their turns, at most 1000.
    pub targets: Vec<TargetBody>,
    /// `from` of the next page; null on the last one.
    pub next: Option<u16>,
}

/// A device of a rollout.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TargetBody {
    /// Logical device name.
    pub concentrator: String,
    /// waiting, ordered, verified or failed.
    pub fate: String,
    /// Why it failed.
    pub code: Option<String>,
    /// The order's command.
    pub command: Option<String>,
}

/// From where devices are shown.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct RolloutParams {
    /// Place of the first device; 0 when left out.
    pub from: Option<u16>,
}

/// What shall be of a rollout.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Steer {
    /// pause, resume or abort.
    pub to: SteerTo,
    /// Why; 1 to 500 letters.
    pub reason: String,
}

/// What a rollout can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SteerTo {
    /// Order nothing more for now.
    Pause,
    /// Go on.
    Resume,
    /// End, and take back what was not sent.
    Abort,
}

/// Rollouts, newest first.
#[utoipa::path(get, path = "/api/v1/rollouts", tag = "setups", params(ListParams),
    responses((status = 200, body = Page<RolloutBody>)))]
pub async fn list(
    app: Asked,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<RolloutBody>>, Problem> {
    let bad = |_| Problem::bad("bad_cursor", "not a cursor of this list");
    let before = params.cursor.as_deref().map(|text| text.parse().map_err(bad)).transpose()?;
    let limit = params.limit();
    let mut found = setups::rollouts(&app.view()?, before, limit + 1)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Json(Page { items: found.iter().map(body).collect(), next }))
}

/// Begin a rollout.
#[utoipa::path(post, path = "/api/v1/rollouts", tag = "setups", request_body = NewRollout,
    params(("Idempotency-Key" = Option<String>, Header, description = "repeats are one rollout")),
    responses(
    (status = 201, body = RolloutDetail),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn begin(
    app: Asked,
    headers: HeaderMap,
    Body(new): Body<NewRollout>,
) -> Result<(StatusCode, Json<RolloutDetail>), Problem> {
    let mut targets = new.concentrators;
    if let Some(template) = &new.template {
        targets.extend(with_template(&app.view()?, template)?);
        targets.sort_unstable();
        targets.dedup();
    }
    let work = match new.work {
        WorkName::Push => Work::Push { trial_s: new.trial_s.unwrap_or(DEFAULT_TRIAL_S) },
        WorkName::Restart => Work::Restart,
        WorkName::Read => Work::Read,
    };
    let plan = Plan {
        work,
        wave: new.wave.unwrap_or(10),
        stop_percent: new.stop_percent.unwrap_or(20),
        wait_s: new.wait_s.unwrap_or(300),
    };
    let change = Change::Roll { targets, plan, reason: new.reason };
    let proposal = keys::proposal_id(&headers, "rollout")?;
    let (_, done) = app.propose(proposal, domain::Change::Setups(change)).await?;
    let Done::Rollout { id } = done else { return Err(Problem::fault()) };
    let view = app.fresh_view().await?;
    Ok((StatusCode::CREATED, Json(detail(&view, id, 0)?)))
}

/// One rollout with its devices.
#[utoipa::path(get, path = "/api/v1/rollouts/{id}", tag = "setups",
    params(("id" = u64, Path, description = "number"), RolloutParams), responses(
    (status = 200, body = RolloutDetail),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(
    app: Asked,
    Path(id): Path<String>,
    Params(params): Params<RolloutParams>,
) -> Result<Json<RolloutDetail>, Problem> {
    detail(&app.view()?, number(&id)?, params.from.unwrap_or(0)).map(Json)
}

/// Pause, resume or abort a rollout.
#[utoipa::path(post, path = "/api/v1/rollouts/{id}", tag = "setups", request_body = Steer,
    params(("id" = u64, Path, description = "number")), responses(
    (status = 200, body = RolloutDetail),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn steer(
    app: Asked,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(wish): Body<Steer>,
) -> Result<Json<RolloutDetail>, Problem> {
    let id = number(&id)?;
    let to = match wish.to {
        SteerTo::Pause => Steering::Pause,
        SteerTo::Resume => Steering::Resume,
        SteerTo::Abort => Steering::Abort,
    };
    let change = Change::Steer { id, to, reason: wish.reason };
    let proposal = keys::proposal_id(&headers, "steer")?;
    app.propose(proposal, domain::Change::Setups(change)).await?;
    detail(&app.fresh_view().await?, id, 0).map(Json)
}

fn number(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| Problem::missing("unknown_rollout", text.to_owned()))
}

/// Concentrators within the asker's regions of which a template is wanted; one more than a rollout
/// takes at the most.
fn with_template(view: &dyn View, template: &str) -> Result<Vec<String>, Problem> {
    if setups::template(view, template)?.is_none() {
        return Err(Problem::missing("unknown_template", template));
    }
    let (mut found, mut behind) = (Vec::new(), None);
    loop {
        let chunk = assets::concentrators(view, behind.as_deref(), CHUNK)?;
        let is_last = chunk.len() < CHUNK;
        for record in chunk {
            let wanted = setups::wanted(view, &record.id)?;
            let is_it = wanted.is_some_and(|one| one.template.as_deref() == Some(template));
            if is_it && record.retired.is_none() {
                found.push(record.id.clone());
            }
            behind = Some(record.id);
        }
        if is_last || found.len() > MAX_TARGETS {
            return Ok(found);
        }
    }
}

fn detail(view: &dyn View, id: u64, from: u16) -> Result<RolloutDetail, Problem> {
    let rollout = setups::rollout(view, id)?
        .ok_or_else(|| Problem::missing("unknown_rollout", id.to_string()))?;
    let mut found = setups::targets(view, id, from, PAGE + 1)?;
    let next = found.get(PAGE).map(|(place, _)| *place);
    found.truncate(PAGE);
    let targets = found.into_iter().map(|(_, target)| target_body(target)).collect();
    Ok(RolloutDetail { rollout: body(&rollout), targets, next })
}

fn body(rollout: &Rollout) -> RolloutBody {
    let (steered_by, steered_reason) = rollout.steered.clone().unzip();
    RolloutBody {
        id: rollout.id,
        work: rollout.plan.work.name().to_owned(),
        phase: rollout.phase.name().to_owned(),
        total: rollout.total,
        ordered: rollout.next,
        verified: rollout.verified,
        failed: rollout.failed,
        open: rollout.open,
        wave: rollout.wave,
        wave_size: rollout.plan.wave,
        wave_failed: rollout.wave_failed,
        stop_percent: rollout.plan.stop_percent,
        wait_s: rollout.plan.wait_s,
        by: rollout.by.clone(),
        reason: rollout.reason.clone(),
        begun: time::stamp(rollout.begun),
        ended: rollout.ended.map(time::stamp),
        steered_by,
        steered_reason,
    }
}

fn target_body(target: Target) -> TargetBody {
    let (fate, code) = match target.fate {
        Fate::Waiting => ("waiting", None),
        Fate::Ordered => ("ordered", None),
        Fate::Verified => ("verified", None),
        Fate::Failed(code) => ("failed", Some(code)),
    };
    let command = target.command.map(|id| id.to_string());
    TargetBody { concentrator: target.concentrator, fate: fate.to_owned(), code, command }
}
