//! A storm over many incidents is one message to each contact, not one for each incident.
//!
//! Incidents that are due for a contact are told one by one while they are few. From
//! `own.digest_from` on, counted with those that are about to be due and those that were just told,
//! they are gathered for at most `own.digest_wait` and told together. Not here: who is due (see
//! `decide`). Invariants: nothing that is due waits longer than `digest_wait` because of this; a
//! message holds incidents that take the same ways alone; each incident in it keeps its own mark,
//! so that another monitor knows of each whether it was told.

use std::collections::BTreeMap;

use crate::alarm::State;
use crate::config::{Config, Contact, Severity};
use crate::texts::{Filling, Kind};

use super::decide::kind_word;
use super::message::Path;
use super::peers::{Before, mark_of, parcels};
use super::{Engine, Incident};

/// The most incidents of one message.
pub const MAX_DIGEST: usize = 500;
/// The most that it lists; the rest is a number.
const LISTED: usize = 50;
/// What was told in the last minute counts for whether there is a storm.
const LATELY_MS: i64 = 60_000;

/// A contact must hear of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub key: String,
    pub contact: String,
    pub kind: Kind,
}

/// To whom, and whether it is about what is over.
type Whom = (String, bool);

/// What is gathered, and what was told a moment ago. It may be lost: then a storm is two messages.
#[derive(Default)]
pub(super) struct Gathered {
    since: BTreeMap<Whom, i64>,
    lately: BTreeMap<Whom, Vec<i64>>,
}

impl Gathered {
    fn lately(&mut self, whom: &Whom, now: i64) -> usize {
        let Some(times) = self.lately.get_mut(whom) else { return 0 };
        times.retain(|at| now - at < LATELY_MS && *at <= now);
        times.len()
    }
}

impl Engine {
    /// What of the due is told now; each list is one message (or one on each way).
    pub(super) fn gather(&mut self, config: &Config, due: Vec<Due>, now: i64) -> Vec<Vec<Due>> {
        let mut by_whom: BTreeMap<Whom, Vec<Due>> = BTreeMap::new();
        for one in due {
            by_whom.entry((one.contact.clone(), one.kind.is_over())).or_default().push(one);
        }
        self.gathered.since.retain(|whom, _| by_whom.contains_key(whom));
        let mut told = Vec::new();
        for (whom, due) in by_whom {
            let lately = self.gathered.lately(&whom, now);
            let coming = self.coming(config, &whom, due.len(), now);
            let storm = due.len() + coming + lately >= config.own.digest_from;
            let since = *self.gathered.since.entry(whom.clone()).or_insert(now);
            let wait = config.own.digest_wait.millis();
            // A clock that was set back ends the wait.
            if storm && coming + lately > 0 && (0..wait).contains(&(now - since)) {
                continue;
            }
            self.gathered.since.remove(&whom);
            let lists = match storm {
                true => self.by_ways(config, &whom.0, due),
                false => due.into_iter().map(|one| vec![one]).collect(),
            };
            self.gathered.lately.entry(whom).or_default().extend(lists.iter().map(|_| now));
            told.extend(lists);
        }
        told
    }

    /// How many more incidents the contact may have to hear of in a moment: for what is over, those
    /// of which it knows that they are open.
    fn coming(&self, config: &Config, (contact, over): &Whom, due: usize, now: i64) -> usize {
        let enough = config.own.digest_from.saturating_sub(due);
        let known = |one: &&Incident| {
            matches!(one.state, State::Firing { .. }) && one.told.contains_key(contact)
        };
        let waits = |one: &&Incident| {
            let Some(policy) = self.policy_of(config, one) else { return false };
            let wait = policy.group_wait.millis();
            let soon = match one.state {
                State::Pending { .. } => true,
                State::Firing { since } => now < since + wait,
                _ => false,
            };
            let hears = || self.recipients(config, policy, one, wait, now);
            soon && !one.told.contains_key(contact)
                && hears().iter().any(|(one, _)| one.name == *contact)
        };
        // No more are counted than make a storm.
        match over {
            true => self.incidents.values().filter(known).take(enough.max(1)).count(),
            false => self.incidents.values().filter(waits).take(enough.max(1)).count(),
        }
    }

    /// Incidents of different severity may take different ways.
    fn by_ways(&self, config: &Config, contact: &str, due: Vec<Due>) -> Vec<Vec<Due>> {
        let Some(contact) = config.contacts.iter().find(|one| one.name == contact) else {
            return due.into_iter().map(|one| vec![one]).collect();
        };
        let mut lists: Vec<(Vec<Vec<Path>>, Vec<Due>)> = Vec::new();
        for one in due {
            let severity = self.incidents.get(&one.key).map(|incident| incident.severity);
            let ways = parcels(contact, severity.unwrap_or_default());
            let room = |(known, list): &&mut (Vec<Vec<Path>>, Vec<Due>)| {
                *known == ways && list.len() < MAX_DIGEST
            };
            match lists.iter_mut().find(room) {
                Some((_, list)) => list.push(one),
                None => lists.push((ways, vec![one])),
            }
        }
        lists.into_iter().map(|(_, list)| list).collect()
    }

    /// One message on each way about several incidents of the same ways.
    pub(super) fn tell_many(&mut self, config: &Config, many: &[Due], now: i64) {
        let Some(first) = many.first() else { return };
        let over = first.kind.is_over();
        let kind = if over { Kind::DigestOver } else { Kind::Digest };
        let contact = config.contacts.iter().find(|one| one.name == first.contact);
        let Some(contact) = contact else { return };
        let severity = many.iter().filter_map(|due| self.incidents.get(&due.key));
        let severity = severity.map(|one| one.severity).max().unwrap_or_default();
        let ways = parcels(contact, severity);
        if !self.has_room(ways.len()) {
            return;
        }
        let from: Vec<Option<i64>> =
            many.iter().map(|due| self.resumes(&due.key, &contact.name)).collect();
        for paths in ways {
            self.tell_many_on(config, contact, kind, (many, &from), paths, now);
        }
        for due in many {
            self.note_heard(&due.key, &contact.name, over, now);
        }
    }

    fn tell_many_on(
        &mut self,
        config: &Config,
        contact: &Contact,
        kind: Kind,
        (many, from): (&[Due], &[Option<i64>]),
        paths: Vec<Path>,
        now: i64,
    ) {
        let (mut marks, mut numbered, mut repeat) = (Vec::new(), Vec::new(), false);
        for (due, from) in many.iter().zip(from) {
            let mark = mark_of(&due.key, &contact.name, &paths);
            let before = self.before(&mark, kind, *from);
            let Some(incident) = self.incidents.get(&due.key) else { continue };
            if before == Before::Told {
                continue;
            }
            repeat |= before == Before::Begun;
            numbered.push((due.key.clone(), incident.number));
            marks.push(mark);
        }
        if numbered.is_empty() {
            return;
        }
        let mut filling = self.filling_of_many(config, kind, &numbered);
        let mut token = String::new();
        if kind == Kind::Digest {
            filling.code = self.fresh_code();
            if let Some(url) = &config.http.public_url {
                token = self.fresh_token();
                filling.link = format!("{}/ack/{token}", url.trim_end_matches('/'));
            }
        }
        // What makes it this message: all that it tells.
        let mark = mark_of(&marks.concat(), &contact.name, &paths);
        let mut message = self.message(contact, kind, paths, &filling, now);
        let mut numbered = numbered.into_iter();
        message.incident = numbered.next();
        message.also = numbered.collect();
        message.code = filling.code;
        message.token = token;
        (message.mark, message.marks) = (mark, marks);
        message.repeat = repeat;
        self.put(message);
    }

    fn filling_of_many(&self, config: &Config, kind: Kind, many: &[(String, u64)]) -> Filling {
        let mut incidents: Vec<&Incident> =
            many.iter().filter_map(|(key, _)| self.incidents.get(key)).collect();
        incidents.sort_by_key(|one| (std::cmp::Reverse(one.severity), one.number));
        let severity: Severity = incidents.iter().map(|one| one.severity).max().unwrap_or_default();
        let items: Vec<String> = incidents.iter().take(LISTED).map(|one| line(one)).collect();
        let alarm = incidents.first().map(|one| one.alarm.clone()).unwrap_or_default();
        Filling {
            monitor: config.name.clone(),
            kind: kind_word(kind),
            alarm,
            severity: severity.word().into(),
            more: incidents.len() - items.len(),
            items,
            ..Filling::default()
        }
    }
}

/// An incident in one line: what, where, how many; the sentence of a single alarm.
fn line(incident: &Incident) -> String {
    let labels: Vec<&str> = incident.labels.values().map(String::as_str).collect();
    let place = match (labels.is_empty(), incident.region.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!(" {}", incident.region),
        (false, true) => format!(" {}", labels.join(" ")),
        (false, false) => format!(" {} ({})", labels.join(" "), incident.region),
    };
    let head = format!("#{} {}{place}", incident.number, incident.alarm);
    match incident.last_items.1 {
        0 | 1 => match incident.last_items.0.first() {
            Some(sentence) => format!("{head}: {sentence}"),
            None => head,
        },
        count => format!("{head}: {count}"),
    }
}

#[cfg(test)]
mod tests;
