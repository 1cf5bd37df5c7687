//! Steps of clocks that wait for one: the leader asks for them, a bounded number at a time. The log
//! judges each, and the outbox carries it out.
//!
//! Invariant: a crowd of clocks that are off, after a wrong time from somewhere, becomes no storm.

use std::time::Duration;

use domain::clocks::{self, Change};

use super::jobs::{count, leads};
use super::{NotDone, Wires};

const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
/// Steps that are asked for in one turn.
const AT_A_TIME: usize = 32;

/// Asks for steps until the stop.
pub async fn run(wires: Wires) {
    while wires.pause(EVERY).await {
        if !leads(&wires) {
            continue;
        }
        let waiting = match clocks::waiting(&wires.cluster.view(), AT_A_TIME) {
            Ok(waiting) => waiting,
            Err(fault) => {
                wires.fault("clocks", &fault);
                continue;
            }
        };
        for target in waiting {
            let change = domain::Change::Clocks(Change::Step { target });
            let outcome = wires.propose(change, PATIENCE).await;
            let is_away = matches!(outcome, Err(NotDone::Unavailable));
            count(&wires, "clocks", outcome);
            if is_away {
                break;
            }
        }
    }
}
