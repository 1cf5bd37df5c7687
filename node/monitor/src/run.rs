//! The process: one loop owns the engine, the window and the journal.
//!
//! Each turn takes what has come, lets the engine decide, makes the decisions durable, and only
//! then answers and sends. Not the decisions. Invariants: nothing that a turn decided leaves
//! before its writes are synced, unless the disk has failed: then it leaves all the same, since a
//! doubled alarm is better than none, and `/readyz`, metrics and an alarm say so.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use crate::channels::{Channels, News};
use crate::config::{Channel, Config};
use crate::engine::{Engine, Outcome};
use crate::expr::Expr;
use crate::http::{self, Ask, Reply, Server, Shared};
use crate::journal::{self, Journal};
use crate::metrics::Metrics;
use crate::scrape::{self, Scraped};
use crate::window::Window;

/// Pause between two turns when nothing comes.
const TURN: Duration = Duration::from_millis(500);
/// The most that one turn takes in.
const MAX_EVENTS: usize = 256;
/// Bounds of the queues into the loop.
const QUEUE: usize = 256;

/// Why the monitor does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The memory on disk.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The address cannot be listened at.
    #[error("http.listen = {0}: {1}")]
    Listen(std::net::SocketAddr, std::io::Error),
    /// Something of the configuration that shows only in use.
    #[error("{0}")]
    Unusable(String),
}

/// Unix milliseconds.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

enum Event {
    Scraped(Scraped),
    News(News),
    Ask(Ask),
    Time,
    Stop,
}

struct Loop {
    engine: Engine,
    window: Window,
    journal: Journal,
    channels: Channels,
    metrics: Metrics,
    turned: Arc<AtomicI64>,
    durable: Arc<AtomicBool>,
    last_tick: i64,
}

struct Inputs {
    scraped: mpsc::Receiver<Scraped>,
    news: mpsc::Receiver<News>,
    asks: mpsc::Receiver<Ask>,
}

/// Runs the monitor until `stop` is done. `listening` is told the HTTP address.
pub async fn run(
    config: Config,
    listening: impl FnOnce(std::net::SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let config = Arc::new(config);
    let now = now_ms();
    let journal = Journal::open(&config.state_dir)?;
    let mut engine = Engine::new(config.clone(), Box::new(random), now).map_err(Error::Unusable)?;
    for key in engine.restore(journal.records(), now) {
        tracing::error!(key, "a record of an earlier run cannot be read and is passed over");
    }
    for channel in &config.channels {
        if matches!(channel, Channel::Modem(_)) {
            engine.set_trouble(channel.name(), Some("it is being prepared".into()), now);
        }
    }
    let metrics = Metrics::new().map_err(|error| Error::Unusable(error.to_string()))?;
    let (news, news_taken) = mpsc::channel(QUEUE);
    let (scraped, scraped_taken) = mpsc::channel(QUEUE);
    let (asks, asks_taken) = mpsc::channel(QUEUE);
    let channels = Channels::start(&config, news).map_err(Error::Unusable)?;
    scrape::start(&config, metrics_of(&config), &scraped).map_err(Error::Unusable)?;
    let turned = Arc::new(AtomicI64::new(now));
    let durable = Arc::new(AtomicBool::new(true));
    let shared = Shared {
        config: config.clone(),
        asks,
        metrics: metrics.clone(),
        turned: turned.clone(),
        durable: durable.clone(),
    };
    let address = config.http.listen;
    let server = Server::start(address, http::router(shared)).await;
    let server = server.map_err(|error| Error::Listen(address, error))?;
    listening(server.address);
    let window = Window::new(config.scrape.window.millis());
    let inputs = Inputs { scraped: scraped_taken, news: news_taken, asks: asks_taken };
    let turning =
        Loop { engine, window, journal, channels, metrics, turned, durable, last_tick: 0 };
    turning.run(inputs, stop).await;
    drop(scraped);
    Ok(())
}

fn random(octets: &mut [u8]) {
    // Without random octets no token is unguessable: codes of zeros would be worse than a stop.
    getrandom::fill(octets).expect("the operating system gives random octets");
}

fn metrics_of(config: &Config) -> BTreeSet<String> {
    let rules = config.rules.iter().filter_map(|rule| Expr::parse(&rule.expr).ok());
    rules.flat_map(|expr| expr.metrics()).collect()
}

impl Loop {
    async fn run(mut self, mut inputs: Inputs, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let first = tokio::select! {
                () = &mut stop => Event::Stop,
                Some(scraped) = inputs.scraped.recv() => Event::Scraped(scraped),
                Some(news) = inputs.news.recv() => Event::News(news),
                Some(ask) = inputs.asks.recv() => Event::Ask(ask),
                () = tokio::time::sleep(TURN) => Event::Time,
            };
            if matches!(first, Event::Stop) {
                return;
            }
            let mut events = vec![first];
            while events.len() < MAX_EVENTS
                && let Some(event) = inputs.waiting()
            {
                events.push(event);
            }
            tokio::task::block_in_place(|| self.turn(events, now_ms()));
        }
    }

    /// One turn: events in, decisions, durable, out.
    fn turn(&mut self, events: Vec<Event>, now: i64) {
        let mut replies: Vec<Reply> = Vec::new();
        for event in events {
            match event {
                Event::Scraped(scraped) => self.on_scraped(scraped, now),
                Event::News(news) => self.on_news(news, now),
                Event::Ask(ask) => replies.push(ask(&mut self.engine, now)),
                Event::Time | Event::Stop => {}
            }
        }
        self.engine.tick(now);
        let jobs = self.engine.take_jobs(now);
        let durable = self.commit();
        replies.into_iter().for_each(|reply| reply(durable));
        jobs.into_iter().for_each(|job| self.channels.give(job));
        if now - self.last_tick >= 1000 || now < self.last_tick {
            self.last_tick = now;
            self.metrics.set(&self.engine, self.journal.len_bytes(), now);
        }
        self.turned.store(now, Ordering::Relaxed);
    }

    fn commit(&mut self) -> bool {
        let committed = self.journal.commit(self.engine.take_writes());
        let durable = committed.is_ok();
        if self.durable.swap(durable, Ordering::Relaxed) != durable {
            match &committed {
                Err(error) => tracing::error!(%error, "what is decided is not durable"),
                Ok(()) => tracing::info!("what is decided is durable again"),
            }
        }
        self.metrics.journal_failed.set(i64::from(!durable));
        self.engine.set_memory_fault(committed.err().map(|error| error.to_string()));
        durable
    }

    fn on_scraped(&mut self, scraped: Scraped, now: i64) {
        let node = scraped.node.as_str();
        let result = if scraped.page.is_ok() { "ok" } else { "failed" };
        self.metrics.scrapes.with_label_values(&[node, result]).inc();
        self.metrics.scrape_seconds.with_label_values(&[node]).set(scraped.took.as_secs_f64());
        self.metrics.node_up.with_label_values(&[node]).set(i64::from(scraped.page.is_ok()));
        match scraped.page {
            Ok(samples) => self.window.put(node, now, samples),
            Err(error) => {
                tracing::debug!(node, error, "a page did not come");
                self.window.lost(node, now);
            }
        }
        self.engine.observe_rules(&self.window, now);
        self.metrics.evaluations.inc();
        self.metrics.evaluated.set(now as f64 / 1000.0);
    }

    fn on_news(&mut self, news: News, now: i64) {
        match news {
            News::Settled(id, outcome) => {
                let result = match &outcome {
                    Outcome::Sent(_) => "sent",
                    Outcome::Again(_) => "again",
                    Outcome::Never(_) => "never",
                    Outcome::Unknown(_) => "unknown",
                };
                let message = self.engine.messages().find(|one| one.id == id);
                let path = message.and_then(|one| one.current());
                let channel = path.map(|path| path.channel.clone()).unwrap_or_default();
                if let Outcome::Again(error) | Outcome::Never(error) | Outcome::Unknown(error) =
                    &outcome
                {
                    tracing::warn!(id, channel, error, "a message was not handed over");
                }
                self.metrics.deliveries.with_label_values(&[&channel, result]).inc();
                self.engine.settle(id, outcome, now);
            }
            News::Modem { channel, trouble, signal_dbm, resets } => {
                let signal = i64::from(signal_dbm.unwrap_or(0));
                self.metrics.modem_signal.with_label_values(&[&channel]).set(signal);
                let resets = i64::try_from(resets).unwrap_or(i64::MAX);
                self.metrics.modem_resets.with_label_values(&[&channel]).set(resets);
                self.engine.set_trouble(&channel, trouble, now);
            }
            News::Answer { channel, from, text } => {
                let taken = self.engine.answer(&from, &text);
                let result = if taken.is_some() { "acknowledged" } else { "ignored" };
                self.metrics.answers.with_label_values(&[result]).inc();
                tracing::info!(channel, incident = taken, result, "a message came in");
            }
            News::Report { channel, report } => {
                self.engine.report(&channel, report.reference, &report.to, report.status, now);
            }
        }
    }
}

impl Inputs {
    /// What has come and waits.
    fn waiting(&mut self) -> Option<Event> {
        if let Ok(news) = self.news.try_recv() {
            return Some(Event::News(news));
        }
        if let Ok(scraped) = self.scraped.try_recv() {
            return Some(Event::Scraped(scraped));
        }
        self.asks.try_recv().ok().map(Event::Ask)
    }
}
