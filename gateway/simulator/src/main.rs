//! `holdfast-simulator`: signals, command line, logging, one run, its summary.
//!
//! Exit codes: 0 stopped as asked, 1 the head-end broke a promise or the run failed, 64 the command
//! line is wrong.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use simulator::cli::Cli;
use simulator::run::Running;
use simulator::tally::{Count, Tally};
use tokio::signal::unix::{SignalKind, signal};

/// Writes a line; that nobody reads any more is no reason to fail.
macro_rules! say {
    ($to:expr, $($text:tt)*) => {
        let _ = writeln!($to, $($text)*);
    };
}

const STATUS: Duration = Duration::from_secs(5);
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let faults = cli.config().validate();
    if !faults.is_empty() {
        for fault in faults {
            say!(std::io::stderr(), "holdfast-simulator: {fault}");
        }
        return ExitCode::from(USAGE);
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("HOLDFAST_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    match start(&cli) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(violations) => {
            say!(
                std::io::stderr(),
                "holdfast-simulator: the head-end broke its promises {violations} times"
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            say!(std::io::stderr(), "holdfast-simulator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the field; gives the number of violations.
fn start(cli: &Cli) -> anyhow::Result<u64> {
    if cli.die_with_parent {
        die_with_parent()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(run(cli))
}

/// Asks the kernel for SIGTERM when the parent ends, and goes if it has ended before that.
fn die_with_parent() -> anyhow::Result<()> {
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .context("cannot ask to stop with the parent")?;
    anyhow::ensure!(rustix::process::getppid() == parent, "the parent process has ended");
    Ok(())
}

async fn run(cli: &Cli) -> anyhow::Result<u64> {
    let mut terminate = signal(SignalKind::terminate()).context("signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let config = cli.config();
    let mut running = Running::start(&config).await.context("the field cannot start")?;
    tracing::info!(
        concentrators = config.concentrators,
        meters = u64::from(config.concentrators) * u64::from(config.meters),
        direct = config.direct,
        seed = config.seed,
        "the field runs"
    );
    let started = Instant::now();
    let end = started + cli.run_for.unwrap_or(Duration::from_secs(100 * 365 * 86_400));
    let mut ticks = tokio::time::interval(STATUS);
    let failed = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            () = tokio::time::sleep_until(end.into()) => break None,
            failed = running.failed() => break failed.err(),
            _ = ticks.tick() => status(cli, running.tally(), started),
        }
    };
    let settings = running.stop().await;
    if let Some(error) = failed {
        return Err(error).context("a device failed");
    }
    let settings = settings.context("the field did not stop cleanly")?;
    summary(cli, &settings.tally);
    Ok(settings.tally.violations())
}

fn status(cli: &Cli, tally: &Tally, started: Instant) {
    let seconds = started.elapsed().as_secs();
    if cli.json {
        say!(
            std::io::stdout(),
            "{}",
            serde_json::json!({"status": tally.to_json(), "seconds": seconds})
        );
    } else if seconds > 0 {
        say!(
            std::io::stderr(),
            "{seconds} s: {} pushes acknowledged with {} rows, {} associations, {} violations",
            tally.get(Count::Acknowledged),
            tally.get(Count::RowsAcknowledged),
            tally.get(Count::Associations),
            tally.violations()
        );
    }
}

fn summary(cli: &Cli, tally: &Tally) {
    for text in tally.violation_texts() {
        say!(std::io::stderr(), "VIOLATION: {text}");
    }
    say!(std::io::stderr(), "summary: {}", tally.summary());
    if cli.json {
        say!(std::io::stdout(), "{}", serde_json::json!({"summary": tally.to_json()}));
    }
}
