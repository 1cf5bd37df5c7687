//! Whether nodes hold one state: equal hashes at an index that all have reached.

use crate::http::Http;
use anyhow::{Context, bail};
use std::time::{Duration, Instant};

/// Waits until all nodes answer, have applied up to one index and hold the same state hash
/// there; returns it.
///
/// # Errors
/// They do not agree before the deadline, or the hashes at an equal index differ.
pub async fn wait(
    http: &Http,
    urls: &[String],
    patience: Duration,
) -> anyhow::Result<(u64, String)> {
    let until = Instant::now() + patience;
    loop {
        let outcome = compare(http, urls).await;
        match outcome {
            Ok(Some(agreed)) => return Ok(agreed),
            Err(fault) if Instant::now() > until => return Err(fault),
            Ok(None) if Instant::now() > until => bail!("nodes did not catch up in time"),
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn compare(http: &Http, urls: &[String]) -> anyhow::Result<Option<(u64, String)>> {
    let mut lowest = u64::MAX;
    for url in urls {
        let seen = http.get(&format!("{url}/api/v1/cluster")).await?;
        lowest = lowest.min(seen["applied_index"].as_u64().context("applied_index")?);
    }
    let mut hashes = Vec::new();
    for url in urls {
        let seen = http.get(&format!("{url}/api/v1/cluster?index={lowest}")).await?;
        let Some(hash) = seen["at"]["state_hash"].as_str() else { return Ok(None) };
        hashes.push(hash.to_owned());
    }
    if hashes.iter().any(|hash| *hash != hashes[0]) {
        bail!("state hashes differ at index {lowest}: {hashes:?}");
    }
    Ok(Some((lowest, hashes.swap_remove(0))))
}
