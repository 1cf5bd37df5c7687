//! Measures a cluster of three on loopback, in one process: proposals a second, and the pause
//! after a lost leader as a distribution over 20 rounds.
//!
//! Run it with `cargo run --release -p cluster --example bench [SECONDS [ROUNDS]]`. Every change
//! registers a concentrator, so it is applied with its audit row; logs are synced. Beside the rate
//! stand figures that a busy machine does not bend: processor time for one proposal on all three
//! nodes together, and how many entries one sync and one apply carried.

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use cluster::{Cluster, Config, Identity, Peer, node_dns_name};
use domain::{Author, Change, NodeId, ProposalId, assets};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use storage::Store;
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

const LIMIT: Duration = Duration::from_secs(20);

/// Every change of a run is another one.
static NUMBER: AtomicU64 = AtomicU64::new(1);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let rounds = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let dir = tempfile::tempdir()?;
    let mut bench = Bench::open(dir.path()).await?;
    for clients in [1, 64, 512] {
        bench.throughput(clients, Duration::from_secs(seconds)).await?;
    }
    bench.leader_losses(rounds).await
}

struct Bench<'a> {
    dir: &'a Path,
    authority: CertifiedIssuer<'static, KeyPair>,
    peers: Vec<Peer>,
    nodes: Vec<Option<Cluster>>,
    registries: Vec<prometheus::Registry>,
}

impl<'a> Bench<'a> {
    async fn open(dir: &'a Path) -> Result<Self, Failure> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let peers: Vec<_> = (1..=3).zip(free_ports()).map(|(id, port)| peer(id, port)).collect();
        let mut bench =
            Self { dir, authority, peers, nodes: vec![None, None, None], registries: Vec::new() };
        for at in 0..3 {
            bench.start(at).await?;
        }
        write(bench.node(0)?).await?;
        Ok(bench)
    }

    async fn start(&mut self, at: usize) -> Result<(), Failure> {
        let id = at as u64 + 1;
        let params = CertificateParams::new(vec![node_dns_name(id)])?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.authority)?;
        let identity = Identity::from_pem(
            self.authority.pem().as_bytes(),
            certificate.pem().as_bytes(),
            key.serialize_pem().as_bytes(),
        )?;
        let peer = self.peers.get(at).ok_or("no such node")?;
        let config = Config {
            node: NodeId(id),
            name: peer.name.clone(),
            listen: peer.address.parse()?,
            peers: self.peers.clone(),
            ..Config::default()
        };
        let settings =
            storage::Config { dir: self.dir.join(&peer.name), ..storage::Config::default() };
        let registry = prometheus::Registry::new();
        let metrics = storage::Metrics::register(&registry)?;
        let opened = tokio::task::spawn_blocking(move || Store::open(&settings, 0, &metrics));
        let (store, opening) = opened.await??;
        self.registries.push(registry.clone());
        let node = Cluster::open(config, &identity, store, &opening, &registry).await?;
        *self.nodes.get_mut(at).ok_or("no such node")? = Some(node);
        Ok(())
    }

    fn node(&self, at: usize) -> Result<&Cluster, Failure> {
        Ok(self.nodes.get(at).and_then(Option::as_ref).ok_or("the node is down")?)
    }

    async fn leader(&self) -> Result<usize, Failure> {
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            let statuses = self.nodes.iter().flatten().map(Cluster::status);
            let leaders: Vec<_> = statuses.map(|status| status.leader).collect();
            if let Some(Some(first)) = leaders.first()
                && leaders.iter().all(|leader| leader.as_ref() == Some(first))
                && let Some(at) = self.peers.iter().position(|peer| peer.name == *first)
            {
                return Ok(at);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Err("no leader".into())
    }

    async fn throughput(&self, clients: usize, time: Duration) -> Result<(), Failure> {
        let before = self.counts()?;
        let end = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let node = self.node(client % 3)?.clone();
            tasks.spawn(async move {
                let mut took = Vec::new();
                while Instant::now() < end {
                    took.push(write(&node).await?);
                }
                Ok::<_, Failure>(took)
            });
        }
        let mut took = Vec::new();
        while let Some(done) = tasks.join_next().await {
            took.extend(done??);
        }
        let rate = took.len() as f64 / time.as_secs_f64();
        let [syncs, applies, entries, cpu_ms] = self.counts()?;
        let entries = entries - before[2];
        println!("{clients:>4} clients on 3 nodes: {rate:>8.0} proposals/s, {}", spread(took));
        println!(
            "     for a proposal {:.2} ms processor; entries in a sync {:.1}, in an apply {:.1}",
            (cpu_ms - before[3]) / (entries / 3.0),
            entries / (syncs - before[0]),
            entries / (applies - before[1])
        );
        Ok(())
    }

    /// Syncs of the log, applies and entries applied on all nodes; processor time, milliseconds.
    fn counts(&self) -> Result<[f64; 4], Failure> {
        let mut counts = [0.0; 4];
        for family in self.registries.iter().flat_map(|registry| registry.gather()) {
            let at = match family.name() {
                "holdfast_storage_wal_flush_seconds" => 0,
                "holdfast_cluster_apply_seconds" => 1,
                "holdfast_cluster_entries_applied_total" => 2,
                _ => continue,
            };
            for metric in family.get_metric() {
                let histogram = metric.get_histogram().get_sample_count() as f64;
                counts[at] += histogram + metric.get_counter().get_value();
            }
        }
        // Fields 14 and 15, counted behind the name in brackets: ticks of ten milliseconds.
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let (_, fields) = stat.rsplit_once(')').ok_or("stat")?;
        for ticks in fields.split_whitespace().skip(11).take(2) {
            counts[3] += ticks.parse::<f64>()? * 10.0;
        }
        Ok(counts)
    }

    async fn leader_losses(&mut self, rounds: usize) -> Result<(), Failure> {
        let mut pauses = Vec::new();
        for _ in 0..rounds {
            let leader = self.leader().await?;
            let other = (leader + 1) % 3;
            write(self.node(other)?).await?;
            let lost = self.nodes.get_mut(leader).and_then(Option::take).ok_or("no leader")?;
            let ended = tokio::spawn(async move { lost.halt().await });
            pauses.push(write(self.node(other)?).await?);
            ended.await?;
            let address: SocketAddr =
                self.peers.get(leader).ok_or("no such node")?.address.parse()?;
            while UdpSocket::bind(address).is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            self.start(leader).await?;
            self.node(leader)?.linearizable(LIMIT).await?;
        }
        println!("leader lost, {rounds} rounds, to the next accepted write: {}", spread(pauses));
        Ok(())
    }
}

/// One accepted write; answers how long it took.
async fn write(node: &Cluster) -> Result<Duration, Failure> {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let change = Change::Assets(assets::Change::RegisterConcentrator {
        id: format!("B{number:015}"),
        system_title: number.to_be_bytes(),
        name: "a concentrator of the benchmark".to_owned(),
    });
    let started = Instant::now();
    let author = Author::Operator("admin".to_owned());
    let (_, outcome) = node.propose(ProposalId(id), author, change, LIMIT).await?;
    outcome?;
    Ok(started.elapsed())
}

fn peer(id: u64, port: u16) -> Peer {
    Peer {
        id: NodeId(id),
        name: format!("n{id}"),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string(),
        http: String::new(),
    }
}

/// Free UDP ports below 32768, where the system takes none for outgoing sockets.
fn free_ports() -> impl Iterator<Item = u16> {
    (21_000..32_000).filter(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
}

fn spread(mut took: Vec<Duration>) -> String {
    took.sort();
    let at = |share: f64| {
        let last = took.len().saturating_sub(1);
        let index = (last as f64 * share).ceil() as usize;
        took.get(index).map_or(0.0, |one| one.as_secs_f64() * 1000.0)
    };
    format!("ms min {:.1} median {:.1} p99 {:.1} max {:.1}", at(0.0), at(0.5), at(0.99), at(1.0))
}
