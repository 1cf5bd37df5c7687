//! The session of one concentrator on one channel (docs/reference/concentrator.md). Sans-IO:
//! octets, times, answers of the cluster and notices go in; frames, requests to the cluster and
//! events come out. After every call that goes in the driver asks all of `poll_transmit`,
//! `poll_request`, `poll`, `poll_timeout` and `wants_input`.
//!
//! | state | awaits | goes to |
//! |---|---|---|
//! | Identity | the identity notification | Admitting |
//! | Admitting | Admit | Counters |
//! | Counters | Reserve (after Raise, if the concentrator's counter is higher) | Associating |
//! | Associating | AARE and HLS | Claiming (login); Raising once |
//! | Claiming | Claim | Renewing when granted, Standby when held |
//! | Standby | promote, a notice | Claiming |
//! | Renewing | Reserve: a fresh block for the new epoch | Activating |
//! | Activating | SET active channel | Active |
//! | Active | pushes; a moved lease | Standby |
//! | any that owns | `suspend` | Standby, and Claiming at `resume` |
//! | Closed | nothing | |
//!
//! Invariants: 1. nothing but the identity is read before the association has proven it; 2. data
//! are taken only while Active, and acknowledged only after `Stored`; 3. every epoch has its own
//! counters; 4. an answer to a request of an earlier state is ignored (its ticket is old); 5. a
//! suspended session owns nothing and claims nothing.

mod data;
mod exchange;
mod frames;
mod login;
pub(crate) mod meters;
pub(crate) mod notification;
mod pushes;
pub(crate) mod strangers;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cosem::Keys;
use cosem::association::{Client, InvokeId};
use cosem::wrapper::Deframer;
use domain::commands::Failure;
use domain::leases::Reason;

pub(crate) use self::exchange::{Answer, Event, Request};
use self::meters::{Bounds, Meters};
use self::pushes::Pushes;
pub(crate) use self::pushes::Settled;
use self::strangers::Strangers;
use crate::error::Cause;
use crate::meter::Limits;
use crate::order::Order;
use crate::roster::Login;
use crate::script::{Known, Script};
use crate::translate::StatusBits;
use crate::upcall::Admission;
use crate::{Config, Notice};

#[derive(Debug)]
enum State {
    Identity,
    Admitting { frame: Bytes },
    Counters,
    Raising,
    Associating,
    Claiming { reason: Reason, next: Option<Reason> },
    Standby,
    Renewing { epoch: u64, reason: Reason },
    Activating { epoch: u64, reason: Reason, set: InvokeId },
    Active { epoch: u64 },
    Closed,
}

/// An order for the concentrator itself.
struct Own {
    order: Order,
    script: Script,
    invoke: InvokeId,
}

/// A push that waits for the roster.
struct Parked {
    sequence: u32,
    counter: u32,
    notification: cosem::association::Notification,
    /// The end of waiting for meters that the roster lacks; None when the roster that is on its way
    /// decides.
    until: Option<Instant>,
}

/// The session.
pub(crate) struct Session {
    config: Config,
    remote: SocketAddr,
    random: fn() -> [u8; 32],
    state: State,
    ticket: u64,
    deframer: Deframer,
    started: Instant,
    heard: Instant,
    /// Since when the socket is read again after a pause; answers may still be behind.
    resumed: Option<Instant>,
    paused: bool,
    admission: Option<Admission>,
    keys: Option<Keys>,
    identity_counter: u32,
    raised: bool,
    /// The node may not act.
    suspended: bool,
    /// Why the lease is asked for once the node may act again.
    deferred: Option<Reason>,
    login: Login,
    client: Option<Client>,
    refilling: bool,
    ordinals: Option<HashMap<String, u32>>,
    roster_asked: Option<Instant>,
    roster_pending: bool,
    roster_again: bool,
    strangers: Arc<Strangers>,
    pushes: Pushes,
    parked: VecDeque<Parked>,
    acknowledging: Option<InvokeId>,
    meters: Meters,
    own: Option<Own>,
    own_waiting: VecDeque<Order>,
    own_known: Known,
    transmit: VecDeque<Vec<u8>>,
    requests: VecDeque<Request>,
    events: VecDeque<Event>,
}

impl Session {
    /// A session on a stream that has just been accepted. `random` gives fresh challenges,
    /// `strangers` is shared by all sessions of the node.
    pub fn new(
        config: &Config,
        remote: SocketAddr,
        strangers: Arc<Strangers>,
        random: fn() -> [u8; 32],
        now: Instant,
    ) -> Self {
        let conversation = Limits {
            line_time: Duration::ZERO,
            response: Duration::from_millis(config.meter_timeout_ms),
            counters: config.meter_counter_block,
        };
        let bounds = Bounds {
            open: config.meters_open_per_channel,
            running: config.reads_in_flight_per_channel,
            waiting: config.orders_per_channel,
            conversation,
        };
        Self {
            remote,
            random,
            state: State::Identity,
            ticket: 0,
            deframer: Deframer::new(config.max_apdu_octets),
            started: now,
            heard: now,
            resumed: None,
            paused: false,
            admission: None,
            keys: None,
            identity_counter: 0,
            raised: false,
            suspended: false,
            deferred: None,
            login: Login::default(),
            client: None,
            refilling: false,
            ordinals: None,
            roster_asked: None,
            roster_pending: false,
            roster_again: false,
            strangers,
            pushes: Pushes::new(config.push_window),
            parked: VecDeque::new(),
            acknowledging: None,
            meters: Meters::new(bounds, random),
            own: None,
            own_waiting: VecDeque::new(),
            own_known: Known::new(StatusBits::Agreed),
            transmit: VecDeque::new(),
            requests: VecDeque::new(),
            events: VecDeque::new(),
            config: config.clone(),
        }
    }

    /// The concentrator's name once it is admitted, else nothing.
    pub fn concentrator(&self) -> &str {
        self.admission.as_ref().map_or("", |admission| &admission.concentrator)
    }

    /// The other end.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Whether the socket may be read. False while the window is full: then nothing more is taken
    /// from the socket, and its sender feels it.
    pub fn wants_input(&self) -> bool {
        match self.state {
            State::Closed => false,
            // What follows the identity can be read only once there is an association.
            _ if self.looks_ahead() => false,
            _ => !self.pushes.is_full(),
        }
    }

    /// Whether the socket should be looked at although nothing can be read from it: who hangs up
    /// while the cluster is asked need not be waited for.
    pub fn looks_ahead(&self) -> bool {
        matches!(self.state, State::Admitting { .. } | State::Counters | State::Raising)
    }

    /// Octets from the socket.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        self.deframer.feed(bytes);
        self.turn(now);
    }

    /// The stream ended or failed.
    pub fn handle_end(&mut self, cause: Cause) {
        self.close(cause);
    }

    /// A deadline may have come.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Closed => return,
            State::Identity if now >= self.login_deadline() => self.close(Cause::IdentityLate),
            _ if self.is_logging_in() && now >= self.login_deadline() => {
                self.close(Cause::LoginLate);
            }
            _ => {}
        }
        let silent_at = self.heard + self.config.silence();
        if self.is_proven() && self.wants_input() && now >= silent_at {
            self.close(Cause::Silent);
        }
        if self.client_timeout().is_some_and(|at| at <= now)
            && let Some(client) = &mut self.client
        {
            client.handle_timeout(now);
        }
        self.meters.handle_timeout(now);
        self.parked_due(now);
        self.own_due(now);
        self.turn(now);
    }

    /// An answer of the cluster.
    pub fn handle_answer(&mut self, now: Instant, answer: Answer) {
        if matches!(self.state, State::Closed) {
            return;
        }
        match answer {
            Answer::Admitted { ticket, answer } if ticket == self.ticket => {
                // It may have waited for its turn behind a whole field: its own time begins now.
                self.started = now;
                self.admitted(answer);
            }
            Answer::Reserved { ticket, answer } if ticket == self.ticket => {
                self.reserved(now, answer);
            }
            Answer::Raised { ticket, answer } if ticket == self.ticket => {
                self.counter_raised(answer)
            }
            Answer::Claimed { ticket, answer } if ticket == self.ticket => self.claimed(answer),
            Answer::Admitted { .. }
            | Answer::Reserved { .. }
            | Answer::Raised { .. }
            | Answer::Claimed { .. } => {}
            Answer::Refilled(answer) => self.refilled(now, answer),
            Answer::Roster(answer) => self.roster(now, answer),
            Answer::Stored { epoch, sequence, part, answer } => {
                self.stored(now, epoch, sequence, &part, answer);
            }
            Answer::Reported { epoch, sequence, answer } => {
                self.report_stored(now, epoch, sequence, answer);
            }
            Answer::Access { serial, answer } => self.meters.handle_access(now, &serial, answer),
            Answer::MeterReserved { serial, answer } => {
                self.meters.handle_reserved(now, &serial, answer);
            }
            Answer::MeterRaised { serial, answer } => {
                self.meters.handle_raised(now, &serial, answer);
            }
        }
        self.turn(now);
    }

    /// What the cluster says by itself.
    pub fn handle_notice(&mut self, now: Instant, notice: Notice) {
        match notice {
            Notice::OwnerLost => self.wish(Reason::OwnerLost),
            Notice::Switch => self.wish(Reason::Ordered),
            Notice::Return => self.wish(Reason::Returned),
            Notice::LeaseMoved { epoch } => self.lease_moved(epoch),
            Notice::MetersChanged => self.ask_roster(now),
            Notice::Cut => self.close(Cause::Drilled),
            // The driver of the byte stream does that.
            Notice::Hush { .. } => {}
        }
        self.turn(now);
    }

    /// This node may not act any more: an active channel becomes a standby, and until `resume`
    /// nothing is claimed or activated.
    pub fn suspend(&mut self, now: Instant) {
        self.suspended = true;
        self.hold_still();
        self.turn(now);
    }

    /// This node may act again.
    pub fn resume(&mut self, now: Instant) {
        self.suspended = false;
        if let (State::Standby, Some(reason)) = (&self.state, self.deferred.take()) {
            self.claim(reason);
        }
        self.turn(now);
    }

    /// A newer connection has proven the same identity.
    pub fn supersede(&mut self) {
        self.close(Cause::Superseded);
    }

    /// An order for the concentrator or one of its meters.
    pub fn order(&mut self, now: Instant, order: Order) {
        let State::Active { epoch } = self.state else {
            order.answer(Err(Failure::NoChannel));
            return;
        };
        if order.epoch.is_some_and(|wanted| wanted != epoch) {
            order.answer(Err(Failure::NoChannel));
            return;
        }
        if order.meter.is_some() {
            self.meters.order(now, order);
        } else {
            self.order_own(now, order);
        }
        self.turn(now);
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front()
    }

    /// The next question to the cluster.
    pub fn poll_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// The next thing that happened.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When `handle_timeout` wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if matches!(self.state, State::Closed) {
            return None;
        }
        let login = self.is_logging_in().then(|| self.login_deadline());
        let silent = self.is_proven() && self.wants_input();
        let silent = silent.then(|| self.heard + self.config.silence());
        let own = self.own.iter().map(|own| &own.order).chain(&self.own_waiting);
        let own = own.map(|order| order.deadline).min();
        let parked = self.parked_timeout();
        let all = [login, silent, own, parked, self.client_timeout(), self.meters.poll_timeout()];
        all.into_iter().flatten().min()
    }

    /// While the socket is not read, an answer may wait in it: the association's clock stands
    /// still, and gets a whole answer time after it is read again.
    fn client_timeout(&self) -> Option<Instant> {
        if !self.wants_input() {
            return None;
        }
        let at = self.client.as_ref().and_then(Client::poll_timeout)?;
        let answer = Duration::from_millis(self.config.answer_timeout_ms);
        Some(self.resumed.map_or(at, |resumed| at.max(resumed + answer)))
    }

    fn login_deadline(&self) -> Instant {
        let ms = match self.state {
            State::Identity => self.config.identity_timeout_ms,
            _ => self.config.login_timeout_ms,
        };
        self.started + Duration::from_millis(ms)
    }

    fn is_logging_in(&self) -> bool {
        matches!(
            self.state,
            State::Identity
                | State::Admitting { .. }
                | State::Counters
                | State::Raising
                | State::Associating
        )
    }

    fn is_proven(&self) -> bool {
        !self.is_logging_in() && !matches!(self.state, State::Closed)
    }

    fn next_ticket(&mut self) -> u64 {
        self.ticket += 1;
        self.ticket
    }

    /// Ends the session: what is held goes back, who waits is told.
    fn close(&mut self, cause: Cause) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        match state {
            State::Closed => return,
            // The newer channel of the same concentrator has the lease or asks for it.
            _ if cause == Cause::Superseded => {}
            State::Active { epoch }
            | State::Activating { epoch, .. }
            | State::Renewing { epoch, .. } => {
                self.requests.push_back(Request::Release { epoch });
            }
            // A claim that is granted after all is given back by the driver.
            State::Standby | State::Claiming { .. } => {
                self.requests.push_back(Request::Standby { up: false });
            }
            _ => {}
        }
        self.abandon();
        self.client = None;
        self.events.push_back(Event::Closed(cause));
    }

    /// Orders of an activation that is over.
    fn abandon(&mut self) {
        self.meters.abandon();
        if let Some(own) = self.own.take() {
            own.order.answer(Err(Failure::ChannelLost));
        }
        // These never left.
        for order in self.own_waiting.drain(..) {
            order.answer(Err(Failure::NoChannel));
        }
    }
}
