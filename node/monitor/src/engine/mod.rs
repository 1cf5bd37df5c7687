//! Every decision of the monitor: what is an incident, who is told, what is tried again.
//!
//! No clock, no random, no IO: time and octets are arguments, and what must be durable comes out
//! by `take_writes`. Not the expressions (see `expr`) and not the channels. Invariants:
//!
//! 1. A message is marked as being sent in the same turn in which it is given out; whoever runs
//!    the engine makes the writes of a turn durable before anything of that turn leaves the
//!    house.
//! 2. A contact hears of an incident once, then once a repeat period, then once that it is over.
//! 3. What was told is remembered with the message in one write, so that neither is there alone.
//! 4. While another monitor is the sender (`set_standing`), incidents are followed and nobody is
//!    told.

mod alarms;
mod decide;
mod deliver;
mod digest;
mod edits;
mod incident;
mod message;
mod observe;
mod peers;
mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::alarm::{NotOpen, State};
use crate::config::{Config, Severity};
use crate::exposition::Labels;
use crate::expr::Expr;
use crate::oncall::{Hours, Rota};
use crate::texts::{Kind, Texts};

pub use alarms::{Alarm, Counted};
pub use deliver::Job;
pub use digest::MAX_DIGEST;
pub use edits::{Origin, RuleChange};
pub use incident::{Incident, Instance, Silence, Source, Told};
pub use message::{Message, Outcome, Stage};
pub use observe::Alert;
pub use peers::{Kept, Note, Standing};
pub use shared::Share;

/// Fills octets with random ones.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// How long what is over stays in the list.
const KEEP_MS: i64 = 7 * 86_400_000;
/// The most incidents that are kept.
const MAX_INCIDENTS: usize = 10_000;

/// A record to write, or to remove.
pub type Write = (String, Option<Vec<u8>>);

/// How a channel fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Failures in a row.
    pub failures: u32,
    /// What keeps it from sending, as it says itself, and since when.
    pub trouble: Option<(String, i64)>,
}

/// The whole state.
pub struct Engine {
    /// What was read from the file.
    file: Arc<Config>,
    /// That with the edits of people over it.
    config: Arc<Config>,
    edits: edits::Edits,
    shares: shared::Shares,
    /// The time of the last tick.
    ticked: i64,
    texts: Texts,
    rules: Vec<Expr>,
    rotas: BTreeMap<String, Rota>,
    quiet: BTreeMap<String, Hours>,
    random: Random,
    started: i64,
    standing: Standing,
    peers: peers::Peers,
    gathered: digest::Gathered,
    feed_place: Option<u64>,
    missed: Option<(u64, i64)>,
    incidents: BTreeMap<String, Incident>,
    messages: BTreeMap<u64, Message>,
    silences: BTreeMap<u64, Silence>,
    on_call: BTreeMap<String, String>,
    heartbeat_day: String,
    last_number: u64,
    last_message: u64,
    last_silence: u64,
    health: BTreeMap<String, Health>,
    failed_contacts: BTreeSet<String>,
    in_flight: BTreeMap<String, usize>,
    dirty: BTreeSet<String>,
    queue_full: bool,
    memory_fault: Option<String>,
}

impl Engine {
    /// An empty engine. The configuration was checked.
    pub fn new(config: Arc<Config>, random: Random, now: i64) -> Result<Engine, String> {
        let texts = Texts::new(&config.texts).map_err(|faults| faults.join("; "))?;
        let rules = config.rules.iter().map(|rule| Expr::parse(&rule.expr));
        let rules = rules.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let mut rotas = BTreeMap::new();
        for schedule in &config.schedules {
            rotas.insert(schedule.name.clone(), Rota::of(schedule, &config.zone)?);
        }
        let quiet = config.policies.iter().filter_map(|policy| {
            Some((policy.name.clone(), Hours::parse(policy.quiet.as_deref()?)?))
        });
        let quiet = quiet.collect();
        let health = config.channels.iter().map(|one| (one.name().to_owned(), Health::default()));
        Ok(Engine {
            health: health.collect(),
            texts,
            rules,
            rotas,
            quiet,
            random,
            started: now,
            // Who has a cluster waits for its word.
            standing: match config.cluster {
                Some(_) => Standing::Follower,
                None => Standing::Sender,
            },
            peers: peers::Peers::default(),
            gathered: digest::Gathered::default(),
            feed_place: None,
            missed: None,
            incidents: BTreeMap::new(),
            messages: BTreeMap::new(),
            silences: BTreeMap::new(),
            on_call: BTreeMap::new(),
            heartbeat_day: String::new(),
            last_number: 0,
            last_message: 0,
            last_silence: 0,
            failed_contacts: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            dirty: BTreeSet::new(),
            queue_full: false,
            memory_fault: None,
            edits: edits::Edits::default(),
            shares: shared::Shares::default(),
            ticked: now,
            file: config.clone(),
            config,
        })
    }

    /// Takes up what an earlier process wrote. Records that cannot be read are named and passed
    /// over: a monitor that does not start tells nobody anything.
    pub fn restore(&mut self, records: &BTreeMap<String, Vec<u8>>, now: i64) -> Vec<String> {
        let mut unread = Vec::new();
        for (key, octets) in records {
            if !self.restore_one(key, octets) {
                unread.push(key.clone());
            }
        }
        self.lay_all();
        for message in self.messages.values_mut().filter(|one| one.stage == Stage::Sending) {
            message.stage = Stage::Queued;
            message.repeat = true;
            message.next_at = now;
            self.dirty.insert(message_key(message.id));
        }
        unread
    }

    fn restore_one(&mut self, key: &str, octets: &[u8]) -> bool {
        let Some((kind, name)) = key.split_once('/') else { return false };
        match kind {
            "incident" => match serde_json::from_slice::<Incident>(octets) {
                Ok(incident) => {
                    self.last_number = self.last_number.max(incident.number);
                    self.incidents.insert(name.to_owned(), incident);
                    true
                }
                Err(_) => false,
            },
            "message" => match serde_json::from_slice::<Message>(octets) {
                Ok(message) => {
                    self.last_message = self.last_message.max(message.id);
                    self.messages.insert(message.id, message);
                    true
                }
                Err(_) => false,
            },
            "silence" => match serde_json::from_slice::<Silence>(octets) {
                Ok(silence) => {
                    self.last_silence = self.last_silence.max(silence.id);
                    self.silences.insert(silence.id, silence);
                    true
                }
                Err(_) => false,
            },
            "edit" => serde_json::from_slice(octets)
                .is_ok_and(|edit| self.edits.kept.insert(name.to_owned(), edit).is_none()),
            "change" => name.parse().ok().zip(serde_json::from_slice(octets).ok()).is_some_and(
                |(number, change)| self.edits.changes.insert(number, change).is_none(),
            ),
            "share" => serde_json::from_slice(octets)
                .is_ok_and(|value| self.shares.waiting.insert(name.to_owned(), value).is_none()),
            "shared" => number_of(octets).is_some_and(|place| {
                self.shares.place = place;
                true
            }),
            "on_call" => String::from_utf8(octets.to_vec())
                .is_ok_and(|who| self.on_call.insert(name.to_owned(), who).is_none()),
            "heartbeat" => String::from_utf8(octets.to_vec()).is_ok_and(|day| {
                self.heartbeat_day = day;
                true
            }),
            "feed" => number_of(octets).is_some_and(|place| {
                self.feed_place = Some(place);
                true
            }),
            "number" => number_of(octets).is_some_and(|number| {
                self.last_number = self.last_number.max(number);
                true
            }),
            _ => false,
        }
    }

    /// What must be durable before anything of this turn leaves.
    pub fn take_writes(&mut self) -> Vec<Write> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|key| (key.clone(), self.octets_of(&key))).collect()
    }

    fn octets_of(&self, key: &str) -> Option<Vec<u8>> {
        let (kind, name) = key.split_once('/')?;
        let id = || name.parse::<u64>().ok();
        match kind {
            "incident" => serde_json::to_vec(self.incidents.get(name)?).ok(),
            "message" => serde_json::to_vec(self.messages.get(&id()?)?).ok(),
            "silence" => serde_json::to_vec(self.silences.get(&id()?)?).ok(),
            "edit" => serde_json::to_vec(self.edits.kept.get(name)?).ok(),
            "change" => serde_json::to_vec(self.edits.changes.get(&id()?)?).ok(),
            "share" => serde_json::to_vec(self.shares.waiting.get(name)?).ok(),
            "shared" => Some(self.shares.place.to_string().into_bytes()),
            "on_call" => self.on_call.get(name).map(|who| who.clone().into_bytes()),
            "heartbeat" => Some(self.heartbeat_day.clone().into_bytes()),
            "number" => Some(self.last_number.to_string().into_bytes()),
            "feed" => self.feed_place.map(|place| place.to_string().into_bytes()),
            _ => None,
        }
    }

    /// All incidents.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values()
    }

    /// All messages, oldest first.
    pub fn messages(&self) -> impl DoubleEndedIterator<Item = &Message> {
        self.messages.values()
    }

    /// All silences.
    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.silences.values()
    }

    /// How channels fare.
    pub fn health(&self) -> &BTreeMap<String, Health> {
        &self.health
    }

    /// Who is on call, by schedule.
    pub fn on_call(&self, now: i64) -> BTreeMap<String, String> {
        let rotas = self.rotas.iter();
        rotas.map(|(name, rota)| (name.clone(), rota.on_call(now).to_owned())).collect()
    }

    /// Whether messages are held back because too many wait.
    pub fn is_queue_full(&self) -> bool {
        self.queue_full
    }

    /// Somebody takes an incident by its number, until a time or to its end.
    pub fn acknowledge(
        &mut self,
        number: u64,
        by: &str,
        until: Option<i64>,
    ) -> Result<(), NotOpen> {
        let found = self.incidents.values_mut().find(|one| one.number == number && number > 0);
        let incident = found.ok_or(NotOpen)?;
        incident.state = incident.state.acknowledge(by, until)?;
        let key = incident.key.clone();
        self.dirty.insert(incident_key(&key));
        self.share_taken(&key, by, until, self.ticked);
        Ok(())
    }

    /// The incidents that a link's token belongs to, and the message that it was sent with.
    pub fn by_token(&self, token: &str) -> Option<(Vec<&Incident>, &Message)> {
        use subtle::ConstantTimeEq;
        let same = |one: &&Message| {
            !one.token.is_empty() && bool::from(one.token.as_bytes().ct_eq(token.as_bytes()))
        };
        let message = self.messages.values().rev().find(same)?;
        let incidents = self.told_by(message);
        if incidents.is_empty() { None } else { Some((incidents, message)) }
    }

    /// An SMS came in: a known number and the code of an open incident acknowledge it. Gives the
    /// incident's number.
    pub fn answer(&mut self, from: &str, text: &str) -> Option<u64> {
        let contact = self
            .config
            .contacts
            .iter()
            .find(|contact| contact.ways.iter().any(|way| is_same_number(&way.to, from)))?;
        let by = contact.name.clone();
        let codes: BTreeSet<&str> = text
            .split(|letter: char| !letter.is_ascii_digit())
            .filter(|part| part.len() == 5)
            .collect();
        let is_open = |incident: &Incident| incident.state.open_since().is_some();
        let open = self
            .incidents
            .values()
            .find(|one| is_open(one) && codes.contains(one.code.as_str()))
            .map(|one| vec![one.number]);
        let numbers = open.or_else(|| {
            let mut messages = self.messages.values().rev();
            let storm = messages.find(|one| codes.contains(one.code.as_str()))?;
            let open = self.told_by(storm).into_iter().filter(|one| is_open(one));
            Some(open.map(|one| one.number).collect())
        })?;
        let taken = numbers.iter().filter(|one| self.acknowledge(**one, &by, None).is_ok());
        taken.copied().reduce(u64::min)
    }

    /// The incidents of a message, as far as they are the same still.
    fn told_by(&self, message: &Message) -> Vec<&Incident> {
        let found = message.incidents().filter_map(|(key, number)| {
            self.incidents.get(key).filter(|one| one.number == *number)
        });
        found.collect()
    }

    /// Nobody is told of incidents with these labels until a time. Gives the silence's number.
    pub fn silence(&mut self, labels: Labels, reason: &str, by: &str, until: i64) -> u64 {
        self.last_silence += 1;
        let id = self.last_silence;
        let shared = self.fresh_token();
        let silence = Silence { id, labels, reason: reason.into(), by: by.into(), until, shared };
        self.share_silence(&silence);
        self.silences.insert(id, silence);
        self.dirty.insert(format!("silence/{id}"));
        id
    }

    /// Ends a silence early. False when there is none of this number.
    pub fn end_silence(&mut self, id: u64) -> bool {
        self.dirty.insert(format!("silence/{id}"));
        let ended = self.silences.remove(&id);
        if let Some(ended) = ended.as_ref().filter(|ended| !ended.shared.is_empty()) {
            self.share(format!("silence/{}", ended.shared), None);
        }
        ended.is_some()
    }

    /// A message to a contact that says that messages come. False for an unknown contact.
    pub fn test_message(&mut self, contact: &str, now: i64) -> bool {
        if !self.config.contacts.iter().any(|one| one.name == contact) {
            return false;
        }
        self.tell_all_ways(contact, Kind::Test, decide::About::default(), now)
    }

    /// A channel says what keeps it from sending, or that nothing does.
    pub fn set_trouble(&mut self, channel: &str, trouble: Option<String>, now: i64) {
        if let Some(health) = self.health.get_mut(channel) {
            let since = health.trouble.as_ref().map_or(now, |(_, since)| *since);
            health.trouble = trouble.map(|what| (what, since));
        }
    }

    /// What was decided could not be made durable, or was again.
    pub fn set_memory_fault(&mut self, fault: Option<String>) {
        self.memory_fault = fault;
    }

    /// What time alone brings: reminders, escalation, hand-over, heartbeat, ends of silences.
    pub fn tick(&mut self, now: i64) {
        self.ticked = now;
        self.observe_own(now);
        self.forget(now);
        if self.is_sender() {
            self.tell_of_incidents(now);
            self.tell_of_hand_over(now);
            self.tell_heartbeat(now);
        } else {
            self.follow_hand_over(now);
        }
    }

    /// Old things go; the bounds hold.
    fn forget(&mut self, now: i64) {
        let ended: Vec<u64> =
            self.silences.values().filter(|one| one.until <= now).map(|one| one.id).collect();
        for id in ended {
            self.end_silence(id);
        }
        let over = |incident: &Incident| match incident.state {
            State::Inactive => true,
            State::Resolved { at, .. } => incident.told.is_empty() && now - at > KEEP_MS,
            _ => false,
        };
        let mut gone: Vec<String> =
            self.incidents.values().filter(|one| over(one)).map(|one| one.key.clone()).collect();
        let excess = (self.incidents.len() - gone.len()).saturating_sub(MAX_INCIDENTS);
        let closed = self.incidents.values().filter(|one| {
            matches!(one.state, State::Resolved { .. }) && one.told.is_empty() && !over(one)
        });
        gone.extend(closed.take(excess).map(|one| one.key.clone()));
        for key in gone {
            self.incidents.remove(&key);
            self.dirty.insert(incident_key(&key));
        }
        let old = |one: &Message| one.ended.is_some_and(|ended| now - ended > KEEP_MS);
        let mut gone: Vec<u64> =
            self.messages.values().filter(|one| old(one)).map(|one| one.id).collect();
        let room = self.config.own.max_messages - self.config.own.max_messages / 10;
        let excess = (self.messages.len() - gone.len()).saturating_sub(room);
        let finished = self.messages.values().filter(|one| one.stage.is_finished() && !old(one));
        gone.extend(finished.take(excess).map(|one| one.id));
        for id in gone {
            self.messages.remove(&id);
            self.dirty.insert(message_key(id));
        }
    }

    /// How many incidents are in a state, by its word and severity.
    pub fn counts(&self) -> BTreeMap<(&'static str, Severity), i64> {
        let mut counts = BTreeMap::new();
        for incident in self.incidents.values() {
            *counts.entry((incident.state.word(), incident.severity)).or_insert(0) += 1;
        }
        counts
    }
}

fn incident_key(key: &str) -> String {
    format!("incident/{key}")
}

fn message_key(id: u64) -> String {
    format!("message/{id:016}")
}

fn number_of(octets: &[u8]) -> Option<u64> {
    std::str::from_utf8(octets).ok()?.parse().ok()
}

/// Numbers as networks give them may lack the country; nine digits say who it is.
fn is_same_number(known: &str, from: &str) -> bool {
    let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).collect::<Vec<u8>>();
    let is_number = |text: &str| text.bytes().all(|octet| octet == b'+' || octet.is_ascii_digit());
    if !is_number(known) || !is_number(from) {
        return false;
    }
    let (known, from) = (digits(known), digits(from));
    if known.len() < 9 || from.len() < 9 {
        return !known.is_empty() && known == from;
    }
    known[known.len() - 9..] == from[from.len() - 9..]
}

#[cfg(test)]
mod tests;
