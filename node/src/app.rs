//! What every handler may use: the node's parts, as far as they are up.
//!
//! Invariants: HTTP listens before the cluster is open, so `live` may be empty and handlers answer
//! `not_ready` then; once set it stays; `draining` is never taken back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cluster::{Cluster, LocalView};
use domain::{Author, Change, Done, NodeId, ProposalId};
use gateway::Gateway;
use gateway::model::Catalog;
use tokio::sync::Notify;

use crate::areas::backups::Exports;
use crate::areas::changes::Listeners;
use crate::areas::collection::Collected;
use crate::areas::live::Viewers;
use crate::config::Config;
use crate::http::denied::Denied;
use crate::http::limits::Limits;
use crate::http::logins::{InUse, WrongLogins};
use crate::http::looks::Looks;
use crate::http::problem::Problem;
use crate::observe::Metrics;
use crate::secret::MasterKey;
use crate::wiring::power::Power;
use crate::wiring::search::Names;

/// The state of all handlers; cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    master: Arc<MasterKey>,
    metrics: Metrics,
    models: Catalog,
    live: OnceLock<Live>,
    draining: AtomicBool,
    collected: Mutex<Tally>,
    exports: Exports,
    in_use: InUse,
    wrong_logins: WrongLogins,
    denied: Denied,
    limits: Limits,
    names: Names,
    looks: Looks,
    viewers: Viewers,
    listeners: Listeners,
    power: Mutex<Power>,
}

/// The collection, and when older values were last seen to arrive.
#[derive(Default)]
struct Tally {
    collected: Collected,
    caught_up: Option<Instant>,
}

/// Pushes come in bursts: so long after the last one values still count as arriving.
const ARRIVING_FOR: Duration = Duration::from_secs(30);

/// How long a wish about the members may take until it is granted or refused: a node that is to
/// join is asked first.
const MEMBERS_LIMIT: Duration = Duration::from_secs(20);

/// The parts that come up after HTTP.
#[derive(Clone)]
pub struct Live {
    /// The shared log.
    pub cluster: Cluster,
    /// Channels to the field.
    pub gateway: Gateway,
    /// Told when the certificate shall be read again.
    pub renewal: Arc<Notify>,
    /// Told when this node shall stop in order and be started again.
    pub restart: Arc<Notify>,
}

impl App {
    /// An app that is not live yet.
    pub fn new(config: Config, master: Arc<MasterKey>, metrics: Metrics) -> App {
        let live = OnceLock::new();
        let draining = AtomicBool::new(false);
        let collected = Mutex::default();
        // The configuration was checked with its models: a fault now is a file changed since.
        let models = crate::config::models(&config).unwrap_or_else(|faults| {
            tracing::error!(?faults, "the added meter models changed and are left out");
            Catalog::shipped()
        });
        let exports = Exports::default();
        let limits = Limits::new(&config.http);
        let inner = Inner {
            config,
            master,
            metrics,
            models,
            live,
            draining,
            collected,
            exports,
            in_use: InUse::default(),
            wrong_logins: WrongLogins::default(),
            denied: Denied::default(),
            limits,
            names: Names::default(),
            looks: Looks::default(),
            viewers: Viewers::default(),
            listeners: Listeners::default(),
            power: Mutex::default(),
        };
        App { inner: Arc::new(inner) }
    }

    /// The node's configuration.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// What wraps meter keys.
    pub fn master(&self) -> &Arc<MasterKey> {
        &self.inner.master
    }

    /// Metrics of the node.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The meter models that this node knows.
    pub fn models(&self) -> &Catalog {
        &self.inner.models
    }

    /// The backup that is being taken from this node, if any.
    pub fn exports(&self) -> &Exports {
        &self.inner.exports
    }

    /// Sessions that were used here and are to be noted as used.
    pub fn sessions_in_use(&self) -> &InUse {
        &self.inner.in_use
    }

    /// Who was refused what in this minute.
    pub fn denied(&self) -> &Denied {
        &self.inner.denied
    }

    /// Who logged in wrongly lately.
    pub fn wrong_logins(&self) -> &WrongLogins {
        &self.inner.wrong_logins
    }

    /// How often somebody may ask.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Looks at personal data that the trail is to be told of.
    pub fn looks(&self) -> &Looks {
        &self.inner.looks
    }

    /// Who looks at a meter live through this node.
    pub fn viewers(&self) -> &Viewers {
        &self.inner.viewers
    }

    /// Who listens to changes at this node.
    pub fn listeners(&self) -> &Listeners {
        &self.inner.listeners
    }

    /// What can be searched for.
    pub fn names(&self) -> &Names {
        &self.inner.names
    }

    /// What is known of this node's power.
    pub fn power(&self) -> Power {
        *self.inner.power.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what is known of this node's power. Gives what was known before.
    pub fn set_power(&self, power: Power) -> Power {
        let mut known = self.inner.power.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *known, power)
    }

    /// Tells handlers that the node is up.
    pub fn set_live(&self, live: Live) {
        if self.inner.live.set(live).is_err() {
            tracing::error!("a node went live twice");
        }
    }

    /// Drops readiness before anything else stops.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Release);
    }

    /// Whether the node is about to stop.
    pub fn draining(&self) -> bool {
        self.inner.draining.load(Ordering::Acquire)
    }

    /// The collection as it was reckoned last.
    pub fn collected(&self) -> Collected {
        self.tally().collected.clone()
    }

    /// Whether more values arrive than become due: meters hand in what they held back.
    pub fn catching_up(&self) -> bool {
        self.tally().caught_up.is_some_and(|at| at.elapsed() < ARRIVING_FOR)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.inner.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a newly reckoned collection.
    pub fn set_collected(&self, collected: Collected) {
        let mut tally = self.tally();
        let (before, now) = (tally.collected.kept.all, collected.kept.all);
        tally.collected = collected;
        let missing = now.expected.saturating_sub(now.stored);
        if missing < before.expected.saturating_sub(before.stored) {
            tally.caught_up = (missing > 0).then(Instant::now);
        }
    }

    /// The parts, or the problem that they are not up yet.
    pub fn live(&self) -> Result<&Live, Problem> {
        self.inner.live.get().ok_or_else(Problem::not_ready)
    }

    /// The whole of this node's state, possibly behind the leader. Handlers ask
    /// [`crate::http::asked::Asked`] for what their caller may see.
    pub fn whole_view(&self) -> Result<LocalView, Problem> {
        Ok(self.live()?.cluster.view())
    }

    /// The whole state with everything acknowledged before this call.
    pub async fn fresh_whole_view(&self) -> Result<LocalView, Problem> {
        let cluster = &self.live()?.cluster;
        cluster.linearizable(self.propose_timeout()).await.map_err(Problem::from)
    }

    /// Proposes a change of this node itself; a refusal becomes its problem.
    pub async fn propose_as_node(&self, change: Change) -> Result<Done, Problem> {
        let cluster = &self.live()?.cluster;
        let author = Author::Node(NodeId(self.config().node.id));
        let answer = cluster.propose(random_id()?, author, change, self.propose_timeout()).await;
        let (_, outcome) = answer.map_err(Problem::from)?;
        Ok(outcome?)
    }

    /// Proposes a change for an operator; a refusal becomes its problem.
    pub async fn propose(
        &self,
        id: ProposalId,
        user: &str,
        change: Change,
    ) -> Result<(u64, Done), Problem> {
        let cluster = &self.live()?.cluster;
        let author = Author::Operator(user.to_string());
        let answer = cluster.propose(id, author, change, self.propose_timeout()).await;
        let (index, outcome) = answer.map_err(Problem::from)?;
        Ok((index, outcome?))
    }

    /// Asks for a change of the members for an operator; a refusal becomes its problem.
    pub async fn change_members(
        &self,
        id: ProposalId,
        user: &str,
        verb: cluster::Verb,
    ) -> Result<u64, Problem> {
        let cluster = &self.live()?.cluster;
        let author = Author::Operator(user.to_string());
        let answer = cluster.change_members(id, author, verb, MEMBERS_LIMIT).await;
        let (index, outcome) = answer.map_err(Problem::from)?;
        outcome?;
        Ok(index)
    }

    /// How long a write may look for a leader.
    pub fn propose_timeout(&self) -> Duration {
        Duration::from_millis(self.inner.config.cluster.propose_timeout_ms)
    }

    /// The name of a node, by its number.
    pub fn node_name(&self, id: domain::NodeId) -> String {
        let known = self.live().ok().and_then(|live| live.cluster.node_name(id));
        let peers = &self.inner.config.cluster.peers;
        let listed = || peers.iter().find(|peer| peer.id == id.0).map(|peer| peer.name.clone());
        known.or_else(listed).unwrap_or_else(|| format!("node {id}"))
    }
}

/// Seconds since the Unix epoch, for sessions and pages; nothing replicated comes from it.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A proposal id of random octets.
pub fn random_id() -> Result<ProposalId, Problem> {
    crate::secret::random::<16>().map(ProposalId).map_err(|error| {
        tracing::error!(%error, "no proposal id");
        Problem::fault()
    })
}
