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

use tokio::sync::{mpsc, watch};

use crate::channels::{Channels, News};
use crate::config::{Channel, Config};
use crate::election::{self, Election, Said};
use crate::engine::{Engine, Job, Outcome, Share};
use crate::feed::{self, Fed};
use crate::http::{self, Ask, Reply, Server, Sessions, Shared};
use crate::journal::{self, Journal};
use crate::metrics::Metrics;
use crate::scrape::{self, Scraped};
use crate::shared::{self, Told};
use crate::ups::{self, Seen};
use crate::window::Window;

/// Pause between two turns when nothing comes.
const TURN: Duration = Duration::from_millis(500);
/// The most that one turn takes in.
const MAX_EVENTS: usize = 256;
/// Bounds of the queues into the loop.
const QUEUE: usize = 256;
/// Pages of alarms that wait.
const FED: usize = 2;
/// How long giving the lease up may take.
const GIVING_UP: Duration = Duration::from_secs(5);

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
    Said(Said),
    Fed(Fed),
    Ups(Seen),
    Shared(Told),
    Time,
    Stop,
}

struct Loop {
    engine: Engine,
    window: Window,
    journal: Journal,
    channels: Channels,
    election: Option<Election>,
    metrics: Metrics,
    wanted: (u64, watch::Sender<BTreeSet<String>>),
    sharing: Option<mpsc::Sender<Vec<Share>>>,
    /// Whether something of ours is on its way to the cluster.
    shares: bool,
    turned: Arc<AtomicI64>,
    durable: Arc<AtomicBool>,
    changed: watch::Sender<u64>,
    last_tick: i64,
}

struct Inputs {
    scraped: mpsc::Receiver<Scraped>,
    news: mpsc::Receiver<News>,
    asks: mpsc::Receiver<Ask>,
    said: mpsc::Receiver<Said>,
    fed: mpsc::Receiver<Fed>,
    seen: mpsc::Receiver<Seen>,
    shared: mpsc::Receiver<Told>,
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
    let (wanted, wants) = watch::channel(engine.wanted_metrics());
    let revision = engine.metrics_revision();
    scrape::start(&config, &wants, &scraped).map_err(Error::Unusable)?;
    let (told, shared_taken) = mpsc::channel(FED);
    let sharing = match &config.cluster {
        Some(cluster) => {
            let started = shared::start(cluster, engine.shared_place(), told);
            Some(started.map_err(Error::Unusable)?)
        }
        None => None,
    };
    let (seen, seen_taken) = mpsc::channel(QUEUE);
    ups::start(&config.upses, &seen).map_err(Error::Unusable)?;
    let (said, said_taken) = mpsc::channel(QUEUE);
    let (fed, fed_taken) = mpsc::channel(FED);
    let election = match &config.cluster {
        Some(cluster) => {
            let number = election::instance(&config.state_dir, random)
                .map_err(|error| Error::Unusable(format!("state_dir: {error}")))?;
            feed::start(cluster, engine.feed_place(), fed).map_err(Error::Unusable)?;
            let started = Election::start(cluster, &config.name, number, said);
            Some(started.map_err(Error::Unusable)?)
        }
        None => None,
    };
    let turned = Arc::new(AtomicI64::new(now));
    let durable = Arc::new(AtomicBool::new(true));
    let (changed, changes) = watch::channel(0);
    let shared = Shared {
        config: config.clone(),
        asks,
        metrics: metrics.clone(),
        turned: turned.clone(),
        durable: durable.clone(),
        changed: changes,
        sessions: Sessions::default(),
    };
    let address = config.http.listen;
    let server = Server::start(address, http::router(shared)).await;
    let server = server.map_err(|error| Error::Listen(address, error))?;
    listening(server.address);
    let window = Window::new(config.scrape.window.millis());
    let inputs = Inputs {
        scraped: scraped_taken,
        news: news_taken,
        asks: asks_taken,
        said: said_taken,
        fed: fed_taken,
        seen: seen_taken,
        shared: shared_taken,
    };
    let last_tick = 0;
    let turning = Loop {
        engine,
        window,
        journal,
        channels,
        election,
        metrics,
        wanted: (revision, wanted),
        sharing,
        shares: false,
        turned,
        durable,
        changed,
        last_tick,
    };
    turning.run(inputs, stop).await;
    drop((scraped, seen));
    Ok(())
}

fn random(octets: &mut [u8]) {
    // Without random octets no token is unguessable: codes of zeros would be worse than a stop.
    getrandom::fill(octets).expect("the operating system gives random octets");
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
                Some(said) = inputs.said.recv() => Event::Said(said),
                Some(fed) = inputs.fed.recv() => Event::Fed(fed),
                Some(seen) = inputs.seen.recv() => Event::Ups(seen),
                Some(told) = inputs.shared.recv() => Event::Shared(told),
                () = tokio::time::sleep(TURN) => Event::Time,
            };
            if matches!(first, Event::Stop) {
                return self.stop().await;
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
        let mut go = Vec::new();
        for event in events {
            match event {
                Event::Scraped(scraped) => self.on_scraped(scraped, now),
                Event::News(news) => self.on_news(news, now),
                Event::Ask(ask) => replies.push(ask(&mut self.engine, &self.window, now)),
                Event::Said(said) => self.on_said(said, now, &mut go),
                Event::Fed(fed) => self.on_fed(fed, now),
                Event::Ups(seen) => self.on_ups(&seen, now),
                Event::Shared(told) => self.on_shared(told, now),
                Event::Time | Event::Stop => {}
            }
        }
        self.engine.tick(now);
        let jobs = self.engine.take_jobs(now);
        let durable = self.commit();
        replies.into_iter().for_each(|reply| reply(durable));
        go.into_iter().for_each(|job| self.channels.give(job));
        for job in jobs {
            self.let_go(job, now);
        }
        if let Some(election) = &self.election {
            election.told(self.engine.take_notes());
        }
        self.pass_on();
        if now - self.last_tick >= 1000 || now < self.last_tick {
            self.last_tick = now;
            self.metrics.set(&self.engine, self.journal.len_bytes(), now);
        }
        self.turned.store(now, Ordering::Relaxed);
    }

    /// A message leaves at once, or after the cluster has noted that it is about to.
    fn let_go(&mut self, job: Job, now: i64) {
        match &self.election {
            Some(election) if !job.mark.is_empty() => {
                let id = job.id;
                if !election.tell(job) {
                    self.engine.put_back(id, now);
                }
            }
            _ => self.channels.give(job),
        }
    }

    async fn stop(self) {
        let Some(election) = self.election else { return };
        if tokio::time::timeout(GIVING_UP, election.stop()).await.is_err() {
            tracing::info!("the lease of the sender was not given up in time");
        }
    }

    fn on_said(&mut self, said: Said, now: i64, go: &mut Vec<Job>) {
        match said {
            Said::Standing(standing) => self.engine.set_standing(standing, now),
            Said::Marks { anew, marks } => {
                if anew {
                    self.engine.forget_marks();
                }
                for (mark, kept) in marks {
                    self.engine.adopt(mark, kept, now);
                }
            }
            Said::Go(job) => go.push(*job),
            Said::Wait(id) => self.engine.put_back(id, now),
        }
    }

    fn on_fed(&mut self, fed: Fed, now: i64) {
        if fed.anew {
            self.engine.set_feed_place(fed.next);
            return;
        }
        if fed.missed > 0 {
            tracing::error!(missed = fed.missed, "alarms were gone before they could be read");
            self.engine.note_missed(fed.missed, now);
            self.metrics.alarms.with_label_values(&["missed"]).inc_by(fed.missed);
        }
        let counted = self.engine.observe_alarms(&fed.alarms, fed.next, now);
        for (result, count) in
            [("taken", counted.taken), ("cleared", counted.cleared), ("passed", counted.passed)]
        {
            self.metrics.alarms.with_label_values(&[result]).inc_by(count);
        }
    }

    fn on_ups(&mut self, seen: &Seen, now: i64) {
        if let Err(error) = &seen.status {
            tracing::debug!(ups = seen.ups, error, "a UPS did not answer");
        }
        self.metrics.set_ups(&seen.ups, &ups::figures(seen.status.as_ref().ok()));
        self.window.put_own(&seen.ups, now, ups::samples(seen));
        self.engine.observe_rules(&self.window, now);
    }

    fn on_shared(&mut self, told: Told, now: i64) {
        match told {
            Told::Page { shares, place, only } => {
                self.engine.adopt_shares(shares, place, only.as_ref(), now);
            }
            Told::Sent { shares, answered, refused } => {
                self.shares = false;
                if answered {
                    self.engine.shares_done(&shares, refused);
                }
            }
        }
    }

    /// What is durable here goes to the cluster, and other metrics to those who read them.
    fn pass_on(&mut self) {
        if let Some(sharing) = self.sharing.as_ref().filter(|_| !self.shares) {
            let waiting = self.engine.waiting_shares(shared::MAX_ITEMS);
            self.shares = !waiting.is_empty() && sharing.try_send(waiting).is_ok();
        }
        let revision = self.engine.metrics_revision();
        if revision != self.wanted.0 {
            self.wanted.0 = revision;
            self.wanted.1.send_replace(self.engine.wanted_metrics());
        }
    }

    fn commit(&mut self) -> bool {
        let writes = self.engine.take_writes();
        if !writes.is_empty() {
            self.changed.send_modify(|number| *number += 1);
        }
        let committed = self.journal.commit(writes);
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
        if let Ok(said) = self.said.try_recv() {
            return Some(Event::Said(said));
        }
        if let Ok(seen) = self.seen.try_recv() {
            return Some(Event::Ups(seen));
        }
        self.asks.try_recv().ok().map(Event::Ask)
    }
}
