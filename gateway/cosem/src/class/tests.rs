//! Objects of every class there and back, octets as meters send them, and shapes that are
//! refused.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::association::{self, AccessRights, Mode};
use super::profile::CaptureObject;
use super::push_setup::{PortReference, PushObject, RepetitionDelay};
use super::security_setup::{self, CertificateName, KeyId, Policy, WrappedKey};
use super::value::{Coded, Hidden, Utf8Text, VisibleText};
use super::{
    CLASSES, Call, Object, Raw, References, attribute_name, clock, disconnect_control,
    image_transfer, method_name, name, of,
};
use crate::apdu::{AttributeRef, LogicalName};
use crate::data::{BitString, Data};
use crate::datetime::{Date, DateTime, Time};
use crate::scaler::ScalerUnit;
use crate::security::Secret;

/// Numbers that follow from a seed.
pub struct Seeds(u64);

impl Seeds {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of this span.
    pub fn within(&mut self, least: u8, most: u8) -> u8 {
        let span = u64::from(most - least) + 1;
        least + u8::try_from(self.next() % span).unwrap()
    }

    /// True three times out of four.
    pub fn often(&mut self) -> bool {
        !self.next().is_multiple_of(4)
    }

    fn octets<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.within(0, 255))
    }
}

/// A value that follows from a seed.
pub trait Sample: Sized {
    /// The next one.
    fn sample(seeds: &mut Seeds) -> Self;
}

macro_rules! samples {
    ($($kind:ty: |$seeds:ident| $sample:expr;)+) => {$(
        impl Sample for $kind {
            fn sample($seeds: &mut Seeds) -> Self {
                $sample
            }
        }
    )+};
}

samples! {
    i8: |seeds| seeds.next() as i8;
    i16: |seeds| seeds.next() as i16;
    i32: |seeds| seeds.next() as i32;
    i64: |seeds| seeds.next() as i64;
    u8: |seeds| seeds.next() as u8;
    u16: |seeds| seeds.next() as u16;
    u32: |seeds| seeds.next() as u32;
    u64: |seeds| seeds.next();
    bool: |seeds| seeds.often();
    Bytes: |seeds| Bytes::copy_from_slice(&seeds.octets::<9>()[..usize::from(seeds.within(0, 9))]);
    VisibleText: |seeds| VisibleText(Sample::sample(seeds));
    Utf8Text: |seeds| Utf8Text(Sample::sample(seeds));
    Hidden: |seeds| Hidden(Secret::new(&seeds.octets::<5>()));
    LogicalName: |seeds| LogicalName(seeds.octets());
    Date: |seeds| Date::from_octets(seeds.octets());
    Time: |seeds| Time::from_octets(seeds.octets());
    DateTime: |seeds| DateTime::from_octets(seeds.octets());
    ScalerUnit: |seeds| ScalerUnit { scaler: seeds.next() as i8, unit: seeds.within(0, 255) };
    PortReference: |seeds| PortReference(Sample::sample(seeds));
    Policy: |seeds| Policy(seeds.within(0, 255));
    Mode: |seeds| match seeds.often() {
        true => Self::Code(seeds.within(0, 255)),
        false => Self::Boolean(true),
    };
    BitString: |seeds| {
        let bits: Vec<bool> = (0..seeds.within(0, 20)).map(|_| seeds.often()).collect();
        BitString::new(&bits)
    };
    CaptureObject: |seeds| {
        let (class, number) = (Sample::sample(seeds), seeds.next() as i8);
        let attribute = AttributeRef::new(class, seeds.octets(), number);
        Self { attribute, data_index: Sample::sample(seeds) }
    };
    References: |seeds| match seeds.often() {
        true => Self::Each(Sample::sample(seeds)),
        false => Self::From(Sample::sample(seeds)),
    };
    RepetitionDelay: |seeds| match seeds.often() {
        true => Self::Fixed(Sample::sample(seeds)),
        false => Self::Growing {
            min_s: Sample::sample(seeds),
            exponent: Sample::sample(seeds),
            max_s: Sample::sample(seeds),
        },
    };
    CertificateName: |seeds| match seeds.often() {
        true => Self::Entity(Sample::sample(seeds)),
        false => Self::Serial(Sample::sample(seeds)),
    };
    PushObject: |seeds| {
        let object = Sample::sample(seeds);
        let restriction: Option<_> = Sample::sample(seeds);
        let columns = restriction.as_ref().and_then(|_| Sample::sample(seeds));
        Self { object, restriction, columns }
    };
    association::Object: |seeds| Self {
        class: Sample::sample(seeds),
        version: Sample::sample(seeds),
        logical_name: Sample::sample(seeds),
        access: Sample::sample(seeds),
    };
    Raw: |seeds| Self {
        class: 8,
        version: 200,
        attributes: BTreeMap::from([(2, Sample::sample(seeds)), (-3, Sample::sample(seeds))]),
    };
    Data: |seeds| match seeds.within(0, 7) {
        0 => Data::Null,
        1 => Data::U32(Sample::sample(seeds)),
        2 => Data::I64(Sample::sample(seeds)),
        3 => Data::OctetString(Sample::sample(seeds)),
        4 => Data::BitString(Sample::sample(seeds)),
        5 => Data::Structure(vec![Data::U8(1), Data::Boolean(seeds.often())]),
        6 => Data::Enum(seeds.within(0, 255)),
        _ => Data::Array(vec![Data::U16(Sample::sample(seeds))]),
    };
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(seeds: &mut Seeds) -> Self {
        (0..seeds.within(0, 3)).map(|_| T::sample(seeds)).collect()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(seeds: &mut Seeds) -> Self {
        seeds.often().then(|| T::sample(seeds))
    }
}

proptest! {
    /// Every class: attribute by attribute to octets, and back into an object of that class.
    #[test]
    fn objects_go_to_octets_and_back(seed in any::<u64>()) {
        let object = Object::sample(&mut Seeds(seed));
        let (class, version) = object.class();
        let mut again = Object::new(class, version);
        for attribute in i8::MIN..=i8::MAX {
            if let Some(data) = object.attribute(attribute) {
                let octets = data.to_axdr();
                let read = Data::decode(&octets).unwrap();
                prop_assert!(again.set(attribute, &read).is_ok(), "attribute {}", attribute);
                let written = again.attribute(attribute).unwrap();
                prop_assert_eq!(written.to_axdr(), octets, "class {} {}", class, attribute);
            }
        }
        prop_assert_eq!(again, object);
    }

    /// Whatever a meter sends: an attribute is taken as it is, or refused with its name.
    #[test]
    fn no_value_makes_a_panic_or_changes_an_object_that_refuses_it(seed in any::<u64>()) {
        let mut seeds = Seeds(seed);
        let mut object = Object::sample(&mut seeds);
        let (class, version) = object.class();
        for attribute in 2..=20 {
            let before = object.clone();
            if let Err(mismatch) = object.set(attribute, &Data::sample(&mut seeds)) {
                prop_assert_eq!(Some(mismatch.name), attribute_name(class, version, attribute));
                prop_assert_eq!(&object, &before);
            }
        }
    }
}

#[test]
fn every_class_of_the_reference_is_here_once_and_in_order() {
    let ids: Vec<u16> = CLASSES.iter().map(|class| class.id).collect();
    let expect = [
        1, 3, 4, 5, 6, 7, 8, 9, 11, 15, 17, 18, 20, 21, 22, 30, 40, 41, 42, 45, 62, 63, 64, 70, 71,
        111, 112, 113, 115,
    ];
    assert_eq!(ids, expect);
    for class in CLASSES {
        let numbers: Vec<i8> = class.attributes.iter().map(|member| member.number).collect();
        let expect: Vec<i8> = (2..).take(numbers.len()).collect();
        assert_eq!(numbers, expect, "{}", class.name);
        let methods: Vec<i8> = class.methods.iter().map(|member| member.number).collect();
        let expect: Vec<i8> = (1..).take(methods.len()).collect();
        assert_eq!(methods, expect, "{}", class.name);
        for version in class.first..=class.last {
            assert!(!matches!(Object::new(class.id, version), Object::Raw(_)), "{}", class.name);
        }
        assert!(matches!(Object::new(class.id, class.last + 1), Object::Raw(_)));
    }
}

#[test]
fn names_depend_on_the_version() {
    let check = |class, version, attribute, expect| {
        assert_eq!(attribute_name(class, version, attribute), expect, "{class} {attribute}");
    };
    check(8, 0, 1, Some("logical_name"));
    check(8, 0, 2, Some("time"));
    check(8, 0, 10, None);
    check(15, 0, 9, None);
    check(15, 1, 9, Some("security_setup_reference"));
    check(40, 1, 13, None);
    check(40, 2, 13, Some("last_confirmation_date_time"));
    check(9_999, 0, 2, None);
    assert_eq!(method_name(64, 0, 2), Some("key_transfer"));
    assert_eq!((method_name(64, 0, 3), method_name(70, 0, 1)), (None, Some("remote_disconnect")));
    assert_eq!((name(113), name(2), of(64).map(|c| c.last)), (Some("charge"), None, Some(1)));
}

fn hex(text: &str) -> Vec<u8> {
    let text: String = text.split_whitespace().collect();
    let pair = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(pair).collect()
}

/// Attributes as they stand in frames: octets in, octets out again, and what they say.
#[test]
fn octets_of_the_field_are_read_and_written_alike() {
    let check = |class, version, attribute, octets: &str, says: &str| {
        let octets = hex(octets);
        let mut object = Object::new(class, version);
        object.set(attribute, &Data::decode(&octets).unwrap()).unwrap();
        assert_eq!(object.attribute(attribute).unwrap().to_axdr(), octets, "{class} {attribute}");
        let shown = format!("{object:?}");
        assert!(shown.contains(says), "{says}: {shown}");
    };
    check(3, 0, 3, "02 02 0f ff 16 1e", "scaler: -1, unit: 30");
    check(8, 0, 2, "09 0c 07 e4 01 01 03 0a 1e 00 ff ff c4 00", "deviation: -60");
    check(8, 0, 3, "10 ff c4", "Some(-60)");
    check(70, 0, 3, "16 02", "Some(Ready)");
    check(70, 0, 4, "16 04", "Some(RemoteAct)");
    check(17, 0, 2, "01 01 02 02 12 00 01 09 03 48 46 44", "sap: 1");
    check(18, 0, 6, "16 05", "ActivationInitiated");
    check(18, 0, 3, "04 0a ff c0", "bits: 10");
    check(22, 0, 2, "02 02 09 06 00 00 0a 00 6a ff 12 00 01", "0.0.10.0.106.255");
    check(
        20,
        0,
        5,
        "01 01 02 02 11 01 01 01 02 03 09 04 06 00 00 00 09 06 00 00 0a 00 64 ff 12 00 01",
        "0.0.10.0.100.255",
    );
    check(11, 0, 2, "01 01 02 03 12 00 01 09 05 ff ff 0c 19 ff 11 02", "day_id: 2");
    check(
        15,
        1,
        2,
        "01 01 02 04 12 00 08 11 00 09 06 00 00 01 00 00 ff 02 02 \
         01 02 02 03 0f 01 16 01 00 02 03 0f 02 16 03 00 01 01 02 02 0f 06 16 01",
        "attribute_id: 2, access_mode: Code(3)",
    );
    check(40, 0, 3, "02 03 16 00 09 0e 31 30 2e 30 2e 30 2e 31 3a 34 30 35 39 20 16 00", "Tcp");
    check(
        40,
        1,
        2,
        "01 01 02 05 12 00 07 09 06 01 00 63 01 00 ff 0f 02 12 00 00 02 02 16 01 \
         02 02 06 00 00 00 01 06 00 00 00 05",
        "restriction_type: Date",
    );
    check(64, 1, 2, "16 6c", "Policy(108)");
    check(112, 0, 8, "16 03", "InUse");
    check(115, 0, 6, "02 02 16 03 04 00", "ExecutionOk");
    check(
        71,
        0,
        8,
        "02 03 12 00 01 09 0c 07 e4 01 01 ff 00 00 00 00 80 00 00 06 00 00 00 3c",
        "emergency_duration: 60",
    );
}

#[test]
fn known_quirks_are_taken_and_written_as_the_standard_says() {
    let check = |class, attribute, quirk: Data, expect: Data| {
        let mut object = Object::new(class, 0);
        object.set(attribute, &quirk).unwrap();
        assert_eq!(object.attribute(attribute), Some(expect), "{class} {attribute}");
    };
    check(70, 3, Data::U8(1), Data::Enum(1));
    check(70, 2, Data::U8(1), Data::Boolean(true));
    check(8, 5, Data::Null, Data::clock(DateTime::NOT_SPECIFIED));
    check(11, 2, Data::Null, Data::Array(vec![]));
    check(45, 2, Data::text("iot"), Data::octets(b"iot"));
    check(7, 4, Data::U16(900), Data::U32(900));
    let time = DateTime::from_unix_s(1_795_305_600, 0, 0);
    check(8, 2, Data::DateTime(time), Data::clock(time));
}

#[test]
fn wrong_shapes_are_refused_with_the_attribute_named() {
    let check = |class, version, attribute, data: Data, expect: &str| {
        let mut object = Object::new(class, version);
        let mismatch = object.set(attribute, &data).unwrap_err();
        assert_eq!(mismatch.to_string(), expect);
        assert_eq!(object, Object::new(class, version));
    };
    let short = Data::Structure(vec![Data::I8(0)]);
    check(
        3,
        0,
        3,
        short.clone(),
        "class 3 version 0, attribute 3 (scaler_unit): scaler_unit: expected is a structure \
         {scaler, unit}",
    );
    check(
        8,
        0,
        3,
        Data::I32(70_000),
        "class 8 version 0, attribute 3 (time_zone): time_zone: expected is an integer of 16 bits",
    );
    check(
        71,
        0,
        8,
        Data::Structure(vec![Data::U16(1), Data::Boolean(true), Data::U32(3)]),
        "class 71 version 0, attribute 8 (emergency_profile): emergency_activation_time: expected \
         is a date-time: an octet-string of 12",
    );
    check(
        71,
        0,
        11,
        short,
        "class 71 version 0, attribute 11 (actions): action_over_threshold: expected is a \
         structure",
    );
    check(
        17,
        0,
        2,
        Data::U8(1),
        "class 17 version 0, attribute 2 (sap_assignment_list): sap_assignment_list: expected is \
         an array",
    );
}

#[test]
fn what_a_version_does_not_have_is_kept_as_it_came() {
    let mut old = Object::new(15, 0);
    old.set(9, &Data::U8(7)).unwrap();
    assert_eq!(old.attribute(9), Some(Data::U8(7)));
    let mut strange = Object::new(8_192, 3);
    strange.set(2, &Data::Structure(vec![Data::Null])).unwrap();
    strange.set(-1, &Data::U8(1)).unwrap();
    assert_eq!((strange.class(), strange.attribute(-1)), ((8_192, 3), Some(Data::U8(1))));
    assert_eq!(strange.attribute(2), Some(Data::Structure(vec![Data::Null])));
}

#[test]
fn methods_carry_their_parameters() {
    let here = LogicalName([0, 0, 96, 3, 10, 255]);
    let check = |call: Call, class, method, parameter: Data| {
        assert_eq!((call.method.class, call.method.method), (class, method));
        assert_eq!((call.method.logical_name, call.parameter), (here, parameter));
    };
    check(disconnect_control::remote_disconnect(here), 70, 1, Data::I8(0));
    check(clock::shift_time(here, -900).unwrap(), 8, 6, Data::I16(-900));
    for seconds in [901, -901, i16::MIN, i16::MAX] {
        assert!(clock::shift_time(here, seconds).is_err(), "{seconds}");
    }
    let image = image_transfer::Initiate {
        image_identifier: Bytes::from_static(b"FW2"),
        image_size: 4_096,
    };
    let expect = Data::Structure(vec![Data::octets(b"FW2"), Data::U32(4_096)]);
    assert_eq!(image_transfer::Initiate::from_data(&expect), Ok(image.clone()));
    check(image_transfer::initiate(here, &image), 18, 1, expect);
    let key =
        WrappedKey { key_id: KeyId::Authentication, key_wrapped: Bytes::from_static(&[7; 24]) };
    let fields = vec![Data::Enum(2), Data::octets(&[7; 24])];
    let expect = Data::Array(vec![Data::Structure(fields)]);
    check(security_setup::key_transfer(here, &vec![key]), 64, 2, expect);
}

#[test]
fn a_secret_is_never_printed() {
    let mut object = Object::new(15, 1);
    object.set(association::SECRET, &Data::octets(b"ABCDEFGH")).unwrap();
    let shown = format!("{object:?}");
    assert!(!shown.contains("ABCDEFGH") && !shown.contains("65, 66"), "{shown}");
    let mut damaged = object.clone();
    let refused = damaged.set(association::SECRET, &Data::U8(1)).unwrap_err();
    assert!(!refused.to_string().contains('1') || refused.attribute == 7);
    let none = AccessRights { attributes: Vec::new(), methods: Vec::new() };
    assert_eq!(AccessRights::from_data(&none.to_data()), Ok(none));
}
