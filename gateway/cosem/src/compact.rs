//! compact-array (IEC 62056-6-2 clause 4.1.5): the type once, then the contents without tags.
//!
//! Invariants: an element needs at least one octet of content, and no more than
//! `NODES_AN_OCTET` values come out of one octet, so the type description cannot multiply a small
//! input into a large allocation (arrays of null-data would).

use crate::axdr::{Reader, put_length, put_octets};
use crate::data::{Data, MAX_DEPTH, tag};
use crate::error::Error;

type Result<T> = std::result::Result<T, Error>;

/// Most values decoded for an octet of input; rows of null-data need no octet of their own.
const NODES_AN_OCTET: usize = 16;

/// The type of the elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeDescription {
    /// A type without elements, by its tag.
    Simple(u8),
    /// An array of a fixed number of elements.
    Array(u16, Box<TypeDescription>),
    /// A structure with the types of its fields.
    Structure(Vec<TypeDescription>),
}

/// A compact array, unfolded.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactArray {
    /// Type of every element.
    pub description: TypeDescription,
    /// The elements, each of that type.
    pub elements: Vec<Data>,
}

impl TypeDescription {
    /// Takes a type description.
    ///
    /// # Errors
    /// `Malformed` for an unknown tag or too deep a nesting.
    pub fn from_axdr(reader: &mut Reader<'_>) -> Result<Self> {
        Self::nested(reader, 0)
    }

    fn nested(reader: &mut Reader<'_>, depth: usize) -> Result<Self> {
        if depth > MAX_DEPTH {
            return Err(reader.malformed("a type description is nested too deeply"));
        }
        let at = reader.position();
        match reader.u8()? {
            tag::ARRAY => {
                let count = reader.u16()?;
                Ok(Self::Array(count, Box::new(Self::nested(reader, depth + 1)?)))
            }
            tag::STRUCTURE => {
                let count = reader.count()?;
                let mut fields = Vec::with_capacity(count.min(64));
                for _ in 0..count {
                    fields.push(Self::nested(reader, depth + 1)?);
                }
                Ok(Self::Structure(fields))
            }
            tag::COMPACT_ARRAY => Err(Error::malformed(at, "a compact array within another")),
            simple if is_simple(simple) => Ok(Self::Simple(simple)),
            _ => Err(Error::malformed(at, "unknown type in a type description")),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Simple(tag) => out.push(*tag),
            Self::Array(count, element) => {
                out.push(tag::ARRAY);
                out.extend_from_slice(&count.to_be_bytes());
                element.encode(out);
            }
            Self::Structure(fields) => {
                out.push(tag::STRUCTURE);
                put_length(out, fields.len());
                for field in fields {
                    field.encode(out);
                }
            }
        }
    }
}

impl CompactArray {
    /// Takes a compact array whose tag was read already.
    ///
    /// # Errors
    /// `Malformed` when the content does not fit the description or would multiply the input.
    pub fn from_axdr(reader: &mut Reader<'_>) -> Result<Self> {
        let start = reader.position();
        let description = TypeDescription::from_axdr(reader)?;
        let length = reader.length()?;
        let base = reader.position();
        let mut content = Reader::with_base(reader.take(length)?, base);
        let mut budget = (base - start + length).saturating_mul(NODES_AN_OCTET);
        let mut elements = Vec::new();
        while !content.is_empty() {
            let before = content.remaining();
            elements.push(value(&description, &mut content, &mut budget)?);
            if content.remaining() == before {
                return Err(content.malformed("elements of a compact array without content"));
            }
        }
        Ok(Self { description, elements })
    }

    /// Appends description and content. Elements that are not of the described type are written
    /// as they are; `CompactArray::new` refuses them.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.description.encode(out);
        let mut content = Vec::new();
        for element in &self.elements {
            put(element, &mut content);
        }
        put_octets(out, &content);
    }

    /// A compact array of `elements`.
    ///
    /// # Errors
    /// `Malformed` when an element is not of the described type.
    pub fn new(description: TypeDescription, elements: Vec<Data>) -> Result<Self> {
        if elements.iter().all(|element| matches(&description, element)) {
            Ok(Self { description, elements })
        } else {
            Err(Error::malformed(0, "an element is not of the described type"))
        }
    }
}

fn is_simple(tag: u8) -> bool {
    matches!(tag, 0x00 | 0x03..=0x06 | 0x09 | 0x0a | 0x0c | 0x0d | 0x0f..=0x12 | 0x14..=0x21 | 0xff)
}

fn value(of: &TypeDescription, reader: &mut Reader<'_>, budget: &mut usize) -> Result<Data> {
    *budget = budget.checked_sub(1).ok_or_else(|| {
        reader.malformed("a compact array that unfolds to far more than its octets")
    })?;
    match of {
        TypeDescription::Simple(tag) => match Data::simple(*tag, reader)? {
            Some(value) => Ok(value),
            None => Err(reader.malformed("unknown type in a type description")),
        },
        TypeDescription::Array(count, element) => {
            let list =
                (0..*count).map(|_| value(element, reader, budget)).collect::<Result<_>>()?;
            Ok(Data::Array(list))
        }
        TypeDescription::Structure(fields) => {
            let list = fields.iter().map(|field| value(field, reader, budget));
            Ok(Data::Structure(list.collect::<Result<_>>()?))
        }
    }
}

fn put(value: &Data, out: &mut Vec<u8>) {
    match value {
        Data::Array(list) | Data::Structure(list) => list.iter().for_each(|item| put(item, out)),
        simple => simple.put_content(out),
    }
}

fn matches(of: &TypeDescription, value: &Data) -> bool {
    match (of, value) {
        (TypeDescription::Simple(tag), value) => is_simple(*tag) && *tag == value.tag(),
        (TypeDescription::Array(count, element), Data::Array(list)) => {
            usize::from(*count) == list.len() && list.iter().all(|item| matches(element, item))
        }
        (TypeDescription::Structure(fields), Data::Structure(list)) => {
            fields.len() == list.len()
                && fields.iter().zip(list).all(|(field, item)| matches(field, item))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::data::Data;

    #[test]
    fn a_small_input_cannot_unfold_to_a_large_one() {
        // structure {unsigned, array 65535 of null-data}, four octets of content.
        let bomb = [0x13, 2, 2, 0x11, 1, 0xff, 0xff, 0, 4, 1, 2, 3, 4];
        assert!(Data::decode(&bomb).is_err());
        // elements without any content can never end.
        assert!(Data::decode(&[0x13, 0, 1, 7]).is_err());
        assert!(Data::decode(&[0x13, 2, 0, 1, 7]).is_err());
    }

    #[test]
    fn arrays_in_structures_go_both_ways() {
        let octets = [0x13, 2, 2, 0x09, 1, 0, 2, 0x12, 6, 1, 0xaa, 0, 1, 0, 2];
        let data = Data::decode(&octets).unwrap();
        assert_eq!(data.to_axdr(), octets);
        assert_eq!(data.as_array().unwrap().len(), 1);
    }
}
