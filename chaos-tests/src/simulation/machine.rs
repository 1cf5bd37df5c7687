//! One simulated machine: a node's real rooms over a disk that can lose what was not synced.
//!
//! Real: `cluster` whole, `domain`, the log's files and its recovery, snapshots, segments.
//! Simulated: time, threads, the network, and when the disk works; the tables stand in memory and
//! lose their last unflushed batches at a crash.
//!
//! Invariant: between a crash and the next start nothing of the machine runs.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use cluster::{
    Cluster, Config, Peer,
    rt::world::{self, sleep},
    transport::simulated::{Net, Port},
};
use domain::NodeId;
use prometheus::Registry;
use storage::{Backend, Log, Store, Tables, log::by_hand, tables::on_memory};
use tokio::sync::{Notify, oneshot};

use super::executor::{kill, spawn_on, tell, throw, time};

/// Where every clock begins: 2027-01-15, in microseconds since the Unix epoch.
pub const EPOCH_US: u64 = 1_800_000_000_000_000;

/// Longest time of a sync of a disk that is as it should be, in microseconds.
pub const QUICK_US: u64 = 5000;

/// A machine.
pub struct Machine {
    /// Number of its node.
    pub node: u64,
    dir: PathBuf,
    config: Config,
    net: Net,
    clock: Arc<Clock>,
    /// Longest time that one sync takes, in microseconds.
    slow_us: Arc<AtomicU64>,
    running: Mutex<Option<Running>>,
    /// Whether something waits for its sync.
    unsynced: Arc<AtomicBool>,
    /// What kept it from starting, or halted it: a broken promise by itself.
    fault: Mutex<Option<String>>,
}

struct Running {
    cluster: Option<Cluster>,
    log: Log,
    tables: Tables,
}

/// A clock that jumps and drifts.
#[derive(Default)]
struct Clock {
    offset_us: AtomicI64,
    drift_ppm: AtomicI64,
}

impl Clock {
    fn now_us(&self) -> u64 {
        let elapsed = i64::try_from(time().as_micros()).unwrap_or(i64::MAX);
        let drift = elapsed / 1_000_000 * self.drift_ppm.load(Ordering::Relaxed);
        let offset = self.offset_us.load(Ordering::Relaxed);
        EPOCH_US.saturating_add_signed(elapsed + drift + offset)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The nodes of a cluster by number.
pub fn peer(node: u64) -> Peer {
    Peer {
        id: NodeId(node),
        name: format!("n{node}"),
        address: format!("10.0.0.{node}:7001"),
        http: format!("http://10.0.0.{node}:8080"),
    }
}

impl Machine {
    /// A machine with an empty disk.
    pub fn new(node: u64, config: Config, dir: &Path, net: &Net) -> Self {
        Self {
            node,
            dir: dir.join(format!("n{node}")),
            config,
            net: net.clone(),
            clock: Arc::default(),
            slow_us: Arc::new(AtomicU64::new(QUICK_US)),
            running: Mutex::default(),
            unsynced: Arc::default(),
            fault: Mutex::default(),
        }
    }

    /// The running node, once it has opened.
    pub fn cluster(&self) -> Option<Cluster> {
        lock(&self.running).as_ref()?.cluster.clone()
    }

    /// Whether the process runs.
    pub fn is_up(&self) -> bool {
        lock(&self.running).is_some()
    }

    /// What kept it from starting.
    pub fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    /// Waits until something waits for its sync, for a while: the moment at which a crash hurts.
    pub async fn writes(&self) {
        for _ in 0..2000 {
            if self.unsynced.load(Ordering::Relaxed) {
                return;
            }
            sleep(Duration::from_micros(100)).await;
        }
    }

    /// Lets the clock jump, and run faster or slower.
    pub fn set_clock(&self, offset_ms: i64, drift_ppm: i64) {
        self.clock.offset_us.store(offset_ms * 1000, Ordering::Relaxed);
        self.clock.drift_ppm.store(drift_ppm, Ordering::Relaxed);
    }

    /// Lets a sync take up to so long.
    pub fn set_disk(&self, slow_us: u64) {
        self.slow_us.store(slow_us, Ordering::Relaxed);
    }

    /// Starts the process, if it does not run.
    pub fn start(self: &Arc<Self>) {
        if self.is_up() || self.fault().is_some() {
            return;
        }
        let port = self.net.plug(self.node);
        if let Err(why) = self.open(port) {
            tell(|| format!("n{} cannot be opened: {why}", self.node));
            *lock(&self.fault) = Some(why);
            self.net.unplug(self.node);
        }
    }

    fn open(self: &Arc<Self>, port: Port) -> Result<(), String> {
        let mut settings = storage::Config::for_test(&self.dir);
        settings.tables_backend = Backend::Memory;
        settings.scrub_pause = Duration::from_secs(3600);
        let metrics = storage::Metrics::unregistered();
        let work = Arc::new(Notify::new());
        let woken = work.clone();
        let woken: by_hand::Woken = Box::new(move || woken.notify_one());
        let opened = Store::open_by_hand(&settings, 0, &metrics, woken);
        let (store, opening) = opened.map_err(|error| error.report())?;
        tell(|| {
            let (first, last, cut) = (opening.log.first, opening.log.last, opening.log.cut_octets);
            format!("n{} starts: log {first:?} to {last:?}, {cut} octets cut", self.node)
        });
        let (log, tables) = (store.log.clone(), store.tables.clone());
        let (slow_us, unsynced) = (self.slow_us.clone(), self.unsynced.clone());
        spawn_on(self.node, disk(log.clone(), work, slow_us, unsynced));
        spawn_on(self.node, flusher(tables.clone()));
        *lock(&self.running) = Some(Running { cluster: None, log, tables });
        let (machine, config, clock) = (self.clone(), self.config.clone(), self.clock.clone());
        spawn_on(self.node, async move {
            let registry = Registry::new();
            let clock = move || clock.now_us();
            let opened =
                Cluster::open_simulated(config, port, clock, store, &opening, &registry).await;
            match opened {
                Ok(cluster) => {
                    if let Some(running) = lock(&machine.running).as_mut() {
                        running.cluster = Some(cluster);
                    }
                }
                Err(error) => {
                    let why = format!("{error}: {:?}", std::error::Error::source(&error));
                    tell(|| format!("n{} cannot be opened: {why}", machine.node));
                    *lock(&machine.fault) = Some(why);
                }
            }
        });
        Ok(())
    }

    /// The power goes: every task ends where it stands, what was not synced is there in pieces or
    /// not at all.
    pub fn crash(&self) {
        self.crash_keeping(throw(4));
    }

    /// As `crash`, with so many thirds of the unsynced pieces kept; with none the tables, too, lose
    /// all that was not flushed.
    pub fn crash_keeping(&self, share: u64) {
        let Some(running) = lock(&self.running).take() else { return };
        self.net.unplug(self.node);
        kill(self.node);
        let Running { cluster, log, tables } = running;
        drop(cluster);
        let torn = log.crash(&mut |_| throw(3) < share);
        let dir = self.dir.join("tables");
        drop((log, tables));
        let unflushed = on_memory::unflushed(&dir);
        let kept = if share == 0 { 0 } else { throw(unflushed as u64 + 1) };
        let kept = usize::try_from(kept).unwrap_or(0);
        on_memory::crash(&dir, kept);
        tell(|| format!("n{} crashes: {kept} of {unflushed} batches kept, {torn:?}", self.node));
    }

    /// Stops the process in order.
    pub async fn stop(&self) {
        // Nobody else has the handle of a node that is being stopped.
        let cluster = lock(&self.running).as_mut().and_then(|running| running.cluster.take());
        let Some(cluster) = cluster else { return self.crash() };
        tell(|| format!("n{} is stopped", self.node));
        let (tell_done, done) = oneshot::channel();
        spawn_on(self.node, async move {
            cluster.stop().await;
            drop(cluster);
            // Nobody waits when the machine crashed meanwhile.
            let _crashed = tell_done.send(());
        });
        let _stopped_or_crashed = done.await;
        let Some(running) = lock(&self.running).take() else { return };
        self.net.unplug(self.node);
        kill(self.node);
        drop(running);
    }
}

/// The disk: turns of the log's writer, each after a while.
async fn disk(log: Log, work: Arc<Notify>, slow_us: Arc<AtomicU64>, unsynced: Arc<AtomicBool>) {
    loop {
        unsynced.store(false, Ordering::Relaxed);
        work.notified().await;
        unsynced.store(true, Ordering::Relaxed);
        loop {
            // Mostly quick, now and then not: as disks were measured.
            let most = slow_us.load(Ordering::Relaxed);
            let most = if throw(4) == 0 { most } else { most / 10 };
            sleep(Duration::from_micros(50 + throw(most))).await;
            if !log.turn() {
                break;
            }
        }
    }
}

/// The flusher of the tables.
async fn flusher(tables: Tables) {
    loop {
        sleep(Duration::from_millis(200 + throw(2500))).await;
        // A fault is sticky and is met by the node.
        let _told = tables.flush();
    }
}

/// Runs a call in a node's process; none when the process ended before its answer.
pub async fn on<T: Send + 'static>(
    node: u64,
    call: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (tell, answer) = oneshot::channel();
    spawn_on(node, async move {
        // Whoever asked may have gone.
        let _gone = tell.send(call.await);
    });
    // A connection's time limit, far above every deadline of a call.
    world::timeout(Duration::from_secs(30), answer).await.ok()?.ok()
}
