//! Meters with an address of their own: DLMS servers that are dialled, over the wrapper on TCP
//! ([`tcp`]), over HDLC and IEC 62056-21 on lines that several meters share ([`line`], [`serial`]).
//!
//! Invariants: every wait has a deadline; a meter's counters are never used twice, also not over
//! a restart when a memory is kept, unless the fault `answer-counter` says so.

mod ascii;
mod conversation;
pub mod line;
pub mod serial;
pub mod tcp;

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cosem::wrapper::Header;

pub use self::conversation::{Answered, Conversation};
use self::line::Role;
use crate::clock::FieldClock;
use crate::concentrator::{Now, Settings, parse_title, title_text};
use crate::config::FIRST_DIRECT_SAP;
use crate::fault::Kind;
use crate::field::MeterModel;
use crate::objects::memory::MeterMemory;
use crate::objects::{After, Meter, Moment, Who};
use crate::session::{COUNTERS_A_STEP, Event, Session};
use crate::state::{BLOCK, Keeper, Memory};
use crate::tally::Count;
use crate::witness::Counters;

/// Meters on one line, as on an RS485 segment.
pub const METERS_A_LINE: usize = 32;

/// How many meters stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Meters over the wrapper.
    pub wrapper: usize,
    /// Ports that those are spread over.
    pub ports: usize,
    /// Meters on HDLC lines.
    pub hdlc: usize,
    /// Meters on IEC 62056-21 lines.
    pub iec: usize,
}

/// Meters with addresses of their own: first those over the wrapper, then HDLC, then 62056-21.
#[derive(Debug)]
pub struct DirectField {
    settings: Arc<Settings>,
    meters: Vec<MeterModel>,
    placement: Placement,
    lines: Vec<Vec<(usize, Role)>>,
    clock: FieldClock,
    keeper: Keeper,
    devices: Mutex<Devices>,
}

#[derive(Debug)]
struct Devices {
    memory: Memory,
    used: HashMap<usize, Counters>,
    next: HashMap<usize, u32>,
    base: u32,
}

impl DirectField {
    /// A field that goes on from the memory that `keeper` holds.
    ///
    /// # Errors
    /// When the memory cannot be read.
    pub fn new(
        settings: Arc<Settings>,
        meters: Vec<MeterModel>,
        placement: Placement,
        keeper: Keeper,
        now: Now,
    ) -> io::Result<Self> {
        let memory = keeper.load(settings.seed, crate::concentrator::counter_base(now.real_us))?;
        let start_us = now.real_us - settings.history_s * 1_000_000;
        let mut used: HashMap<usize, Counters> = HashMap::new();
        for (place, meter) in meters.iter().enumerate() {
            for (title, highest) in memory.meter_clients.get(&meter.serial).into_iter().flatten() {
                if let Some(title) = parse_title(title) {
                    used.entry(place).or_default().restore(title, *highest);
                }
            }
        }
        let base = memory.meter_counter_high.max(1);
        Ok(Self {
            clock: FieldClock::new(now.real_us, start_us, settings.speed),
            placement: Placement { ports: placement.ports.max(1), ..placement },
            lines: line::layout(placement),
            devices: Mutex::new(Devices { memory, used, next: HashMap::new(), base }),
            settings,
            meters,
            keeper,
        })
    }

    /// Port (counted from 0) and server SAP of a meter over the wrapper.
    #[must_use]
    pub fn place(&self, meter: usize) -> (usize, u16) {
        let ports = self.placement.ports;
        let sap = u16::try_from(meter / ports).unwrap_or(u16::MAX - FIRST_DIRECT_SAP);
        (meter % ports, FIRST_DIRECT_SAP + sap)
    }

    /// The meters, all of them.
    #[must_use]
    pub fn meters(&self) -> &[MeterModel] {
        &self.meters
    }

    /// Where they stand.
    #[must_use]
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// The lines with their stations: place of the meter, and how it is reached.
    #[must_use]
    pub fn lines(&self) -> &[Vec<(usize, Role)>] {
        &self.lines
    }

    fn line(&self, line: usize) -> &[(usize, Role)] {
        self.lines.get(line).map_or(&[], Vec::as_slice)
    }

    fn find(&self, port: usize, sap: u16) -> Option<(usize, &MeterModel)> {
        let row = usize::from(sap.checked_sub(FIRST_DIRECT_SAP)?);
        let place = row.checked_mul(self.placement.ports)?.checked_add(port)?;
        let meter = self.meters.get(place).filter(|_| place < self.placement.wrapper)?;
        Some((place, meter))
    }

    /// A conversation of a client with the meter at a place.
    ///
    /// # Errors
    /// When the system has no random octets.
    pub fn converse(&self, place: usize, header: Header) -> io::Result<Option<Conversation>> {
        let Some(meter) = self.meters.get(place) else { return Ok(None) };
        let devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let untouched = MeterMemory::default();
        let memory = devices.memory.meters.get(&meter.serial).unwrap_or(&untouched);
        let session = Session::meter(meter, memory, header.destination, header.source);
        let quirks = self.settings.faults.quirks(meter.seed);
        Ok(Some(Conversation::new(session.map_err(io::Error::other)?, place, quirks)))
    }

    /// Takes one APDU of a client; gives the APDUs that answer it.
    ///
    /// # Errors
    /// When the memory cannot be written.
    pub fn exchange(
        &self,
        talk: &mut Conversation,
        header: Header,
        apdu: &[u8],
        now: Now,
    ) -> io::Result<Answered> {
        let Some(meter) = self.meters.get(talk.place) else { return Ok(Answered::default()) };
        if let Some(answered) = talk.before(header, apdu) {
            self.count(&answered.faults);
            return Ok(answered);
        }
        let place = talk.place;
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let low = talk.uses_low_counters();
        let lent = devices.lend(place, &self.keeper)?;
        talk.session.lend(if low { 0..COUNTERS_A_STEP } else { lent.clone() });
        let used = devices.used.entry(place).or_default();
        talk.session.receive(now.instant, header, apdu, used);
        let mut after = Vec::new();
        while let Some(event) = talk.session.poll() {
            let mut ask = Asking { meter, header, now };
            after.append(&mut self.event(&mut devices, talk, event, &mut ask));
        }
        let unused = talk.session.unused();
        devices.next.insert(place, if low { lent.start } else { unused });
        let ended = after.iter().any(|a| matches!(a, After::KeysChanged | After::Restart));
        if ended {
            self.keeper.save(&devices.memory)?;
        }
        drop(devices);
        let answered = talk.after(ended);
        self.count(&answered.faults);
        Ok(answered)
    }

    fn count(&self, faults: &[Kind]) {
        faults.iter().for_each(|kind| self.settings.tally.fault(*kind));
    }

    fn event(
        &self,
        devices: &mut Devices,
        talk: &mut Conversation,
        event: Event,
        ask: &mut Asking<'_>,
    ) -> Vec<After> {
        let meter = ask.meter;
        let used = devices.used.entry(talk.place).or_default();
        match event {
            Event::Accepted { client, counter } | Event::Replayed { client, counter } => {
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
            Event::Request(request) => {
                self.settings.tally.one(Count::DirectRequests);
                let moment = Moment {
                    counter: used.of(talk.session.client()),
                    sap: ask.header.destination,
                    client_sap: ask.header.source,
                    client: talk.session.client(),
                    ..self.moment(meter, ask.now)
                };
                let who = Who::of(meter, talk.session.is_public(), moment.client_sap);
                return self.with_meter(&mut devices.memory, meter, moment, |device| {
                    let reply = device.serve(who, &request);
                    talk.session.respond(&request, reply);
                    let after = std::mem::take(&mut device.after);
                    for after in &after {
                        if let After::Push(purpose) = after {
                            talk.invoke += 1;
                            talk.session.notify(talk.invoke, device.push_body(*purpose));
                        }
                    }
                    after
                });
            }
        }
        Vec::new()
    }

    fn moment(&self, meter: &MeterModel, now: Now) -> Moment {
        let now_s = self.clock.at_us(now.real_us).div_euclid(1_000_000);
        let quirks = self.settings.faults.quirks(meter.seed);
        Moment { quirks, ..Moment::at(now_s, self.settings.interval_s) }
    }

    /// Lends a meter with its memory; what was done to it is remembered.
    fn with_meter<T>(
        &self,
        memory: &mut Memory,
        meter: &MeterModel,
        moment: Moment,
        work: impl FnOnce(&mut Meter<'_>) -> T,
    ) -> T {
        let mut own = memory.meters.remove(&meter.serial).unwrap_or_default();
        let result = work(&mut Meter::new(meter, &mut own, moment));
        if own != MeterMemory::default() {
            memory.meters.insert(meter.serial.clone(), own);
        }
        result
    }

    /// Lends the meter at a place outside of any association, as to its local port.
    fn locally<T>(
        &self,
        place: usize,
        now: Now,
        work: impl FnOnce(&mut Meter<'_>) -> T,
    ) -> Option<T> {
        let meter = self.meters.get(place)?;
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = self.moment(meter, now);
        Some(self.with_meter(&mut devices.memory, meter, moment, work))
    }

    /// How long a late answer is late.
    #[must_use]
    pub fn lateness(&self) -> Duration {
        self.settings.fault_hold
    }

    /// Keeps what clients have used and done.
    ///
    /// # Errors
    /// When the memory cannot be written.
    pub fn keep(&self) -> io::Result<()> {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, meter) in self.meters.iter().enumerate() {
            let Some(used) = devices.used.get(&place) else { continue };
            let highests = used.highests().map(|(title, n)| (title_text(title), n)).collect();
            devices.memory.meter_clients.insert(meter.serial.clone(), highests);
        }
        self.keeper.save(&devices.memory)
    }
}

/// What a request is answered for.
struct Asking<'a> {
    meter: &'a MeterModel,
    header: Header,
    now: Now,
}

impl Devices {
    /// Counters of a meter that are kept as reserved.
    fn lend(&mut self, place: usize, keeper: &Keeper) -> io::Result<Range<u32>> {
        let first = self.next.get(&place).copied().unwrap_or(self.base);
        let spent = || io::Error::other("a meter's invocation counters are spent");
        let end = first.checked_add(COUNTERS_A_STEP).ok_or_else(spent)?;
        if end > self.memory.meter_counter_high {
            self.memory.meter_counter_high = end.checked_add(BLOCK).ok_or_else(spent)?;
            keeper.save(&self.memory)?;
        }
        Ok(first..end)
    }
}
