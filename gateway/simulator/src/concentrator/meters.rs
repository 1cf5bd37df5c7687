//! The meters behind a concentrator: the queue of the power line and one association per (line,
//! meter, client).
//!
//! Invariants: at most [`QUEUE`] requests wait and at most [`SESSIONS`] associations are open; an
//! exchange takes its time on the power line one after the other; a meter's counters are never
//! used twice, also not over a restart.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cosem::apdu::{Apdu, ExceptionResponse, ServiceFault};
use cosem::gateway_header::{self, Direction, Prefix};
use cosem::wrapper::Header;

use super::{Concentrator, Forward, Now, Settings, parse_title, title_text};
use crate::field::ConcentratorModel;
use crate::objects::memory::MeterMemory;
use crate::objects::{After, Meter, Moment, Who};
use crate::session::{COUNTERS_A_STEP, Event, Session};
use crate::state::{BLOCK, Memory};
use crate::tally::Count;
use crate::witness::Counters;

/// Requests that may wait for the power line.
const QUEUE: usize = 256;
/// Associations with meters that may be open in one concentrator.
const SESSIONS: usize = 4_096;

/// A meter's association: line, place of the meter, client SAP.
type Place = (usize, usize, u16);

#[derive(Debug)]
struct Waiting {
    due: Instant,
    line: (usize, u32),
    header: Header,
    meter: usize,
    apdu: Bytes,
}

/// The power line of a concentrator.
#[derive(Debug)]
pub struct MeterPort {
    by_serial: HashMap<Bytes, usize>,
    behind: HashMap<Bytes, usize>,
    queue: VecDeque<Waiting>,
    free_at: Option<Instant>,
    sessions: HashMap<Place, Session>,
    used: BTreeMap<usize, Counters>,
    counters: HashMap<usize, u32>,
    counter_base: u32,
    forwards: VecDeque<Forward>,
}

impl MeterPort {
    /// A power line with nothing on it.
    pub fn new(settings: &Settings, model: &ConcentratorModel, memory: &Memory) -> Self {
        let serials = model.meters.iter().enumerate();
        let by_serial: HashMap<Bytes, usize> = serials
            .map(|(place, meter)| (Bytes::copy_from_slice(meter.serial.as_bytes()), place))
            .collect();
        let behind: &[String] =
            if model.ldn.ends_with("0000000001") { &settings.behind } else { &[] };
        let mut used: BTreeMap<usize, Counters> = BTreeMap::new();
        for (serial, clients) in &memory.meter_clients {
            let Some(place) = by_serial.get(serial.as_bytes()) else { continue };
            for (title, highest) in clients {
                if let Some(title) = parse_title(title) {
                    used.entry(*place).or_default().restore(title, *highest);
                }
            }
        }
        Self {
            by_serial,
            behind: behind
                .iter()
                .enumerate()
                .map(|(place, serial)| (Bytes::copy_from_slice(serial.as_bytes()), place))
                .collect(),
            queue: VecDeque::new(),
            free_at: None,
            sessions: HashMap::new(),
            used,
            counters: HashMap::new(),
            counter_base: memory.meter_counter_high,
            forwards: VecDeque::new(),
        }
    }

    /// Ends the associations of a line.
    pub fn line_closed(&mut self, line: usize) {
        self.sessions.retain(|(of, ..), _| *of != line);
        self.queue.retain(|waiting| waiting.line.0 != line);
        self.forwards.retain(|forward| forward.line.0 != line);
    }

    /// When the next exchange is done.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.queue.front().map(|waiting| waiting.due)
    }

    /// A request for a real meter.
    pub fn poll_forward(&mut self) -> Option<Forward> {
        self.forwards.pop_front()
    }

    /// Enters the counters that meters accepted into the memory.
    pub fn remember(&self, memory: &mut Memory) {
        for (serial, place) in &self.by_serial {
            let Some(used) = self.used.get(place) else { continue };
            let serial = String::from_utf8_lossy(serial).into_owned();
            let highests = used.highests().map(|(title, n)| (title_text(title), n)).collect();
            memory.meter_clients.insert(serial, highests);
        }
    }

    /// The time at which a new exchange would be done.
    fn occupy(&mut self, now: Instant, delay: Duration) -> Instant {
        let due = self.free_at.map_or(now, |free| free.max(now)) + delay;
        self.free_at = Some(due);
        due
    }
}

impl Concentrator {
    /// A frame with gateway prefix.
    pub(super) fn meter_frame(
        &mut self,
        line: usize,
        header: Header,
        prefix: &Prefix,
        apdu: &[u8],
        now: Now,
    ) {
        let tally = &self.settings.tally;
        if self.client(line).is_none() || prefix.direction != Direction::Request {
            tally.one(Count::FramesRefused);
            return;
        }
        tally.one(Count::MeterRequests);
        let generation = self.lines.get(line).map_or(0, |state| state.generation);
        let at = (line, generation);
        if self.meters.queue.len() >= QUEUE || self.meters.forwards.len() >= QUEUE {
            tally.one(Count::MeterBusy);
            self.refuse_for_meter(at, header, &prefix.address, ServiceFault::OtherReason);
            return;
        }
        let apdu = Bytes::copy_from_slice(apdu);
        let address = prefix.address.clone();
        if let Some(meter) = self.meters.behind.get(&address).copied() {
            self.meters.forwards.push_back(Forward { meter, line: at, header, address, apdu });
            return;
        }
        let Some(meter) = self.meters.by_serial.get(&address).copied() else {
            tally.one(Count::UnknownMeters);
            self.refuse_for_meter(at, header, &address, ServiceFault::OperationNotPossible);
            return;
        };
        // A dead meter answers nobody, as on a real power line.
        if self.model.meters.get(meter).is_some_and(|meter| !meter.dead) {
            let due = self.meters.occupy(now.instant, self.settings.plc_delay);
            self.meters.queue.push_back(Waiting { due, line: at, header, meter, apdu });
            self.meters_if_due(now);
        }
    }

    /// Carries out the exchanges that are due.
    pub(super) fn meters_if_due(&mut self, now: Now) {
        while let Some(waiting) =
            self.meters.queue.pop_front_if(|waiting| waiting.due <= now.instant)
        {
            let current = self.lines.get(waiting.line.0).map(|state| state.generation);
            if current == Some(waiting.line.1) {
                self.meter_request(&waiting, now);
            }
        }
    }

    fn meter_request(&mut self, waiting: &Waiting, now: Now) {
        let place = (waiting.line.0, waiting.meter, waiting.header.source);
        let Some(meter) = self.model.meters.get(waiting.meter) else { return };
        let address = Bytes::copy_from_slice(meter.serial.as_bytes());
        let known = self.meters.sessions.remove(&place);
        let untouched = MeterMemory::default();
        let session = known.or_else(|| {
            let room = self.meters.sessions.len() < SESSIONS;
            let memory = self.memory.meters.get(&meter.serial).unwrap_or(&untouched);
            let (sap, client_sap) = (waiting.header.destination, waiting.header.source);
            room.then(|| Session::meter(meter, memory, sap, client_sap).ok()).flatten()
        });
        let Some(mut session) = session else {
            self.settings.tally.one(Count::MeterBusy);
            self.refuse_for_meter(
                waiting.line,
                waiting.header,
                &address,
                ServiceFault::OtherReason,
            );
            return;
        };
        let Some(counters) = self.lend_meter_counters(waiting.meter) else { return };
        session.lend(counters);
        let used = self.meters.used.entry(waiting.meter).or_default();
        session.receive(now.instant, waiting.header, &waiting.apdu, used);
        let mut after = Vec::new();
        while let Some(event) = session.poll() {
            after.append(&mut self.meter_event(waiting, &mut session, event, now));
        }
        while let Some((header, apdu)) = session.poll_apdu() {
            self.answer_for_meter(waiting.line, header, &address, &apdu);
        }
        self.meters.counters.insert(waiting.meter, session.unused());
        // New keys and a restart end every association of the meter. A push through a
        // concentrator is the concentrator's own business.
        if after.iter().any(|after| matches!(after, After::KeysChanged | After::Restart)) {
            self.meters.sessions.retain(|(_, meter, _), _| *meter != waiting.meter);
            self.keep();
        } else {
            self.meters.sessions.insert(place, session);
        }
        self.keep_soon(now);
    }

    /// Gives what is to be done once the answer is out.
    fn meter_event(
        &mut self,
        waiting: &Waiting,
        session: &mut Session,
        event: Event,
        now: Now,
    ) -> Vec<After> {
        let concentrator = self.model.clone();
        let Some(meter) = concentrator.meters.get(waiting.meter) else { return Vec::new() };
        match event {
            Event::Accepted { client, counter } | Event::Replayed { client, counter } => {
                let used = self.meters.used.entry(waiting.meter).or_default();
                if !used.mark(client, counter) {
                    let (serial, client) = (&meter.serial, title_text(client));
                    self.settings.tally.violation(format!(
                        "meter {serial}: client {client} used invocation counter {counter} twice"
                    ));
                }
            }
            Event::Associated => self.settings.tally.one(Count::MeterAssociations),
            Event::Refused(error) => {
                self.settings.tally.one(Count::FramesRefused);
                tracing::debug!(meter = %meter.serial, %error, "refused");
            }
            Event::Request(ask) => {
                let used = self.meters.used.get(&waiting.meter);
                let moment = Moment {
                    now_s: self.field_now_s(now),
                    interval_s: self.settings.interval_s,
                    counter: used.map_or(0, |used| used.of(session.client())),
                    sap: waiting.header.destination,
                    client_sap: waiting.header.source,
                    client: session.client(),
                    quirks: self.settings.faults.quirks(meter.seed),
                };
                let who = Who::of(meter, session.is_public(), moment.client_sap);
                let mut memory = self.memory.meters.remove(&meter.serial).unwrap_or_default();
                let mut device = Meter::new(meter, &mut memory, moment);
                let reply = device.serve(who, &ask);
                session.respond(&ask, reply);
                let after = device.after;
                if memory != MeterMemory::default() {
                    self.memory.meters.insert(meter.serial.clone(), memory);
                }
                return after;
            }
        }
        Vec::new()
    }

    /// Counters of a meter that are kept as reserved.
    fn lend_meter_counters(&mut self, meter: usize) -> Option<Range<u32>> {
        let base = self.meters.counter_base.max(1);
        let first = self.meters.counters.get(&meter).copied().unwrap_or(base);
        let end = first.checked_add(COUNTERS_A_STEP)?;
        if end > self.memory.meter_counter_high {
            self.memory.meter_counter_high = end.checked_add(BLOCK)?;
            if !self.keep() {
                return None;
            }
        }
        Some(first..end)
    }

    fn refuse_for_meter(
        &mut self,
        line: (usize, u32),
        header: Header,
        address: &Bytes,
        fault: ServiceFault,
    ) {
        let apdu = Apdu::ExceptionResponse(ExceptionResponse::not_allowed(fault)).encode();
        self.answer_for_meter(line, header.reversed(), address, &apdu);
    }

    /// Queues a meter's answer with the E7 prefix, if its line is still the same connection.
    pub(super) fn answer_for_meter(
        &mut self,
        (line, generation): (usize, u32),
        header: Header,
        address: &Bytes,
        apdu: &[u8],
    ) {
        let direction = Direction::Response;
        let prefix = Prefix { direction, network: 0, address: address.clone() };
        let mut octets = Vec::with_capacity(apdu.len() + address.len() + 3);
        if gateway_header::encode(&prefix, &mut octets).is_err() {
            return;
        }
        octets.extend_from_slice(apdu);
        if let Some(state) = self.lines.get_mut(line).filter(|s| s.generation == generation) {
            state.queue(header, &octets);
        }
    }
}
