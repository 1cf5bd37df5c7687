//! The A-XDR type Data (IEC 62056-6-2 clause 4.1.5): every value that an attribute can hold. It
//! knows nothing of what a value means.
//!
//! Invariants: decoding is bounded by the input: depth at most `MAX_DEPTH`, and no list is
//! allocated before its octets are there; what decodes encodes to the same value again.

use bytes::Bytes;

use crate::axdr::{Reader, put_length, put_octets};
use crate::compact::CompactArray;
use crate::datetime::{Date, DateTime, Time};
use crate::error::Error;

type Result<T> = std::result::Result<T, Error>;

/// Deepest nesting of arrays, structures and compact arrays that is decoded.
pub const MAX_DEPTH: usize = 32;

/// Tags of the types.
pub mod tag {
    /// null-data.
    pub const NULL: u8 = 0x00;
    /// array.
    pub const ARRAY: u8 = 0x01;
    /// structure.
    pub const STRUCTURE: u8 = 0x02;
    /// boolean.
    pub const BOOLEAN: u8 = 0x03;
    /// bit-string.
    pub const BIT_STRING: u8 = 0x04;
    /// double-long.
    pub const I32: u8 = 0x05;
    /// double-long-unsigned.
    pub const U32: u8 = 0x06;
    /// octet-string.
    pub const OCTET_STRING: u8 = 0x09;
    /// visible-string.
    pub const VISIBLE_STRING: u8 = 0x0a;
    /// utf8-string.
    pub const UTF8: u8 = 0x0c;
    /// bcd.
    pub const BCD: u8 = 0x0d;
    /// integer.
    pub const I8: u8 = 0x0f;
    /// long.
    pub const I16: u8 = 0x10;
    /// unsigned.
    pub const U8: u8 = 0x11;
    /// long-unsigned.
    pub const U16: u8 = 0x12;
    /// compact-array.
    pub const COMPACT_ARRAY: u8 = 0x13;
    /// long64.
    pub const I64: u8 = 0x14;
    /// long64-unsigned.
    pub const U64: u8 = 0x15;
    /// enum.
    pub const ENUM: u8 = 0x16;
    /// float32.
    pub const F32: u8 = 0x17;
    /// float64.
    pub const F64: u8 = 0x18;
    /// date-time.
    pub const DATE_TIME: u8 = 0x19;
    /// date.
    pub const DATE: u8 = 0x1a;
    /// time.
    pub const TIME: u8 = 0x1b;
    /// delta-integer.
    pub const DELTA_I8: u8 = 0x1c;
    /// delta-long.
    pub const DELTA_I16: u8 = 0x1d;
    /// delta-double-long.
    pub const DELTA_I32: u8 = 0x1e;
    /// delta-unsigned.
    pub const DELTA_U8: u8 = 0x1f;
    /// delta-long-unsigned.
    pub const DELTA_U16: u8 = 0x20;
    /// delta-double-long-unsigned.
    pub const DELTA_U32: u8 = 0x21;
    /// don't-care.
    pub const DONT_CARE: u8 = 0xff;
}

/// A bit-string: the first bit is the highest bit of the first octet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BitString {
    bits: usize,
    octets: Bytes,
}

impl BitString {
    /// From 0/1 values, the first bit first.
    #[must_use]
    pub fn new(bits: &[bool]) -> Self {
        let mut octets = vec![0u8; bits.len().div_ceil(8)];
        for (octet, eight) in octets.iter_mut().zip(bits.chunks(8)) {
            for (at, bit) in eight.iter().enumerate() {
                *octet |= u8::from(*bit) << (7 - at);
            }
        }
        Self { bits: bits.len(), octets: octets.into() }
    }

    /// Number of bits.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bits
    }

    /// Whether there is no bit.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bits == 0
    }

    /// The bit at `at`, counted from 0, or None beyond the end.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<bool> {
        if at >= self.bits {
            return None;
        }
        self.octets.get(at / 8).map(|octet| octet >> (7 - at % 8) & 1 == 1)
    }

    /// The bits in order.
    pub fn iter(&self) -> impl Iterator<Item = bool> + '_ {
        (0..self.bits).map_while(|at| self.get(at))
    }

    fn from_axdr(reader: &mut Reader<'_>) -> Result<Self> {
        let bits = reader.length()?;
        let octets = Bytes::copy_from_slice(reader.take(bits.div_ceil(8))?);
        Ok(Self { bits, octets })
    }

    fn put(&self, out: &mut Vec<u8>) {
        put_length(out, self.bits);
        out.extend_from_slice(&self.octets);
    }
}

/// A value. Strings are kept as octets, since meters put anything into them; `as_text` reads
/// them.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// null-data: absent, or in a profile "as computed from the row before".
    Null,
    /// array of values, of one type by the standard.
    Array(Vec<Data>),
    /// structure.
    Structure(Vec<Data>),
    /// boolean.
    Boolean(bool),
    /// bit-string.
    BitString(BitString),
    /// double-long.
    I32(i32),
    /// double-long-unsigned.
    U32(u32),
    /// octet-string.
    OctetString(Bytes),
    /// visible-string, ASCII by the standard.
    VisibleString(Bytes),
    /// utf8-string.
    Utf8(Bytes),
    /// bcd, the octet as sent.
    Bcd(u8),
    /// integer.
    I8(i8),
    /// long.
    I16(i16),
    /// unsigned.
    U8(u8),
    /// long-unsigned.
    U16(u16),
    /// compact-array.
    CompactArray(CompactArray),
    /// long64.
    I64(i64),
    /// long64-unsigned.
    U64(u64),
    /// enum.
    Enum(u8),
    /// float32.
    F32(f32),
    /// float64.
    F64(f64),
    /// date-time.
    DateTime(DateTime),
    /// date.
    Date(Date),
    /// time.
    Time(Time),
    /// delta-integer.
    DeltaI8(i8),
    /// delta-long.
    DeltaI16(i16),
    /// delta-double-long.
    DeltaI32(i32),
    /// delta-unsigned.
    DeltaU8(u8),
    /// delta-long-unsigned.
    DeltaU16(u16),
    /// delta-double-long-unsigned.
    DeltaU32(u32),
    /// don't-care.
    DontCare,
}

impl Data {
    /// Decodes one value that must fill `octets`.
    ///
    /// # Errors
    /// `Malformed` with the offset at which the octets stop making sense.
    pub fn decode(octets: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(octets);
        let data = Self::from_axdr(&mut reader)?;
        reader.finish()?;
        Ok(data)
    }

    /// Takes one value from the reader.
    ///
    /// # Errors
    /// `Malformed` with the offset at which the octets stop making sense.
    pub fn from_axdr(reader: &mut Reader<'_>) -> Result<Self> {
        Self::nested(reader, 0)
    }

    fn nested(reader: &mut Reader<'_>, depth: usize) -> Result<Self> {
        let tag = reader.u8()?;
        Self::tagged(tag, reader, depth)
    }

    /// The value of a type whose tag was read already.
    pub(crate) fn with_tag(tag: u8, reader: &mut Reader<'_>) -> Result<Self> {
        Self::tagged(tag, reader, 0)
    }

    fn tagged(tag: u8, reader: &mut Reader<'_>, depth: usize) -> Result<Self> {
        match tag {
            tag::ARRAY => Ok(Self::Array(Self::list(reader, depth)?)),
            tag::STRUCTURE => Ok(Self::Structure(Self::list(reader, depth)?)),
            tag::COMPACT_ARRAY => Ok(Self::CompactArray(CompactArray::from_axdr(reader)?)),
            _ => match Self::simple(tag, reader)? {
                Some(value) => Ok(value),
                None => Err(reader.malformed("unknown data tag before this octet")),
            },
        }
    }

    fn list(reader: &mut Reader<'_>, depth: usize) -> Result<Vec<Self>> {
        if depth >= MAX_DEPTH {
            return Err(reader.malformed("data is nested too deeply"));
        }
        let count = reader.count()?;
        // An element can be one octet on the wire and many in memory: what is reserved ahead is
        // small, the rest grows as elements really come.
        let mut list = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            list.push(Self::nested(reader, depth + 1)?);
        }
        Ok(list)
    }

    /// The value of a type without elements whose tag was read already; None for another tag.
    #[inline]
    pub(crate) fn simple(tag: u8, reader: &mut Reader<'_>) -> Result<Option<Self>> {
        Ok(Some(match tag {
            tag::NULL => Self::Null,
            tag::BOOLEAN => Self::Boolean(reader.u8()? != 0),
            tag::BIT_STRING => Self::BitString(BitString::from_axdr(reader)?),
            tag::I32 => Self::I32(i32::from_be_bytes(reader.array()?)),
            tag::U32 => Self::U32(reader.u32()?),
            tag::OCTET_STRING => Self::OctetString(Bytes::copy_from_slice(reader.octets()?)),
            tag::VISIBLE_STRING => Self::VisibleString(Bytes::copy_from_slice(reader.octets()?)),
            tag::UTF8 => Self::Utf8(Bytes::copy_from_slice(reader.octets()?)),
            tag::BCD => Self::Bcd(reader.u8()?),
            tag::I8 => Self::I8(i8::from_be_bytes(reader.array()?)),
            tag::I16 => Self::I16(i16::from_be_bytes(reader.array()?)),
            tag::U8 => Self::U8(reader.u8()?),
            tag::U16 => Self::U16(reader.u16()?),
            tag::I64 => Self::I64(i64::from_be_bytes(reader.array()?)),
            tag::U64 => Self::U64(u64::from_be_bytes(reader.array()?)),
            tag::ENUM => Self::Enum(reader.u8()?),
            tag::F32 => Self::F32(f32::from_be_bytes(reader.array()?)),
            tag::F64 => Self::F64(f64::from_be_bytes(reader.array()?)),
            tag::DATE_TIME => Self::DateTime(DateTime::from_octets(reader.array()?)),
            tag::DATE => Self::Date(Date::from_octets(reader.array()?)),
            tag::TIME => Self::Time(Time::from_octets(reader.array()?)),
            tag::DELTA_I8 => Self::DeltaI8(i8::from_be_bytes(reader.array()?)),
            tag::DELTA_I16 => Self::DeltaI16(i16::from_be_bytes(reader.array()?)),
            tag::DELTA_I32 => Self::DeltaI32(i32::from_be_bytes(reader.array()?)),
            tag::DELTA_U8 => Self::DeltaU8(reader.u8()?),
            tag::DELTA_U16 => Self::DeltaU16(reader.u16()?),
            tag::DELTA_U32 => Self::DeltaU32(reader.u32()?),
            tag::DONT_CARE => Self::DontCare,
            _ => return Ok(None),
        }))
    }

    /// Appends tag and value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.tag());
        match self {
            Self::Array(list) | Self::Structure(list) => {
                put_length(out, list.len());
                for element in list {
                    element.encode(out);
                }
            }
            Self::CompactArray(array) => array.encode(out),
            _ => self.put_content(out),
        }
    }

    /// Appends the content of a type without elements, as it stands in a compact array.
    pub(crate) fn put_content(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null | Self::DontCare => {}
            Self::Array(_) | Self::Structure(_) | Self::CompactArray(_) => {}
            Self::Boolean(value) => out.push(u8::from(*value)),
            Self::BitString(value) => value.put(out),
            Self::I32(value) | Self::DeltaI32(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::U32(value) | Self::DeltaU32(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::OctetString(v) | Self::VisibleString(v) | Self::Utf8(v) => put_octets(out, v),
            Self::Bcd(value) | Self::U8(value) | Self::Enum(value) | Self::DeltaU8(value) => {
                out.push(*value);
            }
            Self::I8(value) | Self::DeltaI8(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::I16(value) | Self::DeltaI16(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::U16(value) | Self::DeltaU16(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::I64(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::U64(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::F32(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::F64(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::DateTime(value) => out.extend_from_slice(&value.to_octets()),
            Self::Date(value) => out.extend_from_slice(&value.to_octets()),
            Self::Time(value) => out.extend_from_slice(&value.to_octets()),
        }
    }

    /// The octets of tag and value.
    #[must_use]
    pub fn to_axdr(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// The tag of the type.
    #[must_use]
    pub const fn tag(&self) -> u8 {
        match self {
            Self::Null => tag::NULL,
            Self::Array(_) => tag::ARRAY,
            Self::Structure(_) => tag::STRUCTURE,
            Self::Boolean(_) => tag::BOOLEAN,
            Self::BitString(_) => tag::BIT_STRING,
            Self::I32(_) => tag::I32,
            Self::U32(_) => tag::U32,
            Self::OctetString(_) => tag::OCTET_STRING,
            Self::VisibleString(_) => tag::VISIBLE_STRING,
            Self::Utf8(_) => tag::UTF8,
            Self::Bcd(_) => tag::BCD,
            Self::I8(_) => tag::I8,
            Self::I16(_) => tag::I16,
            Self::U8(_) => tag::U8,
            Self::U16(_) => tag::U16,
            Self::CompactArray(_) => tag::COMPACT_ARRAY,
            Self::I64(_) => tag::I64,
            Self::U64(_) => tag::U64,
            Self::Enum(_) => tag::ENUM,
            Self::F32(_) => tag::F32,
            Self::F64(_) => tag::F64,
            Self::DateTime(_) => tag::DATE_TIME,
            Self::Date(_) => tag::DATE,
            Self::Time(_) => tag::TIME,
            Self::DeltaI8(_) => tag::DELTA_I8,
            Self::DeltaI16(_) => tag::DELTA_I16,
            Self::DeltaI32(_) => tag::DELTA_I32,
            Self::DeltaU8(_) => tag::DELTA_U8,
            Self::DeltaU16(_) => tag::DELTA_U16,
            Self::DeltaU32(_) => tag::DELTA_U32,
            Self::DontCare => tag::DONT_CARE,
        }
    }
}

/// Constructors and readings that callers need all the time.
impl Data {
    /// An octet-string.
    #[must_use]
    pub fn octets(octets: &[u8]) -> Self {
        Self::OctetString(Bytes::copy_from_slice(octets))
    }

    /// A visible-string.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::VisibleString(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// An octet-string of 12: a date-time as attributes and profiles carry it.
    #[must_use]
    pub fn clock(value: DateTime) -> Self {
        Self::octets(&value.to_octets())
    }

    /// The elements of a structure.
    #[must_use]
    pub fn as_structure(&self) -> Option<&[Self]> {
        if let Self::Structure(list) = self { Some(list) } else { None }
    }

    /// The elements of an array or a compact array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(list) => Some(list),
            Self::CompactArray(array) => Some(&array.elements),
            _ => None,
        }
    }

    /// The octets of an octet-string or of any other string.
    #[must_use]
    pub fn as_octets(&self) -> Option<&[u8]> {
        match self {
            Self::OctetString(v) | Self::VisibleString(v) | Self::Utf8(v) => Some(v),
            _ => None,
        }
    }

    /// A string as text; None when it is not UTF-8 or not a string.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        self.as_octets().and_then(|octets| std::str::from_utf8(octets).ok())
    }

    /// Any integer, enum or bcd as i128, which holds all of them; None for other types.
    #[must_use]
    pub const fn as_integer(&self) -> Option<i128> {
        Some(match self {
            Self::I8(value) | Self::DeltaI8(value) => *value as i128,
            Self::I16(value) | Self::DeltaI16(value) => *value as i128,
            Self::I32(value) | Self::DeltaI32(value) => *value as i128,
            Self::I64(value) => *value as i128,
            Self::U8(value) | Self::Enum(value) | Self::Bcd(value) | Self::DeltaU8(value) => {
                *value as i128
            }
            Self::U16(value) | Self::DeltaU16(value) => *value as i128,
            Self::U32(value) | Self::DeltaU32(value) => *value as i128,
            Self::U64(value) => *value as i128,
            _ => return None,
        })
    }

    /// Any integer that fits i64.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.as_integer().and_then(|value| i64::try_from(value).ok())
    }

    /// Any integer that fits u64.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.as_integer().and_then(|value| u64::try_from(value).ok())
    }

    /// A date-time, as its own type or as an octet-string of 12.
    #[must_use]
    pub fn as_date_time(&self) -> Option<DateTime> {
        match self {
            Self::DateTime(value) => Some(*value),
            Self::OctetString(octets) => DateTime::from_slice(octets).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BitString, Data, MAX_DEPTH};

    #[test]
    fn nesting_is_bounded() {
        let mut octets = [1u8, 1].repeat(MAX_DEPTH);
        octets.push(0);
        assert!(Data::decode(&octets).is_ok());
        let mut octets = [1u8, 1].repeat(MAX_DEPTH + 1);
        octets.push(0);
        assert!(Data::decode(&octets).is_err());
        assert!(Data::decode(&[2, 1].repeat(100_000)).is_err());
    }

    #[test]
    fn bits_are_counted_from_the_high_end() {
        let bits = BitString::new(&[true, false, true, false, false, true, false, true, true]);
        assert_eq!(Data::BitString(bits.clone()).to_axdr(), [4, 9, 0xa5, 0x80]);
        assert_eq!(bits.iter().filter(|bit| *bit).count(), 5);
        assert_eq!((bits.get(8), bits.get(9), bits.len()), (Some(true), None, 9));
        assert!(Data::decode(&[4, 0x84, 0xff, 0xff, 0xff, 0xff, 0]).is_err());
    }
}
