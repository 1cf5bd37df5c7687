//! What goes wrong in a town: when, where and for how long, as the dice fall.
//!
//! Not here: what a fault does (`machine`, the simulated network).
//! Invariants: 1. Two faults of processes never meet on one machine. 2. Nothing here outlives the
//! calm: whoever waits looks first whether the story is over.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cluster::{rt::world::sleep, transport::simulated::Weather};

use super::{
    executor::{spawn_on, tell, throw, time},
    machine::{Machine, QUICK_US, on},
    town::Town,
};

/// How hard a town is hit.
#[derive(Clone, Copy, Debug)]
pub struct Troubles {
    /// How many faults may be under way at once.
    pub at_once: u64,
    /// Longest pause between two faults of one hand, in milliseconds.
    pub pause_ms: u64,
}

#[derive(Clone, Default)]
struct Busy(Arc<Mutex<BTreeSet<u64>>>);

impl Busy {
    fn take(&self, node: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(node)
    }

    fn free(&self, node: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }
}

/// Starts the hands that hurt the town.
pub fn begin(town: &Town, troubles: Troubles) {
    let busy = Busy::default();
    for _ in 0..troubles.at_once {
        let (town, busy) = (town.clone(), busy.clone());
        spawn_on(0, async move {
            loop {
                sleep(Duration::from_millis(20 + throw(troubles.pause_ms))).await;
                if town.is_over() {
                    return;
                }
                one(&town, &busy).await;
            }
        });
    }
}

async fn one(town: &Town, busy: &Busy) {
    match throw(20) {
        0..=4 => crash(town, town.any().clone(), busy).await,
        5..=7 => {
            if let Some(leader) = town.leader() {
                crash(town, leader, busy).await;
            }
        }
        8 => restart(town, busy).await,
        9 | 10 => isolate(town).await,
        11 | 12 => one_way(town).await,
        13 => flap(town).await,
        14 => weather(town).await,
        15 => slow_disk(town).await,
        16 | 17 => clock(town),
        18 => hand_over(town).await,
        _ => snapshot(town).await,
    }
}

/// Milliseconds, mostly few.
fn while_ms(most: u64) -> Duration {
    let most = if throw(3) == 0 { most } else { most / 6 + 1 };
    Duration::from_millis(10 + throw(most))
}

/// Waits for so long, or until the story is over.
async fn hold(town: &Town, span: Duration) {
    let end = time() + span;
    while time() < end && !town.is_over() {
        sleep((end - time()).min(Duration::from_millis(200))).await;
    }
}

async fn crash(town: &Town, machine: Arc<Machine>, busy: &Busy) {
    if !busy.take(machine.node) {
        return;
    }
    if throw(3) != 0 {
        machine.writes().await;
    }
    machine.crash();
    // Now and then others die with it: a quorum has lost what it had not synced.
    let others = match throw(6) {
        0 => vec![town.any().clone()],
        1 => town.machines().to_vec(),
        _ => Vec::new(),
    };
    let others: Vec<_> = others.into_iter().filter(|other| busy.take(other.node)).collect();
    for other in &others {
        other.crash();
    }
    hold(town, while_ms(4000)).await;
    for machine in others.iter().chain([&machine]) {
        machine.start();
        busy.free(machine.node);
    }
}

async fn restart(town: &Town, busy: &Busy) {
    let machine = town.any().clone();
    if !busy.take(machine.node) {
        return;
    }
    machine.stop().await;
    hold(town, while_ms(1000)).await;
    machine.start();
    busy.free(machine.node);
}

fn two(town: &Town) -> (u64, u64) {
    let nodes = town.machines().len() as u64;
    let one = 1 + throw(nodes);
    let other = 1 + (one + throw(nodes.saturating_sub(1))) % nodes;
    (one, other)
}

async fn isolate(town: &Town) {
    let leader = town.leader().filter(|_| throw(2) == 0);
    let node = leader.map_or(town.any().node, |leader| leader.node);
    let span = while_ms(6000);
    tell(|| format!("n{node} is cut off for {span:?}"));
    let others: Vec<u64> =
        town.machines().iter().map(|machine| machine.node).filter(|other| *other != node).collect();
    for other in &others {
        town.net().cut(node, *other);
        town.net().cut(*other, node);
    }
    hold(town, span).await;
    for other in &others {
        town.net().mend(node, *other);
        town.net().mend(*other, node);
    }
}

async fn one_way(town: &Town) {
    let (from, to) = two(town);
    let span = while_ms(5000);
    tell(|| format!("nothing comes from n{from} to n{to} for {span:?}"));
    town.net().cut(from, to);
    hold(town, span).await;
    town.net().mend(from, to);
}

async fn flap(town: &Town) {
    let (one, other) = two(town);
    let turns = 2 + throw(6);
    tell(|| format!("the way between n{one} and n{other} flaps {turns} times"));
    for _ in 0..turns {
        if town.is_over() {
            return;
        }
        town.net().cut(one, other);
        town.net().cut(other, one);
        hold(town, Duration::from_millis(20 + throw(1500))).await;
        town.net().mend(one, other);
        town.net().mend(other, one);
        sleep(Duration::from_millis(20 + throw(400))).await;
    }
}

async fn weather(town: &Town) {
    let most_us = 1000 + throw(60_000);
    let weather = Weather { least_us: 50, most_us, lost_permille: throw(150) };
    let span = while_ms(4000);
    tell(|| format!("{weather:?} for {span:?}"));
    town.net().set_weather(weather);
    hold(town, span).await;
    town.net().set_weather(Weather::default());
}

async fn slow_disk(town: &Town) {
    let machine = town.any().clone();
    let (slow_us, span) = (5_000 + throw(250_000), while_ms(4000));
    tell(|| format!("the disk of n{} takes {slow_us} us for {span:?}", machine.node));
    machine.set_disk(slow_us);
    hold(town, span).await;
    machine.set_disk(QUICK_US);
}

fn clock(town: &Town) {
    let machine = town.any();
    let offset_ms = i64::try_from(throw(120_000)).unwrap_or(0) - 60_000;
    let drift_ppm = i64::try_from(throw(40_000)).unwrap_or(0) - 20_000;
    tell(|| format!("the clock of n{} jumps to {offset_ms} ms, {drift_ppm} ppm", machine.node));
    machine.set_clock(offset_ms, drift_ppm);
}

async fn hand_over(town: &Town) {
    let Some(leader) = town.leader() else { return };
    let Some(node) = leader.cluster() else { return };
    tell(|| format!("n{} hands over", leader.node));
    let _crashed_or_done = on(leader.node, async move { node.transfer_leader().await }).await;
}

async fn snapshot(town: &Town) {
    let machine = town.any().clone();
    let Some(node) = machine.cluster() else { return };
    tell(|| format!("n{} takes a snapshot", machine.node));
    let _crashed_or_done = on(machine.node, async move { node.snapshot().await }).await;
}
