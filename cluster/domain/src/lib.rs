//! What the log means: every area of the head-end, and [`apply`], which turns an entry into writes.
//!
//! Pure: no clock, no random, no IO, no threads, no floats, no hash maps; `clippy.toml` forbids
//! them. Time, ids and keys are arguments. Equal log, equal state, on every replica.
//!
//! Map: [`apply`](mod@apply) takes an [`Entry`] and a [`View`] and gives [`Applied`]; one file for
//! each area ([`assets`], [`keys`], [`readings`], [`leases`], [`commands`], [`members`],
//! [`parameters`], [`drills`], [`tasks`], [`regions`], [`registry`], [`operators`],
//! [`senders`], [`shared`], [`live`], [`setups`]) holds its changes, records, rules and queries;
//! [`alarms`] is written with readings and by concentrators' own reports;
//! [`operators::Scoped`] is the state as somebody may see it; [`audit`] is written by `apply`
//! alone; [`units`] holds small values.
//!
//! Invariants: 1. `apply` never writes, it returns what to write. 2. A refused change leaves no
//! trace in its area. 3. A repeated proposal id gives the first outcome and nothing else. 4. Stamps
//! never go back. 5. Nothing that comes in octets can make it panic or allocate without bound.

pub mod alarms;
pub mod apply;
pub mod assets;
pub mod audit;
pub mod clocks;
pub mod commands;
pub mod drills;
pub mod error;
pub mod keys;
pub mod leases;
pub mod live;
pub mod members;
pub mod operators;
pub mod parameters;
pub mod readings;
pub mod regions;
pub mod registry;
pub mod restore;
#[cfg(feature = "seeded-bugs")]
pub mod seeded;
pub mod senders;
pub mod setups;
pub mod shared;
pub mod tasks;
pub mod units;

pub use apply::{
    Applied, Author, Change, Done, Effect, Entry, MemoryView, Outcome, Proposal, Table, View,
    Write, apply,
};
pub use error::{Fault, Malformed, Refusal};
pub use units::{Address, CommandId, Device, NodeId, Obis, ProposalId, Stamp};
