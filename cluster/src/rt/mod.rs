//! What runs a member's work: tasks, time, threads that may wait for the disk.
//!
//! Everything else in this crate takes them from here, so that the deterministic simulation can
//! put a world of its own below (feature `simulation`, [`world`]). Without that feature, and in
//! every thread that no world was entered in, this is tokio.
//!
//! Invariant: nothing here decides anything; the two grounds differ in order and time alone.

#[cfg(feature = "simulation")]
pub(crate) mod virtual_time;
#[cfg(feature = "simulation")]
pub mod world;

use std::{future::Future, io};

#[cfg(not(feature = "simulation"))]
pub(crate) use tokio::{
    spawn,
    time::{interval, sleep, timeout, timeout_at},
};
#[cfg(feature = "simulation")]
pub(crate) use virtual_time::{interval, sleep, timeout, timeout_at};
#[cfg(feature = "simulation")]
pub(crate) use world::spawn;

pub(crate) use tokio::time::Instant;

/// The time of this member's clock that never jumps.
#[cfg(not(feature = "simulation"))]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(feature = "simulation")]
pub(crate) use virtual_time::now;

/// Runs work that waits for the disk where waiting hurts nobody.
#[cfg(not(feature = "simulation"))]
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}

/// Runs work that waits for the disk where waiting hurts nobody; in a world, a little later.
#[cfg(feature = "simulation")]
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let Some(pause) = world::pause_of_a_thread() else {
        return tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    };
    let later = async move {
        sleep(pause).await;
        work()
    };
    spawn(later).await.map_err(io::Error::other)
}

/// The work, unless `stop` comes first.
pub(crate) async fn unless(stop: impl Future, work: impl Future<Output = ()>) {
    tokio::select! {
        // In this order: a draw of lots would make two runs of one world differ.
        biased;
        _ = stop => {}
        () = work => {}
    }
}
