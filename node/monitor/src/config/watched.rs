//! What is watched besides metrics: the cluster by its API, alarms of the field, UPS; and who may
//! use the pages.
//!
//! Shapes and defaults alone.

use std::path::PathBuf;

use serde::Deserialize;

use super::shape::Severity;
use super::value::{Secret, Span};

/// The cluster's API: who tells is agreed there, and alarms of the field come from there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The nodes, `http://host:port` or `https://`; the next is asked when one does not answer.
    pub urls: Vec<String>,
    /// Certificates that are trusted (PEM); the system's own without it.
    pub ca_file: Option<PathBuf>,
    /// The token of a program with the role `monitor`.
    pub token_file: PathBuf,
    /// Read from `token_file`.
    #[serde(skip)]
    pub token: Option<Secret>,
    /// How long the lease of the one that tells lasts.
    #[serde(default = "ten_seconds")]
    pub lease: Span,
    /// Without an answer of any node for so long, a monitor tells what it knows by itself.
    #[serde(default = "twenty_seconds")]
    pub alone_after: Span,
    /// How long an answer may take.
    #[serde(default = "three_seconds")]
    pub timeout: Span,
}

fn ten_seconds() -> Span {
    Span::seconds(10)
}

fn twenty_seconds() -> Span {
    Span::seconds(20)
}

fn three_seconds() -> Span {
    Span::seconds(3)
}

/// A rule over alarms of the field.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlarmRule {
    /// Its name; also the label `alarm` of its incidents.
    pub name: String,
    /// Kinds of events, such as `power_down`; all when empty.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Nothing below, by the severity that the cluster gives.
    #[serde(default)]
    pub at_least: Option<Severity>,
    /// Only these regions; all when empty.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Kinds of events of the same meter that end its alarm, such as `power_up`.
    #[serde(default)]
    pub cleared_by: Vec<String>,
    /// An alarm that nothing ends is over after so long.
    #[serde(default = "one_hour")]
    pub lasts: Span,
    /// How long it must hold before it fires.
    #[serde(rename = "for", default)]
    pub hold: Span,
    /// How grave; what the cluster says without it.
    pub severity: Option<Severity>,
    /// Who is told, and how often.
    pub policy: String,
    /// Labels by which alarms are one incident; all of a rule when empty.
    #[serde(default = "by_group")]
    pub group_by: Vec<String>,
    /// One sentence, a template over the labels and `time`.
    #[serde(default)]
    pub summary: String,
    /// Where it is written what to do.
    pub runbook: Option<String>,
}

fn one_hour() -> Span {
    Span::seconds(3600)
}

fn by_group() -> Vec<String> {
    vec!["group".into()]
}

/// A UPS that a NUT server (upsd) tells of.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ups {
    /// The value of the label `ups`.
    pub name: String,
    /// `name@host` or `name@host:port`, as NUT writes it.
    pub at: String,
    /// Pause between two questions.
    #[serde(default = "five_seconds")]
    pub interval: Span,
    /// How long an answer may take.
    #[serde(default = "three_seconds")]
    pub timeout: Span,
}

fn five_seconds() -> Span {
    Span::seconds(5)
}

/// Somebody who may use the pages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name that stands behind what is acknowledged and silenced.
    pub name: String,
    /// His password.
    pub password_file: PathBuf,
    /// Read from `password_file`.
    #[serde(skip)]
    pub password: Option<Secret>,
}
