//! The data block (IEC 62056-21 clause 6.3.3 and annex): lines of data sets
//! `address(value*unit)(value*unit)...`, ended by a line with `!`. It gives texts; what they mean
//! is said by `reading`.
//!
//! Invariants: texts are printable ASCII; what is held is bounded by the block; what is encoded
//! parses to the same.

use crate::error::Error;

/// One value as the meter wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The text, exactly.
    pub text: String,
    /// The unit behind the asterisk.
    pub unit: Option<String>,
}

/// An address and its values. An empty address continues the data set before it (a row of a
/// load profile), as does a password's or an error's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSet {
    /// The identification, `1-1:1.8.0*01` for instance.
    pub address: String,
    /// The values in their order.
    pub values: Vec<Value>,
}

/// Parses a data block without STX, ETX and check character. The end line is not needed; nothing
/// behind it is read.
///
/// # Errors
/// `Malformed` for characters that are not printable ASCII, and for brackets that do not close.
pub fn parse(block: &[u8]) -> Result<Vec<DataSet>, Error> {
    let mut sets = Vec::new();
    let mut at = 0;
    for line in block.split_inclusive(|c| *c == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if let Some(bad) = text.iter().position(|c| !(b' '..=b'~').contains(c)) {
            return Err(Error::malformed(at + bad, "a character that is not printable"));
        }
        if text.starts_with(b"!") {
            break;
        }
        parse_line(text, at, &mut sets)?;
        at += line.len();
    }
    Ok(sets)
}

fn parse_line(line: &[u8], at: usize, sets: &mut Vec<DataSet>) -> Result<(), Error> {
    // Printable ASCII was checked, so this cannot fail; an error is better than a panic.
    let line = std::str::from_utf8(line).map_err(|_| Error::malformed(at, "not ASCII"))?;
    let mut rest = line;
    while !rest.is_empty() {
        let offset = at + line.len() - rest.len();
        let (address, mut tail) = rest.split_at(rest.find('(').unwrap_or(rest.len()));
        if address.contains(')') || address.contains('!') {
            return Err(Error::malformed(offset, "a bracket that nothing opened"));
        }
        let mut values = Vec::new();
        while let Some(inner) = tail.strip_prefix('(') {
            let Some((value, after)) = inner.split_once(')') else {
                return Err(Error::malformed(offset, "a bracket that does not close"));
            };
            if value.contains('(') {
                return Err(Error::malformed(offset, "a bracket within brackets"));
            }
            values.push(match value.split_once('*') {
                Some((text, unit)) => Value { text: text.into(), unit: Some(unit.into()) },
                None => Value { text: value.into(), unit: None },
            });
            tail = after;
        }
        sets.push(DataSet { address: address.into(), values });
        rest = tail;
    }
    Ok(())
}

/// The lines of these data sets, one each, without the end line.
///
/// # Errors
/// `Malformed` when a text holds a character that the format needs for itself, or a data set has
/// neither address nor value.
pub fn encode(sets: &[DataSet]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for set in sets {
        if set.address.is_empty() && set.values.is_empty() {
            return Err(Error::malformed(out.len(), "a data set without content"));
        }
        put(&mut out, &set.address, "()!")?;
        for value in &set.values {
            out.push(b'(');
            put(&mut out, &value.text, "()*")?;
            if let Some(unit) = &value.unit {
                out.push(b'*');
                put(&mut out, unit, "()")?;
            }
            out.push(b')');
        }
        out.extend_from_slice(b"\r\n");
    }
    Ok(out)
}

fn put(out: &mut Vec<u8>, text: &str, reserved: &str) -> Result<(), Error> {
    let allowed = |c: char| (' '..='~').contains(&c) && !reserved.contains(c);
    if !text.chars().all(allowed) {
        return Err(Error::malformed(out.len(), "a character that the format needs for itself"));
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{DataSet, Value, encode, parse};

    fn set(address: &str, values: &[(&str, Option<&str>)]) -> DataSet {
        let value = |(text, unit): &(&str, Option<&str>)| Value {
            text: (*text).into(),
            unit: unit.map(Into::into),
        };
        DataSet { address: address.into(), values: values.iter().map(value).collect() }
    }

    #[test]
    fn lines_of_every_shape() {
        let check = |block: &str, expect: &[DataSet]| {
            assert_eq!(parse(block.as_bytes()).unwrap(), expect, "{block}");
        };
        check("", &[]);
        check("!\r\nrubbish)", &[]);
        check("F.F(00000000)\r\n!\r\n", &[set("F.F", &[("00000000", None)])]);
        check(
            "1-0:1.8.0*255(0001234.567*kWh)\r\n",
            &[set("1-0:1.8.0*255", &[("0001234.567", Some("kWh"))])],
        );
        check(
            "1.6.1(12.34*kW)(2511221815)\r\n",
            &[set("1.6.1", &[("12.34", Some("kW")), ("2511221815", None)])],
        );
        // Several data sets on a line, as mode A meters do.
        check(
            "0.0(123)1.8.1(5*kWh)\r\n",
            &[set("0.0", &[("123", None)]), set("1.8.1", &[("5", Some("kWh"))])],
        );
        check(
            "P.01(0)(00)(15)(1)(1.5)(kW)\r\n(0.100)\r\n",
            &[
                set(
                    "P.01",
                    &[
                        ("0", None),
                        ("00", None),
                        ("15", None),
                        ("1", None),
                        ("1.5", None),
                        ("kW", None),
                    ],
                ),
                set("", &[("0.100", None)]),
            ],
        );
        check("0.0.0()\n", &[set("0.0.0", &[("", None)])]);
        check("C.1.0\r\n", &[set("C.1.0", &[])]);
    }

    #[test]
    fn broken_lines_are_refused() {
        for block in
            ["1.8.0(5", "1.8.0)5(", "1.8.0((5))", "1.8.0(5\x02)", "a!b(1)", "1.8.0(\u{e9})"]
        {
            assert!(parse(block.as_bytes()).is_err(), "{block}");
        }
        assert!(encode(&[set("", &[])]).is_err());
        assert!(encode(&[set("a(b", &[])]).is_err());
        assert!(encode(&[set("a", &[("1*2", None)])]).is_err());
    }
}
