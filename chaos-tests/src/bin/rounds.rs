//! Rounds of random faults on three real nodes with writers and a pushing field: what was
//! acknowledged must be everywhere, once, and all must come together again.
//!
//! `cargo run -p chaos-tests --bin rounds -- --rounds 20 --seed 7`
//!
//! It runs itself anew in a network and mount namespace of its own, where nftables cuts the links
//! between nodes and a disk is full; where that cannot be, it says so, the relay cuts the links,
//! and no disk is filled. `--each` plays every kind of fault once.

use anyhow::ensure;
use chaos_tests::rounds::{House, Means, each, prepare};
use chaos_tests::stats::Distribution;
use clap::Parser;
use std::process::{Command, ExitCode};

/// Command line.
#[derive(Parser)]
#[command(about = "Rounds of random faults on real processes, with the checkers behind each")]
struct Arguments {
    /// How many rounds.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// From which the faults are drawn; from the clock when left out. It is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// The number of the first round: one alone is `--first N --rounds 1`.
    #[arg(long, default_value_t = 1)]
    first: u32,
    /// The field's values are compared behind each so many rounds, and behind the last.
    #[arg(long, default_value_t = 5)]
    compare: u32,
    /// HTTP port of the first node.
    #[arg(long, default_value_t = 19_880)]
    port: u16,
    /// Every kind of fault once instead of drawn ones.
    #[arg(long)]
    each: bool,
    /// The program is in its own namespace.
    #[arg(long, hide = true)]
    inside: bool,
}

/// Runs the same program in a namespace; none where there is none to be had.
fn again_inside(arguments: &Arguments, seed: u64) -> Option<ExitCode> {
    let up = "ip link set lo up && nft list tables >/dev/null";
    let namespace = ["--user", "--map-root-user", "--net", "--mount"];
    let probe = Command::new("unshare").args(namespace).args(["sh", "-c", up]).output().ok()?;
    if !probe.status.success() {
        println!("no namespace with nftables here: the relay cuts links, and no disk is filled");
        return None;
    }
    let own = std::env::current_exe().ok()?;
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--kill-child"])
        .args(namespace)
        .args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(own)
        .args(["--inside", "--seed", &seed.to_string()])
        .args(["--rounds", &arguments.rounds.to_string()])
        .args(["--first", &arguments.first.to_string()])
        .args(["--compare", &arguments.compare.to_string()])
        .args(["--port", &arguments.port.to_string()])
        .args(arguments.each.then_some("--each"))
        .status()
        .ok()?;
    Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let by_clock = || u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or(1);
    let seed = arguments.seed.unwrap_or_else(by_clock);
    if !arguments.inside
        && let Some(code) = again_inside(&arguments, seed)
    {
        return Ok(code);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&arguments, seed))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(arguments: &Arguments, seed: u64) -> anyhow::Result<()> {
    let means = Means::here(arguments.inside);
    if means.namespace {
        prepare()?;
    }
    let list = if arguments.each { each(means) } else { Vec::new() };
    let rounds = if arguments.each { u32::try_from(list.len())? } else { arguments.rounds };
    let yes = |holds: bool| if holds { "yes" } else { "no" };
    println!(
        "seed {seed}, {rounds} rounds; nftables and full disks: {}; clocks that jump: {}",
        yes(means.namespace),
        yes(means.clocks)
    );
    let scratch = tempfile::tempdir()?;
    let mut house = House::start(scratch.path(), arguments.port, means, seed).await?;
    let (mut settled, mut acknowledged, mut read, mut values) =
        (Distribution::default(), 0, 0, None);
    let last = arguments.first.saturating_add(rounds).saturating_sub(1);
    for number in arguments.first..=last {
        let whole = number == last || number % arguments.compare.max(1) == 0;
        let given = usize::try_from(number - arguments.first).ok().and_then(|n| list.get(n));
        let told = match house.round(seed, number, given.cloned(), whole).await {
            Ok(told) => told,
            Err(broken) => {
                house.keep()?;
                let kept = scratch.keep();
                println!("BROKEN: {broken:#}\nlogs and data stay in {}", kept.display());
                return Err(broken);
            }
        };
        settled.add(told.settled);
        (acknowledged, read) = (acknowledged + told.acknowledged, read + told.read);
        values = told.values.or(values);
        println!(
            "round {number:4}: {} | {} writes acknowledged, {} read back, together after {} ms{}",
            told.story,
            told.acknowledged,
            told.read,
            told.settled.as_millis(),
            told.values.map(|n| format!(", {n} values of the field compared")).unwrap_or_default(),
        );
        ensure!(told.acknowledged > 0, "round {number}: nothing was written, nothing was tested");
    }
    println!("all together again behind the last fault: {settled}");
    println!(
        "{} rounds: {acknowledged} writes acknowledged, 0 lost, 0 twice; {read} read back, 0 \
         stale; {} values of the field, 0 missing, 0 different, 0 doubled",
        rounds,
        values.unwrap_or(0)
    );
    Ok(())
}
