//! Alarms of the field into incidents: events of meters, as the cluster's feed gives them.
//!
//! Invariants: an alarm counts once, since the place behind which the feed goes on is written in
//! the same frame as what the alarm did; a meter is one alarm of an incident, however often it
//! reports; an alarm ends by an event that clears it, or after its time.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::observe::{Group, id_of, see};
use super::{Engine, Source};
use crate::config::{AlarmRule, Severity};
use crate::exposition::Labels;
use crate::texts::fill;

/// For how long it is an alarm that alarms were missed.
const MISSED_MS: i64 = 3_600_000;

/// What a meter reported.
#[derive(Clone, Debug, Deserialize)]
pub struct Alarm {
    /// Its place in the feed.
    pub place: u64,
    /// The meter's serial.
    pub meter: String,
    /// The concentrator it is behind; empty for none.
    #[serde(default)]
    pub concentrator: String,
    /// What alarms of one cause have in common.
    #[serde(default)]
    pub group: String,
    /// The region's name.
    #[serde(default)]
    pub region: String,
    /// What happened.
    pub kind: String,
    /// How grave, by the cluster.
    #[serde(default)]
    pub severity: Severity,
    /// When it happened, RFC 3339.
    #[serde(default)]
    pub time: String,
}

/// How many alarms did what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// A rule took them.
    pub taken: u64,
    /// They ended an alarm.
    pub cleared: u64,
    /// No rule wants them.
    pub passed: u64,
}

impl Engine {
    /// Behind which place the feed goes on; none before the first page.
    pub fn feed_place(&self) -> Option<u64> {
        self.feed_place
    }

    /// A page of the feed, and where the next one begins.
    pub fn observe_alarms(&mut self, alarms: &[Alarm], next: u64, now: i64) -> Counted {
        let config = self.config.clone();
        let mut counted = Counted::default();
        let mut touched: BTreeSet<String> = BTreeSet::new();
        let known = self.feed_place.unwrap_or(0);
        for alarm in alarms.iter().filter(|alarm| alarm.place > known) {
            let (mut taken, mut cleared) = (false, false);
            for rule in &config.alarms {
                if rule.cleared_by.contains(&alarm.kind) {
                    cleared |= self.clear(rule, alarm, &mut touched);
                }
                if wants(rule, alarm) {
                    taken |= self.take(rule, alarm, &mut touched, now);
                }
            }
            match (taken, cleared) {
                (true, _) => counted.taken += 1,
                (false, true) => counted.cleared += 1,
                (false, false) => counted.passed += 1,
            }
        }
        self.set_feed_place(next.max(known));
        for key in touched {
            self.settle_state(&key, now);
        }
        counted
    }

    /// The feed begins here, or begins anew.
    pub fn set_feed_place(&mut self, place: u64) {
        if self.feed_place != Some(place) {
            self.feed_place = Some(place);
            self.dirty.insert("feed/place".into());
        }
    }

    /// So many alarms were dropped by the cluster before they were read.
    pub fn note_missed(&mut self, count: u64, now: i64) {
        self.missed = Some((count, now));
    }

    pub(super) fn missed(&self, now: i64) -> Option<String> {
        let (count, _) = self.missed.filter(|(_, at)| now - at < MISSED_MS)?;
        Some(format!("{count} alarms of the field were gone before they could be read"))
    }

    fn take(
        &mut self,
        rule: &AlarmRule,
        alarm: &Alarm,
        touched: &mut BTreeSet<String>,
        now: i64,
    ) -> bool {
        let labels = labels(alarm);
        let kept = labels.iter().filter(|(name, _)| rule.group_by.contains(name));
        let kept: Labels = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        let group = Group {
            key: format!("alarm/{}/{}/{}", rule.name, id_of(&kept), alarm.region),
            source: Source::Alarm(rule.name.clone()),
            alarm: rule.name.clone(),
            severity: rule.severity.unwrap_or(alarm.severity),
            region: alarm.region.clone(),
            labels: kept,
            policy: Some(rule.policy.clone()),
            runbook: rule.runbook.clone().unwrap_or_default(),
        };
        let summary = summary(rule, alarm, &labels);
        let Some(incident) = self.incident(&group) else { return false };
        incident.severity = incident.severity.max(group.severity);
        see(incident, alarm.meter.clone(), labels, summary, rule.hold.millis(), now);
        touched.insert(group.key);
        true
    }

    fn clear(&mut self, rule: &AlarmRule, alarm: &Alarm, touched: &mut BTreeSet<String>) -> bool {
        let mut cleared = false;
        let source = Source::Alarm(rule.name.clone());
        for incident in self.incidents.values_mut().filter(|one| one.source == source) {
            if incident.instances.remove(&alarm.meter).is_some() {
                cleared = true;
                touched.insert(incident.key.clone());
            }
        }
        cleared
    }

    /// Alarms whose time is over, and those that have held for long enough.
    pub(super) fn age_alarms(&mut self, now: i64) {
        let rules: BTreeMap<&str, &AlarmRule> =
            self.config.alarms.iter().map(|rule| (rule.name.as_str(), rule)).collect();
        for incident in self.incidents.values_mut() {
            let Source::Alarm(name) = &incident.source else { continue };
            let Some(rule) = rules.get(name.as_str()) else {
                incident.instances.clear();
                continue;
            };
            let (lasts, hold) = (rule.lasts.millis(), rule.hold.millis());
            incident.instances.retain(|_, instance| now - instance.seen < lasts);
            for instance in incident.instances.values_mut() {
                instance.fired |= now - instance.since >= hold;
            }
        }
    }
}

fn wants(rule: &AlarmRule, alarm: &Alarm) -> bool {
    (rule.kinds.is_empty() || rule.kinds.contains(&alarm.kind))
        && (rule.regions.is_empty() || rule.regions.contains(&alarm.region))
        && rule.at_least.is_none_or(|least| alarm.severity >= least)
}

fn labels(alarm: &Alarm) -> Labels {
    let pairs = [
        ("meter", &alarm.meter),
        ("concentrator", &alarm.concentrator),
        ("group", &alarm.group),
        ("region", &alarm.region),
        ("kind", &alarm.kind),
    ];
    let there = pairs.iter().filter(|(_, value)| !value.is_empty());
    let mut labels: Labels =
        there.map(|(name, value)| ((*name).to_owned(), (*value).clone())).collect();
    labels.insert("severity".into(), alarm.severity.word().into());
    labels
}

fn summary(rule: &AlarmRule, alarm: &Alarm, labels: &Labels) -> String {
    let plain = || format!("{} {} {}", alarm.kind, alarm.meter, alarm.time);
    if rule.summary.is_empty() {
        return plain();
    }
    let mut filling: BTreeMap<&str, &str> =
        labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    filling.insert("time", &alarm.time);
    fill(&rule.summary, &filling).unwrap_or_else(|_| plain())
}

#[cfg(test)]
mod tests;
