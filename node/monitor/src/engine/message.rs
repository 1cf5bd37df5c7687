//! A message to one contact, and what became of it.
//!
//! Invariants: a message ends as sent, delivered or failed; one that was on its way when the
//! monitor died goes again and is marked as a repeat; pauses between tries grow and are bounded.

use serde::{Deserialize, Serialize};

use crate::config::Own;
use crate::texts::Kind;

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It waits.
    Queued,
    /// A channel has it.
    Sending,
    /// A channel has handed it over.
    Sent,
    /// The telephone has it.
    Delivered,
    /// It was given up.
    Failed,
    /// Another monitor has told it.
    Elsewhere,
}

impl Stage {
    /// All of them.
    pub const ALL: [Stage; 6] = [
        Stage::Queued,
        Stage::Sending,
        Stage::Sent,
        Stage::Delivered,
        Stage::Failed,
        Stage::Elsewhere,
    ];

    /// The word for labels and lists.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Queued => "queued",
            Stage::Sending => "sending",
            Stage::Sent => "sent",
            Stage::Delivered => "delivered",
            Stage::Failed => "failed",
            Stage::Elsewhere => "elsewhere",
        }
    }

    /// Whether nothing more is tried.
    pub fn is_finished(self) -> bool {
        matches!(self, Stage::Sent | Stage::Delivered | Stage::Failed | Stage::Elsewhere)
    }
}

/// Channel and address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// The channel's name.
    pub channel: String,
    /// Mail address or number.
    pub to: String,
    /// Whether the channel said that it will never go this way.
    #[serde(default)]
    pub refused: bool,
}

/// A message to one contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its number.
    pub id: u64,
    /// The incident's key and number; none for a heartbeat or a hand-over.
    pub incident: Option<(String, u64)>,
    /// To whom.
    pub contact: String,
    /// What about.
    pub kind: Kind,
    /// Ways to the contact, best first.
    pub paths: Vec<Path>,
    /// Which of them is taken.
    pub path: usize,
    /// The contact's language.
    pub language: String,
    /// One line.
    pub subject: String,
    /// For a telephone.
    pub sms: String,
    /// For a mail.
    pub mail: String,
    /// For a mail, HTML.
    pub html: String,
    /// The other incidents that it tells of, when it is of a storm.
    #[serde(default)]
    pub also: Vec<(String, u64)>,
    /// Acknowledges all of them by SMS; empty when it is of one incident, which has its own.
    #[serde(default)]
    pub code: String,
    /// By which two monitors know it as the same; empty when that is of no matter.
    #[serde(default)]
    pub mark: String,
    /// A mark for each incident that it tells of; empty when `mark` says all.
    #[serde(default)]
    pub marks: Vec<String>,
    /// Acknowledges the incident by a link; empty when there is none.
    #[serde(default)]
    pub token: String,
    /// Since when it is there.
    pub created: i64,
    /// Where it is.
    pub stage: Stage,
    /// Tries on the path that is taken.
    pub attempts: u32,
    /// Tries on all of them.
    pub tries: u32,
    /// Not before.
    pub next_at: i64,
    /// Whether it may have gone once before.
    #[serde(default)]
    pub repeat: bool,
    /// References of parts whose report has not come.
    #[serde(default)]
    pub references: Vec<u8>,
    /// When it was handed over, or given up.
    #[serde(default)]
    pub ended: Option<i64>,
    /// Why the last try failed.
    #[serde(default)]
    pub error: Option<String>,
}

/// What a channel says of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handed over; references by which reports will come.
    Sent(Vec<u8>),
    /// Not now.
    Again(String),
    /// Never on this way.
    Never(String),
    /// It may have gone.
    Unknown(String),
}

/// A path that the message takes next, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// After a pause, on the same or the next path.
    Wait,
    /// All is tried.
    GiveUp,
}

impl Message {
    /// Incidents that it tells of, by key and number.
    pub fn incidents(&self) -> impl Iterator<Item = &(String, u64)> {
        self.incident.iter().chain(&self.also)
    }

    /// By what other monitors know of what it tells.
    pub fn marks(&self) -> &[String] {
        match (self.marks.is_empty(), self.mark.is_empty()) {
            (false, _) => &self.marks,
            (true, false) => std::slice::from_ref(&self.mark),
            (true, true) => &[],
        }
    }

    /// The path that is taken.
    pub fn current(&self) -> Option<&Path> {
        self.paths.get(self.path)
    }

    /// A try failed. `never` closes the path; otherwise the next path is taken after so many
    /// tries.
    pub fn failed(&mut self, now: i64, error: String, never: bool, own: &Own) -> Next {
        self.error = Some(error);
        self.attempts += 1;
        self.tries += 1;
        self.stage = Stage::Queued;
        if never && let Some(path) = self.paths.get_mut(self.path) {
            path.refused = true;
        }
        let leave = never || self.attempts >= own.attempts;
        let over = now - self.created >= own.give_up.millis();
        if over || self.paths.iter().all(|path| path.refused) {
            return self.give_up(now);
        }
        let fresh = leave && self.advance();
        self.next_at = now + if fresh { 0 } else { pause(self.tries, own) };
        Next::Wait
    }

    fn give_up(&mut self, now: i64) -> Next {
        self.stage = Stage::Failed;
        self.ended = Some(now);
        Next::GiveUp
    }

    /// Takes the next path that was not refused. True when all paths up to it are fresh in this
    /// round, so that there is nothing to wait for.
    fn advance(&mut self) -> bool {
        self.attempts = 0;
        let count = self.paths.len();
        let open = (1..=count)
            .map(|step| (self.path + step) % count)
            .find(|nth| self.paths.get(*nth).is_some_and(|path| !path.refused));
        let was = self.path;
        self.path = open.unwrap_or(was);
        self.path > was
    }
}

/// The pause after so many tries: doubled each time up to the longest.
pub fn pause(tries: u32, own: &Own) -> i64 {
    let doubled = 1_i64.checked_shl(tries.saturating_sub(1).min(30)).unwrap_or(i64::MAX);
    own.back_off.millis().saturating_mul(doubled).min(own.back_off_max.millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(paths: usize) -> Message {
        let path = |nth: usize| Path { channel: format!("c{nth}"), to: "x".into(), refused: false };
        Message {
            id: 1,
            incident: None,
            contact: "anna".into(),
            kind: Kind::Test,
            paths: (0..paths).map(path).collect(),
            path: 0,
            language: "en".into(),
            subject: String::new(),
            sms: String::new(),
            mail: String::new(),
            html: String::new(),
            also: Vec::new(),
            code: String::new(),
            mark: String::new(),
            marks: Vec::new(),
            token: String::new(),
            created: 0,
            stage: Stage::Queued,
            attempts: 0,
            tries: 0,
            next_at: 0,
            repeat: false,
            references: Vec::new(),
            ended: None,
            error: None,
        }
    }

    #[test]
    fn tries_go_on_with_growing_pauses_and_change_the_way() {
        let own = Own::default();
        let mut message = message(2);
        let mut story = Vec::new();
        for _ in 0..8 {
            assert_eq!(message.failed(1000, "refused".into(), false, &own), Next::Wait);
            story.push((message.path, message.next_at - 1000));
        }
        let wanted = [
            (0, 5_000),
            (0, 10_000),
            (1, 0),
            (1, 40_000),
            (1, 80_000),
            (0, 160_000),
            (0, 300_000),
            (0, 300_000),
        ];
        assert_eq!(story, wanted);
    }

    #[test]
    fn a_way_that_says_never_is_left_for_good() {
        let own = Own::default();
        let mut message = message(2);
        assert_eq!(message.failed(0, "no such number".into(), true, &own), Next::Wait);
        assert_eq!((message.path, message.next_at), (1, 0));
        for _ in 0..own.attempts {
            message.failed(0, "busy".into(), false, &own);
            assert_eq!(message.path, 1);
        }
        assert_eq!(message.failed(0, "no such box".into(), true, &own), Next::GiveUp);
        assert_eq!(message.stage, Stage::Failed);
    }

    #[test]
    fn a_message_is_not_tried_for_ever() {
        let own = Own::default();
        let mut message = message(1);
        let late = own.give_up.millis();
        assert_eq!(message.failed(late - 1, "busy".into(), false, &own), Next::Wait);
        assert_eq!(message.failed(late, "busy".into(), false, &own), Next::GiveUp);
        assert_eq!(message.ended, Some(late));
    }
}
