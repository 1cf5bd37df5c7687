//! The HDLC link: every published frame in full, and the two machines against each other over a
//! line that loses, doubles, changes, splits and invents octets. A failing case names its seed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cosem::association::{self, AcceptedCounters, Authentication, ServerIndication};
use cosem::hdlc::{
    Address, Client, ClientConfig, Control, Deframer, Frame, Indication, Kind, Parameters, Reason,
    Server, ServerConfig, fcs,
};
use cosem::{Apdu, AttributeRef, Data, Keys, wrapper};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::TestCaseError;
use serde_json::{Map, Value, json};

use crate::clock::start;
use crate::octets::{hex, to_hex};

fn vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../vectors/dlms.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    vectors.iter().filter(|vector| vector["layer"] == "hdlc").cloned().collect()
}

fn address(address: Address) -> Value {
    match address.physical() {
        Some(lower) => json!({ "upper": address.logical(), "lower": lower }),
        None => json!({ "upper": address.logical() }),
    }
}

/// A frame as the vectors write it.
fn shape(frame: &Frame) -> Map<String, Value> {
    let octets = frame.encode().unwrap();
    let body = &octets[1..octets.len() - 1];
    let head = 2 + frame.destination.octets() + frame.source.octets() + 1;
    let (name, numbers) = match frame.control.kind {
        Kind::Information { send, receive } => ("I", Some((send, receive))),
        Kind::SetNormalResponseMode => ("SNRM", None),
        Kind::Acknowledgement => ("UA", None),
        Kind::Unnumbered => ("UI", None),
        other => panic!("not in the vectors: {other:?}"),
    };
    let mut shape = Map::new();
    shape.insert("segmented".into(), json!(frame.segmented));
    shape.insert("length".into(), json!(body.len()));
    shape.insert("destination".into(), address(frame.destination));
    shape.insert("source".into(), address(frame.source));
    shape.insert("control".into(), json!(frame.control.octet()));
    shape.insert("frame".into(), json!(name));
    shape.insert("poll_final".into(), json!(frame.control.poll_final));
    shape.insert("fcs".into(), json!(to_hex(&body[body.len() - 2..])));
    shape.insert("information".into(), json!(to_hex(&frame.information)));
    if let Some((send, receive)) = numbers {
        shape.insert("ns".into(), json!(send));
        shape.insert("nr".into(), json!(receive));
        shape.insert("llc".into(), json!(to_hex(&frame.information[..3])));
    }
    if !frame.information.is_empty() {
        shape.insert("hcs".into(), json!(to_hex(&body[head..head + 2])));
    }
    if name == "UA" {
        let limits = Parameters::decode(&frame.information).unwrap();
        let negotiation = json!({
            "max_info_transmit": limits.transmit_octets,
            "max_info_receive": limits.receive_octets,
            "window_transmit": limits.transmit_window,
            "window_receive": limits.receive_window,
        });
        shape.insert("negotiation".into(), negotiation);
    }
    shape
}

/// Everything that the vector says of a frame is so; what it says of the APDU stands elsewhere.
fn check_frame(id: &str, frame: &Frame, expected: &Value) {
    let shape = shape(frame);
    for (name, value) in expected.as_object().unwrap() {
        if !["apdu", "apdu_hex"].contains(&name.as_str()) {
            assert_eq!(shape.get(name), Some(value), "{id}: {name}");
        }
    }
}

fn cut(octets: &[u8]) -> Vec<Frame> {
    let mut deframer = Deframer::new();
    deframer.feed(octets);
    let frames = std::iter::from_fn(|| deframer.next_frame()).collect();
    assert_eq!(deframer.quality().junk_octets, 0);
    frames
}

#[test]
fn every_published_frame_is_read_in_full_and_written_back() {
    let mut count = 0;
    for vector in vectors() {
        let id = vector["id"].as_str().unwrap();
        let octets = hex(vector["hex"].as_str().unwrap());
        let frames = cut(&octets);
        let whole = [vector["expected"].clone()];
        let expected = vector["expected"]["frames"].as_array().map_or(&whole[..], |list| list);
        assert_eq!(frames.len(), expected.len(), "{id}");
        // The frames of a series share a flag or have two; ours are written with two, so flags
        // of a row are compared as one.
        let mut written = Vec::new();
        for (frame, expected) in frames.iter().zip(expected) {
            check_frame(id, frame, expected);
            let octets = frame.encode().unwrap();
            assert_eq!(Frame::decode(&octets[1..octets.len() - 1]).as_ref(), Ok(frame));
            written.extend(octets);
        }
        let two_flags = written.clone();
        let shared: Vec<u8> = frames
            .iter()
            .enumerate()
            .flat_map(|(at, frame)| frame.encode().unwrap().split_off(usize::from(at > 0)))
            .collect();
        assert!(octets == two_flags || octets == shared, "{id}");
        count += 1;
    }
    assert_eq!(count, 13);
}

#[test]
fn parameters_of_the_shortest_form_are_written_back() {
    let mut same = 0;
    for vector in vectors() {
        if vector["expected"].get("negotiation").is_some() {
            let octets = hex(vector["expected"]["information"].as_str().unwrap());
            let parameters = Parameters::decode(&octets).unwrap();
            assert_eq!(Parameters::decode(&parameters.encode()), Ok(parameters));
            same += usize::from(parameters.encode() == octets);
        }
    }
    // The other two write 128 in two octets.
    assert_eq!(same, 2);
}

fn stations() -> (Address, Address) {
    (Address::one(16).unwrap(), Address::four(1, 17).unwrap())
}

/// The APDU of a numbered or pushed vector: the blocks of general block transfer joined.
fn carried(id: &str, octets: &[u8]) -> Bytes {
    let mut client = Client::new(ClientConfig::new(stations().0, stations().1));
    client.handle_bytes(start(), octets);
    let mut joined = Vec::new();
    while let Some(indication) = client.poll() {
        let Indication::Push { apdu, .. } = indication else {
            panic!("{id}: {indication:?}");
        };
        match Apdu::decode(&apdu).unwrap() {
            Apdu::GeneralBlock(block) => joined.extend_from_slice(&block.octets),
            _ => joined.extend_from_slice(&apdu),
        }
    }
    assert!(client.poll_transmit().is_none(), "{id}: a push is not answered");
    Bytes::from(joined)
}

#[test]
fn pushes_become_their_apdus() {
    let mut count = 0;
    for vector in vectors() {
        let id = vector["id"].as_str().unwrap();
        if !id.starts_with("hdlc-push") {
            continue;
        }
        let octets = hex(vector["hex"].as_str().unwrap());
        let apdu = carried(id, &octets);
        let information = vector["expected"]["information"].as_str().unwrap_or_default();
        let expected =
            vector["expected"]["apdu_hex"].as_str().or_else(|| information.strip_prefix("e6e700"));
        assert_eq!(to_hex(&apdu), expected.unwrap(), "{id}");
        Apdu::decode(&apdu).unwrap();
        count += 1;
    }
    assert_eq!(count, 3);
}

/// A generator for the line's faults (splitmix64).
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }
}

/// One direction: pieces of octets with the time at which they arrive, in order.
#[derive(Debug, Default)]
struct Wire {
    pieces: VecDeque<(Instant, Vec<u8>)>,
}

const DELAY: Duration = Duration::from_millis(20);

impl Wire {
    fn put(&mut self, at: Instant, octets: &[u8], faults: usize, chance: &mut Chance) {
        if chance.percent(faults) {
            return;
        }
        let mut octets = octets.to_vec();
        if chance.percent(faults) {
            let at = chance.below(octets.len());
            octets[at] ^= 1 << chance.below(8);
        }
        if chance.percent(faults) {
            octets.truncate(chance.below(octets.len()));
        }
        if chance.percent(faults) {
            octets.extend_from_within(..);
        }
        if chance.percent(faults) {
            let junk: Vec<u8> =
                (0..chance.below(30)).map(|_| chance.next().to_le_bytes()[0]).collect();
            octets.splice(0..0, junk);
        }
        let split = if chance.percent(50) { chance.below(octets.len()) } else { octets.len() };
        let late = at + DELAY + DELAY.mul_f64(f64::from(u8::from(chance.percent(20))));
        let last = self.pieces.back().map_or(late, |(last, _)| late.max(*last));
        for piece in [&octets[..split], &octets[split..]] {
            self.pieces.push_back((last, piece.to_vec()));
        }
    }

    fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.pieces.pop_front_if(|(at, _)| *at <= now).map(|(_, octets)| octets)
    }
}

/// Two machines, two wires, one clock that jumps to the next thing to happen.
struct Pair {
    now: Instant,
    client: Client,
    server: Server,
    up: Wire,
    down: Wire,
    faults: usize,
    chance: Chance,
    asked: Vec<Bytes>,
    answered: Vec<Bytes>,
    end: Option<Reason>,
}

/// The answer that the server of the tests makes: other octets, three times as long.
fn answer(request: &[u8]) -> Vec<u8> {
    request.iter().flat_map(|octet| [octet ^ 0xff, *octet, 0x7e]).collect()
}

impl Pair {
    fn new(faults: usize, seed: u64, client: Parameters, server: Parameters) -> Self {
        let (sap, meter) = stations();
        let response_timeout = Duration::from_millis(500);
        let config =
            ClientConfig { parameters: client, response_timeout, ..ClientConfig::new(sap, meter) };
        let config = ClientConfig { retries: 12, polls: 60, max_queue: 16, ..config };
        let served = ServerConfig { parameters: server, max_queue: 16, ..ServerConfig::new(meter) };
        let mut pair = Self {
            now: start(),
            client: Client::new(config),
            server: Server::new(served),
            up: Wire::default(),
            down: Wire::default(),
            faults,
            chance: Chance(seed),
            asked: Vec::new(),
            answered: Vec::new(),
            end: None,
        };
        pair.client.connect(pair.now).unwrap();
        pair
    }

    fn exchange(&mut self) {
        while let Some(octets) = self.up.due(self.now) {
            self.server.handle_bytes(self.now, &octets);
            self.serve();
        }
        while let Some(octets) = self.down.due(self.now) {
            self.client.handle_bytes(self.now, &octets);
        }
        while let Some(indication) = self.client.poll() {
            match indication {
                Indication::Apdu(apdu) => self.answered.push(apdu),
                Indication::Disconnected(reason) => self.end = Some(reason),
                Indication::Connected(_) => {}
                Indication::Push { .. } => panic!("nobody pushed"),
            }
        }
        while let Some(octets) = self.client.poll_transmit() {
            self.up.put(self.now, &octets, self.faults, &mut self.chance);
        }
        while let Some(octets) = self.server.poll_transmit() {
            self.down.put(self.now, &octets, self.faults, &mut self.chance);
        }
    }

    fn serve(&mut self) {
        while let Some(indication) = self.server.poll() {
            if let Indication::Apdu(apdu) = indication {
                self.server.send(&answer(&apdu)).unwrap();
                self.asked.push(apdu);
            }
        }
    }

    /// Goes on to the next thing to happen; false when nothing will.
    fn step(&mut self) -> bool {
        self.exchange();
        let arrivals = [&self.up, &self.down].map(|wire| wire.pieces.front().map(|(at, _)| *at));
        let timer = self.client.poll_timeout();
        let Some(next) = arrivals.into_iter().chain([timer]).flatten().min() else {
            return false;
        };
        self.now = self.now.max(next);
        self.client.handle_timeout(self.now);
        true
    }

    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..20_000 {
            if done(self) || self.end.is_some() || !self.step() {
                return;
            }
        }
        panic!("no end after 20000 steps");
    }
}

fn parameters(octets: u16, window: u8) -> Parameters {
    Parameters {
        transmit_octets: octets,
        receive_octets: octets,
        transmit_window: window,
        receive_window: window,
    }
}

fn requests(count: usize, octets: usize) -> Vec<Bytes> {
    let request = |index: usize| {
        let length = 1 + (octets * (index + 1)) % 400;
        (0..length).map(|at| u8::try_from((at * 7 + index) % 256).unwrap()).collect()
    };
    (0..count).map(request).collect()
}

/// Sends all, together or one by one; what both sides got must be a beginning of what was sent,
/// and all of it when no fault was reported.
fn check_delivery(mut pair: Pair, sent: &[Bytes], together: bool) -> Result<bool, TestCaseError> {
    pair.run_until(|pair| pair.client.is_connected());
    if together && pair.client.is_connected() {
        for request in sent {
            pair.client.send(pair.now, request).unwrap();
        }
        pair.run_until(|pair| pair.answered.len() == sent.len());
    }
    for (index, request) in sent.iter().enumerate().filter(|_| !together) {
        if pair.client.is_connected() {
            pair.client.send(pair.now, request).unwrap();
            pair.run_until(|pair| pair.answered.len() > index);
        }
    }
    let answers: Vec<Bytes> = sent.iter().map(|request| Bytes::from(answer(request))).collect();
    prop_assert!(sent.starts_with(&pair.asked), "the server got what was not sent so");
    prop_assert!(answers.starts_with(&pair.answered), "the client got what was not sent so");
    if pair.end.is_none() {
        prop_assert_eq!(pair.asked.len(), sent.len());
        prop_assert_eq!(pair.answered.len(), sent.len());
        pair.client.disconnect(pair.now);
        pair.run_until(|_| false);
        prop_assert!(pair.end.is_some());
        return Ok(true);
    }
    Ok(false)
}

#[test]
fn a_clean_line_delivers_under_every_window_and_length() {
    for window in 1..=7 {
        for octets in [4, 62, 128, 2030] {
            for together in [true, false] {
                let limits = parameters(octets, window);
                let pair = Pair::new(0, 1, limits, limits);
                let sent = requests(6, usize::from(octets) + 30);
                assert!(check_delivery(pair, &sent, together).unwrap(), "{window} {octets}");
            }
        }
    }
}

#[test]
fn a_bad_line_still_delivers_mostly() {
    // Seeds are fixed, so that this is the same run everywhere.
    let mut whole = 0;
    for seed in 0..60 {
        let pair = Pair::new(4, seed, parameters(62, 3), parameters(128, 7));
        whole += usize::from(check_delivery(pair, &requests(5, 90), seed % 2 == 0).unwrap());
    }
    assert!(whole >= 50, "only {whole} of 60 without a fault");
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(200))]

    #[test]
    fn any_line_delivers_once_in_order_or_reports(
        seed in any::<u64>(),
        faults in 0_usize..30,
        octets in 3_u16..200,
        windows in (1_u8..8, 1_u8..8),
        count in 1_usize..8,
        together in any::<bool>(),
    ) {
        let client = parameters(octets, windows.0);
        let pair = Pair::new(faults, seed, client, parameters(128, windows.1));
        check_delivery(pair, &requests(count, usize::from(octets) * 2), together)?;
    }

    #[test]
    fn arbitrary_octets_change_nothing_but_counts(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..40),
    ) {
        let mut pair = Pair::new(0, 0, parameters(128, 7), parameters(128, 7));
        pair.run_until(|pair| pair.client.is_connected());
        for piece in &pieces {
            pair.client.handle_bytes(pair.now, piece);
            pair.server.handle_bytes(pair.now, piece);
        }
        prop_assert!(Frame::decode(&pieces.concat()).is_err());
        prop_assert!(Parameters::decode(&pieces.concat()).is_ok() == pieces.concat().is_empty()
            || pieces.concat().starts_with(&[0x81, 0x80]));
    }

    #[test]
    fn arbitrary_good_frames_never_panic_and_stay_bounded(
        frames in prop::collection::vec(
            (any::<u8>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..300),
        wide in any::<bool>(),
    ) {
        let limits = parameters(100, if wide { 7 } else { 1 });
        let mut pair = Pair::new(0, 0, limits, limits);
        pair.run_until(|pair| pair.client.is_connected());
        let (sap, meter) = stations();
        for (control, segmented, information) in frames {
            let Ok(control) = Control::from_octet(control) else { continue };
            let information = Bytes::from(information);
            let (destination, source) = (sap, meter);
            let mut frame = Frame { segmented, destination, source, control, information };
            pair.client.handle_bytes(pair.now, &frame.encode().unwrap());
            (frame.destination, frame.source) = (meter, sap);
            pair.server.handle_bytes(pair.now, &frame.encode().unwrap());
            if pair.client.is_connected() {
                let _queue_may_be_full = pair.client.send(pair.now, &[1; 300]);
            }
            let _link_may_be_down = pair.server.send(&[2; 300]);
        }
        // Nothing was fetched: what is held has its bounds (32 frames and a window; 64 + 1).
        let frames = |poll: &mut dyn FnMut() -> Option<Bytes>| std::iter::from_fn(poll).count();
        prop_assert!(frames(&mut || pair.client.poll_transmit()) <= 32 + 8);
        prop_assert!(frames(&mut || pair.server.poll_transmit()) <= 32 + 8);
        prop_assert!(std::iter::from_fn(|| pair.client.poll()).count() <= 65);
        prop_assert!(std::iter::from_fn(|| pair.server.poll()).count() <= 65);
    }
}

#[test]
fn a_dead_line_is_reported_after_the_repetitions() {
    let mut pair = Pair::new(100, 0, parameters(128, 1), parameters(128, 1));
    pair.run_until(|_| false);
    assert_eq!(pair.end, Some(Reason::NoAnswer));
    assert!(pair.client.poll_timeout().is_none());
    assert_eq!(pair.client.connect(pair.now), Ok(()));
}

#[test]
fn a_silent_client_loses_its_link() {
    let mut pair = Pair::new(0, 0, parameters(128, 1), parameters(128, 1));
    pair.run_until(|pair| pair.client.is_connected());
    let deadline = pair.server.poll_timeout().unwrap();
    pair.server.handle_timeout(deadline);
    assert_eq!(pair.server.poll(), Some(Indication::Disconnected(Reason::Inactive)));
    assert_eq!(pair.server.poll_timeout(), None);
    pair.now = deadline;
    pair.client.send(pair.now, b"request").unwrap();
    pair.run_until(|_| false);
    assert_eq!(pair.end, Some(Reason::GivenUp));
}

#[test]
fn another_client_is_refused_and_another_meter_is_not_heard() {
    let mut pair = Pair::new(0, 0, parameters(128, 1), parameters(128, 1));
    pair.run_until(|pair| pair.client.is_connected());
    let (_, meter) = stations();
    let mut second = Client::new(ClientConfig::new(Address::one(32).unwrap(), meter));
    second.connect(pair.now).unwrap();
    pair.server.handle_bytes(pair.now, &second.poll_transmit().unwrap());
    second.handle_bytes(pair.now, &pair.server.poll_transmit().unwrap());
    assert_eq!(second.poll(), Some(Indication::Disconnected(Reason::Refused)));
    assert!(pair.server.is_connected());

    let elsewhere = Address::four(1, 18).unwrap();
    let mut third = Client::new(ClientConfig::new(Address::one(16).unwrap(), elsewhere));
    third.connect(pair.now).unwrap();
    pair.server.handle_bytes(pair.now, &third.poll_transmit().unwrap());
    assert_eq!(pair.server.poll_transmit(), None);
}

#[test]
fn client_and_server_of_one_number_hear_each_other() {
    let one = Address::one(1).unwrap();
    let mut client = Client::new(ClientConfig::new(one, one));
    let mut server = Server::new(ServerConfig::new(one));
    client.connect(start()).unwrap();
    server.handle_bytes(start(), &client.poll_transmit().unwrap());
    client.handle_bytes(start(), &server.poll_transmit().unwrap());
    assert!(matches!(client.poll(), Some(Indication::Connected(_))));
}

#[test]
fn an_unasked_answer_comes_at_the_next_enquiry() {
    let mut pair = Pair::new(0, 0, parameters(128, 1), parameters(128, 1));
    pair.run_until(|pair| pair.client.is_connected());
    pair.server.send(b"event").unwrap();
    assert_eq!(pair.server.poll_transmit(), None);
    pair.client.enquire(pair.now).unwrap();
    pair.run_until(|pair| !pair.answered.is_empty());
    assert_eq!(pair.answered, [Bytes::from_static(b"event")]);
}

#[test]
fn an_apdu_over_the_limit_ends_the_link() {
    let (sap, meter) = stations();
    let mut pair = Pair::new(0, 0, parameters(128, 1), parameters(128, 1));
    pair.server = Server::new(ServerConfig { max_apdu: 500, ..ServerConfig::new(meter) });
    pair.run_until(|pair| pair.client.is_connected());
    pair.client.send(pair.now, &[1; 600]).unwrap();
    pair.run_until(|_| false);
    assert_eq!(pair.end, Some(Reason::GivenUp));
    assert!(!pair.server.is_connected());
    let push = pair.server.push(sap, &[0; 2028]);
    assert!(push.is_err(), "one UI frame cannot hold it");
}

#[test]
fn a_pushed_ui_frame_arrives_without_a_link() {
    let (sap, meter) = stations();
    let mut server = Server::new(ServerConfig::new(meter));
    let mut client = Client::new(ClientConfig::new(sap, meter));
    server.push(sap, b"\x0fpush").unwrap();
    let octets = server.poll_transmit().unwrap();
    assert!(fcs::verifies(&octets[1..octets.len() - 1]));
    client.handle_bytes(start(), &octets);
    let apdu = Bytes::from_static(b"\x0fpush");
    assert_eq!(client.poll(), Some(Indication::Push { source: meter, apdu }));
}

/// Moves what the association of one side wants sent onto its link, and back.
fn association_exchange(
    pair: &mut Pair,
    client: &mut association::Client,
    server: &mut association::Server,
) {
    let header = wrapper::Header { source: 1, destination: 1 };
    while let Some(frame) = client.poll_transmit() {
        let (_, apdu) = wrapper::decode(&frame).unwrap();
        pair.client.send(pair.now, apdu).unwrap();
    }
    while let Some(octets) = pair.up.due(pair.now) {
        pair.server.handle_bytes(pair.now, &octets);
        while let Some(indication) = pair.server.poll() {
            if let Indication::Apdu(apdu) = indication {
                server.handle_frame(pair.now, header, &apdu).unwrap();
            }
        }
        while let Some(indication) = server.poll() {
            if let ServerIndication::Request(_) = indication {
                server.respond(association::Answer::Got(Ok(long_value()))).unwrap();
            }
        }
        while let Some(frame) = server.poll_transmit() {
            pair.server.send(wrapper::decode(&frame).unwrap().1).unwrap();
        }
    }
    while let Some(octets) = pair.down.due(pair.now) {
        pair.client.handle_bytes(pair.now, &octets);
        while let Some(indication) = pair.client.poll() {
            if let Indication::Apdu(apdu) = indication {
                client.handle_frame(pair.now, header, &apdu).unwrap();
            }
        }
    }
    while let Some(octets) = pair.client.poll_transmit() {
        pair.up.put(pair.now, &octets, pair.faults, &mut pair.chance);
    }
    while let Some(octets) = pair.server.poll_transmit() {
        pair.down.put(pair.now, &octets, pair.faults, &mut pair.chance);
    }
}

fn long_value() -> Data {
    Data::Array((0..2000).map(Data::U32).collect())
}

#[test]
fn an_association_sits_above_the_link_as_above_the_wrapper() {
    let limits = parameters(128, 3);
    let mut pair = Pair::new(5, 42, limits, limits);
    pair.run_until(|pair| pair.client.is_connected());
    let keys = || Keys::new(&[1; 16], &[2; 16]);
    let mut config = association::ClientConfig::new(1, 1, *b"HFDNODE1");
    config.authentication = Authentication::Hls5(keys());
    config.ciphered = Some(keys());
    let mut served = association::ServerConfig::new(1, *b"MMM\0\0\0\0\x01");
    served.authentication = Authentication::Hls5(keys());
    served.ciphered = Some(keys());
    let mut client = association::Client::new(config, &[0x5a; 16]);
    let mut server = association::Server::new(served, [7; 32], AcceptedCounters::default());
    client.set_counters(pair.now, 100..10_000);
    server.set_counters(500..100_000);
    client.connect(pair.now).unwrap();
    let mut got = Vec::new();
    for _ in 0..20_000 {
        association_exchange(&mut pair, &mut client, &mut server);
        while let Some(indication) = client.poll() {
            if matches!(indication, association::Indication::Associated { .. }) {
                let attribute = AttributeRef::new(7, [1, 0, 99, 1, 0, 255], 2);
                client.get(pair.now, attribute, None).unwrap();
            }
            got.push(indication);
        }
        if got.len() == 2 {
            break;
        }
        let arrivals = [&pair.up, &pair.down].map(|wire| wire.pieces.front().map(|(at, _)| *at));
        let next = arrivals.into_iter().chain([pair.client.poll_timeout()]).flatten().min();
        pair.now = pair.now.max(next.unwrap_or(pair.now));
        pair.client.handle_timeout(pair.now);
    }
    let value = long_value();
    assert!(
        matches!(&got[1], association::Indication::Got { result: Ok(data), .. } if *data == value),
        "{got:?}"
    );
}

/// A frame from the meter without information.
fn supervisory(kind: Kind) -> Vec<u8> {
    let (sap, meter) = stations();
    let control = Control { kind, poll_final: true };
    let information = Bytes::new();
    let frame = Frame { segmented: false, destination: sap, source: meter, control, information };
    frame.encode().unwrap()
}

/// What the client sent since the last call.
fn sent(client: &mut Client) -> Vec<Kind> {
    let octets = std::iter::from_fn(|| client.poll_transmit());
    octets.flat_map(|octets| cut(&octets)).map(|frame| frame.control.kind).collect()
}

fn connected(polls: u16) -> Client {
    let (sap, meter) = stations();
    let mut client = Client::new(ClientConfig { polls, ..ClientConfig::new(sap, meter) });
    client.connect(start()).unwrap();
    assert_eq!(sent(&mut client), [Kind::SetNormalResponseMode]);
    client.handle_bytes(start(), &supervisory(Kind::Acknowledgement));
    // A UA without parameters grants the default.
    assert_eq!(client.poll(), Some(Indication::Connected(Parameters::default())));
    client
}

#[test]
fn a_busy_meter_is_polled_until_it_is_ready() {
    let mut client = connected(10);
    let mut now = start();
    client.send(now, &[1; 200]).unwrap();
    assert_eq!(sent(&mut client), [Kind::Information { send: 0, receive: 0 }]);
    client.handle_bytes(now, &supervisory(Kind::ReceiveNotReady { receive: 1 }));
    assert_eq!(sent(&mut client), []);
    for _ in 0..3 {
        now = client.poll_timeout().unwrap();
        client.handle_timeout(now);
        assert_eq!(sent(&mut client), [Kind::ReceiveReady { receive: 0 }]);
        client.handle_bytes(now, &supervisory(Kind::ReceiveNotReady { receive: 1 }));
    }
    client.handle_bytes(now, &supervisory(Kind::ReceiveReady { receive: 1 }));
    assert_eq!(sent(&mut client), [Kind::Information { send: 1, receive: 0 }]);
    // Busy for ever is no progress; the three polls from before count.
    let mut timeouts = 3;
    client.handle_bytes(now, &supervisory(Kind::ReceiveNotReady { receive: 1 }));
    while let Some(next) = client.poll_timeout() {
        timeouts += 1;
        client.handle_timeout(next);
        client.handle_bytes(next, &supervisory(Kind::ReceiveNotReady { receive: 1 }));
    }
    assert_eq!(timeouts, 11);
    assert_eq!(client.poll(), Some(Indication::Disconnected(Reason::NoProgress)));
    assert_eq!(client.poll_timeout(), None);
}

#[test]
fn an_apdu_without_answer_is_asked_for_only_so_often() {
    let mut client = connected(5);
    let mut now = start();
    client.send(now, b"unconfirmed").unwrap();
    let mut polls = 0;
    let mut pending = sent(&mut client);
    while !pending.is_empty() {
        client.handle_bytes(now, &supervisory(Kind::ReceiveReady { receive: 1 }));
        let Some(next) = client.poll_timeout() else { break };
        now = next;
        client.handle_timeout(now);
        pending = sent(&mut client);
        polls += pending.len();
    }
    assert_eq!(polls, 5);
    assert_eq!(client.poll(), None);
    // The link is still up and takes the next APDU with the next number.
    client.send(now, b"next").unwrap();
    assert_eq!(sent(&mut client), [Kind::Information { send: 1, receive: 0 }]);
}

#[test]
fn what_the_meter_says_against_the_link_ends_it() {
    let check = |kind, expect| {
        let mut client = connected(5);
        client.handle_bytes(start(), &supervisory(kind));
        assert_eq!(client.poll(), Some(Indication::Disconnected(expect)));
        assert!(client.send(start(), b"x").is_err());
        assert!(client.enquire(start()).is_err());
    };
    check(Kind::DisconnectedMode, Reason::GivenUp);
    check(Kind::FrameReject, Reason::Rejected);
    // A second UA, and a poll of ours come back, say nothing.
    let mut client = connected(5);
    client.handle_bytes(start(), &supervisory(Kind::Acknowledgement));
    client.handle_bytes(start(), &supervisory(Kind::SetNormalResponseMode));
    assert!(client.is_connected());
    assert_eq!(client.poll(), None);
}

#[test]
fn debug_shows_no_octets() {
    let mut pair = Pair::new(0, 0, parameters(128, 1), parameters(128, 1));
    pair.run_until(|pair| pair.client.is_connected());
    pair.client.send(pair.now, b"secret-in-aarq").unwrap();
    let shown = format!("{:?} {:?}", pair.client, pair.server);
    assert!(!shown.contains("secret") && shown.contains("Client"));
}
