//! The dialler: meters with an address of their own, read on schedule and on demand, each in its
//! own session. It decides who is dialled when (by `schedule`); `session` talks, over a `link` of
//! COSEM or in `local` (IEC 62056-21).
//!
//! Invariants: 1. one session a meter, a bounded number in all; 2. an order never waits for the
//! schedule: an idle meter is dialled at once; 3. a meter that is not dialled here is `NoChannel`;
//! 4. while the node may not act no session runs.

mod converse;
mod gaps;
mod inbox;
mod link;
mod local;
mod session;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::commands::Failure;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinSet};

use crate::line::Urgency;
use crate::order::{Order, Pace};
use crate::schedule::{Job, Schedule, Times};
use crate::script::Known;
use crate::shared::{Shared, random};

use inbox::{Inbox, answer_all};
use session::{End, Errand};

/// What is told to the dialler.
#[derive(Debug)]
pub(crate) enum Command {
    /// Dial this meter from now on.
    Dial {
        /// Which.
        serial: String,
        /// Under which lease.
        epoch: u64,
    },
    /// Dial it no more.
    HangUp {
        /// Which.
        serial: String,
    },
    /// Read something from it now.
    Order {
        /// Which.
        serial: String,
        /// What.
        order: Order,
    },
}

/// A dialled meter.
struct Dialled {
    epoch: u64,
    known: Option<Known>,
    /// Orders that no session has taken yet.
    orders: Inbox,
    session: Option<AbortHandle>,
    /// That of the session.
    urgency: Urgency,
}

struct Dialler {
    shared: Arc<Shared>,
    schedule: Schedule,
    meters: HashMap<String, Dialled>,
    sessions: JoinSet<End>,
    running: HashMap<Id, String>,
}

/// Starts the dialler.
pub(crate) fn start(shared: &Arc<Shared>) -> mpsc::Sender<Command> {
    let (way, commands) = mpsc::channel(shared.config.orders_per_channel.max(64));
    let config = &shared.config;
    let times = Times {
        registers: Duration::from_secs(config.registers_every_s),
        clock: Duration::from_secs(config.clock_every_s),
        profile: Duration::from_secs(config.profile_every_s),
        backoff_first: Duration::from_millis(config.dial_backoff_first_ms),
        backoff_cap: Duration::from_millis(config.dial_backoff_cap_ms),
    };
    let dialler = Dialler {
        shared: Arc::clone(shared),
        schedule: Schedule::new(times),
        meters: HashMap::new(),
        sessions: JoinSet::new(),
        running: HashMap::new(),
    };
    shared.tasks.spawn(dialler.run(commands, shared.stop.subscribe()));
    way
}

impl Dialler {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut stop: watch::Receiver<bool>) {
        let mut acting = self.shared.acting.subscribe();
        loop {
            self.begin();
            let next = self.schedule.next().filter(|_| self.may_open());
            tokio::select! {
                // Either way: what may not run ends, what waited begins.
                Ok(()) = acting.changed() => if !*acting.borrow_and_update() { self.cut() },
                _ = stop.wait_for(|stopped| *stopped) => break,
                Some(command) = commands.recv() => self.apply(command),
                Some(ended) = self.sessions.join_next_with_id() => match ended {
                    Ok((id, end)) => self.ended(id, Some(end)),
                    Err(error) => self.ended(error.id(), None),
                },
                () = sleep_until(next), if next.is_some() => {}
            }
        }
        // Orders that wait are answered by the drop of their way back.
        self.sessions.shutdown().await;
    }

    fn apply(&mut self, command: Command) {
        let now = tokio::time::Instant::now().into_std();
        match command {
            Command::Dial { serial, epoch } => {
                self.schedule.add(now, &serial);
                let name = serial.clone();
                let known = self.meters.entry(serial).or_insert_with(|| Dialled {
                    epoch,
                    known: None,
                    orders: Inbox::default(),
                    session: None,
                    urgency: Urgency::default(),
                });
                known.epoch = epoch;
                self.shared.note_dialled(&name, Some(epoch));
            }
            Command::HangUp { serial } => {
                self.schedule.remove(&serial);
                self.shared.note_dialled(&serial, None);
                if let Some(meter) = self.meters.remove(&serial) {
                    if let Some(session) = meter.session {
                        session.abort();
                    }
                    answer_all(meter.orders.take(), &Failure::NoChannel);
                }
            }
            Command::Order { serial, order } => self.order(&serial, order),
        }
    }

    fn order(&mut self, serial: &str, order: Order) {
        let Some(meter) = self.meters.get_mut(serial) else {
            return order.answer(Err(Failure::NoChannel));
        };
        if order.epoch.is_some_and(|epoch| epoch != meter.epoch) {
            return order.answer(Err(Failure::NoChannel));
        }
        if meter.orders.len() >= self.shared.config.orders_per_channel {
            let busy = "too many orders wait for this device".to_owned();
            return order.answer(Err(Failure::Unsupported(busy)));
        }
        // A session that waits for its line with scheduled work goes first now.
        if order.pace == Pace::OnDemand {
            meter.urgency.raise();
        }
        meter.orders.put(order);
        if self.may_open() && self.schedule.take(serial) {
            self.open(serial, Vec::new());
        }
    }

    fn may_open(&self) -> bool {
        self.shared.is_acting() && self.sessions.len() < self.shared.config.dial_sessions
    }

    /// This node may not act: every session ends, and whoever waits is told that nothing was done.
    fn cut(&mut self) {
        self.sessions.abort_all();
        for meter in self.meters.values() {
            answer_all(meter.orders.take(), &Failure::NoChannel);
        }
    }

    /// Opens sessions for whoever is due, as many as may run.
    fn begin(&mut self) {
        let now = tokio::time::Instant::now().into_std();
        while self.may_open() {
            let Some((serial, jobs)) = self.schedule.due(now) else { return };
            self.open(&serial, jobs);
        }
    }

    fn open(&mut self, serial: &str, jobs: Vec<Job>) {
        let Some(meter) = self.meters.get_mut(serial) else { return };
        meter.urgency = Urgency::default();
        if meter.orders.is_wanted() {
            meter.urgency.raise();
        }
        let errand = Errand {
            urgency: meter.urgency.clone(),
            serial: serial.to_owned(),
            epoch: meter.epoch,
            known: meter.known.take(),
            inbox: meter.orders.clone(),
            jobs,
        };
        let shared = Arc::clone(&self.shared);
        let session = self.sessions.spawn(session::run(shared, errand));
        self.running.insert(session.id(), serial.to_owned());
        meter.session = Some(session);
    }

    fn ended(&mut self, id: Id, end: Option<End>) {
        let now = tokio::time::Instant::now().into_std();
        let Some(serial) = self.running.remove(&id) else { return };
        let Some(meter) = self.meters.get_mut(&serial) else { return };
        if meter.session.as_ref().is_none_or(|session| session.id() != id) {
            return;
        }
        meter.session = None;
        match end {
            Some(End { known, done: Some(done) }) => {
                meter.known = known;
                self.schedule.succeeded(now, &serial, &done);
            }
            Some(End { known, done: None }) => {
                meter.known = known;
                let [jitter] = random::<1>();
                self.schedule.failed(now, &serial, jitter);
            }
            None => {
                let [jitter] = random::<1>();
                self.schedule.failed(now, &serial, jitter);
            }
        }
        let waits = self.meters.get(&serial).is_some_and(|meter| meter.orders.len() > 0);
        if waits && self.may_open() && self.schedule.take(&serial) {
            self.open(&serial, Vec::new());
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
