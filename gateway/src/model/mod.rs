//! Meter models: what a kind of meter has, as data. A model says which objects there are, what is
//! read on schedule, what the bits of its status words and the codes of its logs mean, and where
//! the meter differs from the standard. It talks to no meter (`learn` builds one from what a meter
//! said), and it holds nothing of a single meter.
//!
//! Invariants: 1. a `Model` has passed every check; 2. a file with faults gives all of them at
//! once, each with its line; 3. a name that is not known is answered with the generic model and
//! never stops a read.

mod catalog;
mod check;
mod fault;
mod file;
mod learn;
mod lists;
mod sanity;
pub(crate) mod schedule;

use domain::Obis;

pub use catalog::{Catalog, Entry};
pub use fault::Fault;
pub use file::{
    AccessFile, AlarmFile, CodesFile, LimitsFile, LogFile, ModelFile, ObjectFile, ProfileFile,
    QuirksFile, ShiftFile, StatusFile,
};
pub use learn::{Learnt, Source, learn};
pub use lists::{BitList, CodeList};
pub use sanity::{Implausible, check_rows};

use learn::is_energy;

/// Name of the model that stands in for every other.
pub const GENERIC: &str = "generic";

/// How a meter is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// DLMS/COSEM.
    Dlms,
    /// IEC 62056-21.
    Iec62056,
}

/// A checked model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The file as it was written.
    pub file: ModelFile,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Logical name of the clock.
    pub clock: Option<Obis>,
    /// Registers that are read on schedule, in order.
    pub schedule: Vec<Obis>,
    /// Registers that show the moment.
    pub instantaneous: Vec<Obis>,
    /// The profile that is read on schedule.
    pub load_profile: Option<Obis>,
    /// The profile of billing periods.
    pub billing_profile: Option<Obis>,
    /// How ranges are asked for.
    pub range: Range,
    /// Objects, in order of the file.
    pub objects: Vec<Object>,
    /// Profiles.
    pub profiles: Vec<Profile>,
    /// Event logs.
    pub logs: Vec<Log>,
    /// Alarm registers.
    pub alarms: Vec<Alarm>,
}

/// How a meter takes a range of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Range {
    /// In the meter's own deviation.
    #[default]
    OwnDeviation,
    /// In the meter's local time, deviation not specified.
    NoDeviation,
    /// Not at all: the whole buffer is read.
    None,
}

/// An object of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Logical name.
    pub obis: Obis,
    /// Interface class; 0 for IEC 62056-21.
    pub class: u16,
    /// Version of the class.
    pub version: u8,
    /// IEC 62056-21: the address before the bracket.
    pub address: Option<String>,
    /// What it is, for people.
    pub what: String,
    /// Scaler and unit, where they are fixed.
    pub scaled: Option<(i8, u8)>,
    /// Whether attributes can be written.
    pub writable: bool,
    /// Whether methods can be executed.
    pub executable: bool,
}

/// A cell of a profile's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Column {
    /// Logical name.
    pub obis: Obis,
    /// Interface class; 0 when the model does not list the object.
    pub class: u16,
    /// Attribute.
    pub attribute: i8,
}

/// What a profile is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProfileKind {
    /// Intervals.
    Load,
    /// Billing periods.
    Billing,
    /// Events.
    Log,
}

/// A profile of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Logical name.
    pub obis: Obis,
    /// What it is for.
    pub kind: ProfileKind,
    /// Seconds between two rows, 0 without a period; None when the meter is asked.
    pub period_s: Option<u32>,
    /// Rows that the meter keeps.
    pub entries: Option<u32>,
    /// Cells of a row.
    pub columns: Vec<Column>,
    /// The status cell.
    pub status: Option<Status>,
}

/// The status cell of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Logical name.
    pub obis: Obis,
    /// Mask of the meter, quality flag of the domain (`domain::readings::flag`).
    pub bits: Vec<(u64, u8)>,
}

/// An event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Logical name of the profile.
    pub obis: Obis,
    /// What kind of log.
    pub name: String,
    /// The object whose value is the event code.
    pub event: Obis,
    /// Rows that the meter keeps.
    pub entries: Option<u32>,
    /// What its codes mean.
    pub codes: CodeList,
}

/// An alarm register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Logical name of the register.
    pub register: Obis,
    /// Logical name of its filter.
    pub filter: Option<Obis>,
    /// Logical name of its descriptor.
    pub descriptor: Option<Obis>,
    /// What its bits mean.
    pub bits: BitList,
}

impl Model {
    /// Reads and checks a model file.
    ///
    /// # Errors
    /// Every fault of the text, in the order of its lines; never empty.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        let mut faults = fault::Faults::default();
        let file = ModelFile::parse(text, &mut faults);
        let model = check::check(file, &mut faults);
        let faults = faults.finish();
        if faults.is_empty() { Ok(model) } else { Err(faults) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.file.name
    }

    /// The object of this logical name.
    #[must_use]
    pub fn object(&self, obis: Obis) -> Option<&Object> {
        self.objects.iter().find(|object| object.obis == obis)
    }

    /// The profile of this logical name.
    #[must_use]
    pub fn profile(&self, obis: Obis) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.obis == obis)
    }

    /// The log of this logical name.
    #[must_use]
    pub fn log(&self, obis: Obis) -> Option<&Log> {
        self.logs.iter().find(|log| log.obis == obis)
    }

    /// The interface class of a register that is not listed: 3, as nearly every register.
    #[must_use]
    pub fn class_of(&self, obis: Obis) -> u16 {
        self.object(obis).map_or(3, |object| object.class)
    }

    /// What an event code of a log means; None for a code or log that is not listed.
    #[must_use]
    pub fn event(&self, log: Obis, code: u16) -> Option<&str> {
        self.log(log)?.codes.name(code)
    }
}

#[cfg(test)]
mod tests;
