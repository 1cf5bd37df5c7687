//! Asks each UPS again and again, one task a UPS.
//!
//! Decides nothing: what is seen becomes metrics of this monitor, which rules name like those of
//! nodes.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::config::Ups;
use crate::exposition::{Labels, Sample};
use crate::nut::{self, Address, Status};

/// What a UPS said, or why it did not.
#[derive(Debug)]
pub struct Seen {
    /// Its name.
    pub ups: String,
    /// How it fares.
    pub status: Result<Status, String>,
}

/// Starts a task for every UPS.
pub fn start(upses: &[Ups], seen: &mpsc::Sender<Seen>) -> Result<(), String> {
    for ups in upses {
        let address = Address::parse(&ups.at);
        let address = address.ok_or_else(|| format!("ups \"{}\": {}", ups.name, ups.at))?;
        tokio::spawn(run(ups.clone(), address, seen.clone()));
    }
    Ok(())
}

async fn run(ups: Ups, address: Address, seen: mpsc::Sender<Seen>) {
    let mut ticks = tokio::time::interval(ups.interval.0.max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = nut::ask(&address, ups.timeout.0).await.map_err(|error| error.to_string());
        if seen.send(Seen { ups: ups.name.clone(), status }).await.is_err() {
            return;
        }
    }
}

/// The metrics of a UPS: name and value; what it does not tell is left out.
pub fn figures(status: Option<&Status>) -> Vec<(&'static str, f64)> {
    let mut figures = vec![("holdfast_monitor_ups_up", f64::from(u8::from(status.is_some())))];
    let Some(status) = status else { return figures };
    let flag = |holds: bool| f64::from(u8::from(holds));
    figures.push(("holdfast_monitor_ups_on_battery", flag(status.on_battery())));
    figures.push(("holdfast_monitor_ups_low", flag(status.is_low())));
    figures.push(("holdfast_monitor_ups_replace_battery", flag(status.replace_battery())));
    let told = [
        ("holdfast_monitor_ups_charge_ratio", status.charge.map(|charge| charge / 100.0)),
        ("holdfast_monitor_ups_runtime_seconds", status.runtime_s),
        ("holdfast_monitor_ups_load_ratio", status.load.map(|load| load / 100.0)),
    ];
    figures.extend(told.into_iter().filter_map(|(name, value)| Some((name, value?))));
    figures
}

/// The same as a page of samples, for rules.
pub fn samples(seen: &Seen) -> Vec<Sample> {
    let labels = Labels::from([("ups".to_owned(), seen.ups.clone())]);
    let figures = figures(seen.status.as_ref().ok());
    let sample =
        |(name, value): (&str, f64)| Sample { name: name.into(), labels: labels.clone(), value };
    figures.into_iter().map(sample).collect()
}
