//! What meters do beside the standard, each taken in the frame in which it was seen, or, where no
//! frame is public, in one made after the report.

use cosem::apdu::{DataNotification, Protected};
use cosem::profile::{Layout, Rows};
use cosem::push::{Item, Origin, items};
use cosem::scaler::ScalerUnit;
use cosem::{Apdu, Data, DateTime, Keys, LogicalName, SecurityControl, security};
use serde_json::Value;

use crate::octets::hex;

fn vector(id: &str) -> Value {
    let file: Value = serde_json::from_str(include_str!("../vectors/dlms.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    vectors.iter().find(|vector| vector["id"] == id).unwrap_or_else(|| panic!("{id}")).clone()
}

fn notification(apdu: &str) -> DataNotification {
    match Apdu::decode(&hex(apdu)) {
        Ok(Apdu::DataNotification(notification)) => notification,
        other => panic!("{other:?}"),
    }
}

/// The APDU of a push as the vector has it, opened where it is ciphered.
fn pushed(id: &str) -> DataNotification {
    let vector = vector(id);
    let expected = &vector["expected"];
    let plain = [
        expected["plaintext"].as_str(),
        expected["apdu"]["plaintext"].as_str(),
        expected["apdu_hex"].as_str(),
        expected["information"].as_str().and_then(|octets| octets.strip_prefix("e6e700")),
    ];
    let whole = vector["hex"].as_str().unwrap();
    notification(plain.into_iter().flatten().next().unwrap_or(whole))
}

fn names(items: &[Item<'_>]) -> Vec<[u8; 6]> {
    let name = |item: &Item<'_>| match item.origin {
        Origin::Name(LogicalName(name)) => Some(name),
        Origin::Attribute(attribute) => Some(attribute.logical_name.0),
        Origin::Unknown => None,
    };
    items.iter().filter_map(name).collect()
}

const IMPORT: [u8; 6] = [1, 0, 1, 7, 0, 255];

fn scaled<'a>(items: &'a [Item<'a>], name: [u8; 6]) -> (i64, Option<ScalerUnit>) {
    let item = items.iter().find(|item| names(&[**item]) == [name]).unwrap();
    (item.value.as_i64().unwrap(), item.scaler_unit)
}

#[test]
fn a_push_with_names_and_scalers_beside_the_values() {
    let watt = Some(ScalerUnit { scaler: 0, unit: 27 });
    // Structures of two or three each (Aidon), of the same kind behind two flat ones (Kaifa in
    // Salzburg), and all flat (Kaifa in Lower Austria).
    for (id, count, power) in [
        ("hdlc-push-aidon-1phase", 9, (1_362, watt)),
        ("push-kaifa-salzburg", 0, (714, watt)),
        ("general-glo-kaifa-netz-noe", 0, (0, watt)),
    ] {
        let notification = pushed(id);
        let items = items(&notification.body, &[]);
        assert!(items.len() >= count.max(9), "{id}: {items:?}");
        assert_eq!(scaled(&items, IMPORT), power, "{id}");
    }
}

#[test]
fn a_push_without_scalers() {
    let notification = pushed("hdlc-push-landis-gyr-e450");
    let items = items(&notification.body, &[]);
    assert_eq!(scaled(&items, IMPORT), (2_893, None));
    assert_eq!(names(&items).len(), 16, "{items:?}");
    assert!(items.iter().all(|item| item.scaler_unit.is_none()));
}

#[test]
fn a_push_of_bare_values_in_the_order_of_the_makers_list() {
    // Kaifa MA304H3E: date-time with its tag, thirteen values, no name at all.
    let notification = pushed("hdlc-push-kaifa-ma304h3e");
    assert!(notification.date_time.is_some());
    let items = items(&notification.body, &[]);
    assert_eq!((items.len(), names(&items).len()), (13, 0));
    assert_eq!(items[3].value, &Data::U32(948));
}

#[test]
fn a_push_that_is_not_plain_a_xdr() {
    let notification = pushed("push-egd-example");
    let items = items(&notification.body, &[]);
    let expected = vector("push-egd-example")["expected"]["items"].as_array().unwrap().len();
    assert_eq!(items.len(), expected);
    assert_eq!(scaled(&items, IMPORT), (3, None));
}

#[test]
fn encrypted_without_a_tag_opens_only_where_no_tag_is_asked_for() {
    let vector = vector("general-glo-kaifa-netz-noe");
    let octets = hex(vector["hex"].as_str().unwrap());
    let protected = Protected::decode(&octets).unwrap().unwrap();
    let key = |name: &str| <[u8; 16]>::try_from(hex(vector["context"][name].as_str()?)).ok();
    let guek = key("encryption_key").unwrap();
    let keys = Keys::new(&guek, &key("authentication_key").unwrap_or_default());
    let title = protected.title.unwrap();
    let opened = security::open_apdu(&keys, SecurityControl::ENCRYPTED, &title, &protected);
    let plain = vector["expected"]["plaintext"].as_str().unwrap();
    assert_eq!(opened.unwrap(), hex(plain));
    let refused = security::open_apdu(&keys, SecurityControl::BOTH, &title, &protected);
    assert_eq!(refused.unwrap_err().code(), "protection");
}

/// End of each row and its value.
fn rows(buffer: &Data, layout: Layout) -> Vec<(Option<i64>, i64)> {
    let octets = buffer.to_axdr();
    let mut rows = Rows::new(&octets, layout).unwrap();
    let mut out = Vec::new();
    while let Some(row) = rows.next_row().unwrap() {
        let Some(cosem::profile::Cell::Integer(value)) = row.cells.get(1) else {
            panic!("{row:?}")
        };
        out.push((row.end_s, *value));
    }
    out
}

fn row(time: DateTime, value: u32) -> Data {
    Data::Structure(vec![Data::clock(time), Data::U32(value)])
}

/// 2026-10-25, 00:00 UTC: an hour before summer time ends in Central Europe.
const BEFORE: i64 = 1_792_886_400;
const SUMMER: u8 = cosem::datetime::status::DAYLIGHT_SAVING;

#[test]
fn the_hour_that_comes_twice_is_two_hours_with_the_deviation_or_without() {
    // A row each half hour; local time goes 02:00, 02:30, then 02:00, 02:30 again.
    let ends = [0, 1, 2, 3, 4, 5].map(|half| BEFORE + 1_800 * half);
    let local = |end_s: i64| {
        let summer = end_s < BEFORE + 3_600;
        DateTime::from_unix_s(
            end_s,
            if summer { -120 } else { -60 },
            if summer { SUMMER } else { 0 },
        )
    };
    let expect: Vec<_> = ends.iter().zip(1..).map(|(end_s, value)| (Some(*end_s), value)).collect();
    let buffer = |time: fn(DateTime) -> DateTime| {
        Data::Array(ends.iter().zip(1..).map(|(end_s, v)| row(time(local(*end_s)), v)).collect())
    };
    let layout = Layout { clock: Some(0), period_s: 1_800, default_deviation: -60 };
    assert_eq!(rows(&buffer(|time| time), layout), expect);
    // Without a deviation the bit of the clock status tells which of the two it is.
    let unset = buffer(|time| DateTime { deviation: i16::MIN, ..time });
    assert_eq!(rows(&unset, layout), expect);
    // Without a status too, both hours are of standard time: rows come twice, and out of order
    // where they are of the summer; nothing is lost or refused.
    let bare = buffer(|time| DateTime { deviation: i16::MIN, status: 0xff, ..time });
    let got = rows(&bare, layout);
    assert_eq!(got[0].0, got[2].0);
    assert_eq!(got.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn standard_time_all_year_without_a_deviation() {
    let noon = DateTime { deviation: i16::MIN, ..DateTime::from_unix_s(BEFORE, -60, 0) };
    let layout = Layout { clock: Some(0), period_s: 900, default_deviation: -60 };
    assert_eq!(rows(&Data::Array(vec![row(noon, 1)]), layout), [(Some(BEFORE), 1)]);
}

#[test]
fn rows_out_of_order_and_twice_come_out_as_they_came() {
    let at = |minutes: i64, value| row(DateTime::from_unix_s(BEFORE + 60 * minutes, -60, 0), value);
    let buffer = Data::Array(vec![at(30, 3), at(0, 1), at(15, 2), at(15, 2), at(45, 4)]);
    let layout = Layout { clock: Some(0), period_s: 900, default_deviation: 0 };
    let minutes = [30, 0, 15, 15, 45].map(|minutes| Some(BEFORE + 60 * minutes));
    let expect: Vec<_> = minutes.into_iter().zip([3, 1, 2, 2, 4]).collect();
    assert_eq!(rows(&buffer, layout), expect);
}
