//! A member of a simulated world.
//!
//! Invariant: it differs from every other in its links, its clock and what runs its tasks alone.

use prometheus::Registry;
use storage::{Opening, Store};

use super::Cluster;
use crate::{
    Config, OpenError,
    metrics::Metrics,
    stamp::Stamper,
    transport::{Cut, Endpoint, simulated::Port},
};

impl Cluster {
    /// Opens a member of a simulated world: its links go over `port`, and its stamps come from
    /// `clock`, in microseconds since the Unix epoch.
    pub async fn open_simulated(
        config: Config,
        port: Port,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
        store: Store,
        opening: &Opening,
        registry: &Registry,
    ) -> Result<Self, OpenError> {
        let faults = config.validate();
        if !faults.is_empty() {
            return Err(OpenError::Config(faults));
        }
        let metrics = Metrics::new(registry)?;
        let endpoint = Endpoint::simulated(&config, port, &metrics);
        let stamper = Stamper::new(clock);
        Self::start(config, endpoint, Cut::default(), stamper, (store, opening), &metrics).await
    }

    /// This member's disk is full from now on, or has room again.
    pub fn fill_disk(&self, full: bool) {
        self.inner.store.space.fill(full);
    }
}
