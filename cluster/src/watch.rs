//! What a member watches of itself: metrics of its role, and the watchdog of its office.
//!
//! Invariants: the watchdog decides in `Watchdog::check`, which is pure. A leader that a quorum
//! answers, with proposals waiting and an unmoved commit index for the configured time, gives its
//! office up. A missing quorum is told once and no alarm: nothing here can mend it. A node that is
//! being stopped says nothing, because its peers may well be stopping too.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    metrics::Metrics,
    propose::Proposer,
    raft::{Group, Progress},
    rt::{Instant, interval, now as clock, unless},
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
        metrics.voters.set(i64::try_from(now.voters.len()).unwrap_or(i64::MAX));
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

/// How many of the voters answer this node, itself included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Voters {
    answering: usize,
    all: usize,
}

impl Voters {
    fn now(node: u64, progress: &Progress, links: &Links) -> Self {
        let up = |id: &u64| *id == node || links.get(*id).is_some_and(|link| link.is_up());
        let answering = progress.voters.iter().filter(|id| up(id)).count();
        Self { answering, all: progress.voters.len() }
    }

    fn quorum(self) -> bool {
        self.answering > self.all / 2
    }
}

/// What one look of the watchdog found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// All is well, or not for long enough otherwise, or told already.
    Nothing,
    /// Proposals wait because too few voters answer; told once until a quorum answers again.
    NoQuorum,
    /// A quorum answers again after `NoQuorum`.
    QuorumAgain,
    /// A quorum answers this leader, proposals wait, and nothing is committed.
    Stalled,
}

/// Notices a node whose proposals wait in vain, and why.
struct Watchdog {
    limit: Duration,
    commit: u64,
    since: Option<Instant>,
    told: bool,
}

impl Watchdog {
    fn new(limit: Duration) -> Self {
        Self { limit, commit: 0, since: None, told: false }
    }

    /// Judges proposals that wait on a leader, or without one, while the commit index stands
    /// still for `limit`.
    fn check(
        &mut self,
        now: Instant,
        progress: &Progress,
        waiting: usize,
        voters: Voters,
    ) -> Finding {
        if self.told && voters.quorum() {
            self.told = false;
            self.since = None;
            return Finding::QuorumAgain;
        }
        let leads = progress.role == Some(Role::Leader);
        let follows = !leads && progress.leader.is_some();
        if follows || waiting == 0 || progress.commit != self.commit {
            self.commit = progress.commit;
            self.since = None;
            return Finding::Nothing;
        }
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) < self.limit {
            return Finding::Nothing;
        }
        self.since = None;
        if voters.quorum() {
            // Without a leader an election is under way, and it needs no help from here.
            return if leads { Finding::Stalled } else { Finding::Nothing };
        }
        if std::mem::replace(&mut self.told, true) { Finding::Nothing } else { Finding::NoQuorum }
    }
}

/// What the watchdog looks at and acts on.
pub(crate) struct Guard {
    pub node: u64,
    pub group: Group,
    pub links: Links,
    pub proposer: Arc<Proposer>,
    pub progress: watch::Receiver<Progress>,
    pub limit: Duration,
    pub space: storage::Space,
    pub metrics: Metrics,
}

impl Guard {
    /// Runs the watchdog; ends when consensus stops or this node begins to.
    pub async fn run(self, mut leaving: watch::Receiver<bool>) {
        unless(leaving.wait_for(|leaving| *leaving), self.look()).await;
    }

    async fn look(&self) {
        let mut watchdog = Watchdog::new(self.limit);
        let mut ticks = interval(LOOK_EVERY);
        let (mut full, mut handed) = (false, None);
        while self.progress.has_changed().is_ok() {
            ticks.tick().await;
            let now = self.progress.borrow().clone();
            if self.space.is_full() != full {
                full = !full;
                // It would win with a log that it cannot add to.
                self.group.set_candidate(!full);
            }
            if full && now.role == Some(Role::Leader) {
                self.step_down(&now, &mut handed).await;
            }
            let voters = Voters::now(self.node, &now, &self.links);
            let waiting = self.proposer.waiting();
            match watchdog.check(clock(), &now, waiting, voters) {
                Finding::Nothing => {}
                Finding::NoQuorum => tracing::warn!(
                    answering = voters.answering,
                    voters = voters.all,
                    waiting,
                    "no quorum: {} of {} voters answer, this node included; writes wait for more",
                    voters.answering,
                    voters.all
                ),
                Finding::QuorumAgain => tracing::info!(
                    answering = voters.answering,
                    voters = voters.all,
                    "a quorum of voters answers again"
                ),
                Finding::Stalled => self.mend(&now, waiting).await,
            }
        }
    }

    /// A leader whose disk is full hands over, and again when nobody took the office.
    async fn step_down(&self, now: &Progress, handed: &mut Option<Instant>) {
        if handed.is_some_and(|at| clock() - at < self.limit) {
            return;
        }
        *handed = Some(clock());
        match heir(now, &self.links, &BTreeSet::new()) {
            Some(heir) => {
                tracing::warn!(heir, "the disk is full: the office is handed over");
                // Fails only when consensus has stopped.
                let _stopped = self.group.transfer_leader(heir).await;
            }
            None => tracing::warn!("the disk is full and no other voter answers: no writes"),
        }
    }

    /// Starts replication anew and hands the office to the best heir.
    async fn mend(&self, now: &Progress, waiting: usize) {
        self.metrics.stalls.inc();
        tracing::error!(
            commit = now.commit,
            waiting,
            "a quorum answers, proposals wait and nothing is committed: replication starts anew, \
             office given up"
        );
        self.links.all().iter().for_each(|link| link.redial());
        self.group.reset_replication(now.voters.iter().copied()).await;
        if let Some(heir) = heir(now, &self.links, &BTreeSet::new()) {
            // Fails only when consensus has stopped.
            let _stopped = self.group.transfer_leader(heir).await;
        }
    }
}

/// The reachable voter whose log is longest, one that is not drained before one that is.
pub(crate) fn heir(progress: &Progress, links: &Links, drained: &BTreeSet<u64>) -> Option<u64> {
    let reachable =
        progress.voters.iter().filter_map(|id| links.get(*id)).filter(|link| link.is_up());
    let rank = |id: &u64| (!drained.contains(id), progress.matched.get(id).copied());
    reachable.map(|link| link.id()).max_by_key(rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Voters = Voters { answering: 3, all: 3 };
    const ALONE: Voters = Voters { answering: 1, all: 3 };

    fn leads() -> Progress {
        Progress { role: Some(Role::Leader), leader: Some(1), commit: 5, ..Progress::default() }
    }

    #[test]
    fn only_a_stalled_leader_is_noticed() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let follows = Progress { role: Some(Role::Follower), ..leads() };
        let moved = Progress { commit: 6, ..leads() };
        let mut watchdog = Watchdog::new(Duration::from_secs(3));
        let mut check = |seconds, progress: &Progress, waiting| {
            watchdog.check(at(seconds), progress, waiting, ALL)
        };
        assert_eq!(check(0, &leads(), 1), Finding::Nothing, "the first look learns the index");
        assert_eq!(check(1, &leads(), 1), Finding::Nothing);
        assert_eq!(check(3, &leads(), 1), Finding::Nothing);
        assert_eq!(check(4, &leads(), 1), Finding::Stalled);
        assert_eq!(check(5, &leads(), 1), Finding::Nothing, "it waits anew after an alarm");
        assert_eq!(check(6, &moved, 1), Finding::Nothing);
        assert_eq!(check(8, &moved, 0), Finding::Nothing);
        assert_eq!(check(20, &follows, 1), Finding::Nothing);
    }

    #[test]
    fn a_missing_quorum_is_told_once_and_is_no_stall() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let leaderless = Progress { role: Some(Role::Candidate), leader: None, ..leads() };
        for stuck in [leads(), leaderless] {
            let mut watchdog = Watchdog::new(Duration::from_secs(3));
            let mut check = |seconds, voters| watchdog.check(at(seconds), &stuck, 1, voters);
            assert_eq!(check(0, ALONE), Finding::Nothing);
            assert_eq!(check(1, ALONE), Finding::Nothing);
            assert_eq!(check(4, ALONE), Finding::NoQuorum);
            for seconds in 5..60 {
                assert_eq!(check(seconds, ALONE), Finding::Nothing, "told once");
            }
            assert_eq!(check(60, Voters { answering: 2, all: 3 }), Finding::QuorumAgain);
            assert_eq!(check(61, ALONE), Finding::Nothing);
            assert_eq!(check(64, ALONE), Finding::NoQuorum, "another loss is told again");
        }
    }

    #[test]
    fn half_of_an_even_number_is_no_quorum() {
        assert!(!Voters { answering: 2, all: 4 }.quorum());
        assert!(Voters { answering: 3, all: 4 }.quorum());
        assert!(Voters { answering: 1, all: 1 }.quorum());
    }
}
