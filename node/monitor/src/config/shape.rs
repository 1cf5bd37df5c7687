//! What stands in the configuration file, section by section.
//!
//! Shapes and defaults alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::value::{Secret, Span};
use super::watched::{AlarmRule, Cluster, Ups, User};

/// How grave an alarm is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// To be known.
    Info,
    /// To be looked at.
    #[default]
    Warning,
    /// To be acted on at once.
    Critical,
}

impl Severity {
    /// The word for labels and texts.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// All of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What this monitor is called in messages.
    #[serde(default = "monitor_name")]
    pub name: String,
    /// Where queue and memory of incidents live.
    pub state_dir: PathBuf,
    /// The zone of times in texts, of quiet hours and of the heartbeat.
    #[serde(default = "utc")]
    pub zone: String,
    /// The `[http]` section.
    #[serde(skip)]
    pub http: Http,
    /// The `[scrape]` section.
    #[serde(skip)]
    pub scrape: Scrape,
    /// The `[alertmanager]` section.
    #[serde(skip)]
    pub alertmanager: Option<Alertmanager>,
    /// The `[heartbeat]` section.
    #[serde(skip)]
    pub heartbeat: Option<Heartbeat>,
    /// The `[own]` section.
    #[serde(skip)]
    pub own: Own,
    /// The `[texts.LANGUAGE]` sections: template by name.
    #[serde(skip)]
    pub texts: BTreeMap<String, BTreeMap<String, String>>,
    /// The `[[node]]` entries.
    #[serde(skip)]
    pub nodes: Vec<Node>,
    /// The `[[rule]]` entries.
    #[serde(skip)]
    pub rules: Vec<Rule>,
    /// The `[[policy]]` entries.
    #[serde(skip)]
    pub policies: Vec<Policy>,
    /// The `[[contact]]` entries.
    #[serde(skip)]
    pub contacts: Vec<Contact>,
    /// The `[[group]]` entries.
    #[serde(skip)]
    pub groups: Vec<Group>,
    /// The `[[schedule]]` entries.
    #[serde(skip)]
    pub schedules: Vec<Schedule>,
    /// The `[[channel]]` entries.
    #[serde(skip)]
    pub channels: Vec<Channel>,
    /// The `[cluster]` section.
    #[serde(skip)]
    pub cluster: Option<Cluster>,
    /// The `[[alarm]]` entries.
    #[serde(skip)]
    pub alarms: Vec<AlarmRule>,
    /// The `[[ups]]` entries.
    #[serde(skip)]
    pub upses: Vec<Ups>,
    /// The `[[user]]` entries.
    #[serde(skip)]
    pub users: Vec<User>,
}

fn monitor_name() -> String {
    "monitor".into()
}

fn utc() -> String {
    "UTC".into()
}

/// The monitor's own HTTP server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How people reach it, for the links in messages; without it there are no links.
    pub public_url: Option<String>,
    /// The bearer token of the API; without it the API is closed.
    pub token_file: Option<PathBuf>,
    /// Read from `token_file`.
    #[serde(skip)]
    pub token: Option<Secret>,
}

impl Default for Http {
    fn default() -> Http {
        let listen = SocketAddr::from(([127, 0, 0, 1], 9780));
        Http { listen, public_url: None, token_file: None, token: None }
    }
}

/// How nodes are scraped.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scrape {
    /// Pause between two scrapes of a node.
    pub interval: Span,
    /// How long an answer may take.
    pub timeout: Span,
    /// How much of the past is kept for `rate` and its like.
    pub window: Span,
    /// The largest answer that is read, in octets.
    pub max_bytes: usize,
}

impl Default for Scrape {
    fn default() -> Scrape {
        Scrape {
            interval: Span::seconds(5),
            timeout: Span::seconds(4),
            window: Span::seconds(600),
            max_bytes: 16 << 20,
        }
    }
}

/// A node whose metrics are read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The value of the label `node`.
    pub name: String,
    /// Where the metrics are: `http://host:port/metrics` or `https://`.
    pub url: String,
    /// Certificates that are trusted (PEM); the system's own without it.
    pub ca_file: Option<PathBuf>,
    /// A bearer token.
    pub token_file: Option<PathBuf>,
    /// Read from `token_file`.
    #[serde(skip)]
    pub token: Option<Secret>,
}

/// A rule over the scraped metrics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name; also the label `alarm` of its incidents.
    pub name: String,
    /// The expression; every series that it gives is an alarm.
    pub expr: String,
    /// How long it must hold before it fires.
    #[serde(rename = "for", default)]
    pub hold: Span,
    /// How long it must be over before it counts as over.
    #[serde(default)]
    pub recover_after: Span,
    /// How grave.
    pub severity: Severity,
    /// The region, unless the series has a label `region`.
    pub region: Option<String>,
    /// Who is told, and how often.
    pub policy: String,
    /// Labels by which alarms are one incident; all of a rule when empty.
    #[serde(default)]
    pub group_by: Vec<String>,
    /// One sentence, a template over the labels and `value`.
    #[serde(default)]
    pub summary: String,
    /// Where it is written what to do.
    pub runbook: Option<String>,
}

/// Who is told of an incident, and how often.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Contacts, groups and schedules by name.
    pub to: Vec<String>,
    /// Pause before the same is told again, while nobody acknowledges.
    #[serde(default = "four_hours")]
    pub repeat: Span,
    /// Pause before the first message, so that alarms which come together are told together.
    #[serde(default)]
    pub group_wait: Span,
    /// Hours without messages below `quiet_below`, as `22:00-07:00` in the contact's zone.
    pub quiet: Option<String>,
    /// What is told in quiet hours all the same.
    #[serde(default = "critical")]
    pub quiet_below: Severity,
    /// Who else is told when nobody acknowledges.
    #[serde(default)]
    pub escalate: Vec<Escalation>,
}

fn four_hours() -> Span {
    Span::seconds(4 * 3600)
}

fn critical() -> Severity {
    Severity::Critical
}

/// A step of escalation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// Time since the incident began to fire.
    pub after: Span,
    /// Contacts, groups and schedules by name.
    pub to: Vec<String>,
}

/// Whether a contact hears on the first way that works, or on all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tell {
    /// On the first way; on the next when that fails.
    #[default]
    First,
    /// On every way.
    All,
}

/// Somebody who is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// The name.
    pub name: String,
    /// The language of messages: `en`, `es`, `ru`, `zh`.
    #[serde(default = "english")]
    pub language: String,
    /// The zone of times in messages, and of quiet hours; the monitor's without it.
    pub zone: Option<String>,
    /// Only incidents of these regions (and those of no region); all when empty.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Nothing below.
    #[serde(default = "info")]
    pub min_severity: Severity,
    /// On which of the ways.
    #[serde(default)]
    pub tell: Tell,
    /// The ways, best first.
    #[serde(rename = "way", default)]
    pub ways: Vec<Way>,
}

fn english() -> String {
    "en".into()
}

fn info() -> Severity {
    Severity::Info
}

/// A way to a contact.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// The channel's name.
    pub channel: String,
    /// A mail address or telephone number; nothing for a webhook.
    #[serde(default)]
    pub to: String,
    /// Nothing below on this way.
    #[serde(default = "info")]
    pub min_severity: Severity,
}

/// Contacts under one name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The name.
    pub name: String,
    /// Contacts and schedules.
    pub members: Vec<String>,
}

/// Who is on call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The name.
    pub name: String,
    /// The zone of `start`; the monitor's without it.
    pub zone: Option<String>,
    /// When the first member's first shift began, as `2026-11-23T08:00`.
    pub start: String,
    /// Length of a shift in hours of the wall clock: 168 is a week.
    pub shift_hours: u32,
    /// Contacts, in turn.
    pub members: Vec<String>,
    /// Whether hand-over is told although nothing is open.
    #[serde(default)]
    pub announce: bool,
    /// Who stands in for somebody.
    #[serde(rename = "substitute", default)]
    pub substitutes: Vec<Substitute>,
}

/// Somebody who takes a shift outside of the turn.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Substitute {
    /// From when, wall clock of the schedule's zone.
    pub from: String,
    /// Until when.
    pub until: String,
    /// The contact.
    pub member: String,
}

/// What Alertmanager posts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alertmanager {
    /// The bearer token that it must show.
    pub token_file: PathBuf,
    /// Read from `token_file`.
    #[serde(skip)]
    pub token: Option<Secret>,
    /// Who is told.
    pub policy: String,
    /// An alert that is not mentioned for so long is over. Must be longer than the receiver's
    /// `repeat_interval`.
    #[serde(default = "one_day")]
    pub stale_after: Span,
}

fn one_day() -> Span {
    Span::seconds(86_400)
}

/// The daily message that proves that the monitor lives.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// When, as `08:00` in the monitor's zone.
    pub at: String,
    /// To whom; every way of each is used.
    pub to: Vec<String>,
}

/// What concerns the monitor itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Own {
    /// Who is told of a channel that fails; nobody without it.
    pub policy: Option<String>,
    /// Failures in a row that make a channel failing.
    pub failures: u32,
    /// Tries of a message on one way before the next is taken.
    pub attempts: u32,
    /// The first pause after a failure; it doubles.
    pub back_off: Span,
    /// The longest pause.
    pub back_off_max: Span,
    /// A message that could not be handed over for so long has failed.
    pub give_up: Span,
    /// The most messages that are kept, finished ones among them.
    pub max_messages: usize,
    /// So many incidents for one contact at once are one message; fewer are one message each.
    pub digest_from: usize,
    /// How long the incidents of a storm are gathered before that message goes.
    pub digest_wait: Span,
}

impl Default for Own {
    fn default() -> Own {
        Own {
            policy: None,
            failures: 3,
            attempts: 3,
            back_off: Span::seconds(5),
            back_off_max: Span::seconds(300),
            give_up: Span::seconds(6 * 3600),
            max_messages: 10_000,
            digest_from: 5,
            digest_wait: Span::seconds(10),
        }
    }
}
