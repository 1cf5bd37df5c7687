//! What a plan of a drill is, where it stands, and what became of its turns.

use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::units::Stamp;

/// What is to be drilled, when, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The scenario's name: 1 to 40 of a-z, 0-9 and -.
    pub scenario: String,
    /// The node to hurt, by name; empty: whom the scenario means.
    pub on: String,
    /// The concentrator whose channel is hurt; empty: one with a standby.
    pub concentrator: String,
    /// How long the failure lasts, s; 0: as the scenario says.
    pub hold_s: u32,
    /// When.
    pub timing: Timing,
    /// It begins within so many seconds of its due time, or not at all: 60 to 86,400.
    pub window_s: u32,
    /// Why; for people.
    pub reason: String,
    /// The last backup in the operator's words; empty: the nodes must know one when it begins.
    pub backup: String,
}

/// When a plan is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Timing {
    /// One time.
    Once {
        /// Seconds UTC.
        at_s: i64,
    },
    /// Again and again, as collection tasks.
    Repeats {
        /// Five fields of cron in local time.
        cron: String,
        /// Name of the time zone.
        zone: String,
    },
}

/// A plan as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// 1 and up; each change is a new one.
    pub version: u32,
    /// What it says.
    pub plan: Plan,
    /// Who asked for this version.
    pub by: String,
    /// When.
    pub asked: Stamp,
    /// What was said to it.
    pub answer: Answer,
    /// When the last turn was due, seconds UTC.
    pub last_due_s: Option<i64>,
    /// The last turns, oldest first.
    pub turns: Vec<Turn>,
}

/// What was said to a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing yet; nobody can approve it from then on.
    Waiting {
        /// Until then.
        until: Stamp,
    },
    /// Yes.
    Approved {
        /// By whom.
        by: String,
        /// When.
        at: Stamp,
        /// It counts until then.
        until: Stamp,
    },
    /// No, or no more.
    Declined {
        /// By whom.
        by: String,
        /// When.
        at: Stamp,
        /// Why.
        why: String,
    },
    /// Taken back.
    Revoked {
        /// By whom.
        by: String,
        /// When.
        at: Stamp,
        /// Why.
        why: String,
    },
}

/// One time at which a plan was due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// When it was due, seconds UTC.
    pub due_s: i64,
    /// The version of the plan.
    pub version: u32,
    /// The watcher that claimed it; empty when none did.
    pub by: String,
    /// When it was claimed or found to be missed.
    pub at: Stamp,
    /// What became of it.
    pub came: Came,
}

/// What became of a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Came {
    /// A watcher has it and waits for the guard rails.
    Claimed,
    /// Its drill has begun.
    Begun {
        /// Which.
        drill: u64,
    },
    /// Its drill was ended before its time.
    Aborted {
        /// Which.
        drill: u64,
    },
    /// Its drill was judged.
    Judged {
        /// Which.
        drill: u64,
        /// The verdict.
        verdict: Verdict,
    },
    /// It could not begin.
    Refused {
        /// Why.
        why: String,
    },
    /// Its time passed.
    Missed {
        /// Why.
        why: String,
    },
}

/// Changes of plans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlanChange {
    /// Ask for a plan, or for a change of one.
    Ask {
        /// Its name.
        name: String,
        /// What it says.
        plan: Box<Plan>,
        /// The version that the author saw last, 0 for none; another one refuses the change.
        seen: u32,
    },
    /// The second person's yes.
    Approve {
        /// Which.
        name: String,
        /// The version that was looked at.
        version: u32,
        /// It counts so many days, 1 to 366.
        days: u32,
    },
    /// The second person's no, also to what was approved before.
    Decline {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
    /// Take it back.
    Revoke {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
    /// A watcher takes a turn that is due.
    Claim {
        /// Of which plan.
        name: String,
        /// The version by which it is due.
        version: u32,
        /// When, seconds UTC.
        due_s: i64,
    },
    /// The watcher's turn could not begin.
    Refuse {
        /// Of which plan.
        name: String,
        /// Its due time.
        due_s: i64,
        /// Why.
        why: String,
    },
    /// The time of a turn has passed and it did not begin: nodes find this.
    Miss {
        /// Of which plan.
        name: String,
        /// Its due time.
        due_s: i64,
    },
}

/// Where a plan stands at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A second person is asked.
    Waiting,
    /// Nobody answered in time.
    Lapsed,
    /// It counts.
    InForce,
    /// It was approved, and one of both persons is no longer who he was.
    Unbacked,
    /// The approval has ended.
    Expired,
    /// It was declined.
    Declined,
    /// It was taken back.
    Revoked,
    /// It was for one time, and that is over.
    Over,
}

impl Standing {
    /// Every one.
    pub const ALL: [Standing; 8] = [
        Standing::Waiting,
        Standing::Lapsed,
        Standing::InForce,
        Standing::Unbacked,
        Standing::Expired,
        Standing::Declined,
        Standing::Revoked,
        Standing::Over,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Waiting => "waiting",
            Standing::Lapsed => "lapsed",
            Standing::InForce => "in_force",
            Standing::Unbacked => "unbacked",
            Standing::Expired => "expired",
            Standing::Declined => "declined",
            Standing::Revoked => "revoked",
            Standing::Over => "over",
        }
    }
}

impl PlanChange {
    pub(super) fn name(&self) -> &'static str {
        match self {
            PlanChange::Ask { .. } => "drills.plan",
            PlanChange::Approve { .. } => "drills.approve",
            PlanChange::Decline { .. } => "drills.decline",
            PlanChange::Revoke { .. } => "drills.revoke",
            PlanChange::Claim { .. } => "drills.claim",
            PlanChange::Refuse { .. } => "drills.refuse",
            PlanChange::Miss { .. } => "drills.miss",
        }
    }

    pub(super) fn object(&self) -> String {
        match self {
            PlanChange::Ask { name, plan, .. } => format!("{name} {}", plan.scenario),
            PlanChange::Approve { name, version, .. } => format!("{name} version {version}"),
            PlanChange::Decline { name, .. } | PlanChange::Revoke { name, .. } => name.clone(),
            PlanChange::Claim { name, due_s, .. }
            | PlanChange::Refuse { name, due_s, .. }
            | PlanChange::Miss { name, due_s } => format!("{name} {due_s}"),
        }
    }
}

impl Planned {
    /// Only turns that are due behind this are to be claimed, seconds UTC: what was due before the
    /// approval, or before the last turn, is not made up for.
    pub fn due_after_s(&self) -> i64 {
        let since_s = match &self.answer {
            Answer::Approved { at, .. } => at.seconds() - 1,
            _ => i64::MAX,
        };
        since_s.max(self.last_due_s.unwrap_or(i64::MIN))
    }
}

impl Turn {
    /// Whether somebody should look: it was not carried out, or not passed. `abandoned` says that
    /// its drill's time is over without a verdict.
    pub fn is_trouble(&self, abandoned: bool) -> bool {
        match &self.came {
            Came::Claimed => false,
            Came::Begun { .. } => abandoned,
            Came::Judged { verdict, .. } => *verdict != Verdict::Passed,
            Came::Aborted { .. } | Came::Refused { .. } | Came::Missed { .. } => true,
        }
    }

    /// Its drill, once there is one.
    pub fn drill(&self) -> Option<u64> {
        match self.came {
            Came::Begun { drill } | Came::Aborted { drill } | Came::Judged { drill, .. } => {
                Some(drill)
            }
            Came::Claimed | Came::Refused { .. } | Came::Missed { .. } => None,
        }
    }
}
