//! What a member watches of itself: metrics of its role, and the watchdog of its office.
//!
//! Invariants: the watchdog decides in `Watchdog::check`, which is pure; a leader with proposals
//! waiting and an unmoved commit index for the configured time gives its office up.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::interval};

use crate::{
    metrics::Metrics,
    propose::Proposer,
    raft::{Group, Progress},
    status::Role,
    transport::Links,
};

/// How often the watchdog looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Keeps the metrics of role, term and indexes; ends when consensus stops.
pub(crate) async fn keep_metrics(mut progress: watch::Receiver<Progress>, metrics: Metrics) {
    let mut before = Progress::default();
    loop {
        let now = progress.borrow_and_update().clone();
        if now.role == Some(Role::Candidate)
            && (before.role != Some(Role::Candidate) || before.term != now.term)
        {
            metrics.elections.inc();
        }
        if now.leader.is_some() && (now.leader, now.term) != (before.leader, before.term) {
            metrics.leader_changes.inc();
        }
        metrics.role.set(now.role.unwrap_or(Role::Halted).gauge());
        metrics.term.set(gauge(now.term));
        metrics.commit_index.set(gauge(now.commit));
        metrics.applied_index.set(gauge(now.applied));
        metrics.apply_lag.set(gauge(now.commit.saturating_sub(now.applied)));
        before = now;
        if progress.changed().await.is_err() {
            metrics.role.set(Role::Halted.gauge());
            return;
        }
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Notices a leader that makes no progress.
struct Watchdog {
    limit: Duration,
    commit: u64,
    since: Option<Instant>,
}

impl Watchdog {
    fn new(limit: Duration) -> Self {
        Self { limit, commit: 0, since: None }
    }

    /// True when proposals have waited for `limit` on a leader whose commit index stood still.
    fn check(&mut self, now: Instant, progress: &Progress, waiting: usize) -> bool {
        let leads = progress.role == Some(Role::Leader);
        if !leads || waiting == 0 || progress.commit != self.commit {
            self.commit = progress.commit;
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let stalled = now.duration_since(since) >= self.limit;
        if stalled {
            self.since = None;
        }
        stalled
    }
}

/// Runs the watchdog; ends when consensus stops.
pub(crate) async fn guard(
    group: Group,
    links: Links,
    proposer: Arc<Proposer>,
    progress: watch::Receiver<Progress>,
    limit: Duration,
    metrics: Metrics,
) {
    let mut watchdog = Watchdog::new(limit);
    let mut ticks = interval(LOOK_EVERY);
    while progress.has_changed().is_ok() {
        ticks.tick().await;
        let now = progress.borrow().clone();
        if !watchdog.check(Instant::now(), &now, proposer.waiting()) {
            continue;
        }
        metrics.stalls.inc();
        tracing::error!(
            commit = now.commit,
            waiting = proposer.waiting(),
            "proposals wait and nothing is committed: replication starts anew, office given up"
        );
        links.values().for_each(|link| link.redial());
        group.reset_replication(now.voters.iter().copied()).await;
        if let Some(heir) = heir(&now, &links) {
            // Fails only when consensus has stopped.
            let _stopped = group.transfer_leader(heir).await;
        }
    }
}

/// The reachable voter whose log is longest.
pub(crate) fn heir(progress: &Progress, links: &Links) -> Option<u64> {
    let reachable =
        progress.voters.iter().filter_map(|id| links.get(id)).filter(|link| link.is_up());
    reachable.map(|link| link.id()).max_by_key(|id| progress.matched.get(id).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stalled_leader_is_noticed() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let leads = Progress { role: Some(Role::Leader), commit: 5, ..Progress::default() };
        let follows = Progress { role: Some(Role::Follower), ..leads.clone() };
        let moved = Progress { commit: 6, ..leads.clone() };
        let mut watchdog = Watchdog::new(Duration::from_secs(3));
        assert!(!watchdog.check(at(0), &leads, 1), "the first look only learns the index");
        assert!(!watchdog.check(at(1), &leads, 1));
        assert!(!watchdog.check(at(3), &leads, 1));
        assert!(watchdog.check(at(4), &leads, 1));
        assert!(!watchdog.check(at(5), &leads, 1), "it waits anew after an alarm");
        assert!(!watchdog.check(at(6), &moved, 1));
        assert!(!watchdog.check(at(8), &moved, 0));
        assert!(!watchdog.check(at(20), &follows, 1));
    }
}
