//! What a node does to itself for a drill, and how it is undone.
//!
//! Not whether it may (`areas::drills` asks configuration and log first). Invariants: whatever
//! lasts ends by itself after its time; an end of the drill in the log ends it sooner where the
//! node can hear of it.

use std::time::Duration;

use cluster::{Cluster, Woken};
use domain::Effect;
use gateway::{Gateway, Notice};
use tokio::runtime::Handle;

use crate::app::Live;
use crate::drills::scenario::Injection;

/// The answer to the order has this long to leave the node before it dies.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// Begins a failure of this node; it goes on in the background.
pub fn inject(live: &Live, injection: Injection, concentrator: &str, hold: Duration) {
    let Live { cluster, gateway, renewal, restart } = live.clone();
    tracing::warn!(?injection, concentrator, ?hold, "a drill hurts this node");
    match injection {
        Injection::HandOver => {
            tokio::spawn(async move {
                if !cluster.transfer_leader().await {
                    tracing::warn!("no other node takes the leadership");
                }
            });
        }
        Injection::Kill => {
            tokio::spawn(async {
                tokio::time::sleep(LAST_WORDS).await;
                die();
            });
        }
        Injection::Hang => {
            tokio::spawn(async move {
                tokio::time::sleep(LAST_WORDS).await;
                hang(hold);
            });
        }
        Injection::CutNetwork => cluster.cable().pull(hold),
        Injection::FillDisk => cluster.pretend_full(hold),
        Injection::RenewCertificate => renewal.notify_one(),
        Injection::Restart | Injection::Upgrade => {
            tokio::spawn(async move {
                tokio::time::sleep(LAST_WORDS).await;
                restart.notify_one();
            });
        }
        Injection::CutChannel => gateway.notice(concentrator, Notice::Cut),
        // The driver's work alone.
        Injection::Restore | Injection::Measure => {}
        Injection::HushChannel => gateway.notice(concentrator, Notice::Hush { hold }),
    }
}

/// Ends what lasts.
pub fn undo(cluster: &Cluster) {
    cluster.cable().mend();
    cluster.pretend_full(Duration::ZERO);
}

/// Undoes what lasts when the log says that a drill is over, until the cluster stops.
pub async fn heed_ends(cluster: Cluster) {
    let mut effects = cluster.effects();
    while let Some(woken) = effects.next().await {
        // A lost wake-up may have been one of these; what lasts ends by itself, only later.
        if let Woken::Effect { effect: Effect::DrillEnded { .. }, .. } = woken {
            undo(&cluster);
        }
    }
}

/// The line of a concentrator that was hushed is alive again.
pub fn mend_channel(gateway: &Gateway, concentrator: &str) {
    gateway.notice(concentrator, Notice::Hush { hold: Duration::ZERO });
}

/// SIGKILL to ourselves: no destructor, no flush, no answer.
fn die() {
    let own = rustix::process::getpid();
    if let Err(error) = rustix::process::kill_process(own, rustix::process::Signal::KILL) {
        tracing::error!(%error, "the process cannot kill itself");
        std::process::abort();
    }
}

/// Every worker of the runtime sleeps: timers, sockets and tasks stand still, and go on after it.
/// A worker that sleeps takes no second task, so that each takes one.
fn hang(hold: Duration) {
    for _ in 0..Handle::current().metrics().num_workers() {
        tokio::spawn(async move { std::thread::sleep(hold) });
    }
}
