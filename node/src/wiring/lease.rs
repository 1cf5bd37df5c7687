//! This node's own lease: renewed through the log every second for three.
//!
//! Invariants: the licence to act ends before the lease does: it is reckoned from before the
//! proposal was made, and the leader's stamp cannot be older than that; without a quorum no
//! renewal commits, so a node that is cut off stops acting by itself: its channels step back when
//! the licence ends, and not when a renewal fails, which may take longer than the rest of it. A
//! drained node gives up its licence, then its channels, and asks for none until it works again; so
//! does one whose disk is full or whose battery is nearly empty.

use std::time::{Duration, Instant};

use domain::leases::{self, Change};
use domain::{Device, Fault};
use futures::StreamExt;
use tokio::sync::watch;

use super::{NotDone, Wires};

/// How long a renewal holds.
pub const TTL: Duration = Duration::from_millis(3000);
/// How often it is made.
const EVERY: Duration = Duration::from_millis(1000);
/// A renewal that takes longer is made anew, perhaps at another leader.
const PATIENCE: Duration = Duration::from_millis(900);
/// Clocks of two machines may run so much apart within one lease, and more.
const MARGIN: Duration = Duration::from_millis(300);

/// Until when this node may act.
#[derive(Debug, Default)]
pub struct Licence {
    until: watch::Sender<Option<Instant>>,
}

impl Licence {
    /// Whether the node may act now.
    pub fn holds(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() < until)
    }

    /// Moves the end to what a renewal asked for at `asked` gives.
    fn extend(&self, asked: Instant) {
        let until = asked + TTL - MARGIN;
        self.until.send_modify(|place| {
            *place = Some(place.map_or(until, |before| before.max(until)));
        });
    }

    /// Gives the licence up.
    fn end(&self) {
        self.until.send_replace(None);
    }

    fn until(&self) -> Option<Instant> {
        *self.until.borrow()
    }

    /// Calls `turn` with whether the node may act, at once and at every change, for ever. It may
    /// be called with the same twice.
    async fn follow(&self, mut turn: impl FnMut(bool)) {
        let mut until = self.until.subscribe();
        loop {
            let end = *until.borrow_and_update();
            let Some(end) = end.filter(|end| Instant::now() < *end) else {
                turn(false);
                // It fails only when this licence is gone, which is borrowed here.
                let _ = until.changed().await;
                continue;
            };
            turn(true);
            // Either the end, or a later one.
            let _ = tokio::time::timeout_at(end.into(), until.changed()).await;
        }
    }
}

/// Lets channels act only under a licence, until the stop; then they are about to close anyhow.
pub async fn guard(wires: Wires) {
    let turn = |acting| if acting { wires.gateway.resume() } else { wires.gateway.suspend() };
    tokio::select! {
        () = wires.stopped() => {}
        () = wires.licence.follow(turn) => {}
    }
}

/// Renews until the stop.
pub async fn run(wires: Wires) {
    let ttl_ms = u32::try_from(TTL.as_millis()).unwrap_or(3000);
    let mut held = false;
    let mut drained = false;
    loop {
        let asked = Instant::now();
        // A node whose disk is full sees no new entries: it must not act on what it knows.
        let yields = wires.app.power().yields();
        if yields || wires.cluster.is_drained(wires.node) || wires.cluster.is_disk_full() {
            if !std::mem::replace(&mut drained, true) {
                tracing::warn!(
                    yields,
                    "drained, disk full or battery low: this node gives its channels up"
                );
            }
            held = false;
            wires.licence.end();
            release_all(&wires).await;
            if !wires.pause(EVERY.saturating_sub(asked.elapsed())).await {
                return;
            }
            continue;
        }
        if std::mem::take(&mut drained) {
            tracing::info!("this node works again");
        }
        let change = domain::Change::Leases(Change::Renew { node: wires.node, ttl_ms });
        let result = match wires.propose(change, PATIENCE).await {
            Ok(_) => {
                wires.licence.extend(asked);
                "ok"
            }
            Err(NotDone::Refused(refusal)) => {
                tracing::error!(%refusal, "the node lease was refused");
                "refused"
            }
            Err(NotDone::Unavailable) => "unavailable",
        };
        wires.app.metrics().jobs.with_label_values(&["renew", result]).inc();
        let holds = wires.licence.holds();
        if held && !holds {
            tracing::warn!("the node lease ran out: no quorum is reached; this node does not act");
        } else if !held && holds {
            tracing::info!("this node has its lease and acts");
        }
        held = holds;
        if !wires.pause(EVERY.saturating_sub(asked.elapsed())).await {
            return;
        }
    }
}

/// Gives back every device that this node owns.
pub async fn release_all(wires: &Wires) {
    let owned = match owned(wires) {
        Ok(owned) => owned,
        Err(fault) => return wires.fault("release", &fault),
    };
    let count = owned.len();
    futures::stream::iter(owned)
        .for_each_concurrent(64, |(device, epoch)| async move {
            let change = Change::Release { device, node: wires.node, epoch };
            // Refused: somebody else has it already. Unavailable: the lease ends by itself.
            let _ = wires.propose(domain::Change::Leases(change), PATIENCE).await;
        })
        .await;
    if count > 0 {
        tracing::info!(count, "leases given back");
    }
}

fn owned(wires: &Wires) -> Result<Vec<(Device, u64)>, Fault> {
    const CHUNK: usize = 1000;
    let view = wires.cluster.view();
    let mut owned = Vec::new();
    let mut behind: Option<Device> = None;
    loop {
        let chunk = leases::list(&view, behind.as_ref(), CHUNK)?;
        let mine = chunk.iter().filter(|lease| lease.owner == Some(wires.node));
        owned.extend(mine.map(|lease| (lease.device.clone(), lease.epoch)));
        match chunk.last() {
            Some(last) if chunk.len() == CHUNK => behind = Some(last.device.clone()),
            _ => return Ok(owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_ends_before_the_lease_and_never_shrinks() {
        let licence = Licence::default();
        assert!(!licence.holds(), "none before the first renewal");
        let now = Instant::now();
        licence.extend(now);
        assert!(licence.holds());
        assert_eq!(licence.until(), Some(now + TTL - MARGIN));
        if let Some(earlier) = now.checked_sub(Duration::from_secs(1)) {
            licence.extend(earlier);
        }
        assert_eq!(licence.until(), Some(now + TTL - MARGIN));
    }

    #[tokio::test]
    async fn channels_step_back_when_the_licence_ends() {
        let licence = Licence::default();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let left = Duration::from_millis(400);
        let Some(asked) = (Instant::now() + left).checked_sub(TTL - MARGIN) else { return };
        let steps = async {
            assert_eq!(told.recv().await, Some(false), "none before the first renewal");
            licence.extend(asked);
            assert_eq!(told.recv().await, Some(true));
            // A renewal in time moves the end; nobody steps back in between.
            tokio::time::sleep(left / 2).await;
            licence.extend(asked + left);
            assert_eq!(told.recv().await, Some(true));
            assert_eq!(told.recv().await, Some(false), "the end needs no failed renewal");
            let end = asked + left + TTL - MARGIN;
            assert!(Instant::now() >= end && Instant::now() < end + MARGIN);
            licence.extend(Instant::now());
            assert_eq!(told.recv().await, Some(true), "the next renewal lets it act again");
        };
        tokio::select! {
            () = steps => {}
            () = licence.follow(|acting| { let _ = tell.send(acting); }) => {}
        }
    }

    #[test]
    fn an_old_renewal_gives_no_licence() {
        let licence = Licence::default();
        let Some(old) = Instant::now().checked_sub(TTL) else { return };
        licence.extend(old);
        assert!(!licence.holds());
    }
}
