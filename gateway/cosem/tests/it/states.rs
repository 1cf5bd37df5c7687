//! The association as a table: every APDU in every state, on both sides, and what comes of it.
//!
//! A cell of the client is one letter: `.` refused and nothing changed, `O` opened, `R` rejected,
//! `C` closed, `A` the request answered, `F` the request failed, `N` told as a notification. A
//! cell of the server: `.` refused silently, `x` refused with an exception-response, `r` refused
//! by an AARE, `o` opened, `c` released, `q` a request for the driver, `b` a block taken.

use std::time::Instant;

use bytes::Bytes;
use cosem::acse::{Aare, Aarq, ApplicationContext, AssociateResult, Diagnostic, Release};
use cosem::apdu::access::{AccessRequest, AccessResponse};
use cosem::apdu::action::{ActionAnswer, ActionRequest, ActionResponse};
use cosem::apdu::{
    ConfirmedServiceError, Conformance, DataNotification, EventNotification, ExceptionResponse,
    GeneralBlock, GetRequest, GetResponse, InitiateRequest, InitiateResponse, InvokePriority,
    LongInvokePriority, ServiceFault, SetRequest, SetResponse,
};
use cosem::association::{
    AcceptedCounters, Client, ClientConfig, Indication, Server, ServerConfig, ServerIndication,
};
use cosem::wrapper::Header;
use cosem::{Apdu, AttributeRef, Data, MethodRef};

use crate::clock::start;

pub(crate) const REGISTER: AttributeRef = AttributeRef::new(3, [1, 0, 1, 8, 0, 255], 2);
const ECHO: MethodRef = MethodRef::new(9, [0, 0, 10, 0, 106, 255], 1);
const INVOKE: InvokePriority = InvokePriority::confirmed(1);
const LONG: LongInvokePriority = LongInvokePriority::confirmed(1);

fn aarq(context: ApplicationContext) -> Vec<u8> {
    let initiate = InitiateRequest::new(Conformance::OURS, 0xffff);
    Apdu::Aarq(Aarq {
        context,
        calling_title: None,
        calling_user: None,
        mechanism: None,
        authentication: None,
        user_information: Some(Apdu::InitiateRequest(initiate).encode().into()),
    })
    .encode()
}

fn aare() -> Vec<u8> {
    let initiate = InitiateResponse {
        quality_of_service: None,
        version: 6,
        conformance: Conformance::OURS,
        max_pdu: 0xffff,
        vaa_name: 7,
    };
    Apdu::Aare(Aare {
        context: ApplicationContext::LOGICAL_NAME,
        result: AssociateResult::Accepted,
        diagnostic: Diagnostic::NULL,
        responding_title: None,
        mechanism: None,
        authentication: None,
        user_information: Some(Apdu::InitiateResponse(initiate).encode().into()),
    })
    .encode()
}

/// One APDU of every kind, by the name of its row.
pub(crate) fn kinds() -> Vec<(&'static str, Vec<u8>)> {
    let none = Bytes::new;
    let exception = ExceptionResponse::not_allowed(ServiceFault::OtherReason);
    let release = Release { reason: Some(0), user_information: None };
    let event = EventNotification { time: None, attribute: REGISTER, value: Data::U8(1) };
    let answer = ActionAnswer { result: Ok(()), returned: None };
    let get = GetRequest::Normal { invoke: INVOKE, attribute: REGISTER, selection: None };
    let set = SetRequest::Normal {
        invoke: INVOKE,
        attribute: REGISTER,
        selection: None,
        value: Data::U8(1),
    };
    let action = ActionRequest::Normal { invoke: INVOKE, method: ECHO, parameters: None };
    let asked = AccessRequest { invoke: LONG, date_time: none(), list: vec![], values: vec![] };
    let accessed = AccessResponse {
        invoke: LONG,
        date_time: none(),
        list: None,
        values: vec![],
        outcomes: vec![],
    };
    let block =
        GeneralBlock { control: 1, block: 1, acknowledged: 0, octets: Bytes::from_static(b"\xc4") };
    let got = GetResponse::Normal { invoke: INVOKE, result: Ok(Data::U32(42)) };
    vec![
        ("AARQ", aarq(ApplicationContext::LOGICAL_NAME)),
        ("AARQ, short names", aarq(ApplicationContext::SHORT_NAME)),
        ("AARQ, short names ciphered", aarq(ApplicationContext::SHORT_NAME_CIPHERED)),
        ("AARE", aare()),
        ("RLRQ", Apdu::Rlrq(release.clone()).encode()),
        ("RLRE", Apdu::Rlre(release).encode()),
        ("GET request", Apdu::GetRequest(get).encode()),
        ("GET response", Apdu::GetResponse(got).encode()),
        ("SET request", Apdu::SetRequest(set).encode()),
        (
            "SET response",
            Apdu::SetResponse(SetResponse::Normal { invoke: INVOKE, result: Ok(()) }).encode(),
        ),
        ("ACTION request", Apdu::ActionRequest(action).encode()),
        (
            "ACTION response",
            Apdu::ActionResponse(ActionResponse::Normal { invoke: INVOKE, answer }).encode(),
        ),
        ("ACCESS request", Apdu::AccessRequest(asked).encode()),
        ("ACCESS response", Apdu::AccessResponse(accessed).encode()),
        (
            "data-notification",
            Apdu::DataNotification(DataNotification::new(LONG, None, Data::U8(1))).encode(),
        ),
        ("event-notification", Apdu::EventNotification(event).encode()),
        ("exception-response", Apdu::ExceptionResponse(exception).encode()),
        (
            "confirmed-service-error",
            Apdu::ConfirmedServiceError(ConfirmedServiceError { service: 5, class: 0, error: 0 })
                .encode(),
        ),
        ("general block", Apdu::GeneralBlock(block).encode()),
        ("glo-get-response", vec![0xcc, 5, 0x30, 0, 0, 0, 1]),
        ("READ request", vec![0x05, 1, 2, 0xfa, 0x00]),
        ("WRITE request", vec![0x06, 1, 2, 0xfa, 0x00, 1, 0x11, 1]),
        ("READ response", vec![0x0c, 1, 0, 0x11, 1]),
        ("WRITE response", vec![0x0d, 1, 0]),
        ("unknown", vec![0xee, 1, 2, 3]),
    ]
}

/// Columns: idle, associating, open, a GET in flight, releasing, closed.
fn client_in(state: usize, now: Instant) -> Client {
    let mut client = Client::new(ClientConfig::new(16, 1, *b"HFDNODE1"), &[1; 16]);
    let header = Header { source: 1, destination: 16 };
    if state >= 1 {
        client.connect(now).unwrap();
    }
    if state >= 2 {
        client.handle_frame(now, header, &aare()).unwrap();
    }
    match state {
        3 => drop(client.get(now, REGISTER, None).unwrap()),
        4 => client.release(now).unwrap(),
        5 => client.disconnected(),
        _ => {}
    }
    while client.poll_transmit().is_some() || client.poll().is_some() {}
    client
}

fn client_cell(state: usize, apdu: &[u8]) -> char {
    let now = start();
    let mut client = client_in(state, now);
    let header = Header { source: 1, destination: 16 };
    let handled = client.handle_frame(now, header, apdu);
    let told: Vec<_> = std::iter::from_fn(|| client.poll()).collect();
    match (&told[..], handled) {
        ([], Err(_)) => '.',
        ([], Ok(())) => 'b',
        ([Indication::Associated { .. }], Ok(())) => 'O',
        ([Indication::Rejected(_)], Ok(())) => 'R',
        ([Indication::Released], Ok(())) => 'C',
        ([Indication::Got { .. }], Ok(())) => 'A',
        ([Indication::Failed { .. }], Ok(())) => 'F',
        ([Indication::Notified(_)], Ok(())) => 'N',
        other => panic!("{other:?}"),
    }
}

/// Columns: idle, open, a request being served.
fn server_cell(state: usize, apdu: &[u8]) -> char {
    let now = start();
    let config = ServerConfig::new(1, *b"MMM\0\0\0\0\x01");
    let mut server = Server::new(config, [1; 32], AcceptedCounters::default());
    let header = Header { source: 16, destination: 1 };
    let all = kinds();
    let find = |name: &str| all.iter().find(|(of, _)| *of == name).unwrap().1.clone();
    if state >= 1 {
        server.handle_frame(now, header, &find("AARQ")).unwrap();
    }
    if state >= 2 {
        server.handle_frame(now, header, &find("GET request")).unwrap();
    }
    while server.poll_transmit().is_some() || server.poll().is_some() {}
    let handled = server.handle_frame(now, header, apdu);
    let told: Vec<_> = std::iter::from_fn(|| server.poll()).collect();
    let said = server.poll_transmit().map(|frame| frame[8]);
    let asked = told.iter().any(|told| matches!(told, ServerIndication::Request(_)));
    match (said, handled) {
        _ if asked => 'q',
        (None, Err(_)) => '.',
        (Some(0xd8), Err(_)) => 'x',
        (Some(0x61), Err(_)) => 'r',
        (Some(0x61), Ok(())) => 'o',
        (Some(0x63), Ok(())) => 'c',
        (Some(0xda), Ok(())) => 'a',
        (None | Some(0xe0), Ok(())) => 'b',
        other => panic!("{other:?}"),
    }
}

const CLIENT: [(&str, &str); 25] = [
    ("AARQ", "......"),
    ("AARQ, short names", "......"),
    ("AARQ, short names ciphered", "......"),
    ("AARE", ".O...."),
    ("RLRQ", "......"),
    ("RLRE", "....C."),
    ("GET request", "......"),
    ("GET response", "...A.."),
    ("SET request", "......"),
    ("SET response", "...F.."),
    ("ACTION request", "......"),
    ("ACTION response", "...F.."),
    ("ACCESS request", "......"),
    ("ACCESS response", "......"),
    ("data-notification", "NNNNNN"),
    ("event-notification", "NNNNNN"),
    ("exception-response", ".R.FC."),
    ("confirmed-service-error", ".R.FC."),
    ("general block", "bbbbbb"),
    ("glo-get-response", "......"),
    ("READ request", "......"),
    ("WRITE request", "......"),
    ("READ response", "......"),
    ("WRITE response", "......"),
    ("unknown", "......"),
];

const SERVER: [(&str, &str); 25] = [
    ("AARQ", "ooo"),
    ("AARQ, short names", "rrr"),
    ("AARQ, short names ciphered", "rrr"),
    ("AARE", "xxx"),
    ("RLRQ", ".cc"),
    ("RLRE", "xxx"),
    ("GET request", "xqx"),
    ("GET response", "xxx"),
    ("SET request", "xqx"),
    ("SET response", "xxx"),
    ("ACTION request", "xqx"),
    ("ACTION response", "xxx"),
    ("ACCESS request", "xax"),
    ("ACCESS response", "xxx"),
    ("data-notification", "xxx"),
    ("event-notification", "xxx"),
    ("exception-response", "xxx"),
    ("confirmed-service-error", "xxx"),
    ("general block", "xbb"),
    ("glo-get-response", "xxx"),
    ("READ request", "xxx"),
    ("WRITE request", "xxx"),
    ("READ response", "xxx"),
    ("WRITE response", "xxx"),
    ("unknown", "xxx"),
];

fn table(columns: usize, cell: fn(usize, &[u8]) -> char) -> Vec<(&'static str, String)> {
    let row = |(name, apdu): (&'static str, Vec<u8>)| {
        (name, (0..columns).map(|state| cell(state, &apdu)).collect())
    };
    kinds().into_iter().map(row).collect()
}

#[test]
fn every_apdu_in_every_state_of_a_client() {
    let expect: Vec<_> = CLIENT.iter().map(|(name, row)| (*name, (*row).to_owned())).collect();
    assert_eq!(table(6, client_cell), expect);
}

#[test]
fn every_apdu_in_every_state_of_a_server() {
    let expect: Vec<_> = SERVER.iter().map(|(name, row)| (*name, (*row).to_owned())).collect();
    assert_eq!(table(3, server_cell), expect);
}

#[test]
fn short_names_are_refused_by_name() {
    for (name, apdu) in kinds().into_iter().filter(|(name, _)| name.contains("READ")) {
        assert_eq!(Apdu::decode(&apdu), Err(cosem::Error::ShortName), "{name}");
    }
    let mut server = Server::new(
        ServerConfig::new(1, *b"MMM\0\0\0\0\x01"),
        [1; 32],
        AcceptedCounters::default(),
    );
    let header = Header { source: 16, destination: 1 };
    for context in [ApplicationContext::SHORT_NAME, ApplicationContext::SHORT_NAME_CIPHERED] {
        assert!(server.handle_frame(start(), header, &aarq(context)).is_err());
        let frame = server.poll_transmit().unwrap();
        let Ok(Apdu::Aare(aare)) = Apdu::decode(&frame[8..]) else { panic!() };
        assert_eq!(aare.result, AssociateResult::RejectedPermanent);
        assert_eq!(aare.diagnostic, Diagnostic::CONTEXT_NOT_SUPPORTED);
    }
}
