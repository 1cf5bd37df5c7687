//! The log without its thread: whoever opened it decides when the disk works, and what a power
//! cut leaves. For the deterministic simulation.
//!
//! The files, frames, syncs and the recovery are those of every other log; only the waiting is
//! the caller's.
//!
//! Invariants: nothing is durable or called back but by `turn`; after `crash` nothing is.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Inner, Log, Recovered};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::metrics::Metrics;

/// Called when there is work for a turn, perhaps more often than that.
pub type Woken = Box<dyn Fn() + Send + Sync>;

/// What a disk writes whole or not at all.
pub const PIECE_OCTETS: usize = 512;

impl Log {
    /// As [`Log::open`], without a thread: `woken` is told when [`Log::turn`] has work.
    ///
    /// # Errors
    /// Those of [`Log::open`].
    pub fn open_by_hand(
        dir: &Path,
        config: &Config,
        group: u32,
        metrics: &Metrics,
        woken: Woken,
    ) -> Result<(Self, Recovered)> {
        let (shared, recovered, writer) = Self::prepare(dir, config, group, metrics)?;
        shared.tell(woken);
        let hand = Some(Mutex::new(writer));
        let inner = Inner { shared, group, thread: Mutex::default(), hand };
        Ok((Self { inner: Arc::new(inner) }, recovered))
    }

    /// Writes and syncs one batch of what waits and calls back; false when nothing waited, or
    /// when the log has a thread of its own.
    pub fn turn(&self) -> bool {
        let Some(hand) = &self.inner.hand else { return false };
        let mut writer = hand.lock().unwrap_or_else(PoisonError::into_inner);
        let commands = self.inner.shared.take_now(writer.batch_octets());
        !commands.is_empty() && writer.turn(commands)
    }

    /// The power goes: of what waits for its sync, each piece of [`PIECE_OCTETS`] is on the disk
    /// if `keep` says so of its number. The log answers nothing any more.
    ///
    /// # Errors
    /// The codes of the disk.
    pub fn crash(&self, keep: &mut dyn FnMut(usize) -> bool) -> Result<()> {
        let Some(hand) = &self.inner.hand else { return Ok(()) };
        let mut writer = hand.lock().unwrap_or_else(PoisonError::into_inner);
        let commands = self.inner.shared.take_now(writer.batch_octets());
        let torn = writer.tear(&commands, keep);
        self.inner.shared.fail(Error::Stopped("the log"), commands);
        torn
    }
}
