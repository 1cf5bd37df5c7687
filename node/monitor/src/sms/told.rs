//! What a modem tells its driver.
//!
//! Words alone; the conversation that leads to them is in `at`.

use super::command::{Failure, Meaning};
use super::pdu::{self, Report};

/// What the driver must hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The message went, with the references of its parts.
    Sent(u64, Vec<u8>),
    /// It did not go (or nobody knows): what it means, and why.
    NotSent(u64, Meaning, Failure),
    /// A message came in.
    Received(pdu::Deliver),
    /// The centre says what became of a part.
    Reported(Report),
    /// Health or trouble changed.
    Changed,
    /// Close the port and open it again.
    Reopen,
}

/// What keeps a modem from sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The conversation has not come to its end yet.
    #[error("the modem is being prepared")]
    Starting,
    /// No answer, whatever was tried.
    #[error("the modem does not answer")]
    Silent,
    /// No SIM, or it does not answer.
    #[error("no usable SIM (+CME ERROR: {0})")]
    Sim(u16),
    /// The SIM wants a PIN and none is configured, or it was refused.
    #[error("the SIM wants its PIN")]
    Pin,
    /// The SIM is locked.
    #[error("the SIM wants its PUK")]
    Puk,
    /// Not in a network.
    #[error("not registered in a network")]
    NoNetwork,
    /// It does not take PDU mode or tells nothing of new messages.
    #[error("the modem refuses PDU mode")]
    Unfit,
}
