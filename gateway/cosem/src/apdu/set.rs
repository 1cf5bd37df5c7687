//! SET (IEC 62056-5-3 clause 6.7). The choice numbers of request and response differ: a request
//! has with-list at 4 and with-list-and-first-block at 5, a response the last block with list at
//! 4 and with-list at 5.

use bytes::Bytes;

use super::get::{put_attributes, read_attributes};
use super::{AttributeRef, DataAccessError, InvokePriority, Selection, tag};
use crate::axdr::{Reader, put_length, put_octets};
use crate::data::Data;
use crate::error::Error;

/// A piece of an encoded value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Whether it is the last block.
    pub last: bool,
    /// Block number, from 1.
    pub number: u32,
    /// The piece.
    pub octets: Bytes,
}

/// set-request.
#[derive(Debug, Clone, PartialEq)]
pub enum SetRequest {
    /// Choice 1.
    Normal {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// What is written.
        attribute: AttributeRef,
        /// Which part of it.
        selection: Option<Selection>,
        /// The value.
        value: Data,
    },
    /// Choice 2.
    FirstBlock {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// What is written.
        attribute: AttributeRef,
        /// Which part of it.
        selection: Option<Selection>,
        /// First piece of the encoded value.
        block: Block,
    },
    /// Choice 3.
    Block {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// Next piece.
        block: Block,
    },
    /// Choice 4.
    WithList {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// What is written.
        list: Vec<(AttributeRef, Option<Selection>)>,
        /// The values, one for each.
        values: Vec<Data>,
    },
    /// Choice 5.
    WithListFirstBlock {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// What is written.
        list: Vec<(AttributeRef, Option<Selection>)>,
        /// First piece of the encoded list of values.
        block: Block,
    },
}

/// set-response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetResponse {
    /// Choice 1.
    Normal {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// Written or reason.
        result: Result<(), DataAccessError>,
    },
    /// Choice 2: the block was taken, the next is wanted.
    Block {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// Number of the block taken.
        block: u32,
    },
    /// Choice 3.
    LastBlock {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// Written or reason.
        result: Result<(), DataAccessError>,
        /// Number of the last block.
        block: u32,
    },
    /// Choice 4.
    LastBlockWithList {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// Written or reason, for each.
        results: Vec<Result<(), DataAccessError>>,
        /// Number of the last block.
        block: u32,
    },
    /// Choice 5.
    WithList {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// Written or reason, for each.
        results: Vec<Result<(), DataAccessError>>,
    },
}

impl Block {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let last = reader.flag()?;
        let number = reader.u32()?;
        let octets = Bytes::copy_from_slice(reader.octets()?);
        Ok(Self { last, number, octets })
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.last));
        out.extend_from_slice(&self.number.to_be_bytes());
        put_octets(out, &self.octets);
    }
}

impl SetRequest {
    /// Invoke id and priority.
    #[must_use]
    pub const fn invoke(&self) -> InvokePriority {
        match self {
            Self::Normal { invoke, .. }
            | Self::FirstBlock { invoke, .. }
            | Self::Block { invoke, .. }
            | Self::WithList { invoke, .. }
            | Self::WithListFirstBlock { invoke, .. } => *invoke,
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let choice = reader.u8()?;
        let invoke = InvokePriority(reader.u8()?);
        match choice {
            1 | 2 => {
                let attribute = AttributeRef::read(reader)?;
                let selection = Selection::read_option(reader)?;
                if choice == 1 {
                    let value = Data::from_axdr(reader)?;
                    return Ok(Self::Normal { invoke, attribute, selection, value });
                }
                let block = Block::read(reader)?;
                Ok(Self::FirstBlock { invoke, attribute, selection, block })
            }
            3 => Ok(Self::Block { invoke, block: Block::read(reader)? }),
            4 => {
                let list = read_attributes(reader)?;
                let values = read_values(reader)?;
                if values.len() != list.len() {
                    return Err(reader.malformed("as many values as attributes are needed"));
                }
                Ok(Self::WithList { invoke, list, values })
            }
            5 => {
                let list = read_attributes(reader)?;
                Ok(Self::WithListFirstBlock { invoke, list, block: Block::read(reader)? })
            }
            _ => Err(reader.malformed("unknown choice of set-request")),
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(tag::SET_REQUEST);
        match self {
            Self::Normal { invoke, attribute, selection, value } => {
                out.extend_from_slice(&[1, invoke.0]);
                attribute.put(out);
                Selection::put_option(selection.as_ref(), out);
                value.encode(out);
            }
            Self::FirstBlock { invoke, attribute, selection, block } => {
                out.extend_from_slice(&[2, invoke.0]);
                attribute.put(out);
                Selection::put_option(selection.as_ref(), out);
                block.put(out);
            }
            Self::Block { invoke, block } => {
                out.extend_from_slice(&[3, invoke.0]);
                block.put(out);
            }
            Self::WithList { invoke, list, values } => {
                out.extend_from_slice(&[4, invoke.0]);
                put_attributes(list, out);
                put_values(values, out);
            }
            Self::WithListFirstBlock { invoke, list, block } => {
                out.extend_from_slice(&[5, invoke.0]);
                put_attributes(list, out);
                block.put(out);
            }
        }
    }
}

impl SetResponse {
    /// Invoke id and priority.
    #[must_use]
    pub const fn invoke(&self) -> InvokePriority {
        match self {
            Self::Normal { invoke, .. }
            | Self::Block { invoke, .. }
            | Self::LastBlock { invoke, .. }
            | Self::LastBlockWithList { invoke, .. }
            | Self::WithList { invoke, .. } => *invoke,
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let choice = reader.u8()?;
        let invoke = InvokePriority(reader.u8()?);
        match choice {
            1 => Ok(Self::Normal { invoke, result: DataAccessError::check(reader.u8()?) }),
            2 => Ok(Self::Block { invoke, block: reader.u32()? }),
            3 => {
                let result = DataAccessError::check(reader.u8()?);
                Ok(Self::LastBlock { invoke, result, block: reader.u32()? })
            }
            4 => {
                let results = read_results(reader)?;
                Ok(Self::LastBlockWithList { invoke, results, block: reader.u32()? })
            }
            5 => Ok(Self::WithList { invoke, results: read_results(reader)? }),
            _ => Err(reader.malformed("unknown choice of set-response")),
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(tag::SET_RESPONSE);
        match self {
            Self::Normal { invoke, result } => {
                out.extend_from_slice(&[1, invoke.0, DataAccessError::octet_of(*result)]);
            }
            Self::Block { invoke, block } => {
                out.extend_from_slice(&[2, invoke.0]);
                out.extend_from_slice(&block.to_be_bytes());
            }
            Self::LastBlock { invoke, result, block } => {
                out.extend_from_slice(&[3, invoke.0, DataAccessError::octet_of(*result)]);
                out.extend_from_slice(&block.to_be_bytes());
            }
            Self::LastBlockWithList { invoke, results, block } => {
                out.extend_from_slice(&[4, invoke.0]);
                put_results(results, out);
                out.extend_from_slice(&block.to_be_bytes());
            }
            Self::WithList { invoke, results } => {
                out.extend_from_slice(&[5, invoke.0]);
                put_results(results, out);
            }
        }
    }
}

/// Takes a list of values.
///
/// # Errors
/// `Malformed` when one of them is.
pub(crate) fn read_values(reader: &mut Reader<'_>) -> Result<Vec<Data>, Error> {
    let count = reader.count()?;
    let mut values = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        values.push(Data::from_axdr(reader)?);
    }
    Ok(values)
}

/// Appends a list of values.
pub(crate) fn put_values(values: &[Data], out: &mut Vec<u8>) {
    put_length(out, values.len());
    for value in values {
        value.encode(out);
    }
}

fn read_results(reader: &mut Reader<'_>) -> Result<Vec<Result<(), DataAccessError>>, Error> {
    let count = reader.count()?;
    Ok(reader.take(count)?.iter().map(|octet| DataAccessError::check(*octet)).collect())
}

fn put_results(results: &[Result<(), DataAccessError>], out: &mut Vec<u8>) {
    put_length(out, results.len());
    out.extend(results.iter().map(|result| DataAccessError::octet_of(*result)));
}
