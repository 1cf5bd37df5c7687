//! What goes between the session of a concentrator and its driver: questions to the cluster, their
//! answers, and what happened. Plain values; nothing is decided here.
//!
//! Invariant: an answer carries what its question carried to be recognised: a ticket, an epoch with
//! a sequence, or a serial.

use std::collections::HashMap;
use std::time::Duration;

use domain::alarms::Report;
use domain::leases::{Reason, Role};
use domain::readings::Part;

use super::pushes::Settled;
use crate::error::{Cause, Denied};
use crate::meter::Question;
use crate::roster::{ChannelRole, Login};
use crate::translate::Dropped;
use crate::upcall::{Admission, Claimed, MeterAccess};

/// A question to the cluster.
#[derive(Debug)]
pub(crate) enum Request {
    /// Who has this title?
    Admit { ticket: u64, system_title: [u8; 8] },
    /// Counters for this channel, to associate or behind a granted claim.
    Reserve { ticket: u64, is_granted: bool },
    /// The concentrator has seen higher counters.
    Raise { ticket: u64, at_least: u32 },
    /// The lease.
    Claim { ticket: u64, channel: Role, reason: Reason },
    /// More counters for the association as it stands.
    Refill,
    /// The meters behind it.
    Roster,
    /// A standby stands here or is gone.
    Standby { up: bool },
    /// The lease goes back.
    Release { epoch: u64 },
    /// Store this.
    Ingest { epoch: u64, sequence: u32, part: Part },
    /// Store what it tells of itself.
    Report { sequence: u32, report: Report },
    /// Something for one of its meters.
    Meter { serial: String, question: Question },
}

/// An answer of the cluster.
#[derive(Debug)]
pub(crate) enum Answer {
    Admitted {
        ticket: u64,
        answer: Result<Admission, Denied>,
    },
    Reserved {
        ticket: u64,
        answer: Result<u32, Denied>,
    },
    Raised {
        ticket: u64,
        answer: Result<(), Denied>,
    },
    Claimed {
        ticket: u64,
        answer: Result<Claimed, Denied>,
    },
    Refilled(Result<u32, Denied>),
    Roster(Result<HashMap<String, u32>, Denied>),
    /// The part comes back with its answer, so that a refused one can be divided.
    Stored {
        epoch: u64,
        sequence: u32,
        part: Part,
        answer: Result<u32, Denied>,
    },
    Reported {
        epoch: u64,
        sequence: u32,
        answer: Result<(), Denied>,
    },
    Access {
        serial: String,
        answer: Result<MeterAccess, Denied>,
    },
    MeterReserved {
        serial: String,
        answer: Result<u32, Denied>,
    },
    MeterRaised {
        serial: String,
        answer: Result<(), Denied>,
    },
}

/// What happened, for the roster, the log and the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The identity is proven.
    Proven(Login),
    /// The role changed.
    Role(ChannelRole, Option<u64>),
    /// The channel became active for this reason.
    Switched(Reason),
    /// A heartbeat: meters online.
    Heartbeat(u16),
    /// A frame was not accepted.
    FrameRefused(&'static str),
    /// A push came again.
    Duplicate,
    /// A push is settled.
    Settled(Settled),
    /// Rows were stored.
    Stored(u32),
    /// Rows could not be carried over.
    Dropped(Dropped),
    /// A part was refused for good.
    PartRefused { code: String, detail: String },
    /// Pushes up to this sequence are acknowledged; from arrival to acknowledgement.
    Acknowledged(u32, Vec<Duration>),
    /// The channel is to be closed.
    Closed(Cause),
}
