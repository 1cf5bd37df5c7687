//! Wake-ups for those who listen on this node.
//!
//! Not here: anything that must not be lost. Effects are dropped for a receiver that lags; it is
//! told and scans the state again.
//! Invariants: the queue is bounded; the state machine never waits for a receiver.

use domain::Effect;
use tokio::sync::broadcast;

use crate::metrics::Metrics;

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Entry `index` was applied here and did this.
    Effect {
        /// Log index of the entry.
        index: u64,
        /// What it did.
        effect: Effect,
    },
    /// So many effects were dropped because this listener was slow, or because a snapshot was
    /// installed (0 then): scan the state again.
    Lagged(u64),
}

/// The sending side, held by the state machine.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    sender: broadcast::Sender<Woken>,
    metrics: Metrics,
}

impl Publisher {
    /// Keeps at most `kept` effects for slow listeners.
    pub fn new(kept: usize, metrics: &Metrics) -> Self {
        let (sender, _) = broadcast::channel(kept);
        Self { sender, metrics: metrics.clone() }
    }

    /// Tells all listeners; nobody listening is fine.
    pub fn publish(&self, index: u64, effects: Vec<Effect>) {
        for effect in effects {
            let _nobody = self.sender.send(Woken::Effect { index, effect });
        }
    }

    /// The state jumped: every listener must scan.
    pub fn publish_jump(&self) {
        let _nobody = self.sender.send(Woken::Lagged(0));
    }

    /// A new listener; it hears what comes from now on.
    pub fn listen(&self) -> Effects {
        Effects { receiver: self.sender.subscribe(), metrics: self.metrics.clone() }
    }
}

/// The listening side.
#[derive(Debug)]
pub struct Effects {
    receiver: broadcast::Receiver<Woken>,
    metrics: Metrics,
}

impl Effects {
    /// Waits for the next wake-up; `None` when the cluster has stopped. Safe to cancel.
    pub async fn next(&mut self) -> Option<Woken> {
        match self.receiver.recv().await {
            Ok(woken) => Some(woken),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                self.metrics.effects_lagged.inc_by(missed);
                Some(Woken::Lagged(missed))
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Effect;
    use prometheus::Registry;

    use super::*;

    #[tokio::test]
    async fn a_slow_listener_is_told() {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let publisher = Publisher::new(2, &metrics);
        let mut effects = publisher.listen();
        for index in 1..=5 {
            publisher.publish(index, vec![Effect::ReadingsStored { rows: 1 }]);
        }
        assert_eq!(effects.next().await, Some(Woken::Lagged(3)));
        let effect = Effect::ReadingsStored { rows: 1 };
        assert_eq!(effects.next().await, Some(Woken::Effect { index: 4, effect }));
        assert_eq!(metrics.effects_lagged.get(), 3);
        drop(publisher);
        effects.next().await.unwrap();
        assert_eq!(effects.next().await, None);
    }
}
