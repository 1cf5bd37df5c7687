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

use cluster::{Role, rt::world::sleep, transport::simulated::Weather};

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
    match throw(25) {
        0..=4 => crash(town, town.any(), busy).await,
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
        19 | 20 => site(town, busy).await,
        21 => torn_election(town, busy).await,
        22 | 23 => full_disk(town).await,
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

/// A machine that a fault took runs again, but for one that has left for ever.
fn back(town: &Town, machine: &Arc<Machine>, busy: &Busy) {
    if town.is_member(machine.node) {
        machine.start();
    }
    busy.free(machine.node);
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
        0 => vec![town.any()],
        1 => town.machines(),
        _ => Vec::new(),
    };
    let others: Vec<_> = others.into_iter().filter(|other| busy.take(other.node)).collect();
    for other in &others {
        other.crash();
    }
    hold(town, while_ms(4000)).await;
    for machine in others.iter().chain([&machine]) {
        back(town, machine, busy);
    }
}

/// The storage that all machines share becomes slow, and then the power of the site goes: what
/// was told to be on disk must be.
async fn site(town: &Town, busy: &Busy) {
    let slow_us = 20_000 + throw(300_000);
    tell(|| format!("the disks of all take {slow_us} us"));
    for machine in town.machines() {
        machine.set_disk(slow_us);
    }
    hold(town, Duration::from_millis(20 + throw(400))).await;
    let dark: Vec<_> =
        town.machines().iter().filter(|machine| busy.take(machine.node)).cloned().collect();
    for machine in town.machines() {
        machine.set_disk(QUICK_US);
    }
    // Mostly the caches of all disks are lost alike.
    let nothing = throw(3) != 0;
    for machine in &dark {
        if nothing { machine.crash_keeping(0) } else { machine.crash() }
    }
    hold(town, while_ms(1000)).await;
    for machine in &dark {
        back(town, machine, busy);
    }
}

/// A machine that has just given its vote crashes, and whoever won by it hears nobody: a vote that
/// was forgotten lets another win the same term, and the first come back over what it was told.
async fn torn_election(town: &Town, busy: &Busy) {
    let Some(winner) = candidate(town).await else { return };
    let others: Vec<_> =
        town.machines().iter().filter(|other| other.node != winner.node).cloned().collect();
    // The lower number comes first, and of two votes for one term the higher number's wins: only a
    // rival below the winner needs what the voter forgot.
    let [rival, voter] = others.as_slice() else { return };
    if !busy.take(voter.node) {
        return;
    }
    let between = |cut: bool, other: u64| {
        for (from, to) in [(winner.node, other), (other, winner.node)] {
            if cut { town.net().cut(from, to) } else { town.net().mend(from, to) }
        }
    };
    between(true, rival.node);
    let end = time() + Duration::from_millis(300);
    while !leads(&winner) && time() < end {
        sleep(Duration::from_micros(20)).await;
    }
    between(true, voter.node);
    voter.crash();
    tell(|| format!("n{} stood for election, n{} crashed over it", winner.node, voter.node));
    sleep(Duration::from_millis(throw(20))).await;
    back(town, voter, busy);
    hold(town, Duration::from_millis(300 + throw(2000))).await;
    between(false, rival.node);
    between(false, voter.node);
}

fn role(machine: &Machine) -> Option<Role> {
    machine.cluster().map(|node| node.status().role)
}

fn leads(machine: &Machine) -> bool {
    role(machine) == Some(Role::Leader)
}

/// Takes the office from the leader and answers who stands for it next, if somebody does soon.
async fn candidate(town: &Town) -> Option<Arc<Machine>> {
    let leader = town.leader();
    let span = Duration::from_millis(400);
    if let Some(leader) = &leader {
        cut_off(town, leader.node, true);
    }
    let end = time() + span;
    let mut found = None;
    while found.is_none() && time() < end && !town.is_over() {
        sleep(Duration::from_micros(100)).await;
        let stands = |machine: &&Arc<Machine>| role(machine) == Some(Role::Candidate);
        found = town.machines().iter().find(stands).cloned();
    }
    if let Some(leader) = &leader {
        cut_off(town, leader.node, false);
    }
    found
}

fn cut_off(town: &Town, node: u64, cut: bool) {
    for other in town.machines().iter().map(|machine| machine.node).filter(|other| *other != node) {
        for (from, to) in [(node, other), (other, node)] {
            if cut { town.net().cut(from, to) } else { town.net().mend(from, to) }
        }
    }
}

async fn restart(town: &Town, busy: &Busy) {
    let machine = town.any();
    if !busy.take(machine.node) {
        return;
    }
    machine.stop().await;
    hold(town, while_ms(1000)).await;
    back(town, &machine, busy);
}

fn two(town: &Town) -> (u64, u64) {
    let machines = town.machines();
    let (nodes, one) = (machines.len(), town.any().node);
    let at = machines.iter().position(|machine| machine.node == one).unwrap_or(0);
    let steps = usize::try_from(1 + throw((nodes as u64).saturating_sub(1))).unwrap_or(1);
    (one, machines[(at + steps) % nodes].node)
}

async fn isolate(town: &Town) {
    let leader = town.leader().filter(|_| throw(2) == 0);
    let node = leader.map_or(town.any().node, |leader| leader.node);
    let span = while_ms(6000);
    tell(|| format!("n{node} is cut off for {span:?}"));
    cut_off(town, node, true);
    hold(town, span).await;
    cut_off(town, node, false);
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
    let machine = town.any();
    let (slow_us, span) = (5_000 + throw(250_000), while_ms(4000));
    tell(|| format!("the disk of n{} takes {slow_us} us for {span:?}", machine.node));
    machine.set_disk(slow_us);
    hold(town, span).await;
    machine.set_disk(QUICK_US);
}

/// A disk has no room for a while; a crash meanwhile finds it empty again.
async fn full_disk(town: &Town) {
    let leader = town.leader().filter(|_| throw(2) == 0);
    let machine = leader.unwrap_or_else(|| town.any());
    let Some(node) = machine.cluster() else { return };
    let span = while_ms(5000);
    tell(|| format!("the disk of n{} is full for {span:?}", machine.node));
    node.fill_disk(true);
    // The handle of a node must not be kept over a wait: its process may have ended since.
    drop(node);
    hold(town, span).await;
    if let Some(node) = machine.cluster() {
        node.fill_disk(false);
    }
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
    let machine = town.any();
    let Some(node) = machine.cluster() else { return };
    tell(|| format!("n{} takes a snapshot", machine.node));
    let _crashed_or_done = on(machine.node, async move { node.snapshot().await }).await;
}
