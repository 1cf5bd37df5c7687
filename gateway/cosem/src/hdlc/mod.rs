//! The HDLC data link for serial lines, optical ports and TCP serial servers (IEC 62056-46,
//! ISO/IEC 13239 frame type 3, normal response mode). It carries whole APDUs, as `wrapper` does
//! on TCP, so an association sits above either. It does not look into APDUs.
//!
//! From the octets upwards: `fcs` (check sequences), `address`, `parameters` (negotiation),
//! `frame`, `deframer` (a stream cut into frames), `link` (the machines of both sides).
//!
//! Invariants: nothing is believed before its check sequence verified; no input can panic or make
//! us hold more than one frame, one bounded APDU and bounded queues.

pub mod address;
pub mod deframer;
pub mod fcs;
pub mod frame;
pub mod link;
pub mod parameters;

pub use address::Address;
pub use deframer::Deframer;
pub use frame::{Control, Frame, Kind};
pub use link::{Client, ClientConfig, Indication, Reason, Server, ServerConfig};
pub use parameters::Parameters;

/// The flag between frames (IEC 62056-46 clause 6.4.2).
pub const FLAG: u8 = 0x7e;
