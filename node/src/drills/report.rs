//! A drill's report: what is kept, shown and printed. JSON first; the page is drawn from it.
//!
//! Invariants: bounded, whatever the evidence holds; its octets are sealed as they are and never
//! written anew; a reader of an older format finds its name at the head.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::drills::acceptance::Acceptance;
use crate::drills::evidence::{Replica, Restored, Sign, Step};

/// The format's name.
pub const FORMAT: &str = "holdfast-drill-report/1";

/// A time without service against what was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recovery {
    /// write, read, channel, whole or restore.
    pub kind: String,
    /// What was measured, ms; null: it did not come back.
    pub measured_ms: Option<u32>,
    /// The longest pause before the failure, ms, for comparison; null where there is none.
    pub before_ms: Option<u32>,
    /// Our promise (p99), ms.
    pub promise_ms: u32,
    /// The limit that fails the drill, ms.
    pub limit_ms: u32,
    /// Whether the promise was kept.
    pub promise_kept: bool,
    /// Whether the limit was.
    pub within_limit: bool,
}

/// What became of acknowledged writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Kept {
    /// Writes that were acknowledged.
    pub acknowledged: u32,
    /// Of them, those that some node does not have.
    pub lost: u32,
    /// The first of those.
    pub lost_numbers: Vec<u32>,
    /// Writes that were applied twice.
    pub doubled: u32,
    /// The first of those.
    pub doubled_numbers: Vec<u32>,
    /// Reads that missed what had been acknowledged before they began.
    pub stale_reads: u32,
    /// Nodes that were asked for every write.
    pub nodes_asked: u32,
}

/// How long answers took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Latency {
    /// write or read.
    pub kind: String,
    /// before, during or after.
    pub phase: String,
    /// Good answers.
    pub answered: u32,
    /// Attempts without one.
    pub failed: u32,
    /// Median of the good ones, microseconds.
    pub median_us: u32,
    /// 99th percentile.
    pub p99_us: u32,
    /// The longest.
    pub max_us: u32,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Moment {
    /// Milliseconds from the injection on; before it negative.
    pub at_ms: i64,
    /// What.
    pub what: String,
}

/// A tenth of a second of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Slice {
    /// Writes acknowledged in it.
    pub writes: u16,
    /// Writes given up in it.
    pub failed_writes: u16,
    /// Reads answered in it.
    pub reads: u16,
    /// Reads given up in it.
    pub failed_reads: u16,
}

/// The picture's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Chart {
    /// Beginning of the first slice, ms from the injection on.
    pub from_ms: i64,
    /// Length of a slice, ms.
    pub step_ms: u32,
    /// The slices.
    pub slices: Vec<Slice>,
}

/// Where the raw evidence can be held against the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Proof {
    /// Attempts in it.
    pub operations: u32,
    /// Attempts that were not made or kept for want of room.
    pub skipped: u64,
    /// BLAKE3 of its octets, 64 hex digits.
    pub blake3: String,
}

/// Who, where, what, when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// The drill's number.
    pub drill: u64,
    /// The scenario.
    pub scenario: String,
    /// What was to be shown.
    pub hypothesis: String,
    /// What was done.
    pub injection: String,
    /// How it was undone.
    pub undo: String,
    /// Who drilled.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// The last backup in the operator's words; empty when nothing was said.
    pub backup: String,
    /// The node that was hurt.
    pub target: String,
    /// The concentrator whose channel was hurt; empty when none was.
    pub concentrator: String,
    /// How long the failure lasted, ms; 0 where it does not last.
    pub hold_ms: u32,
    /// The drill's begin by the cluster's clock.
    pub begun: String,
    /// The injection by the cluster's clock.
    pub injected: Option<String>,
    /// The node that judged.
    pub judge: String,
    /// Its version.
    pub version: String,
    /// Its revision.
    pub revision: String,
    /// Names of the nodes.
    pub nodes: Vec<String>,
    /// Leader before the injection.
    pub leader_before: Option<String>,
    /// Leader at the end.
    pub leader_after: Option<String>,
    /// Alerts that a watching system should have raised; not checked.
    pub alerts_expected: Vec<String>,
}

/// The report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// [`FORMAT`].
    pub format: String,
    /// passed, failed or inconclusive.
    pub verdict: String,
    /// Why it did not pass.
    pub reasons: Vec<String>,
    /// What went otherwise than the scenario says without breaking a promise.
    pub deviations: Vec<String>,
    /// Who, where, what, when.
    pub identity: Identity,
    /// Times without service.
    pub recovery: Vec<Recovery>,
    /// What became of acknowledged writes.
    pub kept: Kept,
    /// State hashes at one index.
    pub replicas: Vec<Replica>,
    /// How long answers took.
    pub latency: Vec<Latency>,
    /// Counters that the scenario names.
    pub signs: Vec<Sign>,
    /// The backup that was restored, in a drill of that.
    #[serde(default)]
    pub restored: Option<Restored>,
    /// The nodes' turns, in a drill that goes from node to node.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The figures of an acceptance, in one.
    #[serde(default)]
    pub acceptance: Option<Acceptance>,
    /// What happened, in order.
    pub timeline: Vec<Moment>,
    /// The picture's data.
    pub chart: Chart,
    /// The raw evidence.
    pub evidence: Proof,
}

impl Report {
    /// What was measured of a kind.
    pub fn recovery(&self, kind: &str) -> Option<&Recovery> {
        self.recovery.iter().find(|one| one.kind == kind)
    }
}
