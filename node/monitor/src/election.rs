//! Which of several monitors tells: a lease in the cluster, asked for over the nodes' API.
//!
//! One task. It looks each second who holds the lease, takes it when nobody does, keeps it, brings
//! marks of what was told to the engine, and has marks noted before messages leave. Decides no
//! message. Invariants: a message that has a mark leaves after the cluster has noted it under the
//! epoch that this monitor holds, or while no node answers (then it says that it may be a repeat);
//! every request has a deadline; nothing waits without a bound.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::cluster::{Answer, Api};
use crate::config::Cluster;
use crate::engine::{Job, Kept, MAX_DIGEST, Note, Standing};

/// How often it is looked who tells.
const STEP: Duration = Duration::from_secs(1);
/// Messages and notes that wait for the cluster.
const WAITING: usize = 256;
/// The most marks of one request.
const MAX_NOTES: usize = 1_000;
/// The most notes that are kept for a cluster that does not answer.
const MAX_KEPT: usize = 20_000;

/// What the loop is told.
#[derive(Debug)]
pub enum Said {
    /// Whether this monitor tells.
    Standing(Standing),
    /// Marks of the cluster; the first page of all of them when `anew`.
    Marks {
        /// What was known before is void.
        anew: bool,
        /// The marks.
        marks: Vec<(String, Kept)>,
    },
    /// A message may leave.
    Go(Box<Job>),
    /// It may not now.
    Wait(u64),
}

enum Wish {
    Tell(Box<Job>),
    Told(Vec<Note>),
    Stop,
}

/// The task's other end.
pub struct Election {
    wishes: mpsc::Sender<Wish>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Deserialize)]
struct Shown {
    instance: u64,
    lasts: bool,
    marks: Vec<Marked>,
    more: bool,
}

#[derive(Debug, Deserialize)]
struct Marked {
    place: u64,
    mark: String,
    over: bool,
    told: bool,
    at_ms: i64,
}

#[derive(Debug, Deserialize)]
struct Held {
    epoch: u64,
}

struct Task {
    api: Api,
    config: Cluster,
    name: String,
    instance: u64,
    /// Under which it holds the lease.
    epoch: Option<u64>,
    renewed: Instant,
    heard: Instant,
    place: u64,
    standing: Standing,
    told: Vec<Note>,
    said: mpsc::Sender<Said>,
}

impl Election {
    /// Starts the task. `instance` is this monitor's own number.
    pub fn start(
        config: &Cluster,
        name: &str,
        instance: u64,
        said: mpsc::Sender<Said>,
    ) -> Result<Election, String> {
        let (wishes, taken) = mpsc::channel(WAITING);
        let task = Task {
            api: Api::new(config)?,
            config: config.clone(),
            name: name.to_owned(),
            instance,
            epoch: None,
            renewed: Instant::now(),
            heard: Instant::now(),
            place: 0,
            standing: Standing::Follower,
            told: Vec::new(),
            said,
        };
        Ok(Election { wishes, task: tokio::spawn(task.run(taken)) })
    }

    /// A message that wants to leave; false when the task has too much to do.
    pub fn tell(&self, job: Job) -> bool {
        match self.wishes.try_reserve() {
            Ok(room) => {
                room.send(Wish::Tell(Box::new(job)));
                true
            }
            Err(_) => false,
        }
    }

    /// What was told. Lost when the task has too much to do: then the next sender repeats it.
    pub fn told(&self, notes: Vec<Note>) {
        if !notes.is_empty() && self.wishes.try_send(Wish::Told(notes)).is_err() {
            tracing::warn!("what was told could not be noted");
        }
    }

    /// Gives the lease up, so that another takes over at once.
    pub async fn stop(self) {
        let Election { wishes, task } = self;
        // Without this end the task knows, too, should it have been busy.
        let _ = wishes.send(Wish::Stop).await;
        drop(wishes);
        let _ = task.await;
    }
}

/// This monitor's own number: drawn once, kept beside the journal.
pub fn instance(folder: &Path, random: fn(&mut [u8])) -> std::io::Result<u64> {
    let path = folder.join("instance");
    if let Some(known) =
        std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok())
    {
        return Ok(known);
    }
    let mut octets = [0; 8];
    random(&mut octets);
    // Programs that read it as a floating number keep every digit.
    let number = u64::from_le_bytes(octets) >> 12;
    std::fs::create_dir_all(folder)?;
    std::fs::write(&path, format!("{number}\n"))?;
    Ok(number)
}

impl Task {
    async fn run(mut self, mut wishes: mpsc::Receiver<Wish>) {
        let mut steps = tokio::time::interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = steps.tick() => self.step().await,
                wish = wishes.recv() => match wish {
                    Some(Wish::Tell(job)) => self.tell(job, &mut wishes).await,
                    Some(Wish::Told(notes)) => self.note_told(notes).await,
                    Some(Wish::Stop) | None => return self.give_up().await,
                },
            }
            if self.said.is_closed() {
                return;
            }
        }
    }

    /// Looks who tells, and takes or keeps the lease.
    async fn step(&mut self) {
        match self.look().await {
            Some(shown) if shown.lasts && shown.instance != self.instance => {
                self.epoch = None;
                self.stand(Standing::Follower).await;
            }
            Some(shown) => {
                let due = self.renewed.elapsed() >= self.config.lease.0 / 3;
                if self.epoch.is_none() || due || !shown.lasts {
                    self.hold().await;
                }
            }
            None => {}
        }
        if self.heard.elapsed() >= self.config.alone_after.0 {
            self.stand(Standing::Alone).await;
        }
        if !self.told.is_empty() {
            self.note_told(Vec::new()).await;
        }
    }

    /// Who holds the lease; marks go to the loop on the way, all there are.
    async fn look(&mut self) -> Option<Shown> {
        loop {
            let path = format!("/api/v1/monitor/sender?after={}", self.place);
            let shown: Shown = match self.api.get(&path).await {
                Ok(shown) => shown,
                Err(error) => {
                    tracing::debug!(error, "nobody said who tells");
                    return None;
                }
            };
            self.heard = Instant::now();
            let anew = self.place == 0;
            let mark = |one: &Marked| {
                (one.mark.clone(), Kept { over: one.over, told: one.told, at: one.at_ms })
            };
            let marks: Vec<(String, Kept)> = shown.marks.iter().map(mark).collect();
            self.place = shown.marks.iter().map(|one| one.place).fold(self.place, u64::max);
            if !marks.is_empty() {
                // The loop is gone when nobody takes it: then the task ends, too.
                let _ = self.said.send(Said::Marks { anew, marks }).await;
            }
            if !shown.more {
                return Some(shown);
            }
        }
    }

    async fn hold(&mut self) {
        let asked = Instant::now();
        let ttl_ms = self.config.lease.millis();
        let wish = json!({"monitor": self.name, "instance": self.instance, "ttl_ms": ttl_ms});
        match self.api.post("/api/v1/monitor/sender", &wish).await {
            Ok(Answer::Yes(body)) => {
                let Ok(Held { epoch }) = serde_json::from_slice(&body) else { return };
                (self.heard, self.renewed) = (Instant::now(), asked);
                let fresh = self.epoch.replace(epoch) != Some(epoch);
                // Whatever the last sender had noted before this lease must be known first.
                if fresh && self.look().await.is_none() {
                    self.epoch = None;
                    return;
                }
                self.stand(Standing::Sender).await;
            }
            Ok(Answer::No(code)) => {
                self.heard = Instant::now();
                self.epoch = None;
                tracing::info!(code, "the lease of the sender was refused");
                self.stand(Standing::Follower).await;
            }
            Err(error) => tracing::debug!(error, "the lease of the sender could not be asked for"),
        }
    }

    async fn stand(&mut self, standing: Standing) {
        if std::mem::replace(&mut self.standing, standing) != standing {
            tracing::info!(?standing, "who tells has changed");
            let _ = self.said.send(Said::Standing(standing)).await;
        }
    }

    /// Has the marks of messages noted, then lets them go. Several that wait go together.
    async fn tell(&mut self, first: Box<Job>, wishes: &mut mpsc::Receiver<Wish>) {
        let mut count = first.marks.len();
        let mut jobs = vec![first];
        let mut notes = Vec::new();
        // The next may be of a storm.
        while count + MAX_DIGEST <= MAX_NOTES {
            match wishes.try_recv() {
                Ok(Wish::Tell(job)) => {
                    count += job.marks.len();
                    jobs.push(job);
                }
                Ok(Wish::Told(more)) => notes.extend(more),
                Ok(Wish::Stop) | Err(_) => break,
            }
        }
        let begun = match (self.standing, self.epoch) {
            (Standing::Alone, _) => true,
            (_, None) => false,
            (_, Some(epoch)) => {
                let mut marks = Vec::new();
                for job in &jobs {
                    let of = job.marks.iter();
                    marks.extend(of.map(|mark| json!({"mark": mark, "over": job.over})));
                }
                self.note(Some(epoch), marks).await
            }
        };
        for job in jobs {
            let said = if begun { Said::Go(job) } else { Said::Wait(job.id) };
            let _ = self.said.send(said).await;
        }
        if !notes.is_empty() {
            self.note_told(notes).await;
        }
    }

    async fn note_told(&mut self, notes: Vec<Note>) {
        self.told.extend(notes);
        let excess = self.told.len().saturating_sub(MAX_KEPT);
        self.told.drain(..excess);
        while !self.told.is_empty() {
            let some = self.told.iter().take(MAX_NOTES);
            let marks: Vec<_> =
                some.map(|note| json!({"mark": note.mark, "over": note.over})).collect();
            let count = marks.len();
            if !self.note(None, marks).await {
                return;
            }
            self.told.drain(..count);
        }
    }

    /// Whether the cluster took it.
    async fn note(&mut self, begin: Option<u64>, notes: Vec<serde_json::Value>) -> bool {
        let body = json!({
            "instance": self.instance, "epoch": begin.unwrap_or(0), "told": begin.is_none(),
            "notes": notes,
        });
        match self.api.post("/api/v1/monitor/told", &body).await {
            Ok(Answer::Yes(_)) => {
                self.heard = Instant::now();
                true
            }
            Ok(Answer::No(code)) => {
                tracing::warn!(code, "the cluster refused to note what is told");
                self.heard = Instant::now();
                if begin.is_some() {
                    self.epoch = None;
                }
                false
            }
            Err(error) => {
                tracing::debug!(error, "what is told could not be noted");
                false
            }
        }
    }

    async fn give_up(mut self) {
        self.note_told(Vec::new()).await;
        let Some(epoch) = self.epoch else { return };
        let body = json!({"instance": self.instance, "epoch": epoch});
        match self.api.delete("/api/v1/monitor/sender", &body).await {
            Ok(Answer::Yes(_)) => tracing::info!("another monitor may tell now"),
            Ok(Answer::No(code)) => tracing::info!(code, "the lease was not given up"),
            Err(error) => tracing::info!(error, "the lease was not given up"),
        }
    }
}
