//! One session with a meter of its own address: connect, associate, read what is due and what was
//! ordered, store it, release, close.
//!
//! Invariants: 1. every wait has a deadline, the whole session too; 2. a part is stored before the
//! next range is asked, so that the watermark moves on even when the meter dies half-way; 3. values
//! go to the cluster or to who ordered them, never both ways round.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use cosem::wrapper::Deframer;
use domain::commands::{Attribute, Failure, Read, Value};
use domain::readings::Part;
use domain::{Device, Obis};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::ask::ask;
use crate::error::Denied;
use crate::listen::set_options;
use crate::meter::{Conversation, Limits, Question};
use crate::order::{Order, Outcome, ProfileRead, Work};
use crate::schedule::Job;
use crate::script::Known;
use crate::shared::{Shared, random};
use crate::translate;
use crate::upcall::{MeterAccess, MeterQuery, RaiseCounter, Reserve, Upcall};

/// A meter's clock may run ahead of ours so far before its newest rows are left for later, seconds.
const AHEAD_S: i64 = 3_600;

/// Between two goes at reading the answer of a release.
const GOOD_BYE: Duration = Duration::from_millis(500);

/// What a session is for.
pub(super) struct Errand {
    pub serial: String,
    pub epoch: u64,
    pub known: Option<Known>,
    pub orders: VecDeque<Order>,
    pub jobs: Vec<Job>,
}

/// How it ended: what is known of the meter now, and the jobs that are done; None when the meter
/// was not reached.
pub(super) struct End {
    pub known: Option<Known>,
    pub done: Option<Vec<Job>>,
}

/// Why a session ends early.
enum Broken {
    /// No connection.
    Unreachable(String),
    /// The meter.
    Meter(Failure),
    /// The cluster.
    Cluster(Denied),
}

struct Session<'a> {
    shared: &'a Shared,
    serial: &'a str,
    epoch: u64,
    access: MeterAccess,
    stream: TcpStream,
    deframer: Deframer,
    buffer: BytesMut,
    conversation: Conversation,
    /// No work after it.
    deadline: Instant,
}

/// Runs the errand.
pub(super) async fn run(shared: Arc<Shared>, errand: Errand) -> End {
    let Errand { serial, epoch, known, mut orders, jobs } = errand;
    let limit = Duration::from_millis(shared.config.dial_session_timeout_ms);
    let deadline = Instant::now() + limit;
    let opened = timeout(limit, open(&shared, &serial, epoch, known.clone(), deadline)).await;
    let mut session = match opened {
        Ok(Ok(session)) => session,
        Ok(Err(broken)) => {
            let failure = report(&shared, &serial, &broken);
            answer_all(orders, &failure);
            return End { known, done: None };
        }
        Err(_) => {
            answer_all(orders, &Failure::NoAnswer);
            return End { known, done: None };
        }
    };
    let mut done = Vec::new();
    let result = match timeout(limit, session.work_off(&mut orders, jobs, &mut done)).await {
        Ok(result) => result,
        Err(_) => Err(Broken::Meter(Failure::NoAnswer)),
    };
    session.part().await;
    let known = Some(session.conversation.into_known());
    match result {
        Ok(()) => {
            shared.metrics.dials.with_label_values(&["ok"]).inc();
            End { known, done: Some(done) }
        }
        Err(broken) => {
            let failure = report(&shared, &serial, &broken);
            answer_all(orders, &failure);
            End { known, done: None }
        }
    }
}

async fn open<'a>(
    shared: &'a Shared,
    serial: &'a str,
    epoch: u64,
    known: Option<Known>,
    deadline: Instant,
) -> Result<Session<'a>, Broken> {
    let query = MeterQuery { serial: serial.to_owned(), concentrator: None };
    let access = ask(shared, query, Upcall::Meter).await.map_err(Broken::Cluster)?;
    let stream = connect(shared, &access).await?;
    let limits = Limits {
        response: Duration::from_millis(shared.config.meter_timeout_ms),
        counters: shared.config.meter_counter_block,
    };
    Ok(Session {
        shared,
        serial,
        epoch,
        stream,
        deframer: Deframer::new(shared.config.max_apdu_octets),
        buffer: BytesMut::new(),
        conversation: Conversation::new(limits, None, known, Instant::now().into_std()),
        access,
        deadline,
    })
}

async fn connect(shared: &Shared, access: &MeterAccess) -> Result<TcpStream, Broken> {
    let unreachable = |why: String| Broken::Unreachable(why);
    let Some(address) = &access.address else {
        return Err(unreachable("the meter has no address of its own".to_owned()));
    };
    let limit = Duration::from_millis(shared.config.dial_connect_timeout_ms);
    match timeout(limit, TcpStream::connect(address.as_str())).await {
        Ok(Ok(stream)) => {
            set_options(&stream);
            Ok(stream)
        }
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable("no connection in time".to_owned())),
    }
}

impl Session<'_> {
    /// Orders first, then what is due.
    async fn work_off(
        &mut self,
        orders: &mut VecDeque<Order>,
        jobs: Vec<Job>,
        done: &mut Vec<Job>,
    ) -> Result<(), Broken> {
        while let Some(order) = orders.pop_front() {
            let deadline = Instant::from_std(order.deadline).min(self.deadline);
            let result = self.read(&order.work, deadline).await;
            let broken = result.as_ref().err().filter(|failure| breaks(failure)).cloned();
            order.answer(result);
            if let Some(failure) = broken {
                return Err(Broken::Meter(failure));
            }
        }
        for job in jobs {
            match self.job(job).await {
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
        let listed = match self.access.registers.as_slice() {
            [] => vec![Obis::ACTIVE_IMPORT, Obis::ACTIVE_EXPORT],
            listed => listed.to_vec(),
        };
        let register = |obis| Attribute { class: 3, obis, attribute: 2 };
        let reads = self.attributes(listed.into_iter().map(register).collect()).await?;
        let batch = translate::registers_batch(self.access.ordinal, unix_s(), &reads);
        match batch {
            None => Ok(()),
            Some(batch) => self.store(vec![batch]).await,
        }
    }

    /// From behind the watermark up to now, range by range, each stored before the next.
    async fn profile(&mut self) -> Result<(), Broken> {
        let obis = self.access.profile.unwrap_or(Obis::LOAD_PROFILE);
        let now_s = unix_s();
        let reach_s = i64::try_from(self.shared.config.profile_reach_s).unwrap_or(i64::MAX);
        let chunk_s = i64::try_from(self.shared.config.profile_chunk_s).unwrap_or(i64::MAX);
        let oldest_s = now_s.saturating_sub(reach_s);
        let stored = self.access.watermark_s.map_or(oldest_s, |end_s| end_s.saturating_add(1));
        let mut from_s = stored.max(oldest_s);
        let end_s = now_s + AHEAD_S;
        while from_s <= end_s {
            let to_s = from_s.saturating_add(chunk_s - 1).min(end_s);
            let work = Work::Profile { obis, from_s, to_s };
            let read = self.read(&work, self.deadline).await.map_err(Broken::Meter)?;
            if let Outcome::Profile(read) = read {
                self.store_profile(&read).await?;
            }
            from_s = to_s.saturating_add(1);
        }
        Ok(())
    }

    async fn store_profile(&mut self, read: &ProfileRead) -> Result<(), Broken> {
        let part = translate::part_of(self.access.ordinal, None, read);
        if part.batches.is_empty() {
            return Ok(());
        }
        self.store(part.batches).await?;
        let newest = read.rows.iter().map(|row| row.end_s).max();
        self.access.watermark_s = newest.max(self.access.watermark_s);
        Ok(())
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
            Outcome::Profile(_) => Ok(Vec::new()),
        }
    }

    /// One piece of work on the conversation.
    async fn read(&mut self, work: &Work, deadline: Instant) -> Result<Outcome, Failure> {
        let now = Instant::now().into_std();
        self.conversation.begin(now, work, deadline.into_std(), random::<16>());
        loop {
            while let Some(question) = self.conversation.poll_question() {
                self.question(question).await;
            }
            if self.write().await.is_err() && !self.reconnect().await {
                continue;
            }
            if let Some(result) = self.conversation.poll_outcome() {
                return result;
            }
            let at = self.conversation.poll_timeout().map_or(deadline, Instant::from_std);
            tokio::select! {
                read = self.stream.read_buf(&mut self.buffer) => match read {
                    Ok(octets) if octets > 0 => self.frames(octets),
                    _ => {
                        self.reconnect().await;
                    }
                },
                () = sleep_until(at) => {
                    self.conversation.handle_timeout(Instant::now().into_std());
                }
            }
        }
    }

    /// False when the conversation has given up.
    async fn reconnect(&mut self) -> bool {
        if !self.conversation.handle_closed() {
            return false;
        }
        match connect(self.shared, &self.access).await {
            Ok(stream) => {
                self.stream = stream;
                self.deframer = Deframer::new(self.shared.config.max_apdu_octets);
                self.buffer.clear();
                self.conversation.handle_reconnected(Instant::now().into_std());
                true
            }
            Err(_) => self.conversation.handle_closed(),
        }
    }

    async fn question(&mut self, question: Question) {
        let device = Device::Meter(self.serial.to_owned());
        let shared = self.shared;
        let count = shared.config.meter_counter_block;
        match question {
            Question::Access => {
                let now = Instant::now().into_std();
                self.conversation.handle_access(now, Ok(self.access.clone()));
            }
            Question::Reserve => {
                let first = ask(shared, Reserve { device, count }, Upcall::Reserve).await;
                self.conversation.handle_reserved(Instant::now().into_std(), first);
            }
            Question::Raise { at_least } => {
                let raise = RaiseCounter { device, at_least };
                let raised = ask(shared, raise, Upcall::RaiseCounter).await;
                self.conversation.handle_raised(raised);
            }
        }
        if let Some(more) = self.conversation.poll_question() {
            Box::pin(self.question(more)).await;
        }
    }

    async fn write(&mut self) -> std::io::Result<()> {
        let limit = Duration::from_millis(self.shared.config.write_timeout_ms);
        while let Some(frame) = self.conversation.poll_transmit() {
            match timeout(limit, self.stream.write_all(&frame)).await {
                Ok(written) => written?,
                Err(_) => return Err(std::io::ErrorKind::TimedOut.into()),
            }
            self.shared.metrics.sent.inc_by(frame.len() as u64);
        }
        Ok(())
    }

    fn frames(&mut self, octets: usize) {
        self.shared.metrics.received.inc_by(octets as u64);
        self.deframer.feed(&self.buffer);
        self.buffer.clear();
        let now = Instant::now().into_std();
        loop {
            match self.deframer.next_frame() {
                Ok(None) => return,
                Ok(Some((header, apdu))) => {
                    if let Err(error) = self.conversation.handle_frame(now, header, &apdu) {
                        self.count(error);
                    }
                }
                Err(error) => {
                    self.count(error);
                    // The stream cannot be read any more.
                    self.conversation.handle_broken();
                    return;
                }
            }
        }
    }

    fn count(&self, error: cosem::Error) {
        let cause = match error {
            cosem::Error::Malformed { .. } => "malformed",
            cosem::Error::TooLong { .. } => "oversized",
            cosem::Error::Replayed { .. } => "replayed",
            cosem::Error::BadTag | cosem::Error::Protection(_) => "undecipherable",
            _ => "unexpected",
        };
        self.shared.metrics.frames_refused.with_label_values(&[cause]).inc();
        tracing::debug!(serial = self.serial, %error, "a frame of a meter was refused");
    }

    /// Releases the association and closes, without insisting on an answer.
    async fn part(&mut self) {
        self.conversation.release(Instant::now().into_std());
        let stream = &mut self.stream;
        let mut frames = Vec::new();
        while let Some(frame) = self.conversation.poll_transmit() {
            frames.extend_from_slice(&frame);
        }
        let good_bye = async {
            stream.write_all(&frames).await?;
            self.buffer.clear();
            stream.read_buf(&mut self.buffer).await?;
            stream.shutdown().await
        };
        if !frames.is_empty() {
            let _ = timeout(GOOD_BYE, good_bye).await;
        }
    }
}

/// Whether a failure means that the session is of no more use.
fn breaks(failure: &Failure) -> bool {
    !matches!(failure, Failure::Access(_) | Failure::Malformed(_) | Failure::Unsupported(_))
}

fn answer_all(orders: VecDeque<Order>, failure: &Failure) {
    for order in orders {
        order.answer(Err(failure.clone()));
    }
}

/// Counts and logs how a session broke, once; the failure for orders that still wait.
fn report(shared: &Shared, serial: &str, broken: &Broken) -> Failure {
    let (label, failure) = match broken {
        Broken::Unreachable(why) => {
            tracing::info!(serial, why, "a meter could not be reached");
            ("unreachable", Failure::NoAnswer)
        }
        Broken::Meter(failure) => {
            tracing::info!(serial, ?failure, "a session with a meter broke");
            let label = match failure {
                Failure::Rejected(_) | Failure::Security(_) => "association_rejected",
                Failure::NoAnswer => "no_answer",
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
