//! Rules that people made on the pages, laid over those of the file.
//!
//! An edit holds the words of a form; it is read as the file is, with the same faults. Invariants:
//! an edit of a name wins over the file's rule of that name, and without it the file's is there
//! again; an edit that this configuration does not bear (it names a policy that is not here)
//! changes nothing, and its faults are kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{AlarmRule, Config, Fault, Faults, Rule, check, items};

/// What kind of rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// Over metrics: `[[rule]]`.
    Rule,
    /// Over alarms of the field: `[[alarm]]`.
    Alarm,
}

impl RuleKind {
    /// The section of the file.
    pub fn section(self) -> &'static str {
        match self {
            RuleKind::Rule => "rule",
            RuleKind::Alarm => "alarm",
        }
    }

    /// The keys that a form has beside the name.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            RuleKind::Rule => &[
                "expr",
                "for",
                "recover_after",
                "severity",
                "policy",
                "group_by",
                "summary",
                "region",
                "runbook",
            ],
            RuleKind::Alarm => &[
                "kinds",
                "cleared_by",
                "at_least",
                "regions",
                "for",
                "lasts",
                "severity",
                "policy",
                "group_by",
                "summary",
                "runbook",
            ],
        }
    }
}

/// Keys whose value is a list; in a form with commas between.
const LISTS: [&str; 4] = ["group_by", "kinds", "cleared_by", "regions"];
/// The longest value of a form.
const MAX_VALUE: usize = 2_000;

/// A rule as somebody wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Its kind.
    pub kind: RuleKind,
    /// Its name.
    pub name: String,
    /// Whether it is switched off.
    #[serde(default)]
    pub off: bool,
    /// The words of the form; none for a rule of the file that is only switched off.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// Who.
    pub by: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// When, Unix milliseconds.
    pub at: i64,
}

impl Edit {
    fn value(&self, faults: &mut Faults) -> Value {
        let at = format!("{} \"{}\"", self.kind.section(), self.name);
        let mut table = Table::new();
        table.insert("name".into(), self.name.clone().into());
        for (key, text) in &self.fields {
            let text = text.trim();
            if !self.kind.keys().contains(&key.as_str()) {
                faults.add(&at, format!("there is no key {key}"));
            }
            if text.len() > MAX_VALUE {
                faults.add(&at, format!("{key} is longer than {MAX_VALUE} octets"));
            }
            // In the file an empty list of labels is one incident for the rule.
            let is_list = LISTS.contains(&key.as_str());
            if text.is_empty() && key != "group_by" {
                continue;
            }
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let value = match is_list {
                true => Value::Array(parts.map(Value::from).collect()),
                false => Value::from(text),
            };
            table.insert(key.clone(), value);
        }
        Value::Table(table)
    }
}

/// The file's configuration with one edit over it, or what is wrong with the edit.
pub fn with_edit(base: &Config, edit: &Edit) -> Result<Config, Vec<Fault>> {
    let mut faults = Faults::default();
    let mut config = base.clone();
    let (mut rule, mut alarm): (Option<Rule>, Option<AlarmRule>) = (None, None);
    if !edit.fields.is_empty() {
        let value = Value::Array(vec![edit.value(&mut faults)]);
        match edit.kind {
            RuleKind::Rule => rule = items("rule", value, &mut faults).pop(),
            RuleKind::Alarm => alarm = items("alarm", value, &mut faults).pop(),
        }
    } else if !edit.off {
        faults.add(edit.kind.section(), "nothing is said of it");
    }
    if !faults.0.is_empty() {
        return Err(faults.0);
    }
    // A rule that is switched off is checked as one that is not.
    if edit.fields.is_empty() {
        config.rules.retain(|one| one.name != edit.name);
        config.alarms.retain(|one| one.name != edit.name);
        return Ok(config);
    }
    lay(&mut config.rules, rule, |one| &one.name);
    lay(&mut config.alarms, alarm, |one| &one.name);
    check::rules_alone(&config, &mut faults);
    if !faults.0.is_empty() {
        return Err(faults.0);
    }
    if edit.off {
        config.rules.retain(|one| one.name != edit.name);
        config.alarms.retain(|one| one.name != edit.name);
    }
    Ok(config)
}

fn lay<T>(rules: &mut Vec<T>, new: Option<T>, name: impl Fn(&T) -> &String) {
    let Some(new) = new else { return };
    match rules.iter_mut().find(|one| name(one) == name(&new)) {
        Some(old) => *old = new,
        None => rules.push(new),
    }
}

/// The words of a form for a rule as it is.
pub fn fields_of(config: &Config, name: &str) -> Option<(RuleKind, BTreeMap<String, String>)> {
    let span = |span: super::Span| span.text();
    let word = |severity: super::Severity| severity.word().to_owned();
    if let Some(rule) = config.rules.iter().find(|rule| rule.name == name) {
        let pairs = [
            ("expr", rule.expr.clone()),
            ("for", span(rule.hold)),
            ("recover_after", span(rule.recover_after)),
            ("severity", word(rule.severity)),
            ("policy", rule.policy.clone()),
            ("group_by", rule.group_by.join(", ")),
            ("summary", rule.summary.clone()),
            ("region", rule.region.clone().unwrap_or_default()),
            ("runbook", rule.runbook.clone().unwrap_or_default()),
        ];
        return Some((RuleKind::Rule, pairs.map(|(key, text)| (key.to_owned(), text)).into()));
    }
    let rule = config.alarms.iter().find(|rule| rule.name == name)?;
    let pairs = [
        ("kinds", rule.kinds.join(", ")),
        ("cleared_by", rule.cleared_by.join(", ")),
        ("at_least", rule.at_least.map(word).unwrap_or_default()),
        ("regions", rule.regions.join(", ")),
        ("for", span(rule.hold)),
        ("lasts", span(rule.lasts)),
        ("severity", rule.severity.map(word).unwrap_or_default()),
        ("policy", rule.policy.clone()),
        ("group_by", rule.group_by.join(", ")),
        ("summary", rule.summary.clone()),
        ("runbook", rule.runbook.clone().unwrap_or_default()),
    ];
    Some((RuleKind::Alarm, pairs.map(|(key, text)| (key.to_owned(), text)).into()))
}
