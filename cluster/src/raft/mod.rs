//! Consensus: log store, state machine, network. The only folder that names `openraft`.
//!
//! Entry points: `Group` (a running group behind a plain face) and `Server` (its answering side).
//! Not here: forwarding of proposals and reads, the watchdog, the bootstrap.

mod accepted;
mod applied;
mod durable;
mod group;
mod log_store;
mod network;
mod overlay;
mod restore;
#[cfg(feature = "simulation")]
mod runtime;
mod server;
mod snapshot;
mod state_machine;
#[cfg(test)]
mod suite;
mod synced;
mod types;
mod wire;

pub(crate) use applied::Applied;
pub(crate) use group::{Group, Leadership, NotServed, Progress};
pub use restore::{Restored, begin_from_backup, describe_backup};
pub(crate) use server::Server;
pub(crate) use types::Member;
