//! The link of HDLC in normal response mode (IEC 62056-46 clause 6.4): the client's and the
//! server's machine. Whole APDUs go in and come out; segmentation, numbering, windows, polling
//! and repetition are done here. Sans-IO: after every call that goes in, the driver asks
//! `poll_transmit`, `poll` and `poll_timeout`. Of an APDU it looks only at whether it is a
//! general block that another one follows.
//!
//! Invariants of both machines:
//! 1. An APDU comes out at most once and in order within one connection; when delivery is in
//!    doubt the connection ends with a `Reason`.
//! 2. A side sends only when the other passed the turn (poll, final); only the client repeats.
//! 3. Queues, reassembly and repetitions are bounded. When the driver does not fetch what came
//!    out, arriving frames are dropped as if the line had lost them.

pub mod client;
mod port;
pub mod server;
mod transfer;
mod unnumbered;

use bytes::Bytes;

use super::{Address, Parameters};

pub use client::{Client, ClientConfig};
pub use server::{Server, ServerConfig};

/// LLC octets before a request: destination, source, quality (IEC 62056-46 clause 5).
pub const LLC_REQUEST: [u8; 3] = [0xe6, 0xe6, 0x00];

/// LLC octets before a response.
pub const LLC_RESPONSE: [u8; 3] = [0xe6, 0xe7, 0x00];

/// What a link has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Indication {
    /// The link is up, with these limits as we see them. On the server a second one without a
    /// `Disconnected` between them means that the client began anew.
    Connected(Parameters),
    /// A whole APDU, without LLC octets.
    Apdu(Bytes),
    /// An APDU that needed no link (UI frames, or numbered ones that a meter pushes unasked).
    /// General block transfer may still have to join several of them.
    Push {
        /// Who sent it.
        source: Address,
        /// The APDU, without LLC octets.
        apdu: Bytes,
    },
    /// The link is down, or was never up. What was queued and not delivered is dropped.
    Disconnected(Reason),
}

/// Why a link is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// DISC was answered.
    #[error("released")]
    Released,
    /// The peer answered SNRM with DM.
    #[error("the peer refused the link")]
    Refused,
    /// The peer says that there is no link.
    #[error("the peer gave up the link")]
    GivenUp,
    /// The peer sent FRMR.
    #[error("the peer rejected a frame")]
    Rejected,
    /// The peer stayed silent through all repetitions.
    #[error("no answer")]
    NoAnswer,
    /// The peer answers and yet takes or sends nothing more.
    #[error("no progress")]
    NoProgress,
    /// The peer's APDU is longer than our limit.
    #[error("the APDU is too long")]
    TooLong,
    /// The peer's UA carries parameters that are none.
    #[error("bad parameters")]
    Parameters,
    /// The client was silent for the server's inactivity time.
    #[error("inactive")]
    Inactive,
}

/// The octets behind LLC, where there is LLC: some meters leave it out of all but the first frame
/// of a series, some out of all.
fn without_llc(information: &Bytes) -> Bytes {
    if information.starts_with(&LLC_REQUEST) || information.starts_with(&LLC_RESPONSE) {
        information.slice(LLC_REQUEST.len()..)
    } else {
        information.clone()
    }
}
