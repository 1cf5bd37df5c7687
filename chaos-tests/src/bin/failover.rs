//! Kills the leader of a demo again and again and prints how long nobody could write, and whether
//! anything was lost.
//!
//! `cargo run --release -p chaos-tests --bin failover -- --rounds 20`

use anyhow::ensure;
use chaos_tests::demo::{Demo, Options};
use chaos_tests::drill;
use clap::Parser;
use std::path::PathBuf;

/// Command line.
#[derive(Parser)]
#[command(about = "Leader kills on a real demo: time to the next accepted write, and nothing lost")]
struct Arguments {
    /// How often the leader is killed.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Data directory; a fresh one under the system's temporary folder when left out.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// HTTP port of the first node.
    #[arg(long, default_value_t = 18080)]
    port: u16,
    /// Concentrators in the field.
    #[arg(long, default_value_t = 4)]
    concentrators: u32,
    /// Meters behind each.
    #[arg(long, default_value_t = 50)]
    meters: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let scratch = tempfile::tempdir()?;
    let dir = arguments.dir.unwrap_or_else(|| scratch.path().join("demo"));
    let seconds = 120 + arguments.rounds * 70;
    let (concentrators, meters) = (arguments.concentrators, arguments.meters);
    let (port, more) = (arguments.port, Vec::new());
    let options = Options { dir, port, concentrators, meters, seconds, more };
    let demo = Demo::start(options).await?;
    let measured = drill::kill_leaders(&demo, arguments.rounds, |line| println!("{line}")).await?;
    println!("kill -> next accepted write: {}", measured.first_write);
    println!("kill -> all nodes equal:     {}", measured.all_equal);
    let mut clean = true;
    for (node, verdict) in drill::nothing_lost(&demo).await? {
        println!(
            "{node}: {} acknowledged values, {} missing, {} different, {} doubled",
            verdict.acknowledged, verdict.missing, verdict.different, verdict.doubled
        );
        clean &= verdict.clean();
    }
    let code = demo.stop().await?;
    println!("demo ended with exit code {code}");
    ensure!(clean && code == 0, "a promise was broken");
    Ok(())
}
