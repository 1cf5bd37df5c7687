//! One session with a meter of its own address: connect or wait for the line, associate or sign
//! on, read what is due and what was ordered, store it, release, close.
//!
//! Invariants: 1. every wait has a deadline, the whole session too; 2. a part is stored before the
//! next range is asked, so that the watermark moves on even when the meter dies half-way; 3. values
//! go to the cluster or to who ordered them, never both ways round.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use domain::commands::{Attribute, Failure, Read, Value};
use domain::readings::Part;
use domain::units::address::{Protocol, Way};
use domain::{Address, Device, Obis};
use tokio::time::{Instant, timeout};

use super::converse::Meter;
use super::inbox::{Inbox, TOLD_BEFORE, answer_waiting};
use super::link::Link;
use super::local::{LocalMeter, enter_hdlc};

use crate::ask::ask;
use crate::error::Denied;
use crate::line::{Lines, Turn, Urgency};
use crate::meter::{Conversation, Limits};
use crate::model::schedule;
use crate::order::{Order, Outcome, ProfileRead, Work};
use crate::schedule::Job;
use crate::script::Known;
use crate::shared::{Shared, random};
use crate::translate;
use crate::upcall::{MeterAccess, MeterQuery, Upcall};

/// A meter's clock may run ahead of ours so far before its newest rows are left for later, seconds.
const AHEAD_S: i64 = 3_600;

/// What a session is for.
pub(super) struct Errand {
    pub serial: String,
    pub epoch: u64,
    pub known: Option<Known>,
    pub inbox: Inbox,
    pub jobs: Vec<Job>,
    /// Whether somebody waits for it; the dialler may say so later.
    pub urgency: Urgency,
}

/// How it ended: what is known of the meter now, and the jobs that are done; None when the meter
/// was not reached.
pub(super) struct End {
    pub known: Option<Known>,
    pub done: Option<Vec<Job>>,
}

/// Why a session ends early.
pub(super) enum Broken {
    /// No connection.
    Unreachable(String),
    /// The meter.
    Meter(Failure),
    /// The cluster.
    Cluster(Denied),
}

pub(super) struct Session<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) serial: &'a str,
    pub(super) epoch: u64,
    pub(super) access: MeterAccess,
    talk: Talk,
    /// No work after it.
    pub(super) deadline: Instant,
}

/// What is spoken with the meter.
enum Talk {
    /// An association over a link.
    Cosem(Link, Box<Conversation>),
    /// IEC 62056-21.
    Local(Box<LocalMeter>),
}

/// Runs the errand.
pub(super) async fn run(shared: Arc<Shared>, errand: Errand) -> End {
    let Errand { serial, epoch, known, inbox, jobs, urgency } = errand;
    let limit = Duration::from_millis(shared.config.dial_session_timeout_ms);
    let opening = open(&shared, &serial, epoch, known.clone(), &inbox, &urgency);
    let mut session = match timeout(limit, opening).await {
        Ok(Ok(session)) => session,
        Ok(Err(broken)) => {
            let failure = report(&shared, &serial, &broken);
            answer_waiting(inbox.take(), &failure);
            return End { known, done: None };
        }
        Err(_) => {
            answer_waiting(inbox.take(), &Failure::NoAnswer);
            return End { known, done: None };
        }
    };
    let (mut orders, mut done) = (VecDeque::new(), Vec::new());
    let work = session.work_off(&inbox, &mut orders, jobs, &mut done);
    let result = match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Broken::Meter(Failure::NoAnswer)),
    };
    let known = session.part().await.or(known);
    match result {
        Ok(()) => {
            shared.metrics.dials.with_label_values(&["ok"]).inc();
            End { known, done: Some(done) }
        }
        Err(broken) => {
            let failure = report(&shared, &serial, &broken);
            answer_waiting(orders, &failure);
            End { known, done: None }
        }
    }
}

async fn open<'a>(
    shared: &'a Arc<Shared>,
    serial: &'a str,
    epoch: u64,
    known: Option<Known>,
    inbox: &Inbox,
    urgency: &Urgency,
) -> Result<Session<'a>, Broken> {
    let limit = Duration::from_millis(shared.config.dial_session_timeout_ms);
    let query = MeterQuery { serial: serial.to_owned(), concentrator: None };
    let access = ask(shared, query, Upcall::Meter).await.map_err(Broken::Cluster)?;
    let no_address = || Broken::Unreachable("the meter has no address of its own".to_owned());
    let text = access.address.as_deref().ok_or_else(no_address)?;
    let address = Address::parse(text).map_err(|no| Broken::Unreachable(no.to_string()))?;
    let turn = async || wait_for_turn(shared, &address.way, inbox, urgency, limit).await;
    let deadline = || Instant::now() + limit;
    let cosem = |link: Link| {
        let limits = Limits {
            response: Duration::from_millis(shared.config.meter_timeout_ms) + link.line_time(),
            line_time: link.line_time(),
            counters: shared.config.meter_counter_block,
        };
        let now = Instant::now().into_std();
        Talk::Cosem(link, Box::new(Conversation::new(limits, None, known, now)))
    };
    let talk = match (&address.protocol, &address.way) {
        (Protocol::Wrapper, Way::Tcp { host, port }) => {
            cosem(Link::connect(shared, host, *port).await?)
        }
        (Protocol::Wrapper, Way::Serial { .. } | Way::Rfc2217 { .. }) => {
            return Err(no_address());
        }
        (Protocol::Hdlc(station), _) => cosem(Link::hdlc(shared, turn().await?, *station)),
        (Protocol::ModeE(sign_on, station), _) => {
            let mut turn = turn().await?;
            let entered = enter_hdlc(shared, &mut turn, sign_on, deadline()).await;
            entered.map_err(Broken::Meter)?;
            cosem(Link::hdlc(shared, turn, *station))
        }
        (Protocol::Local(local), _) => {
            Talk::Local(Box::new(LocalMeter::new(turn().await?, local.clone(), &access)))
        }
    };
    Ok(Session { shared, serial, epoch, talk, access, deadline: deadline() })
}

/// A turn on a line. Whoever ordered is told that it is busy before his own time is over.
async fn wait_for_turn(
    shared: &Arc<Shared>,
    way: &Way,
    inbox: &Inbox,
    urgency: &Urgency,
    limit: Duration,
) -> Result<Turn, Broken> {
    let turn = Lines::turn(shared, way, urgency, Instant::now() + limit);
    tokio::pin!(turn);
    loop {
        tokio::select! {
            turn = &mut turn => return turn.map_err(|fault| Broken::Meter(fault.into())),
            () = tokio::time::sleep(TOLD_BEFORE / 4) => inbox.tell_busy(),
        }
    }
}

impl Session<'_> {
    /// Orders first, also those that come meanwhile, then what is due.
    async fn work_off(
        &mut self,
        inbox: &Inbox,
        orders: &mut VecDeque<Order>,
        jobs: Vec<Job>,
        done: &mut Vec<Job>,
    ) -> Result<(), Broken> {
        self.orders(inbox, orders).await?;
        for job in jobs {
            if self.is_wanted() {
                // What was not done stays due.
                return Ok(());
            }
            match self.job(job).await {
                Ok(()) if job == Job::Profile && self.is_wanted() => return Ok(()),
                Ok(()) => {}
                // The meter has no such object, or not of this shape: no use to ask again soon.
                Err(Broken::Meter(failure)) if !breaks(&failure) => {
                    let serial = self.serial;
                    tracing::warn!(serial, ?job, ?failure, "a scheduled read was refused");
                    self.shared.metrics.dials.with_label_values(&["refused"]).inc();
                }
                Err(broken) => return Err(broken),
            }
            done.push(job);
            self.orders(inbox, orders).await?;
        }
        Ok(())
    }

    /// Carries out the orders of this moment.
    async fn orders(&mut self, inbox: &Inbox, orders: &mut VecDeque<Order>) -> Result<(), Broken> {
        orders.extend(inbox.take());
        while let Some(order) = orders.pop_front() {
            let deadline = Instant::from_std(order.deadline).min(self.deadline);
            let result = self.read(&order.work, deadline).await;
            let broken = result.as_ref().err().filter(|failure| breaks(failure)).cloned();
            order.answer(result);
            if let Some(failure) = broken {
                return Err(Broken::Meter(failure));
            }
        }
        Ok(())
    }

    async fn job(&mut self, job: Job) -> Result<(), Broken> {
        match job {
            Job::Clock => self.clock().await,
            Job::Registers => self.registers().await,
            Job::Profile => self.profile().await,
        }
    }

    /// Reads the clock and says when it is far off; a doubtful time shows in the rows themselves.
    async fn clock(&mut self) -> Result<(), Broken> {
        let obis = Obis([0, 0, 1, 0, 0, 255]);
        let clock = Attribute { class: 8, obis, attribute: 2 };
        let reads = self.attributes(vec![clock]).await?;
        if let Some(Read { value: Value::Time { utc_s: Some(utc_s), .. }, .. }) = reads.first() {
            let off_s = utc_s - unix_s();
            if off_s.abs() > 60 {
                tracing::warn!(serial = self.serial, off_s, "the meter's clock is off");
            }
        }
        Ok(())
    }

    async fn registers(&mut self) -> Result<(), Broken> {
        self.learn().await?;
        let registers = schedule::registers(&self.access, known_of(&self.talk));
        if registers.is_empty() {
            return Ok(());
        }
        let reads = self.attributes(registers).await?;
        let batch = translate::registers_batch(self.access.ordinal, unix_s(), &reads);
        match batch {
            None => Ok(()),
            Some(batch) => self.store(vec![batch]).await,
        }
    }

    /// From behind the watermark up to now, range by range, each stored before the next.
    async fn profile(&mut self) -> Result<(), Broken> {
        self.learn().await?;
        let Some(obis) = schedule::profile(&self.access, known_of(&self.talk)) else {
            return Ok(());
        };
        let now_s = unix_s();
        let reach_s = i64::try_from(self.shared.config.profile_reach_s).unwrap_or(i64::MAX);
        let chunk_s = i64::try_from(self.shared.config.profile_chunk_s).unwrap_or(i64::MAX);
        let oldest_s = now_s.saturating_sub(reach_s);
        let stored = self.access.watermark_s.map_or(oldest_s, |end_s| end_s.saturating_add(1));
        let mut from_s = stored.max(oldest_s);
        let end_s = now_s + AHEAD_S;
        while from_s <= end_s && !self.is_wanted() {
            let to_s = from_s.saturating_add(chunk_s - 1).min(end_s);
            let work = Work::Profile { obis, from_s, to_s };
            let read = self.read(&work, self.deadline).await.map_err(Broken::Meter)?;
            if let Outcome::Profile(read) = read {
                self.store_profile(&read).await?;
            }
            from_s = to_s.saturating_add(1);
        }
        if self.is_wanted() { Ok(()) } else { self.gaps().await }
    }

    /// Asks a meter of the generic model once for what it has. One that does not tell is read by
    /// what nearly every meter has.
    async fn learn(&mut self) -> Result<(), Broken> {
        let is_new = known_of(&self.talk).is_some_and(|known| known.listed().is_none());
        if !self.access.model.file.learn || !is_new {
            return Ok(());
        }
        let listed = match self.attributes(vec![schedule::OBJECT_LIST]).await {
            Ok(reads) => reads.first().map(|read| schedule::listed(&read.value)),
            Err(Broken::Meter(failure)) if !breaks(&failure) => {
                let serial = self.serial;
                tracing::info!(serial, ?failure, "a meter does not tell what it has");
                None
            }
            Err(broken) => return Err(broken),
        };
        if let Talk::Cosem(_, conversation) = &mut self.talk {
            conversation.known_mut().keep_listed(listed.unwrap_or_default());
        }
        Ok(())
    }

    async fn store_profile(&mut self, read: &ProfileRead) -> Result<(), Broken> {
        if !self.is_plausible(read) {
            return Ok(());
        }
        let part = translate::part_of(self.access.ordinal, None, read);
        if part.batches.is_empty() {
            return Ok(());
        }
        self.store(part.batches).await?;
        let newest = read.rows.iter().map(|row| row.end_s).max();
        self.access.watermark_s = newest.max(self.access.watermark_s);
        Ok(())
    }

    /// Whether rows can be stored; an impossible step is counted and logged.
    pub(super) fn is_plausible(&self, read: &ProfileRead) -> bool {
        let plausible = schedule::plausible(&self.access, read);
        if let Err(implausible) = &plausible {
            let serial = self.serial;
            self.shared.metrics.refuse_part("implausible_step");
            tracing::warn!(serial, ?implausible, "rows with an impossible step are not stored");
        }
        plausible.is_ok()
    }

    async fn store(&self, batches: Vec<domain::readings::Batch>) -> Result<(), Broken> {
        let lease = Some((Device::Meter(self.serial.to_owned()), self.epoch));
        let metrics = &self.shared.metrics;
        match ask(self.shared, Part { lease, mark: None, batches }, Upcall::Ingest).await {
            Ok(rows) => {
                metrics.rows.inc_by(u64::from(rows));
                Ok(())
            }
            Err(Denied::Refused { code, detail }) if code != "stale_epoch" => {
                metrics.refuse_part(&code);
                let serial = self.serial;
                tracing::warn!(serial, code, detail, "values of a meter were refused");
                Ok(())
            }
            Err(denied) => Err(Broken::Cluster(denied)),
        }
    }

    async fn attributes(&mut self, attributes: Vec<Attribute>) -> Result<Vec<Read>, Broken> {
        let work = Work::Attributes(attributes);
        match self.read(&work, self.deadline).await.map_err(Broken::Meter)? {
            Outcome::Reads(reads) => Ok(reads),
            Outcome::Profile(_) | Outcome::Acted(_) => Ok(Vec::new()),
        }
    }

    /// Whether scheduled work is to make way for an order of another meter on the same line.
    pub(super) fn is_wanted(&self) -> bool {
        match &self.talk {
            Talk::Cosem(link, _) => link.is_wanted(),
            Talk::Local(meter) => meter.is_wanted(),
        }
    }

    /// One piece of work.
    pub(super) async fn read(
        &mut self,
        work: &Work,
        deadline: Instant,
    ) -> Result<Outcome, Failure> {
        match &mut self.talk {
            Talk::Local(meter) => meter.read(self.shared, work, deadline).await,
            Talk::Cosem(link, conversation) => {
                let now = Instant::now().into_std();
                conversation.begin(now, work, deadline.into_std(), random::<32>);
                let meter =
                    Meter { shared: self.shared, serial: self.serial, access: &self.access };
                meter.converse(link, conversation, deadline).await
            }
        }
    }

    /// What is known of the meter; None of one without an object model.
    pub(super) fn known(&self) -> Option<&Known> {
        known_of(&self.talk)
    }

    /// Releases the association and closes, without insisting on an answer. What is known of a
    /// COSEM meter.
    async fn part(self) -> Option<Known> {
        match self.talk {
            Talk::Local(meter) => {
                meter.part(self.shared).await;
                None
            }
            Talk::Cosem(link, mut conversation) => {
                conversation.release(Instant::now().into_std());
                let frames = std::iter::from_fn(|| conversation.poll_transmit()).collect();
                link.part(self.shared, frames).await;
                Some(conversation.into_known())
            }
        }
    }
}

/// What is known of a meter with an object model.
fn known_of(talk: &Talk) -> Option<&Known> {
    match talk {
        Talk::Cosem(_, conversation) => Some(conversation.known()),
        Talk::Local(_) => None,
    }
}

/// Whether a failure means that the session is of no more use.
pub(super) fn breaks(failure: &Failure) -> bool {
    !matches!(failure, Failure::Access(_) | Failure::Malformed(_) | Failure::Unsupported(_))
}

/// Counts and logs how a session broke, once; the failure for orders that still wait.
fn report(shared: &Shared, serial: &str, broken: &Broken) -> Failure {
    let (label, failure) = match broken {
        Broken::Unreachable(why) => {
            tracing::info!(serial, why, "a meter could not be reached");
            ("unreachable", Failure::Unreached(why.clone()))
        }
        Broken::Meter(failure) => {
            tracing::info!(serial, ?failure, "a session with a meter broke");
            let label = match failure {
                Failure::Rejected(_) | Failure::Security(_) => "association_rejected",
                Failure::NoAnswer => "no_answer",
                Failure::Busy => "line_busy",
                Failure::Line(_) => "line_gone",
                _ => "refused",
            };
            (label, failure.clone())
        }
        Broken::Cluster(denied) => {
            tracing::warn!(serial, ?denied, "the cluster did not answer for a meter");
            ("cluster", Failure::ChannelLost)
        }
    };
    shared.metrics.dials.with_label_values(&[label]).inc();
    failure
}

fn unix_s() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
