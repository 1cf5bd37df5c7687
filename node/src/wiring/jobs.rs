//! What is done by the clock: expiries, seals and compactions by the leader, the collection rate
//! by every node.
//!
//! Invariant: two leaders for a moment do no harm: the same expiry or seal twice is refused once.

use std::time::{Duration, Instant};

use cluster::Role;
use domain::{Change, audit, commands, operators, readings};

use super::{NotDone, Wires};

/// A look for records of the audit trail that nobody has signed.
const SIGN_LOOK: Duration = Duration::from_secs(5);
const MISS_EVERY: Duration = Duration::from_secs(5);
const EXPIRE_EVERY: Duration = Duration::from_millis(500);
const SEAL_EVERY: Duration = Duration::from_secs(30);
/// Folding has all month; a look goes through every month that is not folded.
const COMPACT_EVERY: Duration = Duration::from_secs(300);
/// A session's use is noted to a minute or so.
const NOTE_EVERY: Duration = Duration::from_secs(20);
/// Looks are told to the trail so soon.
const TELL_EVERY: Duration = Duration::from_secs(2);
const COLLECT_EVERY: Duration = Duration::from_secs(2);
/// Expiries that are proposed in one run.
const EXPIRIES: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends commands whose time is over.
pub async fn expire(wires: Wires) {
    while wires.pause(EXPIRE_EVERY).await {
        if !leads(&wires) {
            continue;
        }
        let stamp = wires.cluster.stamp_now();
        match commands::due_expiries(&wires.cluster.view(), stamp, EXPIRIES) {
            Ok(due) => {
                for id in due {
                    let change = Change::Commands(commands::Change::Expire { id });
                    count(&wires, "expire", wires.propose(change, PATIENCE).await);
                }
            }
            Err(fault) => wires.fault("expire", &fault),
        }
    }
}

/// Seals days whose time has come.
pub async fn seal(wires: Wires) {
    while wires.pause(SEAL_EVERY).await {
        if !leads(&wires) {
            continue;
        }
        match readings::due_seals(&wires.cluster.view(), wires.cluster.stamp_now()) {
            Ok(due) => {
                for seal in due {
                    let change = Change::Readings(readings::Change::Seal(seal));
                    count(&wires, "seal", wires.propose(change, PATIENCE).await);
                }
            }
            Err(fault) => wires.fault("seal", &fault),
        }
    }
}

/// Folds months whose time has come, a bounded few a look.
pub async fn compact(wires: Wires) {
    while wires.pause(COMPACT_EVERY).await {
        if !leads(&wires) {
            continue;
        }
        let (view, stamp) = (wires.cluster.view(), wires.cluster.stamp_now());
        let look = tokio::task::spawn_blocking(move || readings::due_compactions(&view, stamp));
        match look.await {
            Ok(Ok(due)) => {
                for month in due {
                    let change = Change::Readings(readings::Change::Compact(month));
                    count(&wires, "compact", wires.propose(change, PATIENCE).await);
                }
            }
            Ok(Err(fault)) => wires.fault("compact", &fault),
            Err(error) => tracing::error!(%error, "no month was looked for"),
        }
    }
}

/// Reckons the collection rate; rests at least twenty times as long as it took.
pub async fn collect(wires: Wires) {
    let mut rest = Duration::ZERO;
    while wires.pause(COLLECT_EVERY.max(rest)).await {
        let begun = Instant::now();
        let view = wires.cluster.view();
        let run = tokio::task::spawn_blocking(move || crate::areas::collection::collected(&view));
        match run.await {
            Ok(Ok(collected)) => wires.app.set_collected(collected),
            Ok(Err(fault)) => wires.fault("collect", &fault),
            Err(error) => tracing::error!(%error, "the collection was not reckoned"),
        }
        rest = begun.elapsed() * 20;
    }
}

/// Undoes what a drill did to this node when the log says that it is over.
pub async fn end_drills(wires: Wires) {
    tokio::select! {
        () = wires.stopped() => {}
        () = crate::drills::inject::heed_ends(wires.cluster.clone()) => {}
    }
}

/// Notes the turns of drills' plans that nobody carried out in time.
pub async fn miss_drills(wires: Wires) {
    while wires.pause(MISS_EVERY).await {
        if !leads(&wires) {
            continue;
        }
        match crate::areas::drills::due::missed(&wires.app) {
            Ok(changes) => {
                for change in changes {
                    let change = Change::Drills(change);
                    count(&wires, "drills", wires.propose(change, PATIENCE).await);
                }
            }
            Err(fault) => wires.fault("drills", &fault),
        }
    }
}

/// Notes the sessions that were used here, so that they do not end for lack of use.
pub async fn note_sessions(wires: Wires) {
    while wires.pause(NOTE_EVERY).await {
        let sessions = wires.app.sessions_in_use().take();
        if !sessions.is_empty() {
            let change = Change::Operators(operators::Change::Used { sessions });
            count(&wires, "sessions", wires.propose(change, PATIENCE).await);
        }
    }
}

/// Tells the audit trail who looked at personal data through this node.
pub async fn tell_looks(wires: Wires) {
    let mut on = true;
    while on {
        // Once more at the stop, so that nothing is left.
        on = wires.pause(TELL_EVERY).await;
        for (operator, what) in wires.app.looks().take() {
            let told = audit::Change::Looked { operator: operator.clone(), what: what.clone() };
            let outcome = wires.propose(Change::Audit(told), PATIENCE).await;
            if outcome == Err(NotDone::Unavailable) {
                wires.app.looks().put_back(&operator, what);
            }
            count(&wires, "looks", outcome);
        }
    }
}

/// Signs the end of the audit trail, by the hour and by the thousand.
pub async fn sign_trail(wires: Wires) {
    while wires.pause(SIGN_LOOK).await {
        if !leads(&wires) {
            continue;
        }
        let due = audit::due_signature(&wires.cluster.view(), wires.cluster.stamp_now());
        let record = match due {
            Ok(Some(record)) => record,
            Ok(None) => continue,
            Err(fault) => {
                wires.fault("sign", &fault);
                continue;
            }
        };
        match wires.app.master().signer() {
            Ok(signer) => {
                let (sequence, hash) = (record.sequence, record.hash);
                let signature = signer.sign_trail(sequence, &hash);
                let change = Change::Audit(audit::Change::Signed { sequence, hash, signature });
                count(&wires, "sign", wires.propose(change, PATIENCE).await);
            }
            Err(error) => tracing::error!(%error, "the audit trail cannot be signed"),
        }
    }
}

pub(super) fn leads(wires: &Wires) -> bool {
    wires.cluster.status().role == Role::Leader
}

pub(super) fn count(wires: &Wires, job: &'static str, outcome: Result<domain::Done, NotDone>) {
    let result = match outcome {
        Ok(_) => "ok",
        Err(NotDone::Refused(_)) => "refused",
        Err(NotDone::Unavailable) => "unavailable",
    };
    wires.app.metrics().jobs.with_label_values(&[job, result]).inc();
}
