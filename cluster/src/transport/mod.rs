//! Node links: QUIC with mutual TLS, bounded frames, one warm connection to each peer.
//!
//! Not here: Raft. This folder alone names `quinn`; it knows node numbers, kinds and octets.
//! Invariants, each a lesson from clusters that never healed:
//! 1. One dialler task per peer keeps the connection warm; a call only waits for it and never
//!    dials. (A dial inside a 75 ms call is cancelled for ever on a busy machine.)
//! 2. Peers share no lock while dialling.
//! 3. A stream that ends at a frame border has ended: `None`, never an error.
//! 4. Nothing waits without a deadline; every call takes its time to live and keeps it.
//! 5. Sockets come from a factory, so that tests can stand between two nodes.

mod cut;
mod endpoint;
mod links;
mod peer;
#[cfg(feature = "simulation")]
pub mod simulated;
mod stream;
mod tls;
mod wire;

pub use cut::Cut;
pub use endpoint::{Endpoint, EndpointFactory, Handler, udp_endpoint};
pub use links::Links;
pub use peer::{Link, Trouble};
pub use stream::{FrameReceiver, FrameSender};
pub use tls::{Identity, node_dns_name};
pub use wire::{Kind, MAX_BODY};

/// Why a call over a node link gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No connection stood within the time to live.
    #[error("the peer is not connected")]
    NotConnected,
    /// A connection stood, but the answer did not come within the time to live.
    #[error("the peer did not answer in time")]
    Timeout,
    /// The connection or the stream broke.
    #[error("the link broke: {0}")]
    Broken(String),
    /// The peer sent a frame against the rules.
    #[error("the peer sent a bad frame: {0}")]
    Malformed(#[from] wire::Malformed),
    /// The peer closed the stream without an answer: it refuses this call.
    #[error("the peer gave no answer")]
    NoAnswer,
}
