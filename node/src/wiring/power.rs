//! This node's own UPS: before the battery is dry, leadership and channels are elsewhere.
//!
//! A NUT server (upsd) is asked every few seconds. On battery and low, the node hands over
//! leadership, gives its channels and its lease up and takes none, as a node whose disk is full
//! does; when mains are back it works again by itself. It stays a voter and follows the log: to be
//! there for the quorum to the last second costs nothing. Not here: the shutdown of the machine
//! (NUT's upsmon does it, and the node's stop hands over what is left). Invariants: what is not
//! known changes nothing: while the UPS does not answer, the last word counts.

use std::time::Duration;

use monitor::nut::{self, Address, Status};

use super::Wires;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is known of this node's power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Power {
    /// Mains, or nothing is known.
    #[default]
    Mains,
    /// On battery, which is good for a while.
    Battery,
    /// On battery, which is nearly empty.
    Low,
}

impl Power {
    /// What an answer says.
    fn of(status: &Status) -> Power {
        match (status.on_battery(), status.is_low()) {
            (true, true) => Power::Low,
            (true, false) => Power::Battery,
            (false, _) => Power::Mains,
        }
    }

    /// Whether the node gives up what others can do.
    pub fn yields(self) -> bool {
        self == Power::Low
    }

    /// For status: mains, battery, low.
    pub fn name(self) -> &'static str {
        match self {
            Power::Mains => "mains",
            Power::Battery => "battery",
            Power::Low => "low",
        }
    }
}

/// Asks until the stop; nothing to do without a UPS.
pub(super) async fn run(wires: Wires) {
    let config = wires.app.config().ups.clone();
    let Some(address) = Address::parse(&config.at) else { return };
    let every = Duration::from_secs(config.interval_s);
    let mut answers = true;
    loop {
        let asked = nut::ask(&address, PATIENCE).await;
        if answers != asked.is_ok() {
            answers = asked.is_ok();
            match &asked {
                Ok(_) => tracing::info!("the UPS answers again"),
                Err(error) => tracing::warn!(%error, "the UPS does not answer"),
            }
        }
        wires.app.metrics().power.set(asked.as_ref().ok());
        if let Ok(status) = &asked {
            take(&wires, Power::of(status));
        }
        if wires.app.power().yields() && !wires.cluster.transfer_leader().await {
            tracing::warn!("leadership could not be handed over before the battery is dry");
        }
        if !wires.pause(every).await {
            return;
        }
    }
}

fn take(wires: &Wires, power: Power) {
    let before = wires.app.set_power(power);
    if before == power {
        return;
    }
    match power {
        Power::Mains => tracing::info!("mains are back"),
        Power::Battery => tracing::warn!("mains are gone: this node runs on its battery"),
        Power::Low => {
            tracing::error!("the battery is nearly empty: leadership and channels are handed over");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Power;
    use monitor::nut::Status;

    #[test]
    fn only_on_battery_and_low_gives_up() {
        for (flags, power, yields) in [
            ("OL", Power::Mains, false),
            ("OL CHRG LB", Power::Mains, false),
            ("OB DISCHRG", Power::Battery, false),
            ("OB DISCHRG LB", Power::Low, true),
            ("FSD OB LB", Power::Low, true),
            ("", Power::Mains, false),
        ] {
            let flags = flags.split_whitespace().map(str::to_owned).collect();
            let status = Status { flags, ..Status::default() };
            let found = Power::of(&status);
            assert_eq!((found, found.yields()), (power, yields));
        }
    }
}
