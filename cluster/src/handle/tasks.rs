//! What a member does beside its calls.

use std::time::Duration;

use super::{CLOSE, Inner};
use crate::{
    compare::Comparer,
    heal::Healer,
    members::Keeper,
    membership,
    metrics::Metrics,
    rt::{self, sleep, unless},
    watch as watching,
};

impl Inner {
    /// Metrics, watchdog, healer, comparer and bootstrap; each ends by itself when consensus stops.
    pub(super) fn start_tasks(&self, metrics: &Metrics) {
        rt::spawn(watching::keep_metrics(self.progress.clone(), metrics.clone()));
        let guard = watching::Guard {
            node: self.config.node.0,
            group: self.group.clone(),
            links: self.endpoint.links(),
            proposer: self.proposer.clone(),
            progress: self.progress.clone(),
            limit: Duration::from_millis(self.config.stall_ms),
            space: self.store.space.clone(),
            metrics: metrics.clone(),
        };
        rt::spawn(guard.run(self.leaving.subscribe()));
        let (segments, links) = (self.store.segments.clone(), self.endpoint.links());
        let comparer = Comparer {
            segments: segments.clone(),
            links: links.clone(),
            metrics: metrics.clone(),
            every: Duration::from_millis(self.config.compare_ms),
        };
        rt::spawn(comparer.run(self.leaving.subscribe()));
        rt::spawn(Healer { segments, links }.run(self.leaving.subscribe()));
        let keeper = Keeper {
            office: self.office.clone(),
            removed: self.removed.clone(),
            configured: self.config.peers.iter().map(|peer| peer.id.0).collect(),
        };
        rt::spawn(keeper.run(self.leaving.subscribe()));
        let (config, group) = (self.config.clone(), self.group.clone());
        let (links, mut progress) = (self.endpoint.links(), self.progress.clone());
        rt::spawn(async move {
            let stopped = async {
                while progress.changed().await.is_ok() {
                    sleep(CLOSE).await;
                }
            };
            unless(stopped, membership::bootstrap(&config, &group, &links)).await;
        });
    }
}
