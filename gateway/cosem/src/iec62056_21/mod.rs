//! Local reading in ASCII over RS485, optical heads and TCP serial servers (IEC 62056-21, the
//! former IEC 1107): readout in modes A to D, the programming mode of C, and the hand-over of
//! mode E to HDLC. It does not open ports: it names the baud rate that the driver has to set.
//!
//! From the octets upwards: `check` (BCC, parity), `baud`, `message` (sign-on to commands),
//! `intake` (octets cut into messages), `data` (the data block), `reading` (codes, decimals,
//! units), `client` and `server` (the machines).
//!
//! Invariants: all that is held of a peer's octets is bounded; a block is believed after its
//! check character only (mode D without one excepted); passwords never appear in errors or Debug.

pub mod baud;
pub mod check;
pub mod client;
pub mod data;
mod intake;
pub mod message;
pub mod reading;
pub mod server;

use bytes::Bytes;

pub use baud::Mode;
pub use check::Parity;
pub use client::{Answer, Client, ClientConfig, Failure, Indication, Password, Wish};
pub use data::{DataSet, Value};
pub use message::{Command, Identification};
pub use reading::{Code, Decimal, Reading, Unit};
pub use server::{Reply, Request, Server, ServerConfig};

pub(crate) const SOH: u8 = 0x01;
pub(crate) const STX: u8 = 0x02;
pub(crate) const ETX: u8 = 0x03;
pub(crate) const EOT: u8 = 0x04;
pub(crate) const ACK: u8 = 0x06;
pub(crate) const NAK: u8 = 0x15;

/// The rate of every sign-on, baud (IEC 62056-21 clause 6.3.13).
pub const SIGN_ON_BAUD: u32 = 300;

/// What a machine wants done with the line, in order.
#[derive(Clone, PartialEq, Eq)]
pub enum Output {
    /// Send these octets.
    Transmit(Bytes),
    /// Once all octets before are on the line, change to this rate.
    ChangeBaud(u32),
}

impl std::fmt::Debug for Output {
    // The octets may be a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Transmit(octets) => write!(f, "Transmit({} octets)", octets.len()),
            Self::ChangeBaud(baud) => write!(f, "ChangeBaud({baud})"),
        }
    }
}
