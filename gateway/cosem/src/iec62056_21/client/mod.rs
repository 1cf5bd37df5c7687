//! The reader's side: what can be wished of it, how it is told, what it has to say. The machine
//! itself is in `machine`.
//!
//! Invariant: a password is a `Secret` and never printed.

mod machine;

use std::time::Duration;

use bytes::Bytes;

use super::check::Parity;
use super::data::DataSet;
use super::message::Identification;
use crate::security::Secret;

pub use machine::Client;

/// What is wanted of the meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The data readout, in whichever of modes A, B, C the meter talks.
    Readout,
    /// A readout of the manufacturer, by its mode control character (6 to 9, A to Z), in mode C.
    Special(u8),
    /// The programming mode of mode C.
    Programming,
    /// HDLC at the rate that the meter offers (mode E).
    Hdlc,
}

/// How the programming mode is entered.
#[derive(Debug, Clone)]
pub enum Password {
    /// Without one.
    None,
    /// P1 with this password.
    Plain(Secret),
    /// P2 with what the driver reckons from the meter's operand (`answer_operand`).
    Reckoned,
}

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Device address; empty for the only meter on the line.
    pub address: String,
    /// What is wanted.
    pub wish: Wish,
    /// How the programming mode is entered.
    pub password: Password,
    /// Fastest rate that the line can do; a faster meter is read at 300 baud.
    pub max_baud: u32,
    /// Who deals with the parity bit.
    pub parity: Parity,
    /// Longest pause before and within an answer. It counts from the hand-over of our octets to
    /// the driver, so it contains their time on the line.
    pub answer_timeout: Duration,
    /// Repetitions of each message, and of the sign-on.
    pub retries: u8,
    /// An open session without a command ends after this.
    pub session_timeout: Duration,
    /// Longest data of one answer, octets; also the limit of what is taken in one wait.
    pub max_block: usize,
}

impl ClientConfig {
    /// Usual values: 19200 baud at most, 3 s, 2 repetitions, 60 s, 64 KiB.
    #[must_use]
    pub fn new(address: &str, wish: Wish) -> Self {
        Self {
            address: address.into(),
            wish,
            password: Password::None,
            max_baud: 19_200,
            parity: Parity::Port,
            answer_timeout: Duration::from_secs(3),
            retries: 2,
            session_timeout: Duration::from_secs(60),
            max_block: 65_536,
        }
    }
}

/// What a client has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Indication {
    /// Who answered.
    Identified(Identification),
    /// The data readout; the session is over.
    Readout(Vec<DataSet>),
    /// The meter's operand; with `Password::Reckoned` an `answer_operand` is waited for.
    Operand(Bytes),
    /// The programming mode is open for commands.
    Ready,
    /// The end of a command.
    Answered(Answer),
    /// From here on the line carries HDLC, eight bits without parity, at this rate.
    Hdlc {
        /// The rate, baud.
        baud: u32,
        /// The meter confirmed by repeating the option select; some do not.
        confirmed: bool,
    },
    /// The session was closed as wished.
    Closed,
    /// The session is over without a result.
    Failed(Failure),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Data came.
    Data(Vec<DataSet>),
    /// The meter acknowledged.
    Done,
    /// The meter's error text, or `NAK`.
    Refused(String),
    /// No answer came; the command may have been carried out. The session fails after it.
    Unknown,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Silence, or octets without meaning, through all repetitions.
    #[error("no answer")]
    NoAnswer,
    /// The data never verified.
    #[error("the block check never held")]
    BadCheck,
    /// An answer is longer than our limit.
    #[error("the answer is too long")]
    TooLong,
    /// The meter cannot do what is wished.
    #[error("the meter does not offer it")]
    NotOffered,
    /// The meter refused the password.
    #[error("the password was refused")]
    Password,
    /// The meter broke the session off.
    #[error("the meter broke off")]
    Broken,
}
