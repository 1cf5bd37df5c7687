//! Two rounds of random faults on real processes, by the program that runs hundreds of them.

use crate::alone;
use chaos_tests::demo::programs;
use std::process::Command;

#[tokio::test]
async fn two_rounds_lose_nothing_and_do_nothing_twice() -> anyhow::Result<()> {
    let _alone = alone().await;
    let output = Command::new(programs()?.join("rounds"))
        .args(["--rounds", "2", "--seed", "7", "--port", "19880"])
        .output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    println!("{said}");
    anyhow::ensure!(output.status.success(), "a round was broken");
    anyhow::ensure!(said.contains("seed 7, 2 rounds"), "the seed is not told");
    anyhow::ensure!(said.contains("round    2:") && said.contains("0 lost, 0 twice"), "{said}");
    Ok(())
}
