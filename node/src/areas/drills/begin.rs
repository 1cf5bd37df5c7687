//! Whether a drill may begin, against whom, and its begin.
//!
//! Invariant: nothing begins on a cluster whose guard rails say no, whoever asks.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use cluster::NodeStatus;
use domain::drills::{self, Begin, BeginAs, Change};
use domain::{Device, NodeId, ProposalId, Stamp, View, assets, leases};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{ScenarioBody, run, scenario_body};
use crate::app::App;
use crate::areas::keys;
use crate::drills::guard::{self, Channel, Holds, Rail, Situation};
use crate::drills::scenario::{self, Injection, MAX_HOLD_S, Scenario};
use crate::http::asked::Asked;
use crate::http::extract::{Body, Params};
use crate::http::problem::{Problem, ProblemBody};

/// Concentrators that are looked through for one with a standby.
const LOOKED_AT: usize = 10_000;

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
    /// The version with which every node is to come back, in an upgrade from node to node; a build
    /// other than before when left out.
    pub to: Option<String>,
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
    /// The nodes that would be restarted, in order, where the drill goes from node to node.
    pub nodes: Vec<String>,
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

/// What would be done, and whether the answering node lets it begin. Ask the leader: only it knows
/// how far the others are.
#[utoipa::path(get, path = "/api/v1/drills/plan", tag = "drills", params(Wish), responses(
    (status = 200, body = PlanBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn plan(app: Asked, Params(wish): Params<Wish>) -> Result<Json<PlanBody>, Problem> {
    Ok(Json(planned(&app, &wish)?.1))
}

/// Whom a drill would hurt.
struct Chosen {
    target: NodeId,
    /// All of them in order, where it goes from node to node.
    nodes: Vec<NodeId>,
    scenario: &'static Scenario,
}

type Planned = (Option<Chosen>, PlanBody);

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
    if wish.to.is_some() && scenario.injection != Injection::Upgrade {
        return Err(Problem::bad("bad_drill", "a version is of an upgrade from node to node"));
    }
    if wish.on.is_some() && scenario.injection.rolls() {
        return Err(Problem::bad("bad_drill", "it goes from node to node: none is to be named"));
    }
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
    let nodes = guard::order(scenario, &status);
    let body = PlanBody {
        scenario: scenario_body(app, scenario, &kept, now),
        target: target.map(|node| node.name.clone()),
        target_url: target.map(|node: &NodeStatus| node.http.clone()),
        nodes: nodes.iter().map(|node| node.name.clone()).collect(),
        concentrator: situation.channel.map_or_else(String::new, |channel| channel.concentrator),
        hold_s,
        limit_s: scenario.limit_s(hold_s, nodes.len()),
        may_begin: rails.iter().all(|rail| rail.holds != Holds::Bad),
        rails,
    };
    let nodes = nodes.iter().map(|node| node.id).collect();
    Ok((target.map(|node| Chosen { target: node.id, nodes, scenario }), body))
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
    let proposal = keys::proposal_id(&headers, "drill")?;
    let reason = wish.reason.clone().unwrap_or_default();
    let begun = open(&app, proposal, &wish, reason, None).await?;
    Ok((StatusCode::CREATED, Json(begun)))
}

/// Begins what a wish says, by hand or for a plan's turn, unless a guard rail says no.
pub async fn open(
    app: &Asked,
    proposal: ProposalId,
    wish: &Wish,
    reason: String,
    turn: Option<(String, i64)>,
) -> Result<BegunBody, Problem> {
    run::refuse_unless_allowed(app)?;
    let (chosen, plan) = planned(app, wish)?;
    let bad: Vec<String> = plan
        .rails
        .iter()
        .filter(|rail| rail.holds == Holds::Bad)
        .map(|rail| format!("{}: {}", rail.name, rail.detail))
        .collect();
    let (Some(Chosen { target, nodes, scenario }), true) = (chosen, bad.is_empty()) else {
        return Err(Problem::new(StatusCode::CONFLICT, "drill_unsafe", bad.join("; ")));
    };
    let hold = Duration::from_secs(u64::from(plan.hold_s));
    let begin = Begin {
        scenario: scenario.name.to_owned(),
        target,
        concentrator: plan.concentrator.clone(),
        hold_ms: u32::try_from(hold.as_millis()).unwrap_or(u32::MAX),
        limit_s: plan.limit_s,
        reason,
        backup: wish.backup.clone().unwrap_or_default(),
    };
    let to = wish.to.clone().unwrap_or_default();
    let change = if nodes.is_empty() && turn.is_none() {
        Change::Begin(begin)
    } else {
        Change::BeginAs(Box::new(BeginAs { begin, nodes, to, turn }))
    };
    let (id, _) = app.propose(proposal, domain::Change::Drills(change)).await?;
    tracing::warn!(id, scenario = scenario.name, target = %target, "a drill begins");
    Ok(BegunBody { id, plan })
}
