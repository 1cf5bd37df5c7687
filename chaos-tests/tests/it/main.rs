//! Stories of whole clusters: real processes, real sockets, real files.
//!
//! They run one after the other (two cores do not carry two clusters), each on ports of its own.

mod acceptance;
mod bad_input;
mod certificates;
mod channels;
mod crowd;
mod drills;
mod full_disk;
mod interop;
mod orders;
mod pages;
mod parameters;
mod plans;
mod rounds;
mod setups;
mod survival;
mod town;

use tokio::sync::{Mutex, MutexGuard};

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Holds the machine for one story. A story that failed does not stop the next.
async fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().await
}
