//! Takes the active channel of a concentrator away in six ways, again and again, and prints how
//! long it took until the next push was acknowledged on the other one.
//!
//! `cargo run --release -p chaos-tests --bin switchover -- --rounds 100`
//!
//! It runs itself anew in a network namespace of its own, where nftables drops packets; where that
//! cannot be, it says so, and that way is left out.

use anyhow::ensure;
use chaos_tests::demo::{Signal, signal};
use chaos_tests::field;
use chaos_tests::journal::Journal;
use chaos_tests::namespace;
use chaos_tests::nodes::Nodes;
use chaos_tests::proxy::{Line, Proxy};
use chaos_tests::stats::Distribution;
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

/// Command line.
#[derive(Parser)]
#[command(about = "Channel losses on a real cluster: time to the next acknowledged push")]
struct Arguments {
    /// How often each loss is made.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// HTTP port of the first node.
    #[arg(long, default_value_t = 19_480)]
    port: u16,
    /// The program is in its own namespace.
    #[arg(long, hide = true)]
    inside: bool,
}

/// How a channel is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// The connection is closed.
    Cut,
    /// Nothing arrives and nobody is told: both ends' packets are acknowledged by the proxy.
    BlackHole,
    /// The kernel drops the packets of both directions: no acknowledgement, no FIN, no RST.
    Packets,
    /// The head-end hears the concentrator and not the other way round.
    OneWay,
    /// The concentrator is killed and starts again.
    Restart,
    /// The node is killed.
    Node,
}

const LOSSES: [Loss; 6] =
    [Loss::Cut, Loss::BlackHole, Loss::Packets, Loss::OneWay, Loss::Restart, Loss::Node];
const LIMIT: Duration = Duration::from_secs(30);
const ID: &str = "HFDSIM0000000001";

struct House {
    nodes: Nodes,
    /// Before the nodes 1 and 2, to which the concentrator dials.
    proxies: [Proxy; 2],
    dir: PathBuf,
    simulator: Child,
    /// HTTP port of the first node.
    port: u16,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.simulator.kill();
        let _ = self.simulator.wait();
    }
}

/// The fast setting of the promise, for the nodes.
const FAST: [(&str, &str); 1] = [("HOLDFAST_GATEWAY__ANSWER_TIMEOUT_MS", "700")];

impl House {
    async fn start(dir: &Path, port: u16) -> anyhow::Result<Self> {
        let mut nodes = Nodes::init(&dir.join("cluster"), port)?;
        for node in 0..3 {
            nodes.start(node, &FAST)?;
        }
        for node in 0..3 {
            nodes.wait_ready(node, LIMIT).await?;
        }
        let before = |node: u16| Proxy::start(format!("127.0.0.1:{}", port + 100 + 10 * node));
        let proxies = [before(0).await?, before(1).await?];
        let simulator = field::simulator(dir, &proxies)?;
        let house = Self { nodes, proxies, dir: dir.to_owned(), simulator, port };
        house.register().await?;
        Ok(house)
    }

    async fn register(&self) -> anyhow::Result<()> {
        field::register(&self.nodes, 2, &self.dir).await
    }

    /// The place of the node with the active channel, when a standby stands as well. Asked of
    /// node 3, which has no channel and is never killed.
    async fn active(&self) -> Option<usize> {
        let url = format!("{}/api/v1/concentrators/{ID}/channels", self.nodes.urls[2]);
        let seen = self.nodes.http.get(&url).await.ok()?;
        let node = seen["active"]["node"].as_str()?;
        let stands = seen["standbys"].as_array().is_some_and(|all| !all.is_empty());
        stands.then(|| self.nodes.names.iter().position(|name| name == node))?
    }

    /// Waits until one channel is active, the other stands, and pushes are acknowledged.
    async fn settled(&self) -> anyhow::Result<usize> {
        let until = Instant::now() + 2 * LIMIT;
        loop {
            if let Some(node) = self.active().await {
                let written = self.written();
                // A moment longer than the answer time: a channel that is about to be lost is lost.
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                if self.written() > written && self.active().await == Some(node) {
                    return Ok(node);
                }
            }
            ensure!(Instant::now() < until, "no active channel with a standby");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Octets of the journal: it grows with each acknowledgement that reached the concentrator.
    fn written(&self) -> u64 {
        std::fs::metadata(self.dir.join("journal")).map_or(0, |file| file.len())
    }

    /// One loss: from its beginning to the next acknowledgement.
    async fn lose(&mut self, loss: Loss, node: usize) -> anyhow::Result<Duration> {
        let proxy = &self.proxies[node];
        let began = Instant::now();
        match loss {
            Loss::Cut => proxy.cut(),
            Loss::BlackHole => proxy.set(Line::BlackHole),
            Loss::Packets => {
                // The whole way: from the concentrator to the proxy and from there to the node.
                let gateway = self.port + 100 + 10 * u16::try_from(node)?;
                for port in [proxy.address().port(), gateway] {
                    for side in ["sport", "dport"] {
                        namespace::drop_packets("tcp", side, port)?;
                    }
                }
            }
            Loss::OneWay => proxy.set(Line::OneWay),
            Loss::Restart => {
                signal(i32::try_from(self.simulator.id())?, Signal::Kill)?;
                self.simulator.wait()?;
                self.simulator = field::simulator(&self.dir, &self.proxies)?;
            }
            Loss::Node => self.nodes.kill(node)?,
        }
        // What was on its way when the channel was lost is older than the loss.
        if loss != Loss::Restart {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let written = self.written();
        while self.written() == written {
            ensure!(began.elapsed() < LIMIT, "{loss:?}: nothing is acknowledged any more");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let took = began.elapsed();
        if loss == Loss::Packets {
            ensure!(namespace::dropped()? > 0, "no packet was dropped");
            namespace::drop_nothing()?;
        }
        self.proxies[node].cut();
        if loss == Loss::Node {
            self.nodes.start(node, &FAST)?;
            self.nodes.wait_ready(node, LIMIT).await?;
        }
        Ok(took)
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if !arguments.inside {
        let given = std::env::args_os().skip(1).chain(["--inside".into()]);
        match namespace::again_inside(given) {
            Some(code) => return Ok(code),
            None => println!("no namespace here: no packets are dropped by nftables"),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.inside {
        namespace::prepare()?;
    }
    let scratch = tempfile::tempdir()?;
    let mut house = House::start(scratch.path(), arguments.port).await?;
    let mut all = Distribution::default();
    let can = |loss: &Loss| arguments.inside || *loss != Loss::Packets;
    for loss in LOSSES.into_iter().filter(can) {
        let mut times = Distribution::default();
        for _ in 0..arguments.rounds {
            let node = house.settled().await?;
            let took = house.lose(loss, node).await?;
            times.add(took);
            all.add(took);
        }
        println!("{:<10} -> next acknowledged push: {times}", format!("{loss:?}"));
    }
    println!("all        -> next acknowledged push: {all}");
    house.settled().await?;
    house.simulator.kill()?;
    house.simulator.wait()?;
    field::check_violations(&house.dir.join("simulator.log"))?;
    let journal = Journal::read(&house.dir.join("journal"))?;
    for url in &house.nodes.urls {
        let verdict = journal.compare(&house.nodes.http, url).await?;
        println!("{url}: {verdict:?}");
        ensure!(verdict.clean(), "a promise was broken");
    }
    ensure!(all.percentile(100) < Duration::from_secs(5), "a switchover took 5 s or more");
    Ok(())
}
