//! Failures inflicted on a running demo, and what is measured while it recovers.

use crate::demo::{Demo, Signal, signal};
use crate::journal::{Journal, Verdict};
use crate::probe::Probe;
use crate::stats::Distribution;
use std::time::{Duration, Instant};

/// The customer's limit for a lost leader.
pub const CUSTOMER_LIMIT: Duration = Duration::from_secs(30);

/// What a series of leader kills measured.
#[derive(Debug, Default)]
pub struct LeaderKills {
    /// From SIGKILL to the next accepted write.
    pub first_write: Distribution,
    /// From SIGKILL until the killed node is back and all nodes hold one state hash at one index.
    pub all_equal: Distribution,
}

/// Kills the leader's process `rounds` times while collection runs; each round ends when the demo
/// has started the node again and it has caught up. `tell` is called with a line per round.
///
/// # Errors
/// A round exceeds the customer's limit, or the nodes do not come together again within 60 s.
pub async fn kill_leaders(
    demo: &Demo,
    rounds: u32,
    mut tell: impl FnMut(String),
) -> anyhow::Result<LeaderKills> {
    let probe = Probe::new(&demo.http, 1);
    let mut measured = LeaderKills::default();
    for round in 1..=rounds {
        let leader = demo.wait_leader(Duration::from_secs(120)).await?;
        let alive = demo.nodes.iter().filter(|(name, _)| *name != leader);
        let alive: Vec<String> = alive.map(|(_, url)| url.clone()).collect();
        let before = demo.pid(&leader)?;
        let killed = Instant::now();
        signal(before, Signal::Kill)?;
        let accepted = probe.until_accepted(&alive, &format!("r{round}"), CUSTOMER_LIMIT).await?;
        measured.first_write.add(accepted);
        demo.wait_equal(Duration::from_secs(120)).await?;
        measured.all_equal.add(killed.elapsed());
        tell(format!(
            "round {round:3}: {leader} killed, next write after {} ms, all nodes equal after {} ms",
            accepted.as_millis(),
            killed.elapsed().as_millis()
        ));
    }
    Ok(measured)
}

/// Holds everything that the field saw acknowledged against every node of a demo.
///
/// # Errors
/// The journal cannot be read or a node does not answer.
pub async fn nothing_lost(demo: &Demo) -> anyhow::Result<Vec<(String, Verdict)>> {
    // The journal first: what is acknowledged while we read is not asked for.
    let journal = Journal::read(&demo.journal())?;
    demo.wait_equal(Duration::from_secs(120)).await?;
    let mut verdicts = Vec::new();
    for (name, url) in &demo.nodes {
        verdicts.push((name.clone(), journal.compare(&demo.http, url).await?));
    }
    Ok(verdicts)
}
