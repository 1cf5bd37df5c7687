//! Trees of octets: every published vector has one, what decoders refuse has none, and offsets
//! stand where the octets stand.

use cosem::tree::{self, Fault, Layer, Node, Options};
use cosem::{Apdu, Data, Error, Keys, gateway_header};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::Value;

use crate::octets::hex;

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
