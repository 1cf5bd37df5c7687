//! Between the wire's types and the domain's: the only place where both are named together. It
//! decides nothing about sessions.
//!
//! Invariants: 1. a value is never changed, only carried over; what does not fit becomes text or
//! is left out and counted; 2. a row whose end is not a multiple of its interval never gets into
//! an interval batch.

mod event;
pub(crate) mod fit;
pub(crate) mod local;
mod profile;
mod push;
mod rows;

use cosem::{AttributeRef, Data, DataAccessError, DateTime};
use domain::commands::{Attribute, Failure, Read, Value};

pub(crate) use event::own_event;
pub(crate) use profile::{Column, Shape, StatusBits, part_of, profile_read, reads_of, shape_of};
pub(crate) use push::{push, store};
pub(crate) use rows::{Dropped, divide, registers_batch};

/// The wire's name of an attribute.
pub(crate) fn attribute_ref(attribute: &Attribute) -> AttributeRef {
    AttributeRef::new(attribute.class, attribute.obis.0, attribute.attribute)
}

/// What a device said instead of a value.
pub(crate) fn refusal(error: DataAccessError) -> Failure {
    Failure::Access(error.to_octet())
}

/// One attribute as read; `scaler` and `unit` when the object has them.
pub(crate) fn read(attribute: &Attribute, data: &Data, scaled: Option<(i8, u8)>) -> Read {
    Read {
        obis: attribute.obis,
        attribute: attribute.attribute,
        value: value_of(attribute, data),
        scaler: scaled.map(|(scaler, _)| scaler),
        unit: scaled.map(|(_, unit)| unit),
    }
}

/// An octet-string of 12 is a time where the class says so (8 clock attribute 2; capture times of
/// 4 and 5), else octets.
fn value_of(attribute: &Attribute, data: &Data) -> Value {
    let is_time = matches!((attribute.class, attribute.attribute), (8, 2) | (4, 5) | (5, 6 | 7));
    match data {
        Data::OctetString(octets) if is_time => match DateTime::from_slice(octets) {
            Ok(time) => time_value(time),
            Err(_) => Value::Octets(octets.to_vec()),
        },
        _ => value(data),
    }
}

/// Any value of the wire.
pub(crate) fn value(data: &Data) -> Value {
    if let Some(number) = data.as_integer() {
        return match data {
            Data::U8(_) | Data::U16(_) | Data::U32(_) | Data::U64(_) | Data::Enum(_) => {
                Value::Unsigned(u64::try_from(number).unwrap_or(u64::MAX))
            }
            _ => i64::try_from(number)
                .map_or_else(|_| Value::Text(number.to_string()), Value::Integer),
        };
    }
    match data {
        Data::Null => Value::Null,
        Data::Boolean(yes) => Value::Boolean(*yes),
        Data::BitString(bits) => Value::Bits(bits.iter().collect()),
        Data::OctetString(octets) => Value::Octets(octets.to_vec()),
        Data::F32(number) => Value::Float(number.to_string()),
        Data::F64(number) => Value::Float(number.to_string()),
        Data::DateTime(time) => time_value(*time),
        Data::Structure(items) => Value::List(items.iter().map(value).collect()),
        other => match (other.as_array(), other.as_text()) {
            (Some(items), _) => Value::List(items.iter().map(value).collect()),
            (None, Some(text)) => Value::Text(text.to_owned()),
            (None, None) => Value::Octets(other.to_axdr()),
        },
    }
}

fn time_value(time: DateTime) -> Value {
    let utc_s = match time.deviation {
        cosem::datetime::DEVIATION_NOT_SPECIFIED => None,
        _ => time.to_unix_s(0),
    };
    Value::Time { utc_s, text: time_text(time) }
}

/// The local time as the device gave it; what it did not specify is shown as `?`.
fn time_text(time: DateTime) -> String {
    let two = |octet: u8| match octet {
        cosem::datetime::NOT_SPECIFIED => "??".to_owned(),
        value => format!("{value:02}"),
    };
    let year = match time.date.year {
        cosem::datetime::YEAR_NOT_SPECIFIED => "????".to_owned(),
        year => format!("{year:04}"),
    };
    let zone = match time.deviation {
        cosem::datetime::DEVIATION_NOT_SPECIFIED => String::new(),
        // Deviation is minutes from local time to UTC: UTC+2 is -120.
        minutes => {
            let east = -i32::from(minutes);
            let sign = if east < 0 { '-' } else { '+' };
            format!("{sign}{:02}:{:02}", east.abs() / 60, east.abs() % 60)
        }
    };
    let (date, clock) = (time.date, time.time);
    format!(
        "{year}-{}-{}T{}:{}:{}{zone}",
        two(date.month),
        two(date.day),
        two(clock.hour),
        two(clock.minute),
        two(clock.second)
    )
}

#[cfg(test)]
mod tests {
    use super::{value, value_of};
    use cosem::{Data, DateTime};
    use domain::Obis;
    use domain::commands::{Attribute, Value};

    #[test]
    fn values_keep_their_meaning() {
        let check = |data: Data, expect: Value| assert_eq!(value(&data), expect, "{data:?}");
        check(Data::Null, Value::Null);
        check(Data::U64(u64::MAX), Value::Unsigned(u64::MAX));
        check(Data::I8(-3), Value::Integer(-3));
        check(Data::Enum(30), Value::Unsigned(30));
        check(Data::Boolean(true), Value::Boolean(true));
        check(Data::text("A1"), Value::Text("A1".to_owned()));
        check(Data::octets(&[1, 2]), Value::Octets(vec![1, 2]));
        check(
            Data::Structure(vec![Data::I8(-1), Data::Enum(30)]),
            Value::List(vec![Value::Integer(-1), Value::Unsigned(30)]),
        );
    }

    #[test]
    fn a_clock_is_a_time_and_without_a_deviation_no_instant() {
        let clock = Attribute { class: 8, obis: Obis([0, 0, 1, 0, 0, 255]), attribute: 2 };
        let at = |deviation| {
            let time = DateTime::from_unix_s(1_795_305_600, 0, 0);
            let octets = DateTime { deviation, ..time }.to_octets();
            match value_of(&clock, &Data::octets(&octets)) {
                Value::Time { utc_s, .. } => utc_s,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(at(0), Some(1_795_305_600));
        assert_eq!(at(-60), Some(1_795_305_600 - 3_600));
        assert_eq!(at(i16::MIN), None);
    }
}
