//! One log on many nodes: Raft over QUIC, applied to the domain's tables.
//!
//! * [`Cluster`]: the handle of a node: propose, read, listen, status, stop.
//! * [`raft`]: the log store, the state machine and the network of consensus; the only folder
//!   that names `openraft`.
//! * [`transport`]: links between nodes; the only folder that names `quinn`.
//! * `propose`, `read`: the two roads into the log and out of it.
//! * [`rt`]: what runs tasks and tells time; the simulation puts another world there.
//! * [`members`]: nodes added, removed, drained. `membership`: the first start of a cluster.
//!   `watch`: the watchdog and the metrics.
//!
//! Not here: what an entry means (`domain`), how octets reach the disk (`storage`), meters, HTTP.
//!
//! Invariants: acknowledged means committed by a quorum and synced by it; the state is only
//! changed by applying the log; a fault halts the node and no entry is ever skipped; every queue
//! is bounded and every wait has a deadline.

pub mod config;
pub mod error;
pub mod members;
pub mod metrics;
pub mod raft;
pub mod rt;
pub mod transport;

mod compare;
mod effects;
mod handle;
mod heal;
mod membership;
mod propose;
mod read;
mod serve;
mod stamp;
mod status;
mod view;
mod watch;

pub use config::{Config, Peer};
pub use effects::{Effects, Woken};
pub use error::{ExportError, OpenError, Unavailable};
pub use handle::Cluster;
pub use members::Verb;
pub use raft::{Restored, begin_from_backup, describe_backup};
pub use status::{NodeStatus, Role, Status};
pub use transport::{Cut, Identity, node_dns_name};
pub use view::LocalView;
