//! What the tests need around a node: certificates, free ports, a UDP proxy, a cluster in a box.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cluster::{Cluster, Config, Identity, Peer, Role, Verb, node_dns_name};
use domain::{Author, Change, NodeId, Obis, Outcome, ProposalId, assets, readings};
use prometheus::Registry;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use storage::Store;

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate, key and authority of node `id`, as PEM through the public door.
    pub fn identity(&self, id: u64) -> Identity {
        self.identity_trusting(id, self)
    }

    /// An identity signed here whose holder trusts another authority.
    pub fn identity_trusting(&self, id: u64, trusted: &Self) -> Identity {
        self.identity_trusting_all(id, &[trusted])
    }

    /// An identity signed here whose holder trusts several authorities.
    pub fn identity_trusting_all(&self, id: u64, trusted: &[&Self]) -> Identity {
        let bundle: String = trusted.iter().map(|authority| authority.0.pem()).collect();
        let mut params = CertificateParams::new(vec![node_dns_name(id)]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity::from_pem(
            bundle.as_bytes(),
            certificate.pem().as_bytes(),
            key.serialize_pem().as_bytes(),
        )
        .unwrap()
    }
}

/// A free UDP port below 32768, where no outgoing socket of the system will take it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 12_000 + (std::process::id() % 1_000) as u16 * 16;
    for _ in 0..4_000 {
        let port = start + NEXT.fetch_add(1, Ordering::Relaxed);
        if port < 32_768 && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// Waits until a stopped node's socket is closed; its tasks end a moment after the stop.
pub async fn port_is_free(address: SocketAddr) {
    until("a free port", Duration::from_secs(60), || UdpSocket::bind(address).is_ok()).await;
}

pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Peers 1..=ports.len() on loopback.
pub fn peers(ports: &[u16]) -> Vec<Peer> {
    let numbered = (1..).zip(ports);
    numbered
        .map(|(id, port)| Peer {
            id: NodeId(id),
            name: format!("n{id}"),
            address: local(*port).to_string(),
            http: format!("http://127.0.0.1:{}", 8_000 + id),
        })
        .collect()
}

/// Waits until `true`, or panics with what was waited for.
pub async fn until(what: &str, limit: Duration, mut check: impl FnMut() -> bool) {
    let started = Instant::now();
    while !check() {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A UDP proxy for one client: forwards both ways until it is told to swallow everything.
pub struct Proxy {
    pub port: u16,
    swallow: Arc<AtomicBool>,
}

impl Proxy {
    pub async fn to(target: SocketAddr) -> Self {
        let port = free_port();
        let front = tokio::net::UdpSocket::bind(local(port)).await.unwrap();
        let back = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        back.connect(target).await.unwrap();
        let swallow = Arc::new(AtomicBool::new(false));
        let swallowed = swallow.clone();
        tokio::spawn(async move {
            let mut client = None;
            let (mut there, mut here) = (vec![0; 65_536], vec![0; 65_536]);
            loop {
                tokio::select! {
                    got = front.recv_from(&mut there) => {
                        let Ok((length, from)) = got else { continue };
                        client = Some(from);
                        if !swallowed.load(Ordering::Relaxed) {
                            let _dropped = back.send(&there[..length]).await;
                        }
                    }
                    got = back.recv(&mut here) => {
                        let (Ok(length), Some(client)) = (got, client) else { continue };
                        if !swallowed.load(Ordering::Relaxed) {
                            let _dropped = front.send_to(&here[..length], client).await;
                        }
                    }
                }
            }
        });
        Self { port, swallow }
    }

    pub fn swallow(&self, all: bool) {
        self.swallow.store(all, Ordering::Relaxed);
    }
}

/// Three nodes (or another number) with their data folders.
pub struct Trio {
    pub authority: Authority,
    pub configs: Vec<Config>,
    pub nodes: Vec<Option<Cluster>>,
    pub registries: Vec<Registry>,
    dir: tempfile::TempDir,
}

impl Trio {
    /// Founds a cluster of `count` nodes; `adapt` may change each configuration.
    pub async fn found(count: usize, adapt: impl Fn(&mut Config)) -> Self {
        Self::found_on(tempfile::tempdir().unwrap(), count, |_, _| {}, adapt).await
    }

    /// The same over folders that `prepare` may fill before the nodes start.
    pub async fn found_on(
        dir: tempfile::TempDir,
        count: usize,
        prepare: impl FnOnce(&Path, &[Peer]),
        adapt: impl Fn(&mut Config),
    ) -> Self {
        let ports: Vec<_> = (0..count).map(|_| free_port()).collect();
        let peers = peers(&ports);
        prepare(dir.path(), &peers);
        let mut configs = Vec::new();
        for id in 1..=count as u64 {
            let mut config = Config::for_test(id, peers.clone());
            adapt(&mut config);
            configs.push(config);
        }
        let mut trio = Self {
            authority: Authority::new(),
            configs,
            nodes: vec![None; count],
            registries: vec![Registry::new(); count],
            dir,
        };
        for at in 0..count {
            trio.start(at).await;
        }
        trio.leader().await;
        trio
    }

    /// Starts one more node: empty, with the first one's configuration as its seeds. Nobody has
    /// taken it in yet.
    pub async fn newcomer(&mut self) -> usize {
        let at = self.configs.len();
        let mut config = self.configs[0].clone();
        let id = NodeId(at as u64 + 1);
        let name = format!("n{}", id.0);
        let address = local(free_port());
        config.peers.push(Peer {
            id,
            name: name.clone(),
            address: address.to_string(),
            http: format!("http://127.0.0.1:{}", 8_000 + id.0),
        });
        (config.node, config.name, config.listen) = (id, name, address);
        self.configs.push(config);
        self.nodes.push(None);
        self.registries.push(Registry::new());
        self.start(at).await;
        at
    }

    /// Node `at` as a wish names it.
    pub fn described(&self, at: usize) -> domain::members::Node {
        let config = &self.configs[at];
        domain::members::Node {
            id: config.node,
            name: config.name.clone(),
            address: config.listen.to_string(),
            http: format!("http://127.0.0.1:{}", 8_000 + config.node.0),
        }
    }

    /// Asks node `at` for a change of the members.
    pub async fn wish(&self, at: usize, verb: Verb) -> Outcome {
        static NEXT: AtomicU64 = AtomicU64::new(1 << 40);
        let id = proposal_id(NEXT.fetch_add(1, Ordering::Relaxed));
        let limit = Duration::from_secs(60);
        self.node(at).change_members(id, author(), verb, limit).await.unwrap().1
    }

    /// Waits until node `at` sees exactly these voters and no change under way.
    pub async fn voters(&self, at: usize, expect: &[&str]) {
        let seen = || {
            let status = self.node(at).status();
            let voting = status.nodes.iter().filter(|node| node.voter);
            let names: Vec<_> = voting.map(|node| node.name.clone()).collect();
            !status.moving && names == expect
        };
        until(&format!("voters {expect:?}"), Duration::from_secs(90), seen).await;
    }

    /// Waits until a node has caught up as a learner, seen from the leader.
    pub async fn caught_up(&self, name: &str) {
        let leader = self.leader().await;
        let seen = || {
            let status = self.node(leader).status();
            let node = status.nodes.iter().find(|node| node.name == name);
            let matched = node.and_then(|node| node.matched);
            matched.is_some_and(|at| at + 20 >= status.commit_index)
        };
        until(&format!("{name} caught up"), Duration::from_secs(90), seen).await;
    }

    pub fn folder(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("n{}", at + 1))
    }

    /// Opens node `at` over what its folder holds.
    pub async fn start(&mut self, at: usize) {
        port_is_free(self.configs[at].listen).await;
        let registry = Registry::new();
        let identity = self.authority.identity(at as u64 + 1);
        let node = open(&self.folder(at), self.configs[at].clone(), &identity, &registry).await;
        self.registries[at] = registry;
        self.nodes[at] = Some(node);
    }

    /// Stops node `at` in order.
    pub async fn stop(&mut self, at: usize) {
        self.nodes[at].take().unwrap().stop().await;
    }

    pub fn node(&self, at: usize) -> &Cluster {
        self.nodes[at].as_ref().unwrap()
    }

    /// Position of the leader that all running nodes agree on.
    pub async fn leader(&self) -> usize {
        let running = || self.nodes.iter().flatten();
        let agreed = || {
            let mut leaders = running().map(|node| node.status().leader);
            let first = leaders.next()??;
            leaders.all(|leader| leader.as_ref() == Some(&first)).then_some(first)
        };
        until("one leader", Duration::from_secs(90), || agreed().is_some()).await;
        let name = agreed().unwrap();
        self.configs.iter().position(|config| config.name == name).unwrap()
    }

    /// Waits until all running nodes applied the same index, and answers it.
    pub async fn settled(&self) -> u64 {
        let indexes = || -> Vec<u64> {
            self.nodes.iter().flatten().map(|node| node.status().applied_index).collect()
        };
        let equal = || {
            let indexes = indexes();
            indexes.iter().all(|index| *index == indexes[0])
        };
        until("equal indexes", Duration::from_secs(90), equal).await;
        indexes()[0]
    }

    /// Asserts equal hashes at an index that all running nodes have applied.
    pub fn same_hash(&self, index: u64) {
        let hashes: Vec<_> = self.nodes.iter().flatten().map(|node| node.hash_at(index)).collect();
        assert!(hashes.iter().all(|hash| hash.is_some() && *hash == hashes[0]), "{hashes:?}");
    }
}

/// Opens one node.
pub async fn open(dir: &Path, config: Config, identity: &Identity, registry: &Registry) -> Cluster {
    let settings = storage::Config::for_test(dir);
    let metrics = storage::Metrics::register(registry).unwrap();
    let opened = tokio::task::spawn_blocking(move || Store::open(&settings, 0, &metrics));
    let (store, opening) = opened.await.unwrap().unwrap();
    Cluster::open(config, identity, store, &opening, registry).await.unwrap()
}

/// A change that anybody can tell from every other: concentrator number `number`.
pub fn concentrator(number: u64) -> Change {
    let id = format!("HFDTST{number:010}");
    let system_title = (number + 0x4846_0000_0000_0000).to_be_bytes();
    let name = format!("station {number}");
    Change::Assets(assets::Change::RegisterConcentrator { id, system_title, name })
}

pub fn proposal_id(number: u64) -> ProposalId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    ProposalId(id)
}

pub fn author() -> Author {
    Author::Operator("admin".to_owned())
}

/// Whether this node's state holds concentrator `number`.
pub fn holds(node: &Cluster, number: u64) -> bool {
    let id = format!("HFDTST{number:010}");
    assets::concentrator(&node.view(), &id).unwrap().is_some()
}

/// Value of a counter by name and label.
pub fn counted(registry: &Registry, name: &str, label: &str) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    let metrics = family.into_iter().flat_map(|family| family.get_metric());
    metrics
        .filter(|metric| {
            label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label)
        })
        .map(|metric| metric.get_counter().get_value())
        .sum()
}

/// Position of another node than `at`.
pub fn other(at: usize) -> usize {
    usize::from(at == 0)
}

/// Whether a node leads.
pub fn leads(node: &Cluster) -> bool {
    node.status().role == Role::Leader
}

/// Ingest of `slots` quarter hours of A+ and A- for a meter, ending at `end_s`.
pub fn ingest(ordinal: u32, end_s: i64, slots: i64) -> Change {
    let register =
        |c: u8| readings::Register { obis: Obis([1, 0, c, 8, 0, 255]), scaler: 0, unit: 30 };
    let mut batch = readings::BatchBuilder::new(15, vec![register(1), register(2)]);
    for slot in 0..slots {
        let end = end_s - (slots - 1 - slot) * 900;
        assert!(batch.push(ordinal, end, 0, &[Some(end / 900), Some(7)]));
    }
    let part = readings::Part { lease: None, mark: None, batches: vec![batch.finish()] };
    Change::Readings(readings::Change::Ingest(readings::Ingest { parts: vec![part] }))
}

/// A+ of a meter from a node's stored values: (end, value), oldest first.
pub fn import_of(node: &Cluster, ordinal: u32, from_s: i64, to_s: i64) -> Vec<(i64, i64)> {
    let column = [1, 0, 1, 8, 0, 255];
    let points = node.readings().query(15, ordinal, column, from_s, to_s).unwrap();
    points.iter().map(|point| (point.end_s, point.value)).collect()
}

/// A meter with an address of its own.
pub fn meter(number: u64) -> Change {
    let attach = assets::Attach::Direct {
        address: format!("10.0.0.1:{}", 4_000 + number),
        client_sap: 16,
        server_sap: 1,
        authentication: assets::Authentication::None,
        security: assets::Security::default(),
        system_title: None,
    };
    let serial = format!("M{number:08}");
    Change::Assets(assets::Change::RegisterMeter { serial, attach, model: "test".to_owned() })
}
