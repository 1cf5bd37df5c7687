//! Rounds of random faults on three real nodes with writers and a pushing field: what was
//! acknowledged must be everywhere, once, and all must come together again.
//!
//! `cargo run -p chaos-tests --bin rounds -- --rounds 20 --seed 7`
//!
//! It runs itself anew in a network and mount namespace of its own, where nftables cuts the links
//! between nodes and a disk is full; where that cannot be, it says so, the relay cuts the links,
//! and no disk is filled. `--each` plays every kind of fault once.

use anyhow::ensure;
use chaos_tests::namespace;
use chaos_tests::rounds::{House, KINDS, Means, each};
use chaos_tests::stats::Distribution;
use clap::Parser;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Command line.
#[derive(Parser)]
#[command(about = "Rounds of random faults on real processes, with the checkers behind each")]
struct Arguments {
    /// How many rounds.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// From which the faults are drawn; from the clock when left out. It is printed.
    #[arg(long, overrides_with = "seed")]
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
    /// Only faults of these kinds, with commas between: `kill,cut`.
    #[arg(long, value_delimiter = ',', value_parser = KINDS, conflicts_with = "each")]
    only: Vec<String>,
    /// The program is in its own namespace.
    #[arg(long, hide = true)]
    inside: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let by_clock = || u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or(1);
    let seed = arguments.seed.unwrap_or_else(by_clock);
    if !arguments.inside {
        // The seed stands last, so that one by the clock is the same inside.
        let own = ["--inside".into(), "--seed".into(), seed.to_string().into()];
        let given = std::env::args_os().skip(1).chain(own);
        match namespace::again_inside(given) {
            Some(code) => return Ok(code),
            None => println!("no namespace here: the relay cuts links, and no disk is filled"),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(&arguments, seed))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(arguments: &Arguments, seed: u64) -> anyhow::Result<()> {
    let means = Means::here(arguments.inside);
    if means.namespace {
        namespace::prepare()?;
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
    let mut faults = BTreeMap::new();
    let last = arguments.first.saturating_add(rounds).saturating_sub(1);
    for number in arguments.first..=last {
        let whole = number == last || number % arguments.compare.max(1) == 0;
        let given = usize::try_from(number - arguments.first).ok().and_then(|n| list.get(n));
        let told = match house.round(seed, number, &arguments.only, given.cloned(), whole).await {
            Ok(told) => told,
            Err(broken) => {
                house.keep()?;
                let kept = scratch.keep();
                println!("BROKEN: {broken:#}\nlogs and data stay in {}", kept.display());
                return Err(broken);
            }
        };
        settled.add(told.settled);
        for kind in &told.kinds {
            *faults.entry(*kind).or_insert(0_u32) += 1;
        }
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
    let kinds = faults.iter().map(|(kind, n)| format!("{n} {kind}"));
    println!("faults: {}", kinds.collect::<Vec<_>>().join(", "));
    println!("all together again behind the last fault: {settled}");
    println!(
        "{} rounds: {acknowledged} writes acknowledged, 0 lost, 0 twice; {read} read back, 0 \
         stale; {} values of the field, 0 missing, 0 different, 0 doubled; \
         no device saw two nodes at once or a counter twice",
        rounds,
        values.unwrap_or(0)
    );
    Ok(())
}
