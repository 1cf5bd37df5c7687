//! The consensus library's own storage suite over our stores, on real files.

use std::{io, sync::Arc, time::Duration};

use openraft::{
    ErrorSubject, ErrorVerb, StorageError,
    testing::log::{StoreBuilder, Suite},
};
use prometheus::Registry;
use storage::Store;
use tempfile::TempDir;

use super::{
    applied::Applied, log_store::LogStore, state_machine::StateMachine, synced::Mark,
    types::TypeConfig,
};
use crate::{effects::Publisher, metrics::Metrics, stamp::Stamper};

struct Builder;

/// Keeps the folder and the stores for as long as a test runs, then closes them.
struct Guard {
    store: Arc<Store>,
    _dir: TempDir,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.store.stop().unwrap();
    }
}

fn build() -> io::Result<(Guard, LogStore, StateMachine)> {
    let dir = tempfile::tempdir()?;
    let settings = storage::Config::for_test(dir.path());
    let (store, _) = Store::open(&settings, 0, &storage::Metrics::unregistered())?;
    let store = Arc::new(store);
    let metrics = Metrics::new(&Registry::new()).map_err(io::Error::other)?;
    let log = LogStore::open(store.log.clone(), &metrics)?;
    let applied = Arc::new(Applied::new(Stamper::new(|| 0)));
    let publisher = Publisher::new(16, &metrics);
    let machine = StateMachine::open(
        &store,
        &log,
        // The suite applies entries that it never gave to the log.
        Mark::new(Some(u64::MAX)).subscribe(),
        applied,
        publisher,
        &metrics,
        Duration::ZERO,
    )?;
    Ok((Guard { store, _dir: dir }, log, machine))
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, StateMachine), StorageError<TypeConfig>> {
        build().map_err(|error| {
            StorageError::from_io_error(ErrorSubject::Store, ErrorVerb::Read, error)
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_librarys_own_storage_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}
