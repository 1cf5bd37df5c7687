//! Plans of drills in the API: asked for, answered, and carried out by watchers.
//!
//! Who is a watcher needs the permission `drills` and nothing else; what he may begin is what two
//! others have agreed on. Invariants: this node reckons what is due, never the watcher; a drill of
//! a plan is begun from the plan as it is kept, behind the same guard rails as one by hand.

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use domain::drills::{
    self, Answer, Came, Change, MAX_APPROVED_DAYS, Plan, PlanChange, Planned, Timing, Turn,
};
use domain::{Stamp, View};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::begin::{BegunBody, Wish, open};
use super::due::{due_now, is_abandoned, next};
use crate::areas::{Page, keys, periods, time};
use crate::drills::scenario;
use crate::http::asked::Asked;
use crate::http::extract::Body;
use crate::http::problem::{Problem, ProblemBody};

/// How long a drill may begin behind its due time when nothing is said.
const WINDOW_S: u32 = 1_800;

/// A plan to be asked for, or a change of one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPlan {
    /// Its name: 1 to 64 letters, digits, dots, dashes and underscores.
    pub name: String,
    /// `version` as it was seen; 0 asks for a new plan.
    #[serde(default)]
    pub seen: u32,
    /// The scenario.
    pub scenario: String,
    /// The node to hurt, by name; whom the scenario means when left out.
    pub on: Option<String>,
    /// The concentrator whose channel to hurt; one with a standby when left out.
    pub concentrator: Option<String>,
    /// How long the failure lasts, where it lasts: 1 to 60 s.
    pub hold_s: Option<u32>,
    /// One time, RFC 3339; or `cron`.
    pub at: Option<String>,
    /// Minute, hour, day of month, month, day of week, as cron has them, in local time; or `at`.
    pub cron: Option<String>,
    /// The time zone of `cron`, as `Europe/Berlin`; UTC when left out.
    pub zone: Option<String>,
    /// It begins within so many seconds of its due time, or not at all: 60 to 86,400; 1800 when
    /// left out.
    pub window_s: Option<u32>,
    /// Why; for people.
    pub reason: String,
    /// The last backup, in your words, or `none`; when left out the nodes must know one.
    pub backup: Option<String>,
}

/// A plan of a drill.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DrillPlanBody {
    /// Its name.
    pub name: String,
    /// 1 and up; each change is a new one.
    pub version: u32,
    /// `waiting` for a second person, `lapsed` when nobody answered within a week, `in_force`,
    /// `unbacked` when one of both persons may no longer, `expired`, `declined`, `revoked`, `over`.
    pub state: String,
    /// The scenario.
    pub scenario: String,
    /// The node to hurt; null: whom the scenario means.
    pub on: Option<String>,
    /// The concentrator; null: one with a standby.
    pub concentrator: Option<String>,
    /// How long the failure lasts, s; null: as the scenario says.
    pub hold_s: Option<u32>,
    /// One time.
    pub at: Option<String>,
    /// Again and again, in local time.
    pub cron: Option<String>,
    /// The time zone of that.
    pub zone: Option<String>,
    /// It begins within so many seconds of its due time.
    pub window_s: u32,
    /// Why.
    pub reason: String,
    /// The last backup as it was said; empty: the nodes must know one.
    pub backup: String,
    /// Who asked for this version.
    pub asked_by: String,
    /// When.
    pub asked: String,
    /// Who approved, declined or revoked it.
    pub answered_by: Option<String>,
    /// When.
    pub answered: Option<String>,
    /// Why it was declined or revoked.
    pub why: Option<String>,
    /// Until when it waits, or counts.
    pub until: Option<String>,
    /// When it is due next; null when it is not in force.
    pub next: Option<String>,
    /// The last turns, newest first.
    pub turns: Vec<TurnBody>,
}

/// One time at which a plan was due.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TurnBody {
    /// When.
    pub due: String,
    /// The version of the plan.
    pub version: u32,
    /// The watcher that claimed it.
    pub by: Option<String>,
    /// When it was claimed or found to be missed.
    pub at: String,
    /// `claimed`, `begun`, `abandoned`, `aborted`, `refused`, `missed`; or the drill's verdict:
    /// `passed`, `failed`, `inconclusive`.
    pub came: String,
    /// The drill.
    pub drill: Option<u64>,
    /// Why it was refused or missed.
    pub why: Option<String>,
}

/// The second person's yes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The version that was looked at.
    pub version: u32,
    /// It counts so many days, 1 to 366; 366 when left out.
    pub days: Option<u32>,
}

/// Why a plan is declined or revoked.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Because {
    /// For people.
    pub why: String,
}

/// A watcher's turn, by its due time.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Due {
    /// As `claim` answered it.
    pub due: String,
    /// Why it could not begin; of a refusal.
    pub why: Option<String>,
}

/// A turn that was claimed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClaimedBody {
    /// When it was due.
    pub due: String,
    /// It must begin before that.
    pub until: String,
    /// The plan.
    #[serde(flatten)]
    pub plan: DrillPlanBody,
}

/// Every plan, by name.
#[utoipa::path(get, path = "/api/v1/drills/plans", tag = "drills",
    responses((status = 200, body = Page<DrillPlanBody>)))]
pub async fn list(app: Asked) -> Result<Json<Page<DrillPlanBody>>, Problem> {
    Ok(Json(Page { items: bodies(&app)?, next: None }))
}

/// Every plan in the API's words.
pub fn bodies(app: &Asked) -> Result<Vec<DrillPlanBody>, Problem> {
    let (view, now) = (app.view()?, app.live()?.cluster.stamp_now());
    let all = drills::plans(view.whole())?;
    all.iter().map(|planned| body(view.whole(), planned, now)).collect()
}

/// Ask for a plan, or for a change of one. It counts when another operator has approved it.
#[utoipa::path(post, path = "/api/v1/drills/plans", tag = "drills", request_body = NewPlan,
    params(("Idempotency-Key" = Option<String>, Header, description = "repeats are one change")),
    responses(
    (status = 200, body = DrillPlanBody),
    (status = 404, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn ask(
    app: Asked,
    headers: HeaderMap,
    Body(new): Body<NewPlan>,
) -> Result<Json<DrillPlanBody>, Problem> {
    let (name, seen) = (new.name.clone(), new.seen);
    let plan = Box::new(new.plan()?);
    change(&app, &headers, name.clone(), PlanChange::Ask { name, plan, seen }).await
}

/// Say yes to a plan as the second person.
#[utoipa::path(post, path = "/api/v1/drills/plans/{name}/approve", tag = "drills",
    request_body = Approval, params(("name" = String, Path, description = "name")), responses(
    (status = 200, body = DrillPlanBody),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn approve(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(Approval { version, days }): Body<Approval>,
) -> Result<Json<DrillPlanBody>, Problem> {
    let days = days.unwrap_or(MAX_APPROVED_DAYS);
    let wish = PlanChange::Approve { name: name.clone(), version, days };
    change(&app, &headers, name, wish).await
}

/// Say no to a plan as the second person, also to one that was approved.
#[utoipa::path(post, path = "/api/v1/drills/plans/{name}/decline", tag = "drills",
    request_body = Because, params(("name" = String, Path, description = "name")), responses(
    (status = 200, body = DrillPlanBody),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn decline(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(Because { why }): Body<Because>,
) -> Result<Json<DrillPlanBody>, Problem> {
    change(&app, &headers, name.clone(), PlanChange::Decline { name, why }).await
}

/// Take a plan back. A drill that is under way goes on; see its abort.
#[utoipa::path(post, path = "/api/v1/drills/plans/{name}/revoke", tag = "drills",
    request_body = Because, params(("name" = String, Path, description = "name")), responses(
    (status = 200, body = DrillPlanBody),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn revoke(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(Because { why }): Body<Because>,
) -> Result<Json<DrillPlanBody>, Problem> {
    change(&app, &headers, name.clone(), PlanChange::Revoke { name, why }).await
}

/// Take the turn of a plan that is due now, as a watcher: it is given once.
#[utoipa::path(post, path = "/api/v1/drills/plans/{name}/claim", tag = "drills",
    params(("name" = String, Path, description = "name")), responses(
    (status = 200, body = ClaimedBody),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn claim(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<ClaimedBody>, Problem> {
    let view = app.fresh_view().await?;
    let planned = known(view.whole(), &name)?;
    let now = app.live()?.cluster.stamp_now();
    let Some(due_s) = due_now(&planned, now) else {
        let text = format!("{name}: none now");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "turn_not_due", text));
    };
    let version = planned.version;
    let wish = PlanChange::Claim { name: name.clone(), version, due_s };
    let plan = change(&app, &headers, name, wish).await?.0;
    let until = time::rfc3339(due_s.saturating_add(planned.plan.window_s.into()));
    Ok(Json(ClaimedBody { due: time::rfc3339(due_s), until, plan }))
}

/// Begin the drill of a turn that the caller has claimed, unless a guard rail says no.
#[utoipa::path(post, path = "/api/v1/drills/plans/{name}/begin", tag = "drills",
    request_body = Due, params(("name" = String, Path, description = "name")), responses(
    (status = 201, body = BegunBody),
    (status = 409, body = ProblemBody, content_type = "application/problem+json"),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn begin(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(wish): Body<Begin>,
) -> Result<(StatusCode, Json<BegunBody>), Problem> {
    let due_s = time::parse("due", &wish.due)?;
    let view = app.fresh_view().await?;
    let planned = known(view.whole(), &name)?;
    let id = keys::proposal_id(&headers, "drill of a plan")?;
    let by = match &planned.answer {
        Answer::Approved { by, .. } => by.as_str(),
        _ => "nobody",
    };
    let Planned { plan, by: asked_by, version, .. } = &planned;
    let reason = format!(
        "{} (plan {name} version {version}, asked for by {asked_by}, approved by {by})",
        plan.reason
    );
    let backup = if plan.backup.is_empty() { wish.backup } else { Some(plan.backup.clone()) };
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let wish = Wish {
        scenario: plan.scenario.clone(),
        on: some(&plan.on),
        concentrator: some(&plan.concentrator),
        hold_s: (plan.hold_s > 0).then_some(plan.hold_s),
        reason: Some(reason.clone()),
        backup,
        to: None,
    };
    let begun = open(&app, id, &wish, reason, Some((name, due_s))).await?;
    Ok((StatusCode::CREATED, Json(begun)))
}

/// The begin of a turn's drill.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    /// As `claim` answered it.
    pub due: String,
    /// The last backup as the nodes know it, where the plan names none.
    pub backup: Option<String>,
}

/// Tell why a claimed turn could not begin.
#[utoipa::path(post, path = "/api/v1/drills/plans/{name}/refuse", tag = "drills",
    request_body = Due, params(("name" = String, Path, description = "name")), responses(
    (status = 200, body = DrillPlanBody),
    (status = 422, body = ProblemBody, content_type = "application/problem+json"),
))]
pub async fn refuse(
    app: Asked,
    Path(name): Path<String>,
    headers: HeaderMap,
    Body(Due { due, why }): Body<Due>,
) -> Result<Json<DrillPlanBody>, Problem> {
    let (due_s, why) = (time::parse("due", &due)?, why.unwrap_or_default());
    change(&app, &headers, name.clone(), PlanChange::Refuse { name, due_s, why }).await
}

async fn change(
    app: &Asked,
    headers: &HeaderMap,
    name: String,
    wish: PlanChange,
) -> Result<Json<DrillPlanBody>, Problem> {
    let id = keys::proposal_id(headers, "plan of a drill")?;
    app.propose(id, domain::Change::Drills(Change::Plans(wish))).await?;
    let view = app.fresh_view().await?;
    let planned = known(view.whole(), &name)?;
    let now = app.live()?.cluster.stamp_now();
    body(view.whole(), &planned, now).map(Json)
}

fn known(view: &dyn View, name: &str) -> Result<Planned, Problem> {
    drills::plan(view, name)?.ok_or_else(|| Problem::missing("unknown_plan", name))
}

impl NewPlan {
    fn plan(self) -> Result<Plan, Problem> {
        let found = scenario::find(&self.scenario)
            .ok_or_else(|| Problem::missing("unknown_scenario", self.scenario.clone()))?;
        if !found.injection.can_be_planned() {
            let text = format!("{} is begun by its own command", found.name);
            return Err(Problem::bad("bad_plan", text));
        }
        let timing = match (self.at, self.cron) {
            (Some(at), None) => Timing::Once { at_s: time::parse("at", &at)? },
            (None, Some(cron)) => {
                let zone = self.zone.unwrap_or_else(|| "UTC".to_owned());
                periods::zone(Some(&zone))?;
                Timing::Repeats { cron, zone }
            }
            _ => return Err(Problem::bad("bad_plan", "either `at` or `cron`")),
        };
        Ok(Plan {
            scenario: self.scenario,
            on: self.on.unwrap_or_default(),
            concentrator: self.concentrator.unwrap_or_default(),
            hold_s: self.hold_s.unwrap_or(0),
            timing,
            window_s: self.window_s.unwrap_or(WINDOW_S),
            reason: self.reason,
            backup: self.backup.unwrap_or_default(),
        })
    }
}

fn body(view: &dyn View, planned: &Planned, now: Stamp) -> Result<DrillPlanBody, Problem> {
    let standing = drills::standing(view, planned, now)?;
    let Planned { name, version, plan, by, asked, answer, turns, .. } = planned;
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let (answered, why, until) = match answer {
        Answer::Waiting { until } => (None, None, Some(*until)),
        Answer::Approved { by, at, until } => (Some((by, *at)), None, Some(*until)),
        Answer::Declined { by, at, why } | Answer::Revoked { by, at, why } => {
            (Some((by, *at)), Some(why.clone()), None)
        }
    };
    let (at, cron, zone) = match &plan.timing {
        Timing::Once { at_s } => (Some(time::rfc3339(*at_s)), None, None),
        Timing::Repeats { cron, zone } => (None, Some(cron.clone()), Some(zone.clone())),
    };
    let counts = standing == drills::Standing::InForce;
    let from_s = planned.due_after_s().max(now.seconds());
    let next = if counts { next(&plan.timing, from_s) } else { None };
    let told = turns.iter().rev().map(|one| turn(view, one, now));
    Ok(DrillPlanBody {
        name: name.clone(),
        version: *version,
        state: standing.name().to_owned(),
        scenario: plan.scenario.clone(),
        on: some(&plan.on),
        concentrator: some(&plan.concentrator),
        hold_s: (plan.hold_s > 0).then_some(plan.hold_s),
        at,
        cron,
        zone,
        window_s: plan.window_s,
        reason: plan.reason.clone(),
        backup: plan.backup.clone(),
        asked_by: by.clone(),
        asked: time::stamp(*asked),
        answered_by: answered.map(|(by, _)| by.clone()),
        answered: answered.map(|(_, at)| time::stamp(at)),
        why,
        until: until.map(time::stamp),
        next: next.map(time::rfc3339),
        turns: told.collect::<Result<_, _>>()?,
    })
}

fn turn(view: &dyn View, turn: &Turn, now: Stamp) -> Result<TurnBody, Problem> {
    let (came, why) = match &turn.came {
        Came::Claimed => ("claimed", None),
        Came::Begun { .. } if is_abandoned(view, turn, now)? => ("abandoned", None),
        Came::Begun { .. } => ("begun", None),
        Came::Aborted { .. } => ("aborted", None),
        Came::Judged { verdict, .. } => (verdict.name(), None),
        Came::Refused { why } => ("refused", Some(why.clone())),
        Came::Missed { why } => ("missed", Some(why.clone())),
    };
    Ok(TurnBody {
        due: time::rfc3339(turn.due_s),
        version: turn.version,
        by: (!turn.by.is_empty()).then(|| turn.by.clone()),
        at: time::stamp(turn.at),
        came: came.to_owned(),
        drill: turn.drill(),
        why,
    })
}
