//! The cluster of the rounds, its field, and what stands between them and the machine.

use super::{SETTLED_WITHIN, power};
use crate::field;
use crate::nodes::Nodes;
use crate::proxy::Proxy;
use crate::relay::Relay;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// The environment of the nodes: a channel's answer is waited for 0.7 s, drills are allowed, whose
/// numbered writes the writers use, and files are small, since they are often copied.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("HOLDFAST_GATEWAY__ANSWER_TIMEOUT_MS", "700"),
    ("HOLDFAST_DRILLS__ALLOWED", "true"),
    ("HOLDFAST_STORAGE__WAL_SEGMENT_BYTES", "4194304"),
    ("HOLDFAST_STORAGE__RESERVE_BYTES", "4194304"),
    ("HOLDFAST_STORAGE__LOW_WATER_BYTES", "33554432"),
];
/// The node whose disk can be filled.
pub(super) const SMALL: usize = 2;
const SMALL_DISK: &str = "size=1g";
/// Debian's package faketime; which folder depends on the processor.
const CLOCKS: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// What this machine lets us break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// The program has a network and mount namespace of its own: nftables cuts links, and a disk
    /// can be full.
    pub namespace: bool,
    /// libfaketime is there: clocks jump.
    pub clocks: bool,
}

impl Means {
    /// What there is, in a namespace or not.
    pub fn here(namespace: bool) -> Self {
        Self { namespace, clocks: clock_library().is_some() }
    }
}

fn clock_library() -> Option<&'static str> {
    CLOCKS.into_iter().find(|path| Path::new(path).exists())
}

/// A cluster, its field, and the ways to hurt both.
pub struct House {
    pub(super) nodes: Nodes,
    pub(super) proxies: [Proxy; 2],
    pub(super) relay: Relay,
    pub(super) simulator: Child,
    pub(super) dir: PathBuf,
    pub(super) means: Means,
    pub(super) port: u16,
    library: PathBuf,
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.simulator.kill();
        let _ = self.simulator.wait();
        if self.means.namespace {
            // The node still has its disk; the folder can be removed.
            let _ = Command::new("umount").arg("--lazy").arg(self.nodes.data(SMALL)).status();
        }
    }
}

impl House {
    /// Starts everything on ports from `port` on.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(dir: &Path, port: u16, means: Means, seed: u64) -> anyhow::Result<Self> {
        let nodes = Nodes::init(&dir.join("cluster"), port)?;
        let relay = Relay::start(nodes.listens(), seed).await?;
        nodes.reach_at(&relay.fronts())?;
        let before = |node: u16| Proxy::start(format!("127.0.0.1:{}", port + 100 + 10 * node));
        let proxies = [before(0).await?, before(1).await?];
        let library = power::library(dir)?;
        let simulator = field::simulator(dir, &proxies)?;
        let dir = dir.to_owned();
        let mut house = Self { nodes, proxies, relay, simulator, dir, means, port, library };
        for node in 0..3 {
            std::fs::create_dir_all(house.nodes.data(node))?;
            std::fs::create_dir_all(house.shadow(node))?;
            house.set_clock(node, 0)?;
        }
        if means.namespace {
            let data = house.nodes.data(SMALL);
            let mount = ["-t", "tmpfs", "-o", SMALL_DISK, "tmpfs"];
            let made = Command::new("mount").args(mount).arg(&data).status().context("mount")?;
            ensure!(made.success(), "no file system of its own at {}", data.display());
        }
        for node in 0..3 {
            house.start_node(node)?;
        }
        for node in 0..3 {
            house.nodes.wait_ready(node, SETTLED_WITHIN).await?;
        }
        field::register(&house.nodes, 2, &house.dir).await?;
        Ok(house)
    }

    /// What a node's disk holds for certain.
    pub(super) fn shadow(&self, node: usize) -> PathBuf {
        self.dir.join("shadow").join(&self.nodes.names[node])
    }

    fn clock(&self, node: usize) -> PathBuf {
        self.dir.join(format!("clock-{}", self.nodes.names[node]))
    }

    /// A node's clock is so many seconds ahead of the machine's, within a second.
    pub(super) fn set_clock(&self, node: usize, seconds: i64) -> anyhow::Result<()> {
        // Renamed into its place: a file that is read half written would be another time.
        let (path, fresh) = (self.clock(node), self.dir.join("clock-new"));
        std::fs::write(&fresh, format!("{seconds:+}\n"))?;
        Ok(std::fs::rename(fresh, path)?)
    }

    /// Starts a node under the libraries.
    pub(super) fn start_node(&mut self, node: usize) -> anyhow::Result<()> {
        let path = |path: PathBuf| path.display().to_string();
        let clocks = clock_library().map(|library| format!("{library}:")).unwrap_or_default();
        let more = [
            // The first of the list is made ready last, and calls those behind it meanwhile.
            ("LD_PRELOAD", format!("{clocks}{}", self.library.display())),
            ("PL_ROOT", path(self.nodes.data(node))),
            ("PL_SHADOW", path(self.shadow(node))),
            ("FAKETIME_TIMESTAMP_FILE", path(self.clock(node))),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ];
        let more = more.iter().map(|(name, value)| (*name, value.as_str()));
        let all: Vec<(&str, &str)> = ENVIRONMENT.into_iter().chain(more).collect();
        self.nodes.start(node, &all)
    }

    /// Keeps what a later look needs and the namespace would take with it.
    ///
    /// # Errors
    /// It cannot be copied.
    pub fn keep(&self) -> anyhow::Result<()> {
        if self.means.namespace {
            power::copy_tree(&self.nodes.data(SMALL), &self.dir.join("small-disk"))?;
        }
        Ok(())
    }
}
