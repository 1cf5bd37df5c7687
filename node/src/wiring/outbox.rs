//! Executes commands of devices whose channel this node owns.
//!
//! The outbox is state: effects wake, and a rescan finds what a lost effect left behind.
//! Invariants: `Sent` is committed before the first octet leaves; nothing is sent without a
//! licence or after its expiry; a command that found no channel waits again, for nothing of it has
//! left; a command whose channel was lost under way is not settled here: a
//! new epoch may read again, else it ends as unknown; an order that acts leaves once, and what
//! became of it is read back, by whoever owns the channel then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cluster::Woken;
use domain::commands::{self, Change, Command, Failure, Order, Read, State, Value};
use domain::{CommandId, Device, Effect, Fault, Stamp, leases};
use gateway::{Anchor, ChannelRole, Outcome, ProfileRead, Work};
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

/// An order that acts is read back so often, and so far apart, before it counts as not done.
const LOOKS: u32 = 5;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Before an order is read back again when the device could not be read.
const REST: Duration = Duration::from_secs(30);
/// The same for a concentrator that dials anew by the order's own doing, or is still at it.
const SHORT_REST: Duration = Duration::from_secs(2);
/// The longest rest of a command that could not be sent.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Wakes and rescans until the stop; what is under way then has its own deadline.
pub async fn run(wires: Wires) {
    let mut effects = wires.cluster.effects();
    let mut rescan = tokio::time::interval(RESCAN);
    rescan.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let under_way = Arc::new(UnderWay::default());
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

/// What is to be done for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// It was never sent, or it may be sent again.
    Send,
    /// It acted, or may have: it is never sent again, only read back.
    ReadBack,
}

/// What a command waits for, as the owner of its channel under `epoch` sees it.
fn task(command: &Command, epoch: u64, now: Stamp) -> Option<Task> {
    let in_time = command.expires > now;
    match command.state {
        State::Queued if in_time => Some(Task::Send),
        State::Sent { epoch: under, .. } if command.order.is_repeatable() => {
            (in_time && under < epoch).then_some(Task::Send)
        }
        State::Sent { .. } | State::Unknown { .. } | State::Acknowledged => {
            (command.order.acts() && command.is_open()).then_some(Task::ReadBack)
        }
        _ => None,
    }
}

/// Begins what waits for a device, if its channel is this node's.
fn begin(
    wires: &Wires,
    device: &Device,
    places: &Arc<Semaphore>,
    under_way: &Arc<UnderWay>,
) -> Result<(), Fault> {
    let view = wires.cluster.view();
    let stamp = wires.cluster.stamp_now();
    let Some(lease) = leases::holder(&view, device, stamp)? else { return Ok(()) };
    if lease.owner != Some(wires.node) || !wires.licence.holds() {
        return Ok(());
    }
    let waiting = commands::outbox(&view, device, OF_ONE_DEVICE)?;
    for command in waiting {
        let Some(task) = task(&command, lease.epoch, stamp) else { continue };
        // No place: the next rescan looks again.
        let Ok(place) = Arc::clone(places).try_acquire_owned() else { return Ok(()) };
        if !under_way.begin(command.id) {
            continue;
        }
        let (wires, under_way) = (wires.clone(), Arc::clone(under_way));
        tokio::spawn(async move {
            let ended = match task {
                Task::Send => send(&wires, &command, lease.epoch).await,
                Task::ReadBack => read_back(&wires, &command, lease.epoch).await,
            };
            under_way.end(&command, ended);
            drop(place);
        });
    }
    Ok(())
}

/// Commands of this node that run, and those that rest before they are looked at again. In memory
/// only: after a restart all are looked at at once.
#[derive(Default)]
struct UnderWay(Mutex<HashMap<CommandId, Option<Instant>>>);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The log knows all there is to know.
    Told,
    /// It is to be read back later.
    Later,
    /// It was not sent and waits for so long at least.
    Unsent(Duration),
}

impl UnderWay {
    /// False: it runs already, or rests.
    fn begin(&self, id: CommandId) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        all.retain(|_, rests| rests.is_none_or(|until| until > now));
        if all.contains_key(&id) {
            return false;
        }
        all.insert(id, None);
        true
    }

    fn end(&self, command: &Command, ended: Ended) {
        let id = command.id;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = match ended {
            Ended::Told => None,
            Ended::Later if command.order.is_of_concentrators() => Some(SHORT_REST),
            Ended::Later => Some(REST),
            Ended::Unsent(rest) => Some(rest),
        };
        match rests {
            None => all.remove(&id),
            Some(rest) => all.insert(id, Some(Instant::now() + rest)),
        };
    }
}

async fn send(wires: &Wires, command: &Command, epoch: u64) -> Ended {
    let counts = &wires.app.metrics().commands;
    let sent = Change::Sent { id: command.id, node: wires.node, epoch };
    match wires.propose(domain::Change::Commands(sent), PATIENCE).await {
        Ok(_) => {}
        Err(NotDone::Refused(refusal)) => {
            tracing::debug!(command = %command.id, %refusal, "a command is not ours to send");
            counts.with_label_values(&["refused"]).inc();
            return Ended::Told;
        }
        // It may be committed all the same. One that acts has not left, and is read back then.
        Err(NotDone::Unavailable) => return Ended::Told,
    }
    if !wires.licence.holds() {
        return Ended::Told;
    }
    let work = match &command.order {
        Order::Read { attributes } => Work::Attributes(attributes.clone()),
        Order::Profile { obis, from_s, to_s } => {
            Work::Profile { obis: *obis, from_s: *from_s, to_s: *to_s }
        }
        order => Work::Act { order: order.clone(), anchor: anchor() },
    };
    let left_us = command.expires.0.saturating_sub(wires.cluster.stamp_now().0);
    let answer = ask(wires, command, work, epoch, Duration::from_micros(left_us)).await;
    let result = match answer {
        Ok(Outcome::Reads(reads)) => Ok(reads),
        Ok(Outcome::Profile(profile)) => profile_reads(profile),
        Ok(Outcome::Acted(before)) => {
            let mut change = Change::Acted { id: command.id, epoch, before };
            if too_long(&change) {
                change = Change::Acknowledge { id: command.id, epoch };
            }
            // Reading back needs no such record: an outcome that is not told is read back later.
            let told = wires.propose(domain::Change::Commands(change), PATIENCE).await;
            return if told.is_ok() {
                read_back(wires, command, epoch).await
            } else {
                Ended::Later
            };
        }
        Err(Failure::ChannelLost) => return Ended::Told,
        Err(failure) if can_wait(command, &failure) => {
            put_back(wires, command.id, epoch, failure).await;
            return Ended::Unsent(rest(command, wires.cluster.stamp_now()));
        }
        Err(failure) if command.order.acts() && !failure.proves_untouched() => return Ended::Later,
        Err(failure) => Err(failure),
    };
    settle(wires, command.id, epoch, result).await;
    Ended::Told
}

/// Whether what was read before is more than the log takes of one command.
fn too_long(change: &Change) -> bool {
    let size = serde_json::to_vec(change).map_or(usize::MAX, |text| text.len());
    size > commands::MAX_RESULT_OCTETS
}

/// Whether the failure of a command leaves it as if it had never been begun. Who reads wants to
/// know at once that the device is not there; an order that acts waits for it.
fn can_wait(command: &Command, failure: &Failure) -> bool {
    match failure {
        Failure::NoChannel => true,
        Failure::Unreached(_) => command.order.acts(),
        _ => false,
    }
}

/// How long a command that was not sent rests: longer the longer it waits already.
fn rest(command: &Command, now: Stamp) -> Duration {
    let waits = Duration::from_micros(now.0.saturating_sub(command.queued.0));
    (waits / 4).clamp(RESCAN, LONGEST_REST)
}

/// The channel has gone before the first octet left: the command waits for the next one, here or
/// elsewhere, until its time is over.
async fn put_back(wires: &Wires, id: CommandId, epoch: u64, failure: Failure) {
    let change = Change::Unsent { id, node: wires.node, epoch, failure };
    wires.app.metrics().commands.with_label_values(&["unsent"]).inc();
    if let Err(NotDone::Refused(refusal)) =
        wires.propose(domain::Change::Commands(change), PATIENCE).await
    {
        tracing::debug!(command = %id, %refusal, "a command that was not sent has gone on");
    }
}

/// Reads what an order has brought about. A device may need a moment: what does not stand yet is
/// read a few times before the order counts as not done.
async fn read_back(wires: &Wires, command: &Command, epoch: u64) -> Ended {
    let mut left = LOOKS;
    loop {
        let sent = command.sent.unwrap_or(command.queued);
        let since_s = wires.cluster.stamp_now().0.saturating_sub(sent.0) / 1_000_000;
        let order = command.order.clone();
        let work = Work::ReadBack { order, anchor: anchor(), since_s };
        left -= 1;
        let result = match ask(wires, command, work, epoch, LONGEST_ASK).await {
            Ok(outcome) => Ok(outcome.into_reads()),
            Err(Failure::NotDone(text)) if left == 0 => Err(Failure::NotDone(text)),
            Err(Failure::NotDone(_)) if wires.pause(LOOK_EVERY).await => continue,
            Err(failure @ (Failure::Access(_) | Failure::Unsupported(_))) => Err(failure),
            Err(_) => return Ended::Later,
        };
        settle(wires, command.id, epoch, result).await;
        return Ended::Told;
    }
}

async fn ask(
    wires: &Wires,
    command: &Command,
    work: Work,
    epoch: u64,
    limit: Duration,
) -> Result<Outcome, Failure> {
    let deadline = Instant::now() + limit.min(LONGEST_ASK);
    let gateway = &wires.gateway;
    gateway.execute(&command.device, &command.target, work, Some(epoch), deadline).await
}

fn anchor() -> Anchor {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let unix_ms = now.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    Anchor { at: Instant::now(), unix_ms }
}

/// Tells the log; an answer that cannot be told is asked for again under the next epoch, or
/// stays unknown.
async fn settle(wires: &Wires, id: CommandId, epoch: u64, mut result: Result<Vec<Read>, Failure>) {
    let label = if result.is_ok() { "acknowledged" } else { "failed" };
    wires.app.metrics().commands.with_label_values(&[label]).inc();
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
