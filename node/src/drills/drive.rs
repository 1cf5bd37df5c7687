//! The driver: a client outside of the cluster that tries every node all the while, has the
//! failure injected, waits until all is whole again, and gathers the evidence.
//!
//! Not the verdict (`judge`, on a node). Invariants: one clock; the driver may die at any moment
//! and leaves nothing behind that does not end by itself; it stops at a stop condition: a second
//! node lost, the drill ended elsewhere, its time over, the operator's wish.

mod after;
mod probe;
mod rolling;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use tokio::time::sleep;

use crate::cli::Api;
use crate::drills::evidence::{Evidence, Restored, Step};
use crate::drills::scenario::{BASELINE, CALM_WITHIN, SETTLE, Scenario, WHOLE_WITHIN};
pub use after::newest_backup;
use probe::Probing;

/// How often the driver looks where things stand.
const LOOK: Duration = Duration::from_millis(50);
/// The target must take its order within this.
const TAKE: Duration = Duration::from_secs(10);
/// A failure that was not felt within this is not waited for any more.
const FELT_WITHIN: Duration = Duration::from_secs(10);
/// Nodes other than the target that are lost so long end the drill.
const SECOND_LOST: Duration = Duration::from_secs(3);

/// One drill to drive.
pub struct Course {
    /// A client of each node, in the order of their names below.
    pub clients: Vec<Api>,
    /// Names of the nodes.
    pub nodes: Vec<String>,
    /// The drill's number.
    pub drill: u64,
    /// Place of the node that is hurt.
    pub target: usize,
    /// Places of the nodes that are restarted, in order, where it goes from node to node.
    pub nodes_in_turn: Vec<usize>,
    /// Whether the target led when the drill began.
    pub target_leads: bool,
    /// What is drilled.
    pub scenario: &'static Scenario,
    /// The concentrator whose channel is hurt; empty when none is.
    pub concentrator: String,
    /// How long the failure lasts.
    pub hold: Duration,
}

/// When what happened, by the driver's clock.
#[derive(Default)]
struct Times {
    injected_us: Option<u64>,
    taken_us: Option<u64>,
    undone_us: Option<u64>,
    whole_us: Option<u64>,
    aborted: Option<String>,
    steps: Vec<Step>,
}

/// Drives a drill to its end. `wish` ends it early and says why; `tell` hears news for a person.
pub async fn drive(
    course: Course,
    wish: impl Future<Output = String>,
    tell: impl Fn(&str),
) -> Evidence {
    let began = jiff::Timestamp::now().to_string();
    let course = Arc::new(course);
    let before = after::counters(&course).await;
    let probing = Probing::start(&course);
    let mut times = Times::default();
    tokio::select! {
        () = conduct(&course, &probing, &mut times, &tell) => {}
        why = wish => times.aborted = Some(why),
    }
    if times.aborted.is_none() {
        sleep(SETTLE).await;
    }
    let ended_us = probing.clock();
    tell("reading back what every node holds");
    let book = probing.stop().await;
    let held = after::held(&course).await;
    let replicas = after::replicas(&course).await;
    let signs = after::signs(&course, &before).await;
    Evidence {
        began,
        nodes: course.nodes.clone(),
        injected_us: times.injected_us,
        taken_us: times.taken_us,
        undone_us: times.undone_us,
        whole_us: times.whole_us,
        ended_us,
        aborted: times.aborted,
        operations: book.operations,
        skipped: book.skipped,
        seen: book.seen,
        channel: book.channel,
        held: held.into_iter().collect::<BTreeMap<_, _>>(),
        replicas,
        signs,
        restored: None,
        measured: None,
        steps: times.steps,
    }
}

/// The evidence of a drill in which nobody is hurt: what the nodes say, and what was restored where
/// that was to be.
pub async fn examine(course: &Course, restored: Option<Result<Restored, String>>) -> Evidence {
    let aborted = restored.as_ref().and_then(|restored| restored.as_ref().err().cloned());
    Evidence {
        began: jiff::Timestamp::now().to_string(),
        nodes: course.nodes.clone(),
        injected_us: None,
        taken_us: None,
        undone_us: None,
        whole_us: None,
        ended_us: 0,
        aborted,
        operations: Vec::new(),
        skipped: 0,
        seen: Vec::new(),
        channel: Vec::new(),
        held: after::held(course).await.into_iter().collect(),
        replicas: after::replicas(course).await,
        signs: Vec::new(),
        restored: restored.and_then(Result::ok),
        measured: None,
        steps: Vec::new(),
    }
}

/// Baseline, injection, and the wait until all is whole.
async fn conduct(course: &Course, probing: &Probing, times: &mut Times, tell: &impl Fn(&str)) {
    if let Err(why) = usual(course, probing, tell).await {
        times.aborted = Some(why);
        return;
    }
    if course.scenario.injection.rolls() {
        return rolling::conduct(course, probing, times, tell).await;
    }
    let target = course.nodes.get(course.target).map_or("?", String::as_str);
    tell(&format!("{target}: {}", course.scenario.does));
    times.injected_us = Some(probing.clock());
    if let Err(why) = order(course, course.target).await {
        times.aborted = Some(format!("{target} did not take its order: {why}"));
        return;
    }
    let taken_us = probing.clock();
    times.taken_us = Some(taken_us);
    let lasts = course.scenario.injection.lasts();
    let hold_us = micros(if lasts { course.hold } else { Duration::ZERO });
    let over_us = taken_us + hold_us;
    let until_us = over_us + micros(WHOLE_WITHIN);
    loop {
        sleep(LOOK).await;
        let now_us = probing.clock();
        if lasts && now_us >= over_us && times.undone_us.is_none() {
            times.undone_us = Some(over_us);
            tell("the failure is over");
        }
        if let Some(why) = stop_condition(course, probing, (now_us, Some(course.target))) {
            times.aborted = Some(why);
            return;
        }
        let felt = probing.felt(course, taken_us);
        let waited = now_us >= over_us + micros(FELT_WITHIN);
        if now_us >= over_us && (felt || waited) && probing.whole(over_us, now_us) {
            times.whole_us = Some(now_us);
            tell("every node works again");
            return;
        }
        if now_us >= until_us {
            tell("not every node works again, and the time is over");
            return;
        }
    }
}

/// Measures what is usual. A cluster that is not whole at the end of it is measured again, and in
/// the end left alone: a failure put into trouble measures the trouble, and makes it worse.
async fn usual(course: &Course, probing: &Probing, tell: &impl Fn(&str)) -> Result<(), String> {
    let until_us = probing.clock() + micros(CALM_WITHIN);
    tell("measuring the usual");
    loop {
        sleep(BASELINE).await;
        let now_us = probing.clock();
        if probing.whole(0, now_us) {
            return Ok(());
        }
        if let Some(why) = stop_condition(course, probing, (now_us, Some(course.target))) {
            return Err(why);
        }
        if now_us >= until_us {
            return Err("not every node worked before the failure".to_owned());
        }
        tell("not every node works; measuring the usual again");
    }
}

/// Tells a node to hurt itself.
async fn order(course: &Course, target: usize) -> Result<(), String> {
    let client = course.clients.get(target).ok_or("no such node")?;
    let path = format!("/api/v1/drills/{}/injection", course.drill);
    let key = format!("drill {} injection {target}", course.drill);
    match client.once(Method::POST, &path, (None, &key), TAKE).await {
        Ok((202, _)) => Ok(()),
        Ok((status, body)) => Err(format!("{status} {}", body["code"].as_str().unwrap_or(""))),
        Err(no_answer) => Err(format!("{no_answer:?}")),
    }
}

/// Why to end the drill now: it was ended elsewhere, or a node that is not hurt is lost.
fn stop_condition(
    course: &Course,
    probing: &Probing,
    (now_us, target): (u64, Option<usize>),
) -> Option<String> {
    if probing.ended_elsewhere() {
        return Some("the drill was ended elsewhere, or its time is over".to_owned());
    }
    let lost = probing.down_for(now_us).into_iter().enumerate();
    let lost = lost.filter(|(place, us)| Some(*place) != target && *us >= micros(SECOND_LOST));
    let lost = lost.filter_map(|(place, _)| course.nodes.get(place));
    let names: Vec<&str> = lost.map(String::as_str).collect();
    (!names.is_empty()).then(|| format!("a second node is lost: {}", names.join(", ")))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
