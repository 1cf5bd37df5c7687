//! The handle of one cluster member.
use std::time::Duration;

use domain::{Author, Change, Outcome, ProposalId, Stamp};
use prometheus::Registry;
use storage::{Opening, Segments, Store};

use crate::{
    Config, Effects, Identity, LocalView, OpenError, Status, Unavailable,
    transport::EndpointFactory,
};

/// A member of the cluster. Cheap to clone; all clones are the same member.
#[derive(Clone)]
pub struct Cluster {}

impl Cluster {
    /// Opens a member over an ordinary UDP socket.
    pub async fn open(
        config: Config,
        identity: &Identity,
        store: Store,
        opening: &Opening,
        registry: &Registry,
    ) -> Result<Self, OpenError> {
        let _ = (config, identity, store, opening, registry);
        todo!()
    }

    /// As `open`, with a socket of the caller's making.
    pub async fn open_with(
        config: Config,
        identity: &Identity,
        store: Store,
        opening: &Opening,
        registry: &Registry,
        factory: &EndpointFactory,
    ) -> Result<Self, OpenError> {
        let _ = (config, identity, store, opening, registry, factory);
        todo!()
    }

    /// Proposes a change; answers its log index and outcome.
    pub async fn propose(
        &self,
        id: ProposalId,
        author: Author,
        change: Change,
        deadline: Duration,
    ) -> Result<(u64, Outcome), Unavailable> {
        let _ = (id, author, change, deadline);
        todo!()
    }

    /// This node's state as of now, possibly behind the leader.
    pub fn view(&self) -> LocalView {
        todo!()
    }

    /// A view that holds everything that was acknowledged before the call.
    pub async fn linearizable(&self, deadline: Duration) -> Result<LocalView, Unavailable> {
        let _ = deadline;
        todo!()
    }

    /// The stored values.
    pub fn readings(&self) -> Segments {
        todo!()
    }

    /// A new listener for effects.
    pub fn effects(&self) -> Effects {
        todo!()
    }

    /// The cluster as this node sees it.
    pub fn status(&self) -> Status {
        todo!()
    }

    /// The state hash at a log index, for the last 4096 indexes.
    pub fn hash_at(&self, index: u64) -> Option<[u8; 32]> {
        let _ = index;
        todo!()
    }

    /// The stamp that the leader would give now.
    pub fn stamp_now(&self) -> Stamp {
        todo!()
    }

    /// Hands leadership over, if this node has it; true when another node leads afterwards.
    pub async fn transfer_leader(&self) -> bool {
        todo!()
    }

    /// Stops the member in order: leadership, consensus, links, stores.
    pub async fn stop(&self) {
        todo!()
    }
}
