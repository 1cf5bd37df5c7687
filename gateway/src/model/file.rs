//! A model file as it is written: the keys of the TOML text and nothing more. What they mean and
//! whether they fit together is not judged here (`check`).
//!
//! Invariants: a value of a wrong kind or an unknown key is a fault with its line and never stops
//! the search for the next; what is serialized here parses to the same again.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::fault::{At, Faults};

/// The longest text of a model, in octets.
pub const MAX_OCTETS: usize = 1 << 20;

/// All of a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelFile {
    /// Its name: small letters, digits and `-`, at most 64.
    pub name: String,
    /// Rises with every change of the file.
    pub version: u32,
    /// Who makes the meter.
    pub maker: String,
    /// One line for people.
    pub description: String,
    /// `dlms` or `iec62056-21`.
    pub protocol: String,
    /// Whether the meter's own object list is read and goes before what is listed here.
    #[serde(skip_serializing_if = "is_false")]
    pub learn: bool,
    /// Logical name of the clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
    /// The profile that is read on schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_profile: Option<String>,
    /// The profile of billing periods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing_profile: Option<String>,
    /// Registers that are read on schedule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<String>,
    /// Registers that show the moment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instantaneous: Vec<String>,
    /// How the meter wants to be spoken to.
    pub access: AccessFile,
    /// Times, sizes and what is physically possible.
    pub limits: LimitsFile,
    /// Where it differs from the standard.
    pub quirks: QuirksFile,
    /// Status words by name: quality flag to mask.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub status: BTreeMap<String, BTreeMap<String, u32>>,
    /// Event code lists by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub codes: BTreeMap<String, CodesFile>,
    /// Bit lists by name: bit number to what it says.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bits: BTreeMap<String, BTreeMap<String, String>>,
    /// Objects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub object: Vec<ObjectFile>,
    /// Profiles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<ProfileFile>,
    /// Event logs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogFile>,
    /// Alarm registers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alarm: Vec<AlarmFile>,
}

/// `[access]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessFile {
    /// `none`, `lls` or `hls3` to `hls7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<String>,
    /// Security suite, 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suite: Option<u8>,
    /// Client service access point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_sap: Option<u16>,
    /// Logical device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_sap: Option<u16>,
}

/// `[limits]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsFile {
    /// For one answer, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_timeout_ms: Option<u64>,
    /// The longest APDU that is proposed to the meter for its answers, octets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_apdu_octets: Option<u16>,
    /// The most power that can flow through the meter, W.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_power_w: Option<u64>,
}

/// `[quirks]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuirksFile {
    /// How a range of a profile is asked for: `own_deviation`, `no_deviation` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// The clock's deviation is never set.
    #[serde(skip_serializing_if = "is_false")]
    pub deviation_unset: bool,
    /// Standard time of a clock without deviation, minutes east of UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utc_offset_minutes: Option<i16>,
    /// Rows come out of order or twice around the change of daylight saving.
    #[serde(skip_serializing_if = "is_false")]
    pub unordered_rows: bool,
}

/// `[codes.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CodesFile {
    /// The list that this one begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Ranges of the base that stand elsewhere here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shift: Vec<ShiftFile>,
    /// Code to name, over the base.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<String, String>,
}

/// A range of codes that a vendor moved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShiftFile {
    /// First code of the base.
    pub from: u16,
    /// Last code of the base.
    pub to: u16,
    /// What the vendor added.
    pub by: i16,
}

/// `[[object]]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectFile {
    /// Logical name.
    pub obis: String,
    /// Interface class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<u16>,
    /// Version of the class.
    #[serde(skip_serializing_if = "is_zero")]
    pub version: u8,
    /// IEC 62056-21: the address before the bracket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What it is, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// Power of ten, where it is fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaler: Option<i64>,
    /// Unit, where it is fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Letters of `rwx`: read, write, execute methods. `r` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    /// Line of the file.
    #[serde(skip)]
    pub line: usize,
}

/// `[[profile]]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileFile {
    /// Logical name.
    pub obis: String,
    /// `load`, `billing` or `log`.
    pub kind: String,
    /// Seconds between two rows; 0 without a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period_s: Option<u32>,
    /// Rows that the meter keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<u32>,
    /// Cells of a row: `OBIS` or `OBIS/attribute`.
    pub columns: Vec<String>,
    /// The status cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusFile>,
    /// Line of the file.
    #[serde(skip)]
    pub line: usize,
}

/// The status cell of a profile.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatusFile {
    /// Logical name.
    pub obis: String,
    /// The `[status.NAME]` that explains its bits.
    pub bits: String,
}

/// `[[log]]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogFile {
    /// Logical name of the profile.
    pub obis: String,
    /// What kind of log.
    pub name: String,
    /// The object whose value is the event code.
    pub event: String,
    /// Rows that the meter keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<u32>,
    /// The list of its codes.
    pub codes: String,
    /// Line of the file.
    #[serde(skip)]
    pub line: usize,
}

/// `[[alarm]]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlarmFile {
    /// Logical name of the register.
    pub register: String,
    /// Logical name of its filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Logical name of its descriptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<String>,
    /// The list of its bits.
    pub bits: String,
    /// Line of the file.
    #[serde(skip)]
    pub line: usize,
}

fn is_false(yes: &bool) -> bool {
    !yes
}

fn is_zero(number: &u8) -> bool {
    *number == 0
}

impl ModelFile {
    /// Reads a text; what cannot be read is a fault and left out.
    pub(super) fn parse(text: &str, faults: &mut Faults) -> Self {
        if text.len() > MAX_OCTETS {
            faults.add(&At::top(), "too_long", format!("more than {MAX_OCTETS} octets"));
            return Self::default();
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = error.span().map_or(0, |span| line_of(text, span.start));
            faults.add(&At::new(line, ""), "bad_toml", error.message());
        }
        let mut table = table.into_inner();
        let mut reader = Reader { text, faults };
        let object = reader.list(&mut table, "object", |item: &mut ObjectFile, line| {
            item.line = line;
        });
        let profile = reader.list(&mut table, "profile", |item: &mut ProfileFile, line| {
            item.line = line;
        });
        let log = reader.list(&mut table, "log", |item: &mut LogFile, line| item.line = line);
        let alarm = reader.list(&mut table, "alarm", |item: &mut AlarmFile, line| item.line = line);
        let access = reader.section(&mut table, "access");
        let limits = reader.section(&mut table, "limits");
        let quirks = reader.section(&mut table, "quirks");
        let top: Self = reader.read(table, 0..text.len(), "");
        Self { object, profile, log, alarm, access, limits, quirks, ..top }
    }

    /// The file's text; it parses to the same again.
    ///
    /// # Errors
    /// Never for a file that was parsed or learnt: every value has a form in TOML.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

struct Reader<'t, 'f> {
    text: &'t str,
    faults: &'f mut Faults,
}

impl<'t> Reader<'t, '_> {
    fn list<T>(
        &mut self,
        table: &mut DeTable<'t>,
        key: &str,
        mark: impl Fn(&mut T, usize),
    ) -> Vec<T>
    where
        T: Default + Deserialize<'t>,
    {
        let Some(value) = remove(table, key) else { return Vec::new() };
        let line = line_of(self.text, value.span().start);
        let DeValue::Array(items) = value.into_inner() else {
            self.faults.add(&At::new(line, key), "bad_key", format!("write it as [[{key}]]"));
            return Vec::new();
        };
        let mut list = Vec::new();
        for item in items {
            let span = item.span();
            let line = line_of(self.text, span.start);
            match item.into_inner() {
                DeValue::Table(item) => {
                    let mut item: T = self.read(item, span, key);
                    mark(&mut item, line);
                    list.push(item);
                }
                _ => {
                    let text = format!("write it as [[{key}]]");
                    self.faults.add(&At::new(line, key), "bad_key", text);
                }
            }
        }
        list
    }

    fn section<T: Default + Deserialize<'t>>(&mut self, table: &mut DeTable<'t>, key: &str) -> T {
        let Some(value) = remove(table, key) else { return T::default() };
        let span = value.span();
        let line = line_of(self.text, span.start);
        match value.into_inner() {
            DeValue::Table(section) => self.read(section, span, key),
            _ => {
                self.faults.add(&At::new(line, key), "bad_key", format!("write it as [{key}]"));
                T::default()
            }
        }
    }

    /// Reads a table key by key: one that cannot be read is a fault and left out.
    fn read<T: Default + Deserialize<'t>>(
        &mut self,
        table: DeTable<'t>,
        span: Range<usize>,
        place: &str,
    ) -> T {
        let taken = |table: DeTable<'t>| {
            let value = Spanned::new(span.clone(), DeValue::Table(table));
            T::deserialize(ValueDeserializer::from(value))
        };
        let mut good = DeTable::new();
        for (key, value) in table {
            let alone = DeTable::from_iter([(key.clone(), value.clone())]);
            match taken(alone) {
                Ok(_) => {
                    good.insert(key, value);
                }
                Err(error) => {
                    let at = error.span().map_or(key.span().start, |span| span.start);
                    let why = error.message().lines().next().unwrap_or_default();
                    let text = format!("{}: {why}", key.get_ref());
                    self.faults.add(&At::new(line_of(self.text, at), place), "bad_key", text);
                }
            }
        }
        taken(good).unwrap_or_default()
    }
}

fn remove<'t>(table: &mut DeTable<'t>, key: &str) -> Option<Spanned<DeValue<'t>>> {
    let found = table.keys().find(|known| known.get_ref() == key).cloned()?;
    table.remove(&found)
}

/// The line of an offset, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    before.iter().filter(|octet| **octet == b'\n').count() + 1
}
