//! Trees of octets: every published vector has one, what decoders refuse has none, and offsets
//! stand where the octets stand.

use bytes::Bytes;
use cosem::acse::{Aarq, ApplicationContext, Mechanism};
use cosem::apdu::access::{AccessRequest, AccessSpecification};
use cosem::apdu::action::ActionRequest;
use cosem::apdu::set::Block;
use cosem::apdu::{
    Conformance, DataNotification, GeneralBlock, GeneralCiphering, GeneralHeader, InitiateRequest,
    InvokePriority, KeyInfo, LongInvokePriority, SetRequest,
};
use cosem::association::seal_notification;
use cosem::hdlc::{Address, Control, Frame, Kind};
use cosem::security::{self, SecurityControl};
use cosem::tree::{self, Fault, Layer, Node, Options};
use cosem::{Apdu, AttributeRef, Data, Error, Keys, MethodRef, Suite, gateway_header, wrapper};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::Value;

use crate::octets::{hex, to_hex};

fn vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../vectors/dlms.json")).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

fn layer(vector: &Value) -> Option<Layer> {
    match vector["layer"].as_str().unwrap() {
        "apdu" => Some(Layer::Apdu),
        "axdr" => Some(Layer::Axdr),
        "wrapper" => Some(Layer::Wrapper),
        "hdlc" => Some(Layer::Hdlc),
        _ => None,
    }
}

/// The octets of a vector; those of a session are its frames in a row.
fn octets(vector: &Value) -> Vec<u8> {
    match vector["expected"]["frames"].as_array() {
        Some(steps) if vector["kind"] == "session" => {
            steps.iter().flat_map(|step| hex(step["frame"].as_str().unwrap())).collect()
        }
        _ => hex(vector["hex"].as_str().unwrap()),
    }
}

/// Every part lies within its whole, parts follow each other, and the text names each once.
fn well_formed(node: &Node) -> usize {
    let mut at = if node.restarts { 0 } else { node.at };
    let end = if node.restarts { node.length } else { node.at + node.length };
    let mut count = 1;
    for child in &node.children {
        assert!(!child.name.is_empty());
        if !child.restarts {
            assert!(child.at >= at && child.at + child.length <= end, "{child:?} in {node:?}");
            at = child.at;
        }
        count += well_formed(child);
    }
    count
}

fn find<'a>(nodes: &'a [Node], name: &str) -> Option<&'a Node> {
    nodes.iter().find_map(
        |node| {
            if node.name == name { Some(node) } else { find(&node.children, name) }
        },
    )
}

fn options(vector: &Value) -> Options {
    let context = &vector["context"];
    let key = |name: &str| {
        let text = context[name].as_str()?;
        <[u8; 16]>::try_from(hex(text)).ok()
    };
    let keys = key("encryption_key").zip(key("authentication_key"));
    let title = context["system_title"].as_str().map(hex);
    Options {
        keys: keys.map(|(guek, gak)| Keys::new(&guek, &gak)),
        title: title.and_then(|title| title.try_into().ok()),
    }
}

#[test]
fn every_vector_is_a_tree_or_a_fault_with_its_offset() {
    let (mut trees, mut faults, mut opened) = (0, 0, 0);
    for vector in vectors() {
        let Some(layer) = layer(&vector) else { continue };
        let id = vector["id"].as_str().unwrap();
        let octets = octets(&vector);
        match tree::decode(layer, &octets, &Options::default()) {
            Ok(nodes) => {
                let text: String = nodes.iter().map(Node::to_string).collect();
                let count: usize = nodes.iter().map(well_formed).sum();
                assert_eq!(text.lines().count(), count, "{id}\n{text}");
                assert_ne!(vector["kind"], "malformed", "{id}");
                trees += 1;
            }
            Err(fault) => {
                assert_eq!(vector["kind"], "malformed", "{id}: {fault}");
                assert!(fault.at <= octets.len(), "{id}: {fault}");
                assert!(fault.to_string().starts_with("octet "), "{id}: {fault}");
                faults += 1;
            }
        }
        let with_keys = tree::decode(layer, &octets, &options(&vector));
        if vector["kind"] == "ciphered-negative" {
            let bad_tag = |fault: Fault| fault.error == Error::BadTag;
            assert!(with_keys.is_err_and(bad_tag), "{id}: the tag does not verify");
        } else if let Some(plain) = vector["expected"]["plaintext"].as_str()
            && vector["kind"] != "general-ciphering"
        {
            let nodes = with_keys.unwrap_or_else(|fault| panic!("{id}: {fault}"));
            let node = find(&nodes, "plaintext").unwrap_or_else(|| panic!("{id}"));
            assert_eq!(node.length * 2, plain.len(), "{id}");
            opened += 1;
        }
    }
    assert!(trees > 50 && faults > 3 && opened > 3, "{trees} {faults} {opened}");
}

#[test]
fn offsets_and_values_stand_where_the_octets_are() {
    let octets = hex("0001001000010013c001c1000301000108 00ff0300".replace(' ', "").as_str());
    let octets = [&octets[..7], &[13], &octets[8..]].concat();
    let nodes = tree::decode(Layer::Wrapper, &octets, &Options::default()).unwrap();
    let name = find(&nodes, "logical-name").unwrap();
    assert_eq!((name.at, name.length), (13, 6));
    assert_eq!(name.value.as_deref(), Some("1.0.1.8.0.255"));
    let cut = tree::decode(Layer::Wrapper, &octets[..16], &Options::default()).unwrap_err();
    assert_eq!(cut.to_string(), "octet 8: the octets end too early");
    let mut choice = octets.clone();
    choice[9] = 9;
    let fault = tree::decode(Layer::Wrapper, &choice, &Options::default()).unwrap_err();
    assert_eq!(fault.at, 11, "{fault}");
}

#[test]
fn secrets_are_not_shown() {
    // AARQ with a password of eight octets.
    let aarq = "6036a1090607608574050801018a0207808b0760857405080201ac0a80083132333435363738\
                be10040e01000000065f1f0400001e1dffff";
    let nodes = tree::decode(Layer::Apdu, &hex(aarq), &Options::default()).unwrap();
    let text = nodes[0].to_string();
    assert!(text.contains("authentication-value: not shown"), "{text}");
    assert!(!text.contains("3132333435363738") && !text.contains("12345678"), "{text}");
    // initiate-request with a dedicated key.
    let initiate = "010110aabbccddaabbccddaabbccddaabbccdd0000065f1f0400001e1dffff";
    let text = tree::decode(Layer::Apdu, &hex(initiate), &Options::default()).unwrap();
    let text = text[0].to_string();
    assert!(text.contains("dedicated-key: not shown") && !text.contains("aabbccdd"), "{text}");
}

/// An octet-string that is easily found in a text, in hex and as it reads.
const PASSWORD: &[u8] = b"Qx7!Vw9#";

fn shows_the_password(text: &str) -> bool {
    let hex = to_hex(PASSWORD);
    let clear = std::str::from_utf8(PASSWORD).unwrap();
    // Half of it would be as bad.
    text.contains(&hex[..8]) || text.contains(&hex[8..]) || text.contains(&clear[..4])
}

fn said(layer: Layer, octets: &[u8], options: &Options) -> String {
    match tree::decode(layer, octets, options) {
        Ok(nodes) => nodes.iter().map(|node| format!("{node}{node:?}")).collect(),
        Err(fault) => format!("{fault} {fault:?}"),
    }
}

fn aarq() -> Vec<u8> {
    let initiate = InitiateRequest {
        dedicated_key: Some(PASSWORD.to_vec().into()),
        ..InitiateRequest::new(Conformance::OURS, 1_024)
    };
    Apdu::Aarq(Aarq {
        context: ApplicationContext::LOGICAL_NAME,
        calling_title: Some(Bytes::from_static(b"HFDNODE1")),
        calling_user: None,
        mechanism: Some(Mechanism(1)),
        authentication: Some(PASSWORD.into()),
        user_information: Some(Apdu::InitiateRequest(initiate).encode().into()),
    })
    .encode()
}

/// The frames that carry an APDU: in the wrapper, in one HDLC frame, in pieces, in general
/// blocks.
fn framed(apdu: &[u8]) -> Vec<(Layer, Vec<u8>)> {
    let frame = |information: &[u8], segmented, send| {
        let control = Control { kind: Kind::Information { send, receive: 0 }, poll_final: true };
        let [destination, source] = [1, 16].map(|number| Address::one(number).unwrap());
        let information = Bytes::copy_from_slice(information);
        Frame { segmented, destination, source, control, information }.encode().unwrap()
    };
    let with_llc = [&[0xe6, 0xe6, 0x00], apdu].concat();
    let count = with_llc.len().div_ceil(12);
    let pieces = with_llc
        .chunks(12)
        .zip(0..)
        .map(|(piece, at)| frame(piece, usize::from(at) + 1 < count, at % 8));
    let count = apdu.len().div_ceil(12);
    let blocks = apdu.chunks(12).zip(1_u16..).map(|(octets, block)| {
        let last = if usize::from(block) == count { 0x80 } else { 0x40 };
        let octets = Bytes::copy_from_slice(octets);
        let block = GeneralBlock { control: last | 1, block, acknowledged: 0, octets };
        let header = wrapper::Header { source: 16, destination: 1 };
        wrapper::encode(header, &Apdu::GeneralBlock(block).encode()).unwrap()
    });
    let header = wrapper::Header { source: 16, destination: 1 };
    vec![
        (Layer::Apdu, apdu.to_vec()),
        (Layer::Wrapper, wrapper::encode(header, apdu).unwrap().to_vec()),
        (Layer::Hdlc, frame(&with_llc, false, 0)),
        (Layer::Hdlc, pieces.collect::<Vec<_>>().concat()),
        (Layer::Wrapper, blocks.collect::<Vec<_>>().concat()),
    ]
}

/// Every request that writes a key or a password, and the AARQ that has two.
fn secret_bearers() -> Vec<(&'static str, Vec<u8>)> {
    let invoke = InvokePriority::confirmed(1);
    let association = [0, 0, 40, 0, 0, 255];
    let secret = AttributeRef::new(15, association, 7);
    let change = MethodRef::new(15, association, 2);
    let transfer = MethodRef::new(64, [0, 0, 43, 0, 0, 255], 2);
    let pin = AttributeRef::new(45, [0, 0, 25, 4, 0, 255], 3);
    let register = AttributeRef::new(3, [1, 0, 1, 8, 0, 255], 2);
    let value = || Data::octets(PASSWORD);
    let keys = Data::Array(vec![Data::Structure(vec![Data::Enum(0), value()])]);
    let set = SetRequest::Normal { invoke, attribute: secret, selection: None, value: value() };
    let list = SetRequest::WithList {
        invoke,
        list: vec![(register, None), (secret, None), (pin, None)],
        values: vec![Data::U8(1), value(), value()],
    };
    let block = SetRequest::FirstBlock {
        invoke,
        attribute: secret,
        selection: None,
        block: Block { last: false, number: 1, octets: value().to_axdr().into() },
    };
    let next = SetRequest::Block {
        invoke,
        block: Block { last: true, number: 2, octets: Bytes::from_static(PASSWORD) },
    };
    let action = |method, parameters| {
        Apdu::ActionRequest(ActionRequest::Normal { invoke, method, parameters })
    };
    let access = AccessRequest {
        invoke: LongInvokePriority::confirmed(1),
        date_time: Bytes::new(),
        list: vec![
            AccessSpecification::Set(register, None),
            AccessSpecification::Set(secret, None),
            AccessSpecification::Action(change),
        ],
        values: vec![Data::U8(1), value(), value()],
    };
    let wrapped = Apdu::GeneralCiphering(GeneralCiphering {
        header: GeneralHeader::default(),
        key: Some(KeyInfo::Wrapped(0, Bytes::from_static(PASSWORD))),
        control: SecurityControl::BOTH,
        counter: 1,
        content: Bytes::from_static(&[0; 20]),
    });
    vec![
        ("AARQ", aarq()),
        ("a key wrapped for one message", wrapped.encode()),
        ("SET", Apdu::SetRequest(set).encode()),
        ("SET with list", Apdu::SetRequest(list).encode()),
        ("SET, first block", Apdu::SetRequest(block).encode()),
        ("SET, next block", Apdu::SetRequest(next).encode()),
        ("change of the HLS secret", action(change, Some(value())).encode()),
        ("transfer of keys", action(transfer, Some(keys)).encode()),
        ("ACCESS", Apdu::AccessRequest(access).encode()),
    ]
}

#[test]
fn no_layer_echoes_a_key_or_a_password() {
    let keys = Keys::new(&[1; 16], &[2; 16]);
    let title = *b"HFDNODE1";
    let options = Options { keys: Some(keys.clone()), title: Some(title) };
    for (name, apdu) in secret_bearers() {
        for (layer, octets) in framed(&apdu) {
            assert!(tree::decode(layer, &octets, &options).is_ok(), "{name} {layer:?}");
            let text = said(layer, &octets, &options);
            assert!(!shows_the_password(&text), "{name} {layer:?}\n{text}");
        }
        // Deciphered, and authenticated only, which leaves it readable in the frame.
        for control in [SecurityControl::BOTH, SecurityControl::AUTHENTICATED] {
            let sealed = security::seal_apdu(&keys, control, &title, 7, &apdu).unwrap();
            let sealed = Apdu::Protected(sealed).encode();
            for options in [&options, &Options::default()] {
                let text = said(Layer::Apdu, &sealed, options);
                assert!(!shows_the_password(&text), "{name} {control:?}\n{text}");
            }
        }
    }
    // What is not a secret is shown as before, in the same list.
    let list = said(Layer::Apdu, &secret_bearers()[3].1, &options);
    assert!(list.contains("unsigned: 1") && list.contains("not shown"), "{list}");
}

#[test]
fn damaged_frames_do_not_echo_a_password_either() {
    let octets = aarq();
    let arc = octets.windows(7).position(|octets| octets == [0x60, 0x85, 0x74, 5, 8, 2, 1]);
    for (layer, octets) in framed(&octets) {
        for cut in 0..octets.len() {
            let text = said(layer, &octets[..cut], &Options::default());
            assert!(!shows_the_password(&text), "{layer:?} cut at {cut}\n{text}");
        }
    }
    for (at, bit) in (0..octets.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        // Another mechanism, told as such, has a challenge and no password.
        if arc.is_some_and(|arc| at == arc + 6) {
            continue;
        }
        let mut changed = octets.clone();
        changed[at] ^= 1 << bit;
        let text = said(Layer::Apdu, &changed, &Options::default());
        assert!(!shows_the_password(&text), "octet {at}, bit {bit}\n{text}");
    }
}

#[test]
fn a_wrong_key_is_told_as_such_with_the_place_of_the_content() {
    let keys = Keys::new(&[1; 16], &[2; 16]);
    let title = *b"MMM\0\0\0\0\x01";
    let apdu = [0xc0, 1, 0xc1, 0, 3, 1, 0, 1, 8, 0, 255, 2, 0];
    let sealed = security::seal_apdu(&keys, SecurityControl::BOTH, &title, 7, &apdu).unwrap();
    let octets = Apdu::Protected(sealed).encode();
    let wrong = Options { keys: Some(Keys::new(&[3; 16], &[2; 16])), title: Some(title) };
    let fault = tree::decode(Layer::Apdu, &octets, &wrong).unwrap_err();
    assert_eq!(fault.to_string(), "octet 7: authentication tag does not verify");
    assert_eq!(fault.error.code(), "bad_tag");
    let header = wrapper::Header { source: 1, destination: 16 };
    let framed = wrapper::encode(header, &octets).unwrap();
    let fault = tree::decode(Layer::Wrapper, &framed, &wrong).unwrap_err();
    assert_eq!(fault.to_string(), "octet 15: authentication tag does not verify");
}

#[test]
fn keys_open_the_suites_of_their_length_and_the_frame_says_which() {
    let title = *b"MMM\0\0\0\0\x01";
    let apdu = [0xc0, 1, 0xc1, 0, 3, 1, 0, 1, 8, 0, 255, 2, 0];
    let given = Options { keys: Some(Keys::new(&[1; 16], &[2; 16])), title: Some(title) };
    for (suite, length, opened) in [(Suite::One, 16, true), (Suite::Two, 32, false)] {
        let keys = Keys::in_suite(suite, &vec![1; length], &vec![2; length]).unwrap();
        let control = SecurityControl::BOTH.in_suite(suite);
        let sealed = security::seal_apdu(&keys, control, &title, 7, &apdu).unwrap();
        let octets = Apdu::Protected(sealed).encode();
        let nodes = tree::decode(Layer::Apdu, &octets, &given).unwrap();
        assert_eq!(find(&nodes, "plaintext").is_some(), opened, "{suite:?}");
        let why = "security suite 2 is not that of the keys";
        assert_eq!(nodes[0].to_string().contains(why), !opened, "{}", nodes[0]);
        let own = Options { keys: Some(keys), title: Some(title) };
        let nodes = tree::decode(Layer::Apdu, &octets, &own).unwrap();
        assert!(find(&nodes, "plaintext").is_some(), "{suite:?} by its own keys");
    }
}

#[test]
fn general_blocks_of_a_capture_are_joined_and_opened() {
    let keys = Keys::new(&[1; 16], &[2; 16]);
    let title = *b"MMM\0\0\0\0\x01";
    let notification = DataNotification::new(LongInvokePriority::confirmed(5), None, Data::U32(7));
    let sealed = seal_notification(&keys, &title, 41, notification).unwrap();
    let options = Options { keys: Some(keys), title: None };
    let (layer, octets) = framed(&sealed).pop().unwrap();
    let nodes = tree::decode(layer, &octets, &options).unwrap();
    let text: String = nodes.iter().map(Node::to_string).collect();
    assert!(text.contains("joined blocks") && text.contains("double-long-unsigned: 7"), "{text}");
    assert!(nodes.iter().map(well_formed).sum::<usize>() == text.lines().count());
    // One is missing: nothing is made up.
    let first = wrapper::HEADER_OCTETS + usize::from(octets[7]);
    let nodes = tree::decode(layer, &octets[first..], &options).unwrap();
    assert!(find(&nodes, "joined blocks").is_none());
}

proptest! {
    #[test]
    fn there_is_a_tree_exactly_when_the_decoder_takes_the_octets(
        first in any::<u8>(),
        rest in prop::collection::vec(prop_oneof![0u8..0x24, any::<u8>()], 0..120),
    ) {
        let octets = [&[first][..], &rest].concat();
        let options = Options { keys: Some(Keys::new(&[1; 16], &[2; 16])), title: None };
        let closed = Options::default();
        let apdu = gateway_header::split(&octets).and_then(|(_, rest)| Apdu::decode(rest));
        let tree = tree::decode(Layer::Apdu, &octets, &closed);
        prop_assert_eq!(tree.is_ok(), apdu.is_ok());
        let tree = tree::decode(Layer::Axdr, &octets, &closed);
        prop_assert_eq!(tree.is_ok(), Data::decode(&octets).is_ok());
        for layer in [Layer::Apdu, Layer::Wrapper, Layer::Hdlc, tree::layer_of(&octets)] {
            match tree::decode(layer, &octets, &options) {
                Ok(nodes) => prop_assert!(nodes.iter().map(well_formed).sum::<usize>() > 0),
                Err(fault) => prop_assert!(fault.at <= octets.len()),
            }
        }
    }

    #[test]
    fn damaged_vectors_have_a_tree_exactly_when_the_decoder_takes_them(
        pick in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let vectors = vectors();
        let vector = pick.get(&vectors);
        let mut octets = hex(vector["hex"].as_str().unwrap());
        for (at, value) in damage {
            if !octets.is_empty() {
                let at = at.index(octets.len());
                octets[at] = value;
            }
        }
        for layer in [Layer::Wrapper, Layer::Hdlc] {
            let _any = tree::decode(layer, &octets, &options(vector));
        }
        let apdu = gateway_header::split(&octets).and_then(|(_, rest)| Apdu::decode(rest));
        let tree = tree::decode(Layer::Apdu, &octets, &Options::default());
        prop_assert_eq!(tree.is_ok(), apdu.is_ok());
    }
}
