//! What one fault on an HDLC line costs: each frame of a conversation in turn is lost, changed,
//! cut, doubled, late or preceded by junk, and the conversation ends the same. And general block
//! transfer above the link, whose blocks a meter may only send when it is polled.

use std::time::{Duration, Instant};

use cosem::apdu::Conformance;
use cosem::association::{
    self, AcceptedCounters, Answer, Authentication, GeneralUse, Request, ServerIndication,
};
use cosem::hdlc::{
    Address, Client, ClientConfig, Frame, Indication, Kind, Parameters, Reason, Server,
    ServerConfig,
};
use cosem::{Apdu, AttributeRef, Data, Keys, wrapper};

use crate::clock::start;

const PROFILE: AttributeRef = AttributeRef::new(7, [1, 0, 99, 1, 0, 255], 2);
const NOTE: AttributeRef = AttributeRef::new(1, [0, 0, 96, 13, 0, 255], 2);
const PORTS: wrapper::Header = wrapper::Header { source: 1, destination: 1 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Lost,
    Changed,
    Cut,
    Doubled,
    /// It comes when the other side has given it up, before the repetition.
    Late,
    AfterJunk,
}

const FAULTS: [Fault; 6] =
    [Fault::Lost, Fault::Changed, Fault::Cut, Fault::Doubled, Fault::Late, Fault::AfterJunk];

/// One direction of the line: the frame with this number suffers this fault.
#[derive(Debug, Default)]
struct Way {
    fault: Option<(usize, Fault)>,
    sent: usize,
    late: Vec<u8>,
    /// What was sent, for the eye of the test.
    kinds: Vec<Kind>,
}

impl Way {
    fn carry(&mut self, frame: &[u8]) -> Vec<u8> {
        let number = self.sent;
        self.sent += 1;
        self.kinds.push(Frame::decode(&frame[1..frame.len() - 1]).unwrap().control.kind);
        let fault = self.fault.filter(|(of, _)| *of == number).map(|(_, fault)| fault);
        match fault {
            None => frame.to_vec(),
            Some(Fault::Lost) => Vec::new(),
            Some(Fault::Changed) => {
                let mut changed = frame.to_vec();
                let middle = changed.len() / 2;
                changed[middle] ^= 0x04;
                changed
            }
            Some(Fault::Cut) => frame[..frame.len() / 2].to_vec(),
            Some(Fault::Doubled) => [frame, frame].concat(),
            Some(Fault::Late) => {
                self.late = frame.to_vec();
                Vec::new()
            }
            Some(Fault::AfterJunk) => [&[0x7e, 0xa0, 0x41, 0xff, 0x03][..], frame].concat(),
        }
    }
}

/// The answers of a meter to an APDU.
type Serve<'a> = dyn FnMut(Instant, &[u8]) -> Vec<Vec<u8>> + 'a;

/// A link whose octets arrive at once, and a clock that jumps to the next deadline.
struct Line {
    now: Instant,
    client: Client,
    server: Server,
    up: Way,
    down: Way,
}

fn limits(octets: u16, window: u8) -> Parameters {
    Parameters {
        transmit_octets: octets,
        receive_octets: octets,
        transmit_window: window,
        receive_window: window,
    }
}

impl Line {
    fn new(parameters: Parameters) -> Self {
        let (sap, meter) = (Address::one(16).unwrap(), Address::two(1, 17).unwrap());
        let config = ClientConfig { parameters, max_queue: 70, ..ClientConfig::new(sap, meter) };
        let served = ServerConfig { parameters, max_queue: 70, ..ServerConfig::new(meter) };
        Self {
            now: start(),
            client: Client::new(config),
            server: Server::new(served),
            up: Way::default(),
            down: Way::default(),
        }
    }

    /// Carries what both sides say until neither says more. `serve` is asked for the answers to
    /// each APDU that comes to the meter.
    fn carry(&mut self, serve: &mut Serve<'_>) {
        loop {
            let mut moved = false;
            while let Some(frame) = self.client.poll_transmit() {
                let octets = self.up.carry(&frame);
                self.server.handle_bytes(self.now, &octets);
                moved = true;
            }
            while let Some(indication) = self.server.poll() {
                let Indication::Apdu(apdu) = indication else { continue };
                let answers = serve(self.now, &apdu);
                if answers.is_empty() {
                    self.server.pass();
                }
                answers.iter().for_each(|answer| self.server.send(answer).unwrap());
            }
            while let Some(frame) = self.server.poll_transmit() {
                let octets = self.down.carry(&frame);
                self.client.handle_bytes(self.now, &octets);
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    /// Lets the next deadline of the client come; false when there is none.
    fn wait(&mut self) -> bool {
        let Some(next) = self.client.poll_timeout() else { return false };
        self.now = self.now.max(next);
        let late = [&mut self.up, &mut self.down].map(|way| std::mem::take(&mut way.late));
        self.server.handle_bytes(self.now, &late[0]);
        // A meter sees the pause; what had begun before it will not end.
        self.server.handle_gap(self.now);
        self.client.handle_timeout(self.now);
        self.client.handle_bytes(self.now, &late[1]);
        true
    }
}

/// Connects, has three requests answered, disconnects. What the client heard, in order.
fn talk(line: &mut Line) -> Vec<Indication> {
    let mut heard = Vec::new();
    let mut serve = |_, apdu: &[u8]| vec![apdu.iter().rev().copied().collect()];
    line.client.connect(line.now).unwrap();
    for step in 0..5_u8 {
        let until = usize::from(step) + 1;
        for _ in 0..50 {
            line.carry(&mut serve);
            heard.extend(std::iter::from_fn(|| line.client.poll()));
            if heard.len() >= until || !line.wait() {
                break;
            }
        }
        match step {
            0..3 => line.client.send(line.now, &[step + 1; 100]).unwrap(),
            3 => line.client.disconnect(line.now),
            _ => {}
        }
    }
    heard
}

#[test]
fn one_fault_at_any_frame_changes_nothing_that_is_heard() {
    let mut cases = 0;
    for (octets, window) in [(128, 1), (24, 1), (24, 2), (24, 3), (24, 7), (9, 7)] {
        let mut clean = Line::new(limits(octets, window));
        let expect = talk(&mut clean);
        assert_eq!(expect.len(), 5, "{expect:?}");
        assert_eq!(expect.last(), Some(&Indication::Disconnected(Reason::Released)));
        for fault in FAULTS {
            for (at, goes_up) in (0..clean.up.sent)
                .map(|at| (at, true))
                .chain((0..clean.down.sent).map(|at| (at, false)))
            {
                let mut line = Line::new(limits(octets, window));
                let way = if goes_up { &mut line.up } else { &mut line.down };
                way.fault = Some((at, fault));
                let heard = talk(&mut line);
                let name = format!("{octets} {window} {fault:?} of frame {at}, up {goes_up}");
                assert_eq!(heard, expect, "{name}");
                cases += 1;
            }
        }
    }
    println!("{cases} conversations with one fault");
    assert!(cases > 1_000, "{cases}");
}

#[test]
fn two_frames_that_are_lost_change_nothing_either() {
    let expect = talk(&mut Line::new(limits(24, 3)));
    let mut clean = Line::new(limits(24, 3));
    talk(&mut clean);
    for up in 0..clean.up.sent {
        for down in 0..clean.down.sent {
            let mut line = Line::new(limits(24, 3));
            (line.up.fault, line.down.fault) = (Some((up, Fault::Lost)), Some((down, Fault::Lost)));
            assert_eq!(talk(&mut line), expect, "up {up}, down {down}");
        }
    }
}

#[test]
fn a_window_goes_out_at_once_and_is_acknowledged_at_once() {
    let mut line = Line::new(limits(24, 7));
    talk(&mut line);
    // 103 octets with LLC are five frames of 24; they and their answer go without a frame more.
    let (up, down): (Vec<_>, Vec<_>) = (line.up.kinds, line.down.kinds);
    let information = |kinds: &[Kind]| {
        kinds.iter().filter(|kind| matches!(kind, Kind::Information { .. })).count()
    };
    assert_eq!((information(&up), information(&down)), (15, 15));
    assert_eq!((up.len(), down.len()), (17, 17), "SNRM, DISC and their answers besides");
}

/// Both ends of an association above the link.
struct Talk {
    line: Line,
    client: association::Client,
    server: association::Server,
    note: Data,
    blocks: usize,
    told: Vec<association::Indication>,
}

fn profile() -> Data {
    Data::Array((0..600).map(Data::U32).collect())
}

fn in_general_blocks(window: u8, ciphered: bool) -> (association::Client, association::Server) {
    let mut client = association::ClientConfig::new(1, 1, *b"HFDNODE1");
    let mut server = association::ServerConfig::new(1, *b"MMM\0\0\0\0\x01");
    if ciphered {
        let keys = Keys::new(&[1; 16], &[2; 16]);
        client.authentication = Authentication::Hls5(keys.clone());
        server.authentication = Authentication::Hls5(keys.clone());
        (client.ciphered, server.ciphered) = (Some(keys.clone()), Some(keys));
    }
    for general in [&mut client.general, &mut server.general] {
        // The link repeats within five seconds; the blocks above it must not be quicker.
        general.wait = Duration::from_secs(30);
        (general.usage, general.window) = (GeneralUse::Preferred, window);
    }
    client.general.usage = GeneralUse::Always;
    for blocks in [Conformance::BLOCK_GET, Conformance::BLOCK_SET, Conformance::BLOCK_ACTION] {
        client.conformance.0 &= !blocks.0;
    }
    (client.max_pdu, server.max_pdu) = (128, 128);
    let mut client = association::Client::new(client, &[0x5a; 16]);
    let mut server = association::Server::new(server, [7; 32], AcceptedCounters::default());
    client.set_counters(start(), 100..1_000_000);
    server.set_counters(500..1_000_000);
    (client, server)
}

impl Talk {
    fn new(line: Line, window: u8, ciphered: bool) -> Self {
        let (client, server) = in_general_blocks(window, ciphered);
        Self { line, client, server, note: Data::Null, blocks: 0, told: Vec::new() }
    }

    /// Moves everything until neither side has more to say without a deadline.
    fn exchange(&mut self) {
        loop {
            let before = (self.line.up.sent, self.line.down.sent);
            while let Some(frame) = self.client.poll_transmit() {
                let (_, apdu) = wrapper::decode(&frame).unwrap();
                self.line.client.send(self.line.now, apdu).unwrap();
            }
            let (server, note, blocks) = (&mut self.server, &mut self.note, &mut self.blocks);
            self.line.carry(&mut |now, apdu| {
                *blocks += usize::from(matches!(Apdu::decode(apdu), Ok(Apdu::GeneralBlock(_))));
                server.handle_frame(now, PORTS, apdu).unwrap();
                while let Some(indication) = server.poll() {
                    let ServerIndication::Request(request) = indication else { continue };
                    let answer = match request {
                        Request::Set { value, .. } => {
                            *note = value;
                            Answer::Set(Ok(()))
                        }
                        _ => Answer::Got(Ok(profile())),
                    };
                    server.respond(answer).unwrap();
                }
                let frames = std::iter::from_fn(|| server.poll_transmit());
                frames.map(|frame| wrapper::decode(&frame).unwrap().1.to_vec()).collect()
            });
            while let Some(indication) = self.line.client.poll() {
                match indication {
                    Indication::Apdu(apdu) => {
                        self.client.handle_frame(self.line.now, PORTS, &apdu).unwrap();
                    }
                    Indication::Connected(_) => self.client.connect(self.line.now).unwrap(),
                    other => panic!("{other:?}"),
                }
            }
            self.told.extend(std::iter::from_fn(|| self.client.poll()));
            if before == (self.line.up.sent, self.line.down.sent) {
                return;
            }
        }
    }

    /// Goes on until so many indications came; how many deadlines had to come for it.
    fn until(&mut self, told: usize) -> usize {
        for waits in 0..60 {
            self.exchange();
            if self.told.len() >= told {
                return waits;
            }
            assert!(self.line.wait(), "nothing will happen any more: {:?}", self.told);
        }
        panic!("it never ends: {:?}", self.told);
    }
}

/// Opens, writes a long value and reads a long one, all in general blocks.
fn in_blocks(line: Line, window: u8, ciphered: bool) -> (Talk, usize) {
    let mut talk = Talk::new(line, window, ciphered);
    talk.line.client.connect(talk.line.now).unwrap();
    let mut waits = talk.until(1);
    let note = Data::octets(&[0xe0; 900]);
    let wrote = talk.client.set(talk.line.now, NOTE, None, note.clone()).unwrap();
    let read = talk.client.get(talk.line.now, PROFILE, None).unwrap();
    waits += talk.until(3);
    let expect = [
        association::Indication::Set { invoke: wrote, result: Ok(()) },
        association::Indication::Got { invoke: read, result: Ok(profile()) },
    ];
    assert_eq!(talk.told[1..], expect);
    assert_eq!(talk.note, note);
    (talk, waits)
}

#[test]
fn general_blocks_cross_the_link_without_waiting_for_any_deadline() {
    for (octets, frames) in [(128, 1), (62, 3), (300, 7)] {
        for window in [1, 4, 63] {
            for ciphered in [false, true] {
                let (talk, waits) = in_blocks(Line::new(limits(octets, frames)), window, ciphered);
                let name = format!("{octets} {frames} {window} {ciphered}");
                assert_eq!(waits, 0, "{name}: a polled meter goes on at once");
                assert!(talk.blocks > 10, "{name}: {}", talk.blocks);
            }
        }
    }
}

#[test]
fn a_lost_frame_under_general_blocks_is_repeated_by_the_link() {
    let (clean, _) = in_blocks(Line::new(limits(62, 3)), 4, true);
    for at in 1..clean.line.up.sent {
        let mut line = Line::new(limits(62, 3));
        line.up.fault = Some((at, Fault::Lost));
        let (_, waits) = in_blocks(line, 4, true);
        assert!(waits <= 2, "frame {at} up: {waits}");
    }
    for at in 1..clean.line.down.sent {
        let mut line = Line::new(limits(62, 3));
        line.down.fault = Some((at, Fault::Changed));
        let (_, waits) = in_blocks(line, 4, true);
        assert!(waits <= 2, "frame {at} down: {waits}");
    }
}
