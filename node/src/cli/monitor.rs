//! `holdfast monitor`: the monitoring server, a process of its own beside the nodes.
//!
//! Everything stands in the crate `monitor`; here are its arguments, logs and signals.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::runtime;
use crate::exit::{Exit, Failure};
use crate::{config, observe};

/// What `holdfast monitor` takes.
#[derive(clap::Args)]
pub struct MonitorArgs {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// Only list every fault of the configuration; exit 64 if there is one.
    #[arg(long)]
    check: bool,
}

/// Runs the monitor until a signal.
pub fn monitor(args: &MonitorArgs) -> Result<(), Failure> {
    let read = monitor::config::load(&args.config).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let text = format!("{}:\n  {}", args.config.display(), lines.join("\n  "));
        Failure::new(Exit::Config, "config", text)
    })?;
    if args.check {
        println!("{}: good", args.config.display());
        return Ok(());
    }
    let log = config::Log { level: "info".into(), format: "json".into() };
    observe::logs::install(&log, &read.name);
    let failed = |error: &dyn std::fmt::Display| Failure::failed("monitor_failed", error);
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| failed(&error))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| failed(&error))?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let listening = |address| tracing::info!(%address, "the monitor listens");
        monitor::run::run(read, listening, stop).await.map_err(|error| failed(&error))
    })
}
