//! Collection tasks: the leader begins and ends their runs and clears away what is removed; every
//! node answers what is to be read next.
//!
//! Invariants: 1. two leaders for a moment do no harm: the same run begins once; 2. what is to be
//! read is looked up in a state that holds all that was reported, by whichever node.

use std::time::Duration;

use domain::tasks::{self, Change, State, Task};
use domain::{Device, Fault, Stamp, View};
use gateway::{Denied, TaskDevices, TaskQuery, TaskWork, task_devices, task_work};

use super::jobs::{count, leads};
use super::{NotDone, Wires};
use crate::timetable;

const EVERY: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(5);

/// Begins and ends runs.
pub async fn run(wires: Wires) {
    while wires.pause(EVERY).await {
        if !leads(&wires) {
            continue;
        }
        let (view, now) = (wires.cluster.view(), wires.cluster.stamp_now());
        // Meters are counted here, which takes a moment where there are many.
        match tokio::task::spawn_blocking(move || due(&view, now)).await {
            Ok(Ok(changes)) => {
                for change in changes {
                    let outcome = wires.propose(domain::Change::Tasks(change), PATIENCE).await;
                    if let Err(NotDone::Refused(refusal)) = &outcome {
                        tracing::debug!(%refusal, "a run of a task did not begin or end");
                    }
                    count(&wires, "tasks", outcome);
                }
            }
            Ok(Err(fault)) => wires.fault("tasks", &fault),
            Err(error) => tracing::error!(%error, "no task was looked at"),
        }
    }
}

/// What is to be done for the tasks at a stamp.
fn due(view: &dyn View, now: Stamp) -> Result<Vec<Change>, Fault> {
    let mut changes = Vec::new();
    for task in tasks::tasks(view)? {
        if let Some(change) = due_of(view, &task, now)? {
            changes.push(change);
        }
    }
    Ok(changes)
}

fn due_of(view: &dyn View, task: &Task, now: Stamp) -> Result<Option<Change>, Fault> {
    let name = task.name.clone();
    if task.state == State::Removed {
        return Ok(Some(Change::Sweep { name }));
    }
    if task.is_running
        && let Some(run) = tasks::run(view, task, task.runs)?
        && run.until <= now
    {
        return Ok(Some(Change::End { name, run: run.number }));
    }
    if task.state != State::Active {
        return Ok(None);
    }
    let due_s = match task.wanted {
        Some(wanted) => Some(wanted.seconds()),
        None => {
            let at_s = now.seconds() - i64::from(task.rule.when.delay_s);
            timetable::last(&task.rule.when, at_s).filter(|due_s| *due_s > task.due_after_s())
        }
    };
    let Some(due_s) = due_s else { return Ok(None) };
    let meters = tasks::concerned(view, &task.rule.whom)?;
    Ok(Some(Change::Begin { name, version: task.version, due_s, meters }))
}

/// Which of these devices have something to be read. A hint: a moment behind does no harm.
pub(super) async fn devices(wires: &Wires, asked: Vec<Device>) -> Result<TaskDevices, Denied> {
    let (view, now) = (wires.cluster.view(), wires.cluster.stamp_now());
    let look = tokio::task::spawn_blocking(move || task_devices(&view, &asked, now));
    answered(wires, look.await)
}

/// What is to be read next of a device, knowing every report there was.
pub(super) async fn work(
    wires: &Wires,
    query: TaskQuery,
    patience: Duration,
) -> Result<Option<TaskWork>, Denied> {
    let view = wires.cluster.linearizable(patience).await.map_err(|_| Denied::Unavailable)?;
    let (now, app) = (wires.cluster.stamp_now(), wires.app.clone());
    let look = tokio::task::spawn_blocking(move || {
        task_work(&view, &query, now, |name| app.models().or_generic(name).0)
    });
    answered(wires, look.await)
}

fn answered<T>(
    wires: &Wires,
    look: Result<Result<T, Fault>, tokio::task::JoinError>,
) -> Result<T, Denied> {
    match look {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(fault)) => {
            wires.fault("tasks", &fault);
            Err(Denied::Unavailable)
        }
        Err(_) => Err(Denied::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use domain::tasks::{Change, Rule, What, When, Whom};
    use domain::{Author, Entry, MemoryView, NodeId, Proposal, ProposalId, Stamp, apply};

    use super::due;

    struct Cluster {
        view: MemoryView,
        index: u64,
    }

    impl Cluster {
        fn propose(&mut self, author: Author, at_s: u64, change: Change) {
            self.index += 1;
            let id = ProposalId(u128::from(self.index).to_be_bytes());
            let proposal = Proposal { id, author, change: domain::Change::Tasks(change) };
            let entry = Entry { stamp: Stamp::from_seconds(at_s), proposal };
            let applied = apply(&self.view, self.index, &entry).unwrap();
            assert!(applied.outcome.is_ok(), "{:?}", applied.outcome);
            self.view.apply(&applied);
        }

        /// What the leader does at a time, done.
        fn look(&mut self, at_s: u64) -> Vec<String> {
            let changes = due(&self.view, Stamp::from_seconds(at_s)).unwrap();
            let said = changes.iter().map(|change| format!("{change:?}")).collect();
            for change in changes {
                self.propose(Author::Node(NodeId(1)), at_s, change);
            }
            said
        }
    }

    #[test]
    fn runs_begin_when_they_are_due_and_end_when_their_time_is_over() {
        const DAY: u64 = 86_400;
        let mut cluster = Cluster { view: MemoryView::default(), index: 0 };
        let when = When {
            cron: "0 2 * * *".to_owned(),
            zone: "UTC".to_owned(),
            delay_s: 60,
            spread_s: 0,
            lasts_s: 3_600,
        };
        let rule = Box::new(Rule {
            what: What::Registers { registers: Vec::new() },
            // Nobody has such a meter, so nothing settles the run before its time is over; a list
            // of one that is not there counts none, and a run of none is complete at once.
            whom: Whom::All,
            when,
            priority: 5,
            attempts: 3,
            backoff_s: 60,
            backoff_cap_s: 60,
        });
        let admin = || Author::Operator("admin".to_owned());
        let set = Change::Set { name: "daily".to_owned(), rule, seen: 0 };
        cluster.propose(admin(), 10 * DAY + 10_000, set);
        let none: Vec<String> = Vec::new();
        // What was due before the task was made is not made up for.
        assert_eq!(cluster.look(10 * DAY + 20_000), none);
        assert_eq!(cluster.look(11 * DAY + 7_259), none, "a minute later than it is due");
        let begun = cluster.look(11 * DAY + 7_260);
        let due_s = 11 * DAY + 7_200;
        assert_eq!(
            begun,
            [format!("Begin {{ name: \"daily\", version: 1, due_s: {due_s}, meters: 0 }}")]
        );
        assert_eq!(cluster.look(11 * DAY + 7_300), none, "once");
        cluster.propose(admin(), 12 * DAY, Change::Pause { name: "daily".to_owned() });
        assert_eq!(cluster.look(12 * DAY + 8_000), none, "paused");
        cluster.propose(admin(), 12 * DAY + 8_100, Change::Resume { name: "daily".to_owned() });
        cluster.propose(admin(), 12 * DAY + 8_100, Change::Run { name: "daily".to_owned() });
        // One run for the wish and for what was due meanwhile: the wish is the newer one.
        assert_eq!(cluster.look(12 * DAY + 8_101).len(), 1);
        assert_eq!(cluster.look(12 * DAY + 8_102), none);
        cluster.propose(admin(), 12 * DAY + 9_000, Change::Remove { name: "daily".to_owned() });
        assert_eq!(cluster.look(12 * DAY + 9_001), ["Sweep { name: \"daily\" }"]);
        assert_eq!(cluster.look(12 * DAY + 9_002), none);
    }
}
