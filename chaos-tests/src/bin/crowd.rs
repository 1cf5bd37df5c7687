//! Ten thousand concentrators, each with its main and its standby channel, at three real nodes:
//! memory and processor of a connection, logins a second when all come at once, and how long until
//! all are served again after a power cut of the field and after a node is killed.
//!
//! `cargo build --release --bins && target/release/crowd`
//!
//! The simulated field runs on the same machine: its half of every login is in the figures.

use anyhow::Context;
use chaos_tests::crowd::{self, Options, Phase, Report};
use clap::Parser;
use std::time::Duration;

/// Command line.
#[derive(Parser)]
#[command(about = "Thousands of concentrators at three nodes: memory, logins a second, return")]
struct Arguments {
    /// Concentrators; each has two channels.
    #[arg(long, default_value_t = 10_000)]
    concentrators: u32,
    /// Meters behind each.
    #[arg(long, default_value_t = 1)]
    meters: u32,
    /// Seconds between two heartbeats of a channel.
    #[arg(long, default_value_t = 60)]
    heartbeat: u64,
    /// The longest that one phase may take, seconds.
    #[arg(long, default_value_t = 300)]
    limit: u64,
    /// HTTP port of the first node.
    #[arg(long, default_value_t = 18_080)]
    port: u16,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let scratch = tempfile::tempdir().context("no scratch folder")?;
    let report = crowd::run(Options {
        concentrators: arguments.concentrators,
        meters: arguments.meters,
        heartbeat: Duration::from_secs(arguments.heartbeat),
        limit: Duration::from_secs(arguments.limit),
        port: arguments.port,
        dir: scratch.path().to_owned(),
    })
    .await?;
    print(&report);
    Ok(())
}

fn print(report: &Report) {
    println!("{} concentrators, {} connections", report.concentrators, 2 * report.concentrators);
    println!("registered: {:.0} devices/s", report.registered_a_second);
    println!("memory: {:.1} KiB a connection", report.octets_a_connection / 1024.0);
    println!("nothing but heartbeats: {:.2} processors, all nodes together", report.busy);
    println!("| | half | 99 % | all active | all standbys | logins/s | in the best second |");
    println!("|---|---|---|---|---|---|---|");
    let phases = [
        ("all dial within 0.1 s", &report.first),
        ("all gone and back", &report.again),
        ("a node killed", &report.killed),
    ];
    for (name, phase) in phases {
        let Phase { half, most, all, standbys, logins_a_second, peak } = phase;
        let seconds = |time: &Duration| format!("{:.1} s", time.as_secs_f64());
        let standbys = standbys.as_ref().map(seconds).unwrap_or_default();
        let (half, most, all) = (seconds(half), seconds(most), seconds(all));
        println!(
            "| {name} | {half} | {most} | {all} | {standbys} | {logins_a_second:.0} | {peak:.0} |"
        );
    }
}
