//! Associations under load: ACCESS, lists in blocks, general block transfer over a line that
//! loses frames, services without an answer, and what ends a request.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cosem::apdu::action::ActionAnswer;
use cosem::apdu::{ConfirmedServiceError, Conformance, DataNotification, LongInvokePriority};
use cosem::apdu::{GeneralBlock, ServiceFault};
use cosem::association::{
    AcceptedCounters, AccessItem, AccessOptions, AccessResult, Answer, Authentication, Client,
    ClientConfig, Failure, GeneralUse, Indication, InvokeId, Rejection, Request, Server,
    ServerConfig, ServerIndication,
};
use cosem::wrapper::{self, Header};
use cosem::{Apdu, AttributeRef, Data, DataAccessError, Error, Keys, MethodRef, Selection};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};
use proptest::test_runner::Config;

use crate::clock::start;

const CLIENT_TITLE: [u8; 8] = *b"HFDNODE1";
const SERVER_TITLE: [u8; 8] = *b"MMM\0\0\0\0\x01";
const REGISTER: AttributeRef = AttributeRef::new(3, [1, 0, 1, 8, 0, 255], 2);
const PROFILE: AttributeRef = AttributeRef::new(7, [1, 0, 99, 1, 0, 255], 2);
const NOTE: AttributeRef = AttributeRef::new(1, [0, 0, 96, 13, 0, 255], 2);
const MISSING: AttributeRef = AttributeRef::new(1, [9; 6], 2);
const ECHO: MethodRef = MethodRef::new(9, [0, 0, 10, 0, 106, 255], 1);
const NO_METHOD: MethodRef = MethodRef::new(9, [9; 6], 1);
const FLIGHT: Duration = Duration::from_millis(20);

fn keys() -> Keys {
    Keys::new(&[1; 16], &[2; 16])
}

fn plain() -> (ClientConfig, ServerConfig) {
    (ClientConfig::new(16, 1, CLIENT_TITLE), ServerConfig::new(1, SERVER_TITLE))
}

fn ciphered() -> (ClientConfig, ServerConfig) {
    let mut client = ClientConfig::new(1, 1, CLIENT_TITLE);
    client.authentication = Authentication::Hls5(keys());
    client.ciphered = Some(keys());
    client.gateway = Some(b"METER-0001".as_ref().into());
    let mut server = ServerConfig::new(1, SERVER_TITLE);
    server.authentication = Authentication::Hls5(keys());
    server.ciphered = Some(keys());
    server.gateway = client.gateway.clone();
    (client, server)
}

fn without(config: &mut Conformance, bits: &[Conformance]) {
    bits.iter().for_each(|bit| config.0 &= !bit.0);
}

const OWN_BLOCKS: [Conformance; 3] =
    [Conformance::BLOCK_GET, Conformance::BLOCK_SET, Conformance::BLOCK_ACTION];

/// Both ends and a line on which `loses` decides the fate of each frame.
struct Line<F> {
    now: Instant,
    client: Client,
    server: Server,
    flying: VecDeque<(Instant, bool, Vec<u8>)>,
    loses: F,
    note: Data,
    /// Requests that the server's driver saw.
    asked: usize,
    /// Tags of what went over the line, behind wrapper and gateway prefix.
    tags: Vec<u8>,
    refused: Vec<Error>,
    longest: usize,
}

impl<F: FnMut() -> bool> Line<F> {
    fn new(config: (ClientConfig, ServerConfig), loses: F) -> Self {
        let mut client = Client::new(config.0, &[0x5a; 16]);
        let mut server = Server::new(config.1, [7; 32], AcceptedCounters::default());
        let now = start();
        client.set_counters(now, 100..1_000_000);
        server.set_counters(500..1_000_000);
        Self {
            now,
            client,
            server,
            flying: VecDeque::new(),
            loses,
            note: Data::Null,
            asked: 0,
            tags: Vec::new(),
            refused: Vec::new(),
            longest: 0,
        }
    }

    /// A line whose association is open already; nothing is lost before that.
    fn open(config: (ClientConfig, ServerConfig), mut loses: F) -> Self {
        let mut clean = Line::new(config, || false);
        clean.client.connect(clean.now).unwrap();
        clean.run();
        let told = clean.indications();
        assert!(matches!(told[..], [Indication::Associated { .. }]), "{told:?}");
        let Line { now, client, server, note, .. } = clean;
        let _first = loses();
        Self {
            now,
            client,
            server,
            flying: VecDeque::new(),
            loses,
            note,
            asked: 0,
            tags: Vec::new(),
            refused: Vec::new(),
            longest: 0,
        }
    }

    fn put(&mut self, up: bool, frame: Vec<u8>) {
        let (_, octets) = wrapper::decode(&frame).unwrap();
        let (_, apdu) = cosem::gateway_header::split(octets).unwrap();
        self.tags.push(apdu[0]);
        self.longest = self.longest.max(apdu.len());
        if !(self.loses)() {
            self.flying.push_back((self.now + FLIGHT, up, frame));
        }
    }

    /// Lets frames fly and deadlines come until nothing is outstanding and nothing moves.
    fn run(&mut self) {
        for _ in 0..200_000 {
            while let Some(frame) = self.client.poll_transmit() {
                self.put(true, frame);
            }
            while let Some(frame) = self.server.poll_transmit() {
                self.put(false, frame);
            }
            if let Some((at, up, frame)) = self.flying.pop_front() {
                self.now = self.now.max(at);
                let (header, octets) = wrapper::decode(&frame).unwrap();
                let handled = if up {
                    self.server.handle_frame(self.now, header, octets)
                } else {
                    self.client.handle_frame(self.now, header, octets)
                };
                self.refused.extend(handled.err());
                self.answer();
                continue;
            }
            let timeouts = [self.client.poll_timeout(), self.server.poll_timeout()];
            let Some(next) = timeouts.into_iter().flatten().min() else { return };
            self.now = self.now.max(next);
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
        }
        panic!("it never ends");
    }

    fn answer(&mut self) {
        while let Some(indication) = self.server.poll() {
            let ServerIndication::Request(request) = indication else { continue };
            self.asked += 1;
            let answer = match &request {
                Request::Get { attribute: REGISTER, .. } => Answer::Got(Ok(Data::U32(42))),
                Request::Get { attribute: PROFILE, .. } => Answer::Encoded(profile().to_axdr()),
                Request::Get { attribute: NOTE, .. } => Answer::Got(Ok(self.note.clone())),
                Request::Set { attribute: NOTE, value, .. } => {
                    self.note = value.clone();
                    Answer::Set(Ok(()))
                }
                Request::Action { method: ECHO, parameters } => Answer::Acted(ActionAnswer {
                    result: Ok(()),
                    returned: parameters.clone().map(Ok),
                }),
                other => Answer::refused(other, DataAccessError::ObjectUndefined),
            };
            self.server.respond(answer).unwrap();
        }
    }

    fn indications(&mut self) -> Vec<Indication> {
        std::iter::from_fn(|| self.client.poll()).collect()
    }
}

fn profile() -> Data {
    let row = |at: u32| Data::Structure(vec![Data::U32(at), Data::U32(at * 3)]);
    Data::Array((0..500).map(row).collect())
}

fn long(octets: usize) -> Data {
    let octets: Vec<u8> = (0..octets).map(|at| u8::try_from(at % 251).unwrap()).collect();
    Data::octets(&octets)
}

fn everything() -> Vec<AccessItem> {
    let selection = Selection { selector: 2, parameters: Data::U8(1) };
    vec![
        AccessItem::Get(REGISTER, None),
        AccessItem::Set(NOTE, Some(selection.clone()), Data::U8(7)),
        AccessItem::Get(NOTE, Some(selection)),
        AccessItem::Action(ECHO, Data::text("hello")),
        AccessItem::Action(ECHO, Data::Null),
        AccessItem::Get(MISSING, None),
        AccessItem::Set(MISSING, None, Data::Null),
        AccessItem::Action(NO_METHOD, Data::Null),
    ]
}

fn everything_done() -> Vec<AccessResult> {
    let undefined = DataAccessError::ObjectUndefined;
    vec![
        AccessResult::Got(Ok(Data::U32(42))),
        AccessResult::Set(Ok(())),
        AccessResult::Got(Ok(Data::U8(7))),
        AccessResult::Acted(Ok(Data::text("hello"))),
        AccessResult::Acted(Ok(Data::Null)),
        AccessResult::Got(Err(undefined)),
        AccessResult::Set(Err(undefined)),
        AccessResult::Acted(Err(undefined)),
    ]
}

#[test]
fn one_access_reads_writes_and_invokes() {
    for config in [plain, ciphered] {
        for self_descriptive in [false, true] {
            let mut line = Line::open(config(), || false);
            let options = AccessOptions { self_descriptive, ..AccessOptions::default() };
            let invoke = line.client.access(line.now, options, everything()).unwrap();
            line.run();
            let results = everything_done();
            assert_eq!(line.indications(), [Indication::Accessed { invoke, results }]);
            assert_eq!((line.asked, &line.refused[..]), (8, &[][..]));
            assert_eq!(line.tags.len(), 2, "one request, one response");
        }
    }
}

#[test]
fn an_access_that_breaks_on_error_stops_there() {
    let mut line = Line::open(plain(), || false);
    let options = AccessOptions { break_on_error: true, ..AccessOptions::default() };
    let invoke = line.client.access(line.now, options, everything()).unwrap();
    line.run();
    let results = everything_done()[..6].to_vec();
    assert_eq!(line.indications(), [Indication::Accessed { invoke, results }]);
    assert_eq!(line.asked, 6, "nothing after the error reached the driver");
}

#[test]
fn an_access_that_was_not_negotiated_is_refused_on_both_sides() {
    let (mut client, server) = plain();
    without(&mut client.conformance, &[Conformance::ACCESS]);
    let mut line = Line::open((client, server), || false);
    line.client.access(line.now, AccessOptions::default(), everything()).unwrap();
    let told = line.indications();
    assert!(
        matches!(
            told[..],
            [Indication::Failed { failure: Failure::Refused(Error::WrongState(_)), .. }]
        ),
        "{told:?}"
    );
    let request = cosem::apdu::AccessRequest {
        invoke: LongInvokePriority::confirmed(1),
        date_time: bytes::Bytes::new(),
        list: Vec::new(),
        values: Vec::new(),
    };
    let octets = Apdu::AccessRequest(request).encode();
    let header = Header { source: 16, destination: 1 };
    assert!(line.server.handle_frame(line.now, header, &octets).is_err());
    assert_eq!(line.server.poll_transmit().unwrap()[8], 0xd8);
}

#[test]
fn lists_go_whole_in_own_blocks_and_in_general_blocks() {
    let own = || {
        let (mut client, mut server) = ciphered();
        (client.max_pdu, server.max_pdu) = (256, 256);
        without(&mut client.conformance, &[Conformance::GENERAL_BLOCKS]);
        (client, server)
    };
    let general = || {
        let (mut client, mut server) = ciphered();
        (client.max_pdu, server.max_pdu) = (256, 256);
        without(&mut client.conformance, &OWN_BLOCKS);
        (client, server)
    };
    let preferred = || {
        let (mut client, mut server) = plain();
        (client.max_pdu, server.max_pdu) = (256, 256);
        client.general.usage = GeneralUse::Preferred;
        server.general.usage = GeneralUse::Preferred;
        (client, server)
    };
    for (config, general_blocks) in
        [(own(), false), (general(), true), (preferred(), true), (plain(), false)]
    {
        let mut line = Line::open(config, || false);
        let now = line.now;
        let sets = vec![(NOTE, None, long(900)), (MISSING, None, Data::U8(1))];
        let set = line.client.set_list(now, sets).unwrap();
        let gets = vec![(NOTE, None), (MISSING, None), (REGISTER, None)];
        let got = line.client.get_list(now, gets).unwrap();
        let actions = vec![(ECHO, long(700)), (NO_METHOD, Data::Null), (ECHO, Data::U8(3))];
        let acted = line.client.action_list(now, actions).unwrap();
        line.run();
        let undefined = DataAccessError::ObjectUndefined;
        let expect = [
            Indication::SetList { invoke: set, results: vec![Ok(()), Err(undefined)] },
            Indication::GotList {
                invoke: got,
                results: vec![Ok(long(900)), Err(undefined), Ok(Data::U32(42))],
            },
            Indication::ActedList {
                invoke: acted,
                results: vec![Ok(Some(long(700))), Err(undefined), Ok(Some(Data::U8(3)))],
            },
        ];
        assert_eq!(line.refused, []);
        assert_eq!(line.indications(), expect);
        assert_eq!(line.tags.contains(&0xe0), general_blocks);
        assert!(!general_blocks || line.longest <= 256, "{}", line.longest);
    }
}

#[test]
fn a_list_of_one_octet_too_many_still_goes() {
    // Every length around the limit: the first block may be full, or nearly empty.
    for octets in 150..260 {
        let (mut client, mut server) = ciphered();
        (client.max_pdu, server.max_pdu) = (256, 256);
        without(&mut client.conformance, &[Conformance::GENERAL_BLOCKS]);
        let mut line = Line::open((client, server), || false);
        line.client.set_list(line.now, vec![(NOTE, None, long(octets))]).unwrap();
        line.run();
        let told = line.indications();
        let Indication::SetList { results, .. } = &told[0] else { panic!("{told:?}") };
        assert_eq!(results[..], [Ok(())], "{octets}");
        assert_eq!(line.note, long(octets));
        assert!(line.longest <= 256, "{octets}: {}", line.longest);
    }
}

#[test]
fn services_without_an_answer_are_carried_out_and_not_answered() {
    for config in [plain, ciphered] {
        let mut line = Line::open(config(), || false);
        let now = line.now;
        let set = line.client.set_unconfirmed(now, NOTE, None, Data::U8(9)).unwrap();
        let acted = line.client.action_unconfirmed(now, ECHO, Some(Data::U8(1))).unwrap();
        let got = line.client.get(now, NOTE, None).unwrap();
        line.run();
        let expect = [
            Indication::Sent { invoke: set },
            Indication::Sent { invoke: acted },
            Indication::Got { invoke: got, result: Ok(Data::U8(9)) },
        ];
        assert_eq!(line.indications(), expect);
        assert_eq!((line.asked, line.tags.len()), (3, 4));
        assert!(line.server.poll_transmit().is_none());
        let invoke = line.client.set_unconfirmed(now, NOTE, None, long(70_000)).unwrap();
        let told = line.indications();
        let [Indication::Failed { invoke: failed, failure: Failure::Refused(error) }] = told[..]
        else {
            panic!("{told:?}");
        };
        assert_eq!((failed, error.code()), (invoke, "too_long"));
    }
}

/// A client and a server that put everything into general blocks of few octets.
fn in_blocks(mut config: (ClientConfig, ServerConfig), window: u8) -> (ClientConfig, ServerConfig) {
    for general in [&mut config.0.general, &mut config.1.general] {
        general.window = window;
        general.tries = 40;
        general.wait = Duration::from_millis(300);
    }
    config.0.general.usage = GeneralUse::Always;
    (config.0.max_pdu, config.1.max_pdu) = (128, 128);
    config
}

#[test]
fn every_service_goes_in_general_blocks_when_asked_so() {
    for window in [1, 3, 63] {
        for config in [plain, ciphered] {
            let mut line = Line::open(in_blocks(config(), window), || false);
            let now = line.now;
            let read = line.client.get_encoded(now, PROFILE, None).unwrap();
            let wrote = line.client.set(now, NOTE, None, long(3000)).unwrap();
            let acted = line.client.action(now, ECHO, Some(long(1000))).unwrap();
            let access = line.client.access(now, AccessOptions::default(), everything()).unwrap();
            line.run();
            let results = everything_done();
            let expect = [
                Indication::GotEncoded { invoke: read, result: Ok(profile().to_axdr().into()) },
                Indication::Set { invoke: wrote, result: Ok(()) },
                Indication::Acted { invoke: acted, result: Ok(Some(long(1000))) },
                Indication::Accessed { invoke: access, results },
            ];
            assert_eq!(line.indications(), expect);
            assert!(line.tags.iter().all(|tag| *tag == 0xe0), "nothing but blocks");
            assert!(line.longest <= 128);
            assert_eq!(line.refused, []);
        }
    }
}

#[test]
fn a_quick_answer_is_its_own_acknowledgement() {
    let (mut client, server) = plain();
    client.general.usage = GeneralUse::Always;
    let mut line = Line::open((client, server), || false);
    line.client.get(line.now, REGISTER, None).unwrap();
    line.run();
    // The request, the answer, and that the answer has come: nothing more.
    assert_eq!(line.tags, [0xe0, 0xe0, 0xe0]);
}

#[test]
fn a_long_answer_to_a_short_request_comes_in_general_blocks() {
    let (mut client, mut server) = ciphered();
    (client.max_pdu, server.max_pdu) = (256, 256);
    without(&mut server.conformance, &OWN_BLOCKS);
    let mut line = Line::open((client, server), || false);
    let invoke = line.client.get(line.now, PROFILE, None).unwrap();
    line.run();
    assert_eq!(line.indications(), [Indication::Got { invoke, result: Ok(profile()) }]);
    // The request goes as it is; the first block tells the server the window, and then eight
    // blocks follow each acknowledgement.
    let acknowledgements = line.tags.len() - 1 - (profile().to_axdr().len() + 31).div_ceil(256 - 9);
    assert!(acknowledgements <= 4, "{acknowledgements}");
}

#[test]
fn without_any_block_transfer_a_long_answer_is_refused_by_name() {
    let (mut client, mut server) = ciphered();
    (client.max_pdu, server.max_pdu) = (256, 256);
    without(&mut server.conformance, &OWN_BLOCKS);
    without(&mut server.conformance, &[Conformance::GENERAL_BLOCKS]);
    let mut line = Line::open((client, server), || false);
    let invoke = line.client.get(line.now, PROFILE, None).unwrap();
    let (header, octets) = frame_of(&line.client.poll_transmit().unwrap());
    line.server.handle_frame(line.now, header, &octets).unwrap();
    while line.server.poll().is_some() {}
    let told = line.server.respond(Answer::Encoded(profile().to_axdr()));
    assert_eq!(told.unwrap_err().code(), "too_long");
    line.run();
    let told = line.indications();
    let [Indication::Failed { invoke: failed, failure: Failure::Exception(exception) }] = told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!((failed, exception.fault), (invoke, ServiceFault::PduTooLong));
}

fn frame_of(frame: &[u8]) -> (Header, Vec<u8>) {
    let (header, octets) = wrapper::decode(frame).unwrap();
    (header, octets.to_vec())
}

/// Invokes with so many octets each, in general blocks, over a line that loses `loss` of a hundred
/// frames: what the client heard, what it should hear, and how often the meter was asked.
fn over_a_bad_line(
    windows: [u8; 2],
    lengths: &[usize],
    seed: u64,
    loss: u64,
    protected: bool,
) -> (Vec<Indication>, Vec<Indication>, usize) {
    let mut state = seed;
    let config = if protected { ciphered() } else { plain() };
    let (client, mut server) = in_blocks(config, windows[0]);
    server.general.window = windows[1];
    let mut line = Line::open((client, server), || {
        // splitmix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % 100 < loss
    });
    let mut expect = Vec::new();
    for octets in lengths {
        let parameters = Some(long(*octets));
        let invoke = line.client.action(line.now, ECHO, parameters).unwrap();
        expect.push(Indication::Acted { invoke, result: Ok(Some(long(*octets))) });
    }
    line.run();
    (line.indications(), expect, line.asked)
}

proptest! {
    #![proptest_config(Config::with_cases(Config::default().cases.max(1_000)))]

    #[test]
    fn a_line_that_loses_frames_still_brings_the_right_answers(
        windows in prop::array::uniform2(1u8..10),
        lengths in prop::collection::vec(1usize..2_000, 1..6),
        seed in any::<u64>(),
        loss in 0u64..25,
        protected in any::<bool>(),
    ) {
        let (heard, expect, asked) = over_a_bad_line(windows, &lengths, seed, loss, protected);
        prop_assert_eq!(heard, expect);
        prop_assert_eq!(asked, lengths.len(), "each was done once");
    }
}

#[test]
fn lines_that_once_brought_no_answer_bring_the_right_one() {
    for (windows, lengths, seed, loss, protected) in [
        ([5, 3], &[446, 1, 1][..], 167_637_803_571_009_816, 11, true),
        ([1, 1], &[1, 1], 9_472_304_773_721_516_855, 16, false),
        ([2, 4], &[1_748, 1, 1], 7_876_899_466_536_540_556, 4, true),
    ] {
        let (heard, expect, asked) = over_a_bad_line(windows, lengths, seed, loss, protected);
        assert_eq!((heard, asked), (expect, lengths.len()), "seed {seed}");
    }
}

/// The last acknowledgement of one exchange and the first blocks of the next are lost together,
/// so that the server repeats its old answer into the new exchange.
#[test]
fn a_repeated_old_answer_does_not_acknowledge_the_next_request() {
    for (octets, window) in [(1, 1), (1, 8), (900, 1), (900, 8)] {
        for config in [plain, ciphered] {
            // Frames are counted from the first request on.
            for lost in 2..40 {
                let mut frame = 0;
                let mut line = Line::open(in_blocks(config(), window), || {
                    frame += 1;
                    (lost..lost + 2).contains(&frame)
                });
                let mut expect = Vec::new();
                for _ in 0..3 {
                    let invoke = line.client.action(line.now, ECHO, Some(long(octets))).unwrap();
                    expect.push(Indication::Acted { invoke, result: Ok(Some(long(octets))) });
                }
                line.run();
                assert_eq!(line.indications(), expect, "{octets} {window}, lost {lost}");
                assert_eq!(line.asked, 3, "each was done once");
            }
        }
    }
}

#[test]
fn a_dead_line_ends_the_request_and_the_next_one_works() {
    let dead = std::cell::Cell::new(false);
    let mut config = in_blocks(ciphered(), 4);
    (config.0.general.tries, config.1.general.tries) = (3, 3);
    let mut line = Line::open(config, || dead.get());
    dead.set(true);
    let lost = line.client.set(line.now, NOTE, None, long(2000)).unwrap();
    line.run();
    let failed = Indication::Failed { invoke: lost, failure: Failure::Timeout };
    assert_eq!(line.indications(), [failed]);
    dead.set(false);
    let next = line.client.set(line.now, NOTE, None, long(1000)).unwrap();
    line.run();
    assert_eq!(line.indications(), [Indication::Set { invoke: next, result: Ok(()) }]);
    assert_eq!(line.note, long(1000));
}

#[test]
fn a_late_answer_is_never_taken_for_the_next() {
    // Alone and in blocks: the answer to the first request comes while the second is in flight.
    for usage in [GeneralUse::WhenNeeded, GeneralUse::Always] {
        let (mut client, server) = plain();
        client.general.usage = usage;
        let mut line = Line::open((client, server), || false);
        let first = line.client.get(line.now, REGISTER, None).unwrap();
        let request = frame_of(&line.client.poll_transmit().unwrap());
        let mut deadline = line.now;
        for _ in 0..8 {
            deadline += Duration::from_secs(60);
            line.client.handle_timeout(deadline);
            while line.client.poll_transmit().is_some() {}
        }
        let failed = Indication::Failed { invoke: first, failure: Failure::Timeout };
        assert_eq!(line.indications(), [failed]);
        line.note = Data::U8(77);
        let second = line.client.get(deadline, NOTE, None).unwrap();
        let next = frame_of(&line.client.poll_transmit().unwrap());
        line.server.handle_frame(line.now, request.0, &request.1).unwrap();
        line.answer();
        let late = frame_of(&line.server.poll_transmit().unwrap());
        let refused = line.client.handle_frame(deadline, late.0, &late.1);
        assert_eq!(refused, Err(Error::WrongState("an answer to another request")));
        while line.client.poll_transmit().is_some() {}
        line.server.handle_frame(line.now, next.0, &next.1).unwrap();
        line.answer();
        line.run();
        let result = Ok(Data::U8(77));
        assert_eq!(line.indications(), [Indication::Got { invoke: second, result }]);
        assert_ne!(first, second);
    }
}

#[test]
fn an_abort_ends_the_exchange_on_either_side() {
    let (client, server) = in_blocks(plain(), 2);
    let mut line = Line::open((client, server), || false);
    let invoke = line.client.set(line.now, NOTE, None, long(2000)).unwrap();
    let abort = Apdu::GeneralBlock(GeneralBlock::abort(1, 0)).encode();
    let header = Header { source: 1, destination: 16 };
    let aborted = Error::WrongState("the peer has aborted the block transfer");
    assert_eq!(line.client.handle_frame(line.now, header, &abort), Err(aborted));
    let failed = Indication::Failed { invoke, failure: Failure::Refused(aborted) };
    assert_eq!(line.indications(), [failed]);
    while line.client.poll_transmit().is_some() {}
    // The server: the client gives up in the middle of a request, and nothing is kept.
    let block = |number, octets: &'static [u8]| {
        let octets = bytes::Bytes::from_static(octets);
        Apdu::GeneralBlock(GeneralBlock { control: 1, block: number, acknowledged: 0, octets })
    };
    let header = Header { source: 16, destination: 1 };
    line.server.handle_frame(line.now, header, &block(1, b"\xc0\x01").encode()).unwrap();
    assert_eq!(line.server.handle_frame(line.now, header, &abort), Err(aborted));
    let orphan = line.server.handle_frame(line.now, header, &block(2, b"\xc1").encode());
    assert_eq!(orphan, Err(Error::WrongState("a block of no exchange")));
}

#[test]
fn reassembly_is_bounded_and_says_so() {
    let (mut client, mut server) = in_blocks(plain(), 8);
    server.max_request_octets = 1_000;
    client.max_answer_octets = 1_000;
    let mut line = Line::open((client, server), || false);
    let invoke = line.client.set(line.now, NOTE, None, long(3_000)).unwrap();
    line.run();
    let aborted = Error::WrongState("the peer has aborted the block transfer");
    let failed = Indication::Failed { invoke, failure: Failure::Refused(aborted) };
    assert_eq!(line.indications(), [failed]);
    assert!(line.refused.iter().any(|error| error.code() == "too_long"), "{:?}", line.refused);
    assert_eq!(line.note, Data::Null);
    let read = line.client.get(line.now, PROFILE, None).unwrap();
    line.run();
    let told = line.indications();
    let [Indication::Failed { invoke, failure: Failure::Refused(error) }] = told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((invoke, error.code()), (read, "too_long"));
}

#[test]
fn refusals_of_the_server_are_told_apart() {
    let exception = cosem::apdu::ExceptionResponse::not_allowed(ServiceFault::NotSupported);
    let service = ConfirmedServiceError { service: 5, class: 1, error: 2 };
    let header = Header { source: 1, destination: 16 };
    let wishes: [fn(&mut Client, Instant) -> InvokeId; 5] = [
        |client, now| client.get(now, REGISTER, None).unwrap(),
        |client, now| client.set(now, NOTE, None, Data::Null).unwrap(),
        |client, now| client.action(now, ECHO, None).unwrap(),
        |client, now| client.get_list(now, vec![(NOTE, None)]).unwrap(),
        |client, now| client.access(now, AccessOptions::default(), everything()).unwrap(),
    ];
    for wish in wishes {
        for (apdu, failure) in [
            (Apdu::ExceptionResponse(exception), Failure::Exception(exception)),
            (Apdu::ConfirmedServiceError(service), Failure::ServiceError(service)),
        ] {
            let mut line = Line::open(plain(), || false);
            let invoke = wish(&mut line.client, line.now);
            line.client.handle_frame(line.now, header, &apdu.encode()).unwrap();
            assert_eq!(line.indications(), [Indication::Failed { invoke, failure }]);
            assert_eq!(line.client.outstanding(), 0);
        }
    }
    for (apdu, rejection) in [
        (Apdu::ExceptionResponse(exception), Rejection::Exception(exception)),
        (Apdu::ConfirmedServiceError(service), Rejection::ServiceError(service)),
    ] {
        let mut line = Line::new(plain(), || false);
        line.client.connect(line.now).unwrap();
        line.client.handle_frame(line.now, header, &apdu.encode()).unwrap();
        assert_eq!(line.indications(), [Indication::Rejected(rejection)]);
    }
}

#[test]
fn a_lost_connection_fails_what_waits_and_a_renewed_client_goes_on() {
    let mut line = Line::open(ciphered(), || false);
    let before = line.client.counters();
    let first = line.client.get(line.now, REGISTER, None).unwrap();
    let second = line.client.get(line.now, NOTE, None).unwrap();
    assert!(line.client.renew(&[1; 16]).is_err(), "not while it is open");
    line.client.disconnected();
    line.server.disconnected();
    let failed = |invoke| Indication::Failed { invoke, failure: Failure::Closed };
    assert_eq!(line.indications(), [Indication::Released, failed(first), failed(second)]);
    assert!(line.client.is_closed() && !line.server.is_open());
    line.client.renew(&[0x77; 16]).unwrap();
    assert!(line.client.counters().start > before.start, "no counter is used twice");
    line.client.connect(line.now).unwrap();
    let third = line.client.get(line.now, REGISTER, None).unwrap();
    line.run();
    let told = line.indications();
    let [Indication::Associated { .. }, got] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*got, Indication::Got { invoke: third, result: Ok(Data::U32(42)) });
    assert_eq!(line.refused, []);

    let mut line = Line::new(plain(), || true);
    line.client.connect(line.now).unwrap();
    line.client.disconnected();
    assert_eq!(line.indications(), [Indication::Rejected(Rejection::Disconnected)]);
}

#[test]
fn a_push_in_blocks_comes_out_in_any_state() {
    let (client, _) = plain();
    let mut client = Client::new(client, &[1; 16]);
    let note = DataNotification::new(LongInvokePriority::confirmed(3), None, long(40));
    let octets: bytes::Bytes = Apdu::DataNotification(note.clone()).encode().into();
    let header = Header { source: 1, destination: 102 };
    let (head, tail) = (octets.slice(..20), octets.slice(20..));
    let block = |control, block, octets| {
        Apdu::GeneralBlock(GeneralBlock { control, block, acknowledged: 0, octets }).encode()
    };
    client.handle_frame(start(), header, &block(0x40, 1, head)).unwrap();
    assert_eq!(client.poll(), None);
    client.handle_frame(start(), header, &block(0xc0, 2, tail)).unwrap();
    let Some(Indication::Notified(told)) = client.poll() else { panic!() };
    assert_eq!(told.decode().unwrap(), note);
}

/// Items of an ACCESS request that the driver above knows how to answer, and the answer.
fn item() -> impl Strategy<Value = (AccessItem, AccessResult)> {
    let undefined = DataAccessError::ObjectUndefined;
    prop_oneof![
        Just((AccessItem::Get(REGISTER, None), AccessResult::Got(Ok(Data::U32(42))))),
        Just((AccessItem::Get(MISSING, None), AccessResult::Got(Err(undefined)))),
        Just((AccessItem::Set(MISSING, None, Data::U8(1)), AccessResult::Set(Err(undefined)))),
        Just((AccessItem::Action(NO_METHOD, Data::Null), AccessResult::Acted(Err(undefined)))),
        any::<u32>().prop_map(|value| {
            let value = Data::U32(value);
            (AccessItem::Action(ECHO, value.clone()), AccessResult::Acted(Ok(value)))
        }),
        any::<u8>().prop_map(|value| {
            (AccessItem::Set(NOTE, None, Data::U8(value)), AccessResult::Set(Ok(())))
        }),
    ]
}

proptest! {
    #[test]
    fn any_mix_of_access_is_answered_item_by_item(
        items in prop::collection::vec(item(), 0..40),
        self_descriptive in any::<bool>(),
        break_on_error in any::<bool>(),
        max_pdu in prop::sample::select(vec![128u16, 400, 0]),
    ) {
        let (mut client, mut server) = ciphered();
        (client.max_pdu, server.max_pdu) = (max_pdu, max_pdu);
        let mut line = Line::open((client, server), || false);
        let options =
            AccessOptions { self_descriptive, break_on_error, ..AccessOptions::default() };
        let (items, mut expect): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let invoke = line.client.access(line.now, options, items).unwrap();
        line.run();
        let failed = expect.iter().position(|result| matches!(
            result,
            AccessResult::Got(Err(_)) | AccessResult::Set(Err(_)) | AccessResult::Acted(Err(_))
        ));
        if let (true, Some(at)) = (break_on_error, failed) {
            expect.truncate(at + 1);
        }
        prop_assert_eq!(line.indications(), [Indication::Accessed { invoke, results: expect }]);
        prop_assert!(line.refused.is_empty());
    }
}
