//! Takes the active channel of a concentrator away in five ways, again and again, and prints how
//! long it took until the next push was acknowledged on the other one.
//!
//! `cargo run --release -p chaos-tests --bin switchover -- --rounds 100`

use anyhow::{Context, ensure};
use chaos_tests::demo::{Signal, programs, signal};
use chaos_tests::journal::Journal;
use chaos_tests::nodes::Nodes;
use chaos_tests::proxy::{Line, Proxy};
use chaos_tests::stats::Distribution;
use clap::Parser;
use hyper::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
}

/// How a channel is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// The connection is closed.
    Cut,
    /// Nothing arrives and nobody is told.
    BlackHole,
    /// The head-end hears the concentrator and not the other way round.
    OneWay,
    /// The concentrator is killed and starts again.
    Restart,
    /// The node is killed.
    Node,
}

const LOSSES: [Loss; 5] = [Loss::Cut, Loss::BlackHole, Loss::OneWay, Loss::Restart, Loss::Node];
const LIMIT: Duration = Duration::from_secs(30);
const ID: &str = "HFDSIM0000000001";

struct House {
    nodes: Nodes,
    /// Before the nodes 1 and 2, to which the concentrator dials.
    proxies: [Proxy; 2],
    dir: PathBuf,
    simulator: Child,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.simulator.kill();
        let _ = self.simulator.wait();
    }
}

/// The fast setting of the promise: 700 ms for an answer, heartbeats each 500 ms.
fn simulator(dir: &Path, proxies: &[Proxy; 2]) -> anyhow::Result<Child> {
    let head_ends = format!("{},{}", proxies[0].address(), proxies[1].address());
    let log = std::fs::File::options().create(true).append(true).open(dir.join("simulator.log"))?;
    Ok(Command::new(programs()?.join("holdfast-simulator"))
        .args(["--head-end", &head_ends, "--meters", "5", "--perfect", "--die-with-parent"])
        // A push each tenth of a second, for more than an hour.
        .args(["--interval", "1m", "--speed", "600", "--history", "40d"])
        .args(["--answer-ms", "700", "--heartbeat-ms", "500", "--state"])
        .arg(dir.join("state"))
        .arg("--journal")
        .arg(dir.join("journal"))
        .arg("--field-out")
        .arg(dir.join("field.json"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?)
}

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
        let simulator = simulator(dir, &proxies)?;
        let house = Self { nodes, proxies, dir: dir.to_owned(), simulator };
        house.register().await?;
        Ok(house)
    }

    async fn register(&self) -> anyhow::Result<()> {
        let file = self.dir.join("field.json");
        let until = Instant::now() + LIMIT;
        while !file.exists() {
            ensure!(Instant::now() < until, "the simulator wrote no field");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let field: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        let known = ["id", "system_title", "name", "serial", "concentrator", "guek", "gak"];
        for kind in ["concentrators", "meters"] {
            let pick = |item: &Value| -> Value {
                let is_serial = |name: &str| name == "serial" && kind == "concentrators";
                let known = known.into_iter().filter(|name| !is_serial(name));
                let picked = known.map(|name| (name.to_owned(), item[name].clone()));
                Value::Object(picked.filter(|(_, value)| !value.is_null()).collect())
            };
            let items: Vec<Value> =
                field[kind].as_array().context("a list")?.iter().map(pick).collect();
            let url = format!("{}/api/v1/{kind}/import", self.nodes.urls[2]);
            let body = json!({ "items": items });
            let answer = self.nodes.http.send(Method::POST, &url, Some(&body), None, LIMIT).await?;
            ensure!(answer.status == 200, "{kind}: {} {}", answer.status, answer.text);
        }
        Ok(())
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
            Loss::OneWay => proxy.set(Line::OneWay),
            Loss::Restart => {
                signal(i32::try_from(self.simulator.id())?, Signal::Kill)?;
                self.simulator.wait()?;
                self.simulator = simulator(&self.dir, &self.proxies)?;
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
        self.proxies[node].cut();
        if loss == Loss::Node {
            self.nodes.start(node, &FAST)?;
            self.nodes.wait_ready(node, LIMIT).await?;
        }
        Ok(took)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let scratch = tempfile::tempdir()?;
    let mut house = House::start(scratch.path(), arguments.port).await?;
    let mut all = Distribution::default();
    for loss in LOSSES {
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
    let journal = Journal::read(&house.dir.join("journal"))?;
    for url in &house.nodes.urls {
        let verdict = journal.compare(&house.nodes.http, url).await?;
        println!("{url}: {verdict:?}");
        ensure!(verdict.clean(), "a promise was broken");
    }
    ensure!(all.percentile(100) < Duration::from_secs(5), "a switchover took 5 s or more");
    Ok(())
}
