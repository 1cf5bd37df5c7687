//! Thousands of concentrators at three real nodes at once: how fast they log in, what a connection
//! costs, and how long until all are served again after everybody, or a node, has gone.
//!
//! Each concentrator is simulated whole: main and standby channel, mutual authentication,
//! heartbeats. Three simulator processes share them; each has another pair of nodes as its main
//! and its standby address, so that every node has a third of the main and of the standby channels.
//!
//! Invariant: every wait ends, at the latest after the limit of the options.

use crate::demo::programs;
use crate::field;
use crate::nodes::Nodes;
use anyhow::{Context, ensure};
use hyper::Method;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often the channels are counted.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Nothing but heartbeats, for as long as the processor is measured.
const CALM: Duration = Duration::from_secs(20);
/// Clock ticks of `/proc/PID/stat` a second, on every Linux.
const TICKS_A_SECOND: f64 = 100.0;

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Concentrators; each has two channels.
    pub concentrators: u32,
    /// Meters behind each.
    pub meters: u32,
    /// Between two heartbeats of a channel.
    pub heartbeat: Duration,
    /// The longest that one phase may take.
    pub limit: Duration,
    /// HTTP port of the first node.
    pub port: u16,
    /// Folder of nodes and simulators.
    pub dir: PathBuf,
}

/// Until the channels stood, of one phase.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    /// Until half of the concentrators had an active channel.
    pub half: Duration,
    /// Until 99 of 100 had one.
    pub most: Duration,
    /// Until every one had one.
    pub all: Duration,
    /// Until every one had its standby, too; none where a node is gone.
    pub standbys: Option<Duration>,
    /// Logins a second, from the beginning until everything stood.
    pub logins_a_second: f64,
    /// The most logins in one second.
    pub peak: f64,
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Report {
    /// Concentrators.
    pub concentrators: u32,
    /// Devices registered a second, concentrators and meters together.
    pub registered_a_second: f64,
    /// The first dial of all within 0.1 s.
    pub first: Phase,
    /// Memory of all nodes more than before the first dial, octets a connection.
    pub octets_a_connection: f64,
    /// Processors' time of all nodes while there is nothing but heartbeats, of one processor.
    pub busy: f64,
    /// All concentrators gone and back at once.
    pub again: Phase,
    /// A node killed.
    pub killed: Phase,
}

/// The field's processes.
struct Crowd {
    nodes: Nodes,
    options: Options,
    simulators: Vec<Child>,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Runs all phases.
///
/// # Errors
/// A program is missing, a node or a simulator ends, or a phase takes longer than the limit.
pub async fn run(options: Options) -> anyhow::Result<Report> {
    let all = f64::from(options.concentrators);
    let devices = all * f64::from(1 + options.meters);
    let mut crowd = Crowd::start(options).await?;
    let began = Instant::now();
    crowd.register().await?;
    let registered_a_second = devices / began.elapsed().as_secs_f64();
    println!("{devices:.0} devices registered, {registered_a_second:.0} a second");
    let before = crowd.memory()?;
    let first = crowd.come("first dial").await?;
    let octets_a_connection = (crowd.memory()? - before) / (2.0 * all);
    let busy = crowd.busy().await?;
    println!("{:.1} KiB a connection, {busy:.2} processors busy", octets_a_connection / 1024.0);
    crowd.leave();
    crowd.wait_gone().await?;
    let again = crowd.come("all back").await?;
    let killed = crowd.kill_first().await?;
    let concentrators = crowd.options.concentrators;
    let report = Report {
        concentrators,
        registered_a_second,
        first,
        octets_a_connection,
        busy,
        again,
        killed,
    };
    crowd.check_violations()?;
    Ok(report)
}

impl Crowd {
    async fn start(options: Options) -> anyhow::Result<Self> {
        let mut nodes = Nodes::init(&options.dir.join("cluster"), options.port)?;
        let heartbeat = options.heartbeat.as_millis().to_string();
        let room = (options.concentrators.saturating_mul(2).max(100)).to_string();
        for node in 0..3 {
            let environment = [
                ("HOLDFAST_GATEWAY__MAX_CONNECTIONS", room.as_str()),
                ("HOLDFAST_GATEWAY__MAX_CONNECTIONS_PER_ADDRESS", room.as_str()),
                ("HOLDFAST_GATEWAY__HEARTBEAT_INTERVAL_MS", heartbeat.as_str()),
            ];
            nodes.start(node, &environment)?;
        }
        for node in 0..3 {
            nodes.wait_ready(node, options.limit).await?;
        }
        Ok(Self { nodes, options, simulators: Vec::new() })
    }

    fn folder(&self, third: u16) -> PathBuf {
        self.options.dir.join(format!("field{third}"))
    }

    /// A simulator of a third of the field; without an address to dial it only writes its registry.
    fn simulator(&self, third: u16, dials: bool) -> anyhow::Result<Command> {
        let all = self.options.concentrators;
        let size = |third: u32| all / 3 + u32::from(third < all % 3);
        let first: u32 = (0..u32::from(third)).map(size).sum();
        let address =
            |node: u16| format!("127.0.0.1:{}", self.options.port + 100 + 10 * (node % 3));
        let head_ends = match dials {
            true => format!("{},{}", address(third), address(third + 1)),
            // Port 9 is discard: nobody listens there.
            false => "127.0.0.1:9".to_owned(),
        };
        let folder = self.folder(third);
        std::fs::create_dir_all(&folder)?;
        let log = std::fs::File::options().create(true).append(true).open(folder.join("log"))?;
        let mut command = Command::new(programs()?.join("holdfast-simulator"));
        command
            .args(["--head-end", &head_ends, "--perfect", "--die-with-parent"])
            .args(["--first", &(first + 1).to_string()])
            .args(["--concentrators", &size(third.into()).to_string()])
            .args(["--meters", &self.options.meters.to_string()])
            .args(["--answer-ms", "20000"])
            .args(["--heartbeat-ms", &self.options.heartbeat.as_millis().to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        match dials {
            true => command.arg("--state").arg(folder.join("state")),
            false => {
                command.args(["--run-for", "1ms", "--field-out"]).arg(folder.join("field.json"))
            }
        };
        Ok(command)
    }

    async fn register(&self) -> anyhow::Result<()> {
        for third in 0..3 {
            let mut command = self.simulator(third, false)?;
            let status = tokio::task::spawn_blocking(move || command.status()).await??;
            ensure!(status.success(), "a simulator did not describe its field: {status}");
            field::register(&self.nodes, usize::from(third), &self.folder(third)).await?;
        }
        Ok(())
    }

    /// All concentrators dial.
    async fn come(&mut self, what: &str) -> anyhow::Result<Phase> {
        let before = self.counts().await?;
        let began = Instant::now();
        for third in 0..3 {
            let started = self.simulator(third, true)?.spawn()?;
            self.simulators.push(started);
        }
        self.follow(what, began, before.logins, true).await
    }

    /// All concentrators go without a word.
    fn leave(&mut self) {
        for simulator in &mut self.simulators {
            let _ = simulator.kill();
        }
        for mut simulator in self.simulators.drain(..) {
            let _ = simulator.wait();
        }
    }

    async fn wait_gone(&self) -> anyhow::Result<()> {
        let until = Instant::now() + self.options.limit;
        loop {
            let now = self.counts().await?;
            if now.active + now.standby < 0.5 {
                return Ok(());
            }
            ensure!(Instant::now() < until, "channels stand without concentrators: {now:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn kill_first(&mut self) -> anyhow::Result<Phase> {
        // Of the nodes that stay, so that what the killed one counted is not missed.
        let before = self.counts_of(&[1, 2]).await?;
        let began = Instant::now();
        self.nodes.kill(0)?;
        self.follow("a node killed", began, before.logins, false).await
    }

    /// Watches until every concentrator has its active channel and, where it can, its standby.
    async fn follow(
        &self,
        what: &str,
        began: Instant,
        logins_before: f64,
        wants_standbys: bool,
    ) -> anyhow::Result<Phase> {
        let all = f64::from(self.options.concentrators);
        let nodes: &[usize] = if wants_standbys { &[0, 1, 2] } else { &[1, 2] };
        let (mut half, mut most, mut every, mut standbys) = (None, None, None, None);
        let (mut last, mut peak) = ((Instant::now(), logins_before), 0_f64);
        loop {
            let now = self.counts_of(nodes).await?;
            let passed = began.elapsed();
            let reached = |share: f64| (now.active >= all * share).then_some(passed);
            half = half.or(reached(0.5));
            most = most.or(reached(0.99));
            every = every.or(reached(1.0));
            standbys = standbys.or((now.standby >= all).then_some(passed));
            let span = last.0.elapsed().as_secs_f64();
            if span >= 1.0 {
                let pace = (now.logins - last.1) / span;
                peak = peak.max(pace);
                last = (Instant::now(), now.logins);
                let Counts { active, standby, .. } = now;
                let (seconds, channels) = (passed.as_secs_f64(), format!("{active:6.0} active"));
                println!("{what}: {seconds:6.1} s {channels} {standby:6.0} standby {pace:6.0}/s");
            }
            if let (Some(half), Some(most), Some(all)) = (half, most, every)
                && (standbys.is_some() || !wants_standbys)
            {
                let logins_a_second = (now.logins - logins_before) / passed.as_secs_f64();
                let peak = peak.max(logins_a_second);
                return Ok(Phase { half, most, all, standbys, logins_a_second, peak });
            }
            ensure!(passed < self.options.limit, "{what}: after {passed:?} no more than {now:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn counts(&self) -> anyhow::Result<Counts> {
        self.counts_of(&[0, 1, 2]).await
    }

    async fn counts_of(&self, nodes: &[usize]) -> anyhow::Result<Counts> {
        let mut sum = Counts::default();
        for node in nodes {
            let url = format!("{}/metrics", self.nodes.urls[*node]);
            let limit = Duration::from_secs(20);
            let answer = self.nodes.http.send(Method::GET, &url, None, None, limit).await?;
            let value = |name: &str| {
                let lines = answer.text.lines();
                let line = lines.filter_map(|line| line.strip_prefix(name)).next();
                line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or(0.0)
            };
            sum.active += value("holdfast_gateway_channels{role=\"active\"}");
            sum.standby += value("holdfast_gateway_channels{role=\"standby\"}");
            for role in ["active", "standby"] {
                sum.logins += value(&format!("holdfast_gateway_logins_total{{result=\"{role}\"}}"));
            }
        }
        Ok(sum)
    }

    /// Resident octets of all nodes.
    fn memory(&self) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for node in 0..3 {
            let status =
                std::fs::read_to_string(format!("/proc/{}/status", self.nodes.pid(node)?))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = line.and_then(|line| line.split_whitespace().next());
            sum += kib.context("no VmRSS")?.parse::<f64>()? * 1024.0;
        }
        Ok(sum)
    }

    /// Processors that all nodes together keep busy while there is nothing but heartbeats.
    async fn busy(&self) -> anyhow::Result<f64> {
        let before = self.ticks()?;
        tokio::time::sleep(CALM).await;
        Ok((self.ticks()? - before) / TICKS_A_SECOND / CALM.as_secs_f64())
    }

    fn ticks(&self) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for node in 0..3 {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.nodes.pid(node)?))?;
            // Behind the name, which may hold blanks: user and system time are fields 14 and 15.
            let (_, rest) = stat.rsplit_once(") ").context("no stat")?;
            let fields = rest.split(' ').skip(11).take(2).map(str::parse::<f64>);
            sum += fields.sum::<Result<f64, _>>()?;
        }
        Ok(sum)
    }

    /// The simulators saw no two nodes at one concentrator, no counter twice.
    fn check_violations(&self) -> anyhow::Result<()> {
        for third in 0..3 {
            field::check_violations(&self.folder(third).join("log"))?;
        }
        Ok(())
    }
}

/// Channels and logins of some nodes.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    active: f64,
    standby: f64,
    logins: f64,
}
