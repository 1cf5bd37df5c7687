//! A running `holdfast demo`: started, asked, hurt and stopped as an operator would.

use crate::agree;
use crate::http::Http;
use anyhow::{Context, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How to start a demo. Everything else is the program's default.
#[derive(Debug, Clone)]
pub struct Options {
    /// Data directory; kept between starts by the caller.
    pub dir: PathBuf,
    /// HTTP port of the first node, the others count up.
    pub port: u16,
    /// Concentrators in the field.
    pub concentrators: u32,
    /// Meters behind each.
    pub meters: u32,
    /// The demo's own end, in seconds.
    pub seconds: u32,
    /// More options of the command line, as they stand there.
    pub more: Vec<String>,
}

/// A demo process and what it wrote into `demo.json`.
pub struct Demo {
    child: Child,
    options: Options,
    /// A client with the demo's token.
    pub http: Http,
    /// Base URLs by node name.
    pub nodes: Vec<(String, String)>,
}

/// The folder of the programs under test: the one that the running test or program stands in, or
/// its parent.
///
/// # Errors
/// `holdfast` has not been built beside it.
pub fn programs() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let found = own.ancestors().skip(1).take(3).find(|folder| folder.join("holdfast").is_file());
    found
        .map(Path::to_owned)
        .context("holdfast is not built: run `cargo build --workspace --bins` first")
}

impl Demo {
    /// Starts a demo and waits until it has written `demo.json` and a leader is known.
    ///
    /// # Errors
    /// The programs are missing, the demo ends early, or there is no leader within 120 s.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let description = options.dir.join("demo.json");
        let _ = std::fs::remove_file(&description);
        std::fs::create_dir_all(&options.dir)?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(options.dir.with_extension("log"))?;
        let mut child = Command::new(programs()?.join("holdfast"))
            .arg("demo")
            .args(["--nodes", "3"])
            .arg("--dir")
            .arg(&options.dir)
            .args(["--http", &format!("127.0.0.1:{}", options.port)])
            .args(["--concentrators", &options.concentrators.to_string()])
            .args(["--meters", &options.meters.to_string()])
            .args(["--seconds", &options.seconds.to_string()])
            .args(&options.more)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let until = Instant::now() + Duration::from_secs(120);
        let description = loop {
            if let Some(found) = read_json(&description) {
                break found;
            }
            if let Some(status) = child.try_wait()? {
                let said = std::fs::read_to_string(options.dir.with_extension("log"));
                let said = said.unwrap_or_default();
                let last = said.lines().rev().take(30).collect::<Vec<_>>();
                let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
                bail!("the demo ended with {status}; it said last:\n{last}");
            }
            if Instant::now() > until {
                let _ = child.kill();
                bail!("the demo wrote no demo.json within 120 s");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let token = description["token"].as_str().context("demo.json has no token")?;
        let http = Http::new(token);
        let nodes = description["nodes"].as_array().context("demo.json has no nodes")?;
        let nodes = nodes.iter().map(|node| Ok((text(node, "name")?, text(node, "url")?)));
        let nodes = nodes.collect::<anyhow::Result<Vec<_>>>()?;
        let demo = Self { child, options, http, nodes };
        demo.wait_leader(Duration::from_secs(120)).await?;
        Ok(demo)
    }

    /// Waits until every concentrator has a standby, as the drills of channels need.
    ///
    /// # Errors
    /// One has none after `patience`.
    pub async fn wait_standbys(&self, patience: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        loop {
            let list = self.http.get(&format!("{}/api/v1/concentrators", self.nodes[0].1)).await?;
            let items = list["items"].as_array().context("items")?;
            let good =
                |item: &Value| item["standbys"].as_array().is_some_and(|all| !all.is_empty());
            if !items.is_empty() && items.iter().all(good) {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < until, "no standby: {list}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// The simulator's journal of acknowledged pushes.
    pub fn journal(&self) -> PathBuf {
        self.options.dir.join("simulator").join("journal.jsonl")
    }

    /// Everything that the demo and its children have logged so far.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn logs(&self) -> anyhow::Result<String> {
        logs(&self.options.dir)
    }

    /// The process id of a node now (the demo restarts killed nodes under new ids).
    ///
    /// # Errors
    /// `demo.json` cannot be read or has no such node.
    pub fn pid(&self, name: &str) -> anyhow::Result<i32> {
        let description = read_json(&self.options.dir.join("demo.json")).context("demo.json")?;
        let nodes = description["nodes"].as_array().context("demo.json has no nodes")?;
        let node = nodes.iter().find(|node| node["name"] == name).context("no such node")?;
        pid_of(&node["pid"])
    }

    /// The simulator's process id.
    ///
    /// # Errors
    /// `demo.json` cannot be read.
    pub fn simulator_pid(&self) -> anyhow::Result<i32> {
        let description = read_json(&self.options.dir.join("demo.json")).context("demo.json")?;
        pid_of(&description["simulator"]["pid"])
    }

    /// The leader as most nodes see it, with its URL.
    ///
    /// # Errors
    /// No leader is agreed on before the deadline.
    pub async fn wait_leader(&self, patience: Duration) -> anyhow::Result<String> {
        let until = Instant::now() + patience;
        loop {
            let mut votes: Vec<String> = Vec::new();
            for (_, url) in &self.nodes {
                let seen = self.http.get(&format!("{url}/api/v1/cluster")).await;
                if let Ok(Some(leader)) = seen.map(|s| s["leader"].as_str().map(str::to_owned)) {
                    votes.push(leader);
                }
            }
            if let Some(leader) =
                votes.iter().find(|l| votes.iter().filter(|v| v == l).count() >= 2)
            {
                return Ok(leader.clone());
            }
            if Instant::now() > until {
                bail!("no leader that two nodes agree on within {patience:?}; votes {votes:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until all nodes answer, have applied up to one index and hold the same state hash
    /// there; returns it.
    ///
    /// # Errors
    /// They do not agree before the deadline, or the hashes at an equal index differ.
    pub async fn wait_equal(&self, patience: Duration) -> anyhow::Result<(u64, String)> {
        let urls: Vec<String> = self.nodes.iter().map(|(_, url)| url.clone()).collect();
        agree::wait(&self.http, &urls, patience).await
    }

    /// Ends the demo as Ctrl-C does and returns its exit code.
    ///
    /// # Errors
    /// It does not end within 120 s.
    pub async fn stop(mut self) -> anyhow::Result<i32> {
        signal(i32::try_from(self.child.id())?, Signal::Interrupt)?;
        self.wait_end(Duration::from_secs(120)).await
    }

    /// Waits for the demo's own end and returns its exit code.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn wait_end(&mut self, patience: Duration) -> anyhow::Result<i32> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return status.code().context("the demo was killed");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the demo did not end within {patience:?}")
    }

    /// kill -9 of the demo, every node and the simulator at once: the power cut of a rack.
    ///
    /// # Errors
    /// A process id cannot be found.
    pub fn kill_all(mut self) -> anyhow::Result<()> {
        let mut pids = vec![i32::try_from(self.child.id())?, self.simulator_pid()?];
        for (name, _) in &self.nodes {
            pids.push(self.pid(name)?);
        }
        for pid in &pids {
            let _ = signal(*pid, Signal::Kill);
        }
        self.child.wait()?;
        // The nodes were the demo's children, so nobody tells us of their end; until then they
        // hold their ports and the locks of their folders.
        let until = Instant::now() + Duration::from_secs(60);
        while let Some(pid) = pids.iter().find(|pid| is_running(**pid)) {
            anyhow::ensure!(Instant::now() < until, "process {pid} does not die");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that is there and not a zombie: one that still holds ports and files.
fn is_running(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_some_and(|state| !state.trim_start().starts_with(['Z', 'X']))
}

/// The signals that tests send.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGKILL.
    Kill,
    /// SIGSTOP: a hung process.
    Stop,
    /// SIGCONT.
    Continue,
    /// SIGHUP: certificates are read again.
    Hangup,
}

/// Sends a signal to a process of ours.
///
/// # Errors
/// There is no such process.
pub fn signal(pid: i32, signal: Signal) -> anyhow::Result<()> {
    use rustix::process::{Pid, Signal as Kernel, kill_process};
    let pid = Pid::from_raw(pid).context("process id 0")?;
    let kernel = match signal {
        Signal::Interrupt => Kernel::INT,
        Signal::Kill => Kernel::KILL,
        Signal::Stop => Kernel::STOP,
        Signal::Continue => Kernel::CONT,
        Signal::Hangup => Kernel::HUP,
    };
    kill_process(pid, kernel).context("kill")
}

/// Everything that a demo in `dir` and its children have logged.
///
/// # Errors
/// A log cannot be read.
pub fn logs(dir: &Path) -> anyhow::Result<String> {
    let mut all = std::fs::read_to_string(dir.with_extension("log"))?;
    for entry in std::fs::read_dir(dir.join("logs"))? {
        all.push_str(&String::from_utf8_lossy(&std::fs::read(entry?.path())?));
    }
    Ok(all)
}

fn read_json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn text(value: &Value, key: &str) -> anyhow::Result<String> {
    Ok(value[key].as_str().with_context(|| format!("demo.json: {key}"))?.to_owned())
}

fn pid_of(value: &Value) -> anyhow::Result<i32> {
    Ok(i32::try_from(value.as_i64().context("demo.json: pid")?)?)
}
