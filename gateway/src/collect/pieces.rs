//! What of a task's work is asked of each meter: by its model, by what is stored already, and by
//! how far it was read before. It reads the replicated state and asks nobody.
//!
//! Invariant: what is stored, or for which the meter has answered, is not asked for.

use std::sync::Arc;

use domain::assets::Meter;
use domain::commands::Attribute;
use domain::readings::{self, Hole};
use domain::tasks::{self, Reason, What, Work};
use domain::{Device, Fault, Obis, Stamp, View, parameters};

use crate::model::{Model, ProfileKind};

/// The most logs and the most profiles of one meter that are read in one run.
const MAX_ROWS_READS: usize = 8;

/// The registers of a meter whose model lists none for the moment: voltage and current of the
/// phases, active power.
const MOMENT: [Obis; 8] = [
    Obis([1, 0, 32, 7, 0, 255]),
    Obis([1, 0, 52, 7, 0, 255]),
    Obis([1, 0, 72, 7, 0, 255]),
    Obis([1, 0, 31, 7, 0, 255]),
    Obis([1, 0, 51, 7, 0, 255]),
    Obis([1, 0, 71, 7, 0, 255]),
    Obis([1, 0, 1, 7, 0, 255]),
    Obis([1, 0, 2, 7, 0, 255]),
];

/// Asks for what is to be read next of a device for tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskQuery {
    /// Whose channel.
    pub device: Device,
    /// So many meters at most.
    pub meters: usize,
    /// Those behind this serial first.
    pub behind: Option<String>,
    /// Whether load profiles may be read: not while gaps of the same device are being filled.
    pub load: bool,
}

/// Asks which devices have something to be read for tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskDevices {
    /// Which runs are open: another number, other runs.
    pub board: u64,
    /// Devices that may be read at a time.
    pub devices: usize,
    /// Meters of one device that may be read at a time.
    pub reads: usize,
    /// Those with something to be read, and the rank of what goes first: the lowest first.
    pub due: Vec<(Device, u8)>,
}

/// What is to be read next of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskWork {
    /// The task's name.
    pub name: String,
    /// Its number.
    pub task: u32,
    /// The run.
    pub run: u64,
    /// What kind of thing is read, as metrics name it.
    pub what: &'static str,
    /// Nothing is asked after it.
    pub until: Stamp,
    /// Nothing was reported of this device in this run.
    pub is_first: bool,
    /// Of these meters. None: nothing is left of this device, which is to be reported.
    pub meters: Vec<TaskMeter>,
}

/// What is to be read of a meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskMeter {
    /// Its serial.
    pub serial: String,
    /// Its ordinal.
    pub ordinal: u32,
    /// What; nothing when nothing is missing. A reason when it has no such thing.
    pub reads: Result<Vec<TaskRead>, Reason>,
}

/// One thing to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskRead {
    /// Registers as they stand.
    Registers(Vec<Attribute>),
    /// Rows of a profile without slots, both ends inclusive, seconds UTC.
    Rows {
        /// The profile's logical name.
        profile: Obis,
        /// From.
        from_s: i64,
        /// To.
        to_s: i64,
    },
    /// How far the clock is off.
    Clock,
    /// Gaps of a load profile.
    Load {
        /// The profile's logical name.
        profile: Obis,
        /// What is missing.
        holes: Vec<Hole>,
    },
}

/// Which of these devices have something to be read for tasks now.
///
/// # Errors
/// The state cannot be read.
pub fn task_devices(view: &dyn View, devices: &[Device], now: Stamp) -> Result<TaskDevices, Fault> {
    let board = tasks::Board::read(view, now)?;
    let limit = |name| Ok::<_, Fault>(parameters::value(view, name, now)? as usize);
    let mut found = TaskDevices {
        board: board.number(),
        devices: limit(parameters::TASK_DEVICES)?,
        reads: limit(parameters::TASK_READS)?,
        due: Vec::new(),
    };
    if board.is_empty() || found.devices == 0 || found.reads == 0 {
        return Ok(found);
    }
    for device in devices {
        if let Some(work) = board.next(view, device, now, (None, 1), |_| true)? {
            found.due.push((device.clone(), work.task.rule.what.rank()));
        }
    }
    Ok(found)
}

/// What is to be read next of a device for tasks. `model` gives the model of a name.
///
/// # Errors
/// The state cannot be read.
pub fn task_work(
    view: &dyn View,
    query: &TaskQuery,
    now: Stamp,
    model: impl Fn(&str) -> Arc<Model>,
) -> Result<Option<TaskWork>, Fault> {
    let board = tasks::Board::read(view, now)?;
    let takes = |task: &tasks::Task| query.load || !matches!(task.rule.what, What::Load { .. });
    let page = (query.behind.as_deref(), query.meters);
    let Some(work) = board.next(view, &query.device, now, page, takes)? else {
        return Ok(None);
    };
    let mut meters = Vec::with_capacity(work.meters.len());
    for meter in &work.meters {
        let reads = reads(view, &work, meter, &model(&meter.model), now)?;
        meters.push(TaskMeter { serial: meter.serial.clone(), ordinal: meter.ordinal, reads });
    }
    Ok(Some(TaskWork {
        name: work.task.name.clone(),
        task: work.task.id,
        run: work.run.number,
        what: work.task.rule.what.name(),
        until: work.run.until,
        is_first: work.is_first,
        meters,
    }))
}

fn reads(
    view: &dyn View,
    work: &Work,
    meter: &Meter,
    model: &Model,
    now: Stamp,
) -> Result<Result<Vec<TaskRead>, Reason>, Fault> {
    let either = |named: &[Obis], modelled: &[Obis]| match named {
        [] => modelled.to_vec(),
        named => named.to_vec(),
    };
    let registers = |wanted: Vec<Obis>| {
        let attribute = |obis| {
            // IEC 62056-21 has no classes: whatever it has is read as a register.
            let class = model.class_of(obis).max(3);
            Attribute { class, obis, attribute: 2 }
        };
        let wanted: Vec<Attribute> = wanted.into_iter().map(attribute).collect();
        if wanted.is_empty() {
            Err(Reason::Unsupported)
        } else {
            Ok(vec![TaskRead::Registers(wanted)])
        }
    };
    let (profiles, reach_s) = match &work.task.rule.what {
        What::Registers { registers: named } => {
            return Ok(registers(either(named, &model.schedule)));
        }
        What::Instantaneous { registers: named } => {
            let modelled =
                if model.instantaneous.is_empty() { &MOMENT[..] } else { &model.instantaneous };
            return Ok(registers(either(named, modelled)));
        }
        What::Clock | What::ClockShift => return Ok(Ok(vec![TaskRead::Clock])),
        What::Load { profile, reach_s } => {
            let profile = profile.or(model.load_profile).unwrap_or(Obis::LOAD_PROFILE);
            let span = (work.run.due_s.saturating_sub(i64::from(*reach_s)), work.run.due_s);
            let holes = readings::holes_of(view, meter, span)?;
            let load = TaskRead::Load { profile, holes };
            let is_missing = matches!(&load, TaskRead::Load { holes, .. } if !holes.is_empty());
            return Ok(Ok(is_missing.then_some(load).into_iter().collect()));
        }
        What::Billing { profile, reach_s } => {
            let profile = profile.or(model.billing_profile);
            (profile.into_iter().collect::<Vec<_>>(), *reach_s)
        }
        What::Events { logs, reach_s } => (either(logs, &logs_of(model)), *reach_s),
    };
    let mut reads = Vec::with_capacity(profiles.len());
    for profile in profiles.into_iter().take(MAX_ROWS_READS) {
        let before_s = tasks::read_until_s(view, meter.ordinal, profile)?;
        // Of events several may have the second of the newest one.
        let next_s = match work.task.rule.what {
            What::Events { .. } => before_s,
            _ => before_s.map(|newest_s| newest_s.saturating_add(1)),
        };
        let oldest_s = work.run.begun.seconds().saturating_sub(i64::from(reach_s));
        reads.push(TaskRead::Rows {
            profile,
            from_s: next_s.unwrap_or(oldest_s),
            to_s: now.seconds().saturating_add(AHEAD_S),
        });
    }
    Ok(if reads.is_empty() { Err(Reason::Unsupported) } else { Ok(reads) })
}

/// A meter's clock may run ahead of ours so far, seconds.
const AHEAD_S: i64 = 3_600;

/// The event logs of a model.
fn logs_of(model: &Model) -> Vec<Obis> {
    let listed = model.logs.iter().map(|log| log.obis);
    let logs = model.profiles.iter().filter(|profile| profile.kind == ProfileKind::Log);
    let mut found: Vec<Obis> = Vec::new();
    for obis in listed.chain(logs.map(|profile| profile.obis)) {
        if !found.contains(&obis) {
            found.push(obis);
        }
    }
    found
}
