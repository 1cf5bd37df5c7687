//! Client against server over a virtual link: frames are split and joined at will, and every
//! answer of the driver is known.

use std::time::{Duration, Instant};

use cosem::apdu::action::ActionAnswer;
use cosem::apdu::{Conformance, DataNotification, LongInvokePriority, ServiceFault};
use cosem::association::{
    AcceptedCounters, Answer, Authentication, Client, ClientConfig, Failure, Indication, Level,
    Rejection, Request, Server, ServerConfig, ServerIndication,
};
use cosem::data::Data;
use cosem::gateway_header::{self, Direction, Prefix};
use cosem::wrapper::{self, Deframer, Header};
use cosem::{Apdu, AttributeRef, DataAccessError, Error, Keys, MethodRef, Secret};

use crate::clock::start;

const CLIENT_TITLE: [u8; 8] = *b"HFDNODE1";
const SERVER_TITLE: [u8; 8] = *b"MMM\0\0\0\0\x01";
const REGISTER: AttributeRef = AttributeRef::new(3, [1, 0, 1, 8, 0, 255], 2);
const PROFILE: AttributeRef = AttributeRef::new(7, [1, 0, 99, 1, 0, 255], 2);
const NOTE: AttributeRef = AttributeRef::new(1, [0, 0, 96, 13, 0, 255], 2);
const ECHO: MethodRef = MethodRef::new(9, [0, 0, 10, 0, 106, 255], 1);
const CHALLENGE: [u8; 16] = [0x5a; 16];
const SEED: [u8; 32] = [7; 32];

fn keys() -> Keys {
    Keys::new(&[1; 16], &[2; 16])
}

fn hls5() -> (ClientConfig, ServerConfig) {
    let mut client = ClientConfig::new(1, 1, CLIENT_TITLE);
    client.authentication = Authentication::Hls5(keys());
    client.ciphered = Some(keys());
    let mut server = ServerConfig::new(1, SERVER_TITLE);
    server.authentication = Authentication::Hls5(keys());
    server.ciphered = Some(keys());
    (client, server)
}

/// Both ends, the octets between them, and a driver that answers.
struct Link {
    now: Instant,
    client: Client,
    server: Server,
    up: Deframer,
    down: Deframer,
    piece: usize,
    note: Data,
    told: Vec<ServerIndication>,
    frames: Vec<Vec<u8>>,
}

impl Link {
    fn new(config: (ClientConfig, ServerConfig)) -> Self {
        let mut client = Client::new(config.0, &CHALLENGE);
        let mut server = Server::new(config.1, SEED, AcceptedCounters::default());
        let now = start();
        client.set_counters(now, 100..10_000);
        server.set_counters(500..100_000);
        Self {
            now,
            client,
            server,
            up: Deframer::new(65_535),
            down: Deframer::new(65_535),
            piece: 7,
            note: Data::Null,
            told: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// Lets octets flow until nothing moves any more.
    fn run(&mut self) {
        loop {
            let mut moved = false;
            let mut stream = Vec::new();
            while let Some(frame) = self.client.poll_transmit() {
                self.frames.push(frame.clone());
                stream.extend(frame);
            }
            for piece in stream.chunks(self.piece) {
                moved = true;
                self.up.feed(piece);
                while let Some((header, apdu)) = self.up.next_frame().unwrap() {
                    self.server.handle_frame(self.now, header, &apdu).unwrap();
                    self.answer();
                }
            }
            let mut stream = Vec::new();
            while let Some(frame) = self.server.poll_transmit() {
                stream.extend(frame);
            }
            for piece in stream.chunks(self.piece) {
                moved = true;
                self.down.feed(piece);
                while let Some((header, apdu)) = self.down.next_frame().unwrap() {
                    self.client.handle_frame(self.now, header, &apdu).unwrap();
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn answer(&mut self) {
        while let Some(indication) = self.server.poll() {
            let ServerIndication::Request(request) = indication else {
                self.told.push(indication);
                continue;
            };
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

    fn associated(config: (ClientConfig, ServerConfig)) -> Self {
        let mut link = Self::new(config);
        link.client.connect(link.now).unwrap();
        link.run();
        let told = link.indications();
        assert!(matches!(told[..], [Indication::Associated { .. }]), "{told:?}");
        assert!(link.server.is_open());
        link
    }
}

fn profile() -> Data {
    let row = |at: u32| Data::Structure(vec![Data::U32(at), Data::U32(at * 3)]);
    Data::Array((0..500).map(row).collect())
}

fn got(invoke: cosem::association::InvokeId, result: Result<Data, DataAccessError>) -> Indication {
    Indication::Got { invoke, result }
}

#[test]
fn every_authentication_opens_and_reads() {
    let plain = || (ClientConfig::new(16, 1, CLIENT_TITLE), ServerConfig::new(1, SERVER_TITLE));
    let lls = || {
        let (mut client, mut server) = plain();
        client.client_sap = 32;
        client.authentication = Authentication::Lls(Secret::new(b"12345678"));
        server.authentication = Authentication::Lls(Secret::new(b"12345678"));
        (client, server)
    };
    let gmac_only = || {
        let (mut client, mut server) = hls5();
        (client.ciphered, server.ciphered) = (None, None);
        (client, server)
    };
    let through_gateway = || {
        let (mut client, mut server) = hls5();
        client.gateway = Some(b"METER-0001".as_ref().into());
        server.gateway = client.gateway.clone();
        (client, server)
    };
    let cases = [
        (plain(), Level::Public),
        (lls(), Level::Lls),
        (gmac_only(), Level::Hls5),
        (hls5(), Level::Hls5),
        (through_gateway(), Level::Hls5),
    ];
    for (config, expect) in cases {
        let mut link = Link::associated(config);
        assert_eq!(link.server.level(), expect);
        let first = link.client.get(link.now, REGISTER, None).unwrap();
        let missing = AttributeRef::new(1, [9; 6], 2);
        let second = link.client.get(link.now, missing, None).unwrap();
        link.run();
        let undefined = Err(DataAccessError::ObjectUndefined);
        let expect = [got(first, Ok(Data::U32(42))), got(second, undefined)];
        assert_eq!(link.indications(), expect);
        link.client.release(link.now).unwrap();
        link.run();
        assert_eq!(link.indications(), [Indication::Released]);
        assert!(matches!(link.told.last(), Some(ServerIndication::Released)));
        assert!(link.client.is_closed() && !link.server.is_open());
    }
}

#[test]
fn nothing_but_the_association_goes_in_the_clear() {
    let mut link = Link::associated(hls5());
    link.client.get(link.now, REGISTER, None).unwrap();
    link.run();
    let tags: Vec<u8> = link.frames.iter().map(|frame| frame[8]).collect();
    assert_eq!(tags, [0x60, 0xcb, 0xc8]);
    let header = Header { source: 1, destination: 1 };
    let plain = cosem::apdu::GetRequest::Normal {
        invoke: cosem::apdu::InvokePriority::confirmed(1),
        attribute: REGISTER,
        selection: None,
    };
    let plain = Apdu::GetRequest(plain).encode();
    let refused = link.server.handle_frame(link.now, header, &plain);
    assert_eq!(refused.unwrap_err().code(), "protection");
    assert_eq!(&link.server.poll_transmit().unwrap()[8..], [0xd8, 1, 1]);
}

#[test]
fn long_values_go_by_blocks_in_every_direction() {
    for max_pdu in [64u16, 128, 600, 0] {
        let (mut client, mut server) = hls5();
        client.max_pdu = max_pdu;
        server.max_pdu = max_pdu;
        // Blocks of each service alone; general block transfer is the business of `transfer`.
        client.conformance.0 &= !Conformance::GENERAL_BLOCKS.0;
        let mut link = Link::associated((client, server));
        let now = link.now;
        let long = Data::octets(&vec![0xab; 3000]);
        let read = link.client.get(now, PROFILE, None).unwrap();
        let raw = link.client.get_encoded(now, PROFILE, None).unwrap();
        let wrote = link.client.set(now, NOTE, None, long.clone()).unwrap();
        let list = link.client.get_list(now, vec![(REGISTER, None), (NOTE, None)]).unwrap();
        let acted = link.client.action(now, ECHO, Some(long.clone())).unwrap();
        link.run();
        let told = link.indications();
        assert_eq!(told[0], got(read, Ok(profile())), "max_pdu {max_pdu}");
        let octets = profile().to_axdr().into();
        assert_eq!(told[1], Indication::GotEncoded { invoke: raw, result: Ok(octets) });
        assert_eq!(told[2], Indication::Set { invoke: wrote, result: Ok(()) });
        let results = vec![Ok(Data::U32(42)), Ok(long.clone())];
        assert_eq!(told[3], Indication::GotList { invoke: list, results });
        assert_eq!(told[4], Indication::Acted { invoke: acted, result: Ok(Some(long)) });
        assert_eq!(told.len(), 5);
        // The first frame, AARQ, is sent before the limit is known.
        let longest = link.frames[1..].iter().map(|frame| frame.len() - 8).max().unwrap();
        assert!(max_pdu == 0 || longest <= usize::from(max_pdu), "{longest} of {max_pdu}");
        let too_long = vec![(REGISTER, None); 7000];
        let invoke = link.client.get_list(now, too_long).unwrap();
        link.run();
        let told = link.indications();
        let [Indication::Failed { invoke: failed, failure }] = told[..] else { panic!("{told:?}") };
        assert_eq!(failed, invoke);
        assert!(matches!(failure, Failure::Refused(Error::TooLong { .. })), "{failure:?}");
    }
}

#[test]
fn a_replayed_frame_is_refused_by_both_sides() {
    let mut link = Link::associated(hls5());
    link.client.get(link.now, REGISTER, None).unwrap();
    link.run();
    let replayed = link.frames.last().unwrap().clone();
    let (header, apdu) = wrapper::decode(&replayed).unwrap();
    let refused = link.server.handle_frame(link.now, header, apdu);
    assert_eq!(refused, Err(Error::Replayed { counter: 103, highest: 103 }));
    let exception = link.server.poll_transmit().unwrap();
    assert_eq!(&exception[8..], [0xd8, 1, 6, 0, 0, 0, 104]);
    // A new connection of the same device still refuses it: the counters go with the device.
    let mut again = Server::new(hls5().1, [8; 32], link.server.accepted().clone());
    again.set_counters(1..100);
    let aarq = link.frames.first().unwrap().clone();
    let (header, apdu) = wrapper::decode(&aarq).unwrap();
    let refused = again.handle_frame(link.now, header, apdu);
    assert_eq!(refused, Err(Error::Replayed { counter: 100, highest: 103 }));
    // The client: a recorded answer.
    link.client.get(link.now, REGISTER, None).unwrap();
    let request = link.client.poll_transmit().unwrap();
    let (header, apdu) = wrapper::decode(&request).unwrap();
    link.server.handle_frame(link.now, header, apdu).unwrap();
    link.answer();
    let answer = link.server.poll_transmit().unwrap();
    let (header, apdu) = wrapper::decode(&answer).unwrap();
    link.client.handle_frame(link.now, header, apdu).unwrap();
    let refused = link.client.handle_frame(link.now, header, apdu);
    assert_eq!(refused.unwrap_err().code(), "replayed");
    let mut floor = Client::new(hls5().0, &CHALLENGE);
    floor.set_server_counter(9);
    floor.set_server_counter(3);
    assert_eq!(floor.server_counter(), Some(9));
}

#[test]
fn wrong_keys_passwords_and_titles_are_refused() {
    let (client, mut server) = hls5();
    server.ciphered = Some(Keys::new(&[9; 16], &[2; 16]));
    let mut link = Link::new((client, server));
    link.client.connect(link.now).unwrap();
    let aarq = link.client.poll_transmit().unwrap();
    let (header, apdu) = wrapper::decode(&aarq).unwrap();
    assert_eq!(link.server.handle_frame(link.now, header, apdu), Err(Error::BadTag));
    assert_eq!(link.server.accepted(), &AcceptedCounters::default());
    link.run();
    let told = link.indications();
    let [Indication::Rejected(Rejection::Exception(exception))] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(exception.fault, ServiceFault::Deciphering);

    // The server's authentication key differs: the client must not believe it.
    let (mut client, mut server) = hls5();
    (client.ciphered, server.ciphered) = (None, None);
    server.authentication = Authentication::Hls5(Keys::new(&[1; 16], &[3; 16]));
    let mut link = Link::new((client, server));
    link.client.connect(link.now).unwrap();
    let aarq = link.client.poll_transmit().unwrap();
    let (header, apdu) = wrapper::decode(&aarq).unwrap();
    link.server.handle_frame(link.now, header, apdu).unwrap();
    let aare = link.server.poll_transmit().unwrap();
    let (header, apdu) = wrapper::decode(&aare).unwrap();
    link.client.handle_frame(link.now, header, apdu).unwrap();
    let proof = link.client.poll_transmit().unwrap();
    let (header, apdu) = wrapper::decode(&proof).unwrap();
    assert_eq!(link.server.handle_frame(link.now, header, apdu), Err(Error::BadTag));
    link.run();
    assert!(matches!(link.indications()[..], [Indication::Rejected(Rejection::Refused(_))]));
    assert!(!link.server.is_open());

    let (mut client, mut server) =
        (ClientConfig::new(32, 1, CLIENT_TITLE), ServerConfig::new(1, SERVER_TITLE));
    client.authentication = Authentication::Lls(Secret::new(b"12345679"));
    server.authentication = Authentication::Lls(Secret::new(b"12345678"));
    let mut link = Link::new((client, server));
    link.client.connect(link.now).unwrap();
    let aarq = link.client.poll_transmit().unwrap();
    let (header, apdu) = wrapper::decode(&aarq).unwrap();
    assert!(link.server.handle_frame(link.now, header, apdu).is_err());
    link.run();
    assert!(matches!(link.indications()[..], [Indication::Rejected(Rejection::Server { .. })]));

    let (mut client, server) = hls5();
    client.server_title = Some(*b"ANOTHER!");
    let mut link = Link::new((client, server));
    link.client.connect(link.now).unwrap();
    link.run();
    let expect = [Indication::Rejected(Rejection::Refused(Error::WrongTitle))];
    assert_eq!(link.indications(), expect);
}

#[test]
fn silence_ends_in_a_timeout_and_a_late_answer_changes_nothing() {
    let mut link = Link::associated(hls5());
    let invoke = link.client.get(link.now, REGISTER, None).unwrap();
    let next = link.client.get(link.now, NOTE, None).unwrap();
    let late = link.client.poll_transmit().unwrap();
    let deadline = link.client.poll_timeout().unwrap();
    assert_eq!(deadline, link.now + Duration::from_secs(5));
    link.client.handle_timeout(deadline - Duration::from_millis(1));
    assert_eq!(link.indications(), []);
    link.client.handle_timeout(deadline);
    assert_eq!(link.indications(), [Indication::Failed { invoke, failure: Failure::Timeout }]);
    let (header, apdu) = wrapper::decode(&late).unwrap();
    link.server.handle_frame(link.now, header, apdu).unwrap();
    link.answer();
    let answer = link.server.poll_transmit().unwrap();
    let (header, apdu) = wrapper::decode(&answer).unwrap();
    let refused = link.client.handle_frame(deadline, header, apdu);
    assert_eq!(refused, Err(Error::WrongState("an answer to another request")));
    link.run();
    assert_eq!(link.indications(), [got(next, Ok(Data::Null))]);

    let mut mute = Link::new(hls5());
    mute.client.connect(mute.now).unwrap();
    mute.client.handle_timeout(mute.now + Duration::from_secs(5));
    assert_eq!(mute.indications(), [Indication::Rejected(Rejection::Timeout)]);
    assert!(mute.client.is_closed() && mute.client.poll_timeout().is_none());
}

#[test]
fn counters_are_asked_for_before_and_waited_for_after_they_run_out() {
    let mut link = Link::new(hls5());
    link.client.set_counters(link.now, 10..13);
    link.client.connect(link.now).unwrap();
    link.run();
    let told = link.indications();
    let [Indication::NeedCounters { left: 0 }, Indication::Associated { .. }] = told[..] else {
        panic!("{told:?}");
    };
    let invoke = link.client.get(link.now, REGISTER, None).unwrap();
    link.run();
    assert_eq!(link.indications(), []);
    link.client.set_counters(link.now, 50..1000);
    link.run();
    assert_eq!(link.indications(), [got(invoke, Ok(Data::U32(42)))]);
    assert_eq!(link.client.counters(), 51..1000);
    let mut dry = Client::new(hls5().0, &CHALLENGE);
    assert_eq!(dry.connect(link.now), Err(Error::NoCounters));
}

#[test]
fn notifications_come_through_before_and_between_answers() {
    let mut link = Link::associated(hls5());
    let invoke = LongInvokePriority::confirmed(1);
    let notification = DataNotification::new(invoke, None, Data::U8(9));
    link.server.notify(102, notification.clone()).unwrap();
    let asked = link.client.get(link.now, REGISTER, None).unwrap();
    link.run();
    let told = link.indications();
    let [Indication::Notified(told_note), answer] = &told[..] else { panic!("{told:?}") };
    assert_eq!(told_note.decode().unwrap(), notification);
    assert_eq!(told_note.title, Some(SERVER_TITLE));
    assert_eq!(*answer, got(asked, Ok(Data::U32(42))));
    // A plain one is not believed in a ciphered association.
    let plain = Apdu::DataNotification(notification).encode();
    let header = Header { source: 1, destination: 102 };
    let refused = link.client.handle_frame(link.now, header, &plain);
    assert_eq!(refused.unwrap_err().code(), "protection");
}

#[test]
fn frames_for_others_are_refused() {
    let (mut client, mut server) = hls5();
    client.gateway = Some(b"METER-0001".as_ref().into());
    server.gateway = client.gateway.clone();
    let mut link = Link::associated((client, server));
    let header = Header { source: 1, destination: 1 };
    let wrong = |octets: &[u8], link: &mut Link| {
        assert_eq!(link.client.handle_frame(link.now, header, octets), Err(Error::WrongAddress));
        assert_eq!(link.server.handle_frame(link.now, header, octets), Err(Error::WrongAddress));
    };
    wrong(&[0xd8, 1, 1], &mut link);
    let mut other = Vec::new();
    let address = b"METER-0002".as_ref().into();
    let prefix = Prefix { direction: Direction::Response, network: 0, address };
    gateway_header::encode(&prefix, &mut other).unwrap();
    other.extend([0xd8, 1, 1]);
    wrong(&other, &mut link);
    let stranger = Header { source: 7, destination: 9 };
    let refused = link.client.handle_frame(link.now, stranger, &[0xd8, 1, 1]);
    assert_eq!(refused, Err(Error::WrongAddress));
}

#[test]
fn the_queue_is_bounded_and_a_closed_client_says_so() {
    let mut link = Link::associated(hls5());
    for _ in 0..65 {
        link.client.get(link.now, REGISTER, None).unwrap();
    }
    assert_eq!(link.client.get(link.now, REGISTER, None), Err(Error::QueueFull));
    assert_eq!(link.client.outstanding(), 65);
    link.run();
    assert_eq!(link.indications().len(), 65);
    link.client.release(link.now).unwrap();
    link.run();
    assert!(link.client.get(link.now, REGISTER, None).is_err());
}

#[test]
fn an_idle_server_gives_the_association_up_and_takes_a_new_one() {
    let (client, mut server) = hls5();
    server.idle_timeout = Some(Duration::from_secs(60));
    let mut link = Link::associated((client.clone(), server));
    let deadline = link.server.poll_timeout().unwrap();
    assert_eq!(deadline, link.now + Duration::from_secs(60));
    link.server.handle_timeout(deadline);
    assert_eq!(link.server.poll(), Some(ServerIndication::Released));
    let mut second = Client::new(client, &[3; 16]);
    second.set_counters(link.now, 20_000..30_000);
    link.client = second;
    link.client.connect(link.now).unwrap();
    link.run();
    assert!(link.server.is_open() && link.client.is_open());
}
