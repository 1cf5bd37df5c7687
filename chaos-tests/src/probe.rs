//! A client that writes all the time, as a vending clerk's terminal would, and tells how long
//! nobody could be served.
//!
//! The write is a registration that is in place already: it goes through the log like any other
//! and changes nothing, so a round leaves no trace in the registry.

use crate::http::Http;
use anyhow::bail;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often a new write is sent to every node.
const PACE: Duration = Duration::from_millis(20);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The probing client of one cluster.
pub struct Probe {
    http: Http,
    body: Value,
}

impl Probe {
    /// A probe; `number` tells probes of one cluster apart.
    pub fn new(http: &Http, number: u8) -> Self {
        let body = json!({
            "id": format!("PROBE{number:03}"),
            "system_title": format!("50524f42450000{number:02x}"),
            "name": "failover probe",
        });
        Self { http: http.clone(), body }
    }

    /// One write at one node: true when it was accepted, that is committed on a quorum and
    /// applied.
    pub async fn write(&self, url: &str, key: &str, patience: Duration) -> bool {
        let url = format!("{url}/api/v1/concentrators");
        let answer =
            self.http.send(Method::POST, &url, Some(&self.body), Some(key), patience).await;
        matches!(answer, Ok(answer) if answer.status == 201)
    }

    /// The time from now until a write that began after now is accepted by one of the nodes. A
    /// new write is sent to every node each 20 ms and given 3 s, as many clients would; the
    /// first answer counts.
    ///
    /// # Errors
    /// No node accepts a write within `limit`.
    pub async fn until_accepted(
        &self,
        urls: &[String],
        round: &str,
        limit: Duration,
    ) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let mut under_way = FuturesUnordered::new();
        let mut tick = tokio::time::interval(PACE);
        let mut attempts: u64 = 0;
        while began.elapsed() < limit {
            tokio::select! {
                Some(accepted) = under_way.next(), if !under_way.is_empty() => {
                    if accepted {
                        return Ok(began.elapsed());
                    }
                }
                _ = tick.tick() => {
                    attempts += 1;
                    for (node, url) in urls.iter().enumerate() {
                        let key = format!("{round}-{attempts}-{node}");
                        under_way.push(async move { self.write(url, &key, PATIENCE).await });
                    }
                }
            }
        }
        bail!("no write accepted within {limit:?}, {attempts} attempts")
    }
}
