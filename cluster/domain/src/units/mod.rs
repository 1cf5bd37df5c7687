//! Small value types that every area uses: ids, times, OBIS codes, devices, addresses. No rules of
//! any area.

pub mod address;
pub mod id;
pub mod obis;
pub(crate) mod octets;

pub use address::Address;
pub use id::{CommandId, Device, NodeId, ProposalId, Stamp};
pub use obis::Obis;
