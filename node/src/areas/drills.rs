//! Drills of the API: what there is, whether one may begin, its begin, its record and report.
//!
//! Not what happens while one runs (`run`) nor how it looks (`page`). Invariants: nothing begins
//! on a cluster whose guard rails say no, whoever asks; a report is given out octet by octet as it
//! was sealed, and whether the seal holds is told with it.

pub mod page;
pub mod run;

use std::time::Duration;

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use cluster::NodeStatus;
use domain::drills::{self, Begin, Change, Record, Sealed, State as Stands};
use domain::{Device, NodeId, Stamp, View, assets, leases};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::areas::{keys, time};
use crate::drills::guard::{self, Channel, Holds, Rail, Situation};
use crate::drills::report::Report;
use crate::drills::scenario::{self, Limit, MAX_HOLD_S, SCENARIOS, Scenario, Whom};
use crate::http::asked::Asked;
use crate::http::extract::{Body, Params};
use crate::http::problem::{Problem, ProblemBody};
use crate::secret::hex;

/// Concentrators that are looked through for one with a standby.
const LOOKED_AT: usize = 10_000;

/// A scenario and how it went last.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ScenarioBody {
    /// Its name.
    pub name: String,
    /// What is to be shown.
    pub hypothesis: String,
    /// What is done.
    pub does: String,
    /// To whom when nobody is named: leader, follower, owner.
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
    /// The node that judged and sealed.
    pub judge: Option<String>,
}

/// What to drill.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// The scenario.
    pub scenario: String,
    /// The node to hurt, by name or number; whom the scenario means when left out.
    pub on: Option<String>,
    /// The concentrator whose channel to hurt; one with a standby when left out.
    pub concentrator: Option<String>,
    /// How long the failure lasts, where it lasts: 1 to 60 s.
    pub hold_s: Option<u32>,
    /// Why; for people.
    pub reason: Option<String>,
    /// The last backup, in the operator's words; `none` says that there is none.
    pub backup: Option<String>,
}

/// What would be done, and the answers of the guard rails.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PlanBody {
    /// What would be drilled.
    pub scenario: ScenarioBody,
    /// The node that would be hurt; null when there is none.
    pub target: Option<String>,
    /// Its HTTP address.
    pub target_url: Option<String>,
    /// The concentrator whose channel would be hurt; empty when none would.
    pub concentrator: String,
    /// How long the failure would last, s; 0 where it does not last.
    pub hold_s: u32,
    /// The drill is over after so many seconds whatever happens.
    pub limit_s: u32,
    /// Whether it may begin: no rail is bad.
    pub may_begin: bool,
    /// The guard rails.
    pub rails: Vec<Rail>,
}

/// A drill that was begun.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BegunBody {
    /// Its number.
    pub id: u64,
    /// What was planned.
    #[serde(flatten)]
    pub plan: PlanBody,
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
    })
}

fn scenario_body(app: &App, scenario: &Scenario, kept: &[Record], now: Stamp) -> ScenarioBody {
    let whom = match scenario.whom {
        Whom::Leader => "leader",
        Whom::Follower => "follower",
        Whom::Owner => "owner",
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

/// What would be done, and whether the answering node lets it begin. Ask the leader: only it knows
/// how far the others are.
#[utoipa::path(get, path = "/api/v1/drills/plan", tag = "drills", params(Wish), responses(
    (status = 200, body = PlanBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn plan(app: Asked, Params(wish): Params<Wish>) -> Result<Json<PlanBody>, Problem> {
    Ok(Json(planned(&app, &wish)?.1))
}

type Planned = (Option<(NodeId, &'static Scenario)>, PlanBody);

fn planned(app: &Asked, wish: &Wish) -> Result<Planned, Problem> {
    let scenario = scenario::find(&wish.scenario)
        .ok_or_else(|| Problem::missing("unknown_scenario", wish.scenario.clone()))?;
    let hold_s = match wish.hold_s {
        Some(hold_s) if scenario.hold_s > 0 && !(1..=MAX_HOLD_S).contains(&hold_s) => {
            return Err(Problem::bad("bad_drill", format!("hold_s is 1 to {MAX_HOLD_S}")));
        }
        Some(hold_s) if scenario.hold_s > 0 => hold_s,
        _ => scenario.hold_s,
    };
    let view = app.view()?;
    let cluster = &app.live()?.cluster;
    let (status, now) = (cluster.status(), cluster.stamp_now());
    let kept = drills::list(&view)?;
    let wanted = scenario.injection.is_of_a_channel();
    let channel = if wanted { channel(app, &view, wish, now)? } else { None };
    let target = guard::target(scenario, &status, wish.on.as_deref(), channel.as_ref());
    let situation = Situation {
        allowed: app.config().drills.allowed,
        open: kept.iter().find(|record| record.is_open(now)).cloned(),
        backup: wish.backup.clone().unwrap_or_default(),
        channel,
        without_standby: target.map_or(Ok(0), |node| without_standby(&view, node.id))?,
    };
    let rails = guard::rails(scenario, &status, &situation, target);
    let body = PlanBody {
        scenario: scenario_body(app, scenario, &kept, now),
        target: target.map(|node| node.name.clone()),
        target_url: target.map(|node: &NodeStatus| node.http.clone()),
        concentrator: situation.channel.map_or_else(String::new, |channel| channel.concentrator),
        hold_s,
        limit_s: scenario.limit_s(hold_s),
        may_begin: rails.iter().all(|rail| rail.holds != Holds::Bad),
        rails,
    };
    Ok((target.map(|node| (node.id, scenario)), body))
}

/// The channel to hurt: of the named concentrator, or of the first that has a standby elsewhere.
fn channel(
    app: &App,
    view: &dyn View,
    wish: &Wish,
    now: Stamp,
) -> Result<Option<Channel>, Problem> {
    let name = |node: NodeId| app.node_name(node);
    let of = |device: &Device| -> Result<Channel, Problem> {
        let lease = leases::holder(view, device, now)?;
        let standbys = lease.iter().flat_map(|lease| lease.standbys.clone()).map(name);
        Ok(Channel {
            concentrator: device.name().to_owned(),
            owner: lease.as_ref().and_then(|lease| lease.owner).map(name),
            standbys: standbys.collect(),
        })
    };
    if let Some(id) = &wish.concentrator {
        let known = assets::concentrator(view, id)?.is_some();
        return known.then(|| of(&Device::Concentrator(id.clone()))).transpose();
    }
    for lease in leases::list(view, None, LOOKED_AT)? {
        if !matches!(lease.device, Device::Concentrator(_)) {
            continue;
        }
        let found = of(&lease.device)?;
        let owner = found.owner.clone();
        let owned = wish.on.is_none() || wish.on == owner;
        if owned
            && owner.is_some()
            && found.standbys.iter().any(|node| Some(node) != owner.as_ref())
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn without_standby(view: &dyn View, node: NodeId) -> Result<usize, domain::Fault> {
    let leases = leases::list(view, None, LOOKED_AT)?;
    let of = leases.iter().filter(|lease| {
        matches!(lease.device, Device::Concentrator(_)) && lease.owner == Some(node)
    });
    Ok(of.filter(|lease| lease.standbys.iter().all(|standby| *standby == node)).count())
}

/// Begin a drill: from now on its writes are taken, and its target may be told to hurt itself.
#[utoipa::path(post, path = "/api/v1/drills", tag = "drills", request_body = Wish, responses(
    (status = 201, body = BegunBody),
    (status = 403, body = ProblemBody, content_type = "application/problem+json"),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn begin(
    app: Asked,
    headers: HeaderMap,
    Body(wish): Body<Wish>,
) -> Result<(StatusCode, Json<BegunBody>), Problem> {
    run::refuse_unless_allowed(&app)?;
    let (chosen, plan) = planned(&app, &wish)?;
    let bad: Vec<String> = plan
        .rails
        .iter()
        .filter(|rail| rail.holds == Holds::Bad)
        .map(|rail| format!("{}: {}", rail.name, rail.detail))
        .collect();
    let (Some((target, scenario)), true) = (chosen, bad.is_empty()) else {
        return Err(Problem::new(StatusCode::CONFLICT, "drill_unsafe", bad.join("; ")));
    };
    let hold = Duration::from_secs(u64::from(plan.hold_s));
    let change = Change::Begin(Begin {
        scenario: scenario.name.to_owned(),
        target,
        concentrator: plan.concentrator.clone(),
        hold_ms: u32::try_from(hold.as_millis()).unwrap_or(u32::MAX),
        limit_s: plan.limit_s,
        reason: wish.reason.unwrap_or_default(),
        backup: wish.backup.unwrap_or_default(),
    });
    let proposal = keys::proposal_id(&headers, "drill")?;
    let (id, _) = app.propose(proposal, domain::Change::Drills(change)).await?;
    tracing::warn!(id, scenario = scenario.name, target = %target, "a drill begins");
    Ok((StatusCode::CREATED, Json(BegunBody { id, plan })))
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
    Ok(DrillReportBody {
        drill: drill_body(app, &record, now),
        seal: sealed.as_ref().map(|sealed| hex(&sealed.seal)),
        seal_holds: sealed.as_ref().map(holds),
        judge: sealed.as_ref().map(|sealed| app.node_name(sealed.node)),
        report: sealed.as_ref().and_then(raw),
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
