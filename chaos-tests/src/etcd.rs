//! Three members of etcd on loopback, for a measurement beside our own nodes.
//!
//! A program that is measured, not a part of anything: Debian's `etcd-server`. It is spoken to by
//! its JSON gateway, so that both clusters have the same HTTP client. Invariants: a member never
//! outlives its owner; data lies in the folder that the caller gives.

use crate::demo::{Signal, signal};
use crate::http::Http;
use anyhow::{Context, bail, ensure};
use hyper::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// How long members wait for each other.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two heartbeats, ms.
    pub heartbeat_ms: u32,
    /// Election time: etcd draws from this up to twice this, ms. It must be five heartbeats.
    pub election_ms: u32,
}

/// etcd's own defaults.
pub const DEFAULTS: Pace = Pace { heartbeat_ms: 100, election_ms: 1_000 };
/// Holdfast's election time of 150 to 300 ms; its heartbeat of 50 is refused by etcd, so 30.
pub const AS_OURS: Pace = Pace { heartbeat_ms: 30, election_ms: 150 };

/// Three members.
pub struct Etcd {
    dir: PathBuf,
    port: u16,
    pace: Pace,
    running: Vec<Option<Child>>,
    /// A client without a token.
    pub http: Http,
    /// URLs for clients, member 1 first.
    pub urls: Vec<String>,
}

impl Etcd {
    /// Starts three members on ports from `port` on (six of them) and waits until they work.
    ///
    /// # Errors
    /// etcd is not installed, or does not work within 60 s.
    pub async fn start(dir: &Path, port: u16, pace: Pace) -> anyhow::Result<Self> {
        let version = Command::new("etcd").arg("--version").output();
        let version = version.context(
            "etcd is not installed; it is a program for this measurement alone: \
             apt-get install --no-install-recommends etcd-server",
        )?;
        ensure!(version.status.success(), "etcd --version fails");
        std::fs::create_dir_all(dir)?;
        let urls = (0..3).map(|member| format!("http://127.0.0.1:{}", port + member)).collect();
        let running = vec![None, None, None];
        let mut etcd = Self { dir: dir.to_owned(), port, pace, running, http: Http::new(""), urls };
        for member in 0..3 {
            etcd.run(member)?;
        }
        for member in 0..3 {
            etcd.wait_ready(member, 60 * SECOND).await?;
        }
        Ok(etcd)
    }

    /// What `etcd --version` says first.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn version() -> anyhow::Result<String> {
        let output = Command::new("etcd").arg("--version").output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    /// Starts a member, the first time or again.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn run(&mut self, member: usize) -> anyhow::Result<()> {
        let peer = |member: u16| format!("http://127.0.0.1:{}", self.port + 10 + member);
        let all: Vec<String> = (0..3).map(|n| format!("e{}={}", n + 1, peer(n))).collect();
        let number = u16::try_from(member)?;
        let name = format!("e{}", member + 1);
        let log = self.dir.join(format!("{name}.log"));
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "etcd", "--name", &name, "--data-dir"])
            .arg(self.dir.join(&name))
            .args(["--listen-client-urls", &self.urls[member]])
            .args(["--advertise-client-urls", &self.urls[member]])
            .args(["--listen-peer-urls", &peer(number)])
            .args(["--initial-advertise-peer-urls", &peer(number)])
            .args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"])
            .args(["--heartbeat-interval", &self.pace.heartbeat_ms.to_string()])
            .args(["--election-timeout", &self.pace.election_ms.to_string()])
            .env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH.replace("aarch64", "arm64"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.running[member] = Some(child);
        Ok(())
    }

    /// kill -9 of a member.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self, member: usize) -> anyhow::Result<()> {
        let mut child = self.running[member].take().context("the member does not run")?;
        signal(i32::try_from(child.id())?, Signal::Kill)?;
        child.wait()?;
        Ok(())
    }

    async fn ask(&self, member: usize, path: &str, body: Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.urls[member]);
        let answer = self.http.send(Method::POST, &url, Some(&body), None, SECOND).await?;
        ensure!(answer.status == 200, "{url}: {} {}", answer.status, answer.text);
        answer.json()
    }

    /// Member and leader as a member sees them, by their ids.
    async fn status(&self, member: usize) -> anyhow::Result<(String, String)> {
        let seen = self.ask(member, "/v3/maintenance/status", json!({})).await?;
        let own = seen["header"]["member_id"].as_str().context("member_id")?.to_owned();
        Ok((own, seen["leader"].as_str().unwrap_or("0").to_owned()))
    }

    /// The place of the member that all who answer take for the leader, and everybody's ids.
    ///
    /// # Errors
    /// There is none within `patience`.
    pub async fn leader(&self, patience: Duration) -> anyhow::Result<(usize, Vec<String>)> {
        let until = Instant::now() + patience;
        loop {
            let mut seen = Vec::new();
            for member in 0..3 {
                seen.extend(self.status(member).await);
            }
            if let [(_, leader), ..] = &seen[..]
                && seen.len() == 3
                && seen.iter().all(|(_, other)| other == leader)
                && let Some(place) = seen.iter().position(|(own, _)| own == leader)
            {
                return Ok((place, seen.into_iter().map(|(own, _)| own).collect()));
            }
            if Instant::now() > until {
                bail!("no leader of etcd that all agree on: {seen:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a member takes a write.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn wait_ready(&self, member: usize, patience: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if write(&self.http, &self.urls[member], "ready", SECOND).await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("member {} of etcd takes no write within {patience:?}", member + 1)
    }

    /// The leader hands its office to another member.
    ///
    /// # Errors
    /// It does not.
    pub async fn move_leader(&self, leader: usize, heir: &str) -> anyhow::Result<()> {
        let body = json!({ "targetID": heir });
        self.ask(leader, "/v3/maintenance/transfer-leadership", body).await.map(drop)
    }
}

/// One write at one member: true when it was accepted. `key` is hexadecimal or letters.
pub async fn write(http: &Http, url: &str, key: &str, patience: Duration) -> bool {
    // "cHJvYmU=" is "probe" in base64: one key, as our probe writes one concentrator.
    let value = key.len() % 4;
    let padded = format!("{}{}", key.replace('-', "x"), "A".repeat((4 - value) % 4));
    let body = json!({ "key": "cHJvYmU=", "value": padded });
    let url = format!("{url}/v3/kv/put");
    let answer = http.send(Method::POST, &url, Some(&body), None, patience).await;
    matches!(answer, Ok(answer) if answer.status == 200)
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
