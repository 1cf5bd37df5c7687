//! Two monitors and one voice: marks of what was told, and how a follower becomes the sender.
//!
//! A mark is a hash over what, to whom and on which ways; both monitors reckon it alike from equal
//! configurations. The one that tells has it noted in the cluster before a message leaves, and
//! again when it was handed over. Not here: how marks travel (`election`). Invariants: what the
//! cluster says was told is not told again; what was begun and not told goes again and says so;
//! what was neither is told; without the cluster everything is told and says that it may be a
//! repeat.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::message::{Message, Path, Stage};
use super::{Engine, Told, incident_key, message_key};
use crate::alarm::State;
use crate::config::{Contact, Severity, Tell};
use crate::texts::Kind;

/// By how much two monitors may see the same thing apart: scrapes, clocks, rules that hold.
const SKEW_MS: i64 = 60_000;
/// How far behind a follower notes who is on call, so that a hand-over is told by whoever tells.
const HAND_OVER_MS: i64 = 60_000;
/// The most notes that wait for the cluster.
const MAX_NOTES: usize = 10_000;
/// The most marks that are held: twice what the cluster keeps; beyond that the older half goes.
const MAX_KEPT: usize = 40_000;

/// What the cluster holds of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whether it says that something is over.
    pub over: bool,
    /// Whether it was told; otherwise it was about to be.
    pub told: bool,
    /// When, Unix milliseconds.
    pub at: i64,
}

/// A mark to note in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// 32 hex digits.
    pub mark: String,
    /// Whether it says that something is over.
    pub over: bool,
}

/// Whether this monitor tells, and on whose word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds the lease, or there is no other.
    Sender,
    /// Another holds it.
    Follower,
    /// No node has answered for too long: it tells, and says that it may be a repeat.
    Alone,
}

/// What a follower knows of the other's telling.
#[derive(Default)]
pub(super) struct Peers {
    kept: BTreeMap<String, Kept>,
    notes: Vec<Note>,
    /// Contacts of incidents of whom some ways were told, by incident and contact: marks from then
    /// on count.
    resume: BTreeMap<(String, String), i64>,
    /// Told as over by the other a moment ago: until then it is seen whether it is.
    held_back: BTreeMap<(String, String), i64>,
}

/// What is known of a message before it is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    Begun,
    Told,
}

/// The mark of a message.
pub(super) fn mark_of(subject: &str, contact: &str, paths: &[Path]) -> String {
    let mut hash = Sha256::new();
    for part in [subject, contact] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    for path in paths {
        hash.update(path.channel.as_bytes());
        hash.update([0]);
        hash.update(path.to.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(16).map(|octet| format!("{octet:02x}")).collect()
}

/// The messages that a contact gets at once: one that takes the ways in turn, or one each.
pub(super) fn parcels(contact: &Contact, severity: Severity) -> Vec<Vec<Path>> {
    let ways = contact.ways.iter().filter(|way| severity >= way.min_severity);
    let paths: Vec<Path> = ways.map(super::decide::path_of).collect();
    match contact.tell {
        Tell::First if paths.is_empty() => Vec::new(),
        Tell::First => vec![paths],
        Tell::All => paths.into_iter().map(|path| vec![path]).collect(),
    }
}

impl Engine {
    /// Whether this monitor is the one that tells.
    pub fn set_standing(&mut self, standing: Standing, now: i64) {
        let takes_over = !self.is_sender() && standing != Standing::Follower;
        self.standing = standing;
        if takes_over {
            self.take_over(now);
        }
    }

    /// Whether it is.
    pub fn is_sender(&self) -> bool {
        self.standing != Standing::Follower
    }

    /// Whether it is because no node answers.
    pub fn is_alone(&self) -> bool {
        self.standing == Standing::Alone
    }

    /// The cluster holds a mark.
    pub fn adopt(&mut self, mark: String, kept: Kept, now: i64) {
        if !self.is_sender() && kept.told {
            self.leave_to_the_other(&mark, kept, now);
        }
        self.peers.kept.insert(mark, kept);
        if self.peers.kept.len() > MAX_KEPT {
            let mut times: Vec<i64> = self.peers.kept.values().map(|kept| kept.at).collect();
            times.sort_unstable();
            let middle = times.get(times.len() / 2).copied().unwrap_or_default();
            self.peers.kept.retain(|_, kept| kept.at >= middle);
        }
    }

    /// All marks are to be read anew: the cluster dropped the oldest, or is another.
    pub fn forget_marks(&mut self) {
        self.peers.kept.clear();
    }

    /// What was told since the last call, for the cluster.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.peers.notes)
    }

    /// The cluster did not take the note that comes before a message: it waits.
    pub fn put_back(&mut self, id: u64, now: i64) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        let channel = message.current().map(|path| path.channel.clone()).unwrap_or_default();
        if let Some(count) = self.in_flight.get_mut(&channel) {
            *count = count.saturating_sub(1);
        }
        if message.stage == Stage::Sending {
            message.stage = Stage::Queued;
            message.next_at = now + 1_000;
            self.dirty.insert(message_key(id));
        }
    }

    pub(super) fn note_told(&mut self, marks: &[String], kind: Kind) {
        let room = match self.config.cluster {
            Some(_) => MAX_NOTES.saturating_sub(self.peers.notes.len()),
            None => 0,
        };
        let over = kind.is_over();
        let notes = marks.iter().take(room).map(|mark| Note { mark: mark.clone(), over });
        self.peers.notes.extend(notes);
    }

    /// What the other did of a message that is about to be queued. Marks of an incident count
    /// while this monitor takes up where the other ended, and not for later reminders.
    pub(super) fn before(&self, mark: &str, kind: Kind, since: Option<i64>) -> Before {
        let (Some(since), Some(kept)) = (since, self.peers.kept.get(mark)) else {
            return Before::Nothing;
        };
        match kept {
            kept if kept.over != kind.is_over() || kept.at < since => Before::Nothing,
            kept if kept.told => Before::Told,
            _ => Before::Begun,
        }
    }

    /// From when on marks count for a contact of an incident that this monitor takes up.
    pub(super) fn resumes(&mut self, key: &str, contact: &str) -> Option<i64> {
        self.peers.resume.remove(&(key.to_owned(), contact.to_owned()))
    }

    /// The queue had no room: another time.
    pub(super) fn resume_later(&mut self, key: &str, contact: &str, from: Option<i64>) {
        if let Some(from) = from {
            self.peers.resume.insert((key.to_owned(), contact.to_owned()), from);
        }
    }

    pub(super) fn is_held_back(&self, key: &str, contact: &str, now: i64) -> bool {
        let until = self.peers.held_back.get(&(key.to_owned(), contact.to_owned()));
        until.is_some_and(|until| now < *until)
    }

    /// A follower knows who is on call, a little late.
    pub(super) fn follow_hand_over(&mut self, now: i64) {
        for (name, rota) in &self.rotas {
            let who = rota.on_call(now - HAND_OVER_MS);
            if self.on_call.get(name).is_none_or(|known| known != who) {
                self.on_call.insert(name.clone(), who.to_owned());
                self.dirty.insert(format!("on_call/{name}"));
            }
        }
    }

    /// A message that waits here was told by the other.
    fn leave_to_the_other(&mut self, mark: &str, kept: Kept, now: i64) {
        let told: Vec<u64> = self
            .messages
            .values()
            .filter(|one| one.marks().iter().any(|own| own == mark) && is_of(one, kept))
            .map(|one| one.id)
            .collect();
        for id in told {
            if let Some(message) = self.messages.get_mut(&id) {
                // A message of a storm goes while one of its incidents is untold.
                if message.marks.len() > 1 {
                    message.marks.retain(|own| own != mark);
                    self.dirty.insert(message_key(id));
                    continue;
                }
                message.stage = Stage::Elsewhere;
                message.ended = Some(now);
                self.dirty.insert(message_key(id));
            }
        }
    }

    /// From follower to sender: what was told is known, what was begun is a repeat, the rest is
    /// due.
    fn take_over(&mut self, now: i64) {
        self.peers.resume.clear();
        self.peers.held_back.clear();
        let config = self.config.clone();
        let keys: Vec<String> = self.incidents.keys().cloned().collect();
        for key in keys {
            for contact in &config.contacts {
                self.take_over_contact(&key, contact);
            }
        }
        let queued = self.messages.values().filter(|one| one.stage == Stage::Queued);
        let waiting: Vec<(u64, String)> =
            queued.flat_map(|one| one.marks().iter().map(|mark| (one.id, mark.clone()))).collect();
        for (id, mark) in waiting {
            let Some(kept) = self.peers.kept.get(&mark).copied() else { continue };
            if kept.told {
                self.leave_to_the_other(&mark, kept, now);
            } else if let Some(message) = self.messages.get_mut(&id)
                && is_of(message, kept)
            {
                message.repeat = true;
                self.dirty.insert(message_key(id));
            }
        }
    }

    fn take_over_contact(&mut self, key: &str, contact: &Contact) {
        let Some(incident) = self.incidents.get_mut(key) else { return };
        let marks: Vec<Option<Kept>> = parcels(contact, incident.severity)
            .iter()
            .map(|paths| self.peers.kept.get(&mark_of(key, &contact.name, paths)).copied())
            .collect();
        let (open, from) = match incident.state {
            State::Resolved { at, .. } => (false, at - SKEW_MS),
            _ => match incident.state.open_since() {
                Some(since) => (true, since - SKEW_MS),
                None => return,
            },
        };
        let began = match incident.state {
            State::Resolved { since, .. } => since - SKEW_MS,
            _ => from,
        };
        let fresh = || marks.iter().flatten().filter(|kept| kept.at >= began);
        let newest = fresh().map(|kept| kept.at).max();
        let Some(newest) = newest else { return };
        let done = |kept: &Option<Kept>| {
            kept.is_some_and(|kept| kept.told && kept.over != open && kept.at >= from)
        };
        let name = contact.name.clone();
        if marks.iter().all(done) {
            if open {
                let told = incident.told.entry(name).or_insert(Told { at: newest, count: 1 });
                told.at = told.at.max(newest);
            } else {
                incident.told.remove(&name);
            }
        } else if open && fresh().any(|kept| kept.over && kept.told) {
            incident.told.remove(&name);
            let place = (key.to_owned(), name);
            self.peers.held_back.insert(place, newest + SKEW_MS);
        } else {
            if open {
                incident.told.remove(&name);
            } else {
                incident.told.entry(name.clone()).or_insert(Told { at: newest, count: 1 });
            }
            self.peers.resume.insert((key.to_owned(), name), from);
        }
        self.dirty.insert(incident_key(key));
    }
}

/// Whether a mark is of a message that waits, and not of an older one of the same mark.
fn is_of(message: &Message, kept: Kept) -> bool {
    message.stage == Stage::Queued
        && kept.over == message.kind.is_over()
        && kept.at >= message.created - SKEW_MS
}

#[cfg(test)]
mod tests;
