//! What is done to a meter: images, keys, tokens, alarms.

use cosem::security::{Kek, KeyId, NewKeys};
use cosem::{Data, DataAccessError, Suite};

use super::Bench;
use crate::fault::Kind;
use crate::objects::After;
use crate::objects::catalogue::{IMAGE, SECURITY_SETUP, TOKEN_GATEWAY};
use crate::push::IMPORT;

fn image_block(number: u32, octets: &[u8]) -> Data {
    Data::Structure(vec![Data::U32(number), Data::octets(octets)])
}

#[test]
fn an_image_is_transferred_verified_and_activated() {
    let mut bench = Bench::with(Kind::ImageBusy);
    let begin = Data::Structure(vec![Data::octets(b"HFD-SIM 2"), Data::U32(400)]);
    bench.act(18, IMAGE, 1, begin).unwrap();
    bench.act(18, IMAGE, 2, image_block(2, &[7; 16])).unwrap();
    assert_eq!(bench.get(18, IMAGE, 4), Data::U32(0));
    bench.act(18, IMAGE, 2, image_block(0, &[7; 192])).unwrap();
    assert_eq!(bench.act(18, IMAGE, 3, Data::I8(0)), Err(DataAccessError::OtherReason), "a hole");
    bench.act(18, IMAGE, 2, image_block(1, &[7; 192])).unwrap();
    assert!(bench.act(18, IMAGE, 2, image_block(1, &[7; 10])).is_err());
    let busy = Err(DataAccessError::TemporaryFailure);
    assert_eq!(bench.act(18, IMAGE, 3, Data::I8(0)), busy);
    assert_eq!(bench.get(18, IMAGE, 6), Data::Enum(2));
    bench.now_s += 5;
    assert_eq!(bench.get(18, IMAGE, 6), Data::Enum(3), "polling the status sees it end");
    assert_eq!(bench.act(18, IMAGE, 4, Data::I8(0)), busy);
    bench.now_s += 5;
    assert_eq!(bench.get(18, IMAGE, 6), Data::Enum(6));
    let firmware = bench.get(1, [1, 0, 0, 2, 0, 255], 2);
    assert_eq!(firmware.as_octets(), Some(&b"HFD-SIM 2"[..]));
    assert_eq!(bench.codes(0), [17, 18]);
}

#[test]
fn a_bad_image_fails_its_verification() {
    let mut bench = Bench::new();
    let begin = Data::Structure(vec![Data::octets(b"X"), Data::U32(4)]);
    bench.act(18, IMAGE, 1, begin).unwrap();
    bench.act(18, IMAGE, 2, image_block(0, b"BAD!")).unwrap();
    assert_eq!(bench.act(18, IMAGE, 3, Data::I8(0)), Err(DataAccessError::OtherReason));
    assert_eq!(bench.get(18, IMAGE, 6), Data::Enum(4));
    assert_eq!(bench.codes(1), [51]);
}

#[test]
fn keys_change_under_the_kek_and_under_nothing_else() {
    let mut bench = Bench::new();
    let transfer = |kek: [u8; 16]| {
        let kek = Kek::new(Suite::Zero, &kek).unwrap();
        let new = NewKeys::default().with(KeyId::Unicast, &[9; 16]);
        new.with(KeyId::Authentication, &[8; 16]).wrapped(&kek).unwrap()
    };
    let refused = bench.act(64, SECURITY_SETUP, 2, transfer([1; 16]));
    assert_eq!(refused, Err(DataAccessError::OtherReason));
    let guek = bench.model.guek.0;
    assert_eq!(bench.meter(|meter| meter.guek()).0, guek);
    let kek = bench.model.kek.0;
    bench.act(64, SECURITY_SETUP, 2, transfer(kek)).unwrap();
    assert_eq!(bench.after, [After::KeysChanged]);
    assert_eq!(bench.meter(|meter| (meter.guek().0, meter.gak().0)), ([9; 16], [8; 16]));
    // They survive a restart of the simulator.
    let kept = serde_json::to_string(&bench.memory).unwrap();
    bench.memory = serde_json::from_str(&kept).unwrap();
    assert_eq!(bench.meter(|meter| meter.guek()).0, [9; 16]);
    assert_eq!(bench.codes(1), [49, 48]);
    // A policy is strengthened only.
    assert!(bench.act(64, SECURITY_SETUP, 1, Data::Enum(0)).is_err());
    // And suite 0 cannot sign.
    assert!(bench.act(64, SECURITY_SETUP, 1, Data::Enum(0x7c)).is_err());
    bench.act(64, SECURITY_SETUP, 1, Data::Enum(0x6c)).unwrap();
    assert_eq!(bench.get(64, SECURITY_SETUP, 2), Data::Enum(0x6c));
}

#[test]
fn a_token_adds_credit_once_and_consumption_takes_it() {
    let mut bench = Bench::new();
    let credit = [0, 0, 19, 10, 0, 255];
    let before = bench.get(112, credit, 2).as_i64().unwrap();
    let token = || Data::octets(b"00000100000000000009");
    bench.act(115, TOKEN_GATEWAY, 1, token()).unwrap();
    assert_eq!(bench.get(112, credit, 2).as_i64(), Some(before + 100));
    assert!(bench.act(115, TOKEN_GATEWAY, 1, token()).is_err(), "a second time");
    let status = bench.get(115, TOKEN_GATEWAY, 6);
    assert_eq!(status.as_structure().unwrap()[0], Data::Enum(6));
    assert_eq!(bench.rows([0, 0, 99, 17, 0, 255], None).len(), 2);
    let (wh, at) = (bench.register(IMPORT), bench.get(112, credit, 2).as_i64().unwrap());
    bench.now_s += 3 * 86_400;
    let used = (bench.register(IMPORT) - wh) as i64;
    let left = bench.get(112, credit, 2).as_i64().unwrap();
    assert!((at - left - used * 25 / 1_000).abs() <= 1, "{used} Wh, {at} to {left}");
}

#[test]
fn alarms_rise_with_events_and_fall_where_they_are_written() {
    let mut bench = Bench::new();
    let (register, descriptor) = ([0, 0, 97, 98, 1, 255], [0, 0, 97, 98, 21, 255]);
    let key = NewKeys::default().with(KeyId::Unicast, &[9; 16]);
    let kek = Kek::new(Suite::Zero, &bench.model.kek.0).unwrap();
    bench.act(64, SECURITY_SETUP, 2, key.wrapped(&kek).unwrap()).unwrap();
    assert_eq!(bench.get(1, register, 2), Data::U32(1 << 13));
    bench.set(1, descriptor, 2, Data::U32(1)).unwrap();
    assert_eq!(bench.get(1, descriptor, 2), Data::U32(1 << 13), "another bit");
    bench.set(1, descriptor, 2, Data::U32(1 << 13)).unwrap();
    assert_eq!(bench.get(1, descriptor, 2), Data::U32(0));
    assert_eq!(bench.get(1, register, 2), Data::U32(1 << 13));
    bench.set(1, register, 2, Data::U32(u32::MAX)).unwrap();
    assert_eq!(bench.get(1, register, 2), Data::U32(0));
}
