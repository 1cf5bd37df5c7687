//! Simulated stories and rounds on real processes in turn, from random seeds, for hours.
//!
//! `cargo build --release --workspace --bins && target/release/soak --hours 12`
//!
//! It drives `simulate` and `rounds`, which stand beside it; each says its seed, and the first
//! broken promise ends everything with what they have told.

use anyhow::{Context, ensure};
use chaos_tests::demo::programs;
use clap::Parser;
use std::process::Command;
use std::time::{Duration, Instant};

/// Command line.
#[derive(Parser)]
#[command(about = "Simulated stories and rounds on real processes in turn, for hours")]
struct Arguments {
    /// How long; the turn that is under way then is finished.
    #[arg(long, default_value_t = 1.0, value_parser = hours)]
    hours: f64,
    /// From which the turns' seeds are drawn; from the clock when left out.
    #[arg(long)]
    seed: Option<u64>,
    /// Simulated stories of a turn.
    #[arg(long, default_value_t = 400)]
    stories: u64,
    /// Rounds on real processes of a turn.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// HTTP port of the first node.
    #[arg(long, default_value_t = 19_980)]
    port: u16,
}

fn hours(text: &str) -> Result<f64, String> {
    let hours: f64 = text.parse().map_err(|_| "a number of hours".to_owned())?;
    if (0.0..=1000.0).contains(&hours) { Ok(hours) } else { Err("0 to 1000 hours".to_owned()) }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let by_clock = || u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or(1);
    let seed = arguments.seed.unwrap_or_else(by_clock);
    println!("seed {seed}, {} hours", arguments.hours);
    let (began, lasts) = (Instant::now(), Duration::from_secs_f64(arguments.hours * 3600.0));
    let (mut turns, mut stories, mut rounds) = (0_u64, 0, 0);
    while turns == 0 || began.elapsed() < lasts {
        // Far apart, so that no turn tells the stories of another.
        let own = seed.wrapping_add(turns.wrapping_mul(1_000_003)) % (1 << 53);
        let first = own.to_string();
        turn("simulate", &["--seeds", &arguments.stories.to_string(), "--from", &first])?;
        let count = arguments.rounds.to_string();
        let port = arguments.port.to_string();
        turn("rounds", &["--rounds", &count, "--seed", &first, "--port", &port])?;
        turns += 1;
        stories += arguments.stories;
        rounds += u64::from(arguments.rounds);
        println!(
            "{:.2} hours: {turns} turns, {stories} stories, {rounds} rounds, nothing broken",
            began.elapsed().as_secs_f64() / 3600.0
        );
    }
    Ok(())
}

/// One of the programs, to its end; what it says goes where we say ours.
fn turn(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    println!("{program} {}", arguments.join(" "));
    let path = programs()?.join(program);
    let status = Command::new(&path).args(arguments).status();
    let status = status.with_context(|| format!("{} cannot be started", path.display()))?;
    ensure!(status.success(), "{program} {}: a promise is broken: {status}", arguments.join(" "));
    Ok(())
}
