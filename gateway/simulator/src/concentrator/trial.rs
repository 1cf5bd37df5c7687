//! When parameters count: a set is taken as a whole or not at all, and a new address of a head-end
//! is on trial until one has come in through it (docs/reference/concentrator.md, parameters).
//! And the restart that somebody orders.
//!
//! Invariants: 1. There is one whole set at any moment, the old or the new one, also over a power
//! cut. 2. A trial ends: by the head-end's association on every changed address, or, at its time or
//! a restart, with the old set. 3. What answers the order leaves before a connection is closed.

use std::time::{Duration, Instant};

use cosem::{Data, DataAccessError};
use serde::{Deserialize, Serialize};

use super::setup::Setup;
use super::{Concentrator, Now};
use crate::happenings::{self, code};

/// The whole set.
pub const PARAMETER_SET: [u8; 6] = [0, 0, 94, 86, 136, 255];
/// How often it has started, and why it did last.
pub const RESTARTS: [u8; 6] = [0, 0, 94, 86, 137, 255];
/// Seconds since it has started.
pub const UPTIME: [u8; 6] = [0, 0, 96, 8, 0, 255];
/// Scripts; the first restarts.
pub const SCRIPTS: [u8; 6] = [0, 0, 10, 0, 0, 255];
/// The script that restarts.
pub const RESTART_SCRIPT: u64 = 1;

/// An answer has so long to leave before its connection is closed.
const LEAVE: Duration = Duration::from_millis(300);
/// Bounds of a trial, seconds.
const TRIAL_S: std::ops::RangeInclusive<u64> = 5..=3_600;
/// The most parameters in a set.
const MAX_ENTRIES: usize = 64;

/// Why it has started: its power came back.
const POWER: u8 = 1;
/// Why it has started: somebody ordered it.
const ORDERED: u8 = 2;

/// Parameters that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Number of the last set that was taken.
    pub version: u32,
    /// What counts now; none: as it came from the factory.
    pub current: Option<Setup>,
    /// What counts again when the trial fails; none: there is no trial.
    pub before: Option<Setup>,
    /// Whether the last trial failed.
    pub fell_back: bool,
    /// How often it has started.
    pub restarts: u32,
    /// Why it did last.
    pub cause: u8,
}

/// What a line still has to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Proof {
    /// Nothing.
    #[default]
    Given,
    /// A connection to the new address.
    Connection,
    /// A head-end that associates on it.
    Association,
}

/// Trial and restart in this run.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    until: Option<Instant>,
    proofs: [Proof; 2],
    started: Instant,
    restart_at: Option<Instant>,
}

impl Trial {
    /// After a start.
    pub fn new(now: Instant) -> Self {
        Self { until: None, proofs: Default::default(), started: now, restart_at: None }
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.until, self.restart_at].into_iter().flatten().min()
    }
}

impl Kept {
    /// It starts: a trial that was not over has failed.
    pub fn started(&mut self, cause: u8) {
        (self.restarts, self.cause) = (self.restarts.saturating_add(1), cause);
        self.fall_back();
    }

    /// Its power came back.
    pub fn powered(&mut self) {
        self.started(POWER);
    }

    fn fall_back(&mut self) {
        if let Some(before) = self.before.take() {
            (self.current, self.fell_back) = (Some(before), true);
        }
    }
}

impl Concentrator {
    /// Tells the head-ends that it was built for: main, standby.
    pub fn set_head_ends(&mut self, head_ends: Vec<String>) {
        let mut given = head_ends.into_iter();
        self.head_ends = [0, 1].map(|_| given.next().unwrap_or_default());
    }

    /// Where a line is to lead now.
    #[must_use]
    pub fn address(&self, line: usize) -> Option<&str> {
        let current = self.memory.setup.current.as_ref();
        let addresses = current.map_or(&self.head_ends, |setup| &setup.addresses);
        addresses.get(line).map(String::as_str).filter(|address| !address.is_empty())
    }

    /// What counts now.
    pub(super) fn setup(&self) -> Setup {
        self.memory.setup.current.clone().unwrap_or_else(|| Setup {
            addresses: self.head_ends.clone(),
            heartbeat_s: u16::try_from(self.settings.heartbeat.as_secs()).unwrap_or(60).max(1),
            answer_ms: u32::try_from(self.settings.answer.as_millis()).unwrap_or(60_000),
            dhcp: true,
            ..Setup::default()
        })
    }

    /// Time between heartbeats.
    pub(super) fn heartbeat_every(&self) -> Duration {
        let current = self.memory.setup.current.as_ref();
        current.map_or(self.settings.heartbeat, |s| Duration::from_secs(s.heartbeat_s.into()))
    }

    /// Time for an answer.
    pub(super) fn answer_time(&self) -> Duration {
        let current = self.memory.setup.current.as_ref();
        current.map_or(self.settings.answer, |s| Duration::from_millis(s.answer_ms.into()))
    }

    /// When what was captured at `end_s` is pushed: at the period's end and the own wait after it.
    pub(super) fn push_due_s(&self, end_s: i64) -> i64 {
        let Some(setup) = &self.memory.setup.current else { return end_s };
        let wait = self.model.seed % (u64::from(setup.spread_s) + 1);
        setup.due_s(end_s) + i64::try_from(wait).unwrap_or(0)
    }

    /// The newest end of an interval that may be pushed now.
    pub(super) fn pushable_s(&self, now_s: i64) -> i64 {
        let Some(setup) = &self.memory.setup.current else { return now_s };
        let wait = self.model.seed % (u64::from(setup.spread_s) + 1);
        let period = i64::from(setup.period_s.max(1));
        (now_s - i64::try_from(wait).unwrap_or(0)).div_euclid(period) * period
    }

    /// The set: {version, state (0 it counts, 1 on trial, 2 fell back), seconds left, parameters}.
    pub(super) fn parameter_set(&self, now: Now) -> Data {
        let kept = &self.memory.setup;
        let state = match (&kept.before, kept.fell_back) {
            (Some(_), _) => 1,
            (None, true) => 2,
            (None, false) => 0,
        };
        let left = self
            .trial
            .until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now.instant));
        Data::Structure(vec![
            Data::U32(kept.version),
            Data::Enum(state),
            Data::U16(u16::try_from(left.as_secs()).unwrap_or(u16::MAX)),
            self.setup().list(),
        ])
    }

    /// SET of {version, seconds of trial, parameters}.
    pub(super) fn set_parameters(&mut self, value: &Data, now: Now) -> Result<(), DataAccessError> {
        let wrong = DataAccessError::TypeUnmatched;
        let Some([Data::U32(version), seconds, Data::Array(entries)]) = value.as_structure() else {
            return Err(wrong);
        };
        let seconds = seconds.as_u64().ok_or(wrong)?;
        if !TRIAL_S.contains(&seconds) || entries.len() > MAX_ENTRIES {
            return Err(DataAccessError::OtherReason);
        }
        if self.memory.setup.before.is_some() {
            return Err(DataAccessError::TemporaryFailure);
        }
        let old = self.setup();
        let mut new = old.clone();
        for entry in entries {
            let Some([Data::U16(_), name, Data::I8(attribute), value]) = entry.as_structure()
            else {
                return Err(wrong);
            };
            let name = name.as_octets().and_then(|name| name.try_into().ok()).ok_or(wrong)?;
            new.put(name, *attribute, value)?;
        }
        new.check()?;
        let known = self.memory.setup.clone();
        let moved = [0, 1].map(|line| old.addresses[line] != new.addresses[line]);
        let is_tried = [0, 1].map(|line| moved[line] && !new.addresses[line].is_empty());
        let kept = &mut self.memory.setup;
        (kept.version, kept.fell_back) = (*version, false);
        (kept.current, kept.before) = (Some(new), is_tried.contains(&true).then_some(old));
        if !self.keep() {
            self.memory.setup = known;
            return Err(DataAccessError::TemporaryFailure);
        }
        if is_tried.contains(&true) {
            self.trial.until = Some(now.instant + Duration::from_secs(seconds));
            let proof = |is_tried| if is_tried { Proof::Connection } else { Proof::Given };
            self.trial.proofs = is_tried.map(proof);
        }
        self.close_moved(moved, now.instant + LEAVE);
        Ok(())
    }

    fn close_moved(&mut self, moved: [bool; 2], at: Instant) {
        for (state, moved) in self.lines.iter_mut().zip(moved) {
            if moved && state.up {
                state.close_at = Some(at);
            }
        }
    }

    /// A line was connected, closed or associated: what that proves of a new address.
    pub(super) fn try_line(&mut self, line: usize, is_up: bool, is_associated: bool) {
        let Some(proof) = self.trial.proofs.get_mut(line) else { return };
        *proof = match (*proof, is_up, is_associated) {
            (Proof::Given, ..) | (Proof::Association, _, true) => Proof::Given,
            (_, true, false) => Proof::Association,
            (_, false, _) => Proof::Connection,
            (Proof::Connection, true, true) => Proof::Connection,
        };
        if self.memory.setup.before.is_some() && self.trial.proofs == [Proof::Given; 2] {
            self.memory.setup.before = None;
            self.trial.until = None;
            tracing::debug!(concentrator = %self.model.ldn, "the new addresses are permanent");
            self.keep();
        }
    }

    /// Orders a restart; the answer leaves first.
    pub(super) fn restart_soon(&mut self, now: Now) {
        self.trial.restart_at = Some(now.instant + LEAVE);
    }

    /// Ends a trial whose time is over, and restarts when that was ordered.
    pub(super) fn trial_if_due(&mut self, now: Now) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now.instant);
        if is_due(self.trial.until) {
            tracing::debug!(concentrator = %self.model.ldn, "nobody came in by the new address");
            let new = self.setup().addresses;
            self.memory.setup.fall_back();
            (self.trial.until, self.trial.proofs) = (None, Default::default());
            let old = self.setup().addresses;
            self.keep();
            self.close_moved([0, 1].map(|line| old[line] != new[line]), now.instant);
        }
        if is_due(self.trial.restart_at) {
            self.memory.setup.started(ORDERED);
            self.trial = Trial::new(now.instant);
            if self.settings.own_events {
                let at_s = now.real_us.div_euclid(1_000_000);
                happenings::note(&mut self.memory, at_s, code::RESTARTED, None);
            }
            self.power_cycle(now);
        }
    }

    /// {how often it has started, why: 1 power, 2 ordered}.
    pub(super) fn restarts(&self) -> Data {
        let kept = &self.memory.setup;
        Data::Structure(vec![Data::U32(kept.restarts), Data::Enum(kept.cause)])
    }

    /// Seconds since it has started.
    pub(super) fn uptime(&self, now: Now) -> Data {
        let since = now.instant.saturating_duration_since(self.trial.started);
        Data::U32(u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
    }
}
