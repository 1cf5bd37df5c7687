//! Where the field and the log meet: answers the gateway's questions through the cluster, and runs
//! the node's jobs.
//!
//! Not here: how a channel or the log works. Map: `upcalls` answers questions; `ingest` gathers
//! parts of many channels into one proposal; `tiers` moves old months; `lease`
//! keeps this node alive and says whether it may act; `failover` wakes standbys of lost owners;
//! `direct` spreads meters with their own address; `outbox` executes commands; `live` reads for
//! those who look at a meter;
//! `rollouts` asks for the steps of what is done to many concentrators;
//! `tasks` begins runs of collection tasks and says what is to be read; `search` follows names;
//! `jobs` holds what else the leader does by the clock.
//!
//! Invariants: every task ends at the stop signal; every queue is bounded; nothing here decides
//! what a change means.

mod clocks;
mod direct;
mod failover;
mod ingest;
mod jobs;
mod lease;
mod live;
mod outbox;
pub mod power;
mod rollouts;
pub mod search;
mod tasks;
pub mod tiers;
mod upcalls;

use std::sync::Arc;
use std::time::Duration;

use cluster::Cluster;
use domain::{Author, Change, Done, NodeId, ProposalId, Refusal};
use gateway::{Gateway, Upcall};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::app::App;

pub use lease::Licence;

/// What every task of the wiring uses; cheap to clone.
#[derive(Clone)]
pub struct Wires {
    /// Configuration, master key, metrics.
    pub app: App,
    /// The shared log.
    pub cluster: Cluster,
    /// Channels to the field.
    pub gateway: Gateway,
    /// This node.
    pub node: NodeId,
    /// This node's DLMS client system title.
    pub client_title: [u8; 8],
    /// Whether this node may act.
    pub licence: Arc<Licence>,
    stop: watch::Receiver<bool>,
}

/// Why a proposal did not do what was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotDone {
    /// No by rule.
    Refused(Refusal),
    /// No answer now; the same again later.
    Unavailable,
}

impl Wires {
    /// Proposes a change of this node under a new id.
    pub async fn propose(&self, change: Change, deadline: Duration) -> Result<Done, NotDone> {
        let id = match crate::secret::random::<16>() {
            Ok(octets) => ProposalId(octets),
            Err(error) => {
                tracing::error!(%error, "no proposal id");
                return Err(NotDone::Unavailable);
            }
        };
        let author = Author::Node(self.node);
        match self.cluster.propose(id, author, change, deadline).await {
            Ok((_, outcome)) => outcome.map_err(NotDone::Refused),
            Err(error) => {
                tracing::debug!(%error, "a proposal got no answer");
                Err(NotDone::Unavailable)
            }
        }
    }

    /// Sleeps, or ends early at the stop. False: stop now.
    async fn pause(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.stopped()).await.is_err()
    }

    /// Waits for the stop. Safe to cancel; keeps no guard of the watched value.
    async fn stopped(&self) {
        let mut stop = self.stop.clone();
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Whether the node is about to stop.
    fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Logs a fault of the state once where it is met; the job goes on.
    fn fault(&self, job: &'static str, fault: &domain::Fault) {
        self.app.metrics().jobs.with_label_values(&[job, "fault"]).inc();
        tracing::error!(job, %fault, "the state cannot be read");
    }
}

/// The running tasks.
pub struct Wiring {
    wires: Wires,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    answering: JoinSet<()>,
}

impl Wiring {
    /// Starts everything.
    pub fn start(
        app: App,
        cluster: Cluster,
        gateway: Gateway,
        client_title: [u8; 8],
        questions: mpsc::Receiver<Upcall>,
    ) -> Wiring {
        let (stop, stopped) = watch::channel(false);
        let node = NodeId(app.config().node.id);
        let licence = Arc::new(Licence::default());
        let wires = Wires { app, cluster, gateway, node, client_title, licence, stop: stopped };
        // Concentrators may have dialled already: they stay standbys until the first renewal.
        wires.gateway.suspend();
        let mut tasks = JoinSet::new();
        tasks.spawn(lease::run(wires.clone()));
        tasks.spawn(lease::guard(wires.clone()));
        tasks.spawn(failover::run(wires.clone()));
        tasks.spawn(direct::run(wires.clone()));
        tasks.spawn(outbox::run(wires.clone()));
        tasks.spawn(live::run(wires.clone()));
        tasks.spawn(jobs::expire(wires.clone()));
        tasks.spawn(jobs::seal(wires.clone()));
        tasks.spawn(jobs::compact(wires.clone()));
        tasks.spawn(jobs::collect(wires.clone()));
        tasks.spawn(self::tasks::run(wires.clone()));
        tasks.spawn(clocks::run(wires.clone()));
        tasks.spawn(rollouts::run(wires.clone()));
        tasks.spawn(jobs::note_sessions(wires.clone()));
        tasks.spawn(jobs::tell_looks(wires.clone()));
        tasks.spawn(search::run(wires.clone()));
        tasks.spawn(tiers::run(wires.clone()));
        tasks.spawn(jobs::end_drills(wires.clone()));
        tasks.spawn(jobs::miss_drills(wires.clone()));
        tasks.spawn(jobs::sign_trail(wires.clone()));
        tasks.spawn(power::run(wires.clone()));
        let mut answering = JoinSet::new();
        answering.spawn(upcalls::run(wires.clone(), questions));
        Wiring { wires, stop, tasks, answering }
    }

    /// Stops the jobs; channels may still ask, so that they can give their leases back.
    pub async fn stop_jobs(&mut self, limit: Duration) -> bool {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let ended = tokio::time::timeout(limit, all).await.is_ok();
        self.tasks.abort_all();
        ended
    }

    /// Gives back what this node still owns, so that others need not wait for its lease to end.
    pub async fn release_leases(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, lease::release_all(&self.wires)).await.is_ok()
    }

    /// Ends the answering of questions, when no channel is left to ask.
    pub async fn stop_answers(&mut self) {
        self.answering.shutdown().await;
    }
}
