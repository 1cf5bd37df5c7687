//! What a running drill asks of the nodes: numbered writes, reads, the injection, the verdict.
//!
//! Invariants: a write repeated with its number is one proposal and is applied once, at whichever
//! node it is repeated; a read is confirmed by a quorum; a node hurts itself only when the log has
//! noted it first, which it does once; a verdict is reckoned here, from the evidence and from this
//! cluster's own state, never taken from outside.

use std::time::Duration;

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use domain::drills::{self, Change, MAX_REPORT_OCTETS, Record};
use domain::{Author, Change as Any, NodeId, ProposalId, View, assets};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::{App, random_id};
use crate::areas::drills::{DrillReportBody, record, report_body};
use crate::areas::{keys, readings};
use crate::drills::acceptance;
use crate::drills::evidence::{Evidence, Held};
use crate::drills::judge::{Facts, Rolled, check, judge};
use crate::drills::{inject, scenario};
use crate::http::asked::Asked;
use crate::http::extract::{Body, Octets};
use crate::http::problem::{Problem, ProblemBody};

/// How long a write of a drill looks for a leader: its driver is about to send the next.
const PATIENCE: Duration = Duration::from_secs(3);

/// A numbered write.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Number {
    /// 0 to 65,535, each once.
    pub number: u32,
}

/// What is known of a number.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// The number.
    pub number: u32,
    /// Whether it was applied.
    pub applied: bool,
}

/// 403 unless this node's configuration allows drills.
pub fn refuse_unless_allowed(app: &App) -> Result<(), Problem> {
    if app.config().drills.allowed {
        return Ok(());
    }
    let text = "this node's configuration does not allow drills: drills.allowed";
    Err(Problem::new(StatusCode::FORBIDDEN, "drills_not_allowed", text))
}

fn own(app: &App) -> NodeId {
    NodeId(app.config().node.id)
}

/// Proposes for this node: what it did or found itself.
async fn tell(app: &App, id: ProposalId, change: Change) -> Result<u64, Problem> {
    let cluster = &app.live()?.cluster;
    let author = Author::Node(own(app));
    let answer = cluster.propose(id, author, Any::Drills(change), app.propose_timeout()).await;
    let (index, outcome) = answer.map_err(Problem::from)?;
    outcome?;
    Ok(index)
}

/// A numbered write. The same number again is the same write, at any node.
#[utoipa::path(post, path = "/api/v1/drills/{id}/probes", tag = "drills", request_body = Number,
    params(("id" = u64, Path, description = "number of the drill")), responses(
    (status = 201, body = Applied),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn write(
    app: Asked,
    Path(drill): Path<u64>,
    Body(Number { number }): Body<Number>,
) -> Result<(StatusCode, Json<Applied>), Problem> {
    let id = keys::request_id("drill write", Some(&format!("{drill} {number}")))?;
    let change = Any::Drills(Change::Probe { drill, number });
    let done = tokio::time::timeout(PATIENCE, app.propose(id, change)).await;
    done.map_err(|_| Problem::unavailable("no leader took it in time"))??;
    Ok((StatusCode::CREATED, Json(Applied { number, applied: true })))
}

/// Whether a number was applied, as a quorum knows it.
#[utoipa::path(get, path = "/api/v1/drills/{id}/probes/{number}", tag = "drills",
    params(("id" = u64, Path, description = "number of the drill"),
        ("number" = u32, Path, description = "number of the write")), responses(
    (status = 200, body = Applied),
    (status = 503, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn read(
    app: Asked,
    Path((drill, number)): Path<(u64, u32)>,
) -> Result<Json<Applied>, Problem> {
    let view = tokio::time::timeout(PATIENCE, app.fresh_view()).await;
    let view = view.map_err(|_| Problem::unavailable("no quorum answered in time"))??;
    let applied = drills::has_probe(&view, drill, number)?;
    Ok(Json(Applied { number, applied }))
}

/// Every numbered write of a drill that the answering node holds, after a quorum has confirmed
/// that it holds all.
#[utoipa::path(get, path = "/api/v1/drills/{id}/probes", tag = "drills",
    params(("id" = u64, Path, description = "number of the drill")), responses(
    (status = 200, body = Held),
    (status = 503, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn held(app: Asked, Path(drill): Path<u64>) -> Result<Json<Held>, Problem> {
    let view = app.fresh_view().await?;
    record(&view, drill)?;
    let drills::Probed { runs, again } = drills::probed(&view, drill)?;
    Ok(Json(Held { runs, again }))
}

/// Tell the answering node, which must be the drill's target, to hurt itself now. It does so after
/// the log has noted it, once.
#[utoipa::path(post, path = "/api/v1/drills/{id}/injection", tag = "drills",
    params(("id" = u64, Path, description = "number of the drill")), responses(
    (status = 202, body = DrillReportBody),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn begin_injection(
    app: Asked,
    Path(drill): Path<u64>,
) -> Result<(StatusCode, Json<DrillReportBody>), Problem> {
    refuse_unless_allowed(&app)?;
    one_at_a_time(&app, drill)?;
    // A fresh id each time: the log itself refuses a second one.
    let change = Change::Inject { drill, node: own(&app) };
    tell(&app, random_id()?, change).await?;
    let view = app.fresh_view().await?;
    let Record { begin, .. } = record(&view, drill)?;
    let scenario = scenario::find(&begin.scenario)
        .ok_or_else(|| Problem::missing("unknown_scenario", begin.scenario.clone()))?;
    let body = report_body(&app, &view, drill)?;
    let hold = Duration::from_millis(u64::from(begin.hold_ms));
    inject::inject(app.live()?, scenario.injection, &begin.concentrator, hold);
    Ok((StatusCode::ACCEPTED, Json(body)))
}

/// Refuses a node's turn while this node misses another: never two at a time, whoever drives.
fn one_at_a_time(app: &App, drill: u64) -> Result<(), Problem> {
    let cluster = &app.live()?.cluster;
    if drills::roll(&cluster.view(), drill)?.is_none() {
        return Ok(());
    }
    let status = cluster.status();
    let missing = status.nodes.iter().filter(|node| node.voter && !node.reachable);
    let missing: Vec<&str> = missing.map(|node| node.name.as_str()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!("{} does not reach {}", status.name, missing.join(", "));
    Err(Problem::new(StatusCode::CONFLICT, "drill_unsafe", text))
}

/// Undo whatever a drill has done to the answering node and what lasts still.
#[utoipa::path(delete, path = "/api/v1/drills/{id}/injection", tag = "drills",
    params(("id" = u64, Path, description = "number of the drill")), responses((status = 204)))]
pub async fn end_injection(app: Asked, Path(drill): Path<u64>) -> Result<StatusCode, Problem> {
    let live = app.live()?;
    inject::undo(&live.cluster);
    if let Some(record) = drills::drill(&app.view()?, drill)? {
        inject::mend_channel(&live.gateway, &record.begin.concentrator);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Hand the evidence of a drill in: the answering node judges it against the cluster's own state,
/// seals the report and keeps it in the log.
#[utoipa::path(post, path = "/api/v1/drills/{id}/evidence", tag = "drills", request_body = Evidence,
    params(("id" = u64, Path, description = "number of the drill")), responses(
    (status = 201, body = DrillReportBody),
    (status = 400, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn finish(
    app: Asked,
    Path(drill): Path<u64>,
    Octets(octets): Octets,
) -> Result<(StatusCode, Json<DrillReportBody>), Problem> {
    let evidence: Evidence = serde_json::from_slice(&octets)
        .map_err(|error| Problem::bad("bad_evidence", error.to_string()))?;
    let blake3 = blake3::hash(&octets).to_hex().to_string();
    let view = app.fresh_view().await?;
    let record = record(&view, drill)?;
    let scenario = scenario::find(&record.begin.scenario)
        .ok_or_else(|| Problem::missing("unknown_scenario", record.begin.scenario.clone()))?;
    let status = app.live()?.cluster.status();
    let members: Vec<String> = status.nodes.iter().map(|node| node.name.clone()).collect();
    check(&evidence, &members).map_err(|why| Problem::bad("bad_evidence", why))?;
    let drills::Probed { runs, again } = drills::probed(&view, drill)?;
    let target = app.node_name(record.begin.target);
    let held = Held { runs, again };
    let figures = figures(&app, &view, &evidence)?;
    let roll = drills::roll(&view, drill)?.map(|roll| {
        let named = roll.nodes.iter().map(|(node, at)| (app.node_name(*node), at.is_some()));
        Rolled { nodes: named.collect(), to: roll.to.clone() }
    });
    let judging = move || {
        let judge_name = status.name;
        let facts = Facts {
            record: &record,
            scenario,
            target,
            members,
            judge: judge_name,
            held,
            figures,
            roll,
            blake3,
        };
        let (report, summary) = judge(&evidence, &facts);
        serde_json::to_vec(&report).map(|report| (report, summary))
    };
    let judged = tokio::task::spawn_blocking(judging).await.map_err(|error| fault(&error))?;
    let (report, summary) = judged.map_err(|error| fault(&error))?;
    if report.len() > MAX_REPORT_OCTETS {
        return Err(Problem::bad("bad_evidence", "its report would be too long"));
    }
    let seal = app.master().seal(drill, &report);
    let id =
        keys::request_id("drill report", Some(&format!("{drill} {}", crate::secret::hex(&seal))))?;
    tracing::warn!(drill, verdict = summary.verdict.name(), "a drill is judged");
    tell(&app, id, Change::Finish { drill, node: own(&app), summary, report, seal }).await?;
    let body = report_body(&app, &app.fresh_view().await?, drill)?;
    Ok((StatusCode::CREATED, Json(body)))
}

/// What this node holds of the customer's figures, where some were measured.
fn figures(app: &App, view: &dyn View, evidence: &Evidence) -> Result<acceptance::Held, Problem> {
    let Some(measured) = &evidence.measured else { return Ok(acceptance::Held::default()) };
    let counts = assets::counts(view)?;
    let mut kept = drills::list(view)?;
    kept.retain(|record| measured.drills.values().flatten().any(|id| *id == record.id));
    Ok(acceptance::Held {
        meters: u64::from(counts.meters),
        concentrators: u64::from(counts.concentrators),
        day: app.collected().day.all,
        now_s: readings::now(),
        drills: kept,
        is_debug: cfg!(debug_assertions),
    })
}

fn fault(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "evidence cannot be judged");
    Problem::fault()
}
