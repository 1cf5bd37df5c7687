//! A drill that goes from node to node: each is told to start anew, the next one when all work.
//!
//! Invariants: one node is down at a time; a node's turn is over when it was seen to be silent,
//! another process answers in its place, every node takes writes and has answered a read that a
//! quorum confirmed; what does not come back ends the drill, and the others are left alone.

use tokio::time::sleep;

use super::probe::Probing;
use super::{Course, FELT_WITHIN, LOOK, Times, after, micros, order, stop_condition};
use crate::cli::Api;
use crate::drills::evidence::Step;
use crate::drills::scenario::EACH_WITHIN;

/// Every node's turn, in order.
pub(super) async fn conduct(
    course: &Course,
    probing: &Probing,
    times: &mut Times,
    tell: &impl Fn(&str),
) {
    for place in &course.nodes_in_turn {
        if let Err(why) = turn(course, probing, (*place, times), tell).await {
            times.aborted = why;
            return;
        }
    }
    times.whole_us = Some(probing.clock());
    tell("every node works again");
}

/// One node's turn. An error without words: it did not come back in time, which the verdict tells.
async fn turn(
    course: &Course,
    probing: &Probing,
    (place, times): (usize, &mut Times),
    tell: &impl Fn(&str),
) -> Result<(), Option<String>> {
    let name = course.nodes.get(place).map_or("?", String::as_str);
    let client = course.clients.get(place).ok_or_else(|| Some("no such node".to_owned()))?;
    let (before, began) = (after::build(client).await, after::began(client).await);
    tell(&format!("{name}: stops in order and is started again"));
    let ordered_us = probing.clock();
    times.injected_us = times.injected_us.or(Some(ordered_us));
    if let Err(why) = order(course, place).await {
        return Err(Some(format!("{name} did not take its order: {why}")));
    }
    let taken_us = probing.clock();
    times.taken_us = times.taken_us.or(Some(taken_us));
    let node = u8::try_from(place).unwrap_or(u8::MAX);
    times.steps.push(Step { node, ordered_us, back_us: None, before, after: None });
    let until_us = taken_us + micros(EACH_WITHIN);
    let mut silent = false;
    loop {
        sleep(LOOK).await;
        let now_us = probing.clock();
        if let Some(why) = stop_condition(course, probing, (now_us, Some(place))) {
            return Err(Some(why));
        }
        silent = silent || probing.was_silent(place, taken_us);
        // Whoever was too quick to be missed is asked for nothing more; the verdict doubts it.
        let waited = now_us >= taken_us + micros(FELT_WITHIN);
        let since_us = now_us.saturating_sub(1_000_000).max(taken_us);
        let works = probing.whole(since_us, now_us) && probing.caught_up(since_us);
        // A node that stops refuses a while before it is gone: silence alone may come too early.
        if works && (waited || (silent && is_another(client, began).await)) {
            break;
        }
        if now_us >= until_us {
            tell(&format!("{name} does not work again, and its time is over"));
            return Err(None);
        }
    }
    let now = after::build(client).await;
    if let Some(step) = times.steps.last_mut() {
        step.back_us = Some(probing.clock());
        step.after.clone_from(&now);
    }
    let runs = now.map_or_else(String::new, |build| format!(" with {build}"));
    tell(&format!("{name} works again{runs}"));
    Ok(())
}

/// Whether the process that answers is not the one that began at that time.
async fn is_another(client: &Api, began: Option<f64>) -> bool {
    let now = after::began(client).await;
    now.is_some() && (began.is_none() || now != began)
}
