//! Executes commands of devices whose channel this node owns.
//!
//! The outbox is state: effects wake, and a rescan finds what a lost effect left behind.
//! Invariants: `Sent` is committed before the first octet leaves; nothing is sent without a
//! licence or after its expiry; a command whose channel was lost under way is not settled here: a
//! new epoch may read again, else it ends as unknown.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cluster::Woken;
use domain::commands::{self, Change, Command, Failure, Order, Read, State, Value};
use domain::{CommandId, Device, Effect, Fault, leases};
use gateway::{ChannelRole, Outcome, ProfileRead, Work};
use tokio::sync::Semaphore;

use super::{NotDone, Wires};

/// Commands under way at a time.
const AT_A_TIME: usize = 256;
/// How often the outboxes of own devices are looked through.
const RESCAN: Duration = Duration::from_secs(2);
/// Commands of one device that are begun at a time.
const OF_ONE_DEVICE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);
/// A device is asked for so long at most, however late the command expires.
const LONGEST_ASK: Duration = Duration::from_secs(120);
/// Rows of a profile in one answer; the log takes 128 KiB of them.
const MAX_ROWS: usize = 2_000;

/// Ids of the commands under way.
type UnderWay = Arc<Mutex<HashSet<CommandId>>>;

/// Wakes and rescans until the stop; what is under way then has its own deadline.
pub async fn run(wires: Wires) {
    let mut effects = wires.cluster.effects();
    let mut rescan = tokio::time::interval(RESCAN);
    rescan.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let under_way = UnderWay::default();
    loop {
        let devices = tokio::select! {
            () = wires.stopped() => return,
            woken = effects.next() => match woken {
                Some(Woken::Effect { effect: Effect::CommandQueued { device, .. }, .. }) => {
                    vec![device]
                }
                Some(Woken::Effect { effect: Effect::LeaseChanged { device, owner, .. }, .. })
                    if owner == Some(wires.node) => vec![device],
                Some(Woken::Effect { .. }) => continue,
                Some(Woken::Lagged(_)) => own_devices(&wires),
                None => return,
            },
            _ = rescan.tick() => own_devices(&wires),
        };
        for device in devices {
            if let Err(fault) = begin(&wires, &device, &places, &under_way) {
                wires.fault("outbox", &fault);
            }
        }
    }
}

/// Devices with a channel or a dialler here; the lease is checked for each.
fn own_devices(wires: &Wires) -> Vec<Device> {
    let active = wires.gateway.channels().into_iter().filter(|c| c.role == ChannelRole::Active);
    let mut devices: Vec<Device> = active.map(|c| Device::Concentrator(c.concentrator)).collect();
    match direct_devices(wires) {
        Ok(direct) => devices.extend(direct),
        Err(fault) => wires.fault("outbox", &fault),
    }
    devices
}

fn direct_devices(wires: &Wires) -> Result<Vec<Device>, Fault> {
    // Leases of meters sort behind those of concentrators.
    let view = wires.cluster.view();
    let mut behind = Device::Meter(String::new());
    let mut devices = Vec::new();
    loop {
        let chunk = leases::list(&view, Some(&behind), 1000)?;
        let full = chunk.len() == 1000;
        let mine = chunk.iter().filter(|lease| lease.owner == Some(wires.node));
        devices.extend(mine.map(|lease| lease.device.clone()));
        match chunk.last() {
            Some(last) if full => behind = last.device.clone(),
            _ => return Ok(devices),
        }
    }
}

/// Begins what waits for a device, if its channel is this node's.
fn begin(
    wires: &Wires,
    device: &Device,
    places: &Arc<Semaphore>,
    under_way: &UnderWay,
) -> Result<(), Fault> {
    let view = wires.cluster.view();
    let stamp = wires.cluster.stamp_now();
    let Some(lease) = leases::holder(&view, device, stamp)? else { return Ok(()) };
    if lease.owner != Some(wires.node) || !wires.licence.holds() {
        return Ok(());
    }
    let waiting = commands::outbox(&view, device, OF_ONE_DEVICE)?;
    for command in waiting {
        let sendable = match command.state {
            State::Queued => true,
            State::Sent { epoch, .. } => epoch < lease.epoch && command.order.is_repeatable(),
            _ => false,
        };
        if !sendable || command.expires <= stamp {
            continue;
        }
        // No place: the next rescan looks again.
        let Ok(place) = Arc::clone(places).try_acquire_owned() else { return Ok(()) };
        if !lock(under_way).insert(command.id) {
            continue;
        }
        let (wires, under_way) = (wires.clone(), Arc::clone(under_way));
        tokio::spawn(async move {
            execute(&wires, &command, lease.epoch).await;
            lock(&under_way).remove(&command.id);
            drop(place);
        });
    }
    Ok(())
}

fn lock(under_way: &UnderWay) -> std::sync::MutexGuard<'_, HashSet<CommandId>> {
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn execute(wires: &Wires, command: &Command, epoch: u64) {
    let counts = &wires.app.metrics().commands;
    let sent = Change::Sent { id: command.id, node: wires.node, epoch };
    match wires.propose(domain::Change::Commands(sent), PATIENCE).await {
        Ok(_) => {}
        Err(NotDone::Refused(refusal)) => {
            tracing::debug!(command = %command.id, %refusal, "a command is not ours to send");
            counts.with_label_values(&["refused"]).inc();
            return;
        }
        Err(NotDone::Unavailable) => return,
    }
    if !wires.licence.holds() {
        return;
    }
    let left_us = command.expires.0.saturating_sub(wires.cluster.stamp_now().0);
    let deadline = Instant::now() + Duration::from_micros(left_us).min(LONGEST_ASK);
    let work = match &command.order {
        Order::Read { attributes } => Work::Attributes(attributes.clone()),
        Order::Profile { obis, from_s, to_s } => {
            Work::Profile { obis: *obis, from_s: *from_s, to_s: *to_s }
        }
    };
    let gateway = &wires.gateway;
    let answer =
        gateway.execute(&command.device, &command.target, work, Some(epoch), deadline).await;
    let result = match answer {
        Ok(Outcome::Reads(reads)) => Ok(reads),
        Ok(Outcome::Profile(profile)) => profile_reads(profile),
        Err(Failure::ChannelLost) => return,
        Err(failure) => Err(failure),
    };
    let label = if result.is_ok() { "acknowledged" } else { "failed" };
    counts.with_label_values(&[label]).inc();
    settle(wires, command.id, epoch, result).await;
}

/// Tells the log; an answer that cannot be told is asked for again under the next epoch, or
/// stays unknown.
async fn settle(wires: &Wires, id: CommandId, epoch: u64, mut result: Result<Vec<Read>, Failure>) {
    for _ in 0..6 {
        let change = Change::Settle { id, epoch, result: result.clone() };
        match wires.propose(domain::Change::Commands(change), PATIENCE).await {
            Err(NotDone::Unavailable) if !wires.stopping() => {}
            Err(NotDone::Refused(refusal)) if refusal.code == "result_too_large" => {
                let text = "the answer is too long; ask for a shorter range";
                result = Err(Failure::Unsupported(text.to_string()));
            }
            Err(NotDone::Refused(refusal)) => {
                tracing::info!(command = %id, %refusal, "an answer came too late");
                return;
            }
            Ok(_) | Err(NotDone::Unavailable) => return,
        }
    }
}

/// A profile as reads: its columns (attribute 3), then one list a row (attribute 2).
fn profile_reads(profile: ProfileRead) -> Result<Vec<Read>, Failure> {
    if profile.rows.len() > MAX_ROWS {
        let text = format!("{} rows; at most {MAX_ROWS} in one answer", profile.rows.len());
        return Err(Failure::Unsupported(text));
    }
    let row =
        |attribute, value| Read { obis: profile.obis, attribute, value, scaler: None, unit: None };
    let mut columns = vec![Value::Text("time".into()), Value::Text("flag".into())];
    columns.extend(profile.registers.iter().map(|register| {
        let unit = crate::areas::number::unit(register.unit);
        Value::Text(format!("{} {unit}", register.obis))
    }));
    let mut reads = vec![row(3, Value::List(columns))];
    for line in &profile.rows {
        let text = crate::areas::time::rfc3339(line.end_s);
        let mut cells = vec![
            Value::Time { utc_s: Some(line.end_s), text },
            Value::Unsigned(u64::from(line.flag)),
        ];
        cells.extend(line.values.iter().zip(&profile.registers).map(|(value, register)| {
            value.map_or(Value::Null, |value| {
                Value::Float(crate::areas::number::decimal(value, register.scaler))
            })
        }));
        reads.push(row(2, Value::List(cells)));
    }
    Ok(reads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Obis;
    use domain::readings::Register;
    use gateway::ProfileRow;

    fn profile(rows: usize) -> ProfileRead {
        let register = Register { obis: Obis::ACTIVE_IMPORT, scaler: -1, unit: 30 };
        let row = |n: usize| ProfileRow {
            end_s: 900 * n as i64,
            flag: 0,
            values: vec![(n > 0).then_some(n as i64)],
        };
        ProfileRead {
            obis: Obis::LOAD_PROFILE,
            interval_minutes: 15,
            registers: vec![register],
            rows: (0..rows).map(row).collect(),
        }
    }

    #[test]
    fn profiles_become_rows_with_exact_values() {
        let reads = profile_reads(profile(2)).expect("short enough");
        assert_eq!(reads.len(), 3);
        let Value::List(head) = &reads[0].value else { panic!("columns") };
        assert_eq!(head[2], Value::Text("1-0:1.8.0 Wh".into()));
        let Value::List(first) = &reads[1].value else { panic!("a row") };
        assert_eq!(first[2], Value::Null);
        let Value::List(second) = &reads[2].value else { panic!("a row") };
        assert_eq!(second[2], Value::Float("0.1".into()));
        assert!(profile_reads(profile(MAX_ROWS + 1)).is_err());
    }
}
