//! Leader kills and planned hand-overs of three `holdfast run` processes and of three members of
//! etcd, turn by turn in one run on one machine, with a client that writes all the time.
//!
//! `cargo run --release -p chaos-tests --bin failover-etcd -- --rounds 100`
//!
//! Needs Debian's `etcd-server` and says so where it is missing. What is alike: machine, disk,
//! loopback, three voters, the HTTP client, a write each 20 ms at every node, and in the second
//! line of etcd the election time. A cluster of ours with shorter times stands beside it, because
//! equal election times are not equal silence: our followers wait for the leader's lease first.
//! What is not alike: our links are QUIC with certificates on both ends, etcd's are plain HTTP
//! here; a write of ours is a registration that is judged, audited and hashed, etcd's is a key.

use anyhow::{Context, ensure};
use chaos_tests::etcd::{self, AS_OURS, DEFAULTS, Etcd};
use chaos_tests::http::Http;
use chaos_tests::nodes::Nodes;
use chaos_tests::probe::Probe;
use chaos_tests::stats::Distribution;
use clap::Parser;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper::Method;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// Command line.
#[derive(Parser)]
#[command(about = "Failover of Holdfast beside etcd: from kill -9 to the next accepted write")]
struct Arguments {
    /// How often each cluster's leader is killed.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// How often each cluster's leader hands its office over.
    #[arg(long, default_value_t = 10)]
    moves: u32,
    /// First port; six hundred above it are used, in steps.
    #[arg(long, default_value_t = 19_840)]
    port: u16,
}

const LIMIT: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(3);
/// Pace of the writer around a kill: each node gets one so often.
const PACE: Duration = Duration::from_millis(20);
/// Pace around a hand-over, whose pause is short.
const FINE: Duration = Duration::from_millis(5);

/// Settings of our nodes other than what `init` writes.
type Environment = &'static [(&'static str, &'static str)];

/// The lease of 150 ms and then a random 60 to 150: a silence of 210 to 300 ms before an election,
/// where etcd's is 150 to 300.
const AS_SILENT: Environment = &[
    ("HOLDFAST_CLUSTER__HEARTBEAT_MS", "30"),
    ("HOLDFAST_CLUSTER__ELECTION_MIN_MS", "60"),
    ("HOLDFAST_CLUSTER__ELECTION_MAX_MS", "150"),
];

/// A cluster that is measured.
enum Cluster {
    Ours(Box<(Nodes, Probe)>),
    Etcd(Box<Etcd>),
}

struct Contestant {
    name: &'static str,
    environment: Environment,
    cluster: Cluster,
    kills: Distribution,
    moves: Distribution,
    usual: Distribution,
}

/// Where writes go.
#[derive(Clone, Copy)]
enum Target<'a> {
    Ours(&'a Probe),
    Etcd(&'a Http),
}

impl Target<'_> {
    async fn write(self, url: &str, key: &str) -> bool {
        match self {
            Target::Ours(probe) => probe.write(url, key, PATIENCE).await,
            Target::Etcd(http) => etcd::write(http, url, key, PATIENCE).await,
        }
    }
}

impl Contestant {
    async fn ours(
        name: &'static str,
        dir: &Path,
        port: u16,
        environment: Environment,
    ) -> anyhow::Result<Self> {
        let mut nodes = Nodes::init(dir, port)?;
        for node in 0..3 {
            nodes.start(node, environment)?;
        }
        for node in 0..3 {
            nodes.wait_ready(node, 2 * LIMIT).await?;
        }
        let probe = Probe::new(&nodes.http, 1);
        let cluster = Cluster::Ours(Box::new((nodes, probe)));
        Ok(Self { environment, ..Self::new(name, cluster) })
    }

    async fn etcd(
        name: &'static str,
        dir: &Path,
        port: u16,
        pace: etcd::Pace,
    ) -> anyhow::Result<Self> {
        Ok(Self::new(name, Cluster::Etcd(Box::new(Etcd::start(dir, port, pace).await?))))
    }

    fn new(name: &'static str, cluster: Cluster) -> Self {
        let (kills, moves, usual) = Default::default();
        Self { name, environment: &[], cluster, kills, moves, usual }
    }

    fn urls(&self) -> &[String] {
        match &self.cluster {
            Cluster::Ours(ours) => &ours.0.urls,
            Cluster::Etcd(etcd) => &etcd.urls,
        }
    }

    fn target(&self) -> Target<'_> {
        match &self.cluster {
            Cluster::Ours(ours) => Target::Ours(&ours.1),
            Cluster::Etcd(etcd) => Target::Etcd(&etcd.http),
        }
    }

    /// The place of the leader that all three agree on.
    async fn leader(&self) -> anyhow::Result<usize> {
        let Cluster::Ours(ours) = &self.cluster else {
            let Cluster::Etcd(etcd) = &self.cluster else { anyhow::bail!("no cluster") };
            return Ok(etcd.leader(LIMIT).await?.0);
        };
        let (nodes, until) = (&ours.0, Instant::now() + LIMIT);
        loop {
            let mut seen = Vec::new();
            for url in &nodes.urls {
                let told = nodes.http.get(&format!("{url}/api/v1/cluster")).await;
                let leader = told.ok().and_then(|told| told["leader"].as_str().map(str::to_owned));
                seen.push(leader);
            }
            let place = nodes.names.iter().position(|name| Some(name) == seen[0].as_ref());
            if let Some(place) = place.filter(|_| seen.iter().all(|one| *one == seen[0])) {
                return Ok(place);
            }
            ensure!(Instant::now() < until, "no leader that all agree on: {seen:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Writes at the pace, at every node that is given, all the while; `began` is put in order of
    /// the clock by which the times of accepted writes are told. Ends when `done` says so of them.
    async fn writing(
        &self,
        urls: &[String],
        pace: Duration,
        round: &str,
        mut done: impl FnMut(&[(Instant, Instant)]) -> bool,
    ) -> Vec<(Instant, Instant)> {
        let target = self.target();
        let mut accepted = Vec::new();
        let mut under_way = FuturesUnordered::new();
        let mut tick = tokio::time::interval(pace);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut number: u64 = 0;
        while !done(&accepted) {
            tokio::select! {
                Some(one) = under_way.next(), if !under_way.is_empty() => {
                    let (sent, good): (Instant, bool) = one;
                    if good {
                        accepted.push((sent, Instant::now()));
                    }
                }
                _ = tick.tick() => {
                    number += 1;
                    for (node, url) in urls.iter().enumerate() {
                        let key = format!("{round}-{number}-{node}");
                        under_way.push(async move {
                            let sent = Instant::now();
                            (sent, target.write(url, &key).await)
                        });
                    }
                }
            }
        }
        accepted
    }

    /// Half a second of the usual, the kill, and the time until a write that was sent behind it is
    /// accepted; then the member is started again and all is waited for.
    async fn kill(&mut self, round: &str) -> anyhow::Result<Duration> {
        let leader = self.leader().await?;
        let before = Instant::now();
        let all = self.urls().to_vec();
        let half = Duration::from_millis(500);
        let key = format!("{round}u");
        let usual = self.writing(&all, PACE, &key, |_| before.elapsed() > half);
        ensure!(!usual.await.is_empty(), "{}: takes no writes before the kill", self.name);
        let alive = (0..3).filter(|place| *place != leader).map(|place| all[place].clone());
        let alive: Vec<String> = alive.collect();
        // The clock runs from before the signal, so nothing is told shorter than it was.
        let killed = Instant::now();
        match &mut self.cluster {
            Cluster::Ours(ours) => ours.0.kill(leader)?,
            Cluster::Etcd(etcd) => etcd.kill(leader)?,
        }
        let over = |accepted: &[(Instant, Instant)]| {
            accepted.iter().any(|(sent, _)| *sent > killed) || killed.elapsed() > LIMIT
        };
        let accepted = self.writing(&alive, PACE, round, over).await;
        let first = accepted.iter().filter(|(sent, _)| *sent > killed).map(|(_, ended)| *ended);
        let first = first.min().with_context(|| format!("{}: no write in 30 s", self.name))?;
        match &mut self.cluster {
            Cluster::Ours(ours) => {
                ours.0.start(leader, self.environment)?;
                ours.0.wait_ready(leader, 2 * LIMIT).await?;
            }
            Cluster::Etcd(etcd) => {
                etcd.run(leader)?;
                etcd.wait_ready(leader, 2 * LIMIT).await?;
            }
        }
        Ok(first - killed)
    }

    /// A hand-over that was not crossed by an election: on a busy machine short election times make
    /// some, and then nothing was handed over by order. It is told, and made again.
    async fn undisturbed(&mut self, round: &str) -> anyhow::Result<(Duration, Duration)> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.hand_over(&format!("{round}t{tries}")).await {
                Err(why) if tries < 5 => println!("  {}: again, for {why}", self.name),
                measured => return measured,
            }
        }
    }

    /// The longest time without an accepted write: before a planned hand-over, and from its order
    /// on, until another has led for a while.
    async fn hand_over(&mut self, round: &str) -> anyhow::Result<(Duration, Duration)> {
        let leader = self.leader().await?;
        let heir = (leader + 1) % 3;
        let all = self.urls().to_vec();
        let (began, half) = (Instant::now(), Duration::from_millis(800));
        let key = format!("{round}v");
        let usual = self.writing(&all, FINE, &key, |_| began.elapsed() > half);
        let usual = longest(&usual.await, began + half / 2, began + half);
        let ordered = Instant::now();
        let second = Duration::from_millis(1_500);
        let key = format!("{round}m");
        let writing = self.writing(&all, FINE, &key, |_| ordered.elapsed() > second);
        let order = async {
            // So that the writes are well under way when it comes.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let from = Instant::now();
            match &self.cluster {
                Cluster::Ours(ours) => {
                    let nodes = &ours.0;
                    let url = format!("{}/api/v1/cluster/leader", nodes.urls[leader]);
                    let body = json!({ "to": nodes.names[heir] });
                    let sent = nodes.http.send(Method::POST, &url, Some(&body), Some(&key), LIMIT);
                    let answer = sent.await?;
                    ensure!(answer.status == 202, "{} {}", answer.status, answer.text);
                }
                Cluster::Etcd(etcd) => {
                    let ids = etcd.leader(LIMIT).await?.1;
                    etcd.move_leader(leader, &ids[heir]).await?;
                }
            }
            anyhow::Ok(from)
        };
        let (accepted, from) = tokio::join!(writing, order);
        let pause = longest(&accepted, from?, ordered + second);
        let now = self.leader().await?;
        ensure!(now == heir, "{}: the office went to {now}, not to {heir}", self.name);
        Ok((usual, pause))
    }
}

/// The longest time between two accepted writes within a span, its edges included.
fn longest(accepted: &[(Instant, Instant)], from: Instant, to: Instant) -> Duration {
    let mut times: Vec<Instant> = accepted.iter().map(|(_, ended)| *ended).collect();
    times.push(to);
    times.sort_unstable();
    let before = times.iter().rfind(|at| **at < from).copied().unwrap_or(from);
    let mut longest = (Duration::ZERO, before);
    for at in times.into_iter().filter(|at| (from..=to).contains(at)) {
        longest = (longest.0.max(at - longest.1), at);
    }
    longest.0
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let scratch = tempfile::tempdir()?;
    let dir = |name: &str| scratch.path().join(name);
    let port = arguments.port;
    let equal = "etcd, heartbeat 30, election 150 to 300 ms";
    let default = "etcd, defaults (heartbeat 100, election 1000 to 2000 ms)";
    let ours = "Holdfast, defaults (heartbeat 50, election 150 to 300 ms)";
    let silent = "Holdfast, as silent as that etcd (heartbeat 30, election 60 to 150 ms)";
    let mut all = vec![
        Contestant::etcd(equal, &dir("equal"), port + 400, AS_OURS).await?,
        Contestant::etcd(default, &dir("default"), port + 450, DEFAULTS).await?,
        Contestant::ours(ours, &dir("ours"), port, &[]).await?,
        Contestant::ours(silent, &dir("silent"), port + 50, AS_SILENT).await?,
    ];
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism()?;
    println!("{cores} cores, load {}, {}", load.trim(), Etcd::version()?);
    for round in 1..=arguments.rounds {
        let mut line = format!("kill {round:3}:");
        for one in &mut all {
            let took = one.kill(&format!("k{round}")).await?;
            one.kills.add(took);
            line.push_str(&format!("  {:5} ms", took.as_millis()));
        }
        println!("{line}");
    }
    for round in 1..=arguments.moves {
        let mut line = format!("move {round:3}:");
        for one in &mut all {
            let (usual, pause) = one.undisturbed(&format!("m{round}")).await?;
            one.usual.add(usual);
            one.moves.add(pause);
            line.push_str(&format!("  {:5} ms", pause.as_millis()));
        }
        println!("{line}");
    }
    for one in &all {
        println!("{}", one.name);
        println!("  kill -9 of the leader to the next accepted write: {}", one.kills);
        println!("  planned hand-over, longest pause of writes:       {}", one.moves);
        println!("  the same without one, half a second before:       {}", one.usual);
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load at the end {}", load.trim());
    Ok(())
}
