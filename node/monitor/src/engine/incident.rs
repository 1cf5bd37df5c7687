//! Incidents, the alarms in them, and silences: what is kept of each.
//!
//! Records alone; decisions are in the siblings. Invariant: what is written here reads back after
//! a restart, with fields that a later version adds left at their default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alarm::{Condition, State};
use crate::config::Severity;
use crate::exposition::Labels;

/// The most alarms of an incident that are kept one by one.
pub const MAX_INSTANCES: usize = 20_000;

/// Where an incident comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A rule of ours.
    Rule(String),
    /// A rule of ours over alarms of the field.
    Alarm(String),
    /// Alertmanager.
    Posted,
    /// The monitor itself.
    Own,
}

/// One alarm: a series for which a rule holds, or an alert of Alertmanager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Its labels.
    pub labels: Labels,
    /// A sentence.
    pub summary: String,
    /// Since when it holds.
    pub since: i64,
    /// When it was last heard of.
    pub seen: i64,
    /// Whether it has held for long enough.
    pub fired: bool,
    /// Since when it does not hold, while that is not long enough to be over.
    #[serde(default)]
    pub clear_since: Option<i64>,
}

/// What a contact has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// When last.
    pub at: i64,
    /// How often.
    pub count: u32,
}

/// Alarms that are told together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Incident {
    /// What makes it this one: source, name, labels of the group.
    pub key: String,
    /// Where it comes from.
    pub source: Source,
    /// The alarm's name.
    pub alarm: String,
    /// How grave.
    pub severity: Severity,
    /// Where; empty when that is not known.
    #[serde(default)]
    pub region: String,
    /// The labels of the group.
    pub labels: Labels,
    /// Who is told.
    pub policy: Option<String>,
    /// Where it is written what to do.
    #[serde(default)]
    pub runbook: String,
    /// Where it is.
    pub state: State,
    /// Counts how often any incident opened; 0 before the first.
    #[serde(default)]
    pub number: u64,
    /// Acknowledges it by SMS.
    #[serde(default)]
    pub code: String,
    /// Its alarms, by their labels.
    #[serde(default)]
    pub instances: BTreeMap<String, Instance>,
    /// The first sentences and the count as of when most of its alarms were there.
    #[serde(default)]
    pub last_items: (Vec<String>, usize),
    /// How many alarms were in it when it was last written.
    #[serde(default)]
    pub held: usize,
    /// Who has been told.
    #[serde(default)]
    pub told: BTreeMap<String, Told>,
}

/// How many sentences a message holds.
const ITEMS: usize = 5;

impl Incident {
    /// What its alarms say together.
    pub fn condition(&self) -> Condition {
        match self.instances.values().any(|instance| instance.fired) {
            true => Condition::Ripe,
            false if self.instances.is_empty() => Condition::Clear,
            false => Condition::Pending,
        }
    }

    /// The first sentences of those that fired, and how many more there are.
    pub fn items(&self) -> (Vec<String>, usize) {
        let fired = || self.instances.values().filter(|instance| instance.fired);
        let items: Vec<String> =
            fired().take(ITEMS).map(|instance| instance.summary.clone()).collect();
        let more = fired().count() - items.len();
        (items, more)
    }

    /// What a silence looks at: the labels of the group, `alarm`, `severity` and `region`, or a
    /// label that all its alarms share.
    pub fn label(&self, name: &str) -> Option<&str> {
        match name {
            "alarm" => return Some(&self.alarm),
            "severity" => return Some(self.severity.word()),
            "region" if !self.region.is_empty() => return Some(&self.region),
            _ => {}
        }
        if let Some(value) = self.labels.get(name) {
            return Some(value);
        }
        let mut values = self.instances.values().map(|instance| instance.labels.get(name));
        let first = values.next()??;
        values.all(|value| value == Some(first)).then_some(first.as_str())
    }
}

/// Somebody's word that incidents need not be told for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its number.
    pub id: u64,
    /// Labels that an incident must have.
    pub labels: Labels,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Until when, Unix milliseconds.
    pub until: i64,
    /// By which other monitors know it; empty for one of an earlier version.
    #[serde(default)]
    pub shared: String,
}

impl Silence {
    /// Whether it holds for an incident.
    pub fn holds(&self, now: i64, incident: &Incident) -> bool {
        now < self.until
            && self.labels.iter().all(|(name, value)| incident.label(name) == Some(value))
    }
}
