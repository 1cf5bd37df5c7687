//! The steps of each read, against a device that is a table of attributes.

use super::{GetResult, Known, Next, Script};
use crate::model;
use crate::order::{Outcome, Work};
use crate::translate::StatusBits;
use cosem::{AttributeRef, Data, DataAccessError, DateTime, Selection};
use domain::Obis;
use domain::commands::{Attribute, Failure, Value};
use std::sync::Arc;

const NOON: i64 = 1_795_305_600;

/// Runs a script against `device` and notes what was asked.
fn run(
    known: &mut Known,
    work: &Work,
    mut device: impl FnMut(AttributeRef, Option<Selection>) -> GetResult,
) -> (Result<Outcome, Failure>, Vec<String>) {
    let mut script = Script::new(work);
    let mut asked = Vec::new();
    let mut next = script.start(std::time::Instant::now(), known);
    loop {
        match next {
            Err(failure) => return (Err(failure), asked),
            Ok(Next::Done(outcome)) => return (Ok(outcome), asked),
            Ok(Next::Get(attribute, selection)) => {
                assert!(asked.len() < 50, "no end: {asked:?}");
                let selected = if selection.is_some() { " by range" } else { "" };
                let (name, number) = (attribute.logical_name, attribute.attribute);
                asked.push(format!("{name}/{number}{selected}"));
                let now = std::time::Instant::now();
                next = script.answer(now, known, device(attribute, selection));
            }
            Ok(other) => panic!("a read that does {other:?}"),
        }
    }
}

fn scaler_unit() -> Data {
    Data::Structure(vec![Data::I8(-1), Data::Enum(30)])
}

fn objects() -> Data {
    let object = |class, name: [u8; 6]| {
        Data::Structure(vec![Data::U16(class), Data::octets(&name), Data::I8(2), Data::U16(0)])
    };
    Data::Array(vec![object(8, [0, 0, 1, 0, 0, 255]), object(3, [1, 0, 1, 8, 0, 255])])
}

fn profile_device(attribute: AttributeRef) -> GetResult {
    let clock = |at_s| {
        let time = DateTime::from_unix_s(at_s, -60, 0);
        Data::octets(&time.to_octets())
    };
    match (attribute.class, attribute.attribute) {
        (7, 3) => Ok(objects()),
        (7, 4) => Ok(Data::U32(900)),
        (3, 3) => Ok(scaler_unit()),
        (8, 2) => Ok(clock(NOON)),
        (7, 2) => Ok(Data::Array(
            (-1..3)
                .map(|slot| Data::Structure(vec![clock(NOON + slot * 900), Data::U32(7)]))
                .collect(),
        )),
        _ => Err(DataAccessError::ObjectUndefined),
    }
}

fn register(obis: Obis) -> Attribute {
    Attribute { class: 3, obis, attribute: 2 }
}

fn profile() -> Work {
    Work::Profile { obis: Obis::LOAD_PROFILE, from_s: NOON, to_s: NOON + 900 }
}

#[test]
fn registers_come_with_scaler_and_unit_which_are_asked_once() {
    let mut known = Known::new(StatusBits::Idis);
    let work = Work::Attributes(vec![register(Obis::ACTIVE_IMPORT)]);
    let device = |attribute: AttributeRef, _| match attribute.attribute {
        2 => Ok(Data::U32(123)),
        _ => Ok(scaler_unit()),
    };
    let (result, asked) = run(&mut known, &work, device);
    let Ok(Outcome::Reads(reads)) = result else { panic!("{result:?}") };
    assert_eq!(asked, ["1.0.1.8.0.255/3", "1.0.1.8.0.255/2"]);
    let read = &reads[0];
    let seen = (&read.value, read.scaler, read.unit);
    assert_eq!(seen, (&Value::Unsigned(123), Some(-1), Some(30)));
    let (_, asked) = run(&mut known, &work, device);
    assert_eq!(asked, ["1.0.1.8.0.255/2"]);
}

#[test]
fn a_single_refusal_is_the_failure_and_one_of_several_is_a_value() {
    let mut known = Known::new(StatusBits::Idis);
    let refuse = |_: AttributeRef, _: Option<Selection>| Err(DataAccessError::ReadWriteDenied);
    let one = Work::Attributes(vec![register(Obis::ACTIVE_IMPORT)]);
    assert_eq!(run(&mut known, &one, refuse).0, Err(Failure::Access(3)));
    let two = Work::Attributes(vec![
        Attribute { class: 1, obis: Obis([0, 0, 42, 0, 0, 255]), attribute: 2 },
        Attribute { class: 1, obis: Obis([0, 0, 96, 1, 0, 255]), attribute: 2 },
    ]);
    let (result, _) = run(&mut known, &two, |attribute, _| match attribute.logical_name.0[2] {
        42 => Err(DataAccessError::ObjectUndefined),
        _ => Ok(Data::octets(b"1")),
    });
    let Ok(Outcome::Reads(reads)) = result else { panic!("{result:?}") };
    let values: Vec<_> = reads.iter().map(|read| read.value.clone()).collect();
    assert_eq!(values, [Value::Refused(4), Value::Octets(b"1".to_vec())]);
}

#[test]
fn a_profile_is_asked_for_its_shape_once_and_cut_to_the_range() {
    let mut known = Known::new(StatusBits::Idis);
    let (result, asked) = run(&mut known, &profile(), |attribute, _| profile_device(attribute));
    let Ok(Outcome::Profile(read)) = result else { panic!("{result:?}") };
    let expect = [
        "1.0.99.1.0.255/3",
        "1.0.99.1.0.255/4",
        "1.0.1.8.0.255/3",
        "0.0.1.0.0.255/2",
        "1.0.99.1.0.255/2 by range",
    ];
    assert_eq!(asked, expect);
    let ends: Vec<i64> = read.rows.iter().map(|row| row.end_s).collect();
    assert_eq!((ends, read.interval_minutes), (vec![NOON, NOON + 900], 15));
    let (_, asked) = run(&mut known, &profile(), |attribute, _| profile_device(attribute));
    assert_eq!(asked, ["0.0.1.0.0.255/2", "1.0.99.1.0.255/2 by range"]);
}

#[test]
fn other_forms_of_the_range_are_tried_and_the_one_that_works_is_kept() {
    let mut known = Known::new(StatusBits::Idis);
    let picky = |attribute: AttributeRef, selection: Option<Selection>| {
        if selection.is_some() {
            return Err(DataAccessError::ScopeOfAccessViolated);
        }
        profile_device(attribute)
    };
    let (result, asked) = run(&mut known, &profile(), picky);
    let Ok(Outcome::Profile(read)) = result else { panic!("{result:?}") };
    assert_eq!(read.rows.len(), 2, "cut to the range here");
    assert_eq!(asked.iter().filter(|step| step.ends_with("by range")).count(), 2);
    let (_, asked) = run(&mut known, &profile(), picky);
    assert_eq!(asked, ["0.0.1.0.0.255/2", "1.0.99.1.0.255/2"]);
}

#[test]
fn an_object_that_is_not_there_is_no_question_of_the_range() {
    let mut known = Known::new(StatusBits::Idis);
    let (result, _) = run(&mut known, &profile(), |attribute, _| match attribute.attribute {
        2 if attribute.class == 7 => Err(DataAccessError::ObjectUndefined),
        _ => profile_device(attribute),
    });
    assert_eq!(result, Err(Failure::Access(4)));
}

#[test]
fn the_range_is_written_in_the_meters_own_deviation() {
    let mut known = Known::new(StatusBits::Idis);
    let mut seen = None;
    let _ = run(&mut known, &profile(), |attribute, selection| {
        if let Some(selection) = selection {
            let fields = selection.parameters.as_structure().map(<[Data]>::to_vec);
            seen = fields.and_then(|fields| fields.get(1).and_then(Data::as_date_time));
        }
        profile_device(attribute)
    });
    let from = seen.unwrap();
    assert_eq!((from.deviation, from.to_unix_s(0)), (-60, Some(NOON)));
}

#[test]
fn rows_of_another_width_make_the_shape_be_asked_again() {
    let mut known = Known::new(StatusBits::Idis);
    let (result, _) = run(&mut known, &profile(), |attribute, _| match attribute.attribute {
        2 if attribute.class == 7 => Ok(Data::Array(vec![Data::Structure(vec![Data::Null])])),
        _ => profile_device(attribute),
    });
    assert!(matches!(result, Err(Failure::Malformed(_))));
    let (result, asked) = run(&mut known, &profile(), |attribute, _| profile_device(attribute));
    assert!(result.is_ok());
    assert_eq!(asked.first().map(String::as_str), Some("1.0.99.1.0.255/3"));
}

#[test]
fn rows_out_of_order_and_twice_are_put_in_order_where_the_model_says_so() {
    // As a meter gives them around a change of its clock: the last hour first, two rows twice.
    let mixed = |attribute: AttributeRef, selection: Option<Selection>| {
        let Ok(Data::Array(rows)) = profile_device(attribute) else {
            return profile_device(attribute);
        };
        if attribute.class != 7 || attribute.attribute != 2 {
            return Ok(Data::Array(rows));
        }
        drop(selection);
        Ok(Data::Array([2, 1, 2, 1, 0].map(|at: usize| rows[at].clone()).to_vec()))
    };
    let ends = |known: &mut Known| {
        let (result, _) = run(known, &profile(), mixed);
        let Ok(Outcome::Profile(read)) = result else { panic!("{result:?}") };
        read.rows.iter().map(|row| (row.end_s - NOON) / 900).collect::<Vec<_>>()
    };
    let mut known = Known::new(StatusBits::Idis);
    assert_eq!(ends(&mut known), [1, 0, 1, 0], "as they came");
    let catalog = model::Catalog::shipped();
    let mut model = model::Model::clone(catalog.or_generic("").0.as_ref());
    model.file.quirks.unordered_rows = true;
    known.follow(&Arc::new(model));
    assert_eq!(ends(&mut known), [0, 1]);
}

#[test]
fn a_deviation_that_the_model_does_not_believe_is_not_used() {
    let asked_in = |known: &mut Known| {
        let mut seen = None;
        let _ = run(known, &profile(), |attribute, selection| {
            let fields = selection.and_then(|s| s.parameters.as_structure().map(<[Data]>::to_vec));
            if let Some(fields) = fields {
                seen = fields.get(1).and_then(Data::as_date_time);
            }
            profile_device(attribute)
        });
        let from = seen.unwrap();
        (from.deviation, from.time.hour)
    };
    let mut known = Known::new(StatusBits::Idis);
    let (deviation, own) = asked_in(&mut known);
    assert_eq!(deviation, -60, "the meter's own, an hour ahead");
    let catalog = model::Catalog::shipped();
    let mut model = model::Model::clone(catalog.or_generic("").0.as_ref());
    model.file.quirks.deviation_unset = true;
    model.file.quirks.utc_offset_minutes = Some(120);
    known.follow(&Arc::new(model));
    let unset = cosem::datetime::DEVIATION_NOT_SPECIFIED;
    assert_eq!(asked_in(&mut known), (unset, own + 1), "two hours ahead, as the model has it");
}
