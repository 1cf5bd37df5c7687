//! Tasks and runs in the API's words.

use domain::tasks::{self, Rule, Run, Task, What, When, Whom};
use domain::{Fault, Obis, Stamp, View};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::areas::{periods, time};
use crate::http::problem::Problem;
use crate::timetable;

const DAY_S: u32 = 86_400;

/// A task to be made or changed.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTask {
    /// Its name: 1 to 64 letters, digits, dots, dashes and underscores.
    pub name: String,
    /// `version` as it was seen; 0 makes a new task.
    #[serde(default)]
    pub seen: u32,
    /// What is read: `billing`, `events`, `registers`, `instantaneous`, `clock` or `load`.
    pub what: String,
    /// Which registers, of `registers` and `instantaneous`; by the meters' models when left out.
    #[serde(default)]
    pub registers: Vec<String>,
    /// Which profile, of `billing` and `load`; by the meters' models when left out.
    pub profile: Option<String>,
    /// Which logs, of `events`; by the meters' models when left out.
    #[serde(default)]
    pub logs: Vec<String>,
    /// How far back, seconds: of `load` from the due time (two days when left out), of `billing`
    /// (400 days) and `events` (31 days) when nothing was read yet.
    pub reach_s: Option<u32>,
    /// Which meters; all when left out.
    pub whom: Option<WhomBody>,
    /// Minute, hour, day of month, month, day of week, as cron has them, in local time; only when
    /// it is told to run when left out.
    #[serde(default)]
    pub cron: String,
    /// The time zone, as `Europe/Berlin`; UTC when left out.
    pub zone: Option<String>,
    /// A run begins so long after it was due, seconds; 0 when left out.
    #[serde(default)]
    pub delay_s: u32,
    /// Devices begin spread over so many seconds; 60 when left out.
    pub spread_s: Option<u32>,
    /// A run ends so long after it began, seconds; six hours when left out.
    pub lasts_s: Option<u32>,
    /// Among tasks that read the same kind of thing the lower number goes first, 1 to 9; 5 when
    /// left out.
    pub priority: Option<u8>,
    /// How often a meter that fails is asked in one run, 1 to 20; 3 when left out.
    pub attempts: Option<u8>,
    /// Pause after a meter's first failure, seconds; doubles. 300 when left out.
    pub backoff_s: Option<u32>,
    /// The longest such pause, seconds; an hour when left out.
    pub backoff_cap_s: Option<u32>,
}

/// Which meters a task concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WhomBody {
    /// Every active meter.
    All,
    /// Those behind these concentrators, by their names.
    Concentrators(Vec<String>),
    /// These, by their serials.
    Meters(Vec<String>),
    /// Those of these models, by their names.
    Models(Vec<String>),
    /// Those that lie in these regions or below them, by their numbers.
    Regions(Vec<u32>),
}

/// A task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskBody {
    /// Its name.
    pub name: String,
    /// 1 and up; each change is a new one.
    pub version: u32,
    /// `active`, `paused` or `removed`: being cleared away.
    pub state: String,
    /// What is read.
    pub what: String,
    /// Which registers; empty: by the meters' models.
    pub registers: Vec<String>,
    /// Which profile; null: by the meters' models.
    pub profile: Option<String>,
    /// Which logs; empty: by the meters' models.
    pub logs: Vec<String>,
    /// How far back, seconds; null where nothing is looked back for.
    pub reach_s: Option<u32>,
    /// Which meters.
    pub whom: WhomBody,
    /// When, in local time.
    pub cron: String,
    /// The time zone.
    pub zone: String,
    /// A run begins so long after it was due, seconds.
    pub delay_s: u32,
    /// Devices begin spread over so many seconds.
    pub spread_s: u32,
    /// A run ends so long after it began, seconds.
    pub lasts_s: u32,
    /// Among tasks that read the same kind of thing the lower number goes first.
    pub priority: u8,
    /// How often a meter that fails is asked in one run.
    pub attempts: u8,
    /// Pause after a meter's first failure, seconds.
    pub backoff_s: u32,
    /// The longest such pause, seconds.
    pub backoff_cap_s: u32,
    /// Who set it last.
    pub by: String,
    /// When.
    pub set: String,
    /// Whether somebody wants a run that has not begun.
    pub wanted: bool,
    /// When the next run is due; null when it is not by itself.
    pub next: Option<String>,
    /// The last run; null before the first.
    pub run: Option<RunBody>,
}

/// A run of a task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunBody {
    /// 1 and up.
    pub number: u64,
    /// The version of the task by which it was due.
    pub version: u32,
    /// `running`, `complete` (every meter is settled), `time_over` or `superseded` (by the next
    /// run, or by a change of the task).
    pub state: String,
    /// When it was due.
    pub due: String,
    /// When it began.
    pub begun: String,
    /// When its time is over.
    pub until: String,
    /// When it ended.
    pub ended: Option<String>,
    /// Meters it concerned when it began.
    pub meters: u32,
    /// Meters that gave what they were asked for, or of which nothing was missing.
    pub done: u32,
    /// Meters that were given up.
    pub failed: u32,
    /// Meters that were neither: not reached yet, or not before the run ended.
    pub left: u32,
    /// Reads that failed and were tried again.
    pub retries: u64,
    /// Rows that were read and stored.
    pub rows: u64,
    /// Concentrators and dialled meters of which nothing is left to be read.
    pub devices: u32,
    /// Why meters were given up.
    pub reasons: Vec<ReasonBody>,
}

/// Why meters were given up, and how many.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReasonBody {
    /// As failures of commands are called; `not_stored`: the values were refused.
    pub reason: String,
    /// Meters.
    pub meters: u32,
}

impl NewTask {
    /// The rule that it says.
    pub fn rule(self) -> Result<Rule, Problem> {
        let what = self.what()?;
        let zone = self.zone.unwrap_or_else(|| "UTC".to_owned());
        periods::zone(Some(&zone))?;
        let backoff_s = self.backoff_s.unwrap_or(300);
        let lasts_s = self.lasts_s.unwrap_or(6 * 3_600);
        Ok(Rule {
            what,
            whom: match self.whom {
                None | Some(WhomBody::All) => Whom::All,
                Some(WhomBody::Concentrators(names)) => Whom::Concentrators(names),
                Some(WhomBody::Meters(serials)) => Whom::Meters(serials),
                Some(WhomBody::Models(names)) => Whom::Models(names),
                Some(WhomBody::Regions(numbers)) => Whom::Regions(numbers),
            },
            when: When {
                cron: self.cron,
                zone,
                delay_s: self.delay_s,
                // A short run has no time to be spread.
                spread_s: self.spread_s.unwrap_or_else(|| 60.min(lasts_s / 4)),
                lasts_s,
            },
            priority: self.priority.unwrap_or(5),
            attempts: self.attempts.unwrap_or(3),
            backoff_s,
            backoff_cap_s: self.backoff_cap_s.unwrap_or_else(|| backoff_s.max(3_600)),
        })
    }

    fn what(&self) -> Result<What, Problem> {
        let registers = || codes(&self.registers);
        let profile = || self.profile.as_deref().map(code).transpose();
        let reach_s = |days: u32| self.reach_s.unwrap_or(days * DAY_S);
        let (what, takes) = match self.what.as_str() {
            "registers" => (What::Registers { registers: registers()? }, "registers"),
            "instantaneous" => (What::Instantaneous { registers: registers()? }, "registers"),
            "load" => (What::Load { profile: profile()?, reach_s: reach_s(2) }, "profile"),
            "billing" => (What::Billing { profile: profile()?, reach_s: reach_s(400) }, "profile"),
            "clock" => (What::Clock, "nothing"),
            "clock_shift" => (What::ClockShift, "nothing"),
            "events" => (What::Events { logs: codes(&self.logs)?, reach_s: reach_s(31) }, "logs"),
            other => {
                let text = format!(
                    "{other:?} is none of billing, events, registers, \
                    instantaneous, clock, clock_shift, load"
                );
                return Err(Problem::bad("bad_task", text));
            }
        };
        let given = [
            ("registers", !self.registers.is_empty()),
            ("profile", self.profile.is_some()),
            ("logs", !self.logs.is_empty()),
            ("reach_s", self.reach_s.is_some() && ["registers", "nothing"].contains(&takes)),
        ];
        match given.iter().find(|(name, given)| *given && *name != takes) {
            Some((name, _)) => {
                let text = format!("{name} is not for a task that reads {}", self.what);
                Err(Problem::bad("bad_task", text))
            }
            None => Ok(what),
        }
    }
}

/// A task with its last run.
pub(super) fn task(view: &dyn View, task: &Task, now: Stamp) -> Result<TaskBody, Fault> {
    let Rule { what, whom, when, priority, attempts, backoff_s, backoff_cap_s } = &task.rule;
    let texts = |codes: &[Obis]| codes.iter().map(Obis::to_string).collect::<Vec<_>>();
    let (registers, profile, logs, reach_s) = match what {
        What::Registers { registers } | What::Instantaneous { registers } => {
            (texts(registers), None, Vec::new(), None)
        }
        What::Clock | What::ClockShift => (Vec::new(), None, Vec::new(), None),
        What::Load { profile, reach_s } | What::Billing { profile, reach_s } => {
            (Vec::new(), profile.map(|obis| obis.to_string()), Vec::new(), Some(*reach_s))
        }
        What::Events { logs, reach_s } => (Vec::new(), None, texts(logs), Some(*reach_s)),
    };
    let is_active = task.state == tasks::State::Active;
    let next = timetable::next(when, now.seconds().max(task.due_after_s()));
    Ok(TaskBody {
        name: task.name.clone(),
        version: task.version,
        state: task.state.name().to_owned(),
        what: what.name().to_owned(),
        registers,
        profile,
        logs,
        reach_s,
        whom: match whom {
            Whom::All => WhomBody::All,
            Whom::Concentrators(names) => WhomBody::Concentrators(names.clone()),
            Whom::Meters(serials) => WhomBody::Meters(serials.clone()),
            Whom::Models(names) => WhomBody::Models(names.clone()),
            Whom::Regions(numbers) => WhomBody::Regions(numbers.clone()),
        },
        cron: when.cron.clone(),
        zone: when.zone.clone(),
        delay_s: when.delay_s,
        spread_s: when.spread_s,
        lasts_s: when.lasts_s,
        priority: *priority,
        attempts: *attempts,
        backoff_s: *backoff_s,
        backoff_cap_s: *backoff_cap_s,
        by: task.by.clone(),
        set: time::stamp(task.set),
        wanted: task.wanted.is_some(),
        next: next.filter(|_| is_active).map(time::rfc3339),
        run: tasks::run(view, task, task.runs)?.as_ref().map(run),
    })
}

/// A run.
pub(super) fn run(run: &Run) -> RunBody {
    let reason = |(reason, meters): &(tasks::Reason, u32)| ReasonBody {
        reason: reason.name().to_owned(),
        meters: *meters,
    };
    RunBody {
        number: run.number,
        version: run.version,
        state: run.ended.map_or("running", |(_, how)| how.name()).to_owned(),
        due: time::rfc3339(run.due_s),
        begun: time::stamp(run.begun),
        until: time::stamp(run.until),
        ended: run.ended.map(|(at, _)| time::stamp(at)),
        meters: run.meters,
        done: run.done,
        failed: run.failed,
        left: run.meters.saturating_sub(run.done).saturating_sub(run.failed),
        retries: run.retries,
        rows: run.rows,
        devices: run.devices,
        reasons: run.reasons.iter().map(reason).collect(),
    }
}

fn codes(texts: &[String]) -> Result<Vec<Obis>, Problem> {
    texts.iter().map(|text| code(text)).collect()
}

fn code(text: &str) -> Result<Obis, Problem> {
    text.parse().map_err(|_| Problem::bad("bad_obis", format!("{text:?} is no OBIS code")))
}
