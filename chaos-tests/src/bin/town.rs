//! A utility's registry in three real nodes: load, pages, searches, memory, restart.
//!
//! `cargo build --release --bins && target/release/town --points 1000000`

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use chaos_tests::demo::{Demo, Options};
use chaos_tests::town::{ask, load, memory, restart, searchable};
use clap::Parser;

/// Command line.
#[derive(Parser)]
#[command(about = "A utility's registry in three nodes: load, pages, searches, memory, restart")]
struct Arguments {
    /// Points; each has a customer and a contract.
    #[arg(long, default_value_t = 1_000_000)]
    points: u32,
    /// How often each question is asked.
    #[arg(long, default_value_t = 203)]
    times: u32,
    /// HTTP port of the first node.
    #[arg(long, default_value_t = 18_480)]
    port: u16,
    /// Where the nodes' data lies; a scratch folder when left out.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { points, times, port, dir } = Arguments::parse();
    let scratch = tempfile::tempdir().context("no scratch folder")?;
    let dir = dir.unwrap_or_else(|| scratch.path().join("demo"));
    let (concentrators, meters, seconds) = (1, 1, 4 * 3600);
    let options = Options { dir, port, concentrators, meters, seconds, more: Vec::new() };
    let demo = Demo::start(options).await?;
    println!("{points} points, each with a customer and a contract, in three nodes");
    for one in load(&demo, points).await? {
        let seconds = one.took.as_secs_f64();
        let rate = f64::from(one.rows) / seconds;
        println!("loaded {}: {} in {seconds:.1} s, {rate:.0} a second", one.kind, one.rows);
    }
    for (name, url) in &demo.nodes {
        let took = searchable(&demo, url, points).await?;
        println!("{name} finds the last customer {:.1} s later", took.as_secs_f64());
    }
    println!("| question | p50 ms | p99 ms | max ms |\n|---|---|---|---|");
    for one in ask(&demo, points, times).await? {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let (half, most, all) = (ms(one.at(50)), ms(one.at(99)), ms(one.at(100)));
        println!("| {} | {half:.1} | {most:.1} | {all:.1} |", one.what);
    }
    for (name, _) in &demo.nodes {
        println!("{name}: {} MB", memory(&demo, name)? >> 20);
    }
    let (ready, found) = restart(&demo, points).await?;
    println!(
        "a killed node is ready after {:.1} s, and its search is whole after {:.1} s",
        ready.as_secs_f64(),
        found.as_secs_f64()
    );
    demo.stop().await?;
    Ok(())
}
