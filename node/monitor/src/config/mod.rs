//! The configuration file: its shape, and the reading of it with every fault at once.
//!
//! TOML; unknown keys are faults; secrets stand in files of their own. Not the meaning across
//! sections (see `check`). Invariants: a `Config` that was read is whole: every name that is used
//! is defined, every file was readable; no secret is shown by `Debug`.

mod channel;
mod check;
mod edit;
mod shape;
mod value;
mod watched;

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

pub use channel::{Channel, Modem, Smtp, SmtpTls, WebRequest};
pub use edit::{Edit, RuleKind, fields_of, with_edit};
pub use shape::{
    Alertmanager, Config, Contact, Escalation, Group, Heartbeat, Http, Node, Own, Policy, Rule,
    Schedule, Scrape, Severity, Substitute, Tell, Way,
};
pub use value::{Secret, Span};
pub use watched::{AlarmRule, Cluster, Ups, User};

/// Something wrong with the configuration: where, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Section and name, such as `rule "node_down"`.
    pub at: String,
    /// A sentence.
    pub what: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// Faults as they are found.
#[derive(Debug, Default)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, at: impl Into<String>, what: impl std::fmt::Display) {
        self.0.push(Fault { at: at.into(), what: what.to_string() });
    }
}

/// Reads a file, and the files that it names. Relative paths count from the file's folder.
pub fn load(path: &Path) -> Result<Config, Vec<Fault>> {
    let at = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![Fault { at: at.clone(), what: error.to_string() }])?;
    let folder = path.parent().unwrap_or(Path::new("."));
    read(&text, folder)
}

/// Reads a text; files that it names are looked for from `folder`.
pub fn read(text: &str, folder: &Path) -> Result<Config, Vec<Fault>> {
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            let error: toml::de::Error = error;
            return Err(vec![Fault { at: "syntax".into(), what: error.to_string() }]);
        }
    };
    let mut faults = Faults::default();
    let mut config = sections(table, &mut faults);
    check::check(&mut config, folder, &mut faults);
    if faults.0.is_empty() { Ok(config) } else { Err(faults.0) }
}

/// Every section by itself, so that a fault in one does not hide those of the others.
fn sections(mut table: Table, faults: &mut Faults) -> Config {
    let mut root = Table::new();
    for (key, value) in &table {
        if !matches!(value, Value::Table(_) | Value::Array(_)) {
            root.insert(key.clone(), value.clone());
        }
    }
    for key in root.keys() {
        table.remove(key);
    }
    let mut config: Config = take("top of the file", Value::Table(root), faults);
    for (key, value) in table {
        match key.as_str() {
            "http" => config.http = take(&key, value, faults),
            "scrape" => config.scrape = take(&key, value, faults),
            "alertmanager" => config.alertmanager = Some(take(&key, value, faults)),
            "heartbeat" => config.heartbeat = Some(take(&key, value, faults)),
            "own" => config.own = take(&key, value, faults),
            "cluster" => config.cluster = Some(take(&key, value, faults)),
            "alarm" => config.alarms = items(&key, value, faults),
            "ups" => config.upses = items(&key, value, faults),
            "user" => config.users = items(&key, value, faults),
            "texts" => config.texts = take(&key, value, faults),
            "node" => config.nodes = items(&key, value, faults),
            "rule" => config.rules = items(&key, value, faults),
            "policy" => config.policies = items(&key, value, faults),
            "contact" => config.contacts = items(&key, value, faults),
            "group" => config.groups = items(&key, value, faults),
            "schedule" => config.schedules = items(&key, value, faults),
            "channel" => config.channels = items(&key, value, faults),
            _ => faults.add(key, "there is no such section"),
        }
    }
    config
}

fn take<T: DeserializeOwned + Default>(at: &str, value: Value, faults: &mut Faults) -> T {
    value.try_into().unwrap_or_else(|error: toml::de::Error| {
        faults.add(at, error.message());
        T::default()
    })
}

fn items<T: DeserializeOwned>(at: &str, value: Value, faults: &mut Faults) -> Vec<T> {
    let Value::Array(values) = value else {
        faults.add(at, format!("write it as [[{at}]]"));
        return Vec::new();
    };
    let mut items = Vec::new();
    for (nth, value) in (1..).zip(values) {
        let name = value.get("name").and_then(Value::as_str).map(|name| format!("\"{name}\""));
        match value.try_into() {
            Ok(item) => items.push(item),
            Err(error) => {
                let error: toml::de::Error = error;
                let name = name.unwrap_or_else(|| format!("number {nth}"));
                faults.add(format!("{at} {name}"), error.message());
            }
        }
    }
    items
}

#[cfg(test)]
mod tests;
