//! A run of a task in numbers, and why meters were not read.

use serde::{Deserialize, Serialize};

use crate::commands::Failure;
use crate::units::Stamp;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Every meter is settled.
    Complete,
    /// Its time was over.
    TimeOver,
    /// The next one began, or the task was changed or removed.
    Superseded,
}

/// A run in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// 1 and up.
    pub number: u64,
    /// The version of the task by which it was due.
    pub version: u32,
    /// When it was due, seconds UTC.
    pub due_s: i64,
    /// When it began.
    pub begun: Stamp,
    /// When its time is over.
    pub until: Stamp,
    /// When it ended, and how.
    pub ended: Option<(Stamp, Ending)>,
    /// Meters it concerned when it began.
    pub meters: u32,
    /// Meters that gave what they were asked for, or of which nothing was missing.
    pub done: u32,
    /// Meters that were given up.
    pub failed: u32,
    /// Why, and how many.
    pub reasons: Vec<(Reason, u32)>,
    /// Reads that failed and were tried again later.
    pub retries: u64,
    /// Rows that were read and taken.
    pub rows: u64,
    /// Devices of which nothing is left to be read.
    pub devices: u32,
}

/// Why a meter was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// It did not answer in time.
    NoAnswer,
    /// It could not be reached, or the line to it was not there.
    Unreached,
    /// Its line or its concentrator had too much to do.
    Busy,
    /// It refused the association.
    Rejected,
    /// It refused the access.
    Access,
    /// Its answer did not decode.
    Malformed,
    /// Its answer did not decipher, or it refused our ciphering.
    Security,
    /// It has no such objects, or cannot be asked for them.
    Unsupported,
    /// Its values were refused.
    NotStored,
}

impl Reason {
    /// Of a read that failed.
    pub fn of(failure: &Failure) -> Reason {
        match failure {
            Failure::NoAnswer => Reason::NoAnswer,
            Failure::NoChannel
            | Failure::ChannelLost
            | Failure::Line(_)
            | Failure::Unreached(_) => Reason::Unreached,
            Failure::Busy | Failure::Pending(_) => Reason::Busy,
            Failure::Rejected(_) => Reason::Rejected,
            Failure::Access(_) => Reason::Access,
            Failure::Malformed(_) => Reason::Malformed,
            Failure::Security(_) => Reason::Security,
            Failure::Unsupported(_) | Failure::NotDone(_) | Failure::Held(_) => Reason::Unsupported,
        }
    }

    /// Its name, as the API gives it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NoAnswer => "no_answer",
            Reason::Unreached => "unreached",
            Reason::Busy => "busy",
            Reason::Rejected => "association_rejected",
            Reason::Access => "access_refused",
            Reason::Malformed => "malformed_answer",
            Reason::Security => "security",
            Reason::Unsupported => "unsupported",
            Reason::NotStored => "not_stored",
        }
    }

    /// Whether asking again in the same run is of no use.
    pub fn is_final(self) -> bool {
        matches!(self, Reason::Access | Reason::Unsupported | Reason::NotStored)
    }
}

impl Ending {
    /// Its name, as the API gives it.
    pub fn name(self) -> &'static str {
        match self {
            Ending::Complete => "complete",
            Ending::TimeOver => "time_over",
            Ending::Superseded => "superseded",
        }
    }
}
