//! The tries: a numbered write and a read back at every node each 50 ms, and a look at what each
//! node says of the cluster and of the channel.
//!
//! Invariants: nodes take turns, so that of three one is tried each 17 ms; a write that failed is
//! tried once more at the next node under its number, as a client would; what is in flight is
//! bounded; what was acknowledged is never forgotten, for that is what the verdict stands on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use super::Course;
use crate::areas::pages::encode;
use crate::cli::NoAnswer;
use crate::drills::evidence::{Answer, ChannelSeen, Kind, MAX_OPERATIONS, Operation, Seen};

/// How often every node is tried.
const PACE: Duration = Duration::from_millis(50);
/// How long an attempt may take; nodes give up a little sooner.
const PATIENCE: Duration = Duration::from_millis(3_500);
/// How often a node is asked what it sees.
const LOOK: Duration = Duration::from_millis(100);
/// How long such a question may take.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);
/// Attempts under way at a time.
const IN_FLIGHT: usize = 2_000;
/// A node whose last accepted write is older than this is not whole.
const FRESH_US: u64 = 1_000_000;
/// Sights that are kept.
const MAX_SEEN: usize = 10_000;

/// Everything that was seen.
#[derive(Default)]
pub struct Book {
    pub operations: Vec<Operation>,
    pub skipped: u64,
    pub seen: Vec<Seen>,
    pub channel: Vec<ChannelSeen>,
    acknowledged: Option<u32>,
    next: u32,
    ended_elsewhere: bool,
}

struct Shared {
    course: Arc<Course>,
    zero: Instant,
    book: Mutex<Book>,
    flights: Arc<Semaphore>,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> u64 {
        u64::try_from(self.zero.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The running tries.
pub struct Probing {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Probing {
    /// Begins.
    pub fn start(course: &Arc<Course>) -> Probing {
        let shared = Arc::new(Shared {
            course: course.clone(),
            zero: Instant::now(),
            book: Mutex::default(),
            flights: Arc::new(Semaphore::new(IN_FLIGHT)),
        });
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(tries(shared.clone(), stopped.clone()));
        for place in 0..course.nodes.len() {
            tasks.spawn(looks(shared.clone(), stopped.clone(), place));
            if !course.concentrator.is_empty() {
                tasks.spawn(channel_looks(shared.clone(), stopped.clone(), place));
            }
        }
        Probing { shared, stop, tasks }
    }

    /// Microseconds since the beginning.
    pub fn clock(&self) -> u64 {
        self.shared.clock()
    }

    /// Whether nodes say that the drill is over.
    pub fn ended_elsewhere(&self) -> bool {
        self.shared.book().ended_elsewhere
    }

    /// Whether the failure has shown itself: the target was silent, another leads, the channel
    /// moved; whatever the scenario is about.
    pub fn felt(&self, course: &Course, taken_us: u64) -> bool {
        let book = self.shared.book();
        let at_target = |node: u8| usize::from(node) == course.target;
        let silent = || {
            book.operations.iter().any(|one| {
                at_target(one.node) && one.answer != Answer::Good && one.ended_us >= taken_us
            })
        };
        let target = course.nodes.get(course.target);
        let moved = || {
            let after = book.seen.iter().filter(|seen| seen.at_us >= taken_us && seen.up);
            after.filter(|seen| seen.leader.is_some()).any(|seen| seen.leader.as_ref() != target)
        };
        let switched = || {
            let epoch = |late: bool| {
                let seen = book.channel.iter().filter(move |one| (one.at_us >= taken_us) == late);
                seen.filter(move |one| !late || one.active_here).map(|one| one.epoch).max()
            };
            epoch(true) > epoch(false)
        };
        let scenario = course.scenario;
        (!scenario.injection.silences() || silent())
            && (!scenario.moves_office || !course.target_leads || moved())
            && (scenario.channel.is_none() || switched())
    }

    /// Whether every node is ready and took a write that was sent behind a moment, just now.
    pub fn whole(&self, since_us: u64, now_us: u64) -> bool {
        let book = self.shared.book();
        let fresh_us = now_us.saturating_sub(FRESH_US).max(since_us);
        (0..self.shared.course.nodes.len()).all(|place| {
            let here = |node: u8| usize::from(node) == place;
            let took = book.operations.iter().rev().any(|one| {
                here(one.node)
                    && one.kind == Kind::Write
                    && one.answer == Answer::Good
                    && one.sent_us >= fresh_us
            });
            let last = book.seen.iter().rev().find(|seen| here(seen.node));
            took && last.is_some_and(|seen| seen.up && seen.ready)
        })
    }

    /// Whether a node did not answer, or refused, behind a moment.
    pub fn was_silent(&self, place: usize, since_us: u64) -> bool {
        self.shared.book().operations.iter().rev().any(|one| {
            usize::from(one.node) == place && one.answer != Answer::Good && one.ended_us >= since_us
        })
    }

    /// Whether each node has answered a read, confirmed by a quorum, that was sent behind a
    /// moment: it has everything that was acknowledged before.
    pub fn caught_up(&self, since_us: u64) -> bool {
        let book = self.shared.book();
        (0..self.shared.course.nodes.len()).all(|place| {
            book.operations.iter().rev().any(|one| {
                usize::from(one.node) == place
                    && one.kind == Kind::Read
                    && one.answer == Answer::Good
                    && one.sent_us >= since_us
            })
        })
    }

    /// For how long each node has not answered at all, microseconds.
    pub fn down_for(&self, now_us: u64) -> Vec<u64> {
        let book = self.shared.book();
        let down = |place: usize| {
            let of = book.seen.iter().rev().filter(|seen| usize::from(seen.node) == place);
            let last_change = of.take(1).find(|seen| !seen.up);
            last_change.map_or(0, |seen| now_us.saturating_sub(seen.at_us))
        };
        (0..self.shared.course.nodes.len()).map(down).collect()
    }

    /// Sends nothing more, waits for what is under way, and gives everything that was seen.
    pub async fn stop(mut self) -> Book {
        self.stop.send_replace(true);
        // Every attempt holds a permit until it has ended.
        let all = u32::try_from(IN_FLIGHT).unwrap_or(u32::MAX);
        let ended = timeout(PATIENCE * 3, self.shared.flights.acquire_many(all)).await.is_ok();
        if !ended {
            tracing::debug!("some attempts do not end");
        }
        self.tasks.shutdown().await;
        std::mem::take(&mut *self.shared.book())
    }
}

/// Sends a write and a read to the nodes in turn.
async fn tries(shared: Arc<Shared>, stop: watch::Receiver<bool>) {
    let nodes = shared.course.nodes.len().max(1);
    let mut tick = interval(PACE / u32::try_from(nodes).unwrap_or(1));
    let mut turn = 0;
    while !*stop.borrow() {
        tick.tick().await;
        if *stop.borrow() {
            return;
        }
        let place = turn % nodes;
        turn += 1;
        let flight = || shared.flights.clone().try_acquire_owned();
        let (write_flight, read_flight) = (flight(), flight());
        let (number, known) = {
            let mut book = shared.book();
            let room = book.operations.len() < MAX_OPERATIONS - IN_FLIGHT * 2;
            let flies = write_flight.is_ok() && read_flight.is_ok();
            if !room || !flies || book.next >= domain::drills::MAX_PROBES {
                // While all are waited for at the end nothing more is to be sent.
                book.skipped += if *stop.borrow() { 0 } else { 2 };
                continue;
            }
            book.next += 1;
            (book.next - 1, book.acknowledged)
        };
        let (writer, reader) = (shared.clone(), shared.clone());
        tokio::spawn(async move {
            write(&writer, place, number).await;
            drop(write_flight);
        });
        tokio::spawn(async move {
            if let Some(known) = known {
                read(&reader, place, known).await;
            }
            drop(read_flight);
        });
    }
}

/// A write at one node, and when that fails once more at the next.
async fn write(shared: &Shared, place: usize, number: u32) {
    let drill = shared.course.drill;
    let path = format!("/api/v1/drills/{drill}/probes");
    let key = format!("{drill} {number}");
    let body = Bytes::from(format!("{{\"number\":{number}}}"));
    let nodes = shared.course.nodes.len().max(1);
    for place in [place, (place + 1) % nodes] {
        let Some(client) = shared.course.clients.get(place) else { return };
        let sent_us = shared.clock();
        let content = (Some(body.clone()), key.as_str());
        let answer = client.once(Method::POST, &path, content, PATIENCE).await;
        let answer = match answer {
            Ok((201, _)) => Answer::Good,
            Ok((_, body)) => {
                shared.book().ended_elsewhere |= body["code"] == "drill_over";
                Answer::Refused
            }
            Err(NoAnswer::Down(_)) => Answer::Down,
            Err(NoAnswer::Late) => Answer::Late,
        };
        if note(shared, Kind::Write, place, number, sent_us, answer) {
            return;
        }
    }
}

/// A read of a number that was acknowledged before it is sent.
async fn read(shared: &Shared, place: usize, number: u32) {
    let path = format!("/api/v1/drills/{}/probes/{number}", shared.course.drill);
    let Some(client) = shared.course.clients.get(place) else { return };
    let sent_us = shared.clock();
    let answer = match client.once(Method::GET, &path, (None, ""), PATIENCE).await {
        Ok((200, body)) if body["applied"] == true => Answer::Good,
        Ok((200, _)) => Answer::Stale,
        Ok(_) => Answer::Refused,
        Err(NoAnswer::Down(_)) => Answer::Down,
        Err(NoAnswer::Late) => Answer::Late,
    };
    note(shared, Kind::Read, place, number, sent_us, answer);
}

/// Puts an attempt down. True when it was good.
fn note(
    shared: &Shared,
    kind: Kind,
    place: usize,
    number: u32,
    sent_us: u64,
    answer: Answer,
) -> bool {
    let ended_us = shared.clock();
    let good = answer == Answer::Good;
    let node = u8::try_from(place).unwrap_or(u8::MAX);
    let mut book = shared.book();
    if kind == Kind::Write && good {
        book.acknowledged = Some(number);
    }
    book.operations.push(Operation { kind, node, number, sent_us, ended_us, answer });
    good
}

/// Asks one node what it sees of the cluster, and keeps what changes.
async fn looks(shared: Arc<Shared>, stop: watch::Receiver<bool>, place: usize) {
    let Some(client) = shared.course.clients.get(place).cloned() else { return };
    let node = u8::try_from(place).unwrap_or(u8::MAX);
    let mut before: Option<Seen> = None;
    while !*stop.borrow() {
        let nothing = || (None, "");
        let told = client.once(Method::GET, "/api/v1/cluster", nothing(), LOOK_PATIENCE).await;
        let ready = client.once(Method::GET, "/readyz", nothing(), LOOK_PATIENCE).await;
        let now = Seen {
            at_us: shared.clock(),
            node,
            up: told.is_ok(),
            ready: matches!(ready, Ok((200, _))),
            leader: told.as_ref().ok().and_then(|(_, body)| text(body, "leader")),
            term: told.as_ref().ok().and_then(|(_, body)| body["term"].as_u64()).unwrap_or(0),
        };
        let same = before.as_ref().is_some_and(|before| {
            Seen { at_us: 0, ..now.clone() } == Seen { at_us: 0, ..before.clone() }
        });
        if !same {
            before = Some(now.clone());
            let mut book = shared.book();
            if book.seen.len() < MAX_SEEN {
                book.seen.push(now);
            }
        }
        sleep(LOOK).await;
    }
}

/// Asks one node what it sees of the channel, and keeps what changes.
async fn channel_looks(shared: Arc<Shared>, stop: watch::Receiver<bool>, place: usize) {
    let Some(client) = shared.course.clients.get(place).cloned() else { return };
    let node = u8::try_from(place).unwrap_or(u8::MAX);
    let name = shared.course.nodes.get(place).cloned();
    let path = format!("/api/v1/concentrators/{}/channels", encode(&shared.course.concentrator));
    let mut before = None;
    while !*stop.borrow() {
        if let Ok((200, body)) = client.once(Method::GET, &path, (None, ""), LOOK_PATIENCE).await {
            let active = &body["active"];
            let here = body["here"]["state"] == "active" && text(active, "node") == name;
            let now = (active["epoch"].as_u64().unwrap_or(0), here);
            if before != Some(now) {
                before = Some(now);
                let (epoch, active_here) = now;
                let at_us = shared.clock();
                let mut book = shared.book();
                if book.channel.len() < MAX_SEEN {
                    book.channel.push(ChannelSeen { at_us, node, epoch, active_here });
                }
            }
        }
        sleep(PACE / 2).await;
    }
}

fn text(value: &Value, name: &str) -> Option<String> {
    value[name].as_str().map(str::to_owned)
}
