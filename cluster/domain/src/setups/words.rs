//! What the API calls the kinds and phases of rollouts, and the changes of the area.
//!
//! Invariant: a word never changes its meaning.

use super::{Change, Phase, Steering, Work};

impl Work {
    /// Its name, as the API gives it.
    pub fn name(&self) -> &'static str {
        match self {
            Work::Push { .. } => "push",
            Work::Restart => "restart",
            Work::Read => "read",
        }
    }
}

impl Steering {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Steering::Pause => "pause",
            Steering::Resume => "resume",
            Steering::Abort => "abort",
        }
    }
}

impl Phase {
    /// Its name, as the API gives it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Stopped => "stopped",
            Phase::Aborted => "aborted",
            Phase::Done => "done",
        }
    }
}

impl Change {
    /// Area and verb.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Change::Template { .. } => "setups.template",
            Change::Want { .. } => "setups.want",
            Change::Push { .. } => "setups.push",
            Change::Roll { .. } => "setups.roll",
            Change::Steer { .. } => "setups.steer",
            Change::Step { .. } => "setups.step",
        }
    }

    /// What it is about.
    pub(crate) fn object(&self) -> String {
        match self {
            Change::Template { name, .. } => name.clone(),
            Change::Want { concentrator, .. } => concentrator.clone(),
            Change::Push { id, concentrator, .. } => format!("{concentrator} {id}"),
            Change::Roll { targets, plan, .. } => {
                format!("{} {} devices", plan.work.name(), targets.len())
            }
            Change::Steer { id, to, .. } => format!("{id} {}", to.name()),
            Change::Step { id } => id.to_string(),
        }
    }
}
