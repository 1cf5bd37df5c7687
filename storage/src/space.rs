//! The free space of the disk below a data directory: watched, so that a node stops taking work
//! before the disk is full and not by failing in the middle of it.
//!
//! A reserve file is held while there is room. When the free space falls below the low-water mark
//! the reserve is given back to the file system, so that what was taken already (flushes, votes)
//! can still be written; when there is room again the reserve is taken anew.
//!
//! A drill may pretend a full disk for a while: everything happens as if, the reserve included.
//!
//! Not here: what is stopped (the caller asks `is_full`). A write that fails all the same,
//! because somebody else took the reserve too, is a fault as before: no sync is ever tried again.
//! Invariant: full is said from the first look below the mark until the reserve stands again
//! above it, so that it does not flicker.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::file;
use crate::metrics::Metrics;

/// How often the space is looked at. A look is one system call of a microsecond.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The longest that a drill may pretend a full disk.
const LONGEST_PRETENCE: Duration = Duration::from_secs(120);

/// Name of the reserve in the data directory.
const RESERVE: &str = "reserve";

/// The watched space; cheap to clone. The thread ends with the last handle.
#[derive(Debug, Clone)]
pub struct Space {
    inner: Arc<Inner>,
    _watch: Arc<Watch>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    low_octets: u64,
    reserve_octets: u64,
    free: AtomicU64,
    full: AtomicBool,
    pretended: Mutex<Option<Instant>>,
    #[cfg(feature = "simulation")]
    filled: AtomicBool,
    metrics: Metrics,
}

impl Space {
    /// Looks once, takes the reserve if there is room, and starts to watch.
    ///
    /// # Errors
    /// The codes of the disk, when its space cannot be asked.
    pub fn open(config: &Config, metrics: &Metrics) -> Result<Self> {
        let inner = Arc::new(Inner {
            dir: config.dir.clone(),
            low_octets: config.low_water_octets,
            reserve_octets: config.reserve_octets,
            free: AtomicU64::new(0),
            full: AtomicBool::new(false),
            pretended: Mutex::new(None),
            #[cfg(feature = "simulation")]
            filled: AtomicBool::new(false),
            metrics: metrics.clone(),
        });
        inner.look()?;
        let watch = Watch::start(inner.clone()).map_err(Error::io("watch", &config.dir))?;
        Ok(Self { inner, _watch: Arc::new(watch) })
    }

    /// Whether the disk is too full to take more work.
    pub fn is_full(&self) -> bool {
        #[cfg(feature = "simulation")]
        if self.inner.filled.load(Ordering::Acquire) {
            return true;
        }
        self.inner.full.load(Ordering::Acquire)
    }

    /// Is full from now on, or not: the look at the real disk goes by another clock than a
    /// simulated world.
    #[cfg(feature = "simulation")]
    pub fn fill(&self, full: bool) {
        self.inner.filled.store(full, Ordering::Release);
    }

    /// Behaves for so long as if the disk were full, as a drill of that: two minutes at most, and
    /// it ends by itself. No time at all ends an earlier one. The next look makes it so.
    pub fn pretend_full(&self, hold: Duration) {
        let end = Instant::now().checked_add(hold.min(LONGEST_PRETENCE));
        *self.inner.pretended() = end.filter(|_| !hold.is_zero());
    }

    /// Octets that were free at the last look.
    pub fn free_octets(&self) -> u64 {
        self.inner.free.load(Ordering::Acquire)
    }
}

impl Inner {
    fn look(&self) -> Result<()> {
        let found = statvfs(&self.dir)
            .map_err(|error| Error::io("ask for space of", &self.dir)(error.into()))?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        self.free.store(free, Ordering::Release);
        self.metrics.disk_free_octets.set(i64::try_from(free).unwrap_or(i64::MAX));
        let path = self.dir.join(RESERVE);
        let pretends = self.pretends();
        if free < self.low_octets || pretends {
            if !self.full.swap(true, Ordering::AcqRel) {
                tracing::error!(
                    code = "disk_full",
                    free,
                    low_water = self.low_octets,
                    drill = pretends,
                    dir = %self.dir.display(),
                    "the disk is almost full: this node takes no writes until there is room"
                );
                self.metrics.disk_full.set(1);
            }
            return file::remove(&path);
        }
        if path.exists() {
            self.open_again(free);
            return Ok(());
        }
        // Room for the reserve and a margin above the mark, or it would be given back at once.
        let wanted = self.low_octets.saturating_add(self.reserve_octets);
        if free >= wanted.saturating_add(self.low_octets / 4) {
            // Without a reserve, on a file system that cannot promise room, the mark alone counts.
            if self.reserve_octets > 0
                && let Err(error) = take(&path, self.reserve_octets)
            {
                tracing::debug!(%error, "no reserve is held");
            }
            self.open_again(free);
        }
        Ok(())
    }

    fn pretended(&self) -> MutexGuard<'_, Option<Instant>> {
        self.pretended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pretends(&self) -> bool {
        let mut end = self.pretended();
        if end.is_some_and(|end| Instant::now() >= end) {
            *end = None;
        }
        end.is_some()
    }

    fn open_again(&self, free: u64) {
        if self.full.swap(false, Ordering::AcqRel) {
            tracing::warn!(free, "there is room on the disk again: this node takes writes");
            self.metrics.disk_full.set(0);
        }
    }
}

/// Takes the reserve; a half one is not left behind.
fn take(path: &Path, octets: u64) -> Result<()> {
    let made = file::create(path)?;
    let taken = fallocate(&made, FallocateFlags::empty(), 0, octets);
    taken.map_err(|error| {
        let _left = file::remove(path);
        Error::io("preallocate", path)(error.into())
    })
}

/// The thread that looks.
#[derive(Debug)]
struct Watch {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start(inner: Arc<Inner>) -> std::io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = stop.clone();
        let work = move || {
            let (flag, wake) = &*stopped;
            let mut stopping = flag.lock().unwrap_or_else(PoisonError::into_inner);
            while !*stopping {
                if let Err(error) = inner.look() {
                    tracing::debug!(%error, "the free space cannot be asked");
                }
                let waited = wake.wait_timeout(stopping, LOOK_EVERY);
                (stopping, _) = waited.unwrap_or_else(PoisonError::into_inner);
            }
        };
        let thread = thread::Builder::new().name("disk-space".to_owned()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (flag, wake) = &*self.stop;
        *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
        wake.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watch of the disk's space ended by a panic");
        }
    }
}
