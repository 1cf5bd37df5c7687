//! The handle of one cluster member: opens its rooms in order and stops them in reverse.
//!
//! Not here: what the rooms do. Invariant: a member that failed to open leaves nothing running.

use std::{
    collections::BTreeSet,
    fmt, io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use domain::{Author, Change, NodeId, Outcome, ProposalId, Stamp};
use prometheus::Registry;
use storage::{Opening, Segments, Store, snapshot::Manifest};
use tokio::sync::watch;

use crate::{
    Config, Effects, ExportError, Identity, LocalView, NodeStatus, OpenError, Role, Status,
    Unavailable,
    effects::Publisher,
    members::{Office, Plan, Sight, Verb},
    metrics::Metrics,
    propose::Proposer,
    raft::{Applied, Group, Progress, Restored, Server, describe_backup},
    read::Reader,
    rt::{self, timeout},
    serve::Served,
    stamp::{Stamper, system_clock},
    transport::{Cut, Endpoint, EndpointFactory, udp_endpoint},
    watch as watching,
};

#[cfg(feature = "simulation")]
mod simulated;
mod tasks;

/// Time limits of the steps of a stop.
const HAND_OVER: Duration = Duration::from_secs(3);
const CLOSE: Duration = Duration::from_secs(1);
const SYNC: Duration = Duration::from_secs(30);

/// A member of the cluster. Cheap to clone; all clones are the same member.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    endpoint: Endpoint,
    cut: Cut,
    group: Group,
    proposer: Arc<Proposer>,
    reader: Arc<Reader>,
    office: Arc<Office>,
    removed: Arc<AtomicBool>,
    applied: Arc<Applied>,
    publisher: Publisher,
    progress: watch::Receiver<Progress>,
    store: Arc<Store>,
    leaving: watch::Sender<bool>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("node", &self.inner.config.node).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Opens a member over an ordinary UDP socket. Must be called inside a tokio runtime.
    ///
    /// `store` and `opening` are what `Store::open` gave. Errors: faults of the configuration
    /// (all at once), an unusable identity, a port in use, unreadable stores.
    pub async fn open(
        config: Config,
        identity: &Identity,
        store: Store,
        opening: &Opening,
        registry: &Registry,
    ) -> Result<Self, OpenError> {
        let cut = Cut::default();
        let factory = udp_endpoint(&cut);
        Self::open_with(config, identity, store, opening, registry, (&factory, cut)).await
    }

    /// As `open`, with an endpoint of the caller's making and the cable that it was made with.
    pub async fn open_with(
        config: Config,
        identity: &Identity,
        store: Store,
        opening: &Opening,
        registry: &Registry,
        (factory, cut): (&EndpointFactory, Cut),
    ) -> Result<Self, OpenError> {
        let faults = config.validate();
        if !faults.is_empty() {
            return Err(OpenError::Config(faults));
        }
        let metrics = Metrics::new(registry)?;
        let endpoint = Endpoint::open(&config, identity, factory, &metrics)?;
        let stamper = Stamper::new(system_clock);
        Self::start(config, endpoint, cut, stamper, (store, opening), &metrics).await
    }

    async fn start(
        config: Config,
        endpoint: Endpoint,
        cut: Cut,
        stamper: Stamper,
        (store, opening): (Store, &Opening),
        metrics: &Metrics,
    ) -> Result<Self, OpenError> {
        let store = Arc::new(store);
        let applied = Arc::new(Applied::new(stamper));
        let publisher = Publisher::new(config.effects_kept, metrics);
        let started = Group::start(
            &config,
            &store,
            opening,
            endpoint.links(),
            applied.clone(),
            publisher.clone(),
            metrics,
        );
        let (group, server) = match started.await {
            Ok(started) => started,
            Err(error) => {
                endpoint.stop(CLOSE).await;
                return Err(error);
            }
        };
        let parts = Parts { config, endpoint, cut, applied, publisher, store };
        let inner = parts.assemble(group, server, metrics);
        inner.start_tasks(metrics);
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Proposes a change from any node; answers its log index and outcome once it is applied on
    /// the leader: committed by a quorum and synced there.
    ///
    /// Retries with the same id until the deadline. After `Deadline` the change may or may not
    /// be made; propose it again under the same id.
    pub async fn propose(
        &self,
        id: ProposalId,
        author: Author,
        change: Change,
        deadline: Duration,
    ) -> Result<(u64, Outcome), Unavailable> {
        self.inner.proposer.propose(id, author, change, deadline).await
    }

    /// Asks for a change of the members, from any node: the leader grants or refuses it, and an
    /// audit record says so. Granted means begun: `status` shows how far it is.
    ///
    /// The same id is the same wish. Refusals: `unknown_node`, `node_exists`, `bad_node`,
    /// `node_unreachable`, `foreign_certificate`, `node_not_empty`, `learner_lags`,
    /// `already_voter`, `would_lose_quorum`, `last_voter`, `last_serving`, `change_in_progress`,
    /// `no_heir`, `not_voter`, `node_draining`.
    pub async fn change_members(
        &self,
        id: ProposalId,
        author: Author,
        verb: Verb,
        deadline: Duration,
    ) -> Result<(u64, Outcome), Unavailable> {
        self.inner.office.ask(id, author, verb, deadline).await
    }

    /// The name of a member; none for a number that is no member's.
    pub fn node_name(&self, id: NodeId) -> Option<String> {
        let progress = self.inner.progress.borrow();
        progress.members.get(&id.0).map(|member| member.name.clone())
    }

    /// Whether a node is drained, by what is applied here.
    pub fn is_drained(&self, node: NodeId) -> bool {
        self.inner.office.is_drained(node)
    }

    /// Whether this node's disk is almost full: it takes no entries and does not lead.
    pub fn is_disk_full(&self) -> bool {
        self.inner.store.space.is_full()
    }

    /// Whether this node was removed from the cluster.
    pub fn is_removed(&self) -> bool {
        self.inner.removed.load(Ordering::Acquire)
    }

    /// This node's state as of now, possibly behind the leader.
    pub fn view(&self) -> LocalView {
        let (index, _) = self.inner.applied.point();
        LocalView::new(self.inner.store.tables.clone(), index)
    }

    /// A view that holds everything that was acknowledged, anywhere, before the call.
    pub async fn linearizable(&self, deadline: Duration) -> Result<LocalView, Unavailable> {
        self.inner.reader.settle(deadline).await?;
        Ok(self.view())
    }

    /// The stored values, as of what this node has applied.
    pub fn readings(&self) -> Segments {
        self.inner.store.segments.clone()
    }

    /// A new listener for effects of entries applied here from now on.
    pub fn effects(&self) -> Effects {
        self.inner.publisher.listen()
    }

    /// The cluster as this node sees it.
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        let progress = inner.progress.borrow().clone();
        let (applied_index, state_hash) = inner.applied.point();
        // The stores first: they know the code and the file.
        let fault = inner.store.fault().map(|fault| fault.report());
        let fault = fault.or(inner.applied.fault()).or(progress.fault.clone());
        let role = progress.role.filter(|_| fault.is_none()).unwrap_or(Role::Halted);
        // A fault of the tables stands in `fault` already.
        let sight = inner
            .office
            .sight()
            .unwrap_or_else(|_| Sight { progress: progress.clone(), ..Sight::default() });
        let peers = inner.known_nodes(&progress);
        let leader = peers.iter().find(|peer| progress.leader == Some(peer.id.0));
        Status {
            node: inner.config.node,
            name: inner.config.name.clone(),
            role,
            leader: leader.map(|peer| peer.name.clone()),
            term: progress.term,
            commit_index: progress.commit.max(applied_index),
            applied_index,
            state_hash,
            fault,
            removed: self.is_removed(),
            disk_full: self.is_disk_full(),
            voters: progress.voters.len(),
            tolerates: progress.voters.len().saturating_sub(1) / 2,
            moving: progress.moving || (role == Role::Leader && sight.plan() != Plan::Idle),
            nodes: peers.iter().map(|peer| inner.node_status(peer, role, &sight)).collect(),
        }
    }

    /// The state hash at a log index, for the last 4096 indexes applied here.
    pub fn hash_at(&self, index: u64) -> Option<[u8; 32]> {
        self.inner.applied.hash_at(index)
    }

    /// The time by which leases and deadlines are judged: never behind an applied stamp.
    pub fn stamp_now(&self) -> Stamp {
        self.inner.applied.stamper().now()
    }

    /// The bound address of the node endpoint.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.inner.endpoint.local_address().ok()
    }

    /// Asks for a snapshot now; it is written in the background.
    pub async fn snapshot(&self) {
        if let Err(error) = self.inner.group.snapshot().await {
            tracing::warn!(error, "no snapshot is made");
        }
    }

    /// Links the files of a snapshot into a new folder on the file system of the stores. The
    /// snapshot is made now and holds everything that was acknowledged, anywhere, before the call.
    pub async fn export(
        &self,
        to: PathBuf,
        deadline: Duration,
    ) -> Result<(Manifest, Restored), ExportError> {
        self.inner.reader.settle(deadline).await.map_err(ExportError::Unavailable)?;
        let inner = self.inner.clone();
        let export = move || -> io::Result<_> {
            let index = inner.group.snapshot_now()?;
            let manifest = inner.store.snapshots.export(index, &to)?;
            let described = describe_backup(&manifest.meta)?;
            Ok((manifest, described))
        };
        let done = rt::blocking(export).await;
        done.and_then(|done| done).map_err(ExportError::Store)
    }

    /// Hands leadership over, if this node has it; true when this node does not lead afterwards.
    pub async fn transfer_leader(&self) -> bool {
        let inner = &self.inner;
        let leads = |progress: &Progress| progress.role == Some(Role::Leader);
        let now = inner.progress.borrow().clone();
        if !leads(&now) {
            return true;
        }
        let Some(heir) = watching::heir(&now, &inner.endpoint.links(), &inner.drained()) else {
            return false;
        };
        if inner.group.transfer_leader(heir).await.is_err() {
            return false;
        }
        let mut progress = inner.progress.clone();
        let other = |now: &Progress| now.leader.is_some_and(|leader| leader != inner.config.node.0);
        timeout(HAND_OVER, progress.wait_for(other)).await.is_ok()
    }

    /// Shows another certificate to the other nodes from now on, without a stop: it is tried at
    /// every node whose link stands before it is taken. Answers how many nodes took it.
    ///
    /// Errors, with everything as it was, when it cannot be used or a node refuses it.
    pub async fn renew_identity(&self, identity: &Identity) -> Result<usize, OpenError> {
        self.inner.endpoint.renew(&self.inner.config, identity).await
    }

    /// The cable of this node's links: pulled, it neither hears its peers nor is heard. For drills.
    pub fn cable(&self) -> Cut {
        self.inner.cut.clone()
    }

    /// Behaves for so long as with a full disk; nothing is written for it. For drills.
    pub fn pretend_full(&self, hold: Duration) {
        self.inner.store.space.pretend_full(hold);
    }

    /// Says that this node is about to stop: from now on a lost quorum or a stall is no news,
    /// because peers may be stopping at the same time. Proposals are still taken until `stop`.
    pub fn begin_stop(&self) {
        self.inner.leaving.send_replace(true);
    }

    /// Ends consensus and links at once, without hand-over and without saving anything: what a
    /// crash leaves, as far as one process can show it. For failure drills and tests.
    pub async fn halt(&self) {
        self.begin_stop();
        self.inner.proposer.close();
        self.inner.endpoint.stop(Duration::ZERO).await;
        self.inner.group.stop().await;
        self.stop_store().await;
    }

    /// Stops the member in order: proposals, leadership, consensus, links, stores.
    ///
    /// Each step has a time limit. Calling it twice is harmless.
    pub async fn stop(&self) {
        let inner = &self.inner;
        self.begin_stop();
        inner.proposer.close();
        if !self.transfer_leader().await {
            tracing::info!("no other node takes the leadership; the cluster elects without us");
        }
        let checkpoint = inner.clone();
        let saved = rt::blocking(move || {
            checkpoint.group.between_runs(|index| checkpoint.store.checkpoint(index))
        });
        match timeout(SYNC, saved).await {
            Ok(Ok(Ok(()))) => {}
            told => tracing::info!(?told, "open days are not saved; the log replaces that"),
        }
        inner.group.stop().await;
        inner.endpoint.stop(CLOSE).await;
        self.stop_store().await;
    }

    async fn stop_store(&self) {
        let store = self.inner.store.clone();
        match timeout(SYNC, rt::blocking(move || store.stop())).await {
            Ok(Ok(Ok(()))) => {}
            told => tracing::warn!(?told, "the stores did not stop cleanly"),
        }
    }
}

/// What stands before consensus does.
struct Parts {
    config: Config,
    endpoint: Endpoint,
    cut: Cut,
    applied: Arc<Applied>,
    publisher: Publisher,
    store: Arc<Store>,
}

impl Parts {
    /// Puts the rooms around a running group together and begins to answer peers.
    fn assemble(self, group: Group, server: Server, metrics: &Metrics) -> Inner {
        let Self { config, endpoint, cut, applied, publisher, store } = self;
        let (progress, leadership) = group.follow();
        let links = endpoint.links();
        let proposer = Arc::new(Proposer::new(
            &config,
            group.clone(),
            links.clone(),
            (progress.clone(), leadership.clone()),
            applied.clone(),
            store.space.clone(),
            metrics,
        ));
        let reader = Arc::new(Reader::new(
            config.node.0,
            group.clone(),
            links.clone(),
            leadership,
            applied.clone(),
        ));
        let office = Arc::new(Office::new(
            &config,
            group.clone(),
            links,
            proposer.clone(),
            progress.clone(),
            applied.clone(),
            store.tables.clone(),
        ));
        let served = Served {
            group: group.clone(),
            server,
            proposer: proposer.clone(),
            reader: reader.clone(),
            office: office.clone(),
            segments: store.segments.clone(),
        };
        endpoint.serve(Arc::new(served));
        Inner {
            config,
            endpoint,
            cut,
            group,
            proposer,
            reader,
            office,
            removed: Arc::default(),
            applied,
            publisher,
            progress,
            store,
            leaving: watch::Sender::new(false),
        }
    }
}

impl Inner {
    /// The members, or the configured nodes while none is known.
    fn known_nodes(&self, progress: &Progress) -> Vec<crate::Peer> {
        if progress.members.is_empty() {
            return self.config.peers.clone();
        }
        let members = progress.members.iter().map(|(id, member)| crate::Peer {
            id: NodeId(*id),
            name: member.name.clone(),
            address: member.address.clone(),
            http: member.http.clone(),
        });
        members.collect()
    }

    fn drained(&self) -> BTreeSet<u64> {
        self.office.sight().map(|sight| sight.drained).unwrap_or_default()
    }

    fn node_status(&self, peer: &crate::Peer, own: Role, sight: &Sight) -> NodeStatus {
        let progress = &sight.progress;
        let id = peer.id.0;
        let link = self.endpoint.links().get(id);
        let voter = progress.voters.contains(&id);
        let itself = peer.id == self.config.node;
        let role = match progress.leader {
            _ if itself => own,
            Some(leader) if leader == id => Role::Leader,
            _ if voter => Role::Follower,
            _ => Role::Learner,
        };
        let own_match = itself.then(|| self.applied.point().0);
        NodeStatus {
            id: NodeId(id),
            name: peer.name.clone(),
            address: peer.address.clone(),
            http: peer.http.clone(),
            role,
            matched: progress.matched.get(&id).copied().or(own_match),
            reachable: itself || link.as_ref().is_some_and(|link| link.is_up()),
            trouble: link.and_then(|link| link.trouble()).map(|trouble| trouble.to_string()),
            voter,
            drained: sight.drained.contains(&id),
            wish: sight.wish_of(id).and_then(|wished| match wished.wish {
                domain::members::Wish::Gone => Some("gone"),
                domain::members::Wish::Voter if !voter => Some("voter"),
                _ => None,
            }),
        }
    }
}
