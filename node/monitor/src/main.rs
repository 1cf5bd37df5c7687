//! The program `holdfast-monitor`: the monitoring server alone, for a machine that runs no node.
//!
//! The same as `holdfast monitor`. Invariants: exit 64 for a wrong configuration, with every
//! fault on standard error; lines of the log are JSON on standard output.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: holdfast-monitor --config FILE [--check]";

fn main() -> ExitCode {
    let Some((file, check)) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let config = match monitor::config::load(&file) {
        Ok(config) => config,
        Err(faults) => {
            faults.iter().for_each(|fault| eprintln!("{fault}"));
            return ExitCode::from(64);
        }
    };
    if check {
        println!("{}: good", file.display());
        return ExitCode::SUCCESS;
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,hyper=warn,rustls=warn"));
    tracing_subscriber::fmt().json().with_env_filter(filter).init();
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Option<(PathBuf, bool)> {
    let (mut file, mut check) = (None, false);
    let mut given = std::env::args_os().skip(1);
    while let Some(argument) = given.next() {
        match argument.to_str() {
            Some("--config") => file = Some(PathBuf::from(given.next()?)),
            Some("--check") => check = true,
            _ => return None,
        }
    }
    file.map(|file| (file, check))
}

fn run(config: monitor::config::Config) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let listening = |address| tracing::info!(%address, "the monitor listens");
        Ok(monitor::run::run(config, listening, stop).await?)
    })
}
