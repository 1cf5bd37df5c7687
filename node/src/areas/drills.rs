//! Drills of the API: what there is, a drill's record and report, its end.
//!
//! Not whether one may begin (`begin`), what happens while one runs (`run`), plans (`plans`), nor
//! how it looks (`page`). Invariant: a report is given out octet by octet as it was sealed,
//! and whether the seal holds is told with it.

pub mod begin;
pub mod due;
pub mod page;
pub mod plans;
pub mod run;

use axum::Json;
use axum::extract::Path;
use axum::http::HeaderMap;
use domain::drills::{self, Change, Record, Sealed, State as Stands};
use domain::{Stamp, View};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::app::App;
use crate::areas::{keys, time};
use crate::drills::report::Report;
use crate::drills::scenario::{Limit, SCENARIOS, Scenario, Whom};
use crate::drills::signature::Signer;
use crate::http::asked::Asked;
use crate::http::extract::Body;
use crate::http::problem::{Problem, ProblemBody};
use crate::secret::hex;

/// A scenario and how it went last.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ScenarioBody {
    /// Its name.
    pub name: String,
    /// What is to be shown.
    pub hypothesis: String,
    /// What is done.
    pub does: String,
    /// To whom when nobody is named: leader, follower, owner, everyone.
    pub whom: String,
    /// What it touches at most.
    pub blast_radius: String,
    /// How it is undone.
    pub undo: String,
    /// How long the failure lasts when nothing is said, s; 0 where it does not last.
    pub hold_s: u32,
    /// Promise and limit of writes, reads and the channel, ms.
    pub limits: Vec<LimitBody>,
    /// Alerts that a watching system should raise.
    pub alerts: Vec<String>,
    /// The last run that has a report.
    pub last: Option<DrillBody>,
    /// When it passed last.
    pub last_passed: Option<String>,
    /// Seconds since then.
    pub age_s: Option<u64>,
}

/// A promise and a limit.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LimitBody {
    /// write, read or channel.
    pub kind: String,
    /// What we promise (p99), ms.
    pub promise_ms: u32,
    /// What fails a drill, ms.
    pub limit_ms: u32,
}

/// Scenarios and drills.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DrillsBody {
    /// Whether the answering node's configuration allows drills.
    pub allowed: bool,
    /// What there is.
    pub scenarios: Vec<ScenarioBody>,
    /// What was drilled, newest first.
    pub items: Vec<DrillBody>,
    /// The key by which anybody checks the signature of a report, 64 hex digits.
    pub public_key: String,
}

/// A drill.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DrillBody {
    /// Its number.
    pub id: u64,
    /// What was drilled.
    pub scenario: String,
    /// The node that was hurt.
    pub target: String,
    /// The concentrator whose channel was hurt; empty when none was.
    pub concentrator: String,
    /// Who drilled.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The last backup in the operator's words.
    pub backup: String,
    /// How long the failure lasts, ms.
    pub hold_ms: u32,
    /// When it began.
    pub begun: String,
    /// Over from then on in any case.
    pub until: String,
    /// When its failure was injected.
    pub injected: Option<String>,
    /// When it ended by a report or an abort.
    pub ended: Option<String>,
    /// open, finished, aborted, or abandoned: its time passed without a report.
    pub state: String,
    /// Who aborted it, and why.
    pub aborted: Option<String>,
    /// passed, failed or inconclusive.
    pub verdict: Option<String>,
    /// Longest time without an accepted write, ms.
    pub write_ms: Option<u32>,
    /// Longest time without an answered read, ms.
    pub read_ms: Option<u32>,
    /// Time until the channel worked again, ms.
    pub channel_ms: Option<u32>,
    /// Acknowledged writes that were lost.
    pub lost: Option<u32>,
    /// Writes that were applied twice.
    pub doubled: Option<u32>,
    /// Points that went otherwise than the scenario says.
    pub deviations: Option<u32>,
}

/// A drill with its report.
#[derive(Debug, Serialize, ToSchema)]
pub struct DrillReportBody {
    /// The drill.
    #[serde(flatten)]
    pub drill: DrillBody,
    /// The report as it was sealed; null while there is none.
    #[schema(value_type = Option<Report>)]
    pub report: Option<Box<RawValue>>,
    /// BLAKE3 of the drill's number and the report under a key of the cluster, 64 hex digits.
    pub seal: Option<String>,
    /// Whether the answering node finds the seal to be the cluster's.
    pub seal_holds: Option<bool>,
    /// Ed25519 over the purpose, the drill's number and the report, 128 hex digits; null where the
    /// seal does not hold.
    pub signature: Option<String>,
    /// The key by which anybody checks the signature, 64 hex digits.
    pub public_key: Option<String>,
    /// The node that judged and sealed.
    pub judge: Option<String>,
}

/// Scenarios with their last runs, and drills.
#[utoipa::path(get, path = "/api/v1/drills", tag = "drills", responses(
    (status = 200, body = DrillsBody),
))]
pub async fn list(app: Asked) -> Result<Json<DrillsBody>, Problem> {
    body(&app).map(Json)
}

/// Everything that there is to say.
pub fn body(app: &Asked) -> Result<DrillsBody, Problem> {
    let kept = drills::list(&app.view()?)?;
    let now = app.live()?.cluster.stamp_now();
    let scenarios = SCENARIOS.iter().map(|scenario| scenario_body(app, scenario, &kept, now));
    Ok(DrillsBody {
        allowed: app.config().drills.allowed,
        scenarios: scenarios.collect(),
        items: kept.iter().rev().map(|record| drill_body(app, record, now)).collect(),
        public_key: hex(&signer(app)?.public()),
    })
}

fn scenario_body(app: &App, scenario: &Scenario, kept: &[Record], now: Stamp) -> ScenarioBody {
    let whom = match scenario.whom {
        Whom::Leader => "leader",
        Whom::Follower => "follower",
        Whom::Owner => "owner",
        Whom::Everyone => "everyone",
    };
    let limit = |kind: &str, limit: Limit| LimitBody {
        kind: kind.to_owned(),
        promise_ms: limit.promise_ms,
        limit_ms: limit.limit_ms,
    };
    let mut limits = vec![limit("write", scenario.write), limit("read", scenario.read)];
    limits.extend(scenario.channel.map(|channel| limit("channel", channel)));
    let of = || kept.iter().rev().filter(|record| record.begin.scenario == scenario.name);
    let passed = of().find(|record| drills::passed(record)).and_then(|record| record.ended);
    ScenarioBody {
        name: scenario.name.to_owned(),
        hypothesis: scenario.hypothesis.to_owned(),
        does: scenario.does.to_owned(),
        whom: whom.to_owned(),
        blast_radius: scenario.blast_radius.to_owned(),
        undo: scenario.undo.to_owned(),
        hold_s: scenario.hold_s,
        limits,
        alerts: scenario.alerts.iter().map(|alert| (*alert).to_owned()).collect(),
        last: of().find(|record| record.summary.is_some()).map(|one| drill_body(app, one, now)),
        last_passed: passed.map(time::stamp),
        age_s: passed.map(|at| now.0.saturating_sub(at.0) / 1_000_000),
    }
}

/// A record in the API's words.
pub fn drill_body(app: &App, record: &Record, now: Stamp) -> DrillBody {
    let begin = &record.begin;
    let summary = record.summary.as_ref();
    let state = match &record.state {
        Stands::Finished => "finished",
        Stands::Aborted { .. } => "aborted",
        Stands::Open if record.is_open(now) => "open",
        Stands::Open => "abandoned",
    };
    let aborted = match &record.state {
        Stands::Aborted { by, why } => Some(format!("{by}: {why}")),
        _ => None,
    };
    DrillBody {
        id: record.id,
        scenario: begin.scenario.clone(),
        target: app.node_name(begin.target),
        concentrator: begin.concentrator.clone(),
        by: record.by.clone(),
        reason: begin.reason.clone(),
        backup: begin.backup.clone(),
        hold_ms: begin.hold_ms,
        begun: time::stamp(record.begun),
        until: time::stamp(record.until),
        injected: record.injected.map(time::stamp),
        ended: record.ended.map(time::stamp),
        state: state.to_owned(),
        aborted,
        verdict: summary.map(|summary| summary.verdict.name().to_owned()),
        write_ms: summary.and_then(|summary| summary.write_ms),
        read_ms: summary.and_then(|summary| summary.read_ms),
        channel_ms: summary.and_then(|summary| summary.channel_ms),
        lost: summary.map(|summary| summary.lost),
        doubled: summary.map(|summary| summary.doubled),
        deviations: summary.map(|summary| summary.deviations),
    }
}

/// A drill with its report.
#[utoipa::path(get, path = "/api/v1/drills/{id}", tag = "drills",
    params(("id" = u64, Path, description = "number of the drill")), responses(
    (status = 200, body = DrillReportBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn show(app: Asked, Path(id): Path<u64>) -> Result<Json<DrillReportBody>, Problem> {
    report_body(&app, &app.view()?, id).map(Json)
}

/// A drill with its report, as a view has it.
pub fn report_body(app: &App, view: &dyn View, id: u64) -> Result<DrillReportBody, Problem> {
    let record = record(view, id)?;
    let sealed = drills::report(view, id)?;
    let now = app.live()?.cluster.stamp_now();
    let holds = |sealed: &Sealed| app.master().seal_holds(id, &sealed.report, &sealed.seal);
    let raw = |sealed: &Sealed| {
        let text = String::from_utf8(sealed.report.clone()).ok()?;
        RawValue::from_string(text).ok()
    };
    let signer = signer(app)?;
    // What the cluster did not seal is not signed either.
    let genuine = sealed.as_ref().filter(|sealed| holds(sealed));
    Ok(DrillReportBody {
        drill: drill_body(app, &record, now),
        signature: genuine.map(|sealed| hex(&signer.sign(id, &sealed.report))),
        public_key: genuine.map(|_| hex(&signer.public())),
        seal: sealed.as_ref().map(|sealed| hex(&sealed.seal)),
        seal_holds: sealed.as_ref().map(holds),
        judge: sealed.as_ref().map(|sealed| app.node_name(sealed.node)),
        report: sealed.as_ref().and_then(raw),
    })
}

/// What signs the cluster's reports.
fn signer(app: &App) -> Result<Signer, Problem> {
    app.master().signer().map_err(|error| {
        tracing::error!(%error, "reports cannot be signed");
        Problem::fault()
    })
}

fn record(view: &dyn View, id: u64) -> Result<Record, Problem> {
    drills::drill(view, id)?.ok_or_else(|| Problem::missing("unknown_drill", id.to_string()))
}

/// Why a drill is ended.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// For people.
    pub why: String,
}

/// End a drill before its time; what lasts is undone wherever a node can hear of it.
#[utoipa::path(post, path = "/api/v1/drills/{id}/abort", tag = "drills", request_body = Abort,
    params(("id" = u64, Path, description = "number of the drill")), responses(
    (status = 200, body = DrillReportBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn abort(
    app: Asked,
    Path(id): Path<u64>,
    headers: HeaderMap,
    Body(wish): Body<Abort>,
) -> Result<Json<DrillReportBody>, Problem> {
    let change = Change::Abort { drill: id, why: wish.why };
    let proposal = keys::proposal_id(&headers, "drill abort")?;
    app.propose(proposal, domain::Change::Drills(change)).await?;
    report_body(&app, &app.fresh_view().await?, id).map(Json)
}
