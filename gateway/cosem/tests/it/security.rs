//! Client against server under every mechanism, suite and policy, with right and wrong secrets,
//! replays and flipped bits; dedicated keys and key transfer over whole associations.

use std::time::Instant;

use cosem::apdu::ServiceFault;
use cosem::association::{
    AcceptedCounters, Answer, Authentication, Client, ClientConfig, Failure, Indication, KeyUse,
    Level, Rejection, Request, Server, ServerConfig, ServerIndication, Wrapping,
};
use cosem::data::Data;
use cosem::security::{AgreementKey, Credentials, Kek, KeyId, NewKeys, Policy, SigningKey};
use cosem::wrapper::{self, Header};
use cosem::{Apdu, AttributeRef, Error, Keys, MethodRef, Secret, SecurityControl, Suite, security};
use sha2::{Digest, Sha256};

use crate::clock::start;

const CLIENT: [u8; 8] = *b"HFDNODE1";
const SERVER: [u8; 8] = *b"MMM\0\0\0\0\x01";
const REGISTER: AttributeRef = AttributeRef::new(3, [1, 0, 1, 8, 0, 255], 2);
const TRANSFER: MethodRef = MethodRef::new(64, [0, 0, 43, 0, 0, 255], 2);
const CHALLENGE: [u8; 32] = [0x5a; 32];
const SEED: [u8; 32] = [7; 32];
const SUITES: [Suite; 3] = [Suite::Zero, Suite::One, Suite::Two];

fn keys(suite: Suite, octet: u8) -> Keys {
    let length = suite.key_octets();
    let keys = Keys::in_suite(suite, &vec![octet; length], &vec![2; length]).unwrap();
    keys.with_broadcast(&vec![3; length]).unwrap()
}

fn credentials(suite: Suite, own: u8, peer: u8) -> Credentials {
    let kek = Some(Kek::new(suite, &vec![9; suite.key_octets()]).unwrap());
    if suite == Suite::Zero {
        return Credentials { kek, ..Credentials::NONE };
    }
    let scalar = |octet| vec![octet; suite.curve_octets()];
    Credentials {
        kek,
        signing: Some(SigningKey::new(suite, &scalar(own)).unwrap()),
        peer_signing: Some(SigningKey::new(suite, &scalar(peer)).unwrap().public()),
        agreement: Some(AgreementKey::new(suite, &scalar(own)).unwrap()),
        peer_agreement: Some(AgreementKey::new(suite, &scalar(peer)).unwrap().public()),
    }
}

type Configs = (ClientConfig, ServerConfig);

/// A ciphered pair in a suite that proves itself by GMAC.
fn pair(suite: Suite) -> Configs {
    let mut client = ClientConfig::new(1, 1, CLIENT);
    client.ciphered = Some(keys(suite, 1));
    client.authentication = Authentication::Hls5(keys(suite, 1));
    client.credentials = credentials(suite, 0x21, 0x31);
    let mut server = ServerConfig::new(1, SERVER);
    server.ciphered = Some(keys(suite, 1));
    server.authentication = Authentication::Hls5(keys(suite, 1));
    server.credentials = credentials(suite, 0x31, 0x21);
    (client, server)
}

struct Link {
    now: Instant,
    client: Client,
    server: Server,
    up: Vec<Vec<u8>>,
    down: Vec<Vec<u8>>,
    level: Option<Level>,
    kek: Option<Kek>,
    errors: Vec<Error>,
}

impl Link {
    fn new((client, server): Configs) -> Self {
        let kek = server.credentials.kek.clone();
        let now = start();
        let mut link = Self {
            now,
            client: Client::new(client, &CHALLENGE),
            server: Server::new(server, SEED, AcceptedCounters::default()),
            up: Vec::new(),
            down: Vec::new(),
            level: None,
            kek,
            errors: Vec::new(),
        };
        link.client.set_counters(now, 100..10_000);
        link.server.set_counters(500..100_000);
        link
    }

    fn run(&mut self) {
        loop {
            let mut moved = false;
            while let Some(frame) = self.client.poll_transmit() {
                moved = true;
                self.up.push(frame.clone());
                self.reach_server(&frame);
                self.answer();
            }
            while let Some(frame) = self.server.poll_transmit() {
                moved = true;
                self.down.push(frame.clone());
                self.reach_client(&frame);
            }
            if !moved {
                return;
            }
        }
    }

    fn reach_server(&mut self, frame: &[u8]) {
        let (header, apdu) = wrapper::decode(frame).unwrap();
        let handled = self.server.handle_frame(self.now, header, apdu);
        self.errors.extend(handled.err());
    }

    fn reach_client(&mut self, frame: &[u8]) {
        let (header, apdu) = wrapper::decode(frame).unwrap();
        let handled = self.client.handle_frame(self.now, header, apdu);
        self.errors.extend(handled.err());
    }

    fn answer(&mut self) {
        while let Some(indication) = self.server.poll() {
            match indication {
                ServerIndication::Associated { level, .. } => self.level = Some(level),
                ServerIndication::Released => self.level = None,
                ServerIndication::Request(Request::Action { method: TRANSFER, parameters }) => {
                    let parameters = parameters.unwrap();
                    let new = NewKeys::unwrap_from(self.kek.as_ref().unwrap(), &parameters);
                    self.server.switch_keys(new.unwrap()).unwrap();
                    self.server.respond(Answer::done()).unwrap();
                }
                ServerIndication::Request(_) => {
                    self.server.respond(Answer::Got(Ok(Data::U32(42)))).unwrap();
                }
            }
        }
    }

    fn told(&mut self) -> Vec<Indication> {
        std::iter::from_fn(|| self.client.poll()).collect()
    }

    fn connect(&mut self) -> Vec<Indication> {
        self.client.connect(self.now).unwrap();
        self.run();
        self.told()
    }

    fn opened(configs: Configs) -> Self {
        let mut link = Self::new(configs);
        let told = link.connect();
        assert!(matches!(told[..], [Indication::Associated { .. }]), "{told:?} {:?}", link.errors);
        link
    }

    fn reads(&mut self) {
        let invoke = self.client.get(self.now, REGISTER, None).unwrap();
        self.run();
        let result = Ok(Data::U32(42));
        assert_eq!(self.told(), [Indication::Got { invoke, result }], "{:?}", self.errors);
    }

    fn tags(&self) -> (u8, u8) {
        (self.up.last().unwrap()[8], self.down.last().unwrap()[8])
    }
}

/// Every mechanism with a suite: how it is configured, and what is proved.
fn mechanisms(suite: Suite) -> Vec<(Authentication, Authentication, Level)> {
    let secret = || Secret::new(b"a secret of the association");
    let mut list = vec![
        (Authentication::None, Authentication::None, Level::Public),
        (Authentication::Lls(secret()), Authentication::Lls(secret()), Level::Lls),
        (Authentication::Hls3(secret()), Authentication::Hls3(secret()), Level::Hls3),
        (Authentication::Hls4(secret()), Authentication::Hls4(secret()), Level::Hls4),
        (Authentication::Hls5(keys(suite, 1)), Authentication::Hls5(keys(suite, 1)), Level::Hls5),
        (Authentication::Hls6(secret()), Authentication::Hls6(secret()), Level::Hls6),
    ];
    if suite != Suite::Zero {
        list.push((Authentication::Hls7, Authentication::Hls7, Level::Hls7));
    }
    list
}

#[test]
fn every_mechanism_opens_in_every_suite_ciphered_and_plain() {
    for suite in SUITES {
        for ((client_by, server_by, level), ciphered) in
            mechanisms(suite).into_iter().flat_map(|m| [true, false].map(|c| (m.clone(), c)))
        {
            let (mut client, mut server) = pair(suite);
            (client.authentication, server.authentication) = (client_by, server_by);
            if !ciphered {
                (client.ciphered, server.ciphered) = (None, None);
            }
            let number = client.authentication.mechanism().0;
            let mut link = Link::opened((client, server));
            assert_eq!(link.level, Some(level), "mechanism {number} {suite:?}");
            let (_, aarq) = wrapper::decode(&link.up[0]).unwrap();
            let Ok(Apdu::Aarq(aarq)) = Apdu::decode(aarq) else { panic!("no AARQ") };
            assert_eq!(aarq.mechanism.map_or(0, |mechanism| mechanism.0), number);
            let (_, aare) = wrapper::decode(&link.down[0]).unwrap();
            let Ok(Apdu::Aare(aare)) = Apdu::decode(aare) else { panic!("no AARE") };
            let named = level.is_high().then_some(number);
            assert_eq!(aare.mechanism.map(|mechanism| mechanism.0), named);
            link.reads();
            if ciphered {
                let (_, apdu) = wrapper::decode(link.up.last().unwrap()).unwrap();
                let Ok(Apdu::Protected(sent)) = Apdu::decode(apdu) else { panic!("plain") };
                assert_eq!(sent.control, SecurityControl::BOTH.in_suite(suite));
            }
        }
    }
}

#[test]
fn wrong_secrets_keys_and_titles_open_nothing() {
    let secret = |text: &[u8]| Secret::new(text);
    for suite in SUITES {
        for (client_by, _, _) in mechanisms(suite) {
            let (mut client, mut server) = pair(suite);
            (client.ciphered, server.ciphered) = (None, None);
            server.authentication = match &client_by {
                Authentication::None => continue,
                Authentication::Lls(_) => Authentication::Lls(secret(b"another")),
                Authentication::Hls3(_) => Authentication::Hls3(secret(b"another")),
                Authentication::Hls4(_) => Authentication::Hls4(secret(b"another")),
                Authentication::Hls5(_) => Authentication::Hls5(keys(suite, 8)),
                Authentication::Hls6(_) => Authentication::Hls6(secret(b"another")),
                Authentication::Hls7 => {
                    server.credentials = credentials(suite, 0x31, 0x41);
                    Authentication::Hls7
                }
            };
            let number = client_by.mechanism().0;
            client.authentication = client_by;
            let mut link = Link::new((client, server));
            let told = link.connect();
            assert!(matches!(told[..], [Indication::Rejected(_)]), "{number}: {told:?}");
            assert!(!link.server.is_open() && link.level.is_none());
            let expect = match number {
                1 => "protection",
                7 => "bad_signature",
                _ => "bad_tag",
            };
            assert_eq!(link.errors[0].code(), expect, "mechanism {number}");
        }
        // A ciphered association: another unicast key, another suite, another title.
        let (client, mut server) = pair(suite);
        server.ciphered = Some(keys(suite, 8));
        let mut link = Link::new((client, server));
        let told = link.connect();
        let [Indication::Rejected(Rejection::Exception(exception))] = told[..] else {
            panic!("{told:?}");
        };
        assert_eq!(exception.fault, ServiceFault::Deciphering);
        let (mut client, server) = pair(suite);
        client.server_title = Some(*b"ANOTHER!");
        let told = Link::new((client, server)).connect();
        assert_eq!(told, [Indication::Rejected(Rejection::Refused(Error::WrongTitle))]);
        let (client, _) = pair(suite);
        let other = if suite == Suite::One { Suite::Two } else { Suite::One };
        let mut link = Link::new((client, pair(other).1));
        link.connect();
        assert_eq!(link.errors, [Error::Suite(suite.number())]);
    }
}

/// The server that does not hold the secret: only the client can find out.
#[test]
fn a_server_that_proves_nothing_is_refused_by_the_client() {
    for suite in [Suite::One, Suite::Two] {
        for (by, _, _) in mechanisms(suite) {
            if !by.is_high() {
                continue;
            }
            let (mut client, mut server) = pair(suite);
            (client.ciphered, server.ciphered) = (None, None);
            (client.authentication, server.authentication) = (by.clone(), by);
            let mut link = Link::new((client, server));
            link.client.connect(link.now).unwrap();
            let frame = link.client.poll_transmit().unwrap();
            link.reach_server(&frame);
            let aare = link.server.poll_transmit().unwrap();
            link.reach_client(&aare);
            let proof = link.client.poll_transmit().unwrap();
            link.reach_server(&proof);
            let mut pass_4 = link.server.poll_transmit().unwrap();
            *pass_4.last_mut().unwrap() ^= 1;
            link.reach_client(&pass_4);
            let told = link.told();
            let [Indication::Rejected(Rejection::Refused(error))] = told[..] else {
                panic!("{told:?}");
            };
            assert!(matches!(error, Error::BadTag | Error::BadSignature), "{error:?}");
        }
    }
}

#[test]
fn reflected_challenges_and_mechanism_2_are_refused() {
    // The server's first challenge, as it is derived from its seed.
    let mut hash = Sha256::new();
    hash.update(SEED);
    hash.update(1u32.to_be_bytes());
    let challenge = hash.finalize()[..16].to_vec();
    let (client, server) = pair(Suite::Zero);
    let mut link = Link::new((client.clone(), server));
    link.client = Client::new(client, &challenge);
    link.client.set_counters(link.now, 100..200);
    let told = link.connect();
    assert!(matches!(told[..], [Indication::Rejected(Rejection::Server { .. })]), "{told:?}");
    assert_eq!(link.errors, [Error::Protection("a reflected challenge")]);

    // The client's own challenge comes back.
    let (mut client, mut server) = pair(Suite::Zero);
    (client.ciphered, server.ciphered) = (None, None);
    let mut link = Link::new((client, server));
    link.client.connect(link.now).unwrap();
    let aarq = link.client.poll_transmit().unwrap();
    link.reach_server(&aarq);
    let aare = link.server.poll_transmit().unwrap();
    let (header, octets) = wrapper::decode(&aare).unwrap();
    let Ok(Apdu::Aare(mut aare)) = Apdu::decode(octets) else { panic!("no AARE") };
    aare.authentication = Some(CHALLENGE.to_vec().into());
    let reflected = wrapper::encode(header, &Apdu::Aare(aare).encode()).unwrap();
    link.reach_client(&reflected);
    let expect = Rejection::Refused(Error::Protection("an unusable challenge"));
    assert_eq!(link.told(), [Indication::Rejected(expect)]);

    let (_, octets) = wrapper::decode(&aarq).unwrap();
    let Ok(Apdu::Aarq(mut aarq)) = Apdu::decode(octets) else { panic!("no AARQ") };
    aarq.mechanism = Some(cosem::acse::Mechanism::HLS_MANUFACTURER);
    let header = Header { source: 1, destination: 1 };
    let refused = link.server.handle_frame(link.now, header, &Apdu::Aarq(aarq).encode());
    assert_eq!(refused, Err(Error::Protection("mechanism 2 is the manufacturer's own")));
}

#[test]
fn no_flipped_bit_of_a_request_or_an_answer_is_taken() {
    for (suite, wrapping) in SUITES
        .into_iter()
        .flat_map(|s| [Wrapping::Service, Wrapping::General, Wrapping::Ciphering].map(|w| (s, w)))
    {
        let (mut client, server) = pair(suite);
        client.wrapping = wrapping;
        let mut link = Link::opened((client, server));
        link.reads();
        link.client.get(link.now, REGISTER, None).unwrap();
        let request = link.client.poll_transmit().unwrap();
        for at in 8..request.len() {
            let mut bad = request.clone();
            bad[at] ^= 1 << (at % 8);
            link.reach_server(&bad);
            assert!(link.errors.pop().is_some(), "{suite:?} {wrapping:?} octet {at}");
            assert!(link.server.poll().is_none());
            while link.server.poll_transmit().is_some() {}
        }
        link.reach_server(&request);
        link.answer();
        let answer = link.server.poll_transmit().unwrap();
        for at in 8..answer.len() {
            let mut bad = answer.clone();
            bad[at] ^= 1 << (at % 8);
            link.reach_client(&bad);
            assert!(link.errors.pop().is_some(), "{suite:?} {wrapping:?} octet {at}");
            assert!(link.client.poll().is_none());
        }
        link.reach_client(&answer);
        assert!(matches!(link.told()[..], [Indication::Got { .. }]));
    }
}

#[test]
fn services_go_under_the_dedicated_key_with_its_own_counters() {
    for (suite, wrapping) in
        SUITES.into_iter().flat_map(|s| [Wrapping::Service, Wrapping::General].map(|w| (s, w)))
    {
        let (mut client, server) = pair(suite);
        client.wrapping = wrapping;
        client.dedicated_key = Some(Secret::new(&vec![0xd1; suite.key_octets()]));
        let mut link = Link::opened((client, server));
        let before = (link.client.counters(), link.server.counters());
        for _ in 0..3 {
            link.reads();
        }
        let expect = if wrapping == Wrapping::Service { (0xd0, 0xd4) } else { (0xdc, 0xdc) };
        assert_eq!(link.tags(), expect);
        assert_eq!((link.client.counters(), link.server.counters()), before);
        // A recorded request is refused by both its counter and the key's.
        let replayed = link.up.last().unwrap().clone();
        link.reach_server(&replayed);
        assert_eq!(link.errors, [Error::Replayed { counter: 2, highest: 2 }]);
        let exception = link.server.poll_transmit().unwrap();
        assert_eq!(&exception[8..], [0xd8, 1, 6, 0, 0, 0, 3]);
    }
    let (mut client, _) = pair(Suite::Two);
    client.dedicated_key = Some(Secret::new(&[1; 16]));
    let mut short = Client::new(client.clone(), &CHALLENGE);
    short.set_counters(start(), 1..100);
    assert_eq!(short.connect(start()).unwrap_err().code(), "protection");
    client.ciphered = None;
    assert_eq!(Client::new(client, &CHALLENGE).connect(start()), Err(Error::NoKeys));
}

#[test]
fn a_policy_is_met_by_both_sides_and_less_is_refused() {
    for bits in (0..=255u8).filter(|bits| bits & 3 == 0) {
        let (mut client, mut server) = pair(Suite::One);
        let policy = Policy::from_v1(bits).unwrap();
        (client.policy, server.policy) = (policy, policy);
        let mut link = Link::opened((client, server));
        link.reads();
        link.reads();
        let shown = |frame: &[u8]| {
            let (signed, apdu) = match Apdu::decode(&frame[8..]).unwrap() {
                Apdu::GeneralSigning(signed) => (true, Apdu::decode(&signed.content).unwrap()),
                apdu => (false, apdu),
            };
            let control = match apdu {
                Apdu::Protected(protected) => protected.control.0 & 0x30,
                _ => 0,
            };
            (signed, control)
        };
        let of = |bits: u8| (bits & 4 != 0, (bits & 3) << 4);
        assert_eq!(shown(link.up.last().unwrap()), of(bits >> 2), "{bits:02x}");
        // An answer is protected as the policy says and no less than its request.
        assert_eq!(shown(link.down.last().unwrap()), of(bits >> 5 | bits >> 2), "{bits:02x}");
        if bits & 0x1c != 0 {
            let replayed = link.up.last().unwrap().clone();
            link.reach_server(&replayed);
            assert_eq!(link.errors[0].code(), "replayed", "{bits:02x}");
        }
    }
    // Less than demanded is refused, more is taken.
    for (sent, demanded) in (0..4).flat_map(|s| (0..4).map(move |d| (s, d))) {
        let (mut client, mut server) = pair(Suite::Zero);
        client.policy.requests = Policy::from_v0(sent).unwrap().requests;
        client.policy.responses = Policy::NONE.responses;
        server.policy = Policy::from_v0(demanded).unwrap();
        let mut link = Link::new((client, server));
        let told = link.connect();
        let opened = matches!(told[..], [Indication::Associated { .. }]);
        assert_eq!(opened, demanded & !sent == 0, "{sent} for {demanded}: {told:?}");
        if !opened {
            assert_eq!(link.errors[0].code(), "protection");
        }
    }
}

#[test]
fn transferred_keys_are_used_after_the_answer_and_the_old_ones_no_more() {
    for suite in SUITES {
        let length = suite.key_octets();
        let new = NewKeys::default()
            .with(KeyId::Unicast, &vec![0x11; length])
            .with(KeyId::Authentication, &vec![0x12; length])
            .with(KeyId::Kek, &vec![0x13; length]);
        let mut link = Link::opened(pair(suite));
        let old_key = keys(suite, 1);
        let invoke = link.client.transfer_keys(link.now, TRANSFER, new.clone()).unwrap();
        // This one waits behind the transfer and goes under the new keys.
        let next = link.client.get(link.now, REGISTER, None).unwrap();
        link.run();
        let told = link.told();
        let expect = [
            Indication::Acted { invoke, result: Ok(None) },
            Indication::Got { invoke: next, result: Ok(Data::U32(42)) },
        ];
        assert_eq!(told, expect, "{:?}", link.errors);
        let frames = [&link.down[link.down.len() - 2], link.down.last().unwrap()];
        let opens = frames.map(|frame| {
            let Ok(Apdu::Protected(sealed)) = Apdu::decode(&frame[8..]) else { panic!("plain") };
            security::open(&old_key, sealed.control, &SERVER, sealed.counter, &sealed.content)
                .is_ok()
        });
        assert_eq!(opens, [true, false], "the answer is under the old keys, the next is not");
        // Counters of the new key began anew and rise: a replay is refused still.
        let replayed = link.up.last().unwrap().clone();
        link.reach_server(&replayed);
        assert_eq!(link.errors[0].code(), "replayed");
        // A second transfer needs the new key-encryption key.
        link.server.poll_transmit();
        link.errors.clear();
        let mut moved = keys(suite, 1);
        new.apply(&mut moved).unwrap();
        link.kek = Some(Kek::new(suite, &vec![0x13; length]).unwrap());
        let again = NewKeys::default().with(KeyId::Unicast, &vec![0x21; length]);
        link.client.transfer_keys(link.now, TRANSFER, again).unwrap();
        link.run();
        link.reads_after_transfer();
    }
}

impl Link {
    fn reads_after_transfer(&mut self) {
        assert!(matches!(self.told()[..], [Indication::Acted { result: Ok(None), .. }]));
        self.reads();
    }
}

#[test]
fn a_refused_transfer_changes_no_key() {
    let mut link = Link::opened(pair(Suite::Zero));
    let wrong = MethodRef::new(64, [0, 0, 43, 0, 7, 255], 2);
    let new = NewKeys::default().with(KeyId::Unicast, &[0x11; 16]);
    link.client.transfer_keys(link.now, wrong, new.clone()).unwrap();
    let second = link.client.transfer_keys(link.now, wrong, new);
    assert_eq!(second, Err(Error::WrongState("keys are being transferred")));
    let request = link.client.poll_transmit().unwrap();
    link.reach_server(&request);
    let Some(ServerIndication::Request(request)) = link.server.poll() else { panic!("none") };
    let refusal = cosem::DataAccessError::ReadWriteDenied;
    link.server.respond(Answer::refused(&request, refusal)).unwrap();
    link.run();
    assert!(matches!(link.told()[..], [Indication::Acted { result: Err(_), .. }]));
    link.reads();
}

#[test]
fn broadcasts_open_under_their_key_with_counters_of_their_own() {
    let mut link = Link::opened(pair(Suite::Zero));
    let request = cosem::apdu::GetRequest::Normal {
        invoke: cosem::apdu::InvokePriority::confirmed(1),
        attribute: REGISTER,
        selection: None,
    };
    let request = Apdu::GetRequest(request).encode();
    let broadcast = SecurityControl::BOTH.under_broadcast_key();
    let frame = |counter| {
        let keys = keys(Suite::Zero, 1);
        let sealed = security::seal_apdu(&keys, broadcast, &CLIENT, counter, &request).unwrap();
        let header = Header { source: 1, destination: 1 };
        wrapper::encode(header, &Apdu::Protected(sealed).encode()).unwrap()
    };
    link.reach_server(&frame(3));
    link.answer();
    assert_eq!(link.errors, []);
    link.reach_server(&frame(3));
    assert_eq!(link.errors, [Error::Replayed { counter: 3, highest: 3 }]);
    let accepted = link.server.accepted().of(&CLIENT);
    assert_eq!(accepted.get(KeyUse::Broadcast), Some(3));
    assert_eq!(accepted.get(KeyUse::Unicast), Some(102));
}

#[test]
fn the_driver_learns_which_counter_the_server_expects() {
    let (client, server) = pair(Suite::Zero);
    let mut seen = AcceptedCounters::default();
    seen.raise(CLIENT, 5_000);
    let mut link = Link::new((client.clone(), server.clone()));
    link.server = Server::new(server, SEED, seen);
    link.server.set_counters(1..100);
    let told = link.connect();
    let [Indication::Rejected(Rejection::Exception(exception))] = told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(exception.fault, ServiceFault::InvocationCounter { expected: 5_001 });
    link.client = Client::new(client, &CHALLENGE);
    // Three are needed: AARQ, the proof and the APDU that carries it. Two are used up by it.
    link.client.set_counters(link.now, 5_001..5_003);
    let told = link.connect();
    let spent = Indication::Rejected(Rejection::Refused(Error::NoCounters));
    assert_eq!(told, [spent]);
    assert_eq!(link.client.counters(), 5_003..5_003);
    let (client, _) = pair(Suite::Zero);
    link.client = Client::new(client, &CHALLENGE);
    link.client.set_counters(link.now, 5_003..5_100);
    let told = link.connect();
    assert!(matches!(told[..], [Indication::Associated { .. }]), "{told:?}");
}

#[test]
fn nothing_secret_is_in_what_can_be_printed() {
    let secret = b"hunter2-hunter2-hunter2-hunter2-";
    for suite in SUITES {
        let (mut client, mut server) = pair(suite);
        let key = &secret[..suite.key_octets()];
        client.ciphered = Some(Keys::in_suite(suite, key, key).unwrap());
        server.ciphered = client.ciphered.clone();
        client.dedicated_key = Some(Secret::new(key));
        client.credentials.kek = Some(Kek::new(suite, key).unwrap());
        server.credentials.kek = client.credentials.kek.clone();
        client.authentication = Authentication::Hls6(Secret::new(secret));
        server.authentication = Authentication::Hls6(Secret::new(secret));
        let mut shown = format!("{client:?} {server:?}");
        let mut link = Link::opened((client, server));
        link.reads();
        shown += &format!("{:?} {:?}", link.client, link.server);
        let new = NewKeys::default().with(KeyId::Unicast, key);
        shown += &format!("{new:?}");
        link.client.transfer_keys(link.now, TRANSFER, new).unwrap();
        shown += &format!("{:?} {:?}", link.client, link.server);
        let mut lls = ClientConfig::new(1, 1, CLIENT);
        lls.authentication = Authentication::Lls(Secret::new(secret));
        let mut served = ServerConfig::new(1, SERVER);
        served.authentication = lls.authentication.clone();
        let mut password = Link::new((lls, served));
        password.client.connect(password.now).unwrap();
        shown += &format!("{:?}", password.client);
        password.run();
        assert!(password.server.is_open());
        shown += &format!("{:?} {:?}", password.client, password.server);
        let errors = [Error::BadTag, Error::BadSignature, Error::Suite(1), Error::NoKeys];
        shown += &errors.map(|error| format!("{error:?} {error}")).concat();
        shown += &format!("{:?}", Failure::Refused(Error::BadTag));
        let as_list = format!("{:?}", &key[..8]);
        let hex: String = key[..8].iter().map(|octet| format!("{octet:02x}")).collect();
        let as_list = as_list.trim_matches(['[', ']']);
        let chars = "hunter2-";
        for needle in [as_list, &hex, chars] {
            assert!(!shown.contains(needle), "{needle} is shown");
        }
        // Scalars of the private keys: 0x21 and 0x31, eight times.
        for octet in [0x21u8, 0x31] {
            let octets = format!("{:?}", [octet; 8]);
            assert!(!shown.contains(octets.trim_matches(['[', ']'])));
            assert!(!shown.to_lowercase().contains(&format!("{octet:02x}").repeat(8)));
        }
    }
}
