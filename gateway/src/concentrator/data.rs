//! What an active channel carries: pushes into the cluster and their acknowledgements, heartbeats,
//! the roster of meters, and reads of the concentrator's own objects.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use cosem::association::{InvokeId, Notification as Wire};
use cosem::{AttributeRef, Data};
use domain::Device;
use domain::alarms::Report;
use domain::commands::Failure;
use domain::leases::Reason;
use domain::readings::{Mark, Part};

use super::notification::{self, Notification};
use super::pushes::{Offer, Part as Fate, Settled};
use super::{Event, Own, Parked, Request, Session, State};
use crate::error::{Cause, Denied};
use crate::order::{Order, Pace};
use crate::script::{self, GetResult, Next, Script};
use crate::translate::{self, Dropped};

/// Written with the last sequence that is stored without a gap.
const LAST_SEQUENCE: AttributeRef = AttributeRef::new(1, [0, 0, 94, 86, 130, 255], 2);

/// The roster is asked again for an unknown meter at most this often.
const ROSTER_EVERY: Duration = Duration::from_secs(1);

/// A push with rows of an unknown meter is held back so long, for the registration may be on its
/// way. A concentrator that misses an acknowledgement for its answer time calls the channel lost,
/// so it is never more than half of that.
const HOLD: Duration = Duration::from_secs(3);

impl Session {
    pub(super) fn notified(&mut self, now: Instant, wire: Wire) {
        let Ok(body) = wire.body() else { return self.reported(now, &wire) };
        let name_is_ours = |name: &[u8]| name == self.login.concentrator.as_bytes();
        match notification::decode(body) {
            Err(error) => self.refuse(error),
            Ok(Notification::Heartbeat { concentrator, list_revision, meters_online })
                if name_is_ours(concentrator) =>
            {
                self.events.push_back(Event::Heartbeat(meters_online));
                if list_revision != self.login.list_revision {
                    self.login.list_revision = list_revision;
                    self.ask_roster(now);
                }
            }
            Ok(Notification::Promote { concentrator, epoch }) if name_is_ours(concentrator) => {
                self.promoted(epoch);
            }
            Ok(Notification::Push { concentrator, head, .. }) if name_is_ours(concentrator) => {
                let sequence = head.sequence;
                self.offered(now, sequence, wire);
            }
            Ok(_) => self.events.push_back(Event::FrameRefused("unexpected")),
        }
    }

    /// The concentrator says that its main channel is lost. On a channel that is active already
    /// under a newer epoch there is nothing to do: the concentrator has accepted it or will be
    /// asked by the answer to the activation.
    fn promoted(&mut self, _accepted: u32) {
        self.wish(Reason::Promoted);
    }

    /// The concentrator tells of itself. Its events stand in the sequence of pushes: they are
    /// stored, then acknowledged, and come again otherwise.
    fn reported(&mut self, now: Instant, wire: &Wire) {
        let event = wire.event();
        let concentrator = self.login.concentrator.clone();
        let event = event.and_then(|event| translate::own_event(&event, &concentrator));
        let (Ok((sequence, event)), State::Active { epoch }) = (event, &self.state) else {
            self.events.push_back(Event::FrameRefused("unexpected"));
            return;
        };
        let epoch = *epoch;
        if !self.is_new(now, sequence) {
            return;
        }
        let Ok(event) = event else { return self.malformed(now, sequence) };
        let report = Report { concentrator, epoch, events: vec![event] };
        self.requests.push_back(Request::Report { sequence, report });
    }

    /// Whether what came in this place of the sequence is to be stored. One that came before is
    /// acknowledged again, and after one that is missing the channel is closed.
    fn is_new(&mut self, now: Instant, sequence: u32) -> bool {
        match self.pushes.offer(sequence, now) {
            Offer::New => return true,
            Offer::Gap => self.close(Cause::SequenceGap),
            Offer::Again => {
                self.events.push_back(Event::Duplicate);
                self.acknowledge(now);
            }
        }
        false
    }

    /// What came in this place cannot be read. Its frame is authentic, so it is what the
    /// concentrator means to send: sent again it would be the same. It is counted and must not
    /// hold back the others.
    fn malformed(&mut self, now: Instant, sequence: u32) {
        let code = "malformed".to_owned();
        self.events.push_back(Event::PartRefused { code, detail: String::new() });
        self.settled(now, sequence, Fate::Refused);
    }

    /// The cluster's answer to a report.
    pub(super) fn report_stored(
        &mut self,
        now: Instant,
        epoch: u64,
        sequence: u32,
        answer: Result<(), Denied>,
    ) {
        if !matches!(self.state, State::Active { epoch: current } if current == epoch) {
            return;
        }
        match answer {
            Ok(()) => self.settled(now, sequence, Fate::Stored),
            Err(Denied::Unavailable) => self.close(Cause::ClusterUnavailable),
            Err(Denied::Refused { code, .. }) if code == "stale_epoch" => self.step_back(),
            Err(Denied::Refused { code, detail }) => {
                self.events.push_back(Event::PartRefused { code, detail });
                self.settled(now, sequence, Fate::Refused);
            }
        }
    }

    fn offered(&mut self, now: Instant, sequence: u32, notification: Wire) {
        if !matches!(self.state, State::Active { .. }) {
            self.events.push_back(Event::FrameRefused("unexpected"));
            return;
        }
        if !self.is_new(now, sequence) {
            return;
        }
        let counter = notification.counter.unwrap_or(0);
        let push = Parked { sequence, counter, notification, until: None };
        if self.ordinals.is_none() {
            self.parked.push_back(push);
            self.ask_roster(now);
        } else {
            self.ingest(now, push);
        }
    }

    /// Translates a push and hands it to the cluster. With meters that are not in the roster it
    /// waits for a fresh one, for a bounded time.
    fn ingest(&mut self, now: Instant, mut push: Parked) {
        let State::Active { epoch } = self.state else { return };
        let Some(ordinals) = &self.ordinals else { return };
        let body = push.notification.body();
        let translated = body.and_then(notification::decode).and_then(|push| match push {
            Notification::Push { head, meters, .. } => translate::push(&head, meters, ordinals),
            _ => Err(cosem::Error::WrongState("no push")),
        });
        let Ok(pushed) = translated else { return self.malformed(now, push.sequence) };
        push.until = self.hold(now, &pushed.strangers);
        let ask = push.until.is_some() && self.roster_due().is_some_and(|due| due <= now);
        // The roster that is on its way is waited for in any case.
        if push.until.is_some() || (self.roster_pending && !pushed.strangers.is_empty()) {
            self.parked.push_back(push);
            if ask {
                self.ask_roster(now);
            }
            return;
        }
        if pushed.dropped != Dropped::default() {
            self.events.push_back(Event::Dropped(pushed.dropped));
        }
        let concentrator = self.login.concentrator.clone();
        let (sequence, counter) = (push.sequence, push.counter);
        let lease = Some((Device::Concentrator(concentrator.clone()), epoch));
        let mark = Some(Mark { concentrator, sequence, counter });
        let part = Part { lease, mark, batches: pushed.batches };
        self.requests.push_back(Request::Ingest { epoch, sequence, part });
    }

    /// The cluster's answer to a part.
    pub(super) fn stored(
        &mut self,
        now: Instant,
        epoch: u64,
        sequence: u32,
        part: &Part,
        answer: Result<u32, Denied>,
    ) {
        // An answer to an earlier activation says nothing of this one.
        if !matches!(self.state, State::Active { epoch: current } if current == epoch) {
            return;
        }
        match answer {
            Ok(rows) => {
                self.events.push_back(Event::Stored(rows));
                self.settled(now, sequence, Fate::Stored);
            }
            Err(Denied::Unavailable) => self.close(Cause::ClusterUnavailable),
            Err(Denied::Refused { code, .. }) if code == "stale_epoch" => self.step_back(),
            Err(Denied::Refused { code, detail }) => {
                let pieces = translate::divide(part);
                if pieces.is_empty() {
                    self.events.push_back(Event::PartRefused { code, detail });
                    self.settled(now, sequence, Fate::Refused);
                    return;
                }
                self.pushes.expect(sequence, u32::try_from(pieces.len()).unwrap_or(u32::MAX));
                for part in pieces {
                    self.requests.push_back(Request::Ingest { epoch, sequence, part });
                }
                self.settled(now, sequence, Fate::Divided);
            }
        }
    }

    fn settled(&mut self, now: Instant, sequence: u32, fate: Fate) {
        let settled = self.pushes.settle(sequence, fate);
        if settled != Settled::NotYet {
            self.events.push_back(Event::Settled(settled));
            self.acknowledge(now);
        }
    }

    /// Writes the highest contiguous sequence, when none is on its way.
    fn acknowledge(&mut self, now: Instant) {
        let Some(client) = &mut self.client else { return };
        let Some((sequence, arrivals)) = self.pushes.acknowledge() else { return };
        match client.set(now, LAST_SEQUENCE, None, Data::U32(sequence)) {
            Ok(invoke) => {
                self.acknowledging = Some(invoke);
                let took = arrivals.iter().map(|came| now.duration_since(*came)).collect();
                self.events.push_back(Event::Acknowledged(sequence, took));
            }
            Err(_) => self.close(Cause::AnswerLate),
        }
    }

    /// The concentrator has answered an acknowledgement.
    pub(super) fn acknowledged(&mut self, now: Instant, invoke: InvokeId, accepted: bool) {
        if self.acknowledging != Some(invoke) {
            return;
        }
        self.acknowledging = None;
        if !accepted {
            // It does not take us for the active channel any more.
            self.close(Cause::ActivationRefused);
            return;
        }
        self.pushes.confirm();
        self.acknowledge(now);
    }

    /// Until when a push with rows of these meters waits for their registration; None when there
    /// are none or all have been waited for.
    fn hold(&self, now: Instant, strangers: &BTreeSet<String>) -> Option<Instant> {
        let hold = HOLD.min(Duration::from_millis(self.config.answer_timeout_ms) / 2);
        let name = &self.login.concentrator;
        let wait = |serial: &String| self.strangers.wait_until(name, serial, now, hold);
        strangers.iter().filter_map(wait).max()
    }

    /// When the roster may be asked again; None while an answer is awaited.
    fn roster_due(&self) -> Option<Instant> {
        let asked = self.roster_asked?;
        (!self.roster_pending).then_some(asked + ROSTER_EVERY)
    }

    /// When a push that is held back needs something: a fresh roster, or its end of waiting.
    pub(super) fn parked_timeout(&self) -> Option<Instant> {
        let end = self.parked.iter().filter_map(|push| push.until).min()?;
        Some(self.roster_due().map_or(end, |due| due.min(end)))
    }

    /// Asks the roster again for the pushes that wait, and lets those go on that waited enough.
    pub(super) fn parked_due(&mut self, now: Instant) {
        let waits = self.parked.iter().any(|push| push.until.is_some());
        if waits && self.roster_due().is_some_and(|due| due <= now) {
            self.ask_roster(now);
        }
        if self.parked.iter().any(|push| push.until.is_some_and(|until| until <= now)) {
            self.ingest_parked(now);
        }
    }

    fn ingest_parked(&mut self, now: Instant) {
        for push in std::mem::take(&mut self.parked) {
            self.ingest(now, push);
        }
    }

    pub(super) fn ask_roster(&mut self, now: Instant) {
        if !matches!(self.state, State::Active { .. }) {
            return;
        }
        if self.roster_pending {
            // The answer under way may be older than what made this wish.
            self.roster_again = true;
            return;
        }
        self.roster_pending = true;
        self.roster_asked = Some(now);
        self.requests.push_back(Request::Roster);
    }

    /// The meters behind the concentrator; pushes that waited for them go on.
    pub(super) fn roster(&mut self, now: Instant, answer: Result<HashMap<String, u32>, Denied>) {
        self.roster_pending = false;
        match answer {
            Ok(ordinals) => self.ordinals = Some(ordinals),
            Err(Denied::Refused { .. }) => return self.close(Cause::ClusterRefused),
            Err(Denied::Unavailable) => return self.close(Cause::ClusterUnavailable),
        }
        if std::mem::take(&mut self.roster_again) {
            self.ask_roster(now);
        }
        self.ingest_parked(now);
    }

    pub(super) fn order_own(&mut self, now: Instant, order: Order) {
        if self.own.is_some() {
            if self.own_waiting.len() >= self.config.orders_per_channel {
                let busy = "too many orders wait for this device".to_owned();
                order.answer(Err(Failure::Unsupported(busy)));
                return;
            }
            let ahead = |other: &Order| other.pace == order.pace || order.pace == Pace::Background;
            let place = self.own_waiting.iter().rposition(ahead).map_or(0, |place| place + 1);
            self.own_waiting.insert(place, order);
            return;
        }
        self.begin_own(now, order);
    }

    /// Answers the concentrator's own orders whose time is over, and begins the next that waits.
    pub(super) fn own_due(&mut self, now: Instant) {
        if self.own.as_ref().is_some_and(|own| own.order.deadline <= now)
            && let Some(own) = self.own.take()
        {
            own.order.answer(Err(Failure::NoAnswer));
        }
        for order in std::mem::take(&mut self.own_waiting) {
            if order.deadline <= now {
                order.answer(Err(Failure::NoAnswer));
            } else {
                self.own_waiting.push_back(order);
            }
        }
        while self.own.is_none()
            && let Some(order) = self.own_waiting.pop_front()
        {
            self.begin_own(now, order);
        }
    }

    fn begin_own(&mut self, now: Instant, order: Order) {
        let mut script = Script::new(&order.work);
        let next = script.start(now, &self.own_known);
        self.follow_own(now, order, script, next);
    }

    pub(super) fn got(&mut self, now: Instant, invoke: InvokeId, result: GetResult) {
        match self.own.take() {
            Some(mut own) if own.invoke == invoke => {
                let next = own.script.answer(now, &mut self.own_known, result);
                self.follow_own(now, own.order, own.script, next);
                self.own_due(now);
            }
            other => self.own = other,
        }
    }

    fn follow_own(
        &mut self,
        now: Instant,
        order: Order,
        script: Script,
        next: Result<Next, Failure>,
    ) {
        let Some(client) = &mut self.client else {
            return order.answer(Err(Failure::ChannelLost));
        };
        match script::ask(client, now, next) {
            Ok(invoke) => self.own = Some(Own { order, script, invoke }),
            Err(ended) => order.answer(ended),
        }
    }
}
