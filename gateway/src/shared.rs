//! What all tasks of the gateway share: settings, metrics, roster, the way to the cluster, and the
//! count of running tasks. No decision is taken here.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::Device;
use tokio::sync::{Notify, mpsc, watch};

use crate::Config;
use crate::concentrator::strangers::Strangers;
use crate::doorway::Doorway;
use crate::line::Lines;
use crate::listen::Connections;
use crate::metrics::Metrics;
use crate::refill::rests::{Limits, Rests};
use crate::roster::Roster;
use crate::upcall::Upcall;

/// One per gateway.
pub(crate) struct Shared {
    pub config: Config,
    pub metrics: Metrics,
    pub upcalls: mpsc::Sender<Upcall>,
    /// Before what logins and leases ask.
    pub doorway: Doorway,
    pub connections: Arc<Mutex<Connections>>,
    pub tasks: Tasks,
    pub stop: watch::Sender<bool>,
    /// False while this node may not act.
    pub acting: watch::Sender<bool>,
    pub strangers: Arc<Strangers>,
    pub lines: Lines,
    /// Devices whose load profiles are being read: for gaps, or for a task.
    filling: Mutex<BTreeSet<Device>>,
    /// Meters that are dialled here, and under which grant.
    dialled: Mutex<BTreeMap<String, u64>>,
    /// Meters that failed when they were asked for missing rows.
    pub rests: Mutex<Rests>,
    roster: Mutex<Roster>,
    channels: AtomicU64,
}

impl Shared {
    pub fn new(config: Config, metrics: Metrics, upcalls: mpsc::Sender<Upcall>) -> Self {
        let rests = Rests::new(Limits {
            attempts: config.refill_attempts,
            first: Duration::from_millis(config.refill_backoff_first_ms),
            cap: Duration::from_millis(config.refill_backoff_cap_ms),
        });
        Self {
            doorway: Doorway::new(config.logins_at_once),
            config,
            metrics,
            upcalls,
            connections: Arc::default(),
            tasks: Tasks::default(),
            stop: watch::Sender::new(false),
            acting: watch::Sender::new(true),
            strangers: Arc::default(),
            lines: Lines::default(),
            filling: Mutex::default(),
            dialled: Mutex::default(),
            rests: Mutex::new(rests),
            roster: Mutex::default(),
            channels: AtomicU64::new(1),
        }
    }

    /// The roster, for a short look. Never held over an await.
    pub fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Meters that are dialled here, and under which grant.
    pub fn dialled(&self) -> Vec<(Device, u64)> {
        let dialled = self.dialled.lock().unwrap_or_else(PoisonError::into_inner);
        dialled.iter().map(|(serial, epoch)| (Device::Meter(serial.clone()), *epoch)).collect()
    }

    /// Notes that a meter is dialled under a grant, or no more.
    pub fn note_dialled(&self, serial: &str, epoch: Option<u64>) {
        let mut dialled = self.dialled.lock().unwrap_or_else(PoisonError::into_inner);
        match epoch {
            Some(epoch) => dialled.insert(serial.to_owned(), epoch),
            None => dialled.remove(serial),
        };
    }

    /// Whether this node may act now.
    pub fn is_acting(&self) -> bool {
        *self.acting.borrow()
    }

    /// The number of a new channel.
    pub fn next_channel(&self) -> u64 {
        self.channels.fetch_add(1, Ordering::Relaxed)
    }
}

/// The reading of a device's load profiles, while it lasts: for gaps or for a task, never both.
pub(crate) struct Filling {
    shared: Arc<Shared>,
    device: Device,
}

impl Filling {
    /// Begins it; None while another one lasts.
    pub fn begin(shared: &Arc<Shared>, device: &Device) -> Option<Self> {
        let mut filling = shared.filling.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = filling.insert(device.clone());
        is_free.then(|| Self { shared: Arc::clone(shared), device: device.clone() })
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        let mut filling = self.shared.filling.lock().unwrap_or_else(PoisonError::into_inner);
        filling.remove(&self.device);
    }
}

/// Random octets for challenges and jitter.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    // The system's generator fails only where no process could work at all.
    getrandom::fill(&mut octets).expect("the system has a source of random octets");
    octets
}

/// Counts running tasks, so that a stop can wait for them.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    inner: Arc<(AtomicUsize, Notify)>,
}

impl Tasks {
    /// Runs a task that is counted.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let running = Running::new(&self.inner);
        tokio::spawn(async move {
            task.await;
            drop(running);
        });
    }

    /// Returns when no task runs.
    pub async fn wait(&self) {
        loop {
            let notified = self.inner.1.notified();
            if self.inner.0.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }
}

struct Running(Arc<(AtomicUsize, Notify)>);

impl Running {
    fn new(inner: &Arc<(AtomicUsize, Notify)>) -> Self {
        inner.0.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(inner))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.1.notify_waiters();
        }
    }
}
