//! The simulator against a scripted head-end made of cosem's client, over real loopback sockets.

#[cfg(test)]
mod direct;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod headend;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod meter_faults;
#[cfg(test)]
mod meters;
#[cfg(test)]
mod parameters;
#[cfg(test)]
mod process;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod services;

use std::time::Duration;

use simulator::config::Config;
use simulator::field::Outages;
use simulator::run::Running;

/// A small perfect field with an hour of history that dials these nodes.
fn field(nodes: &[&headend::Node]) -> Config {
    Config {
        head_ends: nodes.iter().map(|node| node.address()).collect(),
        concentrators: 1,
        meters: 3,
        seed: 42,
        history: Duration::from_secs(3_600),
        heartbeat: Duration::from_millis(100),
        outages: Outages::Never,
        ..Config::default()
    }
}

async fn start(config: &Config) -> Running {
    Running::start(config).await.expect("the field starts")
}
