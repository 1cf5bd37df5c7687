//! How a request names what it is about: attribute, method, selection, invoke-id. It holds no
//! values.

use std::fmt;
use std::str::FromStr;

use crate::axdr::Reader;
use crate::data::Data;
use crate::error::Error;

/// A logical name: the six value groups A to F of an OBIS code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogicalName(pub [u8; 6]);

impl fmt::Display for LogicalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, last] = self.0;
        write!(f, "{a}.{b}.{c}.{d}.{e}.{last}")
    }
}

impl fmt::Debug for LogicalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<[u8; 6]> for LogicalName {
    fn from(groups: [u8; 6]) -> Self {
        Self(groups)
    }
}

impl FromStr for LogicalName {
    type Err = Error;

    /// From six numbers with dots, as `0.0.1.0.0.255`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::malformed(0, "a logical name is six numbers with dots");
        let mut groups = [0u8; 6];
        let mut parts = text.split('.');
        for group in &mut groups {
            *group = parts.next().and_then(|part| part.parse().ok()).ok_or_else(refused)?;
        }
        if parts.next().is_some() { Err(refused()) } else { Ok(Self(groups)) }
    }
}

/// An attribute of an object; attribute 0 means all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttributeRef {
    /// Interface class.
    pub class: u16,
    /// Logical name.
    pub logical_name: LogicalName,
    /// Attribute index.
    pub attribute: i8,
}

impl AttributeRef {
    /// An attribute of an object.
    #[must_use]
    pub const fn new(class: u16, logical_name: [u8; 6], attribute: i8) -> Self {
        Self { class, logical_name: LogicalName(logical_name), attribute }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let class = reader.u16()?;
        let logical_name = LogicalName(reader.array()?);
        let attribute = i8::from_be_bytes(reader.array()?);
        Ok(Self { class, logical_name, attribute })
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.class.to_be_bytes());
        out.extend_from_slice(&self.logical_name.0);
        out.extend_from_slice(&self.attribute.to_be_bytes());
    }
}

/// A method of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MethodRef {
    /// Interface class.
    pub class: u16,
    /// Logical name.
    pub logical_name: LogicalName,
    /// Method index.
    pub method: i8,
}

impl MethodRef {
    /// A method of an object.
    #[must_use]
    pub const fn new(class: u16, logical_name: [u8; 6], method: i8) -> Self {
        Self { class, logical_name: LogicalName(logical_name), method }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let AttributeRef { class, logical_name, attribute } = AttributeRef::read(reader)?;
        Ok(Self { class, logical_name, method: attribute })
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let Self { class, logical_name, method } = *self;
        AttributeRef { class, logical_name, attribute: method }.put(out);
    }
}

/// Selective access as it stands in the request; `class::profile` builds and reads the typed
/// forms of class 7.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Selector: for class 7, 1 is a range and 2 are entries.
    pub selector: u8,
    /// Parameters, whose shape the selector defines.
    pub parameters: Data,
}

impl Selection {
    pub(crate) fn read_option(reader: &mut Reader<'_>) -> Result<Option<Self>, Error> {
        if !reader.flag()? {
            return Ok(None);
        }
        let selector = reader.u8()?;
        Ok(Some(Self { selector, parameters: Data::from_axdr(reader)? }))
    }

    pub(crate) fn put_option(selection: Option<&Self>, out: &mut Vec<u8>) {
        match selection {
            None => out.push(0),
            Some(selection) => {
                out.extend_from_slice(&[1, selection.selector]);
                selection.parameters.encode(out);
            }
        }
    }
}

/// invoke-id-and-priority: bits 0-3 the id, bit 6 confirmed, bit 7 high priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InvokePriority(pub u8);

impl InvokePriority {
    /// A confirmed request of high priority with the low four bits of `id`.
    #[must_use]
    pub const fn confirmed(id: u8) -> Self {
        Self(0xc0 | (id & 0x0f))
    }

    /// The same without an answer.
    #[must_use]
    pub const fn unconfirmed(id: u8) -> Self {
        Self(0x80 | (id & 0x0f))
    }

    /// The id, 0-15.
    #[must_use]
    pub const fn id(self) -> u8 {
        self.0 & 0x0f
    }

    /// Whether an answer is wanted.
    #[must_use]
    pub const fn is_confirmed(self) -> bool {
        self.0 & 0x40 != 0
    }
}

/// long-invoke-id-and-priority: bits 0-23 the id, bit 28 self-descriptive, 29 break on error, 30
/// confirmed, 31 high priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LongInvokePriority(pub u32);

impl LongInvokePriority {
    /// A confirmed one with the low 24 bits of `id`.
    #[must_use]
    pub const fn confirmed(id: u32) -> Self {
        Self(0x4000_0000 | (id & 0x00ff_ffff))
    }

    /// The id, 24 bits.
    #[must_use]
    pub const fn id(self) -> u32 {
        self.0 & 0x00ff_ffff
    }

    /// Whether an answer is wanted.
    #[must_use]
    pub const fn is_confirmed(self) -> bool {
        self.0 & 0x4000_0000 != 0
    }

    /// Whether the answer shall repeat what was asked for.
    #[must_use]
    pub const fn is_self_descriptive(self) -> bool {
        self.0 & 0x1000_0000 != 0
    }

    /// The same with the answer describing itself.
    #[must_use]
    pub const fn self_descriptive(self) -> Self {
        Self(self.0 | 0x1000_0000)
    }

    /// Whether nothing is done any more after the first error.
    #[must_use]
    pub const fn breaks_on_error(self) -> bool {
        self.0 & 0x2000_0000 != 0
    }

    /// The same, stopping at the first error.
    #[must_use]
    pub const fn breaking_on_error(self) -> Self {
        Self(self.0 | 0x2000_0000)
    }
}

#[cfg(test)]
mod tests {
    use super::LogicalName;

    #[test]
    fn logical_names_are_read_and_written() {
        let name: LogicalName = "1.0.99.1.0.255".parse().unwrap();
        assert_eq!(name, LogicalName([1, 0, 99, 1, 0, 255]));
        assert_eq!(name.to_string(), "1.0.99.1.0.255");
        for bad in ["", "1.0.99.1.0", "1.0.99.1.0.256", "1.0.99.1.0.255.1", "a.0.0.0.0.0"] {
            assert!(bad.parse::<LogicalName>().is_err(), "{bad}");
        }
    }
}
