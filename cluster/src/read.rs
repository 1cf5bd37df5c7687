//! The road out of the log: reads that see everything acknowledged before they began.
//!
//! Not here: the tables (`view`).
//! Invariant: the index waited for was confirmed by a quorum after the read began.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    error::Unavailable,
    raft::{Applied, Group, Leadership, NotServed},
    rt::{Instant, now, timeout, timeout_at},
    transport::{Kind, Links},
};

/// Pause before the leader is asked again.
const PAUSE: Duration = Duration::from_millis(10);

/// Longest single question to the leader.
const ATTEMPT: Duration = Duration::from_secs(1);

/// Finds read indexes.
pub(crate) struct Reader {
    node: u64,
    group: Group,
    links: Links,
    leadership: watch::Receiver<Leadership>,
    applied: Arc<Applied>,
}

impl Reader {
    pub fn new(
        node: u64,
        group: Group,
        links: Links,
        leadership: watch::Receiver<Leadership>,
        applied: Arc<Applied>,
    ) -> Self {
        Self { node, group, links, leadership, applied }
    }

    /// Waits until everything acknowledged before the call is applied here; answers the index.
    pub async fn settle(&self, deadline: Duration) -> Result<u64, Unavailable> {
        let deadline = now() + deadline;
        // Not the progress: that moves with every question, and a leader that hands over refuses
        // at once, so questions would call each other without a pause.
        let mut leadership = self.leadership.clone();
        while now() < deadline {
            if let Some(fault) = self.applied.fault() {
                return Err(Unavailable::Halted(fault));
            }
            let (leader, _term) = *leadership.borrow_and_update();
            if let Some(index) = self.ask(leader, deadline).await {
                let reached = timeout_at(deadline, self.applied.reached(index)).await;
                return reached.map(|()| index).map_err(|_| Unavailable::Deadline);
            }
            let news = leadership.changed();
            if let Ok(Err(_)) = timeout(PAUSE, news).await {
                return Err(Unavailable::Stopping);
            }
        }
        Err(Unavailable::NoLeader)
    }

    async fn ask(&self, leader: Option<u64>, deadline: Instant) -> Option<u64> {
        let leader = leader?;
        let rest = deadline.saturating_duration_since(now()).min(ATTEMPT);
        if leader == self.node {
            return timeout(rest, self.group.read_index()).await.ok()?.ok();
        }
        let answer = self.links.get(leader)?.call(Kind::ReadIndex, &[], rest).await.ok()?;
        Some(u64::from_be_bytes(answer.as_ref().try_into().ok()?))
    }

    /// Answers a peer's question for the read index; `None` when this node does not lead.
    pub async fn answer(&self) -> Option<Bytes> {
        match timeout(ATTEMPT, self.group.read_index()).await {
            Ok(Ok(index)) => Some(Bytes::copy_from_slice(&index.to_be_bytes())),
            Ok(Err(NotServed::Stopped(why))) => {
                tracing::debug!(why, "consensus does not serve a read");
                None
            }
            Ok(Err(NotServed::NotLeader | NotServed::NoQuorum)) | Err(_) => None,
        }
    }
}
