//! What is to be read next of which device: all open runs, in their order.
//!
//! Pure and alike on every node; who owns a device's channel asks. Invariant: a meter that is
//! settled in a run, or that rests after a failure, is not given out for it.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{PROGRESS, Progress};
use super::rule::mix;
use super::{RUNS, Run, State, Task, Whom, tasks};
use crate::apply::View;
use crate::apply::table::Pair;
use crate::assets::{self, Meter};
use crate::error::Fault;
use crate::units::{Device, Stamp};

/// Meters that one step of a search reads.
const PAGE: usize = 256;

/// The open runs, what goes first before the others.
#[derive(Clone, Debug, Default)]
pub struct Board {
    open: Vec<Open>,
}

#[derive(Clone, Debug)]
struct Open {
    task: Task,
    run: Run,
    /// Devices that lead to the meters it lists; none: any device may.
    devices: Option<BTreeSet<Device>>,
}

/// What is to be read of a device for one run.
#[derive(Clone, Debug)]
pub struct Work {
    /// The task.
    pub task: Task,
    /// The run.
    pub run: Run,
    /// Nothing was reported of this device in this run.
    pub is_first: bool,
    /// Of these meters, in order of their serials. None: nothing is left of this device, which
    /// somebody has to report.
    pub meters: Vec<Meter>,
}

impl Board {
    /// The open runs of active tasks at a stamp.
    pub fn read(view: &dyn View, now: Stamp) -> Result<Board, Fault> {
        let mut open = Vec::new();
        for task in tasks(view)? {
            if task.state != State::Active || !task.is_running {
                continue;
            }
            let Some(run) = RUNS.get(view, &(task.id, task.runs))? else { continue };
            if run.until <= now {
                continue;
            }
            let devices = match &task.rule.whom {
                Whom::All | Whom::Models(_) | Whom::Regions(_) => None,
                Whom::Concentrators(names) => {
                    Some(names.iter().cloned().map(Device::Concentrator).collect())
                }
                Whom::Meters(serials) => Some(devices_of(view, serials)?),
            };
            open.push(Open { task, run, devices });
        }
        open.sort_by_key(|open| {
            (open.task.rule.what.rank(), open.task.rule.priority, open.run.begun, open.task.id)
        });
        Ok(Board { open })
    }

    /// Whether no run is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// A number that differs when other runs are open.
    pub fn number(&self) -> u64 {
        let each = self.open.iter().map(|open| (u64::from(open.task.id), open.run.number));
        each.fold(0, |mixed, (task, run)| mix(mix(mixed ^ task) ^ run))
    }

    /// What is to be read next of a device: at most `limit` meters for the run that goes first,
    /// among runs of tasks that `takes` takes; those behind the serial `behind` before those up to
    /// it, so that who asks again and again does not go through what is settled each time.
    pub fn next(
        &self,
        view: &dyn View,
        device: &Device,
        now: Stamp,
        (behind, limit): (Option<&str>, usize),
        takes: impl Fn(&Task) -> bool,
    ) -> Result<Option<Work>, Fault> {
        for open in self.open.iter().filter(|open| takes(&open.task)) {
            if open.devices.as_ref().is_some_and(|devices| !devices.contains(device))
                || now < open.starts(device)
            {
                continue;
            }
            let known = PROGRESS.get(view, &Pair(&open.task.id, device))?;
            let known = known.filter(|progress| progress.run == open.run.number);
            let is_first = known.is_none();
            let progress = known.unwrap_or_default();
            if progress.is_whole {
                continue;
            }
            let meters = open.meters(view, device, &progress, now, (behind, limit))?;
            if !meters.is_empty() || progress.waiting.is_empty() {
                let (task, run) = (open.task.clone(), open.run.clone());
                return Ok(Some(Work { task, run, is_first, meters }));
            }
        }
        Ok(None)
    }
}

impl Open {
    /// When it begins with a device: spread by the names, the same on every node.
    fn starts(&self, device: &Device) -> Stamp {
        let spread = u64::from(self.task.rule.when.spread_s) * 1_000_000;
        let seed = u64::from(self.task.id) << 32 ^ self.run.number;
        let name = device.name().bytes();
        let mixed = name.fold(mix(seed), |mixed, octet| mix(mixed ^ u64::from(octet)));
        let later = if spread == 0 { 0 } else { mixed % spread };
        Stamp(self.run.begun.0.saturating_add(later))
    }

    fn meters(
        &self,
        view: &dyn View,
        device: &Device,
        progress: &Progress,
        now: Stamp,
        (from, limit): (Option<&str>, usize),
    ) -> Result<Vec<Meter>, Fault> {
        let resting: BTreeMap<u32, i64> = progress
            .waiting
            .iter()
            .map(|waiting| (waiting.ordinal, waiting.not_before_s))
            .collect();
        let failed: BTreeSet<u32> = progress.failed.iter().map(|(ordinal, _)| *ordinal).collect();
        let is_due = |meter: &Meter| -> Result<bool, Fault> {
            let rests = resting.get(&meter.ordinal).is_some_and(|until_s| *until_s > now.seconds());
            let settled = progress.done.binary_search(&meter.ordinal).is_ok()
                || failed.contains(&meter.ordinal);
            Ok(!rests && !settled && self.task.rule.whom.concerns(view, meter)?)
        };
        let name = match device {
            Device::Concentrator(name) => name,
            Device::Meter(serial) => {
                let meter = assets::meter(view, serial)?.filter(|meter| meter.retired.is_none());
                let Some(meter) = meter else { return Ok(Vec::new()) };
                return Ok(if is_due(&meter)? { vec![meter] } else { Vec::new() });
            }
        };
        let mut found = Vec::new();
        let mut behind = from.map(str::to_owned);
        let mut is_round = from.is_none();
        let length = limit.saturating_mul(2).clamp(64, PAGE);
        loop {
            let page = assets::meters_of(view, name, behind.as_deref(), length)?;
            let is_last = page.len() < length && is_round;
            is_round |= page.len() < length;
            // Behind the last of all come the first ones, once, if none was found.
            behind = page.last().filter(|_| page.len() == length).map(|meter| meter.serial.clone());
            for meter in page {
                if found.len() < limit && is_due(&meter)? {
                    found.push(meter);
                }
            }
            if is_last || found.len() >= limit || (behind.is_none() && !found.is_empty()) {
                return Ok(found);
            }
        }
    }
}

/// By whose channels these meters are reached.
fn devices_of(view: &dyn View, serials: &[String]) -> Result<BTreeSet<Device>, Fault> {
    let mut devices = BTreeSet::new();
    for serial in serials {
        let meter = assets::meter(view, serial)?.filter(|meter| meter.retired.is_none());
        devices.extend(meter.map(|meter| meter.device()));
    }
    Ok(devices)
}

/// How many active meters a rule concerns. Reads every meter but for a list of them.
pub fn concerned(view: &dyn View, whom: &Whom) -> Result<u32, Fault> {
    match whom {
        Whom::All => Ok(assets::counts(view)?.meters),
        Whom::Meters(serials) => {
            let serials: BTreeSet<&String> = serials.iter().collect();
            let mut count = 0;
            for serial in serials {
                let meter = assets::meter(view, serial)?;
                count += u32::from(meter.is_some_and(|meter| meter.retired.is_none()));
            }
            Ok(count)
        }
        Whom::Concentrators(_) | Whom::Models(_) | Whom::Regions(_) => {
            let (mut count, mut behind) = (0_u32, None::<String>);
            loop {
                let page = assets::meters(view, behind.as_deref(), PAGE)?;
                let is_last = page.len() < PAGE;
                behind = page.last().map(|meter| meter.serial.clone());
                for meter in page.iter().filter(|meter| meter.retired.is_none()) {
                    count = count.saturating_add(u32::from(whom.concerns(view, meter)?));
                }
                if is_last {
                    return Ok(count);
                }
            }
        }
    }
}
