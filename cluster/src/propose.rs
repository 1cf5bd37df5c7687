//! The road into the log: stamp and propose on the leader, forward from everywhere else.
//!
//! Not here: what a change means; deduplication (the domain does it by proposal id).
//! Invariants:
//! 1. Every attempt carries the same proposal id, so a change is made once however often it is
//!    sent.
//! 2. An attempt is dropped as soon as another leader is known; none outlives the deadline.
//! 3. Proposals waiting at a node are bounded, its own and forwarded ones apart.
//! 4. Entries that a leader has appended and not applied are bounded, whether somebody still waits
//!    for them or not: who gave up asks again, and a log that takes every repetition falls behind
//!    for ever. Only renewals of nodes' leases pass by, for they keep the cluster able to act.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use domain::{Author, Change, Entry, Outcome, Proposal, ProposalId, Stamp, leases};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::{
    config::Config,
    error::Unavailable,
    metrics::Metrics,
    raft::{Applied, Group, Leadership, NotServed, Progress},
    rt::{Instant, now, sleep, spawn, timeout, timeout_at},
    transport::{Kind, Links},
};

/// Pause before the next attempt when no better news came.
const PAUSE: Duration = Duration::from_millis(10);

/// Longest single attempt at a remote leader; a leader that is slower is asked again.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Most entries that a leader has appended and not applied: some tenths of a second of work.
const UNAPPLIED: usize = 1024;

/// After this time an entry that was never answered gives its place back: its fate is then told by
/// the log alone.
const PLACE: Duration = Duration::from_secs(30);

/// What a node sends to the leader.
#[derive(Serialize, Deserialize)]
struct Forward {
    proposal: Proposal,
    ttl_ms: u64,
}

/// Why a leader did not take a forwarded proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NotTaken {
    NotLeader,
    Busy,
    Late,
    Stopped,
    Full,
}

/// Takes proposals at one node.
pub(crate) struct Proposer {
    node: u64,
    group: Group,
    links: Links,
    progress: watch::Receiver<Progress>,
    leadership: watch::Receiver<Leadership>,
    applied: Arc<Applied>,
    own: Semaphore,
    forwarded: Semaphore,
    unapplied: Arc<Semaphore>,
    max_in_flight: usize,
    max_entry_octets: usize,
    stopping: AtomicBool,
    removed: AtomicBool,
    space: storage::Space,
    metrics: Metrics,
}

impl Proposer {
    pub fn new(
        config: &Config,
        group: Group,
        links: Links,
        (progress, leadership): (watch::Receiver<Progress>, watch::Receiver<Leadership>),
        applied: Arc<Applied>,
        space: storage::Space,
        metrics: &Metrics,
    ) -> Self {
        Self {
            node: config.node.0,
            group,
            links,
            progress,
            leadership,
            applied,
            own: Semaphore::new(config.max_in_flight),
            forwarded: Semaphore::new(config.max_in_flight),
            unapplied: Arc::new(Semaphore::new(UNAPPLIED)),
            max_in_flight: config.max_in_flight,
            max_entry_octets: config.max_entry_octets,
            stopping: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            space,
            metrics: metrics.clone(),
        }
    }

    /// From now on every proposal is answered `Stopping`.
    pub fn close(&self) {
        self.stopping.store(true, Ordering::Release);
        self.own.close();
    }

    /// From now on every proposal is answered `Removed`.
    pub fn set_removed(&self) {
        self.removed.store(true, Ordering::Release);
    }

    /// Proposals in flight at this node, its own and forwarded ones.
    pub fn waiting(&self) -> usize {
        let free = self.own.available_permits() + self.forwarded.available_permits();
        (self.max_in_flight * 2).saturating_sub(free)
    }

    /// See `Cluster::propose`.
    pub async fn propose(
        &self,
        id: ProposalId,
        author: Author,
        change: Change,
        deadline: Duration,
    ) -> Result<(u64, Outcome), Unavailable> {
        let started = now();
        let proposal = Proposal { id, author, change };
        let result = self.admit(proposal, started + deadline).await;
        let label = match &result {
            Ok((_, Ok(_))) => "done",
            Ok((_, Err(_))) => "refused",
            Err(unavailable) => unavailable.code(),
        };
        self.metrics.proposals.with_label_values(&[label]).inc();
        self.metrics.propose_seconds.observe((now() - started).as_secs_f64());
        result
    }

    async fn admit(
        &self,
        proposal: Proposal,
        deadline: Instant,
    ) -> Result<(u64, Outcome), Unavailable> {
        // Sized under the widest stamp, so that the leader's stamp cannot make it too large.
        let entry = Entry { stamp: Stamp(u64::MAX), proposal };
        let limit = self.max_entry_octets;
        let octets = entry.encode().map_or(limit + 1, |octets| octets.len());
        if octets > limit {
            return Err(Unavailable::TooLarge { octets, limit });
        }
        let slot = timeout_at(deadline, self.own.acquire()).await;
        let _slot = slot.map_err(|_| Unavailable::Busy)?.map_err(|_| Unavailable::Stopping)?;
        self.metrics.proposals_waiting.inc();
        let result = self.until_answered(&entry.proposal, deadline).await;
        self.metrics.proposals_waiting.dec();
        result
    }

    /// Attempts until one is answered; the deadline ends everything.
    async fn until_answered(
        &self,
        proposal: &Proposal,
        deadline: Instant,
    ) -> Result<(u64, Outcome), Unavailable> {
        let mut leadership = self.leadership.clone();
        let (mut sent, mut full) = (false, false);
        while now() < deadline {
            if self.removed.load(Ordering::Acquire) {
                return Err(Unavailable::Removed);
            }
            if let Some(fault) = self.applied.fault() {
                return Err(Unavailable::Halted(fault));
            }
            let (leader, term) = *leadership.borrow_and_update();
            let Some(leader) = leader else {
                let change = leadership.changed();
                match timeout_at(deadline, change).await {
                    Ok(Ok(())) => continue,
                    Ok(Err(_)) => return Err(Unavailable::Stopping),
                    Err(_) => break,
                }
            };
            let mut news = self.leadership.clone();
            sent |= leader == self.node || self.links.get(leader).is_some_and(|link| link.is_up());
            tokio::select! {
                // An answer that is there counts, whoever leads by now.
                biased;
                answer = timeout_at(deadline, self.attempt(leader, proposal, deadline)) => {
                    match answer {
                        Ok(Ok(answer)) => return Ok(answer),
                        Ok(Err(NotTaken::Stopped)) if leader == self.node => {
                            return Err(self.stopped());
                        }
                        Ok(Err(not)) => full = not == NotTaken::Full,
                        Err(_) => break,
                    }
                }
                _ = news.wait_for(|told| *told != (Some(leader), term)) => {}
            }
            // Either news of a leader or a short pause, whichever comes first; who stops has none.
            if let Ok(Err(_)) = timeout(PAUSE, leadership.changed()).await {
                return Err(Unavailable::Stopping);
            }
        }
        Err(match (full, sent) {
            (true, _) => Unavailable::DiskFull,
            (false, true) => Unavailable::Deadline,
            (false, false) => Unavailable::NoLeader,
        })
    }

    fn stopped(&self) -> Unavailable {
        match self.applied.fault().or(self.progress.borrow().fault.clone()) {
            Some(fault) => Unavailable::Halted(fault),
            None => Unavailable::Stopping,
        }
    }

    async fn attempt(
        &self,
        leader: u64,
        proposal: &Proposal,
        deadline: Instant,
    ) -> Result<(u64, Outcome), NotTaken> {
        if leader == self.node {
            return self.here(proposal.clone()).await;
        }
        let ttl = deadline.saturating_duration_since(now()).min(ATTEMPT);
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let forward = Forward { proposal: proposal.clone(), ttl_ms };
        let body = postcard::to_stdvec(&forward).map_err(|_| NotTaken::Stopped)?;
        let link = self.links.get(leader).ok_or(NotTaken::NotLeader)?;
        let answer = link.call(Kind::Propose, &body, ttl).await.map_err(|_| NotTaken::NotLeader)?;
        let answer = postcard::from_bytes::<Result<(u64, Outcome), NotTaken>>(&answer);
        answer.unwrap_or(Err(NotTaken::Stopped))
    }

    /// Stamps and proposes as the leader, when it is this proposal's turn.
    ///
    /// Whoever stops waiting before that has changed nothing; later, the entry keeps its place
    /// until it is applied.
    pub async fn here(&self, proposal: Proposal) -> Result<(u64, Outcome), NotTaken> {
        let place = match keeps_acting(&proposal.change) {
            true => None,
            false => {
                let place = self.unapplied.clone().acquire_owned().await;
                Some(place.map_err(|_| NotTaken::Stopped)?)
            }
        };
        if self.stopping.load(Ordering::Acquire) {
            return Err(NotTaken::NotLeader);
        }
        if self.space.is_full() {
            // The asker waits for another leader, which is on its way if one is to be had.
            return Err(NotTaken::Full);
        }
        let entry = Entry { stamp: self.applied.stamper().next(), proposal };
        let octets = entry.encode().map_err(|_| NotTaken::Stopped)?;
        let group = self.group.clone();
        let (tell, told) = oneshot::channel();
        spawn(async move {
            let answer = timeout(PLACE, group.propose(octets)).await;
            drop(place);
            // Nobody waits any more when its time was over.
            let _gone = tell.send(answer.unwrap_or(Err(NotServed::NoQuorum)));
        });
        let answer = told.await.map_err(|_| NotTaken::Stopped)?;
        answer.map_err(|not| match not {
            NotServed::NotLeader | NotServed::NoQuorum => NotTaken::NotLeader,
            NotServed::Stopped(why) => {
                tracing::warn!(why, "consensus does not take a proposal");
                NotTaken::Stopped
            }
        })
    }

    /// Answers a proposal that a peer forwarded; `None` when it cannot be read.
    pub async fn answer(&self, body: &[u8]) -> Option<Bytes> {
        let forward: Forward = postcard::from_bytes(body).ok()?;
        let ttl = Duration::from_millis(forward.ttl_ms).min(ATTEMPT);
        let answer = match self.forwarded.try_acquire() {
            Ok(_slot) => {
                let taken = timeout(ttl, self.here(forward.proposal)).await;
                taken.unwrap_or(Err(NotTaken::Late))
            }
            Err(_) => {
                sleep(PAUSE).await;
                Err(NotTaken::Busy)
            }
        };
        postcard::to_stdvec(&answer).ok().map(Bytes::from)
    }
}

/// Whether a change keeps nodes able to act: without it they would all step back in a storm, and
/// the storm would grow. There is one of it a second for each node.
fn keeps_acting(change: &Change) -> bool {
    matches!(change, Change::Leases(leases::Change::Renew { .. }))
}
