//! Every published vector, compared in full. The frames of the HDLC layer are the business of the
//! test module `hdlc`: here those vectors are named and counted, and what they carry is decoded.

use std::collections::BTreeMap;

use cosem::association::{open_notification, seal_notification};
use cosem::data::Data;
use cosem::security::agreement::{Algorithm, derive_key};
use cosem::security::{self, Kek, Keys, Secret, SecurityControl, Suite, SystemTitle, general, hls};
use cosem::{Apdu, Error, apdu::Protected, gateway_header, wrapper};
use serde_json::{Map, Value, json};

use crate::octets::{hex, to_hex};
use crate::shape;

/// Vectors of the HDLC layer, whose frames are not taken apart here.
const HDLC_LAYER: [&str; 13] = [
    "hdlc-aarq-ln-4byte",
    "hdlc-get-clock",
    "hdlc-set-clock",
    "hdlc-get-tz",
    "hdlc-clock-base-response",
    "hdlc-snrm-4byte",
    "hdlc-push-aidon-1phase",
    "hdlc-push-landis-gyr-e450",
    "hdlc-ua-params",
    "hdlc-snrm-params",
    "hdlc-ua-params-2",
    "hdlc-snrm-params-2",
    "hdlc-push-kaifa-ma304h3e",
];

/// Vectors that decode to what they should but are not in their shortest or standard form, so
/// that encoding gives other octets of the same meaning.
const NOT_CANONICAL: [&str; 2] = [
    // The time of the event is sent with its tag (09 0C) where the standard has 01 0C.
    "wrapper-event-wakeup",
    // The date-time of the notification is sent with its tag.
    "hdlc-push-kaifa-ma304h3e",
];

fn vectors() -> Vec<Value> {
    let text = include_str!("../vectors/dlms.json");
    let file: Value = serde_json::from_str(text).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

fn field<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_else(|| panic!("no {name} in {of}"))
}

fn key(context: &Value, name: &str) -> [u8; 16] {
    hex(field(context, name)).try_into().unwrap()
}

fn title(context: &Value, name: &str) -> SystemTitle {
    hex(field(context, name)).try_into().unwrap()
}

fn keys(context: &Value) -> Keys {
    Keys::new(&key(context, "encryption_key"), &key(context, "authentication_key"))
}

fn remove(from: &mut Value, names: &[&str]) {
    names.iter().for_each(|name| drop(from.as_object_mut().unwrap().remove(*name)));
}

/// Decodes, compares in full, and encodes back.
fn check(id: &str, octets: &[u8], expected: &Value) -> Apdu {
    let apdu = Apdu::decode(octets).unwrap_or_else(|error| panic!("{id}: {error}"));
    assert_eq!(shape::apdu(&apdu), *expected, "{id}");
    if NOT_CANONICAL.contains(&id) {
        assert_eq!(Apdu::decode(&apdu.encode()).unwrap(), apdu, "{id}: same meaning");
    } else {
        assert_eq!(to_hex(&apdu.encode()), to_hex(octets), "{id}: encoded back");
    }
    apdu
}

/// A protected APDU: header, plaintext, decoded plaintext, and sealed again.
fn check_protected(id: &str, octets: &[u8], expected: &Value, context: &Value) {
    let mut header = expected.clone();
    remove(&mut header, &["plaintext", "decoded"]);
    let Apdu::Protected(protected) = check(id, octets, &header) else { panic!("{id}") };
    let title = protected.title.unwrap_or_else(|| title(context, "system_title"));
    let keys = keys(context);
    let control = protected.control;
    let plain = security::open_apdu(&keys, control, &title, &protected).unwrap();
    assert_eq!(to_hex(&plain), field(expected, "plaintext"), "{id}");
    check(id, &plain, &expected["decoded"]);
    let sealed = security::seal(&keys, control, &title, protected.counter, &plain).unwrap();
    assert_eq!(sealed, protected.content, "{id}: sealed again");
    if !control.is_authenticated() {
        let demanding = SecurityControl::BOTH;
        let refused = security::open_apdu(&keys, demanding, &title, &protected);
        assert_eq!(refused, Err(Error::Protection("not authenticated")), "{id}");
    }
}

fn check_apdu(id: &str, kind: &str, octets: &[u8], vector: &Value) {
    let (expected, context) = (&vector["expected"], &vector["context"]);
    match kind {
        "malformed" => {
            let refused = gateway_header::split(octets).and_then(|(_, rest)| Apdu::decode(rest));
            assert!(refused.is_err(), "{id} decoded to {refused:?}");
        }
        "ciphered" | "push-ciphered" => check_protected(id, octets, expected, context),
        "ciphered-negative" => {
            let protected = Protected::decode(octets).unwrap().unwrap();
            let title = title(context, "system_title");
            let control = protected.control;
            let opened = security::open_apdu(&keys(context), control, &title, &protected);
            assert_eq!(opened, Err(Error::BadTag), "{id}");
        }
        "gateway" => check_gateway(id, octets, expected),
        "general-ciphering" => check_general_ciphering(id, octets, expected, context),
        _ => {
            check(id, octets, expected);
        }
    }
}

fn check_gateway(id: &str, octets: &[u8], expected: &Value) {
    let (prefix, rest) = gateway_header::split(octets).unwrap();
    let prefix = prefix.unwrap();
    let inner = check(id, rest, &expected["inner"]);
    let shape = json!({
        "apdu": match prefix.direction {
            gateway_header::Direction::Request => "gateway-request",
            gateway_header::Direction::Response => "gateway-response",
        },
        "network_id": prefix.network, "physical_device_address": to_hex(&prefix.address),
        "inner": shape::apdu(&inner),
    });
    assert_eq!(shape, *expected, "{id}");
    let mut out = Vec::new();
    gateway_header::encode(&prefix, &mut out).unwrap();
    out.extend(inner.encode());
    assert_eq!(out, octets, "{id}: encoded back");
}

fn check_general_ciphering(id: &str, octets: &[u8], expected: &Value, context: &Value) {
    let mut header = expected.clone();
    remove(&mut header, &["plaintext", "decoded"]);
    let Apdu::GeneralCiphering(apdu) = check(id, octets, &header) else { panic!("{id}") };
    // The vector's note: its tag cannot be reproduced, so the content is opened without it.
    let key = key(context, "encryption_key");
    let suite = Suite::of(u8::try_from(context["suite"].as_u64().unwrap()).unwrap()).unwrap();
    let keys = Keys::in_suite(suite, &key, &key).unwrap();
    let plain = general::reveal_general(&keys, &apdu).unwrap();
    assert_eq!(to_hex(&plain), field(expected, "plaintext"), "{id}");
    check(id, &plain, &expected["decoded"]);
}

fn check_axdr(id: &str, octets: &[u8], expected: &Value) {
    let data = Data::decode(octets).unwrap_or_else(|error| panic!("{id}: {error}"));
    assert_eq!(shape::data(&data), expected["data"], "{id}");
    assert_eq!(to_hex(&data.to_axdr()), to_hex(octets), "{id}: encoded back");
}

fn check_wrapper(id: &str, octets: &[u8], vector: &Value) {
    let (expected, context) = (&vector["expected"], &vector["context"]);
    let (header, apdu) = wrapper::decode(octets).unwrap();
    let mut shape = expected.clone();
    remove(&mut shape, &["apdu"]);
    let found = json!({
        "version": 1, "source_wport": header.source, "destination_wport": header.destination,
        "length": apdu.len(),
    });
    assert_eq!(found, shape, "{id}");
    assert_eq!(wrapper::encode(header, apdu).unwrap(), octets, "{id}: encoded back");
    let mut deframer = wrapper::Deframer::new(apdu.len());
    deframer.feed(octets);
    assert_eq!(deframer.next_frame().unwrap().unwrap().1, apdu, "{id}");
    if field(vector, "kind") != "push-ciphered" {
        check(id, apdu, &expected["apdu"]);
        return;
    }
    check_protected(id, apdu, &expected["apdu"], context);
    let keys = keys(context);
    let opened = open_notification(|_| Some(&keys), apdu).unwrap();
    let (title, counter) = (opened.title.unwrap(), opened.counter.unwrap());
    let notification = opened.decode().unwrap();
    let sealed = seal_notification(&keys, &title, counter, notification).unwrap();
    assert_eq!(to_hex(&sealed), to_hex(apdu), "{id}: sealed again");
}

fn check_crypto(id: &str, vector: &Value) {
    let (expected, context) = (&vector["expected"], &vector["context"]);
    let value = |name| hex(field(context, name));
    let secret = || Secret::new(&value("secret"));
    match context["mechanism"].as_u64() {
        Some(5) => {
            let title = title(context, "system_title");
            let counter = u32::try_from(context["invocation_counter"].as_u64().unwrap()).unwrap();
            let reply = security::hls5_reply(&keys(context), &title, counter, &value("challenge"));
            assert_eq!(to_hex(&reply), field(expected, "reply"), "{id}");
            let verified =
                security::hls5_verify(&keys(context), &title, &value("challenge"), &reply);
            assert_eq!(verified, Ok(counter), "{id}");
        }
        Some(4) => {
            let reply = hls::sha1_reply(&secret(), &value("challenge"));
            assert_eq!(to_hex(&reply), field(expected, "reply"), "{id}");
        }
        Some(6) => {
            let own = title(context, "system_title_client");
            let other = title(context, "system_title_server");
            let challenges = [&value("stoc")[..], &value("ctos")[..]];
            let reply = hls::sha256_reply(&secret(), [&own, &other], challenges);
            assert_eq!(to_hex(&reply), field(expected, "reply"), "{id}");
        }
        _ if context.get("kek").is_some() => {
            let (kek, inner) = (key(context, "kek"), key(context, "key"));
            let kek = Kek::new(Suite::Zero, &kek).unwrap();
            let mut wrapped = kek.wrap(&inner).unwrap();
            assert_eq!(to_hex(&wrapped), field(expected, "wrapped"), "{id}");
            assert_eq!(kek.unwrap_key(&wrapped).unwrap()[..], inner, "{id}");
            wrapped[3] ^= 1;
            assert_eq!(kek.unwrap_key(&wrapped), Err(Error::BadTag), "{id}");
        }
        _ => {
            let [z, algorithm, u, v] = ["z", "algorithm_id", "party_u", "party_v"].map(value);
            assert_eq!(algorithm, Algorithm::Gcm.id(Suite::One), "{id}");
            let key = derive_key(Suite::One, &z, Algorithm::Gcm, &u, &v);
            assert_eq!(to_hex(&key), field(expected, "key"), "{id}");
        }
    }
}

/// The session with GMAC: every frame in order, opened under its sender's title, counters rising.
fn check_session(id: &str, vector: &Value) {
    let context = &vector["context"];
    let keys = keys(context);
    let mut highest: BTreeMap<&str, u32> = BTreeMap::new();
    for step in vector["expected"]["frames"].as_array().unwrap() {
        let direction = field(step, "direction");
        let name = format!("{direction}_system_title");
        let sender = title(context, &name);
        let frame = hex(field(step, "frame"));
        let (header, octets) = wrapper::decode(&frame).unwrap();
        assert_eq!(wrapper::encode(header, octets).unwrap(), frame);
        let plain_expected = step.get("plaintext");
        let apdu = if plain_expected.is_some() {
            Apdu::decode(octets).unwrap()
        } else {
            check(id, octets, &step["decoded"])
        };
        let information = match &apdu {
            Apdu::Aarq(apdu) => apdu.user_information.clone(),
            Apdu::Aare(apdu) => apdu.user_information.clone(),
            Apdu::Rlre(apdu) | Apdu::Rlrq(apdu) => apdu.user_information.clone(),
            Apdu::Protected(_) => Some(octets.to_vec().into()),
            other => panic!("{other:?}"),
        };
        let Some(information) = information else { continue };
        let protected = Protected::decode(&information).unwrap().unwrap();
        assert!(protected.title.is_none_or(|title| title == sender), "{id}");
        let rose = highest.insert(direction, protected.counter);
        assert!(rose.is_none_or(|before| before < protected.counter), "{id}: counters rise");
        let both = SecurityControl::BOTH;
        let plain = security::open_apdu(&keys, both, &sender, &protected).unwrap();
        let decoded = Apdu::decode(&plain).unwrap();
        assert_eq!(decoded.encode(), plain, "{id}: encoded back");
        let sealed = security::seal(&keys, both, &sender, protected.counter, &plain).unwrap();
        assert_eq!(sealed, protected.content, "{id}: sealed again");
        if let Some(text) = plain_expected {
            assert_eq!(to_hex(&plain), text.as_str().unwrap());
            assert_eq!(shape::apdu(&decoded), step["decoded"]);
        }
        if let Some(text) = step.get("user_information_plaintext") {
            assert_eq!(to_hex(&plain), text.as_str().unwrap());
            assert_eq!(shape::apdu(&decoded), step["user_information"]);
        }
    }
    assert_eq!(highest.len(), 2);
}

/// What HDLC vectors carry, where the vector states it apart from the frames.
fn check_hdlc_content(id: &str, vector: &Value) {
    let expected = &vector["expected"];
    let Some(octets) = expected.get("apdu_hex").and_then(Value::as_str) else { return };
    let octets = hex(octets);
    let shape = expected["apdu"].as_object().cloned().unwrap_or_else(Map::new);
    if shape.contains_key("plaintext") {
        check_protected(id, &octets, &Value::Object(shape), &vector["context"]);
    } else {
        check(id, &octets, &Value::Object(shape));
    }
}

#[test]
fn every_vector_is_met_or_named() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut hdlc = Vec::new();
    let vectors = vectors();
    for vector in &vectors {
        let (id, kind) = (field(vector, "id"), field(vector, "kind"));
        let octets = hex(field(vector, "hex"));
        let layer = field(vector, "layer");
        match (layer, kind) {
            ("apdu", _) => check_apdu(id, kind, &octets, vector),
            ("axdr", _) => check_axdr(id, &octets, &vector["expected"]),
            ("wrapper", "session") => check_session(id, vector),
            ("wrapper", _) => check_wrapper(id, &octets, vector),
            ("crypto", _) => check_crypto(id, vector),
            ("hdlc", _) => {
                check_hdlc_content(id, vector);
                hdlc.push(id);
            }
            other => panic!("{id}: nothing checks {other:?}"),
        }
        *counts.entry(layer.to_owned()).or_default() += 1;
    }
    let expect = [("apdu", 49), ("axdr", 4), ("crypto", 5), ("hdlc", 13), ("wrapper", 8)];
    let expect = expect.map(|(layer, count)| (layer.to_owned(), count));
    assert_eq!(counts, BTreeMap::from(expect));
    assert_eq!(hdlc, HDLC_LAYER);
    assert_eq!(vectors.len(), 79);
}

#[test]
fn every_vector_cut_short_or_changed_never_panics() {
    for vector in vectors() {
        let octets = hex(field(&vector, "hex"));
        for cut in 0..octets.len() {
            let _ignored = Apdu::decode(&octets[..cut]);
            let mut changed = octets.clone();
            for bit in [1, 0x80, 0xff] {
                changed[cut] ^= bit;
                let _ignored = (Apdu::decode(&changed), Data::decode(&changed));
                let _ignored = (wrapper::decode(&changed), gateway_header::split(&changed));
            }
        }
    }
}
