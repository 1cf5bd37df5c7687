//! The task that makes the members what is wished, on the leader, and lets links follow them, on
//! every node.
//!
//! Not here: what to do next (`plan`).
//! Invariant: a step that fails is tried again after a pause; nothing is skipped.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use domain::{Author, Change, NodeId, Proposal, ProposalId, members};
use tokio::sync::watch;

use super::{
    Office, Plan, Sight,
    plan::{self, Step},
};
use crate::{
    raft::Member,
    rt::{sleep, timeout, unless},
    status::Role,
};

/// How often the members are looked at when nobody asks for anything.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Longest single step.
const STEP: Duration = Duration::from_secs(10);
/// Pause after a step that failed.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// The task and what it tells.
pub(crate) struct Keeper {
    pub office: Arc<Office>,
    /// Set when this node was removed from the cluster.
    pub removed: Arc<AtomicBool>,
    /// Nodes that this node's configuration names.
    pub configured: BTreeSet<u64>,
}

impl Keeper {
    /// Runs until consensus stops or this node begins to.
    pub async fn run(self, mut leaving: watch::Receiver<bool>) {
        unless(leaving.wait_for(|leaving| *leaving), self.keep()).await;
    }

    async fn keep(&self) {
        let mut voters_told = None;
        let mut unlisted_told = BTreeSet::new();
        while self.office.progress.has_changed().is_ok() {
            let _either = timeout(LOOK_EVERY, self.office.poke.notified()).await;
            let sight = match self.office.sight() {
                Ok(sight) => sight,
                Err(fault) => {
                    tracing::error!(%fault, "the members cannot be read");
                    sleep(AFTER_FAILURE).await;
                    continue;
                }
            };
            self.tell_voters(&sight, &mut voters_told);
            self.tell_unlisted(&sight, &mut unlisted_told);
            if self.office.follow(&sight) && !self.removed.swap(true, Ordering::AcqRel) {
                self.office.proposer.set_removed();
                tracing::error!(
                    code = "node_removed",
                    "this node was removed from the cluster: it takes no writes any more; stop it, \
                     and give a node that shall come back an empty folder and a new number"
                );
            }
            if sight.progress.role == Some(Role::Leader)
                && let Plan::Do(step) = sight.plan()
            {
                self.make(&step, &sight).await;
            }
        }
    }

    async fn make(&self, step: &Step, sight: &Sight) {
        let done = timeout(STEP, self.try_step(step, sight)).await;
        match done.unwrap_or_else(|_| Err("it took too long".to_owned())) {
            Ok(()) => tracing::info!(?step, "a step of the members' change is made"),
            Err(why) => {
                tracing::warn!(?step, why, "a step of the members' change is tried again");
                sleep(AFTER_FAILURE).await;
            }
        }
    }

    async fn try_step(&self, step: &Step, sight: &Sight) -> Result<(), String> {
        let group = &self.office.group;
        match step {
            Step::Settle => group.settle_members().await,
            Step::Admit(node) => group.add_learner(node.id.0, Member::from(node)).await,
            Step::Change { join, leave } => {
                let ids = |id: &Option<u64>| -> Vec<u64> { id.iter().copied().collect() };
                group.change_voters(&ids(join), &ids(leave)).await?;
                // A replaced node of the first set-up has no row: its name is known only now.
                match leave.filter(|id| sight.wish_of(*id).is_none()) {
                    Some(id) => match sight.progress.members.get(&id) {
                        Some(member) => self.note_gone(plan::node(id, member)).await,
                        None => Ok(()),
                    },
                    None => Ok(()),
                }
            }
            Step::HandOver(heir) => {
                let handed = self.office.hand_over(*heir).await;
                if handed { Ok(()) } else { Err("the heir did not take the office".to_owned()) }
            }
            Step::NoteGone(node) => self.note_gone(node.clone()).await,
        }
    }

    async fn note_gone(&self, node: members::Node) -> Result<(), String> {
        let change = Change::Members(members::Change::Gone { node: node.clone() });
        let author = Author::Node(NodeId(self.office.node));
        // One id for one node: told twice, it is noted once.
        let mut id = *b"holdfast-gone\0\0\0";
        if let (Some(end), Some(low)) =
            (id.last_chunk_mut::<3>(), node.id.0.to_be_bytes().last_chunk::<3>())
        {
            *end = *low;
        }
        let proposal = Proposal { id: ProposalId(id), author, change };
        let told = self.office.proposer.here(proposal).await;
        let (_, outcome) = told.map_err(|not| format!("{not:?}"))?;
        outcome.map(|_| ()).map_err(|refusal| refusal.to_string())
    }

    /// One voter is no cluster, and whoever runs one should know.
    fn tell_voters(&self, sight: &Sight, told: &mut Option<usize>) {
        let voters = sight.progress.voters.len();
        if voters == 0 || *told == Some(voters) {
            return;
        }
        *told = Some(voters);
        match voters {
            1 => tracing::warn!(
                voters,
                "this cluster has one voter: there is no failover, and its disk is the only copy; \
                 add two nodes (holdfast member add)"
            ),
            2 => tracing::warn!(
                voters,
                "this cluster has two voters: if either is lost, the other takes no writes"
            ),
            _ => tracing::info!(voters, tolerates = (voters - 1) / 2, "voters of the cluster"),
        }
    }

    /// A lost disk must find the others by the configuration.
    fn tell_unlisted(&self, sight: &Sight, told: &mut BTreeSet<u64>) {
        for (id, member) in sight.progress.members.iter() {
            if !self.configured.contains(id) && told.insert(*id) {
                tracing::info!(
                    node = member.name,
                    address = member.address,
                    "a member that the configuration does not list; add it to [[cluster.peers]]"
                );
            }
        }
    }
}
