//! What monitors of one cluster share: acknowledgements, silences, rules of the pages.
//!
//! What somebody does here goes to the cluster under a name, and what others did comes from there.
//! Not the carrying (see `crate::shared`). Invariants: what was done here is in the journal until
//! the cluster has it; what comes from another is not sent back; a value of ours that is on its way
//! wins over one that comes; an acknowledgement of another holds for the incident that is open, and
//! never for one that begins later than ten minutes after it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Engine, Silence, incident_key};
use crate::alarm::State;
use crate::config::Edit;
use crate::exposition::Labels;

/// An incident may open here so much later than where it was acknowledged.
const LATE_MS: i64 = 600_000;
/// By how much two monitors may see the same thing apart.
const SKEW_MS: i64 = 60_000;
/// The most that waits for the cluster; beyond that it stays this monitor's own.
const MAX_WAITING: usize = 2_000;
/// The most acknowledgements of others that are held for incidents that are not open here yet.
const MAX_EARLY: usize = 2_000;

/// A name and what it is from now on; none removes it.
pub type Share = (String, Option<String>);

#[derive(Default)]
pub(super) struct Shares {
    /// What the cluster does not have yet.
    pub(super) waiting: BTreeMap<String, Option<String>>,
    /// Up to where the cluster's was read.
    pub(super) place: u64,
    early: BTreeMap<String, Taken>,
    refused: Option<String>,
}

/// Somebody has taken an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    key: String,
    by: String,
    until: Option<i64>,
    at: i64,
}

/// A silence as others know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SharedSilence {
    labels: Labels,
    reason: String,
    by: String,
    until: i64,
}

fn name_of(key: &str) -> String {
    let hash: String = Sha256::digest(key.as_bytes())
        .iter()
        .take(16)
        .map(|octet| format!("{octet:02x}"))
        .collect();
    format!("taken/{hash}")
}

impl Engine {
    /// The cluster learns of it, when there is one.
    pub(super) fn share(&mut self, name: String, value: Option<String>) {
        if self.config.cluster.is_none() {
            return;
        }
        let room = self.shares.waiting.len() < MAX_WAITING;
        if room || self.shares.waiting.contains_key(&name) {
            self.dirty.insert(format!("share/{name}"));
            self.shares.waiting.insert(name, value);
        } else {
            self.shares.refused = Some("too much waits for the cluster".into());
        }
    }

    /// Some of what the cluster does not have yet.
    pub fn waiting_shares(&self, limit: usize) -> Vec<Share> {
        let waiting = self.shares.waiting.iter().take(limit);
        waiting.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The cluster has taken these, or has refused them for good.
    pub fn shares_done(&mut self, shares: &[Share], refused: Option<String>) {
        for (name, value) in shares {
            if self.shares.waiting.get(name) == Some(value) {
                self.shares.waiting.remove(name);
                self.dirty.insert(format!("share/{name}"));
            }
        }
        self.shares.refused = refused;
    }

    /// Why something is not shared.
    pub(super) fn share_fault(&self) -> Option<String> {
        let why = self.shares.refused.as_ref()?;
        Some(format!("rules, acknowledgements and silences are not shared: {why}"))
    }

    /// Up to where the cluster's was read.
    pub fn shared_place(&self) -> u64 {
        self.shares.place
    }

    /// A page of what the cluster holds. `only`: these names are all that there are.
    pub fn adopt_shares(
        &mut self,
        shares: Vec<Share>,
        place: u64,
        only: Option<&BTreeSet<String>>,
        now: i64,
    ) {
        for (name, value) in shares {
            if !self.shares.waiting.contains_key(&name) {
                self.adopt_share(&name, value.as_deref(), now);
            }
        }
        if let Some(only) = only {
            self.keep_only(only, now);
        }
        if self.shares.place != place {
            self.shares.place = place;
            self.dirty.insert("shared/place".into());
        }
    }

    fn adopt_share(&mut self, name: &str, value: Option<&str>, now: i64) {
        let Some((kind, rest)) = name.split_once('/') else { return };
        match (kind, value) {
            ("taken", Some(value)) => {
                if let Ok(taken) = serde_json::from_str::<Taken>(value) {
                    self.adopt_taken(taken);
                }
            }
            ("silence", Some(value)) => {
                if let Ok(silence) = serde_json::from_str::<SharedSilence>(value)
                    && silence.until > now
                {
                    self.adopt_silence(rest, silence);
                }
            }
            ("silence", None) => self.forget_silence(rest),
            ("rule", Some(value)) => {
                if let Ok(edit) = serde_json::from_str::<Edit>(value)
                    && edit.name == rest
                {
                    self.lay_edit(edit);
                }
            }
            ("rule", None) => self.drop_edit(rest, "another monitor", "", now),
            _ => {}
        }
    }

    /// After everything was read anew: what is not there was removed while nobody looked.
    fn keep_only(&mut self, only: &BTreeSet<String>, now: i64) {
        let is_gone = |waiting: &BTreeMap<String, Option<String>>, name: &String| {
            !only.contains(name) && !waiting.contains_key(name)
        };
        let silences = self.silences.values().filter(|one| !one.shared.is_empty());
        let silences: Vec<String> = silences
            .filter(|one| is_gone(&self.shares.waiting, &format!("silence/{}", one.shared)))
            .map(|one| one.shared.clone())
            .collect();
        for shared in silences {
            self.forget_silence(&shared);
        }
        let rules = self.edits.kept.keys();
        let rules: Vec<String> = rules
            .filter(|name| is_gone(&self.shares.waiting, &format!("rule/{name}")))
            .cloned()
            .collect();
        for name in rules {
            self.drop_edit(&name, "another monitor", "", now);
        }
    }

    /// Somebody has taken an incident here.
    pub(super) fn share_taken(&mut self, key: &str, by: &str, until: Option<i64>, now: i64) {
        let (key, by) = (key.to_owned(), by.to_owned());
        let name = name_of(&key);
        let value = serde_json::to_string(&Taken { key, by, until, at: now }).ok();
        self.share(name, value);
    }

    /// It is over: nobody has taken it any more.
    pub(super) fn share_over(&mut self, key: &str) {
        self.shares.early.remove(key);
        self.share(name_of(key), None);
    }

    fn adopt_taken(&mut self, taken: Taken) {
        let open = self.incidents.get(&taken.key).and_then(|one| one.state.open_since());
        match open {
            Some(since) if taken.at >= since - SKEW_MS => self.take_as(&taken),
            Some(_) => {}
            None => {
                if self.shares.early.len() >= MAX_EARLY {
                    let oldest = self.shares.early.values().min_by_key(|one| one.at);
                    let oldest = oldest.map(|one| one.key.clone());
                    oldest.and_then(|key| self.shares.early.remove(&key));
                }
                self.shares.early.insert(taken.key.clone(), taken);
            }
        }
    }

    fn take_as(&mut self, taken: &Taken) {
        let Some(incident) = self.incidents.get_mut(&taken.key) else { return };
        let Ok(next) = incident.state.acknowledge(&taken.by, taken.until) else { return };
        if next != incident.state {
            incident.state = next;
            self.dirty.insert(incident_key(&taken.key));
        }
    }

    /// An incident opens here: another monitor's people may have taken it already.
    pub(super) fn take_early(&mut self, key: &str, now: i64) {
        let Some(taken) = self.shares.early.remove(key) else { return };
        if now - taken.at <= LATE_MS {
            self.take_as(&taken);
        }
    }

    /// A silence was made here.
    pub(super) fn share_silence(&mut self, silence: &Silence) {
        let shared = SharedSilence {
            labels: silence.labels.clone(),
            reason: silence.reason.clone(),
            by: silence.by.clone(),
            until: silence.until,
        };
        let value = serde_json::to_string(&shared).ok();
        self.share(format!("silence/{}", silence.shared), value);
    }

    fn adopt_silence(&mut self, name: &str, shared: SharedSilence) {
        let known = self.silences.values().find(|one| one.shared == name).map(|one| one.id);
        let id = known.unwrap_or(self.last_silence + 1);
        self.last_silence = self.last_silence.max(id);
        let SharedSilence { labels, reason, by, until } = shared;
        let silence = Silence { id, labels, reason, by, until, shared: name.to_owned() };
        if self.silences.get(&id) != Some(&silence) {
            self.silences.insert(id, silence);
            self.dirty.insert(format!("silence/{id}"));
        }
    }

    fn forget_silence(&mut self, name: &str) {
        let known = self.silences.values().find(|one| one.shared == name).map(|one| one.id);
        if let Some(id) = known {
            self.silences.remove(&id);
            self.dirty.insert(format!("silence/{id}"));
        }
    }

    /// Whether an incident that was taken is so no more.
    pub(super) fn was_taken(state: &State) -> bool {
        matches!(state, State::Acknowledged { .. })
    }
}

#[cfg(test)]
mod tests;
