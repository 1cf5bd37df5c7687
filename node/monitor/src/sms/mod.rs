//! Short messages by a modem: alphabets, PDUs, the conversation of AT commands, and the port.
//!
//! `gsm7` and `pdu` are codecs, `at` is a machine without IO, `port` drives it on a serial line.
//! Not the queue of messages. Invariant: only `port` touches a device.

pub mod at;
mod command;
pub mod gsm7;
pub mod pdu;
pub mod port;
mod told;
