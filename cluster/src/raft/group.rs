//! A running Raft group behind a plain face: no type of the consensus library leaves this folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use domain::Outcome;
use openraft::{
    ChangeMembers, ReadPolicy, ServerState, SnapshotPolicy,
    async_runtime::watch::WatchReceiver,
    error::{ClientWriteError, LinearizableReadError, RaftError},
};
use storage::{Opening, Store, tables::Opened};
use tokio::sync::watch;

use super::{
    applied::Applied,
    log_store::LogStore,
    network::Network,
    server::Server,
    state_machine::StateMachine,
    types::{EntryId, Member, Payload, Raft},
};
use crate::{
    config::Config, effects::Publisher, error::OpenError, metrics::Metrics, rt, status::Role,
    transport::Links,
};

/// Where a group stands, as its own node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Role of this node; none while consensus does not run.
    pub role: Option<Role>,
    /// The leader, while one is known.
    pub leader: Option<u64>,
    /// Raft term.
    pub term: u64,
    /// Why consensus stopped here, if it did.
    pub fault: Option<String>,
    /// Highest log index known to be committed.
    pub commit: u64,
    /// Highest log index applied.
    pub applied: u64,
    /// Voters of the membership.
    pub voters: BTreeSet<u64>,
    /// On the leader: highest index stored at each node.
    pub matched: BTreeMap<u64, u64>,
    /// Every node of the membership, learners too.
    pub members: Arc<BTreeMap<u64, Member>>,
    /// Whether a change of the membership is under way.
    pub moving: bool,
    /// Whether such a change stands between its two steps.
    pub joint: bool,
}

/// The leader, while one is known, and the term.
pub type Leadership = (Option<u64>, u64);

/// Why this node could not serve what only a leader can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotServed {
    /// Another node leads, or nobody.
    NotLeader,
    /// A quorum did not confirm.
    NoQuorum,
    /// Consensus stopped here.
    Stopped(String),
}

/// A running group.
#[derive(Clone)]
pub struct Group {
    raft: Raft,
    machine: StateMachine,
    fresh: bool,
    members: Arc<Mutex<Known>>,
}

/// The members as of an entry, so that they need not be copied with every step.
type Known = (Option<EntryId>, Arc<BTreeMap<u64, Member>>);

impl Group {
    /// Starts consensus over open stores and links.
    pub async fn start(
        config: &Config,
        store: &Arc<Store>,
        opening: &Opening,
        links: Links,
        applied: Arc<Applied>,
        publisher: Publisher,
        metrics: &Metrics,
    ) -> Result<(Self, Server), OpenError> {
        let (opened, own) = (store.clone(), metrics.clone());
        let pause = Duration::from_millis(config.snapshot_pause_ms);
        let rebuild = matches!(opening.tables, Opened::Rebuild { .. });
        let stores = rt::blocking(move || -> io::Result<_> {
            let log = LogStore::open(opened.log.clone(), &own)?;
            let fresh = log.is_fresh();
            if rebuild {
                // What the snapshot lacks is applied again from the log by consensus.
                let from = opened.snapshots.rebuild()?.map(|manifest| manifest.index);
                tracing::warn!(?from, "the tables were damaged and are rebuilt");
            }
            let machine =
                StateMachine::open(&opened, &log, log.synced(), applied, publisher, &own, pause)?;
            cover(&log, &machine, opened.snapshots.newest().map(|manifest| manifest.index));
            Ok((log, machine, fresh))
        });
        let stores = stores.await.and_then(|stores| stores);
        let (log, machine, fresh) = stores.map_err(OpenError::Store)?;
        let network = Network::new(links, metrics);
        let settings = Arc::new(settings(config).map_err(OpenError::Raft)?);
        let raft = Raft::new(config.node.0, settings, network, log, machine.clone()).await;
        let raft = raft.map_err(|error| OpenError::Raft(error.to_string()))?;
        let server = Server::new(raft.clone(), store.snapshots.clone(), store.space.clone());
        Ok((Self { raft, machine, fresh, members: Arc::default() }, server))
    }

    /// Whether the log was empty when the group was started.
    pub fn was_fresh(&self) -> bool {
        self.fresh
    }

    /// Proposes an encoded entry as the leader; answers when it is applied here.
    pub async fn propose(&self, entry: Vec<u8>) -> Result<(u64, Outcome), NotServed> {
        let written = self.raft.client_write(Payload(Bytes::from(entry))).await;
        match written {
            Ok(written) => match written.data.0 {
                Some(outcome) => Ok((written.log_id.index, outcome)),
                None => Err(NotServed::Stopped("an entry was applied without outcome".to_owned())),
            },
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))
            | Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => {
                Err(NotServed::NotLeader)
            }
            Err(error) => Err(NotServed::Stopped(error.to_string())),
        }
    }

    /// The index up to which a read must wait, confirmed by a quorum just now. Leader only.
    pub async fn read_index(&self) -> Result<u64, NotServed> {
        #[cfg(feature = "seeded-bugs")]
        if domain::seeded::makes(domain::seeded::Bug::StaleRead) {
            let now = self.progress();
            let leads = now.role == Some(Role::Leader);
            return if leads { Ok(now.commit) } else { Err(NotServed::NotLeader) };
        }
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((read, _)) => Ok(read.index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => {
                Err(NotServed::NotLeader)
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(NotServed::NoQuorum)
            }
            Err(error) => Err(NotServed::Stopped(error.to_string())),
        }
    }

    /// Where the group stands now.
    pub fn progress(&self) -> Progress {
        let metrics = self.raft.metrics();
        let now = metrics.borrow_watched();
        let role = match now.state {
            ServerState::Learner => Role::Learner,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Leader => Role::Leader,
            ServerState::Shutdown => Role::Halted,
        };
        let role = if now.running_state.is_err() { Role::Halted } else { role };
        let matched = now.replication.iter().flatten();
        let membership = &now.membership_config;
        let committed = now.local_committed.map(|id| id.index);
        let joint = membership.membership().get_joint_config().len() > 1;
        Progress {
            role: Some(role),
            leader: now.current_leader,
            term: now.current_term,
            fault: now.running_state.as_ref().err().map(ToString::to_string),
            commit: now.local_committed.map_or(0, |id| id.index),
            applied: now.last_applied.map_or(0, |id| id.index),
            voters: now.membership_config.voter_ids().collect(),
            matched: matched.filter_map(|(id, at)| at.as_ref().map(|at| (*id, at.index))).collect(),
            members: self.members(membership.log_id().as_ref(), membership.nodes()),
            moving: joint || membership.log_id().as_ref().map(|id| id.index) > committed,
            joint,
        }
    }

    fn members<'a>(
        &self,
        id: Option<&EntryId>,
        nodes: impl Iterator<Item = (&'a u64, &'a Member)>,
    ) -> Arc<BTreeMap<u64, Member>> {
        let mut known = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0.as_ref() != id {
            let nodes = nodes.map(|(id, node)| (*id, node.clone())).collect();
            *known = (id.copied(), Arc::new(nodes));
        }
        known.1.clone()
    }

    /// Follows the progress; the channel closes when consensus stops.
    ///
    /// The second channel tells the leader and term alone, and only when they change: many wait
    /// on it, and progress moves with every entry.
    pub fn follow(&self) -> (watch::Receiver<Progress>, watch::Receiver<Leadership>) {
        let now = self.progress();
        let (tell, leadership) = watch::channel((now.leader, now.term));
        let (publish, progress) = watch::channel(now);
        let group = self.clone();
        let mut metrics = self.raft.metrics();
        rt::spawn(async move {
            while metrics.changed().await.is_ok() {
                let now = group.progress();
                let leadership = (now.leader, now.term);
                tell.send_if_modified(|told| std::mem::replace(told, leadership) != leadership);
                publish.send_if_modified(|told| {
                    let news = *told != now;
                    *told = now;
                    news
                });
            }
        });
        (progress, leadership)
    }

    /// Whether this node has ever been part of a cluster.
    pub async fn is_initialized(&self) -> bool {
        // A stopped consensus counts as initialised: nobody may bootstrap because of it.
        self.raft.is_initialized().await.unwrap_or(true)
    }

    /// Writes the first membership. Only for a node whose data is fresh.
    pub async fn initialize(&self, members: BTreeMap<u64, Member>) -> Result<(), String> {
        self.raft.initialize(members).await.map_err(|error| error.to_string())
    }

    /// Adds a node that receives the log without a vote. Leader only.
    pub async fn add_learner(&self, id: u64, member: Member) -> Result<(), String> {
        let added = self.raft.add_learner(id, member, false).await;
        added.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Lets learners vote and takes nodes out, in one step. Leader only.
    pub async fn change_voters(&self, join: &[u64], leave: &[u64]) -> Result<(), String> {
        let of = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<_>>();
        let mut changes = vec![ChangeMembers::AddVoterIds(of(join))];
        let voters: BTreeSet<u64> =
            self.raft.metrics().borrow_watched().membership_config.voter_ids().collect();
        let (voting, learning): (Vec<u64>, Vec<u64>) =
            leave.iter().copied().partition(|id| voters.contains(id));
        if !voting.is_empty() {
            changes.push(ChangeMembers::RemoveVoters(of(&voting)));
        }
        if !learning.is_empty() {
            changes.push(ChangeMembers::RemoveNodes(of(&learning)));
        }
        let changed = self.raft.change_membership(ChangeMembers::Batch(changes), false).await;
        changed.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Finishes a change that its leader left between the two steps. Leader only.
    pub async fn settle_members(&self) -> Result<(), String> {
        self.change_voters(&[], &[]).await
    }

    /// Whether this node may stand for election.
    pub fn set_candidate(&self, may: bool) {
        self.raft.runtime_config().elect(may);
    }

    /// Asks `to` to take leadership over.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), String> {
        self.raft.trigger().transfer_leader(to).await.map_err(|error| error.to_string())
    }

    /// Lets replication to all peers start anew without waiting for its pauses.
    pub async fn reset_replication(&self, peers: impl IntoIterator<Item = u64>) {
        // Fails only when consensus has stopped, which status tells.
        let _stopped = self.raft.trigger().reset_backoff(peers).await;
    }

    /// Asks for a snapshot now.
    pub async fn snapshot(&self) -> Result<(), String> {
        self.raft.trigger().snapshot().await.map_err(|error| error.to_string())
    }

    /// Writes a snapshot of what is applied now, without the pauses of [`Group::snapshot`].
    /// Blocks on the disk; answers its index.
    pub fn snapshot_now(&self) -> io::Result<u64> {
        self.machine.snapshot_now()
    }

    /// Calls `work` between two runs of entries, with the applied index. Blocks.
    pub fn between_runs<T>(&self, work: impl FnOnce(u64) -> T) -> T {
        self.machine.between_runs(work)
    }

    /// Stops consensus.
    pub async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "consensus did not stop cleanly");
        }
    }
}

/// Lets a snapshot hold what the log does not.
///
/// Nothing is applied before the own log has it on the disk, but a log can come back shorter than
/// it was all the same: a disk that lied, or one of a version that did not wait. Consensus then
/// begins the log behind the state, and as a leader would send a snapshot again and again that
/// ends before the log begins.
fn cover(log: &LogStore, machine: &StateMachine, newest: Option<u64>) {
    let applied = machine.between_runs(|applied| applied);
    let begins = log.begins_behind(applied);
    if begins > newest.unwrap_or(0) && begins <= applied {
        match machine.snapshot_now() {
            Ok(index) => tracing::info!(index, begins, "the log ended before the state"),
            Err(error) => tracing::warn!(%error, "no snapshot covers the beginning of the log"),
        }
    }
}

/// Never, but for a mistake that the simulation must find.
fn restores_leaders() -> bool {
    #[cfg(feature = "seeded-bugs")]
    if domain::seeded::makes(domain::seeded::Bug::LeaderRestored) {
        return true;
    }
    false
}

/// The consensus library's settings for our configuration.
fn settings(config: &Config) -> Result<openraft::Config, String> {
    let (least, most) = config.election_ms;
    let settings = openraft::Config {
        cluster_name: format!("holdfast-{}", config.group),
        heartbeat_interval: config.heartbeat_ms,
        election_timeout_min: least,
        election_timeout_max: most,
        // The time for opening the snapshot's stream; its frames have deadlines of their own.
        install_snapshot_timeout: 5_000,
        max_payload_entries: config.max_payload_entries,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_entries),
        replication_lag_threshold: config.snapshot_entries.saturating_add(config.keep_entries),
        max_in_snapshot_log_to_keep: config.keep_entries,
        enable_pre_vote: Some(true),
        // A follower that lost its disk comes back with a shorter log. Without this its leader
        // would panic over it, and the next leader would heal it all the same: an outage gained
        // and no safety. What a lost disk can lose is told in `membership`.
        allow_log_reversion: Some(true),
        // A leader sends entries to its peers while it syncs them itself. One that died in
        // between has lost what the others hold, and would give their indexes to other entries
        // under its old term. So whoever starts is elected before it leads again.
        enable_leader_restore: Some(restores_leaders()),
        ..openraft::Config::default()
    };
    settings.validate().map_err(|error| error.to_string())
}
