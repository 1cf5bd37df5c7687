//! Whole clusters under faults, and the promises checked.
//!
//! What stands here starts the real programs (`holdfast demo`, its nodes, its simulator), hurts
//! them from outside (SIGKILL, full disks, strangers on the wire) and compares what was
//! acknowledged with what the cluster answers afterwards. It is not a mock of anything: every
//! octet goes over a socket. The one exception is [`simulation`]: whole clusters in one process,
//! with virtual time and a simulated network, from one seed.
//!
//! Invariants:
//! 1. A child process never outlives its test: the demo's children die with it, and
//!    [`demo::Demo`] kills it when dropped.
//! 2. Every wait has a deadline, every load ends by itself.

pub mod agree;
pub mod browser;
pub mod crowd;
pub mod demo;
pub mod drill;
pub mod etcd;
pub mod field;
pub mod http;
pub mod journal;
pub mod namespace;
pub mod nodes;
pub mod probe;
pub mod proxy;
pub mod relay;
pub mod rounds;
pub mod simulation;
pub mod stats;
pub mod town;
