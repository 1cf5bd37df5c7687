//! Values of an order as the wire's types: what an attribute holds now says which type it takes.
//!
//! Invariant: a value that the type cannot hold is refused; nothing is cut, rounded or wrapped.

use cosem::Data;
use cosem::data::BitString;
use domain::commands::Value;

/// The value as data of the same type as `like`.
///
/// # Errors
/// Why it does not fit, for people.
pub(crate) fn fit(value: &Value, like: &Data) -> Result<Data, String> {
    let no = || format!("a value of this kind is no {}", type_name(like.tag()));
    match (like, value) {
        (Data::Null, Value::Null) => Ok(Data::Null),
        (Data::Boolean(_), Value::Boolean(yes)) => Ok(Data::Boolean(*yes)),
        (Data::BitString(now), Value::Bits(bits)) if now.is_empty() || now.len() == bits.len() => {
            Ok(Data::BitString(BitString::new(bits)))
        }
        (Data::OctetString(_), Value::Octets(octets)) => Ok(Data::octets(octets)),
        (Data::OctetString(_), Value::Text(text)) => Ok(Data::octets(text.as_bytes())),
        (Data::VisibleString(_), Value::Text(text)) if text.is_ascii() => Ok(Data::text(text)),
        (Data::Utf8(_), Value::Text(text)) => {
            let octets = bytes::Bytes::copy_from_slice(text.as_bytes());
            Ok(Data::Utf8(octets))
        }
        (Data::Array(items), Value::List(values)) => {
            let like = items.first().ok_or("an empty array does not show its type")?;
            values.iter().map(|value| fit(value, like)).collect::<Result<_, _>>().map(Data::Array)
        }
        (Data::Structure(items), Value::List(values)) if items.len() == values.len() => {
            let fields = values.iter().zip(items).map(|(value, like)| fit(value, like));
            fields.collect::<Result<_, _>>().map(Data::Structure)
        }
        (_, Value::Integer(number)) => integer(i128::from(*number), like),
        (_, Value::Unsigned(number)) => integer(i128::from(*number), like),
        _ => Err(no()),
    }
}

/// A value of no special content of the type with this tag, to fit a value to.
pub(crate) fn like(tag: u8) -> Option<Data> {
    use cosem::data::tag as of;
    Some(match tag {
        of::NULL => Data::Null,
        of::BOOLEAN => Data::Boolean(false),
        of::BIT_STRING => Data::BitString(BitString::new(&[])),
        of::I32 => Data::I32(0),
        of::U32 => Data::U32(0),
        of::OCTET_STRING => Data::octets(&[]),
        of::VISIBLE_STRING => Data::text(""),
        of::UTF8 => Data::Utf8(bytes::Bytes::new()),
        of::I8 => Data::I8(0),
        of::I16 => Data::I16(0),
        of::U8 => Data::U8(0),
        of::U16 => Data::U16(0),
        of::I64 => Data::I64(0),
        of::U64 => Data::U64(0),
        of::ENUM => Data::Enum(0),
        _ => return None,
    })
}

fn integer(number: i128, like: &Data) -> Result<Data, String> {
    let fitted = match like {
        Data::I8(_) => number.try_into().ok().map(Data::I8),
        Data::I16(_) => number.try_into().ok().map(Data::I16),
        Data::I32(_) => number.try_into().ok().map(Data::I32),
        Data::I64(_) => number.try_into().ok().map(Data::I64),
        Data::U8(_) => number.try_into().ok().map(Data::U8),
        Data::U16(_) => number.try_into().ok().map(Data::U16),
        Data::U32(_) => number.try_into().ok().map(Data::U32),
        Data::U64(_) => number.try_into().ok().map(Data::U64),
        Data::Enum(_) => number.try_into().ok().map(Data::Enum),
        _ => return Err(format!("a number is no {}", type_name(like.tag()))),
    };
    fitted.ok_or_else(|| format!("{number} does not fit into {}", type_name(like.tag())))
}

/// The type's name in IEC 62056-6-2 clause 4.1.5.
pub(crate) fn type_name(tag: u8) -> &'static str {
    use cosem::data::tag as of;
    match tag {
        of::NULL => "null-data",
        of::ARRAY => "array",
        of::STRUCTURE => "structure",
        of::BOOLEAN => "boolean",
        of::BIT_STRING => "bit-string",
        of::I32 => "double-long",
        of::U32 => "double-long-unsigned",
        of::OCTET_STRING => "octet-string",
        of::VISIBLE_STRING => "visible-string",
        of::UTF8 => "utf8-string",
        of::I8 => "integer",
        of::I16 => "long",
        of::U8 => "unsigned",
        of::U16 => "long-unsigned",
        of::I64 => "long64",
        of::U64 => "long64-unsigned",
        of::ENUM => "enum",
        _ => "type that can be written",
    }
}

#[cfg(test)]
mod tests {
    use super::{fit, like};
    use cosem::Data;
    use domain::commands::Value;

    #[test]
    fn a_value_takes_the_type_that_stands_there() {
        let list = Value::List(vec![Value::Unsigned(1), Value::Octets(vec![2])]);
        let pair = |n, octet| Data::Structure(vec![Data::U16(n), Data::octets(&[octet])]);
        let table = [
            (Value::Unsigned(255), Data::U8(0), Data::U8(255)),
            (Value::Integer(-1), Data::I64(0), Data::I64(-1)),
            (Value::Integer(7), Data::Enum(0), Data::Enum(7)),
            (Value::Boolean(true), Data::Boolean(false), Data::Boolean(true)),
            (Value::Text("on".into()), Data::octets(b"off"), Data::octets(b"on")),
            (list.clone(), pair(0, 0), pair(1, 2)),
            (Value::List(vec![list]), Data::Array(vec![pair(9, 9)]), Data::Array(vec![pair(1, 2)])),
        ];
        for (value, like, expected) in table {
            assert_eq!(fit(&value, &like), Ok(expected), "{value:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let table = [
            (Value::Unsigned(256), Data::U8(0), "256 does not fit into unsigned"),
            (Value::Integer(-1), Data::U32(0), "-1 does not fit into double-long-unsigned"),
            (Value::Unsigned(1), Data::octets(&[]), "a number is no octet-string"),
            (Value::Null, Data::U8(0), "a value of this kind is no unsigned"),
            (
                Value::List(vec![Value::Null]),
                Data::Array(Vec::new()),
                "an empty array does not show its type",
            ),
        ];
        for (value, like, expected) in table {
            assert_eq!(fit(&value, &like), Err(expected.to_owned()), "{value:?}");
        }
        assert_eq!(like(0x13), None, "a compact array is not written");
    }
}
