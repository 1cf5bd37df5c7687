//! A conversation with one meter, behind a concentrator or on its own address: access, counters,
//! association, the steps of a read, release. Sans-IO: frames and answers of the cluster go in,
//! frames and questions come out.
//!
//! | state | awaits | goes to |
//! |---|---|---|
//! | Closed | work | Asking |
//! | Asking | the meter's access | Reserving (ciphered) or Associating |
//! | Reserving | a block of counters | Associating |
//! | Associating | AARE, HLS | Open; Counter when our counter may be too low; Closed |
//! | Counter | the public client's association and its answer | Raising, or Closed |
//! | Raising | the cluster's word | Reserving, once |
//! | Open | answers | Open; Closed after a lost answer |
//!
//! Invariants: 1. one piece of work and one request at a time; 2. every association has a fresh
//! block of counters; 3. after an answer that did not come the association is given up, because
//! nobody knows what the meter thinks of it.

mod opening;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cosem::Data;
use cosem::apdu::ServiceFault;
use cosem::association::{Client, Failure as Lost, Indication, InvokeId};
use cosem::wrapper::Header;
use domain::commands::Failure;

use self::opening::COUNTER;
use crate::error::Denied;
use crate::order::{Outcome, Work};
use crate::script::{self, Known, Next, Script};
use crate::translate::StatusBits;
use crate::upcall::MeterAccess;

/// What is asked of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// How is the meter spoken to?
    Access,
    /// A block of counters.
    Reserve,
    /// Move the counters up.
    Raise {
        /// The next block begins here or later.
        at_least: u32,
    },
}

/// Times and sizes of a conversation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For one answer of the meter, the time on its line included.
    pub response: Duration,
    /// What the longest answer takes on the line to it.
    pub line_time: Duration,
    /// Counters of a block.
    pub counters: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Asking,
    Reserving,
    Associating,
    Counter,
    Raising,
    Open,
}

struct Task {
    script: Script,
    /// It changes the meter: whether anything of it has left matters.
    acts: bool,
    deadline: Instant,
    invoke: Option<InvokeId>,
}

/// The conversation.
pub(crate) struct Conversation {
    limits: Limits,
    /// The serial in the gateway header; None on the meter's own connection.
    gateway: Option<Bytes>,
    state: State,
    access: Option<MeterAccess>,
    known: Known,
    client: Option<Client>,
    random: fn() -> [u8; 32],
    task: Option<Task>,
    /// The counters were raised in this try already.
    raised: bool,
    /// The connection was opened a second time for this work already.
    reconnected: bool,
    /// The meter was busy in this try already.
    repeated: bool,
    /// The open association waits for more counters.
    refilling: bool,
    last_used: Instant,
    transmit: VecDeque<Vec<u8>>,
    questions: VecDeque<Question>,
    outcome: Option<Result<Outcome, Failure>>,
}

impl Conversation {
    /// A closed conversation. `gateway` is the serial when the meter is behind a concentrator.
    pub fn new(limits: Limits, gateway: Option<&str>, known: Option<Known>, now: Instant) -> Self {
        Self {
            limits,
            gateway: gateway.map(|serial| Bytes::copy_from_slice(serial.as_bytes())),
            state: State::Closed,
            access: None,
            known: known.unwrap_or_else(|| Known::new(StatusBits::Idis)),
            client: None,
            random: || [0; 32],
            task: None,
            raised: false,
            reconnected: false,
            repeated: false,
            refilling: false,
            last_used: now,
            transmit: VecDeque::new(),
            questions: VecDeque::new(),
            outcome: None,
        }
    }

    /// Begins a piece of work; the conversation must be idle. `random` gives fresh octets, for each
    /// association that is opened for it anew.
    pub fn begin(
        &mut self,
        now: Instant,
        work: &Work,
        deadline: Instant,
        random: fn() -> [u8; 32],
    ) {
        let (script, acts) = (Script::new(work), work.acts());
        self.task = Some(Task { script, acts, deadline, invoke: None });
        self.last_used = now;
        self.random = random;
        match self.state {
            State::Open => {
                self.step_first(now);
                self.collect(now);
            }
            State::Closed => {
                (self.raised, self.reconnected, self.repeated) = (false, false, false);
                self.ask(State::Asking, Question::Access);
            }
            _ => {}
        }
    }

    /// True while a piece of work is not answered.
    pub fn is_busy(&self) -> bool {
        self.task.is_some() || self.outcome.is_some()
    }

    /// True while an association is held.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// When it last had work.
    pub fn last_used(&self) -> Instant {
        self.last_used
    }

    /// What is known of the meter.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// What is known of the meter, to add to it.
    pub fn known_mut(&mut self) -> &mut Known {
        &mut self.known
    }

    /// What is to be kept for the next conversation with the same meter.
    pub fn into_known(self) -> Known {
        self.known
    }

    /// Says good-bye; the answer is of no interest.
    pub fn release(&mut self, now: Instant) {
        if let Some(client) = &mut self.client {
            let _ = client.release(now);
        }
        self.collect(now);
        self.state = State::Closed;
        self.client = None;
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front()
    }

    /// The next question to the cluster.
    pub fn poll_question(&mut self) -> Option<Question> {
        self.questions.pop_front()
    }

    /// The end of the work, once.
    pub fn poll_outcome(&mut self) -> Option<Result<Outcome, Failure>> {
        self.outcome.take()
    }

    /// When `handle_timeout` wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let client = self.client.as_ref().and_then(Client::poll_timeout);
        let task = self.task.as_ref().map(|task| task.deadline);
        client.into_iter().chain(task).min()
    }

    /// A deadline may have come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(client) = &mut self.client {
            client.handle_timeout(now);
        }
        self.collect(now);
        if self.task.as_ref().is_some_and(|task| task.deadline <= now) {
            self.fail(Failure::NoAnswer);
        }
    }

    /// A frame of the meter.
    ///
    /// # Errors
    /// The frame was refused and changed nothing.
    pub fn handle_frame(
        &mut self,
        now: Instant,
        header: Header,
        octets: &[u8],
    ) -> Result<(), cosem::Error> {
        let Some(client) = &mut self.client else {
            return Err(cosem::Error::WrongState("no association with this meter"));
        };
        let taken = client.handle_frame(now, header, octets);
        self.collect(now);
        taken
    }

    /// The meter closed its connection. True: connect once more and call `handle_reconnected`, for
    /// some meters close on a counter that is too low.
    pub fn handle_closed(&mut self) -> bool {
        let is_ciphered = self.access.as_ref().is_some_and(|access| access.keys.is_some());
        let associating = matches!(self.state, State::Associating | State::Counter);
        if is_ciphered && associating && !self.reconnected {
            (self.raised, self.reconnected) = (true, true);
            self.client = None;
            return true;
        }
        self.fail(Failure::Rejected("the meter closed the connection".to_owned()));
        false
    }

    /// What leads to the meter is gone, or gave it up.
    pub fn handle_lost(&mut self, failure: Failure) {
        self.fail(failure);
    }

    /// What comes from the meter cannot be read any more.
    pub fn handle_broken(&mut self) {
        self.fail(Failure::Malformed("frames that cannot be read".to_owned()));
    }

    /// There is a connection again.
    pub fn handle_reconnected(&mut self, now: Instant) {
        self.ask_counter(now);
    }

    /// The answer to `Question::Access`.
    pub fn handle_access(&mut self, now: Instant, answer: Result<MeterAccess, Denied>) {
        if self.state != State::Asking {
            return;
        }
        match answer {
            Err(denied) => self.fail(denied_failure(denied)),
            Ok(access) => {
                if let Err(missing) = access.keying().lacks() {
                    self.fail(Failure::Security(missing.to_owned()));
                    return;
                }
                self.known.follow(&access.model);
                self.access = Some(access);
                self.try_to_associate(now);
            }
        }
    }

    /// The answer to `Question::Reserve`: the first of the block.
    pub fn handle_reserved(&mut self, now: Instant, answer: Result<u32, Denied>) {
        let first = match answer {
            Ok(first) => first,
            Err(denied) => {
                self.fail(denied_failure(denied));
                return;
            }
        };
        let block = first..first.saturating_add(self.limits.counters);
        match (self.state, &mut self.client) {
            (State::Reserving, _) => self.associate(now, block),
            (State::Open | State::Associating, Some(client)) if self.refilling => {
                self.refilling = false;
                client.set_counters(now, block);
                self.collect(now);
            }
            _ => {}
        }
    }

    /// The answer to `Question::Raise`.
    pub fn handle_raised(&mut self, answer: Result<(), Denied>) {
        match answer {
            _ if self.state != State::Raising => {}
            Ok(()) => self.ask(State::Reserving, Question::Reserve),
            Err(denied) => self.fail(denied_failure(denied)),
        }
    }

    fn ask(&mut self, state: State, question: Question) {
        self.state = state;
        self.questions.push_back(question);
    }

    /// Takes everything out of the client after something went in.
    fn collect(&mut self, now: Instant) {
        while let Some(client) = &mut self.client {
            while let Some(frame) = client.poll_transmit() {
                self.transmit.push_back(frame);
            }
            let Some(indication) = client.poll() else { return };
            self.indicated(now, indication);
        }
    }

    fn indicated(&mut self, now: Instant, indication: Indication) {
        match (self.state, indication) {
            (State::Associating, Indication::Associated { .. }) => {
                self.state = State::Open;
                self.step_first(now);
            }
            (State::Associating, Indication::Rejected(rejection)) => self.rejected(now, rejection),
            (State::Counter, Indication::Associated { .. }) => {
                if let Some(client) = &mut self.client {
                    let _ = client.get(now, COUNTER, None);
                }
            }
            (State::Counter, Indication::Got { result, .. }) => {
                let counter = result.ok().and_then(|data| data.as_integer());
                self.part_from_public(now);
                self.counter_known(counter.and_then(|value| u32::try_from(value).ok()));
            }
            (State::Counter, Indication::Rejected(_) | Indication::Failed { .. }) => {
                self.counter_known(None);
            }
            (State::Open, Indication::Got { invoke, result }) if self.awaits(invoke) => {
                self.step(now, result);
            }
            (State::Open, Indication::Set { invoke, result }) if self.awaits(invoke) => {
                self.step(now, result.map(|()| Data::Null));
            }
            (State::Open, Indication::Acted { invoke, result }) if self.awaits(invoke) => {
                self.step(now, result.map(|returned| returned.unwrap_or(Data::Null)));
            }
            (State::Open, Indication::Failed { failure, .. }) => self.fail(lost(failure)),
            (State::Open | State::Associating, Indication::NeedCounters { .. })
                if !self.refilling =>
            {
                self.refilling = true;
                self.questions.push_back(Question::Reserve);
            }
            (State::Open, Indication::Released) => self.fail(Failure::ChannelLost),
            _ => {}
        }
    }

    fn awaits(&self, invoke: InvokeId) -> bool {
        self.task.as_ref().and_then(|task| task.invoke) == Some(invoke)
    }

    fn step_first(&mut self, now: Instant) {
        let Some(task) = &mut self.task else { return };
        let next = task.script.start(now, &self.known);
        self.follow(now, next);
    }

    fn step(&mut self, now: Instant, result: crate::script::GetResult) {
        let Some(task) = &mut self.task else { return };
        let next = task.script.answer(now, &mut self.known, result);
        self.follow(now, next);
    }

    fn follow(&mut self, now: Instant, next: Result<Next, Failure>) {
        let Some(client) = &mut self.client else { return };
        match (script::ask(client, now, next), &mut self.task) {
            (Ok(invoke), Some(task)) => task.invoke = Some(invoke),
            (Ok(_), None) => {}
            (Err(ended), _) => self.end(ended),
        }
    }

    /// Ends the work and keeps the association.
    fn end(&mut self, result: Result<Outcome, Failure>) {
        if self.task.take().is_some() {
            self.outcome = Some(result);
        }
    }

    /// Ends the work and gives the association up.
    fn fail(&mut self, failure: Failure) {
        let begun = self.task.as_ref().is_none_or(|task| task.invoke.is_some() || !task.acts);
        self.end(Err(if begun { failure } else { failure.before_sending() }));
        self.state = State::Closed;
        self.client = None;
    }
}

fn denied_failure(denied: Denied) -> Failure {
    match denied {
        Denied::Refused { code, .. } => Failure::Unsupported(code),
        Denied::Unavailable => Failure::NoAnswer,
    }
}

fn lost(failure: Lost) -> Failure {
    match failure {
        Lost::Timeout => Failure::NoAnswer,
        Lost::Exception(exception) => match exception.fault {
            ServiceFault::InvocationCounter { .. } | ServiceFault::Deciphering => {
                Failure::Security(format!("{:?}", exception.fault))
            }
            fault => Failure::Rejected(format!("{fault:?}")),
        },
        Lost::ServiceError(error) => Failure::Rejected(format!("{error:?}")),
        Lost::Refused(error) => Failure::Malformed(error.to_string()),
        Lost::Closed => Failure::ChannelLost,
    }
}
