//! Carries what monitors share: from the cluster to the loop, and from the loop to the cluster.
//!
//! One task. Decides nothing (see `engine::shared`). Invariants: pages go on where the last ended;
//! when the cluster has forgotten removals since then, or is another, everything is read anew; at
//! most one request of ours is under way; every request has a deadline.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::cluster::{Answer, Api};
use crate::config::Cluster;
use crate::engine::Share;

/// How often it is looked.
const STEP: Duration = Duration::from_secs(1);
/// The most items of one request.
pub const MAX_ITEMS: usize = 50;

/// What the loop is told.
#[derive(Debug)]
pub enum Told {
    /// A page of what the cluster holds.
    Page {
        /// Names and what they are.
        shares: Vec<Share>,
        /// Up to where it goes.
        place: u64,
        /// All names that there are, after everything was read anew.
        only: Option<BTreeSet<String>>,
    },
    /// What became of items that were to be sent.
    Sent {
        /// Those.
        shares: Vec<Share>,
        /// Whether the cluster answered; otherwise they are sent again.
        answered: bool,
        /// Why it refused them.
        refused: Option<String>,
    },
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Item>,
    last: u64,
    forgotten: u64,
    more: bool,
}

#[derive(Debug, Deserialize)]
struct Item {
    place: u64,
    name: String,
    value: Option<String>,
}

struct Task {
    api: Api,
    place: u64,
    told: mpsc::Sender<Told>,
}

/// Starts the task; gives where the loop hands over what is to be sent.
pub fn start(
    config: &Cluster,
    place: u64,
    told: mpsc::Sender<Told>,
) -> Result<mpsc::Sender<Vec<Share>>, String> {
    let (wishes, wished) = mpsc::channel(1);
    let task = Task { api: Api::new(config)?, place, told };
    tokio::spawn(task.run(wished));
    Ok(wishes)
}

impl Task {
    async fn run(mut self, mut wished: mpsc::Receiver<Vec<Share>>) {
        let mut steps = tokio::time::interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                _ = steps.tick() => self.look().await,
                wish = wished.recv() => match wish {
                    Some(shares) => self.send(shares).await,
                    None => return,
                },
            };
            // The loop is gone.
            if done.is_none() {
                return;
            }
        }
    }

    /// None when the loop is gone.
    async fn look(&mut self) -> Option<()> {
        let mut all = (self.place == 0).then(BTreeSet::new);
        loop {
            let path = format!("/api/v1/monitor/shared?after={}", self.place);
            let page: Page = match self.api.get(&path).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(error, "nobody said what is shared");
                    // A reading from the beginning that was cut off begins again.
                    if all.is_some() {
                        self.place = 0;
                    }
                    return Some(());
                }
            };
            let behind = page.forgotten > self.place || page.last < self.place;
            if behind && all.is_none() {
                tracing::info!(place = self.place, "what is shared is read anew");
                self.place = 0;
                all = Some(BTreeSet::new());
                continue;
            }
            let before = self.place;
            self.place = page.items.iter().map(|one| one.place).fold(self.place, u64::max);
            if let Some(all) = &mut all {
                let there = page.items.iter().filter(|one| one.value.is_some());
                all.extend(there.map(|one| one.name.clone()));
            }
            let only = if page.more { None } else { all.take() };
            if self.place != before || only.is_some() {
                let shares = page.items.into_iter().map(|one| (one.name, one.value)).collect();
                let place = self.place;
                self.told.send(Told::Page { shares, place, only }).await.ok()?;
            }
            if !page.more {
                return Some(());
            }
        }
    }

    async fn send(&mut self, shares: Vec<Share>) -> Option<()> {
        let items = shares.iter().map(|(name, value)| json!({"name": name, "value": value}));
        let body = json!({"items": items.collect::<Vec<_>>()});
        let (answered, refused) = match self.api.post("/api/v1/monitor/shared", &body).await {
            Ok(Answer::Yes(_)) => (true, None),
            Ok(Answer::No(code)) => {
                tracing::error!(code, "the cluster refused what is to be shared");
                (true, Some(code))
            }
            Err(error) => {
                tracing::debug!(error, "what is to be shared could not be sent");
                tokio::time::sleep(STEP).await;
                (false, None)
            }
        };
        self.told.send(Told::Sent { shares, answered, refused }).await.ok()
    }
}
