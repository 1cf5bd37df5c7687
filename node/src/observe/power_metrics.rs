//! Metrics of this node's UPS.
//!
//! Invariant: what the UPS does not tell is -1, so that it is never taken for a value.

use monitor::nut::Status;
use prometheus::{Gauge, IntGauge};

use super::metrics::Make;

/// Handles; clones share their values.
#[derive(Clone, Debug)]
pub struct PowerGauges {
    up: IntGauge,
    on_battery: IntGauge,
    low: IntGauge,
    charge: Gauge,
    runtime: Gauge,
}

impl PowerGauges {
    pub(super) fn new(make: &Make<'_>) -> Result<PowerGauges, prometheus::Error> {
        let gauges = PowerGauges {
            up: make.gauge("ups_up", "1 while this node's UPS answers; -1 without one")?,
            on_battery: make.gauge("ups_on_battery", "1 while mains are gone; -1 unknown")?,
            low: make.gauge("ups_low", "1 while the battery is nearly empty; -1 unknown")?,
            charge: make.float("ups_charge_ratio", "Charge of the battery; -1 unknown")?,
            runtime: make.float("ups_runtime_seconds", "How long the battery lasts; -1 unknown")?,
        };
        gauges.set(None);
        gauges.up.set(-1);
        Ok(gauges)
    }

    /// What the UPS said; none when it does not answer.
    pub fn set(&self, status: Option<&Status>) {
        let flag = |holds: fn(&Status) -> bool| status.map_or(-1, |it| i64::from(holds(it)));
        self.up.set(i64::from(status.is_some()));
        self.on_battery.set(flag(Status::on_battery));
        self.low.set(flag(Status::is_low));
        let charge = status.and_then(|status| status.charge);
        self.charge.set(charge.map_or(-1.0, |charge| charge / 100.0));
        self.runtime.set(status.and_then(|status| status.runtime_s).unwrap_or(-1.0));
    }
}
