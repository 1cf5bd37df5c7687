//! Concentrators are set to what is wanted of them by a cluster of three: a new main address that
//! is permanent, one that falls back, a restart that is seen, and a rollout in waves.

use crate::alone;
use anyhow::Context;
use chaos_tests::demo::programs;
use chaos_tests::field;
use chaos_tests::nodes::Nodes;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PORT: u16 = 18_880;
const PATIENCE: Duration = Duration::from_secs(90);
const ONE: &str = "HFDSIM0000000001";
const TWO: &str = "HFDSIM0000000002";

/// A simulator that is killed when the story ends.
struct Simulator(Child);

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where concentrators dial a node.
fn gateway(node: u16) -> String {
    format!("127.0.0.1:{}", PORT + 100 + 10 * node)
}

fn simulator(dir: &Path) -> anyhow::Result<Simulator> {
    let child = Command::new(programs()?.join("holdfast-simulator"))
        .args(["--head-end", &format!("{},{}", gateway(0), gateway(1))])
        .args(["--concentrators", "2", "--meters", "2", "--perfect", "--seed", "11"])
        .args(["--answer-ms", "5000", "--heartbeat-ms", "1000", "--die-with-parent", "--state"])
        .arg(dir.join("state"))
        .arg("--field-out")
        .arg(dir.join("field.json"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(Simulator(child))
}

struct House {
    nodes: Nodes,
    token: std::path::PathBuf,
}

impl House {
    /// Runs `holdfast` against node 1: what it printed as JSON, and its failure's code.
    fn run(&self, arguments: &[&str]) -> anyhow::Result<Result<Value, String>> {
        let output = Command::new(programs()?.join("holdfast"))
            .args(arguments)
            .args(["--json", "--url", &self.nodes.urls[0], "--token-file"])
            .arg(&self.token)
            .output()?;
        if output.status.success() {
            return Ok(Ok(serde_json::from_slice(&output.stdout)?));
        }
        let error: Value = serde_json::from_slice(&output.stderr)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok(Err(error["code"].as_str().unwrap_or_default().to_owned()))
    }

    fn holdfast(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        self.run(arguments)?.map_err(|code| anyhow::anyhow!("holdfast {arguments:?}: {code}"))
    }

    fn reported(&self, id: &str, name: &str) -> anyhow::Result<Value> {
        let shown = self.holdfast(&["setup", "show", id])?;
        let mut all = shown["parameters"].as_array().context("parameters")?.iter();
        Ok(all.find(|one| one["name"] == name).context("a parameter")?["reported"].clone())
    }

    /// Waits until a concentrator has a channel and a standby.
    async fn settled(&self, id: &str) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = self.holdfast(&["concentrator", "channels", id])?;
            let standbys = seen["standbys"].as_array().map_or(0, Vec::len);
            if seen["active"].is_object() && standbys == 1 {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < until, "{id}: {seen}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concentrators_are_set_restarted_and_rolled_out() -> anyhow::Result<()> {
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let mut nodes = Nodes::init(&scratch.path().join("cluster"), PORT)?;
    for node in 0..3 {
        nodes.start(node, &[])?;
    }
    for node in 0..3 {
        nodes.wait_ready(node, PATIENCE).await?;
    }
    let token = scratch.path().join("token");
    std::fs::write(&token, nodes.http.token())?;
    let _simulator = simulator(scratch.path())?;
    field::register(&nodes, 0, scratch.path()).await?;
    let house = House { nodes, token };
    for id in [ONE, TWO] {
        house.settled(id).await?;
    }

    // A new main address, at a third node: permanent when that node has associated there.
    house.holdfast(&["setup", "read", ONE])?;
    anyhow::ensure!(house.reported(ONE, "main_address")? == gateway(0));
    let main = format!("main_address={}", gateway(2));
    house.holdfast(&["setup", "want", ONE, "--set", &main, "--reason", "moved"])?;
    let pushed = house.holdfast(&["setup", "push", ONE, "--trial", "60"])?;
    anyhow::ensure!(pushed["state"] == "verified", "{pushed}");
    anyhow::ensure!(house.reported(ONE, "main_address")? == gateway(2));

    // Nobody listens at the next one: it falls back, with all of its set, and is not lost.
    house.settled(ONE).await?;
    let wrong = ["--set", "main_address=127.0.0.1:9", "--set", "heartbeat_seconds=77"];
    let order = ["setup", "want", ONE, wrong[0], wrong[1], wrong[2], wrong[3], "--reason", "typo"];
    house.holdfast(&order)?;
    let code = house.run(&["setup", "push", ONE, "--trial", "6"])?.expect_err("it fell back");
    anyhow::ensure!(code == "not_done", "{code}");
    house.settled(ONE).await?;
    house.holdfast(&["setup", "read", ONE])?;
    anyhow::ensure!(house.reported(ONE, "main_address")? == gateway(2));
    anyhow::ensure!(house.reported(ONE, "heartbeat_seconds")? == 1);

    let restarted = house.holdfast(&["concentrator", "restart", ONE, "--reason", "a test"])?;
    anyhow::ensure!(restarted["state"] == "verified", "{restarted}");
    rolled_out(&house).await
}

/// A template for both, one after the other.
async fn rolled_out(house: &House) -> anyhow::Result<()> {
    let save = ["setup", "save", "town", "--set", "heartbeat_seconds=3", "--reason", "slower"];
    house.holdfast(&save)?;
    let unset = ["--unset", "main_address", "--unset", "heartbeat_seconds"];
    let mut want = vec!["setup", "want", ONE, "--template", "town", "--reason", "standard"];
    want.extend(unset);
    house.holdfast(&want)?;
    house.holdfast(&["setup", "want", TWO, "--template", "town", "--reason", "standard"])?;
    let begin = ["rollout", "begin", "--template", "town", "--wave", "1", "--reason", "all"];
    let begun = house.holdfast(&begin)?;
    let id = begun["id"].to_string();
    let until = Instant::now() + PATIENCE;
    loop {
        let seen = house.holdfast(&["rollout", "show", &id])?;
        if seen["phase"] == "done" {
            anyhow::ensure!((&seen["verified"], &seen["wave"]) == (&2.into(), &2.into()), "{seen}");
            break;
        }
        anyhow::ensure!(seen["phase"] == "running" && Instant::now() < until, "{seen}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for id in [ONE, TWO] {
        anyhow::ensure!(house.reported(id, "heartbeat_seconds")? == 3, "{id}");
    }
    let over = house.run(&["rollout", "abort", &id, "--reason", "late"])?;
    anyhow::ensure!(over == Err("rollout_over".to_owned()), "{over:?}");
    Ok(())
}
