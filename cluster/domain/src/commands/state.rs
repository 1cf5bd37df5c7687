//! Where a command stands, and what the API calls it.
//!
//! Invariant: an end state is left by nothing; which those are, `Command::is_open` says.

use serde::{Deserialize, Serialize};

use crate::units::NodeId;

/// Where a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// In the outbox, not sent.
    Queued,
    /// On its way under a grant.
    Sent {
        /// Who sent it.
        node: NodeId,
        /// Under which grant.
        epoch: u64,
    },
    /// The device answered; one that acts is still to be read back.
    Acknowledged,
    /// It came to nothing; the result says why.
    Failed,
    /// Its time was over before it was sent.
    Expired,
    /// An operator took it back before it was sent.
    Cancelled,
    /// Its time was over after it was sent and before an answer came.
    Unknown {
        /// Who sent it.
        node: NodeId,
        /// Under which grant.
        epoch: u64,
    },
    /// Read back, the device stands as ordered.
    Verified,
}

impl State {
    /// The state's name, as the API gives it.
    pub fn name(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Sent { .. } => "sent",
            State::Acknowledged => "acknowledged",
            State::Failed => "failed",
            State::Expired => "expired",
            State::Cancelled => "cancelled",
            State::Unknown { .. } => "unknown",
            State::Verified => "verified",
        }
    }
}
