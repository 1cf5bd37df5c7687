//! The thread that reads every sealed file again, in turn, at a bounded rate, and compares it
//! with its hash: what nobody asks for is found out too, while a peer still has it.
//!
//! Invariant: a file that goes meanwhile (folded, replaced) is no damage.

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::manifest::Entry;
use super::worker::Core;
use crate::config::Config;
use crate::error::{Error, Result};

/// Octets read at once.
const PIECE: usize = 256 * 1024;

/// The thread, ended when this is dropped.
pub struct Scrubber {
    stop: Arc<Stop>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Stop {
    stopping: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Sleeps; true when it is time to stop.
    fn rest(&self, time: Duration) -> bool {
        let stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let (stopping, _) = self
            .changed
            .wait_timeout_while(stopping, time, |stopping| !*stopping)
            .unwrap_or_else(PoisonError::into_inner);
        *stopping
    }
}

struct Pass<'a> {
    core: &'a Core,
    stop: &'a Stop,
    piece: Vec<u8>,
    /// Rest after each whole piece.
    rest: Duration,
}

impl Scrubber {
    /// Starts the thread.
    pub fn start(core: Arc<Core>, config: &Config) -> Result<Self> {
        let stop = Arc::new(Stop::default());
        let (stopped, pause) = (stop.clone(), config.scrub_pause);
        let rest = Duration::from_secs_f64(PIECE as f64 / config.scrub_octets_per_s.max(1) as f64);
        let dir = core.dir.clone();
        let run = move || {
            let piece = vec![0; PIECE];
            let mut pass = Pass { core: &core, stop: &stopped, piece, rest };
            while !stopped.rest(pause) && pass.run() {}
        };
        let thread = std::thread::Builder::new()
            .name("segment-scrub".to_owned())
            .spawn(run)
            .map_err(Error::io("start the scrubbing thread of", &dir))?;
        Ok(Self { stop, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread and waits for it.
    pub fn stop(&self) {
        *self.stop.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the scrubbing thread ended by a panic");
        }
    }
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Pass<'_> {
    /// Looks at every file once; false when it is time to stop.
    fn run(&mut self) -> bool {
        let files: Vec<Arc<Entry>> = self.core.read().files().cloned().collect();
        for entry in files {
            let skip = {
                let state = self.core.read();
                !state.is_current(&entry) || state.damaged.contains_key(&entry.name())
            };
            if skip {
                continue;
            }
            match self.hash(&entry) {
                Ok(None) => return false,
                // A wrong hash is told where it is judged.
                Ok(Some(found)) => drop(self.core.judge(&entry, found)),
                Err(error) => {
                    tracing::warn!(code = error.code(), %error, "a file cannot be scrubbed");
                }
            }
        }
        self.core.metrics.scrubs.inc();
        true
    }

    /// Size and hash of a file, read slowly; none when it is time to stop.
    fn hash(&mut self, entry: &Entry) -> Result<Option<(u64, [u8; 32])>> {
        let path = self.core.dir.join(entry.name());
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Some((0, [0; 32])));
            }
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        let mut hasher = blake3::Hasher::new();
        let mut octets = 0;
        loop {
            let count = file.read(&mut self.piece).map_err(Error::io("read", &path))?;
            if count == 0 {
                return Ok(Some((octets, *hasher.finalize().as_bytes())));
            }
            hasher.update(self.piece.get(..count).unwrap_or_default());
            octets += count as u64;
            self.core.metrics.scrubbed_octets.inc_by(count as u64);
            let share = count as f64 / PIECE as f64;
            if self.stop.rest(self.rest.mul_f64(share)) {
                return Ok(None);
            }
        }
    }
}
