//! A line that several meters share, as RS485 or an optical head shows it, sans-IO: HDLC stations
//! told apart by their physical address, IEC 62056-21 stations by their device address.
//!
//! Every station hears every octet and answers only what is meant for it. Invariants: at most
//! [`super::METERS_A_LINE`] stations; a station that handed its line to HDLC takes it back when the
//! link ends; nobody answers before the deadline that its machine named.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cosem::Secret;
use cosem::hdlc::{self, Address, Parameters};
use cosem::iec62056_21::{self as iec, Identification, Output, Parity, Request};
use cosem::wrapper::Header;

use super::{Conversation, DirectField, METERS_A_LINE, Placement, ascii};
use crate::concentrator::Now;
use crate::fault::Kind;
use crate::field::Access;
use crate::tally::Count;

/// Physical address of the first HDLC meter of a line.
pub const FIRST_PHYSICAL: u16 = 17;
/// Pause of a mode D meter between two sendings.
const UNASKED: Duration = Duration::from_secs(5);
/// Reaction time of the ASCII stations: the shortest of the standard.
const REACTION: Duration = Duration::from_millis(20);

/// Time that a change of the rate takes.
const CHANGE_OF_RATE: Duration = Duration::from_millis(200);

/// The modes that ASCII meters have, in turn.
pub const MODES: [char; 4] = ['c', 'e', 'a', 'b'];

/// What the line should do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// Send.
    Octets(Bytes),
    /// Wait before the next.
    Pause(Duration),
    /// Drop the connection: the meter lost power.
    Cut,
}

/// A line.
pub struct Line {
    stations: Vec<Station>,
    out: VecDeque<Out>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Line({} stations)", self.stations.len())
    }
}

struct Station {
    place: usize,
    role: Role,
    /// Frames or blocks sent, for faults that count them.
    sent: u32,
    talk: Option<Conversation>,
    machine: Machine,
}

enum Machine {
    Hdlc(Box<hdlc::Server>),
    Ascii(Box<iec::Server>),
    /// Sends unasked.
    Unasked(Instant),
}

/// How a station of a line is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// By HDLC, with this physical address.
    Hdlc(u16),
    /// By IEC 62056-21 in this mode: a, b, c or e.
    Ascii(char),
    /// Not at all: mode D sends unasked.
    Unasked,
}

/// The stations of every line: first HDLC, then the shared ASCII lines (modes C, E, A, B in turn),
/// then one line for each fifth ASCII meter, which is of mode D and must be alone.
#[must_use]
pub fn layout(placement: Placement) -> Vec<Vec<(usize, Role)>> {
    let physical = |at: usize| FIRST_PHYSICAL + u16::try_from(at % METERS_A_LINE).unwrap_or(0);
    let hdlc: Vec<_> =
        (0..placement.hdlc).map(|at| (placement.wrapper + at, Role::Hdlc(physical(at)))).collect();
    let first = placement.wrapper + placement.hdlc;
    let (mut shared, mut alone) = (Vec::new(), Vec::new());
    for at in 0..placement.iec {
        match MODES.get(at % (MODES.len() + 1)) {
            Some(mode) => shared.push((first + at, Role::Ascii(*mode))),
            None => alone.push(vec![(first + at, Role::Unasked)]),
        }
    }
    let lines = hdlc.chunks(METERS_A_LINE).chain(shared.chunks(METERS_A_LINE));
    lines.map(<[_]>::to_vec).chain(alone).collect()
}

impl Line {
    /// The line with this number, as somebody finds it who has just connected.
    #[must_use]
    pub fn new(field: &DirectField, line: usize, now: Instant) -> Self {
        let mut stations = Vec::new();
        for (place, role) in field.line(line) {
            let Some(meter) = field.meters().get(*place).filter(|meter| !meter.dead) else {
                continue;
            };
            let machine = match role {
                Role::Hdlc(physical) => hdlc_machine(*physical).map(Machine::Hdlc),
                Role::Ascii(mode) => Some(Machine::Ascii(ascii_machine(meter, *mode))),
                Role::Unasked => Some(Machine::Unasked(now)),
            };
            let Some(machine) = machine else { continue };
            let role = *role;
            stations.push(Station { place: *place, role, sent: 0, talk: None, machine });
        }
        Self { stations, out: VecDeque::new() }
    }

    /// Octets from the line.
    ///
    /// # Errors
    /// When a meter's memory cannot be written.
    pub fn handle_bytes(&mut self, field: &DirectField, now: Now, octets: &[u8]) -> io::Result<()> {
        // While one station has handed the line to HDLC, the ASCII ones take it for noise.
        let handed = self.stations.iter().any(|s| s.is_handed());
        for station in &mut self.stations {
            match &mut station.machine {
                Machine::Hdlc(link) => link.handle_bytes(now.instant, octets),
                Machine::Ascii(server) if !handed => server.handle_bytes(now.instant, octets),
                Machine::Ascii(_) | Machine::Unasked(_) => {}
            }
        }
        self.work(field, now)
    }

    /// The time that `poll_timeout` asked for has come.
    ///
    /// # Errors
    /// When a meter's memory cannot be written.
    pub fn handle_timeout(&mut self, field: &DirectField, now: Now) -> io::Result<()> {
        for station in &mut self.stations {
            match &mut station.machine {
                Machine::Hdlc(link) => link.handle_timeout(now.instant),
                Machine::Ascii(server) => server.handle_timeout(now.instant),
                Machine::Unasked(at) => {
                    if *at <= now.instant {
                        *at = now.instant + UNASKED;
                        let data = ascii::unasked(field, station.place, now);
                        self.out.push_back(Out::Octets(data));
                    }
                }
            }
        }
        self.work(field, now)
    }

    /// What the line should do next.
    pub fn poll_transmit(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    /// When `handle_timeout` wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = |station: &Station| match &station.machine {
            Machine::Hdlc(link) => link.poll_timeout(),
            Machine::Ascii(server) => server.poll_timeout(),
            Machine::Unasked(at) => Some(*at),
        };
        self.stations.iter().filter_map(due).min()
    }

    fn work(&mut self, field: &DirectField, now: Now) -> io::Result<()> {
        for station in &mut self.stations {
            station.work(field, now, &mut self.out)?;
        }
        Ok(())
    }
}

impl Station {
    /// Whether an ASCII station has handed the line to HDLC.
    fn is_handed(&self) -> bool {
        matches!((&self.machine, self.role), (Machine::Hdlc(_), Role::Ascii(_)))
    }

    fn work(&mut self, field: &DirectField, now: Now, out: &mut VecDeque<Out>) -> io::Result<()> {
        match &mut self.machine {
            Machine::Hdlc(_) => self.work_hdlc(field, now, out),
            Machine::Ascii(_) => {
                self.work_ascii(field, now, out);
                Ok(())
            }
            Machine::Unasked(_) => Ok(()),
        }
    }

    fn plays(&self, field: &DirectField, kind: Kind) -> bool {
        let meter = field.meters().get(self.place);
        meter.is_some_and(|meter| field.settings.faults.quirks(meter.seed).plays(kind))
    }

    fn work_hdlc(
        &mut self,
        field: &DirectField,
        now: Now,
        out: &mut VecDeque<Out>,
    ) -> io::Result<()> {
        let Machine::Hdlc(link) = &mut self.machine else { return Ok(()) };
        let (mut half, mut ended) = (false, false);
        while let Some(indication) = link.poll() {
            match indication {
                hdlc::Indication::Apdu(apdu) => {
                    let header = Header { source: link.client().logical(), destination: 1 };
                    if self.talk.is_none() {
                        self.talk = field.converse(self.place, header)?;
                    }
                    let Some(talk) = &mut self.talk else { continue };
                    let answered = field.exchange(talk, header, &apdu, now)?;
                    if answered.late {
                        out.push_back(Out::Pause(field.lateness()));
                    }
                    half |= answered.half;
                    if answered.cut {
                        out.push_back(Out::Cut);
                    }
                    if answered.apdus.is_empty() {
                        link.pass();
                    }
                    for (_, apdu) in &answered.apdus {
                        if let Err(error) = link.send(apdu) {
                            tracing::debug!(%error, "an HDLC answer was not sent");
                            field.settings.tally.one(Count::FramesRefused);
                        }
                    }
                    if answered.ended {
                        self.talk = None;
                    }
                }
                hdlc::Indication::Connected(_) => self.talk = None,
                hdlc::Indication::Disconnected(_) => (self.talk, ended) = (None, true),
                hdlc::Indication::Push { .. } => {}
            }
        }
        while let Some(frame) = {
            let Machine::Hdlc(link) = &mut self.machine else { return Ok(()) };
            link.poll_transmit()
        } {
            self.sent = self.sent.wrapping_add(1);
            let frame = self.spoil_frame(field, frame, half);
            out.push_back(Out::Octets(frame));
        }
        // Behind the link the line is the ASCII station's again.
        if let (true, Role::Ascii(mode), Some(meter)) =
            (ended, self.role, field.meters().get(self.place))
        {
            self.machine = Machine::Ascii(ascii_machine(meter, mode));
        }
        Ok(())
    }

    /// Plays the faults of the link layer on a frame.
    fn spoil_frame(&self, field: &DirectField, frame: Bytes, half: bool) -> Bytes {
        let mut octets = frame.to_vec();
        if self.plays(field, Kind::WrongCheck) && self.sent.is_multiple_of(4) {
            // The check sequence stands before the closing flag.
            let at = octets.len().saturating_sub(2);
            if let Some(octet) = octets.get_mut(at) {
                *octet ^= 0x55;
                field.settings.tally.fault(Kind::WrongCheck);
            }
        }
        if self.plays(field, Kind::Junk) {
            octets.splice(0..0, [0x00, 0xff, 0x55, 0x7d]);
            field.settings.tally.fault(Kind::Junk);
        }
        if half {
            octets.truncate(octets.len() / 2);
        }
        octets.into()
    }

    fn work_ascii(&mut self, field: &DirectField, now: Now, out: &mut VecDeque<Out>) {
        let mut hand_over = false;
        let Machine::Ascii(server) = &mut self.machine else { return };
        while let Some(request) = server.poll() {
            let reply = match request {
                Request::Readout(_) => ascii::readout(field, self.place, now),
                Request::Command(command) => ascii::command(field, self.place, now, &command),
                Request::Hdlc(_) => {
                    hand_over = true;
                    continue;
                }
                Request::Closed => continue,
            };
            if let Err(error) = server.respond(now.instant, &reply) {
                tracing::debug!(%error, "a 62056-21 answer was not sent");
            }
        }
        let mut outputs = Vec::new();
        while let Some(output) = server.poll_transmit() {
            outputs.push(output);
        }
        for output in outputs {
            match output {
                Output::Transmit(octets) => {
                    self.sent = self.sent.wrapping_add(1);
                    out.push_back(Out::Octets(self.spoil_block(field, octets)));
                }
                // The rate itself has no meaning here, the time that its change takes has: a
                // client drops what comes while it changes its own.
                Output::ChangeBaud(_) => out.push_back(Out::Pause(CHANGE_OF_RATE)),
            }
        }
        if hand_over && let Some(link) = hdlc_machine(FIRST_PHYSICAL) {
            self.machine = Machine::Hdlc(link);
        }
    }

    fn spoil_block(&self, field: &DirectField, octets: Bytes) -> Bytes {
        let mut octets = octets.to_vec();
        let is_block = matches!(octets.first(), Some(1 | 2));
        let wrong = is_block && self.plays(field, Kind::WrongCheck) && self.sent.is_multiple_of(2);
        if let Some(octet) = octets.last_mut().filter(|_| wrong) {
            *octet ^= 0x05;
            field.settings.tally.fault(Kind::WrongCheck);
        }
        if self.plays(field, Kind::Junk) {
            octets.splice(0..0, *b"\x7f?~");
            field.settings.tally.fault(Kind::Junk);
        }
        if is_block && self.plays(field, Kind::HalfFrame) {
            octets.truncate(octets.len() / 2);
            field.settings.tally.fault(Kind::HalfFrame);
        }
        octets.into()
    }
}

fn hdlc_machine(physical: u16) -> Option<Box<hdlc::Server>> {
    let physical = u8::try_from(physical).ok()?;
    let mut config = hdlc::ServerConfig::new(Address::two(1, physical).ok()?);
    config.parameters = Parameters {
        transmit_octets: 512,
        receive_octets: 512,
        transmit_window: 1,
        receive_window: 1,
    };
    Some(Box::new(hdlc::Server::new(config)))
}

fn ascii_machine(meter: &crate::field::MeterModel, mode: char) -> Box<iec::Server> {
    let (baud, enhanced) = match mode {
        'a' => (b' ', Vec::new()),
        'b' => (b'E', Vec::new()),
        'e' => (b'5', vec![b'2']),
        _ => (b'5', Vec::new()),
    };
    let text = if mode == 'a' { "SIM A" } else { "SIM" };
    let identification =
        Identification { manufacturer: *b"HFd", baud, enhanced, text: text.to_owned() };
    let mut config = iec::ServerConfig::new(identification, &meter.serial);
    config.parity = Parity::Port;
    config.reaction = REACTION;
    if let Access::Lls(secret) | Access::Secret(_, secret) = &meter.access {
        config.password = Some(Secret::new(&secret.0));
    }
    Box::new(iec::Server::new(config))
}
