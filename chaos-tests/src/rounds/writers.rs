//! Clients that write numbers and read them back all the time, at every node in turn.
//!
//! Invariant: a number that no node acknowledged in time is tried again at the next one under its
//! number, as a client would, so that what was done twice is seen in the state.

use crate::http::Http;
use anyhow::bail;
use hyper::Method;
use serde_json::json;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

const CLIENTS: u32 = 3;
const PACE: Duration = Duration::from_millis(15);
const PATIENCE: Duration = Duration::from_secs(4);

/// What was seen.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Numbers that some node acknowledged.
    pub acknowledged: Vec<u32>,
    /// Numbers that were acknowledged before a read began that did not find them.
    pub stale: Vec<u32>,
    /// Reads that found theirs.
    pub read: usize,
}

/// The clients of a round.
pub struct Writers {
    seen: Arc<Mutex<Seen>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writers {
    /// Begins: numbers of a book, every client its own.
    pub fn start(http: &Http, urls: &[String], book: u64) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let probes = urls.iter().map(|url| format!("{url}/api/v1/drills/{book}/probes"));
        let probes: Vec<String> = probes.collect();
        for number in 0..CLIENTS {
            let (http, urls, seen) = (http.clone(), probes.clone(), seen.clone());
            let client = Client { http, urls, seen, stopped: stopped.clone() };
            tasks.spawn(client.run(number));
        }
        Self { seen, stop, tasks }
    }

    /// Waits until ten more writes than now are acknowledged.
    ///
    /// # Errors
    /// They are not in time.
    pub async fn wait_for_more(&self, patience: Duration) -> anyhow::Result<()> {
        let (wanted, until) =
            (locked(&self.seen).acknowledged.len() + 10, Instant::now() + patience);
        while locked(&self.seen).acknowledged.len() < wanted {
            if Instant::now() > until {
                bail!("writes are not accepted again within {patience:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Lets the writes under way end and gives everything that was seen.
    pub async fn stop(mut self) -> Seen {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        locked(&self.seen).clone()
    }
}

struct Client {
    http: Http,
    urls: Vec<String>,
    seen: Arc<Mutex<Seen>>,
    stopped: watch::Receiver<bool>,
}

impl Client {
    async fn run(self, first: u32) {
        let mut number = first;
        while !*self.stopped.borrow() {
            if self.write(number).await {
                locked(&self.seen).acknowledged.push(number);
                self.read(number).await;
            }
            number += CLIENTS;
            tokio::time::sleep(PACE).await;
        }
    }

    /// The node of a number's try.
    fn url(&self, number: u32, attempt: usize) -> &str {
        let place = usize::try_from(number).unwrap_or(0) + attempt;
        &self.urls[place % self.urls.len()]
    }

    /// True when some node acknowledged it.
    async fn write(&self, number: u32) -> bool {
        let body = json!({ "number": number });
        for attempt in 0..self.urls.len() {
            let url = self.url(number, attempt);
            let sent = self.http.send(Method::POST, url, Some(&body), None, PATIENCE);
            if sent.await.is_ok_and(|answer| answer.status == 201) {
                return true;
            }
        }
        false
    }

    /// Reads it back at the node behind the one that took it.
    async fn read(&self, number: u32) {
        let url = format!("{}/{number}", self.url(number, 1));
        let Ok(answer) = self.http.send(Method::GET, &url, None, None, PATIENCE).await else {
            return;
        };
        let Ok(told) = answer.json() else { return };
        let mut seen = locked(&self.seen);
        match told["applied"].as_bool() {
            Some(true) => seen.read += 1,
            Some(false) => seen.stale.push(number),
            // No quorum just now, or no answer that says.
            None => {}
        }
    }
}
