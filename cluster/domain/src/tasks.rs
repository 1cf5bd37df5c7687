//! Collection tasks: what is read again and again, of whom, when, and what came of each run.
//!
//! The leader says that a run begins (it knows time zones) and that its time is over; nodes report
//! what came by the channels they own. A report holds the values and what it settles in one entry,
//! so both are there or neither: whoever owns the channel next goes on where the last report ends.
//!
//! Invariants: 1. A task has at most one open run, and its runs' due times rise. 2. A meter is
//! settled once in a run: done or failed. 3. What was read is stored whatever became of the run.
//! 4. Of a device one run at most is remembered in detail, of a task [`KEPT_RUNS`] in numbers. 5. A
//! task's number is never given again.

mod board;
mod cron;
mod report;
mod rule;
mod run;

use serde::{Deserialize, Serialize};

pub use board::{Board, Work, concerned};
pub use cron::Cron;
pub use report::{
    GivenUp, MAX_REPORTED, Report, Standing, clocks, given_up, read_until_s, standing,
};
pub use rule::{MAX_LISTED, MAX_LOGS, Rule, What, When, Whom};
pub use run::{Ending, Reason, Run};

use crate::apply::table::{END, Key, Typed, end_of};
use crate::apply::{Done, Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::regions;
use crate::units::{Obis, Stamp};

/// The most tasks.
pub const MAX_TASKS: usize = 256;

/// Runs of a task whose numbers are kept.
pub const KEPT_RUNS: u64 = 100;

/// Rows of a removed task that one entry clears away.
const MAX_SWEPT: usize = 512;

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Make a task, or change one: its open run ends.
    Set {
        /// Its name.
        name: String,
        /// What it says from now on.
        rule: Box<Rule>,
        /// The version that the author saw last, 0 for none; another one refuses the change.
        seen: u32,
    },
    /// Begin no run and go on with none.
    Pause {
        /// Which.
        name: String,
    },
    /// Go on.
    Resume {
        /// Which.
        name: String,
    },
    /// Remove a task with its runs.
    Remove {
        /// Which.
        name: String,
    },
    /// Begin a run now.
    Run {
        /// Which.
        name: String,
    },
    /// A run is due.
    Begin {
        /// Of which task.
        name: String,
        /// The version of the task by which it is due.
        version: u32,
        /// When it was due, seconds UTC.
        due_s: i64,
        /// How many meters it concerns, as who proposes this has counted them.
        meters: u32,
    },
    /// The time of a run is over.
    End {
        /// Of which task.
        name: String,
        /// Which run.
        run: u64,
    },
    /// What came by the channel of a device.
    Report(Box<Report>),
    /// Clear away rows of a removed task.
    Sweep {
        /// Which.
        name: String,
    },
}

/// Whether a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It does.
    Active,
    /// It does not, until it is resumed.
    Paused,
    /// It is being cleared away.
    Removed,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its number: never given again.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// 1 and up; each change is a new one.
    pub version: u32,
    /// What it says.
    pub rule: Rule,
    /// Whether it runs.
    pub state: State,
    /// Who set it last.
    pub by: String,
    /// When.
    pub set: Stamp,
    /// How many runs it had; the number of the last one.
    pub runs: u64,
    /// When the last run was due, seconds UTC.
    pub last_due_s: Option<i64>,
    /// Whether the last run is open.
    pub is_running: bool,
    /// When somebody wanted a run that has not begun.
    pub wanted: Option<Stamp>,
}

static TASKS: Typed<str, Task> = Typed::new(Table::Tasks);
static RUNS: Typed<(u32, u64), Run> = Typed::new(Table::TaskRuns);
/// The next task's number; no ordinal is as high, and no profile is called so.
static NEXT: Typed<(u32, Obis), u32> = Typed::new(Table::TaskMarks);
const NEXT_KEY: (u32, Obis) = (u32::MAX, Obis([0; 6]));

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    match change {
        Change::Set { name, rule, seen } => set(tx, name, rule, *seen),
        Change::Pause { name } => turn(tx, name, State::Paused),
        Change::Resume { name } => turn(tx, name, State::Active),
        Change::Remove { name } => turn(tx, name, State::Removed),
        Change::Run { name } => want(tx, name),
        Change::Begin { name, version, due_s, meters } => {
            begin(tx, name, *version, *due_s, *meters)
        }
        Change::End { name, run } => end(tx, name, *run),
        Change::Report(report) => report::apply(tx, report),
        Change::Sweep { name } => sweep(tx, name),
    }
}

impl Change {
    /// Area and verb.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Change::Set { .. } => "tasks.set",
            Change::Pause { .. } => "tasks.pause",
            Change::Resume { .. } => "tasks.resume",
            Change::Remove { .. } => "tasks.remove",
            Change::Run { .. } => "tasks.run",
            Change::Begin { .. } => "tasks.begin",
            Change::End { .. } => "tasks.end",
            Change::Report(_) => "tasks.report",
            Change::Sweep { .. } => "tasks.sweep",
        }
    }

    /// The task that it is about.
    pub(crate) fn object(&self) -> String {
        match self {
            Change::Set { name, .. }
            | Change::Pause { name }
            | Change::Resume { name }
            | Change::Remove { name }
            | Change::Run { name }
            | Change::Begin { name, .. }
            | Change::End { name, .. }
            | Change::Sweep { name } => name.clone(),
            Change::Report(report) => report.name.clone(),
        }
    }

    /// Whether only nodes can know it: what is due, and what came.
    pub(crate) fn is_of_nodes(&self) -> bool {
        match self {
            Change::Begin { .. }
            | Change::End { .. }
            | Change::Report(_)
            | Change::Sweep { .. } => true,
            Change::Set { .. }
            | Change::Pause { .. }
            | Change::Resume { .. }
            | Change::Remove { .. }
            | Change::Run { .. } => false,
        }
    }
}

fn set(tx: &mut Tx<'_>, name: &str, rule: &Rule, seen: u32) -> Result<Done, Stop> {
    rule::check_name(name)?;
    rule.check()?;
    if let Whom::Regions(listed) = &rule.whom {
        // A region that closes later has no meters any more; one that never was is a mistake.
        for region in listed.iter().filter(|region| **region != regions::ROOT) {
            regions::open(tx, *region)?;
        }
    }
    let known = TASKS.get(tx, name)?;
    let version = known.as_ref().map_or(0, |task| task.version);
    if version != seen {
        return Err(refuse("task_changed", format!("{name}: version {version}, not {seen}")));
    }
    let mut task = match known {
        Some(task) => living(task)?,
        None => fresh(tx, name, rule)?,
    };
    close(tx, &mut task, Ending::Superseded)?;
    (task.version, task.rule) = (version + 1, rule.clone());
    (task.by, task.set) = (tx.author.name(), tx.stamp);
    TASKS.put(tx, name, &task)?;
    Ok(Done::Noted)
}

fn fresh(tx: &mut Tx<'_>, name: &str, rule: &Rule) -> Result<Task, Stop> {
    if TASKS.scan(tx, &[], END, MAX_TASKS)?.len() >= MAX_TASKS {
        return Err(refuse("too_many_tasks", format!("at most {MAX_TASKS}")));
    }
    let id = NEXT.get(tx, &NEXT_KEY)?.unwrap_or(1);
    NEXT.put(tx, &NEXT_KEY, &id.saturating_add(1))?;
    Ok(Task {
        id,
        name: name.to_owned(),
        version: 0,
        rule: rule.clone(),
        state: State::Active,
        by: String::new(),
        set: tx.stamp,
        runs: 0,
        last_due_s: None,
        is_running: false,
        wanted: None,
    })
}

fn turn(tx: &mut Tx<'_>, name: &str, state: State) -> Result<Done, Stop> {
    let mut task = known(tx, name)?;
    task.state = state;
    if state == State::Removed {
        close(tx, &mut task, Ending::Superseded)?;
    }
    if state != State::Active {
        task.wanted = None;
    }
    TASKS.put(tx, name, &task)?;
    Ok(Done::Noted)
}

fn want(tx: &mut Tx<'_>, name: &str) -> Result<Done, Stop> {
    let mut task = known(tx, name)?;
    match task.state {
        State::Active if task.is_running => Err(refuse("task_running", name)),
        State::Active => {
            task.wanted = Some(tx.stamp);
            TASKS.put(tx, name, &task)?;
            Ok(Done::Noted)
        }
        _ => Err(refuse("task_paused", name)),
    }
}

fn begin(tx: &mut Tx<'_>, name: &str, version: u32, due_s: i64, meters: u32) -> Result<Done, Stop> {
    let mut task = known(tx, name)?;
    if task.state != State::Active {
        return Err(refuse("task_paused", name));
    }
    if task.version != version {
        return Err(refuse("task_changed", format!("{name}: version {}", task.version)));
    }
    let is_new = task.last_due_s.is_none_or(|last_s| due_s > last_s);
    if due_s > tx.stamp.seconds() || !(is_new || task.wanted.is_some()) {
        return Err(refuse("run_not_due", format!("{name} at {due_s}")));
    }
    close(tx, &mut task, Ending::Superseded)?;
    task.runs += 1;
    task.wanted = None;
    task.last_due_s = Some(task.last_due_s.map_or(due_s, |last_s| last_s.max(due_s)));
    task.is_running = true;
    let lasts = u64::from(task.rule.when.lasts_s) * 1_000_000;
    let run = Run {
        number: task.runs,
        version,
        due_s,
        begun: tx.stamp,
        until: Stamp(tx.stamp.0.saturating_add(lasts)),
        ended: None,
        meters,
        done: 0,
        failed: 0,
        reasons: Vec::new(),
        retries: 0,
        rows: 0,
        devices: 0,
    };
    RUNS.put(tx, &(task.id, run.number), &run)?;
    if let Some(old) = run.number.checked_sub(KEPT_RUNS) {
        RUNS.delete(tx, &(task.id, old));
    }
    if meters == 0 {
        close(tx, &mut task, Ending::Complete)?;
    }
    TASKS.put(tx, name, &task)?;
    Ok(Done::Noted)
}

fn end(tx: &mut Tx<'_>, name: &str, number: u64) -> Result<Done, Stop> {
    let mut task = known(tx, name)?;
    let run = RUNS.get(tx, &(task.id, number))?;
    if !task.is_running || task.runs != number {
        return Ok(Done::Noted);
    }
    if run.is_some_and(|run| run.until > tx.stamp) {
        return Err(refuse("run_not_over", format!("{name} {number}")));
    }
    close(tx, &mut task, Ending::TimeOver)?;
    TASKS.put(tx, name, &task)?;
    Ok(Done::Noted)
}

/// Ends the open run, if there is one; the task is the caller's to write.
fn close(tx: &mut Tx<'_>, task: &mut Task, ending: Ending) -> Result<(), Stop> {
    if std::mem::take(&mut task.is_running)
        && let Some(mut run) = RUNS.get(tx, &(task.id, task.runs))?
    {
        run.ended = Some((tx.stamp, ending));
        RUNS.put(tx, &(task.id, run.number), &run)?;
    }
    Ok(())
}

fn sweep(tx: &mut Tx<'_>, name: &str) -> Result<Done, Stop> {
    let Some(task) = TASKS.get(tx, name)? else { return Ok(Done::Noted) };
    if task.state != State::Removed {
        return Err(refuse("task_not_removed", name));
    }
    let prefix = task.id.octets();
    let end = end_of(&prefix);
    let mut left = MAX_SWEPT;
    for table in [Table::TaskProgress, Table::TaskRuns] {
        let rows = tx.scan(table, &prefix, &end, left)?;
        left -= rows.len();
        for (key, _) in rows {
            tx.put(table, key, None);
        }
    }
    if left > 0 {
        TASKS.delete(tx, name);
    }
    Ok(Done::Noted)
}

fn known(view: &dyn View, name: &str) -> Result<Task, Stop> {
    let task = TASKS.get(view, name)?.ok_or_else(|| refuse("unknown_task", name))?;
    living(task)
}

fn living(task: Task) -> Result<Task, Stop> {
    if task.state == State::Removed {
        return Err(refuse("task_removed", task.name));
    }
    Ok(task)
}

/// A task by its name.
pub fn task(view: &dyn View, name: &str) -> Result<Option<Task>, Fault> {
    TASKS.get(view, name)
}

/// Every task in order of the names, those included that are being cleared away.
pub fn tasks(view: &dyn View) -> Result<Vec<Task>, Fault> {
    Ok(TASKS.scan(view, &[], END, MAX_TASKS)?.into_iter().map(|(_, task)| task).collect())
}

/// A run of a task.
pub fn run(view: &dyn View, task: &Task, number: u64) -> Result<Option<Run>, Fault> {
    RUNS.get(view, &(task.id, number))
}

/// The runs that are kept of a task, oldest first.
pub fn runs(view: &dyn View, task: &Task) -> Result<Vec<Run>, Fault> {
    let prefix = task.id.octets();
    let most = usize::try_from(KEPT_RUNS).unwrap_or(usize::MAX);
    let rows = RUNS.scan(view, &prefix, &end_of(&prefix), most)?;
    Ok(rows.into_iter().map(|(_, run)| run).collect())
}

impl Task {
    /// When the next run may be due at the earliest: a new task does not make up for what it
    /// missed. Seconds UTC, exclusive.
    pub fn due_after_s(&self) -> i64 {
        let set_s = self.set.seconds();
        self.last_due_s.map_or(set_s, |last_s| last_s.max(set_s))
    }
}

impl State {
    /// Its name, as the API gives it.
    pub fn name(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Paused => "paused",
            State::Removed => "removed",
        }
    }
}
