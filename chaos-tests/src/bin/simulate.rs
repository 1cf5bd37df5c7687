//! Runs simulated clusters from seeds and checks the promises.
//!
//! `simulate --seeds 1000` runs a thousand seeds and prints the story of the first that fails;
//! `simulate --seed S` runs one and prints its story; with the feature `seeded-bugs`, `--bug NAME`
//! puts a mistake in, and `--bugs` prints within how many seeds each is caught.

use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Context, bail};
use chaos_tests::simulation::{Told, node, simulate, time};
use clap::Parser;
use tracing_subscriber::fmt::{format::Writer, time::FormatTime};

#[derive(Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// One seed alone, with its story.
    #[arg(long)]
    seed: Option<u64>,
    /// What the program logs in it goes to standard error: `cluster=debug,openraft=info`.
    #[arg(long, requires = "seed")]
    log: Option<String>,
    /// Goes on for so many minutes, whatever `--seeds` says.
    #[arg(long)]
    minutes: Option<u64>,
    /// Threads; each runs whole clusters.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// A mistake to put in.
    #[arg(long)]
    bug: Option<String>,
    /// Puts every mistake in, one after the other, and prints what catches it.
    #[arg(long)]
    bugs: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        make(arguments.bug.as_deref())?;
        if let Some(filter) = &arguments.log {
            tracing_subscriber::fmt()
                .with_env_filter(tracing_subscriber::EnvFilter::try_new(filter)?)
                .with_timer(Virtual)
                .with_ansi(false)
                .with_writer(std::io::stderr)
                .init();
        }
        let told = simulate(seed).context("no scratch folder")?;
        print(&told, arguments.bug.as_deref());
        return Ok(code(told.broken.is_empty()));
    }
    if arguments.bugs {
        return catch_all(&arguments);
    }
    let begun = Instant::now();
    let (ran, failed) = run(&arguments, arguments.bug.as_deref())?;
    let seconds = begun.elapsed().as_secs_f64();
    if let Some(told) = &failed {
        print(told, arguments.bug.as_deref());
    }
    println!("{ran} seeds in {seconds:.1} s: {:.0} an hour", ran as f64 / seconds * 3600.0);
    Ok(code(failed.is_none()))
}

/// The time in the story, and whose task speaks.
struct Virtual;

impl FormatTime for Virtual {
    fn format_time(&self, to: &mut Writer<'_>) -> std::fmt::Result {
        write!(to, "{:>12.6} s n{}", time().as_secs_f64(), node())
    }
}

fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs seeds until one fails; answers how many ran, and the lowest that failed.
fn run(arguments: &Arguments, bug: Option<&str>) -> anyhow::Result<(u64, Option<Told>)> {
    let (next, ran) = (AtomicU64::new(arguments.from), AtomicU64::new(0));
    let (stop, failed) = (AtomicBool::new(false), Mutex::new(None::<Told>));
    let begun = Instant::now();
    let end = arguments.from.saturating_add(arguments.seeds);
    let over = |seed: u64| match arguments.minutes {
        Some(minutes) => begun.elapsed().as_secs() >= minutes * 60,
        None => seed >= end,
    };
    let work = || -> anyhow::Result<()> {
        make(bug)?;
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if over(seed) {
                break;
            }
            let told = simulate(seed).context("no scratch folder")?;
            ran.fetch_add(1, Ordering::Relaxed);
            if !told.broken.is_empty() {
                stop.store(true, Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                if failed.as_ref().is_none_or(|other| seed < other.seed) {
                    *failed = Some(told);
                }
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.threads.max(1)).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            match thread.join() {
                Ok(done) => done?,
                Err(_) => bail!("a thread ended by a panic"),
            }
        }
        Ok(())
    })?;
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((ran.into_inner(), failed))
}

fn print(told: &Told, bug: Option<&str>) {
    for line in &told.story {
        println!("{line}");
    }
    let (asked, answered) = told.asked;
    println!("seed {}: {answered} of {asked} questions answered in {:?}", told.seed, told.lasted);
    println!("{} steps, trace {:016x}", told.steps, told.trace);
    for broken in &told.broken {
        println!("BROKEN: {}: {}", broken.promise, broken.seen);
    }
    let (feature, bug) = match bug {
        Some(bug) => (" --features seeded-bugs", format!(" --bug {bug}")),
        None => ("", String::new()),
    };
    println!(
        "again: cargo run --release -p chaos-tests{feature} --bin simulate -- --seed {}{bug}",
        told.seed
    );
}

#[cfg(feature = "seeded-bugs")]
fn make(bug: Option<&str>) -> anyhow::Result<()> {
    use domain::seeded::{self, Bug};
    let found = bug.map(|name| Bug::from_name(name).context("no such mistake")).transpose()?;
    seeded::make(found);
    Ok(())
}

#[cfg(not(feature = "seeded-bugs"))]
fn make(bug: Option<&str>) -> anyhow::Result<()> {
    match bug {
        None => Ok(()),
        Some(_) => bail!("built without the feature seeded-bugs"),
    }
}

#[cfg(feature = "seeded-bugs")]
fn catch_all(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut all = true;
    for bug in domain::seeded::Bug::ALL {
        let (ran, failed) = run(arguments, Some(bug.name()))?;
        match failed {
            Some(told) => {
                let by = told.broken.first().map_or("", |broken| broken.promise);
                println!(
                    "{:26} caught within {ran:>4} seeds (seed {}): {by}",
                    bug.name(),
                    told.seed
                );
            }
            None => {
                all = false;
                println!("{:26} NOT CAUGHT within {ran} seeds", bug.name());
            }
        }
    }
    Ok(code(all))
}

#[cfg(not(feature = "seeded-bugs"))]
fn catch_all(_: &Arguments) -> anyhow::Result<ExitCode> {
    bail!("built without the feature seeded-bugs")
}
