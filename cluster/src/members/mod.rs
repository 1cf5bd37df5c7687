//! Adding and removing nodes, draining them, handing the office over: asked on any node, granted
//! and carried out by the leader.
//!
//! A wish goes to the leader, which judges it (`judge`), writes it into the log, refused or not,
//! and lets the `keeper` do what it asks for step by step (`plan`). A leader that dies in the
//! middle leaves the wish in the log, where the next one finds it.
//!
//! Not here: the first membership (`crate::membership`), what a wish means (`domain::members`).
//! Invariants: one wish is judged at a time; the same proposal id is the same wish; a wish that is
//! refused stands in the audit trail like one that is granted.

mod judge;
mod keeper;
mod plan;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use domain::{
    Author, Change, Fault, NodeId, Outcome, Proposal, ProposalId,
    members::{self, Node, Wish},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as Desk, Notify, watch};

pub use judge::Verb;
use judge::{Probe, judge};
pub(crate) use keeper::Keeper;
pub(crate) use plan::{Plan, Sight};

use crate::{
    config::Config,
    error::Unavailable,
    propose::{NotTaken, Proposer},
    raft::{Applied, Group, NotServed, Progress},
    rt::{now, sleep, timeout},
    status::Role,
    transport::{Kind, Links, Trouble},
    view::LocalView,
};

/// Pause before the leader is asked again.
const PAUSE: Duration = Duration::from_millis(50);
/// Time for a node that is to join to answer its first call.
const PROBE: Duration = Duration::from_secs(4);
/// Time for a hand-over.
const HAND_OVER: Duration = Duration::from_secs(3);
/// A change that is done within this time does not make the next wish be refused.
const REST: Duration = Duration::from_millis(1_500);
/// Longest single attempt at a remote leader.
const ATTEMPT: Duration = Duration::from_secs(15);

/// A wish on its way to the leader.
#[derive(Clone, Serialize, Deserialize)]
struct Ask {
    id: ProposalId,
    author: Author,
    verb: Verb,
}

/// Where wishes are taken.
pub(crate) struct Office {
    node: u64,
    lag_entries: u64,
    group: Group,
    links: Links,
    proposer: Arc<Proposer>,
    progress: watch::Receiver<Progress>,
    applied: Arc<Applied>,
    tables: storage::Tables,
    /// Held while a wish is judged and written.
    desk: Desk<()>,
    /// The node that is being asked whether it may join; its link must not be dropped.
    probed: Mutex<Option<u64>>,
    poke: Notify,
}

impl Office {
    pub fn new(
        config: &Config,
        group: Group,
        links: Links,
        proposer: Arc<Proposer>,
        progress: watch::Receiver<Progress>,
        applied: Arc<Applied>,
        tables: storage::Tables,
    ) -> Self {
        Self {
            node: config.node.0,
            lag_entries: config.promote_lag_entries,
            group,
            links,
            proposer,
            progress,
            applied,
            tables,
            desk: Desk::default(),
            probed: Mutex::default(),
            poke: Notify::new(),
        }
    }

    /// See `Cluster::change_members`.
    pub async fn ask(
        &self,
        id: ProposalId,
        author: Author,
        verb: Verb,
        deadline: Duration,
    ) -> Result<(u64, Outcome), Unavailable> {
        let deadline = now() + deadline;
        let ask = Ask { id, author, verb };
        let mut sent = false;
        while now() < deadline {
            if let Some(fault) = self.applied.fault() {
                return Err(Unavailable::Halted(fault));
            }
            let leader = self.progress.borrow().leader;
            if let Some(leader) = leader {
                sent = true;
                let rest = deadline.saturating_duration_since(now()).min(ATTEMPT);
                let attempt = timeout(rest, self.attempt(leader, &ask, rest)).await;
                match attempt {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(NotTaken::Stopped)) if leader == self.node => {
                        return Err(Unavailable::Stopping);
                    }
                    _ => {}
                }
            }
            sleep(PAUSE).await;
        }
        Err(if sent { Unavailable::Deadline } else { Unavailable::NoLeader })
    }

    async fn attempt(
        &self,
        leader: u64,
        ask: &Ask,
        ttl: Duration,
    ) -> Result<(u64, Outcome), NotTaken> {
        if leader == self.node {
            return self.carry(ask).await;
        }
        let body = postcard::to_stdvec(ask).map_err(|_| NotTaken::Stopped)?;
        let link = self.links.get(leader).ok_or(NotTaken::NotLeader)?;
        let answer = link.call(Kind::Member, &body, ttl).await.map_err(|_| NotTaken::NotLeader)?;
        let answer = postcard::from_bytes::<Result<(u64, Outcome), NotTaken>>(&answer);
        answer.unwrap_or(Err(NotTaken::Stopped))
    }

    /// Answers a wish that a peer forwarded; `None` when it cannot be read.
    pub async fn answer(&self, body: &[u8]) -> Option<Bytes> {
        let ask: Ask = postcard::from_bytes(body).ok()?;
        let answer = timeout(ATTEMPT, self.carry(&ask)).await.unwrap_or(Err(NotTaken::Late));
        postcard::to_stdvec(&answer).ok().map(Bytes::from)
    }

    /// Judges a wish as the leader, writes it into the log and sees to it.
    async fn carry(&self, ask: &Ask) -> Result<(u64, Outcome), NotTaken> {
        let _desk = self.desk.lock().await;
        if self.progress.borrow().role != Some(Role::Leader) {
            return Err(NotTaken::NotLeader);
        }
        // The wish may stand in an earlier leader's log that this one has not applied yet: what it
        // brought about would be judged as somebody else's, under the same id.
        let index = self.group.read_index().await.map_err(|why| match why {
            NotServed::Stopped(_) => NotTaken::Stopped,
            NotServed::NotLeader | NotServed::NoQuorum => NotTaken::NotLeader,
        })?;
        self.applied.reached(index).await;
        if let Some(before) = domain::apply::outcome_of(&self.view(), &ask.id).map_err(faulty)? {
            return Ok(before);
        }
        let probe = match ask.verb.newcomer() {
            Some(node) => Some(self.probe(node).await),
            None => None,
        };
        let sight = self.rested().await.map_err(faulty)?;
        let judged = judge(&ask.verb, &sight, probe.as_ref());
        let change = judged.unwrap_or_else(|(code, detail)| {
            let (wish, code) = (ask.verb.words(), code.to_owned());
            members::Change::Object { wish, code, detail }
        });
        let told = format!("{change:?}");
        let change = Change::Members(change);
        let proposal = Proposal { id: ask.id, author: ask.author.clone(), change };
        let (index, outcome) = self.proposer.here(proposal).await?;
        match &outcome {
            Ok(_) => tracing::info!(index, change = told, "a wish about the members is granted"),
            Err(refusal) => tracing::info!(index, %refusal, "a wish about the members is refused"),
        }
        if let (Ok(_), Verb::HandOver(to)) = (&outcome, &ask.verb) {
            let to = to.as_ref().and_then(|name| sight.find(name)).map(|node| node.id.0);
            if let Some(heir) = to.or(sight.heir()) {
                self.hand_over(heir).await;
            }
        }
        *self.probed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.poke.notify_one();
        Ok((index, outcome))
    }

    /// What is seen when the step that is being made is over, or has taken too long.
    async fn rested(&self) -> Result<Sight, Fault> {
        let until = now() + REST;
        loop {
            let sight = self.sight()?;
            if sight.plan() == Plan::Idle || now() >= until {
                return Ok(sight);
            }
            self.poke.notify_one();
            sleep(PAUSE).await;
        }
    }

    /// Gives the office to a node and waits a while until it has it.
    async fn hand_over(&self, heir: u64) -> bool {
        if self.group.transfer_leader(heir).await.is_err() {
            return false;
        }
        let mut progress = self.progress.clone();
        let done = progress.wait_for(|seen| seen.leader == Some(heir));
        matches!(timeout(HAND_OVER, done).await, Ok(Ok(_)))
    }

    /// Asks a node that is to join who it is.
    async fn probe(&self, node: &Node) -> Probe {
        if members::check(node).is_err() || self.progress.borrow().members.contains_key(&node.id.0)
        {
            return Probe::Silent("it cannot join".to_owned());
        }
        *self.probed.lock().unwrap_or_else(PoisonError::into_inner) = Some(node.id.0);
        let Some(link) = self.links.ensure(node.id.0, &node.name, &node.address) else {
            return Probe::Used;
        };
        let until = now() + PROBE;
        while now() < until {
            if link.tried(PROBE).await {
                return match link.call(Kind::Hello, &[], PROBE).await {
                    Ok(answer) if answer.as_ref() == [0] => Probe::Fresh,
                    Ok(_) => Probe::Used,
                    Err(error) => Probe::Silent(error.to_string()),
                };
            }
            if let Some(Trouble::Certificate(why)) = link.trouble() {
                return Probe::Foreign(why);
            }
            sleep(PAUSE).await;
        }
        let why = link.trouble().map_or("no answer".to_owned(), |trouble| trouble.to_string());
        Probe::Silent(why)
    }

    /// Everything that is looked at, as of now.
    pub fn sight(&self) -> Result<Sight, Fault> {
        let view = self.view();
        let mut up = self.links.up();
        up.insert(self.node);
        Ok(Sight {
            own: self.node,
            progress: self.progress.borrow().clone(),
            up,
            wishes: members::members(&view)?,
            drained: members::drained(&view)?.iter().map(|node| node.0).collect(),
            lag_entries: self.lag_entries,
        })
    }

    /// Links follow the members, and whoever was removed is refused. Answers whether this node
    /// itself was removed.
    fn follow(&self, sight: &Sight) -> bool {
        let members = &sight.progress.members;
        if members.is_empty() {
            return false;
        }
        for (id, member) in members.iter() {
            self.links.ensure(*id, &member.name, &member.address);
        }
        let is_gone = |id: u64| sight.wish_of(id).is_some_and(|wished| wished.wish == Wish::Gone);
        let mut wanted: BTreeSet<u64> = members.keys().copied().collect();
        wanted.extend(*self.probed.lock().unwrap_or_else(PoisonError::into_inner));
        self.links.keep_only(&wanted);
        let gone = sight.wishes.iter().filter(|wished| wished.wish == Wish::Gone);
        let gone = gone.map(|wished| wished.node.id.0).filter(|id| !members.contains_key(id));
        self.links.set_removed(gone.collect());
        let told = self.links.all().iter().any(|link| link.trouble() == Some(Trouble::Removed));
        told || is_gone(self.node)
    }

    /// Whether a node is drained, by this node's state.
    pub fn is_drained(&self, node: NodeId) -> bool {
        members::is_drained(&self.view(), node).unwrap_or(false)
    }

    fn view(&self) -> LocalView {
        LocalView::new(self.tables.clone(), self.applied.point().0)
    }
}

fn faulty(fault: Fault) -> NotTaken {
    tracing::error!(%fault, "the members cannot be read");
    NotTaken::Stopped
}
