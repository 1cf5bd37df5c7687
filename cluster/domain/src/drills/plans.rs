//! Plans of drills: what one operator wants drilled again and again, in force when another agreed.
//!
//! Not here: who looks at the clock (a watcher, outside of the cluster), time zones (the node that
//! reckons due times knows them), what a scenario is. Invariants: 1. Nothing is claimed by a plan
//! that was not approved, as it stands now, by another person than who asked for it. 2. A change is
//! a new version and waits anew. 3. An approval ends, a year later at most, and counts only while
//! both persons still may. 4. A turn is claimed once, by one watcher; due times of turns rise.
//! 5. What was not carried out stands there with the reason.

use super::planned::{Answer, Came, Plan, PlanChange, Planned, Standing, Timing, Turn};
use super::{Verdict, check_text};
use crate::apply::table::{END, Typed};
use crate::apply::{Done, Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::operators::{self, FOUNDER, Permission, Rights};
use crate::regions::ROOT;
use crate::tasks::Cron;
use crate::units::Stamp;

/// The most plans.
pub const MAX_PLANS: usize = 64;
/// Turns of a plan that are kept.
pub const KEPT_TURNS: usize = 32;
/// How long a plan waits for its second person, ms: a week.
pub const WAITS_MS: u64 = 7 * DAY_MS;
/// The longest that an approval counts, days.
pub const MAX_APPROVED_DAYS: u32 = 366;
/// The longest that a drill may begin behind its due time, s.
pub const MAX_WINDOW_S: u32 = 86_400;
/// The longest reason: it goes into the drill's own with the names of both persons.
const MAX_REASON: usize = 250;
const DAY_MS: u64 = 86_400_000;

static PLANS: Typed<str, Planned> = Typed::new(Table::DrillPlans);

pub(super) fn apply(tx: &mut Tx<'_>, change: &PlanChange) -> Result<Done, Stop> {
    match change {
        PlanChange::Ask { name, plan, seen } => ask(tx, name, plan, *seen)?,
        PlanChange::Approve { name, version, days } => approve(tx, name, *version, *days)?,
        PlanChange::Decline { name, why } | PlanChange::Revoke { name, why } => {
            check_text("why", why)?;
            let mut known = known(tx, name)?;
            let (by, at, why) = (tx.author.name(), tx.stamp, why.clone());
            if matches!(known.answer, Answer::Declined { .. } | Answer::Revoked { .. }) {
                return Err(not_in_force(name, "it was taken back or declined before"));
            }
            known.answer = match change {
                PlanChange::Decline { .. } => Answer::Declined { by, at, why },
                _ => Answer::Revoked { by, at, why },
            };
            PLANS.put(tx, name, &known)?;
        }
        PlanChange::Claim { name, version, due_s } => claim(tx, name, *version, *due_s)?,
        PlanChange::Refuse { name, due_s, why } => {
            check_text("why", why)?;
            let mut known = known(tx, name)?;
            own_turn(tx, &mut known, *due_s)?.came = Came::Refused { why: why.clone() };
            PLANS.put(tx, name, &known)?;
        }
        PlanChange::Miss { name, due_s } => miss(tx, name, *due_s)?,
    }
    Ok(Done::Noted)
}

fn ask(tx: &mut Tx<'_>, name: &str, plan: &Plan, seen: u32) -> Result<(), Stop> {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    if !(1..=64).contains(&name.len()) || !name.bytes().all(fits) {
        return bad("a name has 1 to 64 letters, digits, dots, dashes and underscores");
    }
    check(plan, tx.stamp)?;
    let before = PLANS.get(tx, name)?;
    let version = before.as_ref().map_or(0, |known| known.version);
    if version != seen {
        return Err(refuse("plan_changed", format!("{name}: version {version}, not {seen}")));
    }
    if before.is_none() {
        make_room(tx)?;
    }
    let (last_due_s, turns) = before.map_or((None, Vec::new()), |k| (k.last_due_s, k.turns));
    let planned = Planned {
        name: name.to_owned(),
        version: version + 1,
        plan: plan.clone(),
        by: tx.author.name(),
        asked: tx.stamp,
        answer: Answer::Waiting { until: tx.stamp.plus_ms(WAITS_MS) },
        last_due_s,
        turns,
    };
    Ok(PLANS.put(tx, name, &planned)?)
}

fn check(plan: &Plan, now: Stamp) -> Result<(), Stop> {
    super::check_scenario(&plan.scenario)?;
    if plan.on.len() > 64 || plan.concentrator.len() > 16 {
        return bad("a node's name has 64 octets at most, a concentrator's 16");
    }
    if u64::from(plan.hold_s) * 1_000 > u64::from(super::MAX_HOLD_MS) {
        return bad("a failure lasts 120 s at most");
    }
    if !(60..=MAX_WINDOW_S).contains(&plan.window_s) {
        return bad("a window of 60 to 86400 s");
    }
    if plan.backup.chars().count() > super::MAX_TEXT {
        return bad("the words on the backup are too long");
    }
    check_text("reason", &plan.reason)?;
    if plan.reason.chars().count() > MAX_REASON {
        return bad("a reason of 250 letters at most");
    }
    match &plan.timing {
        Timing::Once { at_s } if *at_s <= now.seconds() => bad("its time is past"),
        Timing::Once { .. } => Ok(()),
        Timing::Repeats { cron, zone } => {
            if !(1..=64).contains(&zone.len()) {
                return bad("a time zone's name");
            }
            match Cron::parse(cron) {
                Ok(_) => Ok(()),
                Err(why) => bad(format!("{cron:?}: {why}")),
            }
        }
    }
}

/// Drops the plan that was asked for first among those that count no more, where all are taken.
fn make_room(tx: &mut Tx<'_>) -> Result<(), Stop> {
    let all = plans(tx)?;
    if all.len() < MAX_PLANS {
        return Ok(());
    }
    let mut gone: Option<&Planned> = None;
    for one in &all {
        let counts = matches!(
            standing(tx, one, tx.stamp)?,
            Standing::Waiting | Standing::InForce | Standing::Unbacked
        );
        if !counts && gone.is_none_or(|other| one.asked < other.asked) {
            gone = Some(one);
        }
    }
    let Some(gone) = gone else {
        return Err(refuse("too_many_plans", format!("at most {MAX_PLANS}")));
    };
    PLANS.delete(tx, &gone.name);
    Ok(())
}

fn approve(tx: &mut Tx<'_>, name: &str, version: u32, days: u32) -> Result<(), Stop> {
    let mut known = known(tx, name)?;
    if known.version != version {
        let text = format!("{name}: version {}, not {version}", known.version);
        return Err(refuse("plan_changed", text));
    }
    if !(1..=MAX_APPROVED_DAYS).contains(&days) {
        return bad(format!("an approval counts 1 to {MAX_APPROVED_DAYS} days"));
    }
    let by = tx.author.name();
    if known.by == by {
        return Err(refuse("second_person", "who asked for a plan does not approve it"));
    }
    match standing(tx, &known, tx.stamp)? {
        Standing::Waiting => {}
        other => {
            let text = format!("{name}: none that waits, it is {}", other.name());
            return Err(refuse("plan_not_waiting", text));
        }
    }
    if matches!(known.plan.timing, Timing::Once { at_s } if at_s <= tx.stamp.seconds()) {
        return bad("its time is past: ask for another");
    }
    let until = tx.stamp.plus_ms(u64::from(days) * DAY_MS);
    known.answer = Answer::Approved { by, at: tx.stamp, until };
    Ok(PLANS.put(tx, name, &known)?)
}

fn claim(tx: &mut Tx<'_>, name: &str, version: u32, due_s: i64) -> Result<(), Stop> {
    let mut known = known(tx, name)?;
    in_force(tx, &known, version)?;
    if known.last_due_s.is_some_and(|last_s| due_s <= last_s) {
        return Err(refuse("turn_taken", format!("{name}: the turn of {due_s}")));
    }
    let now_s = tx.stamp.seconds();
    let since_s = match &known.answer {
        Answer::Approved { at, .. } => at.seconds(),
        _ => i64::MAX,
    };
    let over_s = due_s.saturating_add(known.plan.window_s.into());
    if due_s < since_s || due_s > now_s || over_s <= now_s {
        return Err(refuse("turn_not_due", format!("{name}: the turn of {due_s}")));
    }
    let (by, at) = (tx.author.name(), tx.stamp);
    push(&mut known, Turn { due_s, version, by, at, came: Came::Claimed });
    Ok(PLANS.put(tx, name, &known)?)
}

fn push(known: &mut Planned, turn: Turn) {
    known.last_due_s = Some(turn.due_s);
    if known.turns.len() >= KEPT_TURNS {
        known.turns.remove(0);
    }
    known.turns.push(turn);
}

fn miss(tx: &mut Tx<'_>, name: &str, due_s: i64) -> Result<(), Stop> {
    let mut known = known(tx, name)?;
    if due_s.saturating_add(known.plan.window_s.into()) > tx.stamp.seconds() {
        return Err(refuse("turn_not_due", format!("{name}: the turn of {due_s} is not over")));
    }
    let taken = known.turns.iter_mut().find(|turn| turn.due_s == due_s);
    match taken {
        Some(turn) if turn.came == Came::Claimed => {
            let why = format!("{} claimed it and did not begin", turn.by);
            turn.came = Came::Missed { why };
        }
        Some(_) => return Err(refuse("turn_taken", format!("{name}: the turn of {due_s}"))),
        None => {
            // Of what was not in force nothing is missed.
            in_force(tx, &known, known.version)?;
            if known.last_due_s.is_some_and(|last_s| due_s <= last_s) {
                return Err(refuse("turn_taken", format!("{name}: the turn of {due_s}")));
            }
            let why = "no watcher claimed it".to_owned();
            let (version, at) = (known.version, tx.stamp);
            let came = Came::Missed { why };
            push(&mut known, Turn { due_s, version, by: String::new(), at, came });
        }
    }
    Ok(PLANS.put(tx, name, &known)?)
}

/// The drill of a turn begins: the turn is the author's, in time, and still agreed on.
pub(super) fn begin(
    tx: &mut Tx<'_>,
    (name, due_s): &(String, i64),
    scenario: &str,
) -> Result<(), Stop> {
    let mut known = known(tx, name)?;
    let drill = tx.index;
    let turn = own_turn(tx, &mut known, *due_s)?;
    turn.came = Came::Begun { drill };
    let version = turn.version;
    in_force(tx, &known, version)?;
    if due_s.saturating_add(known.plan.window_s.into()) <= tx.stamp.seconds() {
        return Err(refuse("turn_not_due", format!("{name}: the turn of {due_s} is over")));
    }
    if known.plan.scenario != scenario {
        return bad(format!("{name} is a plan of {}", known.plan.scenario));
    }
    Ok(PLANS.put(tx, name, &known)?)
}

/// A drill was ended, or judged: so was its turn, if it had one.
pub(super) fn ended(tx: &mut Tx<'_>, id: u64, judged: Option<Verdict>) -> Result<(), Fault> {
    for mut known in plans(tx)? {
        let of = |turn: &&mut Turn| match turn.came {
            Came::Begun { drill } | Came::Aborted { drill } => drill == id,
            _ => false,
        };
        let Some(turn) = known.turns.iter_mut().find(of) else { continue };
        turn.came = match judged {
            Some(verdict) => Came::Judged { drill: id, verdict },
            None => Came::Aborted { drill: id },
        };
        PLANS.put(tx, &known.name.clone(), &known)?;
        return Ok(());
    }
    Ok(())
}

/// The turn that the author claimed.
fn own_turn<'a>(tx: &Tx<'_>, known: &'a mut Planned, due_s: i64) -> Result<&'a mut Turn, Stop> {
    let (name, by) = (&known.name, tx.author.name());
    let none = refuse("no_turn", format!("{name}: {by} has claimed no turn of {due_s}"));
    let mine = |turn: &&mut Turn| turn.due_s == due_s && turn.by == by;
    let found = known.turns.iter_mut().find(mine);
    found.filter(|turn| turn.came == Came::Claimed).ok_or(none)
}

fn in_force(tx: &Tx<'_>, known: &Planned, version: u32) -> Result<(), Stop> {
    let (name, at) = (&known.name, known.version);
    if at != version {
        return Err(refuse("plan_changed", format!("{name}: version {at}, not {version}")));
    }
    match standing(tx, known, tx.stamp)? {
        // A turn of a plan for one time is its last.
        Standing::InForce | Standing::Over => Ok(()),
        other => Err(not_in_force(name, other.name())),
    }
}

fn known(view: &dyn View, name: &str) -> Result<Planned, Stop> {
    PLANS.get(view, name)?.ok_or_else(|| refuse("unknown_plan", name))
}

fn not_in_force(name: &str, why: &str) -> Stop {
    refuse("plan_not_in_force", format!("{name}: {why}"))
}

fn bad<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(refuse("bad_plan", why.into()))
}

/// Whether somebody still may; the founder is asked for nothing.
fn may(view: &dyn View, name: &str, what: Permission, at: Stamp) -> Result<bool, Fault> {
    if name == FOUNDER {
        return Ok(true);
    }
    match operators::operator(view, name)? {
        Some(known) => Rights::of(&known, at).may(view, what, ROOT),
        None => Ok(false),
    }
}

/// Where a plan stands at a time.
pub fn standing(view: &dyn View, planned: &Planned, now: Stamp) -> Result<Standing, Fault> {
    Ok(match &planned.answer {
        Answer::Waiting { until } if now < *until => Standing::Waiting,
        Answer::Waiting { .. } => Standing::Lapsed,
        Answer::Declined { .. } => Standing::Declined,
        Answer::Revoked { .. } => Standing::Revoked,
        Answer::Approved { until, .. } if now >= *until => Standing::Expired,
        Answer::Approved { by, .. } => {
            let backed = may(view, &planned.by, Permission::Cluster, now)?
                && may(view, by, Permission::Approve, now)?;
            match (&planned.plan.timing, backed) {
                (Timing::Once { at_s }, _) if planned.last_due_s >= Some(*at_s) => Standing::Over,
                (_, false) => Standing::Unbacked,
                (_, true) => Standing::InForce,
            }
        }
    })
}

/// Every plan, by name.
pub fn plans(view: &dyn View) -> Result<Vec<Planned>, Fault> {
    let rows = PLANS.scan(view, &[], END, MAX_PLANS)?;
    Ok(rows.into_iter().map(|(_, planned)| planned).collect())
}

/// One plan.
pub fn plan(view: &dyn View, name: &str) -> Result<Option<Planned>, Fault> {
    PLANS.get(view, name)
}
