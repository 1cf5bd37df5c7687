//! GET (IEC 62056-5-3 clause 6.6): requests and responses, normal, by blocks, with list.

use bytes::Bytes;

use super::{AttributeRef, DataAccessError, InvokePriority, Selection, tag};
use crate::axdr::{Reader, put_length, put_octets};
use crate::data::Data;
use crate::error::Error;

/// What one attribute answers.
pub type GetResult = Result<Data, DataAccessError>;

/// get-request.
#[derive(Debug, Clone, PartialEq)]
pub enum GetRequest {
    /// Choice 1.
    Normal {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// What is read.
        attribute: AttributeRef,
        /// Which part of it.
        selection: Option<Selection>,
    },
    /// Choice 2: the block after `block` is wanted.
    Next {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// Number of the last block received.
        block: u32,
    },
    /// Choice 3.
    WithList {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// What is read, in the order of the answer.
        list: Vec<(AttributeRef, Option<Selection>)>,
    },
}

/// get-response.
#[derive(Debug, Clone, PartialEq)]
pub enum GetResponse {
    /// Choice 1.
    Normal {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// Value or reason.
        result: GetResult,
    },
    /// Choice 2.
    Block {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// Whether it is the last block.
        last: bool,
        /// Block number, from 1.
        block: u32,
        /// A piece of the encoded value (or of the encoded list of results), or a reason.
        result: Result<Bytes, DataAccessError>,
    },
    /// Choice 3.
    WithList {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// Value or reason of each.
        results: Vec<GetResult>,
    },
}

impl GetRequest {
    /// Invoke id and priority.
    #[must_use]
    pub const fn invoke(&self) -> InvokePriority {
        match self {
            Self::Normal { invoke, .. }
            | Self::Next { invoke, .. }
            | Self::WithList { invoke, .. } => *invoke,
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let choice = reader.u8()?;
        let invoke = InvokePriority(reader.u8()?);
        match choice {
            1 => Ok(Self::Normal {
                invoke,
                attribute: AttributeRef::read(reader)?,
                selection: Selection::read_option(reader)?,
            }),
            2 => Ok(Self::Next { invoke, block: reader.u32()? }),
            3 => Ok(Self::WithList { invoke, list: read_attributes(reader)? }),
            _ => Err(reader.malformed("unknown choice of get-request")),
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Normal { invoke, attribute, selection } => {
                out.extend_from_slice(&[tag::GET_REQUEST, 1, invoke.0]);
                attribute.put(out);
                Selection::put_option(selection.as_ref(), out);
            }
            Self::Next { invoke, block } => {
                out.extend_from_slice(&[tag::GET_REQUEST, 2, invoke.0]);
                out.extend_from_slice(&block.to_be_bytes());
            }
            Self::WithList { invoke, list } => {
                out.extend_from_slice(&[tag::GET_REQUEST, 3, invoke.0]);
                put_attributes(list, out);
            }
        }
    }
}

impl GetResponse {
    /// Invoke id and priority.
    #[must_use]
    pub const fn invoke(&self) -> InvokePriority {
        match self {
            Self::Normal { invoke, .. }
            | Self::Block { invoke, .. }
            | Self::WithList { invoke, .. } => *invoke,
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let choice = reader.u8()?;
        let invoke = InvokePriority(reader.u8()?);
        match choice {
            1 => Ok(Self::Normal { invoke, result: read_result(reader)? }),
            2 => {
                let last = reader.flag()?;
                let block = reader.u32()?;
                let result = match reader.u8()? {
                    0 => Ok(Bytes::copy_from_slice(reader.octets()?)),
                    1 => Err(DataAccessError::from_octet(reader.u8()?)),
                    _ => return Err(reader.malformed("unknown choice of a data block")),
                };
                Ok(Self::Block { invoke, last, block, result })
            }
            3 => Ok(Self::WithList { invoke, results: read_results(reader)? }),
            _ => Err(reader.malformed("unknown choice of get-response")),
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Normal { invoke, result } => {
                out.extend_from_slice(&[tag::GET_RESPONSE, 1, invoke.0]);
                put_result(result, out);
            }
            Self::Block { invoke, last, block, result } => {
                out.extend_from_slice(&[tag::GET_RESPONSE, 2, invoke.0, u8::from(*last)]);
                out.extend_from_slice(&block.to_be_bytes());
                match result {
                    Ok(octets) => {
                        out.push(0);
                        put_octets(out, octets);
                    }
                    Err(reason) => out.extend_from_slice(&[1, reason.to_octet()]),
                }
            }
            Self::WithList { invoke, results } => {
                out.extend_from_slice(&[tag::GET_RESPONSE, 3, invoke.0]);
                put_results(results, out);
            }
        }
    }
}

pub(super) fn read_attributes(
    reader: &mut Reader<'_>,
) -> Result<Vec<(AttributeRef, Option<Selection>)>, Error> {
    let count = reader.count()?;
    let mut list = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        list.push((AttributeRef::read(reader)?, Selection::read_option(reader)?));
    }
    Ok(list)
}

pub(super) fn put_attributes(list: &[(AttributeRef, Option<Selection>)], out: &mut Vec<u8>) {
    put_length(out, list.len());
    for (attribute, selection) in list {
        attribute.put(out);
        Selection::put_option(selection.as_ref(), out);
    }
}

/// Takes one Get-Data-Result.
///
/// # Errors
/// `Malformed` for another choice than data or reason.
pub(crate) fn read_result(reader: &mut Reader<'_>) -> Result<GetResult, Error> {
    match reader.u8()? {
        0 => Ok(Ok(Data::from_axdr(reader)?)),
        1 => Ok(Err(DataAccessError::from_octet(reader.u8()?))),
        _ => Err(reader.malformed("unknown choice of a get result")),
    }
}

/// Takes a list of Get-Data-Result.
///
/// # Errors
/// As for one.
pub(crate) fn read_results(reader: &mut Reader<'_>) -> Result<Vec<GetResult>, Error> {
    let count = reader.count()?;
    let mut results = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        results.push(read_result(reader)?);
    }
    Ok(results)
}

pub(super) fn put_result(result: &GetResult, out: &mut Vec<u8>) {
    match result {
        Ok(data) => {
            out.push(0);
            data.encode(out);
        }
        Err(reason) => out.extend_from_slice(&[1, reason.to_octet()]),
    }
}

/// Appends a list of Get-Data-Result.
pub(crate) fn put_results(results: &[GetResult], out: &mut Vec<u8>) {
    put_length(out, results.len());
    for result in results {
        put_result(result, out);
    }
}
