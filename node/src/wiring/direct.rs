//! Meters with an address of their own: which node dials which.
//!
//! Every node reckons the same owner of a meter from the living nodes (rendezvous hashing), so
//! nobody hands out work; the lease decides if two reckon differently for a moment. A meter on a
//! serial port is no matter of reckoning: it belongs to the node that has a port of that name, and
//! where several have one, to the one that holds the lease.
//!
//! Invariants: a meter is dialled only under a lease of this node; a node that may not act hangs
//! up; a lost node moves its own meters only; nobody claims a meter on a port that it does not
//! have.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cluster::Woken;
use domain::assets::{self, Attach, Meter};
use domain::leases::{self, Reason, Role};
use domain::{Address, Change, Device, Done, Effect, Fault, NodeId};
use futures::StreamExt;
use gateway::Gateway;

use super::Wires;

/// How often ownership is looked at.
const TICK: Duration = Duration::from_millis(1000);
/// How often the list of meters is read anew; effects keep it up to date in between.
const RELIST: Duration = Duration::from_secs(600);
/// Claims and releases at a time.
const AT_A_TIME: usize = 32;
const PATIENCE: Duration = Duration::from_secs(3);

/// What leads to a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Every node can go it.
    Shared,
    /// A serial port of this node.
    Own,
}

/// What this node knows of the meters to be dialled.
#[derive(Default)]
struct Book {
    /// What leads to each meter that can be reached from here.
    meters: BTreeMap<String, Way>,
    /// Meters that are dialled here, with the epoch of the lease.
    dialled: BTreeMap<String, u64>,
    listed: Option<Instant>,
}

/// Looks at ownership until the stop, then hangs up.
pub async fn run(wires: Wires) {
    let mut effects = wires.cluster.effects();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut book = Book::default();
    loop {
        tokio::select! {
            () = wires.stopped() => break,
            woken = effects.next() => match woken {
                Some(Woken::Effect { effect, .. }) => heed(&wires, effect, &mut book),
                Some(Woken::Lagged(_)) => book.listed = None,
                None => break,
            },
            _ = tick.tick() => {
                if let Err(fault) = settle(&wires, &mut book).await {
                    wires.fault("direct", &fault);
                }
            }
        }
    }
    for serial in book.dialled.keys() {
        wires.gateway.hang_up(serial).await;
    }
}

fn heed(wires: &Wires, effect: Effect, book: &mut Book) {
    match effect {
        Effect::MeterRegistered { serial, .. } => {
            match assets::meter(&wires.cluster.view(), &serial) {
                Ok(Some(meter)) => {
                    if let Some(way) = way(&wires.gateway, &meter) {
                        book.meters.insert(serial, way);
                    }
                }
                Ok(None) => {}
                Err(fault) => wires.fault("direct", &fault),
            }
        }
        Effect::Retired { device: Device::Meter(serial) } => {
            book.meters.remove(&serial);
        }
        _ => {}
    }
}

async fn settle(wires: &Wires, book: &mut Book) -> Result<(), Fault> {
    if book.listed.is_none_or(|at| at.elapsed() >= RELIST) {
        book.meters = list(wires).await?;
        book.listed = Some(Instant::now());
    }
    if !wires.licence.holds() {
        for serial in std::mem::take(&mut book.dialled).into_keys() {
            wires.gateway.hang_up(&serial).await;
        }
        return Ok(());
    }
    let view = wires.cluster.view();
    let stamp = wires.cluster.stamp_now();
    let living: Vec<NodeId> =
        leases::nodes(&view)?.iter().filter(|n| stamp < n.until).map(|n| n.node).collect();
    let mut wanted = Vec::new();
    let is_mine =
        |serial: &str, way: Way| way == Way::Own || owner(serial, &living) == Some(wires.node);
    for (serial, way) in &book.meters {
        if !is_mine(serial, *way) {
            continue;
        }
        let device = Device::Meter(serial.clone());
        let lease = leases::lease(&view, &device)?;
        match lease.as_ref().and_then(|lease| lease.owner) {
            Some(node) if node == wires.node => {
                let epoch = lease.map_or(0, |lease| lease.epoch);
                if book.dialled.insert(serial.clone(), epoch) != Some(epoch) {
                    wires.gateway.dial(serial, epoch).await;
                }
            }
            // Of a port that two nodes have, the other one has the meter.
            Some(node) if living.contains(&node) => {}
            Some(_) => wanted.push((serial.clone(), Reason::OwnerLost)),
            None => wanted.push((serial.clone(), Reason::Login)),
        }
    }
    let gone: Vec<(String, u64)> = book
        .dialled
        .iter()
        .filter(|(serial, _)| book.meters.get(*serial).is_none_or(|way| !is_mine(serial, *way)))
        .map(|(serial, epoch)| (serial.clone(), *epoch))
        .collect();
    for (serial, epoch) in gone {
        book.dialled.remove(&serial);
        give_up(wires, &serial, epoch).await;
    }
    claim(wires, book, wanted).await;
    Ok(())
}

async fn claim(wires: &Wires, book: &mut Book, wanted: Vec<(String, Reason)>) {
    let claims = futures::stream::iter(wanted).map(|(serial, reason)| async move {
        let device = Device::Meter(serial.clone());
        let change =
            leases::Change::Claim { device, node: wires.node, channel: Role::Dial, reason };
        (serial, wires.propose(Change::Leases(change), PATIENCE).await)
    });
    let mut claims = claims.buffer_unordered(AT_A_TIME);
    while let Some((serial, outcome)) = claims.next().await {
        // Refused or unavailable: the next tick looks again.
        if let Ok(Done::Lease { epoch }) = outcome {
            wires.gateway.dial(&serial, epoch).await;
            book.dialled.insert(serial, epoch);
        }
    }
}

async fn give_up(wires: &Wires, serial: &str, epoch: u64) {
    wires.gateway.hang_up(serial).await;
    let device = Device::Meter(serial.to_string());
    let change = leases::Change::Release { device, node: wires.node, epoch };
    // Refused: another node has it already.
    let _ = wires.propose(Change::Leases(change), PATIENCE).await;
}

/// All active meters with an address that this node can reach, read beside the tasks of the
/// runtime.
async fn list(wires: &Wires) -> Result<BTreeMap<String, Way>, Fault> {
    const CHUNK: usize = 1024;
    let view = wires.cluster.view();
    let gateway = wires.gateway.clone();
    let read = move || {
        let mut meters = BTreeMap::new();
        let mut behind: Option<String> = None;
        loop {
            let chunk = assets::direct_meters(&view, behind.as_deref(), CHUNK)?;
            let full = chunk.len() == CHUNK;
            behind = chunk.last().map(|meter| meter.serial.clone());
            let ways = chunk.into_iter().map(|meter| (way(&gateway, &meter), meter.serial));
            meters.extend(ways.filter_map(|(way, serial)| Some((serial, way?))));
            if !full {
                return Ok(meters);
            }
        }
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(meters) => meters,
        Err(error) => Err(Fault::Storage(error.to_string())),
    }
}

/// What leads to a meter from this node; None when nothing does.
fn way(gateway: &Gateway, meter: &Meter) -> Option<Way> {
    let Attach::Direct { address, .. } = &meter.attach else { return None };
    if !gateway.reaches(address) {
        return None;
    }
    let parsed = Address::parse(address).ok()?;
    Some(if parsed.serial_port().is_some() { Way::Own } else { Way::Shared })
}

/// The living node with the highest hash of (meter, node): each node lost moves only its own.
fn owner(serial: &str, living: &[NodeId]) -> Option<NodeId> {
    living.iter().copied().max_by_key(|node| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(serial.as_bytes());
        hasher.update(&node.0.to_be_bytes());
        *hasher.finalize().as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_node_moves_its_own_meters_only() {
        let three = [NodeId(1), NodeId(2), NodeId(3)];
        let two = [NodeId(1), NodeId(3)];
        let mut counts = BTreeMap::new();
        for number in 0..3000 {
            let serial = format!("M{number}");
            let before = owner(&serial, &three).expect("somebody lives");
            let after = owner(&serial, &two).expect("somebody lives");
            if before != NodeId(2) {
                assert_eq!(before, after, "{serial}");
            }
            *counts.entry(before).or_insert(0) += 1;
        }
        assert!(counts.values().all(|count| (800..1200).contains(count)), "{counts:?}");
        assert_eq!(owner("M1", &[]), None);
    }
}
