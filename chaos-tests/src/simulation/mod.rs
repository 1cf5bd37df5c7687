//! Whole clusters in one process, from one seed: virtual time, a simulated network, disks that
//! lose what was not synced, clocks that jump; and the promises checked.
//!
//! * `executor`: time, tasks, dice. `machine`: one node on its disk. `town`: all of them.
//! * `faults`: what goes wrong. `moves`: members that come and go. `clients`: what is asked
//!   meanwhile. `history`: what was told.
//! * `checks`, `watch`: the promises.
//!
//! What is real and what is not stands in ADR 0028 and `docs/operations/simulation.md`.
//!
//! Invariant: equal seed and equal program, equal story to the last step.

mod checks;
mod clients;
mod executor;
mod faults;
mod history;
mod machine;
mod moves;
mod town;
mod watch;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cluster::rt::world::sleep;
use domain::{Author, Change, NodeId, leases};

pub use checks::Broken;
use checks::{Evidence, broken};
pub use executor::{Dice, node, time};
use executor::{Ended, Executor, tell, throw};
use faults::Troubles;
use history::id_of;
use town::Town;
use watch::Watch;

/// How long a town may take to settle when the faults are over.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);

/// Virtual time after which a story is stuck.
const LIMIT: Duration = Duration::from_secs(300);

/// What became of a seed.
#[derive(Debug)]
pub struct Told {
    /// Which seed.
    pub seed: u64,
    /// Promises that did not hold; empty when all is well.
    pub broken: Vec<Broken>,
    /// What happened, in order, with virtual times.
    pub story: Vec<String>,
    /// Differs when anything went otherwise.
    pub trace: u64,
    /// Virtual time that passed.
    pub lasted: Duration,
    /// Steps that its tasks took.
    pub steps: u64,
    /// Questions that were asked, and those that were answered.
    pub asked: (usize, usize),
}

/// Runs the story of a seed in a scratch folder.
///
/// Errors when no folder can be made.
pub fn simulate(seed: u64) -> std::io::Result<Told> {
    let dir = tempfile::Builder::new().prefix("holdfast-simulation-").tempdir_in(scratch())?;
    let told = simulate_in(seed, dir.path());
    storage::tables::on_memory::forget_below(dir.path());
    Ok(told)
}

/// Memory, where there is a file system of it: a sync costs nothing there.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() }
}

type Judged = Arc<Mutex<(Vec<Broken>, (usize, usize))>>;

fn simulate_in(seed: u64, dir: &Path) -> Told {
    let judged = Judged::default();
    let (sink, place) = (judged.clone(), dir.to_path_buf());
    let ran = catch_unwind(AssertUnwindSafe(|| {
        executor::run(seed, LIMIT, async move {
            let told = story(&place).await;
            *sink.lock().unwrap_or_else(PoisonError::into_inner) = told;
        })
    }));
    let (mut broken, asked) = judged.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (ended, world) = match ran {
        Ok((ended, world)) => (ended, Some(world)),
        Err(panic) => {
            broken.push(checks::broken("nobody panics", words(panic.as_ref())));
            (Ended::Done, executor::left())
        }
    };
    let mut story = world.as_deref().map(Executor::story).unwrap_or_default();
    if ended != Ended::Done {
        broken.push(checks::broken("the story ends", format!("{ended:?}")));
        story.extend(world.as_deref().map(Executor::busiest).unwrap_or_default());
    }
    let trace = world.as_deref().map_or(0, Executor::trace);
    let lasted = world.as_deref().map_or(Duration::ZERO, Executor::time);
    let steps = world.as_deref().map_or(0, Executor::steps);
    Told { seed, broken, story, trace, lasted, steps, asked }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

async fn story(dir: &Path) -> (Vec<Broken>, (usize, usize)) {
    let nodes = if throw(4) == 0 { 5 } else { 3 };
    let town = Town::new(dir, nodes);
    let watch = Watch::begin(&town);
    if !town.found().await {
        return (vec![broken("a cluster is founded", "it was not")], (0, 0));
    }
    tell(|| format!("{nodes} nodes are founded"));
    let troubles = Troubles { at_once: 1 + throw(3), pause_ms: 200 + throw(2500) };
    clients::begin(&town, 3 + throw(5));
    faults::begin(&town, troubles);
    moves::begin(&town);
    sleep(Duration::from_secs(6 + throw(12))).await;
    tell(|| "the faults are over".to_owned());
    town.calm_down();
    let mut all = Vec::new();
    if let Err(why) = settle(&town).await {
        all.push(why);
    }
    watch.look(&town);
    all.extend(watch.broken());
    all.extend(town.move_broken());
    for machine in town.machines() {
        all.extend(machine.fault().map(|why| broken("a node starts again", why)));
    }
    let asked = town.history().all();
    let answered = asked.iter().filter(|one| one.ended.is_some()).count();
    let counts = (asked.len(), answered);
    if all.is_empty() {
        let nodes = town.machines().into_iter().filter_map(|machine| {
            let node = machine.cluster()?;
            Some((machine.node, node.view(), node.readings()))
        });
        match Evidence::gather(asked, nodes.collect()) {
            Ok(evidence) => all.extend(evidence.judge()),
            Err(why) => all.push(why),
        }
    }
    for one in &all {
        tell(|| format!("BROKEN: {}: {}", one.promise, one.seen));
    }
    (all, counts)
}

/// Waits until every machine is up, a write is taken at each, and all have applied the same.
async fn settle(town: &Town) -> Result<(), Broken> {
    let late = |what: String| broken("everything settles when the faults are over", what);
    // Faults that were under way end by themselves, and clients give up.
    sleep(Duration::from_secs(5)).await;
    town.calm_down();
    // A change of the members ends, well or not, within a time of its own.
    while town.is_moving() {
        sleep(Duration::from_millis(100)).await;
    }
    let end = time() + SETTLES_WITHIN;
    for machine in town.machines() {
        let node = NodeId(machine.node);
        let change = Change::Leases(leases::Change::Renew { node, ttl_ms: 1000 });
        let id = id_of(town.number());
        let (rest, at) = (end.saturating_sub(time()), Some(machine.node));
        let told = town.submit(id, Author::Node(node), change, rest, at).await;
        if told.is_none() {
            return Err(late(format!("n{} takes no write", machine.node)));
        }
    }
    loop {
        let points: Vec<Option<(u64, [u8; 32])>> = town
            .machines()
            .iter()
            .map(|machine| {
                let status = machine.cluster()?.status();
                Some((status.applied_index, status.state_hash))
            })
            .collect();
        let index = |point: &Option<(u64, [u8; 32])>| point.map(|(index, _)| index);
        let first = points.first().and_then(index);
        if first.is_some() && points.iter().all(|point| index(point) == first) {
            tell(|| format!("all have applied {first:?}"));
            return Ok(());
        }
        if time() > end {
            return Err(late(format!(
                "applied {:?}",
                points.iter().map(index).collect::<Vec<_>>()
            )));
        }
        sleep(Duration::from_millis(100)).await;
    }
}
