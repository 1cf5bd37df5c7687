//! Sealed values compared with those of the peers, by content; whoever is alone is wrong.
//!
//! Equal logs make equal contents, so a difference is a fault of a machine (memory, a disk that
//! lied before the file was hashed) or of this program. It is told, counted, and healed when more
//! nodes have the other content than have ours.
//!
//! Not here: files that are not what they were sealed as (`storage::segment` finds these by their
//! hash), the fetching (`crate::heal`).
//! Invariant: with no majority against it a file stays as it is.

use std::{collections::BTreeMap, time::Duration};

use storage::{
    Segments,
    segment::{Place, Sealed},
};
use tokio::sync::watch;

use crate::{
    heal,
    metrics::Metrics,
    rt::{blocking, sleep, unless},
    transport::Links,
};

/// Compares now and then.
pub(crate) struct Comparer {
    pub segments: Segments,
    pub links: Links,
    pub metrics: Metrics,
    pub every: Duration,
}

impl Comparer {
    /// Runs until this node begins to stop.
    pub async fn run(self, mut leaving: watch::Receiver<bool>) {
        let look = async {
            loop {
                sleep(self.every).await;
                self.pass().await;
            }
        };
        unless(leaving.wait_for(|leaving| *leaving), look).await;
    }

    async fn pass(&self) {
        let mut theirs = Vec::new();
        for link in self.links.all().iter().filter(|link| link.is_up()) {
            match heal::digest_of(link).await {
                Ok(lines) => theirs.push(lines),
                Err(error) => tracing::info!(peer = link.id(), %error, "not compared"),
            }
        }
        let segments = self.segments.clone();
        let judge = move || {
            let differing = differing(segments.digest().sealed, &theirs);
            for one in &differing {
                tracing::error!(
                    code = "segments_differ",
                    place = ?one.ours.place(),
                    ours = hex(&one.ours.content_hash),
                    theirs = ?one.outvoted.map(|hash| hex(&hash)),
                    "equal logs made unequal contents; a majority against ours is fetched"
                );
                if let Some(right) = one.outvoted {
                    segments.distrust(&one.ours, right);
                }
            }
            differing.len()
        };
        if let Ok(count) = blocking(judge).await {
            self.metrics.segments_differing.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

fn hex(hash: &[u8; 32]) -> String {
    hash.iter().take(8).map(|octet| format!("{octet:02x}")).collect()
}

/// A file of ours that some peer has otherwise.
#[derive(Debug, PartialEq, Eq)]
struct Differing {
    ours: Sealed,
    /// The content that more nodes have than have ours.
    outvoted: Option<[u8; 32]>,
}

fn differing(ours: Vec<Sealed>, theirs: &[Vec<Sealed>]) -> Vec<Differing> {
    let mut votes: BTreeMap<Place, BTreeMap<[u8; 32], usize>> = BTreeMap::new();
    for line in theirs.iter().flatten().chain(&ours) {
        *votes.entry(line.place()).or_default().entry(line.content_hash).or_default() += 1;
    }
    let judge = |ours: Sealed| {
        let hashes = votes.get(&ours.place()).filter(|hashes| hashes.len() > 1)?;
        let for_ours = hashes.get(&ours.content_hash).copied().unwrap_or(0);
        let most = hashes.iter().max_by_key(|(_, count)| **count);
        let outvoted = most.filter(|(_, count)| **count > for_ours).map(|(hash, _)| *hash);
        Some(Differing { ours, outvoted })
    };
    ours.into_iter().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use storage::segment::DayKey;

    use super::{Differing, Sealed, differing};

    fn line(day: i32, content: u8) -> Sealed {
        let key = DayKey { interval_minutes: 15, shard: 0, day };
        Sealed { key, level: 1, index: 7, days: 1, rows: 3, content_hash: [content; 32] }
    }

    #[test]
    fn whoever_is_alone_is_wrong() {
        let ours = || vec![line(1, 1), line(2, 2), line(3, 3)];
        let differs = |day, content, outvoted: Option<u8>| Differing {
            ours: line(day, content),
            outvoted: outvoted.map(|octet| [octet; 32]),
        };
        for (what, theirs, expect) in [
            ("equal", vec![ours(), ours()], vec![]),
            ("a peer that is behind is no vote", vec![vec![], vec![line(9, 9)]], vec![]),
            ("one against one", vec![vec![line(2, 8)]], vec![differs(2, 2, None)]),
            ("two against us", vec![vec![line(2, 8)]; 2], vec![differs(2, 2, Some(8))]),
            ("two with us", vec![vec![line(2, 8)], vec![line(2, 2)]], vec![differs(2, 2, None)]),
            ("all differ", vec![vec![line(2, 8)], vec![line(2, 9)]], vec![differs(2, 2, None)]),
        ] {
            assert_eq!(differing(ours(), &theirs), expect, "{what}");
        }
    }
}
