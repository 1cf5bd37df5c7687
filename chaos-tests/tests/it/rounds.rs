//! A short soak: simulated stories, then rounds of random faults on real processes, by the
//! programs that run thousands of them.

use crate::alone;
use chaos_tests::demo::programs;
use std::process::Command;

#[tokio::test]
async fn a_short_soak_loses_nothing_and_does_nothing_twice() -> anyhow::Result<()> {
    let _alone = alone().await;
    let output = Command::new(programs()?.join("soak"))
        .args(["--hours", "0", "--stories", "2", "--rounds", "2"])
        .args(["--seed", "7", "--port", "19880"])
        .output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    println!("{said}");
    anyhow::ensure!(output.status.success(), "a promise was broken");
    anyhow::ensure!(said.contains("seed 7, 2 rounds"), "the seed is not told");
    anyhow::ensure!(said.contains("round    2:") && said.contains("0 lost, 0 twice"), "{said}");
    anyhow::ensure!(said.contains("1 turns, 2 stories, 2 rounds, nothing broken"), "{said}");
    Ok(())
}

#[tokio::test]
async fn every_kind_of_fault_is_borne_once() -> anyhow::Result<()> {
    let _alone = alone().await;
    let output = Command::new(programs()?.join("rounds"))
        .args(["--each", "--seed", "7", "--port", "19880"])
        .output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    println!("{said}");
    anyhow::ensure!(output.status.success(), "a promise was broken");
    anyhow::ensure!(said.contains("0 lost, 0 twice") && said.contains("0 stale"), "{said}");
    for kind in ["without power", "ms late", "killed", "stopped", "deaf", "BlackHole"] {
        anyhow::ensure!(said.contains(kind), "{kind} was not played");
    }
    Ok(())
}
