//! Which message goes next on which channel, and what its end means.
//!
//! Invariants: a channel has at most so many messages at a time as it can carry; messages of one
//! incident on one set of ways to one contact go in order, so that "it is over" never comes
//! before "it has begun".

use std::collections::BTreeSet;

use crate::config::Channel;
use crate::sms::pdu::Status;
use crate::texts::word;

use super::message::{Next, Outcome, Stage};
use super::{Engine, message_key};

/// How many messages a channel other than a modem carries at a time.
const ABREAST: usize = 4;
/// A channel that has said for less than this that it cannot send is waited for: a modem is being
/// prepared, or registers anew. After that a try fails, and the message takes its next way.
const GRACE_MS: i64 = 15_000;
/// How long a report may take to come.
const REPORT_MS: i64 = 2 * 86_400_000;

/// A message for a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The message's number.
    pub id: u64,
    /// The channel's name.
    pub channel: String,
    /// Mail address or number.
    pub to: String,
    /// When the message was made, Unix milliseconds.
    pub created: i64,
    /// One line.
    pub subject: String,
    /// For a telephone.
    pub sms: String,
    /// For a mail.
    pub mail: String,
    /// For a mail, HTML.
    pub html: String,
    /// Whether it may have gone once before.
    pub repeat: bool,
    /// By which two monitors know it as the same; empty when that is of no matter.
    pub mark: String,
    /// What the cluster notes before it leaves: a mark for each incident that it tells of.
    pub marks: Vec<String>,
    /// Whether it says that something is over.
    pub over: bool,
    /// What it is about, for programs: alarm, kind, incident's number.
    pub facts: serde_json::Value,
}

impl Engine {
    /// Messages that go now. Each is marked as being sent: make the writes durable first.
    pub fn take_jobs(&mut self, now: i64) -> Vec<Job> {
        if !self.is_sender() {
            return Vec::new();
        }
        let mut jobs = Vec::new();
        let mut before = BTreeSet::new();
        let waiting: Vec<u64> = self
            .messages
            .values()
            .filter(|one| !one.stage.is_finished())
            .map(|one| one.id)
            .collect();
        for id in waiting {
            let Some(message) = self.messages.get(&id) else { continue };
            let ways: Vec<&str> = message.paths.iter().map(|path| path.channel.as_str()).collect();
            let ways = ways.join(" ");
            let mut behind = false;
            for (key, _) in message.incidents() {
                behind |= !before.insert((key.clone(), message.contact.clone(), ways.clone()));
            }
            let ready = message.stage == Stage::Queued && message.next_at <= now && !behind;
            let Some(path) = message.current().filter(|_| ready) else { continue };
            let channel = path.channel.clone();
            let room = self.room_of(&channel);
            let trouble = self.health.get(&channel).and_then(|health| health.trouble.as_ref());
            let fresh = trouble.is_some_and(|(_, since)| now - since < GRACE_MS);
            if fresh || self.in_flight.get(&channel).copied().unwrap_or(0) >= room {
                continue;
            }
            *self.in_flight.entry(channel).or_insert(0) += 1;
            jobs.extend(self.begin(id));
        }
        jobs
    }

    /// None for a channel that is not configured any more: its messages take their other ways.
    fn room_of(&self, channel: &str) -> usize {
        match self.config.channels.iter().find(|one| one.name() == channel) {
            Some(Channel::Modem(_)) => 1,
            _ => ABREAST,
        }
    }

    fn begin(&mut self, id: u64) -> Option<Job> {
        let alone = self.is_alone();
        let message = self.messages.get_mut(&id)?;
        message.stage = Stage::Sending;
        // Another monitor may tell the same.
        message.repeat |= alone && !message.mark.is_empty();
        self.dirty.insert(message_key(id));
        let path = message.current()?;
        let mark = if message.repeat { word(&message.language, "repeat") } else { "" };
        let marked = |text: &str| format!("{mark}{text}");
        Some(Job {
            id,
            channel: path.channel.clone(),
            to: path.to.clone(),
            created: message.created,
            subject: marked(&message.subject),
            sms: marked(&message.sms),
            mail: marked(&message.mail),
            html: message.html.clone(),
            repeat: message.repeat,
            mark: message.mark.clone(),
            marks: message.marks().to_vec(),
            over: message.kind.is_over(),
            facts: serde_json::json!({
                "kind": message.kind,
                "contact": message.contact,
                "incident": message.incident.as_ref().map(|(_, number)| number),
                "incidents": message.incidents().map(|(_, number)| number).collect::<Vec<_>>(),
            }),
        })
    }

    /// A channel says what became of a message.
    pub fn settle(&mut self, id: u64, outcome: Outcome, now: i64) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        let channel = message.current().map(|path| path.channel.clone()).unwrap_or_default();
        if let Some(count) = self.in_flight.get_mut(&channel) {
            *count = count.saturating_sub(1);
        }
        if message.stage != Stage::Sending {
            return;
        }
        self.dirty.insert(message_key(id));
        let health = self.health.entry(channel).or_default();
        let next = match outcome {
            Outcome::Sent(references) => {
                message.stage = Stage::Sent;
                message.ended = Some(now);
                message.references = references;
                message.error = None;
                health.failures = 0;
                self.failed_contacts.remove(&message.contact);
                let (marks, kind) = (message.marks().to_vec(), message.kind);
                self.note_told(&marks, kind);
                return;
            }
            Outcome::Again(error) => {
                health.failures = health.failures.saturating_add(1);
                message.failed(now, error, false, &self.config.own)
            }
            Outcome::Unknown(error) => {
                health.failures = health.failures.saturating_add(1);
                message.repeat = true;
                message.failed(now, error, false, &self.config.own)
            }
            Outcome::Never(error) => message.failed(now, error, true, &self.config.own),
        };
        if next == Next::GiveUp {
            self.failed_contacts.insert(message.contact.clone());
        }
    }

    /// The centre says what became of a part of a message.
    pub fn report(&mut self, channel: &str, reference: u8, to: &str, status: Status, now: i64) {
        let own = self.config.own.clone();
        let found = self.messages.values_mut().rev().find(|message| {
            let path = message.current();
            message.stage == Stage::Sent
                && path.is_some_and(|path| {
                    path.channel == channel && super::is_same_number(&path.to, to)
                })
                && message.references.contains(&reference)
                && message.ended.is_some_and(|sent| now - sent < REPORT_MS)
        });
        let Some(message) = found else { return };
        match status {
            Status::Trying => return,
            Status::Delivered => {
                message.references.retain(|one| *one != reference);
                if message.references.is_empty() {
                    message.stage = Stage::Delivered;
                }
            }
            Status::Failed(code) => {
                message.references.clear();
                message.ended = None;
                let error = format!("the centre gave it up (status {code:#04x})");
                if message.failed(now, error, true, &own) == Next::GiveUp {
                    self.failed_contacts.insert(message.contact.clone());
                }
            }
        }
        let id = message.id;
        self.dirty.insert(message_key(id));
    }
}
