//! IEC 62056-21: readouts as meters of several makers shape them, and the two machines against
//! each other over a line with rates, noise and lost octets. A failing case names its seed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cosem::iec62056_21::{
    Answer, Client, ClientConfig, Command, DataSet, Failure, Identification, Indication, Output,
    Parity, Password, Reading, Reply, Request, Server, ServerConfig, Value, Wish, data,
};
use cosem::security::Secret;
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use proptest::strategy::Strategy;

use crate::clock::start;

/// A three-phase meter's readout, with billing periods and a maximum with its time.
const READOUT: &str = "F.F(00000000)\r\n\
    0.0.0(00123456)\r\n\
    0.9.1(181530)\r\n\
    C.1.0(00123456)\r\n\
    1.8.1(0001234.567*kWh)\r\n\
    1.8.1*01(0001200.000*kWh)\r\n\
    1.8.1*02(0001100.000*kWh)\r\n\
    1-1:2.8.0(000000.00*kWh)\r\n\
    1.6.1(03.456*kW)(2511221815)\r\n\
    32.7(231.4*V)\r\n\
    31.7.0(-00.12*A)\r\n\
    13.7(0.98)\r\n";

/// A load profile in the answer to a formatted read.
const PROFILE: &str =
    "P.01(0251122000000)(00)(15)(2)(1.5)(kW)(2.5)(kW)\r\n(0.100)(0.000)\r\n(0.125)(0.010)\r\n";

#[test]
fn readouts_become_typed_readings() {
    let sets = data::parse(format!("{READOUT}!\r\n").as_bytes()).unwrap();
    assert_eq!(sets.len(), 12);
    let readings: Vec<Reading> = sets.iter().filter_map(Reading::of).collect();
    let check = |index: usize, name: [u8; 6], scaled: (i64, i8), unit: Option<u8>| {
        let reading = &readings[index];
        assert_eq!(reading.code.logical_name(1, 0), name, "{index}");
        assert_eq!(reading.scaled(), scaled, "{index}");
        assert_eq!(reading.unit.map(|unit| unit.code), unit, "{index}");
    };
    check(0, [1, 0, 97, 97, 0, 255], (0, 0), None);
    check(1, [1, 0, 0, 0, 0, 255], (123_456, 0), None);
    check(4, [1, 0, 1, 8, 1, 255], (1_234_567, 0), Some(30));
    check(5, [1, 0, 1, 8, 1, 1], (1_200_000, 0), Some(30));
    check(7, [1, 1, 2, 8, 0, 255], (0, 1), Some(30));
    check(8, [1, 0, 1, 6, 1, 255], (3456, 0), Some(27));
    check(9, [1, 0, 32, 7, 0, 255], (2314, -1), Some(35));
    check(10, [1, 0, 31, 7, 0, 255], (-12, -2), Some(33));
    check(11, [1, 0, 13, 7, 0, 255], (98, -2), None);
    assert_eq!(readings[4].value.text, "0001234.567");
    assert_eq!(readings[8].further, [Value { text: "2511221815".into(), unit: None }]);
    assert_eq!(data::encode(&sets).unwrap(), READOUT.as_bytes());

    let rows = data::parse(PROFILE.as_bytes()).unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!((rows[2].address.as_str(), rows[2].values[0].text.as_str()), ("", "0.125"));
}

/// A generator for the line's faults (splitmix64).
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
}

/// One direction: octets with the time of their arrival and the rate they were sent at.
#[derive(Default)]
struct Wire {
    pieces: VecDeque<(Instant, u32, Vec<u8>)>,
    baud: u32,
}

impl Wire {
    /// At most one fault a message: the check character sees any one octet, not any two; what has
    /// none (sign-on, option select) is guarded by parity and form alone.
    fn put(&mut self, now: Instant, output: Output, faults: usize, chance: &mut Chance) {
        let octets = match output {
            Output::ChangeBaud(baud) => {
                self.baud = baud;
                return;
            }
            Output::Transmit(octets) => octets,
        };
        let mut octets = octets.to_vec();
        if chance.below(100) < faults {
            let at = chance.below(octets.len());
            match chance.below(4) {
                0 => drop(octets.remove(at)),
                // An invented ACK (06) is an ACK: nothing in the standard guards it.
                1 => octets.insert(at, 7 + chance.next().to_le_bytes()[0] % 0x79),
                2 => octets[at] ^= 1 << chance.below(8),
                _ => octets.clear(),
            }
        }
        let line = Duration::from_micros(10_000_000 / u64::from(self.baud));
        let arrival = now + line * u32::try_from(octets.len()).unwrap();
        let arrival = self.pieces.back().map_or(arrival, |(last, ..)| arrival.max(*last));
        let split = chance.below(octets.len() + 1);
        for piece in [&octets[..split], &octets[split..]] {
            self.pieces.push_back((arrival, self.baud, piece.to_vec()));
        }
    }

    /// What arrives by `now`; at another rate than the receiver's it is noise.
    fn due(&mut self, now: Instant, baud: u32) -> Option<Vec<u8>> {
        let (_, sent, octets) = self.pieces.pop_front_if(|(at, ..)| *at <= now)?;
        let noise = |octet: &u8| (octet >> 1) | 0x60;
        Some(if sent == baud { octets } else { octets.iter().map(noise).collect() })
    }
}

/// Reader and meter on one line with one clock that jumps to the next thing to happen.
struct Pair {
    now: Instant,
    client: Client,
    server: Server,
    up: Wire,
    down: Wire,
    faults: usize,
    /// The reader's port hears what it sends.
    echo: bool,
    chance: Chance,
    got: Vec<Indication>,
    written: Vec<Vec<u8>>,
}

impl Pair {
    fn new(client: ClientConfig, server: ServerConfig, faults: usize, seed: u64) -> Self {
        let wire = || Wire { baud: 300, ..Wire::default() };
        let mut pair = Self {
            now: start(),
            // 700 octets at 300 baud take 24 s, and the time on the line counts.
            client: Client::new(ClientConfig { answer_timeout: Duration::from_secs(30), ..client }),
            server: Server::new(ServerConfig { option_timeout: Duration::from_secs(8), ..server }),
            up: wire(),
            down: wire(),
            faults,
            echo: false,
            chance: Chance(seed),
            got: Vec::new(),
            written: Vec::new(),
        };
        pair.client.start(pair.now).unwrap();
        pair
    }

    fn serve(&mut self) {
        while let Some(request) = self.server.poll() {
            let reply = match request {
                Request::Readout(b'0') => Reply::Data(Bytes::from_static(READOUT.as_bytes())),
                Request::Readout(_) => Reply::Data(Bytes::from_static(b"special(1)\r\n")),
                Request::Command(command) => self.carry_out(&command),
                Request::Hdlc(_) | Request::Closed => continue,
            };
            self.server.respond(self.now, &reply).unwrap();
        }
    }

    fn carry_out(&mut self, command: &Command) -> Reply {
        match (command.letter, command.data.as_slice()) {
            (b'R', b"1.8.0()") => Reply::Data(Bytes::from_static(b"1.8.0(0001234.5*kWh)")),
            (b'R', b"P.01()") => Reply::Data(Bytes::from(PROFILE.repeat(20))),
            (b'W' | b'E', data) => {
                self.written.push(data.to_vec());
                Reply::Done
            }
            _ => Reply::Error("ER07".into()),
        }
    }

    fn exchange(&mut self) {
        while let Some(octets) = self.up.due(self.now, self.down.baud) {
            self.server.handle_bytes(self.now, &octets);
            self.serve();
            while let Some(output) = self.server.poll_transmit() {
                self.down.put(self.now, output, self.faults, &mut self.chance);
            }
        }
        while let Some(octets) = self.down.due(self.now, self.up.baud) {
            self.client.handle_bytes(self.now, &octets);
        }
        while let Some(output) = self.server.poll_transmit() {
            self.down.put(self.now, output, self.faults, &mut self.chance);
        }
        while let Some(output) = self.client.poll_transmit() {
            if let (Output::Transmit(octets), true) = (&output, self.echo) {
                self.client.handle_bytes(self.now, octets);
            }
            self.up.put(self.now, output, self.faults, &mut self.chance);
        }
        self.got.extend(std::iter::from_fn(|| self.client.poll()));
        self.serve();
    }

    /// Goes on until `done`, or until nothing will happen any more.
    fn run_until(&mut self, done: impl Fn(&[Indication]) -> bool) {
        for _ in 0..20_000 {
            self.exchange();
            let arrivals = [&self.up, &self.down].map(|wire| wire.pieces.front().map(|p| p.0));
            let timers = [self.client.poll_timeout(), self.server.poll_timeout()];
            let next = arrivals.into_iter().chain(timers).flatten().min();
            let Some(next) = next.filter(|_| !done(&self.got)) else { return };
            self.now = self.now.max(next);
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
        }
        panic!("no end after 20000 steps");
    }

    fn command(&mut self, command: Command) -> Option<Answer> {
        let before = self.got.len();
        self.client.command(self.now, command).ok()?;
        self.run_until(|got| got[before..].iter().any(|i| matches!(i, Indication::Answered(_))));
        self.got[before..].iter().find_map(|indication| match indication {
            Indication::Answered(answer) => Some(answer.clone()),
            _ => None,
        })
    }
}

fn meter(identification: &str) -> ServerConfig {
    let identification = Identification::parse(identification.as_bytes()).unwrap();
    ServerConfig::new(identification, "0000123456")
}

fn is_end(indication: &Indication) -> bool {
    matches!(
        indication,
        Indication::Readout(_)
            | Indication::Failed(_)
            | Indication::Closed
            | Indication::Hdlc { .. }
    )
}

fn readout() -> Indication {
    Indication::Readout(data::parse(READOUT.as_bytes()).unwrap())
}

#[test]
fn every_mode_reads_out_on_a_clean_line() {
    for identification in ["/XYZ Old", "/XYZDMeter", "/XYZ0Slow", "/ABC5Meter", "/ABc6\\2Quick"] {
        for parity in [Parity::Port, Parity::Octet] {
            for (address, max_baud) in [("", 19_200), ("123456", 19_200), ("123456", 2400)] {
                let client = ClientConfig::new(address, Wish::Readout);
                let client = ClientConfig { parity, max_baud, ..client };
                let server = ServerConfig { parity, ..meter(identification) };
                let mut pair = Pair::new(client, server, 0, 1);
                pair.run_until(|got| got.iter().any(is_end));
                assert_eq!(pair.got.last(), Some(&readout()), "{identification}");
                pair.run_until(|_| false);
                assert_eq!((pair.up.baud, pair.down.baud), (300, 300));
            }
        }
    }
}

#[test]
fn an_echo_changes_nothing() {
    let identification = "/ABC5Meter";
    let mut pair = Pair::new(ClientConfig::new("", Wish::Readout), meter(identification), 0, 1);
    pair.echo = true;
    pair.run_until(|got| got.iter().any(is_end));
    assert_eq!(pair.got.last(), Some(&readout()));

    let secret = Secret::new(b"12345678");
    let server = ServerConfig { password: Some(secret.clone()), ..meter(identification) };
    let mut pair = Pair::new(programming(Password::Plain(secret)), server, 0, 1);
    pair.echo = true;
    pair.run_until(|got| got.iter().any(is_ready));
    assert_eq!(pair.got.last(), Some(&Indication::Ready));
    let profile = Answer::Data(data::parse(PROFILE.repeat(20).as_bytes()).unwrap());
    assert_eq!(pair.command(Command::new('R', '3', b"P.01()").unwrap()), Some(profile));
    let long = format!("C.7({})", "x".repeat(1000)).into_bytes();
    assert_eq!(pair.command(Command::new('W', '3', &long).unwrap()), Some(Answer::Done));
    assert_eq!(pair.written, [long]);
}

#[test]
fn another_meter_stays_silent() {
    let client = ClientConfig::new("99", Wish::Readout);
    let mut pair = Pair::new(client, meter("/ABC5Meter"), 0, 1);
    pair.run_until(|_| false);
    assert_eq!(pair.got, [Indication::Failed(Failure::NoAnswer)]);
}

#[test]
fn a_meter_that_was_read_out_hears_the_next_sign_on_at_once() {
    let mut pair = Pair::new(ClientConfig::new("", Wish::Readout), meter("/XYZ Old"), 0, 1);
    for _ in 0..3 {
        pair.run_until(|got| got.iter().any(is_end));
        assert_eq!(pair.got.pop(), Some(readout()));
        pair.got.clear();
        let before = pair.now;
        pair.client.start(pair.now).unwrap();
        pair.run_until(|got| got.iter().any(|i| matches!(i, Indication::Identified(_))));
        assert!(pair.now - before < Duration::from_secs(1), "within the first sign-on");
    }
}

#[test]
fn a_special_readout_and_what_is_not_offered() {
    let check = |identification: &str, wish, expect: &dyn Fn(&Indication) -> bool| {
        let mut pair = Pair::new(ClientConfig::new("", wish), meter(identification), 0, 1);
        pair.run_until(|got| got.iter().any(is_end));
        assert!(expect(pair.got.last().unwrap()), "{identification} {:?}", pair.got);
    };
    let failed = |i: &Indication| *i == Indication::Failed(Failure::NotOffered);
    check("/ABC5x", Wish::Special(b'7'), &|indication| match indication {
        Indication::Readout(sets) => sets[0].address == "special",
        _ => false,
    });
    check("/ABCEx", Wish::Programming, &failed);
    check("/ABC5x", Wish::Hdlc, &failed);
    check("/ABC x", Wish::Hdlc, &failed);
    check("/ABC5\\2x", Wish::Hdlc, &|i| *i == Indication::Hdlc { baud: 9600, confirmed: true });
}

fn programming(password: Password) -> ClientConfig {
    ClientConfig { password, ..ClientConfig::new("", Wish::Programming) }
}

fn is_ready(indication: &Indication) -> bool {
    is_end(indication) || *indication == Indication::Ready
}

#[test]
fn the_programming_mode_reads_writes_and_executes() {
    let secret = Secret::new(b"12345678");
    let server = ServerConfig { password: Some(secret.clone()), ..meter("/ABC5Meter") };
    let mut pair = Pair::new(programming(Password::Plain(secret)), server, 0, 1);
    pair.run_until(|got| got.iter().any(is_ready));
    assert_eq!(pair.got[1..], [Indication::Operand("00000000".into()), Indication::Ready]);
    let one = Answer::Data(data::parse(b"1.8.0(0001234.5*kWh)").unwrap());
    assert_eq!(pair.command(Command::read("1.8.0").unwrap()), Some(one));
    let refused = Answer::Refused("ER07".into());
    assert_eq!(pair.command(Command::read("9.9.9").unwrap()), Some(refused));
    let done = Some(Answer::Done);
    assert_eq!(pair.command(Command::write("0.9.1", "120000").unwrap()), done);
    assert_eq!(pair.command(Command::execute("reset", "1").unwrap()), done);
    // In partial blocks, both ways.
    let profile = Answer::Data(data::parse(PROFILE.repeat(20).as_bytes()).unwrap());
    assert_eq!(pair.command(Command::new('R', '3', b"P.01()").unwrap()), Some(profile));
    let long = format!("C.7({})", "x".repeat(1000)).into_bytes();
    assert_eq!(pair.command(Command::new('W', '3', &long).unwrap()), done);
    assert_eq!(pair.written, [b"0.9.1(120000)".to_vec(), b"reset(1)".to_vec(), long]);
    pair.client.finish(pair.now);
    pair.run_until(|_| false);
    assert_eq!(pair.got.last(), Some(&Indication::Closed));
    assert_eq!((pair.up.baud, pair.down.baud), (300, 300));
}

#[test]
fn a_wrong_password_opens_nothing_and_is_not_shown() {
    let secret = Secret::new(b"87654321");
    let server = ServerConfig { password: Some(Secret::new(b"12345678")), ..meter("/ABC5Meter") };
    let mut pair = Pair::new(programming(Password::Plain(secret)), server.clone(), 0, 1);
    let mut shown = String::new();
    for _ in 0..200 {
        pair.exchange();
        shown += &format!("{:?} {:?}", pair.client, pair.server);
        if let Some(next) = pair.client.poll_timeout() {
            pair.now = pair.now.max(next.min(pair.now + Duration::from_millis(100)));
        }
        pair.client.handle_timeout(pair.now);
        pair.server.handle_timeout(pair.now);
    }
    assert_eq!(pair.got.last(), Some(&Indication::Failed(Failure::Password)));
    assert!(!shown.contains("87654321") && !shown.contains("12345678"));

    // Without one, commands are refused.
    let mut pair = Pair::new(programming(Password::None), server, 0, 1);
    pair.run_until(|got| got.iter().any(is_ready));
    let refused = Answer::Refused("ER04".into());
    assert_eq!(pair.command(Command::write("0.9.1", "1").unwrap()), Some(refused));
    assert!(pair.written.is_empty());
}

#[test]
fn a_reckoned_password_goes_through_the_driver() {
    let mut pair = Pair::new(programming(Password::Reckoned), meter("/ABC5Meter"), 0, 1);
    pair.run_until(|got| got.iter().any(|i| matches!(i, Indication::Operand(_))));
    let answer = Secret::new(b"ABCDEF");
    pair.client.answer_operand(pair.now, &answer).unwrap();
    assert!(pair.client.answer_operand(pair.now, &answer).is_err());
    // Our simulated meter has no secure algorithm: it refuses P2.
    pair.run_until(|got| got.iter().any(is_ready));
    assert_eq!(pair.got.last(), Some(&Indication::Failed(Failure::Password)));
}

#[test]
fn an_execute_command_is_not_repeated_in_silence() {
    let mut pair = Pair::new(programming(Password::None), meter("/ABC5Meter"), 0, 1);
    pair.run_until(|got| got.iter().any(is_ready));
    let baud = pair.down.baud;
    // The answers are lost.
    pair.down.baud = 1200;
    pair.client.command(pair.now, Command::execute("reset", "1").unwrap()).unwrap();
    let mut sent = 0;
    while !pair.got.iter().any(is_end) {
        sent += usize::from(!pair.up.pieces.is_empty());
        pair.up.pieces.clear();
        pair.exchange();
        pair.now = pair.client.poll_timeout().unwrap_or(pair.now);
        pair.client.handle_timeout(pair.now);
    }
    assert_eq!(baud, 9600);
    assert_eq!(sent, 1);
    let end = [Indication::Answered(Answer::Unknown), Indication::Failed(Failure::NoAnswer)];
    assert!(pair.got.ends_with(&end));
}

#[test]
fn unasked_telegrams_are_taken_in_mode_d() {
    let mut client = Client::new(ClientConfig::new("", Wish::Readout));
    client.listen().unwrap();
    assert_eq!(client.poll_transmit(), Some(Output::ChangeBaud(2400)));
    let mut framed = b"\x021.8.0(5*kWh)\r\n!\r\n\x03".to_vec();
    framed.push(framed[1..].iter().fold(0, |check, c| check ^ c));
    let stream =
        [b"noise/ABC3Unasked\r\n", &framed[..], b"/ABC3Unasked\r\n\r\n1.8.0(6*kWh)\r\n!\r\n"];
    for octet in stream.concat() {
        client.handle_bytes(start(), &[octet]);
    }
    let values: Vec<String> = std::iter::from_fn(|| client.poll())
        .filter_map(|indication| match indication {
            Indication::Readout(sets) => Some(sets[0].values[0].text.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(values, ["5", "6"]);
    client.finish(start());
    assert_eq!(client.poll(), Some(Indication::Closed));
}

#[test]
fn endless_noise_ends_the_wait() {
    for noise in [&b"\x02xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"[..], b"................", b"\x15"] {
        let config = ClientConfig { max_block: 2000, ..ClientConfig::new("", Wish::Readout) };
        let mut client = Client::new(config);
        client.start(start()).unwrap();
        client.handle_bytes(start(), b"/XYZ old\r\n");
        for _ in 0..10_000 {
            client.handle_bytes(start(), noise);
        }
        // Repetitions are asked for by NAK, in between nothing is taken.
        let mut now = start();
        while let Some(next) = client.poll_timeout() {
            now = now.max(next);
            client.handle_timeout(now);
            for _ in 0..10_000 {
                client.handle_bytes(now, noise);
            }
        }
        let last = std::iter::from_fn(|| client.poll()).last();
        assert!(matches!(last, Some(Indication::Failed(_))), "{last:?}");
    }
}

/// Reader and meter with the parity bit in the octets, so that the line's faults meet it.
fn with_parity(client: ClientConfig, server: ServerConfig, faults: usize, seed: u64) -> Pair {
    let parity = Parity::Octet;
    Pair::new(ClientConfig { parity, ..client }, ServerConfig { parity, ..server }, faults, seed)
}

#[test]
fn a_bad_line_still_reads_mostly() {
    // Seeds are fixed, so that this is the same run everywhere.
    let mut whole = 0;
    for seed in 0..60 {
        let client = ClientConfig { retries: 5, ..ClientConfig::new("", Wish::Readout) };
        let mut pair = with_parity(client, meter("/ABC5Meter"), 10, seed);
        pair.run_until(|got| got.iter().any(is_end));
        whole += usize::from(pair.got.last() == Some(&readout()));
    }
    assert!(whole >= 50, "only {whole} of 60 read");
}

fn sets() -> impl Strategy<Value = Vec<DataSet>> {
    let value = ("[ -')+-~&&[^()*!]]{0,20}", prop::option::of("[a-zA-Z0-9]{0,6}"));
    let value = value.prop_map(|(text, unit)| Value { text, unit });
    let set = ("[A-Z0-9.:*&-]{1,16}", prop::collection::vec(value, 0..5));
    let set = set.prop_map(|(address, values)| DataSet { address, values });
    prop::collection::vec(set, 0..20)
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(200))]

    #[test]
    fn data_sets_read_back(sets in sets()) {
        let block = data::encode(&sets).unwrap();
        prop_assert_eq!(data::parse(&block), Ok(sets));
    }

    #[test]
    fn arbitrary_blocks_never_panic_and_stay_bounded(
        block in prop::collection::vec(
            prop::sample::select(b"0123456789.()*!:&-\r\n/ABCkWh\x02\x03\x04\x06\x15\xff".to_vec()),
            0..400,
        ),
    ) {
        if let Ok(sets) = data::parse(&block) {
            let held: usize = sets.iter().map(|set| {
                let values = set.values.iter();
                set.address.len() + values.map(|v| v.text.len()).sum::<usize>()
            }).sum();
            prop_assert!(held <= block.len());
            let _typed: Vec<Reading> = sets.iter().filter_map(Reading::of).collect();
        }
        let mut client = Client::new(ClientConfig::new("", Wish::Programming));
        client.start(start()).unwrap();
        client.handle_bytes(start(), b"/ABC5x\r\n");
        let mut server = Server::new(meter("/ABC5Meter"));
        let mut now = start();
        for piece in block.chunks(7) {
            client.handle_bytes(now, piece);
            server.handle_bytes(now, piece);
            now = client.poll_timeout().unwrap_or(now);
            client.handle_timeout(now);
            server.handle_timeout(now);
        }
    }

    #[test]
    fn a_bad_line_reads_right_or_fails(
        seed in any::<u64>(),
        faults in 0_usize..40,
        mode in prop::sample::select(vec!["/XYZ Old", "/XYZDMeter", "/ABC5Meter", "/ABc6Quick"]),
    ) {
        let client = ClientConfig { retries: 4, ..ClientConfig::new("123456", Wish::Readout) };
        let mut pair = with_parity(client, meter(mode), faults, seed);
        pair.run_until(|got| got.iter().any(is_end));
        let last = pair.got.last().unwrap();
        prop_assert!(matches!(last, Indication::Failed(_)) || *last == readout(), "{last:?}");
        pair.run_until(|_| false);
        prop_assert_eq!((pair.up.baud, pair.down.baud), (300, 300));
    }

    #[test]
    fn a_bad_line_programs_right_or_fails(seed in any::<u64>(), faults in 0_usize..25) {
        let client = ClientConfig { retries: 4, ..programming(Password::None) };
        let mut pair = with_parity(client, meter("/ABC5Meter"), faults, seed);
        pair.run_until(|got| got.iter().any(is_ready));
        let profile = Answer::Data(data::parse(PROFILE.repeat(20).as_bytes()).unwrap());
        for _ in 0..3 {
            match pair.command(Command::new('R', '3', b"P.01()").unwrap()) {
                Some(Answer::Data(sets)) => prop_assert_eq!(Answer::Data(sets), profile.clone()),
                None | Some(Answer::Unknown | Answer::Refused(_)) => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }
        let executed = pair.command(Command::execute("reset", "1").unwrap());
        if executed == Some(Answer::Done) {
            prop_assert_eq!(pair.written.last(), Some(&b"reset(1)".to_vec()));
        }
        pair.client.finish(pair.now);
        pair.run_until(|_| false);
        prop_assert_eq!((pair.up.baud, pair.down.baud), (300, 300));
    }
}
