//! Reads the pages of the nodes, one task a node.
//!
//! Decides nothing. Invariants: a page is asked for once an interval, however long the last one
//! took; a page that is too large, late, broken or not 200 counts as none.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::config::{Config, Node, Scrape};
use crate::exposition::{Sample, parse};
use crate::web::Client;

/// A node's page, or why there is none.
#[derive(Debug)]
pub struct Scraped {
    /// The node.
    pub node: String,
    /// The samples that rules name, or the fault.
    pub page: Result<Vec<Sample>, String>,
    /// How long it took.
    pub took: Duration,
}

/// Starts a task for every node. `metrics` are those that are read from now on.
pub fn start(
    config: &Config,
    metrics: &watch::Receiver<BTreeSet<String>>,
    news: &mpsc::Sender<Scraped>,
) -> Result<(), String> {
    for node in &config.nodes {
        let client = Client::new(node.ca_file.as_deref())
            .map_err(|error| format!("node \"{}\": {error}", node.name))?;
        let task = run(node.clone(), config.scrape.clone(), client, metrics.clone(), news.clone());
        tokio::spawn(task);
    }
    Ok(())
}

async fn run(
    node: Node,
    scrape: Scrape,
    client: Client,
    metrics: watch::Receiver<BTreeSet<String>>,
    news: mpsc::Sender<Scraped>,
) {
    let mut ticks = tokio::time::interval(scrape.interval.0);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let begun = Instant::now();
        let wanted = metrics.borrow().clone();
        let page = read(&node, &scrape, &client, &wanted).await;
        let scraped = Scraped { node: node.name.clone(), page, took: begun.elapsed() };
        if news.send(scraped).await.is_err() {
            return;
        }
    }
}

async fn read(
    node: &Node,
    scrape: &Scrape,
    client: &Client,
    metrics: &BTreeSet<String>,
) -> Result<Vec<Sample>, String> {
    let answer =
        client.get(&node.url, node.token.as_ref(), scrape.timeout.0, scrape.max_bytes).await;
    let (status, body) = answer.map_err(|error| error.to_string())?;
    if status != 200 {
        return Err(format!("status {status}"));
    }
    let text = std::str::from_utf8(&body).map_err(|error| error.to_string())?;
    parse(text, |name| metrics.contains(name)).map_err(|error| error.to_string())
}
