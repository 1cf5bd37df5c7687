//! Wakes channels when leases move: standbys of lost owners claim, displaced owners step back.
//!
//! Effects are only wake-ups and may be lost, so the standbys of this node are also looked through
//! by the clock: often while some node is not alive, seldom else.
//!
//! The same look finds main channels that are back, and orders to switch.
//!
//! Invariant: nothing is decided here; the gateway claims, and the log says yes or no.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cluster::Woken;
use domain::assets::{self, Attach};
use domain::leases::{Lease, Role};
use domain::{Device, Effect, Fault, Stamp, View, leases};
use gateway::{ChannelRole, ChannelStatus, Notice};

use super::Wires;

/// How often the lives of the nodes are looked at.
const TICK: Duration = Duration::from_millis(200);
/// How often all standbys are looked through though every node lives.
const SWEEP: Duration = Duration::from_secs(5);
/// Main channels that take over again in one sweep: a crowd that came back together goes in turn.
const RETURNS: usize = 32;

/// Listens and sweeps until the stop.
pub async fn run(wires: Wires) {
    let mut effects = wires.cluster.effects();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut swept = Instant::now();
    // Registrations come in crowds: each concentrator is told once a tick.
    let mut changed = BTreeSet::new();
    loop {
        tokio::select! {
            () = wires.stopped() => return,
            woken = effects.next() => match woken {
                Some(Woken::Effect { effect, .. }) => heed(&wires, effect, &mut changed),
                Some(Woken::Lagged(_)) => swept = long_ago(swept),
                None => return,
            },
            _ = tick.tick() => {
                for concentrator in std::mem::take(&mut changed) {
                    wires.gateway.notice(&concentrator, Notice::MetersChanged);
                }
                match sweep(&wires, swept.elapsed() >= SWEEP) {
                    Ok(true) => swept = Instant::now(),
                    Ok(false) => {}
                    Err(fault) => wires.fault("failover", &fault),
                }
            }
        }
    }
}

fn long_ago(swept: Instant) -> Instant {
    swept.checked_sub(SWEEP).unwrap_or(swept)
}

fn heed(wires: &Wires, effect: Effect, changed: &mut BTreeSet<String>) {
    match effect {
        Effect::LeaseChanged { device: Device::Concentrator(name), owner, epoch } => {
            let notice = match owner {
                None => Notice::OwnerLost,
                Some(owner) if owner == wires.node => return,
                Some(_) => Notice::LeaseMoved { epoch },
            };
            wires.gateway.notice(&name, notice);
        }
        Effect::SwitchOrdered { device: Device::Concentrator(name), to } if to == wires.node => {
            wires.gateway.notice(&name, Notice::Switch);
        }
        Effect::MeterRegistered { serial, .. }
        | Effect::Retired { device: Device::Meter(serial) }
        | Effect::KeysChanged { device: Device::Meter(serial) } => {
            match assets::meter(&wires.cluster.view(), &serial) {
                Ok(Some(meter)) => {
                    if let Attach::Behind { concentrator } = meter.attach {
                        changed.insert(concentrator);
                    }
                }
                Ok(None) => {}
                Err(fault) => wires.fault("failover", &fault),
            }
        }
        _ => {}
    }
}

/// Tells standbys whose owner is not alive, and active channels whose lease is another's. True
/// when it looked.
fn sweep(wires: &Wires, due: bool) -> Result<bool, Fault> {
    let view = wires.cluster.view();
    let stamp = wires.cluster.stamp_now();
    let nodes = leases::nodes(&view)?;
    let all_alive = nodes.iter().all(|node| stamp < node.until);
    if all_alive && !due {
        return Ok(false);
    }
    let mut returning = RETURNS;
    for channel in wires.gateway.channels() {
        let device = Device::Concentrator(channel.concentrator.clone());
        match channel.role {
            ChannelRole::Standby => {
                let notice = match leases::holder(&view, &device, stamp)? {
                    None => Some(Notice::OwnerLost),
                    Some(lease) => better(wires, &view, &lease, &channel, stamp)?,
                };
                match notice {
                    Some(Notice::Return) if returning == 0 => {}
                    Some(notice) => {
                        returning -= usize::from(notice == Notice::Return);
                        wires.gateway.notice(&channel.concentrator, notice);
                    }
                    None => {}
                }
            }
            ChannelRole::Active => {
                let Some(lease) = leases::lease(&view, &device)? else { continue };
                let other = lease.owner.is_some_and(|owner| owner != wires.node);
                if other && channel.epoch.is_some_and(|epoch| epoch < lease.epoch) {
                    let epoch = lease.epoch;
                    wires.gateway.notice(&channel.concentrator, Notice::LeaseMoved { epoch });
                }
            }
            ChannelRole::Login => {}
        }
    }
    Ok(true)
}

/// Why a standby here should be the active channel although a living node has that: an operator's
/// order whose effect was missed, or a main channel that stands again for long enough.
fn better(
    wires: &Wires,
    view: &dyn View,
    lease: &Lease,
    channel: &ChannelStatus,
    stamp: Stamp,
) -> Result<Option<Notice>, Fault> {
    if leases::ordered(view, &lease.device, stamp)?.is_some_and(|order| order.to == wires.node) {
        return Ok(Some(Notice::Switch));
    }
    if channel.login.address != Some(Role::Main) {
        return Ok(None);
    }
    let Some(at) = leases::returns_at(view, lease, stamp)? else { return Ok(None) };
    // The main channel itself has to stand for that long, too: one that comes and goes stays out.
    let pause = Duration::from_micros(at.0.saturating_sub(lease.since.0));
    let stands = channel.since.elapsed().unwrap_or_default();
    Ok((at <= stamp && pause <= stands).then_some(Notice::Return))
}
