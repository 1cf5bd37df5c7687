//! What a task says: what is read, of whom, when, how often it is tried.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::cron::Cron;
use crate::apply::View;
use crate::assets::Meter;
use crate::error::{Fault, Stop, refuse};
use crate::readings::MAX_REGISTERS;
use crate::regions;
use crate::units::{Device, Obis};

/// The most names of a list of whom a task concerns.
pub const MAX_LISTED: usize = 2_000;

/// The most regions of a list of whom a task concerns.
pub const MAX_LISTED_REGIONS: usize = 64;

/// The most event logs of a task.
pub const MAX_LOGS: usize = 8;

/// The longest name of a task, and of what it lists.
const MAX_NAME: usize = 64;

/// A task as an operator words it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What is read.
    pub what: What,
    /// Of which meters.
    pub whom: Whom,
    /// When.
    pub when: When,
    /// Among tasks that read the same kind of thing the lower number goes first, 1 to 9.
    pub priority: u8,
    /// How often a meter that fails is asked in one run, 1 to 20.
    pub attempts: u8,
    /// Pause after the first failure of a meter, seconds; doubles.
    pub backoff_s: u32,
    /// The longest such pause, seconds.
    pub backoff_cap_s: u32,
}

/// What a task reads. Where nothing is named, it is what the meter's model says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// Registers as they stand.
    Registers {
        /// Which; none: those that the model has read on schedule.
        registers: Vec<Obis>,
    },
    /// Registers that show the moment: voltages, currents, powers.
    Instantaneous {
        /// Which; none: those that the model lists.
        registers: Vec<Obis>,
    },
    /// Intervals that are due and neither stored nor answered for.
    Load {
        /// Which profile; none: the model's.
        profile: Option<Obis>,
        /// How far back from the run's due time, seconds.
        reach_s: u32,
    },
    /// Rows of the billing profile behind the newest one read.
    Billing {
        /// Which profile; none: the model's.
        profile: Option<Obis>,
        /// How far back when none was read yet, seconds.
        reach_s: u32,
    },
    /// Rows of event logs from the newest one read.
    Events {
        /// Which logs; none: the model's.
        logs: Vec<Obis>,
        /// How far back when none was read yet, seconds.
        reach_s: u32,
    },
    /// How far clocks are off, of meters and of concentrators.
    Clock,
    /// The same; those beyond the tolerance are shifted (see `clocks`).
    ClockShift,
}

/// Which meters a task concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whom {
    /// Every active meter.
    All,
    /// Those behind these concentrators, by their names.
    Concentrators(Vec<String>),
    /// These, by their serials.
    Meters(Vec<String>),
    /// Those of these models, by their names.
    Models(Vec<String>),
    /// Those that lie in these regions or below them at the moment of the read.
    Regions(Vec<u32>),
}

/// When a task runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct When {
    /// Five fields of cron in local time; empty: only when somebody says so.
    pub cron: String,
    /// Name of the time zone, as the time zone database has it. Who reckons due times knows it.
    pub zone: String,
    /// A run begins so long after it was due, seconds: meters close their intervals late.
    pub delay_s: u32,
    /// Concentrators and dialled meters begin spread over so many seconds.
    pub spread_s: u32,
    /// A run ends so long after it began, seconds, whatever is left.
    pub lasts_s: u32,
}

impl What {
    /// Its name, as the API gives it.
    pub fn name(&self) -> &'static str {
        match self {
            What::Registers { .. } => "registers",
            What::Instantaneous { .. } => "instantaneous",
            What::Load { .. } => "load",
            What::Billing { .. } => "billing",
            What::Events { .. } => "events",
            What::Clock => "clock",
            What::ClockShift => "clock_shift",
        }
    }

    /// What goes first: billing, events, registers, the moment, clocks, load profiles.
    pub fn rank(&self) -> u8 {
        match self {
            What::Billing { .. } => 0,
            What::Events { .. } => 1,
            What::Registers { .. } => 2,
            What::Instantaneous { .. } => 3,
            What::Clock | What::ClockShift => 4,
            What::Load { .. } => 5,
        }
    }

    fn check(&self) -> Result<(), Stop> {
        const DAY_S: u32 = 86_400;
        let (named, most, reach_s, most_reach_s) = match self {
            What::Registers { registers } | What::Instantaneous { registers } => {
                (registers.as_slice(), MAX_REGISTERS, 1, 1)
            }
            What::Clock | What::ClockShift => return Ok(()),
            What::Load { reach_s, .. } => (&[][..], 0, *reach_s, 60 * DAY_S),
            What::Billing { reach_s, .. } => (&[][..], 0, *reach_s, 1_200 * DAY_S),
            What::Events { logs, reach_s } => (logs.as_slice(), MAX_LOGS, *reach_s, 1_200 * DAY_S),
        };
        if named.len() > most || named.iter().collect::<BTreeSet<_>>().len() != named.len() {
            return bad(format!("at most {most} objects, each of them once"));
        }
        if !(1..=most_reach_s).contains(&reach_s) {
            return bad(format!("a reach of 1 to {most_reach_s} s"));
        }
        Ok(())
    }
}

impl Whom {
    /// Whether it concerns a meter.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub fn concerns(&self, view: &dyn View, meter: &Meter) -> Result<bool, Fault> {
        Ok(match self {
            Whom::All => true,
            Whom::Concentrators(names) => match &meter.attach {
                crate::assets::Attach::Behind { concentrator } => names.contains(concentrator),
                crate::assets::Attach::Direct { .. } => false,
            },
            Whom::Meters(serials) => serials.contains(&meter.serial),
            Whom::Models(models) => models.contains(&meter.model),
            Whom::Regions(wanted) => {
                let region = regions::region_of(view, &Device::Meter(meter.serial.clone()))?;
                regions::path(view, region)?.iter().any(|one| wanted.contains(one))
            }
        })
    }

    fn check(&self) -> Result<(), Stop> {
        let listed = match self {
            Whom::All => return Ok(()),
            Whom::Concentrators(listed) | Whom::Meters(listed) | Whom::Models(listed) => listed,
            Whom::Regions(listed) if (1..=MAX_LISTED_REGIONS).contains(&listed.len()) => {
                return Ok(());
            }
            Whom::Regions(_) => {
                return bad(format!("1 to {MAX_LISTED_REGIONS} regions whose meters it concerns"));
            }
        };
        if !(1..=MAX_LISTED).contains(&listed.len()) {
            return bad(format!("1 to {MAX_LISTED} names of whom it concerns"));
        }
        if listed.iter().any(|name| !(1..=MAX_NAME).contains(&name.len())) {
            return bad(format!("names of 1 to {MAX_NAME} octets"));
        }
        Ok(())
    }
}

impl Rule {
    /// Refuses what is no rule (`bad_task`).
    pub(super) fn check(&self) -> Result<(), Stop> {
        self.what.check()?;
        self.whom.check()?;
        let When { cron, zone, delay_s, spread_s, lasts_s } = &self.when;
        if !cron.is_empty()
            && let Err(why) = Cron::parse(cron)
        {
            return bad(format!("{cron:?}: {why}"));
        }
        if !(1..=MAX_NAME).contains(&zone.len()) {
            return bad("a time zone's name".to_owned());
        }
        let bounds = [
            ("delay", *delay_s, 0, 86_400),
            ("spread", *spread_s, 0, 86_400),
            ("duration", *lasts_s, 60, 31 * 86_400),
            ("back-off", self.backoff_s, 1, 86_400),
            ("longest back-off", self.backoff_cap_s, self.backoff_s, 86_400),
            ("priority", self.priority.into(), 1, 9),
            ("number of attempts", self.attempts.into(), 1, 20),
        ];
        for (name, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                return bad(format!("a {name} of {least} to {most}"));
            }
        }
        if *spread_s >= *lasts_s {
            return bad("a spread less than the duration".to_owned());
        }
        Ok(())
    }

    /// `backoff_s * 2^(failures - 1)`, at most the cap, less up to a quarter that differs from
    /// meter to meter and from time to time, and is the same on every node.
    pub(super) fn backoff_s(&self, ordinal: u32, failures: u8) -> i64 {
        let doublings = u32::from(failures.saturating_sub(1)).min(20);
        let full = u64::from(self.backoff_s) << doublings;
        let full = full.min(u64::from(self.backoff_cap_s));
        let mixed = mix(u64::from(ordinal) << 8 | u64::from(failures));
        let shorter = full / 4 * (mixed & 0xff) / 255;
        i64::try_from(full - shorter).unwrap_or(i64::MAX)
    }
}

/// A number that looks like chance and is not: the finaliser of splitmix64.
pub(super) fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Refuses a name that is none: 1 to 64 letters, digits, dots, dashes and underscores.
pub(super) fn check_name(name: &str) -> Result<(), Stop> {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    bad("a name of 1 to 64 letters, digits, dots, dashes and underscores".to_owned())
}

fn bad<T>(why: String) -> Result<T, Stop> {
    Err(refuse("bad_task", why))
}
