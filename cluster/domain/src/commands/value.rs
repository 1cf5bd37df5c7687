//! A value as a device gave it: COSEM data without their exact widths.
//!
//! Kept flat in octets (every list is followed by its elements), so that nesting costs no stack.
//! Invariant: nothing deeper than [`MAX_DEPTH`] is decoded; what is deeper is encoded as null.

use serde::{Deserialize, Serialize};

use crate::error::Malformed;

/// How deep lists may nest.
pub const MAX_DEPTH: usize = 32;

/// A value of any type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Flat>", into = "Vec<Flat>")]
pub enum Value {
    /// Null-data: there is no value.
    Null,
    /// Yes or no.
    Boolean(bool),
    /// Any signed integer.
    Integer(i64),
    /// Any unsigned integer, and enumerations.
    Unsigned(u64),
    /// An octet string that is nothing better known.
    Octets(Vec<u8>),
    /// Visible and UTF-8 strings.
    Text(String),
    /// A bit string, first bit first.
    Bits(Vec<bool>),
    /// A date and time.
    Time {
        /// The instant in seconds UTC, when the device said enough to know it.
        utc_s: Option<i64>,
        /// As the device wrote it.
        text: String,
    },
    /// A floating-point number as decimal text: there are no floats here.
    Float(String),
    /// An array or a structure.
    List(Vec<Value>),
    /// The device refused this one: its data-access-result code.
    Refused(u8),
}

/// An element of a flattened value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Flat {
    Null,
    Boolean(bool),
    Integer(i64),
    Unsigned(u64),
    Octets(#[serde(with = "crate::units::octets")] Vec<u8>),
    Text(String),
    Bits(Vec<bool>),
    Time {
        utc_s: Option<i64>,
        text: String,
    },
    Float(String),
    /// So many elements follow.
    List(u32),
    Refused(u8),
}

impl From<Value> for Vec<Flat> {
    fn from(value: Value) -> Vec<Flat> {
        let mut flat = Vec::new();
        flatten(value, 0, &mut flat);
        flat
    }
}

impl TryFrom<Vec<Flat>> for Value {
    type Error = Malformed;

    fn try_from(flat: Vec<Flat>) -> Result<Value, Malformed> {
        let mut elements = flat.into_iter();
        let value = unflatten(&mut elements, 0)?;
        match elements.next() {
            None => Ok(value),
            Some(_) => Err(Malformed("elements behind the value")),
        }
    }
}

fn flatten(value: Value, depth: usize, flat: &mut Vec<Flat>) {
    flat.push(match value {
        Value::Null => Flat::Null,
        Value::Boolean(yes) => Flat::Boolean(yes),
        Value::Integer(number) => Flat::Integer(number),
        Value::Unsigned(number) => Flat::Unsigned(number),
        Value::Octets(octets) => Flat::Octets(octets),
        Value::Text(text) => Flat::Text(text),
        Value::Bits(bits) => Flat::Bits(bits),
        Value::Time { utc_s, text } => Flat::Time { utc_s, text },
        Value::Float(text) => Flat::Float(text),
        Value::Refused(code) => Flat::Refused(code),
        Value::List(_) if depth == MAX_DEPTH => Flat::Null,
        Value::List(values) => {
            flat.push(Flat::List(u32::try_from(values.len()).unwrap_or(u32::MAX)));
            values.into_iter().for_each(|value| flatten(value, depth + 1, flat));
            return;
        }
    });
}

fn unflatten(elements: &mut impl Iterator<Item = Flat>, depth: usize) -> Result<Value, Malformed> {
    Ok(match elements.next().ok_or(Malformed("a value that is cut short"))? {
        Flat::Null => Value::Null,
        Flat::Boolean(yes) => Value::Boolean(yes),
        Flat::Integer(number) => Value::Integer(number),
        Flat::Unsigned(number) => Value::Unsigned(number),
        Flat::Octets(octets) => Value::Octets(octets),
        Flat::Text(text) => Value::Text(text),
        Flat::Bits(bits) => Value::Bits(bits),
        Flat::Time { utc_s, text } => Value::Time { utc_s, text },
        Flat::Float(text) => Value::Float(text),
        Flat::Refused(code) => Value::Refused(code),
        Flat::List(_) if depth == MAX_DEPTH => return Err(Malformed("a value nested too deep")),
        // No allocation by the count: it is only as good as who wrote it.
        Flat::List(count) => {
            let mut values = Vec::new();
            for _ in 0..count {
                values.push(unflatten(elements, depth + 1)?);
            }
            Value::List(values)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Value {
        (0..depth).fold(Value::Integer(7), |value, _| Value::List(vec![value, Value::Null]))
    }

    fn round(value: &Value) -> Option<Value> {
        let octets = postcard::to_allocvec(value).expect("a value encodes");
        postcard::from_bytes(&octets).ok()
    }

    #[test]
    fn a_value_comes_back_as_it_was() {
        let time = Value::Time { utc_s: Some(-1), text: "1969".into() };
        let all = Value::List(vec![
            Value::Boolean(true),
            Value::Unsigned(u64::MAX),
            Value::Octets(vec![0, 255]),
            Value::Bits(vec![true, false]),
            Value::Float("1.5".into()),
            Value::Refused(3),
            Value::List(Vec::new()),
            time,
        ]);
        for value in [all, nested(MAX_DEPTH), Value::Null] {
            assert_eq!(round(&value), Some(value));
        }
    }

    #[test]
    fn what_is_too_deep_is_cut_when_written_and_refused_when_read() {
        assert!(round(&nested(MAX_DEPTH + 1)).is_some_and(|value| value != nested(MAX_DEPTH + 1)));
        let mut flat = vec![Flat::List(1); 100_000];
        flat.push(Flat::Null);
        let octets = postcard::to_allocvec(&flat).expect("elements encode");
        assert!(postcard::from_bytes::<Value>(&octets).is_err());
    }

    #[test]
    fn counts_are_not_believed() {
        for flat in [vec![Flat::List(u32::MAX)], vec![], vec![Flat::Null, Flat::Null]] {
            let octets = postcard::to_allocvec(&flat).expect("elements encode");
            assert!(postcard::from_bytes::<Value>(&octets).is_err());
        }
    }
}
