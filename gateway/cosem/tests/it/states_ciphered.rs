//! The association as a table once more, where it is ciphered and proved (HLS 5): every APDU in
//! every state, as it is and under the peer's protection, and what comes of it.
//!
//! A cell has two letters: the APDU in clear, then sealed with a fresh counter. Client: `.`
//! refused and nothing changed, `O` opened, `P` went on to prove itself, `R` rejected, `C`
//! closed, `A` the request answered, `F` the request failed, `N` told as a notification, `b` a
//! block taken. Server: `.` refused silently, `x` refused with an exception-response, `r` refused
//! by an AARE, `p` went on to prove, `o` opened, `c` released, `q` a request for the driver, `a`
//! answered, `b` a block taken.

use std::time::Instant;

use cosem::association::{
    AcceptedCounters, Authentication, Client, ClientConfig, Indication, Server, ServerConfig,
    ServerIndication,
};
use cosem::wrapper::{self, Header};
use cosem::{Apdu, Keys, SecurityControl, security};

use crate::clock::start;
use crate::states::{REGISTER, kinds};

const CLIENT_TITLE: [u8; 8] = *b"HFDNODE1";
const SERVER_TITLE: [u8; 8] = *b"MMM\0\0\0\0\x01";
/// Not 16, the public client, whom a server may let in without any proof.
const CLIENT_SAP: u16 = 1;
const TO_CLIENT: Header = Header { source: 1, destination: CLIENT_SAP };
const TO_SERVER: Header = Header { source: CLIENT_SAP, destination: 1 };

/// Above every counter that the two sides use.
const FRESH: u32 = 900_000;

fn keys() -> Keys {
    Keys::new(&[1; 16], &[2; 16])
}

/// The APDU under the keys of both, from the side with this title.
fn sealed(apdu: &[u8], title: &[u8; 8]) -> Vec<u8> {
    let sealed = security::seal_apdu(&keys(), SecurityControl::BOTH, title, FRESH, apdu);
    Apdu::Protected(sealed.unwrap()).encode()
}

struct Pair {
    now: Instant,
    client: Client,
    server: Server,
}

impl Pair {
    fn new() -> Self {
        let mut client = ClientConfig::new(CLIENT_SAP, 1, CLIENT_TITLE);
        client.authentication = Authentication::Hls5(keys());
        client.ciphered = Some(keys());
        let mut server = ServerConfig::new(1, SERVER_TITLE);
        server.authentication = Authentication::Hls5(keys());
        server.ciphered = Some(keys());
        let now = start();
        let mut client = Client::new(client, &[0x5a; 16]);
        let mut server = Server::new(server, [7; 32], AcceptedCounters::default());
        client.set_counters(now, 100..10_000);
        server.set_counters(500..10_000);
        Self { now, client, server }
    }

    /// The client's next frame reaches the server.
    fn up(&mut self) {
        let frame = self.client.poll_transmit().unwrap();
        let (_, apdu) = wrapper::decode(&frame).unwrap();
        self.server.handle_frame(self.now, TO_SERVER, apdu).unwrap();
    }

    /// The server's next frame reaches the client.
    fn down(&mut self) {
        let frame = self.server.poll_transmit().unwrap();
        let (_, apdu) = wrapper::decode(&frame).unwrap();
        self.client.handle_frame(self.now, TO_CLIENT, apdu).unwrap();
    }

    /// AARQ, AARE, pass 3, pass 4: so many of them were delivered.
    fn associate(&mut self, steps: usize) {
        self.client.connect(self.now).unwrap();
        for step in 0..steps {
            if step % 2 == 0 { self.up() } else { self.down() }
        }
    }

    fn forget(&mut self) {
        while self.client.poll_transmit().is_some() || self.client.poll().is_some() {}
        while self.server.poll_transmit().is_some() || self.server.poll().is_some() {}
    }
}

/// Columns: idle, associating, proving, open, a GET in flight, releasing, closed.
fn client_in(state: usize) -> Pair {
    let mut pair = Pair::new();
    match state {
        0 => {}
        1 => pair.associate(0),
        2 => pair.associate(2),
        _ => pair.associate(4),
    }
    let now = pair.now;
    match state {
        4 => drop(pair.client.get(now, REGISTER, None).unwrap()),
        5 => pair.client.release(now).unwrap(),
        6 => pair.client.disconnected(),
        _ => {}
    }
    pair.forget();
    pair
}

fn client_cell(state: usize, apdu: &[u8]) -> char {
    let Pair { now, mut client, .. } = client_in(state);
    let handled = client.handle_frame(now, TO_CLIENT, apdu);
    let told: Vec<_> = std::iter::from_fn(|| client.poll()).collect();
    // Behind the wrapper's header: nothing, a block, or anything else.
    let said = client.poll_transmit().map(|frame| frame[8]);
    match (&told[..], handled) {
        ([], Err(_)) if said.is_none() => '.',
        ([], Ok(())) if said.is_none_or(|tag| tag == 0xe0) => 'b',
        ([], Ok(())) => 'P',
        ([Indication::Associated { .. }], Ok(())) => 'O',
        ([Indication::Rejected(_)], _) => 'R',
        ([Indication::Released], Ok(())) => 'C',
        ([Indication::Got { .. }], Ok(())) => 'A',
        ([Indication::Failed { .. }], Ok(())) => 'F',
        ([Indication::Notified(_)], Ok(())) => 'N',
        other => panic!("{other:?}, {said:02x?}"),
    }
}

/// Columns: idle, proving, open, a request being served.
fn server_cell(state: usize, apdu: &[u8]) -> char {
    let mut pair = Pair::new();
    match state {
        0 => {}
        1 => pair.associate(1),
        _ => pair.associate(4),
    }
    if state == 3 {
        pair.forget();
        pair.client.get(pair.now, REGISTER, None).unwrap();
        pair.up();
    }
    pair.forget();
    let Pair { now, mut server, .. } = pair;
    let was_open = server.is_open();
    let handled = server.handle_frame(now, TO_SERVER, apdu);
    let told: Vec<_> = std::iter::from_fn(|| server.poll()).collect();
    let said = server.poll_transmit().map(|frame| frame[8]);
    let asked = told.iter().any(|told| matches!(told, ServerIndication::Request(_)));
    match (said, handled) {
        _ if asked => 'q',
        (None, Err(_)) => '.',
        (Some(0xd8), Err(_)) => 'x',
        (Some(0x61), Err(_)) => 'r',
        (Some(0x61), Ok(())) => 'p',
        (Some(0x63), Ok(())) => 'c',
        (Some(0xcf), Ok(())) if server.is_open() && !was_open => 'o',
        (Some(0xdb), Ok(())) => 'a',
        (None | Some(0xe0), Ok(())) => 'b',
        other => panic!("{other:?}"),
    }
}

/// Each kind of APDU, in clear and sealed, through every state.
fn table(states: usize, title: &[u8; 8], cell: fn(usize, &[u8]) -> char) -> Vec<String> {
    let row = |(name, apdu): (&str, Vec<u8>)| {
        let under = sealed(&apdu, title);
        let cells =
            (0..states).map(|state| format!("{}{}", cell(state, &apdu), cell(state, &under)));
        format!("{name}: {}", cells.collect::<Vec<_>>().join(" "))
    };
    kinds().into_iter().map(row).collect()
}

const CLIENT: &str = "
AARQ: .. .. .. .. .. .. ..
AARQ, short names: .. .. .. .. .. .. ..
AARQ, short names ciphered: .. .. .. .. .. .. ..
AARE: .. R. .. .. .. .. ..
RLRQ: .. .. .. .. .. .. ..
RLRE: .. .. .. .. .. C. ..
GET request: .. .. .. .. .. .. ..
GET response: .. .. .. .. .A .. ..
SET request: .. .. .. .. .. .. ..
SET response: .. .. .. .. .F .. ..
ACTION request: .. .. .. .. .. .. ..
ACTION response: .. .. .R .. .F .. ..
ACCESS request: .. .. .. .. .. .. ..
ACCESS response: .. .. .. .. .. .. ..
data-notification: .N .N .N .N .N .N .N
event-notification: .. .. .N .N .N .N .N
exception-response: .. R. R. .. F. C. ..
confirmed-service-error: .. R. R. .. F. C. ..
general block: b. b. b. b. b. b. b.
glo-get-response: .. .. .. .. .. .. ..
READ request: .. .. .. .. .. .. ..
WRITE request: .. .. .. .. .. .. ..
READ response: .. .. .. .. .. .. ..
WRITE response: .. .. .. .. .. .. ..
unknown: .. .. .. .. .. .. ..
";
const SERVER: &str = "
AARQ: rx rx rx rx
AARQ, short names: rx rx rx rx
AARQ, short names ciphered: rx rx rx rx
AARE: xx xx xx xx
RLRQ: .x cx cx cx
RLRE: xx xx xx xx
GET request: xx xx xq xx
GET response: xx xx xx xx
SET request: xx xx xq xx
SET response: xx xx xx xx
ACTION request: xx xx xq xx
ACTION response: xx xx xx xx
ACCESS request: xx xx xa xx
ACCESS response: xx xx xx xx
data-notification: xx xx xx xx
event-notification: xx xx xx xx
exception-response: xx xx xx xx
confirmed-service-error: xx xx xx xx
general block: xx xx bx bx
glo-get-response: xx xx xx xx
READ request: xx xx xx xx
WRITE request: xx xx xx xx
READ response: xx xx xx xx
WRITE response: xx xx xx xx
unknown: xx xx xx xx
";

#[test]
fn every_apdu_in_every_state_of_a_ciphered_client() {
    let table = table(7, &SERVER_TITLE, client_cell).join("\n");
    assert_eq!(table, CLIENT.trim(), "\n{table}");
}

#[test]
fn every_apdu_in_every_state_of_a_ciphered_server() {
    let table = table(4, &CLIENT_TITLE, server_cell).join("\n");
    assert_eq!(table, SERVER.trim(), "\n{table}");
}

/// The one way through: the real frames, and each of them only in its own state.
#[test]
fn each_step_of_the_association_counts_only_where_it_belongs() {
    // What goes over the line, step by step.
    let mut pair = Pair::new();
    pair.client.connect(pair.now).unwrap();
    let mut frames = Vec::new();
    for step in 0..4 {
        let frame = if step % 2 == 0 {
            pair.client.poll_transmit().unwrap()
        } else {
            pair.server.poll_transmit().unwrap()
        };
        let apdu = wrapper::decode(&frame).unwrap().1.to_vec();
        let handled = if step % 2 == 0 {
            pair.server.handle_frame(pair.now, TO_SERVER, &apdu)
        } else {
            pair.client.handle_frame(pair.now, TO_CLIENT, &apdu)
        };
        handled.unwrap();
        frames.push(apdu);
    }
    assert!(pair.client.is_open() && pair.server.is_open());
    // AARE and pass 4 in every state of the client; the same challenge makes the same frames.
    let cells = |apdu: &[u8]| (0..7).map(|state| client_cell(state, apdu)).collect::<String>();
    assert_eq!(cells(&frames[1]), ".P.....", "AARE");
    assert_eq!(cells(&frames[3]), "..O....", "pass 4; in any other state it is a replay");
    // AARQ and pass 3 in every state of the server.
    let cells = |apdu: &[u8]| (0..4).map(|state| server_cell(state, apdu)).collect::<String>();
    assert_eq!(cells(&frames[0]), "pxxx", "AARQ; a second time its counter is an old one");
    assert_eq!(cells(&frames[2]), "xoxx", "pass 3");
}
