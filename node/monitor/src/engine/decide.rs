//! Who is told what, now: incidents, reminders, escalation, recoveries, hand-over, heartbeat.
//!
//! Invariants: a contact who was told that something is wrong is told that it is over; quiet
//! hours put off and never drop; what does not fit into the queue is told when there is room.

use std::collections::{BTreeMap, BTreeSet};

use crate::alarm::State;
use crate::config::{Config, Contact, Policy, Severity, Tell};
use crate::oncall;
use crate::texts::{Filling, Kind};

use super::digest::Due;
use super::message::{Message, Path, Stage};
use super::peers::{Before, mark_of, parcels};
use super::{Engine, Incident, Told, incident_key, message_key};

/// How many incidents a hand-over lists.
const HANDOVER_ITEMS: usize = 20;

/// What a message is about, and from when on marks of the other monitor count.
#[derive(Default)]
pub(super) struct About {
    incident: Option<(String, u64)>,
    /// Empty when two monitors need not know it as the same.
    subject: String,
    marks_from: Option<i64>,
}

impl About {
    /// Something of one day: its marks are always of the same thing.
    fn day(subject: String) -> About {
        About { incident: None, subject, marks_from: Some(0) }
    }
}

impl Engine {
    pub(super) fn tell_of_incidents(&mut self, now: i64) {
        let config = self.config.clone();
        let mut all: Vec<Due> = Vec::new();
        for (key, incident) in &self.incidents {
            let policy = self.policy_of(&config, incident);
            let due = match &incident.state {
                State::Firing { since } => match policy {
                    Some(policy) => self.due(&config, policy, incident, *since, now),
                    None => Vec::new(),
                },
                State::Resolved { .. } => self.due_recoveries(&config, policy, incident, now),
                _ => Vec::new(),
            };
            let of = |(contact, kind)| Due { key: key.clone(), contact, kind };
            all.extend(due.into_iter().map(of));
        }
        for told in self.gather(&config, all, now) {
            match told.as_slice() {
                [] => {}
                [one] => self.tell(&one.key, &one.contact, one.kind, now),
                many => self.tell_many(&config, many, now),
            }
        }
    }

    pub(super) fn policy_of<'c>(
        &self,
        config: &'c Config,
        incident: &Incident,
    ) -> Option<&'c Policy> {
        let name = incident.policy.as_ref()?;
        config.policies.iter().find(|one| one.name == *name)
    }

    /// Contacts that must hear now, and as what.
    fn due(
        &self,
        config: &Config,
        policy: &Policy,
        incident: &Incident,
        since: i64,
        now: i64,
    ) -> Vec<(String, Kind)> {
        if now < since + policy.group_wait.millis() {
            return Vec::new();
        }
        let mut due = Vec::new();
        let recipients = self.recipients(config, policy, incident, now - since, now);
        for (contact, escalated) in recipients {
            let held_back = self.is_held_back(&incident.key, &contact.name, now);
            if held_back || self.is_quiet(config, policy, incident, contact, now) {
                continue;
            }
            let kind = match incident.told.get(&contact.name) {
                None if escalated => Kind::Escalated,
                None => Kind::Firing,
                Some(told) if now - told.at >= policy.repeat.millis() => Kind::Reminder,
                Some(_) => continue,
            };
            due.push((contact.name.clone(), kind));
        }
        due
    }

    fn due_recoveries(
        &self,
        config: &Config,
        policy: Option<&Policy>,
        incident: &Incident,
        now: i64,
    ) -> Vec<(String, Kind)> {
        let told = incident.told.keys();
        let heard = told.filter(|name| {
            let contact = config.contacts.iter().find(|one| one.name == **name);
            match (contact, policy) {
                (Some(contact), Some(policy)) => {
                    !self.is_quiet(config, policy, incident, contact, now)
                }
                _ => true,
            }
        });
        heard.map(|name| (name.clone(), Kind::Recovered)).collect()
    }

    /// Contacts of a policy after so long, with whether they come by escalation alone.
    pub(super) fn recipients<'c>(
        &self,
        config: &'c Config,
        policy: &Policy,
        incident: &Incident,
        lasted: i64,
        now: i64,
    ) -> Vec<(&'c Contact, bool)> {
        let mut found: Vec<(&Contact, bool)> = Vec::new();
        let steps = policy.escalate.iter().filter(|step| step.after.millis() <= lasted);
        let names = policy.to.iter().map(|name| (name, false));
        let later = steps.flat_map(|step| step.to.iter().map(|name| (name, true)));
        for (name, escalated) in names.chain(later) {
            for contact in self.people(config, name, now) {
                let region = contact.regions.is_empty()
                    || incident.region.is_empty()
                    || contact.regions.contains(&incident.region);
                let wanted = region && incident.severity >= contact.min_severity;
                if wanted && !found.iter().any(|(known, _)| known.name == contact.name) {
                    found.push((contact, escalated));
                }
            }
        }
        found
    }

    /// The contacts behind a name: itself, a group's members, who is on call.
    fn people<'c>(&self, config: &'c Config, name: &str, now: i64) -> Vec<&'c Contact> {
        let names: Vec<&str> = match config.groups.iter().find(|group| group.name == name) {
            Some(group) => group.members.iter().map(String::as_str).collect(),
            None => vec![name],
        };
        let contact_of = |name: &str| {
            let name = self.rotas.get(name).map_or(name, |rota| rota.on_call(now));
            config.contacts.iter().find(|contact| contact.name == name)
        };
        names.into_iter().filter_map(contact_of).collect()
    }

    fn is_quiet(
        &self,
        config: &Config,
        policy: &Policy,
        incident: &Incident,
        contact: &Contact,
        now: i64,
    ) -> bool {
        let Some(hours) = self.quiet.get(&policy.name) else { return false };
        let zone = contact.zone.as_deref().unwrap_or(&config.zone);
        incident.severity < policy.quiet_below
            && oncall::zone(zone).is_some_and(|zone| hours.hold(now, &zone))
    }

    /// How many open incidents have nobody who could be told.
    pub fn untold(&self, now: i64) -> usize {
        let open = self.incidents.values().filter(|one| matches!(one.state, State::Firing { .. }));
        let untold = open.filter(|incident| {
            let policy = self.policy_of(&self.config, incident);
            let lasted = incident.state.open_since().map_or(0, |since| now - since);
            policy.is_none_or(|policy| {
                self.recipients(&self.config, policy, incident, lasted, now).is_empty()
            })
        });
        untold.count()
    }

    /// Queues the messages to one contact about an incident, and remembers that it was told.
    fn tell(&mut self, key: &str, contact: &str, kind: Kind, now: i64) {
        let config = self.config.clone();
        let contact = config.contacts.iter().find(|one| one.name == contact);
        let Some(incident) = self.incidents.get(key) else { return };
        if let Some(contact) = contact {
            let parcels = parcels(contact, incident.severity);
            let filling = self.filling(&config, incident, contact, kind);
            let about = About {
                incident: Some((incident.key.clone(), incident.number)),
                subject: incident.key.clone(),
                marks_from: self.resumes(key, &contact.name),
            };
            let marks_from = about.marks_from;
            if !parcels.is_empty() && !self.queue(contact, kind, about, parcels, filling, now) {
                self.resume_later(key, &contact.name, marks_from);
                return;
            }
        }
        match contact {
            Some(contact) => self.note_heard(key, &contact.name, kind.is_over(), now),
            // The contact is not in the configuration any more.
            None => {
                let Some(incident) = self.incidents.get_mut(key) else { return };
                let is_there = |name: &str| config.contacts.iter().any(|one| one.name == *name);
                incident.told.retain(|name, _| is_there(name));
                self.dirty.insert(incident_key(key));
            }
        }
    }

    /// A contact has been told of an incident, or that it is over.
    pub(super) fn note_heard(&mut self, key: &str, contact: &str, over: bool, now: i64) {
        let Some(incident) = self.incidents.get_mut(key) else { return };
        if over {
            incident.told.remove(contact);
        } else {
            let told =
                incident.told.entry(contact.to_owned()).or_insert(Told { at: now, count: 0 });
            told.at = now;
            told.count += 1;
        }
        self.dirty.insert(incident_key(key));
    }

    fn filling(
        &self,
        config: &Config,
        incident: &Incident,
        contact: &Contact,
        kind: Kind,
    ) -> Filling {
        let zone = contact.zone.as_deref().unwrap_or(&config.zone);
        let zone = oncall::zone(zone).unwrap_or(jiff::tz::TimeZone::UTC);
        let (since, until) = match incident.state {
            State::Resolved { since, at } => (since, Some(at)),
            _ => (incident.state.open_since().unwrap_or_default(), None),
        };
        let over = kind == Kind::Recovered;
        let (items, more) = match incident.items() {
            (items, _) if items.is_empty() || over => {
                let (items, count) = &incident.last_items;
                (items.clone(), count - items.len())
            }
            items => items,
        };
        Filling {
            monitor: config.name.clone(),
            alarm: incident.alarm.clone(),
            severity: incident.severity.word().into(),
            region: incident.region.clone(),
            items,
            more,
            since: oncall::text(since, &zone),
            until: until.map(|at| oncall::text(at, &zone)).unwrap_or_default(),
            number: incident.number,
            code: if over { String::new() } else { incident.code.clone() },
            runbook: incident.runbook.clone(),
            ..Filling::default()
        }
    }

    /// Puts a message on every way, or one that takes the ways in turn. False when the queue has
    /// no room; then nothing was put.
    fn queue(
        &mut self,
        contact: &Contact,
        kind: Kind,
        about: About,
        parcels: Vec<Vec<Path>>,
        mut filling: Filling,
        now: i64,
    ) -> bool {
        let About { incident, subject, marks_from } = about;
        if !self.has_room(parcels.len()) {
            return false;
        }
        filling.kind = kind_word(kind);
        let public = self.config.http.public_url.clone();
        for paths in parcels {
            let mark = match subject.is_empty() {
                true => String::new(),
                false => mark_of(&subject, &contact.name, &paths),
            };
            let before = self.before(&mark, kind, marks_from);
            if before == Before::Told {
                continue;
            }
            let mut token = String::new();
            if let (Some(url), Some(_)) =
                (&public, incident.as_ref().filter(|_| kind != Kind::Recovered))
            {
                token = self.fresh_token();
                filling.link = format!("{}/ack/{token}", url.trim_end_matches('/'));
            }
            let mut message = self.message(contact, kind, paths, &filling, now);
            message.incident = incident.clone();
            message.mark = mark;
            message.token = token;
            message.repeat = before == Before::Begun;
            self.put(message);
        }
        true
    }

    /// Whether so many more messages may wait.
    pub(super) fn has_room(&mut self, more: usize) -> bool {
        let waiting = self.messages.values().filter(|one| !one.stage.is_finished()).count();
        self.queue_full = waiting + more > self.config.own.max_messages / 2;
        !self.queue_full
    }

    pub(super) fn put(&mut self, message: Message) {
        self.dirty.insert(message_key(message.id));
        self.messages.insert(message.id, message);
    }

    /// A message in its first state, of no incident yet.
    pub(super) fn message(
        &mut self,
        contact: &Contact,
        kind: Kind,
        paths: Vec<Path>,
        filling: &Filling,
        now: i64,
    ) -> Message {
        let words = self.texts.words(&contact.language, filling);
        self.last_message += 1;
        Message {
            id: self.last_message,
            incident: None,
            contact: contact.name.clone(),
            kind,
            paths,
            path: 0,
            language: contact.language.clone(),
            subject: words.subject,
            sms: words.sms,
            mail: words.mail,
            html: words.html,
            also: Vec::new(),
            code: String::new(),
            mark: String::new(),
            marks: Vec::new(),
            token: String::new(),
            created: now,
            stage: Stage::Queued,
            attempts: 0,
            tries: 0,
            next_at: now,
            repeat: false,
            references: Vec::new(),
            ended: None,
            error: None,
        }
    }

    /// 128 random bits in hexadecimal digits.
    pub(super) fn fresh_token(&mut self) -> String {
        let mut octets = [0; 16];
        (self.random)(&mut octets);
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// Whoever is on call since now hears what is open, if anything is or the schedule says so.
    pub(super) fn tell_of_hand_over(&mut self, now: i64) {
        let config = self.config.clone();
        for schedule in &config.schedules {
            let Some(rota) = self.rotas.get(&schedule.name) else { continue };
            let who = rota.on_call(now).to_owned();
            let before = self.on_call.get(&schedule.name).cloned();
            if before.as_ref() == Some(&who) {
                continue;
            }
            // At the first start nobody hands anything over.
            let told = match before {
                Some(_) if schedule.announce || self.open().next().is_some() => {
                    let contact = config.contacts.iter().find(|one| one.name == who);
                    let name = &schedule.name;
                    contact.is_none_or(|contact| self.hand_over_to(contact, name, now))
                }
                _ => true,
            };
            if told {
                self.on_call.insert(schedule.name.clone(), who);
                self.dirty.insert(format!("on_call/{}", schedule.name));
            }
        }
    }

    fn hand_over_to(&mut self, contact: &Contact, schedule: &str, now: i64) -> bool {
        let items: Vec<String> = self
            .open()
            .take(HANDOVER_ITEMS)
            .map(|one| format!("#{} {} {}", one.number, one.alarm, one.state.word()))
            .collect();
        let open = self.open().count();
        let monitor = self.config.name.clone();
        let filling = Filling { monitor, items, open, ..Filling::default() };
        let (day, _) = oncall::day(now, &jiff::tz::TimeZone::UTC);
        let about = About::day(format!("handover/{schedule}/{day}"));
        let parcels = parcels(contact, Severity::Critical);
        self.queue(contact, Kind::Handover, about, parcels, filling, now)
    }

    fn open(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values().filter(|one| one.state.open_since().is_some())
    }

    /// Once a day after the hour that is configured, on every way of everybody who is named.
    pub(super) fn tell_heartbeat(&mut self, now: i64) {
        let config = self.config.clone();
        let Some(heartbeat) = &config.heartbeat else { return };
        let zone = oncall::zone(&config.zone).unwrap_or(jiff::tz::TimeZone::UTC);
        let (day, time) = oncall::day(now, &zone);
        let due = oncall::time(&heartbeat.at).is_some_and(|at| time >= at);
        if !due || self.heartbeat_day == day {
            return;
        }
        let people = heartbeat.to.iter().flat_map(|name| self.people(&config, name, now));
        let people: BTreeSet<String> = people.map(|contact| contact.name.clone()).collect();
        for name in people {
            let about = About::day(format!("heartbeat/{day}"));
            self.tell_all_ways(&name, Kind::Heartbeat, about, now);
        }
        self.heartbeat_day = day;
        self.dirty.insert("heartbeat/day".into());
    }

    /// A message on every way of a contact by itself: it is the ways that are tried. False when
    /// the queue has no room.
    pub(super) fn tell_all_ways(&mut self, name: &str, kind: Kind, about: About, now: i64) -> bool {
        let config = self.config.clone();
        let Some(contact) = config.contacts.iter().find(|one| one.name == name) else {
            return false;
        };
        let open = self.open().count();
        let filling = Filling { monitor: config.name.clone(), open, ..Filling::default() };
        let each = Contact { tell: Tell::All, ..contact.clone() };
        let parcels = parcels(&each, Severity::Critical);
        self.queue(&each, kind, about, parcels, filling, now)
    }

    /// When the last heartbeat was handed over, on any way.
    pub fn last_heartbeat(&self) -> Option<i64> {
        let sent = self.messages.values().filter(|one| {
            one.kind == Kind::Heartbeat && matches!(one.stage, Stage::Sent | Stage::Delivered)
        });
        sent.filter_map(|one| one.ended).max()
    }

    /// How many messages are in each stage.
    pub fn stages(&self) -> BTreeMap<&'static str, i64> {
        let mut stages: BTreeMap<&'static str, i64> =
            Stage::ALL.iter().map(|stage| (stage.word(), 0)).collect();
        for message in self.messages.values() {
            *stages.entry(message.stage.word()).or_insert(0) += 1;
        }
        stages
    }
}

pub(super) fn path_of(way: &crate::config::Way) -> Path {
    Path { channel: way.channel.clone(), to: way.to.clone(), refused: false }
}

/// The kind as templates and lists name it.
pub(super) fn kind_word(kind: Kind) -> String {
    let word = serde_json::to_value(kind).ok();
    word.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
