//! The wire of DLMS/COSEM: frames, data, APDUs, security, associations. Sans-IO: octets and times
//! come in as arguments, octets and wishes for timers go out. It knows no sockets, no tasks and
//! nothing of what a head-end does with a reading.
//!
//! Map, from the octets upwards: `wrapper`, `hdlc`, `gateway_header` (framing) - `axdr`, `ber`
//! (primitives) - `data`, `compact`, `datetime`, `scaler` (values) - `apdu`, `acse` (services) -
//! `security` - `association` (the machines) - `class`, `profile`, `push` (objects). Beside them
//! stand `iec62056_21`, the ASCII protocol of serial and optical ports, and `tree`, any octets as
//! named nodes for people.
//!
//! Invariants: no input can panic or allocate more than a constant times its own length; no
//! clock, randomness, thread or IO (enforced by this crate's `clippy.toml`); keys are wiped on
//! drop and never appear in errors or Debug.

pub mod acse;
pub mod apdu;
pub mod association;
pub mod axdr;
pub mod ber;
pub mod class;
pub mod compact;
pub mod data;
pub mod datetime;
pub mod error;
pub mod gateway_header;
pub mod gbt;
pub mod hdlc;
pub mod iec62056_21;
pub mod profile;
pub mod push;
pub mod scaler;
pub mod security;
pub mod tree;
pub mod wrapper;

pub use apdu::{Apdu, AttributeRef, DataAccessError, LogicalName, MethodRef, Selection};
pub use data::Data;
pub use datetime::DateTime;
pub use error::Error;
pub use security::{Keys, Secret, SecurityControl, Suite, SystemTitle};
