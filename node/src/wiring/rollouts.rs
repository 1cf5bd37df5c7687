//! Steps of rollouts: the leader asks for those that are due. The log judges each, and the outbox
//! carries out what it orders.
//!
//! Invariant: a turn asks for a bounded number of steps, so a large wave stops nobody else.

use std::time::Duration;

use domain::setups::{self, Change};

use super::jobs::{count, leads};
use super::{NotDone, Wires};

const EVERY: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(5);
/// Steps that are asked for in one turn.
const AT_A_TIME: usize = 64;

/// Asks for steps until the stop.
pub async fn run(wires: Wires) {
    while wires.pause(EVERY).await {
        if !leads(&wires) {
            continue;
        }
        let mut left = AT_A_TIME;
        while left > 0 {
            let due = match setups::due(&wires.cluster.view(), wires.cluster.stamp_now()) {
                Ok(due) => due,
                Err(fault) => {
                    wires.fault("rollouts", &fault);
                    break;
                }
            };
            let mut is_on = !due.is_empty();
            for id in due {
                left = left.saturating_sub(1);
                let change = domain::Change::Setups(Change::Step { id });
                let outcome = wires.propose(change, PATIENCE).await;
                is_on &= outcome.is_ok();
                let is_away = matches!(outcome, Err(NotDone::Unavailable));
                count(&wires, "rollouts", outcome);
                if is_away {
                    break;
                }
            }
            if !is_on {
                break;
            }
        }
    }
}
