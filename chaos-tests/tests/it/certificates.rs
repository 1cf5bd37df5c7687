//! Certificates are renewed on a cluster that goes on working: made by `holdfast init --renew`,
//! read again at SIGHUP, tried at the others before they are taken.

use crate::alone;
use anyhow::Context;
use chaos_tests::demo::{Signal, programs, signal};
use chaos_tests::nodes::Nodes;
use chaos_tests::probe::Probe;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const TAKEN: &str = "the certificate was read again and is used";
const KEPT: &str = "the certificate stays as it was";

fn renew(dir: &Path, name: &str) -> anyhow::Result<()> {
    let output = Command::new(programs()?.join("holdfast"))
        .args(["init", "--renew", name, "--dir"])
        .arg(dir)
        .output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    println!("{said}");
    anyhow::ensure!(output.status.success() && said.contains("SIGHUP"), "{said}");
    Ok(())
}

/// Has a node read its certificate and waits until it says what became of it, for the `nth` time.
async fn reload(nodes: &Nodes, node: usize, word: &str, nth: usize) -> anyhow::Result<String> {
    signal(nodes.pid(node)?, Signal::Hangup)?;
    let until = Instant::now() + PATIENCE;
    loop {
        let log = nodes.log(node);
        let said: Vec<&str> = log.lines().filter(|line| line.contains(word)).collect();
        if let Some(line) = said.get(nth - 1) {
            return Ok((*line).to_owned());
        }
        anyhow::ensure!(Instant::now() < until, "n{}: no {word:?} in:\n{log}", node + 1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_without_a_stop_and_bad_ones_are_not_taken() -> anyhow::Result<()>
{
    let _alone = alone().await;
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("cluster");
    let mut nodes = Nodes::init(&dir, 18_680)?;
    for node in 0..3 {
        nodes.start(node, &[])?;
    }
    for node in 0..3 {
        nodes.wait_ready(node, PATIENCE).await?;
    }
    let probe = Probe::new(&nodes.http, 1);
    for node in 0..3 {
        renew(&dir, &nodes.names[node])?;
        let line = reload(&nodes, node, TAKEN, 1).await?;
        anyhow::ensure!(line.contains("\"nodes\":2"), "both others took it: {line}");
        let round = format!("renewed-{node}");
        let pause = probe.until_accepted(&nodes.urls, &round, PATIENCE).await?;
        println!("{}: the next write after {} ms", nodes.names[node], pause.as_millis());
    }

    // A key of another certificate, a certificate of another authority: both stay outside.
    let own = dir.join(&nodes.names[0]);
    std::fs::copy(own.join("node.key.old"), own.join("node.key"))?;
    let line = reload(&nodes, 0, KEPT, 1).await?;
    anyhow::ensure!(line.contains("bad_certificate"), "{line}");
    let foreign = scratch.path().join("foreign");
    Nodes::init(&foreign, 18_680)?;
    for file in ["node.pem", "node.key"] {
        std::fs::copy(foreign.join(&nodes.names[0]).join(file), own.join(file))?;
    }
    let line = reload(&nodes, 0, KEPT, 2).await?;
    anyhow::ensure!(line.contains("certificate refused"), "{line}");
    probe.until_accepted(&nodes.urls, "still", PATIENCE).await?;

    // What was taken is what the others see at the next start, too.
    renew(&dir, &nodes.names[0]).context("over the foreign one")?;
    reload(&nodes, 0, TAKEN, 2).await?;
    nodes.kill(1)?;
    nodes.start(1, &[])?;
    nodes.wait_ready(1, PATIENCE).await?;
    probe.until_accepted(&nodes.urls, "restarted", PATIENCE).await?;
    Ok(())
}
