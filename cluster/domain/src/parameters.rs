//! Parameters of the whole cluster: what operators decide and every node must hold alike.
//!
//! Each is a whole number of a unit, defined here with its bounds and its default. A setting is a
//! version of one parameter: it counts from a time of its own on, has an author and a reason, and
//! stays in the history for ever; the audit trail names it too.
//!
//! Invariants: 1. A value in use is within its bounds. 2. Of the settings that have begun the one
//! that began last counts, of two of one time the later version; without any the default does.
//! 3. Versions of a parameter rise by one, and none is changed or removed.

use serde::{Deserialize, Serialize};

use crate::apply::table::{Typed, end_of};
use crate::apply::{Done, Table, Tx, View};
use crate::error::{Fault, Stop, refuse};
use crate::units::Stamp;

/// The most versions of one parameter.
pub const MAX_VERSIONS: usize = 4096;

/// The most letters of a reason.
const MAX_REASON: usize = 500;

/// How far ahead a setting may begin.
const MAX_AHEAD_S: u64 = 5 * 366 * 86_400;

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The least value besides 0.
    pub least: u32,
    /// The greatest value.
    pub most: u32,
    /// The value without any setting.
    pub default: u32,
    /// What it means, and what 0 means.
    pub about: &'static str,
}

/// Seconds that a standby channel is active before the main one, which stands again, takes over.
pub const SWITCH_BACK: &str = "channels.switch_back_seconds";
/// Clocks that are off by less are left alone.
pub const CLOCK_TOLERANCE: &str = "clocks.tolerance_seconds";
/// The largest step by which a task shifts a clock.
pub const CLOCK_STEP: &str = "clocks.step_seconds";
/// How much of shifts tasks order for one device on one day.
pub const CLOCK_DAY: &str = "clocks.day_seconds";
/// Clocks that are off by more are shifted by no task.
pub const CLOCK_LIMIT: &str = "clocks.limit_seconds";
/// How far back missing values are asked for.
pub const REFILL_REACH: &str = "collection.refill.reach_days";
/// After which time a value that was due is asked for.
pub const REFILL_WAIT: &str = "collection.refill.wait_minutes";
/// Concentrators and dialled meters that one node reads for tasks at a time.
pub const TASK_DEVICES: &str = "collection.tasks.devices";
/// Meters of one concentrator that are read for tasks at a time.
pub const TASK_READS: &str = "collection.tasks.reads_per_device";
/// How long one live view of a meter lasts at the most.
pub const LIVE_LENGTH: &str = "live.length_seconds";
/// The least pause between two rounds of a live view.
pub const LIVE_PAUSE: &str = "live.pause_seconds";
/// Live views at once on the channel of one concentrator or dialled meter.
pub const LIVE_DEVICE: &str = "live.views_per_device";
/// Live views at once of the viewers at one node.
pub const LIVE_NODE: &str = "live.views_per_node";
/// Rounds without an answer after which a live view ends.
pub const LIVE_SILENT: &str = "live.silent_rounds";
/// Months that load profiles stay on the nodes' disks.
pub const PROFILES_ONLINE: &str = "retention.profiles.online_months";
/// Months after which load profiles are removed.
pub const PROFILES_KEPT: &str = "retention.profiles.kept_months";
/// Months that irregular readings stay on the nodes' disks.
pub const READINGS_ONLINE: &str = "retention.readings.online_months";
/// Months after which irregular readings are removed.
pub const READINGS_KEPT: &str = "retention.readings.kept_months";

/// Wrong logins in a row after which an operator is locked.
pub const LOCK_AFTER: &str = "operators.lock_after_failures";
/// How long an operator is locked.
pub const LOCK_MINUTES: &str = "operators.lock_minutes";
/// Whether a second factor is needed.
pub const SECOND_FACTOR: &str = "operators.second_factor";
/// How long a session lasts at the most.
pub const SESSIONS_HOURS: &str = "operators.session_hours";
/// After which time without use a session ends.
pub const SESSIONS_IDLE: &str = "operators.session_idle_minutes";
/// Sessions of one operator at a time.
pub const SESSIONS_MOST: &str = "operators.sessions";

/// Every parameter, in order of the names.
pub const DEFINITIONS: [Definition; 24] = [
    Definition {
        name: SWITCH_BACK,
        unit: "seconds",
        least: 10,
        most: 604_800,
        default: 600,
        about: "A main channel that stands again becomes active after so long; 0: never.",
    },
    Definition {
        name: CLOCK_DAY,
        unit: "seconds",
        least: 1,
        most: 3600,
        default: 60,
        about: "So much tasks shift a clock on a day of UTC at the most; 0: not at all.",
    },
    Definition {
        name: CLOCK_LIMIT,
        unit: "seconds",
        least: 5,
        most: 900,
        default: 60,
        about: "A clock that is off by more is shifted by no task; 0: tasks shift no clock.",
    },
    Definition {
        name: CLOCK_STEP,
        unit: "seconds",
        least: 1,
        most: 900,
        default: 10,
        about: "Tasks shift a clock by so much at a time; 0: as 1.",
    },
    Definition {
        name: CLOCK_TOLERANCE,
        unit: "seconds",
        least: 2,
        most: 900,
        default: 3,
        about: "A clock that is off by no more is right for tasks; 0: as 2.",
    },
    Definition {
        name: REFILL_REACH,
        unit: "days",
        least: 1,
        most: 60,
        default: 35,
        about: "Missing values are asked for so far back, as long as meters hold them; 0: never.",
    },
    Definition {
        name: REFILL_WAIT,
        unit: "minutes",
        least: 1,
        most: 1440,
        default: 60,
        about: "A missing value is asked for so long after it was due; 0: at once.",
    },
    Definition {
        name: TASK_DEVICES,
        unit: "devices",
        least: 1,
        most: 65_536,
        default: 64,
        about: "So many devices a node reads for tasks at a time; 0: tasks read nothing.",
    },
    Definition {
        name: TASK_READS,
        unit: "meters",
        least: 1,
        most: 256,
        default: 2,
        about: "So many meters of a device are read for tasks at a time; 0: tasks read nothing.",
    },
    Definition {
        name: LIVE_LENGTH,
        unit: "seconds",
        least: 10,
        most: 3600,
        default: 300,
        about: "A live view of a meter lasts so long at the most; 0: no meter is looked at live.",
    },
    Definition {
        name: LIVE_PAUSE,
        unit: "seconds",
        least: 1,
        most: 600,
        default: 2,
        about: "So long between two rounds of a live view at least; 0: as 1.",
    },
    Definition {
        name: LIVE_SILENT,
        unit: "rounds",
        least: 1,
        most: 100,
        default: 5,
        about: "A live view ends after so many rounds without an answer in a row; 0: by its time.",
    },
    Definition {
        name: LIVE_DEVICE,
        unit: "views",
        least: 1,
        most: 64,
        default: 2,
        about: "So many live views at once on one concentrator's or meter's channel; 0: none.",
    },
    Definition {
        name: LIVE_NODE,
        unit: "views",
        least: 1,
        most: 1024,
        default: 16,
        about: "So many live views at once of those who look at one node; 0: none.",
    },
    Definition {
        name: LOCK_AFTER,
        unit: "logins",
        least: 3,
        most: 100,
        default: 5,
        about: "So many wrong logins in a row lock an operator for a while; 0: never.",
    },
    Definition {
        name: LOCK_MINUTES,
        unit: "minutes",
        least: 1,
        most: 1440,
        default: 15,
        about: "How long wrong logins lock an operator; 0: not at all.",
    },
    Definition {
        name: SECOND_FACTOR,
        unit: "yes or no",
        least: 1,
        most: 1,
        default: 0,
        about: "Everybody who logs in has to have a second factor; 0: who wants has one.",
    },
    Definition {
        name: SESSIONS_HOURS,
        unit: "hours",
        least: 1,
        most: 168,
        default: 12,
        about: "A session lasts so long at the most; 0: as long as the node's configuration says.",
    },
    Definition {
        name: SESSIONS_IDLE,
        unit: "minutes",
        least: 5,
        most: 1440,
        default: 60,
        about: "A session that is not used for so long ends; 0: it need not be used.",
    },
    Definition {
        name: SESSIONS_MOST,
        unit: "sessions",
        least: 1,
        most: 1000,
        default: 8,
        about: "So many sessions of one operator at a time, the oldest goes; 0: as 1.",
    },
    Definition {
        name: PROFILES_KEPT,
        unit: "months",
        least: 13,
        most: 1200,
        default: 0,
        about: "Load profiles are removed so long after their month's end; 0: never.",
    },
    Definition {
        name: PROFILES_ONLINE,
        unit: "months",
        least: 3,
        most: 1200,
        default: 0,
        about: "Load profiles go to the archive so long after their month's end; 0: never.",
    },
    Definition {
        name: READINGS_KEPT,
        unit: "months",
        least: 13,
        most: 1200,
        default: 0,
        about: "Irregular readings are removed so long after their month's end; 0: never.",
    },
    Definition {
        name: READINGS_ONLINE,
        unit: "months",
        least: 3,
        most: 1200,
        default: 0,
        about: "Irregular readings go to the archive so long after their month's end; 0: never.",
    },
];

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Set a parameter.
    Set {
        /// Its name.
        name: String,
        /// Its value.
        value: u32,
        /// From when on it counts; at once when none.
        from: Option<Stamp>,
        /// The version that the author saw last, 0 for none; another one refuses the change.
        seen: u32,
        /// Why; for people.
        reason: String,
    },
}

/// One version of a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// 1 and up.
    pub version: u32,
    /// Its value.
    pub value: u32,
    /// From when on it counts.
    pub from: Stamp,
    /// When it was set.
    pub stamp: Stamp,
    /// Who set it.
    pub author: String,
    /// Why.
    pub reason: String,
}

static SETTINGS: Typed<str, Setting> = Typed::new(Table::Parameters);

/// The definition of a name.
pub fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|one| one.name == name)
}

fn prefix(name: &str) -> Vec<u8> {
    // Closed by a zero that no name contains.
    [name.as_bytes(), &[0]].concat()
}

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    let Change::Set { name, value, from, seen, reason } = change;
    let Some(definition) = definition(name) else {
        return Err(refuse("unknown_parameter", name.clone()));
    };
    if *value != 0 && !(definition.least..=definition.most).contains(value) {
        let Definition { least, most, unit, .. } = definition;
        let text = format!("{name}: 0, or {least} to {most} {unit}, not {value}");
        return Err(refuse("bad_parameter", text));
    }
    let letters = reason.chars().count();
    if reason.trim().is_empty() || letters > MAX_REASON {
        return Err(refuse("bad_reason", format!("a reason of 1 to {MAX_REASON} letters")));
    }
    let from = from.unwrap_or(tx.stamp);
    if from < tx.stamp {
        return Err(refuse("bad_validity", format!("{name}: it would begin in the past")));
    }
    if from.seconds() > tx.stamp.seconds().saturating_add(MAX_AHEAD_S.cast_signed()) {
        return Err(refuse("bad_validity", format!("{name}: it would begin in over five years")));
    }
    let history = history(tx, name)?;
    let last = history.last().map_or(0, |setting| setting.version);
    if *seen != last {
        return Err(refuse("version_changed", format!("{name} has version {last}, not {seen}")));
    }
    if history.len() >= MAX_VERSIONS {
        return Err(refuse("bad_parameter", format!("{name} has {MAX_VERSIONS} versions")));
    }
    let setting = Setting {
        name: name.clone(),
        version: last + 1,
        value: *value,
        from,
        stamp: tx.stamp,
        author: tx.author.name(),
        reason: reason.clone(),
    };
    let key = [prefix(name), setting.version.to_be_bytes().to_vec()].concat();
    SETTINGS.put_raw(tx, &key, &setting)?;
    Ok(Done::Noted)
}

/// Every version of a parameter, oldest first.
pub fn history(view: &dyn View, name: &str) -> Result<Vec<Setting>, Fault> {
    let prefix = prefix(name);
    let rows = SETTINGS.scan(view, &prefix, &end_of(&prefix), MAX_VERSIONS)?;
    Ok(rows.into_iter().map(|(_, setting)| setting).collect())
}

/// The setting of a history that counts at a time, if any has begun.
pub fn counting(history: &[Setting], at: Stamp) -> Option<&Setting> {
    let begun = history.iter().filter(|setting| setting.from <= at);
    begun.max_by_key(|setting| (setting.from, setting.version))
}

/// The value of a parameter at a time; 0 for a name that is none.
pub fn value(view: &dyn View, name: &str, at: Stamp) -> Result<u32, Fault> {
    let default = definition(name).map_or(0, |definition| definition.default);
    Ok(counting(&history(view, name)?, at).map_or(default, |setting| setting.value))
}
