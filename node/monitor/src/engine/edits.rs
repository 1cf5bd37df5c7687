//! Rules that people make while the monitor runs: laid over the file's, kept, and written down.
//!
//! Not the reading of a rule (see `config`). Invariants: what holds is the file with every edit
//! over it; an edit that cannot be read here changes nothing and is an alarm; who changed what and
//! when is kept for the last thousand changes, those of other monitors among them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Engine, Source};
use crate::config::{Config, Edit, Fault, RuleKind, fields_of, with_edit};
use crate::expr::Expr;

/// The most rules that were made on pages.
pub const MAX_EDITS: usize = 500;
/// The most changes that are remembered.
const MAX_CHANGES: usize = 1_000;
/// The most metrics that are read because somebody tries an expression.
const MAX_TRIED: usize = 100;

/// A change of a rule, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleChange {
    /// The rule.
    pub name: String,
    /// `added`, `changed`, `off`, `on`, `removed`.
    pub what: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When, Unix milliseconds.
    pub at: i64,
    /// What it was on the pages before; none for a rule of the file or a new one.
    pub before: Option<BTreeMap<String, String>>,
}

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The file.
    File,
    /// The pages.
    Pages,
    /// The pages, over one of the file.
    Changed,
}

/// What people made.
#[derive(Default)]
pub(super) struct Edits {
    pub(super) kept: BTreeMap<String, Edit>,
    pub(super) changes: BTreeMap<u64, RuleChange>,
    faults: BTreeMap<String, String>,
    tried: BTreeSet<String>,
    /// Raised whenever other metrics may be wanted.
    revision: u64,
}

impl Engine {
    /// The configuration as it holds now: the file with the edits over it.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Rules that were made on pages, by name.
    pub fn edits(&self) -> &BTreeMap<String, Edit> {
        &self.edits.kept
    }

    /// Why an edit does not hold here.
    pub fn edit_faults(&self) -> &BTreeMap<String, String> {
        &self.edits.faults
    }

    /// The last changes of rules, oldest first.
    pub fn rule_changes(&self) -> impl DoubleEndedIterator<Item = &RuleChange> {
        self.edits.changes.values()
    }

    /// The words of the file's rule of a name.
    pub fn file_fields(&self, name: &str) -> Option<(RuleKind, BTreeMap<String, String>)> {
        fields_of(&self.file, name)
    }

    /// The kind of the rule of a name, switched off ones among them.
    pub fn rule_kind(&self, name: &str) -> Option<RuleKind> {
        let edit = self.edits.kept.get(name).map(|edit| edit.kind);
        edit.or_else(|| self.file_fields(name).map(|(kind, _)| kind))
    }

    /// Where the rule of a name comes from.
    pub fn origin(&self, name: &str) -> Origin {
        match (self.edits.kept.contains_key(name), self.is_in_file(name)) {
            (false, _) => Origin::File,
            (true, false) => Origin::Pages,
            (true, true) => Origin::Changed,
        }
    }

    /// Somebody makes, changes or switches a rule. What is wrong with it otherwise.
    pub fn edit_rule(&mut self, edit: Edit) -> Result<(), Vec<Fault>> {
        let fault = |what: &str| {
            vec![Fault { at: format!("rule \"{}\"", edit.name), what: what.to_owned() }]
        };
        let known = self.edits.kept.contains_key(&edit.name);
        if !known && self.edits.kept.len() >= MAX_EDITS {
            return Err(fault("too many rules were made on the pages"));
        }
        if edit.fields.is_empty() && self.origin(&edit.name) == Origin::Pages {
            return Err(fault("nothing is said of it"));
        }
        with_edit(&self.file, &edit)?;
        let value = serde_json::to_string(&edit).ok();
        self.share(format!("rule/{}", edit.name), value);
        self.lay_edit(edit);
        Ok(())
    }

    /// Somebody takes a rule of the pages away; the file's is there again. False when there is
    /// none.
    pub fn remove_edit(&mut self, name: &str, by: &str, reason: &str, now: i64) -> bool {
        if !self.edits.kept.contains_key(name) {
            return false;
        }
        self.share(format!("rule/{name}"), None);
        self.drop_edit(name, by, reason, now);
        true
    }

    /// Another monitor has it so.
    pub(super) fn lay_edit(&mut self, edit: Edit) {
        let before = self.edits.kept.get(&edit.name);
        if before == Some(&edit) {
            return;
        }
        let what = match (before, self.origin(&edit.name)) {
            (_, _) if edit.off && before.is_none_or(|before| !before.off) => "off",
            (Some(before), _) if before.off && !edit.off => "on",
            (None, Origin::File) if !self.is_in_file(&edit.name) => "added",
            _ => "changed",
        };
        let change = RuleChange {
            name: edit.name.clone(),
            what: what.to_owned(),
            by: edit.by.clone(),
            reason: edit.reason.clone(),
            at: edit.at,
            before: before.map(|before| before.fields.clone()),
        };
        self.remember(change);
        self.dirty.insert(format!("edit/{}", edit.name));
        self.edits.kept.insert(edit.name.clone(), edit);
        self.lay_all();
    }

    pub(super) fn drop_edit(&mut self, name: &str, by: &str, reason: &str, now: i64) {
        let Some(before) = self.edits.kept.remove(name) else { return };
        self.dirty.insert(format!("edit/{name}"));
        self.remember(RuleChange {
            name: name.to_owned(),
            what: "removed".into(),
            by: by.to_owned(),
            reason: reason.to_owned(),
            at: now,
            before: Some(before.fields),
        });
        self.lay_all();
    }

    fn is_in_file(&self, name: &str) -> bool {
        self.file.rules.iter().any(|rule| rule.name == name)
            || self.file.alarms.iter().any(|rule| rule.name == name)
    }

    fn remember(&mut self, change: RuleChange) {
        let number = self.edits.changes.last_key_value().map_or(1, |(last, _)| last + 1);
        self.dirty.insert(format!("change/{number:016}"));
        self.edits.changes.insert(number, change);
        while self.edits.changes.len() > MAX_CHANGES
            && let Some((old, _)) = self.edits.changes.pop_first()
        {
            self.dirty.insert(format!("change/{old:016}"));
        }
    }

    /// The file with every edit over it holds from now on.
    pub(super) fn lay_all(&mut self) {
        let mut config = (*self.file).clone();
        self.edits.faults.clear();
        for (name, edit) in &self.edits.kept {
            match with_edit(&config, edit) {
                Ok(laid) => config = laid,
                Err(faults) => {
                    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                    self.edits.faults.insert(name.clone(), faults.join("; "));
                }
            }
        }
        let rules = config.rules.iter().map(|rule| Expr::parse(&rule.expr));
        // Every expression was read before it was laid.
        self.rules = rules.filter_map(Result::ok).collect();
        self.config = Arc::new(config);
        self.edits.revision += 1;
    }

    /// Incidents of rules that are gone are over.
    pub(super) fn clear_gone_rules(&mut self) {
        for incident in self.incidents.values_mut() {
            if let Source::Rule(name) = &incident.source
                && !self.config.rules.iter().any(|rule| rule.name == *name)
            {
                incident.instances.clear();
            }
        }
    }

    /// A number that rises when other metrics may be wanted.
    pub fn metrics_revision(&self) -> u64 {
        self.edits.revision
    }

    /// The metrics that are wanted.
    pub fn wanted_metrics(&self) -> BTreeSet<String> {
        let mut wanted: BTreeSet<String> = self.rules.iter().flat_map(Expr::metrics).collect();
        wanted.extend(self.edits.tried.iter().cloned());
        wanted
    }

    /// Somebody tries an expression: its metrics are read from now on. Whether some are new.
    pub fn want_metrics(&mut self, metrics: BTreeSet<String>) -> bool {
        if metrics.is_subset(&self.wanted_metrics()) {
            return false;
        }
        if self.edits.tried.len() + metrics.len() > MAX_TRIED {
            self.edits.tried.clear();
        }
        self.edits.tried.extend(metrics);
        self.edits.revision += 1;
        true
    }

    /// The edit of a form, ready to be read.
    pub fn edit_of(
        kind: RuleKind,
        name: &str,
        fields: BTreeMap<String, String>,
        (by, reason): (&str, &str),
        at: i64,
    ) -> Edit {
        let (name, by) = (name.trim().to_owned(), by.to_owned());
        Edit { kind, name, off: false, fields, by, reason: reason.trim().to_owned(), at }
    }
}

#[cfg(test)]
mod tests;
