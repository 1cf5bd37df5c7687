//! When plans of drills are due, and which turns passed without a drill.
//!
//! Not here: who asks and answers for plans (`plans`). Invariant: a turn is due from its time on
//! for as long as the plan's window; behind that the leader notes it as missed, once.

use domain::drills::{self, Came, Change, PlanChange, Planned, Timing, Turn};
use domain::tasks::When;
use domain::{Stamp, View};

use crate::app::App;
use crate::timetable;

/// The last time at which a plan was due, at or before a moment.
pub fn last(timing: &Timing, at_s: i64) -> Option<i64> {
    match timing {
        Timing::Once { at_s: its } => (*its <= at_s).then_some(*its),
        Timing::Repeats { .. } => timetable::last(&when(timing)?, at_s),
    }
}

/// The first time at which it is due behind a moment.
pub(super) fn next(timing: &Timing, at_s: i64) -> Option<i64> {
    match timing {
        Timing::Once { at_s: its } => (*its > at_s).then_some(*its),
        Timing::Repeats { .. } => timetable::next(&when(timing)?, at_s),
    }
}

fn when(timing: &Timing) -> Option<When> {
    let Timing::Repeats { cron, zone } = timing else { return None };
    let (cron, zone) = (cron.clone(), zone.clone());
    Some(When { cron, zone, delay_s: 0, spread_s: 0, lasts_s: 0 })
}

/// The turn that is to be claimed now.
pub(super) fn due_now(planned: &Planned, now: Stamp) -> Option<i64> {
    let due_s = last(&planned.plan.timing, now.seconds())?;
    let over_s = due_s.saturating_add(planned.plan.window_s.into());
    (due_s > planned.due_after_s() && now.seconds() < over_s).then_some(due_s)
}

/// Whether a turn's drill has begun and its time is over without a report.
pub(super) fn is_abandoned(
    view: &dyn View,
    turn: &Turn,
    now: Stamp,
) -> Result<bool, domain::Fault> {
    let Came::Begun { drill } = turn.came else { return Ok(false) };
    let record = drills::drill(view, drill)?;
    Ok(record.is_none_or(|record| !record.is_open(now)))
}

/// Plans by where they stand, and those whose last turn was not carried out, or did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// How many stand where, by the state's word.
    pub states: Vec<(&'static str, i64)>,
    /// How many somebody should look at.
    pub troubled: i64,
}

/// Counts plans, for metrics.
pub fn counts(view: &dyn View, now: Stamp) -> Result<Counts, domain::Fault> {
    let mut by_state: Vec<(&'static str, i64)> =
        drills::Standing::ALL.iter().map(|standing| (standing.name(), 0)).collect();
    let mut troubled = 0;
    for planned in drills::plans(view)? {
        let standing = drills::standing(view, &planned, now)?;
        if let Some((_, count)) = by_state.iter_mut().find(|(name, _)| *name == standing.name()) {
            *count += 1;
        }
        let counted = matches!(
            standing,
            drills::Standing::InForce | drills::Standing::Unbacked | drills::Standing::Over
        );
        if let Some(last) = planned.turns.last().filter(|_| counted)
            && last.is_trouble(is_abandoned(view, last, now)?)
        {
            troubled += 1;
        }
    }
    Ok(Counts { states: by_state, troubled })
}

/// Turns whose time is over and that nobody began: what the leader notes.
pub fn missed(app: &App) -> Result<Vec<Change>, domain::Fault> {
    let Ok(live) = app.live() else { return Ok(Vec::new()) };
    let (view, now) = (live.cluster.view(), live.cluster.stamp_now());
    missed_at(&view, now)
}

fn missed_at(view: &dyn View, now: Stamp) -> Result<Vec<Change>, domain::Fault> {
    let mut changes = Vec::new();
    for planned in drills::plans(view)? {
        let over_s = now.seconds().saturating_sub(planned.plan.window_s.into());
        let name = planned.name.clone();
        let claimed = planned.turns.iter().find(|t| t.came == Came::Claimed && t.due_s <= over_s);
        if let Some(turn) = claimed {
            changes.push(Change::Plans(PlanChange::Miss { name, due_s: turn.due_s }));
            continue;
        }
        let counts = drills::standing(view, &planned, now)? == drills::Standing::InForce;
        let due_s = last(&planned.plan.timing, over_s).filter(|_| counts);
        if let Some(due_s) = due_s.filter(|due_s| *due_s > planned.due_after_s()) {
            changes.push(Change::Plans(PlanChange::Miss { name, due_s }));
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use domain::{Author, Entry, MemoryView, NodeId, Proposal, ProposalId, apply};

    use domain::drills::{Answer, Plan};

    use super::*;

    const DAY_S: u64 = 86_400;

    struct Cluster {
        view: MemoryView,
        index: u64,
    }

    impl Cluster {
        fn propose(&mut self, author: Author, at_s: u64, change: Change) -> Result<(), String> {
            self.index += 1;
            let id = ProposalId(u128::from(self.index).to_be_bytes());
            let proposal = Proposal { id, author, change: domain::Change::Drills(change) };
            let entry = Entry { stamp: Stamp::from_seconds(at_s), proposal };
            let applied = apply(&self.view, self.index, &entry).unwrap();
            self.view.apply(&applied);
            applied.outcome.map(drop).map_err(|refusal| refusal.to_string())
        }

        /// What the leader notes at a time, done.
        fn missed(&mut self, at_s: u64) -> usize {
            let changes = missed_at(&self.view, Stamp::from_seconds(at_s)).unwrap();
            for change in &changes {
                self.propose(Author::Node(NodeId(1)), at_s, change.clone()).unwrap();
            }
            changes.len()
        }
    }

    #[test]
    fn what_nobody_came_for_is_noted_once_its_window_is_over() {
        let mut cluster = Cluster { view: MemoryView::default(), index: 0 };
        // The row stands as two persons would have left it: apply itself is the domain's to test.
        let timing = Timing::Repeats { cron: "0 3 * * *".to_owned(), zone: "UTC".to_owned() };
        let plan = Plan {
            scenario: "leader-kill".to_owned(),
            on: String::new(),
            concentrator: String::new(),
            hold_s: 0,
            timing,
            window_s: 600,
            reason: "test".to_owned(),
            backup: "none".to_owned(),
        };
        let name = || "nightly".to_owned();
        let admin = || Author::Operator("admin".to_owned());
        let ask = PlanChange::Ask { name: name(), plan: Box::new(plan), seen: 0 };
        cluster.propose(admin(), 1_000, Change::Plans(ask)).unwrap();
        let due_s = 10 * DAY_S + 10_800;
        assert_eq!(cluster.missed(due_s + 601), 0, "it is not in force");
        let yes = PlanChange::Approve { name: name(), version: 1, days: 30 };
        let refused = cluster.propose(admin(), 2_000, Change::Plans(yes)).unwrap_err();
        assert!(refused.contains("second_person"), "{refused}");
        let mut planned = drills::plan(&cluster.view, "nightly").unwrap().unwrap();
        let at = Stamp::from_seconds(9 * DAY_S + 43_200);
        let until = Stamp::from_seconds(40 * DAY_S);
        planned.answer = Answer::Approved { by: "admin".to_owned(), at, until };
        assert_eq!(due_now(&planned, Stamp::from_seconds(due_s - 1)), None);
        assert_eq!(due_now(&planned, Stamp::from_seconds(due_s)), i64::try_from(due_s).ok());
        assert_eq!(due_now(&planned, Stamp::from_seconds(due_s + 600)), None, "too late");
        planned.last_due_s = i64::try_from(due_s).ok();
        assert_eq!(due_now(&planned, Stamp::from_seconds(due_s)), None, "once");
        planned.last_due_s = None;
        cluster.view.apply(&row(&planned));
        assert_eq!(cluster.missed(due_s + 599), 0, "somebody may yet come");
        assert_eq!(counts(&cluster.view, Stamp::from_seconds(due_s)).unwrap().troubled, 0);
        assert_eq!(cluster.missed(due_s + 600), 1);
        assert_eq!(cluster.missed(due_s + 605), 0, "once");
        let found = counts(&cluster.view, Stamp::from_seconds(due_s + 700)).unwrap();
        assert!(found.states.contains(&("in_force", 1)) && found.troubled == 1, "{found:?}");
        assert_eq!(cluster.missed(due_s + DAY_S + 600), 1, "and the next day");
    }

    /// The plan as it stands, as a write of its row.
    fn row(planned: &Planned) -> domain::Applied {
        domain::Applied {
            outcome: Ok(domain::Done::Noted),
            writes: vec![domain::Write {
                table: domain::Table::DrillPlans,
                key: planned.name.clone().into_bytes(),
                value: Some(postcard::to_allocvec(planned).unwrap()),
            }],
            rows: Vec::new(),
            seals: Vec::new(),
            compactions: Vec::new(),
            effects: Vec::new(),
            hash: [0; 32],
        }
    }
}
