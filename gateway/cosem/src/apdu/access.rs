//! access-request (IEC 62056-5-3 clause 6.10), as octets and back.

use bytes::Bytes;

use super::set::{put_values, read_values};
use super::{AttributeRef, LongInvokePriority, MethodRef, Selection, tag};
use crate::axdr::{Reader, put_length, put_octets};
use crate::data::Data;
use crate::error::Error;

/// What is done to one attribute or method.
#[derive(Debug, Clone, PartialEq)]
pub enum AccessSpecification {
    /// 1, and 4 with a selection.
    Get(AttributeRef, Option<Selection>),
    /// 2, and 5 with a selection.
    Set(AttributeRef, Option<Selection>),
    /// 3.
    Action(MethodRef),
}

/// access-request.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessRequest {
    /// Invoke id and flags.
    pub invoke: LongInvokePriority,
    /// Date-time of sending, 12 octets or none.
    pub date_time: Bytes,
    /// What is done.
    pub list: Vec<AccessSpecification>,
    /// Values and parameters, one for each (null-data for a get).
    pub values: Vec<Data>,
}

impl AccessRequest {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let invoke = LongInvokePriority(reader.u32()?);
        let date_time = Bytes::copy_from_slice(reader.octets()?);
        let count = reader.count()?;
        let mut list = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            list.push(AccessSpecification::read(reader)?);
        }
        let values = read_values(reader)?;
        if values.len() != list.len() {
            return Err(reader.malformed("as many values as specifications are needed"));
        }
        Ok(Self { invoke, date_time, list, values })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(tag::ACCESS_REQUEST);
        out.extend_from_slice(&self.invoke.0.to_be_bytes());
        put_octets(out, &self.date_time);
        put_length(out, self.list.len());
        for specification in &self.list {
            specification.put(out);
        }
        put_values(&self.values, out);
    }
}

impl AccessSpecification {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let choice = reader.u8()?;
        if choice == 3 {
            return Ok(Self::Action(MethodRef::read(reader)?));
        }
        if !matches!(choice, 1 | 2 | 4 | 5) {
            return Err(reader.malformed("unknown choice of an access specification"));
        }
        let attribute = AttributeRef::read(reader)?;
        let selection = if choice > 3 {
            let selector = reader.u8()?;
            Some(Selection { selector, parameters: Data::from_axdr(reader)? })
        } else {
            None
        };
        Ok(match choice {
            1 | 4 => Self::Get(attribute, selection),
            _ => Self::Set(attribute, selection),
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        let (choice, attribute, selection) = match self {
            Self::Action(method) => {
                out.push(3);
                method.put(out);
                return;
            }
            Self::Get(attribute, selection) => (1, attribute, selection),
            Self::Set(attribute, selection) => (2, attribute, selection),
        };
        out.push(if selection.is_some() { choice + 3 } else { choice });
        attribute.put(out);
        if let Some(selection) = selection {
            out.push(selection.selector);
            selection.parameters.encode(out);
        }
    }
}
