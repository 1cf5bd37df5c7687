//! The links to all other nodes, which come and go with the membership.
//!
//! Not here: dialling (`peer`), who is a member (`crate::members`).
//! Invariants:
//! 1. At most one link, and so one dialler task, for a node.
//! 2. An address of the configuration stands before one of the membership: a node that moved is
//!    found again by editing the file.
//! 3. The lock is held for moments, never over a wait.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use quinn::{ClientConfig, Endpoint as QuicEndpoint};
use tokio::sync::watch;

use super::peer::{Dialler, Link};
#[cfg(feature = "simulation")]
use super::simulated;
use crate::{config::Config, metrics::Metrics};

/// Nodes that are remembered to have dialled before this node was part of a cluster.
const MET_KEPT: usize = 64;

/// What every dialler is made with.
pub(super) struct Maker {
    pub group: u32,
    pub ground: Ground,
    pub metrics: Metrics,
    pub stopped: watch::Receiver<bool>,
}

/// What links are dialled over.
pub(super) enum Ground {
    Quic {
        endpoint: QuicEndpoint,
        /// What the next dial shows of this node; it changes when the certificate is renewed.
        config: watch::Receiver<ClientConfig>,
        dial_timeout: Duration,
    },
    #[cfg(feature = "simulation")]
    Simulated(simulated::Port),
}

/// The links to all other nodes. Clones share them.
#[derive(Clone)]
pub struct Links {
    inner: Arc<Inner>,
}

struct Inner {
    own: u64,
    configured: BTreeMap<u64, String>,
    maker: Maker,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    links: BTreeMap<u64, Held>,
    removed: BTreeSet<u64>,
    met: BTreeMap<u64, SocketAddr>,
}

/// A link with what its dialler was told; it ends when this is dropped.
struct Held {
    address: String,
    link: Link,
    _alive: watch::Sender<bool>,
}

impl Links {
    pub(super) fn new(config: &Config, maker: Maker) -> Self {
        let configured = config.others().map(|peer| (peer.id.0, peer.address.clone())).collect();
        let inner =
            Inner { own: config.node.0, configured, maker, state: RwLock::new(State::default()) };
        let links = Self { inner: Arc::new(inner) };
        for peer in config.others() {
            links.ensure(peer.id.0, &peer.name, &peer.address);
        }
        links
    }

    /// Number of this node.
    pub fn own(&self) -> u64 {
        self.inner.own
    }

    /// The link to a node.
    pub fn get(&self, id: u64) -> Option<Link> {
        self.read().links.get(&id).map(|held| held.link.clone())
    }

    /// Every link, by node number.
    pub fn all(&self) -> Vec<Link> {
        self.read().links.values().map(|held| held.link.clone()).collect()
    }

    /// Numbers of the nodes whose link stands.
    pub fn up(&self) -> BTreeSet<u64> {
        let all = self.all();
        all.iter().filter(|link| link.is_up()).map(Link::id).collect()
    }

    /// The link to a node, which begins to be dialled if it was not, or was at another address.
    pub fn ensure(&self, id: u64, name: &str, address: &str) -> Option<Link> {
        if id == self.inner.own {
            return None;
        }
        let address = self.inner.configured.get(&id).map_or(address, String::as_str);
        let mut state = self.write();
        if let Some(held) = state.links.get(&id)
            && held.address == address
        {
            return Some(held.link.clone());
        }
        let held = self.inner.maker.dial(id, name, address);
        let link = held.link.clone();
        state.links.insert(id, held);
        Some(link)
    }

    /// Drops every link to a node that is not named.
    pub fn keep_only(&self, wanted: &BTreeSet<u64>) {
        self.write().links.retain(|id, _| wanted.contains(id));
    }

    /// Nodes that were removed from the cluster: what they send is refused from now on.
    pub fn set_removed(&self, removed: BTreeSet<u64>) {
        if self.read().removed != removed {
            self.write().removed = removed;
        }
    }

    /// Whether a node was removed from the cluster.
    pub fn is_removed(&self, id: u64) -> bool {
        self.read().removed.contains(&id)
    }

    /// Notes that a node has dialled this one.
    pub(super) fn met(&self, id: u64, from: SocketAddr) {
        let known = self.read();
        let new = known.met.len() < MET_KEPT && known.met.get(&id) != Some(&from);
        drop(known);
        if new {
            self.write().met.insert(id, from);
        }
    }

    /// Nodes that have dialled this one, with the address that they came from, which is the one
    /// where they listen.
    pub fn have_met(&self) -> Vec<(u64, SocketAddr)> {
        self.read().met.iter().map(|(id, from)| (*id, *from)).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.inner.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.inner.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Maker {
    fn dial(&self, id: u64, name: &str, address: &str) -> Held {
        let (alive, held) = watch::channel(true);
        let link = match &self.ground {
            Ground::Quic { endpoint, config, dial_timeout } => {
                let dialler = Dialler {
                    id,
                    name: name.to_owned(),
                    address: address.to_owned(),
                    group: self.group,
                    endpoint: endpoint.clone(),
                    config: config.clone(),
                    dial_timeout: *dial_timeout,
                    up: self.metrics.peer_up.with_label_values(&[name]),
                    rtt: self.metrics.peer_rtt.with_label_values(&[name]),
                };
                dialler.start(self.stopped.clone(), held)
            }
            #[cfg(feature = "simulation")]
            Ground::Simulated(port) => port.dial(id, self.group, self.stopped.clone(), held),
        };
        Held { address: address.to_owned(), link, _alive: alive }
    }
}
