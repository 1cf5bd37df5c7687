//! Three bare nodes made by `holdfast init` and run by hand, for failures that a demo would
//! repair by itself.

use crate::demo::{Signal, programs, signal};
use crate::http::Http;
use anyhow::{Context, bail};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nodes of one cluster on loopback.
pub struct Nodes {
    dir: PathBuf,
    running: Vec<Option<Child>>,
    cluster_port: u16,
    /// A client with the cluster's admin token.
    pub http: Http,
    /// Base URLs, node 1 first.
    pub urls: Vec<String>,
    /// Names, node 1 first.
    pub names: Vec<String>,
}

impl Nodes {
    /// Makes certificates and configurations for three nodes; HTTP ports count up from `port`.
    /// Starts nothing.
    ///
    /// # Errors
    /// `holdfast init` fails.
    pub fn init(dir: &Path, port: u16) -> anyhow::Result<Self> {
        let output = Command::new(programs()?.join("holdfast"))
            .args(["init", "--json", "--dir"])
            .arg(dir)
            .args(["--node", "n1=127.0.0.1", "--node", "n2=127.0.0.1", "--node", "n3=127.0.0.1"])
            .args(["--http-port", &port.to_string()])
            .args(["--gateway-port", &(port + 100).to_string()])
            .args(["--cluster-port", &(port + 200).to_string()])
            .output()?;
        if !output.status.success() {
            bail!("init: {}", String::from_utf8_lossy(&output.stderr));
        }
        let made: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let token = made["token"].as_str().context("init printed no token")?;
        Ok(Self {
            dir: dir.to_owned(),
            running: vec![None, None, None],
            cluster_port: port + 200,
            http: Http::new(token),
            urls: (0..3).map(|n| format!("http://127.0.0.1:{}", port + n)).collect(),
            names: vec!["n1".into(), "n2".into(), "n3".into()],
        })
    }

    /// The configuration file of a node.
    pub fn config(&self, node: usize) -> PathBuf {
        self.dir.join(&self.names[node]).join("node.toml")
    }

    /// The data directory of a node.
    pub fn data(&self, node: usize) -> PathBuf {
        self.dir.join(&self.names[node]).join("data")
    }

    /// Nodes reach each other at these addresses instead of where they listen. Before the first
    /// start.
    ///
    /// # Errors
    /// A configuration cannot be written, or does not hold what `init` writes.
    pub fn reach_at(&self, fronts: &[SocketAddr; 3]) -> anyhow::Result<()> {
        for node in 0..3 {
            let mut text = std::fs::read_to_string(self.config(node))?;
            for (peer, front) in self.listens().iter().zip(fronts) {
                let (from, to) = (format!("\naddress = \"{peer}\""), front.to_string());
                anyhow::ensure!(text.contains(&from), "no {from} in a configuration");
                text = text.replace(&from, &format!("\naddress = \"{to}\""));
            }
            std::fs::write(self.config(node), text)?;
        }
        Ok(())
    }

    /// Where the nodes listen for each other.
    pub fn listens(&self) -> [SocketAddr; 3] {
        [0, 1, 2].map(|node| SocketAddr::from(([127, 0, 0, 1], self.cluster_port + node)))
    }

    /// Everything that a node has written to its output so far.
    pub fn log(&self, node: usize) -> String {
        std::fs::read_to_string(self.log_path(node)).unwrap_or_default()
    }

    fn log_path(&self, node: usize) -> PathBuf {
        self.dir.join(format!("{}.log", self.names[node]))
    }

    /// Starts a node with environment variables of its own.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(&mut self, node: usize, environment: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut command = Command::new(programs()?.join("holdfast"));
        self.spawn(node, command.envs(environment.iter().copied()))
    }

    /// Starts a node whose data directory is a file system of its own of `size` octets, in a
    /// mount namespace, so that it can be filled without touching the machine's disk.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start_on_small_disk(
        &mut self,
        node: usize,
        size: &str,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let disk = self.dir.join("small-disk");
        std::fs::create_dir_all(&disk)?;
        let script = format!(
            "mount -t tmpfs -o size={size} tmpfs '{disk}' && exec '{program}' \"$@\"",
            disk = disk.display(),
            program = programs()?.join("holdfast").display()
        );
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "holdfast"]);
        command.envs(environment.iter().copied());
        self.spawn(node, command.env("HOLDFAST_NODE__DATA_DIR", &disk))
    }

    /// The small disk of a node, seen through the node's own mount namespace.
    fn small_disk(&self, node: usize) -> anyhow::Result<PathBuf> {
        let child = self.running[node].as_ref().context("the node does not run")?;
        let inside = format!("/proc/{}/root{}", child.id(), self.dir.join("small-disk").display());
        Ok(PathBuf::from(inside))
    }

    /// Takes of a small disk what is free but for `leave` octets; `free_small_disk` gives it back.
    ///
    /// # Errors
    /// The node does not run, or the disk cannot be reached.
    pub fn crowd_small_disk(&self, node: usize, leave: u64) -> anyhow::Result<u64> {
        let inside = self.small_disk(node)?;
        let space = rustix::fs::statvfs(&inside)?;
        let take = (space.f_bavail * space.f_frsize).saturating_sub(leave);
        let size = usize::try_from(take)?;
        std::fs::write(inside.join("filler"), vec![0xF1; size])?;
        Ok(take)
    }

    /// Gives back what `crowd_small_disk` took.
    ///
    /// # Errors
    /// The node does not run, or the disk cannot be reached.
    pub fn free_small_disk(&self, node: usize) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.small_disk(node)?.join("filler"))?)
    }

    /// Fills the rest of a small disk with a file.
    ///
    /// # Errors
    /// The node does not run, or the disk cannot be reached.
    pub fn fill_small_disk(&self, node: usize) -> anyhow::Result<u64> {
        let inside = self.small_disk(node)?;
        let mut filler = std::fs::File::create(inside.join("filler"))?;
        let mut written = 0;
        for size in [4096_usize, 1] {
            let piece = vec![0xF1; size];
            while std::io::Write::write_all(&mut filler, &piece).is_ok() {
                written += size as u64;
                anyhow::ensure!(written < 1 << 30, "this is no small disk");
            }
        }
        Ok(written)
    }

    fn spawn(&mut self, node: usize, command: &mut Command) -> anyhow::Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path(node))?;
        let child = command
            .args(["run", "--die-with-parent", "--config"])
            .arg(self.config(node))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.running[node] = Some(child);
        Ok(())
    }

    /// The process id of a node.
    ///
    /// # Errors
    /// The node does not run.
    pub fn pid(&self, node: usize) -> anyhow::Result<i32> {
        let child = self.running[node].as_ref().context("the node does not run")?;
        Ok(i32::try_from(child.id())?)
    }

    /// kill -9 of one node.
    ///
    /// # Errors
    /// The node does not run.
    pub fn kill(&mut self, node: usize) -> anyhow::Result<()> {
        let mut child = self.running[node].take().context("the node does not run")?;
        signal(i32::try_from(child.id())?, Signal::Kill)?;
        child.wait()?;
        Ok(())
    }

    /// The exit code of a node that ended by itself.
    ///
    /// # Errors
    /// It does not end in time, or a signal ended it.
    pub async fn wait_end(&mut self, node: usize, patience: Duration) -> anyhow::Result<i32> {
        let until = Instant::now() + patience;
        let child = self.running[node].as_mut().context("the node does not run")?;
        while Instant::now() < until {
            if let Some(status) = child.try_wait()? {
                return status.code().context("a signal ended the node");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the node did not end within {patience:?}")
    }

    /// Waits until a node answers ready.
    ///
    /// # Errors
    /// It is not ready in time.
    pub async fn wait_ready(&self, node: usize, patience: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        let url = format!("{}/readyz", self.urls[node]);
        while Instant::now() < until {
            let second = Duration::from_secs(1);
            let answer = self.http.send(hyper::Method::GET, &url, None, None, second).await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let logs: String = (0..3).map(|node| self.log(node)).collect();
        bail!("{} is not ready within {patience:?}; all logs:\n{logs}", self.names[node])
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
