//! What is wrong now, from rules, from Alertmanager and from the monitor itself, into incidents.
//!
//! Invariants: an alarm that was known before a restart is not over before its rule could have
//! found it again; an incident's number and code are given when it opens, and only then.

use std::collections::{BTreeMap, BTreeSet};

use crate::alarm::State;
use crate::config::{Rule, Severity};
use crate::exposition::Labels;
use crate::texts::fill;
use crate::window::Window;

use super::incident::MAX_INSTANCES;
use super::{Engine, Incident, Instance, MAX_INCIDENTS, Source, incident_key};

/// A channel's own word that it cannot send counts after so long: modems register anew now and
/// then.
const TROUBLE_HOLD_MS: i64 = 60_000;

/// An alert as Alertmanager posts it.
#[derive(Clone, Debug)]
pub struct Alert {
    /// What makes it this one.
    pub fingerprint: String,
    /// Whether it fires; otherwise it is over.
    pub firing: bool,
    /// Its labels.
    pub labels: Labels,
    /// A sentence.
    pub summary: String,
    /// Where it is written what to do.
    pub runbook: String,
}

/// What an incident is, when it is made.
pub(super) struct Group {
    pub key: String,
    pub source: Source,
    pub alarm: String,
    pub severity: Severity,
    pub region: String,
    pub labels: Labels,
    pub policy: Option<String>,
    pub runbook: String,
}

impl Engine {
    /// Evaluates every rule. Until every node was asked once there is nothing to say.
    pub fn observe_rules(&mut self, window: &Window, now: i64) {
        let asked: BTreeSet<&str> = window.nodes_up().map(|(name, _)| name).collect();
        let config = self.config.clone();
        if config.nodes.iter().any(|node| !asked.contains(node.name.as_str())) {
            return;
        }
        let beginning = 2 * config.scrape.interval.millis() + config.scrape.timeout.millis();
        for (nth, rule) in config.rules.iter().enumerate() {
            let Some(expr) = self.rules.get(nth) else { continue };
            let vector = expr.evaluate(window, now);
            let may_clear = now - self.started >= beginning + expr.reach_ms();
            self.observe_rule(rule, vector, may_clear, now);
        }
    }

    fn observe_rule(&mut self, rule: &Rule, vector: Vec<(Labels, f64)>, may_clear: bool, now: i64) {
        let source = Source::Rule(rule.name.clone());
        let mut touched: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for incident in self.incidents.values().filter(|one| one.source == source) {
            touched.insert(incident.key.clone(), BTreeSet::new());
        }
        for (labels, value) in vector {
            let group = group_of(rule, &labels);
            let Some(incident) = self.incident(&group) else { continue };
            let id = id_of(&labels);
            touched.entry(group.key.clone()).or_default().insert(id.clone());
            let summary = summary(rule, &labels, value);
            see(incident, id, labels, summary, rule.hold.millis(), now);
        }
        for (key, seen) in touched {
            let Some(incident) = self.incidents.get_mut(&key) else { continue };
            let wait = rule.recover_after.millis();
            incident.instances.retain(|id, instance| {
                if seen.contains(id) {
                    return true;
                }
                let since = *instance.clear_since.get_or_insert(now);
                instance.fired && (!may_clear || now - since < wait)
            });
            self.settle_state(&key, now);
        }
    }

    /// Alertmanager posted a group. Alerts of it that it did not mention stay as they were.
    pub fn observe_alerts(&mut self, group_key: &str, group: Labels, alerts: Vec<Alert>, now: i64) {
        let Some(section) = &self.config.alertmanager else { return };
        let policy = Some(section.policy.clone());
        let label = |alert: &Alert, name: &str| alert.labels.get(name).cloned();
        let first = |name| alerts.iter().find_map(|alert| label(alert, name)).unwrap_or_default();
        let alarm = group.get("alertname").cloned().unwrap_or_else(|| first("alertname"));
        let severity = alerts.iter().filter(|alert| alert.firing).map(severity_of).max();
        let made = Group {
            key: format!("posted/{group_key}"),
            source: Source::Posted,
            alarm,
            severity: severity.unwrap_or_default(),
            region: first("region"),
            labels: group,
            policy,
            runbook: alerts.iter().map(|alert| alert.runbook.clone()).next().unwrap_or_default(),
        };
        let Some(incident) = self.incident(&made) else { return };
        if severity.is_some() {
            incident.severity = incident.severity.max(made.severity);
        }
        for alert in alerts {
            match alert.firing {
                true => see(incident, alert.fingerprint, alert.labels, alert.summary, 0, now),
                false => {
                    incident.instances.remove(&alert.fingerprint);
                }
            }
        }
        self.settle_state(&made.key, now);
    }

    /// The monitor's own alarms, alerts that nobody mentions any more, and silences.
    pub(super) fn observe_own(&mut self, now: i64) {
        let failures = self.config.own.failures;
        let channels = self.health.iter().map(|(name, health)| {
            let long = |(_, since): &&(String, i64)| now - since >= TROUBLE_HOLD_MS;
            let trouble = health.trouble.as_ref().filter(long).map(|(what, _)| what.clone());
            let failing = (health.failures >= failures)
                .then(|| format!("{} deliveries in a row have failed", health.failures));
            ("channel_failing", "channel", name.clone(), trouble.or(failing))
        });
        let contacts = self.config.contacts.iter().map(|contact| {
            let failed = self.failed_contacts.contains(&contact.name);
            let what = failed.then(|| "a message could not be delivered on any way".to_owned());
            ("delivery_failed", "contact", contact.name.clone(), what)
        });
        let memory = ("memory_failing", "file", "journal".to_owned(), self.memory_fault.clone());
        let missed = ("alarms_missed", "feed", "alarms".to_owned(), self.missed(now));
        let silent = self.is_alone().then(|| "no node has answered for too long".to_owned());
        let alone = ("cluster_silent", "cluster", "api".to_owned(), silent);
        let sharing = ("sharing_failing", "cluster", "shared".to_owned(), self.share_fault());
        let faults = self.edit_faults();
        let rules = self
            .edits()
            .keys()
            .map(|name| ("rule_refused", "rule", name.clone(), faults.get(name).cloned()));
        let rules: Vec<_> = rules.collect();
        let all = channels.chain(contacts).chain([memory, missed, alone, sharing]).chain(rules);
        let found: Vec<_> = all.collect();
        for (alarm, label, name, what) in found {
            self.observe_one(alarm, label, &name, what, now);
        }
        let stale = self.config.alertmanager.as_ref().map(|one| one.stale_after.millis());
        for incident in self.incidents.values_mut() {
            if let (Source::Posted, Some(stale)) = (&incident.source, stale) {
                incident.instances.retain(|_, instance| now - instance.seen < stale);
            }
        }
        self.age_alarms(now);
        self.clear_gone_rules();
        let keys: Vec<String> = self.incidents.keys().cloned().collect();
        for key in keys {
            self.settle_state(&key, now);
        }
    }

    fn observe_one(
        &mut self,
        alarm: &str,
        label: &str,
        name: &str,
        what: Option<String>,
        now: i64,
    ) {
        let key = format!("own/{alarm}/{name}");
        let Some(what) = what else {
            if let Some(incident) = self.incidents.get_mut(&key) {
                incident.instances.clear();
            }
            return;
        };
        let labels = Labels::from([(label.to_owned(), name.to_owned())]);
        let group = Group {
            key,
            source: Source::Own,
            alarm: alarm.to_owned(),
            severity: Severity::Critical,
            region: String::new(),
            labels: labels.clone(),
            policy: self.config.own.policy.clone(),
            runbook: String::new(),
        };
        let summary = format!("{label} {name}: {what}");
        if let Some(incident) = self.incident(&group) {
            see(incident, id_of(&labels), labels, summary, 0, now);
        }
    }

    /// The incident of a group, made when there is room for one more.
    pub(super) fn incident(&mut self, group: &Group) -> Option<&mut Incident> {
        if !self.incidents.contains_key(&group.key) {
            if self.incidents.len() >= MAX_INCIDENTS {
                return None;
            }
            let incident = Incident {
                key: group.key.clone(),
                source: group.source.clone(),
                alarm: group.alarm.clone(),
                severity: group.severity,
                region: group.region.clone(),
                labels: group.labels.clone(),
                policy: group.policy.clone(),
                runbook: group.runbook.clone(),
                state: State::Inactive,
                number: 0,
                code: String::new(),
                instances: BTreeMap::new(),
                last_items: (Vec::new(), 0),
                held: 0,
                told: BTreeMap::new(),
            };
            self.incidents.insert(group.key.clone(), incident);
        }
        let incident = self.incidents.get_mut(&group.key)?;
        incident.policy = group.policy.clone();
        Some(incident)
    }

    /// Takes an incident to its next state, and notes what must be written.
    pub(super) fn settle_state(&mut self, key: &str, now: i64) {
        let Some(incident) = self.incidents.get(key) else { return };
        let silenced = self.silences.values().any(|silence| silence.holds(now, incident));
        let next = incident.state.step(now, incident.condition(), silenced);
        let opens = incident.state.open_since().is_none() && next.open_since().is_some();
        let items = incident.items();
        let held = incident.instances.len();
        let changed = next != incident.state || held != incident.held;
        let over = incident.state.open_since().is_some() && next.open_since().is_none();
        if over && Engine::was_taken(&incident.state) {
            self.share_over(key);
        }
        let code = if opens { Some(self.fresh_code()) } else { None };
        let Some(incident) = self.incidents.get_mut(key) else { return };
        if let Some(code) = code {
            self.last_number += 1;
            incident.number = self.last_number;
            incident.code = code;
            incident.told.clear();
            incident.last_items = (Vec::new(), 0);
            self.dirty.insert("number/last".into());
        }
        let open = next.open_since().is_some();
        incident.state = next;
        let count = items.0.len() + items.1;
        // What is over is told as large as it was.
        if open && count >= incident.last_items.1 {
            incident.last_items = (items.0, count);
        }
        let pending = matches!(incident.state, State::Pending { .. } | State::Inactive);
        if changed && !pending && (open || incident.number > 0) {
            incident.held = held;
            self.dirty.insert(incident_key(key));
        }
        if opens {
            self.take_early(key, now);
        }
    }

    /// Five digits that no open incident has. With 90,000 codes and 10,000 incidents a hundred
    /// draws find one; should they not, a code that two share acknowledges the first.
    pub(super) fn fresh_code(&mut self) -> String {
        let mut code = String::new();
        for _ in 0..100 {
            let mut octets = [0; 4];
            (self.random)(&mut octets);
            code = format!("{}", 10_000 + u32::from_le_bytes(octets) % 90_000);
            let taken = |one: &Incident| one.code == code && one.state.open_since().is_some();
            let storm = self.messages.values().any(|one| one.code == code);
            if !storm && !self.incidents.values().any(taken) {
                break;
            }
        }
        code
    }
}

pub(super) fn see(
    incident: &mut Incident,
    id: String,
    labels: Labels,
    summary: String,
    hold: i64,
    now: i64,
) {
    if incident.instances.len() >= MAX_INSTANCES && !incident.instances.contains_key(&id) {
        return;
    }
    let instance = incident.instances.entry(id).or_insert_with(|| Instance {
        labels,
        summary: String::new(),
        since: now,
        seen: now,
        fired: false,
        clear_since: None,
    });
    instance.summary = summary;
    instance.seen = now;
    instance.clear_since = None;
    instance.fired |= now - instance.since >= hold;
}

fn group_of(rule: &Rule, labels: &Labels) -> Group {
    let kept = labels.iter().filter(|(name, _)| rule.group_by.contains(name));
    let kept: Labels = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    let region = labels.get("region").or(rule.region.as_ref()).cloned().unwrap_or_default();
    // Regions are people's: alarms of two of them are never one incident.
    Group {
        key: format!("rule/{}/{}/{region}", rule.name, id_of(&kept)),
        source: Source::Rule(rule.name.clone()),
        alarm: rule.name.clone(),
        severity: rule.severity,
        region,
        labels: kept,
        policy: Some(rule.policy.clone()),
        runbook: rule.runbook.clone().unwrap_or_default(),
    }
}

pub(super) fn id_of(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(",")
}

fn summary(rule: &Rule, labels: &Labels, value: f64) -> String {
    let plain = || format!("{} {} ({value})", rule.name, id_of(labels));
    if rule.summary.is_empty() {
        return plain();
    }
    let mut filling: BTreeMap<&str, serde_json::Value> =
        labels.iter().map(|(name, value)| (name.as_str(), value.as_str().into())).collect();
    filling.insert("value", serde_json::json!(value));
    fill(&rule.summary, &filling).unwrap_or_else(|_| plain())
}

fn severity_of(alert: &Alert) -> Severity {
    match alert.labels.get("severity").map(String::as_str) {
        Some("critical" | "page" | "error") => Severity::Critical,
        Some("info" | "none") => Severity::Info,
        _ => Severity::Warning,
    }
}
