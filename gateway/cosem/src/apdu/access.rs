//! ACCESS (IEC 62056-5-3 clause 6.10): any mix of reading, writing and invoking in one request
//! and one response, as octets and back. Carrying it out is the association's work.

use bytes::Bytes;

use super::set::{put_values, read_values};
use super::{AttributeRef, DataAccessError, LongInvokePriority, MethodRef, Selection, tag};
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

/// What one specification led to; a value that was read stands in the list of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessOutcome {
    /// 1: read or reason.
    Get(Result<(), DataAccessError>),
    /// 2: written or reason.
    Set(Result<(), DataAccessError>),
    /// 3: done or reason.
    Action(Result<(), DataAccessError>),
}

/// access-response.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessResponse {
    /// Invoke id and flags, of the request.
    pub invoke: LongInvokePriority,
    /// Date-time of sending, 12 octets or none.
    pub date_time: Bytes,
    /// What was asked for, when the request wanted a response that describes itself.
    pub list: Option<Vec<AccessSpecification>>,
    /// What was read or returned, one for each outcome (null-data where there is nothing).
    pub values: Vec<Data>,
    /// What came of each specification, in order; fewer when the request breaks on an error.
    pub outcomes: Vec<AccessOutcome>,
}

impl AccessRequest {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let invoke = LongInvokePriority(reader.u32()?);
        let date_time = Bytes::copy_from_slice(reader.octets()?);
        let list = read_specifications(reader)?;
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
        put_specifications(&self.list, out);
        put_values(&self.values, out);
    }
}

impl AccessResponse {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let invoke = LongInvokePriority(reader.u32()?);
        let date_time = Bytes::copy_from_slice(reader.octets()?);
        let list = if reader.flag()? { Some(read_specifications(reader)?) } else { None };
        let values = read_values(reader)?;
        let count = reader.count()?;
        let mut outcomes = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            outcomes.push(AccessOutcome::read(reader)?);
        }
        if values.len() != outcomes.len() {
            return Err(reader.malformed("as many values as outcomes are needed"));
        }
        Ok(Self { invoke, date_time, list, values, outcomes })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(tag::ACCESS_RESPONSE);
        out.extend_from_slice(&self.invoke.0.to_be_bytes());
        put_octets(out, &self.date_time);
        match &self.list {
            None => out.push(0),
            Some(list) => {
                out.push(1);
                put_specifications(list, out);
            }
        }
        put_values(&self.values, out);
        put_length(out, self.outcomes.len());
        for outcome in &self.outcomes {
            outcome.put(out);
        }
    }
}

impl AccessOutcome {
    /// Done or reason, whatever was asked for.
    ///
    /// # Errors
    /// The reason.
    pub const fn result(self) -> Result<(), DataAccessError> {
        match self {
            Self::Get(result) | Self::Set(result) | Self::Action(result) => result,
        }
    }

    /// Whether it is an outcome of what `specification` asks for.
    #[must_use]
    pub const fn fits(self, specification: &AccessSpecification) -> bool {
        matches!(
            (self, specification),
            (Self::Get(_), AccessSpecification::Get(..))
                | (Self::Set(_), AccessSpecification::Set(..))
                | (Self::Action(_), AccessSpecification::Action(_))
        )
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let choice = reader.u8()?;
        let result = DataAccessError::check(reader.u8()?);
        match choice {
            1 => Ok(Self::Get(result)),
            2 => Ok(Self::Set(result)),
            3 => Ok(Self::Action(result)),
            _ => Err(reader.malformed("unknown choice of an access outcome")),
        }
    }

    fn put(self, out: &mut Vec<u8>) {
        let choice = match self {
            Self::Get(_) => 1,
            Self::Set(_) => 2,
            Self::Action(_) => 3,
        };
        out.extend_from_slice(&[choice, DataAccessError::octet_of(self.result())]);
    }
}

fn read_specifications(reader: &mut Reader<'_>) -> Result<Vec<AccessSpecification>, Error> {
    let count = reader.count()?;
    let mut list = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        list.push(AccessSpecification::read(reader)?);
    }
    Ok(list)
}

fn put_specifications(list: &[AccessSpecification], out: &mut Vec<u8>) {
    put_length(out, list.len());
    for specification in list {
        specification.put(out);
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

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
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
