//! What must hold for any octets, one function a layer: no panic, and what decodes encodes to the
//! same meaning. The fuzz targets and the replay of the corpus call the same functions.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cosem::apdu::Protected;
use cosem::association::{
    AcceptedCounters, Answer, Client, ClientConfig, Request, Server, ServerConfig, ServerIndication,
};
use cosem::hdlc::{self, Address, Frame};
use cosem::iec62056_21::{Identification, Reading, data};
use cosem::profile::{Layout, Rows};
use cosem::security::{
    AgreementKey, AgreementPublic, Credentials, Kek, Required, SigningKey, general,
};
use cosem::tree::{self, Layer, Options};
use cosem::{Apdu, Data, Keys, SecurityControl, Suite, gateway_header, security, wrapper};

/// Frames of the wrapper: a stream gives the same frames however it is cut.
pub fn wrapper(octets: &[u8]) {
    let frames = |cut: usize| {
        let mut deframer = wrapper::Deframer::new(65_535);
        let mut frames = Vec::new();
        let (head, tail) = octets.split_at(cut);
        for part in [head, tail] {
            deframer.feed(part);
            while let Ok(Some(frame)) = deframer.next_frame() {
                frames.push(frame);
            }
        }
        frames
    };
    assert_eq!(frames(octets.len()), frames(octets.len() / 2));
    let _any = tree::decode(Layer::Wrapper, octets, &Options::default());
}

/// HDLC: every frame found goes back to octets and is found again.
pub fn hdlc(octets: &[u8]) {
    let mut deframer = hdlc::Deframer::new();
    deframer.feed(octets);
    while let Some(frame) = deframer.next_frame() {
        let again = frame.encode().expect("it came from a frame of legal length");
        let inner = &again[1..again.len() - 1];
        assert_eq!(Frame::decode(inner).as_ref(), Ok(&frame));
        let _any = hdlc::Parameters::decode(&frame.information);
    }
    let _any = tree::decode(Layer::Hdlc, octets, &Options::default());
}

/// The HDLC link, both sides connected: each piece of the octets is a frame with a good check
/// sequence, its first octet says to whom and how long it is, its second is the control field.
/// Whatever comes, no side holds more than its bounds, and the client ends when left alone.
pub fn link(mut now: Instant, octets: &[u8]) {
    let (sap, meter) = (Address::one(16).expect("in range"), Address::one(17).expect("in range"));
    let wide = hdlc::Parameters {
        transmit_octets: 40,
        receive_octets: 40,
        transmit_window: 7,
        receive_window: 7,
    };
    let config = hdlc::ClientConfig { parameters: wide, ..hdlc::ClientConfig::new(sap, meter) };
    let served = hdlc::ServerConfig { parameters: wide, ..hdlc::ServerConfig::new(meter) };
    let (mut client, mut server) = (hdlc::Client::new(config), hdlc::Server::new(served));
    client.connect(now).expect("the first call");
    let mut rest = octets;
    for _ in 0..64 {
        now += Duration::from_millis(900);
        while let Some(frame) = client.poll_transmit() {
            server.handle_bytes(now, &frame);
        }
        while let Some(frame) = server.poll_transmit() {
            client.handle_bytes(now, &frame);
        }
        let (Some((&head, tail)), Some(&control)) = (rest.split_first(), rest.get(1)) else {
            break;
        };
        let (information, tail) = tail.split_at(usize::from(head & 0x1f).min(tail.len()));
        rest = tail;
        if let Ok(control) = hdlc::Control::from_octet(control) {
            let to_client = head & 0x80 != 0;
            let (destination, source) = if to_client { (sap, meter) } else { (meter, sap) };
            let information = Bytes::copy_from_slice(information);
            let segmented = head & 0x40 != 0;
            let frame = Frame { segmented, destination, source, control, information };
            let frame = frame.encode().expect("31 octets are short");
            if to_client {
                client.handle_bytes(now, &frame);
            } else {
                server.handle_bytes(now, &frame);
            }
        }
        if head & 0x20 != 0 {
            let _refused = (client.send(now, &[0xe0; 100]), server.send(&[0xc4; 100]));
        }
        client.handle_timeout(now);
        assert!(std::iter::from_fn(|| client.poll()).count() <= 65);
        assert!(std::iter::from_fn(|| server.poll()).count() <= 65);
    }
    for _ in 0..200 {
        // What is sent is lost: the client is left alone.
        while client.poll_transmit().is_some() || client.poll().is_some() {}
        let Some(next) = client.poll_timeout() else { return };
        now = now.max(next);
        client.handle_timeout(now);
    }
    panic!("the client never comes to rest");
}

/// APDUs, with a gateway header or without.
pub fn apdu(octets: &[u8]) {
    let apdu = gateway_header::split(octets).and_then(|(_, rest)| Apdu::decode(rest));
    let tree = tree::decode(Layer::Apdu, octets, &Options::default());
    assert_eq!(apdu.is_ok(), tree.is_ok());
    if let Ok(apdu) = apdu {
        let encoded = apdu.encode();
        let again = Apdu::decode(&encoded).expect("our own encoding");
        assert_eq!(again.encode(), encoded);
    }
}

/// Values, and profile buffers read row by row.
pub fn axdr(octets: &[u8]) {
    let data = Data::decode(octets);
    let tree = tree::decode(Layer::Axdr, octets, &Options::default());
    assert_eq!(data.is_ok(), tree.is_ok());
    if let Ok(data) = data {
        let encoded = data.to_axdr();
        let again = Data::decode(&encoded).expect("our own encoding");
        assert_eq!(again.to_axdr(), encoded);
    }
    let layout = Layout { clock: Some(0), period_s: 900, default_deviation: 0 };
    if let Ok(mut rows) = Rows::new(octets, layout) {
        while let Ok(Some(_)) = rows.next_row() {}
    }
}

/// Protected APDUs: the octets as one, and the octets as the plaintext of one.
pub fn ciphered(octets: &[u8]) {
    let keys = Keys::new(&[0x11; 16], &[0x22; 16]);
    let title = *b"HFD\0\0\0\0\x01";
    if let Ok(Some(protected)) = Protected::decode(octets) {
        let none = SecurityControl::NONE;
        let _any = security::open_apdu(&keys, none, &title, &protected);
    }
    general(octets);
    for control in [SecurityControl::AUTHENTICATED, SecurityControl::BOTH] {
        let Ok(sealed) = security::seal_apdu(&keys, control, &title, 7, octets) else { return };
        let opened = security::open_apdu(&keys, control, &title, &sealed);
        assert_eq!(opened.as_deref(), Ok(octets));
        let options = Options { keys: Some(keys.clone()), title: Some(title) };
        let sealed = Apdu::Protected(sealed).encode();
        let _any = tree::decode(Layer::Apdu, &sealed, &options);
    }
}

/// Keys of suite 1; made once, because public keys are reckoned on the curve.
static KEYS: LazyLock<(Keys, Credentials)> = LazyLock::new(|| {
    let suite = Suite::One;
    let keys = Keys::in_suite(suite, &[0x11; 16], &[0x22; 16]).expect("keys of the suite's length");
    let signing = SigningKey::new(suite, &[0x33; 32]).expect("a scalar of P-256");
    let agreement = AgreementKey::new(suite, &[0x44; 32]).expect("a scalar of P-256");
    let credentials = Credentials {
        kek: Kek::new(suite, &[0x55; 16]).ok(),
        peer_signing: Some(signing.public()),
        signing: Some(signing),
        peer_agreement: Some(agreement.public()),
        agreement: Some(agreement),
    };
    (keys, credentials)
});

/// general-ciphering and general-signing: what they carry opens, or is refused; nothing panics.
pub fn general(octets: &[u8]) {
    let suite = Suite::One;
    let (keys, credentials) = &*KEYS;
    match Apdu::decode(octets) {
        Ok(Apdu::GeneralCiphering(apdu)) => {
            let _any = general::open_general(keys, credentials, Required::NONE, &apdu);
            let _any = general::reveal_general(keys, &apdu);
        }
        Ok(Apdu::GeneralSigning(apdu)) => {
            let verified =
                credentials.peer_signing.as_ref().map(|key| general::verify_general(key, &apdu));
            // No input can be signed with a key that the fuzzer does not use.
            assert_ne!(verified, Some(Ok(())));
        }
        _ => {}
    }
    if let Some(point) = octets.get(..64) {
        let _any = AgreementPublic::new(suite, point).map(|key| key.point());
    }
}

/// The ASCII protocol: data blocks and the identification.
pub fn iec62056_21(octets: &[u8]) {
    let _any = Identification::parse(octets);
    if let Ok(sets) = data::parse(octets) {
        for set in &sets {
            let _any = Reading::of(set).map(|reading| reading.scaled());
        }
        if let Ok(encoded) = data::encode(&sets) {
            assert_eq!(data::parse(&encoded), Ok(sets));
        }
    }
}

/// The association machines, open and in the middle of a request, fed with arbitrary frames: each
/// piece of the octets is one frame, its first octet says to whom it goes and how long it is.
/// Whatever comes, the machines say little, keep one request in flight and end when left alone.
pub fn association(mut now: Instant, octets: &[u8]) {
    let config = ClientConfig::new(16, 1, *b"HFDNODE1");
    let mut client = Client::new(config, &[1; 16]);
    let server = ServerConfig::new(1, *b"MMM\0\0\0\0\x01");
    let mut server = Server::new(server, [2; 32], AcceptedCounters::default());
    let register = cosem::AttributeRef::new(3, [1, 0, 1, 8, 0, 255], 2);
    client.connect(now).expect("the first call");
    client.get(now, register, None).expect("the queue is empty");
    client.set(now, register, None, Data::Null).expect("the queue has room");
    let mut rest = octets;
    for _ in 0..64 {
        now += Duration::from_millis(700);
        exchange(&mut client, &mut server, now);
        let Some((&head, tail)) = rest.split_first() else { break };
        let length = usize::from(head & 0x3f).min(tail.len());
        let (frame, tail) = tail.split_at(length);
        rest = tail;
        let (to_client, to_server) = (head & 0x40 != 0, head & 0x80 != 0);
        if to_client {
            let header = wrapper::Header { source: 1, destination: 16 };
            let _refused = client.handle_frame(now, header, frame);
        }
        if to_server {
            let header = wrapper::Header { source: 16, destination: 1 };
            let _refused = server.handle_frame(now, header, frame);
        }
        client.handle_timeout(now);
        server.handle_timeout(now);
    }
    for _ in 0..200 {
        let timeouts = [client.poll_timeout(), server.poll_timeout()];
        let Some(next) = timeouts.into_iter().flatten().min() else { return };
        now = now.max(next);
        client.handle_timeout(now);
        server.handle_timeout(now);
        // What is sent is lost: the machines are left alone.
        while client.poll_transmit().is_some() || server.poll_transmit().is_some() {}
        while client.poll().is_some() || server.poll().is_some() {}
    }
    panic!("the machines never come to rest");
}

/// Lets what both machines say reach the other, once, with an answer to each request.
fn exchange(client: &mut Client, server: &mut Server, now: Instant) {
    let mut said = 0;
    while let Some(frame) = client.poll_transmit() {
        let (header, octets) = wrapper::decode(&frame).expect("our own frame");
        let _refused = server.handle_frame(now, header, octets);
        said += 1;
    }
    while let Some(indication) = server.poll() {
        let ServerIndication::Request(request) = indication else { continue };
        let reason = cosem::DataAccessError::ObjectUndefined;
        let answer = match &request {
            Request::Get { .. } => Answer::Got(Ok(Data::U32(42))),
            other => Answer::refused(other, reason),
        };
        let _refused = server.respond(answer);
    }
    while let Some(frame) = server.poll_transmit() {
        let (header, octets) = wrapper::decode(&frame).expect("our own frame");
        let _refused = client.handle_frame(now, header, octets);
        said += 1;
    }
    while client.poll().is_some() {}
    assert!(said < 1_000, "one turn never says so much");
}
