//! Follows the cluster's feed of alarms, page by page.
//!
//! Decides nothing. Invariants: a page goes on where the last one ended, whichever node gives it;
//! the loop takes a page before the next is asked for; a reader who was away too long says how
//! many he has missed.

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc;

use crate::cluster::Api;
use crate::config::Cluster;
use crate::engine::Alarm;

/// Pause between two questions when there is nothing new.
const PAUSE: Duration = Duration::from_secs(1);
/// A page.
const PAGE: usize = 1_000;
/// A cluster whose feed stays behind ours for so many questions is another one, such as one that
/// was restored from a backup; a node alone may lag for a moment.
const BEHIND: u32 = 120;

/// What the loop is told.
#[derive(Debug)]
pub struct Fed {
    /// New alarms.
    pub alarms: Vec<Alarm>,
    /// Where the next page begins.
    pub next: u64,
    /// How many are gone that were never read.
    pub missed: u64,
    /// Whether the feed begins here, or anew.
    pub anew: bool,
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Alarm>,
    kept_after: u64,
    last: u64,
    next: u64,
}

/// Starts the task. `place` is where an earlier process ended.
pub fn start(config: &Cluster, place: Option<u64>, fed: mpsc::Sender<Fed>) -> Result<(), String> {
    let api = Api::new(config)?;
    tokio::spawn(run(api, place, fed));
    Ok(())
}

async fn run(api: Api, mut place: Option<u64>, fed: mpsc::Sender<Fed>) {
    let mut behind = 0;
    while !fed.is_closed() {
        let after = place.unwrap_or(0);
        let limit = if place.is_some() { PAGE } else { 1 };
        let page: Page = match api.get(&format!("/api/v1/alarms?after={after}&limit={limit}")).await
        {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(error, "no page of alarms");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        behind = if page.last < after { behind + 1 } else { 0 };
        let (news, full) = match place {
            // Whoever begins now is told of what comes from now on.
            None => (begin(page.last), false),
            Some(_) if behind >= BEHIND => {
                tracing::warn!(after, last = page.last, "the feed of alarms begins anew");
                behind = 0;
                (begin(page.last), false)
            }
            Some(_) => {
                let full = page.items.len() >= PAGE;
                let missed = page.kept_after.saturating_sub(after);
                (Fed { alarms: page.items, next: page.next, missed, anew: false }, full)
            }
        };
        let idle = !full;
        let is_news = news.anew || !news.alarms.is_empty() || news.next != after;
        place = Some(news.next);
        if is_news && fed.send(news).await.is_err() {
            return;
        }
        if idle {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn begin(last: u64) -> Fed {
    Fed { alarms: Vec::new(), next: last, missed: 0, anew: true }
}
