//! Setups: what concentrators are to be set to, what they say that they are, and how one is brought
//! to the other, one by one or to many in waves.
//!
//! A template is a named set of parameters. What is wanted of a concentrator is a template, if any,
//! and settings of its own that count before it. Both have versions that stay. A push is an order
//! in the outbox (`commands`) that carries all that is wanted then; what it, or a read, found is
//! kept here. Not here: what a concentrator does with a set, and its trial of new addresses.
//!
//! Invariants: 1. A wanted value is one that its parameter can have. 2. Versions rise by one, and
//! none is changed or removed. 3. A push carries what was wanted when it was ordered. 4. What is
//! reported was read from the device.

mod catalogue;
mod rollouts;
mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use catalogue::{DEFINITIONS, Definition, Kind, definition, of_attribute};
pub use rollouts::{
    Fate, MAX_TARGETS, Phase, Plan, Rollout, Steering, Target, Work, due, rollout, rollouts,
    targets,
};

use crate::apply::table::{Key, Typed, after, end_of};
use crate::apply::{Done, Table, Tx, View};
use crate::assets;
use crate::commands::{self, Attribute, Command, Order, Read, State, Value};
use crate::error::{Fault, Stop, refuse};
use crate::units::{CommandId, Device, Stamp};

/// The most templates.
pub const MAX_TEMPLATES: usize = 256;
/// The most versions of one template, or of what is wanted of one concentrator.
pub const MAX_VERSIONS: u32 = 4_096;
/// The most letters of a template's name.
const MAX_NAME: usize = 64;
/// The most letters of a reason.
const MAX_REASON: usize = 500;
/// Bounds of the trial of a new address, seconds.
pub const TRIAL_S: std::ops::RangeInclusive<u16> = 5..=3_600;

/// Changes of the area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A new version of a template.
    Template {
        /// Its name.
        name: String,
        /// The version that the author saw last, 0 for none.
        seen: u32,
        /// What it sets.
        settings: Vec<Setting>,
        /// Why.
        reason: String,
    },
    /// A new version of what is wanted of a concentrator.
    Want {
        /// Its logical device name.
        concentrator: String,
        /// The version that the author saw last, 0 for none.
        seen: u32,
        /// A template whose newest version counts where the settings say nothing.
        template: Option<String>,
        /// Settings of its own.
        settings: Vec<Setting>,
        /// Why.
        reason: String,
    },
    /// Order a concentrator to be set to what is wanted of it.
    Push {
        /// The command's id.
        id: CommandId,
        /// Its logical device name.
        concentrator: String,
        /// So long a new address has to prove itself, seconds.
        trial_s: u16,
        /// Nothing is sent after it.
        expires: Stamp,
    },
    /// Do something to many concentrators, wave by wave.
    Roll {
        /// Their logical device names.
        targets: Vec<String>,
        /// What, and how.
        plan: Plan,
        /// Why.
        reason: String,
    },
    /// Pause, resume or abort that.
    Steer {
        /// Which.
        id: u64,
        /// What shall be.
        to: Steering,
        /// Why.
        reason: String,
    },
    /// The next step of a rollout, if one is due.
    Step {
        /// Which.
        id: u64,
    },
}

/// A parameter and the value that it is to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Text, number or flag.
    pub value: Value,
}

/// One version of a template, or of what is wanted of a concentrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// 1 and up.
    pub version: u32,
    /// The template behind it.
    pub template: Option<String>,
    /// What it sets, in order of the names.
    pub settings: Vec<Setting>,
    /// When it was set.
    pub stamp: Stamp,
    /// Who set it.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// What a concentrator said: by name the value, as people give it, and when it was read.
pub type Reported = BTreeMap<String, (Value, Stamp)>;

/// Rows of one table, told apart by their first octet.
#[derive(Debug)]
struct Row(u8, Vec<u8>);

impl Key for Row {
    fn octets(&self) -> Vec<u8> {
        [&[self.0], self.1.as_slice()].concat()
    }
}

/// Newest versions of templates by name.
const TEMPLATES: u8 = 1;
/// All their versions.
const TEMPLATE_VERSIONS: u8 = 2;
/// Newest versions of what is wanted, by device.
const WANTED: u8 = 3;
/// All their versions.
const WANTED_VERSIONS: u8 = 4;
/// What concentrators said, by device.
const REPORTED: u8 = 5;

static VERSIONS: Typed<Row, Version> = Typed::new(Table::Setups);
static REPORTS: Typed<Row, Reported> = Typed::new(Table::Setups);

pub(crate) fn apply(tx: &mut Tx<'_>, change: &Change) -> Result<Done, Stop> {
    match change {
        Change::Template { name, seen, settings, reason } => {
            set_template(tx, name, *seen, settings, reason)
        }
        Change::Want { concentrator, seen, template, settings, reason } => {
            if let Some(name) = template
                && self::template(tx, name)?.is_none()
            {
                return Err(refuse("unknown_template", name.clone()));
            }
            let device = active(tx, concentrator)?;
            let rows = (Row(WANTED, device.octets()), WANTED_VERSIONS, device.octets());
            put_version(tx, rows, (*seen, template.clone(), settings, reason))
        }
        Change::Push { id, concentrator, trial_s, expires } => {
            let order = push_order(tx, concentrator, *trial_s)?;
            let by = tx.author.name();
            commands::queue(tx, *id, concentrator, &order, *expires, by)
        }
        Change::Roll { targets, plan, reason } => rollouts::begin(tx, targets, plan, reason),
        Change::Steer { id, to, reason } => rollouts::steer(tx, *id, *to, reason),
        Change::Step { id } => rollouts::step(tx, *id),
    }
}

fn set_template(
    tx: &mut Tx<'_>,
    name: &str,
    seen: u32,
    settings: &[Setting],
    reason: &str,
) -> Result<Done, Stop> {
    let letters = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(letters) {
        let text = "a name has 1 to 64 letters, digits, - _ or .";
        return Err(refuse("bad_name", text));
    }
    if settings.is_empty() {
        return Err(refuse("bad_setting", "a template sets something"));
    }
    if template(tx, name)?.is_none() && templates(tx)?.len() >= MAX_TEMPLATES {
        return Err(refuse("setups_full", format!("{MAX_TEMPLATES} templates")));
    }
    let closed = [name.as_bytes(), &[0]].concat();
    let rows = (Row(TEMPLATES, name.as_bytes().to_vec()), TEMPLATE_VERSIONS, closed);
    put_version(tx, rows, (seen, None, settings, reason))
}

fn put_version(
    tx: &mut Tx<'_>,
    (newest, kind, mut key): (Row, u8, Vec<u8>),
    (seen, template, settings, reason): (u32, Option<String>, &[Setting], &str),
) -> Result<Done, Stop> {
    check_reason(reason)?;
    let settings = checked(settings)?;
    let last = VERSIONS.get(tx, &newest)?.map_or(0, |known| known.version);
    if seen != last {
        return Err(refuse("version_changed", format!("version {last}, not {seen}")));
    }
    if last >= MAX_VERSIONS {
        return Err(refuse("setups_full", format!("{MAX_VERSIONS} versions")));
    }
    let (stamp, author) = (tx.stamp, tx.author.name());
    let reason = reason.to_owned();
    let version = Version { version: last + 1, template, settings, stamp, author, reason };
    VERSIONS.put(tx, &newest, &version)?;
    key.extend(version.version.to_be_bytes());
    VERSIONS.put(tx, &Row(kind, key), &version)?;
    Ok(Done::Noted)
}

fn check_reason(reason: &str) -> Result<(), Stop> {
    if reason.trim().is_empty() || reason.chars().count() > MAX_REASON {
        return Err(refuse("bad_reason", format!("a reason of 1 to {MAX_REASON} letters")));
    }
    Ok(())
}

/// Settings in order of their names, each known, good and there once.
fn checked(settings: &[Setting]) -> Result<Vec<Setting>, Stop> {
    if settings.len() > DEFINITIONS.len() {
        return Err(refuse("bad_setting", "a parameter is set once"));
    }
    let mut sorted = settings.to_vec();
    sorted.sort_by(|one, other| one.name.cmp(&other.name));
    for setting in &sorted {
        catalogue::known(&setting.name)?.check(&setting.value)?;
    }
    if sorted.windows(2).any(|pair| pair[0].name == pair[1].name) {
        return Err(refuse("bad_setting", "a parameter is set once"));
    }
    Ok(sorted)
}

fn active(view: &dyn View, concentrator: &str) -> Result<Device, Stop> {
    let device = Device::Concentrator(concentrator.to_owned());
    match assets::is_active(view, &device)? {
        true => Ok(device),
        false => Err(refuse("unknown_concentrator", concentrator)),
    }
}

/// The order that sets a concentrator to what is wanted of it now.
fn push_order(tx: &Tx<'_>, concentrator: &str, trial_s: u16) -> Result<Order, Stop> {
    active(tx, concentrator)?;
    check_trial(trial_s)?;
    let wanted: Vec<_> = effective(tx, concentrator)?
        .iter()
        .filter_map(|setting| Some(definition(&setting.name)?.wanted(&setting.value)))
        .collect();
    if wanted.is_empty() {
        return Err(refuse("nothing_wanted", concentrator));
    }
    // Two sets under way would make it unknown which of them stands.
    let device = Device::Concentrator(concentrator.to_owned());
    let open = commands::outbox(tx, &device, commands::MAX_OPEN)?;
    if open.iter().any(|one| matches!(one.order, Order::Push { .. })) {
        return Err(refuse("push_under_way", concentrator));
    }
    // A number of its own for each push: the concentrator tells by it which set it stands at.
    let version = u32::try_from(tx.index & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    Ok(Order::Push { version, trial_s, wanted })
}

fn check_trial(trial_s: u16) -> Result<(), Stop> {
    if TRIAL_S.contains(&trial_s) {
        return Ok(());
    }
    Err(refuse("bad_setting", "a trial of 5 to 3600 s"))
}

/// A command has ended: keeps what was read of parameters, and tells the rollout that ordered it.
pub(crate) fn ended(tx: &mut Tx<'_>, command: &Command, state: State) -> Result<(), Stop> {
    let device = Device::Concentrator(command.target.clone());
    if command.device == device
        && matches!(command.order, Order::Read { .. } | Order::Push { .. })
        && let Some(Ok(reads)) = &command.result
    {
        report(tx, &device, reads)?;
    }
    rollouts::ended(tx, command, state)
}

fn report(tx: &mut Tx<'_>, device: &Device, reads: &[Read]) -> Result<(), Stop> {
    let row = Row(REPORTED, device.octets());
    let mut reported = REPORTS.get(tx, &row)?.unwrap_or_default();
    let mut is_news = false;
    for read in reads {
        let Some(definition) = of_attribute(read.obis, read.attribute) else { continue };
        let value = match &read.value {
            Value::Refused(_) => read.value.clone(),
            held => definition.plain(held),
        };
        reported.insert(definition.name.to_owned(), (value, tx.stamp));
        is_news = true;
    }
    if is_news {
        REPORTS.put(tx, &row, &reported)?;
    }
    Ok(())
}

/// The open rollouts of the cluster that was backed up go on when somebody says so: what they
/// ordered may have been done there since.
pub(crate) fn restored(tx: &mut Tx<'_>, key: &[u8]) -> Result<(), Stop> {
    rollouts::restored(tx, key)
}

/// A device that a row is about; none when it is about none.
pub(crate) fn whose(key: &[u8], row: &[u8]) -> Result<Option<Device>, Fault> {
    match key.first() {
        Some(&(WANTED | WANTED_VERSIONS | REPORTED)) => {
            crate::regions::device(key.get(1..).unwrap_or_default()).map(Some)
        }
        _ => rollouts::whose(key, row),
    }
}

/// The newest version of a template.
pub fn template(view: &dyn View, name: &str) -> Result<Option<Version>, Fault> {
    VERSIONS.get(view, &Row(TEMPLATES, name.as_bytes().to_vec()))
}

/// All templates by name, each in its newest version.
pub fn templates(view: &dyn View) -> Result<Vec<(String, Version)>, Fault> {
    let rows = VERSIONS.scan(view, &[TEMPLATES], &end_of(&[TEMPLATES]), MAX_TEMPLATES)?;
    let name = |key: Vec<u8>| String::from_utf8_lossy(key.get(1..).unwrap_or(&[])).into_owned();
    Ok(rows.into_iter().map(|(key, version)| (name(key), version)).collect())
}

/// At most `limit` versions of a template behind a number, oldest first.
pub fn template_history(
    view: &dyn View,
    name: &str,
    behind: u32,
    limit: usize,
) -> Result<Vec<Version>, Fault> {
    history(view, &[&[TEMPLATE_VERSIONS], name.as_bytes(), &[0]].concat(), behind, limit)
}

/// What is wanted of a concentrator, in its newest version.
pub fn wanted(view: &dyn View, concentrator: &str) -> Result<Option<Version>, Fault> {
    let device = Device::Concentrator(concentrator.to_owned());
    VERSIONS.get(view, &Row(WANTED, device.octets()))
}

/// At most `limit` versions of what was wanted of a concentrator behind a number, oldest first.
pub fn wanted_history(
    view: &dyn View,
    concentrator: &str,
    behind: u32,
    limit: usize,
) -> Result<Vec<Version>, Fault> {
    let device = Device::Concentrator(concentrator.to_owned());
    let prefix = Row(WANTED_VERSIONS, device.octets()).octets();
    history(view, &prefix, behind, limit)
}

fn history(
    view: &dyn View,
    prefix: &[u8],
    behind: u32,
    limit: usize,
) -> Result<Vec<Version>, Fault> {
    let from = after(&[prefix, &behind.to_be_bytes()].concat());
    let rows = VERSIONS.scan(view, &from, &end_of(prefix), limit)?;
    Ok(rows.into_iter().map(|(_, version)| version).collect())
}

/// All that is wanted of a concentrator: its own settings, and its template's where those say
/// nothing; in order of the names.
pub fn effective(view: &dyn View, concentrator: &str) -> Result<Vec<Setting>, Fault> {
    let Some(wanted) = wanted(view, concentrator)? else { return Ok(Vec::new()) };
    let mut by_name = BTreeMap::new();
    if let Some(name) = &wanted.template
        && let Some(template) = template(view, name)?
    {
        by_name.extend(template.settings.into_iter().map(|one| (one.name, one.value)));
    }
    by_name.extend(wanted.settings.into_iter().map(|one| (one.name, one.value)));
    Ok(by_name.into_iter().map(|(name, value)| Setting { name, value }).collect())
}

/// What a concentrator said last of its parameters.
pub fn reported(view: &dyn View, concentrator: &str) -> Result<Reported, Fault> {
    let device = Device::Concentrator(concentrator.to_owned());
    Ok(REPORTS.get(view, &Row(REPORTED, device.octets()))?.unwrap_or_default())
}

/// The attributes that hold a concentrator's parameters.
pub fn attributes() -> Vec<Attribute> {
    DEFINITIONS.iter().map(|one| one.attribute).collect()
}
